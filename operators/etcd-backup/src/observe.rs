//! What there is of a backup: in its cluster, in its store, and what this process did for it. Decides nothing.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use drover_admission::PoliciesState;
use drover_backup_jobs::{
    job::{self, CONTAINER},
    task::{TaskSecret, verify},
};
use drover_backups::{AttemptId, Encryption, Report, Success};
use drover_crds::{
    BackedUpCluster, BackupFailure, BackupStore, Cluster, ClusterStatus, EtcdBackup, SnapshotStatus, StoredBackup,
    condition::{BACKUP_SUPPORTED, READY, StatusConditions as _},
    names::DROVER_NAMESPACE,
};
use drover_fleet::{
    admission::{guarded_in_management, state_in_management},
    targets::tenancies_of,
};
use drover_grants::{Admitted, Grants, Judged as _, admitted::Evidence};
use drover_operations::pods;
use drover_runtime::{
    ApiCause, ApiError, ClusterName, Failure, FleetView, Link, ObjectKey, Owner, OwnerRecord, Place, PlaceContext,
    cache::{Change, Lookup},
    error::legible,
    operator::record_of,
    owned::Owned,
    place::deletion_of,
    request::request,
};
use drover_stored_backups::{Imported, audit::Look};
use k8s_openapi::{
    api::{batch::v1::Job, core::v1::Pod},
    apimachinery::pkg::apis::meta::v1::Time,
};
use kube::{Api, ResourceExt as _, api::ListParams};

use crate::{
    EtcdBackupOperator,
    consent::{Admission, StoreState},
    error::BackupError,
    notes::NO_ANSWER,
    plan::{counts, has_begun, shares_data, store_name},
};

/// What a Job answered, and when it ended.
pub type Answered = (Result<Box<Success>, BackupFailure>, Time);

/// Most letters of what a Job says of its failure.
const MOST_WORDS: usize = 400;
/// Most Pods of a Job that are read: it makes no second one.
const MOST_PODS: u32 = 4;

/// What this process did for a backup. It is lost with the process; then it is done again, and ends the same.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Memory {
    /// The upload that was opened.
    pub opened: Option<String>,
    /// What was stored, and where it is, once its manifest is written.
    pub completed: Option<(Box<SnapshotStatus>, StoredBackup)>,
    /// What is wrong with a manifest that is there and is not Drover's.
    pub taken: Option<String>,
    /// Whether the lock is released.
    pub is_unlocked: bool,
    /// Whether nothing of a failed attempt is in the store.
    pub is_abandoned: bool,
    /// Whether the data are deleted.
    pub has_deleted: bool,
    /// What was read of a backup that is in its store already.
    pub imported: Option<Box<Imported>>,
}

/// What is known of the Cluster of a backup.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClusterState {
    /// Nothing, or not yet whether it can be reached.
    #[default]
    Unknown,
    /// There is none.
    Gone,
    /// It is being deleted.
    Deleting,
    /// Nothing is written there.
    Suspended,
    /// It cannot be reached.
    Unreachable,
    /// It can be worked on.
    Connected,
}

impl ClusterState {
    fn of(name: &ClusterName, fleet: &FleetView) -> Self {
        let Some(view) = fleet.get(name) else {
            let is_gone = fleet.synced() && !fleet.unread().any(|unread| unread == name);
            return if is_gone { Self::Gone } else { Self::Unknown };
        };
        match view.link {
            _ if deletion_of(&view.object).is_some() => Self::Deleting,
            _ if view.object.spec.suspend => Self::Suspended,
            Link::Disconnected(_) => Self::Unreachable,
            Link::Connecting | Link::Unclaimed(_) => Self::Unknown,
            Link::Connected(_) => Self::Connected,
        }
    }
}

