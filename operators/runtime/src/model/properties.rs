//! What holds for every operator, whatever its kind: each property once, for [`model_properties`](crate::model_properties) and
//! for tests that say more.

use std::fmt::Debug;

use k8s_openapi::{apimachinery::pkg::apis::meta::v1::Time, jiff::Timestamp};
use kube::Resource;

use super::{End, ModelWorld, Pace, Restless, decide, every_crash, until_quiet};
use crate::operator::{Operator, Owner, Requeue, owner_of};

/// No property depends on the time.
const NOW: Timestamp = Timestamp::UNIX_EPOCH;

/// A property that does not hold, and why.
#[derive(Debug, thiserror::Error)]
pub enum Broken {
    /// It does not come to rest.
    #[error(transparent)]
    Restless(#[from] Restless),
    /// Something is not as it has to be.
    #[error("{0}")]
    Differs(String),
}

/// It comes to rest, plans nothing then, and a restart writes nothing.
pub fn comes_to_rest<O: Operator, W: ModelWorld<O>>(object: &O::Kind, mut world: W) -> Result<(), Broken> {
    let end = until_quiet::<O>(object, &mut world, NOW)?;
    let plan = decide::<O>(object, &world, NOW);
    let is_blocked = matches!(end, End::Blocked(_));
    ensure(plan.is_idle() != is_blocked, || format!("after {end:?} it plans {plan:?}"))?;
    if is_blocked {
        return Ok(());
    }
    let before = world.clone();
    equal(&until_quiet::<O>(object, &mut world, NOW)?, &end, "the end after a restart")?;
    equal(&world, &before, "the world after a restart")
}

/// A crash before any request changes nothing in the end.
pub fn survives_crashes<O: Operator, W: ModelWorld<O>>(object: &O::Kind, world: &W) -> Result<(), Broken> {
    let mut straight = world.clone();
    let end = until_quiet::<O>(object, &mut straight, NOW)?;
    for pace in [Pace::InTurn, Pace::SideBySide] {
        for (requests, mut interrupted) in every_crash::<O, W>(object, world, NOW, pace)?.into_iter().enumerate() {
            let at = format!("after a crash at request {requests}, {pace:?}");
            equal(&until_quiet::<O>(object, &mut interrupted, NOW)?, &end, &at)?;
            equal(&interrupted.shape(), &straight.shape(), &at)?;
        }
    }
    Ok(())
}

/// It ends the same in whichever of two orders the same things are reconciled, or written in a spec.
pub fn ignores_order<O: Operator, W: ModelWorld<O>>(
    (one, other): (&[O::Kind], &[O::Kind]),
    world: &W,
) -> Result<(), Broken> {
    let end_of = |objects: &[O::Kind]| {
        let mut world = world.clone();
        for object in objects {
            until_quiet::<O>(object, &mut world, NOW)?;
        }
        Ok::<_, Restless>(world.shape())
    };
    equal(&end_of(one)?, &end_of(other)?, "the other order")
}

/// The deletion of an object reaches its end, whether its operator saw it before or not, and nothing carries its labels then.
/// One without a finalizer is gone at once.
pub fn deletion_ends<O: Operator, W: ModelWorld<O>>(object: &O::Kind, mut world: W, lived: bool) -> Result<(), Broken> {
    if lived {
        until_quiet::<O>(object, &mut world, NOW)?;
    }
    let (record, object) = (owner_of::<O>(object), deleted(object.clone()));
    let owner = if O::FINALIZER { Owner::Deleting(&object) } else { Owner::Gone(&record.key) };
    equal(&until_quiet::<O>(owner, &mut world, NOW)?, &End::Released, "the end of the deletion")?;
    let requeue = decide::<O>(owner, &world, NOW).requeue;
    equal(&requeue, &Requeue::Released, "the requeue after the deletion")?;
    let kinds = world.objects();
    let all = kinds.iter().flat_map(|objects| objects.iter());
    let labelled: Vec<_> = all.filter(|(key, object)| record.owns(&object.meta(key))).map(|(key, _)| key).collect();
    ensure(labelled.is_empty(), || format!("{labelled:?} still carry the labels of {}", record.key))
}

/// The same object after `kubectl delete`.
#[must_use]
pub fn deleted<K: Resource>(mut object: K) -> K {
    object.meta_mut().deletion_timestamp = Some(Time(Timestamp::UNIX_EPOCH));
    object
}

fn equal<T: PartialEq + Debug>(is: &T, expected: &T, what: &str) -> Result<(), Broken> {
    ensure(is == expected, || format!("{what}: {is:#?}, expected {expected:#?}"))
}

fn ensure(holds: bool, why: impl FnOnce() -> String) -> Result<(), Broken> {
    if holds { Ok(()) } else { Err(Broken::Differs(why())) }
}

/// Tests that hold for every operator, from generators of proptest:
///
/// - `objects`: its objects, being deleted or not; `worlds`: its [`ModelWorld`].
/// - `orders`: two lists of objects that have to end the same: the same objects in another order, or with the same spec written
///   in another order.
/// - `deletions`: an object that is not suspended, and a world in which its deletion may do its work.
#[macro_export]
macro_rules! model_properties {
    ($operator:ty { objects: $objects:expr, worlds: $worlds:expr, orders: $orders:expr, deletions: $deletions:expr $(,)? }) => {
        ::proptest::proptest! {
            #[test]
            fn it_comes_to_rest_and_then_plans_nothing(object in $objects, world in $worlds) {
                $crate::model::comes_to_rest::<$operator, _>(&object, world)?;
            }

            #[test]
            fn a_crash_at_any_request_changes_nothing_in_the_end(object in $objects, world in $worlds) {
                $crate::model::survives_crashes::<$operator, _>(&object, &world)?;
            }

            #[test]
            fn the_order_does_not_matter((one, other) in $orders, world in $worlds) {
                $crate::model::ignores_order::<$operator, _>((&one, &other), &world)?;
            }

            #[test]
            fn deletion_reaches_the_end_and_leaves_nothing_that_carries_our_labels(
                (object, world) in $deletions,
                lived in ::proptest::arbitrary::any::<bool>(),
            ) {
                $crate::model::deletion_ends::<$operator, _>(&object, world, lived)?;
            }
        }
    };
}
