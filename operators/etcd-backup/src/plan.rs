//! What is done about a backup now. Pure.
//!
//! | the status says | what is done |
//! |---|---|
//! | nothing | note an attempt, if nothing is in the way |
//! | an attempt | take the lock of the cluster, and open an upload |
//! | an upload | write the task of the Job, and start it; once it succeeded, complete the upload and write the manifest |
//! | a snapshot, or a failure | remove the Job, release the lock, and abort an upload that nobody needs |
//! | when it was completed | nothing any more |
//!
//! What the status says is noted before anything is done on account of it. So whatever ends Drover, the next one goes on from there.

use std::time::Duration;

use drover_backups::{Check, LayoutOf, Success};
use drover_crds::{
    BackedUpCluster, BackupAttempt, BackupFailure, BackupPhase, EtcdBackup, EtcdBackupStatus, SnapshotStatus,
    StoredBackup,
};
use drover_grants::admitted::record;
use drover_runtime::{
    Cause, Kept, Owner, Plan, Requeue, StatusCause, Title,
    owned::{Change, Owned},
    place_status::Readiness,
};
use k8s_openapi::{
    api::batch::v1::Job,
    apimachinery::pkg::apis::meta::v1::Time,
    jiff::{SignedDuration, Timestamp},
};
use kube::ResourceExt as _;

use crate::{
    BackupCause, EtcdBackupOperator,
    act::Action,
    consent::{StoreState, obstacle, withdrawn},
    job,
    observe::World,
};

/// How long after the end of its time a backup is given up: until then the upload is completed.
const MARGIN: Duration = Duration::from_mins(5);
/// What is in the way is looked at again so soon, where nothing tells of a change.
const LOOK_AGAIN: SignedDuration = SignedDuration::from_mins(1);

/// What is told of a backup.
#[derive(Clone, Debug, PartialEq)]
pub struct PlaceStatus {
    /// All of the status but the conditions.
    pub noted: Box<EtcdBackupStatus>,
    /// Whether there is a backup.
    pub ready: Readiness,
}

type Decided = Plan<EtcdBackupOperator>;

/// The store that a backup goes to.
#[must_use]
pub fn store_name(backup: &EtcdBackup) -> &str {
    backup.spec.store_names.first().map(String::as_str).unwrap_or_default()
}

/// Decides for a backup that is to be.
#[must_use]
pub fn plan(backup: &EtcdBackup, world: &World, now: Timestamp) -> Decided {
    let mut noted = Box::new(backup.status.clone().unwrap_or_default());
    noted.conditions.clear();
    noted.admission = record(backup, world.policies.as_ref(), &world.evidence, false, now);
    if noted.completed_at.is_some() {
        let left = removed(world);
        return decided(backup, noted, left, Requeue::Watch);
    }
    match noted.attempt.clone() {
        None => begin(backup, world, noted, now),
        Some(attempt) if attempt.failure.is_some() || noted.snapshot.is_some() => {
            tidy(backup, world, noted, &attempt, now)
        }
        Some(attempt) => go_on(backup, world, noted, attempt, now),
    }
}

fn begin(backup: &EtcdBackup, world: &World, mut noted: Box<EtcdBackupStatus>, now: Timestamp) -> Decided {
    noted.phase = Some(BackupPhase::Pending);
    let again = now.checked_add(LOOK_AGAIN).map_or(Requeue::Watch, Requeue::At);
    if let Some((cause, message)) = obstacle(backup, world) {
        let ready = Readiness::no(cause, message);
        return Plan { place_status: PlaceStatus { noted, ready }, groups: Vec::new(), requeue: again };
    }
    let StoreState::Ready { prefix, recipients } = &world.store else {
        return decided(backup, noted, Vec::new(), again);
    };
    noted.phase = Some(BackupPhase::Running);
    noted.cluster.clone_from(&world.cluster);
    noted.attempt = Some(BackupAttempt {
        id: format!("{}-1", backup.uid().unwrap_or_default()),
        prefix: prefix.clone(),
        recipients: recipients.clone(),
        upload_id: None,
        failure: None,
    });
    decided(backup, noted, Vec::new(), again)
}

