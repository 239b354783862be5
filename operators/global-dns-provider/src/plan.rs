//! Whether a provider is to be tried now, and what is told of it. Pure.

use std::time::Duration;

use drover_crds::GlobalDNSProvider;
use drover_runtime::{Failure, Plan, Requeue, StatusCause, place_status::Readiness};
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::ResourceExt as _;

use crate::{GlobalDNSProviderOperator, act::Try, observe::World};

/// After a failure it is tried again so soon: a Secret that is corrected tells nobody.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_mins(1);

/// What is told of a provider.
#[derive(Clone, Debug, PartialEq)]
pub struct PlaceStatus {
    /// Whether it can be used; none while the same spec is tried for the first time since the start, when what was told before stands.
    pub ready: Option<Readiness>,
}

/// Decides for a provider that exists.
#[must_use]
pub fn plan(provider: &GlobalDNSProvider, world: &World, now: Timestamp) -> Plan<GlobalDNSProviderOperator> {
    let current = world.attempt.as_ref().filter(|attempt| attempt.asked == world.asked);
    let told = |action: Option<Try>, requeue| Plan {
        place_status: PlaceStatus { ready: ready(provider, current.map(|attempt| &attempt.outcome)) },
        groups: action.map(|action| vec![vec![action]]).unwrap_or_default(),
        requeue,
    };
    let interval = provider.spec.interval();
    let pause = current.map(|attempt| match attempt.outcome {
        Ok(()) => interval,
        Err(_) => interval.min(PAUSE_AFTER_FAILURE),
    });
    let left = pause.and_then(|pause| pause.checked_sub(world.age)).filter(|left| !left.is_zero());
    let left = left.map(|left| SignedDuration::try_from(left).unwrap_or(SignedDuration::from_hours(1)));
    match left.and_then(|left| now.checked_add(left).ok()) {
        Some(next) => told(None, Requeue::At(next)),
        None => told(Some(Try { asked: world.asked.clone() }), Requeue::Watch),
    }
}

fn ready(provider: &GlobalDNSProvider, outcome: Option<&Result<(), Failure>>) -> Option<Readiness> {
    let name = provider.name_any();
    match outcome {
        Some(Ok(())) => {
            let message = "the server has a zone for every domain, and lets Drover write there";
            Some(Readiness::yes(StatusCause::Ready, message.to_owned()))
        }
        Some(Err(failure)) => {
            let message = format!("GlobalDNSProvider {name} cannot be used: {}", failure.message);
            Some(Readiness::no(failure.cause, message))
        }
        None if is_observed(provider) => None,
        None => Some(Readiness::no(StatusCause::Progressing, "it is being tried".to_owned())),
    }
}

/// Nothing is left of one that is gone.
#[must_use]
pub fn clean_up() -> Plan<GlobalDNSProviderOperator> {
    Plan { place_status: PlaceStatus { ready: None }, groups: Vec::new(), requeue: Requeue::Released }
}

/// Whether its status is about its present spec.
fn is_observed(provider: &GlobalDNSProvider) -> bool {
    provider.status.as_ref().map(|status| status.observed_generation) == provider.metadata.generation
}
