//! The admin port: `/livez`, `/readyz` and `/metrics` over plain HTTP/1.1, for the kubelet and for Prometheus.
//!
//! It runs on a thread and a runtime of its own, so that it answers, and says so, when the runtime that does the work is
//! blocked. What a peer may take is bounded: connections at a time, the time for the head of a request, the time for all
//! of it. A connection carries one request; bodies are not read.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    io,
    net::{SocketAddr, TcpListener},
    pin::pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use http_body_util::Full;
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Bytes, Incoming},
    header::{ALLOW, CONTENT_TYPE, HeaderValue},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use prometheus_client::{encoding::text, registry::Registry};
use tokio::{
    net::TcpStream,
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{MissedTickBehavior, interval, sleep, timeout},
};
use tokio_util::sync::CancellationToken;

/// How often the main runtime shows that it is alive.
const HEARTBEAT_PERIOD: Duration = Duration::from_secs(1);
/// A main runtime that shows no heartbeat for this long is blocked. A busy machine delays a beat by a few seconds at most,
/// and a restart too many costs more than one that comes half a minute late.
const HEARTBEAT_LIMIT: Duration = Duration::from_secs(30);
/// Connections at a time; further ones wait in the backlog of the socket. The kubelet and Prometheus need three.
const CONNECTIONS: usize = 16;
/// Time for the head of a request. The kubelet's probes give up after 1 s by default.
const HEAD_LIMIT: Duration = Duration::from_secs(5);
/// Time for a whole connection: Prometheus' default scrape timeout.
const CONNECTION_LIMIT: Duration = Duration::from_secs(10);
/// Pause after a connection could not be accepted: the process is out of file descriptors, usually.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Content type of the metrics, as the `OpenMetrics` specification 1.0.0 writes it.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What has to happen before the process is ready. Clones share one list.
#[derive(Clone, Debug, Default)]
pub struct Readiness(Arc<Mutex<Waiting>>);

#[derive(Debug, Default)]
struct Waiting {
    next: u64,
    names: BTreeMap<u64, String>,
}

impl Readiness {
    /// Not ready from now on, until the gate is opened. `name` is what `/readyz` shows, for example `leader lease`. A gate
    /// that is dropped without being opened is waited for until the process ends.
    #[must_use = "without the gate the process never becomes ready"]
    pub fn wait_for(&self, name: impl Into<String>) -> Gate {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let number = waiting.next;
        waiting.next += 1;
        waiting.names.insert(number, name.into());
        Gate { readiness: self.clone(), number }
    }

    /// What is waited for, in the order in which it was asked for. Empty means ready.
    #[must_use]
    pub fn waiting_for(&self) -> Vec<String> {
        let waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.names.values().cloned().collect()
    }
}

/// One thing that readiness waits for.
#[derive(Debug)]
pub struct Gate {
    readiness: Readiness,
    number: u64,
}

impl Gate {
    /// It has happened. Opening a gate again changes nothing.
    pub fn open(&self) {
        self.readiness.0.lock().unwrap_or_else(PoisonError::into_inner).names.remove(&self.number);
    }
}

/// When the main runtime was last seen alive.
#[derive(Debug)]
struct Heartbeat {
    start: Instant,
    /// Milliseconds from `start` to the last beat.
    last: AtomicU64,
    limit: Duration,
}

impl Heartbeat {
    fn new(limit: Duration) -> Self {
        Self { start: Instant::now(), last: AtomicU64::new(0), limit }
    }

    fn beat(&self) {
        let elapsed = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last.store(elapsed, Ordering::Relaxed);
    }

    /// For how long the runtime has been blocked, if it is. The clock is the system's own: a paused tokio clock of the main
    /// runtime, or its lateness, must not show here.
    fn blocked(&self) -> Option<Duration> {
        let silent = self.start.elapsed().saturating_sub(Duration::from_millis(self.last.load(Ordering::Relaxed)));
        (silent > self.limit).then_some(silent)
    }
}

/// What the admin port shows.
#[derive(Clone, Debug)]
pub struct AdminState {
    /// Behind `/readyz`.
    pub readiness: Readiness,
    /// Behind `/metrics`. Locked while the text is written, so nobody may hold the lock for long.
    pub registry: Arc<Mutex<Registry>>,
}

/// An admin port that listens and does not answer yet.
#[derive(Debug)]
pub struct AdminServer {
    listener: TcpListener,
    heartbeat_limit: Duration,
}

impl AdminServer {
    /// Listens on `address`; port 0 lets the system choose.
    pub fn bind(address: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        Ok(Self { listener, heartbeat_limit: HEARTBEAT_LIMIT })
    }

