//! What every operator implements: the trait [`Operator`], the [`Plan`]s that it makes, and the watches that it declares.
//!
//! An operator says what is particular to its kind. All the rest is the runtime's, and is documented on [`Operator`]: what it
//! guarantees, what it expects, and what it does on each class of failure.

use std::{
    fmt, mem,
    sync::{Arc, Weak},
    time::Duration,
};

use drover_accounts::{AccountClient, AccountError, AccountName, Accounts};
use drover_crds::condition::StatusConditions;
use k8s_openapi::jiff::Timestamp;
use kube::{Resource, core::object::HasStatus};
use serde::Serialize;
use tokio::time::Instant;

use crate::{
    cache::{AnyInformer, Cache, Change, Health, Informer, Kept, LabelQuery, ObjectKey, OwnerRecord},
    cause::Cause,
    error::Classify,
    place::{FleetView, Place, PlaceContext, Targets},
    place_status::PlaceStatuses,
    queue::Queue,
    request::Urgency,
    rights::Rights,
    task::Task,
    write::{Author, Writer},
};

/// The status of an operator's kind.
pub type StatusOf<O> = <<O as Operator>::Kind as HasStatus>::Status;

/// One kind of object and how it is converged: `observe` gathers, `plan` decides, `act` does, `summarise` joins.
///
/// The runtime reconciles each object at each of its places ([`Operator::targets`]) on its own; the pair is a *key*.
///
/// # What the runtime guarantees
///
/// - **Keys are serialised.** A key never runs twice at a time. Different keys run in parallel, bounded in total and per place,
///   so a slow cluster delays only its own keys. Many changes of one object within a moment cost one reconcile.
/// - **Decisions see a live cache.** `observe` is called only while everything in [`watches`](Self::watches) and
///   [`related`](Self::related) is live, but for what is declared [`optional`](Watches::optional) and refused by the server. What
///   cannot be read or decoded is unknown, never gone.
/// - **Read your writes.** A key waits until the cache shows what its last reconcile wrote by a [`Writer`].
/// - **A decision holds only for the connection that it was made on.** Before each action the connection must be the one that
///   was observed, and the Cluster must still exist and be suspended or not as before. Otherwise the rest is decided anew.
/// - **Groups.** The actions of a group are done in order, and a failure ends the group. Groups go side by side, 16 at a time, and
///   independent of each other. After a failure about the whole server no action begins.
/// - **Urgent requests go first.** Requests of all operators to one cluster share a budget: those of a revocation are sent before
///   those of guards, before the rest, and within each the operators take turns.
/// - **Long work shows how far it is.** After 5 s no further action of a plan begins; the rest is decided anew.
/// - **Panics and hangs are caught.** A reconcile that panics, or takes longer than two minutes, ends alone and is reported.
/// - **Back-off.** A key that fails is retried with exponential back-off and full jitter, from 1 s up to 5 min.
/// - **Finalizer.** With [`FINALIZER`](Self::FINALIZER) it is set before the first action, and removed when `clean_up` has
///   returned [`Requeue::Released`] at every place.
/// - **A deletion ends.** With [`deletion_timeout`](Self::deletion_timeout) no place holds it up for ever. While Drover runs, what stays
///   is cleaned up for [`Owner::Abandoned`] once the place can be worked on.
/// - **Left-behind objects are cleaned up.** When a place connects, each owner that is recorded on an object there (of a kind
///   in [`Watches::owned`]) and is gone, or does not select the place any more, gets one reconcile that ends in `clean_up`.
/// - **The status is written only on difference**, at most once per second and object. The runtime adds transition times and
///   `observedGeneration` and publishes an event when a condition changes. After a start it waits until every place has a
///   verdict: for a minute at most, or longer where the stored status already judges the present spec.
///
/// # What the runtime expects
///
/// - `targets`, `plan`, `clean_up` and `summarise` are pure: no client, no clock, no global state. Equal input gives equal output.
/// - Every action is idempotent, and any prefix of a plan followed by a restart converges to the same state. What a
///   decision has to remember, an action records before it matters.
/// - A converged world gives a plan without actions: the runtime repeats the reconcile after each plan that has some.
/// - `watches`, `related` and the closures given to them never block, and make no request: most run under a lock.
/// - `observe` decides nothing and writes nothing. It reads the cache; a request is for what no watch can show.
/// - Texts of errors and statuses are functions of cause and stable names, so that equal states give equal statuses.
///
/// # What the runtime does on failures
///
/// Errors are [`Classify`]; the [`Class`](crate::Class) of their cause decides:
///
/// | class | next reconcile | rest of the plan | reported in the status |
/// |---|---|---|---|
/// | `Transient` | after a back-off; the probe of the cluster is brought forward | dropped | from the third failure in a row |
/// | `Conflict` | at once, with back-off from the third in a row | other groups go on | from the third failure in a row |
/// | `Blocked` | when its watch enqueues the key, or after a minute | other groups go on | at once |
/// | `Unreachable` | on reconnect, or after a back-off; the probe is brought forward | dropped | as unreachable, from the third in a row |
/// | `Invalid` | when the object changes, or after a minute | other groups go on | at once |
/// | `Bug` (panics and time-outs too) | after a back-off | dropped | at once, and logged as an error |
///
/// Until a failure is reported, the last verdict stands. A cluster that is not connected is no failure: its keys wait, its place
/// is [`Unreachable`](crate::PlaceState::Unreachable), and its last [`PlaceStatus`](Self::PlaceStatus) is kept. An object that
/// does not decode is reported on itself and otherwise left as it is.
///
/// # Example
///
/// A complete operator; the crate in `examples/operator` does the same on many clusters.
///
/// ```
/// use std::collections::{BTreeMap, BTreeSet};
///
/// use drover_crds::condition::status_conditions;
/// use drover_runtime::{
///     Cause, Inputs, Operator, Outcome, Owner, Place, PlaceContext, PlaceStatuses, Plan, Requeue, Rights, Rule, Tally,
///     Targets, Watches, WriteError, operator::record_of, owned::{Change, Owned, difference}, status::ready_conditions,
/// };
/// use k8s_openapi::api::core::v1::ConfigMap;
/// use k8s_openapi::{apimachinery::pkg::apis::meta::v1::Condition, jiff::Timestamp};
/// use kube::{CustomResource, ResourceExt};
/// use serde::{Deserialize, Serialize};
///
/// /// Writes a text into a `ConfigMap` beside it.
/// #[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
/// #[kube(group = "docs.drover.dev", version = "v1", kind = "Greeting", namespaced, status = "GreetingStatus")]
/// struct GreetingSpec { text: String }
///
/// #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
/// #[serde(rename_all = "camelCase", default)]
/// struct GreetingStatus { observed_generation: i64, conditions: Vec<Condition> }
/// status_conditions!(GreetingStatus);
///
/// struct GreetingOperator;
///
/// impl Operator for GreetingOperator {
///     const NAME: &'static str = "greeting";
///     const CAUSES: &'static [&'static [Cause]] = &[];
///     const FINALIZER: bool = false;
///     const RIGHTS: Rights = Rights { management: &[
///         Rule::on("docs.drover.dev", &["greetings"], &["get", "list", "watch"]),
///         Rule::on("docs.drover.dev", &["greetings/status"], &["patch"]),
///         Rule::on("", &["configmaps"], &["get", "list", "watch", "create", "patch", "delete"]),
///     ], ..Rights::NONE };
///     type Kind = Greeting;
///     type World = Vec<Owned<ConfigMap>>;
///     type Action = Change<ConfigMap>;
///     type PlaceStatus = Outcome;
///     type Error = WriteError;
///
///     fn targets(_: &Greeting, _: &Inputs<'_>) -> Targets { BTreeSet::from([Place::Management]).into() }
///     fn watches(watches: &mut Watches<'_, Self>) { watches.owned::<ConfigMap>(); }
///     async fn observe(&self, owner: Owner<'_, Greeting>, place: &PlaceContext) -> Result<Self::World, WriteError> {
///         Ok(Owned::at(place, &record_of::<Self>(owner.key())))
///     }
///     fn plan(greeting: &Greeting, world: &Self::World, _: Timestamp) -> Plan<Self> {
///         let data = BTreeMap::from([("text".to_owned(), greeting.spec.text.clone())]);
///         let mut wanted = ConfigMap { data: Some(data), ..ConfigMap::default() };
///         (wanted.metadata.name, wanted.metadata.namespace) = (Some(greeting.name_any()), greeting.namespace());
///         let changes = difference(vec![wanted], world, |_| serde_json::Value::Null).changes;
///         let place_status = if changes.is_empty() { Outcome::Ready } else { Outcome::Progressing };
///         Plan { place_status, groups: vec![changes], requeue: Requeue::Watch }
///     }
///     fn clean_up(_: Owner<'_, Greeting>, world: &Self::World, _: Timestamp) -> Plan<Self> {
///         let changes = difference(Vec::new(), world, |_| serde_json::Value::Null).changes;
///         let requeue = if world.is_empty() { Requeue::Released } else { Requeue::Watch };
///         Plan { place_status: Outcome::Progressing, groups: vec![changes], requeue }
///     }
///     async fn act(&self, owner: Owner<'_, Greeting>, place: &PlaceContext, change: Self::Action) -> Result<(), WriteError> {
///         change.carry_out::<Self>(owner, place).await
///     }
///     fn summarise(_: &Greeting, statuses: &PlaceStatuses<Outcome>, _: Timestamp) -> GreetingStatus {
///         let ready = Tally::of(statuses, |outcome| *outcome).readiness(false);
///         let conditions = ready_conditions(ready.state, ready.cause, &ready.message, ready.activity);
///         GreetingStatus { conditions, ..GreetingStatus::default() }
///     }
/// }
///
/// let greeting = Greeting::new("hello", GreetingSpec { text: "Good morning".to_owned() });
/// let plan = GreetingOperator::plan(&greeting, &Vec::new(), Timestamp::UNIX_EPOCH);
/// assert_eq!(format!("{:?}", plan.groups), "[[create ConfigMap hello]]");
/// ```
pub trait Operator: Send + Sync + Sized + 'static {
    /// Field manager `drover-<name>`, finalizer, event reporter and metric label.
    const NAME: &'static str;
    /// The tables of causes that its status may name, besides those of the runtime.
    const CAUSES: &'static [&'static [Cause]];
    /// Whether objects of this kind must be torn down before they may vanish.
    const FINALIZER: bool;
    /// Whether it looks at clusters that Drover has not claimed yet, as what reports on them does. It writes nothing there.
    const BEFORE_CLAIM: bool = false;
    /// Whether what the clusters say of an object is put together at the management cluster: a change of it enqueues the object there, and
    /// [`reduce`](Self::reduce) gets it.
    const REDUCES: bool = false;
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

    /// The other kinds of the management cluster that it reads, by [`PlaceContext::related`], and which objects a change of
    /// them concerns. Called once, at the start; it must not block. Decisions wait until all of them are known.
    fn related(_related: &mut Related<'_>) {}

    /// How long the deletion of this object waits at most for places that are unreachable or do not let it finish. Then it ends, an
    /// event names what stays, and that is cleaned up for [`Owner::Abandoned`] when the place can be worked on. None: no limit.
    fn deletion_timeout(_object: &Self::Kind) -> Option<Duration> {
        None
    }

    /// Where this object is reconciled. Pure.
    ///
    /// It sees one object, the fleet, and the other kinds that the operator declared by [`Related::placing`]. Whether another object
    /// uses this one, so that it must stay, is decided in `plan` and `clean_up`, from what `observe` finds by
    /// [`PlaceContext::related`].
    ///
    /// A namespaced kind that selects clusters calls `targets::of` of the crate drover-fleet; a kind that selects them in another
    /// way calls `targets::selected_by` with its rule. Both answer as follows, and any other answer has to keep to it: a place too
    /// many holds up a deletion, and at one too few something stays for ever.
    ///
    /// | the Cluster | the object lives | the object is being deleted |
    /// |---|---|---|
    /// | is selected, and admits the object | a target | a target, unless the cluster is known to be foreign |
    /// | is named, and does not admit it | a target, which reports that | a target, unless it is known to be foreign |
    /// | is selected without its name, and does not admit it | counted in [`Targets::refused`] | a target, unless it is disconnected |
    /// | is not selected | no target; what is left there is found by its labels | the same, and in [`Targets::only_tried`] |
    /// | exists and cannot be read | a target if it is named | a target: it may hold something |
    /// | is being deleted with `Orphan` | no target | no target |
    /// | is being deleted with `Delete` | a target while connected, selected or not | a target while connected; else as above |
    ///
    /// While a Cluster is being deleted with `Delete`, `clean_up` decides there for every object, so that all is released.
    fn targets(object: &Self::Kind, inputs: &Inputs<'_>) -> Targets;

    /// What is watched at a place, and what enqueues a key there. Called once per connection, before the first reconcile. It
    /// must not block.
    fn watches(watches: &mut Watches<'_, Self>);

    /// Gathers the world at one place. Decides nothing and writes nothing.
    fn observe(
        &self,
        owner: Owner<'_, Self::Kind>,
        place: &PlaceContext,
    ) -> impl Future<Output = Result<Self::World, Self::Error>> + Send;

    /// Adds to the world at the management cluster what all places of the object said last, of an operator that
    /// [`REDUCES`](Self::REDUCES). Pure. A place without a verdict is unknown; one that is no place any more is not among them.
    fn reduce(_world: &mut Self::World, _places: &PlaceStatuses<Self::PlaceStatus>) {}

    /// Decides for an object that is to be at this place. Pure: no client, no clock.
    fn plan(object: &Self::Kind, world: &Self::World, now: Timestamp) -> Plan<Self>;

    /// Decides for an owner that is to be at this place no more: it is being deleted, does not select the cluster any more, or
    /// is gone; or the Cluster is being deleted. Pure.
    fn clean_up(owner: Owner<'_, Self::Kind>, world: &Self::World, now: Timestamp) -> Plan<Self>;

    /// The namespace that an action is about, which the status names if the action is refused; none if it is about the whole
    /// place. Pure.
    fn namespace_of(_action: &Self::Action) -> Option<String> {
        None
    }

    /// Does one action. It must be idempotent: done twice it ends the same.
    fn act(
        &self,
        owner: Owner<'_, Self::Kind>,
        place: &PlaceContext,
        action: Self::Action,
    ) -> impl Future<Output = Result<(), Self::Error>> + Send;

    /// How urgent an action is among the requests of all operators to a cluster. Pure. What takes a right away, or may do so, is
    /// a [`Urgency::Revocation`]: an apply too, where it replaces who has a right or which one.
    fn urgency(_action: &Self::Action) -> Urgency {
        Urgency::Rest
    }

    /// Joins the statuses of all places to one status. Pure. The runtime sets transition times and `observedGeneration`.
    fn summarise(object: &Self::Kind, statuses: &PlaceStatuses<Self::PlaceStatus>, now: Timestamp) -> StatusOf<Self>;
}

/// What `plan` decided for one place.
pub struct Plan<O: Operator> {
    /// What this place contributes to the status.
    pub place_status: O::PlaceStatus,
    /// What to do: groups side by side, and each in its order. A failure ends its group, so a grant never follows a guard that
    /// failed before it; the other groups go on, unless the failure is about the whole server.
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

/// The object on behalf of which something is done at a place.
pub enum Owner<'a, K> {
    /// An object that exists.
    Present(&'a K),
    /// An object that is being deleted.
    Deleting(&'a K),
    /// An object that is gone, and is still recorded on what it owned.
    Gone(&'a ObjectKey),
    /// The same, and its deletion did not wait for this place any more: what it owned there is to be given up.
    Abandoned(&'a ObjectKey),
}

impl<K> Clone for Owner<'_, K> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<K> Copy for Owner<'_, K> {}

impl<'a, K: Resource> From<&'a K> for Owner<'a, K> {
    fn from(object: &'a K) -> Self {
        Self::of(object)
    }
}

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
            Self::Gone(_) | Self::Abandoned(_) => None,
        }
    }

    /// Its namespace and name.
    #[must_use]
    pub fn key(self) -> ObjectKey {
        match self {
            Self::Present(object) | Self::Deleting(object) => ObjectKey::of(object.meta()),
            Self::Gone(key) | Self::Abandoned(key) => key.clone(),
        }
    }
}

/// When an object is reconciled at a place again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Requeue {
    /// When a watch shows a change.
    Watch,
    /// At this time at the latest.
    At(Timestamp),
    /// Never: nothing of the owner is left here. Only `clean_up` says so: the owner is being deleted, is gone or does not select
    /// the cluster any more, or the Cluster is being deleted. An owner that is being deleted loses its finalizer once every place
    /// that is waited for says so.
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
        let Author { owner, uid, .. } = Author::of::<O>(owner);
        Writer::new(self.cache.clone(), field_manager::<O>(), owner, &uid).of_installation(self.fleet.installation())
    }

    /// Sends requests here as this account, with its token only: nothing is ever sent with the credential of Drover instead. It is
    /// an error at the management cluster, where no app runs; the Cluster `local` is another place.
    pub fn as_account(&self, account: &AccountName) -> Result<AccountClient, AccountError> {
        let accounts = self.cache.attached::<Accounts>().ok_or(AccountError::Unavailable)?;
        Ok(accounts.client(account))
    }

    /// All `K` of the management cluster, which the operator declared in [`Operator::related`].
    #[must_use]
    pub fn related<K: Kept>(&self) -> Informer<K> {
        self.management.informer(&LabelQuery::everything())
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

/// Enqueues keys of one operator at one place.
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

    /// Runs a reconcile of `object` at this place within `delay`; many calls within it cost one reconcile.
    pub fn after(&self, object: ObjectKey, delay: Duration) {
        if let Some(queue) = self.queue.upgrade() {
            queue.push_at(Task::AtPlace(object, self.place.clone()), Instant::now() + delay);
        }
    }
}

/// What the places of an object depend on besides the object.
#[derive(Clone, Copy, Debug)]
pub struct Inputs<'a> {
    /// The clusters.
    pub fleet: &'a FleetView,
    management: &'a Cache,
}

impl<'a> Inputs<'a> {
    /// The fleet, and what is known of the management cluster.
    #[must_use]
    pub fn new(fleet: &'a FleetView, management: &'a Cache) -> Self {
        Self { fleet, management }
    }

    /// All `K` of the management cluster, which the operator declared by [`Related::placing`].
    #[must_use]
    pub fn related<K: Kept>(&self) -> Informer<K> {
        self.management.informer(&LabelQuery::everything())
    }
}

/// Enqueues one object at all its places, and as a whole if these may be others now.
type EnqueueEverywhere = Arc<dyn Fn(ObjectKey, Concerns) + Send + Sync>;

/// What a change of a related object concerns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Concerns {
    /// What is decided at the places.
    Decisions,
    /// Which places there are, too.
    Places,
}

