//! What is judged of all objects of some informers, which costs more than to see whether they changed.

use std::{any::Any, collections::HashMap, sync::Mutex};

use super::{AnyInformer, lock};

/// The last verdicts by their names.
#[derive(Default)]
pub(super) struct Verdicts(Mutex<HashMap<&'static str, Verdict>>);

struct Verdict {
    /// How often each informer had changed.
    changes: Vec<u64>,
    judged: Box<dyn Any + Send>,
}

impl Verdicts {
    /// The last verdict of this name while nothing in these informers changed, or a new one.
    pub(super) fn on<T: Clone + Send + 'static>(
        &self,
        name: &'static str,
        informers: &[&dyn AnyInformer],
        judge: impl FnOnce() -> T,
    ) -> T {
        // Before the objects are read: what changes meanwhile is judged by the next call.
        let changes: Vec<u64> = informers.iter().map(|informer| informer.changes()).collect();
        let still = |last: &&Verdict| last.changes == changes;
        let last = lock(&self.0).get(name).filter(still).and_then(|last| last.judged.downcast_ref().cloned());
        last.unwrap_or_else(|| {
            let verdict = judge();
            lock(&self.0).insert(name, Verdict { changes, judged: Box::new(verdict.clone()) });
            verdict
        })
    }
}
