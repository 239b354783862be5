//! When it is looked whether the store still has a backup. Pure.
//!
//! Each backup has a time of the day, by its UID, so that the backups of a store are spread over the day whenever Drover starts. One that
//! could not be looked at within an hour of its time waits for the next day. One of which something is gone is looked at every hour, and
//! each is at once when a person asks for it.

use drover_fetch::Digest;
use k8s_openapi::jiff::{SignedDuration, Timestamp};

use crate::look::Finding;

/// How often each is looked at.
const PERIOD_SECONDS: i64 = 24 * 60 * 60;
/// How long after its time it still is.
const WITHIN: SignedDuration = SignedDuration::from_hours(1);
/// How often one is that is not available.
const WHILE_MISSED: SignedDuration = SignedDuration::from_hours(1);
/// How soon it is looked again where the store did not answer.
const AGAIN: SignedDuration = SignedDuration::from_mins(1);

/// When this process looked last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Look {
    /// When.
    pub at: Timestamp,
    /// What a person asked for then.
    pub request: String,
    /// What came of it.
    pub outcome: Outcome,
    /// What was seen last, if the store ever answered.
    pub finding: Option<Finding>,
}

/// What came of a look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The store answered.
    Answered,
    /// It did not, or refused.
    Silent,
    /// Others of the store come first: its turn is then.
    Waits(Timestamp),
}

/// When it is to be looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// At once.
    Now,
    /// Then.
    At(Timestamp),
}

/// When the backup with this UID is to be looked at. `request` is what a person asks for, if it is not empty; `is_missed` is whether
/// something of it was gone.
#[must_use]
pub fn due(uid: &str, request: &str, last: Option<&Look>, is_missed: bool, now: Timestamp) -> Due {
    let since = |from: SignedDuration, last: &Look| last.at.checked_add(from).unwrap_or(Timestamp::MAX);
    match last.map(|last| (last, last.outcome)) {
        Some((_, Outcome::Waits(turn))) => return if now < turn { Due::At(turn) } else { Due::Now },
        // Whoever asks anew has perhaps mended the store.
        Some((last, Outcome::Silent)) if last.request == request && now < since(AGAIN, last) => {
            return Due::At(since(AGAIN, last));
        }
        _ => {}
    }
    let answered = last.filter(|last| last.outcome == Outcome::Answered);
    let is_asked = !request.is_empty() && answered.is_none_or(|last| last.request != request);
    let next_while_missed = answered.map_or(now, |last| since(WHILE_MISSED, last));
    let (before, next) = times(uid, now);
    let is_its_time = now.duration_since(before) < WITHIN && answered.is_none_or(|last| last.at < before);
    if is_asked || is_its_time || (is_missed && now >= next_while_missed) {
        return Due::Now;
    }
    Due::At(if is_missed { next.min(next_while_missed) } else { next })
}

/// Its time before or at `now`, and the next one.
fn times(uid: &str, now: Timestamp) -> (Timestamp, Timestamp) {
    let [first, second, third, ..] = Digest::of(uid.as_bytes()).bytes();
    let place = i64::from(u32::from_be_bytes([0, first, second, third])) % PERIOD_SECONDS;
    let before = now.as_second() - (now.as_second() - place).rem_euclid(PERIOD_SECONDS);
    let time = |seconds: i64| Timestamp::from_second(seconds).unwrap_or(Timestamp::MAX);
    (time(before), time(before + PERIOD_SECONDS))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const UID: &str = "b-1";

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_795_000_000 + second).unwrap()
    }

    fn looked(at: Timestamp, is_answered: bool) -> Look {
        let outcome = if is_answered { Outcome::Answered } else { Outcome::Silent };
        Look { at, request: String::new(), outcome, finding: None }
    }

    fn own_time() -> Timestamp {
        times(UID, at(0)).1
    }

    fn later(time: Timestamp, minutes: i64) -> Timestamp {
        time + SignedDuration::from_mins(minutes)
    }

    #[test]
    fn each_is_looked_at_once_a_day_at_a_time_of_its_own() {
        let time = own_time();
        let tomorrow = Due::At(later(time, 24 * 60));
        assert_eq!(due(UID, "", None, false, later(time, -1)), Due::At(time));
        assert_eq!(due(UID, "", None, false, time), Due::Now);
        assert_eq!(due(UID, "", Some(&looked(time, true)), false, time), tomorrow);
        assert_eq!(due(UID, "", Some(&looked(later(time, -60), true)), false, later(time, 1)), Due::Now);
        assert_eq!(due(UID, "", None, false, later(time, 61)), tomorrow, "a start asks for no more than is due");
        let times: BTreeSet<_> = (0..1_000).map(|number| times(&format!("b-{number}"), at(0)).1).collect();
        assert!(times.len() > 950, "{}", times.len());
        let (first, last) = (times.first().unwrap(), times.last().unwrap());
        assert!(last.duration_since(*first) > SignedDuration::from_hours(23));
    }

    #[test]
    fn a_store_that_does_not_answer_is_asked_again_within_the_hour() {
        let time = own_time();
        let silent = looked(later(time, 5), false);
        assert_eq!(due(UID, "", Some(&silent), false, later(time, 5)), Due::At(later(time, 6)));
        assert_eq!(due(UID, "", Some(&silent), false, later(time, 6)), Due::Now);
        let silent = looked(later(time, 60), false);
        assert_eq!(due(UID, "", Some(&silent), false, later(time, 61)), Due::At(later(time, 24 * 60)));
    }

    #[test]
    fn one_that_waits_for_others_of_its_store_is_looked_at_when_it_is_its_turn() {
        let noon = later(own_time(), 12 * 60);
        let waiting = Look { request: "1".to_owned(), outcome: Outcome::Waits(later(noon, 2)), ..looked(noon, true) };
        assert_eq!(due(UID, "1", Some(&waiting), false, later(noon, 1)), Due::At(later(noon, 2)));
        assert_eq!(due(UID, "1", Some(&waiting), false, later(noon, 2)), Due::Now);
        let silent = Look { request: "1".to_owned(), ..looked(noon, false) };
        assert!(matches!(due(UID, "1", Some(&silent), false, noon), Due::At(_)));
        assert_eq!(due(UID, "2", Some(&silent), false, noon), Due::Now, "asked anew");
    }

    #[test]
    fn what_is_gone_is_looked_at_every_hour_and_what_is_asked_for_at_once() {
        let noon = later(own_time(), 12 * 60);
        assert_eq!(due(UID, "", None, true, noon), Due::Now);
        assert_eq!(due(UID, "", Some(&looked(noon, true)), true, noon), Due::At(later(noon, 60)));
        assert_eq!(due(UID, "", Some(&looked(noon, true)), true, later(noon, 60)), Due::Now);
        let looked = Look { request: "1".to_owned(), ..looked(noon, true) };
        assert_eq!(due(UID, "1", None, false, noon), Due::Now);
        assert!(matches!(due(UID, "1", Some(&looked), false, noon), Due::At(_)));
        assert_eq!(due(UID, "2", Some(&looked), false, noon), Due::Now);
    }
}
