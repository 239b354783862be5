//! From all places to one status. Pure.

use drover_crds::{ProjectRoleTemplateBinding, RoleBindingStatus, StatusConditions as _, condition::READY};
use drover_grants::GrantCause;
use drover_runtime::{
    Place, PlaceState, PlaceStatuses,
    fan_out::{FanOut, Whole},
    place_status::Readiness,
    status::ready_conditions,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use crate::{beside::Told, plan::PlaceStatus};

fn is_ready(conditions: &[Condition]) -> bool {
    conditions.iter().any(|condition| condition.type_ == READY && condition.status == "True")
}

/// On how many clusters nothing can be withdrawn now.
fn unwritten(statuses: &PlaceStatuses<PlaceStatus>) -> usize {
    let is_so = |state: &PlaceState| matches!(state, PlaceState::Unreachable(_) | PlaceState::Suspended);
    statuses.iter().filter(|(_, entry)| is_so(&entry.state)).count()
}

fn pending(away: usize, total: usize) -> String {
    format!(
        "the binding ended at spec.expiresAt, and its subjects may still have the role on {away}/{total} clusters, which are unreachable or suspended; reconnect or resume them"
    )
}

pub(crate) fn summarise(
    binding: &ProjectRoleTemplateBinding,
    statuses: &PlaceStatuses<PlaceStatus>,
) -> RoleBindingStatus {
    let was_ready = binding.status.as_ref().is_some_and(|status| status.was_ready(binding.metadata.generation));
    let at_clusters = statuses.of_clusters();
    let fan_out = FanOut::over(binding, Whole { was_ready, ..Whole::default() }, &at_clusters);
    let of_all = statuses.get(&Place::Management).and_then(|entry| entry.known.as_ref());
    let mut conditions = match of_all.and_then(|status| status.denied.clone()) {
        Some((cause, message)) => {
            // What has expired is settled once no cluster may still give it: people and GitOps wait for nothing.
            let judged = match (cause == GrantCause::Expired.cause(), unwritten(&at_clusters)) {
                (true, 0) => Readiness::yes(cause, message),
                (true, away) => Readiness::no(GrantCause::RevocationPending, pending(away, at_clusters.iter().count())),
                (false, _) => Readiness::no(cause, message),
            };
            let Readiness { state, cause, message, activity } = judged;
            ready_conditions(state, cause, &message, activity)
        }
        None => fan_out.ready(),
    };
    let beside = of_all.and_then(|status| status.beside.as_ref());
    if let Some(told) = beside.filter(|told| told.holds_up && is_ready(&conditions)) {
        let Readiness { state, cause, message, activity } = Readiness::no(told.cause, told.message.clone());
        conditions = ready_conditions(state, cause, &message, activity);
    }
    if let Some(note) = of_all.and_then(|status| status.note.as_ref()) {
        let ready = conditions.iter_mut().find(|condition| condition.type_ == READY && condition.status == "True");
        if let Some(ready) = ready {
            ready.message = format!("{}; {note}", ready.message);
        }
    }
    conditions.extend(beside.map(Told::condition));
    let recorded = binding.status.as_ref().and_then(|status| status.admission.clone());
    let admission = of_all.and_then(|status| status.admission.clone()).or(recorded);
    RoleBindingStatus {
        admission,
        clusters: Some(fan_out.targets()),
        problems: fan_out.problems(),
        conditions,
        ..RoleBindingStatus::default()
    }
}
