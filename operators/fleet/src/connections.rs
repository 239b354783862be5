//! The HTTP/2 connections to one API server: which request goes on which, and who waits for another one. Knows no network.
//!
//! Only the probe makes connections, and nobody else sends anything on one before the probe has identified the server at its
//! far end. A connection that drains (`GOAWAY`) or is lost is replaced at once, and requests wait for that, as long as no
//! attempt has failed. Watches fill a connection: an API server allows 100 streams on each, and hangs on what exceeds them
//! without a word, so a further connection is made in time.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::Notify,
    time::{Instant, timeout_at},
};

/// Watches on one connection. What is left of 100 streams is for the 32 requests that may be under way.
const WATCHES: usize = 60;
/// How long a request waits for a connection at most.
const WAIT: Duration = Duration::from_secs(10);

/// What goes over a connection: the way to send requests, or whatever stands for it in a test.
pub(crate) trait Channel: Clone {
    /// Whether nothing more can be sent on it.
    fn is_closed(&self) -> bool;

    /// How many streams the server allows on it.
    fn streams(&self) -> usize;
}

/// All connections to one API server.
#[derive(Debug)]
pub(crate) struct Connections<C> {
    state: Mutex<State<C>>,
    /// The probe is asked for a connection.
    wanted: Arc<Notify>,
    changed: Notify,
}

#[derive(Debug)]
struct State<C> {
    open: Vec<Connection<C>>,
    /// Connections made.
    dials: u64,
    outlook: Outlook,
    /// A connection was given up because the server answered no ping.
    unanswered: bool,
    /// The probe is to make one although there is one.
    anew: bool,
}

/// What a request can expect that finds no connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outlook {
    /// None was identified yet, or the last attempt failed.
    Bleak,
    /// The next attempt is likely to succeed.
    Good,
    /// The same, and what is there is full of watches.
    Full,
}

#[derive(Debug)]
struct Connection<C> {
    number: u64,
    channel: C,
    identified: bool,
    /// One more than the watches that are on it.
    watches: Arc<()>,
}

/// A connection for one request.
#[derive(Debug)]
pub(crate) struct Chosen<C> {
    pub(crate) channel: C,
    /// Counts a watch on it as long as it lives.
    pub(crate) watch: Option<Arc<()>>,
}

/// What a request is to a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stream {
    /// Its answer comes at once.
    Short,
    /// Its answer comes at once, and is a page of objects.
    Page,
    /// It changes something, and its answer comes at once.
    Write,
    /// Its answer comes at once, and names all kinds of the cluster.
    Kinds,
    /// It stays for minutes.
    Watch,
}

/// The connection was lost, and the probe does not know yet who answers now.
#[derive(Debug, thiserror::Error)]
#[error("the connection was lost; the next probe identifies the server that answers now")]
pub(crate) struct NotIdentified;

impl<C: Channel> Connections<C> {
    /// `wanted` tells the probe that a connection is needed.
    pub(crate) fn new(wanted: Arc<Notify>) -> Self {
        let state = State { open: Vec::new(), dials: 0, outlook: Outlook::Bleak, unanswered: false, anew: false };
        Self { state: Mutex::new(state), wanted, changed: Notify::new() }
    }

