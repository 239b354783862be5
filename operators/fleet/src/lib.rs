//! The fleet: which clusters exist, how they are reached, and who answers.
//!
//! One [`Remote`](remote) per `Cluster` object owns its HTTP/2 connections, a probe and a cache, and reports to the
//! [`Fleet`], which gives the runtime a snapshot of all of them. Not connected is a normal value.

mod account_connection;
pub mod admission;
pub mod cause;
pub mod claim;
mod claimant;
mod cluster_client;
mod connection_guard;
mod connections;
mod fleet;
mod identity;
mod management;
mod next;
mod one_shot;
mod probe;
mod remote;
mod request_budget;
mod request_queue;
mod required_permissions;
mod rivals;
mod secrets;
mod source;
pub mod targets;
mod transport;
mod verdict;

use drover_runtime::{Rights, Rule, rights::READ};

pub use cause::{ConnectionCause, TenancyCause};
pub use drover_dial::{
    CredentialLife, PrepareError, SeenCertificate, connect, connection_error, encoding, kubeconfig, pem, tls_failure,
};
pub use fleet::Fleet;
pub use management::Management;
pub use one_shot::{ask_stored, release_stored};
pub use probe::Facts;
pub use remote::Report;
pub use required_permissions::{RequiredPermissions, remedy_of_missing_rights};

const ADMISSION: &str = "admissionregistration.k8s.io";
const POLICIES: &[&str] = &["validatingadmissionpolicies", "validatingadmissionpolicybindings"];

/// What the fleet needs: to know Clusters, their kubeconfigs and the namespaces of tenants, to probe a cluster, to claim it, and to
/// see the admission policies everywhere.
pub const RIGHTS: Rights = Rights {
    management: &[
        Rule::on("drover.dev", &["clusters"], READ),
        Rule::on("", &["namespaces"], READ),
        Rule::on(ADMISSION, POLICIES, READ),
    ],
    own_namespace: &[Rule::on("", &["secrets"], READ)],
    downstream: &[
        Rule::read_paths(&["/readyz", "/version"]),
        Rule::on("", &["namespaces"], &["create", "get"]),
        Rule::on(ADMISSION, POLICIES, READ),
    ],
    downstream_namespace: &[
        Rule::on("", &["configmaps"], &["create"]),
        Rule::on("", &["configmaps"], &["delete", "get", "update"]).named(&[claim::CLAIM_NAME]),
    ],
    ..Rights::NONE
};
