//! What can happen to a control plane: stop, crash, freeze, compaction, a slow or a full disk.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use nix::sys::signal::Signal;

use super::{AMPLE_ETCD_QUOTA, Component, ControlPlane};
use crate::error::{Error, Result};
use crate::process::DetachedProcess;

/// More than an empty etcd takes and less than one that an API server has filled.
const EXHAUSTED_ETCD_QUOTA: u64 = 64 << 10;
/// For how long a slow etcd does nothing, and for how long it works in between.
const SLOW_ETCD: (Duration, Duration) = (Duration::from_millis(700), Duration::from_millis(100));

/// How often, and after which pause, a start is tried again whose port is not free yet.
const ATTEMPTS: u32 = 5;
const PAUSE: Duration = Duration::from_millis(200);

/// Slows an etcd down until it is dropped.
#[derive(Debug)]
pub struct SlowEtcd {
    process: DetachedProcess,
    is_over: Arc<Mutex<bool>>,
}

impl Drop for SlowEtcd {
    fn drop(&mut self) {
        let mut is_over = self.is_over.lock().unwrap_or_else(PoisonError::into_inner);
        *is_over = true;
        // It may have ended meanwhile.
        let _ = self.process.resume();
    }
}

/// Stops the process, unless it is over: both under one lock, so that no stop comes after the last continuation.
fn stop_unless(is_over: &Mutex<bool>, process: &DetachedProcess) -> bool {
    let is_over = is_over.lock().unwrap_or_else(PoisonError::into_inner);
    !*is_over && process.is_running() && process.signal(Signal::SIGSTOP).is_ok()
}

impl ControlPlane {
    /// Ends one component in order (SIGTERM); data and ports stay.
    pub async fn stop(&mut self, component: Component) -> Result<()> {
        self.harm()?;
        self.process(component)?.terminate().await?;
        self.processes.remove(&component);
        Ok(())
    }

    /// Crashes one component (SIGKILL); data and ports stay.
    pub async fn kill(&mut self, component: Component) -> Result<()> {
        self.harm()?;
        self.process(component)?.kill().await?;
        self.processes.remove(&component);
        Ok(())
    }

    /// Starts a stopped component again, with the same data and ports, and waits until it is ready.
    pub async fn start_again(&mut self, component: Component) -> Result<()> {
        for _ in 0..ATTEMPTS {
            match self.start_components(&[component]).await {
                // The port is reserved for it: what the one before had open is closed moments after its end.
                Err(Error::Ended { tail, .. }) if tail.contains("address already in use") => {
                    tokio::time::sleep(PAUSE).await;
                }
                outcome => return outcome,
            }
        }
        self.start_components(&[component]).await
    }

    /// [`ControlPlane::stop`] and [`ControlPlane::start_again`].
    pub async fn restart(&mut self, component: Component) -> Result<()> {
        self.stop(component).await?;
        self.start_again(component).await
    }

    /// Restarts the API server with more flags, such as `--goaway-chance=0.02`.
    pub async fn restart_apiserver_with(&mut self, arguments: &[&str]) -> Result<()> {
        self.options.apiserver_arguments.extend(arguments.iter().map(|argument| (*argument).to_owned()));
        self.restart(Component::Apiserver).await
    }

    /// Freezes one component (SIGSTOP): its connections stay open and nobody answers.
    pub async fn pause(&mut self, component: Component) -> Result<()> {
        self.harm()?;
        self.process(component)?.pause().await
    }

    /// Lets a frozen component go on.
    pub fn resume(&mut self, component: Component) -> Result<()> {
        self.process(component)?.resume()
    }

    /// Forgets all history in etcd and restarts the API server, whose cache would remember some of it. A watch that
    /// goes on from an older resource version then gets 410 Gone.
    pub async fn expire_watches(&mut self) -> Result<()> {
        self.stop(Component::Apiserver).await?;
        self.force_compaction().await?;
        self.start_again(Component::Apiserver).await
    }

    /// Makes etcd answer late, as on a slow disk: it stands still most of the time. Drop the answer before you stop etcd.
    pub fn slow_etcd(&mut self) -> Result<SlowEtcd> {
        self.harm()?;
        let process = self.process(Component::Etcd)?.observe()?;
        let slowed = process.clone();
        let over = Arc::new(Mutex::new(false));
        let is_over = Arc::clone(&over);
        tokio::spawn(async move {
            let (still, working) = SLOW_ETCD;
            while stop_unless(&over, &slowed) {
                tokio::time::sleep(still).await;
                let _ = slowed.resume();
                tokio::time::sleep(working).await;
            }
        });
        Ok(SlowEtcd { process, is_over })
    }

    /// Leaves etcd no space: it answers reads and refuses writes.
    pub async fn exhaust_etcd(&mut self) -> Result<()> {
        self.options.etcd_quota = EXHAUSTED_ETCD_QUOTA;
        self.restart(Component::Etcd).await
    }

    /// Gives etcd space again, and takes back its alarm, as its manual says.
    pub async fn relieve_etcd(&mut self) -> Result<()> {
        self.options.etcd_quota = AMPLE_ETCD_QUOTA;
        self.restart(Component::Etcd).await?;
        self.etcdctl(&["alarm", "disarm"]).await.map(drop)
    }
}
