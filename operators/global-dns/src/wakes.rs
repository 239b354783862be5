//! Which names a change of something else concerns.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use drover_crds::{GlobalDNS, GlobalDNSProvider};
use drover_runtime::{
    Informer, ObjectKey,
    cache::{Change, Kept},
    operator::Enqueuer,
};

use crate::{offers::is_selected, sources::Source};

/// All names, and the provider of each. Clones share them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Everyone(Arc<Mutex<BTreeMap<ObjectKey, String>>>);

impl Everyone {
    pub(crate) fn note(&self, change: &Change<GlobalDNS>) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &change.new {
            Some(new) => drop(all.insert(change.key.clone(), new.spec.provider_name.clone())),
            None => drop(all.remove(&change.key)),
        }
    }

    fn those(&self, is_meant: impl Fn(&str) -> bool) -> Vec<ObjectKey> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.iter().filter(|(_, provider)| is_meant(provider)).map(|(key, _)| key.clone()).collect()
    }

    /// Those of a provider that is another one now, or that can be used again.
    pub(crate) fn of_provider(&self, change: &Change<GlobalDNSProvider>) -> Vec<ObjectKey> {
        let told = |provider: &GlobalDNSProvider| {
            let conditions = provider.status.iter().flat_map(|status| &status.conditions);
            let told: Vec<_> = conditions.map(|found| (found.type_.clone(), found.status.clone())).collect();
            (provider.metadata.uid.clone(), provider.metadata.generation, told)
        };
        let is_same = change.old.as_deref().map(told) == change.new.as_deref().map(told);
        if is_same { Vec::new() } else { self.those(|provider| provider == change.key.name) }
    }
}

/// Enqueues the names that select an object of a cluster which came, went, or offers something else.
pub(crate) fn offered<S: Source + Kept>(change: &Change<S>, all: &Informer<GlobalDNS>, enqueuer: &Enqueuer) {
    let said = |object: &S| (object.names().to_vec(), object.addresses().to_vec(), object.meta().labels.clone());
    if change.old.as_deref().map(said) == change.new.as_deref().map(said) {
        return;
    }
    for names in all.filter(|names| change.sides().any(|object| is_selected(object, names))) {
        enqueuer.now(ObjectKey::of(&names.metadata));
    }
}
