//! One HTTP/2 connection to one API server.
//!
//! kube's default client dials a connection per watch; ten watches on 2,000 clusters would be 20,000 sockets.

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use http::{HeaderValue, Uri, header::USER_AGENT};
use hyper_util::{
    client::legacy::{Client as HttpClient, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use kube::{
    Client, Config,
    client::{Body, ConfigExt},
};
use tower::{BoxError, Service, ServiceBuilder};

/// TCP only; what is left of [`DIAL_LIMIT`] is for TLS.
const TCP_LIMIT: Duration = Duration::from_secs(4);
/// The whole dial: DNS, TCP and TLS. The connector's own limit does not cover TLS. Below the default timeout of a probe,
/// 10 s, so that the hop that hangs is named and not always the probe's own timeout.
const DIAL_LIMIT: Duration = Duration::from_secs(8);
/// A connection that shows no sign of life for this time is pinged …
const PING_AFTER: Duration = Duration::from_secs(15);
/// … and given up when the answer takes longer than this.
const PING_LIMIT: Duration = Duration::from_secs(10);

/// A client and a count of its dials. A new dial means that another server may answer.
#[derive(Clone)]
pub(crate) struct Dialled {
    pub(crate) client: Client,
    pub(crate) dials: Arc<AtomicUsize>,
}

/// Prepares a client for `config`; nothing is dialled yet.
pub(crate) fn dialled(config: &Config) -> Result<Dialled, kube::Error> {
    let mut config = config.clone();
    config.headers.push((USER_AGENT, HeaderValue::from_static(concat!("drover/", env!("CARGO_PKG_VERSION")))));
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_connect_timeout(Some(TCP_LIMIT));
    let tls = config.rustls_client_config()?;
    let mut https = hyper_rustls::HttpsConnectorBuilder::new().with_tls_config(tls).https_only();
    if let Some(name) = config.tls_server_name.as_deref().and_then(|name| name.to_owned().try_into().ok()) {
        https = https.with_server_name_resolver(hyper_rustls::FixedServerNameResolver::new(name));
    }
    let dials = Arc::new(AtomicUsize::new(0));
    let connector = Bounded { inner: https.enable_http2().wrap_connector(tcp), dials: Arc::clone(&dials) };
    let http = HttpClient::builder(TokioExecutor::new())
        .http2_only(true)
        .timer(TokioTimer::new())
        .pool_timer(TokioTimer::new())
        .http2_keep_alive_interval(PING_AFTER)
        .http2_keep_alive_timeout(PING_LIMIT)
        .http2_keep_alive_while_idle(true)
        .build::<_, Body>(connector);
    let service = ServiceBuilder::new()
        .layer(config.base_uri_layer())
        .option_layer(config.auth_layer()?)
        .layer(config.extra_headers_layer()?)
        .map_err(BoxError::from)
        .service(http);
    Ok(Dialled { client: Client::new(service, config.default_namespace.clone()), dials })
}

/// A client for the management cluster, over one HTTP/2 connection as for every other cluster.
pub fn connect(config: &Config) -> Result<Client, kube::Error> {
    dialled(config).map(|dialled| dialled.client)
}

/// The dial did not end in time. By then TCP was up, so TLS hangs.
#[derive(Debug, thiserror::Error)]
#[error("the TLS handshake did not end in time")]
pub(crate) struct HandshakeTimeout;

/// Counts dials and bounds the whole of each.
#[derive(Clone)]
struct Bounded<S> {
    inner: S,
    dials: Arc<AtomicUsize>,
}

impl<S> Service<Uri> for Bounded<S>
where
    S: Service<Uri> + Clone + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Into<BoxError>,
    S::Response: Send + 'static,
{
    type Response = S::Response;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        self.dials.fetch_add(1, Ordering::Relaxed);
        let dial = tokio::time::timeout(DIAL_LIMIT, self.inner.call(uri));
        Box::pin(async move { dial.await.map_err(|_| HandshakeTimeout)?.map_err(Into::into) })
    }
}
