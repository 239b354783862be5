//! Times that were noted by other processes, whose clocks may have been wrong.

use std::time::Duration;

use k8s_openapi::jiff::Timestamp;

/// How long ago `since` was; nothing if it is still to come.
pub(crate) fn elapsed(now: Timestamp, since: Timestamp) -> Duration {
    Duration::try_from(now.duration_since(since)).unwrap_or_default()
}

/// So much later; the end of time if there is no such time.
pub(crate) fn later(at: Timestamp, by: Duration) -> Timestamp {
    at.checked_add(by).unwrap_or(Timestamp::MAX)
}

/// The earlier of two times, of which either may be missing.
pub(crate) fn earliest(one: Option<Timestamp>, other: Option<Timestamp>) -> Option<Timestamp> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}
