//! Whether the holder of a Lease lives, as one sees it that only reads.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use tokio::time::Instant;

use super::{DURATION, LONGEST_DURATION, holder};

/// What was seen of one Lease so far. It judges by our own monotonic clock, as client-go does: the clock of this machine and
/// that of the holder need not agree.
#[derive(Clone, Debug, Default)]
pub struct Observation {
    seen: Option<Seen>,
    changed: bool,
}

/// The record as last read, and since when it is the same.
#[derive(Clone, Debug)]
struct Seen {
    record: LeaseSpec,
    since: Instant,
}

impl Observation {
    /// The holder whose term is not over, given the Lease as it is now. The first look never says that a term is over.
    pub fn living_holder(&mut self, lease: &Lease) -> Option<String> {
        let record = lease.spec.clone().unwrap_or_default();
        let since = match self.seen.take() {
            Some(seen) if seen.record == record => seen.since,
            seen => {
                self.changed = seen.is_some();
                Instant::now()
            }
        };
        let duration = term(&record);
        self.seen = Some(Seen { record, since });
        holder(lease).filter(|_| since.elapsed() < duration).map(str::to_owned)
    }

    /// Whether the Lease was renewed, taken or released between the looks: a sign of a live holder.
    #[must_use]
    pub fn has_changed(&self) -> bool {
        self.changed
    }
}

/// The holder's own duration counts, within bounds: two versions of us may run with different settings during an upgrade.
fn term(record: &LeaseSpec) -> Duration {
    match record.lease_duration_seconds {
        Some(seconds @ 1..) => Duration::from_secs(u64::from(seconds.unsigned_abs())).min(LONGEST_DURATION),
        _ => DURATION,
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::{apimachinery::pkg::apis::meta::v1::MicroTime, jiff::Timestamp};
    use tokio::time::advance;

    use super::*;

    fn lease(holder: &str, renewed: i64) -> Lease {
        let spec = LeaseSpec {
            holder_identity: Some(holder.to_owned()),
            lease_duration_seconds: Some(5),
            renew_time: Some(MicroTime(Timestamp::from_second(renewed).unwrap())),
            ..LeaseSpec::default()
        };
        Lease { spec: Some(spec), ..Lease::default() }
    }

    #[tokio::test(start_paused = true)]
    async fn a_term_is_over_when_the_record_did_not_change_for_its_duration_whatever_its_times_say() {
        for renewed in [0, 32_503_680_000] {
            let mut observation = Observation::default();
            let lease = lease("a", renewed);
            assert_eq!(observation.living_holder(&lease).as_deref(), Some("a"));
            advance(Duration::from_secs(4)).await;
            assert_eq!(observation.living_holder(&lease).as_deref(), Some("a"));
            assert!(!observation.has_changed());
            advance(Duration::from_secs(1)).await;
            assert_eq!(observation.living_holder(&lease), None);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn no_duration_keeps_others_out_for_longer_than_ten_minutes() {
        for (seconds, ends_after) in [(i32::MAX, 600), (601, 600), (600, 600), (599, 599), (0, 15), (-1, 15)] {
            let (mut observation, mut lease) = (Observation::default(), lease("a", 0));
            lease.spec.as_mut().unwrap().lease_duration_seconds = Some(seconds);
            assert!(observation.living_holder(&lease).is_some());
            advance(Duration::from_secs(ends_after - 1)).await;
            assert!(observation.living_holder(&lease).is_some(), "{seconds}");
            advance(Duration::from_secs(1)).await;
            assert_eq!(observation.living_holder(&lease), None, "{seconds}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_renewal_is_a_sign_of_life_and_a_release_ends_the_term_at_once() {
        let mut observation = Observation::default();
        observation.living_holder(&lease("a", 0));
        advance(Duration::from_mins(1)).await;
        assert_eq!(observation.living_holder(&lease("a", 1)).as_deref(), Some("a"));
        assert!(observation.has_changed());
        assert_eq!(observation.living_holder(&lease("", 1)), None);
        assert_eq!(Observation::default().living_holder(&lease("", 1)), None);
    }
}
