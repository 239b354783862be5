//! Which revisions of a release there are, and which stay.

use std::collections::{BTreeMap, BTreeSet};

use crate::record::{NAME_LABEL, STATUS_LABEL, Status, VERSION_LABEL};

/// A revision and where it is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Revision {
    /// The revision, from 1 on.
    pub number: i64,
    /// Where it is in its life.
    pub status: Status,
}

impl Revision {
    /// Reads the labels of a record of `release`; those of other releases are none.
    #[must_use]
    pub fn from_labels(release: &str, labels: &BTreeMap<String, String>) -> Option<Self> {
        let is_release = labels.get(NAME_LABEL).is_some_and(|name| name == release);
        let number = labels.get(VERSION_LABEL).and_then(|version| version.parse().ok()).filter(|number| *number > 0);
        let status = labels.get(STATUS_LABEL).and_then(|status| status.parse().ok()).unwrap_or_default();
        number.filter(|_| is_release).map(|number| Self { number, status })
    }
}

/// The revisions of one release, the oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History(Vec<Revision>);

impl FromIterator<Revision> for History {
    fn from_iter<T: IntoIterator<Item = Revision>>(revisions: T) -> Self {
        let mut revisions: Vec<_> = revisions.into_iter().collect();
        revisions.sort_by_key(|revision| revision.number);
        Self(revisions)
    }
}

impl History {
    /// All revisions, the oldest first.
    #[must_use]
    pub fn revisions(&self) -> &[Revision] {
        &self.0
    }

    /// The newest revision.
    #[must_use]
    pub fn last(&self) -> Option<Revision> {
        self.0.last().copied()
    }

    /// The number of the revision to come. None: numbers ran out, which only a forged record brings about.
    #[must_use]
    pub fn next(&self) -> Option<i64> {
        self.last().map_or(Some(1), |last| last.number.checked_add(1))
    }

    /// The newest revision that is deployed.
    #[must_use]
    pub fn deployed(&self) -> Option<Revision> {
        self.with(|status| status == Status::Deployed).last()
    }

    /// The revisions, beside `current`, that say they are deployed and no longer are.
    #[must_use]
    pub fn to_supersede(&self, current: i64) -> Vec<i64> {
        let deployed = self.with(|status| status == Status::Deployed);
        deployed.map(|revision| revision.number).filter(|number| *number != current).collect()
    }

    /// The revisions of which an operation is under way, or ended without saying so.
    pub fn pending(&self) -> impl DoubleEndedIterator<Item = Revision> {
        self.with(Status::is_pending)
    }

    /// The oldest revisions, as many as are beyond `limit`, but never the deployed one, a pending one or one of `pinned`. A limit of 0
    /// keeps all.
    #[must_use]
    pub fn to_delete(&self, limit: usize, pinned: &[i64]) -> Vec<i64> {
        let excess = if limit == 0 { 0 } else { self.0.len().saturating_sub(limit) };
        let deployed = self.deployed().map(|revision| revision.number);
        let may_go = |revision: &&Revision| {
            Some(revision.number) != deployed && !revision.status.is_pending() && !pinned.contains(&revision.number)
        };
        self.0.iter().filter(may_go).map(|revision| revision.number).take(excess).collect()
    }

    fn with(&self, is_wanted: impl Fn(Status) -> bool) -> impl DoubleEndedIterator<Item = Revision> {
        self.0.iter().copied().filter(move |revision| is_wanted(revision.status))
    }
}

/// By how much a revision is beyond the one before it at most. Helm counts by one, and keeps the deployed one whatever its age.
const LEAP: i64 = 1_000_000;

/// Which of these revisions count, where the status of an app notes the revision `known`. Whoever may write a record could use up all
/// numbers by a single one otherwise, and nothing could be released any more.
#[must_use]
pub fn believable(revisions: impl IntoIterator<Item = i64>, known: i64) -> BTreeSet<i64> {
    let sorted: BTreeSet<i64> = revisions.into_iter().filter(|revision| *revision > 0).collect();
    let mut newest = known.max(0);
    let is_near = |revision: &i64| {
        let is_near = revision.saturating_sub(newest) <= LEAP;
        newest = newest.max(*revision);
        is_near
    };
    sorted.into_iter().take_while(is_near).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn history(statuses: &[(i64, Status)]) -> History {
        statuses.iter().map(|(number, status)| Revision { number: *number, status: *status }).collect()
    }

    #[test]
    fn the_next_revision_follows_the_newest_whatever_became_of_it() {
        assert_eq!(History::default().next(), Some(1));
        assert_eq!(history(&[(3, Status::Failed), (1, Status::Deployed)]).next(), Some(4));
        assert_eq!(history(&[(i64::MAX, Status::Deployed)]).next(), None);
    }

    #[test]
    fn the_newest_deployed_one_counts_and_others_are_superseded() {
        let history = history(&[(2, Status::Deployed), (1, Status::Deployed), (3, Status::PendingUpgrade)]);
        assert_eq!(history.deployed().map(|revision| revision.number), Some(2));
        assert_eq!(history.to_supersede(2), [1]);
        assert_eq!(history.pending().map(|revision| revision.number).collect::<Vec<_>>(), [3]);
    }

    #[test]
    fn the_oldest_go_but_never_what_is_deployed_pending_or_pinned() {
        let many = [
            (1, Status::Deployed),
            (2, Status::Failed),
            (3, Status::Superseded),
            (4, Status::PendingUpgrade),
            (5, Status::Failed),
        ];
        assert_eq!(history(&many).to_delete(3, &[]), [2, 3]);
        assert_eq!(history(&many).to_delete(3, &[2]), [3, 5]);
        assert_eq!(history(&many).to_delete(1, &[]), [2, 3, 5]);
        assert!(history(&many).to_delete(0, &[]).is_empty());
        assert!(history(&many).to_delete(5, &[]).is_empty());
    }

    #[test]
    fn labels_of_other_releases_and_without_a_revision_are_none() {
        let labels = |name: &str, version: &str| {
            [("name", name), ("version", version), ("status", "failed")]
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .into()
        };
        let failed = Revision { number: 2, status: Status::Failed };
        assert_eq!(Revision::from_labels("web", &labels("web", "2")), Some(failed));
        for labels in [labels("webs", "2"), labels("web", "0"), labels("web", "-1"), labels("web", "x")] {
            assert_eq!(Revision::from_labels("web", &labels), None);
        }
    }

    #[test]
    fn one_record_does_not_use_up_all_numbers() {
        let believed = |revisions: &[i64], known: i64| {
            believable(revisions.iter().copied(), known).into_iter().collect::<Vec<_>>()
        };
        assert_eq!(believed(&[2, 1, i64::MAX], 2), [1, 2]);
        assert_eq!(believed(&[i64::MAX, -1, 0], 0), [0; 0]);
        assert_eq!(believed(&[5_000, 5_200], 0), [5_000, 5_200], "a release that helm made");
        assert_eq!(believed(&[7, 3_000_000], 3_000_000), [7, 3_000_000], "what the status notes counts");
    }
}
