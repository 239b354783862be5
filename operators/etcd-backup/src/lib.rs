//! The operator of [`EtcdBackup`]s: each takes one snapshot of the etcd of one cluster, proves that it restores, and stores it.
//!
//! 1. [`observe`] gathers what a verdict is made of, the Job in the cluster, and what the Job answered.
//! 2. [`consent`] says whether the backup may be taken at all. [`plan`] notes the attempt in the status before anything is done.
//! 3. [`act`] takes the [lock](drover_operations) of the cluster, opens an upload in the store, and starts a [`job`](drover_backup_jobs::job) on a node with a member of etcd. The Job
//!    gets URLs that let it put parts of given lengths, and no key of the store.
//! 4. When the Job succeeded, that is noted, the upload completed, and the manifest written last: without a manifest there is no backup. Only
//!    then the status says so, and what was needed on the way goes.
//! 5. [`summary`] joins the [`notes`] of both places in the status.
//!
//! Its places are the cluster, for the Job, and from the moment that an attempt is noted the management cluster, for all else: a backup
//! ends, and its data may be deleted, whatever became of the cluster. There it is also looked, once a day, whether the store still has it.
//! A backup that is in a store already (`spec.existing`) has no other place.

pub mod act;
mod cause;
pub mod consent;
mod error;
pub mod notes;
pub mod observe;
pub mod plan;
mod summary;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use act::Action;
pub use cause::BackupCause;
use drover_backup_jobs::task::TaskSecret;
use drover_crds::{BackupStore, Cluster, EtcdBackup, EtcdBackupStatus};
use drover_fleet::{
    cause::TenancyCause,
    targets::{self, Choice},
};
use drover_grants::GrantCause;
use drover_operations::LEASES;
use drover_runtime::{
    Cause, ClusterName, ClusterView, Inputs, Operator, Owner, Place, PlaceContext, PlaceStatuses, Plan, Related,
    Rights, Rule, Targets, Watches, cache::Change, rights::READ,
};
use drover_stored_backups::audit::Look;
use drover_stores::{StoreCause, Stores};
pub use error::BackupError;
use k8s_openapi::{
    api::{
        admissionregistration::v1::{ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding},
        batch::v1::Job,
    },
    jiff::Timestamp,
};
use kube::ResourceExt as _;

/// Why nothing new may begin.
const OF_GRANTS: &[Cause] =
    &[GrantCause::NotAdmitted.cause(), GrantCause::GrantsFrozen.cause(), GrantCause::NotYetGranted.cause()];
/// How long the deletion of a backup waits for a cluster that is unreachable, or for a store.
const DELETION_TIMEOUT: Duration = Duration::from_mins(10);

/// The pause between backups in one store that are looked at.
const LOOK_PAUSE: Duration = Duration::from_secs(3);
/// With more than so many backups that are under way those that are deleted are forgotten.
const MOST_REMEMBERED: usize = 1_000;

/// The operator of the kind [`EtcdBackup`].
#[derive(Clone, Debug)]
pub struct EtcdBackupOperator {
    stores: Stores,
    image: Option<String>,
    memory: Arc<Mutex<BTreeMap<String, observe::Memory>>>,
    looks: Arc<Mutex<BTreeMap<String, Look>>>,
    turns: Arc<Mutex<BTreeMap<String, Instant>>>,
}

impl EtcdBackupOperator {
    /// Which reaches the stores by `stores`, and takes snapshots by `image`; without one every backup says so.
    #[must_use]
    pub fn new(stores: Stores, image: Option<String>) -> Self {
        Self { stores, image, memory: Arc::default(), looks: Arc::default(), turns: Arc::default() }
    }

    /// What this process did for a backup, by the UID of that.
    fn memory(&self, uid: &str) -> observe::Memory {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner).get(uid).cloned().unwrap_or_default()
    }

    fn remember(&self, uid: &str, note: impl FnOnce(&mut observe::Memory)) {
        let mut all = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= MOST_REMEMBERED {
            // Their objects are gone, or nothing but their end is left to note: what was done for it ends the same if it is done again.
            let is_done = |memory: &observe::Memory| memory.has_deleted || (memory.is_unlocked && memory.is_abandoned);
            all.retain(|_, memory| !is_done(memory));
        }
        note(all.entry(uid.to_owned()).or_default());
    }

    /// Of a backup that is over nothing needs to be remembered.
    fn forget(&self, uid: &str) {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner).remove(uid);
    }

    /// When this process looked last whether the store of a backup still has it, by the UID of that.
    fn last_look(&self, uid: &str) -> Option<Look> {
        self.looks.lock().unwrap_or_else(PoisonError::into_inner).get(uid).cloned()
    }

    fn keep_look(&self, uid: String, look: Look) {
        self.looks.lock().unwrap_or_else(PoisonError::into_inner).insert(uid, look);
    }

    fn forget_look(&self, uid: &str) {
        self.looks.lock().unwrap_or_else(PoisonError::into_inner).remove(uid);
    }

    /// How long one more backup in this store waits until it is looked at: that takes three requests, and a store gets one a second of
    /// them. Its turn is taken.
    fn turn(&self, store: &str) -> Duration {
        let now = Instant::now();
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        let turn = turns.get(store).map_or(now, |next| now.max(*next));
        turns.insert(store.to_owned(), turn + LOOK_PAUSE);
        turn - now
    }
}

