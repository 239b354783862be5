//! What is seen of the targets of a rollout.

use std::{collections::BTreeMap, time::Duration};

use k8s_openapi::jiff::Timestamp;

use crate::time::later;

/// The name of a revision, which tells its content from every other one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Revision<'a>(pub &'a str);

/// A cluster on which the app is to be.
#[derive(Clone, Copy, Debug)]
pub struct Target<'a> {
    /// Name of the Cluster; of targets of the same name, the first one counts.
    pub cluster: &'a str,
    /// Labels of the Cluster, which say in which stage it is.
    pub labels: &'a BTreeMap<String, String>,
    /// The `CatalogApp` for it, if there is one.
    pub child: Option<Child<'a>>,
    /// Whether the cluster can be reached.
    pub is_online: bool,
    /// Whether the cluster, its Project or the app there is suspended.
    pub is_paused: bool,
}

/// The `CatalogApp` for a target.
#[derive(Clone, Copy, Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each of them is seen by itself, and all combinations occur")]
pub struct Child<'a> {
    /// The revision that it was given last; none if it says nothing of that.
    pub given: Option<Revision<'a>>,
    /// The revision that its status says is in the cluster.
    pub applied: Option<Revision<'a>>,
    /// Whether its status judges its present spec and annotations, and no release is under way. A status of before says nothing of what
    /// came after.
    pub is_current: bool,
    /// Since when it is ready with what is in the cluster: not before that was applied. None if it is not ready.
    pub ready_since: Option<Timestamp>,
    /// Whether its status, which judges its present spec and annotations, says that a release is under way.
    pub is_releasing: bool,
    /// Whether what is in the cluster was there before the app was: the management cluster was rebuilt.
    pub is_taken_up: bool,
    /// Whether all tries to release what it was given failed.
    pub has_failed: bool,
    /// Whether the object of that name belongs to others. It is never written.
    pub is_foreign: bool,
    /// Whether it is noted on it since when its cluster is no target, which it is again.
    pub is_marked: bool,
}

/// An app of ours on a cluster that is no target any more, or not with these names.
#[derive(Clone, Copy, Debug)]
pub struct Deselected {
    /// Since when, as it is noted on the app; none if nothing is noted yet.
    pub since: Option<Timestamp>,
}

impl Target<'_> {
    /// Whether nothing can be done there now.
    pub(crate) fn is_away(&self) -> bool {
        !self.is_online || self.is_paused
    }

    /// Whether it is ready with whatever it has, as far as is known.
    pub(crate) fn is_ready(&self) -> bool {
        self.child.is_some_and(|child| !child.is_foreign && child.is_current && child.ready_since.is_some())
    }
}

/// How far a target is on the way to a revision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// There is no app.
    Absent,
    /// The name of the app is taken.
    Foreign,
    /// It has another revision.
    Behind(Behind),
    /// It was given the revision, and nothing is known of the outcome.
    Updating,
    /// The revision failed there.
    Failed {
        /// Whether the app is ready all the same, with what it had before.
        is_ready: bool,
    },
    /// It has the revision and is not ready.
    Unready,
    /// It has the revision and is not ready for long enough yet.
    Baking {
        /// When it will be.
        until: Timestamp,
    },
    /// It has the revision and was ready for long enough.
    Done,
}

/// A target that has another revision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Behind {
    /// It is ready with it: an update makes it unavailable.
    Available,
    /// It is known not to be ready, or it was made unavailable for another revision: an update makes nothing worse.
    Broken,
    /// Nothing is known: it counts as unavailable, and an update as one that makes it so.
    Unknown,
}

impl Progress {
    pub(crate) fn of(target: &Target<'_>, wanted: Revision<'_>, min_ready: Duration, now: Timestamp) -> Self {
        let Some(child) = target.child else { return Self::Absent };
        if child.is_foreign {
            return Self::Foreign;
        }
        if child.given != Some(wanted) {
            return Self::Behind(Behind::of(child));
        }
        match child.ready_since {
            ready if child.is_current && child.has_failed => Self::Failed { is_ready: ready.is_some() },
            _ if !child.is_current || child.applied != Some(wanted) => Self::Updating,
            None => Self::Unready,
            // A time that is still far away was noted by a clock that was wrong: the stage as a whole has to be ready for long enough.
            Some(since) if now < later(since, min_ready) && since <= later(now, min_ready) => {
                Self::Baking { until: later(since, min_ready) }
            }
            Some(_) => Self::Done,
        }
    }
}

impl Behind {
    fn of(child: Child<'_>) -> Self {
        let is_on_its_way = child.given.is_some() && child.given != child.applied;
        let is_settled = child.is_current && (child.has_failed || !is_on_its_way);
        match child.ready_since {
            Some(_) if is_settled => Self::Available,
            None if is_settled => Self::Broken,
            // It was made unavailable for another revision, and says so. What an old status says is not known.
            _ if is_on_its_way && child.is_releasing && !child.has_failed => Self::Broken,
            _ => Self::Unknown,
        }
    }
}
