//! One kind under one selector: the objects, who wants to hear of changes, and how fresh it is.

use std::{
    collections::BTreeSet,
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
        atomic::{AtomicU64, Ordering},
    },
};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use tokio::sync::watch;

use super::{
    HealthListener, Kept, OwnerRecord, lock,
    memory_budget::{Listing, MemoryBudget},
    objects::{Entry, Index, Objects, OfNamespace},
};
use crate::{cause::ApiCause, error::Failure};

/// Namespace (empty for cluster-scoped kinds) and name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectKey {
    /// Namespace, empty for a cluster-scoped object.
    pub namespace: String,
    /// Name.
    pub name: String,
}

impl ObjectKey {
    /// The key of a namespaced object.
    #[must_use]
    pub fn namespaced(namespace: &str, name: &str) -> Self {
        Self { namespace: namespace.to_owned(), name: name.to_owned() }
    }

    /// The key of a cluster-scoped object.
    #[must_use]
    pub fn cluster_scoped(name: &str) -> Self {
        Self::namespaced("", name)
    }

    /// The key of the object that `meta` belongs to.
    #[must_use]
    pub fn of(meta: &ObjectMeta) -> Self {
        Self { namespace: meta.namespace.clone().unwrap_or_default(), name: meta.name.clone().unwrap_or_default() }
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.namespace.is_empty() {
            write!(formatter, "{}", self.name)
        } else {
            write!(formatter, "{}/{}", self.namespace, self.name)
        }
    }
}

/// What happened to one object. Both sides are given, so that a label that moved from one owner to another enqueues both.
#[derive(Debug)]
pub struct Change<K> {
    /// Before; none if it is new.
    pub old: Option<Arc<K>>,
    /// After; none if it is gone or cannot be decoded any more.
    pub new: Option<Arc<K>>,
    /// Which object.
    pub key: ObjectKey,
}

impl<K> Change<K> {
    /// The sides that are there, the older one first.
    pub fn sides(&self) -> impl Iterator<Item = &K> {
        self.old.as_deref().into_iter().chain(self.new.as_deref())
    }
}

/// An object that is there but does not decode: unknown, not gone.
#[derive(Debug)]
pub struct Undecodable {
    /// Its metadata.
    pub meta: ObjectMeta,
    /// What is wrong with it.
    pub error: String,
}

/// What an informer knows of a key.
#[derive(Debug)]
pub enum Lookup<K> {
    /// The object.
    Found(Arc<K>),
    /// It exists and cannot be decoded.
    Undecodable(Arc<Undecodable>),
    /// It does not exist.
    Absent,
}

type Sink<K> = Box<dyn Fn(&Change<K>) + Send + Sync>;

/// How fresh an informer is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    /// Not listed completely, since the start or since the last gap.
    Syncing,
    /// Listed, and a watch is open.
    Live,
    /// Listed once, but not watched at the moment: what it holds is stale. Or it cannot be listed at all.
    Broken(Failure),
}

impl Health {
    /// The answer of a server that does not let the credential read what is watched.
    #[must_use]
    pub fn refusal(&self) -> Option<&Failure> {
        match self {
            Self::Broken(failure) if failure.cause == ApiCause::Forbidden.into() => Some(failure),
            Self::Broken(_) | Self::Syncing | Self::Live => None,
        }
    }
}

pub(super) struct Shared<K> {
    objects: RwLock<Objects<K>>,
    /// How often the objects changed.
    changes: AtomicU64,
    /// The revision of the server that the objects show.
    reached: AtomicU64,
    sinks: Mutex<Vec<Sink<K>>>,
    health: watch::Sender<Health>,
    listeners: Arc<Mutex<Vec<HealthListener>>>,
    budget: Arc<MemoryBudget>,
}

/// A handle on the cached objects of one kind and selector. Cheap to clone; it never makes a request.
pub struct Informer<K>(Arc<Shared<K>>);

impl<K> Clone for Informer<K> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<K> fmt::Debug for Informer<K> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Informer").finish_non_exhaustive()
    }
}

impl<K: Kept> Informer<K> {
    pub(super) fn new(listeners: Arc<Mutex<Vec<HealthListener>>>, budget: Arc<MemoryBudget>) -> (Self, Arc<Shared<K>>) {
        let shared = Arc::new(Shared {
            objects: RwLock::default(),
            changes: AtomicU64::new(0),
            reached: AtomicU64::new(0),
            sinks: Mutex::default(),
            health: watch::Sender::new(Health::Syncing),
            listeners,
            budget,
        });
        (Self(Arc::clone(&shared)), shared)
    }

    pub(super) fn from_shared(shared: Arc<Shared<K>>) -> Self {
        Self(shared)
    }

    /// The object with this key, if it exists and decodes.
    #[must_use]
    pub fn get(&self, key: &ObjectKey) -> Option<Arc<K>> {
        self.0.read().get(key).and_then(Entry::clone_good)
    }

