//! Which backups of a schedule are deleted. Whatever the rules say, these stay:
//!
//! - a backup that is pinned, in use, or of which the data is gone or changed: a person has to look at that;
//! - the newest verified one, by its time and by its revision: a clock may jump, and a restore takes the revision back;
//! - each backup that has fewer than `min_verified` younger ones that are verified and there, and stay. A failed run leaves nothing
//!   that counts, so it never makes anything go.

use std::{collections::BTreeSet, time::Duration};

use k8s_openapi::jiff::{SignedDuration, Timestamp, Zoned, tz::TimeZone};

use crate::Uid;

/// Which backups are kept. A backup stays that any of the numbers keeps; where there is none, all stay that `max_age` keeps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retention {
    /// The newest ones, so many.
    pub keep_last: Option<u32>,
    /// The newest one of each of the last hours that have one, so many hours.
    pub hourly: Option<u32>,
    /// The same by days.
    pub daily: Option<u32>,
    /// The same by weeks, from Monday on.
    pub weekly: Option<u32>,
    /// The same by months.
    pub monthly: Option<u32>,
    /// What is older goes, also if a number keeps it.
    pub max_age: Option<Duration>,
    /// Verified backups that stay whatever else is said; at least 1 counts.
    pub min_verified: u32,
}

/// A backup with a manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Of the `EtcdBackup`.
    pub uid: Uid,
    /// When its Job was started, by the clock of the manager.
    pub taken_at: Timestamp,
    /// Of etcd.
    pub revision: u64,
    /// Whether it was restored and compared.
    pub is_verified: bool,
    /// Whether its data is in the store, unchanged, as far as was seen.
    pub is_available: bool,
    /// Whether it stays whatever the rules say: it is pinned, a restore needs it, or the store locks it.
    pub is_held: bool,
}

impl Candidate {
    /// Whether it counts as one that a cluster can be restored from.
    fn counts(&self) -> bool {
        self.is_verified && self.is_available
    }

    /// From the oldest to the newest; the UID decides between equal ones, so that the order is always the same.
    fn order(&self) -> (Timestamp, u64, &Uid) {
        (self.taken_at, self.revision, &self.uid)
    }
}

/// The backups that are deleted, from the oldest to the newest. Periods are those of `zone`.
#[must_use]
pub fn to_delete(candidates: &[Candidate], retention: &Retention, now: Timestamp, zone: &TimeZone) -> Vec<Uid> {
    let mut newest_first: Vec<&Candidate> = candidates.iter().collect();
    newest_first.sort_by(|one, other| other.order().cmp(&one.order()));
    let kept = kept_by_rule(&newest_first, retention, now, zone);
    // Of equal ones the last one is found: where nothing was written in between, the youngest of them.
    let newest =
        newest_first.iter().rev().filter(|one| one.counts()).max_by_key(|one| one.revision).map(|one| &one.uid);
    let min_verified = retention.min_verified.max(1);
    let (mut younger, mut deleted) = (0, Vec::new());
    for one in newest_first {
        let is_safe = one.is_held || !one.is_available || newest == Some(&one.uid);
        if !is_safe && younger >= min_verified && !kept.contains(&one.uid) {
            deleted.push(one.uid.clone());
        } else if one.counts() {
            younger += 1;
        }
    }
    deleted.reverse();
    deleted
}

/// What the numbers and the age keep. Verified ones and others are counted apart, so that one that is not proved takes the place of
/// none that is.
fn kept_by_rule<'a>(
    newest_first: &[&'a Candidate],
    retention: &Retention,
    now: Timestamp,
    zone: &TimeZone,
) -> BTreeSet<&'a Uid> {
    let is_young = |one: &&Candidate| {
        let most = retention.max_age.and_then(|most| SignedDuration::try_from(most).ok());
        most.is_none_or(|most| now.duration_since(one.taken_at) <= most)
    };
    let mut kept = BTreeSet::new();
    for counts in [true, false] {
        let of_kind = newest_first.iter().copied().filter(|one| one.counts() == counts).filter(is_young);
        for period in PERIODS {
            let Some(most) = period.most(retention) else { continue };
            let mut seen = BTreeSet::new();
            for one in of_kind.clone() {
                if seen.len() >= most {
                    break;
                }
                if seen.insert(period.of(one, zone)) {
                    kept.insert(&one.uid);
                }
            }
        }
        if PERIODS.iter().all(|period| period.most(retention).is_none()) {
            kept.extend(of_kind.map(|one| &one.uid));
        }
    }
    kept
}

/// Of each of which one backup is kept.
#[derive(Clone, Copy)]
enum Period {
    /// Each backup is one.
    Backup,
    Hour,
    Day,
    Week,
    Month,
}

const PERIODS: [Period; 5] = [Period::Backup, Period::Hour, Period::Day, Period::Week, Period::Month];

impl Period {
    fn most(self, retention: &Retention) -> Option<usize> {
        let most = match self {
            Self::Backup => retention.keep_last,
            Self::Hour => retention.hourly,
            Self::Day => retention.daily,
            Self::Week => retention.weekly,
            Self::Month => retention.monthly,
        };
        most.map(|most| usize::try_from(most).unwrap_or(usize::MAX))
    }

    /// What is the same for two backups of one period, and for no others.
    fn of(self, one: &Candidate, zone: &TimeZone) -> String {
        let time: Zoned = one.taken_at.to_zoned(zone.clone());
        match self {
            Self::Backup => one.uid.to_string(),
            // With the offset: an hour that comes twice is two.
            Self::Hour => time.strftime("%Y-%m-%dT%H%z").to_string(),
            Self::Day => time.strftime("%Y-%m-%d").to_string(),
            Self::Week => time.strftime("%G-W%V").to_string(),
            Self::Month => time.strftime("%Y-%m").to_string(),
        }
    }
}
