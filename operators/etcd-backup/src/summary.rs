//! From what was decided to the status of a backup. Pure.

use drover_crds::{
    EtcdBackup, EtcdBackupStatus,
    condition::{AVAILABLE, VERIFIED},
};
use drover_runtime::{
    Place, PlaceState, PlaceStatuses, StatusCause,
    place_status::{PlaceEntry, Readiness},
    status::{State, condition, ready_conditions},
};
use drover_stored_backups::{Finding, status::is_verified};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use crate::{
    BackupCause,
    notes::phase,
    plan::{PlaceStatus, store_name},
};

type Entry = PlaceEntry<PlaceStatus>;

/// Joins what the two places of a backup found out: each note is kept at its step, in whatever order they come.
pub(crate) fn summarise(backup: &EtcdBackup, statuses: &PlaceStatuses<PlaceStatus>) -> EtcdBackupStatus {
    let former = backup.status.clone().unwrap_or_default();
    let entry = |place| statuses.get(&place);
    let (cluster, management) = (entry(Place::cluster(&backup.spec.cluster_name)), entry(Place::Management));
    let is_deleting = backup.metadata.deletion_timestamp.is_some();
    // What is done stays done, wherever the cluster is.
    if former.completed_at.is_some() && !is_deleting {
        let known = management.and_then(|entry| entry.known.as_ref());
        let admission = known.and_then(|known| known.admission.clone()).or(former.admission.clone());
        let conditions = match known.and_then(|known| known.finding.as_ref()) {
            Some(finding) => of_one_that_is_there(backup, &former, finding),
            None => former.conditions.clone(),
        };
        return EtcdBackupStatus { admission, conditions, ..former };
    }
    let mut status = EtcdBackupStatus { conditions: Vec::new(), ..former };
    for known in [cluster, management].into_iter().flatten().filter_map(|entry| entry.known.as_ref()) {
        known.notes.iter().cloned().for_each(|note| note.keep(&mut status));
        status.admission = known.admission.clone().or(status.admission);
    }
    status.phase = Some(phase(&status));
    if status.completed_at.is_some() && status.snapshot.is_some() && !is_deleting {
        // Its store was asked for all of it before that was noted.
        status.conditions = of_one_that_is_there(backup, &status, &Finding::Available);
        return status;
    }
    let ready =
        if is_deleting { going([management, cluster]) } else { readiness(backup, &status, cluster, management) };
    status.conditions = ready_conditions(ready.state, ready.cause, &ready.message, ready.activity);
    status.conditions.extend(verified(backup, &status));
    status
}

/// The conditions of a backup that was stored, by what was seen of it last.
fn of_one_that_is_there(backup: &EtcdBackup, status: &EtcdBackupStatus, finding: &Finding) -> Vec<Condition> {
    let lost = lost(backup, finding);
    let ready = match &lost {
        Some((cause, message)) => Readiness::no(*cause, message.clone()),
        None => by_notes(backup, status),
    };
    let mut conditions = ready_conditions(ready.state, ready.cause, &ready.message, ready.activity);
    conditions.extend(verified(backup, status));
    conditions.push(if let Some((cause, message)) = lost {
        condition(AVAILABLE, false, cause, message)
    } else {
        let message = format!("store {} has its manifest and its data, as they were stored", store_name(backup));
        condition(AVAILABLE, true, BackupCause::DataAvailable, message)
    });
    conditions
}

/// What of a backup is gone or changed.
fn lost(backup: &EtcdBackup, finding: &Finding) -> Option<(BackupCause, String)> {
    let (store, cluster) = (store_name(backup), &backup.spec.cluster_name);
    match finding {
        Finding::Available => None,
        Finding::Missing { key } => {
            let message = format!(
                "store {store} has no object {key} any more, so this backup of cluster {cluster} cannot be restored; put it back, as from a version of it or from a copy of the bucket"
            );
            Some((BackupCause::DataMissing, message))
        }
        Finding::Changed { key } => {
            let message = format!(
                "object {key} in store {store} is another one than was stored for this backup of cluster {cluster}; find out who writes to the bucket, and put it back"
            );
            Some((BackupCause::DataChanged, message))
        }
    }
}

fn verified(backup: &EtcdBackup, status: &EtcdBackupStatus) -> Option<Condition> {
    let snapshot = status.snapshot.as_ref()?;
    let checks = snapshot.verified.join(", ");
    let by = if backup.spec.existing.is_some() { "as its manifest says, " } else { "" };
    Some(if is_verified(snapshot) {
        let message = format!("{by}it was restored into another etcd, and agrees with the member in: {checks}");
        condition(VERIFIED, true, BackupCause::RestoreVerified, message)
    } else {
        let message = format!("{by}it was not restored anywhere; it agrees with the member in: {checks}");
        condition(VERIFIED, false, BackupCause::NotRestored, message)
    })
}

/// What the deletion of a backup waits for.
fn going(entries: [Option<&Entry>; 2]) -> Readiness {
    let trouble = entries.into_iter().flatten().find_map(trouble);
    trouble.unwrap_or_else(|| Readiness::no(StatusCause::Deleting, "it is being deleted".to_owned()))
}