/// What an operator reads of other kinds.
#[derive(Default)]
pub(crate) struct RelatedInformers {
    /// What decisions wait for.
    pub(crate) read: Informers,
    /// The places of every object wait for these.
    pub(crate) placing: Vec<Box<dyn AnyInformer>>,
}

/// Collects which other kinds of the management cluster an operator reads.
pub struct Related<'a> {
    management: &'a Cache,
    everywhere: EnqueueEverywhere,
    informers: RelatedInformers,
}

impl<'a> Related<'a> {
    pub(crate) fn new(management: &'a Cache, everywhere: EnqueueEverywhere) -> Self {
        Self { management, everywhere, informers: RelatedInformers::default() }
    }

    pub(crate) fn into_informers(self) -> RelatedInformers {
        self.informers
    }

    /// The operator reads all `K`. `concerns` names the objects that a change concerns: they are reconciled at all their places.
    /// It is called under a lock and must not block.
    pub fn on<K: Kept>(&mut self, concerns: impl Fn(&Change<K>) -> Vec<ObjectKey> + Send + Sync + 'static) {
        self.read(Concerns::Decisions, concerns);
    }

    /// The same where the places of an object depend on the `K`, which [`Operator::targets`] reads by [`Inputs::related`].
    pub fn placing<K: Kept>(&mut self, concerns: impl Fn(&Change<K>) -> Vec<ObjectKey> + Send + Sync + 'static) {
        let informer = self.read(Concerns::Places, concerns);
        self.informers.placing.push(Box::new(informer));
    }

