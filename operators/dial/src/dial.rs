//! One HTTP/2 connection to one API server.
//!
//! kube's default client dials a connection per watch; ten watches on 2,000 clusters would be 20,000 sockets.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use drover_client::DialPolicy;
use http::{HeaderValue, Uri, header::USER_AGENT};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder, MaybeHttpsStream};
use hyper_util::{
    client::legacy::{Client as HttpClient, connect::proxy::Tunnel},
    rt::{TokioExecutor, TokioIo, TokioTimer},
};
use kube::{
    Client, Config,
    client::{Body, ConfigExt},
};
use rustls::ClientConfig;
use tokio::net::TcpStream;
use tower::{BoxError, Service, ServiceBuilder, ServiceExt as _, util::BoxCloneSyncService};

use crate::{
    expiry::{CredentialLife, life_of_certificate},
    kubeconfig::Access,
    prepare::{self, PrepareError},
    proxy::Proxy,
    tcp::Tcp,
    verifier::client_config,
};

/// The whole dial: DNS, TCP, the proxy and TLS. The connector's own limit does not cover TLS. Below the default timeout of a
/// probe, 10 s, so that the step that hangs is named and not always the probe's own timeout.
const DIAL_LIMIT: Duration = Duration::from_secs(8);
/// A connection that shows no sign of life for this time is pinged …
pub const PING_AFTER: Duration = Duration::from_secs(6);
/// … and given up when the answer takes longer than this, which counts as a failed probe. With two probes after it that fail at
/// the limit of a dial (8 s), a server that hangs is given up within 30 s.
pub const PING_LIMIT: Duration = Duration::from_secs(5);

/// The stream to a proxy or to an API server, with TLS on it or not.
type Stream = MaybeHttpsStream<TokioIo<TcpStream>>;
type Streams = BoxCloneSyncService<Uri, Stream, BoxError>;
/// The stream to an API server, with TLS on it.
pub(crate) type Secured = MaybeHttpsStream<Stream>;

/// A client for a cluster that is trusted, such as the management cluster, over one HTTP/2 connection as for every other
/// cluster, and which may be at any address. `proxy_url` is that of its kubeconfig; without one the environment says.
pub fn connect(config: &Config, proxy_url: Option<&str>) -> Result<Client, PrepareError> {
    prepare::check(config, proxy_url)?;
    let config = with_agent(config);
    let way = Way::to(&config.cluster_url, proxy_url, DialPolicy::AllowLocal);
    let tls = prepare::with_token_of_program(|| client_config(&config))?;
    let http = http(dialler(&config, tls, way)?);
    let service = ServiceBuilder::new()
        .layer(config.base_uri_layer())
        .option_layer(prepare::with_token_of_program(|| config.auth_layer())?)
        .layer(config.extra_headers_layer()?)
        .map_err(BoxError::from)
        .service(http);
    Ok(Client::new(service, config.default_namespace.clone()))
}

/// The same, with the name of Drover in every request.
#[must_use]
pub fn with_agent(config: &Config) -> Config {
    let mut config = config.clone();
    config.headers.push((USER_AGENT, HeaderValue::from_static(concat!("drover/", env!("CARGO_PKG_VERSION")))));
    config
}

fn http(dialler: Dialler) -> HttpClient<Dialler, Body> {
    HttpClient::builder(TokioExecutor::new())
        .http2_only(true)
        .timer(TokioTimer::new())
        .pool_timer(TokioTimer::new())
        .http2_keep_alive_interval(PING_AFTER)
        .http2_keep_alive_timeout(PING_LIMIT)
        .http2_keep_alive_while_idle(true)
        .build(dialler)
}

fn dialler(config: &Config, tls: ClientConfig, way: Way) -> Result<Dialler, kube::Error> {
    let mut https = HttpsConnectorBuilder::new().with_tls_config(tls).https_only();
    if let Some(name) = config.tls_server_name.as_deref().and_then(|name| name.to_owned().try_into().ok()) {
        https = https.with_server_name_resolver(hyper_rustls::FixedServerNameResolver::new(name));
    }
    let policy = way.policy;
    let inner = https.enable_http2().wrap_connector(streams(way).map_err(kube::Error::Service)?);
    Ok(Dialler { inner, policy })
}

/// Looks at a server without a request: a TLS handshake, and that is all.
#[derive(Debug)]
pub struct TlsProbe {
    dialler: Dialler,
    server: Uri,
}

impl TlsProbe {
    /// At the server that `access` names.
    pub fn at(access: &Access, policy: DialPolicy) -> Result<Self, kube::Error> {
        Ok(Self { dialler: Dialler::to(access, policy)?, server: access.config.cluster_url.clone() })
    }