fn readiness(
    backup: &EtcdBackup,
    status: &EtcdBackupStatus,
    cluster: Option<&Entry>,
    management: Option<&Entry>,
) -> Readiness {
    let attempt = status.attempt.as_ref();
    let is_over = status.completed_at.is_some() || attempt.is_some_and(|attempt| attempt.failure.is_some());
    if is_over {
        return by_notes(backup, status);
    }
    if let Some(trouble) = management.and_then(trouble) {
        return trouble;
    }
    // What the Job uploaded needs no cluster any more.
    if status.snapshot.is_some() || attempt.is_some_and(|attempt| attempt.answer.is_some()) {
        return by_notes(backup, status);
    }
    if backup.spec.existing.is_some() {
        return management.and_then(|entry| entry.known.as_ref()?.ready.clone()).unwrap_or_else(waits);
    }
    at_cluster(backup, status, cluster)
}

/// What failed at a place.
fn trouble(entry: &Entry) -> Option<Readiness> {
    let failure = match &entry.state {
        PlaceState::Failed(failure) | PlaceState::Unreachable(failure) => failure,
        PlaceState::Refused(refusals) => &refusals.first()?.failure,
        _ => return None,
    };
    Some(Readiness::no(failure.cause, failure.message.clone()))
}

fn at_cluster(backup: &EtcdBackup, status: &EtcdBackupStatus, entry: Option<&Entry>) -> Readiness {
    let cluster = &backup.spec.cluster_name;
    let (goes, then) = if status.attempt.is_some() {
        ("the backup does not go on", ", or it ends when spec.timeout is over")
    } else {
        ("no backup is taken", "")
    };
    let Some(entry) = entry else {
        let message = format!("there is no Cluster {cluster}; create it, or create a backup of another one");
        return Readiness::no(StatusCause::ClusterNotFound, message);
    };
    match (&entry.state, &entry.known) {
        (PlaceState::Current, Some(known)) => known.ready.clone().unwrap_or_else(|| by_notes(backup, status)),
        (PlaceState::Unreachable(_), _) => {
            let message = format!("cluster {cluster} cannot be reached, so {goes}; look at the Cluster{then}");
            Readiness { state: State::Unknown, ..Readiness::no(StatusCause::Unreachable, message) }
        }
        (PlaceState::Suspended, _) => {
            let message = format!("cluster {cluster} is suspended, so {goes}; resume the Cluster{then}");
            Readiness::no(StatusCause::ClusterSuspended, message)
        }
        _ => trouble(entry).unwrap_or_else(waits),
    }
}

fn waits() -> Readiness {
    Readiness::no(StatusCause::Progressing, "it was not looked at yet".to_owned())
}