impl Operator for EtcdBackupOperator {
    const NAME: &'static str = "etcd-backup";
    const CAUSES: &'static [&'static [Cause]] =
        &[BackupCause::TABLE, StoreCause::TABLE, TenancyCause::TABLE, OF_GRANTS];
    const FINALIZER: bool = true;
    /// What this operator needs: the backups and their stores, with the Secrets of these and the locks of clusters in Drover's own
    /// namespace; in a cluster Jobs in Drover's namespace, with a Secret each, and what their Pods answer.
    const RIGHTS: Rights = Rights {
        management: &[
            Rule::on("drover.dev", &["backupstores", "clusters", "etcdbackups"], READ),
            Rule::on("drover.dev", &["etcdbackups", "etcdbackups/status"], &["patch"]),
        ],
        own_namespace: &[Rule::on("", &["secrets"], &["get"]), LEASES],
        // Informers look in all namespaces.
        downstream: &[Rule::on("batch", &["jobs"], READ), Rule::on("", &["secrets"], READ)],
        downstream_namespace: &[
            Rule::on("batch", &["jobs"], &["create", "delete", "patch"]),
            Rule::on("", &["secrets"], &["create", "delete", "patch"]),
            Rule::on("", &["pods"], &["list"]),
        ],
        ..Rights::NONE
    };

    type Kind = EtcdBackup;
    type World = observe::World;
    type Action = Action;
    type PlaceStatus = plan::PlaceStatus;
    type Error = BackupError;

    fn related(related: &mut Related<'_>) {
        let all = observe::Everyone::default();
        let [of_stores, of_clusters, of_policies, of_policy_bindings] = std::array::from_fn(|_| all.clone());
        related.on::<EtcdBackup>(move |change| {
            all.note(change);
            // What is noted in the status is waited for before anything is done.
            noted_something_else(change).then(|| change.key.clone()).into_iter().collect()
        });
        related.on::<BackupStore>(move |change| of_stores.to_store(&change.key.name));
        // What it was made with shows after its first nodes.
        related.on::<Cluster>(move |change| {
            let told = |cluster: &Cluster| {
                let status = cluster.status.as_ref();
                (
                    observe::backed_up(status),
                    observe::cluster_uid(cluster),
                    observe::unsupported(status).map(str::to_owned),
                )
            };
            let is_same = change.old.as_deref().map(told) == change.new.as_deref().map(told);
            if is_same { Vec::new() } else { of_clusters.of_cluster(&change.key.name) }
        });
        related.on::<ValidatingAdmissionPolicy>(move |_| of_policies.all());
        related.on::<ValidatingAdmissionPolicyBinding>(move |_| of_policy_bindings.all());
    }

    fn deletion_timeout(_: &EtcdBackup) -> Option<Duration> {
        Some(DELETION_TIMEOUT)
    }

    fn targets(backup: &EtcdBackup, inputs: &Inputs<'_>) -> Targets {
        let is_deleting = backup.metadata.deletion_timestamp.is_some();
        let status = backup.status.as_ref();
        let is_over = status.is_some_and(|status| status.completed_at.is_some());
        let is_there = status.is_some_and(|status| status.snapshot.is_some());
        let mut targets = Targets::default();
        if backup.spec.existing.is_some() {
            targets.places.insert(Place::Management);
        } else if !is_deleting || !is_over {
            let choice = |name: &ClusterName, _: &ClusterView| {
                if backup.spec.cluster_name == name.as_str() { Choice::Selected } else { Choice::NotSelected }
            };
            targets = targets::selected_by(backup, inputs.fleet, choice);
            // Nothing of it is anywhere else.
            targets.places.retain(|place| *place == Place::cluster(&backup.spec.cluster_name));
            targets.only_tried.clear();
            let named = inputs.fleet.unread().filter(|name| backup.spec.cluster_name == name.as_str());
            targets.places.extend(named.cloned().map(Place::Cluster));
        }
        if is_deleting || is_there || (plan::has_begun(backup) && !is_over) {
            targets.places.insert(Place::Management);
        }
        targets
    }

    fn watches(watches: &mut Watches<'_, Self>) {
        if watches.context().place != Place::Management {
            watches.optional(Watches::owned::<Job>);
            watches.optional(Watches::owned::<TaskSecret>);
        }
    }

    async fn observe(&self, owner: Owner<'_, EtcdBackup>, place: &PlaceContext) -> Result<observe::World, BackupError> {
        observe::observe(self, owner, place).await
    }

    fn plan(backup: &EtcdBackup, world: &observe::World, now: Timestamp) -> Plan<Self> {
        plan::plan(backup, world, now)
    }

    fn clean_up(owner: Owner<'_, EtcdBackup>, world: &observe::World, _: Timestamp) -> Plan<Self> {
        plan::clean_up(owner, world)
    }

    async fn act(&self, owner: Owner<'_, EtcdBackup>, place: &PlaceContext, action: Action) -> Result<(), BackupError> {
        action.carry_out(self, owner, place).await
    }

    fn summarise(backup: &EtcdBackup, statuses: &PlaceStatuses<plan::PlaceStatus>, _: Timestamp) -> EtcdBackupStatus {
        summary::summarise(backup, statuses)
    }
}

/// Whether the status remembers something else.
fn noted_something_else(change: &Change<EtcdBackup>) -> bool {
    let noted = |backup: &EtcdBackup| {
        let status = backup.status.clone().unwrap_or_default();
        (status.attempt, status.snapshot, status.completed_at, status.admission, backup.annotations().clone())
    };
    change.old.as_deref().map(noted) != change.new.as_deref().map(noted)
}