    /// A connection for a request of anybody but the probe: one whose server is identified.
    pub(crate) async fn identified_one(&self, stream: Stream) -> Result<Chosen<C>, NotIdentified> {
        let limit = Instant::now() + WAIT;
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            {
                let mut state = self.lock();
                if let Some(chosen) = state.choose(stream) {
                    return Ok(chosen);
                }
                if state.outlook == Outlook::Bleak {
                    return Err(NotIdentified);
                }
                if state.usable().any(|connection| connection.identified) {
                    state.outlook = Outlook::Full;
                }
            }
            self.wanted.notify_one();
            timeout_at(limit, changed).await.map_err(|_| NotIdentified)?;
        }
    }

    /// The connection of the probe: the newest, identified or not; none if it has to be made.
    pub(crate) fn newest(&self) -> Option<C> {
        let mut state = self.lock();
        if std::mem::take(&mut state.anew) {
            return None;
        }
        state.usable().next_back().map(|newest| newest.channel.clone())
    }

    /// The next request of the probe makes a connection, if what is there is full.
    pub(crate) fn make_another(&self) {
        let mut state = self.lock();
        state.anew = state.outlook == Outlook::Full;
    }

    /// Whether a request may get a connection, now or soon.
    pub(crate) fn has_hope(&self) -> bool {
        let state = self.lock();
        state.outlook != Outlook::Bleak || state.choose(Stream::Short).is_some()
    }

    /// Notes a new connection and returns its number.
    pub(crate) fn add(&self, channel: C) -> u64 {
        let mut state = self.lock();
        state.open.retain(|connection| !connection.channel.is_closed());
        state.dials += 1;
        let number = state.dials;
        state.open.push(Connection { number, channel, identified: false, watches: Arc::default() });
        number
    }

    /// Notes that a connection takes no more requests. `unanswered`: its server answered no ping.
    pub(crate) fn closed(&self, number: u64, unanswered: bool) {
        let wants_another = {
            let mut state = self.lock();
            let was_identified = state.open.iter().any(|known| known.number == number && known.identified);
            state.open.retain(|known| known.number != number);
            state.unanswered |= unanswered && was_identified;
            was_identified && state.outlook != Outlook::Bleak
        };
        if wants_another {
            self.wanted.notify_one();
        }
    }

    /// How many connections were made so far. A new one means that another server may answer.
    pub(crate) fn dials(&self) -> u64 {
        self.lock().dials
    }

    /// Whether the server at the far end of the newest connection is known.
    pub(crate) fn is_identified(&self) -> bool {
        self.lock().usable().next_back().is_some_and(|newest| newest.identified)
    }

    /// Notes that the server of connection number `dial` is the right one.
    pub(crate) fn identified(&self, dial: u64) {
        {
            let mut state = self.lock();
            let Some(known) = state.open.iter_mut().find(|known| known.number == dial) else { return };
            if known.channel.is_closed() || known.identified {
                return;
            }
            known.identified = true;
            state.outlook = Outlook::Good;
        }
        self.changed.notify_waiters();
    }

    /// Nobody waits for a connection any more, until one is identified: an attempt at one failed.
    pub(crate) fn attempt_failed(&self) {
        self.lock().outlook = Outlook::Bleak;
        self.changed.notify_waiters();
    }

    /// Nobody but the probe uses what is there any more: another server answers, or it may not be written to.
    pub(crate) fn distrust(&self) {
        self.lock().open.iter_mut().for_each(|connection| connection.identified = false);
        self.attempt_failed();
    }

    /// Whether there is a connection.
    pub(crate) fn has_one(&self) -> bool {
        self.lock().usable().next().is_some()
    }

    /// Whether requests wait for a connection that the probe has to make.
    pub(crate) fn wants_another(&self) -> bool {
        let state = self.lock();
        match state.outlook {
            Outlook::Bleak => false,
            Outlook::Good => !state.usable().any(|connection| connection.identified),
            Outlook::Full => true,
        }
    }

    /// Whether a server answered no ping since this was asked last.
    pub(crate) fn take_unanswered(&self) -> bool {
        std::mem::take(&mut self.lock().unanswered)
    }

    fn lock(&self) -> MutexGuard<'_, State<C>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<C: Channel> State<C> {
    fn usable(&self) -> impl DoubleEndedIterator<Item = &Connection<C>> {
        self.open.iter().filter(|connection| !connection.channel.is_closed())
    }

    /// The connection with the fewest watches; for a watch, one that has room for it.
    fn choose(&self, stream: Stream) -> Option<Chosen<C>> {
        let identified = self.usable().filter(|connection| connection.identified);
        let emptiest = identified.min_by_key(|connection| connection.watches())?;
        let channel = emptiest.channel.clone();
        match stream {
            Stream::Short | Stream::Page | Stream::Write | Stream::Kinds => Some(Chosen { channel, watch: None }),
            Stream::Watch if emptiest.watches() < emptiest.room() => {
                Some(Chosen { channel, watch: Some(Arc::clone(&emptiest.watches)) })
            }
            Stream::Watch => None,
        }
    }
}

impl<C: Channel> Connection<C> {
    fn watches(&self) -> usize {
        Arc::strong_count(&self.watches).saturating_sub(1)
    }

