//! The types of Drover's API, group `drover.dev`: what people write, and what Drover answers in the status.
//!
//! In YAML the unions ([`Connection`], [`ClusterSelection`], [`NamespaceSelection`]) are objects with one member.
//! Read YAML into a `serde_json::Value` first: YAML libraries would otherwise spell a Rust enum as a `!tag`.

mod deletion;
mod duration;
mod schema;

pub mod cluster;
pub mod condition;
pub mod names;
pub mod project;
pub mod selection;

pub use cluster::*;
pub use condition::StatusConditions;
pub use deletion::DeletionPolicy;
pub use duration::{ApiDuration, ParseDurationError};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt as _;
pub use project::*;
pub use selection::{ClusterSelection, Everything, NamespaceSelection, pattern_matches};

/// API group of every kind.
pub const GROUP: &str = "drover.dev";
/// API version of every kind.
pub const VERSION: &str = "v1alpha1";

/// Every custom resource definition, ready to be applied. Use this, not `Kind::crd()`, which lacks the final touches.
#[must_use]
pub fn all() -> Vec<CustomResourceDefinition> {
    [Cluster::crd(), Project::crd()].into_iter().map(schema::finish).collect()
}

#[cfg(test)]
mod tests;
