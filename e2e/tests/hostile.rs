//! Clusters that mean harm, and the way through a proxy. The hostile one is a small server of our own, as no real API server
//! behaves like that; the proxy leads to a real one.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

mod common;

use std::{
    convert::Infallible,
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use common::*;
use drover_e2e::certificates::{Authority, kubeconfig};
use drover_e2e::installation::{DROVER_USER, Installation, eventually, kubectl_on};
use futures::{StreamExt as _, stream};
use http::{Request, Response};
use http_body_util::{BodyExt, StreamBody, combinators::BoxBody};
use hyper::{body::Frame, body::Incoming, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    },
};

/// How a hostile cluster answers, a list if nothing else is said.
#[derive(Clone, Copy, Debug)]
enum Harm {
    /// Without end, as fast as it can.
    Flood,
    /// A byte a second.
    Drip,
    /// Lists are empty; the first event of a watch has no end.
    Event,
    /// Already the probe is answered without end.
    Probe,
}

type Body = BoxBody<Bytes, Infallible>;

fn whole(text: String) -> Body {
    http_body_util::Full::new(Bytes::from(text)).boxed()
}

fn endless(harm: Harm) -> Body {
    let (chunk, pause) = match harm {
        Harm::Flood | Harm::Event | Harm::Probe => (Bytes::from(vec![b'x'; 64 * 1024]), Duration::ZERO),
        Harm::Drip => (Bytes::from_static(b"x"), Duration::from_secs(1)),
    };
    let start = stream::once(async { Bytes::from_static(br#"{"kind":"List","items":[{"metadata":{"name":""#) });
    let rest = stream::repeat(chunk).then(move |chunk| async move {
        tokio::time::sleep(pause).await;
        chunk
    });
    BodyExt::boxed(StreamBody::new(Box::pin(start.chain(rest)).map(|chunk| Ok(Frame::data(chunk)))))
}

/// Plausible until it is asked for a list.
fn answer(request: &Request<Incoming>, harm: Harm) -> Response<Body> {
    let uid = "11111111-2222-3333-4444-555555555555";
    let watches = request.uri().query().is_some_and(|query| query.contains("watch=true"));
    let body = match request.uri().path() {
        "/readyz" if matches!(harm, Harm::Probe) => endless(harm),
        "/readyz" => whole("ok".to_owned()),
        "/version" => {
            let names = ["gitCommit", "gitTreeState", "buildDate", "goVersion", "compiler"];
            let mut version = json!({"major": "1", "minor": "37", "gitVersion": "v1.37.1", "platform": "linux/amd64"});
            for name in names {
                version[name] = "".into();
            }
            whole(version.to_string())
        }
        "/api/v1/namespaces/kube-system" => whole(
            json!({
                "apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata",
                "metadata": {"name": "kube-system", "uid": uid},
            })
            .to_string(),
        ),
        "/api/v1/namespaces/drover-system/configmaps/drover-claim" => whole(
            json!({
                "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "drover-claim"},
                "data": {"installation": "e2e", "clusterName": "us"},
            })
            .to_string(),
        ),
        _ if matches!(harm, Harm::Event) && !watches => whole(
            json!({"kind": "List", "apiVersion": "v1", "metadata": {"resourceVersion": "1"}, "items": []}).to_string(),
        ),
        _ => endless(harm),
    };
    Response::new(body)
}

/// Starts a hostile cluster, and returns its kubeconfig.
async fn hostile(harm: Harm) -> (String, JoinHandle<()>) {
    let authority = Authority::new("hostile").unwrap();
    let identity = authority.server("hostile").unwrap();
    let chain = vec![CertificateDer::from_pem_slice(identity.certificate.as_bytes()).unwrap()];
    let key = PrivateKeyDer::from_pem_slice(identity.key.as_bytes()).unwrap();
    let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let mut config = config.with_no_client_auth().with_single_cert(chain, key).unwrap();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let server = format!("https://{}", listener.local_addr().unwrap());
    let serving = tokio::spawn(async move {
        while let Ok((connection, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(secured) = acceptor.accept(connection).await else { return };
                let service = service_fn(move |request| async move { Ok::<_, Infallible>(answer(&request, harm)) });
                let connection = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                let _ = connection.serve_connection(TokioIo::new(secured), service).await;
            });
        }
    });
    let user = authority.client("drover", &[]).unwrap();
    (kubeconfig("hostile", &server, authority.certificate(), "drover", &user), serving)
}

/// Resident memory of the newest drover, in MiB.
fn memory(installation: &mut Installation) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", installation.replica(0).unwrap().pid())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM")).unwrap().to_owned();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
}

