//! Guards the connection to one cluster: who may send requests on it, how many, and how large answers may be.
//!
//! Three rules that hold for every request, whoever makes it. Only the probe dials: after a connection was lost another
//! server may answer under the same address, so all other requests wait until the probe has identified it. No request is sent
//! faster than the budget allows. And no answer may be larger than its cap.

use std::{
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use tokio::{
    sync::Semaphore,
    time::{Instant, sleep_until},
};
use tower::{BoxError, Layer, Service};

use crate::expiry::CredentialLife;

/// Largest answer to a probe: readiness, version and one object of metadata.
const PROBE_LIMIT: u64 = 1 << 20;
/// Largest answer to any other request but a watch. A page of 500 nodes with 32 KiB each is 16 MiB.
const RESPONSE_LIMIT: u64 = 32 << 20;
/// Largest event of a watch. etcd stores 1.5 MiB at most by default, which may double as JSON.
const EVENT_LIMIT: u64 = 4 << 20;
/// Requests a second that a cluster gets in the long run …
const RATE: u32 = 100;
/// … and how many at once after a time of rest.
const BURST: u32 = 200;
/// Requests whose answer has not begun, at a time. An API server allows 100 streams a connection, watches included.
const IN_FLIGHT: usize = 32;

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

/// Runs the part of a probe that writes: it asks whoever was identified just now, and fails if the connection was lost since.
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

fn is_probing() -> bool {
    PROBING.try_with(|_| ()).is_ok()
}

/// No connection has this number.
const NOBODY: u64 = u64::MAX;

/// The connection to one cluster, dialled anew whenever it is lost.
#[derive(Debug)]
pub(crate) struct ConnectionGuard {
    /// Connections made.
    dials: AtomicU64,
    /// The last connection whose far end was identified.
    identified: AtomicU64,
    too_large: AtomicBool,
    /// Nobody asks any more, for good.
    ended: AtomicBool,
    /// Connections that are open: one, or none.
    open: AtomicU64,
    presented: Mutex<Option<CredentialLife>>,
    in_flight: Semaphore,
    budget: Mutex<Budget>,
}

impl ConnectionGuard {
    pub(crate) fn new() -> Self {
        Self {
            dials: AtomicU64::new(0),
            identified: AtomicU64::new(0),
            too_large: AtomicBool::new(false),
            ended: AtomicBool::new(false),
            open: AtomicU64::new(0),
            presented: Mutex::default(),
            in_flight: Semaphore::new(IN_FLIGHT),
            budget: Mutex::new(Budget::full(Instant::now())),
        }
    }

    /// How many connections were made so far. A new one means that another server may answer.
    pub(crate) fn dials(&self) -> u64 {
        self.dials.load(Ordering::Acquire)
    }

    /// Whether the server at the far end of the latest connection is known.
    pub(crate) fn is_identified(&self) -> bool {
        self.identified.load(Ordering::Acquire) == self.dials()
    }

    /// Notes that the server of connection number `dial` is the right one.
    pub(crate) fn identified(&self, dial: u64) {
        self.identified.store(dial, Ordering::Release);
    }

    /// Notes that who answers is not who should, or may not be written to: from now on nobody but the probe asks.
    pub(crate) fn close(&self) {
        self.identified.store(NOBODY, Ordering::Release);
    }

    /// Ends it for good: not even the probe asks any more.
    pub(crate) fn end(&self) {
        self.ended.store(true, Ordering::Release);
    }

    /// Whether there is a connection.
    pub(crate) fn has_connection(&self) -> bool {
        self.open.load(Ordering::Acquire) > 0
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
    pub(crate) fn dialled(&self, presented: Option<CredentialLife>) {
        *self.presented.lock().unwrap_or_else(PoisonError::into_inner) = presented;
        self.dials.fetch_add(1, Ordering::AcqRel);
    }

    /// Notes that a connection is open until what this returns is dropped.
    pub(crate) fn opened(self: &Arc<Self>) -> OpenConnection {
        self.open.fetch_add(1, Ordering::AcqRel);
        OpenConnection(Arc::clone(self))
    }

    async fn admit(&self) -> Result<(), BoxError> {
        self.is_open()?;
        let until = self.budget.lock().unwrap_or_else(PoisonError::into_inner).take(Instant::now());
        sleep_until(until).await;
        // It may have been lost meanwhile.
        self.is_open()
    }

    /// Whether anybody but the probe may ask.
    fn is_open(&self) -> Result<(), BoxError> {
        if self.ended.load(Ordering::Acquire) {
            return Err(Ended.into());
        }
        if self.is_too_large() {
            return Err(TooLarge.into()); // Every further answer would be taken up to its cap.
        }
        if self.is_identified() { Ok(()) } else { Err(NotIdentified.into()) }
    }
}

/// A connection that is open.
#[derive(Debug)]
pub(crate) struct OpenConnection(Arc<ConnectionGuard>);

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::AcqRel);
    }
}

/// The connection was lost, and the probe does not know yet who answers now.
#[derive(Debug, thiserror::Error)]
#[error("the connection was lost; the next probe identifies the server that answers now")]
pub(crate) struct NotIdentified;

/// The connection was replaced or released.
#[derive(Debug, thiserror::Error)]
#[error("the connection was replaced or released")]
pub(crate) struct Ended;

/// An answer was larger than its cap.
#[derive(Debug, thiserror::Error)]
#[error("the answer of the API server is larger than Drover accepts")]
pub(crate) struct TooLarge;

/// When the next request may be sent: a bucket of [`BURST`] that fills by [`RATE`] a second.
#[derive(Debug)]
struct Budget {
    /// When the bucket was, or will be, empty.
    empty_at: Instant,
}

