//! From all clusters to one status. Pure.

use drover_crds::{ClusterRoleTemplateBinding, RoleBindingStatus, StatusConditions as _, TargetSummary};
use drover_grants::GrantCause;
use drover_roles::is_in_force;
use drover_runtime::{
    PlaceStatuses,
    fan_out::{FanOut, Whole},
    place_status::Readiness,
    status::ready_conditions,
};
use k8s_openapi::{apimachinery::pkg::apis::meta::v1::Condition, jiff::Timestamp};

use super::plan::PlaceStatus;

pub(crate) fn summarise(
    binding: &ClusterRoleTemplateBinding,
    statuses: &PlaceStatuses<PlaceStatus>,
    now: Timestamp,
) -> RoleBindingStatus {
    let was_ready = binding.status.as_ref().is_some_and(|status| status.was_ready(binding.metadata.generation));
    let admission = statuses.iter().find_map(|(_, entry)| entry.known.as_ref()?.admission.clone());
    let recorded = binding.status.as_ref().and_then(|status| status.admission.clone());
    let lack = statuses.iter().find_map(|(_, entry)| entry.known.as_ref()?.lack.clone());
    let clusters = statuses.of_clusters();
    let fan_out = FanOut::of(binding, Whole { was_ready, ..Whole::default() }, &clusters);
    let counts = is_in_force(binding.spec.expires_at.as_ref(), now);
    let mut conditions = match lack {
        _ if !counts => conditions(&expired(&fan_out)),
        Some((cause, message)) => conditions(&Readiness::no(cause, message)),
        None => fan_out.ready(),
    };
    conditions.push(fan_out.reachable());
    let targets = fan_out.targets();
    let nowhere = TargetSummary { ready: 0, summary: format!("0/{}", targets.total), ..targets.clone() };
    RoleBindingStatus {
        admission: admission.or(recorded),
        clusters: Some(if counts { targets } else { nowhere }),
        problems: fan_out.problems(),
        conditions,
        ..RoleBindingStatus::default()
    }
}

/// An object that ended is settled once the right is withdrawn everywhere: Git keeps it, and it is no fault.
fn expired(fan_out: &FanOut<'_, PlaceStatus>) -> Readiness {
    let tally = &fan_out.tally;
    if tally.ready == tally.total {
        let message = "the binding ended at spec.expiresAt, and the role is withdrawn on all its clusters".to_owned();
        return Readiness::yes(GrantCause::Expired, message);
    }
    let message = format!(
        "the binding ended at spec.expiresAt, and the role is withdrawn on {}/{} clusters; reconnect the others",
        tally.ready, tally.total
    );
    Readiness::no(GrantCause::RevocationPending, message)
}

fn conditions(ready: &Readiness) -> Vec<Condition> {
    ready_conditions(ready.state, ready.cause, &ready.message, ready.activity)
}
