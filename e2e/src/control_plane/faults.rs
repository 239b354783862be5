//! What can happen to a control plane: stop, crash, freeze, compaction.

use super::{Component, ControlPlane};
use crate::error::Result;

impl ControlPlane {
    /// Ends one component in order (SIGTERM); data and ports stay.
    pub async fn stop(&mut self, component: Component) -> Result<()> {
        self.process(component)?.terminate().await?;
        self.processes.remove(&component);
        Ok(())
    }

    /// Crashes one component (SIGKILL); data and ports stay.
    pub async fn kill(&mut self, component: Component) -> Result<()> {
        self.process(component)?.kill().await?;
        self.processes.remove(&component);
        Ok(())
    }

    /// Starts a stopped component again, with the same data and ports, and waits until it is ready.
    pub async fn start_again(&mut self, component: Component) -> Result<()> {
        self.start_components(&[component]).await
    }

    /// [`ControlPlane::stop`] and [`ControlPlane::start_again`].
    pub async fn restart(&mut self, component: Component) -> Result<()> {
        self.stop(component).await?;
        self.start_again(component).await
    }

    /// Freezes one component (SIGSTOP): its connections stay open and nobody answers.
    pub async fn pause(&mut self, component: Component) -> Result<()> {
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
}
