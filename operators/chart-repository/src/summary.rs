//! From what is known of a repository to its status. Pure.

use drover_crds::{ChartRepository, ChartRepositoryStatus};
use drover_runtime::{
    Place, PlaceState, PlaceStatuses, StatusCause, place_status::Readiness, status::ready_conditions,
};
use drover_sources::Content;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::plan::PlaceStatus;

pub(crate) fn summarise(repository: &ChartRepository, statuses: &PlaceStatuses<PlaceStatus>) -> ChartRepositoryStatus {
    let former = repository.status.clone().unwrap_or_default();
    let entry = statuses.get(&Place::Management);
    let known = entry.and_then(|entry| entry.known.clone());
    let failed = entry.and_then(|entry| match &entry.state {
        PlaceState::Failed(failure) => Some(failure.clone()),
        PlaceState::Refused(refusals) => refusals.first().map(|refusal| refusal.failure.clone()),
        _ => None,
    });
    let readiness = match (failed, known.as_ref().and_then(|known| known.ready.clone())) {
        (Some(failure), _) => Some(Readiness::no(failure.cause, failure.message)),
        (None, ready) => ready,
    };
    let conditions = match readiness {
        Some(ready) => ready_conditions(ready.state, ready.cause, &ready.message, ready.activity),
        // After a start, what was told before stands until it was read again.
        None if !former.conditions.is_empty() => former.conditions.clone(),
        None => {
            let ready = Readiness::no(StatusCause::Progressing, "it is being read".to_owned());
            ready_conditions(ready.state, ready.cause, &ready.message, ready.activity)
        }
    };
    let handled = known.as_ref().and_then(|known| known.handled.clone()).or(former.last_handled_reconcile_at.clone());
    let is_other = known.as_ref().is_some_and(|known| known.is_other);
    let status = match known.and_then(|known| known.content) {
        Some(content) => told(&content, former),
        None if is_other => ChartRepositoryStatus::default(),
        None => former,
    };
    ChartRepositoryStatus { conditions, last_handled_reconcile_at: handled, ..status }
}

/// What there is in it. Since when is told anew only where it is something else.
fn told(content: &Content, former: ChartRepositoryStatus) -> ChartRepositoryStatus {
    let Some(index) = &content.index else { return ChartRepositoryStatus::default() };
    let digest = Some(index.digest.to_string());
    let fetched_at = if former.index_digest == digest { former.fetched_at } else { Some(Time(content.since)) };
    ChartRepositoryStatus {
        charts: i64::try_from(index.counts.charts).ok(),
        versions: i64::try_from(index.counts.versions).ok(),
        index_digest: digest,
        fetched_at,
        ..ChartRepositoryStatus::default()
    }
}
