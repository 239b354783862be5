//! Sends requests to one cluster under the rules of its [`ConnectionGuard`], over as many connections as they need.

use std::{
    future::{Future, poll_fn},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
};

use drover_dial::{Access, Dialler, PING_AFTER, PING_LIMIT, expiry::life_of_certificate, presented, with_agent};
use drover_runtime::DialPolicy;
use http::{Method, Request, Response, Uri};
use hyper::{
    body::Incoming,
    client::conn::http2::{Builder, SendRequest},
};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use kube::{
    Client,
    client::{Body, ConfigExt as _},
};
use tower::{BoxError, Service, ServiceBuilder, ServiceExt as _};

use crate::{
    connection_guard::{Capped, ConnectionGuard, is_probing, may_dial},
    connections::{Channel, Chosen, NotIdentified, Stream},
};

#[cfg(test)]
mod tests;

/// How often a request is sent that the server certainly did not process.
const TRIES: u32 = 5;

/// Prepares a client for a downstream cluster, at an address that `policy` allows and under the rules of `guard`; nothing is
/// dialled yet.
pub(crate) fn dialled(
    access: &Access,
    policy: DialPolicy,
    guard: &Arc<ConnectionGuard>,
) -> Result<Client, kube::Error> {
    let config = with_agent(&access.config);
    let transport = Transport::new(Dialler::to(access, policy)?, config.cluster_url.clone(), Arc::clone(guard));
    let service = ServiceBuilder::new()
        .layer(config.base_uri_layer())
        .option_layer(config.auth_layer()?)
        .layer(config.extra_headers_layer()?)
        .map_err(BoxError::from)
        .service(transport);
    Ok(Client::new(service, config.default_namespace.clone()))
}

/// The way to one API server.
#[derive(Clone)]
pub(crate) struct Transport {
    dialler: Dialler,
    server: Uri,
    guard: Arc<ConnectionGuard>,
}

/// One HTTP/2 connection.
#[derive(Clone, Debug)]
pub(crate) struct Http2 {
    requests: SendRequest<Body>,
    streams: Arc<AtomicUsize>,
}

impl Channel for Http2 {
    fn is_closed(&self) -> bool {
        self.requests.is_closed()
    }

    fn streams(&self) -> usize {
        self.streams.load(Ordering::Relaxed)
    }
}

impl Transport {
    pub(crate) fn new(dialler: Dialler, server: Uri, guard: Arc<ConnectionGuard>) -> Self {
        Self { dialler, server, guard }
    }

    /// Sends a request, once more where the connection drained before the server took it.
    async fn send(&self, request: Request<Body>) -> Result<Response<Capped<Incoming>>, BoxError> {
        let turn = self.guard.turn().await?;
        let stream = stream_of(&request);
        let response = self.send_in_turn(request, stream).await?;
        // A watch lasts, and others have their turn meanwhile.
        let turn = turn.filter(|_| stream != Stream::Watch);
        Ok(response.map(|body| body.within(turn)))
    }

    async fn send_in_turn(
        &self,
        request: Request<Body>,
        stream: Stream,
    ) -> Result<Response<Capped<Incoming>>, BoxError> {
        let (head, mut body) = request.into_parts();
        for _ in 1..TRIES {
            let again = body.try_clone();
            match self.try_send(Request::from_parts(head.clone(), body), stream).await {
                Err(Failed { unprocessed: true, error }) => body = again.ok_or(error)?,
                outcome => return outcome.map_err(|failed| failed.error),
            }
        }
        self.try_send(Request::from_parts(head, body), stream).await.map_err(|failed| failed.error)
    }

    async fn try_send(&self, request: Request<Body>, stream: Stream) -> Result<Response<Capped<Incoming>>, Failed> {
        let Chosen { mut channel, watch } = self.choose(stream).await?;
        let response = channel.requests.try_send_request(request).await.map_err(|mut refused| {
            let unprocessed = refused.take_message().is_some() || is_unprocessed(refused.error());
            Failed { unprocessed, error: refused.into_error().into() }
        })?;
        Ok(self.guard.capped(response, stream, watch))
    }

    async fn choose(&self, stream: Stream) -> Result<Chosen<Http2>, BoxError> {
        let connections = &self.guard.connections;
        if !is_probing() {
            return Ok(connections.identified_one(stream).await?);
        }
        let channel = match connections.newest() {
            Some(channel) => channel,
            None => self.dial().await?,
        };
        Ok(Chosen { channel, watch: None })
    }

    /// Makes a connection. Whoever answers is unknown as yet.
    async fn dial(&self) -> Result<Http2, BoxError> {
        may_dial()?;
        let stream = self.dialler.clone().oneshot(self.server.clone()).await?;
        let certificate = presented(&stream).and_then(life_of_certificate);
        let (requests, mut connection) = Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .keep_alive_interval(PING_AFTER)
            .keep_alive_timeout(PING_LIMIT)
            .keep_alive_while_idle(true)
            .handshake(stream)
            .await?;
        let streams = Arc::new(AtomicUsize::new(connection.current_max_send_streams()));
        let channel = Http2 { requests, streams: Arc::clone(&streams) };
        let number = self.guard.dialled(channel.clone(), certificate);
        let guard = Arc::downgrade(&self.guard);
        tokio::spawn(async move {
            // It ends when the connection takes no more requests; those on their way, watches included, go on.
            let ended = poll_fn(|context| {
                let ended = Pin::new(&mut connection).poll(context);
                streams.store(connection.current_max_send_streams(), Ordering::Relaxed);
                ended
            });
            let unanswered = ended.await.is_err_and(|error| error.is_timeout());
            if let Some(guard) = guard.upgrade() {
                guard.connections.closed(number, unanswered);
            }
        });
        Ok(channel)
    }
}

impl Service<Request<Body>> for Transport {
    type Response = Response<Capped<Incoming>>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let transport = self.clone();
        Box::pin(async move { transport.send(request).await })
    }
}

/// A request that has no answer.
struct Failed {
    /// Whether the server certainly did nothing about it.
    unprocessed: bool,
    error: BoxError,
}

impl From<BoxError> for Failed {
    fn from(error: BoxError) -> Self {
        Self { unprocessed: false, error }
    }
}

impl From<NotIdentified> for Failed {
    fn from(error: NotIdentified) -> Self {
        Self { unprocessed: false, error: error.into() }
    }
}

/// Whether the server said that it did not process the request: its stream came after the last one that `GOAWAY` lets it
/// finish, or was refused (RFC 9113 §8.7).
fn is_unprocessed(error: &hyper::Error) -> bool {
    let mut causes = std::iter::successors(std::error::Error::source(error), |cause| cause.source());
    causes.find_map(|cause| cause.downcast_ref::<h2::Error>()).is_some_and(|error| {
        let reason = error.reason();
        (error.is_go_away() && error.is_remote() && reason == Some(h2::Reason::NO_ERROR))
            || (error.is_reset() && error.is_remote() && reason == Some(h2::Reason::REFUSED_STREAM))
    })
}

fn stream_of(request: &Request<Body>) -> Stream {
    if request.method() != Method::GET {
        return Stream::Write;
    }
    let mut pairs = request.uri().query().unwrap_or_default().split('&');
    let is = |pair: &str| match pair.split_once('=') {
        Some(("watch", "true")) => Some(Stream::Watch),
        Some(("limit", _)) => Some(Stream::Page),
        _ => None,
    };
    pairs.find_map(is).unwrap_or(Stream::Short)
}