    /// The operator reads the `K` that `query` selects, out of [`PlaceContext::management`], where the installer of Drover lets it. While
    /// the server refuses it, decisions go on: `observe` asks [`Informer::refusal`] and makes that part of the world unavailable.
    /// Once it is allowed every object is reconciled.
    pub fn optional<K: Kept>(
        &mut self,
        query: &LabelQuery,
        concerns: impl Fn(&Change<K>) -> Vec<ObjectKey> + Send + Sync + 'static,
    ) {
        let informer = self.subscribe(query, Concerns::Decisions, concerns);
        self.informers.read.optional.push(Box::new(informer));
    }

    fn read<K: Kept>(
        &mut self,
        what: Concerns,
        concerns: impl Fn(&Change<K>) -> Vec<ObjectKey> + Send + Sync + 'static,
    ) -> Informer<K> {
        let informer = self.subscribe(&LabelQuery::everything(), what, concerns);
        self.informers.read.required.push(Box::new(informer.clone()));
        informer
    }

    fn subscribe<K: Kept>(
        &self,
        query: &LabelQuery,
        what: Concerns,
        concerns: impl Fn(&Change<K>) -> Vec<ObjectKey> + Send + Sync + 'static,
    ) -> Informer<K> {
        let informer = self.management.informer::<K>(query);
        let everywhere = Arc::clone(&self.everywhere);
        informer.subscribe(move |change| concerns(change).into_iter().for_each(|key| everywhere(key, what)));
        informer
    }
}

