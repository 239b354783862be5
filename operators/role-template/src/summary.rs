//! From all clusters to one status. Pure.

use drover_crds::{
    MAX_CLOSURE, RoleTemplate, RoleTemplateStatus, StatusConditions as _,
    condition::{RESOLVED, SYNCED},
};
use drover_grants::{GrantCause, template_not_admitted};
use drover_roles::Resolved;
use drover_runtime::{
    Cause, PlaceStatuses, StatusCause,
    fan_out::{FanOut, Whole},
    place_status::Readiness,
    status::{State, condition, ready_conditions},
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use crate::{
    observe::Doubt,
    plan::{PlaceStatus, Whole as Template},
};

pub(crate) fn summarise(template: &RoleTemplate, statuses: &PlaceStatuses<PlaceStatus>) -> RoleTemplateStatus {
    let was_ready = template.status.as_ref().is_some_and(|status| status.was_ready(template.metadata.generation));
    let whole = statuses.iter().find_map(|(_, entry)| entry.known.as_ref()?.whole.clone());
    let clusters = statuses.of_clusters();
    let unimplemented = template.spec.unimplemented();
    let acts_on_all = unimplemented.is_empty();
    let fan_out = FanOut::over(template, Whole { was_ready, unimplemented, ..Whole::default() }, &clusters);
    let recorded = template.status.as_ref().and_then(|status| status.admission.clone());
    let Some(Template { resolved, bindings, doubt, admission, unadmitted }) = whole else {
        let ready = Readiness::no(StatusCause::Progressing, "the template was not looked at yet".to_owned());
        let conditions = ready_conditions(ready.state, ready.cause, &ready.message, ready.activity);
        return RoleTemplateStatus { admission: recorded, conditions, ..RoleTemplateStatus::default() };
    };
    let lacks = lacks(&resolved, &doubt);
    let not_admitted = unadmitted.map(|name| (GrantCause::NotAdmitted.into(), template_not_admitted(&name)));
    let mut conditions = match not_admitted.as_ref().or(lacks.as_ref()).or(in_doubt(&doubt).as_ref()) {
        Some((cause, message)) => ready_conditions(State::False, *cause, message, (*cause).into()),
        None if acts_on_all && fan_out.tally.total == 0 => {
            let ready =
                Readiness::yes(StatusCause::Ready, "no cluster needs it, as no binding in force names it".to_owned());
            ready_conditions(ready.state, ready.cause, &ready.message, ready.activity)
        }
        None => fan_out.ready(),
    };
    conditions.extend([resolved_condition(lacks), synced(&fan_out), fan_out.reachable()]);
    RoleTemplateStatus {
        resolved_hash: Some(resolved.hash()),
        resolved_rules: i64::try_from(resolved.rules.len() + resolved.cluster_rules.len()).ok(),
        closure: resolved.closure.iter().take(MAX_CLOSURE).cloned().collect(),
        bindings: i64::try_from(bindings).ok(),
        clusters: Some(fan_out.targets()),
        admission: admission.or(recorded),
        problems: fan_out.problems(),
        conditions,
        ..RoleTemplateStatus::default()
    }
}

/// What the template names and does not get; it has its other rights all the same.
fn lacks(resolved: &Resolved, doubt: &Doubt) -> Option<(Cause, String)> {
    if let Some(name) = &doubt.template {
        let cause = GrantCause::RoleTemplateUndecodable;
        let what = "cannot be decoded, so the role stays as it is, and nobody gets it anew";
        return Some((cause.into(), format!("RoleTemplate {name} {what}. {}", cause.cause().remedy())));
    }
    let first = [
        (&resolved.refused, GrantCause::ExternalRoleRefused, "ClusterRole", "is one that Drover writes"),
        (&resolved.misplaced, GrantCause::ContextMismatch, "RoleTemplate", "is of the other context"),
        (&resolved.missing, GrantCause::RoleTemplateNotFound, "RoleTemplate", "does not exist, and counts as empty"),
    ];
    first.into_iter().find_map(|(names, cause, kind, what)| {
        let name = names.first()?;
        let remedy = cause.cause().remedy();
        Some((cause.into(), format!("{kind} {name} {what}. {remedy}")))
    })
}

/// What may need the template, which nobody knows.
fn in_doubt(doubt: &Doubt) -> Option<(Cause, String)> {
    let (binding, cause) = (doubt.binding.as_ref()?, GrantCause::BindingUndecodable);
    let what = "cannot be decoded, so whoever has the role keeps it, as it may be by this object";
    Some((cause.into(), format!("{binding} {what}. {}", cause.cause().remedy())))
}

fn resolved_condition(lacks: Option<(Cause, String)>) -> Condition {
    match lacks {
        Some((cause, message)) => condition(RESOLVED, false, cause, message),
        None => condition(RESOLVED, true, GrantCause::Resolved, "every template that it names exists"),
    }
}

/// Whether the roles and bindings at the clusters are as wanted.
fn synced(fan_out: &FanOut<'_, PlaceStatus>) -> Condition {
    let summary = format!("its role is as wanted on {} clusters", fan_out.targets().summary);
    match fan_out.findings.first() {
        Some(first) => condition(SYNCED, false, first.cause(), first.problem().message),
        None if fan_out.tally.ready < fan_out.tally.total => {
            condition(SYNCED, false, StatusCause::Progressing, summary)
        }
        None => condition(SYNCED, true, StatusCause::Ready, summary),
    }
}
