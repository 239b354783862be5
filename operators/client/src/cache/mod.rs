//! The only way to read an API server, the management one and every downstream one alike.
//!
//! A [`Cache`] holds at most one [`Informer`] per kind and label selector. An informer starts on first use, keeps in step with the server by
//! list and watch, keeps pruned objects, and tells its subscribers every change, deletes included, exactly once. Reading it
//! costs no request, so a reconcile at rest costs none.

mod bare;
mod expectations;
mod informer;
mod memory_budget;
mod objects;
mod read;
mod reflector;
mod split;
#[cfg(test)]
mod tests;
mod verdicts;
mod watch_timeout;

use std::{
    any::{Any, TypeId},
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::AtomicU64},
};

use kube::{Api, Client, Resource, core::NamespaceResourceScope};
use serde::de::DeserializeOwned;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

pub use expectations::OwnerRecord;
pub use expectations::SHOWN_WITHIN;
pub use informer::revision;
pub use informer::{AnyInformer, Change, Health, Informer, Lookup, ObjectKey, Undecodable};
pub use objects::{Index, keep_annotations};
pub use read::{list_metadata, list_page};
pub use split::WholeAnswer;
pub use watch_timeout::WatchTimeout;

use crate::{drift_conflicts::DriftConflicts, held::Held, rights::MissingRights};
use expectations::Expectations;
use memory_budget::MemoryBudget;
pub use memory_budget::ProcessBudget;
use verdicts::Verdicts;

/// A kind that can be cached: any typed kind can.
pub trait Kept: Resource<DynamicType = ()> + Clone + DeserializeOwned + fmt::Debug + Send + Sync + 'static {}

impl<K> Kept for K where K: Resource<DynamicType = ()> + Clone + DeserializeOwned + fmt::Debug + Send + Sync + 'static {}

/// A label selector in the text form of the Kubernetes API; empty selects everything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct LabelQuery(String);

impl LabelQuery {
    /// Every object.
    #[must_use]
    pub fn everything() -> Self {
        Self::default()
    }

    /// The objects that carry `label` with `value`.
    #[must_use]
    pub fn equals(label: &str, value: &str) -> Self {
        Self(format!("{label}={value}"))
    }

    /// The objects that carry `label`, whatever its value is.
    #[must_use]
    pub fn has(label: &str) -> Self {
        Self(label.to_owned())
    }

    /// The selector as the API takes it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What is the same for all caches of a process.
#[derive(Clone, Debug, Default)]
pub struct CacheSettings {
    /// The limit of watches.
    pub watch_timeout: WatchTimeout,
    /// What the caches of all downstream servers may hold together.
    pub process_budget: Arc<ProcessBudget>,
}

/// Counters of one cache, for metrics and tests.
#[derive(Debug, Default)]
pub struct CacheMeters {
    /// Full lists that were answered.
    pub lists: AtomicU64,
    /// Watches that ended otherwise than in good order.
    pub broken_watches: AtomicU64,
    /// Panics in a reflector: each is a defect.
    pub panics: AtomicU64,
    /// Lists that showed a server older than what was seen before: it was restored from a backup.
    pub rollbacks: AtomicU64,
}

type Informers = HashMap<(TypeId, String, LabelQuery), Arc<dyn Any + Send + Sync>>;
type HealthListener = Arc<dyn Fn() + Send + Sync>;

/// The cache of one API server. Dropping it ends all its watches.
pub struct Cache {
    client: Client,
    gate: watch::Receiver<bool>,
    settings: CacheSettings,
    cluster: Arc<str>,
    informers: Mutex<Informers>,
    listeners: Arc<Mutex<Vec<HealthListener>>>,
    expectations: Expectations,
    verdicts: Verdicts,
    drift_conflicts: DriftConflicts,
    held: Arc<Held>,
    missing_rights: MissingRights,
    meters: Arc<CacheMeters>,
    budget: Arc<MemoryBudget>,
    doubts: Arc<Notify>,
    attached: Option<Arc<dyn Any + Send + Sync>>,
    stop: CancellationToken,
}

impl fmt::Debug for Cache {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Cache").field("informers", &lock(&self.informers).len()).finish_non_exhaustive()
    }
}

impl Drop for Cache {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Cache {
    /// A cache of the downstream server behind `client`, which may not hold more than it should. While `gate` is false its watches are parked: the probe of a dead cluster
    /// opens it, so a dead cluster costs no retries and all informers come back together.
    #[must_use]
    pub fn new(client: Client, gate: watch::Receiver<bool>) -> Self {
        Self::with(client, gate, MemoryBudget::limited())
    }

    /// A cache of the management server: it is taken to be up, and may hold as much as there is.
    #[must_use]
    pub fn ungated(client: Client) -> Self {
        Self::with(client, watch::channel(true).1, MemoryBudget::unlimited())
    }

    fn with(client: Client, gate: watch::Receiver<bool>, budget: MemoryBudget) -> Self {
        Self {
            client,
            gate,
            settings: CacheSettings::default(),
            cluster: "management".into(),
            informers: Mutex::default(),
            listeners: Arc::default(),
            expectations: Expectations::default(),
            verdicts: Verdicts::default(),
            drift_conflicts: DriftConflicts::default(),
            held: Arc::default(),
            missing_rights: MissingRights::default(),
            meters: Arc::default(),
            budget: Arc::new(budget),
            doubts: Arc::default(),
            attached: None,
            stop: CancellationToken::new(),
        }
    }

