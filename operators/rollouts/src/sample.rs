//! On which targets a person sees what a revision would change, before it begins there.

use std::collections::HashSet;

use drover_crds::{Approval, MAX_PREVIEWS, RolloutPhase};

use crate::{Target, arrange::Arranged, plan::Run};

/// A target of a stage that does not have the revision yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample {
    /// Name of the stage.
    pub stage: String,
    /// Index of the target.
    pub target: usize,
}

/// One target of each stage that has some without the revision, at most 5: the first one that can be reached and has another revision.
/// None where no person looks: while nothing waits for one, and once the revision failed and goes nowhere.
pub(crate) fn samples(run: &Run<'_>, stages: &[Arranged<'_>], phase: RolloutPhase) -> Vec<Sample> {
    let record = &run.record;
    let needs_approval =
        !record.approved && run.rollout.strategy.stages.iter().any(|stage| stage.approval == Approval::Required);
    let is_looked_at = match phase {
        RolloutPhase::WaitingForApproval | RolloutPhase::Paused => true,
        RolloutPhase::Progressing | RolloutPhase::Failed => needs_approval,
        RolloutPhase::Pending | RolloutPhase::RollingBack | RolloutPhase::RolledBack | RolloutPhase::Completed => false,
    };
    if record.failed || !is_looked_at {
        return Vec::new();
    }
    let started: HashSet<usize> = run.starts.iter().map(|start| start.target).collect();
    let of_stage = |stage: &Arranged<'_>| {
        let behind = |has: &dyn Fn(&Target<'_>) -> bool| {
            let mut members = stage.members.iter().copied().filter(|index| !started.contains(index));
            members.find(|index| run.targets.get(*index).is_some_and(|target| is_behind(run, target) && has(target)))
        };
        let is_released = |target: &Target<'_>| target.child.is_some_and(|child| child.applied.is_some());
        let target = behind(&is_released).or_else(|| behind(&|_| true))?;
        Some(Sample { stage: stage.spec.name.clone(), target })
    };
    stages.iter().filter_map(of_stage).take(MAX_PREVIEWS).collect()
}

fn is_behind(run: &Run<'_>, target: &Target<'_>) -> bool {
    let child = target.child.filter(|child| !child.is_foreign);
    !target.is_away() && child.is_some_and(|child| child.given != Some(run.rollout.wanted))
}
