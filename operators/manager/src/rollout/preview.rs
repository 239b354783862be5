//! What a person reads of what a revision would change. Pure.

use drover_crds::{Approval, MultiClusterApp, MultiClusterAppStatus, RolloutPhase, StageStatus};
use drover_previews::{Differs, OfStage, Outcome, Preview};

use crate::output::shown;

/// What is said until it is known.
const LOOKING: &str = "What it would change is not known yet: Drover is looking, or no cluster that it can reach has the app, so that all of it would be new there.";

/// What the revision that is wanted would change, stage by stage, or why that is not known.
pub(super) fn preview(app: &MultiClusterApp, found: Option<&Preview>) -> String {
    let status = app.status.clone().unwrap_or_default();
    let Some(found) = found.filter(|found| !found.stages.is_empty()) else {
        return format!("\n{}\n", not_known(app, &status));
    };
    let mut text = "\nWhat it would change, on one cluster of each stage:\n".to_owned();
    for found in &found.stages {
        text += &of_stage(found);
    }
    let is_left = |row: &&StageStatus| {
        row.updated < row.total && !found.stages.iter().any(|found| found.target.stage == row.name)
    };
    let left = status.stages.iter().filter(is_left).map(|row| {
        format!(
            "\nStage {}: not known; Drover looks at five stages at a time, on clusters that it can reach and that have the app.\n",
            row.name
        )
    });
    text.extend(left);
    shown(&text)
}

fn not_known(app: &MultiClusterApp, status: &MultiClusterAppStatus) -> &'static str {
    let is_approved = status.rollout.as_ref().is_some_and(|record| record.approved);
    let needs_approval = app.spec.rollout.stages.iter().any(|stage| stage.approval == Approval::Required);
    match status.phase {
        Some(RolloutPhase::WaitingForApproval | RolloutPhase::Paused) => LOOKING,
        Some(RolloutPhase::Progressing | RolloutPhase::Failed) if needs_approval && !is_approved => LOOKING,
        Some(RolloutPhase::RollingBack | RolloutPhase::RolledBack) => {
            "The revision failed and is not tried again, so it changes nothing more."
        }
        Some(RolloutPhase::Pending) => "There is no target that can be reached.",
        Some(RolloutPhase::Completed) => "Every target that can be reached has it already.",
        _ => {
            "What it would change is looked up while the rollout waits for approval, is held or paused, or has a stage to come that needs approval; hold it with drover rollout hold to see it."
        }
    }
}

fn of_stage(found: &OfStage) -> String {
    let head = format!("\nStage {}, cluster {}: ", found.target.stage, found.target.cluster);
    match &found.outcome {
        Outcome::Unknown { reason, message } => format!("{head}not known ({reason}: {message})\n"),
        Outcome::Differs(found) => format!("{head}{}", differs(found)),
    }
}

fn differs(found: &Differs) -> String {
    let Differs { created, changed, removed, text, without_values, is_new, .. } = found;
    if found.objects.is_empty() {
        return "no object changes\n".to_owned();
    }
    let mut said = format!("{created} to create, {changed} to change, {removed} to remove\n");
    if *is_new {
        said += "What is released there is not known, so all counts as new.\n";
    }
    if *without_values {
        said += "Fields stand without what they hold, as some of it may be secret.\n";
    }
    said + text
}
