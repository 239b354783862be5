//! From what was decided to the status of a backup. Pure.

use drover_crds::{EtcdBackup, EtcdBackupStatus, condition::VERIFIED};
use drover_runtime::{
    Place, PlaceState, PlaceStatuses, StatusCause,
    place_status::{PlaceEntry, Readiness},
    status::{State, condition, ready_conditions},
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use crate::{
    BackupCause,
    plan::{PlaceStatus, is_verified},
};

pub(crate) fn summarise(backup: &EtcdBackup, statuses: &PlaceStatuses<PlaceStatus>) -> EtcdBackupStatus {
    let former = backup.status.clone().unwrap_or_default();
    // What is done stays done, wherever the cluster is.
    if former.completed_at.is_some() && Some(former.observed_generation) == backup.metadata.generation {
        return former;
    }
    let entry = statuses.get(&Place::cluster(&backup.spec.cluster_name));
    let known = entry.and_then(|entry| entry.known.clone());
    let Readiness { state, cause, message, activity } = readiness(backup, entry);
    let mut conditions = ready_conditions(state, cause, &message, activity);
    let noted = known.map_or(former, |known| *known.noted);
    conditions.extend(verified(&noted));
    EtcdBackupStatus { conditions, ..noted }
}

fn verified(noted: &EtcdBackupStatus) -> Option<Condition> {
    let snapshot = noted.snapshot.as_ref()?;
    let checks = snapshot.verified.join(", ");
    Some(if is_verified(snapshot) {
        let message = format!("it was restored into another etcd, and agrees with the member in: {checks}");
        condition(VERIFIED, true, BackupCause::RestoreVerified, message)
    } else {
        let message = format!("it was not restored anywhere; it agrees with the member in: {checks}");
        condition(VERIFIED, false, BackupCause::NotRestored, message)
    })
}

fn readiness(backup: &EtcdBackup, entry: Option<&PlaceEntry<PlaceStatus>>) -> Readiness {
    let cluster = &backup.spec.cluster_name;
    let Some(entry) = entry else {
        let message = format!("there is no Cluster {cluster}; create it, or create a backup of another one");
        return Readiness::no(StatusCause::ClusterNotFound, message);
    };
    match (&entry.state, &entry.known) {
        (PlaceState::Current, Some(known)) => known.ready.clone(),
        (PlaceState::Failed(failure), _) => Readiness::no(failure.cause, failure.message.clone()),
        (PlaceState::Refused(refusals), _) if !refusals.is_empty() => {
            let first = refusals.first().map(|refusal| refusal.failure.clone());
            first.map_or_else(waits, |failure| Readiness::no(failure.cause, failure.message))
        }
        (PlaceState::Unreachable(_), _) => {
            let message = format!("cluster {cluster} cannot be reached, so no backup is taken; look at the Cluster");
            Readiness { state: State::Unknown, ..Readiness::no(StatusCause::Unreachable, message) }
        }
        (PlaceState::Suspended, _) => {
            let message = format!("cluster {cluster} is suspended, so no backup is taken; resume the Cluster");
            Readiness::no(StatusCause::ClusterSuspended, message)
        }
        _ => waits(),
    }
}

fn waits() -> Readiness {
    Readiness::no(StatusCause::Progressing, "it was not looked at yet".to_owned())
}
