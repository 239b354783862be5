//! What is known of a store. Decides nothing.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use drover_crds::{BackupStore, EtcdBackup, EtcdBackupStatus, names::ANNOTATION_RECONCILE_AT};
use drover_runtime::{Failure, Owner, PlaceContext};
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt as _;

use crate::BackupStoreOperator;

/// What came of a try.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// What was asked for: another spec or another request is tried at once.
    pub asked: String,
    /// When it ended.
    pub ended: Instant,
    /// When it was decided.
    pub at: Timestamp,
    /// What there is, or why it cannot be used.
    pub outcome: Result<Held, Failure>,
}

/// What a store holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// Objects below the prefix; none if there are more than are counted.
    pub objects: Option<i64>,
    /// Their bytes.
    pub bytes: Option<i64>,
    /// Backups: those with a manifest.
    pub backups: Option<i64>,
}

/// What a reconcile knows.
#[derive(Clone, Debug, Default)]
pub struct World {
    /// What is asked for.
    pub asked: String,
    /// What came of the last try of this process.
    pub attempt: Option<Attempt>,
    /// How long ago it ended.
    pub age: Duration,
    /// The uploads of backups that are under way, whatever store they go to.
    pub under_way: BTreeSet<String>,
}

pub(crate) fn observe(operator: &BackupStoreOperator, owner: Owner<'_, BackupStore>, place: &PlaceContext) -> World {
    let Owner::Present(store) = owner else {
        operator.keep(owner.key(), None);
        return World::default();
    };
    let request = store.annotations().get(ANNOTATION_RECONCILE_AT).cloned().unwrap_or_default();
    let uid = store.uid().unwrap_or_default();
    let asked = format!("{uid}/{}/{request}", store.metadata.generation.unwrap_or_default());
    let attempt = operator.attempt(&owner.key());
    let age = attempt.as_ref().map(|attempt| attempt.ended.elapsed()).unwrap_or_default();
    let backups = place.related::<EtcdBackup>().all();
    let uploads = backups.iter().filter_map(|backup| under_way(backup.status.as_ref()?)).cloned().collect();
    World { asked, attempt, age, under_way: uploads }
}

/// The upload of a backup that has not ended.
fn under_way(status: &EtcdBackupStatus) -> Option<&String> {
    let attempt = status.attempt.as_ref().filter(|_| status.completed_at.is_none())?;
    attempt.upload_id.as_ref()
}
