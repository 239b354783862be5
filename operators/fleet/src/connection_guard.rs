//! Guards the connections to one cluster: who may send requests, how many, and how large answers may be.
//!
//! Three rules that hold for every request, whoever makes it. Only the probe dials: after a connection was lost another
//! server may answer under the same address, so all other requests wait until the probe has identified it. Every request has
//! its turn, and none comes faster than the budget allows. And no answer may be larger than its cap.

use std::{
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
};

use bytes::Bytes;
use drover_dial::{CredentialLife, TooLarge};
use drover_runtime::{cache::WholeAnswer, request::Sender};
use http::Response;
use http_body::{Body, Frame, SizeHint};
use tokio::sync::Notify;
use tower::BoxError;

use crate::{
    account_connection::AccountConnection,
    connections::{Connections, NotIdentified, Stream},
    request_queue::{RequestQueue, Turn},
    transport::Http2,
};

/// Largest answer to a probe: readiness, version and one object of metadata.
const PROBE_LIMIT: u64 = 1 << 20;
/// Largest answer with one object. etcd stores 1.5 MiB at most by default, which may double as JSON.
const OBJECT_LIMIT: u64 = 4 << 20;
/// Largest answer to a request that writes, and of an answer that says no.
const WRITE_LIMIT: u64 = 2 << 20;
const REFUSAL_LIMIT: u64 = 64 << 10;
/// Largest page of a list, which is decoded object by object. One of 500 nodes with 32 KiB each is 16 MiB.
const PAGE_LIMIT: u64 = 128 << 20;
/// Largest answer that names all kinds of a cluster, and largest one to an account; whoever asks bounds what is decoded of them.
const KINDS_LIMIT: u64 = 8 << 20;
const ACCOUNT_LIMIT: u64 = 32 << 20;
/// Largest event of a watch: whoever may write one object makes it as large as etcd takes, with every byte written as six. Its reader
/// keeps 4 MiB.
const EVENT_LIMIT: u64 = 11 << 20;

