//! What is done in the cluster that is backed up: its Job and the task of that. Pure.

use std::time::Duration;

use drover_backup_jobs::job::{self, CONTAINER};
use drover_backups::{LayoutOf, Report, Success};
use drover_crds::{BackupAttempt, BackupFailure, EtcdBackup, EtcdBackupStatus, condition::READY};
use drover_grants::admitted::record;
use drover_operations::pods;
use drover_runtime::{
    Owner, Requeue, Title,
    owned::{Change, Owned},
    place_status::Readiness,
};
use k8s_openapi::{
    api::batch::v1::Job,
    jiff::{SignedDuration, Timestamp},
};

use super::{Decided, again, attempt_id, is_another, noted, removed, time_over, told};
use crate::{
    BackupCause,
    act::Action,
    consent::{StoreState, obstacle, withdrawn},
    notes::{NO_ANSWER, Note},
    observe::{ClusterState, World},
};

/// Within this time a Job has its Pod.
const POD_WITHIN: SignedDuration = SignedDuration::from_secs(30);
/// So soon the Pods of a Job that does not run are looked at again.
const LOOK_AT_PODS: SignedDuration = SignedDuration::from_secs(15);

pub(super) fn plan(backup: &EtcdBackup, world: &World, now: Timestamp) -> Decided {
    let status = noted(backup);
    let mut decided = match &status.attempt {
        _ if status.completed_at.is_some() => told(Vec::new(), removed(world), Requeue::Watch),
        None => begin(backup, world, now),
        Some(attempt) if attempt.failure.is_some() => {
            let notes = if is_clear(world) { vec![Note::Cleared] } else { Vec::new() };
            told(notes, removed(world), again(now))
        }
        // What it uploaded is for the store to keep now.
        Some(attempt) if attempt.answer.is_some() || status.snapshot.is_some() => {
            told(Vec::new(), removed(world), Requeue::Watch)
        }
        Some(attempt) if attempt.upload_id.is_some() => go_on(backup, world, &status, attempt, now),
        Some(_) => told(Vec::new(), Vec::new(), Requeue::Watch),
    };
    decided.place_status.admission = record(backup, world.policies.as_ref(), &world.evidence, false, now);
    decided
}

pub(super) fn clean_up(owner: Owner<'_, EtcdBackup>, world: &World) -> Decided {
    let is_failed = |backup: &EtcdBackup| noted(backup).attempt.is_some_and(|attempt| attempt.failure.is_some());
    let is_clear = is_clear(world);
    let notes = if is_clear && owner.object().is_some_and(is_failed) { vec![Note::Cleared] } else { Vec::new() };
    told(notes, removed(world), if is_clear { Requeue::Released } else { Requeue::Watch })
}

fn is_clear(world: &World) -> bool {
    world.jobs.is_empty() && world.tasks.is_empty()
}

fn begin(backup: &EtcdBackup, world: &World, now: Timestamp) -> Decided {
    if let Some((cause, message)) = obstacle(backup, world) {
        let mut decided = told(Vec::new(), Vec::new(), again(now));
        decided.place_status.ready = Some(Readiness::no(cause, message));
        return decided;
    }
    let (StoreState::Ready { prefix, recipients }, Some(cluster)) = (&world.store, &world.cluster) else {
        return told(Vec::new(), Vec::new(), again(now));
    };
    let attempt = BackupAttempt {
        id: attempt_id(backup),
        prefix: prefix.clone(),
        recipients: recipients.clone(),
        ..BackupAttempt::default()
    };
    let note = Note::Begun { cluster: cluster.clone(), attempt: Box::new(attempt) };
    told(vec![note], Vec::new(), Requeue::Watch)
}

