//! The decision: what happens with which target now, and what is to be remembered of it.

use drover_crds::{RolloutPhase, RolloutRecord, RolloutStrategy};
use k8s_openapi::{apimachinery::pkg::apis::meta::v1::Time, jiff::Timestamp};

use crate::{
    Blocked, Counted, Deselected, Revision, Sample, Target, Wait,
    arrange::{Arranged, arrange},
    census::{Candidate, Census, Named},
    prune::prune,
    sample::samples,
    time::{earliest, elapsed, later},
};

/// A rollout, as its object asks for it.
#[derive(Clone, Copy, Debug)]
pub struct Rollout<'a> {
    /// Namespace and name of the object, or whatever else tells it from others: it shuffles the targets of a stage.
    pub app: &'a str,
    /// `spec.rollout`.
    pub strategy: &'a RolloutStrategy,
    /// The revision that the spec asks for, by its pin, too.
    pub wanted: Revision<'a>,
    /// The value of annotation `drover.dev/approve`.
    pub approve: Option<&'a str>,
    /// The value of annotation `drover.dev/hold`.
    pub hold: Option<&'a str>,
}

/// What is to be done now. The record is written before the rest.
#[derive(Clone, Debug)]
pub struct Decision {
    /// What is to be remembered; written only where it differs from what was remembered before.
    pub record: RolloutRecord,
    /// The targets that get a revision, in this order.
    pub starts: Vec<Start>,
    /// The targets without an app, as indices, of which it is to be looked whether they have the revision already: nothing may begin by it.
    pub take_up: Vec<usize>,
    /// Those of the deselected that are removed, as indices.
    pub remove: Vec<usize>,
    /// Those of the deselected on which `mark_at` is noted as the time since when they leave.
    pub mark: Vec<usize>,
    /// See `mark`.
    pub mark_at: Timestamp,
    /// The targets, as indices, from which that note is taken again.
    pub unmark: Vec<usize>,
    /// When to decide again, if nothing changes before.
    pub requeue_at: Option<Timestamp>,
    /// How far the rollout is.
    pub phase: RolloutPhase,
    /// What it waits for; none once it is complete, or has gone back.
    pub wait: Option<Wait>,
    /// Why apps are not removed although their clusters left.
    pub blocked: Option<Blocked>,
    /// Whether it waits for targets for longer than the strategy allows.
    pub is_degraded: bool,
    /// What the status says of the targets.
    pub counted: Counted,
    /// The targets on which a person sees what the revision would change.
    pub samples: Vec<Sample>,
}

impl Decision {
    /// Whether all is in `record` that has to be remembered before something is done on account of it.
    #[must_use]
    pub fn is_noted_in(&self, record: &RolloutRecord) -> bool {
        // When a batch was started may be noted after it; how far it goes may not.
        let durable = |record: &RolloutRecord| {
            let mut record = RolloutRecord { baking: None, done: 0, waiting_since: None, ..record.clone() };
            if let Some(batch) = &mut record.batch {
                batch.at = Time(Timestamp::UNIX_EPOCH);
            }
            record
        };
        durable(&self.record) == durable(record)
    }
}

/// A target that gets a revision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Start {
    /// Index of the target.
    pub target: usize,
    /// Which revision.
    pub to: To,
    /// Whether its app is created.
    pub is_new: bool,
}

/// Which revision a target gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum To {
    /// The one that the spec asks for.
    Wanted,
    /// The one that was completed last, `completed` of the record.
    Completed,
}

