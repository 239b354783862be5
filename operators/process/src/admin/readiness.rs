//! Whether the process is ready, and what it waits for.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

/// What has to happen before the process is ready. Clones share one list.
#[derive(Clone, Debug, Default)]
pub struct Readiness(Arc<Mutex<Waiting>>);

#[derive(Debug, Default)]
struct Waiting {
    next: u64,
    names: BTreeMap<u64, String>,
}

impl Readiness {
    /// Not ready from now on, until the gate is opened. `name` is what `/readyz` shows, for example `leader lease`. A gate
    /// that is dropped without being opened is waited for until the process ends.
    #[must_use = "without the gate the process never becomes ready"]
    pub fn wait_for(&self, name: impl Into<String>) -> Gate {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let number = waiting.next;
        waiting.next += 1;
        waiting.names.insert(number, name.into());
        Gate { readiness: self.clone(), number }
    }

    /// What is waited for, in the order in which it was asked for. Empty means ready.
    #[must_use]
    pub fn waiting_for(&self) -> Vec<String> {
        let waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.names.values().cloned().collect()
    }
}

/// One thing that readiness waits for.
#[derive(Debug)]
pub struct Gate {
    readiness: Readiness,
    number: u64,
}

impl Gate {
    /// It has happened. Opening a gate again changes nothing.
    pub fn open(&self) {
        self.readiness.0.lock().unwrap_or_else(PoisonError::into_inner).names.remove(&self.number);
    }
}
