//! The one place where the clock is read.
//!
//! Decisions take `now` as an argument, so that a test can say what time it is. Only what drives them asks for it here.

use k8s_openapi::jiff::Timestamp;

/// The time now. Only the runtime and the process call this; everything else takes `now` as an argument.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "the runtime reads the clock here and hands it on")]
pub fn now() -> Timestamp {
    Timestamp::now()
}