    /// What is known of this key for certain: nothing while the informer is not live.
    #[must_use]
    pub fn lookup_live(&self, key: &ObjectKey) -> Option<Lookup<K>> {
        (self.health() == Health::Live).then(|| self.lookup(key))
    }

    /// What is known of this key.
    #[must_use]
    pub fn lookup(&self, key: &ObjectKey) -> Lookup<K> {
        match self.0.read().get(key) {
            None => Lookup::Absent,
            Some(entry) => match entry.object() {
                Ok(object) => Lookup::Found(Arc::clone(object)),
                Err(undecodable) => Lookup::Undecodable(Arc::clone(undecodable)),
            },
        }
    }

    /// The keys of all objects, undecodable ones included.
    #[must_use]
    pub fn keys(&self) -> Vec<ObjectKey> {
        self.0.read().keys().cloned().collect()
    }

    /// All objects that decode, in no particular order.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<K>> {
        self.0.read().values().filter_map(Entry::clone_good).collect()
    }

    /// All objects that decode and that `wanted` picks.
    #[must_use]
    pub fn filter(&self, wanted: impl Fn(&K) -> bool) -> Vec<Arc<K>> {
        let objects = self.0.read();
        let good = objects.values().filter_map(|entry| entry.object().ok());
        good.filter(|object| wanted(object)).map(Arc::clone).collect()
    }

    /// All objects whose labels record this owner; one that does not decode is owned as well. It takes the same time however
    /// many others there are.
    #[must_use]
    pub fn owned(&self, owner: &OwnerRecord) -> Vec<Result<Arc<K>, Arc<Undecodable>>> {
        let clone = |entry: &Entry<K>| entry.object().map(Arc::clone).map_err(Arc::clone);
        self.0.read().owned(owner).map(clone).collect()
    }

    /// All objects that decode and that the index `I` has under this key, by their keys. The first call builds the index; from then
    /// on it takes the same time however many others there are.
    #[must_use]
    pub fn indexed<I: Index<K>>(&self, key: &ObjectKey) -> Vec<Arc<K>> {
        if let Some(found) = self.0.read().indexed::<I>(key) {
            return found;
        }
        let mut objects = self.0.write();
        objects.add_index::<I>();
        objects.indexed::<I>(key).unwrap_or_default()
    }

    /// All objects in this namespace that decode, by their names.
    #[must_use]
    pub fn in_namespace(&self, namespace: &str) -> Vec<Arc<K>> {
        self.indexed::<OfNamespace>(&ObjectKey::cluster_scoped(namespace))
    }

    /// The objects that do not decode. It takes the same time however many others there are.
    #[must_use]
    pub fn undecodable(&self) -> Vec<Arc<Undecodable>> {
        self.0.read().undecodable().filter_map(|entry| entry.object().err().map(Arc::clone)).collect()
    }

    /// The owners of this kind that are recorded on any object, undecodable ones included.
    #[must_use]
    pub fn recorded_owners(&self, kind: &str) -> Vec<ObjectKey> {
        let objects = self.0.read();
        let recorded = objects.values().filter_map(|entry| OwnerRecord::recorded(entry.meta(), kind));
        recorded.collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// How many objects there are, undecodable ones included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.read().len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How fresh it is.
    #[must_use]
    pub fn health(&self) -> Health {
        self.0.health.borrow().clone()
    }

    /// Why nothing is known of the kind, where the server does not let the credential read it. What was known before is stale.
    #[must_use]
    pub fn refusal(&self) -> Option<Failure> {
        self.health().refusal().cloned()
    }

    /// Waits until it is listed and watched.
    pub async fn live(&self) {
        // The sender lives in the same allocation as this handle, so waiting cannot fail.
        let _ = self.0.health.subscribe().wait_for(|health| *health == Health::Live).await;
    }

    /// Whether the cache has seen version `resource_version` of the object with this `uid`, or something later, its end
    /// included.
    #[must_use]
    pub fn has_seen(&self, key: &ObjectKey, uid: Option<&str>, resource_version: Option<&str>) -> bool {
        let objects = self.0.read();
        let Some(entry) = objects.get(key) else {
            return self.0.reached.load(Ordering::Acquire) >= revision(resource_version);
        };
        let (live_uid, live_version) = entry.version();
        live_uid != uid || revision(live_version) >= revision(resource_version)
    }

    /// Whether the object with this `uid` is gone, or on its way out.
    #[must_use]
    pub fn has_lost(&self, key: &ObjectKey, uid: Option<&str>) -> bool {
        let objects = self.0.read();
        objects
            .get(key)
            .is_none_or(|entry| entry.meta().uid.as_deref() != uid || entry.meta().deletion_timestamp.is_some())
    }

    /// Tells `sink` every change from now on, after a replay of what is known. It is called under the informer's lock: it must
    /// not block nor read the informer, only map the change to keys and push them into a queue.
    pub fn subscribe(&self, sink: impl Fn(&Change<K>) + Send + Sync + 'static) {
        let mut sinks = lock(&self.0.sinks);
        for (key, entry) in self.0.read().iter() {
            sink(&Change { old: None, new: entry.clone_good(), key: key.clone() });
        }
        sinks.push(Box::new(sink));
    }
}