/// Decides. It costs time proportional to the targets, but for putting them in order.
#[must_use]
pub fn plan(
    now: Timestamp,
    rollout: &Rollout<'_>,
    targets: &[Target<'_>],
    deselected: &[Deselected],
    record: &RolloutRecord,
) -> Decision {
    let stages = arrange(rollout.app, rollout.strategy, targets);
    let mut run = Run {
        now,
        rollout,
        targets,
        record: begin(rollout, record),
        starts: Vec::new(),
        take_up: Vec::new(),
        requeue_at: None,
        done: usize::try_from(record.done).unwrap_or_default(),
    };
    let (phase, wait) = run.decide(&stages);
    let is_degraded = run.is_degraded(phase, wait.as_ref());
    let is_held = rollout.strategy.paused || run.is_held();
    let pruning = prune(now, &rollout.strategy.prune, targets, deselected, &mut run.record, is_held);
    Decision {
        remove: pruning.remove,
        mark: pruning.mark,
        mark_at: pruning.mark_at,
        unmark: pruning.unmark,
        blocked: pruning.blocked,
        requeue_at: earliest(run.requeue_at, pruning.requeue_at),
        phase,
        is_degraded,
        counted: Counted::of(&run, &stages, wait.as_ref()),
        samples: samples(&run, &stages, phase),
        wait,
        starts: run.starts,
        take_up: run.take_up,
        record: run.record,
    }
}

/// What was remembered, of this revision. Another one starts at the first stage, and its targets keep what they have until it is their turn.
fn begin(rollout: &Rollout<'_>, record: &RolloutRecord) -> RolloutRecord {
    if record.revision.as_deref() == Some(rollout.wanted.0) {
        return record.clone();
    }
    RolloutRecord {
        revision: Some(rollout.wanted.0.to_owned()),
        completed: record.completed.clone(),
        pruned: record.pruned.clone(),
        ..RolloutRecord::default()
    }
}

/// A decision in the making.
pub(crate) struct Run<'a> {
    pub(crate) now: Timestamp,
    pub(crate) rollout: &'a Rollout<'a>,
    pub(crate) targets: &'a [Target<'a>],
    pub(crate) record: RolloutRecord,
    pub(crate) starts: Vec<Start>,
    pub(crate) take_up: Vec<usize>,
    pub(crate) requeue_at: Option<Timestamp>,
    pub(crate) done: usize,
}

