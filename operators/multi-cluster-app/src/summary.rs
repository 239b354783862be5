//! From what was decided to the status of an app on many clusters. Pure.

use drover_crds::{
    MultiClusterApp, MultiClusterAppStatus, RolloutPhase,
    condition::{DEGRADED, PAUSED, PROGRESSING, PRUNE_BLOCKED, TARGETS_RESOLVED},
};
use drover_runtime::{
    Cause, PlaceState, PlaceStatuses, StatusCause,
    place_status::{PlaceEntry, Readiness},
    status::{condition, ready_conditions},
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::ResourceExt as _;

use crate::{
    RolloutCause,
    place_status::{PlaceStatus, Told},
};

pub(crate) fn summarise(app: &MultiClusterApp, statuses: &PlaceStatuses<PlaceStatus>) -> MultiClusterAppStatus {
    let entry = statuses.iter().next().map(|(_, entry)| entry);
    let former = app.status.clone().unwrap_or_default();
    let stands = entry.is_some_and(|entry| {
        entry.state == PlaceState::Current && entry.known.as_ref().is_some_and(|known| known.stands)
    });
    if stands && Some(former.observed_generation) == app.metadata.generation {
        return former;
    }
    let Readiness { state, cause, message, activity } = readiness(app, entry);
    let mut conditions = ready_conditions(state, cause, &message, activity);
    let Some(known) = entry.and_then(|entry| entry.known.clone()) else {
        return MultiClusterAppStatus { conditions, ..former };
    };
    conditions.push(resolved(app, &known));
    let Some(told) = &known.told else {
        let admission = known.admission.or(former.admission.clone());
        return MultiClusterAppStatus { admission, conditions, ..former };
    };
    conditions.extend(of_rollout(told));
    MultiClusterAppStatus {
        admission: known.admission.or(former.admission),
        current_revision: known.current,
        target_revision: known.target,
        phase: Some(told.phase),
        stage: told.wait.as_ref().and_then(|wait| wait.stage()).map(str::to_owned),
        counts: Some(told.counts.clone()),
        stages: told.stages.clone(),
        not_ready: told.not_ready.clone(),
        rollout: known.record,
        conditions,
        ..MultiClusterAppStatus::default()
    }
}

fn resolved(app: &MultiClusterApp, known: &PlaceStatus) -> Condition {
    let in_vain = in_vain(app, known);
    let cause = match (&known.missing, in_vain.first()) {
        (Some(_), _) => RolloutCause::TargetMissing.into(),
        (None, Some((cause, _))) => (*cause).into(),
        (None, None) => Cause::from(StatusCause::Ready),
    };
    let refused = (known.refused > 0).then(|| {
        format!(
            "{} of the selected clusters do not admit this namespace and are left out; their owners decide that in spec.tenants of the Clusters",
            known.refused
        )
    });
    let in_vain = in_vain.into_iter().map(|(_, message)| message);
    let messages: Vec<_> = known.missing.clone().into_iter().chain(in_vain).chain(refused).collect();
    let message = if messages.is_empty() {
        "every selected cluster admits this namespace".to_owned()
    } else {
        messages.join("; ")
    };
    condition(TARGETS_RESOLVED, known.missing.is_none(), cause, message)
}

/// What selects no target: nothing waits for that, so it is told beside all else.
fn in_vain(app: &MultiClusterApp, known: &PlaceStatus) -> Vec<(RolloutCause, String)> {
    let empty = empty_stages(app, known).map(|message| (RolloutCause::StageEmpty, message));
    let unused = unused(known).map(|message| (RolloutCause::OverrideUnused, message));
    empty.into_iter().chain(unused).collect()
}

/// Stages that were to be first for some targets and have none, while there are targets.
fn empty_stages(app: &MultiClusterApp, known: &PlaceStatus) -> Option<String> {
    let told = known.told.as_ref().filter(|told| told.counts.targets > 0)?;
    let has_targets = |name: &str| told.stages.iter().any(|stage| stage.name == name);
    let selecting = app.spec.rollout.stages.iter().filter(|stage| stage.selector.is_some());
    let named: Vec<_> = selecting.map(|stage| &*stage.name).filter(|name| !has_targets(name)).take(5).collect();
    let what = "no target, so the rollout passes over it; label its Clusters, or correct its selector";
    (!named.is_empty()).then(|| format!("stage {} selects {what}", named.join(", ")))
}

/// Overrides that count nowhere, by their positions in the spec.
fn unused(known: &PlaceStatus) -> Option<String> {
    let unused = &known.told.as_ref()?.unused;
    let named: Vec<_> = unused.iter().take(5).map(|position| format!("spec.overrides[{position}]")).collect();
    (!named.is_empty()).then(|| format!("{} selects no target; correct its clusters, or remove it", named.join(", ")))
}

fn of_rollout(told: &Told) -> Vec<Condition> {
    let is_moving = !matches!(told.phase, RolloutPhase::Completed | RolloutPhase::RolledBack | RolloutPhase::Failed);
    let cause = cause_of(told.phase);
    let message = text(told);
    let mut conditions = vec![condition(PROGRESSING, is_moving, cause, &message)];
    if told.phase == RolloutPhase::Paused {
        conditions.push(condition(PAUSED, true, RolloutCause::RolloutPaused, &message));
    }
    if let Some(blocked) = &told.blocked {
        conditions.push(condition(PRUNE_BLOCKED, true, RolloutCause::PruneBlocked, blocked.to_string()));
    }
    if told.is_degraded {
        conditions.push(condition(DEGRADED, true, RolloutCause::DeadlineExceeded, message));
    }
    conditions
}

fn cause_of(phase: RolloutPhase) -> Cause {
    match phase {
        RolloutPhase::Pending => RolloutCause::NoTarget.into(),
        RolloutPhase::Progressing => RolloutCause::RollingOut.into(),
        RolloutPhase::WaitingForApproval => RolloutCause::WaitingForApproval.into(),
        RolloutPhase::Paused => RolloutCause::RolloutPaused.into(),
        RolloutPhase::Failed => RolloutCause::RolloutFailed.into(),
        RolloutPhase::RollingBack => RolloutCause::RollingBack.into(),
        RolloutPhase::RolledBack => RolloutCause::RolledBack.into(),
        RolloutPhase::Completed => StatusCause::Ready.into(),
    }
}

/// What there is to say of a rollout in one sentence.
fn text(told: &Told) -> String {
    let counts = &told.counts;
    let so_far = format!("{} targets have the revision, {} are ready", counts.summary, counts.ready);
    match &told.wait {
        Some(wait) => format!("{so_far}: {wait}"),
        None if told.phase == RolloutPhase::RolledBack => {
            format!("{so_far}: the revision failed, and all targets have the one before; change the app")
        }
        None => so_far,
    }
}

fn readiness(app: &MultiClusterApp, entry: Option<&PlaceEntry<PlaceStatus>>) -> Readiness {
    let name = app.name_any();
    let waits = || Readiness::no(StatusCause::Progressing, format!("app {name} was not looked at yet"));
    let Some(entry) = entry else { return waits() };
    match (&entry.state, &entry.known) {
        (PlaceState::Failed(failure), _) => Readiness::no(failure.cause, failure.message.clone()),
        (PlaceState::Refused(refusals), _) if !refusals.is_empty() => {
            let first = refusals.first().map(|refusal| (refusal.failure.cause, refusal.failure.message.clone()));
            first.map_or_else(waits, |(cause, message)| Readiness::no(cause, message))
        }
        // What was decided is of a former spec while another one waits for its turn.
        (PlaceState::Current, Some(known)) => of_known(app, known),
        _ => waits(),
    }
}

fn of_known(app: &MultiClusterApp, known: &PlaceStatus) -> Readiness {
    if let Some(undecided) = &known.undecided {
        return undecided.clone();
    }
    let Some(told) = &known.told else {
        return Readiness::no(StatusCause::Progressing, "it was not decided yet".to_owned());
    };
    if told.phase != RolloutPhase::Completed {
        let cause = match told.phase {
            RolloutPhase::Pending if told.counts.targets > 0 => RolloutCause::AllOffline.into(),
            phase => cause_of(phase),
        };
        return Readiness::no(cause, text(told));
    }
    if let Some(message) = &known.missing {
        return Readiness::no(RolloutCause::TargetMissing, message.clone());
    }
    let counts = &told.counts;
    let reachable = counts.targets - counts.offline;
    if counts.ready < reachable {
        return Readiness::no(RolloutCause::TargetsNotReady, text(told));
    }
    // Who reads no other condition is to see what is wrong although all is ready.
    let mut messages = vec![text(told)];
    messages.extend(told.blocked.map(|blocked| blocked.to_string()));
    messages.extend(in_vain(app, known).into_iter().map(|(_, message)| message));
    if counts.offline > 0 {
        let away = format!(", and {} cannot be reached or are suspended", counts.offline);
        messages.iter_mut().take(1).for_each(|first| first.push_str(&away));
        return Readiness::yes(StatusCause::ReadyExceptUnreachable, messages.join("; "));
    }
    Readiness::yes(StatusCause::Ready, messages.join("; "))
}
