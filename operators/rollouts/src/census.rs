//! How the targets of a stage stand.

use drover_crds::OfflinePolicy;
use k8s_openapi::jiff::Timestamp;

use crate::{
    Revision, Target,
    arrange::Arranged,
    target::{Behind, Progress},
    time::earliest,
};

/// A target that may be started.
#[derive(Clone, Copy)]
pub(crate) struct Candidate {
    pub(crate) target: usize,
    pub(crate) is_new: bool,
    /// Whether the start makes nothing worse.
    pub(crate) is_broken: bool,
}

/// The counts of a stage on its way to a revision. A rollout sees nothing of a cluster that is away but what the policy says.
#[derive(Default)]
pub(crate) struct Census {
    /// Targets of which budgets are percent.
    pub(crate) total: usize,
    /// Targets that count as unavailable.
    pub(crate) unavailable: usize,
    /// Targets on their way to the revision.
    pub(crate) in_flight: usize,
    /// Those of them of which no outcome is known.
    pub(crate) updating: usize,
    pub(crate) failed: usize,
    pub(crate) foreign: usize,
    /// Targets that are ready with the revision …
    pub(crate) ready: usize,
    /// … and those of them that were so for long enough.
    pub(crate) done: usize,
    /// Targets that are away and that the stage has to wait for.
    pub(crate) needed: usize,
    /// In the order of the stage.
    pub(crate) candidates: Vec<Candidate>,
    /// When the next target will have been ready for long enough.
    pub(crate) next_done: Option<Timestamp>,
    first: [Option<usize>; 5],
}

/// Of which targets the first one is named. Those that failed are no others.
#[derive(Clone, Copy)]
pub(crate) enum Named {
    Unavailable,
    Failed,
    Away,
    Foreign,
    /// It was given the revision, and went away before it was done.
    Lost,
}

impl Census {
    pub(crate) fn of(
        stage: &Arranged<'_>,
        targets: &[Target<'_>],
        wanted: Revision<'_>,
        policy: OfflinePolicy,
        now: Timestamp,
    ) -> Self {
        let mut census = Self::default();
        let min_ready = stage.spec.min_ready();
        for (index, target) in stage.members.iter().filter_map(|index| Some((*index, targets.get(*index)?))) {
            let progress = Progress::of(target, wanted, min_ready, now);
            if target.is_away() {
                let is_given = target.child.is_some_and(|child| !child.is_foreign && child.given == Some(wanted));
                census.add_away(index, progress, policy, is_given);
            } else {
                census.total += 1;
                census.add(index, progress);
            }
        }
        census
    }

    fn add_away(&mut self, index: usize, progress: Progress, policy: OfflinePolicy, is_given: bool) {
        let is_done = progress == Progress::Done;
        if is_given && !is_done {
            self.name(Named::Lost, index);
            // It may be the revision that took it away.
            self.unavailable += usize::from(policy != OfflinePolicy::Count);
        }
        if policy != OfflinePolicy::Skip {
            self.needed += usize::from(!is_done);
            self.done += usize::from(is_done);
            self.ready += usize::from(is_done);
            if !is_done {
                self.name(Named::Away, index);
            }
        }
        if policy == OfflinePolicy::Count {
            self.total += 1;
            self.unavailable += 1;
        }
    }

    fn add(&mut self, index: usize, progress: Progress) {
        let (mut is_unavailable, mut is_in_flight) = (false, false);
        let candidate = |is_new, is_broken| Candidate { target: index, is_new, is_broken };
        match progress {
            Progress::Absent => self.candidates.push(candidate(true, false)),
            Progress::Foreign => {
                self.foreign += 1;
                self.name(Named::Foreign, index);
            }
            Progress::Behind(behind) => {
                is_unavailable = behind != Behind::Available;
                self.candidates.push(candidate(false, behind == Behind::Broken));
            }
            Progress::Failed { is_ready } => {
                self.failed += 1;
                is_unavailable = !is_ready;
                self.name(Named::Failed, index);
            }
            Progress::Updating => {
                (is_unavailable, is_in_flight) = (true, true);
                self.updating += 1;
            }
            Progress::Unready => (is_unavailable, is_in_flight) = (true, true),
            Progress::Baking { until } => {
                (is_unavailable, is_in_flight) = (true, true);
                self.ready += 1;
                self.next_done = earliest(self.next_done, Some(until));
            }
            Progress::Done => {
                self.ready += 1;
                self.done += 1;
            }
        }
        self.unavailable += usize::from(is_unavailable);
        self.in_flight += usize::from(is_in_flight);
        if is_unavailable && !matches!(progress, Progress::Failed { .. }) {
            self.name(Named::Unavailable, index);
        }
    }

    fn name(&mut self, what: Named, index: usize) {
        if let Some(first) = self.first.get_mut(what as usize) {
            first.get_or_insert(index);
        }
    }

    /// The first target of these.
    pub(crate) fn first(&self, what: Named) -> Option<usize> {
        self.first.get(what as usize).copied().flatten()
    }

    /// Whether nothing is on its way, and nothing is left to be started or waited for, those that failed aside.
    pub(crate) fn is_settled(&self) -> bool {
        self.candidates.is_empty() && self.in_flight == 0 && self.needed == 0
    }

    /// Whether every target that is to have the revision is ready with it, those that failed aside.
    pub(crate) fn is_ready(&self) -> bool {
        self.candidates.is_empty() && self.needed == 0 && self.in_flight == self.ready - self.done
    }
}
