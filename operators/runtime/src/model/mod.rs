//! The model world: an operator's actions interpreted in memory, for property tests of its decisions.
//!
//! [`ModelObjects`] holds the objects of one kind and takes the requests of a [`Writer`](crate::Writer) by the rules of an API
//! server. A test crate says what its place looks like ([`ModelWorld`]); this module drives it as the runtime drives a real
//! one: a reconcile observes, plans and does the actions, and the environment moves between reconciles. On top of that stand
//! the questions that every operator has to answer; [`model_properties`](crate::model_properties) asks them all, from the
//! operator's generators.

mod fields;
mod objects;
mod properties;
mod server;

use std::{cell::RefCell, collections::BTreeMap, fmt::Debug};

use futures::executor::block_on;
use k8s_openapi::jiff::Timestamp;
use tokio::task::yield_now;

use crate::{
    act::{Acted, act},
    error::{Class, Failure},
    operator::{Operator, Owner, Plan, Requeue},
    place_status::Refusal,
};

pub use crate::act::Stop;
pub use fields::{Field, Fields, Manager};
pub use objects::{ModelObject, ModelObjects};
pub use properties::{Broken, comes_to_rest, deleted, deletion_ends, ignores_order, survives_crashes};

/// More reconciles than this, and an operator does not come to rest: it undoes what it did.
const MAX_RECONCILES: usize = 50;

/// One place in memory, with everything in it that an operator sees or changes.
///
/// Equality decides whether a reconcile changed anything, so nothing in here may count reconciles.
pub trait ModelWorld<O: Operator>: Clone + PartialEq + Debug {
    /// What the operator's `observe` would gather.
    fn observe(&self, owner: Owner<'_, O::Kind>) -> O::World;

    /// Whether the object is to be here no more, although it is not being deleted: the place is being deleted, for example.
    fn is_deselected(&self, _object: &O::Kind) -> bool {
        false
    }

    /// Does what the operator's `act` would do, by [`ModelObjects::carry_out`] or with a [`Requests::send`] before each change that
    /// a real server would get as a request of its own: there, the process may die.
    fn act(
        &mut self,
        owner: Owner<'_, O::Kind>,
        action: O::Action,
        requests: &mut Requests,
    ) -> Result<(), Stop<O::Error>>;

    /// All objects of the place that carry the labels of owners, kind by kind.
    fn objects(&mut self) -> Vec<&mut ModelObjects> {
        Vec::new()
    }

    /// What the environment does by itself between two reconciles.
    fn settle(&mut self) {
        self.objects().into_iter().for_each(ModelObjects::settle);
    }

    /// The objects of the place without what differs from one run to another.
    fn shape(&self) -> Vec<BTreeMap<String, ModelObject>> {
        self.clone().objects().into_iter().map(|objects| objects.shape()).collect()
    }
}

/// Requests on their way to the world, and how many of them get through before the process dies.
#[derive(Clone, Copy, Debug)]
pub struct Requests {
    left: Option<usize>,
}

impl Requests {
    /// The process does not die.
    #[must_use]
    pub fn unlimited() -> Self {
        Self { left: None }
    }

    /// The process dies after `count` requests.
    #[must_use]
    pub fn only(count: usize) -> Self {
        Self { left: Some(count) }
    }

    fn are_spent(self) -> bool {
        self.left == Some(0)
    }