    /// A server that allows fewer streams than usual gets fewer watches on each connection.
    fn room(&self) -> usize {
        (self.channel.streams() / 5 * 3).clamp(1, WATCHES)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use futures::FutureExt as _;

    use super::*;

    #[derive(Clone, Debug, Default)]
    struct Fake {
        closed: Arc<AtomicBool>,
        streams: Option<usize>,
    }

    impl Channel for Fake {
        fn is_closed(&self) -> bool {
            self.closed.load(Ordering::Relaxed)
        }

        fn streams(&self) -> usize {
            self.streams.unwrap_or(100)
        }
    }

    fn none() -> Connections<Fake> {
        Connections::new(Arc::default())
    }

    /// One identified connection.
    fn one() -> (Connections<Fake>, Fake) {
        let (connections, channel) = (none(), Fake::default());
        connections.identified(connections.add(channel.clone()));
        (connections, channel)
    }

    fn drain(channel: &Fake) {
        channel.closed.store(true, Ordering::Relaxed);
    }

    fn is_asked(connections: &Connections<Fake>) -> bool {
        connections.wanted.notified().now_or_never().is_some()
    }

    #[tokio::test]
    async fn nobody_waits_for_a_cluster_that_was_never_reached() {
        let connections = none();
        assert!(connections.identified_one(Stream::Short).await.is_err());
        connections.add(Fake::default());
        assert!(connections.identified_one(Stream::Short).await.is_err(), "a new connection is a stranger's");
        assert!(connections.newest().is_some(), "but the probe uses it");
        assert!(!connections.is_identified());
    }

    #[tokio::test]
    async fn requests_wait_until_a_connection_that_drains_is_replaced() {
        let (connections, first) = one();
        assert!(connections.identified_one(Stream::Short).await.is_ok());
        drain(&first);
        let mut waiting = Box::pin(connections.identified_one(Stream::Short));
        assert!(waiting.as_mut().now_or_never().is_none());
        assert!(is_asked(&connections) && connections.wants_another());
        let number = connections.add(Fake::default());
        assert!(waiting.as_mut().now_or_never().is_none(), "not before it is identified");
        connections.identified(number);
        assert!(waiting.await.is_ok());
        assert!(!connections.wants_another());
    }

    #[tokio::test]
    async fn nobody_waits_any_longer_once_an_attempt_failed() {
        let (connections, first) = one();
        drain(&first);
        let mut waiting = Box::pin(connections.identified_one(Stream::Short));
        assert!(waiting.as_mut().now_or_never().is_none());
        connections.attempt_failed();
        assert!(waiting.await.is_err());
        assert!(connections.identified_one(Stream::Short).await.is_err());
        connections.identified(connections.add(Fake::default()));
        assert!(connections.identified_one(Stream::Short).await.is_ok(), "until one is there again");
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_for_ever() {
        let (connections, first) = one();
        drain(&first);
        let start = Instant::now();
        assert!(connections.identified_one(Stream::Short).await.is_err());
        assert_eq!(start.elapsed(), WAIT);
    }

    #[tokio::test]
    async fn a_connection_that_goes_while_nobody_asks_is_replaced_too() {
        let (connections, first) = one();
        drain(&first);
        connections.closed(1, false);
        assert!(is_asked(&connections) && connections.wants_another());
        assert!(!connections.take_unanswered());
        connections.identified(connections.add(Fake::default()));
        connections.closed(2, true);
        assert!(connections.take_unanswered());
        assert!(!connections.take_unanswered(), "it is reported once");
    }

    #[tokio::test]
    async fn from_sixty_watches_on_there_is_another_connection() {
        let (connections, _first) = one();
        let mut watches = Vec::new();
        for _ in 0..WATCHES {
            watches.push(connections.identified_one(Stream::Watch).await.unwrap());
        }
        assert!(connections.identified_one(Stream::Short).await.is_ok(), "other requests have their room");
        assert!(!connections.wants_another());
        let mut next = Box::pin(connections.identified_one(Stream::Watch));
        assert!(next.as_mut().now_or_never().is_none());
        assert!(connections.wants_another());
        connections.make_another();
        assert!(connections.newest().is_none() && connections.newest().is_some(), "the probe makes one");
        connections.identified(connections.add(Fake::default()));
        watches.push(next.await.unwrap());
        assert!(!connections.wants_another());
        watches.truncate(WATCHES - 1);
        for _ in 0..60 {
            watches.push(connections.identified_one(Stream::Watch).now_or_never().unwrap().unwrap());
        }
    }

    #[tokio::test]
    async fn a_server_with_fewer_streams_gets_fewer_watches() {
        let connections = none();
        connections.identified(connections.add(Fake { streams: Some(10), ..Fake::default() }));
        let watches: Vec<_> = std::iter::from_fn(|| connections.identified_one(Stream::Watch).now_or_never()).collect();
        assert_eq!(watches.len(), 6);
    }

    #[tokio::test]
    async fn nothing_is_sent_to_whom_the_probe_distrusts() {
        let (connections, _first) = one();
        connections.distrust();
        assert!(connections.identified_one(Stream::Short).await.is_err());
        assert!(connections.has_one(), "the probe may go on with it");
        connections.identified(1);
        assert!(connections.identified_one(Stream::Short).await.is_ok());
    }
}
