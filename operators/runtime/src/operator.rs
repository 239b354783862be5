//! The shape that every operator has.

use std::{
    fmt,
    sync::{Arc, Weak},
    time::Duration,
};

use drover_crds::condition::StatusConditions;
use k8s_openapi::jiff::Timestamp;
use kube::{Resource, core::object::HasStatus};
use serde::Serialize;
use tokio::time::Instant;

use crate::{
    cache::{AnyInformer, Cache, Change, Informer, Kept, LabelQuery, ObjectKey, OwnerRecord},
    cause::Cause,
    error::Classify,
    place::{FleetView, Place, PlaceContext, Targets},
    place_status::PlaceStatuses,
    queue::Queue,
    rights::Rights,
    task::Task,
    write::Writer,
};

/// The status of an operator's kind.
pub type StatusOf<O> = <<O as Operator>::Kind as HasStatus>::Status;

/// One kind of object and how it is converged: `observe` gathers, `plan` decides, `act` does, `summarise` tells.
///
/// The shell does everything else: keys, order, back-off, finalizer, panics, status writes, events, metrics.
pub trait Operator: Send + Sync + Sized + 'static {
    /// Field manager `drover-<name>`, finalizer, event reporter and metric label.
    const NAME: &'static str;
    /// The tables of causes that its status may name, besides those of the runtime.
    const CAUSES: &'static [&'static [Cause]];
    /// Whether objects of this kind must be torn down before they may vanish.
    const FINALIZER: bool;
    /// What it needs at API servers. Roles, charts and the check of a credential's rights come from it.
    const RIGHTS: Rights;

    /// The kind that people write.
    type Kind: Kept + HasStatus<Status: StatusConditions + Serialize + Clone + PartialEq + Send + Sync> + Serialize;
    /// What is known at one place when a decision is made.
    type World: Send + Sync;
    /// One idempotent change.
    type Action: Send + fmt::Debug;
    /// What one place contributes to the status.
    type PlaceStatus: Clone + PartialEq + Send + Sync + fmt::Debug;
    /// What may go wrong.
    type Error: Classify;

    /// The other kinds of the management cluster that it reads, by [`PlaceContext::related`], and whom a change of them concerns.
    /// Called once, at the start. Decisions wait until all of them are known.
    fn related(_related: &mut Related<'_>) {}

    /// Where this object is reconciled. Pure.
    fn targets(object: &Self::Kind, fleet: &FleetView) -> Targets;

    /// What is watched at a place, and what wakes a key there. Called once per connection, before the first reconcile.
    fn watches(watches: &mut Watches<'_, Self>);

    /// Gathers the world at one place. Decides nothing.
    fn observe(
        &self,
        owner: Owner<'_, Self::Kind>,
        place: &PlaceContext,
    ) -> impl Future<Output = Result<Self::World, Self::Error>> + Send;

    /// Decides for an object that is to be at this place. Pure: no client, no clock.
    fn plan(object: &Self::Kind, world: &Self::World, now: Timestamp) -> Plan<Self>;

    /// Decides for an owner that is to be at this place no more: it is being deleted, does not select the cluster any more, or
    /// is gone; or the Cluster is being deleted. Pure.
    fn clean_up(owner: Owner<'_, Self::Kind>, world: &Self::World, now: Timestamp) -> Plan<Self>;

    /// Does one action. Done twice it must end the same.
    fn act(
        &self,
        owner: Owner<'_, Self::Kind>,
        place: &PlaceContext,
        action: Self::Action,
    ) -> impl Future<Output = Result<(), Self::Error>> + Send;

    /// Joins what all places say to one status. Pure. Transition times and `observedGeneration` are the shell's.
    fn summarise(object: &Self::Kind, statuses: &PlaceStatuses<Self::PlaceStatus>, now: Timestamp) -> StatusOf<Self>;
}

/// What `plan` decided for one place.
pub struct Plan<O: Operator> {
    /// What this place contributes to the status.
    pub place_status: O::PlaceStatus,
    /// What to do, group by group and in order. A failure ends its group, so a grant never follows a guard that failed before
    /// it; the other groups go on, unless the failure is about the whole server.
    pub groups: Vec<Vec<O::Action>>,
    /// What comes after the actions.
    pub requeue: Requeue,
}

impl<O: Operator> fmt::Debug for Plan<O> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = formatter.debug_struct("Plan");
        debug
            .field("place_status", &self.place_status)
            .field("groups", &self.groups)
            .field("requeue", &self.requeue)
            .finish()
    }
}