tokio::task_local! {
    /// Set while the probe asks: it alone may dial.
    static PROBING: MayDial;
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum MayDial {
    Yes,
    /// It asks the server that it just identified, and no other one.
    No,
}

/// Runs `probe` with the right to dial, and to ask a server that nobody has identified yet.
pub(crate) async fn probing<T>(probe: impl Future<Output = T>) -> T {
    PROBING.scope(MayDial::Yes, probe).await
}

/// Runs the part of a probe that writes, or asks for rights: it asks whoever was identified just now, and fails if the connection was lost since.
pub(crate) async fn without_dialling<T>(part: impl Future<Output = T>) -> T {
    PROBING.scope(MayDial::No, part).await
}

/// Whether whoever asks now may dial.
pub(crate) fn may_dial() -> Result<(), NotIdentified> {
    match PROBING.try_with(|may| *may) {
        Ok(MayDial::Yes) => Ok(()),
        Ok(MayDial::No) | Err(_) => Err(NotIdentified),
    }
}

/// Whether the probe asks.
pub(crate) fn is_probing() -> bool {
    PROBING.try_with(|_| ()).is_ok()
}

/// The rules for all connections to one cluster.
#[derive(Debug)]
pub(crate) struct ConnectionGuard {
    pub(crate) connections: Connections<Http2>,
    pub(crate) accounts: Arc<AccountConnection<Http2>>,
    queue: Arc<RequestQueue>,
    too_large: AtomicBool,
    /// Nobody asks any more, for good.
    ended: AtomicBool,
    presented: Mutex<Option<CredentialLife>>,
}

impl ConnectionGuard {
    /// `wanted` tells the probe that a connection is needed.
    pub(crate) fn new(wanted: Arc<Notify>) -> Self {
        Self {
            connections: Connections::new(wanted),
            accounts: Arc::default(),
            queue: Arc::new(RequestQueue::new()),
            too_large: AtomicBool::new(false),
            ended: AtomicBool::new(false),
            presented: Mutex::default(),
        }
    }

    /// Ends it for good: not even the probe asks any more.
    pub(crate) fn end(&self) {
        self.ended.store(true, Ordering::Release);
        self.distrust();
    }

    /// From now on only the probe asks, until it has identified the server.
    pub(crate) fn distrust(&self) {
        self.connections.distrust();
        self.accounts.end();
    }

    /// Whether an answer was larger than its cap.
    pub(crate) fn is_too_large(&self) -> bool {
        self.too_large.load(Ordering::Acquire)
    }

    /// The dates of the certificate that the server presented last.
    pub(crate) fn presented(&self) -> Option<CredentialLife> {
        *self.presented.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes the dates of the certificate that the server presents now.
    pub(crate) fn presents(&self, certificate: CredentialLife) {
        *self.presented.lock().unwrap_or_else(PoisonError::into_inner) = Some(certificate);
    }

    /// Notes a new connection and what its server presented.
    pub(crate) fn dialled(&self, channel: Http2, presented: Option<CredentialLife>) -> u64 {
        *self.presented.lock().unwrap_or_else(PoisonError::into_inner) = presented;
        self.connections.add(channel)
    }

    /// Never more than so many requests a second from now on.
    pub(crate) fn allow_at_most(&self, most: u16) {
        self.queue.allow_at_most(most);
    }

    /// Waits until a request may be sent. The probe has no budget and waits for nobody.
    pub(crate) async fn turn(&self) -> Result<Option<Turn>, BoxError> {
        self.may_ask()?;
        if is_probing() {
            return Ok(None);
        }
        let turn = self.queue.turn(Sender::current()).await;
        // Much may have happened meanwhile.
        self.may_ask()?;
        Ok(Some(turn))
    }

    /// Whether whoever asks now may ask at all.
    fn may_ask(&self) -> Result<(), BoxError> {
        if self.ended.load(Ordering::Acquire) {
            return Err(Ended.into());
        }
        if is_probing() {
            return Ok(());
        }
        if self.is_too_large() {
            return Err(TooLarge.into()); // Every further answer would be taken up to its cap.
        }
        if self.connections.has_hope() { Ok(()) } else { Err(NotIdentified.into()) }
    }

    /// Bounds the answer on `stream`; `watch` counts it as one while it lasts.
    pub(crate) fn capped<R>(
        self: &Arc<Self>,
        response: Response<R>,
        stream: Stream,
        watch: Option<Arc<()>>,
    ) -> Response<Capped<R>> {
        // Whoever asks reads a refusal as a whole, whatever was asked for.
        let is_refusal = !response.status().is_success();
        let cap = if is_refusal { Cap::Whole(REFUSAL_LIMIT) } else { Cap::of(stream) };
        let is_whole = is_refusal || is_probing() || matches!(stream, Stream::Short | Stream::Write);
        let whole = is_whole.then(WholeAnswer::default);
        // Whoever may write one object makes it as large as the server takes, also one that Drover writes to.
        let is_of_one = matches!(stream, Stream::Short | Stream::Write) && !is_refusal && !is_probing();
        let excess = if is_of_one || stream == Stream::Kinds { Excess::Fails } else { Excess::Disconnects };
        self.bounded(response, Bounds { cap, whole, excess }, watch)
    }

    /// Bounds the answer to a request as an account. What is too large is the matter of that account: whoever may write in one
    /// namespace could disconnect the cluster for all otherwise.
    pub(crate) fn capped_for_account<R>(self: &Arc<Self>, response: Response<R>) -> Response<Capped<R>> {
        let bounds = Bounds { cap: Cap::Whole(ACCOUNT_LIMIT), whole: None, excess: Excess::Fails };
        self.bounded(response, bounds, None)
    }

    fn bounded<R>(
        self: &Arc<Self>,
        response: Response<R>,
        bounds: Bounds,
        watch: Option<Arc<()>>,
    ) -> Response<Capped<R>> {
        let guard = Arc::clone(self);
        response.map(|body| Capped { body, bounds, counted: 0, guard, turn: None, _watch: watch })
    }
}

/// The connection was replaced or released.
#[derive(Debug, thiserror::Error)]
#[error("the connection was replaced or released")]
pub(crate) struct Ended;

/// How much of an answer is accepted.
struct Bounds {
    cap: Cap,
    /// The bounds of what is decoded as a whole.
    whole: Option<WholeAnswer>,
    excess: Excess,
}

/// What follows from an answer that is too large.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Excess {
    /// The cluster sends too much, and is asked nothing more.
    Disconnects,
    /// This answer is an error, and that is all.
    Fails,
}

/// What of an answer is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cap {
    Whole(u64),
    /// Every line by itself: a watch goes on for minutes.
    Lines(u64),
}

