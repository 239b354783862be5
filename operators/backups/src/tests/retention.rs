//! Invariant B5: whatever happened before, enough verified backups stay.

use std::{collections::BTreeSet, time::Duration};

use k8s_openapi::jiff::{Timestamp, tz::TimeZone};
use proptest::prelude::*;

use crate::{
    Uid,
    retention::{Candidate, Retention, to_delete},
};

fn uid(number: usize) -> Uid {
    format!("b-{number:03}").parse().unwrap()
}

/// One an hour, from `first` on.
fn hourly(first: &str, count: usize) -> Vec<Candidate> {
    let first: Timestamp = first.parse().unwrap();
    let at = |number: usize| first.checked_add(Duration::from_hours(number as u64)).unwrap();
    let of = |number| Candidate {
        uid: uid(number),
        taken_at: at(number),
        revision: number as u64,
        is_verified: true,
        is_available: true,
        is_held: false,
    };
    (0..count).map(of).collect()
}

fn kept(candidates: &[Candidate], retention: &Retention) -> Vec<Uid> {
    let now = candidates.iter().map(|one| one.taken_at).max().unwrap();
    let deleted = to_delete(candidates, retention, now, &TimeZone::UTC);
    let deleted: BTreeSet<_> = deleted.into_iter().collect();
    candidates.iter().map(|one| one.uid.clone()).filter(|uid| !deleted.contains(uid)).collect()
}

#[test]
fn each_number_keeps_the_newest_of_its_periods() {
    // From a Monday on, ten days.
    let all = hourly("2026-11-16T00:00:00Z", 240);
    let none = Retention::default();
    let at = |numbers: &[usize]| numbers.iter().map(|number| uid(*number)).collect::<Vec<_>>();
    for (retention, expected) in [
        (Retention { keep_last: Some(2), ..none }, at(&[238, 239])),
        (Retention { keep_last: Some(0), ..none }, at(&[239])),
        (Retention { keep_last: Some(0), min_verified: 3, ..none }, at(&[237, 238, 239])),
        (Retention { daily: Some(3), ..none }, at(&[191, 215, 239])),
        (Retention { weekly: Some(5), ..none }, at(&[167, 239])),
        (Retention { monthly: Some(5), ..none }, at(&[239])),
        (Retention { hourly: Some(2), daily: Some(2), ..none }, at(&[215, 238, 239])),
        (Retention { max_age: Some(Duration::from_hours(1)), ..none }, at(&[238, 239])),
        (Retention { daily: Some(9), max_age: Some(Duration::from_hours(30)), ..none }, at(&[215, 239])),
    ] {
        assert_eq!(kept(&all, &retention), expected, "{retention:?}");
    }
    assert_eq!(kept(&all, &none).len(), 240);
}

#[test]
fn an_hour_that_comes_twice_is_two() {
    let all = hourly("2026-10-24T23:00:00Z", 4);
    let berlin = TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap();
    let retention = Retention { hourly: Some(4), ..Retention::default() };
    let deleted = to_delete(&all, &retention, all[3].taken_at, &berlin);
    assert!(deleted.is_empty(), "{deleted:?}");
}

#[test]
fn failures_and_what_is_not_proved_make_nothing_go() {
    let retention = Retention { keep_last: Some(1), ..Retention::default() };
    let mut all = hourly("2026-11-16T00:00:00Z", 4);
    all[2].is_verified = false;
    all[3].is_available = false;
    // The last one that can be restored, what is not proved and younger, and what a person has to look at.
    assert_eq!(kept(&all, &retention), [uid(1), uid(2), uid(3)]);
    for one in &mut all {
        one.is_verified = false;
    }
    assert_eq!(kept(&all, &retention).len(), 4);
}

#[test]
fn the_newest_by_revision_stays_though_a_clock_went_back() {
    let mut all = hourly("2026-11-16T00:00:00Z", 3);
    all[0].revision = 1_000;
    let retention = Retention { keep_last: Some(1), ..Retention::default() };
    assert_eq!(kept(&all, &retention), [uid(0), uid(2)]);
}

#[test]
fn of_an_etcd_in_which_nothing_is_written_the_youngest_stays() {
    let mut all = hourly("2026-11-16T00:00:00Z", 3);
    for one in &mut all {
        one.revision = 7;
    }
    let retention = Retention { keep_last: Some(1), ..Retention::default() };
    assert_eq!(kept(&all, &retention), [uid(2)]);
}

fn candidates() -> impl Strategy<Value = Vec<Candidate>> {
    let one = (0..2_000_000_i64, 0..50_u64, any::<bool>(), 0..4_u8, 0..8_u8);
    prop::collection::vec(one, 0..40).prop_map(|all| {
        let of = |(number, (second, revision, verified, gone, held))| Candidate {
            uid: uid(number),
            taken_at: Timestamp::from_second(second).unwrap(),
            revision,
            is_verified: verified,
            is_available: gone != 0,
            is_held: held == 0,
        };
        all.into_iter().enumerate().map(of).collect()
    })
}

fn retentions() -> impl Strategy<Value = Retention> {
    let number = || prop::option::of(0..5_u32);
    let age = prop::option::of((0..2_000_000_u64).prop_map(Duration::from_secs));
    (number(), number(), number(), number(), number(), age, 0..4_u32).prop_map(
        |(keep_last, hourly, daily, weekly, monthly, max_age, min_verified)| Retention {
            keep_last,
            hourly,
            daily,
            weekly,
            monthly,
            max_age,
            min_verified,
        },
    )
}

proptest! {
    #[test]
    fn b5_enough_verified_backups_stay(all in candidates(), retention in retentions(), now in 0..3_000_000_i64) {
        let now = Timestamp::from_second(now).unwrap();
        let deleted = to_delete(&all, &retention, now, &TimeZone::UTC);
        let is_deleted = |one: &&Candidate| deleted.contains(&one.uid);
        let usable = |one: &&Candidate| one.is_verified && one.is_available;
        let least = (retention.min_verified.max(1) as usize).min(all.iter().filter(usable).count());
        let left: Vec<_> = all.iter().filter(|one| !is_deleted(one)).collect();
        prop_assert!(left.iter().copied().filter(usable).count() >= least);
        for gone in all.iter().filter(is_deleted) {
            prop_assert!(!gone.is_held && gone.is_available);
            let younger = left.iter().copied().filter(usable).filter(|one| {
                (one.taken_at, one.revision, &one.uid) > (gone.taken_at, gone.revision, &gone.uid)
            });
            prop_assert!(younger.count() >= least.max(1));
        }
        // What is left is left: a second look deletes no more.
        let left: Vec<_> = left.into_iter().cloned().collect();
        prop_assert_eq!(to_delete(&left, &retention, now, &TimeZone::UTC), vec![]);
    }
}
