//! The deadline of a deletion: no place holds one up for ever.

use std::time::Duration;

use drover_crds::{
    ApiDuration,
    condition::{READY, StatusConditions as _},
};
use k8s_openapi::jiff::SignedDuration;
use kube::Resource as _;
use tokio::time::Instant;

use super::Driver;
use crate::{
    cache::ObjectKey,
    cause::StatusCause,
    clock,
    error::{MESSAGE_LIMIT, legible},
    events::Changed,
    operator::{Operator, StatusOf},
    place_status::{PlaceState, PlaceStatuses},
    status::{State, condition},
};

/// After a start, what can be reached has this time to finish, also after the deadline: a Drover that was away has not tried yet.
const TIME_TO_TRY: Duration = Duration::from_mins(1);
/// So many places are named.
const MOST_NAMED: usize = 3;

/// Whether a deletion goes on waiting.
pub(super) enum Patience {
    /// Until then, or for ever.
    Until(Option<Instant>),
    /// Its time is over.
    Over,
}

impl<O: Operator> Driver<O> {
    /// How long the deletion of `object` goes on waiting for its places.
    pub(super) fn patience(&self, key: &ObjectKey, object: &O::Kind) -> Patience {
        let began = object.meta().deletion_timestamp.as_ref().map(|time| time.0);
        let limit = O::deletion_timeout(object).and_then(|limit| SignedDuration::try_from(limit).ok());
        let Some(deadline) = began.zip(limit).and_then(|(began, limit)| began.checked_add(limit).ok()) else {
            return Patience::Until(None);
        };
        let mut tracker = self.lock_tracker();
        let mut waited_for = tracker.get(key).into_iter().flat_map(|tracked| tracked.statuses.waited_for());
        let are_away = waited_for.all(|(_, entry)| matches!(entry.state, PlaceState::Unreachable(_)));
        let left = Duration::try_from(deadline.duration_since(clock::now())).unwrap_or_default();
        let end = Instant::now() + left;
        let end = if are_away { end } else { end.max(self.started + TIME_TO_TRY) };
        if end > Instant::now() { Patience::Until(Some(end)) } else { Patience::Over }
    }

    /// Remembers the places where the object was not released, to give up what stays there when they can be worked on, and says so.
    /// Answers whether the deletion waited for any of them.
    pub(super) fn abandon_unreleased(
        &self,
        key: &ObjectKey,
        object: &O::Kind,
        statuses: &PlaceStatuses<O::PlaceStatus>,
        fresh: &StatusOf<O>,
    ) -> bool {
        let unreleased = statuses.iter().filter(|(_, entry)| entry.state != PlaceState::Released);
        self.lock_abandoned().extend(unreleased.map(|(place, _)| (key.clone(), place.clone())));
        let waited_for: Vec<String> = statuses.waited_for().map(|(place, _)| place.to_string()).collect();
        if waited_for.is_empty() {
            return false;
        }
        let reason = fresh.conditions().iter().find(|condition| condition.type_ == READY);
        let limit = O::deletion_timeout(object).map(ApiDuration::from);
        let message = timed_out(limit, &waited_for, reason.map(|ready| ready.message.as_str()).unwrap_or_default());
        tracing::warn!(operator = O::NAME, object = %key, message, "the deletion timed out");
        let cause = StatusCause::DeletionTimedOut;
        let ready = condition(READY, State::False, cause, &message);
        let changed = [Changed { condition: &ready, cause: Some(cause.into()) }];
        self.context.events.changed(&Self::reference(object), &changed, fresh.first_cluster());
        true
    }
}

/// Where the limit comes from is the matter of the kind: not each lets people set it.
fn timed_out(limit: Option<ApiDuration>, places: &[String], reason: &str) -> String {
    let limit = limit.map(|limit| format!(" {limit}")).unwrap_or_default();
    let named = places.iter().take(MOST_NAMED).map(String::as_str).collect::<Vec<_>>().join(", ");
    let more = match places.len().saturating_sub(MOST_NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let message = format!(
        "the deletion waited{limit} and ended; what Drover has on {named}{more} stays there until Drover can release it. {reason}"
    );
    legible(&message, MESSAGE_LIMIT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deletion_that_timed_out_names_no_field_that_its_kind_may_lack() {
        let places = ["a", "b", "c", "d", "e"].map(|name| format!("cluster {name}"));
        let limit = Some(ApiDuration::from(Duration::from_mins(10)));
        assert_eq!(
            timed_out(limit, &places, "It is away."),
            "the deletion waited 10m and ended; what Drover has on cluster a, cluster b, cluster c and 2 more stays there until Drover can \
             release it. It is away."
        );
    }
}
