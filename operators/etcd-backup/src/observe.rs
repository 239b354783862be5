//! What there is of a backup: in its cluster, in its store, and what this process did for it. Decides nothing.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use drover_admission::PoliciesState;
use drover_backups::{AttemptId, Encryption, Report, Success};
use drover_crds::{
    BackedUpCluster, BackupFailure, BackupStore, Cluster, ClusterStatus, EtcdBackup, StoredBackup,
    condition::{BACKUP_SUPPORTED, READY, StatusConditions as _},
    names::DROVER_NAMESPACE,
};
use drover_fleet::{
    admission::{guarded_in_management, state_in_management},
    targets::tenancies_of,
};
use drover_grants::{Admitted, Grants, Judged as _, admitted::Evidence};
use drover_runtime::{
    ClusterName, ObjectKey, Owner, Place, PlaceContext,
    cache::{Change, Lookup},
    operator::record_of,
    owned::Owned,
    request::request,
};
use k8s_openapi::api::{batch::v1::Job, core::v1::Pod};
use kube::{Api, ResourceExt as _, api::ListParams};

use crate::{
    EtcdBackupOperator,
    consent::{Admission, StoreState},
    error::BackupError,
    job,
    plan::store_name,
    task::{TaskSecret, verify},
};

/// What this process did for a backup. It is lost with the process; then it is done again, and ends the same.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Memory {
    /// The upload that was opened.
    pub opened: Option<String>,
    /// What was stored, and where it is, once its manifest is written.
    pub completed: Option<(Box<Success>, StoredBackup)>,
    /// Whether the lock is released, and an upload that is not needed is aborted.
    pub is_released: bool,
    /// Whether the data are deleted.
    pub has_deleted: bool,
}

/// What a reconcile knows.
#[derive(Clone, Debug, Default)]
pub struct World {
    /// Whether this is the management cluster, where data of deleted backups are deleted.
    pub is_management: bool,
    /// The cluster, as far as it is known.
    pub cluster: Option<BackedUpCluster>,
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
    /// What the Job of the attempt answered, once it ended.
    pub report: Option<Result<Box<Success>, BackupFailure>>,
    /// What this process did for it.
    pub memory: Memory,
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
    let mut world = World { is_management, jobs, tasks, memory, store: store(backup, place), ..World::default() };
    if !matches!(owner, Owner::Present(_)) || is_management {
        return Ok(world);
    }
    let policies = state_in_management(place);
    let unknown = policies.as_ref().filter(|_| backup.admission().is_none());
    let evidence = unknown.map(|policies| {
        let others = place.related::<EtcdBackup>().all();
        Evidence::of(others.iter().filter_map(|other| other.admission()), policies)
    });
    let view = place.fleet.get(&ClusterName::from(backup.spec.cluster_name.as_str()));
    world.admission = view.map(|view| Admission::of(&tenancies_of(backup, view, &place.fleet))).unwrap_or_default();
    let found = place.related::<Cluster>().get(&ObjectKey::cluster_scoped(&backup.spec.cluster_name));
    let status = found.as_ref().and_then(|cluster| cluster.status.as_ref());
    world.cluster = backed_up(status);
    world.unsupported = unsupported(status).map(str::to_owned);
    world.grants = Grants::by(&guarded_in_management(place));
    world.admitted = Some(Admitted::of(backup, || policies.clone()));
    world.evidence = evidence.unwrap_or_default();
    world.policies = policies;
    world.image.clone_from(&operator.image);
    world.report = report(backup, &world, place).await?;
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

/// What the Job answered, if it ended and that is still to be known.
async fn report(
    backup: &EtcdBackup,
    world: &World,
    place: &PlaceContext,
) -> Result<Option<Result<Box<Success>, BackupFailure>>, BackupError> {
    let status = backup.status.clone().unwrap_or_default();
    let attempt = status.attempt.filter(|attempt| attempt.failure.is_none() && status.snapshot.is_none());
    let is_encrypted = attempt.as_ref().is_some_and(|attempt| !attempt.recipients.is_empty());
    let Some(attempt) = attempt.and_then(|attempt| attempt.id.parse::<AttemptId>().ok()) else { return Ok(None) };
    let name = job::name(&attempt);
    let live = world.jobs.iter().filter_map(|job| job.live.as_ref().ok());
    let Some(ended) = live.into_iter().find(|job| job.name_any() == name && job::ended(job).is_some()) else {
        return Ok(None);
    };
    let pods = Api::<Pod>::namespaced(place.cache.client(), DROVER_NAMESPACE);
    let wanted = ListParams::default().labels(&format!("batch.kubernetes.io/job-name={name}")).limit(4);
    // A cluster that does not answer this holds up no deadline.
    let found = request(format!("list Pods of Job {DROVER_NAMESPACE}/{name}"), pods.list(&wanted)).await;
    let Ok(found) = found else { return Ok(None) };
    let message = found.items.iter().find_map(message);
    Ok(Some(answered(message, &attempt, ended).and_then(|success| as_asked(backup, is_encrypted, success))))
}

fn as_asked(backup: &EtcdBackup, is_encrypted: bool, success: Box<Success>) -> Result<Box<Success>, BackupFailure> {
    let encryption = if is_encrypted { Encryption::Age } else { Encryption::None };
    if success.answers(encryption, verify(backup)) {
        return Ok(success);
    }
    let message = format!(
        "the Job on cluster {} answered something else than it was asked; find out who changes Jobs and Pods in {DROVER_NAMESPACE} there",
        backup.spec.cluster_name
    );
    Err(BackupFailure { reason: "NoAnswer".to_owned(), message })
}

/// The termination message of the container.
fn message(pod: &Pod) -> Option<&str> {
    let statuses = pod.status.as_ref()?.container_statuses.as_ref()?;
    let container = statuses.iter().find(|status| status.name == job::CONTAINER)?;
    container.state.as_ref()?.terminated.as_ref()?.message.as_deref()
}

fn answered(message: Option<&str>, attempt: &AttemptId, job: &Job) -> Result<Box<Success>, BackupFailure> {
    let failed = |reason: &str, message: String| BackupFailure { reason: reason.to_owned(), message };
    let Some(message) = message.filter(|message| !message.is_empty()) else {
        let how = job::failed_as(job).unwrap_or("it ended without an answer");
        let message = format!(
            "the Job gave no answer: {how}; look at the events of Job {DROVER_NAMESPACE}/{} in the cluster",
            job::name(attempt)
        );
        return Err(failed("NoAnswer", message));
    };
    match Report::parse(message.as_bytes(), attempt) {
        Ok(Report::Success(success)) => Ok(success),
        Ok(Report::Failure(failure)) => Err(failed(&format!("{:?}", failure.cause), failure.message)),
        Err(error) => Err(failed("NoAnswer", error.to_string())),
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
