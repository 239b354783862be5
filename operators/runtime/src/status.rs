//! Conditions: made by operators, completed by the runtime in one place.

use std::collections::BTreeMap;

use drover_crds::condition::{READY, RECONCILING, STALLED, StatusConditions};
use k8s_openapi::{
    apimachinery::pkg::apis::meta::v1::{Condition, Time},
    jiff::Timestamp,
};

use crate::cause::Cause;

/// The value of a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It holds.
    True,
    /// It does not hold.
    False,
    /// It cannot be told at the moment.
    Unknown,
}

impl State {
    fn as_str(self) -> &'static str {
        match self {
            Self::True => "True",
            Self::False => "False",
            Self::Unknown => "Unknown",
        }
    }
}

impl From<bool> for State {
    fn from(holds: bool) -> Self {
        if holds { Self::True } else { Self::False }
    }
}

/// A condition. Its transition time and observed generation are filled in by [`finish`].
#[must_use]
pub fn condition(
    kind: &str,
    state: impl Into<State>,
    cause: impl Into<Cause>,
    message: impl Into<String>,
) -> Condition {
    Condition {
        type_: kind.to_owned(),
        status: state.into().as_str().to_owned(),
        reason: cause.into().reason().to_owned(),
        message: message.into(),
        observed_generation: None,
        last_transition_time: Time(Timestamp::UNIX_EPOCH),
    }
}

/// `Ready` together with the two conditions that kstatus readers look at, which exist only while they are true.
#[must_use]
pub fn ready_conditions(state: State, cause: impl Into<Cause>, message: &str, activity: Activity) -> Vec<Condition> {
    let cause = cause.into();
    let mut conditions = vec![condition(READY, state, cause, message)];
    match activity {
        Activity::Settled => {}
        Activity::Reconciling => conditions.push(condition(RECONCILING, true, cause, message)),
        Activity::Stalled => conditions.push(condition(STALLED, true, cause, message)),
    }
    conditions
}

/// Whether an object is still moving.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activity {
    /// At rest.
    Settled,
    /// On its way, or waiting for something that may come by itself.
    Reconciling,
    /// It does not get any further without a change by a person.
    Stalled,
}

impl From<Cause> for Activity {
    /// What is not as wanted is stalled exactly if no waiting heals it.
    fn from(cause: Cause) -> Self {
        if cause.needs_action() { Self::Stalled } else { Self::Reconciling }
    }
}

/// Completes a fresh status: transition times move only when a condition's status flips, and the generation it speaks of
/// is recorded.
pub fn finish<S: StatusConditions>(previous: Option<&S>, mut fresh: S, generation: i64, now: Timestamp) -> S {
    fresh.set_observed_generation(generation);
    let before = previous.map(S::conditions).unwrap_or_default();
    for condition in fresh.conditions_mut() {
        condition.observed_generation = Some(generation);
        let unchanged = before.iter().find(|old| old.type_ == condition.type_ && old.status == condition.status);
        condition.last_transition_time = unchanged.map_or(Time(now), |old| old.last_transition_time.clone());
    }
    fresh
}

/// The conditions with another status or reason between two statuses: what is worth an event. `Reconciling` is not: it
/// says what `Ready` says.
#[must_use]
pub fn transitions<'a>(before: &[Condition], after: &'a [Condition]) -> Vec<&'a Condition> {
    let same = |old: &&Condition, new: &Condition| {
        old.type_ == new.type_ && old.status == new.status && old.reason == new.reason
    };
    after.iter().filter(|new| new.type_ != RECONCILING && !before.iter().any(|old| same(&old, new))).collect()
}

/// What was told of each condition last, by its type: status and reason. Times in which it was unknown do not count.
#[derive(Debug, Default)]
pub(crate) struct Told(BTreeMap<String, (String, String)>);

impl Told {
    /// The transitions that are news: what was unknown for a while, and is as it was told before, is none.
    pub(crate) fn news<'a>(&mut self, before: &[Condition], after: &'a [Condition]) -> Vec<&'a Condition> {
        let is_known = |condition: &&Condition| condition.status != State::Unknown.as_str();
        let says = |condition: &Condition| (condition.status.clone(), condition.reason.clone());
        for condition in before.iter().filter(is_known) {
            self.0.entry(condition.type_.clone()).or_insert_with(|| says(condition));
        }
        let mut news = transitions(before, after);
        news.retain(|condition| {
            !is_known(condition) || self.0.insert(condition.type_.clone(), says(condition)) != Some(says(condition))
        });
        news
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::StatusCause;

    #[derive(Clone, Debug, Default, PartialEq)]
    struct Status {
        generation: i64,
        conditions: Vec<Condition>,
    }

    impl StatusConditions for Status {
        fn conditions(&self) -> &[Condition] {
            &self.conditions
        }
        fn conditions_mut(&mut self) -> &mut Vec<Condition> {
            &mut self.conditions
        }
        fn observed_generation(&self) -> i64 {
            self.generation
        }
        fn set_observed_generation(&mut self, generation: i64) {
            self.generation = generation;
        }
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn status(state: State, cause: StatusCause) -> Status {
        Status { generation: 0, conditions: vec![condition(READY, state, cause, "")] }
    }

    #[test]
    fn a_transition_time_moves_only_when_the_status_flips() {
        let first = finish(None, status(State::False, StatusCause::Progressing), 1, at(10));
        let second = finish(Some(&first), status(State::False, StatusCause::Failed), 2, at(20));
        let third = finish(Some(&second), status(State::True, StatusCause::Ready), 2, at(30));
        let times: Vec<_> = [&first, &second, &third].map(|status| status.conditions[0].last_transition_time.0).into();
        assert_eq!(times, [at(10), at(10), at(30)]);
        assert_eq!(second.conditions[0].observed_generation, Some(2));
    }

    #[test]
    fn an_equal_status_stays_equal_whatever_the_time() {
        let first = finish(None, status(State::True, StatusCause::Ready), 1, at(10));
        assert_eq!(finish(Some(&first), status(State::True, StatusCause::Ready), 1, at(99)), first);
    }

    #[test]
    fn what_is_as_it_was_before_it_was_unknown_is_not_told_again() {
        let expiring = [condition("CertificatesValid", false, StatusCause::Failed, "")];
        let unknown = [condition("CertificatesValid", State::Unknown, StatusCause::Unreachable, "")];
        let expired = [condition("CertificatesValid", false, StatusCause::Terminating, "")];
        for mut told in [Told::default(), {
            let mut told = Told::default();
            assert_eq!(told.news(&[], &expiring).len(), 1);
            told
        }] {
            for _ in 0..2 {
                assert_eq!(told.news(&expiring, &unknown).len(), 1);
                assert!(told.news(&unknown, &expiring).is_empty());
            }
            assert_eq!(told.news(&unknown, &expired).len(), 1, "it is another thing now");
            assert_eq!(told.news(&expired, &expiring).len(), 1);
        }
    }

    #[test]
    fn only_changes_of_status_or_reason_are_transitions() {
        let before = [condition(READY, true, StatusCause::Ready, "2/2")];
        assert!(transitions(&before, &[condition(READY, true, StatusCause::Ready, "3/3")]).is_empty());
        assert_eq!(transitions(&before, &[condition(READY, false, StatusCause::Failed, "")]).len(), 1);
    }
}
