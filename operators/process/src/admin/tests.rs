use std::{
    io::{Read as _, Write as _},
    net::{Ipv4Addr, TcpStream},
    time::Instant,
};

use prometheus_client::metrics::counter::Counter;
use tokio::task::{JoinHandle, spawn_blocking};

use super::*;

struct Running {
    address: SocketAddr,
    state: AdminState,
    stop: CancellationToken,
    task: JoinHandle<io::Result<()>>,
}

/// Starts a server with the runtime of the test as its heartbeat.
fn start(heartbeat_limit: Duration) -> Running {
    let mut server = AdminServer::bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    server.heartbeat_limit = heartbeat_limit;
    let address = server.local_addr().unwrap();
    let state = AdminState { readiness: Readiness::default(), registry: Arc::default() };
    let stop = CancellationToken::new();
    let task = tokio::spawn(server.serve(state.clone(), stop.clone()));
    Running { address, state, stop, task }
}

/// Sends `request` as it is and reads until the server closes. Blocks.
fn exchange(address: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    String::from_utf8(answer).unwrap()
}

impl Running {
    async fn send(&self, request: impl Into<String>) -> String {
        let (address, request) = (self.address, request.into());
        spawn_blocking(move || exchange(address, &request)).await.unwrap()
    }

    /// Status code and body of a GET.
    async fn get(&self, path: &str) -> (u16, String) {
        let answer = self.send(get(path)).await;
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head[9..12].parse().unwrap(), body.to_owned())
    }
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: drover\r\n\r\n")
}

#[tokio::test]
async fn readiness_names_what_it_waits_for_until_every_gate_is_open() {
    let server = start(HEARTBEAT_LIMIT);
    assert_eq!(server.get("/readyz").await, (200, "ok\n".into()));
    let lease = server.state.readiness.wait_for("leader lease");
    let cache = server.state.readiness.wait_for("cache");
    let same_name = server.state.readiness.clone().wait_for("cache");
    let (code, body) = server.get("/readyz").await;
    assert_eq!((code, body.as_str()), (503, "waiting for: leader lease\nwaiting for: cache\nwaiting for: cache\n"));
    lease.open();
    cache.open();
    cache.open();
    assert_eq!(server.get("/readyz").await, (503, "waiting for: cache\n".into()));
    same_name.open();
    drop(same_name);
    assert_eq!(server.get("/readyz").await, (200, "ok\n".into()));
}

#[tokio::test]
async fn metrics_are_open_metrics_text() {
    let server = start(HEARTBEAT_LIMIT);
    let reconciles = Counter::<u64>::default();
    server.state.registry.lock().unwrap().register("reconciles", "Reconciles", reconciles.clone());
    reconciles.inc_by(3);
    let answer = server.send(get("/metrics")).await;
    assert!(answer.contains("content-type: application/openmetrics-text; version=1.0.0"), "{answer}");
    assert!(answer.contains("\nreconciles_total 3\n") && answer.ends_with("# EOF\n"), "{answer}");
}

#[tokio::test]
async fn only_known_paths_and_reading_methods_are_answered() {
    let server = start(HEARTBEAT_LIMIT);
    for (path, code) in [("/", 404), ("/metrics/", 404), ("/livez/../metrics", 404), ("/livez?verbose", 200)] {
        assert_eq!(server.get(path).await.0, code, "{path}");
    }
    let refused = server.send("POST /livez HTTP/1.1\r\nHost: d\r\nContent-Length: 4\r\n\r\nbody").await;
    assert!(refused.starts_with("HTTP/1.1 405") && refused.contains("allow: GET, HEAD"), "{refused}");
    let with_body = server.send("GET /livez HTTP/1.1\r\nHost: d\r\nContent-Length: 4\r\n\r\nbody").await;
    assert!(with_body.starts_with("HTTP/1.1 200") && with_body.ends_with("\r\n\r\nok\n"), "{with_body}");
    let head = server.send("HEAD /livez HTTP/1.1\r\nHost: d\r\n\r\n").await;
    assert!(head.starts_with("HTTP/1.1 200") && head.ends_with("\r\n\r\n"), "{head}");
    assert!(server.send("nonsense\r\n\r\n").await.starts_with("HTTP/1.1 400"));
}

#[tokio::test]
async fn a_connection_carries_one_request() {
    let server = start(HEARTBEAT_LIMIT);
    let answer = server.send(get("/livez").repeat(2)).await;
    assert_eq!(answer.matches("HTTP/1.1").count(), 1, "{answer}");
}

#[tokio::test]
async fn peers_that_say_nothing_hold_up_others_for_the_head_limit_at_most() {
    let server = start(HEARTBEAT_LIMIT);
    let silent: Vec<_> = (0..CONNECTIONS + 4).map(|_| TcpStream::connect(server.address).unwrap()).collect();
    sleep(Duration::from_millis(200)).await;
    let asked = Instant::now();
    assert_eq!(server.get("/livez").await, (200, "ok\n".into()));
    let waited = asked.elapsed();
    assert!(waited + Duration::from_secs(1) >= HEAD_LIMIT, "more than {CONNECTIONS} were served: {waited:?}");
    assert!(waited < CONNECTION_LIMIT + HEAD_LIMIT, "{waited:?}");
    drop(silent);
}

#[test]
fn a_blocked_runtime_is_noticed_and_forgiven() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let server = runtime.block_on(async {
        let server = start(Duration::from_millis(1500));
        assert_eq!(server.get("/livez").await, (200, "ok\n".into()));
        server
    });
    // Nothing drives the runtime now, as if a task of it never returned.
    thread::sleep(Duration::from_millis(2100));
    let answer = exchange(server.address, &get("/livez"));
    assert!(answer.starts_with("HTTP/1.1 503") && answer.ends_with("runtime blocked for 2 s\n"), "{answer}");
    runtime.block_on(async {
        sleep(Duration::from_millis(50)).await;
        assert_eq!(server.get("/livez").await, (200, "ok\n".into()));
    });
}

#[tokio::test]
async fn it_ends_when_stopped_or_dropped_and_frees_the_port() {
    let server = start(HEARTBEAT_LIMIT);
    assert_eq!(server.get("/livez").await.0, 200);
    server.stop.cancel();
    server.task.await.unwrap().unwrap();
    assert!(TcpStream::connect(server.address).is_err());

    let server = start(HEARTBEAT_LIMIT);
    assert_eq!(server.get("/livez").await.0, 200);
    server.task.abort();
    for _ in 0..100 {
        if TcpStream::connect(server.address).is_err() {
            return;
        }
        sleep(Duration::from_millis(20)).await;
    }
    panic!("still listening");
}

#[test]
fn a_taken_port_is_an_error() {
    let first = AdminServer::bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    assert_eq!(AdminServer::bind(first.local_addr().unwrap()).unwrap_err().kind(), io::ErrorKind::AddrInUse);
}
