//! How much a cache holds, and that it is not too much.

use std::{
    fmt::{self, Write as _},
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

/// Most that all informers of one downstream server may hold together, in bytes as [`weight`] estimates them: 100,000 objects of 2 KiB.
const LIMIT: usize = 200 << 20;
/// What an object takes besides its texts: its key, its slot in the map and the empty fields.
const BARE: usize = 768;
/// What an entry of a map takes besides its texts.
const ENTRY: usize = 64;
/// The text of an object that holds little is about as long; what goes beyond it is content.
const ORDINARY_TEXT: usize = 2 << 10;

/// The memory that all informers of one cache take, and may take.
#[derive(Debug)]
pub(super) struct MemoryBudget {
    /// Most that may be held.
    limit: usize,
    held: AtomicUsize,
    exceeded: AtomicBool,
}

impl MemoryBudget {
    /// The budget of a downstream server, which is not trusted.
    pub(super) fn limited() -> Self {
        Self { limit: LIMIT, held: AtomicUsize::new(0), exceeded: AtomicBool::new(false) }
    }

    /// The budget of the management cluster: without it there is no fleet at all, so it has no limit.
    pub(super) fn unlimited() -> Self {
        Self { limit: usize::MAX, ..Self::limited() }
    }

    /// Adds what an informer now holds and subtracts what it held, and says whether that fits.
    pub(super) fn change(&self, added: usize, removed: usize) -> bool {
        let before = self.held.fetch_add(added, Ordering::AcqRel);
        self.held.fetch_sub(removed, Ordering::AcqRel);
        let fits = before.saturating_add(added).saturating_sub(removed) <= self.limit;
        if !fits {
            self.exceeded.store(true, Ordering::Release);
        }
        fits
    }

    /// Whether `more` would fit besides what is held.
    pub(super) fn fits(&self, more: usize) -> bool {
        let fits = more <= self.limit && self.held.load(Ordering::Acquire) <= self.limit;
        if !fits {
            self.exceeded.store(true, Ordering::Release);
        }
        fits
    }

    /// Whether it ever was too much.
    pub(super) fn is_exceeded(&self) -> bool {
        self.exceeded.load(Ordering::Acquire)
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
