//! Bringing clusters into the fleet and taking them out, with the rights of the person who asks.

mod bindable;
mod detach;
mod force;
mod import;
mod objects;
mod side;

use drover_fleet::PrepareError;
use drover_runtime::ApiError;
use kube::{config::KubeconfigError, core::gvk::ParseGroupVersionError};

pub(crate) use detach::detach;
pub(crate) use import::import;
pub(crate) use side::Side;

/// What keeps a command from being carried out.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MembershipError {
    #[error("{0}: {1}")]
    Kubeconfig(&'static str, KubeconfigError),
    #[error("{0}: the connection cannot be prepared: {1}")]
    Client(&'static str, PrepareError),
    #[error("{0}: {1}")]
    Request(&'static str, #[source] ApiError),
    #[error(
        "the context {0} leads to the management cluster itself: apply a Cluster named `local` with `connection: {{local: {{}}}}` instead"
    )]
    ManagementCluster(String),
    #[error(
        "the Cluster {name} stands for another cluster (UID {known}, this one has {found}): choose another name or context, or detach that one first"
    )]
    AnotherCluster { name: String, known: String, found: String },
    #[error(
        "the Secret {namespace}/{name} was not made by an import: choose another --name, or delete it if nothing uses it"
    )]
    ForeignSecret { namespace: String, name: String },
    #[error(
        "the context {context} leads to the cluster of the Cluster {name}, which stays in the fleet: detach that one"
    )]
    StaysInTheFleet { context: String, name: String },
    #[error("a Drover runs: {holder} renews the Lease {lease}; detach without --force, or stop it first")]
    DroverRuns { lease: String, holder: String },
    #[error("{0}")]
    Input(String),
    #[error(
        "the Secret drover-system/{0} in the cluster got no token within 30 s: its kube-controller-manager makes it; is that running?"
    )]
    NoToken(String),
    #[error("the Cluster {name} is not gone in time: {why}")]
    StillThere { name: String, why: String },
    #[error(
        "another client created the Cluster {0} again: remove it from its source, for example from Git, and detach it again"
    )]
    MadeAgain(String),
    #[error(transparent)]
    Object(#[from] serde_json::Error),
    #[error(transparent)]
    Kind(#[from] ParseGroupVersionError),
    #[error(transparent)]
    Yaml(#[from] serde_yaml::Error),
    #[error("cannot print: {0}")]
    Print(std::io::Error),
}
