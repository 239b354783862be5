//! What the status of every kind that fans out over clusters has: counts and problems, of one size whatever the fleet's size.

#![expect(unreachable_pub, reason = "KubeSchema copies each struct, with its `pub`, into a function")]

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use crate::schema::{self, is_default};

/// Most problems that a status lists.
pub const MAX_PROBLEMS: usize = 20;
/// Most characters of a problem's message; longer ones must be cut, or the API server refuses the status.
pub const MAX_PROBLEM_MESSAGE: usize = 512;

/// Counts of clusters.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TargetSummary {
    /// Clusters that are selected and have consented.
    #[schemars(range(min = 0))]
    pub total: i64,
    /// Clusters in which everything is as it should be.
    #[schemars(range(min = 0))]
    pub ready: i64,
    /// Clusters that cannot be reached.
    #[schemars(range(min = 0))]
    pub unreachable: i64,
    /// Clusters that a selector or all selects, whose owners do not let this namespace in: no targets, only counted.
    /// Default: 0.
    #[serde(default, skip_serializing_if = "is_default")]
    #[schemars(range(min = 0))]
    pub without_consent: i64,
    /// Ready of all, such as 48/50.
    #[schemars(schema_with = "schema::text::<64>")]
    pub summary: String,
}

/// Something that is wrong.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Problem {
    /// Name of the Cluster.
    #[schemars(schema_with = "schema::text::<253>")]
    pub cluster: String,
    /// The namespace in that cluster, where it is about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::text::<63>")]
    pub namespace: Option<String>,
    /// Why, as one CamelCase word for programs.
    #[schemars(schema_with = "schema::text::<128>")]
    pub reason: String,
    /// Why, for people, with the remedy.
    #[schemars(schema_with = "schema::text::<512>")]
    pub message: String,
}