impl<K: Kept> Shared<K> {
    fn read(&self) -> RwLockReadGuard<'_, Objects<K>> {
        self.objects.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Objects<K>> {
        self.objects.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Stores what is new of one object, and says whether the cache can hold it.
    pub(super) fn put(&self, new: Entry<K>) -> bool {
        let key = ObjectKey::of(new.meta());
        let mut fits = true;
        self.tell(|objects| {
            let (good, added) = (new.clone_good(), new.weight());
            let old = objects.insert(new);
            fits = self.budget.change(added, old.as_ref().map_or(0, Entry::weight));
            // A list may be newer than the watch that follows it: what is known already is not reported again.
            let same =
                old.as_ref().is_some_and(|old| objects.get(&key).is_some_and(|new| new.version() == old.version()));
            if same { Vec::new() } else { vec![Change { old: old.and_then(Entry::good), new: good, key }] }
        });
        fits
    }

    pub(super) fn remove(&self, meta: &ObjectMeta) {
        let key = ObjectKey::of(meta);
        self.tell(|objects| match objects.remove(&key) {
            Some(old) => {
                self.budget.change(0, old.weight());
                vec![Change { old: old.good(), new: None, key }]
            }
            None => Vec::new(),
        });
    }

    /// After a list: only real differences are reported, and what vanished in the meantime is reported as deleted.
    pub(super) fn replace(&self, listed: Objects<K>) {
        self.tell(|objects| {
            let mut before = std::mem::replace(objects, listed);
            objects.add_indexes_of(&before);
            let sum = |objects: &Objects<K>| objects.values().map(Entry::weight).sum();
            self.budget.change(sum(objects), sum(&before));
            let mut told = Vec::new();
            for (key, entry) in objects.iter() {
                let old = before.remove(key);
                if old.as_ref().map(Entry::version) != Some(entry.version()) {
                    told.push(Change { old: old.and_then(Entry::good), new: entry.clone_good(), key: key.clone() });
                }
            }
            told.extend(before.into_entries().map(|(key, old)| Change { old: old.good(), new: None, key }));
            told
        });
    }

    /// The sinks' lock is held over storing and telling: order stays exact, and a late subscriber's replay misses nothing.
    fn tell(&self, change: impl FnOnce(&mut Objects<K>) -> Vec<Change<K>>) {
        let sinks = lock(&self.sinks);
        let told = change(&mut self.write());
        // After the objects: who reads this first, and then the objects, never takes older ones for newer.
        self.changes.fetch_add(1, Ordering::AcqRel);
        for change in &told {
            for sink in sinks.iter() {
                // A defect in one subscriber must neither end the reflector nor keep the change from the others.
                if catch_unwind(AssertUnwindSafe(|| sink(change))).is_err() {
                    tracing::error!(kind = K::kind(&()).as_ref(), object = %change.key, "a subscriber panicked");
                }
            }
        }
    }

    /// A list that begins.
    pub(super) fn listing(&self) -> Listing {
        self.budget.listing()
    }

    /// Notes that the server sent what is not even looked at.
    pub(super) fn exceed(&self) {
        self.budget.exceed();
    }

    /// Notes what the server has told up to, and answers what it was before: a server can go back in time.
    pub(super) fn reached(&self, revision: u64) -> u64 {
        self.reached.swap(revision, Ordering::AcqRel)
    }

    /// Notes how fresh it is, and says whether that is new.
    pub(super) fn set_health(&self, health: Health) -> bool {
        let changed = self.health.send_if_modified(|current| {
            let changed = *current != health;
            *current = health;
            changed
        });
        if changed {
            let listeners = lock(&self.listeners).clone();
            for listener in listeners {
                listener();
            }
        }
        changed
    }
}

/// An informer of any kind, for those who only ask how fresh it is.
pub trait AnyInformer: Send + Sync {
    /// How fresh it is.
    fn health(&self) -> Health;

    /// Grows whenever an object changes.
    fn changes(&self) -> u64;
}

impl<K: Kept> AnyInformer for Informer<K> {
    fn health(&self) -> Health {
        Informer::health(self)
    }

    fn changes(&self) -> u64 {
        self.0.changes.load(Ordering::Acquire)
    }
}

/// Resource versions are comparable numbers (Kubernetes API concepts, since 1.35 officially); anything else counts as old.
#[must_use]
pub fn revision(resource_version: Option<&str>) -> u64 {
    resource_version.and_then(|version| version.parse().ok()).unwrap_or(0)
}
