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
    if former.completed_at.is_some() {
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

#[cfg(test)]
mod tests {
    use drover_runtime::Failure;
    use serde_json::json;

    use super::*;

    fn backup(status: &serde_json::Value) -> EtcdBackup {
        serde_json::from_value(json!({
            "apiVersion": "drover.dev/v1alpha1", "kind": "EtcdBackup", "metadata": {"name": "a", "namespace": "team"},
            "spec": {"clusterName": "eu", "storeNames": ["main"]}, "status": status,
        }))
        .unwrap()
    }

    fn told(status: &EtcdBackupStatus) -> Vec<(&str, &str, &str)> {
        let conditions = status.conditions.iter();
        conditions.map(|found| (found.type_.as_str(), found.status.as_str(), found.reason.as_str())).collect()
    }

    fn at(state: PlaceState, noted: Option<&EtcdBackup>) -> PlaceStatuses<PlaceStatus> {
        let known = noted.map(|backup| PlaceStatus {
            noted: Box::new(backup.status.clone().unwrap_or_default()),
            ready: Readiness::no(BackupCause::BackingUp, "it is being taken".to_owned()),
        });
        [(Place::cluster("eu"), PlaceEntry { known, state })].into_iter().collect()
    }

    #[test]
    fn what_is_done_stays_done_though_the_cluster_is_gone() {
        let ready = json!({"type": "Ready", "status": "True", "reason": "Ready", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"});
        let done =
            backup(&json!({"observedGeneration": 1, "completedAt": "2026-01-01T00:00:00Z", "conditions": [ready]}));
        assert_eq!(Some(summarise(&done, &PlaceStatuses::default())), done.status);
    }

    #[test]
    fn where_nothing_can_be_done_the_status_says_why_and_forgets_nothing() {
        let under_way =
            backup(&json!({"observedGeneration": 1, "phase": "Running", "attempt": {"id": "u-1", "uploadID": "x"}}));
        let gone = summarise(&under_way, &PlaceStatuses::default());
        assert_eq!(
            (told(&gone)[0], &gone.attempt),
            (("Ready", "False", "ClusterNotFound"), &under_way.status.as_ref().unwrap().attempt)
        );
        let refused = Failure::new(StatusCause::Unreachable, "refused");
        let away = summarise(&under_way, &at(PlaceState::Unreachable(refused), None));
        assert_eq!(
            (told(&away)[0], &away.attempt),
            (("Ready", "Unknown", "Unreachable"), &under_way.status.as_ref().unwrap().attempt)
        );
        let held = summarise(&under_way, &at(PlaceState::Suspended, Some(&under_way)));
        assert_eq!(told(&held)[0], ("Ready", "False", "ClusterSuspended"));
    }

    #[test]
    fn verified_is_told_once_there_is_a_snapshot() {
        let with = |verified: &[&str]| {
            let snapshot = json!({
                "member": "a", "etcdVersion": "3.7.1", "revision": 1, "bytes": 1, "storedBytes": 1, "digest": "", "verified": verified,
            });
            let backup = backup(&json!({"observedGeneration": 1, "snapshot": snapshot}));
            let status = summarise(&backup, &at(PlaceState::Current, Some(&backup)));
            status
                .conditions
                .iter()
                .find(|found| found.type_ == VERIFIED)
                .map(|found| (found.status.clone(), found.reason.clone()))
        };
        let expected = |status: &str, reason: &str| Some((status.to_owned(), reason.to_owned()));
        assert_eq!(with(&["Sha256", "Revision", "Keys"]), expected("True", "RestoreVerified"));
        assert_eq!(with(&["Sha256"]), expected("False", "NotRestored"));
    }
}
