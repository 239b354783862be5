//! A fair queue of keys.
//!
//! Each key is queued at most once, never runs twice at a time, and is served in the order in which it fell due. Keys that
//! share a lane (a place) share a bound, so one slow cluster cannot take all workers.

use std::{
    collections::{BTreeSet, HashMap},
    fmt,
    hash::Hash,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use rand::RngExt as _;
use tokio::{sync::Notify, time::Instant};

/// A key that knows which lane it belongs to.
pub trait Laned: Clone + Ord + Hash {
    /// What bounds it.
    type Lane: Clone + Ord + Hash;
    /// Its lane.
    fn lane(&self) -> Self::Lane;
}

/// What becomes of a key when its run is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequeueAt {
    /// Nothing: it runs again when it is pushed again.
    Forget,
    /// It runs again at this time; it did not fail.
    At(Instant),
    /// It failed and runs again after its back-off.
    Retry,
    /// Another client was faster: it runs again at once, and after its back-off from the third time in a row.
    Conflict,
}

/// First back-off: doubled with every failure in a row.
const FIRST_BACK_OFF: Duration = Duration::from_secs(1);
/// The first conflicts in a row wait this long only: the watch needs a moment to show what the other client wrote.
const CONFLICT_PAUSE: Duration = Duration::from_millis(200);
/// So many conflicts in a row are retried at once.
const CONFLICTS_AT_ONCE: u32 = 2;
/// Longest back-off.
const LONGEST_BACK_OFF: Duration = Duration::from_mins(5);

/// The queue. All methods are cheap and may be called from any thread.
pub struct Queue<K: Laned> {
    state: Mutex<State<K>>,
    changed: Notify,
}

type Due = (Instant, u64);

struct State<K: Laned> {
    slots: HashMap<K, Slot>,
    lanes: HashMap<K::Lane, Lane<K>>,
    /// The first due key of every lane that has room.
    heads: BTreeSet<(Due, K::Lane)>,
    lane_limit: usize,
    sequence: u64,
}

#[derive(Debug, Default)]
struct Slot {
    due: Option<Due>,
    running: bool,
    failures: u32,
}

struct Lane<K> {
    due: BTreeSet<(Due, K)>,
    running: usize,
}

impl<K: Laned> fmt::Debug for Queue<K> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Queue").field("keys", &self.len()).finish_non_exhaustive()
    }
}

impl<K: Laned> Queue<K> {
    /// An empty queue that runs at most `lane_limit` keys of one lane at a time.
    #[must_use]
    pub fn new(lane_limit: usize) -> Self {
        let state =
            State { slots: HashMap::new(), lanes: HashMap::new(), heads: BTreeSet::new(), lane_limit, sequence: 0 };
        Self { state: Mutex::new(state), changed: Notify::new() }
    }

    /// Runs `key` as soon as possible. A key that runs now runs once more afterwards.
    pub fn push(&self, key: K) {
        self.push_at(key, Instant::now());
    }

    /// Runs `key` at `at`, or earlier if it is due earlier already.
    pub fn push_at(&self, key: K, at: Instant) {
        self.lock().schedule(key, at);
        self.changed.notify_one();
    }

