//! What every process of Drover needs, whatever operators it runs.
//!
//! One process leads at a time ([`lease`]). It answers the kubelet and Prometheus ([`admin`]), says what it does in logs and
//! traces ([`telemetry`]), and stops when a signal asks for it ([`shutdown`]). How operators are driven is the runtime's.

pub mod admin;
pub mod lease;
pub mod shutdown;
pub mod telemetry;

use drover_runtime::{Rights, Rule};

/// What a process needs: the leader Lease.
pub const RIGHTS: Rights = Rights {
    own_namespace: &[Rule::on("coordination.k8s.io", &["leases"], &["create", "get", "update"])],
    ..Rights::NONE
};
