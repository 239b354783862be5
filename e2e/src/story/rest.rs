//! Rest: nothing moves that would move if something were wrong.
//!
//! What is wrong and comes back does so by one of drover's clocks: a probe, a look again, a watch that begins anew. With short
//! ones ([`Timers::SHORT`]) two periods of the slowest are soon over; a status that flaps with any of them is seen.

#![expect(clippy::unwrap_used, clippy::missing_panics_doc, reason = "a story is a test, and a test may panic")]

use std::time::{Duration, Instant};

use super::writes::{Marks, marks, writes_since};
use crate::installation::{Installation, Timers};
use crate::wait::patiently;

/// Between two looks at the audit logs.
const LOOK: Duration = Duration::from_millis(200);
/// What was under way may still be written for this long: events, and a status once a second.
const SETTLES_WITHIN: Duration = Duration::from_secs(8);

/// Two periods of the slowest of the shortened clocks of drover.
#[must_use]
pub fn two_periods() -> Duration {
    2 * Timers::SHORT.slowest() + Duration::from_millis(500)
}

/// Waits until drover has written nothing but the leader Lease for two periods, which has to come soon.
pub async fn quiet(installation: &Installation, after: &str) {
    has_short_clocks(installation);
    let started = Instant::now();
    let (mut quiet_since, mut mark) = (Instant::now(), marks(installation).unwrap());
    loop {
        tokio::time::sleep(LOOK).await;
        let written = writes_since(installation, &mark).unwrap();
        if written.is_empty() {
            if quiet_since.elapsed() >= two_periods() {
                return;
            }
            continue;
        }
        let log = installation.drover_log();
        assert!(started.elapsed() < patiently(SETTLES_WITHIN), "no rest after {after}: {written:?}\ndrover:\n{log}");
        (quiet_since, mark) = (Instant::now(), marks(installation).unwrap());
    }
}

/// Waits for two periods, in which drover may not have written anything, and neither since `marks` were taken.
pub async fn unmoved_since(installation: &Installation, marks: &Marks, after: &str) {
    has_short_clocks(installation);
    tokio::time::sleep(two_periods()).await;
    let written = writes_since(installation, marks).unwrap();
    assert!(written.is_empty(), "after {after}: {written:?}\ndrover:\n{}", installation.drover_log());
}

fn has_short_clocks(installation: &Installation) {
    assert!(installation.timers == Some(Timers::SHORT), "rest can only be seen with short clocks");
}
