//! The shape that every operator has.

use std::{collections::BTreeSet, fmt, sync::Weak, time::Duration};

use drover_crds::condition::StatusConditions;
use k8s_openapi::jiff::Timestamp;
use kube::{Resource, core::object::HasStatus};
use serde::Serialize;
use tokio::time::Instant;

use crate::{
    cache::{Change, Followed, Kept, LabelQuery, ObjectKey, Owner},
    cause::Cause,
    error::Classify,
    parts::Parts,
    place::{FleetView, Place, Site},
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
    type Part: Clone + PartialEq + Send + Sync + fmt::Debug;
    /// What may go wrong.
    type Error: Classify;

    /// Where this object is converged. Pure.
    fn places(object: &Self::Kind, fleet: &FleetView) -> BTreeSet<Place>;

    /// How many clusters the object selects that are no places of it, as their owners do not let it in. Pure.
    fn without_consent(_object: &Self::Kind, _fleet: &FleetView) -> usize {
        0
    }

    /// What is watched at a place, and what wakes a key there. Called once per connection, before the first pass.
    fn watches(watches: &mut Watches<'_, Self>);

    /// Gathers the world at one place. Decides nothing.
    fn observe(
        &self,
        object: &Self::Kind,
        site: &Site,
    ) -> impl Future<Output = Result<Self::World, Self::Error>> + Send;

    /// Decides, deletion included. Pure: no client, no clock.
    fn plan(object: &Self::Kind, world: &Self::World, now: Timestamp) -> Plan<Self>;

    /// Does one action. Done twice it must end the same.
    fn act(
        &self,
        object: &Self::Kind,
        site: &Site,
        action: Self::Action,
    ) -> impl Future<Output = Result<(), Self::Error>> + Send;

    /// Whether a failure of `action` holds up what comes after it in the plan. Unless the actions of a plan are independent
    /// of one another it does: a grant must not follow a guard that failed.
    fn holds_up(_action: &Self::Action) -> bool {
        true
    }

    /// Joins what all places say to one status. Pure. Transition times and `observedGeneration` are the shell's.
    fn summarise(object: &Self::Kind, parts: &Parts<Self::Part>, now: Timestamp) -> StatusOf<Self>;
}

/// What `plan` decided for one place.
pub struct Plan<O: Operator> {
    /// What this place contributes to the status.
    pub part: O::Part,
    /// What to do, in this order. The first failure ends the pass, see [`Operator::holds_up`].
    pub actions: Vec<O::Action>,
    /// What comes after the actions.
    pub next: Next,
}

impl<O: Operator> fmt::Debug for Plan<O> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = formatter.debug_struct("Plan");
        debug.field("part", &self.part).field("actions", &self.actions).field("next", &self.next).finish()
    }
}

/// When a place is looked at again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// When a watch tells of a change.
    Watch,
    /// At this time at the latest.
    At(Timestamp),
    /// Never: the object is being deleted, and nothing is left to do here.
    Released,
}

/// The owner record of an object of this operator.
pub fn owner_of<O: Operator>(object: &O::Kind) -> Owner {
    Owner { kind: kind_of::<O>(), key: ObjectKey::of(object.meta()) }
}

/// The kind's name, which the owner labels record.
pub(crate) fn kind_of<O: Operator>() -> &'static str {
    match O::Kind::kind(&()) {
        std::borrow::Cow::Borrowed(kind) => kind,
        // Derived kinds are static text.
        std::borrow::Cow::Owned(_) => O::NAME,
    }
}

impl Site {
    /// Writes here on behalf of `object`.
    pub fn writer<O: Operator>(&self, object: &O::Kind) -> Writer {
        let uid = object.meta().uid.as_deref().unwrap_or_default();
        Writer::new(self.cache.clone(), field_manager::<O>(), owner_of::<O>(object), uid)
    }

    /// Lets go here of what the absent `holder` left: who was there before is on record, and may come back.
    #[must_use]
    pub fn writer_in_the_name_of<O: Operator>(&self, holder: ObjectKey) -> Writer {
        let owner = Owner { kind: kind_of::<O>(), key: holder };
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
pub struct Wake {
    queue: Weak<Queue<Task>>,
    place: Place,
}

impl Wake {
    pub(crate) fn new(queue: Weak<Queue<Task>>, place: Place) -> Self {
        Self { queue, place }
    }

    /// Runs a pass of `object` at this place as soon as possible.
    pub fn now(&self, object: ObjectKey) {
        self.after(object, Duration::ZERO);
    }

    /// Runs a pass of `object` at this place within `delay`; many wakes within it cost one pass.
    pub fn after(&self, object: ObjectKey, delay: Duration) {
        if let Some(queue) = self.queue.upgrade() {
            queue.push_at(Task::Part(object, self.place.clone()), Instant::now() + delay);
        }
    }
}

/// Collects what an operator watches at one place.
pub struct Watches<'a, O: Operator> {
    site: &'a Site,
    wake: Wake,
    followed: Vec<Box<dyn Followed>>,
    operator: std::marker::PhantomData<O>,
}

impl<'a, O: Operator> Watches<'a, O> {
    pub(crate) fn new(site: &'a Site, wake: Wake) -> Self {
        Self { site, wake, followed: Vec::new(), operator: std::marker::PhantomData }
    }

    pub(crate) fn into_followed(self) -> Vec<Box<dyn Followed>> {
        self.followed
    }

    /// Where the watches run.
    #[must_use]
    pub fn site(&self) -> &Site {
        self.site
    }

    /// Watches every `K` that objects of this operator own, and wakes the owner that is recorded on it.
    pub fn owned<K: Kept>(&mut self) {
        self.on::<K>(&Owner::query(kind_of::<O>()), |change, wake| {
            for meta in change.sides().map(Resource::meta) {
                if let Some(owner) = Owner::recorded(meta, kind_of::<O>()) {
                    wake.now(owner);
                }
            }
        });
    }

    /// Watches every `K` that `query` selects; `react` maps a change to wakes. It must not block.
    pub fn on<K: Kept>(&mut self, query: &LabelQuery, react: impl Fn(&Change<K>, &Wake) + Send + Sync + 'static) {
        let view = self.site.cache.view::<K>(query);
        let wake = self.wake.clone();
        view.subscribe(move |change| react(change, &wake));
        self.followed.push(Box::new(view));
    }
}
