use std::path::Path;

use crate::error::Result;
use crate::process::{DetachedProcess, Process, tail_of};

const LOG_LINES: usize = 20;

/// A process of a control plane.
#[derive(Debug)]
pub(super) enum Running {
    /// We started it, and it ends with us.
    Ours(Process),
    /// Another process started it, or will use it next.
    Pooled(DetachedProcess),
}

impl Running {
    pub(super) fn pid(&self) -> i32 {
        match self {
            Self::Ours(process) => process.pid(),
            Self::Pooled(process) => process.pid(),
        }
    }

    pub(super) fn name(&self) -> &str {
        match self {
            Self::Ours(process) => process.name(),
            Self::Pooled(process) => process.name(),
        }
    }

    pub(super) fn log(&self) -> &Path {
        match self {
            Self::Ours(process) => process.log(),
            Self::Pooled(process) => process.log(),
        }
    }

    pub(super) fn log_tail(&self) -> String {
        tail_of(self.log(), LOG_LINES)
    }

    pub(super) fn check(&mut self) -> Result<()> {
        match self {
            Self::Ours(process) => process.check(),
            Self::Pooled(process) => process.check(),
        }
    }

    pub(super) async fn terminate(&mut self) -> Result<()> {
        match self {
            Self::Ours(process) => process.terminate().await,
            Self::Pooled(process) => process.terminate().await,
        }
    }

    pub(super) async fn kill(&mut self) -> Result<()> {
        match self {
            Self::Ours(process) => process.kill().await,
            Self::Pooled(process) => process.kill().await,
        }
    }

    pub(super) async fn pause(&mut self) -> Result<()> {
        match self {
            Self::Ours(process) => process.pause().await,
            Self::Pooled(process) => process.pause().await,
        }
    }

    pub(super) fn resume(&mut self) -> Result<()> {
        match self {
            Self::Ours(process) => process.resume(),
            Self::Pooled(process) => process.resume(),
        }
    }

    /// Its process, as others know it.
    pub(super) fn observe(&self) -> Result<DetachedProcess> {
        match self {
            Self::Ours(process) => process.observe(),
            Self::Pooled(process) => Ok(process.clone()),
        }
    }

    /// Lets it outlive us.
    pub(super) fn detach(self) -> Result<DetachedProcess> {
        match self {
            Self::Ours(process) => process.detach(),
            Self::Pooled(process) => Ok(process),
        }
    }
}
