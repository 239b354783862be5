//! What people write.

use drover_crds::{ClusterSelection, SelectsClusters, condition::status_conditions};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Gives a group the role `view` in one namespace of every selected cluster.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(group = "examples.drover.dev", version = "v1", kind = "ViewGrant", namespaced, status = "ViewGrantStatus")]
#[serde(rename_all = "camelCase")]
pub struct ViewGrantSpec {
    /// The clusters.
    pub clusters: ClusterSelection,
    /// The namespace there.
    pub namespace: String,
    /// The group.
    pub group: String,
}

/// How far it is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ViewGrantStatus {
    /// The generation that this status judges.
    pub observed_generation: i64,
    /// `Ready`, and `Reconciling` or `Stalled` while they are true.
    pub conditions: Vec<Condition>,
    /// Clusters with the grant, of all selected ones: `48/50`.
    pub summary: String,
}

status_conditions!(ViewGrantStatus);

impl SelectsClusters for ViewGrant {
    fn clusters(&self) -> &ClusterSelection {
        &self.spec.clusters
    }
}