impl<O: Operator> Plan<O> {
    /// Whether there is nothing to do.
    pub fn is_idle(&self) -> bool {
        self.groups.iter().all(Vec::is_empty)
    }

    /// The actions of all groups.
    pub fn actions(&self) -> impl Iterator<Item = &O::Action> {
        self.groups.iter().flatten()
    }
}

/// On whose behalf something is done at a place.
pub enum Owner<'a, K> {
    /// An object that exists.
    Present(&'a K),
    /// An object that is being deleted.
    Deleting(&'a K),
    /// An object that is gone, and is still recorded on what it owned.
    Gone(&'a ObjectKey),
}

impl<K> Clone for Owner<'_, K> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<K> Copy for Owner<'_, K> {}

impl<'a, K: Resource> Owner<'a, K> {
    /// The owner that this object is.
    pub fn of(object: &'a K) -> Self {
        if object.meta().deletion_timestamp.is_some() { Self::Deleting(object) } else { Self::Present(object) }
    }

    /// The object, unless it is gone.
    #[must_use]
    pub fn object(self) -> Option<&'a K> {
        match self {
            Self::Present(object) | Self::Deleting(object) => Some(object),
            Self::Gone(_) => None,
        }
    }

    /// Its namespace and name.
    #[must_use]
    pub fn key(self) -> ObjectKey {
        match self {
            Self::Present(object) | Self::Deleting(object) => ObjectKey::of(object.meta()),
            Self::Gone(key) => key.clone(),
        }
    }
}

/// When a place is looked at again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Requeue {
    /// When a watch tells of a change.
    Watch,
    /// At this time at the latest.
    At(Timestamp),
    /// Never: the object is being deleted, and nothing is left to do here.
    Released,
}

/// The owner record of an object of this operator.
pub fn owner_of<O: Operator>(object: &O::Kind) -> OwnerRecord {
    record_of::<O>(ObjectKey::of(object.meta()))
}

/// The owner record of the object with this key.
#[must_use]
pub fn record_of<O: Operator>(key: ObjectKey) -> OwnerRecord {
    OwnerRecord { kind: kind_of::<O>(), key }
}

/// The kind's name, which the owner labels record.
pub(crate) fn kind_of<O: Operator>() -> &'static str {
    match O::Kind::kind(&()) {
        std::borrow::Cow::Borrowed(kind) => kind,
        // Derived kinds are static text.
        std::borrow::Cow::Owned(_) => O::NAME,
    }
}

impl PlaceContext {
    /// Writes here on behalf of `owner`.
    #[must_use]
    pub fn writer<O: Operator>(&self, owner: Owner<'_, O::Kind>) -> Writer {
        let uid = owner.object().and_then(|object| object.meta().uid.as_deref()).unwrap_or_default();
        Writer::new(self.cache.clone(), field_manager::<O>(), record_of::<O>(owner.key()), uid)
    }

    /// All `K` of the management cluster, which the operator declared in [`Operator::related`].
    #[must_use]
    pub fn related<K: Kept>(&self) -> Informer<K> {
        self.management.informer(&LabelQuery::everything())
    }

    /// Lets go here of what the absent `holder` left: who was there before is on record, and may come back.
    #[must_use]
    pub fn writer_in_the_name_of<O: Operator>(&self, holder: ObjectKey) -> Writer {
        let owner = OwnerRecord { kind: kind_of::<O>(), key: holder };
        Writer::new(self.cache.clone(), field_manager::<O>(), owner, "")
    }
}

/// Under which name an operator writes.
#[must_use]
pub fn field_manager<O: Operator>() -> String {
    format!("drover-{}", O::NAME)
}

/// The finalizer that an operator puts on its objects.
#[must_use]
pub fn finalizer<O: Operator>() -> String {
    format!("{}/{}", drover_crds::GROUP, O::NAME)
}

/// Wakes keys of one operator at one place.
#[derive(Clone)]
pub struct Enqueuer {
    queue: Weak<Queue<Task>>,
    place: Place,
}