impl Run<'_> {
    fn is_held(&self) -> bool {
        self.rollout.hold == Some(self.rollout.wanted.0)
    }

    fn decide(&mut self, stages: &[Arranged<'_>]) -> (RolloutPhase, Option<Wait>) {
        if self.is_held() {
            let revision = self.rollout.wanted.0.to_owned();
            let stage = self.present_stage(stages);
            return (RolloutPhase::Paused, Some(Wait::Hold { revision, stage }));
        }
        if self.targets.is_empty() {
            return (RolloutPhase::Pending, Some(Wait::NoTarget));
        }
        if self.record.failed {
            self.settle(stages, To::Completed)
        } else if self.record.completed.as_deref() == Some(self.rollout.wanted.0) {
            self.settle(stages, To::Wanted)
        } else {
            self.staged(stages)
        }
    }

    /// The way to a revision that was complete before: to join or catch up, or back from another one. All stages are open, the last one
    /// goes first, and nothing but the budget holds it up.
    pub(crate) fn settle(&mut self, stages: &[Arranged<'_>], to: To) -> (RolloutPhase, Option<Wait>) {
        let completed = self.record.completed.clone().unwrap_or_default();
        let goal = if to == To::Wanted { self.rollout.wanted } else { Revision(&completed) };
        let (mut wait, mut is_moving) = (None, false);
        self.done = 0;
        for stage in stages.iter().rev() {
            let census = self.census(stage, goal);
            self.done += census.done;
            is_moving |= !census.candidates.is_empty() || census.updating > 0;
            if let Some(found) = self.settle_stage(stage, &census, to) {
                wait.get_or_insert(found);
            }
        }
        let phase = match to {
            _ if is_moving && matches!(wait, Some(Wait::Paused { .. })) => RolloutPhase::Paused,
            To::Wanted if is_moving => RolloutPhase::Progressing,
            To::Wanted => RolloutPhase::Completed,
            To::Completed if is_moving => RolloutPhase::RollingBack,
            To::Completed => RolloutPhase::RolledBack,
        };
        (phase, wait.filter(|_| is_moving))
    }

    fn settle_stage(&mut self, stage: &Arranged<'_>, census: &Census, to: To) -> Option<Wait> {
        let most = stage.spec.max_unavailable(census.total);
        let mut budget = most.saturating_sub(census.unavailable);
        let mut is_left = false;
        for candidate in in_turn(&census.candidates).rev() {
            let is_free = candidate.is_new || candidate.is_broken;
            if !candidate.is_new && self.rollout.strategy.paused || !is_free && budget == 0 {
                is_left = true;
                continue;
            }
            budget -= usize::from(!is_free);
            self.start(candidate, to);
        }
        match (is_left, self.rollout.strategy.paused) {
            (true, true) => Some(Wait::Paused { stage: stage.spec.name.clone() }),
            (true, false) if most == 0 => Some(Wait::NoBudget { stage: stage.spec.name.clone() }),
            _ => self.waits_for(stage, census),
        }
    }

    pub(crate) fn census(&self, stage: &Arranged<'_>, goal: Revision<'_>) -> Census {
        Census::of(stage, self.targets, goal, self.rollout.strategy.offline_policy, self.now)
    }

    pub(crate) fn start(&mut self, candidate: Candidate, to: To) {
        self.starts.push(Start { target: candidate.target, to, is_new: candidate.is_new });
    }

    /// The targets that a stage waits for.
    pub(crate) fn waits_for(&self, stage: &Arranged<'_>, census: &Census) -> Option<Wait> {
        let stage = stage.spec.name.clone();
        let find = |named| census.first(named).map(|index| self.cluster(index));
        let is_for_targets = || find(Named::Unavailable).or_else(|| find(Named::Failed));
        match (is_for_targets(), find(Named::Away), find(Named::Foreign)) {
            (Some(cluster), ..) => Some(Wait::Targets { stage, cluster }),
            (None, Some(cluster), _) => Some(Wait::Offline { stage, cluster }),
            (None, None, Some(cluster)) => Some(Wait::NameTaken { stage, cluster }),
            (None, None, None) => {
                let cluster = self.starts.first().map(|start| self.cluster(start.target))?;
                Some(Wait::Targets { stage, cluster })
            }
        }
    }

    pub(crate) fn cluster(&self, index: usize) -> String {
        self.targets.get(index).map(|target| target.cluster.to_owned()).unwrap_or_default()
    }

    pub(crate) fn requeue_at(&mut self, at: Timestamp) {
        self.requeue_at = earliest(self.requeue_at, Some(at));
    }

    /// Notes whether it went on since the last decision, and says whether it did not for too long a time.
    fn is_degraded(&mut self, phase: RolloutPhase, wait: Option<&Wait>) -> bool {
        let is_over = matches!(phase, RolloutPhase::Completed | RolloutPhase::RolledBack);
        let done = if is_over { 0 } else { i64::try_from(self.done).unwrap_or(i64::MAX) };
        let is_stuck = self.starts.is_empty() && wait.is_some_and(Wait::is_for_targets);
        let known = self.record.waiting_since.take().filter(|since| done <= self.record.done && since.0 <= self.now);
        self.record.done = done;
        if !is_stuck {
            return false;
        }
        let since = known.map_or(self.now, |since| since.0);
        self.record.waiting_since = Some(Time(since));
        let deadline = self.rollout.strategy.progress_deadline();
        let is_degraded = elapsed(self.now, since) >= deadline;
        if !is_degraded {
            self.requeue_at(later(since, deadline));
        }
        is_degraded
    }
}

/// What is broken first: it costs nothing, and may be what holds up the rest.
pub(crate) fn in_turn(candidates: &[Candidate]) -> impl DoubleEndedIterator<Item = Candidate> + use<'_> {
    let those = |is_broken| candidates.iter().copied().filter(move |candidate| candidate.is_broken == is_broken);
    those(true).chain(those(false))
}
