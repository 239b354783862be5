//! The model world: an operator's actions interpreted in memory, for property tests of its decisions.
//!
//! A test crate says what its world looks like ([`ModelWorld`]); this module drives it as the runtime drives a real one: a reconcile
//! observes, plans and does the actions in order until one fails, and the environment moves between reconciles. On top of
//! that stand the questions that every operator has to answer: does it come to rest ([`until_quiet`]), and does it end the
//! same after a crash between any two requests ([`every_crash`])?

use k8s_openapi::jiff::Timestamp;

use crate::{
    error::{Class, Failure},
    operator::{Operator, Owner, Plan, Requeue},
};

/// More reconciles than this, and an operator does not come to rest: it undoes what it did.
const MAX_RECONCILES: usize = 50;

/// One place in memory, with everything in it that an operator sees or changes.
///
/// Equality decides whether a reconcile changed anything, so nothing in here may count reconciles.
pub trait ModelWorld<O: Operator>: Clone + PartialEq {
    /// What the operator's `observe` would gather.
    fn observe(&self, object: &O::Kind) -> O::World;

    /// Whether the object is to be here no more, although it is not being deleted: the place is being deleted, for example.
    fn is_deselected(&self, _object: &O::Kind) -> bool {
        false
    }

    /// Does what the operator's `act` would do. [`Requests::send`] comes before each change that a real server would get as
    /// a request of its own: there, the process may die.
    fn apply(&mut self, object: &O::Kind, action: O::Action, requests: &mut Requests) -> Result<(), Stop<O::Error>>;

    /// What the environment does by itself between two reconciles: what is terminating vanishes, people undo things.
    fn settle(&mut self);
}

/// Why an action did not come to its end.
#[derive(Debug)]
pub enum Stop<E> {
    /// The process died.
    Crash,
    /// The server, or the rules of how we write, refused.
    Refused(E),
}

impl<E> From<E> for Stop<E> {
    fn from(error: E) -> Self {
        Self::Refused(error)
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
            None => Ok(()),
            Some(0) => Err(Stop::Crash),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
        }
    }
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// Nothing is left to do until something changes.
    Quiet,
    /// Nothing is left to do ever: the runtime removes the finalizer.
    Released,
    /// An action fails the same way in every reconcile, and nothing else changes: it waits for a person.
    Blocked(Failure),
    /// The process died, as it was told to.
    Crashed,
}

/// The operator did not come to rest: what it still wanted to do in the last reconcile.
#[derive(Debug, thiserror::Error)]
#[error("still not at rest after {MAX_RECONCILES} reconciles; the last one wanted {0}")]
pub struct Restless(String);

/// What the operator decides when it looks at `world` now.
pub fn decide<O: Operator>(object: &O::Kind, world: &impl ModelWorld<O>, now: Timestamp) -> Plan<O> {
    let seen = world.observe(object);
    match Owner::of(object) {
        Owner::Present(object) if !world.is_deselected(object) => O::plan(object, &seen, now),
        owner => O::clean_up(owner, &seen, now),
    }
}

/// Runs reconciles until nothing changes any more.
pub fn until_quiet<O: Operator>(
    object: &O::Kind,
    world: &mut impl ModelWorld<O>,
    now: Timestamp,
) -> Result<End, Restless> {
    run(object, world, now, Requests::unlimited())
}

/// The worlds that a process leaves behind that dies before its first request, before its second, and so on: every world
/// that others may ever see while the operator works. The last one is that of a process that came to rest.
pub fn every_crash<O: Operator, W: ModelWorld<O>>(
    object: &O::Kind,
    world: &W,
    now: Timestamp,
) -> Result<Vec<W>, Restless> {
    let mut left_behind = Vec::new();
    loop {
        let mut world = world.clone();
        let end = run(object, &mut world, now, Requests::only(left_behind.len()))?;
        left_behind.push(world);
        if end != End::Crashed {
            return Ok(left_behind);
        }
    }
}

fn run<O: Operator, W: ModelWorld<O>>(
    object: &O::Kind,
    world: &mut W,
    now: Timestamp,
    mut requests: Requests,
) -> Result<End, Restless> {
    let mut wanted = String::new();
    for _ in 0..MAX_RECONCILES {
        let before = world.clone();
        let plan = decide(object, world, now);
        let idle = plan.is_idle();
        let Plan { groups, requeue, .. } = plan;
        wanted = format!("{groups:?}");
        let refused = match act::<O, W>(object, world, groups, &mut requests) {
            Err(Crashed) => return Ok(End::Crashed),
            Ok(None) if requests.are_spent() => return Ok(End::Crashed),
            Ok(refused) => refused,
        };
        world.settle();
        match refused {
            _ if idle && requeue == Requeue::Released => return Ok(End::Released),
            _ if *world != before => {}
            // A conflict is tried again at once, for ever: the same one twice in an unchanged world is no rest.
            Some(failure) if failure.class() != Class::Conflict => return Ok(End::Blocked(failure)),
            None if idle => return Ok(End::Quiet),
            Some(_) | None => {}
        }
    }
    Err(Restless(wanted))
}

/// The process died.
struct Crashed;

/// Does the actions as the runtime does, and returns the first refusal.
fn act<O: Operator, W: ModelWorld<O>>(
    object: &O::Kind,
    world: &mut W,
    groups: Vec<Vec<O::Action>>,
    requests: &mut Requests,
) -> Result<Option<Failure>, Crashed> {
    let mut refused = None;
    for group in groups {
        for action in group {
            match world.apply(object, action, requests) {
                Ok(()) => {}
                Err(Stop::Crash) => return Err(Crashed),
                Err(Stop::Refused(error)) => {
                    let failure = Failure::of(&error);
                    let goes_on = failure.class().is_about_one_thing();
                    refused.get_or_insert(failure);
                    if !goes_on {
                        return Ok(refused);
                    }
                    break;
                }
            }
        }
    }
    Ok(refused)
}
