//! The actions of a plan: the same for API servers and for the model world.

use std::sync::atomic::{AtomicBool, Ordering};

use futures::{StreamExt as _, future::ready, stream};

use crate::error::{Classify, Failure};

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

impl Stop<Failure> {
    /// Whether no group may go on.
    fn ends_everything(&self) -> bool {
        match self {
            Self::Interrupted => true,
            Self::Refused(failure) => !failure.class().is_about_one_thing(),
        }
    }
}

/// What became of a plan.
#[derive(Debug, Default)]
pub(crate) struct Acted {
    /// The failure about the whole server, or that of the first group that failed: the same one however long each took.
    pub(crate) failure: Option<Failure>,
    /// Whether something was left undone without a failure.
    pub(crate) interrupted: bool,
}

/// Does the groups of actions side by side, each in its order. A failure ends its group. If it is about the whole server, no
/// action begins after it; what has begun comes to its end, or nothing would be known of it.
///
/// All in the task of the caller, so that what is local to that task holds for each action.
pub(crate) async fn act<A, E, F>(groups: Vec<Vec<A>>, one: impl Fn(A) -> F) -> Acted
where
    E: Classify,
    F: Future<Output = Result<(), Stop<E>>>,
{
    let (ended, one) = (&AtomicBool::new(false), &one);
    let in_order = |(number, group): (usize, Vec<A>)| async move {
        for action in group {
            if ended.load(Ordering::Relaxed) {
                break;
            }
            if let Err(stop) = one(action).await {
                let stop = stop.map(|error| Failure::of(&error));
                ended.fetch_or(stop.ends_everything(), Ordering::Relaxed);
                return Some((number, stop));
            }
        }
        None
    };
    let groups = stream::iter(groups.into_iter().enumerate().map(in_order));
    let stops = groups.buffer_unordered(AT_A_TIME).filter_map(ready).collect().await;
    first(stops)
}

fn first(mut stops: Vec<(usize, Stop<Failure>)>) -> Acted {
    stops.sort_by_key(|(number, stop)| (!stop.ends_everything(), *number));
    let mut acted = Acted::default();
    for (_, stop) in stops {
        match stop {
            Stop::Interrupted => acted.interrupted = true,
            Stop::Refused(failure) => drop(acted.failure.get_or_insert(failure)),
        }
    }
    acted
}

#[cfg(test)]
mod tests {
    use std::{fmt, sync::Mutex};

    use futures::FutureExt as _;
    use tokio::task::yield_now;

    use super::*;
    use crate::{Cause, Class};

    #[derive(Debug)]
    struct Fault(Class);

    impl fmt::Display for Fault {
        fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
            formatter.write_str(self.0.as_str())
        }
    }

    impl Classify for Fault {
        fn cause(&self) -> Cause {
            Cause::new(self.0.as_str(), self.0, "A test fails.", "")
        }
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
                result.map_err(|stop| stop.map(Fault))
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
        assert!(acted.failure.is_none() && !acted.interrupted);
    }

    #[tokio::test]
    async fn the_failure_that_is_told_is_that_of_the_first_group_however_long_it_takes() {
        for polls in [0, 9] {
            let one = vec![("one", polls, failed(Class::Blocked)), ("never", 0, Ok(()))];
            let two = vec![("two", 3, failed(Class::Invalid))];
            let (acted, done) = done(vec![one, two]).await;
            assert_eq!(acted.failure.map(|failure| failure.class()), Some(Class::Blocked));
            assert_eq!(done.len(), 2);
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
            let told = acted.failure.map(|failure| failure.class());
            let expected = if interrupts { Class::Blocked } else { Class::Transient };
            assert_eq!((told, acted.interrupted), (Some(expected), interrupts));
        }
    }

    #[tokio::test]
    async fn what_is_local_to_the_task_holds_for_each_action() {
        tokio::task_local!(static PLACE: usize);
        let seen = PLACE.scope(
            7,
            act(vec![vec![()]; 20], |()| async {
                if PLACE.try_with(|place| *place) == Ok(7) { Ok(()) } else { Err(Stop::Refused(Fault(Class::Bug))) }
            }),
        );
        assert!(seen.await.failure.is_none());
    }

    #[test]
    fn nothing_waits_where_no_action_does() {
        let acted = act(vec![vec![(); 40]; 40], |()| ready(Ok::<_, Stop<Fault>>(())));
        assert!(acted.now_or_never().is_some());
    }
}
