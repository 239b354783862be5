//! A proxy that terminates TLS in front of an API server, sees every request, and can answer as servers in trouble do.
//!
//! Clients come with a bearer token, which it passes on; a client certificate would end here.

mod answers;
mod trap;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::uri::Scheme;
use http::{Method, Request, Response, StatusCode, Uri};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;

use crate::ControlPlane;
use crate::certificates::{Authority, kubeconfig_with_token};
use crate::error::{Error, Result};
use crate::proxy::Proxy;
pub use trap::{Victim, WriteTrap};

/// What happens to requests. Watches that are open are hit as new ones are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answers {
    /// The server's own.
    Pass,
    /// 429 to everything, to be tried again in a second: priority and fairness under a storm.
    TooManyRequests,
    /// 500 to everything.
    InternalError,
    /// The server's own, so much later: a slow server.
    Late(Duration),
    /// Watches break in the middle of every event.
    TruncatedWatches,
    /// Watches stay open and say nothing any more, also after the fault: a peer that went away without a word.
    SilentWatches,
}

/// The body of an answer.
pub type Body = BoxBody<Bytes, hyper::Error>;

/// A proxy. Dropping it ends it and all its connections.
#[derive(Debug)]
pub struct HttpProxy {
    address: SocketAddr,
    /// Where its kubeconfigs lead.
    entrance: u16,
    authority: Authority,
    answers: watch::Sender<Answers>,
    accepting: JoinHandle<()>,
}

impl HttpProxy {
    /// Starts a proxy in front of a control plane; `trap` sees every request that changes something.
    pub async fn start(plane: &ControlPlane, trap: Arc<WriteTrap>) -> Result<Self> {
        let failed = |source| Error::Start { name: "proxy".to_owned(), source };
        let authority = Authority::new("proxy")?;
        let acceptor = acceptor(&authority)?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let answers = watch::Sender::new(Answers::Pass);
        let target = plane.endpoint().parse()?;
        let server = Server { target, client: client_of(plane)?, answers: answers.subscribe(), trap };
        let accepting = tokio::spawn(accept(listener, acceptor, Arc::new(server)));
        Ok(Self { address, entrance: address.port(), authority, answers, accepting })
    }

    /// The port that it listens on.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Changes what happens to requests.
    pub fn set(&self, answers: Answers) {
        self.answers.send_replace(answers);
    }

    /// The same proxy, whose kubeconfigs lead to it through `connections`.
    #[must_use]
    pub fn behind(mut self, connections: &Proxy) -> Self {
        self.entrance = connections.address().port();
        self
    }

    /// A kubeconfig with a bearer token of the control plane that leads here.
    #[must_use]
    pub fn kubeconfig(&self, token: &str) -> String {
        let endpoint = format!("https://127.0.0.1:{}", self.entrance);
        kubeconfig_with_token("proxied", &endpoint, self.authority.certificate(), "token", token)
    }
}

impl Drop for HttpProxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// What serves TLS and HTTP/2 with a new certificate of an authority, for loopback.
pub fn acceptor(authority: &Authority) -> Result<TlsAcceptor> {
    acceptor_of(authority, "h2")
}

/// The same for another protocol.
pub(crate) fn acceptor_of(authority: &Authority, protocol: &str) -> Result<TlsAcceptor> {
    let identity = authority.server("proxy")?;
    let chain = vec![CertificateDer::from_pem_slice(identity.certificate.as_bytes())?];
    let key = PrivateKeyDer::from_pem_slice(identity.key.as_bytes())?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let mut config = config.with_no_client_auth().with_single_cert(chain, key)?;
    config.alpn_protocols = vec![protocol.into()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

type Upstream = Client<HttpsConnector<HttpConnector>, Incoming>;

fn client_of(plane: &ControlPlane) -> Result<Upstream> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(plane.authority_certificate().as_bytes())?)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let config = config.with_root_certificates(roots).with_no_client_auth();
    let connector = HttpsConnectorBuilder::new().with_tls_config(config).https_only().enable_http2().build();
    Ok(Client::builder(TokioExecutor::new()).http2_only(true).build(connector))
}

struct Server {
    target: Uri,
    client: Upstream,
    answers: watch::Receiver<Answers>,
    trap: Arc<WriteTrap>,
}

async fn accept(listener: TcpListener, acceptor: TlsAcceptor, server: Arc<Server>) {
    let mut connections = JoinSet::new();
    while let Ok((connection, _)) = listener.accept().await {
        connections.spawn(serve(connection, acceptor.clone(), Arc::clone(&server)));
        while connections.try_join_next().is_some() {}
    }
}

async fn serve(connection: TcpStream, acceptor: TlsAcceptor, server: Arc<Server>) {
    let Ok(secured) = acceptor.accept(connection).await else { return };
    let service = service_fn(|request| {
        let server = Arc::clone(&server);
        async move { server.answer(request).await }
    });
    let builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
    // How a connection ended is the client's matter.
    let _ = builder.serve_connection(TokioIo::new(secured), service).await;
}

impl Server {
    async fn answer(&self, request: Request<Incoming>) -> std::result::Result<Response<Body>, http::Error> {
        let answers = *self.answers.borrow();
        match answers {
            Answers::TooManyRequests => return answers::status(StatusCode::TOO_MANY_REQUESTS),
            Answers::InternalError => return answers::status(StatusCode::INTERNAL_SERVER_ERROR),
            Answers::Late(delay) => tokio::time::sleep(delay).await,
            Answers::Pass | Answers::TruncatedWatches | Answers::SilentWatches => {}
        }
        let writes = is_counted(&request);
        let watches = request.uri().query().is_some_and(|query| query.contains("watch=true"));
        let Ok(response) = self.client.request(self.redirected(request)?).await else {
            return answers::status(StatusCode::BAD_GATEWAY);
        };
        if writes && self.trap.springs() {
            // It is written, and whoever wrote it is gone before it can know.
            std::future::pending::<()>().await;
        }
        let (head, body) = response.into_parts();
        let body = if watches { answers::watched(body, self.answers.clone()) } else { body.boxed() };
        Ok(Response::from_parts(head, body))
    }

    /// The same request, to the API server.
    fn redirected(&self, request: Request<Incoming>) -> std::result::Result<Request<Incoming>, http::Error> {
        let (mut head, body) = request.into_parts();
        let mut parts = head.uri.into_parts();
        parts.scheme = Some(Scheme::HTTPS);
        parts.authority = self.target.authority().cloned();
        head.uri = Uri::from_parts(parts)?;
        Ok(Request::from_parts(head, body))
    }
}

/// Changes something, and is not the leader's Lease, whose renewals come by the clock, nor a review, which is a question.
fn is_counted(request: &Request<Incoming>) -> bool {
    let reads = [Method::GET, Method::HEAD].contains(request.method());
    let path = request.uri().path();
    !reads && !path.contains("/leases") && !path.starts_with("/apis/authorization.k8s.io/")
}

fn whole(text: &str) -> Body {
    Full::new(Bytes::copy_from_slice(text.as_bytes())).map_err(|never| match never {}).boxed()
}
