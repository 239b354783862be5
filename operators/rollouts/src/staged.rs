//! The way to a revision that was never complete: stage after stage.

use std::{collections::BTreeSet, time::Duration};

use drover_crds::{Approval, Baking, Batch, OnStageFailure, RolloutPhase};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::{
    Target, To, Wait,
    arrange::Arranged,
    census::{Census, Named},
    plan::{Run, in_turn},
    time::{elapsed, later},
};

/// Into how many looks the time is divided for which a stage has to be ready: a clock that jumps counts for one of them at most.
const LOOKS: i64 = 4;

/// What a stage does to those after it.
enum Step {
    /// They may begin.
    Complete,
    /// They may not.
    Stop {
        wait: Wait,
        /// Whether clusters that join the stage get the revision.
        is_open: bool,
    },
    /// All that was done is undone.
    RollBack,
}

/// What is remembered of a stage.
#[derive(Clone, Copy)]
struct Past {
    /// Whether it was complete.
    is_baked: bool,
    /// Whether it, or one after it, has begun.
    has_begun: bool,
}

impl Run<'_> {
    /// A stage begins only if every one before it is complete now, whatever was remembered: a target that moved to a former stage, joined
    /// it or is not ready there any more holds up the rest.
    pub(crate) fn staged(&mut self, stages: &[Arranged<'_>]) -> (RolloutPhase, Option<Wait>) {
        self.done = 0;
        let position = |name: Option<&String>| stages.iter().position(|stage| Some(&stage.spec.name) == name);
        let reached = position(self.record.reached.as_ref());
        let begun = position(self.record.batch.as_ref().map(|batch| &batch.stage));
        let (mut is_seen, mut failed) = (false, None);
        for (index, stage) in stages.iter().enumerate() {
            let census = self.census(stage, self.rollout.wanted);
            self.done += census.done;
            is_seen |= census.total > 0;
            if census.total == 0 && census.needed == 0 {
                // Who is away is no consent, and what went away with the revision is no success.
                if let Some(wait) = self.without_anybody(stage, &census) {
                    self.take_up(stages.iter().skip(index));
                    self.join(stages.iter().skip(index));
                    return (phase_of(&wait), Some(wait));
                }
                continue;
            }
            let past = Past {
                is_baked: reached.is_some_and(|reached| index <= reached),
                has_begun: begun.is_none_or(|begun| index <= begun),
            };
            match self.advance(stage, &census, past) {
                Step::Complete => failed = failed.or_else(|| self.failures(stage, &census, false)),
                Step::RollBack => {
                    self.record.failed = true;
                    return self.settle(stages, To::Completed);
                }
                Step::Stop { wait, is_open } => {
                    self.take_up(stages.iter().skip(index));
                    self.join(stages.iter().skip(index + usize::from(is_open)));
                    return (phase_of(&wait), Some(wait));
                }
            }
        }
        match failed {
            _ if !is_seen => (RolloutPhase::Pending, Some(Wait::AllOffline)),
            // Nothing is known of a revision that is nowhere.
            Some(wait) if self.done == 0 => (RolloutPhase::Failed, Some(wait)),
            _ => {
                let record = &mut self.record;
                record.completed = record.revision.clone();
                (record.reached, record.baking, record.batch) = (None, None, None);
                (RolloutPhase::Completed, None)
            }
        }
    }

    /// The stage at which the revision stands while it is held: the first one that is not complete.
    pub(crate) fn present_stage(&self, stages: &[Arranged<'_>]) -> Option<String> {
        let is_present = |stage: &&Arranged<'_>| {
            let census = self.census(stage, self.rollout.wanted);
            !census.is_settled() || is_failed(stage, &census)
        };
        let found = stages.iter().find(is_present).filter(|_| !self.record.failed);
        found.map(|stage| stage.spec.name.clone())
    }

    /// What holds up the stages after one of which every target is away.
    fn without_anybody(&mut self, stage: &Arranged<'_>, census: &Census) -> Option<Wait> {
        let name = stage.spec.name.clone();
        if stage.members.is_empty() {
            return None;
        }
        if let Some(cluster) = census.first(Named::Lost).map(|index| self.cluster(index)) {
            return Some(Wait::Offline { stage: name, cluster });
        }
        let revision = self.rollout.wanted.0.to_owned();
        (!self.is_approved(stage)).then_some(Wait::Approval { stage: name, revision })
    }

    fn advance(&mut self, stage: &Arranged<'_>, census: &Census, past: Past) -> Step {
        let spec = &stage.spec;
        let stop = |wait, is_open| Step::Stop { wait, is_open };
        if is_failed(stage, census) {
            return self.fail(stage, census);
        }
        if !census.candidates.is_empty() {
            self.stop_baking(stage);
            if self.rollout.strategy.paused {
                return stop(Wait::Paused { stage: spec.name.clone() }, false);
            }
            if !self.is_approved(stage) {
                let revision = self.rollout.wanted.0.to_owned();
                return stop(Wait::Approval { stage: spec.name.clone(), revision }, false);
            }
            return stop(self.start_batch(stage, census, past), true);
        }
        let wait = Wait::MinReady { stage: spec.name.clone() };
        if let Some(at) = census.next_done {
            self.requeue_at(at);
        }
        if !census.is_ready() {
            self.stop_baking(stage);
            return stop(self.waits_for(stage, census).unwrap_or(wait), true);
        }
        let is_baking = !past.is_baked && census.ready > 0 && self.is_baking(stage);
        if is_baking || !census.is_settled() {
            return stop(wait, true);
        }
        if !past.is_baked {
            self.record.reached = Some(spec.name.clone());
            self.record.baking = None;
        }
        Step::Complete
    }

    /// What follows from too many failures. An object of others is no failure of the revision: nothing is taken back for it.
    fn fail(&mut self, stage: &Arranged<'_>, census: &Census) -> Step {
        self.stop_baking(stage);
        let spec = &stage.spec;
        let is_to_go_back = spec.on_failure == OnStageFailure::Rollback && census.failed > spec.max_failures();
        let can_go_back = self.record.completed.is_some();
        if is_to_go_back && can_go_back && !self.rollout.strategy.paused {
            return Step::RollBack;
        }
        let wait = self.failures(stage, census, is_to_go_back && !can_go_back);
        Step::Stop { wait: wait.unwrap_or(Wait::Paused { stage: spec.name.clone() }), is_open: false }
    }

    fn failures(&self, stage: &Arranged<'_>, census: &Census, has_no_way_back: bool) -> Option<Wait> {
        let stage = stage.spec.name.clone();
        let find = |named| census.first(named).map(|index| self.cluster(index));
        match (find(Named::Failed), find(Named::Foreign)) {
            (Some(cluster), _) => Some(Wait::Failures { stage, cluster, has_no_way_back }),
            (None, Some(cluster)) => Some(Wait::NameTaken { stage, cluster }),
            (None, None) => None,
        }
    }

    /// An approval is remembered once it was needed, so that it holds for the rest of the revision.
    fn is_approved(&mut self, stage: &Arranged<'_>) -> bool {
        let is_needed = stage.spec.approval == Approval::Required;
        if is_needed && self.rollout.approve == Some(self.rollout.wanted.0) {
            self.record.approved = true;
        }
        !is_needed || self.record.approved
    }

    fn start_batch(&mut self, stage: &Arranged<'_>, census: &Census, past: Past) -> Wait {
        let spec = &stage.spec;
        if let Some(at) = census.next_done {
            self.requeue_at(at);
        }
        let given = self.given(stage);
        let left = self.left_of_batch(stage, given);
        if left == 0 && past.has_begun && self.is_too_early(stage) {
            return Wait::Interval { stage: spec.name.clone() };
        }
        let (most, size) = (spec.max_unavailable(census.total), spec.batch_size(census.total));
        let mut budget = most.saturating_sub(census.unavailable);
        let room = size.saturating_sub(census.in_flight);
        let mut room = if left > 0 { room.min(left) } else { room };
        let before = self.starts.len();
        for candidate in in_turn(&census.candidates) {
            if room == 0 || !candidate.is_broken && budget == 0 {
                break;
            }
            budget -= usize::from(!candidate.is_broken);
            room -= 1;
            self.start(candidate, To::Wanted);
        }
        let started = self.starts.len().saturating_sub(before);
        if started > 0 && left == 0 {
            let upto = i64::try_from(given.saturating_add(started)).unwrap_or(i64::MAX);
            self.record.batch = Some(Batch { stage: spec.name.clone(), at: Time(self.now), upto });
        } else if started == 0 && (most == 0 || size == 0) {
            return Wait::NoBudget { stage: spec.name.clone() };
        }
        self.waits_for(stage, census).unwrap_or(Wait::NoBudget { stage: spec.name.clone() })
    }

    /// How many targets of the stage were given the revision.
    fn given(&self, stage: &Arranged<'_>) -> usize {
        let given = |index: &&usize| {
            let child = self.targets.get(**index).and_then(|target| target.child);
            child.is_some_and(|child| !child.is_foreign && child.given == Some(self.rollout.wanted))
        };
        stage.members.iter().filter(given).count()
    }

    /// How many targets of the batch that was noted last were not started yet: it was noted before.
    fn left_of_batch(&self, stage: &Arranged<'_>, given: usize) -> usize {
        let batch = self.record.batch.as_ref().filter(|batch| batch.stage == stage.spec.name);
        batch.and_then(|batch| usize::try_from(batch.upto).ok()).unwrap_or_default().saturating_sub(given)
    }

    /// Whether the last start, of this stage or a later one, was too short a time ago.
    fn is_too_early(&mut self, stage: &Arranged<'_>) -> bool {
        let (now, interval) = (self.now, stage.spec.interval());
        let Some(batch) = &mut self.record.batch else { return false };
        // A time to come was noted by a clock that was wrong: the interval counts from now.
        batch.at = Time(batch.at.0.min(now));
        let at = batch.at.0;
        let is_too_early = elapsed(now, at) < interval;
        if is_too_early {
            self.requeue_at(later(at, interval));
        }
        is_too_early
    }

    /// Whether the stage still has to be ready for longer. That is counted in looks that are noted, so that neither a restart nor a clock that
    /// jumps opens the next stage early.
    fn is_baking(&mut self, stage: &Arranged<'_>) -> bool {
        let now = self.now;
        let (name, whole) = (&stage.spec.name, millis(stage.spec.min_ready()));
        let look = whole / LOOKS + i64::from(whole % LOOKS > 0);
        let known = self.record.baking.take().filter(|baking| baking.stage == *name);
        let (mut seen, mut left) =
            known.map_or((now, whole), |baking| (baking.seen.0.min(now), baking.left_millis.clamp(0, whole)));
        let passed = millis(elapsed(now, seen)).min(look);
        let is_over = passed >= left;
        if passed == look && !is_over {
            (seen, left) = (now, left - look);
        }
        self.record.baking = Some(Baking { stage: name.clone(), seen: Time(seen), left_millis: left });
        if !is_over {
            self.requeue_at(later(seen, Duration::from_millis(left.min(look).unsigned_abs())));
        }
        !is_over
    }

    fn stop_baking(&mut self, stage: &Arranged<'_>) {
        self.record.baking.take_if(|baking| baking.stage == stage.spec.name);
    }

    /// Where the management cluster was rebuilt, the first targets have the revision already. Then it is looked whether the others have it,
    /// before any of them is started: what is everywhere is not rolled out again.
    fn take_up<'s, 'a: 's>(&mut self, stages: impl Iterator<Item = &'s Arranged<'a>>) {
        let wanted = Some(self.rollout.wanted);
        let has_it = |target: &Target<'_>| {
            target.child.is_some_and(|child| child.is_taken_up && child.given == wanted && child.applied == wanted)
        };
        if self.record.completed.is_some() || !self.targets.iter().any(has_it) {
            return;
        }
        let started: BTreeSet<_> = self.starts.iter().map(|start| start.target).collect();
        for stage in stages {
            let candidates = self.census(stage, self.rollout.wanted).candidates;
            let new = candidates.iter().filter(|candidate| candidate.is_new && !started.contains(&candidate.target));
            self.take_up.extend(new.map(|candidate| candidate.target));
        }
    }

    /// Clusters that join a stage that is not open get what the others there have.
    fn join<'s, 'a: 's>(&mut self, stages: impl Iterator<Item = &'s Arranged<'a>>) {
        if self.record.completed.is_none() {
            return;
        }
        for stage in stages {
            let census = self.census(stage, self.rollout.wanted);
            census
                .candidates
                .iter()
                .filter(|candidate| candidate.is_new)
                .for_each(|new| self.start(*new, To::Completed));
        }
    }
}

/// Whether more of its targets failed than may, so that it holds up all else.
fn is_failed(stage: &Arranged<'_>, census: &Census) -> bool {
    let is_tolerated = census.failed + census.foreign <= stage.spec.max_failures();
    !is_tolerated && stage.spec.on_failure != OnStageFailure::Continue
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

fn phase_of(wait: &Wait) -> RolloutPhase {
    match wait {
        Wait::NoTarget | Wait::AllOffline => RolloutPhase::Pending,
        Wait::Hold { .. } | Wait::Paused { .. } => RolloutPhase::Paused,
        Wait::Approval { .. } => RolloutPhase::WaitingForApproval,
        Wait::Failures { .. } => RolloutPhase::Failed,
        Wait::NoBudget { .. }
        | Wait::Targets { .. }
        | Wait::Offline { .. }
        | Wait::NameTaken { .. }
        | Wait::Interval { .. }
        | Wait::MinReady { .. } => RolloutPhase::Progressing,
    }
}