    /// Sends one more request, or dies.
    pub fn send<E>(&mut self) -> Result<(), Stop<E>> {
        match &mut self.left {
            Some(0) => return Err(Stop::Interrupted),
            Some(left) => *left -= 1,
            None => {}
        }
        Ok(())
    }
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// Nothing is left to do until something changes.
    Quiet,
    /// Nothing is left to do ever: the runtime removes the finalizer.
    Released,
    /// These actions fail the same way in every reconcile, and nothing else changes: they wait for a person.
    Blocked(Vec<Refusal>),
    /// The process died, as it was told to.
    Crashed,
}

/// The operator did not come to rest: what it still wanted to do in the last reconcile.
#[derive(Debug, thiserror::Error)]
#[error("still not at rest after {MAX_RECONCILES} reconciles; the last one wanted {0}")]
pub struct Restless(String);

/// What the operator decides for `owner` when it looks at `world` now.
pub fn decide<'a, O: Operator>(
    owner: impl Into<Owner<'a, O::Kind>>,
    world: &impl ModelWorld<O>,
    now: Timestamp,
) -> Plan<O> {
    let owner = owner.into();
    let seen = world.observe(owner);
    match owner {
        Owner::Present(object) if !world.is_deselected(object) => O::plan(object, &seen, now),
        owner => O::clean_up(owner, &seen, now),
    }
}

/// Runs reconciles until nothing changes any more.
pub fn until_quiet<'a, O: Operator>(
    owner: impl Into<Owner<'a, O::Kind>>,
    world: &mut impl ModelWorld<O>,
    now: Timestamp,
) -> Result<End, Restless> {
    run(owner.into(), world, now, Pace::SideBySide, Requests::unlimited())
}

/// How far the groups of one plan are when the process dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// Each begins when the one before it is done.
    InTurn,
    /// Each has done as many actions as the others.
    SideBySide,
}

/// The worlds that a process leaves behind that dies before its first request, before its second, and so on: every world
/// that others may ever see while the operator works. The last one is that of a process that came to rest.
pub fn every_crash<O: Operator, W: ModelWorld<O>>(
    object: &O::Kind,
    world: &W,
    now: Timestamp,
    pace: Pace,
) -> Result<Vec<W>, Restless> {
    let mut left_behind = Vec::new();
    loop {
        let mut world = world.clone();
        let end = run(Owner::of(object), &mut world, now, pace, Requests::only(left_behind.len()))?;
        left_behind.push(world);
        if end != End::Crashed {
            return Ok(left_behind);
        }
    }
}

fn run<O: Operator, W: ModelWorld<O>>(
    owner: Owner<'_, O::Kind>,
    world: &mut W,
    now: Timestamp,
    pace: Pace,
    mut requests: Requests,
) -> Result<End, Restless> {
    let mut wanted = String::new();
    for _ in 0..MAX_RECONCILES {
        let before = world.clone();
        let plan = decide(owner, world, now);
        let idle = plan.is_idle();
        let Plan { groups, requeue, .. } = plan;
        wanted = format!("{groups:?}");
        let Acted { refused, interrupted } = act_at::<O, W>(owner, world, groups, pace, &mut requests);
        if interrupted || (refused.is_empty() && requests.are_spent()) {
            return Ok(End::Crashed);
        }
        world.settle();
        let refused: Vec<Refusal> = refused.into_iter().map(|(_, refusal)| refusal).collect();
        // A conflict is tried again at once, for ever: the same one twice in an unchanged world is no rest.
        let is_tried_again = refused.iter().any(|refusal| refusal.failure.class() == Class::Conflict);
        match refused.is_empty() {
            _ if idle && requeue == Requeue::Released => return Ok(End::Released),
            _ if *world != before || is_tried_again => {}
            false => return Ok(End::Blocked(refused)),
            true if idle => return Ok(End::Quiet),
            true => {}
        }
    }
    Err(Restless(wanted))
}

fn act_at<O: Operator, W: ModelWorld<O>>(
    owner: Owner<'_, O::Kind>,
    world: &mut W,
    groups: Vec<Vec<O::Action>>,
    pace: Pace,
    requests: &mut Requests,
) -> Acted {
    let model = &RefCell::new((world, requests));
    let one = |action: O::Action| async move {
        if pace == Pace::SideBySide {
            yield_now().await;
        }
        let (world, requests) = &mut *model.borrow_mut();
        let namespace = O::namespace_of(&action);
        let done = world.act(owner, action, requests);
        done.map_err(|stop| stop.map(|error| Refusal { namespace, failure: Failure::of(&error) }))
    };
    block_on(act(groups, one))
}
