//! The one place where the clock is read.

use k8s_openapi::jiff::Timestamp;

/// The time now. Only the shell calls this; everything else is handed `now`.
#[expect(clippy::disallowed_methods, reason = "the shell reads the clock here and hands it on")]
pub(crate) fn now() -> Timestamp {
    Timestamp::now()
}
