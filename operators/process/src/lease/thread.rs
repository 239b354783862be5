//! Holds the election on a thread of its own: however busy the threads of the work are, the Lease is renewed. A process whose
//! work stands still for good is ended, so that another one takes over.

use std::{io, thread, time::Duration};

use kube::Client;
use tokio::{
    sync::{oneshot, watch},
    time::{interval, sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use super::{LeaderLease, Leadership, LeaseError, LeaseSettings};

/// How often the work shows a sign of life.
const BEAT: Duration = Duration::from_secs(1);
/// How long it may show none. No step of it takes as long on the slowest machine.
const STANDSTILL: Duration = Duration::from_secs(30);

/// An election that is held on a thread of its own.
#[derive(Debug)]
pub struct Election {
    outcome: oneshot::Receiver<Result<bool, LeaseError>>,
    signals: Signals,
    _beats: AbortOnDropHandle<()>,
}

/// What the work and the thread tell each other.
#[derive(Clone, Debug, Default)]
struct Signals {
    /// The leadership is over.
    lost: CancellationToken,
    /// The work has ended and gives the Lease back.
    release: CancellationToken,
    /// The Lease was given back, as far as that was possible.
    released: CancellationToken,
    /// Nobody is there any more whom the election concerns.
    over: CancellationToken,
}

impl Election {
    /// Begins it, for the work of the current runtime. `connect` is called once, and its client is used on the thread only. `end` ends
    /// the process if the work does not do so in time after the leadership was lost.
    ///
    /// Fails if the thread or the client cannot be made.
    pub fn begin<E: From<io::Error>>(
        connect: impl FnOnce() -> Result<Client, E>,
        settings: LeaseSettings,
        stop: CancellationToken,
        end: impl FnOnce() + Send + 'static,
    ) -> Result<Self, E> {
        Self::begin_with(STANDSTILL, connect, settings, stop, end)
    }

    fn begin_with<E: From<io::Error>>(
        standstill: Duration,
        connect: impl FnOnce() -> Result<Client, E>,
        settings: LeaseSettings,
        stop: CancellationToken,
        end: impl FnOnce() + Send + 'static,
    ) -> Result<Self, E> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let client = {
            let _on_the_thread = runtime.enter();
            connect()?
        };
        let (tell, outcome) = oneshot::channel();
        let (beat, beats) = watch::channel(());
        let signals = Signals::default();
        let (margin, told) = (settings.duration.saturating_sub(settings.renew_deadline), signals.clone());
        let held = async move {
            // However the thread ends, nobody leads without it.
            let _lost = told.lost.clone().drop_guard();
            let leadership = LeaderLease::acquire(client, settings, stop).await;
            let won = leadership.as_ref().map(Option::is_some).map_err(LeaseError::clone);
            if tell.send(won).is_ok()
                && let Ok(Some(leadership)) = leadership
            {
                lead(leadership, &told, standstill_of(beats, standstill), margin, end).await;
            }
        };
        thread::Builder::new().name("lease".to_owned()).spawn(move || runtime.block_on(held))?;
        Ok(Self { outcome, signals, _beats: AbortOnDropHandle::new(tokio::spawn(show_life(beat))) })
    }

    /// Waits until this process leads, or answers `false` when it was asked to stop first. [`LeaseError::Ended`] if a defect ended
    /// the thread.
    pub async fn won(&mut self) -> Result<bool, LeaseError> {
        (&mut self.outcome).await.unwrap_or(Err(LeaseError::Ended))
    }

    /// Resolves when the leadership is over. Then the work must stop at once.
    pub async fn lost(&self) {
        self.signals.lost.cancelled().await;
    }

    /// Gives the Lease back on shutdown, after the work has stopped. See [`Leadership::release`].
    pub async fn release(self) {
        self.signals.release.cancel();
        self.signals.released.cancelled().await;
    }
}

impl Drop for Election {
    fn drop(&mut self) {
        self.signals.over.cancel();
    }
}

async fn show_life(beat: watch::Sender<()>) {
    let mut beats = interval(BEAT);
    loop {
        beats.tick().await;
        beat.send_replace(());
    }
}

/// Resolves when no beat has come for the limit.
async fn standstill_of(mut beats: watch::Receiver<()>, limit: Duration) {
    while let Ok(beat) = timeout(limit, beats.changed()).await {
        if beat.is_err() {
            return std::future::pending().await; // The work has ended in good order.
        }
    }
}

async fn lead(
    mut leadership: Leadership,
    signals: &Signals,
    standstill: impl Future<Output = ()>,
    margin: Duration,
    end: impl FnOnce(),
) {
    let _released = signals.released.clone().drop_guard();
    tokio::select! {
        biased;
        () = signals.release.cancelled() => return leadership.release().await,
        () = leadership.lost() => {}
        () = standstill => tracing::error!("nothing has moved in this process for long; it ends, and another replica takes over"),
    }
    drop(leadership);
    signals.lost.cancel();
    // By the time another one may begin, nothing here may act any more.
    tokio::select! {
        () = signals.over.cancelled() => {}
        () = sleep(margin / 2) => end(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::{
        super::tests::{Server, settings},
        *,
    };

    /// Short terms, on a real clock: threads have no paused one.
    fn short() -> LeaseSettings {
        LeaseSettings {
            duration: Duration::from_secs(2),
            renew_deadline: Duration::from_secs(1),
            retry_period: Duration::from_millis(100),
            ..settings("a")
        }
    }

    fn begin(server: &Server, standstill: Duration) -> (Election, mpsc::Receiver<()>) {
        let (ended, end) = mpsc::channel();
        let connect = || Ok::<_, io::Error>(server.client());
        let told = move || ended.send(()).unwrap();
        (Election::begin_with(standstill, connect, short(), CancellationToken::new(), told).unwrap(), end)
    }

    fn holder(server: &Server) -> serde_json::Value {
        server.lease()["spec"]["holderIdentity"].clone()
    }

    #[tokio::test]
    async fn work_that_keeps_its_thread_busy_does_not_lose_the_lease() {
        let server = Server::default();
        let (mut election, end) = begin(&server, STANDSTILL);
        assert!(election.won().await.unwrap());
        let before = server.lease()["spec"]["renewTime"].clone();
        thread::sleep(Duration::from_secs(3));
        assert!(!election.signals.lost.is_cancelled() && end.try_recv().is_err());
        assert_ne!(server.lease()["spec"]["renewTime"], before);
        election.release().await;
        assert_eq!(holder(&server), "");
    }

    #[tokio::test]
    async fn whoever_waits_is_told_when_a_defect_ends_the_thread() {
        let server = Server::default();
        let (mut election, _end) = begin(&server, STANDSTILL);
        assert!(election.won().await.unwrap());
        // Whatever ends the thread ends the leadership, a release as well.
        let lost = election.signals.lost.clone();
        election.release().await;
        timeout(Duration::from_secs(20), lost.cancelled()).await.unwrap();

        let (tell, outcome) = oneshot::channel();
        drop(tell);
        let mut ended =
            Election { outcome, signals: Signals::default(), _beats: AbortOnDropHandle::new(tokio::spawn(async {})) };
        assert_eq!(ended.won().await, Err(LeaseError::Ended));
    }

    #[tokio::test]
    async fn work_that_stands_still_for_good_is_ended_and_the_lease_runs_out() {
        let server = Server::default();
        let (mut election, end) = begin(&server, Duration::from_secs(2));
        assert!(election.won().await.unwrap());
        // Nothing else runs on this thread meanwhile.
        end.recv_timeout(Duration::from_secs(20)).unwrap();
        let last = server.lease()["spec"]["renewTime"].clone();
        thread::sleep(Duration::from_secs(1));
        assert_eq!(server.lease()["spec"]["renewTime"], last, "it is not renewed any more");
    }

    #[tokio::test]
    async fn work_that_stops_when_the_lease_is_lost_ends_by_itself() {
        let server = Server::default();
        let (mut election, end) = begin(&server, STANDSTILL);
        assert!(election.won().await.unwrap());
        server.held_by("b", "2026-01-01T00:00:00.000000Z");
        timeout(Duration::from_secs(20), election.lost()).await.unwrap();
        drop(election);
        assert!(end.recv_timeout(Duration::from_secs(2)).is_err());
        assert_eq!(holder(&server), "b");
    }
}