    /// The same with other settings. That of a downstream server counts against the budget of the process from now on.
    #[must_use]
    pub fn with_settings(mut self, settings: CacheSettings) -> Self {
        if let Some(budget) = Arc::get_mut(&mut self.budget) {
            budget.join(&settings.process_budget);
        }
        self.settings = settings;
        self
    }

    /// The same for the cluster of this name, which log lines then have; without one it is `management`.
    #[must_use]
    pub fn with_cluster(mut self, name: &str) -> Self {
        self.cluster = name.into();
        self
    }

    /// The same with what owners held at this server, as an earlier connection knew it.
    #[must_use]
    pub fn with_held(mut self, held: Arc<Held>) -> Self {
        self.held = held;
        self
    }

    /// The same, with whom to notify of doubts in the connection: requests that failed, and watches that broke.
    #[must_use]
    pub fn with_doubts(mut self, doubts: Arc<Notify>) -> Self {
        self.doubts = doubts;
        self
    }

    /// The same, with something that goes with the connection and is the matter of another crate.
    #[must_use]
    pub fn with_attached<T: Any + Send + Sync>(mut self, attached: T) -> Self {
        self.attached = Some(Arc::new(attached));
        self
    }

    /// What was attached, if it is a `T`.
    #[must_use]
    pub fn attached<T: Any + Send + Sync>(&self) -> Option<Arc<T>> {
        Arc::clone(self.attached.as_ref()?).downcast().ok()
    }

    /// Notifies the probe of the connection that a request failed.
    pub fn doubt(&self) {
        self.doubts.notify_one();
    }

    /// Its settings, which are those of the caches of the whole fleet where it is that of the management cluster.
    #[must_use]
    pub fn settings(&self) -> &CacheSettings {
        &self.settings
    }

    /// The client, to write with.
    #[must_use]
    pub fn client(&self) -> Client {
        self.client.clone()
    }

    /// The counters.
    #[must_use]
    pub fn meters(&self) -> &CacheMeters {
        &self.meters
    }

    /// Whether the server has sent more than a cache may hold. The owner of the cache drops it then.
    #[must_use]
    pub fn is_too_large(&self) -> bool {
        self.budget.is_exceeded()
    }

    /// The informer of all `K` that `query` selects, started now if this is its first use.
    pub fn informer<K: Kept>(&self, query: &LabelQuery) -> Informer<K> {
        self.informer_of(&Api::all(self.client.clone()), "", query)
    }

    /// The informer of the `K` in one namespace that `query` selects: it needs rights in that namespace only.
    pub fn informer_in<K>(&self, namespace: &str, query: &LabelQuery) -> Informer<K>
    where
        K: Kept + Resource<Scope = NamespaceResourceScope>,
    {
        self.informer_of(&Api::namespaced(self.client.clone(), namespace), namespace, query)
    }

    fn informer_of<K: Kept>(&self, api: &Api<K>, namespace: &str, query: &LabelQuery) -> Informer<K> {
        let key = (TypeId::of::<K>(), namespace.to_owned(), query.clone());
        let mut informers = lock(&self.informers);
        if let Some(informer) = informers.get(&key).and_then(|informer| Arc::clone(informer).downcast().ok()) {
            return Informer::from_shared(informer);
        }
        let (informer, shared) = Informer::<K>::new(Arc::clone(&self.listeners), Arc::clone(&self.budget));
        let (gate, meters, limit) = (self.gate.clone(), Arc::clone(&self.meters), self.settings.watch_timeout);
        let reader = read::Reader::new(self.client.clone(), api.resource_url());
        let mut reflector = reflector::Reflector::new(reader, query.clone(), Arc::clone(&shared), gate, meters, limit);
        reflector.log_as(Arc::clone(&self.cluster));
        let stop = self.stop.clone();
        tokio::spawn(async move { stop.run_until_cancelled(reflector.run()).await });
        informers.insert(key, shared);
        informer
    }

    /// What `judge` says of what these informers of this cache hold; it is asked again once that has changed. Verdicts of one `name`
    /// are on the same informers.
    pub fn judged<T: Clone + Send + 'static>(
        &self,
        name: &'static str,
        informers: &[&dyn AnyInformer],
        judge: impl FnOnce() -> T,
    ) -> T {
        self.verdicts.on(name, informers, judge)
    }

    /// Calls `listener` whenever an informer becomes live or stops being so. It must not block.
    pub fn on_health(&self, listener: impl Fn() + Send + Sync + 'static) {
        lock(&self.listeners).push(Arc::new(listener));
    }

    /// Remembers that `owner` wrote something that is visible once `seen` says so. See [`Cache::settled`].
    pub fn expect(&self, owner: OwnerRecord, seen: impl Fn() -> bool + Send + 'static) {
        self.expectations.add(owner, Box::new(seen));
    }

    /// Whether everything that `owner` wrote through this cache is visible in it. A reconcile waits for that: a decision on a
    /// state from before the last write would be made twice.
    #[must_use]
    pub fn settled(&self, owner: &OwnerRecord) -> bool {
        self.expectations.settled(owner)
    }
}

impl Cache {
    /// What owners held on this server when they were last seen.
    #[must_use]
    pub fn held(&self) -> &Held {
        &self.held
    }

    /// Which rights the credential lacks on this server.
    #[must_use]
    pub fn missing_rights(&self) -> &MissingRights {
        &self.missing_rights
    }

    /// What other clients reverted on this server lately.
    #[must_use]
    pub fn drift_conflicts(&self) -> &DriftConflicts {
        &self.drift_conflicts
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