    /// Waits for the next due key. The caller must give it back with [`Queue::done`].
    pub async fn next(&self) -> K {
        loop {
            let wait = match self.lock().pop(Instant::now()) {
                Ok(key) => return key,
                Err(wait) => wait,
            };
            let due = async {
                match wait {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! { () = self.changed.notified() => {}, () = due => {} }
        }
    }

    /// Ends the run of `key`.
    pub fn done(&self, key: K, after: RequeueAt) {
        self.lock().finish(key, after);
        self.changed.notify_one();
    }

    /// How many keys are queued or running.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lock().slots.len()
    }

    /// Whether nothing is queued or running.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many keys failed in their last run and wait for their back-off.
    #[must_use]
    pub fn backing_off(&self) -> usize {
        self.lock().slots.values().filter(|slot| slot.failures > 0).count()
    }

    fn lock(&self) -> MutexGuard<'_, State<K>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Laned> State<K> {
    /// The earlier of two due times wins. A running key only notes it.
    fn schedule(&mut self, key: K, at: Instant) {
        let slot = self.slots.entry(key.clone()).or_default();
        if slot.due.is_some_and(|(due, _)| due <= at) {
            return;
        }
        self.sequence += 1;
        let old = slot.due.replace((at, self.sequence));
        if !slot.running {
            self.place(key, old, Some((at, self.sequence)));
        }
    }

    fn pop(&mut self, now: Instant) -> Result<K, Option<Instant>> {
        let Some(((at, _), lane)) = self.heads.first().cloned() else { return Err(None) };
        if at > now {
            return Err(Some(at));
        }
        let key = self.lanes.get(&lane).and_then(|lane| lane.due.first()).map(|(_, key)| key.clone());
        let Some(key) = key else { return Err(None) };
        let due = self.slots.get_mut(&key).and_then(|slot| {
            slot.running = true;
            slot.due.take()
        });
        self.change_lane(&lane, |lane| {
            lane.running += 1;
            if let Some(due) = due {
                lane.due.remove(&(due, key.clone()));
            }
        });
        Ok(key)
    }

    fn finish(&mut self, key: K, after: RequeueAt) {
        let Some(slot) = self.slots.get_mut(&key) else { return };
        slot.running = false;
        let failed = matches!(after, RequeueAt::Retry | RequeueAt::Conflict);
        slot.failures = if failed { slot.failures.saturating_add(1) } else { 0 };
        let again = match after {
            RequeueAt::Forget => None,
            RequeueAt::At(at) => Some(at),
            RequeueAt::Retry => Some(Instant::now() + back_off(slot.failures)),
            RequeueAt::Conflict if slot.failures <= CONFLICTS_AT_ONCE => Some(Instant::now() + CONFLICT_PAUSE),
            RequeueAt::Conflict => Some(Instant::now() + back_off(slot.failures - CONFLICTS_AT_ONCE)),
        };
        let noted = slot.due.take().map(|(at, _)| at);
        self.change_lane(&key.lane(), |lane| lane.running = lane.running.saturating_sub(1));
        match (noted, again) {
            (Some(noted), again) => self.schedule(key, again.map_or(noted, |at| at.min(noted))),
            (None, Some(at)) => self.schedule(key, at),
            (None, None) => {
                self.slots.remove(&key);
            }
        }
    }

    fn place(&mut self, key: K, old: Option<Due>, new: Option<Due>) {
        self.change_lane(&key.lane(), |lane| {
            if let Some(old) = old {
                lane.due.remove(&(old, key.clone()));
            }
            if let Some(new) = new {
                lane.due.insert((new, key));
            }
        });
    }

    /// Changes one lane and keeps `heads` true.
    fn change_lane(&mut self, name: &K::Lane, change: impl FnOnce(&mut Lane<K>)) {
        let lane = self.lanes.entry(name.clone()).or_insert_with(|| Lane { due: BTreeSet::new(), running: 0 });
        if let Some((due, _)) = lane.due.first() {
            self.heads.remove(&(*due, name.clone()));
        }
        change(lane);
        match lane.due.first() {
            Some((due, _)) if lane.running < self.lane_limit => {
                self.heads.insert((*due, name.clone()));
            }
            None if lane.running == 0 => {
                self.lanes.remove(name);
            }
            _ => {}
        }
    }
}

/// Exponential with full jitter, so that a thousand keys that failed together do not come back together.
fn back_off(failures: u32) -> Duration {
    let longest = FIRST_BACK_OFF.saturating_mul(1 << failures.saturating_sub(1).min(16)).min(LONGEST_BACK_OFF);
    longest.mul_f64(rand::rng().random_range(0.1..=1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    type Key = (u8, u32);

    impl Laned for Key {
        type Lane = u8;
        fn lane(&self) -> u8 {
            self.0
        }
    }

    async fn drain(queue: &Queue<Key>, count: usize) -> Vec<Key> {
        let mut seen = Vec::new();
        for _ in 0..count {
            let key = queue.next().await;
            seen.push(key);
            queue.done(key, RequeueAt::Forget);
        }
        seen
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_pushed_many_times_runs_once() {
        let queue = Queue::new(8);
        (0..100).for_each(|_| queue.push((0, 1)));
        assert_eq!(drain(&queue, 1).await, [(0, 1)]);
        assert!(queue.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_pushed_while_it_runs_runs_once_more_and_never_twice_at_a_time() {
        let queue = Queue::new(8);
        queue.push((0, 1));
        let key = queue.next().await;
        queue.push((0, 1));
        queue.push((0, 1));
        assert!(tokio::time::timeout(Duration::from_secs(1), queue.next()).await.is_err());
        queue.done(key, RequeueAt::Forget);
        assert_eq!(drain(&queue, 1).await, [(0, 1)]);
        assert!(queue.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn keys_are_served_in_the_order_they_fell_due() {
        let queue = Queue::new(8);
        let now = Instant::now();
        queue.push_at((0, 3), now + Duration::from_secs(3));
        queue.push_at((1, 1), now + Duration::from_secs(1));
        queue.push_at((0, 2), now + Duration::from_secs(2));
        queue.push_at((0, 3), now + Duration::from_millis(500));
        assert_eq!(drain(&queue, 3).await, [(0, 3), (1, 1), (0, 2)]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_lane_does_not_hold_up_another() {
        let queue = Queue::new(2);
        (0..10).for_each(|number| queue.push((0, number)));
        queue.push((1, 0));
        let (one, two) = (queue.next().await, queue.next().await);
        assert_eq!((one.0, two.0), (0, 0));
        assert_eq!(queue.next().await, (1, 0), "lane 0 is full");
        queue.done(one, RequeueAt::Forget);
        assert_eq!(queue.next().await, (0, 2));
        queue.done(two, RequeueAt::Forget);
        assert_eq!(queue.next().await, (0, 3));
    }

    #[tokio::test(start_paused = true)]
    async fn failures_back_off_up_to_a_bound_and_success_forgets_them() {
        let queue = Queue::new(8);
        queue.push((0, 1));
        for _ in 0..20 {
            let before = Instant::now();
            let key = queue.next().await;
            assert!(Instant::now() - before <= LONGEST_BACK_OFF);
            queue.done(key, RequeueAt::Retry);
        }
        assert_eq!(queue.backing_off(), 1);
        let key = queue.next().await;
        queue.done(key, RequeueAt::Forget);
        assert_eq!(queue.backing_off(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn under_overload_every_key_gets_its_share() {
        let queue = Queue::new(4);
        (0..400).for_each(|number| queue.push((u8::try_from(number % 7).unwrap(), number)));
        let mut runs: HashMap<u32, usize> = HashMap::new();
        for _ in 0..4000 {
            let key = queue.next().await;
            *runs.entry(key.1).or_default() += 1;
            queue.done(key, RequeueAt::At(Instant::now()));
        }
        assert_eq!(runs.len(), 400);
        assert!(runs.values().all(|count| (9..=11).contains(count)), "{:?}", runs.values().max());
    }

    #[test]
    fn back_off_is_bounded_for_any_count() {
        for failures in [0, 1, 5, 31, 64, u32::MAX] {
            assert!(back_off(failures) <= LONGEST_BACK_OFF);
        }
    }
}