/// What a reconcile knows.
#[derive(Clone, Debug, Default)]
pub struct World {
    /// Whether this is the management cluster, where the upload is completed and the backup ends.
    pub is_management: bool,
    /// What is known of its Cluster.
    pub state: ClusterState,
    /// The cluster, as far as it is known.
    pub cluster: Option<BackedUpCluster>,
    /// The UID of the cluster, as it was seen or a person says.
    pub cluster_uid: Option<String>,
    /// Why its etcd cannot be backed up, if the status of the Cluster says that it cannot.
    pub unsupported: Option<String>,
    /// Whether its owner admits the backup.
    pub admission: Admission,
    /// The store.
    pub store: StoreState,
    /// Whether anything new may begin.
    pub grants: Grants,
    /// Whether the spec was written under the admission policies.
    pub admitted: Option<Admitted>,
    /// The state of the admission policies, while they are in place.
    pub policies: Option<PoliciesState>,
    /// What is known of the time before, where the backup has no record of its own.
    pub evidence: Evidence,
    /// The image that takes snapshots.
    pub image: Option<String>,
    /// Its Jobs.
    pub jobs: Vec<Owned<Job>>,
    /// The Secrets of their tasks.
    pub tasks: Vec<Owned<TaskSecret>>,
    /// What the Job of the attempt answered, and when it ended.
    pub report: Option<Answered>,
    /// The Pods of the Job, as far as they were asked for.
    pub pods: Option<Vec<Pod>>,
    /// What the cluster does not let Drover read.
    pub refused: Option<Failure>,
    /// What this process did for it.
    pub memory: Memory,
    /// When this process looked last whether its store still has it.
    pub look: Option<Look>,
    /// Of a backup that is being deleted: whether its data are those of another object as well, which stays.
    pub is_shared: bool,
}

impl World {
    /// Looks under which admission policies the spec was written.
    fn judge(&mut self, backup: &EtcdBackup, place: &PlaceContext) {
        let policies = state_in_management(place);
        let unknown = policies.as_ref().filter(|_| backup.admission().is_none());
        let evidence = unknown.map(|policies| {
            let others = place.related::<EtcdBackup>().all();
            Evidence::of(others.iter().filter_map(|other| other.admission()), policies)
        });
        self.grants = Grants::by(&guarded_in_management(place));
        self.admitted = Some(Admitted::of(backup, || policies.clone()));
        self.evidence = evidence.unwrap_or_default();
        self.policies = policies;
    }
}

pub(crate) async fn observe(
    operator: &EtcdBackupOperator,
    owner: Owner<'_, EtcdBackup>,
    place: &PlaceContext,
) -> Result<World, BackupError> {
    let is_management = place.place == Place::Management;
    let record = record_of::<EtcdBackupOperator>(owner.key());
    let (jobs, tasks) =
        if is_management { (Vec::new(), Vec::new()) } else { (Owned::at(place, &record), Owned::at(place, &record)) };
    let Some(backup) = owner.object() else {
        return Ok(World { is_management, jobs, tasks, ..World::default() });
    };
    let uid = backup.uid().unwrap_or_default();
    let is_over = backup.status.as_ref().is_some_and(|status| status.completed_at.is_some());
    if is_over && matches!(owner, Owner::Present(_)) {
        operator.forget(&uid);
    }
    let memory = operator.memory(&uid);
    let name = ClusterName::from(backup.spec.cluster_name.as_str());
    let state = ClusterState::of(&name, &place.fleet);
    let look = operator.last_look(&uid);
    let is_deleting = matches!(owner, Owner::Deleting(_));
    if is_deleting {
        operator.forget_look(&uid);
    }
    let mut world = World { is_management, state, jobs, tasks, memory, look, ..World::default() };
    if is_management && is_deleting {
        let others = place.related::<EtcdBackup>().all();
        world.is_shared = others.iter().any(|other| shares_data(backup, other));
    }
    if !matches!(owner, Owner::Present(_)) || is_over {
        if is_management {
            world.judge(backup, place);
        }
        return Ok(world);
    }
    let view = place.fleet.get(&name);
    world.admission = view.map(|view| Admission::of(&tenancies_of(backup, view, &place.fleet))).unwrap_or_default();
    let found = place.related::<Cluster>().get(&ObjectKey::cluster_scoped(&backup.spec.cluster_name));
    let status = found.as_ref().and_then(|cluster| cluster.status.as_ref());
    world.cluster = backed_up(status);
    world.unsupported = unsupported(status).map(str::to_owned);
    world.cluster_uid = found.as_deref().and_then(cluster_uid);
    if is_management && backup.spec.existing.is_none() {
        return Ok(world);
    }
    world.store = store(backup, place);
    world.judge(backup, place);
    if is_management {
        return Ok(world);
    }
    world.image.clone_from(&operator.image);
    let is_in_the_way = world.admission != Admission::Admitted || !matches!(world.store, StoreState::Ready { .. });
    world.refused = refused(place, backup, is_in_the_way || world.image.is_none()).await;
    world.pods = pods(&world, place, backup).await;
    world.report = report(backup, &world);
    Ok(world)
}

