//! What is done about a backup now. Pure.
//!
//! | the status says | in the cluster | in the management cluster |
//! |---|---|---|
//! | nothing | note an attempt, if nothing is in the way | |
//! | an attempt | | take the lock of the cluster, open an upload, and note it |
//! | an upload | write the task of the Job, start it, and note its answer | note a failure when its time is over |
//! | an answer | remove the Job | complete the upload, write the manifest, and note the snapshot |
//! | a snapshot | remove the Job | release the lock, and note the end |
//! | a failure | remove the Job, and note when it is gone | release the lock, and remove what it left in the store |
//! | the end | remove the Job | look now and then whether the store still has it |
//!
//! Of a backup that is in a store already nothing is done in the cluster: its manifest is read, judged, and noted with the end.
//!
//! What the status says is noted before anything is done on account of it. So whatever ends Drover, the next one goes on from there; and
//! whatever becomes of the cluster, the backup ends.

mod cluster;
mod existing;
mod management;

pub(crate) use cluster::counts;
pub(crate) use management::{answer, request};

use std::time::Duration;

use drover_crds::{Admission, EtcdBackup, EtcdBackupStatus, StoredBackup};
use drover_runtime::{
    Kept, Owner, Plan, Requeue, Title,
    owned::{Change, Owned},
    place_status::Readiness,
};
use drover_stored_backups::Finding;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::ResourceExt as _;

use crate::{EtcdBackupOperator, act::Action, notes::Note, observe::World};

/// How long after the end of its time a backup is given up at most: until then the upload is completed. It is a quarter of its time otherwise.
const MOST_MARGIN: Duration = Duration::from_mins(5);
/// What is in the way is looked at again so soon, where nothing tells of a change.
const LOOK_AGAIN: SignedDuration = SignedDuration::from_mins(1);

/// What a place tells of a backup.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PlaceStatus {
    /// What the status is to keep.
    pub notes: Vec<Note>,
    /// Under which admission policies the spec was written, where that is known.
    pub admission: Option<Admission>,
    /// Why there is no backup yet, where that does not follow from what is noted.
    pub ready: Option<Readiness>,
    /// What this process saw last of it in its store, once it is there.
    pub finding: Option<Finding>,
}

type Decided = Plan<EtcdBackupOperator>;

/// The store that a backup goes to, or is in.
#[must_use]
pub fn store_name(backup: &EtcdBackup) -> &str {
    backup.spec.store_name()
}

/// Decides for a backup that is to be.
#[must_use]
pub fn plan(backup: &EtcdBackup, world: &World, now: Timestamp) -> Decided {
    match &backup.spec.existing {
        // Nothing of it is taken: it has no part in the cluster.
        Some(_) if !world.is_management => told(Vec::new(), Vec::new(), Requeue::Watch),
        Some(_) if !has_begun(backup) => existing::plan(backup, world, now),
        _ if world.is_management => management::plan(backup, world, now),
        _ => cluster::plan(backup, world, now),
    }
}

/// Decides for a backup that is being deleted, or not to be in a cluster any more.
#[must_use]
pub fn clean_up(owner: Owner<'_, EtcdBackup>, world: &World) -> Decided {
    if world.is_management { management::clean_up(owner, world) } else { cluster::clean_up(owner, world) }
}

/// Whether an attempt is noted.
pub(crate) fn has_begun(backup: &EtcdBackup) -> bool {
    backup.status.as_ref().is_some_and(|status| status.attempt.is_some())
}

fn noted(backup: &EtcdBackup) -> EtcdBackupStatus {
    backup.status.clone().unwrap_or_default()
}

/// When the time of a backup is over; none before it began.
fn time_over(backup: &EtcdBackup, status: &EtcdBackupStatus) -> Option<Timestamp> {
    let length = SignedDuration::try_from(backup.spec.timeout()).ok()?;
    status.started_at.as_ref()?.0.checked_add(length).ok()
}

/// When a backup is given up; none before its time began.
fn deadline(backup: &EtcdBackup, status: &EtcdBackupStatus) -> Option<Timestamp> {
    let margin = (backup.spec.timeout() / 4).min(MOST_MARGIN);
    time_over(backup, status)?.checked_add(SignedDuration::try_from(margin).ok()?).ok()
}

/// Whether the Cluster is known to be of another cluster than the one of which the backup began.
fn is_another(world: &World, status: &EtcdBackupStatus) -> bool {
    let (found, noted) = (world.cluster.as_ref(), status.cluster.as_ref());
    found.zip(noted).is_some_and(|(found, noted)| found.uid != noted.uid)
}

/// Whether the data of `backup` are those of another object as well, which stays.
pub(crate) fn shares_data(backup: &EtcdBackup, other: &EtcdBackup) -> bool {
    let stored = |backup: &EtcdBackup| backup.status.as_ref().map(|status| status.stores.clone()).unwrap_or_default();
    let is_other = backup.metadata.uid != other.metadata.uid && other.metadata.deletion_timestamp.is_none();
    let others = stored(other);
    let is_one = |one: &StoredBackup| {
        others.iter().any(|other| (&other.store_name, &other.manifest) == (&one.store_name, &one.manifest))
    };
    is_other && stored(backup).iter().any(is_one)
}

fn again(now: Timestamp) -> Requeue {
    now.checked_add(LOOK_AGAIN).map_or(Requeue::Watch, Requeue::At)
}

fn told(notes: Vec<Note>, groups: Vec<Vec<Action>>, requeue: Requeue) -> Decided {
    Plan { place_status: PlaceStatus { notes, ..PlaceStatus::default() }, groups, requeue }
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

fn attempt_id(backup: &EtcdBackup) -> String {
    format!("{}-1", backup.uid().unwrap_or_default())
}

#[cfg(test)]
mod tests;