impl Budget {
    const EACH: Duration = Duration::from_nanos(1_000_000_000 / RATE as u64);

    fn full(now: Instant) -> Self {
        Self { empty_at: now - Self::EACH * BURST }
    }

    /// Takes the place of one request, and says from when on it may be sent.
    fn take(&mut self, now: Instant) -> Instant {
        let at_most_full = now.checked_sub(Self::EACH * BURST).unwrap_or(now);
        self.empty_at = self.empty_at.max(at_most_full) + Self::EACH;
        self.empty_at.max(now)
    }
}

/// Puts a [`ConnectionGuard`]'s rules around the connection.
#[derive(Clone)]
pub(crate) struct Rules(pub(crate) Arc<ConnectionGuard>);

impl<S> Layer<S> for Rules {
    type Service = Ruled<S>;

    fn layer(&self, inner: S) -> Ruled<S> {
        Ruled { inner, guard: Arc::clone(&self.0) }
    }
}

#[derive(Clone)]
pub(crate) struct Ruled<S> {
    inner: S,
    guard: Arc<ConnectionGuard>,
}

impl<S, B, R> Service<Request<B>> for Ruled<S>
where
    S: Service<Request<B>, Response = Response<R>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Into<BoxError>,
    B: Send + 'static,
{
    type Response = Response<Capped<R>>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        // The clone stays behind; what was asked for its readiness goes.
        let next = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, next);
        let guard = Arc::clone(&self.guard);
        Box::pin(async move {
            let cap = Cap::of(request.uri().query().unwrap_or_default());
            let _place = if is_probing() {
                if guard.ended.load(Ordering::Acquire) {
                    return Err(Ended.into());
                }
                None
            } else {
                let place = guard.in_flight.acquire().await?;
                guard.admit().await?;
                Some(place)
            };
            let response = inner.call(request).await.map_err(Into::into)?;
            Ok(response.map(|body| Capped { body, cap, counted: 0, guard: Arc::clone(&guard) }))
        })
    }
}

/// What of an answer is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cap {
    Whole(u64),
    /// Every line by itself: a watch goes on for minutes.
    Lines(u64),
}

impl Cap {
    fn of(query: &str) -> Self {
        if is_probing() {
            Self::Whole(PROBE_LIMIT)
        } else if query.split('&').any(|pair| pair == "watch=true") {
            Self::Lines(EVENT_LIMIT)
        } else {
            Self::Whole(RESPONSE_LIMIT)
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
    cap: Cap,
    counted: u64,
    guard: Arc<ConnectionGuard>,
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
        let Some(frame) = frame else { return Poll::Ready(None) };
        let frame = frame.map_err(Into::into)?;
        if let Some(data) = frame.data_ref() {
            let Some(counted) = self.cap.count(self.counted, data) else {
                self.guard.too_large.store(true, Ordering::Release);
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

    #[test]
    fn a_watch_is_known_by_its_query() {
        assert_eq!(Cap::of("&watch=true&timeoutSeconds=290"), Cap::Lines(EVENT_LIMIT));
        assert_eq!(Cap::of("labelSelector=watch%3Dtrue&limit=500"), Cap::Whole(RESPONSE_LIMIT));
    }

    #[tokio::test(start_paused = true)]
    async fn the_budget_allows_a_burst_and_then_a_rate() {
        let start = Instant::now();
        let mut budget = Budget::full(start);
        for _ in 0..BURST {
            assert_eq!(budget.take(start), start);
        }
        assert_eq!(budget.take(start), start + Budget::EACH);
        let later = start + Duration::from_hours(1);
        assert_eq!(budget.take(later), later, "what was not used is not saved up beyond the burst");
        assert_eq!((1..BURST).map(|_| budget.take(later)).max(), Some(later));
        assert!(budget.take(later) > later);
    }

    #[tokio::test]
    async fn only_the_probe_dials_and_only_it_asks_a_stranger() {
        let guard = ConnectionGuard::new();
        assert!(may_dial().is_err());
        assert!(probing(async { may_dial() }).await.is_ok());
        let (may_dial, asks) = probing(without_dialling(async { (may_dial(), is_probing()) })).await;
        assert!(may_dial.is_err() && asks, "what writes stays on the connection that was identified");
        guard.dialled(None);
        assert!(guard.admit().await.is_err(), "a new connection is a stranger's");
        guard.identified(guard.dials());
        assert!(guard.admit().await.is_ok());
        guard.dialled(None);
        assert!(guard.admit().await.is_err(), "and so is the next one");
        guard.identified(guard.dials());
        guard.close();
        assert!(guard.admit().await.is_err(), "and whoever turned out to be another's");
        guard.identified(guard.dials());
        assert!(guard.admit().await.is_ok());
        guard.end();
        guard.identified(guard.dials());
        assert!(guard.admit().await.unwrap_err().is::<Ended>(), "nothing is sent after it was released");
    }

    #[test]
    fn a_connection_is_open_until_its_stream_is_dropped() {
        let guard = Arc::new(ConnectionGuard::new());
        assert!(!guard.has_connection());
        let (one, two) = (guard.opened(), guard.opened());
        drop(one);
        assert!(guard.has_connection());
        drop(two);
        assert!(!guard.has_connection());
    }

    #[tokio::test]
    async fn whoever_sent_too_much_is_asked_nothing_more() {
        let guard = ConnectionGuard::new();
        guard.dialled(None);
        guard.identified(guard.dials());
        assert!(guard.admit().await.is_ok());
        guard.too_large.store(true, Ordering::Release);
        assert!(guard.admit().await.unwrap_err().is::<TooLarge>());
    }
}
