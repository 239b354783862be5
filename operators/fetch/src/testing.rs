//! Servers and proxies on loopback for tests.

use std::{
    convert::Infallible,
    net::Ipv4Addr,
    sync::{Arc, Mutex},
};

use http::{HeaderMap, Method, Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::{
    body::{Bytes, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::{
    RootCertStore, ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer},
    server::WebPkiClientVerifier,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::TlsAcceptor;

use crate::url::Url;

/// What a server answers.
pub type Reply = Response<Full<Bytes>>;

/// A request as a server saw it.
#[derive(Clone, Debug)]
pub struct Seen {
    /// The method.
    pub method: Method,
    /// Path and query.
    pub target: String,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
    /// How many certificates the client showed.
    pub certificates: usize,
}

impl Seen {
    /// The text of a header.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }
}

/// An answer.
pub fn reply(status: u16, headers: &[(&str, &str)], body: impl Into<Bytes>) -> Reply {
    let mut reply = Response::builder().status(status);
    for (name, value) in headers {
        reply = reply.header(*name, *value);
    }
    reply.body(Full::new(body.into())).unwrap()
}

/// A server, and what it saw.
#[derive(Clone, Debug)]
pub struct Server {
    /// Where it listens.
    pub port: u16,
    is_https: bool,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Server {
    /// Answers on loopback.
    pub async fn start(answer: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> Self {
        Self::listen(None, answer).await
    }

    /// Answers on loopback with TLS.
    pub async fn start_tls(tls: ServerConfig, answer: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> Self {
        Self::listen(Some(TlsAcceptor::from(Arc::new(tls))), answer).await
    }

    async fn listen(tls: Option<TlsAcceptor>, answer: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = Self { port, is_https: tls.is_some(), seen: Arc::default() };
        let (seen, answer) = (Arc::clone(&server.seen), Arc::new(answer));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (tls, seen, answer) = (tls.clone(), Arc::clone(&seen), Arc::clone(&answer));
                tokio::spawn(async move {
                    let Some(tls) = tls else { return serve(stream, 0, seen, answer).await };
                    let Ok(stream) = tls.accept(stream).await else { return };
                    let shown = stream.get_ref().1.peer_certificates().map_or(0, <[_]>::len);
                    serve(stream, shown, seen, answer).await;
                });
            }
        });
        server
    }

    /// The URL of a path there.
    #[must_use]
    pub fn url(&self, path: &str) -> Url {
        let scheme = if self.is_https { "https" } else { "http" };
        format!("{scheme}://localhost:{}{path}", self.port).parse().unwrap()
    }

    /// All requests so far.
    #[must_use]
    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }
}

async fn serve(
    stream: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
    certificates: usize,
    seen: Arc<Mutex<Vec<Seen>>>,
    answer: Arc<impl Fn(&Seen) -> Reply + Send + Sync + 'static>,
) {
    let service = service_fn(move |request: Request<Incoming>| {
        let (seen, answer) = (Arc::clone(&seen), Arc::clone(&answer));
        async move {
            let (head, body) = request.into_parts();
            let body = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
            let target = head.uri.to_string();
            let request = Seen { method: head.method, target, headers: head.headers, body, certificates };
            let reply = answer(&request);
            seen.lock().unwrap().push(request);
            Ok::<_, Infallible>(reply)
        }
    });
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

/// A server that answers every connection with these bytes, and then closes it, or hangs.
pub async fn raw(bytes: &'static [u8], hangs: bool) -> Url {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let mut open = Vec::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.read(&mut [0; 4096]).await;
            let _ = stream.write_all(bytes).await;
            if hangs {
                open.push(stream);
            }
        }
    });
    format!("http://localhost:{port}/x?token=s3cr3t").parse().unwrap()
}

/// A proxy that connects everything to one port here, and the heads of the requests that it got.
pub async fn proxy(to: u16) -> (u16, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let heads: Arc<Mutex<Vec<String>>> = Arc::default();
    let seen = Arc::clone(&heads);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(stream.read_u8().await.unwrap());
            }
            seen.lock().unwrap().push(String::from_utf8(head).unwrap());
            stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
            let mut target = TcpStream::connect((Ipv4Addr::LOCALHOST, to)).await.unwrap();
            tokio::spawn(async move { copy_bidirectional(&mut stream, &mut target).await });
        }
    });
    (port, heads)
}

/// An authority that signs certificates for localhost.
pub struct Authority {
    pem: String,
    der: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    /// A new one.
    #[must_use]
    pub fn generate() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut parameters = CertificateParams::default();
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = parameters.self_signed(&key).unwrap();
        Self { pem: certificate.pem(), der: certificate.der().clone(), issuer: Issuer::new(parameters, key) }
    }

    /// It as PEM.
    #[must_use]
    pub fn pem(&self) -> &[u8] {
        self.pem.as_bytes()
    }

    /// A certificate and its key.
    #[must_use]
    pub fn signed(&self) -> (rcgen::Certificate, KeyPair) {
        let key = KeyPair::generate().unwrap();
        let parameters = CertificateParams::new(["localhost".to_owned()]).unwrap();
        (parameters.signed_by(&key, &self.issuer).unwrap(), key)
    }

    /// A server that asks for a certificate of this authority, and does without one.
    #[must_use]
    pub fn server(&self) -> ServerConfig {
        let mut roots = RootCertStore::empty();
        roots.add(self.der.clone()).unwrap();
        let verifier = WebPkiClientVerifier::builder(Arc::new(roots)).allow_unauthenticated().build().unwrap();
        let (certificate, key) = self.signed();
        let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
        let config = ServerConfig::builder().with_client_cert_verifier(verifier);
        config.with_single_cert(vec![certificate.der().clone()], key).unwrap()
    }
}
