//! The fleet: which clusters exist, how they are reached, and who answers.
//!
//! One [`Remote`](remote) per `Cluster` object owns one HTTP/2 connection, a probe and a cache, and reports to the
//! [`Fleet`], which gives the shell a snapshot of all of them. Not connected is a normal value.

pub mod cause;
pub mod claim;
mod contact;
mod counted;
mod dial;
mod expiry;
mod fleet;
mod grants;
mod hold;
pub mod hop;
pub mod kubeconfig;
mod line;
mod probe;
mod proxy;
mod remote;
mod source;
pub mod targets;
mod verdict;
mod visit;

use drover_runtime::{Rights, Rule, rights::READ};

pub use cause::ConnectionCause;
pub use dial::{Management, connect};
pub use expiry::{CredentialLife, SeenCertificate};
pub use fleet::Fleet;
pub use grants::Needs;
pub use probe::Facts;
pub use remote::Report;
pub use visit::release_stored;

/// What the fleet needs: to know Clusters, their kubeconfigs and the namespaces of tenants, to probe a cluster, and to claim
/// it.
pub const RIGHTS: Rights = Rights {
    management: &[Rule::on("drover.dev", &["clusters"], READ), Rule::on("", &["namespaces"], READ)],
    own_namespace: &[Rule::on("", &["secrets"], READ)],
    downstream: &[Rule::read_paths(&["/readyz", "/version"]), Rule::on("", &["namespaces"], &["create", "get"])],
    downstream_namespace: &[
        Rule::on("", &["configmaps"], &["create"]),
        Rule::on("", &["configmaps"], &["delete", "get", "update"]).named(&[claim::CLAIM_NAME]),
    ],
};