/// What goes on from a record that is noted.
fn go_on(
    backup: &EtcdBackup,
    world: &World,
    mut noted: Box<EtcdBackupStatus>,
    mut attempt: BackupAttempt,
    now: Timestamp,
) -> Decided {
    let end = deadline(backup, &noted);
    let is_ended = |found: &Owned<Job>| found.live.as_ref().is_ok_and(|live| job::ended(live).is_some());
    let is_unanswered = world.report.is_none() && world.jobs.iter().any(is_ended);
    let soon = now.checked_add(LOOK_AGAIN).ok().filter(|_| is_unanswered);
    let requeue = [end, soon].into_iter().flatten().min().map_or(Requeue::Watch, Requeue::At);
    // What is stored is a backup, whatever came after.
    if let Some((success, stored)) = &world.memory.completed {
        note_success(&mut noted, success, stored);
        return decided(backup, noted, Vec::new(), requeue);
    }
    let failure = match &world.report {
        Some(Err(failure)) => Some(failure.clone()),
        _ => given_up(backup, world, end, now),
    };
    if let Some(failure) = failure {
        attempt.failure = Some(failure);
        noted.attempt = Some(attempt);
        noted.phase = Some(BackupPhase::Completing);
        return decided(backup, noted, Vec::new(), requeue);
    }
    if attempt.upload_id.is_none() {
        let Some(opened) = &world.memory.opened else {
            return decided(backup, noted, vec![vec![Action::Lock(now), Action::Open]], requeue);
        };
        attempt.upload_id = Some(opened.clone());
        // Its time begins with its turn.
        noted.started_at = Some(Time(now));
        noted.attempt = Some(attempt);
        return decided(backup, noted, Vec::new(), requeue);
    }
    let groups = with_job(backup, world, &noted, &attempt, now);
    decided(backup, noted, groups, requeue)
}

fn with_job(
    backup: &EtcdBackup,
    world: &World,
    noted: &EtcdBackupStatus,
    attempt: &BackupAttempt,
    now: Timestamp,
) -> Vec<Vec<Action>> {
    let Ok(id) = attempt.id.parse() else { return Vec::new() };
    let name = job::name(&id);
    let layout = noted.cluster.as_ref().and_then(|cluster| LayoutOf::distribution(&cluster.distribution));
    let (Some(layout), Some(image)) = (layout.map(LayoutOf::layout), &world.image) else { return Vec::new() };
    if !world.tasks.iter().any(|found| found.meta().name.as_ref() == Some(&name)) {
        return vec![vec![Action::Lock(now), Action::WriteTask]];
    }
    let Some(found) = world.jobs.iter().find(|found| found.meta().name.as_ref() == Some(&name)) else {
        let has_config = !attempt.recipients.is_empty();
        let seed = job::seed(&id, layout, image, backup.spec.timeout(), has_config);
        return vec![vec![Action::Job(Change::Create { desired: Box::new(job::desired(&id)), seed })]];
    };
    if found.title != Title::Created || found.meta().deletion_timestamp.is_some() {
        return Vec::new();
    }
    let Ok(live) = &found.live else { return Vec::new() };
    if let (Some(Ok(success)), Some(at)) = (&world.report, job::ended(live)) {
        return vec![vec![Action::Complete { success: success.clone(), at }]];
    }
    Vec::new()
}

/// Why nothing more is done for a backup that is under way.
fn given_up(backup: &EtcdBackup, world: &World, end: Option<Timestamp>, now: Timestamp) -> Option<BackupFailure> {
    let failed = |reason: &str, message: String| Some(BackupFailure { reason: reason.to_owned(), message });
    if let Some((cause, message)) = withdrawn(backup, world.admission) {
        return failed(cause.reason(), message);
    }
    let uid = |cluster: &Option<BackedUpCluster>| cluster.as_ref().map(|cluster| cluster.uid.clone());
    let noted = uid(&backup.status.as_ref().and_then(|status| status.cluster.clone()));
    if uid(&world.cluster).is_some_and(|uid| noted.is_some_and(|noted| noted != uid)) {
        let message = format!("Cluster {} is another cluster by now; create another backup", backup.spec.cluster_name);
        return failed("NoAnswer", message);
    }
    if end.is_some_and(|end| now >= end) {
        let message = format!(
            "it was not done within spec.timeout ({} min) on cluster {}; look at the events of its Job in namespace drover-system there, and at the store",
            backup.spec.timeout().as_secs() / 60,
            backup.spec.cluster_name
        );
        return failed("DeadlineExceeded", message);
    }
    None
}

fn deadline(backup: &EtcdBackup, noted: &EtcdBackupStatus) -> Option<Timestamp> {
    let length = SignedDuration::try_from(backup.spec.timeout() + MARGIN).ok()?;
    noted.started_at.as_ref()?.0.checked_add(length).ok()
}

fn note_success(noted: &mut EtcdBackupStatus, success: &Success, stored: &StoredBackup) {
    let snapshot = &success.snapshot;
    let whole = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    noted.snapshot = Some(SnapshotStatus {
        member: if snapshot.etcd.member.is_empty() {
            snapshot.etcd.member_id.to_string()
        } else {
            snapshot.etcd.member.clone()
        },
        etcd_version: snapshot.etcd.version.clone(),
        revision: whole(snapshot.etcd.revision),
        total_keys: snapshot.etcd.total_keys.map(whole),
        bytes: whole(snapshot.plain.bytes),
        stored_bytes: whole(snapshot.stored.bytes),
        digest: snapshot.plain.sha256.to_string(),
        verified: snapshot.verified.iter().map(|check| check_name(*check).to_owned()).collect(),
        quorum: snapshot.etcd.quorum,
        encrypted: noted.attempt.as_ref().is_some_and(|attempt| !attempt.recipients.is_empty()),
    });
    noted.stores = vec![stored.clone()];
    noted.phase = Some(BackupPhase::Completing);
}

