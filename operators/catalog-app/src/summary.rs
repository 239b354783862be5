//! From the cluster of an app to its status. Pure.

use drover_apps::AppCause;
use drover_crds::{
    CatalogApp, CatalogAppStatus, Drift, DriftMode, DriftedObject, Release,
    condition::{DRIFTED, VALUES_VALID},
};
use drover_runtime::{
    PlaceState, PlaceStatuses, StatusCause,
    place_status::{PlaceEntry, Readiness},
    status::{State, condition, ready_conditions},
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::ResourceExt as _;

use crate::plan::PlaceStatus;

pub(crate) fn summarise(app: &CatalogApp, statuses: &PlaceStatuses<PlaceStatus>) -> CatalogAppStatus {
    let entry = statuses.iter().next().map(|(_, entry)| entry);
    let Readiness { state, cause, message, activity } = readiness(app, entry);
    let mut conditions = ready_conditions(state, cause, &message, activity);
    let drift = entry.and_then(|entry| entry.known.as_ref()?.drift.as_ref());
    conditions.extend(drift.map(|drift| condition(DRIFTED, true, AppCause::Drifted, drifted(app, drift))));
    let former = app.status.clone().unwrap_or_default();
    match entry.and_then(|entry| entry.known.clone()) {
        None => CatalogAppStatus { conditions, ..former },
        Some(known) => {
            let PlaceStatus { ready: _, admission, applied, pending, failed, history, chart, drift, .. } = known;
            conditions.extend(values_valid(applied.as_ref()));
            CatalogAppStatus {
                admission: admission.or(former.admission),
                applied,
                pending,
                failed,
                history,
                chart,
                drift,
                last_handled_reconcile_at: known.handled,
                observed_inputs: known.observed_inputs,
                conditions,
                ..CatalogAppStatus::default()
            }
        }
    }
}

fn drifted(app: &CatalogApp, drift: &Drift) -> String {
    let name = |object: &DriftedObject| match &object.paths[..] {
        [] => object.object.clone(),
        paths => format!("{} ({})", object.object, paths.join(", ")),
    };
    let named: Vec<_> = drift.sample.iter().map(name).collect();
    let release = app.release_name();
    let next = match app.spec.drift.mode {
        DriftMode::Correct => "Drover applies them again",
        DriftMode::Warn | DriftMode::Off => {
            "set spec.drift.mode to Correct to have them applied again, or change the app"
        }
    };
    format!("{} objects of release {release} are not as it says, such as {}; {next}", drift.objects, named.join("; "))
}

/// What is wrong with the values of what is in the cluster.
fn values_valid(applied: Option<&Release>) -> Option<Condition> {
    let warning = applied?.warning.as_ref()?;
    Some(condition(VALUES_VALID, false, AppCause::ValuesInvalid, warning))
}

fn readiness(app: &CatalogApp, entry: Option<&PlaceEntry<PlaceStatus>>) -> Readiness {
    let (name, cluster) = (app.name_any(), &app.spec.cluster_name);
    let Some(entry) = entry else {
        let message =
            format!("there is no Cluster {cluster} for app {name}; create it, or name another one in another app");
        return Readiness::no(StatusCause::ClusterNotFound, message);
    };
    match (&entry.state, &entry.known) {
        (PlaceState::Current, Some(known)) => known.ready.clone(),
        (PlaceState::Failed(failure), _) => Readiness::no(failure.cause, failure.message.clone()),
        (PlaceState::Refused(refusals), _) => match refusals.first() {
            Some(refusal) => Readiness::no(refusal.failure.cause, refusal.failure.message.clone()),
            None => Readiness::no(StatusCause::Progressing, format!("app {name} is being released")),
        },
        (PlaceState::Unreachable(_), _) => {
            let message = format!(
                "cluster {cluster} cannot be reached, so nobody can tell how release {} is; look at the Cluster",
                app.release_name()
            );
            Readiness { state: State::Unknown, ..Readiness::no(StatusCause::Unreachable, message) }
        }
        (PlaceState::Suspended, _) => {
            let message = format!("cluster {cluster} is suspended, so nothing is released there; resume the Cluster");
            Readiness::no(StatusCause::ClusterSuspended, message)
        }
        (PlaceState::Pending | PlaceState::Current | PlaceState::Released, _) => {
            Readiness::no(StatusCause::Progressing, format!("app {name} was not looked at yet"))
        }
    }
}
