//! A connection to the server of a URL: through a proxy or not, at an address that may be dialled, and with TLS on it.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use drover_client::DialPolicy;
use futures::{FutureExt as _, future::BoxFuture};
use http::{Method, Request, StatusCode, Uri, header::PROXY_AUTHORIZATION};
use http_body_util::Empty;
use hyper::{body::Bytes, client::conn::http1, upgrade};
use hyper_util::{
    client::proxy::matcher::{Intercept, Matcher},
    rt::TokioIo,
};
use rustls::{
    ClientConfig, Error as TlsError, RootCertStore,
    pki_types::{CertificateDer, ServerName},
};
use secrecy::ExposeSecret as _;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, lookup_host},
    time::timeout,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::{fetch_error::FetchFailure, source::Source, url::Url};

/// How long one address may take to accept a connection.
const CONNECT_LIMIT: Duration = Duration::from_secs(4);
/// Most addresses of a name that are tried.
const ADDRESSES: usize = 4;

/// Bytes to and from a server.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

pub(crate) type Lookup = Arc<dyn Fn(String, u16) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>> + Send + Sync>;

/// Dials servers. Names are resolved once: what was judged is what is dialled.
#[derive(Clone)]
pub(crate) struct Dialler {
    policy: DialPolicy,
    lookup: Lookup,
    /// The authorities of this machine.
    system: Arc<RootCertStore>,
    /// The proxies of the environment.
    environment: Arc<Matcher>,
}

impl Dialler {
    pub(crate) fn new(policy: DialPolicy, authorities: impl IntoIterator<Item = CertificateDer<'static>>) -> Self {
        let lookup = |name: String, port| async move { Ok(lookup_host((name, port)).await?.collect()) }.boxed();
        let mut system = RootCertStore::empty();
        system.add_parsable_certificates(authorities);
        let environment = Arc::new(Matcher::from_env());
        Self { policy, lookup: Arc::new(lookup), system: Arc::new(system), environment }
    }

    /// Names have the addresses that `lookup` says, and the environment names this proxy, or none.
    #[cfg(test)]
    pub(crate) fn in_world(self, lookup: Lookup, proxy: Option<String>) -> Self {
        let environment = proxy.map_or_else(Matcher::builder, |proxy| Matcher::builder().all(proxy)).build();
        Self { lookup, environment: Arc::new(environment), ..self }
    }

    /// Connects to the server of `url`.
    pub(crate) async fn connect(&self, source: &Source, url: &Url) -> Result<Box<dyn Stream>, FetchFailure> {
        let host = url.bracketed_host();
        // A name that a proxy resolves is the proxy's matter; an address is not.
        self.policy.check_host(host).map_err(FetchFailure::AddressRefused)?;
        let stream: Box<dyn Stream> = match self.proxy(source, url) {
            Some((proxy, policy)) => self.tunnel(&proxy, policy, url).await?,
            None => Box::new(self.tcp(self.policy, url.host(), url.port()).await?),
        };
        if !url.is_https() {
            return Ok(stream);
        }
        let config = source.tls(url, &self.system).map_err(|_| FetchFailure::Tls)?;
        Ok(Box::new(secured(config, url.host(), stream).await?))
    }

    /// The proxy on the way to `url`, and where it may be: anywhere, if whoever runs Drover chose it.
    fn proxy(&self, source: &Source, url: &Url) -> Option<(Intercept, DialPolicy)> {
        match &source.proxy {
            Some(proxy) => {
                let matcher = Matcher::builder().all(proxy.expose_secret().to_owned()).build();
                matcher.intercept(url.uri()).map(|proxy| (proxy, self.policy))
            }
            None => self.environment.intercept(url.uri()).map(|proxy| (proxy, DialPolicy::AllowLocal)),
        }
    }

    async fn tcp(&self, policy: DialPolicy, host: &str, port: u16) -> Result<TcpStream, FetchFailure> {
        policy.check_host(host).map_err(FetchFailure::AddressRefused)?;
        let resolved = (self.lookup)(host.to_owned(), port).await.map_err(|_| FetchFailure::Dns)?;
        let allowed = policy.check_all(resolved).map_err(FetchFailure::AddressRefused)?;
        let mut failure = FetchFailure::Dns;
        for address in allowed.into_iter().take(ADDRESSES) {
            match timeout(CONNECT_LIMIT, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => return Ok(stream),
                _ => failure = FetchFailure::Dial,
            }
        }
        Err(failure)
    }

    /// A way through `proxy`, asked for by `CONNECT`.
    async fn tunnel(&self, proxy: &Intercept, policy: DialPolicy, url: &Url) -> Result<Box<dyn Stream>, FetchFailure> {
        let refused =
            |failure| if matches!(failure, FetchFailure::AddressRefused(_)) { failure } else { FetchFailure::Proxy };
        let uri = proxy.uri();
        let is_https = uri.scheme_str() == Some("https");
        let host = uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
        let port = uri.port_u16().unwrap_or(if is_https { 443 } else { 80 });
        let tcp = self.tcp(policy, host, port).await.map_err(refused)?;
        if !is_https {
            return ask(proxy, url, tcp).await;
        }
        // Trusted as everything else on this machine.
        let config = ClientConfig::builder().with_root_certificates(Arc::clone(&self.system)).with_no_client_auth();
        ask(proxy, url, secured(config, host, tcp).await.map_err(refused)?).await
    }
}

async fn ask(proxy: &Intercept, url: &Url, stream: impl Stream + 'static) -> Result<Box<dyn Stream>, FetchFailure> {
    let failed = |_| FetchFailure::Proxy;
    let target = format!("{}:{}", url.bracketed_host(), url.port());
    let mut request =
        Request::builder().method(Method::CONNECT).uri(target.parse::<Uri>().map_err(|_| FetchFailure::Proxy)?);
    if let Some(authorization) = proxy.basic_auth() {
        request = request.header(PROXY_AUTHORIZATION, authorization);
    }
    let request = request.header(http::header::HOST, target).body(Empty::<Bytes>::new());
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(failed)?;
    tokio::spawn(connection.with_upgrades());
    let response = sender.send_request(request.map_err(|_| FetchFailure::Proxy)?).await.map_err(failed)?;
    if response.status() != StatusCode::OK {
        return Err(FetchFailure::Proxy);
    }
    Ok(Box::new(TokioIo::new(upgrade::on(response).await.map_err(failed)?)))
}

async fn secured<S: Stream>(config: ClientConfig, host: &str, stream: S) -> Result<TlsStream<S>, FetchFailure> {
    let name = ServerName::try_from(host.to_owned()).map_err(|_| FetchFailure::Tls)?;
    TlsConnector::from(Arc::new(config)).connect(name, stream).await.map_err(|error| tls_failure(&error))
}

fn tls_failure(error: &io::Error) -> FetchFailure {
    match error.get_ref().and_then(|error| error.downcast_ref::<TlsError>()) {
        Some(TlsError::InvalidCertificate(_)) => FetchFailure::Untrusted,
        _ => FetchFailure::Tls,
    }
}
