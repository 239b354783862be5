//! The actions of a plan: the same for API servers and for the model world.

use std::sync::atomic::{AtomicBool, Ordering};

use futures::{StreamExt as _, future::ready, stream};

use crate::{error::Failure, place_status::Refusal};

/// So many requests of one reconcile are under way at a time: a distant cluster takes half a second for an answer, and a reconcile
/// has two minutes.
pub const AT_A_TIME: usize = 16;

/// Why an action did not come to its end.
#[derive(Debug)]
pub enum Stop<E> {
    /// Nothing more may be done of this plan: what it was decided for does not hold any more, or the process died.
    Interrupted,
    /// The server, or the rules of how we write, refused.
    Refused(E),
}

impl<E> Stop<E> {
    /// The same with another error.
    pub fn map<T>(self, error: impl FnOnce(E) -> T) -> Stop<T> {
        match self {
            Self::Interrupted => Stop::Interrupted,
            Self::Refused(refusal) => Stop::Refused(error(refusal)),
        }
    }
}

impl<E> From<E> for Stop<E> {
    fn from(error: E) -> Self {
        Self::Refused(error)
    }
}

impl Stop<Refusal> {
    /// Whether no group may go on.
    fn ends_everything(&self) -> bool {
        match self {
            Self::Interrupted => true,
            Self::Refused(refusal) => is_about_the_server(refusal),
        }
    }
}

fn is_about_the_server(refusal: &Refusal) -> bool {
    !refusal.failure.class().is_about_one_thing()
}

/// What became of a plan.
#[derive(Debug, Default)]
pub(crate) struct Acted {
    /// What was refused, with the number of its group, in the order of the groups: the same one however long each took.
    pub(crate) refused: Vec<(usize, Refusal)>,
    /// Whether something was left undone without a failure.
    pub(crate) interrupted: bool,
}

impl Acted {
    /// What was refused; or the failure about the whole server, beside which nothing else counts.
    pub(crate) fn refusals(self) -> Result<Vec<Refusal>, Failure> {
        let (about_the_server, refused): (Vec<_>, Vec<_>) =
            self.refused.into_iter().map(|(_, refusal)| refusal).partition(is_about_the_server);
        about_the_server.into_iter().next().map_or(Ok(refused), |refusal| Err(refusal.failure))
    }
}

/// Does the groups of actions side by side, each in its order. A failure ends its group. If it is about the whole server, no
/// action begins after it; what has begun comes to its end, or nothing would be known of it.
///
/// All in the task of the caller, so that what is local to that task holds for each action.
pub(crate) async fn act<A, F>(groups: Vec<Vec<A>>, one: impl Fn(A) -> F) -> Acted
where
    F: Future<Output = Result<(), Stop<Refusal>>>,
{
    let (ended, one) = (&AtomicBool::new(false), &one);
    let in_order = |(number, group): (usize, Vec<A>)| async move {
        for action in group {
            if ended.load(Ordering::Relaxed) {
                break;
            }
            if let Err(stop) = one(action).await {
                ended.fetch_or(stop.ends_everything(), Ordering::Relaxed);
                return Some((number, stop));
            }
        }
        None
    };
    let groups = stream::iter(groups.into_iter().enumerate().map(in_order));
    let stops: Vec<_> = groups.buffer_unordered(AT_A_TIME).filter_map(ready).collect().await;
    let mut acted = Acted::default();
    for (number, stop) in stops {
        match stop {
            Stop::Interrupted => acted.interrupted = true,
            Stop::Refused(refusal) => acted.refused.push((number, refusal)),
        }
    }
    acted.refused.sort_by_key(|(number, _)| *number);
    acted
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use futures::FutureExt as _;
    use tokio::task::yield_now;

    use super::*;
    use crate::{Cause, Class};

    fn refusal(class: Class) -> Refusal {
        let cause = Cause::new(class.as_str(), class, "A test fails.", "");
        Refusal { namespace: None, failure: Failure::new(cause, "no") }
    }

    /// An action that takes so many polls.
    type Action = (&'static str, usize, Result<(), Stop<Class>>);

    async fn done(groups: Vec<Vec<Action>>) -> (Acted, Vec<&'static str>) {
        let done = Mutex::new(Vec::new());
        let acted = act(groups, |(name, polls, result)| {
            let done = &done;
            async move {
                for _ in 0..polls {
                    yield_now().await;
                }
                done.lock().unwrap().push(name);
                result.map_err(|stop| stop.map(refusal))
            }
        });
        (acted.await, done.into_inner().unwrap())
    }

    fn failed(class: Class) -> Result<(), Stop<Class>> {
        Err(Stop::Refused(class))
    }

    #[tokio::test]
    async fn groups_go_side_by_side_and_each_in_its_order() {
        let (acted, done) =
            done(vec![vec![("slow", 9, Ok(())), ("after slow", 0, Ok(()))], vec![("fast", 0, Ok(()))]]).await;
        assert_eq!(done, ["fast", "slow", "after slow"]);
        assert!(acted.refused.is_empty() && !acted.interrupted);
    }

    #[tokio::test]
    async fn every_refusal_is_told_in_the_order_of_the_groups_however_long_each_takes() {
        for polls in [0, 9] {
            let one = vec![("one", polls, failed(Class::Blocked)), ("never", 0, Ok(()))];
            let three = vec![("three", 3, failed(Class::Invalid))];
            let (acted, done) = done(vec![one, vec![("two", 0, Ok(()))], three]).await;
            assert_eq!(acted.refused, [(0, refusal(Class::Blocked)), (2, refusal(Class::Invalid))]);
            assert_eq!(done.len(), 3);
        }
    }

    #[tokio::test]
    async fn after_a_failure_about_the_whole_server_or_an_interruption_nothing_begins() {
        for stop in [Stop::Refused(Class::Transient), Stop::Interrupted] {
            let interrupts = matches!(stop, Stop::Interrupted);
            let begun = vec![("begun", 9, failed(Class::Blocked)), ("never", 0, Ok(()))];
            let more = (0..2 * AT_A_TIME).map(|_| vec![("more", 9, Ok(())), ("never", 0, Ok(()))]);
            let groups = [begun, vec![("fails", 3, Err(stop))]].into_iter().chain(more).collect();
            let (acted, done) = done(groups).await;
            assert_eq!(done.len(), AT_A_TIME, "{done:?}");
            assert!(!done.contains(&"never"), "{done:?}");
            assert_eq!(acted.interrupted, interrupts);
            let blocked = refusal(Class::Blocked);
            let expected = if interrupts { Ok(vec![blocked]) } else { Err(refusal(Class::Transient).failure) };
            assert_eq!(acted.refusals(), expected);
        }
    }

    #[tokio::test]
    async fn what_is_local_to_the_task_holds_for_each_action() {
        tokio::task_local!(static PLACE: usize);
        let seen = PLACE.scope(
            7,
            act(vec![vec![()]; 20], |()| async {
                if PLACE.try_with(|place| *place) == Ok(7) { Ok(()) } else { Err(Stop::Refused(refusal(Class::Bug))) }
            }),
        );
        assert!(seen.await.refused.is_empty());
    }

    #[test]
    fn nothing_waits_where_no_action_does() {
        let acted = act(vec![vec![(); 40]; 40], |()| ready(Ok(())));
        assert!(acted.now_or_never().is_some());
    }
}
