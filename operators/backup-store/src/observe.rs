//! What is known of a store. Decides nothing.

use std::time::Duration;

use drover_crds::{BackupStore, names::ANNOTATION_RECONCILE_AT};
use drover_runtime::{Failure, Owner};
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt as _;
use std::time::Instant;

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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// Objects below the prefix; none if there are more than are counted.
    pub objects: Option<i64>,
    /// Their bytes.
    pub bytes: Option<i64>,
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
}

pub(crate) fn observe(operator: &BackupStoreOperator, owner: Owner<'_, BackupStore>) -> World {
    let Owner::Present(store) = owner else {
        operator.keep(owner.key(), None);
        return World::default();
    };
    let request = store.annotations().get(ANNOTATION_RECONCILE_AT).cloned().unwrap_or_default();
    let uid = store.uid().unwrap_or_default();
    let asked = format!("{uid}/{}/{request}", store.metadata.generation.unwrap_or_default());
    let attempt = operator.attempt(&owner.key());
    let age = attempt.as_ref().map(|attempt| attempt.ended.elapsed()).unwrap_or_default();
    World { asked, attempt, age }
}
