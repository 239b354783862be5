//! What a connection's task does next, and when.

use std::{pin::pin, time::Duration};

use tokio::{
    sync::{Notify, watch},
    time::{Instant, sleep_until},
};

use crate::{source::Target, verdict::DOUBT_PAUSE};

/// So often is a connection made for a server that drains one after another: for one that drains each fiftieth request (as
/// `--goaway-chance=0.02` does) that is no limit.
const CONNECTION_PAUSE: Duration = Duration::from_millis(250);

/// When what is due.
pub(crate) struct Next {
    /// The next step …
    step: Instant,
    /// … and when it is due at the earliest, if something hints at it.
    hinted_step: Instant,
    /// The next connection for requests that wait for one, at the earliest.
    connection: Instant,
}

/// What is to be done next.
pub(crate) enum Due {
    /// Nothing any more: it ends.
    Nothing,
    /// A probe.
    Step,
    /// A connection for requests that wait for one.
    Connection,
}

impl Next {
    /// What comes after a step that began then, with this pause between two steps. While a verdict is `in_doubt`, an attempt that took
    /// long was pause enough.
    pub(crate) fn after(began: Instant, pause: Duration, in_doubt: bool) -> Self {
        let now = Instant::now();
        let since = if in_doubt { began } else { now };
        Self { step: since + pause, hinted_step: now + pause.min(DOUBT_PAUSE), connection: now }
    }

    /// A connection is made now, so the next one has time.
    pub(crate) fn connection_begins(&mut self) {
        self.connection = Instant::now() + CONNECTION_PAUSE;
    }

    /// Waits until something is to be done, or the next step is due: also where the server drains one connection after another.
    pub(crate) async fn wait(&mut self, target: &mut watch::Receiver<Target>, hint: &Notify, wanted: &Notify) -> Due {
        let connection = self.connection;
        let mut wanted = pin!(async {
            wanted.notified().await;
            sleep_until(connection).await;
        });
        loop {
            tokio::select! {
                changed = target.changed() => return if changed.is_err() { Due::Nothing } else { Due::Step },
                () = sleep_until(self.step) => return Due::Step,
                () = &mut wanted => return Due::Connection,
                // A broken watch is a hint, not a verdict: it brings the next probe forward, and many bring one.
                () = hint.notified() => self.step = self.step.min(self.hinted_step),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::*;
    use crate::source::Source;

    fn target() -> Target {
        let spec = json!({"connection": {"local": {}}});
        let cluster = json!({"apiVersion": "drover.dev/v1alpha1", "kind": "Cluster", "metadata": {"name": "local"}, "spec": spec});
        Target { cluster: Arc::new(serde_json::from_value(cluster).unwrap()), source: Source::Unreadable }
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_drains_every_connection_is_probed_at_its_time_and_dialled_four_times_a_second() {
        let (_sender, mut target) = watch::channel(target());
        let (hint, wanted, start) = (Notify::new(), Notify::new(), Instant::now());
        let mut next = Next::after(start, Duration::from_secs(30), false);
        let mut connections = 0;
        loop {
            wanted.notify_one();
            match next.wait(&mut target, &hint, &wanted).await {
                Due::Connection => connections += 1,
                Due::Step | Due::Nothing => break,
            }
            next.connection_begins();
        }
        assert_eq!(start.elapsed(), Duration::from_secs(30));
        assert!((115..=121).contains(&connections), "{connections} connections in 30 s");
    }

    #[tokio::test(start_paused = true)]
    async fn a_hint_brings_the_next_step_forward() {
        let (_sender, mut target) = watch::channel(target());
        let (hint, wanted, start) = (Notify::new(), Notify::new(), Instant::now());
        hint.notify_one();
        let mut next = Next::after(start, Duration::from_secs(30), false);
        assert!(matches!(next.wait(&mut target, &hint, &wanted).await, Due::Step));
        assert_eq!(start.elapsed(), DOUBT_PAUSE);
    }
}
