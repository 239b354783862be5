//! One operation on a whole cluster at a time, such as a backup: whoever has the Lease of the cluster, in Drover's own namespace of the
//! management cluster, may begin. Scans only read, and take turns of their own.
//!
//! And what the Pods of Jobs say of why they do not run ([`pods`]), which all such operations tell.

mod lock;
pub mod pods;

use drover_client::{ApiError, Rule, request::request};
use drover_crds::names::DROVER_NAMESPACE;
use drover_runtime::PlaceContext;
use k8s_openapi::{api::coordination::v1::Lease, apimachinery::pkg::apis::meta::v1::ObjectMeta, jiff::Timestamp};
use kube::{Api, api::PostParams};
use lock::Claim;
pub use lock::{Operation, name};

/// The right to these Leases: for `Rights::own_namespace`.
pub const LEASES: Rule = Rule::on("coordination.k8s.io", &["leases"], &["create", "get", "update"]);

/// Why an operation may not begin.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// A request to the management API server failed.
    #[error(transparent)]
    Api(#[from] ApiError),
    /// Another operation is under way.
    #[error("{0}")]
    Taken(String),
}

/// The Leases of clusters.
#[derive(Debug)]
pub struct Locks<'a> {
    leases: Api<Lease>,
    namespace: &'a str,
}

impl<'a> Locks<'a> {
    /// Those that the management cluster of `place` has.
    #[must_use]
    pub fn of(place: &'a PlaceContext) -> Self {
        let namespace = place.fleet.operator_namespace().unwrap_or(DROVER_NAMESPACE);
        Self { leases: Api::namespaced(place.management.client(), namespace), namespace }
    }

    /// Takes that of `cluster` for `seconds`, or keeps it.
    pub async fn take(
        &self,
        operation: &Operation,
        cluster: &str,
        seconds: u64,
        now: Timestamp,
    ) -> Result<(), LockError> {
        let (name, holder) = (name(cluster), operation.holder());
        let what = format!("Lease {}/{name}", self.namespace);
        let found = request(format!("read {what}"), self.leases.get_opt(&name)).await?;
        let seconds = i32::try_from(seconds).unwrap_or(i32::MAX);
        let spec = match lock::claim(found.as_ref().and_then(|lease| lease.spec.as_ref()), &holder, seconds, now) {
            Claim::Held => return Ok(()),
            Claim::Taken(by) => return Err(LockError::Taken(operation.waits_for(cluster, &by))),
            Claim::Write(spec) => *spec,
        };
        if let Some(found) = found {
            // With its version: of two that take it, one does.
            let lease = Lease { spec: Some(spec), ..found };
            request(format!("take {what}"), self.leases.replace(&name, &PostParams::default(), &lease)).await?;
        } else {
            let metadata = ObjectMeta { name: Some(name), ..ObjectMeta::default() };
            let lease = Lease { metadata, spec: Some(spec) };
            request(format!("create {what}"), self.leases.create(&PostParams::default(), &lease)).await?;
        }
        Ok(())
    }

    /// Releases that of `cluster`, if this operation holds it.
    pub async fn release(&self, operation: &Operation, cluster: &str) -> Result<(), ApiError> {
        let name = name(cluster);
        let what = format!("Lease {}/{name}", self.namespace);
        let found = request(format!("read {what}"), self.leases.get_opt(&name)).await?;
        if let Some(free) = found.and_then(|found| lock::released(&found, operation)) {
            request(format!("release {what}"), self.leases.replace(&name, &PostParams::default(), &free)).await?;
        }
        Ok(())
    }
}
