use serde::{Deserialize, Serialize};

use crate::tools::Program;

/// A process of a control plane, in the order in which they start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Component {
    /// The store.
    Etcd,
    /// The API server.
    Apiserver,
    /// The controllers of Kubernetes itself.
    ControllerManager,
    /// The scheduler.
    Scheduler,
    /// Fake kubelets.
    Kwok,
}

impl Component {
    /// The name in messages and of the log file.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.program().name()
    }

    pub(super) fn program(self) -> Program {
        match self {
            Self::Etcd => Program::Etcd,
            Self::Apiserver => Program::KubeApiserver,
            Self::ControllerManager => Program::KubeControllerManager,
            Self::Scheduler => Program::KubeScheduler,
            Self::Kwok => Program::Kwok,
        }
    }
}

/// How much of a control plane to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Components {
    /// etcd and the API server: namespaces are never removed, and pods need no service account.
    #[default]
    ApiserverOnly,
    /// The controller manager too.
    WithControllerManager,
    /// The controller manager and the scheduler too.
    WithScheduler,
}

impl Components {
    /// The processes, in the order in which they start.
    #[must_use]
    pub fn list(self) -> &'static [Component] {
        match self {
            Self::ApiserverOnly => &[Component::Etcd, Component::Apiserver],
            Self::WithControllerManager => &[Component::Etcd, Component::Apiserver, Component::ControllerManager],
            Self::WithScheduler => {
                &[Component::Etcd, Component::Apiserver, Component::ControllerManager, Component::Scheduler]
            }
        }
    }

    /// The programs that this needs.
    #[must_use]
    pub fn programs(self) -> Vec<Program> {
        self.list().iter().map(|component| component.program()).collect()
    }
}
