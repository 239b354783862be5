//! How much a cache holds, and that it is not too much.

use std::{
    fmt::{self, Write as _},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
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
/// What a value takes besides its text, in a list of many.
const VALUE: usize = 24;
/// The text of an object that holds little, with its values, is about as long; what goes beyond it is content.
const ORDINARY_TEXT: usize = 3 << 10;

/// The memory that the caches of all downstream servers of a process take together, and may take.
#[derive(Debug)]
pub struct ProcessBudget {
    limit: usize,
    held: AtomicUsize,
    caches: Mutex<Vec<Weak<Counts>>>,
}

/// What suits the memory limit of the chart, 1 GiB: as an estimate it leaves room for what is being decoded.
impl Default for ProcessBudget {
    fn default() -> Self {
        Self { limit: PROCESS_LIMIT, held: AtomicUsize::new(0), caches: Mutex::default() }
    }
}

impl ProcessBudget {
    /// At most `limit` bytes, as they are estimated.
    #[must_use]
    pub fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self { limit, ..Self::default() })
    }

    /// The bytes that are held, as they are estimated, lists that are on their way included.
    #[must_use]
    pub fn held(&self) -> usize {
        self.held.load(Ordering::Acquire)
    }

    /// Marks the cache that holds the most, if all together hold too much: it is no fault of those that hold little.
    fn enforce(&self) {
        if self.held() <= self.limit {
            return;
        }
        let live: Vec<Arc<Counts>> = self.lock().iter().filter_map(Weak::upgrade).collect();
        let counts = || live.iter().filter(|counts| !counts.is_exceeded());
        if counts().map(|counts| counts.held()).sum::<usize>() > self.limit
            && let Some(largest) = counts().max_by_key(|counts| counts.held())
        {
            largest.exceed();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Weak<Counts>>> {
        self.caches.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The memory that all informers of one cache take, and may take.
#[derive(Debug)]
pub(super) struct MemoryBudget {
    /// Most that may be held.
    limit: usize,
    counts: Arc<Counts>,
    /// What all caches may hold together; none has no limit.
    process: Option<Arc<ProcessBudget>>,
}

#[derive(Debug, Default)]
struct Counts {
    held: AtomicUsize,
    /// Of lists that are on their way.
    listing: AtomicUsize,
    exceeded: AtomicBool,
}

impl Counts {
    fn held(&self) -> usize {
        self.held.load(Ordering::Acquire).saturating_add(self.listing.load(Ordering::Acquire))
    }

    fn exceed(&self) {
        self.exceeded.store(true, Ordering::Release);
    }

    fn is_exceeded(&self) -> bool {
        self.exceeded.load(Ordering::Acquire)
    }
}

impl MemoryBudget {
    /// The budget of a downstream server, which is not trusted.
    pub(super) fn limited() -> Self {
        Self { limit: LIMIT, counts: Arc::default(), process: None }
    }

    /// The budget of the management cluster: without it there is no fleet at all, so it has no limit.
    pub(super) fn unlimited() -> Self {
        Self { limit: usize::MAX, counts: Arc::default(), process: None }
    }

    /// Makes it a part of what all caches may hold together, if it is limited at all.
    pub(super) fn join(&mut self, process: &Arc<ProcessBudget>) {
        if self.limit < usize::MAX {
            let mut caches = process.lock();
            caches.retain(|counts| counts.strong_count() > 0);
            caches.push(Arc::downgrade(&self.counts));
            self.process = Some(Arc::clone(process));
        }
    }

    /// Adds what an informer now holds and subtracts what it held, and says whether that fits.
    pub(super) fn change(&self, added: usize, removed: usize) -> bool {
        self.counts.held.fetch_add(added, Ordering::AcqRel);
        self.counts.held.fetch_sub(removed, Ordering::AcqRel);
        self.count_in_process(added, removed);
        self.fits(added > removed)
    }

    /// A list that begins.
    pub(super) fn listing(self: &Arc<Self>) -> Listing {
        Listing { budget: Arc::clone(self), weight: 0 }
    }

    fn count_in_process(&self, added: usize, removed: usize) {
        if let Some(process) = &self.process {
            process.held.fetch_add(added, Ordering::AcqRel);
            process.held.fetch_sub(removed, Ordering::AcqRel);
        }
    }

    /// Whether it was never too much.
    fn fits(&self, grows: bool) -> bool {
        if self.counts.held.load(Ordering::Acquire) > self.limit
            || self.counts.listing.load(Ordering::Acquire) > self.limit
        {
            self.exceed();
        }
        if let Some(process) = self.process.as_ref().filter(|_| grows) {
            process.enforce();
        }
        !self.is_exceeded()
    }

    /// Notes that it is too much, where there is a limit: without one an answer that is too large ends itself only.
    pub(super) fn exceed(&self) {
        if self.limit < usize::MAX {
            self.counts.exceed();
        }
    }

    /// Whether it ever was too much.
    pub(super) fn is_exceeded(&self) -> bool {
        self.counts.is_exceeded()
    }
}

/// A list that is on its way: what came of it counts until it is stored or given up.
#[derive(Debug)]
pub(super) struct Listing {
    budget: Arc<MemoryBudget>,
    weight: usize,
}

impl Listing {
    /// Whether the list may hold this much more.
    pub(super) fn takes(&mut self, weight: usize) -> bool {
        self.weight += weight;
        self.budget.counts.listing.fetch_add(weight, Ordering::AcqRel);
        self.budget.count_in_process(weight, 0);
        self.budget.fits(true)
    }

    /// What has come of it so far.
    pub(super) fn weight(&self) -> usize {
        self.weight
    }

    /// What came after it weighed this much is given up.
    pub(super) fn gives_back_to(&mut self, weight: usize) {
        let given_up = self.weight.saturating_sub(weight);
        self.weight -= given_up;
        self.budget.counts.listing.fetch_sub(given_up, Ordering::AcqRel);
        self.budget.count_in_process(0, given_up);
    }
}

impl Drop for Listing {
    fn drop(&mut self) {
        self.gives_back_to(0);
    }
}

impl Drop for MemoryBudget {
    fn drop(&mut self) {
        self.count_in_process(0, self.counts.held.load(Ordering::Acquire));
    }
}

/// What keeping `object` with this metadata takes, roughly: wherever a server puts a long text, it counts.
pub(super) fn weight(meta: &ObjectMeta, object: &impl fmt::Debug) -> usize {
    let mut length = Length(0);
    // Counting does not fail.
    let _ = write!(length, "{object:?}");
    ordinary_weight(meta) + length.0.saturating_sub(ORDINARY_TEXT)
}

/// Counts what is written, and the values in it.
struct Length(usize);

impl fmt::Write for Length {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0 += text.len() + VALUE * text.bytes().filter(|byte| *byte == b',').count();
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
        let budget = Arc::new(MemoryBudget::limited());
        assert!(budget.change(LIMIT, 0));
        assert!(budget.change(LIMIT, LIMIT));
        assert!(budget.listing().takes(LIMIT), "a list replaces what is held");
        assert!(!budget.is_exceeded());
        assert!(!budget.change(1, 0));
        assert!(!budget.change(0, 1));
        assert!(budget.is_exceeded());
        assert!(!Arc::new(MemoryBudget::limited()).listing().takes(LIMIT + 1));
    }

    #[test]
    fn all_caches_together_have_a_limit_and_who_holds_the_most_gives_way() {
        let process = ProcessBudget::new(100);
        let [greedy, small, third] = [(); 3].map(|()| {
            let mut budget = MemoryBudget::limited();
            budget.join(&process);
            Arc::new(budget)
        });
        assert!(greedy.change(60, 0) && small.change(30, 0) && third.change(10, 0));
        assert!(small.change(1, 0), "whoever holds less than others may go on");
        assert!(greedy.is_exceeded() && !small.is_exceeded());
        assert!(small.change(20, 0) && third.change(20, 0), "what goes leaves room at once");
        drop(greedy);
        let mut listing = third.listing();
        assert!(!listing.takes(60) && !small.is_exceeded(), "a list on its way counts");
        listing.gives_back_to(20);
        assert_eq!((listing.weight(), process.held()), (20, 51 + 30 + 20));
        drop((listing, third));
        assert_eq!(process.held(), 51);
        assert_eq!(process.lock().iter().filter(|counts| counts.strong_count() > 0).count(), 1);
        MemoryBudget::limited().join(&process);
        MemoryBudget::limited().join(&process);
        assert_eq!(process.lock().len(), 2, "who has gone is forgotten");
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
        let many: Vec<&str> = vec![""; 100_000];
        let finalizers = serde_json::json!({"metadata": {"name": "one"}, "spec": {"finalizers": many}});
        let finalizers: k8s_openapi::api::core::v1::Namespace = serde_json::from_value(finalizers).unwrap();
        assert!(weight(&finalizers.metadata, &finalizers) > 2_400_000, "each takes as much as a text");
    }

    #[test]
    fn the_management_cluster_is_never_too_large() {
        let budget = Arc::new(MemoryBudget::unlimited());
        assert!(budget.change(100 * LIMIT, 0) && budget.listing().takes(100 * LIMIT) && !budget.is_exceeded());
        budget.exceed();
        assert!(!budget.is_exceeded(), "one answer ends no other");
    }
}