impl Cap {
    fn of(stream: Stream) -> Self {
        match stream {
            _ if is_probing() => Self::Whole(PROBE_LIMIT),
            Stream::Watch => Self::Lines(EVENT_LIMIT),
            Stream::Page => Self::Whole(PAGE_LIMIT),
            Stream::Short => Self::Whole(OBJECT_LIMIT),
            Stream::Write => Self::Whole(WRITE_LIMIT),
            Stream::Kinds => Self::Whole(KINDS_LIMIT),
        }
    }

    /// How much was counted after `data`; none if that is too much.
    fn count(self, counted: u64, data: &[u8]) -> Option<u64> {
        let length = |bytes: &[u8]| u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        let (limit, largest, counted) = match self {
            Self::Whole(limit) => {
                let sum = counted.saturating_add(length(data));
                (limit, sum, sum)
            }
            Self::Lines(limit) => {
                let mut lines = data.split(|byte| *byte == b'\n').map(length);
                let first = counted.saturating_add(lines.next().unwrap_or_default());
                let (last, largest) = lines.fold((first, first), |(_, largest), line| (line, largest.max(line)));
                (limit, largest, last)
            }
        };
        (largest <= limit).then_some(counted)
    }
}

/// An answer that ends with an error once it is too large.
pub(crate) struct Capped<R> {
    body: R,
    bounds: Bounds,
    counted: u64,
    guard: Arc<ConnectionGuard>,
    /// Others have their turn when the answer is there.
    turn: Option<Turn>,
    _watch: Option<Arc<()>>,
}

impl<R> Capped<R> {
    /// The same, whose turn lasts until the answer is there or nobody wants it any more.
    pub(crate) fn within(mut self, turn: Option<Turn>) -> Self {
        self.turn = turn;
        self
    }
}