/// Lists the owners that are recorded on the objects at a place.
type RecordedOwners = Box<dyn Fn() -> Vec<ObjectKey> + Send + Sync>;

/// What an operator watches.
#[derive(Default)]
pub(crate) struct Informers {
    pub(crate) required: Vec<Box<dyn AnyInformer>>,
    /// No decision waits for these while the server refuses them.
    optional: Vec<Box<dyn AnyInformer>>,
}

impl Informers {
    /// The health of the first one for which decisions wait; none if there is none.
    pub(crate) fn holding_up(&self) -> Option<Health> {
        let waits = |health: &Health| *health != Health::Live;
        let required = self.required.iter().map(|informer| informer.health()).find(waits);
        let optional = self.optional.iter().map(|informer| informer.health());
        required.or_else(|| optional.filter(|health| health.refusal().is_none()).find(waits))
    }
}

/// Collects what an operator watches at one place.
pub struct Watches<'a, O: Operator> {
    context: &'a PlaceContext,
    enqueuer: Enqueuer,
    informers: Informers,
    owners: Vec<RecordedOwners>,
    operator: std::marker::PhantomData<O>,
}

impl<'a, O: Operator> Watches<'a, O> {
    pub(crate) fn new(context: &'a PlaceContext, enqueuer: Enqueuer) -> Self {
        let (informers, owners) = (Informers::default(), Vec::new());
        Self { context, enqueuer, informers, owners, operator: std::marker::PhantomData }
    }

