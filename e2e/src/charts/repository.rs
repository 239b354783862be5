use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;

use super::ChartFiles;
use crate::certificates::Authority;
use crate::error::{Error, Result};

/// What happens to requests, after they are counted.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Trouble {
    /// They are answered.
    #[default]
    None,
    /// This status to everything, such as 401, 429 (to be tried again in a second) or 500.
    Status(u16),
    /// They stay open without an answer.
    Hangs,
    /// An answer comes in pieces of a kilobyte, each after a pause.
    Slow(Duration),
    /// Everything is elsewhere: below this URL.
    Redirect(String),
    /// An answer announces its length, and ends in the middle.
    Truncated,
}

/// A chart repository on loopback. Dropping it ends it and all its connections.
#[derive(Debug)]
pub struct Repository {
    url: String,
    content: Arc<Content>,
    accepting: JoinHandle<()>,
}

impl Repository {
    /// Starts an empty one, over plain HTTP.
    pub async fn start() -> Result<Self> {
        Self::listen(None).await
    }

    /// Starts an empty one, over TLS with a certificate of this authority.
    pub async fn start_with_tls(authority: &Authority) -> Result<Self> {
        Self::listen(Some(crate::http_proxy::acceptor_of(authority, "http/1.1")?)).await
    }

    async fn listen(acceptor: Option<TlsAcceptor>) -> Result<Self> {
        let failed = |source| Error::Start { name: "chart repository".to_owned(), source };
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let scheme = if acceptor.is_some() { "https" } else { "http" };
        let content = Arc::new(Content::default());
        let accepting = tokio::spawn(accept(listener, acceptor, Arc::clone(&content)));
        Ok(Self { url: format!("{scheme}://{address}"), content, accepting })
    }

    /// Its URL, without a slash at the end.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Adds a chart, and a row for it to `index.yaml`.
    pub fn add(&self, chart: &ChartFiles) -> Result<()> {
        let (name, version) = chart.identity()?;
        let package = chart.package()?;
        let mut row = chart.metadata()?;
        if let Some(row) = row.as_object_mut() {
            row.insert("urls".to_owned(), json!([format!("charts/{name}-{version}.tgz")]));
            row.insert("digest".to_owned(), sha256(&package).into());
            row.insert("created".to_owned(), "2026-01-01T00:00:00Z".into());
        }
        let mut state = self.content.state();
        state.files.insert(format!("/charts/{name}-{version}.tgz"), package.into());
        state.rows.entry(name).or_default().insert(0, row);
        let index = json!({"apiVersion": "v1", "generated": "2026-01-01T00:00:00Z", "entries": state.rows});
        let index = serde_yaml::to_string(&index).map_err(|error| Error::Yaml(error.to_string()))?;
        state.files.insert("/index.yaml".to_owned(), index.into());
        Ok(())
    }

    /// Serves these bytes at this path, also in place of `/index.yaml` until a chart is added.
    pub fn put(&self, path: &str, content: impl Into<Bytes>) {
        self.content.state().files.insert(path.to_owned(), content.into());
    }

    /// Wants a user and a password from now on.
    pub fn require(&self, user: &str, password: &str) {
        self.content.state().login = Some(format!("Basic {}", STANDARD.encode(format!("{user}:{password}"))));
    }

    /// Changes what happens to requests.
    pub fn set(&self, trouble: Trouble) {
        self.content.state().trouble = trouble;
    }

    /// How many requests for this path came, in whatever form.
    #[must_use]
    pub fn requests(&self, path: &str) -> usize {
        self.content.state().requests.get(path).copied().unwrap_or_default()
    }

    /// How many requests came in all.
    #[must_use]
    pub fn all_requests(&self) -> usize {
        self.content.state().requests.values().sum()
    }
}

