//! What is done in the management cluster: the lock of the cluster, the upload, and the end, whatever became of the cluster. Pure.

use drover_backups::{Report, ReportError, Success};
use drover_crds::{BackupAttempt, EtcdBackup, EtcdBackupStatus, condition::AVAILABLE, names::ANNOTATION_RECONCILE_AT};
use drover_grants::{Admitted, admitted::record};
use drover_runtime::{Owner, Requeue, StatusCause, place_status::Readiness};
use drover_stored_backups::audit::{Due, due};
use k8s_openapi::{
    apimachinery::pkg::apis::meta::v1::Time,
    jiff::{SignedDuration, Timestamp},
};
use kube::ResourceExt as _;

use super::{Decided, again, deadline, is_another, noted, store_name, told};
use crate::{
    act::Action,
    consent::withdrawn,
    notes::{ANOTHER_CLUSTER, DEADLINE_EXCEEDED, MANIFEST_TAKEN, NO_ANSWER, Note},
    observe::{ClusterState, World},
};

/// How long after its deadline a failed backup waits for a store that does not let its upload be removed.
const STORE_PATIENCE: SignedDuration = SignedDuration::from_mins(10);

pub(super) fn plan(backup: &EtcdBackup, world: &World, now: Timestamp) -> Decided {
    let status = noted(backup);
    let Some(attempt) = &status.attempt else { return told(Vec::new(), Vec::new(), Requeue::Watch) };
    if status.completed_at.is_some() {
        let mut decided = look(backup, world, &status, now);
        // What becomes of its data can still be changed.
        decided.place_status.admission = record(backup, world.policies.as_ref(), &world.evidence, false, now);
        return decided;
    }
    if let Some(stored) = world.memory.completed.as_ref().filter(|_| status.snapshot.is_none()) {
        let (snapshot, stored) = stored.clone();
        return told(vec![Note::Stored { snapshot, stored }], Vec::new(), Requeue::Watch);
    }
    if attempt.failure.is_some() || status.snapshot.is_some() {
        finish(backup, world, &status, attempt, now)
    } else {
        go_on(backup, world, &status, attempt, now)
    }
}

/// What is there is looked at now and then.
fn look(backup: &EtcdBackup, world: &World, status: &EtcdBackupStatus, now: Timestamp) -> Decided {
    if status.snapshot.is_none() {
        return told(Vec::new(), Vec::new(), Requeue::Watch);
    }
    let uid = backup.metadata.uid.as_deref().unwrap_or_default();
    let (groups, requeue) = match due(uid, request(backup), world.look.as_ref(), is_missed(status), now) {
        Due::Now => (vec![vec![Action::Look(now)]], Requeue::Watch),
        Due::At(time) => (Vec::new(), Requeue::At(time)),
    };
    let mut decided = told(Vec::new(), groups, requeue);
    decided.place_status.finding = world.look.as_ref().and_then(|look| look.finding.clone());
    decided
}

/// What a person asks for, by an annotation; empty if nothing.
pub(crate) fn request(backup: &EtcdBackup) -> &str {
    backup.annotations().get(ANNOTATION_RECONCILE_AT).map(String::as_str).unwrap_or_default()
}

fn is_missed(status: &EtcdBackupStatus) -> bool {
    status.conditions.iter().any(|condition| condition.type_ == AVAILABLE && condition.status == "False")
}

fn go_on(
    backup: &EtcdBackup,
    world: &World,
    status: &EtcdBackupStatus,
    attempt: &BackupAttempt,
    now: Timestamp,
) -> Decided {
    let end = deadline(backup, status);
    let requeue = end.map_or(Requeue::Watch, Requeue::At);
    if let Some(failed) = given_up(backup, world, status, now) {
        return told(vec![failed], Vec::new(), requeue);
    }
    if let Some(message) = &world.memory.taken {
        return told(vec![Note::failed(MANIFEST_TAKEN, message.clone())], Vec::new(), requeue);
    }
    if attempt.upload_id.is_none() {
        return match &world.memory.opened {
            // Its time begins with its turn.
            Some(upload) => told(vec![Note::Opened { upload: upload.clone(), at: Time(now) }], Vec::new(), requeue),
            None => told(Vec::new(), vec![vec![Action::Lock(now), Action::Open]], requeue),
        };
    }
    match (answer(attempt), &attempt.answered_at) {
        (Some(Ok(success)), Some(at)) => {
            told(Vec::new(), vec![vec![Action::Complete { success, at: at.clone() }]], requeue)
        }
        (Some(Err(error)), _) => told(vec![Note::failed(NO_ANSWER, error.to_string())], Vec::new(), requeue),
        _ => told(Vec::new(), Vec::new(), requeue),
    }
}

/// What the Job answered, as it is noted.
pub(crate) fn answer(attempt: &BackupAttempt) -> Option<Result<Box<Success>, ReportError>> {
    let (text, id) = (attempt.answer.as_ref()?, attempt.id.parse().ok()?);
    Some(match Report::parse(text.as_bytes(), &id) {
        Ok(Report::Success(success)) => Ok(success),
        Ok(Report::Failure(_)) => Err(ReportError::Contradictory),
        Err(error) => Err(error),
    })
}