/// What the status of a Cluster says of what would be backed up; none as long as that is not known.
pub(crate) fn backed_up(status: Option<&ClusterStatus>) -> Option<BackedUpCluster> {
    let status = status?;
    Some(BackedUpCluster {
        uid: status.cluster_uid.clone()?,
        kubernetes_version: status.kubernetes_version.clone()?,
        distribution: status.distribution.clone()?,
    })
}

/// The UID of the cluster, as it was seen or a person says.
pub(crate) fn cluster_uid(cluster: &Cluster) -> Option<String> {
    let seen = cluster.status.as_ref().and_then(|status| status.cluster_uid.clone());
    seen.or_else(|| cluster.spec.expected_uid.clone())
}

/// Why its etcd cannot be backed up, if its status says that it cannot.
pub(crate) fn unsupported(status: Option<&ClusterStatus>) -> Option<&str> {
    let mut conditions = status?.conditions.iter();
    let told = conditions.find(|condition| condition.type_ == BACKUP_SUPPORTED && condition.status == "False")?;
    Some(&told.message)
}

fn store(backup: &EtcdBackup, place: &PlaceContext) -> StoreState {
    let namespace = backup.namespace().unwrap_or_default();
    let labels = place.fleet.namespace_labels(&namespace).cloned().unwrap_or_default();
    let found = place.related::<BackupStore>().lookup(&ObjectKey::cluster_scoped(store_name(backup)));
    let Lookup::Found(store) = found else { return StoreState::NotFound };
    if !store.spec.is_usable_from(&namespace, &labels) {
        return StoreState::NotFound;
    }
    let status = store.status.clone().unwrap_or_default();
    if !status.was_ready(store.metadata.generation) {
        let told = status.conditions.iter().find(|condition| condition.type_ == READY);
        return StoreState::NotReady(told.map_or_else(|| "it is being tried".to_owned(), |told| told.message.clone()));
    }
    StoreState::Ready {
        prefix: store.spec.s3.prefix.clone().unwrap_or_default(),
        recipients: store.spec.encryption.recipients.clone(),
    }
}

/// The Pods of the Job of the attempt, while that does not say that one of them runs: they say why, and how it ended.
async fn pods(world: &World, place: &PlaceContext, backup: &EtcdBackup) -> Option<Vec<Pod>> {
    let attempt = open_attempt(backup)?;
    let job = job_of(world, &attempt)?;
    let is_running = job.status.as_ref().is_some_and(|status| status.ready.unwrap_or_default() > 0);
    if is_running && job::ended(job).is_none() {
        return None;
    }
    // A cluster that does not answer this holds up no deadline.
    list_pods(place, &job::name(&attempt)).await.ok()
}

async fn list_pods(place: &PlaceContext, job: &str) -> Result<Vec<Pod>, ApiError> {
    let pods = Api::<Pod>::namespaced(place.cache.client(), DROVER_NAMESPACE);
    let wanted = ListParams::default().labels(&format!("batch.kubernetes.io/job-name={job}")).limit(MOST_PODS);
    Ok(request(format!("list Pods of Job {DROVER_NAMESPACE}/{job}"), pods.list(&wanted)).await?.items)
}

/// What the credential of the cluster lacks, as far as the server was asked.
async fn refused(place: &PlaceContext, backup: &EtcdBackup, waits: bool) -> Option<Failure> {
    let query = OwnerRecord::query("EtcdBackup");
    let (jobs, tasks) = (place.cache.informer::<Job>(&query), place.cache.informer::<TaskSecret>(&query));
    if let Some(refusal) = jobs.refusal().or_else(|| tasks.refusal()) {
        return Some(refusal);
    }
    // What waits for something else asks the cluster for nothing.
    if waits || has_begun(backup) {
        return None;
    }
    // No watch shows Pods, and a backup that is under way could not be read.
    let asked = list_pods(place, CONTAINER).await.err().map(|error| Failure::of(&error));
    asked.filter(|failure| failure.cause == ApiCause::Forbidden.into())
}