impl Drop for Repository {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

#[derive(Debug, Default)]
struct Content(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    files: BTreeMap<String, Bytes>,
    rows: BTreeMap<String, Vec<Value>>,
    requests: BTreeMap<String, usize>,
    login: Option<String>,
    trouble: Trouble,
}

type Body = UnsyncBoxBody<Bytes, std::io::Error>;

impl Content {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn answer(&self, request: Request<Incoming>) -> std::result::Result<Response<Body>, http::Error> {
        let (trouble, found, is_allowed) = self.look_up(&request);
        let whole = match trouble {
            Trouble::Hangs => std::future::pending().await,
            Trouble::Status(status) => return empty(StatusCode::from_u16(status)?),
            Trouble::Redirect(to) => {
                let location = format!("{to}{}", request.uri().path());
                return Response::builder()
                    .status(StatusCode::FOUND)
                    .header(header::LOCATION, location)
                    .body(full(Bytes::new()));
            }
            _ if !is_allowed => return empty(StatusCode::UNAUTHORIZED),
            Trouble::None | Trouble::Slow(_) | Trouble::Truncated => found,
        };
        let Some(content) = whole else { return empty(StatusCode::NOT_FOUND) };
        let tag = format!("\"{}\"", sha256(&content));
        if request.headers().get(header::IF_NONE_MATCH).is_some_and(|known| known.as_bytes() == tag.as_bytes()) {
            return empty(StatusCode::NOT_MODIFIED);
        }
        let length = content.len();
        let body = match trouble {
            Trouble::Slow(pause) => slow(content, pause),
            Trouble::Truncated => broken(&content),
            _ => full(content),
        };
        Response::builder().header(header::ETAG, tag).header(header::CONTENT_LENGTH, length).body(body)
    }

    fn look_up(&self, request: &Request<Incoming>) -> (Trouble, Option<Bytes>, bool) {
        let mut state = self.state();
        let path = request.uri().path();
        *state.requests.entry(path.to_owned()).or_default() += 1;
        let login = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let is_allowed = state.login.is_none() || state.login.as_deref() == login;
        (state.trouble.clone(), state.files.get(path).cloned(), is_allowed)
    }
}

async fn accept(listener: TcpListener, acceptor: Option<TlsAcceptor>, content: Arc<Content>) {
    let mut connections = JoinSet::new();
    while let Ok((connection, _)) = listener.accept().await {
        let (acceptor, content) = (acceptor.clone(), Arc::clone(&content));
        connections.spawn(async move {
            match acceptor {
                None => serve(connection, content).await,
                Some(acceptor) => {
                    if let Ok(secured) = acceptor.accept(connection).await {
                        serve(secured, content).await;
                    }
                }
            }
        });
        while connections.try_join_next().is_some() {}
    }
}

async fn serve(connection: impl AsyncRead + AsyncWrite + Unpin, content: Arc<Content>) {
    let service = service_fn(|request| {
        let content = Arc::clone(&content);
        async move { content.answer(request).await }
    });
    // How a connection ended is the client's matter.
    let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(connection), service).await;
}

fn empty(status: StatusCode) -> std::result::Result<Response<Body>, http::Error> {
    let mut response = Response::builder().status(status);
    if status == StatusCode::TOO_MANY_REQUESTS {
        response = response.header(header::RETRY_AFTER, 1);
    }
    response.body(full(Bytes::new()))
}

fn full(content: Bytes) -> Body {
    Full::new(content).map_err(|never: Infallible| match never {}).boxed_unsync()
}

fn slow(content: Bytes, pause: Duration) -> Body {
    let pieces = futures::stream::unfold(content, move |mut content| async move {
        if content.is_empty() {
            return None;
        }
        tokio::time::sleep(pause).await;
        let piece = content.split_to(content.len().min(1024));
        Some((Ok(Frame::data(piece)), content))
    });
    StreamBody::new(pieces).boxed_unsync()
}

fn broken(content: &Bytes) -> Body {
    let half = content.slice(..content.len() / 2);
    let ends = std::io::Error::from(std::io::ErrorKind::UnexpectedEof);
    StreamBody::new(futures::stream::iter([Ok(Frame::data(half)), Err(ends)])).boxed_unsync()
}

/// As Helm writes digests of charts.
fn sha256(content: &[u8]) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, content);
    digest.as_ref().iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
}
