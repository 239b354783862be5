//! Whether a store is to be tried now, and what is told of it. Pure.

use std::time::Duration;

use drover_crds::BackupStore;
use drover_runtime::{Failure, Plan, Requeue, StatusCause, place_status::Readiness};
use k8s_openapi::{
    apimachinery::pkg::apis::meta::v1::Time,
    jiff::{SignedDuration, Timestamp},
};
use kube::ResourceExt as _;

use crate::{
    BackupStoreOperator,
    act::Try,
    observe::{Held, World},
};

/// After a failure it is tried again so soon: a Secret that is corrected tells nobody.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_mins(1);

/// What is told of a store.
#[derive(Clone, Debug, PartialEq)]
pub struct PlaceStatus {
    /// Whether it can be used; none while the same spec is tried for the first time since the start, when what was told before stands.
    pub ready: Option<Readiness>,
    /// Why it cannot be used.
    pub failure: Option<Failure>,
    /// What it holds, and since when that is known.
    pub held: Option<(Held, Time)>,
}

/// Decides for a store that exists.
#[must_use]
pub fn plan(store: &BackupStore, world: &World, now: Timestamp) -> Plan<BackupStoreOperator> {
    let current = world.attempt.as_ref().filter(|attempt| attempt.asked == world.asked);
    let told = |action: Option<Try>, requeue| Plan {
        place_status: PlaceStatus {
            ready: ready(store, current.map(|attempt| &attempt.outcome)),
            failure: current.and_then(|attempt| attempt.outcome.clone().err()),
            held: current.and_then(|attempt| Some((attempt.outcome.clone().ok()?, Time(attempt.at)))),
        },
        groups: action.map(|action| vec![vec![action]]).unwrap_or_default(),
        requeue,
    };
    let pause = current.map(|attempt| match attempt.outcome {
        Ok(_) => store.spec.interval(),
        Err(_) => store.spec.interval().min(PAUSE_AFTER_FAILURE),
    });
    let left = pause.and_then(|pause| pause.checked_sub(world.age)).filter(|left| !left.is_zero());
    let left = left.map(|left| SignedDuration::try_from(left).unwrap_or(SignedDuration::from_hours(1)));
    match left.and_then(|left| now.checked_add(left).ok()) {
        Some(next) => told(None, Requeue::At(next)),
        None => told(Some(Try { asked: world.asked.clone(), under_way: world.under_way.clone(), now }), Requeue::Watch),
    }
}

fn ready(store: &BackupStore, outcome: Option<&Result<Held, Failure>>) -> Option<Readiness> {
    let name = store.name_any();
    match outcome {
        Some(Ok(_)) => Some(Readiness::yes(StatusCause::Ready, "it can be written, read and deleted from".to_owned())),
        Some(Err(failure)) => {
            let message = format!("BackupStore {name} cannot be used: {}", failure.message);
            Some(Readiness::no(failure.cause, message))
        }
        None if is_observed(store) => None,
        None => Some(Readiness::no(StatusCause::Progressing, "it is being tried".to_owned())),
    }
}

/// Nothing is left of one that is gone.
#[must_use]
pub fn clean_up() -> Plan<BackupStoreOperator> {
    let place_status = PlaceStatus { ready: None, failure: None, held: None };
    Plan { place_status, groups: Vec::new(), requeue: Requeue::Released }
}

/// Whether its status is about its present spec.
fn is_observed(store: &BackupStore) -> bool {
    store.status.as_ref().map(|status| status.observed_generation) == store.metadata.generation
}
