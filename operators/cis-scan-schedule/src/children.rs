//! The scans of a schedule: what each is to be, and what is seen of it. Pure.

use std::collections::BTreeSet;

use drover_crds::{CisScan, CisScanSchedule, EndedScan, Verdict};
use drover_runtime::{Title, owned::Owned};
use drover_schedule::{
    missed::{Fate, Made},
    runs::tick_of,
};
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt as _;
use serde_json::{Map, Value};

/// How far a scan is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// It was created while policies were missing or altered, and never begins.
    NotAdmitted,
    /// It waits for something.
    Waiting,
    /// It has begun.
    Running,
    /// It has ended.
    Ended(Verdict),
}

impl Stage {
    fn fate(self) -> Fate {
        match self {
            Self::Waiting | Self::Running => Fate::Open,
            Self::Ended(Verdict::Pass | Verdict::Fail) => Fate::Succeeded,
            Self::NotAdmitted | Self::Ended(Verdict::Incomplete) => Fate::Failed,
        }
    }
}

/// A scan of the schedule.
#[derive(Clone, Copy, Debug)]
pub struct Child<'a> {
    /// As it is.
    pub live: &'a CisScan,
    /// The time of its run.
    pub tick: Timestamp,
    /// How far it is.
    pub stage: Stage,
    /// Whether this installation created it for this schedule, so that it may be deleted.
    pub is_ours: bool,
    /// Whether it is being deleted.
    pub is_deleting: bool,
}

impl<'a> Child<'a> {
    fn of(found: &'a Owned<CisScan>) -> Option<Self> {
        let live = found.live.as_deref().ok()?;
        let is_ours = match found.title {
            Title::Created => true,
            Title::Adopted => false,
            // These only carry the labels.
            Title::Another | Title::Unfounded => return None,
        };
        let tick = tick_of(live.metadata.name.as_deref()?)?;
        let is_deleting = live.metadata.deletion_timestamp.is_some();
        Some(Self { live, tick, stage: stage(live), is_ours, is_deleting })
    }

    /// Whether it had not ended yet at this time.
    #[must_use]
    pub fn was_under_way(&self, at: Timestamp) -> bool {
        match self.stage {
            Stage::NotAdmitted => false,
            Stage::Waiting | Stage::Running => true,
            Stage::Ended(_) => {
                let completed = self.live.status.as_ref().and_then(|status| status.completed_at.as_ref());
                completed.is_some_and(|completed| completed.0 > at)
            }
        }
    }

    /// What came of it, if it has ended.
    #[must_use]
    pub fn ended(&self) -> Option<EndedScan> {
        let Stage::Ended(verdict) = self.stage else { return None };
        let status = self.live.status.as_ref()?;
        Some(EndedScan {
            name: self.live.name_any(),
            completed_at: status.completed_at.clone()?,
            verdict,
            counts: status.counts,
            nodes: status.nodes.clone(),
            changes: status.changes,
        })
    }

    pub(crate) fn made(&self) -> Made {
        Made { tick: self.tick, fate: self.stage.fate() }
    }
}

fn stage(live: &CisScan) -> Stage {
    let Some(status) = &live.status else { return Stage::Waiting };
    match (&status.completed_at, &status.started_at) {
        // Without a verdict nothing says that it was looked at.
        (Some(_), _) => Stage::Ended(status.verdict.unwrap_or(Verdict::Incomplete)),
        (None, Some(_)) => Stage::Running,
        (None, None) if status.admission.as_ref().is_some_and(|record| !record.admitted) => Stage::NotAdmitted,
        (None, None) => Stage::Waiting,
    }
}

/// The scans of a schedule, from the oldest run to the newest. All names that are taken are known beside them: one that cannot be decoded is
/// there as well.
#[derive(Debug, Default)]
pub struct Children<'a> {
    all: Vec<Child<'a>>,
    names: BTreeSet<&'a str>,
}

impl<'a> Children<'a> {
    /// Of what carries the labels of a schedule.
    #[must_use]
    pub fn of(found: &'a [Owned<CisScan>]) -> Self {
        let names = found.iter().filter_map(|one| one.meta().name.as_deref()).collect();
        let mut all: Vec<_> = found.iter().filter_map(Child::of).collect();
        all.sort_by_key(|child| child.tick);
        Self { all, names }
    }

    /// Those until a time, from the oldest run to the newest. What a clock that was ahead made counts for nothing before it is time for it.
    #[must_use]
    pub fn until(&self, now: Timestamp) -> &[Child<'a>] {
        let past = self.all.partition_point(|child| child.tick <= now);
        self.all.get(..past).unwrap_or_default()
    }

    /// All of them that are not being deleted, from the newest run to the oldest.
    pub fn newest_first(&self) -> impl Iterator<Item = &Child<'a>> {
        self.all.iter().rev().filter(|child| !child.is_deleting)
    }

    /// Whether there is one of this name.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.names.contains(name)
    }
}

/// The scan of a run. It is compared with the newest one that has ended.
#[must_use]
pub fn wanted(schedule: &CisScanSchedule, name: &str, children: &Children<'_>) -> CisScan {
    let ended = children.newest_first().find(|child| matches!(child.stage, Stage::Ended(_)));
    let mut wanted = CisScan::new(name, schedule.spec.scan_compared_with(ended.map(|child| child.live.name_any())));
    wanted.metadata.namespace = schedule.namespace();
    wanted
}

/// What of a scan besides metadata is written, all at once.
#[must_use]
pub fn content(wanted: &CisScan) -> Map<String, Value> {
    Map::from_iter([("spec".to_owned(), serde_json::to_value(&wanted.spec).unwrap_or_default())])
}

/// Those that are kept no longer. The last one that looked at everything stays, whatever is said: without it all that fails would be new.
#[must_use]
pub fn superfluous<'c, 'a>(children: &'c Children<'a>, kept: usize) -> Vec<&'c Child<'a>> {
    let is_ended = |child: &&Child<'_>| matches!(child.stage, Stage::Ended(_));
    let looked_at_all = |child: &&Child<'_>| child.stage.fate() == Fate::Succeeded;
    let whole = children.newest_first().find(looked_at_all).map(|child| child.tick);
    let older = children.newest_first().filter(is_ended).skip(kept);
    older.filter(|child| child.is_ours && Some(child.tick) != whole).collect()
}
