//! Rest: nothing moves that would move if something were wrong.
//!
//! What is wrong and comes back does so by one of drover's clocks: a probe, a look again, a watch that begins anew. With short
//! ones ([`Timers::SHORT`]) two periods of the slowest are soon over; a status that flaps with any of them is seen.

#![expect(clippy::unwrap_used, clippy::missing_panics_doc, reason = "a story is a test, and a test may panic")]

use std::time::{Duration, Instant};

use super::writes::{Marks, marks, writes_since};
use crate::audit::AuditEvent;
use crate::installation::{DROVER_USER, Installation, Timers};
use crate::wait::{eventually, patiently};

/// Between two looks at the audit logs.
const LOOK: Duration = Duration::from_millis(200);
/// What was under way may still be written for this long: events, and a status once a second.
const SETTLES_WITHIN: Duration = Duration::from_secs(8);

/// Two periods of the slowest of the shortened clocks of drover.
#[must_use]
pub fn two_periods() -> Duration {
    2 * Timers::SHORT.slowest() + Duration::from_millis(500)
}

/// Longer than a standby waits for a leader that says nothing.
#[must_use]
pub fn longer_than_the_lease() -> Duration {
    let [lease, ..] = Timers::SHORT.election;
    lease + Duration::from_secs(2)
}

/// Waits until drover has written nothing but the leader Lease for two periods, which has to come soon, and that in each of
/// them: one that hangs or has ended is not at rest.
pub async fn quiet(installation: &Installation, after: &str) {
    has_short_clocks(installation);
    let started = Instant::now();
    let (mut quiet_since, mut mark) = (Instant::now(), marks(installation).unwrap());
    loop {
        tokio::time::sleep(LOOK).await;
        let written = writes_since(installation, &mark).unwrap();
        let is_over = quiet_since.elapsed() >= two_periods();
        if written.is_empty() && !is_over {
            continue;
        }
        if written.is_empty() && renewals_since(installation, &mark) > 0 {
            return;
        }
        let log = installation.drover_log();
        let unquiet = format!("no rest after {after}, or nobody renews the Lease: {written:?}\ndrover:\n{log}");
        assert!(started.elapsed() < patiently(SETTLES_WITHIN), "{unquiet}");
        (quiet_since, mark) = (Instant::now(), marks(installation).unwrap());
    }
}

/// Waits for two periods of a drover that leads, in which it may not have written anything, and neither since `marks` were taken.
pub async fn unmoved_since(installation: &Installation, marks: &Marks, after: &str) {
    has_short_clocks(installation);
    let entry = self::marks(installation).unwrap();
    let leads = eventually("drover renews the Lease", patiently(longer_than_the_lease()), async || {
        Ok((renewals_since(installation, &entry) > 0).then_some(()))
    });
    let leads = leads.await;
    assert!(leads.is_ok(), "after {after}: {leads:?}\ndrover:\n{}", installation.drover_log());
    let mark = self::marks(installation).unwrap();
    tokio::time::sleep(two_periods()).await;
    let written = writes_since(installation, marks).unwrap();
    let log = installation.drover_log();
    assert!(written.is_empty(), "after {after}: {written:?}\ndrover:\n{log}");
    assert!(renewals_since(installation, &mark) > 0, "after {after} nobody renews the Lease\ndrover:\n{log}");
}

/// How often drover renewed the leader Lease since then: that it lives, that the log tells of it, and under which name.
fn renewals_since(installation: &Installation, marks: &Marks) -> usize {
    let events = installation.management.audit_events_since(*marks.first().unwrap()).unwrap().into_iter();
    let renews = |event: &AuditEvent| {
        event.user == DROVER_USER && event.resource == "leases" && event.changes() && event.code == 200
    };
    events.filter(renews).count()
}

fn has_short_clocks(installation: &Installation) {
    assert!(installation.timers == Some(Timers::SHORT), "rest can only be seen with short clocks");
}