fn check_name(check: Check) -> &'static str {
    match check {
        Check::Sha256 => "Sha256",
        Check::Revision => "Revision",
        Check::Keys => "Keys",
        Check::HashKv => "HashKV",
    }
}

/// Whether a snapshot was restored, and had the revision and the keys of the member.
#[must_use]
pub fn is_verified(snapshot: &SnapshotStatus) -> bool {
    let has = |check: Check| snapshot.verified.iter().any(|name| name == check_name(check));
    [Check::Sha256, Check::Revision, Check::Keys].into_iter().all(has)
}

/// What was needed on the way goes. When it is gone, that is noted.
fn tidy(
    backup: &EtcdBackup,
    world: &World,
    mut noted: Box<EtcdBackupStatus>,
    attempt: &BackupAttempt,
    now: Timestamp,
) -> Decided {
    let again = now.checked_add(LOOK_AGAIN).map_or(Requeue::Watch, Requeue::At);
    let mut groups = removed(world);
    if world.jobs.is_empty() && world.tasks.is_empty() {
        if world.memory.is_released {
            noted.phase = Some(if attempt.failure.is_some() { BackupPhase::Failed } else { BackupPhase::Succeeded });
            noted.completed_at = Some(Time(now));
        } else {
            groups.push(vec![Action::Release]);
        }
    }
    decided(backup, noted, groups, again)
}

/// The Job goes, and its task.
fn removed(world: &World) -> Vec<Vec<Action>> {
    let jobs = world.jobs.iter().filter_map(removal).map(Action::Job);
    let tasks = world.tasks.iter().filter_map(removal).map(Action::Task);
    jobs.chain(tasks).map(|action| vec![action]).collect()
}

fn removal<K: Kept>(found: &Owned<K>) -> Option<Change<K>> {
    let meta = Box::new(found.meta().clone());
    if meta.deletion_timestamp.is_some() {
        return None;
    }
    Some(if found.title == Title::Created { Change::Delete(meta) } else { Change::Disclaim(meta) })
}

/// Decides for a backup that is being deleted, or not to be in a cluster any more.
#[must_use]
pub fn clean_up(owner: Owner<'_, EtcdBackup>, world: &World) -> Decided {
    let noted = Box::new(owner.object().and_then(|backup| backup.status.clone()).unwrap_or_default());
    let ready = Readiness::no(StatusCause::Deleting, "it is being deleted".to_owned());
    let told = |groups: Vec<Vec<Action>>, requeue| Plan {
        place_status: PlaceStatus { noted: noted.clone(), ready: ready.clone() },
        groups,
        requeue,
    };
    if !world.is_management {
        let is_gone = world.jobs.is_empty() && world.tasks.is_empty();
        return told(removed(world), if is_gone { Requeue::Released } else { Requeue::Watch });
    }
    let Owner::Deleting(backup) = owner else { return told(Vec::new(), Requeue::Released) };
    let is_open = noted.attempt.is_some() && noted.completed_at.is_none();
    if is_open && !world.memory.is_released {
        return told(vec![vec![Action::Release]], Requeue::Watch);
    }
    if backup.spec.deletes_data() && noted.attempt.is_some() && !world.memory.has_deleted {
        return told(vec![vec![Action::DeleteData]], Requeue::Watch);
    }
    told(Vec::new(), Requeue::Released)
}

fn decided(backup: &EtcdBackup, noted: Box<EtcdBackupStatus>, groups: Vec<Vec<Action>>, requeue: Requeue) -> Decided {
    let ready = readiness(backup, &noted);
    Plan { place_status: PlaceStatus { noted, ready }, groups, requeue }
}

fn readiness(backup: &EtcdBackup, noted: &EtcdBackupStatus) -> Readiness {
    let cluster = &backup.spec.cluster_name;
    let waits = |message: String| Readiness::no(BackupCause::BackingUp, message);
    if let Some(failure) = noted.attempt.as_ref().and_then(|attempt| attempt.failure.as_ref()) {
        let message = format!("there is no backup of cluster {cluster}: {}", failure.message);
        return Readiness::no(BackupCause::BackupFailed, message);
    }
    match (&noted.snapshot, &noted.completed_at) {
        (Some(snapshot), Some(_)) => {
            let without =
                if snapshot.encrypted { "" } else { ", not encrypted, and without the configuration of the cluster" };
            let (revision, store) = (snapshot.revision, store_name(backup));
            let message =
                format!("the backup of cluster {cluster} at revision {revision} is in store {store}{without}");
            Readiness::yes(Cause::from(StatusCause::Ready), message)
        }
        (Some(_), None) => waits("the backup is stored, and what it needed is being removed".to_owned()),
        (None, _) if noted.attempt.is_some() => waits(format!("the snapshot of cluster {cluster} is being taken")),
        (None, _) => waits("it is about to begin".to_owned()),
    }
}

#[cfg(test)]
mod tests;
