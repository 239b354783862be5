//! The keys of the objects of a kind, for changes of something else that concern all of them.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError},
};

use crate::{ObjectKey, cache::Change};

/// The keys that were noted. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct KnownKeys(Arc<Mutex<BTreeSet<ObjectKey>>>);

impl KnownKeys {
    /// Notes an object that is there, and forgets one that is gone.
    pub fn note<K>(&self, change: &Change<K>) {
        self.note_if(change, |_| true);
    }

    /// Notes an object that is there and is `wanted`, and forgets every other one.
    pub fn note_if<K>(&self, change: &Change<K>, wanted: impl FnOnce(&K) -> bool) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if change.new.as_deref().is_some_and(wanted) {
            all.insert(change.key.clone());
        } else {
            all.remove(&change.key);
        }
    }

    /// All of them, in order.
    #[must_use]
    pub fn all(&self) -> Vec<ObjectKey> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }
}
