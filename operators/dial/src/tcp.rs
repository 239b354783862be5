//! TCP to addresses that may be dialled, and to no others.
//!
//! Names are resolved once, and what was judged is what is dialled: a name that resolves to another address a moment later
//! opens no way.

use std::{
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
    vec,
};

use drover_client::DialPolicy;
use futures::{FutureExt as _, future::BoxFuture};
use http::Uri;
use hyper_util::{
    client::legacy::connect::{HttpConnector, dns::Name},
    rt::TokioIo,
};
use tokio::net::{TcpStream, lookup_host};
use tower::{BoxError, Service};

/// How long until a connection is up; from name to address is not in it.
const LIMIT: Duration = Duration::from_secs(4);

type Lookup = Arc<dyn Fn(Name) -> BoxFuture<'static, Result<Vec<SocketAddr>, BoxError>> + Send + Sync>;

/// Connects to the host and port of a URL.
#[derive(Clone)]
pub(crate) struct Tcp {
    connector: HttpConnector<Resolver>,
    policy: DialPolicy,
}

impl Tcp {
    /// By the resolver of this machine.
    pub(crate) fn new(policy: DialPolicy) -> Self {
        let lookup = |name: Name| async move { Ok(lookup_host((name.as_str(), 0)).await?.collect()) }.boxed();
        Self::resolving(policy, Arc::new(lookup))
    }

    fn resolving(policy: DialPolicy, lookup: Lookup) -> Self {
        let mut connector = HttpConnector::new_with_resolver(Resolver { lookup, policy });
        connector.enforce_http(false);
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(LIMIT));
        Self { connector, policy }
    }
}

impl Service<Uri> for Tcp {
    type Response = TokioIo<TcpStream>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.connector.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        // An address in a URL is dialled without the resolver.
        let judged = self.policy.check_host(uri.host().unwrap_or_default());
        let dial = self.connector.call(uri);
        let policy = self.policy;
        Box::pin(async move {
            judged?;
            let stream = dial.await?;
            policy.check(stream.inner().peer_addr()?.ip())?;
            Ok(stream)
        })
    }
}

/// Resolves names to addresses that may be dialled.
#[derive(Clone)]
struct Resolver {
    lookup: Lookup,
    policy: DialPolicy,
}

impl Service<Name> for Resolver {
    type Response = vec::IntoIter<SocketAddr>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Self::Response, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let (resolved, policy) = ((self.lookup)(name), self.policy);
        async move { Ok(policy.check_all(resolved.await?)?.into_iter()) }.boxed()
    }
}

#[cfg(test)]
mod tests {
    use std::{
        net::Ipv4Addr,
        sync::atomic::{AtomicUsize, Ordering},
    };

    use tokio::net::TcpListener;
    use tower::ServiceExt as _;

    use super::*;
    use crate::connection_error::ConnectionError;

    async fn listener() -> (TcpListener, SocketAddr) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        (listener, address)
    }

    /// A resolver whose answers are these, one after the other, and how often it was asked.
    fn answering(answers: &[&[&str]]) -> (Lookup, Arc<AtomicUsize>) {
        let answers: Vec<Vec<SocketAddr>> =
            answers.iter().map(|all| all.iter().map(|address| address.parse().unwrap()).collect()).collect();
        let asked = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&asked);
        let lookup = move |_| {
            let answer = answers[count.fetch_add(1, Ordering::Relaxed)].clone();
            async move { Ok(answer) }.boxed()
        };
        (Arc::new(lookup), asked)
    }

    async fn refusal(tcp: Tcp, url: &str) -> ConnectionError {
        let failed = tcp.oneshot(url.parse().unwrap()).await.map(drop).unwrap_err();
        ConnectionError::of("GET /readyz", &kube::Error::Service(failed))
    }

    #[tokio::test]
    async fn a_local_address_is_refused_however_it_is_named() {
        let (_listener, address) = listener().await;
        let port = address.port();
        let loopback = format!("127.0.0.1:{port}");
        for host in ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "0.0.0.0", "127.1", "named.example"] {
            let (lookup, _) = answering(&[&[&loopback]]);
            let tcp = Tcp::resolving(DialPolicy::RefuseLocal, lookup);
            let refused = refusal(tcp, &format!("https://{host}:{port}")).await;
            assert!(matches!(refused, ConnectionError::AddressNotAllowed(_)), "{host}: {refused:?}");
        }
        let (lookup, _) = answering(&[&[&loopback]]);
        let allowed = Tcp::resolving(DialPolicy::AllowLocal, lookup);
        allowed.oneshot(format!("https://named.example:{port}").parse().unwrap()).await.unwrap();
    }

    #[tokio::test]
    async fn a_name_is_resolved_once_and_one_local_address_refuses_it() {
        let (_listener, address) = listener().await;
        let loopback = address.to_string();
        // What follows the first answer would open the way, if it was asked for.
        let (lookup, asked) = answering(&[&["192.0.2.1:0", &loopback], &[&loopback]]);
        let refused = refusal(Tcp::resolving(DialPolicy::RefuseLocal, lookup), "https://rebinds.example").await;
        assert!(matches!(refused, ConnectionError::AddressNotAllowed(_)), "{refused:?}");
        assert_eq!(asked.load(Ordering::Relaxed), 1);
        let (lookup, asked) = answering(&[&[&loopback], &["192.0.2.1:0"]]);
        let tcp = Tcp::resolving(DialPolicy::AllowLocal, lookup);
        tcp.oneshot(format!("https://rebinds.example:{}", address.port()).parse().unwrap()).await.unwrap();
        assert_eq!(asked.load(Ordering::Relaxed), 1);
    }

    #[tokio::test]
    async fn a_name_that_does_not_resolve_is_said() {
        let lookup: Lookup = Arc::new(|_| async { Err(std::io::Error::other("no such name").into()) }.boxed());
        let refused = refusal(Tcp::resolving(DialPolicy::RefuseLocal, lookup), "https://nobody.example").await;
        assert_eq!(refused, ConnectionError::Dns);
    }
}