/// What goes on from an upload that is noted.
fn go_on(
    backup: &EtcdBackup,
    world: &World,
    status: &EtcdBackupStatus,
    attempt: &BackupAttempt,
    now: Timestamp,
) -> Decided {
    // Of one that is gone or going the management cluster says more.
    let is_asked = world.state == ClusterState::Connected;
    if let Some((cause, message)) = withdrawn(backup, world.admission).filter(|_| is_asked) {
        return told(vec![Note::failed(cause.reason(), message)], Vec::new(), Requeue::Watch);
    }
    // That is judged in the management cluster.
    if is_another(world, status) {
        return told(Vec::new(), Vec::new(), again(now));
    }
    match &world.report {
        Some((Ok(success), at)) => {
            let answer = Report::Success(Box::new(Success::clone(success))).to_message();
            return told(vec![Note::Answered { answer, at: at.clone() }], Vec::new(), Requeue::Watch);
        }
        Some((Err(failure), _)) => {
            let note = Note::Failed(with_words_of_before(backup, world, failure));
            return told(vec![note], Vec::new(), Requeue::Watch);
        }
        None => {}
    }
    // No watch shows Pods.
    let requeue = match world.pods {
        Some(_) => now.checked_add(LOOK_AT_PODS).map_or(Requeue::Watch, Requeue::At),
        None if world.jobs.is_empty() => Requeue::Watch,
        None => again(now),
    };
    let left = time_over(backup, status).and_then(|end| Duration::try_from(end.duration_since(now)).ok());
    let left = left.filter(|left| left.as_secs() > 0);
    let groups = left.and_then(|left| started(world, status, attempt, left, now)).into_iter().collect();
    let mut decided = told(Vec::new(), groups, requeue);
    decided.place_status.ready = not_running(backup, world, now);
    decided
}

/// A Job that ended without a word takes its Pods along: why these did not run is what was told of them before.
fn with_words_of_before(backup: &EtcdBackup, world: &World, failure: &BackupFailure) -> BackupFailure {
    let of_pods = world.pods.as_deref().and_then(|pods| pods::trouble(pods, CONTAINER));
    match told_before(backup).filter(|_| failure.reason == NO_ANSWER && of_pods.is_none()) {
        Some(before) => BackupFailure { message: before.to_owned(), ..failure.clone() },
        None => failure.clone(),
    }
}

/// What was told last of a Job that does not run.
fn told_before(backup: &EtcdBackup) -> Option<&str> {
    let mut conditions = backup.status.iter().flat_map(|status| &status.conditions);
    let before =
        conditions.find(|found| found.type_ == READY && found.reason == BackupCause::JobNotRunning.reason())?;
    Some(&before.message)
}

/// What keeps the Pod of the Job from running.
fn not_running(backup: &EtcdBackup, world: &World, now: Timestamp) -> Option<Readiness> {
    let pods = world.pods.as_deref()?;
    let job = world.jobs.iter().find(|found| counts(found))?;
    let age = job.meta().creation_timestamp.as_ref().map(|created| now.duration_since(created.0));
    let (cluster, name) = (&backup.spec.cluster_name, job.meta().name.as_deref().unwrap_or_default());
    let stuck = format!("Job drover-system/{name} on cluster {cluster} does not run: ");
    let message = if let Some(trouble) = pods::trouble(pods, CONTAINER) {
        format!("{stuck}{trouble}")
    } else if !pods.is_empty() || age.is_none_or(|age| age <= POD_WITHIN) {
        return None;
    } else if let Some(before) = told_before(backup).filter(|before| before.starts_with(&stuck)) {
        // Its deadline takes the Pod of a Job before the Job has ended; it says no more than what was told of it.
        before.to_owned()
    } else {
        format!("{stuck}it has no Pod; look at its events, as a quota or an admission policy may refuse it")
    };
    Some(Readiness::no(BackupCause::JobNotRunning, message))
}

/// What starts the Job, which may take as long as is `left`.
fn started(
    world: &World,
    status: &EtcdBackupStatus,
    attempt: &BackupAttempt,
    left: Duration,
    now: Timestamp,
) -> Option<Vec<Action>> {
    let id = attempt.id.parse().ok()?;
    let name = job::name(&id);
    let layout = LayoutOf::distribution(&status.cluster.as_ref()?.distribution)?.layout();
    let image = world.image.as_ref()?;
    if !world.tasks.iter().any(|found| found.meta().name.as_ref() == Some(&name)) {
        return Some(vec![Action::Lock(now), Action::WriteTask(left)]);
    }
    if world.jobs.iter().any(|found| found.meta().name.as_ref() == Some(&name)) {
        return None;
    }
    let seed = job::seed(&id, layout, image, left, !attempt.recipients.is_empty());
    Some(vec![Action::Job(Change::Create { desired: Box::new(job::desired(&id)), seed })])
}

/// Whether what this Job answers counts: one that others made says nothing.
pub(crate) fn counts(found: &Owned<Job>) -> bool {
    found.title == Title::Created && found.meta().deletion_timestamp.is_none()
}