    pub(crate) fn into_informers_and_owners(self) -> (Informers, Vec<RecordedOwners>) {
        (self.informers, self.owners)
    }

    /// The place where the watches run.
    #[must_use]
    pub fn context(&self) -> &PlaceContext {
        self.context
    }

    /// Watches every `K` that objects of this operator own, and enqueues the owner that is recorded on it. When the place is
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

    /// Watches every `K` that `query` selects; `react` maps a change to the keys that it enqueues. It must not block.
    pub fn on<K: Kept>(&mut self, query: &LabelQuery, react: impl Fn(&Change<K>, &Enqueuer) + Send + Sync + 'static) {
        let informer = self.context.cache.informer::<K>(query);
        let enqueuer = self.enqueuer.clone();
        informer.subscribe(move |change| react(change, &enqueuer));
        self.informers.required.push(Box::new(informer));
    }

    /// What `declare` watches needs rights that the credential of a cluster may lack, as these came with a later version of Drover.
    /// While the cluster refuses it, decisions go on: `observe` asks [`Informer::refusal`] and makes that part of the world
    /// unavailable. Once it is allowed every key of the place is enqueued.
    pub fn optional(&mut self, declare: impl FnOnce(&mut Self)) {
        let required = mem::take(&mut self.informers.required);
        declare(self);
        let declared = mem::replace(&mut self.informers.required, required);
        self.informers.optional.extend(declared);
    }
}
