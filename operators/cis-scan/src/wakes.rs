//! Which scans a change of something else concerns.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError},
};

use drover_crds::CisScan;
use drover_runtime::{ObjectKey, cache::Change};

/// All scans that have not ended. Clones share them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Open(Arc<Mutex<BTreeSet<ObjectKey>>>);

impl Open {
    pub(crate) fn note(&self, change: &Change<CisScan>) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_open = |scan: &CisScan| scan.status.as_ref().is_none_or(|status| status.completed_at.is_none());
        if change.new.as_deref().is_some_and(is_open) {
            all.insert(change.key.clone());
        } else {
            all.remove(&change.key);
        }
    }

    pub(crate) fn all(&self) -> Vec<ObjectKey> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }
}

/// Whether the status remembers something else.
pub(crate) fn noted_something_else(change: &Change<CisScan>) -> bool {
    let noted = |scan: &CisScan| {
        let status = scan.status.clone().unwrap_or_default();
        (status.started_at, status.completed_at, status.admission)
    };
    change.old.as_deref().map(noted) != change.new.as_deref().map(noted)
}