/// The attempt whose Job has not answered.
fn open_attempt(backup: &EtcdBackup) -> Option<AttemptId> {
    let status = backup.status.as_ref().filter(|status| status.snapshot.is_none())?;
    let attempt = status.attempt.as_ref().filter(|attempt| attempt.failure.is_none() && attempt.answer.is_none())?;
    attempt.id.parse().ok()
}

/// The Job of an attempt, if it is Drover's.
fn job_of<'a>(world: &'a World, attempt: &AttemptId) -> Option<&'a Job> {
    let name = job::name(attempt);
    let live = world.jobs.iter().filter(|job| counts(job)).filter_map(|job| job.live.as_ref().ok());
    live.map(AsRef::as_ref).find(|job: &&Job| job.name_any() == name)
}

/// What the Job answered, if it ended.
fn report(backup: &EtcdBackup, world: &World) -> Option<Answered> {
    let attempt = open_attempt(backup)?;
    let job = job_of(world, &attempt)?;
    let (at, pods) = (job::ended(job)?, world.pods.as_deref()?);
    let answered = answered(pods, &attempt, job).and_then(|success| as_asked(backup, success));
    Some((answered, at))
}

fn as_asked(backup: &EtcdBackup, success: Box<Success>) -> Result<Box<Success>, BackupFailure> {
    let attempt = backup.status.as_ref().and_then(|status| status.attempt.as_ref());
    let is_encrypted = attempt.is_some_and(|attempt| !attempt.recipients.is_empty());
    let encryption = if is_encrypted { Encryption::Age } else { Encryption::None };
    if success.answers(encryption, verify(backup)) {
        return Ok(success);
    }
    let message = format!(
        "the Job on cluster {} answered something else than it was asked; find out who changes Jobs and Pods in {DROVER_NAMESPACE} there",
        backup.spec.cluster_name
    );
    Err(BackupFailure { reason: NO_ANSWER.to_owned(), message })
}

fn answered(pods: &[Pod], attempt: &AttemptId, job: &Job) -> Result<Box<Success>, BackupFailure> {
    let failed = |reason: &str, message: String| BackupFailure { reason: reason.to_owned(), message };
    let Some(message) = pods::termination_message(pods, CONTAINER).filter(|message| !message.is_empty()) else {
        let how = job::failed_as(job).unwrap_or("it ended without an answer");
        let how =
            pods::trouble(pods, CONTAINER).map_or_else(|| how.to_owned(), |trouble| format!("{how}, and {trouble}"));
        let message = format!(
            "the Job gave no answer: {how}; look at the events of Job {DROVER_NAMESPACE}/{} in the cluster",
            job::name(attempt)
        );
        return Err(failed(NO_ANSWER, message));
    };
    match Report::parse(message.as_bytes(), attempt) {
        Ok(Report::Success(success)) => Ok(success),
        Ok(Report::Failure(failure)) => {
            Err(failed(&format!("{:?}", failure.cause), legible(&failure.message, MOST_WORDS)))
        }
        Err(error) => Err(failed(NO_ANSWER, error.to_string())),
    }
}

/// All backups that are not over, with their cluster and their store. Clones share them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Everyone(Arc<Mutex<BTreeMap<ObjectKey, [String; 2]>>>);

impl Everyone {
    pub(crate) fn note(&self, change: &Change<EtcdBackup>) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_over = |backup: &EtcdBackup| {
            backup.status.as_ref().is_some_and(|status| status.completed_at.is_some())
                && backup.metadata.deletion_timestamp.is_none()
        };
        match change.new.as_deref().filter(|new| !is_over(new)) {
            Some(new) => {
                let named = [new.spec.cluster_name.clone(), store_name(new).to_owned()];
                all.insert(change.key.clone(), named);
            }
            None => drop(all.remove(&change.key)),
        }
    }

    pub(crate) fn all(&self) -> Vec<ObjectKey> {
        self.those(|_| true)
    }

    pub(crate) fn of_cluster(&self, name: &str) -> Vec<ObjectKey> {
        self.those(|[cluster, _]| cluster == name)
    }

    pub(crate) fn to_store(&self, name: &str) -> Vec<ObjectKey> {
        self.those(|[_, store]| store == name)
    }

    fn those(&self, is_meant: impl Fn(&[String; 2]) -> bool) -> Vec<ObjectKey> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.iter().filter(|(_, named)| is_meant(named)).map(|(key, _)| key.clone()).collect()
    }
}