    /// Where it listens.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Answers until `stop` is cancelled, or this future is dropped.
    ///
    /// The answers come from a thread of their own. The future itself is the heartbeat: spawn it on the runtime that
    /// `/livez` is to watch. An error means that the thread or its runtime could not be started.
    pub async fn serve(self, state: AdminState, stop: CancellationToken) -> io::Result<()> {
        let heartbeat = Arc::new(Heartbeat::new(self.heartbeat_limit));
        let shown = Arc::new(Shown { state, heartbeat: heartbeat.clone() });
        let stop = stop.child_token();
        let _stop_when_dropped = stop.clone().drop_guard();
        let (listener, stopped) = (self.listener, stop.clone());
        let serve = move || {
            tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
                let listener = tokio::net::TcpListener::from_std(listener)?;
                stopped.run_until_cancelled(accept(listener, shown)).await;
                Ok(())
            })
        };
        let thread = thread::Builder::new().name("admin".into()).spawn(serve)?;

        let mut ticks = interval(HEARTBEAT_PERIOD);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while !thread.is_finished() && stop.run_until_cancelled(ticks.tick()).await.is_some() {
            heartbeat.beat();
        }
        // The thread ends as soon as it sees the token; a panic in it is a bug that must not be silent.
        thread.join().unwrap_or_else(|_| Err(io::Error::other("the admin thread panicked")))
    }
}

/// What the answers are made from.
struct Shown {
    state: AdminState,
    heartbeat: Arc<Heartbeat>,
}

async fn accept(listener: tokio::net::TcpListener, shown: Arc<Shown>) {
    let connections = Arc::new(Semaphore::new(CONNECTIONS));
    // The permit comes first, so that whom we cannot serve waits in the backlog and costs us nothing.
    while let Ok(permit) = connections.clone().acquire_owned().await {
        match listener.accept().await {
            Ok((stream, _)) => drop(tokio::spawn(serve_connection(stream, shown.clone(), permit))),
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection on the admin port");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn serve_connection(stream: TcpStream, shown: Arc<Shown>, _permit: OwnedSemaphorePermit) {
    let service = service_fn(|request: Request<Incoming>| {
        let response = shown.answer(request.method(), request.uri().path());
        async move { Ok::<_, Infallible>(response) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_LIMIT)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service);
    // A peer that goes away, stalls or talks nonsense is its own problem.
    let _ = timeout(CONNECTION_LIMIT, pin!(connection)).await;
}

impl Shown {
    fn answer(&self, method: &Method, path: &str) -> Response<Full<Bytes>> {
        let page: fn(&Self) -> Response<Full<Bytes>> = match path {
            "/livez" => Self::livez,
            "/readyz" => Self::readyz,
            "/metrics" => Self::metrics,
            _ => return plain(StatusCode::NOT_FOUND, "not found\n"),
        };
        if method == Method::GET || method == Method::HEAD {
            return page(self);
        }
        let mut response = plain(StatusCode::METHOD_NOT_ALLOWED, "method not allowed\n");
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        response
    }

    fn livez(&self) -> Response<Full<Bytes>> {
        match self.heartbeat.blocked() {
            None => plain(StatusCode::OK, "ok\n"),
            Some(silent) => {
                plain(StatusCode::SERVICE_UNAVAILABLE, format!("runtime blocked for {} s\n", silent.as_secs()))
            }
        }
    }

    fn readyz(&self) -> Response<Full<Bytes>> {
        let waiting = self.state.readiness.waiting_for();
        if waiting.is_empty() {
            return plain(StatusCode::OK, "ok\n");
        }
        let lines: Vec<_> = waiting.iter().map(|name| format!("waiting for: {name}\n")).collect();
        plain(StatusCode::SERVICE_UNAVAILABLE, lines.concat())
    }

    fn metrics(&self) -> Response<Full<Bytes>> {
        let mut body = String::new();
        let registry = self.state.registry.lock().unwrap_or_else(PoisonError::into_inner);
        if text::encode(&mut body, &registry).is_err() {
            return plain(StatusCode::INTERNAL_SERVER_ERROR, "cannot encode the metrics\n");
        }
        respond(StatusCode::OK, OPEN_METRICS, body)
    }
}

fn plain(status: StatusCode, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    respond(status, "text/plain; charset=utf-8", body)
}

fn respond(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read as _, Write as _},
        net::{Ipv4Addr, TcpStream},
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

    /// Starts a server whose heartbeat is the runtime of the test.
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
        let passes = Counter::<u64>::default();
        server.state.registry.lock().unwrap().register("passes", "Passes", passes.clone());
        passes.inc_by(3);
        let answer = server.send(get("/metrics")).await;
        assert!(answer.contains("content-type: application/openmetrics-text; version=1.0.0"), "{answer}");
        assert!(answer.contains("\npasses_total 3\n") && answer.ends_with("# EOF\n"), "{answer}");
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
        // Nobody drives the runtime now, as if a task of it never returned.
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
}
