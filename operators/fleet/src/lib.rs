//! The fleet: which clusters exist, how they are reached, and who answers.
//!
//! One [`Remote`](remote) per `Cluster` object owns its HTTP/2 connections, a probe and a cache, and reports to the
//! [`Fleet`], which gives the runtime a snapshot of all of them. Not connected is a normal value.

pub mod cause;
pub mod claim;
mod claimant;
mod cluster_client;
pub mod connection_error;
mod connection_guard;
mod connections;
mod dial;
pub mod encoding;
mod expiry;
mod fleet;
mod identity;
pub mod kubeconfig;
mod next;
mod one_shot;
mod parsed;
pub mod pem;
mod prepare;
mod probe;
mod proxy;
mod reading;
mod remote;
mod request_queue;
mod required_permissions;
mod rivals;
mod secrets;
mod source;
pub mod targets;
mod tcp;
pub mod tls_failure;
mod transport;
mod verdict;
mod verifier;

use drover_runtime::{Rights, Rule, rights::READ};

pub use cause::{ConnectionCause, TenancyCause};
pub use dial::{Management, connect};
pub use expiry::{CredentialLife, SeenCertificate};
pub use fleet::Fleet;
pub use one_shot::release_stored;
pub use prepare::PrepareError;
pub use probe::Facts;
pub use remote::Report;
pub use required_permissions::RequiredPermissions;

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
