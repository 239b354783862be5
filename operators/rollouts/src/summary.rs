//! What the status says of the targets: counts, and some of those that are not ready.

use drover_crds::{MAX_NOT_READY, MAX_STAGES, NotReady, RolloutCounts, StageStatus};

use crate::{
    Target, Wait,
    arrange::Arranged,
    plan::Run,
    target::{Behind, Progress},
};

/// What the status says of the targets. A decision that was just made is not part of it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Counted {
    /// Counts; clusters without consent are the caller's.
    pub counts: RolloutCounts,
    /// Counts by stage, of those that have targets.
    pub stages: Vec<StageStatus>,
    /// Some of the targets that are not ready, those that failed first; the caller may know a better reason.
    pub not_ready: Vec<NotReady>,
}

/// Why a target is not ready, by urgency.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Reason {
    Failed,
    NameTaken,
    NotReady,
    Updating,
    Missing,
    Suspended,
    Offline,
}

impl Reason {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Failed => "Failed",
            Self::NameTaken => "NameTaken",
            Self::NotReady => "NotReady",
            Self::Updating => "Updating",
            Self::Missing => "Missing",
            Self::Suspended => "Suspended",
            Self::Offline => "Offline",
        }
    }

    fn of(target: &Target<'_>, progress: Progress) -> Option<Self> {
        match progress {
            _ if !target.is_online => Some(Self::Offline),
            _ if target.is_paused => Some(Self::Suspended),
            Progress::Absent => Some(Self::Missing),
            Progress::Foreign => Some(Self::NameTaken),
            Progress::Failed { .. } => Some(Self::Failed),
            Progress::Updating => Some(Self::Updating),
            Progress::Unready | Progress::Behind(Behind::Broken | Behind::Unknown) => Some(Self::NotReady),
            Progress::Behind(Behind::Available) | Progress::Baking { .. } | Progress::Done => None,
        }
    }
}

impl Counted {
    pub(crate) fn of(run: &Run<'_>, stages: &[Arranged<'_>], wait: Option<&Wait>) -> Self {
        let mut counted = Self::default();
        let mut worst = Vec::new();
        for stage in stages.iter().filter(|stage| !stage.members.is_empty()) {
            let name = &stage.spec.name;
            let batch = run.record.batch.as_ref().filter(|batch| batch.stage == *name);
            let is_present = wait.and_then(Wait::stage) == Some(name);
            let since = batch.filter(|_| is_present).map(|batch| batch.at.clone());
            let mut row = StageStatus { name: name.clone(), total: 0, updated: 0, ready: 0, since, preview: None };
            for (index, target) in stage.members.iter().filter_map(|index| Some((*index, run.targets.get(*index)?))) {
                let progress = Progress::of(target, run.rollout.wanted, stage.spec.min_ready(), run.now);
                counted.add(target, progress, &mut row);
                worst.extend(Reason::of(target, progress).map(|reason| (reason, index)));
            }
            counted.stages.push(row);
        }
        // One stage too many can only be one that selects nothing more.
        counted.stages.truncate(MAX_STAGES);
        worst.sort_unstable();
        let named = worst.iter().take(MAX_NOT_READY);
        let row = |(reason, index): &(Reason, usize)| NotReady {
            cluster: run.cluster(*index),
            reason: reason.as_str().to_owned(),
        };
        counted.not_ready = named.map(row).collect();
        let counts = &mut counted.counts;
        counts.pending = counts.targets - counts.updated;
        counts.summary = format!("{}/{}", counts.updated, counts.targets);
        counted
    }

    fn add(&mut self, target: &Target<'_>, progress: Progress, row: &mut StageStatus) {
        let is_updated = matches!(progress, Progress::Unready | Progress::Baking { .. } | Progress::Done);
        let has_failed = matches!(progress, Progress::Failed { .. } | Progress::Foreign);
        let (updated, ready) = (i64::from(is_updated), i64::from(target.is_ready()));
        row.total += 1;
        row.updated += updated;
        row.ready += ready;
        let counts = &mut self.counts;
        counts.targets += 1;
        counts.updated += updated;
        counts.ready += ready;
        counts.failed += i64::from(has_failed);
        counts.offline += i64::from(target.is_away());
    }
}
