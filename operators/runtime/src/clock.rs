//! The one place where the clock is read.
//!
//! Decisions take `now` as an argument, so that a test can say what time it is. Only what drives them asks for it here.

#[cfg(not(test))]
use k8s_openapi::jiff::Timestamp;

/// The time now. Only the runtime and the process call this; everything else takes `now` as an argument.
#[must_use]
#[cfg(not(test))]
#[expect(clippy::disallowed_methods, reason = "the runtime reads the clock here and hands it on")]
pub fn now() -> Timestamp {
    Timestamp::now()
}

#[cfg(test)]
pub(crate) use on_a_paused_clock::{now, set_by};

/// A wall clock that goes with tokio's, which tests pause.
#[cfg(test)]
mod on_a_paused_clock {
    use std::{cell::Cell, sync::LazyLock};

    use k8s_openapi::jiff::{SignedDuration, Timestamp};
    use tokio::time::Instant;

    static START: LazyLock<std::time::Instant> = LazyLock::new(|| Instant::now().into_std());

    thread_local! {
        static SET_BY: Cell<SignedDuration> = const { Cell::new(SignedDuration::ZERO) };
    }

    pub(crate) fn now() -> Timestamp {
        let passed = Instant::now().into_std().saturating_duration_since(*START);
        let start = Timestamp::from_second(1_795_000_000).unwrap();
        start + SignedDuration::try_from(passed).unwrap() + SET_BY.get()
    }

    /// Sets the clock of this test forward, or back.
    pub(crate) fn set_by(step: SignedDuration) {
        SET_BY.set(SET_BY.get() + step);
    }
}
