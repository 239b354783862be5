//! Leader election on one `coordination.k8s.io/v1` Lease, with the semantics of client-go.
//!
//! A candidate never compares wall clocks: another holder's term is over when its record has not changed for the duration
//! that the record names, measured by our monotonic clock from the moment *we* saw it change. A leader counts from the
//! moment it *sent* its last successful write, and gives up after a shorter time, so it has stopped before anybody else
//! may start. Every write is a `replace` with the `resourceVersion` that was read; of two writers one gets a conflict.
//!
//! What an election cannot promise: a process that the machine froze for longer than the margin (5 s by default) may send
//! one more request before it notices. All that Drover writes is therefore idempotent as well.

mod election;
mod leadership;
mod observation;
#[cfg(test)]
mod tests;
mod thread;

use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use rand::RngExt as _;

pub use election::LeaderLease;
pub use leadership::Leadership;
pub use observation::Observation;
pub use thread::Election;

/// client-go's `LeaseDuration` as kube-controller-manager sets it.
const DURATION: Duration = Duration::from_secs(15);
/// The longest duration of a Lease, ours or another holder's: what a Lease says must not keep everybody out for years.
const LONGEST_DURATION: Duration = Duration::from_mins(10);
/// client-go's `RenewDeadline`.
const RENEW_DEADLINE: Duration = Duration::from_secs(10);
/// client-go's `RetryPeriod`.
const RETRY_PERIOD: Duration = Duration::from_secs(2);
/// Attempts that follow each other faster than this are a burden on the API server and of no use.
const SHORTEST_RETRY_PERIOD: Duration = Duration::from_millis(100);

/// Which Lease decides, who we are, and how long things take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseSettings {
    /// Namespace of the Lease.
    pub namespace: String,
    /// Name of the Lease.
    pub name: String,
    /// Who we are. No two processes that run at the same time may share it; the pod name is a good choice.
    pub identity: String,
    /// How long others wait for a sign of life before they take over. Whole seconds, from 1 s to 10 min; 15 s by default.
    pub duration: Duration,
    /// How long a leader goes on without a successful renewal. Shorter than `duration`, the difference being the safety
    /// margin; 10 s by default.
    pub renew_deadline: Duration,
    /// Longest pause between two attempts, to renew or to acquire. Shorter than `renew_deadline`; 2 s by default.
    pub retry_period: Duration,
}

impl LeaseSettings {
    /// Settings with the durations that Kubernetes' own components use.
    #[must_use]
    pub fn new(namespace: impl Into<String>, name: impl Into<String>, identity: impl Into<String>) -> Self {
        Self {
            namespace: namespace.into(),
            name: name.into(),
            identity: identity.into(),
            duration: DURATION,
            renew_deadline: RENEW_DEADLINE,
            retry_period: RETRY_PERIOD,
        }
    }

    /// Whether the settings agree with each other. [`LeaderLease::acquire`] checks them as well; who calls this first fails before
    /// anything else was done.
    pub fn check(&self) -> Result<(), LeaseError> {
        if self.namespace.is_empty() || self.name.is_empty() || self.identity.is_empty() {
            return Err(LeaseError::Settings("namespace, name and identity must not be empty"));
        }
        let seconds = Duration::from_secs(self.duration.as_secs());
        if seconds < Duration::from_secs(1) || self.duration > LONGEST_DURATION {
            return Err(LeaseError::Settings("the duration must be between 1 s and 10 min"));
        }
        if self.renew_deadline >= seconds {
            return Err(LeaseError::Settings("the renew deadline must be shorter than the duration in whole seconds"));
        }
        if self.retry_period < SHORTEST_RETRY_PERIOD || self.retry_period >= self.renew_deadline {
            return Err(LeaseError::Settings("the retry period must be at least 100 ms and below the renew deadline"));
        }
        Ok(())
    }

    /// What the Lease says; `check` has made sure that it fits.
    fn duration_seconds(&self) -> i32 {
        i32::try_from(self.duration.as_secs()).unwrap_or(i32::MAX)
    }

    /// Half the deadline, so that one request without an answer leaves time for another.
    fn request_timeout(&self) -> Duration {
        self.renew_deadline / 2
    }

    /// The pause before the next attempt: jittered, so that candidates that started together do not write together, and
    /// never longer than the retry period.
    fn pause(&self) -> Duration {
        self.retry_period.mul_f64(rand::rng().random_range(0.75..=1.0))
    }
}

/// Why an election cannot be held. An API server that fails is not among it: that is retried for as long as it takes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LeaseError {
    /// The settings contradict each other.
    #[error("cannot hold a leader election: {0}")]
    Settings(&'static str),
    /// The thread of the election ended by itself.
    #[error("a defect in Drover ended the leader election; see the log")]
    Ended,
}

/// Who holds the Lease. A released one has an empty holder, which counts as none.
fn holder(lease: &Lease) -> Option<&str> {
    lease.spec.as_ref()?.holder_identity.as_deref().filter(|holder| !holder.is_empty())
}
