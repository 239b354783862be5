//! Which request to a cluster is sent next: urgent ones first, fair between operators, never faster than the budget allows.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use drover_runtime::request::{Sender, Urgency};
use http::StatusCode;
use tokio::{
    sync::oneshot,
    time::{Instant, sleep_until},
};

use crate::request_budget::{Answer, Budget};

/// Requests whose answer has not begun, at a time. An API server allows 100 streams a connection, watches included.
const IN_FLIGHT: usize = 32;

/// The requests to one cluster that wait for their turn.
#[derive(Debug)]
pub(crate) struct RequestQueue {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    budget: Budget,
    in_flight: usize,
    waiting: BTreeMap<Urgency, Lane>,
    /// A task looks again when the budget allows the next request.
    timed: bool,
}

/// Requests of one urgency: each operator has its turn, and its own are sent in order.
#[derive(Debug, Default)]
struct Lane(VecDeque<(&'static str, VecDeque<oneshot::Sender<Turn>>)>);

/// The turn of one request, until its answer has begun.
#[derive(Debug)]
pub(crate) struct Turn {
    /// None once it was handed back.
    queue: Option<Arc<RequestQueue>>,
    since: Instant,
}

impl Turn {
    /// The server began to answer, with this status.
    pub(crate) fn answered(&self, status: StatusCode) {
        let Some(queue) = &self.queue else { return };
        let now = Instant::now();
        let answer = Answer { took: now.saturating_duration_since(self.since), status };
        let mut state = queue.lock();
        let is_waited_for = state.timed;
        state.budget.learn(answer, is_waited_for, now);
    }
}

impl RequestQueue {
    pub(crate) fn new() -> Self {
        let (budget, waiting) = (Budget::full(Instant::now()), BTreeMap::new());
        Self { state: Mutex::new(State { budget, in_flight: 0, waiting, timed: false }) }
    }

    /// Never more than so many requests a second from now on.
    pub(crate) fn allow_at_most(&self, most: u16) {
        self.lock().budget.allow_at_most(most);
    }

    /// Waits for the turn of a request of this sender.
    pub(crate) async fn turn(self: &Arc<Self>, sender: Sender) -> Turn {
        loop {
            let (give, given) = oneshot::channel();
            self.lock().waiting.entry(sender.urgency).or_default().push(sender.operator, give);
            self.serve();
            if let Ok(turn) = given.await {
                return turn;
            }
        }
    }

    /// Sends on their way those that may go now.
    fn serve(self: &Arc<Self>) {
        let mut state = self.lock();
        while state.in_flight < IN_FLIGHT {
            let now = Instant::now();
            let Some(next) = state.next() else { return };
            let at = state.budget.free_at(now);
            if at > now {
                state.put_back(next);
                return self.serve_again(state, at);
            }
            // Who gave up waiting takes nothing of the budget.
            match next.give.send(Turn { queue: Some(Arc::clone(self)), since: now }) {
                Ok(()) => {
                    state.budget.take(now);
                    state.in_flight += 1;
                }
                Err(mut turn) => turn.queue = None,
            }
        }
    }

    fn serve_again(self: &Arc<Self>, mut state: MutexGuard<'_, State>, at: Instant) {
        if std::mem::replace(&mut state.timed, true) {
            return;
        }
        let queue = Arc::clone(self);
        tokio::spawn(async move {
            sleep_until(at).await;
            queue.lock().timed = false;
            queue.serve();
        });
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if let Some(queue) = self.queue.take() {
            queue.lock().in_flight -= 1;
            queue.serve();
        }
    }
}

/// A request that is next.
struct Next {
    urgency: Urgency,
    operator: &'static str,
    give: oneshot::Sender<Turn>,
}

impl State {
    fn next(&mut self) -> Option<Next> {
        self.waiting.iter_mut().find_map(|(urgency, lane)| {
            let (operator, give) = lane.pop()?;
            Some(Next { urgency: *urgency, operator, give })
        })
    }

    fn put_back(&mut self, Next { urgency, operator, give }: Next) {
        self.waiting.entry(urgency).or_default().put_back(operator, give);
    }
}

impl Lane {
    fn push(&mut self, operator: &'static str, give: oneshot::Sender<Turn>) {
        match self.0.iter_mut().find(|(other, _)| *other == operator) {
            Some((_, queue)) => queue.push_back(give),
            None => self.0.push_back((operator, VecDeque::from([give]))),
        }
    }

    fn pop(&mut self) -> Option<(&'static str, oneshot::Sender<Turn>)> {
        let (operator, mut queue) = self.0.pop_front()?;
        let give = queue.pop_front()?;
        if !queue.is_empty() {
            self.0.push_back((operator, queue));
        }
        Some((operator, give))
    }

    fn put_back(&mut self, operator: &'static str, give: oneshot::Sender<Turn>) {
        let place = self.0.iter().position(|(other, _)| *other == operator);
        let (_, mut queue) = place.and_then(|place| self.0.remove(place)).unwrap_or((operator, VecDeque::new()));
        queue.push_front(give);
        self.0.push_front((operator, queue));
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::atomic::{AtomicUsize, Ordering},
        time::Duration,
    };

    use futures::{FutureExt as _, future::join_all};

    use super::*;
    use crate::request_budget::{BURST, RATE};

    fn from(operator: &'static str, urgency: Urgency) -> Sender {
        Sender { operator, urgency }
    }

    #[tokio::test(start_paused = true)]
    async fn the_budget_allows_a_burst_and_then_a_rate() {
        let (queue, start) = (Arc::new(RequestQueue::new()), Instant::now());
        for _ in 0..BURST {
            queue.turn(from("project", Urgency::Rest)).await;
        }
        assert_eq!(start.elapsed(), Duration::ZERO);
        for _ in 0..RATE {
            queue.turn(from("project", Urgency::Rest)).await;
        }
        assert!((990..1100).contains(&start.elapsed().as_millis()), "{:?}", start.elapsed());
        tokio::time::sleep(Duration::from_hours(1)).await;
        let later = Instant::now();
        for _ in 0..=BURST {
            queue.turn(from("project", Urgency::Rest)).await;
        }
        assert!(later.elapsed() >= Duration::from_millis(5), "what was not used is not saved up beyond the burst");
    }

    #[tokio::test(start_paused = true)]
    async fn so_many_are_under_way_at_a_time() {
        let queue = Arc::new(RequestQueue::new());
        let turns = join_all((0..IN_FLIGHT).map(|_| queue.turn(from("project", Urgency::Rest)))).await;
        let mut waiting = Box::pin(queue.turn(from("project", Urgency::Rest)));
        assert!(waiting.as_mut().now_or_never().is_none());
        drop(turns);
        assert!(waiting.now_or_never().is_some());
    }

    /// Fills the queue so that whatever comes then waits, and returns what holds it up.
    async fn busy(queue: &Arc<RequestQueue>) -> Vec<Turn> {
        join_all((0..IN_FLIGHT).map(|_| queue.turn(from("project", Urgency::Rest)))).await
    }

    /// In which order they have their turn.
    async fn order(senders: &[Sender]) -> Vec<Sender> {
        let queue = Arc::new(RequestQueue::new());
        let mut turns = busy(&queue).await;
        let served = Mutex::new(Vec::new());
        let all = join_all(senders.iter().map(|sender| {
            let (queue, served) = (Arc::clone(&queue), &served);
            async move {
                let turn = queue.turn(*sender).await;
                served.lock().unwrap().push(*sender);
                drop(turn);
            }
        }));
        let one_is_free = async { drop(turns.pop()) };
        futures::join!(all, one_is_free);
        served.into_inner().unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn revocations_go_before_guards_before_the_rest() {
        let [rest, guard, revocation] =
            [Urgency::Rest, Urgency::Guard, Urgency::Revocation].map(|urgency| from("project", urgency));
        let served = order(&[rest, guard, rest, revocation, guard, revocation]).await;
        assert_eq!(served, [revocation, revocation, guard, guard, rest, rest]);
    }

    #[tokio::test(start_paused = true)]
    async fn operators_take_turns_within_a_class() {
        let (many, one) = (from("project", Urgency::Rest), from("example", Urgency::Rest));
        assert_eq!(order(&[many, many, many, one]).await, [many, one, many, many]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_revocation_does_not_wait_for_five_hundred_others() {
        let (queue, done) = (Arc::new(RequestQueue::new()), Arc::new(AtomicUsize::new(0)));
        for _ in 0..500 {
            let (queue, done) = (Arc::clone(&queue), Arc::clone(&done));
            tokio::spawn(async move {
                let _turn = queue.turn(from("project", Urgency::Rest)).await;
                tokio::time::sleep(Duration::from_millis(50)).await;
                done.fetch_add(1, Ordering::Relaxed);
            });
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
        let start = Instant::now();
        queue.turn(from("example", Urgency::Revocation)).await;
        assert!(start.elapsed() < Duration::from_millis(100), "{:?}", start.elapsed());
        assert!(done.load(Ordering::Relaxed) < 400);
    }

    #[tokio::test(start_paused = true)]
    async fn who_gives_up_waiting_holds_up_nobody() {
        let queue = Arc::new(RequestQueue::new());
        let turns = busy(&queue).await;
        for _ in 0..10 {
            assert!(queue.turn(from("project", Urgency::Rest)).now_or_never().is_none());
        }
        drop(turns);
        let turns = join_all((0..IN_FLIGHT).map(|_| queue.turn(from("project", Urgency::Rest)))).await;
        assert_eq!(queue.lock().in_flight, IN_FLIGHT);
        drop(turns);
        assert_eq!(queue.lock().in_flight, 0);
    }
}