impl Enqueuer {
    pub(crate) fn new(queue: Weak<Queue<Task>>, place: Place) -> Self {
        Self { queue, place }
    }

    /// Runs a reconcile of `object` at this place as soon as possible.
    pub fn now(&self, object: ObjectKey) {
        self.after(object, Duration::ZERO);
    }

    /// Runs a reconcile of `object` at this place within `delay`; many wakes within it cost one reconcile.
    pub fn after(&self, object: ObjectKey, delay: Duration) {
        if let Some(queue) = self.queue.upgrade() {
            queue.push_at(Task::AtPlace(object, self.place.clone()), Instant::now() + delay);
        }
    }
}

/// Reconciles one object at all its places.
type EnqueueEverywhere = Arc<dyn Fn(ObjectKey) + Send + Sync>;

/// Collects which other kinds of the management cluster an operator reads.
pub struct Related<'a> {
    management: &'a Cache,
    everywhere: EnqueueEverywhere,
    informers: Vec<Box<dyn AnyInformer>>,
}

impl<'a> Related<'a> {
    pub(crate) fn new(management: &'a Cache, everywhere: EnqueueEverywhere) -> Self {
        Self { management, everywhere, informers: Vec::new() }
    }

    pub(crate) fn into_informers(self) -> Vec<Box<dyn AnyInformer>> {
        self.informers
    }

    /// The operator reads all `K`. `concerns` names the objects that a change concerns: they are reconciled at all their places.
    /// It is called under a lock and must not block.
    pub fn on<K: Kept>(&mut self, concerns: impl Fn(&Change<K>) -> Vec<ObjectKey> + Send + Sync + 'static) {
        let informer = self.management.informer::<K>(&LabelQuery::everything());
        let everywhere = Arc::clone(&self.everywhere);
        informer.subscribe(move |change| concerns(change).into_iter().for_each(|key| everywhere(key)));
        self.informers.push(Box::new(informer));
    }
}

/// Finds out who owns something at a place, by the records on it.
type RecordedOwners = Box<dyn Fn() -> Vec<ObjectKey> + Send + Sync>;

/// Collects what an operator watches at one place.
pub struct Watches<'a, O: Operator> {
    context: &'a PlaceContext,
    enqueuer: Enqueuer,
    informers: Vec<Box<dyn AnyInformer>>,
    owners: Vec<RecordedOwners>,
    operator: std::marker::PhantomData<O>,
}

impl<'a, O: Operator> Watches<'a, O> {
    pub(crate) fn new(context: &'a PlaceContext, enqueuer: Enqueuer) -> Self {
        Self { context, enqueuer, informers: Vec::new(), owners: Vec::new(), operator: std::marker::PhantomData }
    }

    pub(crate) fn into_informers_and_owners(self) -> (Vec<Box<dyn AnyInformer>>, Vec<RecordedOwners>) {
        (self.informers, self.owners)
    }

    /// Where the watches run.
    #[must_use]
    pub fn context(&self) -> &PlaceContext {
        self.context
    }

    /// Watches every `K` that objects of this operator own, and wakes the owner that is recorded on it. When the place is
    /// connected, owners that are gone by then, or do not select the place any more, are reconciled once as well.
    pub fn owned<K: Kept>(&mut self) {
        let informer = self.context.cache.informer::<K>(&OwnerRecord::query(kind_of::<O>()));
        self.owners.push(Box::new(move || informer.recorded_owners(kind_of::<O>())));
        self.on::<K>(&OwnerRecord::query(kind_of::<O>()), |change, enqueuer| {
            for meta in change.sides().map(Resource::meta) {
                if let Some(owner) = OwnerRecord::recorded(meta, kind_of::<O>()) {
                    enqueuer.now(owner);
                }
            }
        });
    }

    /// Watches every `K` that `query` selects; `react` maps a change to wakes. It must not block.
    pub fn on<K: Kept>(&mut self, query: &LabelQuery, react: impl Fn(&Change<K>, &Enqueuer) + Send + Sync + 'static) {
        let informer = self.context.cache.informer::<K>(query);
        let enqueuer = self.enqueuer.clone();
        informer.subscribe(move |change| react(change, &enqueuer));
        self.informers.push(Box::new(informer));
    }
}
