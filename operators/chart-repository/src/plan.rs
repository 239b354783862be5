//! Whether a repository is to be read now, and what is told of it. Pure.

use std::time::Duration;

use drover_crds::ChartRepository;
use drover_runtime::{Plan, Requeue, StatusCause, place_status::Readiness};
use drover_sources::{Attempt, Content, SourceCause};
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::ResourceExt as _;

use crate::{ChartRepositoryOperator, act::Fetch, observe::World};

/// The pause after a first failure that may end by itself; it doubles with each further one.
const FIRST_PAUSE: Duration = Duration::from_secs(15);
/// Most characters of a request that the status notes.
const MOST_OF_A_REQUEST: usize = 128;

/// What is told of a repository.
#[derive(Clone, Debug, PartialEq)]
pub struct PlaceStatus {
    /// Whether it can be used; none while the same spec is read again, when what was told before stands.
    pub ready: Option<Readiness>,
    /// What was read last; none where nothing was since the start.
    pub content: Option<Content>,
    /// Whether what an earlier process told of its content may be of another spec.
    pub is_other: bool,
    /// What a person asked for that was acted upon.
    pub handled: Option<String>,
}

/// Decides for a repository that exists.
#[must_use]
pub fn plan(repository: &ChartRepository, world: &World, now: Timestamp) -> Plan<ChartRepositoryOperator> {
    let attempt = world.attempt.as_ref();
    let content = attempt.and_then(|attempt| attempt.content.clone());
    let is_other = attempt.is_some() && content.is_none() && !is_observed(repository);
    let current = attempt.filter(|attempt| attempt.asked == world.asked);
    let handled: Option<String> =
        current.and(world.request.as_ref()).map(|request| request.chars().take(MOST_OF_A_REQUEST).collect());
    let told = |ready, action: Option<Fetch>, requeue| Plan {
        place_status: PlaceStatus { ready, content: content.clone(), is_other, handled: handled.clone() },
        groups: action.map(|action| vec![vec![action]]).unwrap_or_default(),
        requeue,
    };
    if repository.spec.suspend {
        let message = "spec.suspend is set, so it is not read, and apps stay as they are".to_owned();
        return told(Some(Readiness::yes(StatusCause::Suspended, message)), None, Requeue::Watch);
    }
    if !world.has_folder {
        let message = "this process has no folder for what it reads; see its log".to_owned();
        return told(Some(Readiness::no(SourceCause::StorageFailed, message)), None, Requeue::Watch);
    }
    if let Some(missing) = &world.missing {
        return told(Some(Readiness::no(missing.cause, missing.message.clone())), None, Requeue::Watch);
    }
    let ready = match current {
        Some(attempt) => Some(readiness(repository, attempt)),
        None if is_observed(repository) => None,
        None => Some(Readiness::no(StatusCause::Progressing, "it is being read".to_owned())),
    };
    let pause = current.map(|attempt| pause(repository, attempt));
    let left = pause.and_then(|pause| pause.checked_sub(world.age)).filter(|left| !left.is_zero());
    let left = left.map(|left| SignedDuration::try_from(left).unwrap_or(SignedDuration::from_hours(1)));
    match left.and_then(|left| now.checked_add(left).ok()) {
        Some(next) => told(ready, None, Requeue::At(next)),
        None => told(ready, Some(Fetch { asked: world.asked.clone(), now }), Requeue::Watch),
    }
}

/// Nothing is left of one that is gone.
#[must_use]
pub fn clean_up() -> Plan<ChartRepositoryOperator> {
    let place_status = PlaceStatus { ready: None, content: None, is_other: false, handled: None };
    Plan { place_status, groups: Vec::new(), requeue: Requeue::Released }
}

/// Whether its status is about its present spec.
fn is_observed(repository: &ChartRepository) -> bool {
    let observed = repository.status.as_ref().map(|status| status.observed_generation);
    observed == repository.metadata.generation
}

/// How long after an attempt the next one begins.
fn pause(repository: &ChartRepository, attempt: &Attempt) -> Duration {
    let interval = repository.spec.interval();
    match &attempt.failure {
        Some(failure) if failure.is_transient => {
            let doublings = attempt.failures.saturating_sub(1).min(10);
            let pause = FIRST_PAUSE.saturating_mul(1 << doublings).min(interval);
            pause.max(failure.retry_after.unwrap_or_default())
        }
        _ => interval,
    }
}

fn readiness(repository: &ChartRepository, attempt: &Attempt) -> Readiness {
    let name = repository.name_any();
    let Some(failure) = &attempt.failure else {
        let message = if repository.spec.http.is_some() {
            "its index can be used"
        } else {
            "the registry answers; which charts it has is looked up for each app"
        };
        return Readiness::yes(StatusCause::Ready, message.to_owned());
    };
    let still = if attempt.content.is_some() { ", and what was read before is used" } else { "" };
    Readiness::no(failure.cause, format!("ChartRepository {name} cannot be read{still}: {failure}"))
}