async fn harms_nobody(harm: Harm) -> Option<Installation> {
    let installation = story("a hostile cluster", &["eu"]).await?;
    let (kubeconfig, _serving) = hostile(harm).await;
    installation.apply(&project("shop", &["team-web"]).to_string()).unwrap();
    converged(&installation, "shop").await;
    installation.store_secret("us", &kubeconfig).unwrap();
    installation.apply(&cluster("us").to_string()).unwrap();
    if !matches!(harm, Harm::Drip) {
        reads(&installation, "cluster", "us", "Ready", "False/TooLarge").await;
    }
    let eu = installation.cluster("eu").unwrap();
    for _ in 0..3 {
        let old = downstream_namespace(&installation, "eu", "team-web").unwrap().unwrap()["metadata"]["uid"].clone();
        kubectl_on(eu, &["delete", "namespace", "team-web"]).unwrap();
        let gone = Instant::now();
        namespace_becomes(&installation, "eu", "team-web", "it is back", |namespace| {
            namespace.is_some_and(|namespace| namespace["metadata"]["uid"] != old)
        })
        .await;
        assert!(gone.elapsed() < Duration::from_secs(10), "eu was held up: {:?}", gone.elapsed());
    }
    Some(installation)
}

#[tokio::test]
async fn a_cluster_that_sends_without_end_is_cut_off_and_hurts_nobody() {
    let Some(mut installation) = harms_nobody(Harm::Flood).await else { return };
    let used = memory(&mut installation);
    // A debug build with two clusters takes about 40 MiB; the rest is the one answer that was let in up to its cap.
    assert!(used < 300, "drover took {used} MiB");
    reads(&installation, "cluster", "us", "Connected", "False/TooLarge").await;
}

#[tokio::test]
async fn one_event_or_one_probe_without_end_is_cut_off_as_well() {
    for harm in [Harm::Event, Harm::Probe] {
        let Some(mut installation) = harms_nobody(harm).await else { return };
        let used = memory(&mut installation);
        assert!(used < 300, "{harm:?}: drover took {used} MiB");
        reads(&installation, "project", "shop", "Ready", "True/ReadyExceptUnreachable").await;
    }
}

#[tokio::test]
async fn a_cluster_that_answers_a_byte_a_second_hurts_nobody() {
    harms_nobody(Harm::Drip).await;
}

/// An HTTP proxy that only knows CONNECT, and how often it was asked.
async fn connect_proxy() -> (SocketAddr, Arc<AtomicUsize>, JoinHandle<()>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let serving = tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let count = Arc::clone(&count);
            tokio::spawn(async move { tunnel(client, &count).await });
        }
    });
    (address, asked, serving)
}

async fn tunnel(mut client: TcpStream, asked: &AtomicUsize) -> Option<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(client.read_u8().await.ok()?);
    }
    let head = String::from_utf8(head).ok()?;
    let target = head.strip_prefix("CONNECT ")?.split(' ').next()?;
    if !head.to_lowercase().contains("proxy-authorization: basic dXNlcjpzM2NyM3Q=".to_lowercase().as_str()) {
        client.write_all(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n").await.ok()?;
        return None;
    }
    asked.fetch_add(1, Ordering::Relaxed);
    let mut server = TcpStream::connect(target).await.ok()?;
    client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.ok()?;
    copy_bidirectional(&mut client, &mut server).await.ok().map(drop)
}

#[tokio::test]
async fn a_proxy_in_the_kubeconfig_is_used_and_its_password_shows_nowhere() {
    let Some(mut installation) = prepared("a proxy", &["eu"]).await else { return };
    let (address, asked, _serving) = connect_proxy().await;
    let kubeconfig = installation.cluster("eu").unwrap().kubeconfig_for(DROVER_USER, &["system:masters"]).unwrap();
    let through = |url: &str| {
        let server = kubeconfig.lines().find(|line| line.trim_start().starts_with("server:")).unwrap();
        let indent = &server[..server.len() - server.trim_start().len()];
        kubeconfig.replace(server, &format!("{server}\n{indent}proxy-url: {url}"))
    };
    installation.store_secret("eu", &through(&format!("http://wrong:guess@{address}"))).unwrap();
    installation.start_drover().unwrap();
    reads(&installation, "cluster", "eu", "Ready", "False/DialFailed").await;
    assert_eq!(asked.load(Ordering::Relaxed), 0);
    installation.store_secret("eu", &through(&format!("http://user:s3cr3t@{address}"))).unwrap();
    reads(&installation, "cluster", "eu", "Ready", "True/Connected").await;
    installation.apply(&project("shop", &["team-web"]).to_string()).unwrap();
    converged(&installation, "shop").await;
    assert!(asked.load(Ordering::Relaxed) > 0, "the proxy was not asked");
    let shown = eventually("the status", SOON, async || Ok(Some(get(&installation, "cluster", "eu")?))).await.unwrap();
    for text in [shown.to_string(), installation.drover_log()] {
        assert!(!text.contains("s3cr3t") && !text.contains("guess"), "{text}");
    }
}
