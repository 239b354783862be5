//! The connection to one cluster on which requests are sent as its accounts: one for all of them, without a credential of Drover.
//! Knows no network.
//!
//! It is made when it is needed, closed when nobody has used it for a while, and lives no longer than what the probe knows of the
//! cluster: when another one answers, or when the connection of the probe is replaced, nothing more is sent on it.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use tokio::time::{Instant, sleep_until};

use crate::connections::{Channel, NotIdentified};

/// After this time without a request the connection is closed.
const IDLE: Duration = Duration::from_mins(5);

/// The one connection, if there is one.
#[derive(Debug)]
pub(crate) struct AccountConnection<C> {
    state: Mutex<State<C>>,
    /// Held by whoever makes one.
    dialling: tokio::sync::Mutex<()>,
}

#[derive(Debug)]
struct State<C> {
    open: Option<Open<C>>,
    /// How often it was ended: a connection that was begun before is not used.
    ends: u64,
}

#[derive(Debug)]
struct Open<C> {
    channel: C,
    used: Instant,
}

impl<C> Default for AccountConnection<C> {
    fn default() -> Self {
        Self { state: Mutex::new(State { open: None, ends: 0 }), dialling: tokio::sync::Mutex::default() }
    }
}

impl<C: Channel + Send + 'static> AccountConnection<C> {
    /// The connection. Where there is none, `dial` makes one and finds out who answers.
    pub(crate) async fn get<E: From<NotIdentified>>(
        self: &Arc<Self>,
        dial: impl AsyncFnOnce() -> Result<C, E>,
    ) -> Result<C, E> {
        if let Some(channel) = self.open() {
            return Ok(channel);
        }
        let _one_dials = self.dialling.lock().await;
        if let Some(channel) = self.open() {
            return Ok(channel);
        }
        let ends = self.lock().ends;
        let channel = dial().await?;
        let mut state = self.lock();
        if state.ends != ends {
            return Err(NotIdentified.into());
        }
        if state.open.replace(Open { channel: channel.clone(), used: Instant::now() }).is_none() {
            tokio::spawn(close_when_idle(Arc::downgrade(self)));
        }
        Ok(channel)
    }

    /// Nothing more is sent on it.
    pub(crate) fn end(&self) {
        let mut state = self.lock();
        state.ends += 1;
        state.open = None;
    }

    fn open(&self) -> Option<C> {
        let mut state = self.lock();
        let open = state.open.as_mut().filter(|open| !open.channel.is_closed())?;
        open.used = Instant::now();
        Some(open.channel.clone())
    }

    /// When it is to be closed if nobody uses it until then; none once it is closed.
    fn idle_at(&self) -> Option<Instant> {
        let mut state = self.lock();
        state.open.take_if(|open| open.used + IDLE <= Instant::now());
        state.open.as_ref().map(|open| open.used + IDLE)
    }

    fn lock(&self) -> MutexGuard<'_, State<C>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn close_when_idle<C: Channel + Send + 'static>(connection: Weak<AccountConnection<C>>) {
    while let Some(end) = connection.upgrade().and_then(|connection| connection.idle_at()) {
        sleep_until(end).await;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

    use futures::{FutureExt as _, future::join_all};

    use super::*;

    #[derive(Clone, Debug, Default)]
    struct Fake(Arc<AtomicBool>);

    impl Channel for Fake {
        fn is_closed(&self) -> bool {
            self.0.load(Ordering::Relaxed)
        }

        fn streams(&self) -> usize {
            100
        }
    }

    #[derive(Default)]
    struct Rig {
        connection: Arc<AccountConnection<Fake>>,
        dials: AtomicUsize,
    }

    impl Rig {
        async fn get(&self) -> Result<Fake, NotIdentified> {
            let dial = async || {
                self.dials.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(Duration::from_secs(1)).await;
                Ok(Fake::default())
            };
            self.connection.get(dial).await
        }

        fn dials(&self) -> usize {
            self.dials.load(Ordering::Relaxed)
        }
    }

    #[tokio::test(start_paused = true)]
    async fn all_use_one_connection_and_it_is_replaced_when_it_drains() {
        let rig = Rig::default();
        let all = join_all((0..10).map(|_| rig.get())).await;
        assert_eq!(rig.dials(), 1);
        all[0].as_ref().unwrap().0.store(true, Ordering::Relaxed);
        rig.get().await.unwrap();
        assert_eq!(rig.dials(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_nobody_uses_is_closed() {
        let rig = Rig::default();
        let channel = rig.get().await.unwrap();
        for _ in 0..3 {
            tokio::time::sleep(Duration::from_secs(299)).await;
            rig.get().await.unwrap();
        }
        assert_eq!((rig.dials(), Arc::strong_count(&channel.0)), (1, 2));
        tokio::time::sleep(IDLE + Duration::from_secs(1)).await;
        assert_eq!(Arc::strong_count(&channel.0), 1, "nobody holds it any more");
        rig.get().await.unwrap();
        assert_eq!(rig.dials(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_was_begun_before_the_end_is_not_used() {
        let rig = Rig::default();
        let mut waiting = Box::pin(rig.get());
        assert!(waiting.as_mut().now_or_never().is_none());
        rig.connection.end();
        assert!(waiting.await.is_err());
        let channel = rig.get().await.unwrap();
        rig.connection.end();
        assert_eq!(Arc::strong_count(&channel.0), 1, "nobody holds it any more");
    }
}
