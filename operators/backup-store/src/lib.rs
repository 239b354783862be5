//! The operator of stores of backups: it tries at their interval whether they can be written, and counts what they hold.
//!
//! 1. [`observe`] looks at what came of the last try.
//! 2. [`plan`] says whether it is time for another one. A store that is as before writes nothing.
//! 3. [`act`] writes an object, asks for the same once more without overwriting it, reads it, and deletes it; it opens an upload, lists
//!    all, and aborts it, with those that nobody needs any more; and it counts what the store holds.
//! 4. [`judge`] says what the answers mean.
//! 5. [`summary`] says it in the status.
//!
//! It converges in the management cluster only.

pub mod act;
pub mod judge;
pub mod observe;
pub mod plan;
mod summary;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
};

use drover_crds::{BackupStore, BackupStoreStatus, EtcdBackup};
use drover_runtime::{
    Cause, Inputs, ObjectKey, Operator, Owner, Place, PlaceContext, PlaceStatuses, Plan, Related, Rights, Rule,
    Targets, Watches, rights::READ,
};
use drover_stores::{OpenError, StoreCause, Stores};
use k8s_openapi::jiff::Timestamp;

/// The operator of the kind [`BackupStore`].
#[derive(Clone, Debug)]
pub struct BackupStoreOperator {
    stores: Stores,
    attempts: Arc<Mutex<BTreeMap<ObjectKey, observe::Attempt>>>,
}

impl BackupStoreOperator {
    /// Which reaches the stores by `stores`.
    #[must_use]
    pub fn new(stores: Stores) -> Self {
        Self { stores, attempts: Arc::default() }
    }

    fn attempt(&self, key: &ObjectKey) -> Option<observe::Attempt> {
        self.attempts.lock().unwrap_or_else(PoisonError::into_inner).get(key).cloned()
    }

    fn keep(&self, key: ObjectKey, attempt: Option<observe::Attempt>) {
        let mut attempts = self.attempts.lock().unwrap_or_else(PoisonError::into_inner);
        match attempt {
            Some(attempt) => drop(attempts.insert(key, attempt)),
            None => drop(attempts.remove(&key)),
        }
    }
}

impl Operator for BackupStoreOperator {
    const NAME: &'static str = "backup-store";
    const CAUSES: &'static [&'static [Cause]] = &[StoreCause::TABLE];
    const FINALIZER: bool = false;
    /// What this operator needs: the stores, and their Secrets, which lie in Drover's own namespace.
    const RIGHTS: Rights = Rights {
        management: &[
            Rule::on("drover.dev", &["backupstores", "etcdbackups"], READ),
            Rule::on("drover.dev", &["backupstores/status"], &["patch"]),
        ],
        own_namespace: &[Rule::on("", &["secrets"], &["get"])],
        ..Rights::NONE
    };

    type Kind = BackupStore;
    type World = observe::World;
    type Action = act::Try;
    type PlaceStatus = plan::PlaceStatus;
    type Error = OpenError;

    /// The backups say which uploads are needed; a change of one is no reason to try a store.
    fn related(related: &mut Related<'_>) {
        related.on::<EtcdBackup>(|_| Vec::new());
    }

    fn targets(_: &BackupStore, _: &Inputs<'_>) -> Targets {
        BTreeSet::from([Place::Management]).into()
    }

    fn watches(_: &mut Watches<'_, Self>) {}

    async fn observe(&self, owner: Owner<'_, BackupStore>, place: &PlaceContext) -> Result<observe::World, OpenError> {
        Ok(observe::observe(self, owner, place))
    }

    fn plan(store: &BackupStore, world: &observe::World, now: Timestamp) -> Plan<Self> {
        plan::plan(store, world, now)
    }

    fn clean_up(_: Owner<'_, BackupStore>, _: &observe::World, _: Timestamp) -> Plan<Self> {
        plan::clean_up()
    }

    async fn act(
        &self,
        owner: Owner<'_, BackupStore>,
        place: &PlaceContext,
        action: act::Try,
    ) -> Result<(), OpenError> {
        action.carry_out(self, owner, place).await;
        Ok(())
    }

    fn summarise(store: &BackupStore, statuses: &PlaceStatuses<plan::PlaceStatus>, _: Timestamp) -> BackupStoreStatus {
        summary::summarise(store, statuses)
    }
}

#[cfg(test)]
mod tests;
