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
use drover_runtime::{
    DialPolicy,
    accounts::{ActsAs, Discovers, identity},
};
use http::{HeaderValue, Method, Request, Response, Uri, header::AUTHORIZATION};
use http_body_util::{BodyExt as _, Limited};
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
mod account_tests;
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
    prepared(access, policy, guard, Speaker::Drover)
}

/// The same for requests as the accounts of the cluster, over a connection of its own on which no credential of `access` is used.
pub(crate) fn dialled_for_accounts(
    access: &Access,
    policy: DialPolicy,
    guard: &Arc<ConnectionGuard>,
) -> Result<Client, kube::Error> {
    prepared(&access.without_credential()?, policy, guard, Speaker::Accounts)
}

fn prepared(
    access: &Access,
    policy: DialPolicy,
    guard: &Arc<ConnectionGuard>,
    speaker: Speaker,
) -> Result<Client, kube::Error> {
    let config = with_agent(&access.config);
    let (dialler, server, guard) = (Dialler::to(access, policy)?, config.cluster_url.clone(), Arc::clone(guard));
    let transport = Transport { dialler, server, guard, speaker };
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
    speaker: Speaker,
}

/// Who sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Speaker {
    /// Drover, with its credential.
    Drover,
    /// Accounts of the cluster, each with its token.
    Accounts,
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
    /// Sends a request, once more where the connection drained before the server took it.
    async fn send(&self, request: Request<Body>) -> Result<Response<Capped<Incoming>>, BoxError> {
        if self.speaker == Speaker::Accounts {
            // Whoever dials has nobody else's turn meanwhile.
            self.choose_for(Introduction::of(&request)?).await?;
        }
        let turn = self.guard.turn().await?;
        let stream = stream_of(&request);
        let response = self.send_in_turn(request, stream).await?;
        if let Some(turn) = &turn {
            turn.answered(response.status());
        }
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
        let Chosen { mut channel, watch } = match self.speaker {
            Speaker::Drover => self.choose(stream).await?,
            Speaker::Accounts => self.choose_for(Introduction::of(&request)?).await?,
        };
        let response = channel.requests.try_send_request(request).await.map_err(|mut refused| {
            let unprocessed = refused.take_message().is_some() || is_unprocessed(refused.error());
            Failed { unprocessed, error: refused.into_error().into() }
        })?;
        Ok(match self.speaker {
            Speaker::Drover => self.guard.capped(response, stream, watch),
            Speaker::Accounts => self.guard.capped_for_account(response),
        })
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
        let (channel, connection) = handshake(stream).await?;
        let number = self.guard.dialled(channel.clone(), certificate);
        let guard = Arc::downgrade(&self.guard);
        tokio::spawn(async move {
            let unanswered = connection.await.is_err_and(|error| error.is_timeout());
            if let Some(guard) = guard.upgrade() {
                guard.connections.closed(number, unanswered);
            }
        });
        Ok(channel)
    }

    /// The connection of accounts, as long as the probe knows who answers on its own.
    async fn choose_for(&self, account: Introduction) -> Result<Chosen<Http2>, BoxError> {
        self.guard.connections.identified_one(Stream::Short).await?;
        let channel = self.guard.accounts.get(|| Box::pin(self.dial_for(account))).await?;
        Ok(Chosen { channel, watch: None })
    }

    /// Makes a connection and sends nothing on it but the question who the sender is, until the answer is right.
    async fn dial_for(&self, Introduction { authorization, acts_as }: Introduction) -> Result<Http2, BoxError> {
        let stream = self.dialler.clone().oneshot(self.server.clone()).await?;
        let (mut channel, connection) = handshake(stream).await?;
        tokio::spawn(connection);
        let question = identity::question(&self.server, &authorization)?;
        let answer = channel.requests.send_request(question.map(|text| Body::from(text.into_bytes()))).await?;
        let (head, body) = answer.into_parts();
        let body = Limited::new(body, identity::ANSWER_LIMIT).collect().await?.to_bytes();
        acts_as.judge(head.status, &body)?;
        Ok(channel)
    }
}

/// Begins HTTP/2. What is returned besides the connection runs it until it takes no more requests; those on their way, watches
/// included, go on.
async fn handshake<S>(stream: S) -> hyper::Result<(Http2, impl Future<Output = hyper::Result<()>> + Send)>
where
    S: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
{
    let (requests, mut connection) = Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .keep_alive_interval(PING_AFTER)
        .keep_alive_timeout(PING_LIMIT)
        .keep_alive_while_idle(true)
        .handshake(stream)
        .await?;
    let streams = Arc::new(AtomicUsize::new(connection.current_max_send_streams()));
    let channel = Http2 { requests, streams: Arc::clone(&streams) };
    let runs = poll_fn(move |context| {
        let ended = Pin::new(&mut connection).poll(context);
        streams.store(connection.current_max_send_streams(), Ordering::Relaxed);
        ended
    });
    Ok((channel, runs))
}

/// As which account a request is sent.
struct Introduction {
    authorization: HeaderValue,
    acts_as: ActsAs,
}

impl Introduction {
    /// That of `request`. There is no default: one without a token is not sent.
    fn of(request: &Request<Body>) -> Result<Self, Anonymous> {
        let authorization = request.headers().get(AUTHORIZATION).cloned();
        let acts_as = request.extensions().get().cloned();
        Ok(Self { authorization: authorization.ok_or(Anonymous)?, acts_as: acts_as.ok_or(Anonymous)? })
    }
}

/// A request as an account does not say as which one.
#[derive(Debug, thiserror::Error)]
#[error("a request as an account has no token")]
struct Anonymous;

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
        BoxError::from(error).into()
    }
}

impl From<Anonymous> for Failed {
    fn from(error: Anonymous) -> Self {
        BoxError::from(error).into()
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
    if request.extensions().get::<Discovers>().is_some() {
        return Stream::Kinds;
    }
    let mut pairs = request.uri().query().unwrap_or_default().split('&');
    let is = |pair: &str| match pair.split_once('=') {
        Some(("watch", "true")) => Some(Stream::Watch),
        Some(("limit", _)) => Some(Stream::Page),
        _ => None,
    };
    pairs.find_map(is).unwrap_or(Stream::Short)
}
