//! How much a cache holds, and that it is not too much.

use std::{
    fmt::{self, Write as _},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

/// Most that all informers of one downstream server may hold together, in bytes as [`weight`] estimates them: 100,000 objects of 2 KiB.
const LIMIT: usize = 200 << 20;
/// Most that all caches of downstream servers may hold together, in bytes, if nothing else is said.
const PROCESS_LIMIT: usize = 512 << 20;
/// What an object takes besides its texts: its key, its slot in the map and the empty fields.
const BARE: usize = 768;
/// What an entry of a map takes besides its texts.
const ENTRY: usize = 64;
/// The text of an object that holds little is about as long; what goes beyond it is content.
const ORDINARY_TEXT: usize = 2 << 10;

/// The memory that the caches of all downstream servers of a process take together, and may take.
#[derive(Debug)]
pub struct ProcessBudget {
    limit: usize,
    held: AtomicUsize,
}

/// What suits the memory limit of the chart, 1 GiB: as an estimate it leaves room for what is being decoded.
impl Default for ProcessBudget {
    fn default() -> Self {
        Self { limit: PROCESS_LIMIT, held: AtomicUsize::new(0) }
    }
}

impl ProcessBudget {
    /// At most `limit` bytes, as they are estimated.
    #[must_use]
    pub fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self { limit, held: AtomicUsize::new(0) })
    }

    /// The bytes that are held, as they are estimated.
    #[must_use]
    pub fn held(&self) -> usize {
        self.held.load(Ordering::Acquire)
    }

    fn fits(&self, more: usize) -> bool {
        self.held().saturating_add(more) <= self.limit
    }
}

/// The memory that all informers of one cache take, and may take.
#[derive(Debug)]
pub(super) struct MemoryBudget {
    /// Most that may be held.
    limit: usize,
    held: AtomicUsize,
    exceeded: AtomicBool,
    /// What all caches may hold together; none has no limit.
    process: Option<Arc<ProcessBudget>>,
}

impl MemoryBudget {
    /// The budget of a downstream server, which is not trusted.
    pub(super) fn limited() -> Self {
        Self { limit: LIMIT, held: AtomicUsize::new(0), exceeded: AtomicBool::new(false), process: None }
    }

    /// The budget of the management cluster: without it there is no fleet at all, so it has no limit.
    pub(super) fn unlimited() -> Self {
        let (held, exceeded) = (AtomicUsize::new(0), AtomicBool::new(false));
        Self { limit: usize::MAX, held, exceeded, process: None }
    }

    /// Makes it a part of what all caches may hold together, if it is limited at all.
    pub(super) fn join(&mut self, process: &Arc<ProcessBudget>) {
        if self.limit < usize::MAX {
            process.held.fetch_add(*self.held.get_mut(), Ordering::AcqRel);
            self.process = Some(Arc::clone(process));
        }
    }

    /// Adds what an informer now holds and subtracts what it held, and says whether that fits. What makes the caches smaller
    /// always does, unless this one was too large before.
    pub(super) fn change(&self, added: usize, removed: usize) -> bool {
        let before = self.held.fetch_add(added, Ordering::AcqRel);
        self.held.fetch_sub(removed, Ordering::AcqRel);
        let fits_process = self.process.as_ref().is_none_or(|process| {
            let fits = added <= removed || process.fits(added - removed);
            process.held.fetch_add(added, Ordering::AcqRel);
            process.held.fetch_sub(removed, Ordering::AcqRel);
            fits
        });
        self.note(before.saturating_add(added).saturating_sub(removed) <= self.limit && fits_process)
    }

    /// Whether `more` would fit besides what is held.
    pub(super) fn fits(&self, more: usize) -> bool {
        let fits_process = self.process.as_ref().is_none_or(|process| process.fits(more));
        self.note(more <= self.limit && self.held.load(Ordering::Acquire) <= self.limit && fits_process)
    }

    /// Notes that it is too much.
    pub(super) fn exceed(&self) {
        self.exceeded.store(true, Ordering::Release);
    }