    /// At the server of a cluster that is trusted, as [`connect`] reaches it.
    pub fn of(config: &Config) -> Result<Self, kube::Error> {
        let way = Way::to(&config.cluster_url, None, DialPolicy::AllowLocal);
        let dialler = dialler(config, client_config(config)?, way)?;
        Ok(Self { dialler, server: config.cluster_url.clone() })
    }

    /// Its URL.
    #[must_use]
    pub fn address(&self) -> &Uri {
        &self.server
    }

    /// The dates of the certificate that the server presents; none if there is no trusted one.
    pub async fn certificate(&self) -> Option<CredentialLife> {
        let stream = self.dialler.clone().oneshot(self.server.clone()).await.ok()?;
        presented(&stream).and_then(life_of_certificate)
    }
}

/// How bytes get to the API server: straight, or through a proxy that is asked by `CONNECT`.
struct Way {
    proxy: Option<Proxy>,
    /// Where the API server may be.
    policy: DialPolicy,
}

impl Way {
    fn to(server: &Uri, proxy_url: Option<&str>, policy: DialPolicy) -> Self {
        Self { proxy: Proxy::to(server, proxy_url, policy), policy }
    }
}

fn streams(way: Way) -> Result<Streams, BoxError> {
    let Some(Proxy { uri, authorization, policy }) = way.proxy else {
        return Ok(BoxCloneSyncService::new(Tcp::new(way.policy).map_response(MaybeHttpsStream::Http)));
    };
    let tcp = Tcp::new(policy);
    // A proxy with TLS of its own is trusted as everything else on this machine: by the system's authorities.
    let to_proxy = if uri.scheme_str() == Some("https") {
        let https = HttpsConnectorBuilder::new().with_native_roots()?.https_only().enable_http1();
        BoxCloneSyncService::new(https.wrap_connector(tcp))
    } else {
        BoxCloneSyncService::new(tcp.map_response(MaybeHttpsStream::Http))
    };
    let tunnel = Tunnel::new(uri, to_proxy);
    let tunnel = match authorization {
        Some(authorization) => tunnel.with_auth(authorization),
        None => tunnel,
    };
    Ok(BoxCloneSyncService::new(tunnel.map_err(|error| ProxyFailed(error.into()).into())))
}

/// The dial did not end in time. By then TCP was up, so the proxy hangs, or TLS.
#[derive(Debug, thiserror::Error)]
#[error("the TLS handshake did not end in time")]
pub(crate) struct HandshakeTimeout;

/// The server did not choose HTTP/2.
#[derive(Debug, thiserror::Error)]
#[error("the server does not speak HTTP/2")]
pub(crate) struct NoHttp2;

/// The proxy gives no connection to the API server.
#[derive(Debug, thiserror::Error)]
#[error("the proxy cannot be reached, or does not connect to the API server")]
pub(crate) struct ProxyFailed(#[source] BoxError);

/// Bounds the whole of each dial.
#[derive(Clone)]
pub struct Dialler {
    inner: HttpsConnector<Streams>,
    policy: DialPolicy,
}

impl Dialler {
    /// To the server that `access` names, at an address that `policy` allows.
    pub fn to(access: &Access, policy: DialPolicy) -> Result<Self, kube::Error> {
        let Access { config, tls, proxy_url, .. } = access;
        dialler(config, tls.clone(), Way::to(&config.cluster_url, proxy_url.as_deref(), policy))
    }
}

impl fmt::Debug for Dialler {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Dialler").finish_non_exhaustive()
    }
}

impl Service<Uri> for Dialler {
    type Response = Secured;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        // A name that a proxy resolves is the proxy's matter; an address is not.
        if let Err(refused) = self.policy.check_host(uri.host().unwrap_or_default()) {
            return Box::pin(async move { Err(refused.into()) });
        }
        let dial = tokio::time::timeout(DIAL_LIMIT, self.inner.call(uri));
        Box::pin(async move {
            let stream = dial.await.map_err(|_| HandshakeTimeout)??;
            if speaks_http2(&stream) { Ok(stream) } else { Err(NoHttp2.into()) }
        })
    }
}

/// The certificate that the server showed, as DER.
#[must_use]
pub fn presented(stream: &Secured) -> Option<&[u8]> {
    let MaybeHttpsStream::Https(stream) = stream else { return None };
    let (_, session) = stream.inner().get_ref();
    session.peer_certificates()?.first().map(AsRef::as_ref)
}

/// Whether the server chose HTTP/2. One that chooses nothing speaks HTTP/1.1 only.
fn speaks_http2(stream: &Secured) -> bool {
    let MaybeHttpsStream::Https(stream) = stream else { return false };
    stream.inner().get_ref().1.alpn_protocol() == Some(b"h2")
}
