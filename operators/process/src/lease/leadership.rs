//! What a leader does: it renews, and in the end gives the Lease back.

use std::time::Duration;

use drover_runtime::{ApiError, clock};
use k8s_openapi::{api::coordination::v1::Lease, apimachinery::pkg::apis::meta::v1::MicroTime};
use tokio::{
    sync::watch,
    time::{Instant, sleep, sleep_until, timeout, timeout_at},
};
use tokio_util::task::AbortOnDropHandle;

use super::election::{Attempt, LeaderLease, Term, is_conflict, report};

/// A released Lease names this duration, in seconds, as client-go's `ReleaseOnCancel` does; zero is not valid.
const RELEASED_DURATION: i32 = 1;
/// Pause before a release that met a conflict is tried again.
const RELEASE_PAUSE: Duration = Duration::from_millis(100);

/// Proof that this process leads. Renewed in the background until it is lost, released or dropped.
#[derive(Debug)]
pub struct Leadership {
    lease: LeaderLease,
    /// Until when the last renewal lasts. The sender is dropped when the leadership is lost before that.
    until: watch::Receiver<Instant>,
    renewal: AbortOnDropHandle<()>,
}

impl Leadership {
    pub(super) fn begin(lease: LeaderLease, term: Term) -> Self {
        tracing::info!(lease = lease.settings.name, identity = lease.settings.identity, "this process leads");
        let (sender, until) = watch::channel(term.sent + lease.settings.renew_deadline);
        let renewal = AbortOnDropHandle::new(tokio::spawn(lease.clone().keep_renewing(term.lease, sender)));
        Self { lease, until, renewal }
    }

    /// Resolves when the leadership is over: another process holds the Lease, or no renewal succeeded for the renew
    /// deadline. Then the work must stop at once. May be cancelled and called again.
    pub async fn lost(&mut self) {
        loop {
            let until = *self.until.borrow_and_update();
            tokio::select! {
                biased;
                changed = self.until.changed() => if changed.is_err() { break },
                // Watched here as well as by the renewal, so that a renewal that hangs or panics ends the leadership too.
                () = sleep_until(until) => break,
            }
        }
        // Whichever of the two noticed it first.
        if Instant::now() >= *self.until.borrow() {
            tracing::error!(lease = self.lease.settings.name, "the leader lease was not renewed in time");
        }
    }

    /// Gives the Lease back on shutdown, after the work has stopped, so that another process takes over within its retry
    /// period. Best effort, and bounded by half the renew deadline: if it fails, the others wait for the duration.
    pub async fn release(self) {
        let Self { lease, renewal, .. } = self;
        drop(renewal);
        match timeout(lease.settings.request_timeout(), lease.give_up()).await {
            Ok(Ok(())) => tracing::info!(lease = lease.settings.name, "released the leader lease"),
            Ok(Err(error)) => report(&error),
            Err(_) => tracing::warn!(lease = lease.settings.name, "cannot release the leader lease in time"),
        }
    }
}

impl LeaderLease {
    /// Renews until the leadership is over, and tells `until` how long each renewal lasts.
    async fn keep_renewing(self, mut lease: Lease, until: watch::Sender<Instant>) {
        loop {
            let deadline = *until.borrow();
            // No renewal may succeed after the deadline: by then `Leadership::lost` has said that it is over.
            let Ok(outcome) = timeout_at(deadline, self.renew_after_pause(lease.clone())).await else {
                return; // `Leadership::lost` says so.
            };
            match outcome {
                Ok(Attempt::Leading(term)) => {
                    until.send_replace(term.sent + self.settings.renew_deadline);
                    lease = term.lease;
                }
                Ok(Attempt::Following(holder)) => {
                    tracing::error!(
                        lease = self.settings.name,
                        holder,
                        "this process does not hold the leader lease any more"
                    );
                    return;
                }
                Err(error) => report(&error),
            }
        }
    }

    async fn renew_after_pause(&self, lease: Lease) -> Result<Attempt, ApiError> {
        sleep(self.settings.pause()).await;
        self.renew(lease).await
    }

    /// Clears the holder, so that another candidate need not wait for the duration.
    async fn give_up(&self) -> Result<(), ApiError> {
        loop {
            let Some(lease) = self.read().await?.filter(|lease| self.is_ours(lease)) else {
                return Ok(());
            };
            match self.replace(released(lease)).await {
                // A renewal that was on its way when we stopped it.
                Err(error) if is_conflict(&error) => sleep(RELEASE_PAUSE).await,
                outcome => return outcome.map(|_| ()),
            }
        }
    }
}

/// `lease` as client-go leaves it behind on shutdown.
fn released(mut lease: Lease) -> Lease {
    let record = lease.spec.get_or_insert_default();
    record.holder_identity = Some(String::new());
    record.lease_duration_seconds = Some(RELEASED_DURATION);
    record.renew_time = Some(MicroTime(clock::now()));
    lease
}