impl<R> Body for Capped<R>
where
    R: Body<Data = Bytes> + Unpin,
    R::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let frame = std::task::ready!(Pin::new(&mut self.body).poll_frame(context));
        let Some(frame) = frame else {
            self.turn = None;
            return Poll::Ready(None);
        };
        let frame = frame.map_err(Into::into)?;
        if let Some(data) = frame.data_ref() {
            let counted = self.bounds.cap.count(self.counted, data);
            let decodes = self.bounds.whole.as_mut().is_none_or(|whole| whole.takes(data));
            let Some(counted) = counted.filter(|_| decodes) else {
                if self.bounds.excess == Excess::Disconnects {
                    self.guard.too_large.store(true, Ordering::Release);
                }
                return Poll::Ready(Some(Err(TooLarge.into())));
            };
            self.counted = counted;
        }
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::{BodyExt as _, Full};

    use super::*;

    #[test]
    fn an_answer_is_counted_as_a_whole_and_a_watch_by_lines() {
        let whole =
            |parts: &[&str]| parts.iter().try_fold(0, |counted, part| Cap::Whole(5).count(counted, part.as_bytes()));
        assert_eq!(whole(&["ab", "c", "de"]), Some(5));
        assert_eq!(whole(&["ab", "c", "def"]), None);
        let lines =
            |parts: &[&str]| parts.iter().try_fold(0, |counted, part| Cap::Lines(5).count(counted, part.as_bytes()));
        assert_eq!(lines(&["abc", "de\nabcde\n", "ab\nabc"]), Some(3));
        assert_eq!(lines(&["abc", "def\n"]), None, "one guard in two parts");
        assert_eq!(lines(&["a\nabcdef\na"]), None, "in the middle of a part");
    }

    #[tokio::test]
    async fn only_the_probe_dials_and_only_it_asks_where_nobody_was_identified() {
        let guard = ConnectionGuard::new(Arc::default());
        assert!(may_dial().is_err());
        assert!(probing(async { may_dial() }).await.is_ok());
        let (may_dial, asks) = probing(without_dialling(async { (may_dial(), is_probing()) })).await;
        assert!(may_dial.is_err() && asks, "what writes stays on the connection that was identified");
        assert!(guard.turn().await.unwrap_err().is::<NotIdentified>());
        assert!(probing(guard.turn()).await.unwrap().is_none(), "the probe waits for nobody");
        guard.end();
        assert!(guard.turn().await.unwrap_err().is::<Ended>(), "nothing is sent after it was released");
        assert!(probing(guard.turn()).await.unwrap_err().is::<Ended>());
    }

    #[tokio::test]
    async fn what_an_account_asks_for_disconnects_nobody() {
        let guard = Arc::new(ConnectionGuard::new(Arc::default()));
        let long = || Response::new(Full::new(Bytes::from(vec![b' '; (32 << 20) + 1])));
        let read = async |answer: Response<Capped<Full<Bytes>>>| answer.into_body().collect().await.map(drop);
        assert!(read(guard.capped_for_account(long())).await.unwrap_err().is::<TooLarge>());
        assert!(read(guard.capped(long(), Stream::Kinds, None)).await.unwrap_err().is::<TooLarge>());
        assert!(!guard.is_too_large());
    }

    #[tokio::test]
    async fn one_object_that_is_too_large_disconnects_nobody_and_more_does() {
        let guard = Arc::new(ConnectionGuard::new(Arc::default()));
        let read = async |answer: Response<Capped<Full<Bytes>>>| answer.into_body().collect().await.map(drop);
        let of = |text: String| Response::new(Full::new(Bytes::from(text)));
        let (values, long) = (format!("[{}1]", "1,".repeat(30_000)), " ".repeat((4 << 20) + 1));
        for stream in [Stream::Short, Stream::Write] {
            for text in [&values, &long] {
                let answer = guard.capped(of(text.clone()), stream, None);
                assert!(read(answer).await.unwrap_err().is::<TooLarge>(), "{stream:?}");
            }
        }
        assert!(!guard.is_too_large());
        let mut refusal = of(values.clone());
        *refusal.status_mut() = http::StatusCode::FORBIDDEN;
        for answer in [refusal, of(" ".repeat((128 << 20) + 1))] {
            let guard = Arc::new(ConnectionGuard::new(Arc::default()));
            assert!(read(guard.capped(answer, Stream::Page, None)).await.unwrap_err().is::<TooLarge>());
            assert!(guard.is_too_large());
        }
        assert!(read(probing(async { guard.capped(of(values), Stream::Short, None) }).await).await.is_err());
        assert!(guard.is_too_large(), "no tenant writes what the probe asks for");
    }

    #[tokio::test]
    async fn whoever_sent_too_much_is_asked_nothing_more() {
        let guard = ConnectionGuard::new(Arc::default());
        guard.too_large.store(true, Ordering::Release);
        assert!(guard.turn().await.unwrap_err().is::<TooLarge>());
    }
}