/// What there is to say by what is noted.
fn by_notes(backup: &EtcdBackup, status: &EtcdBackupStatus) -> Readiness {
    let cluster = &backup.spec.cluster_name;
    let taking = |message: String| Readiness::no(BackupCause::BackingUp, message);
    let attempt = status.attempt.as_ref();
    if let Some(failure) = attempt.and_then(|attempt| attempt.failure.as_ref()) {
        let message = format!("there is no backup of cluster {cluster}: {}", failure.message);
        return Readiness::no(BackupCause::BackupFailed, message);
    }
    match (&status.snapshot, &status.completed_at) {
        (Some(snapshot), Some(_)) => {
            let without =
                if snapshot.encrypted { "" } else { ", not encrypted, and without the configuration of the cluster" };
            let (revision, store) = (snapshot.revision, store_name(backup));
            let from = if backup.spec.existing.is_some() { ", from where it was imported" } else { "" };
            let message =
                format!("the backup of cluster {cluster} at revision {revision} is in store {store}{from}{without}");
            Readiness::yes(StatusCause::Ready, message)
        }
        (Some(_), None) => taking("the backup is stored, and what it needed is being removed".to_owned()),
        (None, _) if attempt.is_some_and(|attempt| attempt.answer.is_some()) => {
            taking(format!("the snapshot of cluster {cluster} is uploaded and being completed"))
        }
        (None, _) if attempt.is_some() => taking(format!("the snapshot of cluster {cluster} is being taken")),
        (None, _) => taking("it is about to begin".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use drover_runtime::Failure;
    use serde_json::json;

    use super::*;
    use crate::notes::Note;

    fn backup(status: &serde_json::Value) -> EtcdBackup {
        serde_json::from_value(json!({
            "apiVersion": "drover.dev/v1alpha1", "kind": "EtcdBackup", "metadata": {"name": "a", "namespace": "team"},
            "spec": {"clusterName": "eu", "storeNames": ["main"]}, "status": status,
        }))
        .unwrap()
    }

    fn under_way() -> EtcdBackup {
        backup(&json!({"observedGeneration": 1, "phase": "Running", "attempt": {"id": "u-1", "uploadID": "x"}}))
    }

    fn ready(status: &EtcdBackupStatus) -> (&str, &str) {
        (status.conditions[0].status.as_str(), status.conditions[0].reason.as_str())
    }

    fn at(state: PlaceState, notes: Vec<Note>) -> PlaceEntry<PlaceStatus> {
        PlaceEntry { known: Some(PlaceStatus { notes, ..PlaceStatus::default() }), state }
    }

    fn both(cluster: PlaceEntry<PlaceStatus>, management: PlaceEntry<PlaceStatus>) -> PlaceStatuses<PlaceStatus> {
        [(Place::cluster("eu"), cluster), (Place::Management, management)].into_iter().collect()
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
        let attempt = under_way().status.unwrap().attempt;
        let refused = Failure::new(StatusCause::Unreachable, "refused");
        for (entry, expected) in [
            (None, ("False", "ClusterNotFound")),
            (Some(at(PlaceState::Unreachable(refused.clone()), Vec::new())), ("Unknown", "Unreachable")),
            (Some(at(PlaceState::Suspended, Vec::new())), ("False", "ClusterSuspended")),
            (
                Some(at(PlaceState::Failed(Failure::new(BackupCause::StoreNotFound, "x")), Vec::new())),
                ("False", "StoreNotFound"),
            ),
        ] {
            let statuses = entry.into_iter().map(|entry| (Place::cluster("eu"), entry)).collect();
            let status = summarise(&under_way(), &statuses);
            assert_eq!((ready(&status), &status.attempt), (expected, &attempt));
        }
    }

    #[test]
    fn what_both_places_note_is_kept_wherever_the_other_one_is() {
        let away = || PlaceState::Unreachable(Failure::new(StatusCause::Unreachable, "refused"));
        let answer = Note::Answered { answer: "{}".to_owned(), at: time() };
        let failed = Note::failed("DeadlineExceeded", "it was late");
        let told =
            summarise(&under_way(), &both(at(away(), vec![answer.clone()]), at(PlaceState::Current, Vec::new())));
        assert_eq!(told.attempt.as_ref().unwrap().answer.as_deref(), Some("{}"));
        assert_eq!(ready(&told), ("False", "BackingUp"), "the answer needs no cluster any more");
        let told =
            summarise(&under_way(), &both(at(away(), Vec::new()), at(PlaceState::Current, vec![failed.clone()])));
        assert_eq!(ready(&told), ("False", "BackupFailed"));
        let late = summarise(
            &under_way(),
            &both(at(PlaceState::Current, vec![answer]), at(PlaceState::Current, vec![failed])),
        );
        let attempt = late.attempt.unwrap();
        assert!(attempt.failure.is_some() && attempt.answer.is_some(), "of both at once the end counts");
    }

    #[test]
    fn a_note_of_before_says_nothing_again() {
        let mut status = under_way().status.unwrap();
        status.attempt.as_mut().unwrap().upload_id = None;
        let opened = |upload: &str| Note::Opened { upload: upload.to_owned(), at: time() };
        opened("first").keep(&mut status);
        opened("second").keep(&mut status);
        assert_eq!(status.attempt.as_ref().unwrap().upload_id.as_deref(), Some("first"));
        Note::Ended(time()).keep(&mut status);
        Note::Cleared.keep(&mut status);
        assert!(status.completed_at.is_none() && !status.attempt.as_ref().unwrap().cleared, "it goes on");
        Note::failed("a", "").keep(&mut status);
        Note::failed("b", "").keep(&mut status);
        assert_eq!(status.attempt.as_ref().unwrap().failure.as_ref().unwrap().reason, "a");
        Note::Ended(time()).keep(&mut status);
        let over = status.clone();
        Note::failed("c", "").keep(&mut status);
        assert_eq!(status, over);
    }

    #[test]
    fn a_deletion_says_what_it_waits_for() {
        let mut done =
            backup(&json!({"observedGeneration": 1, "completedAt": "2026-01-01T00:00:00Z", "attempt": {"id": "u-1"}}));
        done.metadata.deletion_timestamp = Some(time());
        assert_eq!(ready(&summarise(&done, &PlaceStatuses::default())), ("False", "Deleting"));
        let down = Failure::new(BackupCause::StoreNotFound, "there is none");
        let statuses = both(at(PlaceState::Released, Vec::new()), at(PlaceState::Failed(down), Vec::new()));
        let told = summarise(&done, &statuses);
        assert_eq!((ready(&told), told.completed_at.is_some()), (("False", "StoreNotFound"), true));
    }

    fn time() -> k8s_openapi::apimachinery::pkg::apis::meta::v1::Time {
        k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(k8s_openapi::jiff::Timestamp::UNIX_EPOCH)
    }

    #[test]
    fn verified_is_told_once_there_is_a_snapshot() {
        let with = |verified: &[&str]| {
            let snapshot = json!({
                "member": "a", "etcdVersion": "3.7.1", "revision": 1, "bytes": 1, "storedBytes": 1, "digest": "", "verified": verified,
            });
            let backup = backup(&json!({"observedGeneration": 1, "attempt": {"id": "u-1"}, "snapshot": snapshot}));
            let status =
                summarise(&backup, &both(at(PlaceState::Current, Vec::new()), at(PlaceState::Current, Vec::new())));
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