    fn note(&self, fits: bool) -> bool {
        if !fits {
            self.exceed();
        }
        fits
    }

    /// Whether it ever was too much.
    pub(super) fn is_exceeded(&self) -> bool {
        self.exceeded.load(Ordering::Acquire)
    }
}

impl Drop for MemoryBudget {
    fn drop(&mut self) {
        if let Some(process) = &self.process {
            process.held.fetch_sub(*self.held.get_mut(), Ordering::AcqRel);
        }
    }
}

/// What keeping `object` with this metadata takes, roughly: wherever a server puts a long text, it counts.
pub(super) fn weight(meta: &ObjectMeta, object: &impl fmt::Debug) -> usize {
    let mut length = Length(0);
    // Counting does not fail.
    let _ = write!(length, "{object:?}");
    ordinary_weight(meta) + length.0.saturating_sub(ORDINARY_TEXT)
}

/// Counts what is written.
struct Length(usize);

impl fmt::Write for Length {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0 += text.len();
        Ok(())
    }
}

fn ordinary_weight(meta: &ObjectMeta) -> usize {
    let texts = |map: &Option<std::collections::BTreeMap<String, String>>| -> usize {
        map.iter().flatten().map(|(key, value)| key.len() + value.len() + ENTRY).sum()
    };
    let lists: usize = meta.finalizers.iter().flatten().map(|finalizer| finalizer.len() + ENTRY).sum::<usize>()
        + meta.owner_references.iter().flatten().map(|owner| owner.name.len() + 4 * ENTRY).sum::<usize>();
    BARE + texts(&meta.labels) + texts(&meta.annotations) + lists
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_makes_room_and_what_is_too_much_is_remembered() {
        let budget = MemoryBudget::limited();
        assert!(budget.change(LIMIT, 0));
        assert!(budget.change(LIMIT, LIMIT));
        assert!(budget.fits(LIMIT) && !budget.is_exceeded());
        assert!(!budget.change(1, 0));
        assert!(budget.change(0, 1));
        assert!(budget.is_exceeded());
        assert!(!MemoryBudget::limited().fits(LIMIT + 1));
    }

    #[test]
    fn all_caches_together_have_a_limit_and_who_goes_makes_room() {
        let process = ProcessBudget::new(100);
        let [first, second] = [(); 2].map(|()| {
            let mut budget = MemoryBudget::limited();
            budget.join(&process);
            budget
        });
        assert!(first.change(60, 0) && second.change(40, 0));
        assert!(!second.change(1, 0) && second.is_exceeded(), "whoever sends what does not fit");
        assert!(first.change(10, 20) && !first.is_exceeded());
        assert!(!second.fits(20));
        drop(second);
        assert_eq!(process.held(), 50);
        assert!(first.fits(50) && !first.fits(51));
    }

    #[test]
    fn a_long_text_counts_wherever_it_is() {
        let namespace = |text: &str, status: serde_json::Value| -> usize {
            let metadata = serde_json::json!({"name": text, "uid": "1", "labels": {"a": "b"}});
            let namespace: k8s_openapi::api::core::v1::Namespace =
                serde_json::from_value(serde_json::json!({"metadata": metadata, "status": status})).unwrap();
            weight(&namespace.metadata, &namespace)
        };
        let long = "x".repeat(1 << 20);
        let plain = namespace("one", serde_json::json!({"phase": "Active"}));
        assert!(plain < 1024, "{plain}");
        assert!(namespace(&long, serde_json::json!({})) > 1_000_000);
        let told = serde_json::json!({"conditions": [{"type": "A", "status": "True", "message": long}]});
        assert!(namespace("one", told) > 1_000_000);
    }

    #[test]
    fn the_management_cluster_is_never_too_large() {
        let budget = MemoryBudget::unlimited();
        assert!(budget.change(100 * LIMIT, 0) && budget.fits(100 * LIMIT) && !budget.is_exceeded());
    }
}