/// Why there will be no backup, if so.
fn given_up(backup: &EtcdBackup, world: &World, status: &EtcdBackupStatus, now: Timestamp) -> Option<Note> {
    let cluster = &backup.spec.cluster_name;
    // What the Job answered is in the store, and needs no cluster any more.
    let needs_cluster = status.attempt.as_ref().is_some_and(|attempt| attempt.answer.is_none());
    match world.state {
        ClusterState::Gone if needs_cluster => {
            let message = format!(
                "Cluster {cluster} was deleted before the snapshot was stored; back up another cluster, or create that one again first"
            );
            return Some(Note::failed(StatusCause::ClusterNotFound.reason(), message));
        }
        ClusterState::Deleting if needs_cluster => {
            let message = format!(
                "Cluster {cluster} is being deleted, and the snapshot was not stored before; take backups before you delete a Cluster"
            );
            return Some(Note::failed(StatusCause::ClusterDeleting.reason(), message));
        }
        ClusterState::Unknown | ClusterState::Gone => {}
        _ => {
            if let Some((cause, message)) = withdrawn(backup, world.admission) {
                return Some(Note::failed(cause.reason(), message));
            }
        }
    }
    if needs_cluster && is_another(world, status) {
        let message = format!("Cluster {cluster} is another cluster by now; create another backup");
        return Some(Note::failed(ANOTHER_CLUSTER, message));
    }
    let is_over = deadline(backup, status).is_some_and(|end| now >= end);
    is_over.then(|| Note::failed(DEADLINE_EXCEEDED, late(backup, world.state, needs_cluster)))
}

/// What kept a backup from being done in time, as far as that is known.
fn late(backup: &EtcdBackup, state: ClusterState, needs_cluster: bool) -> String {
    let (cluster, minutes) = (&backup.spec.cluster_name, backup.spec.timeout().as_secs() / 60);
    let why = match state {
        _ if !needs_cluster => format!("its upload could not be completed; look at BackupStore {}", store_name(backup)),
        ClusterState::Suspended => format!("cluster {cluster} is suspended; set spec.suspend of the Cluster to false"),
        ClusterState::Unreachable => format!("cluster {cluster} cannot be reached; look at the Cluster"),
        _ => format!(
            "its Job on cluster {cluster} gave no answer; look at the events of that in namespace drover-system there, and at the store"
        ),
    };
    format!("it was not done within spec.timeout ({minutes} min): {why}, and create another backup")
}

/// What is left to do after a snapshot is stored, or nothing will be.
fn finish(
    backup: &EtcdBackup,
    world: &World,
    status: &EtcdBackupStatus,
    attempt: &BackupAttempt,
    now: Timestamp,
) -> Decided {
    let end = deadline(backup, status);
    let is_over = end.is_none_or(|end| now >= end);
    let has_failed = attempt.failure.is_some();
    let is_without = matches!(world.state, ClusterState::Gone | ClusterState::Deleting);
    // A Job that may still run keeps others from the cluster, and may still upload.
    if has_failed && !attempt.cleared && !is_over && !is_without {
        return told(Vec::new(), Vec::new(), end.map_or(Requeue::Watch, Requeue::At));
    }
    let began = end.or_else(|| backup.metadata.creation_timestamp.as_ref().map(|time| time.0));
    let is_patient = began.and_then(|from| from.checked_add(STORE_PATIENCE).ok()).is_some_and(|until| now < until);
    let mut groups = Vec::new();
    if !world.memory.is_unlocked {
        groups.push(vec![Action::Unlock]);
    }
    if has_failed && !world.memory.is_abandoned {
        groups.push(vec![Action::Abandon]);
    }
    if world.memory.is_unlocked && (groups.is_empty() || !is_patient) {
        return told(vec![Note::Ended(Time(now))], Vec::new(), Requeue::Watch);
    }
    told(Vec::new(), groups, again(now))
}

pub(super) fn clean_up(owner: Owner<'_, EtcdBackup>, world: &World) -> Decided {
    let Owner::Deleting(backup) = owner else { return told(Vec::new(), Vec::new(), Requeue::Released) };
    let status = noted(backup);
    let mut groups = Vec::new();
    if status.attempt.is_some() && status.completed_at.is_none() {
        if !world.memory.is_unlocked {
            groups.push(vec![Action::Unlock]);
        }
        if status.snapshot.is_none() && !world.memory.is_abandoned {
            groups.push(vec![Action::Abandon]);
        }
    }
    // Of data that two objects name the last one that goes takes them along.
    let is_due = status.attempt.is_some() && !world.memory.has_deleted && !world.is_shared;
    let deletes = groups.is_empty() && backup.spec.deletes_data() && is_due;
    let mut is_unjudged = false;
    match world.admitted {
        Some(Admitted::Yes) if deletes => groups.push(vec![Action::DeleteData]),
        // Who says so was not judged, so the data stay.
        Some(Admitted::No) => {}
        _ => is_unjudged = deletes,
    }
    let requeue = if groups.is_empty() && !is_unjudged { Requeue::Released } else { Requeue::Watch };
    let mut decided = told(Vec::new(), groups, requeue);
    decided.place_status.ready = Some(Readiness::no(StatusCause::Deleting, "it is being deleted".to_owned()));
    decided
}
