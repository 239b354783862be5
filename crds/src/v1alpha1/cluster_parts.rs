//! Parts of a Cluster: where its etcd is, which snapshots it took by itself, and its admission policies.

#![expect(clippy::doc_markdown, reason = "kubectl explain shows these texts as they are")]
#![expect(unreachable_pub, reason = "KubeSchema copies each struct, with its `pub`, into a function")]

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::schema;

/// Where the etcd of a cluster is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(inline, extend("x-kubernetes-validations" = [{
    "rule": "has(self.auto) != has(self.none)",
    "message": "give exactly one of auto and none"
}]))]
pub enum EtcdSource {
    /// On nodes of the cluster, where its distribution has it: write {}.
    Auto(EtcdOnNodes),
    /// Out of reach: EtcdBackups of this cluster are refused.
    None(NoEtcd),
}

/// The etcd of a cluster is on its nodes. There is nothing to set yet.
#[derive(KubeSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EtcdOnNodes {}

/// No etcd of the cluster can be backed up.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NoEtcd {
    /// Why, and what backs the cluster up instead, for people.
    #[schemars(schema_with = "schema::text::<512>")]
    pub reason: String,
}

/// Snapshots of etcd that a cluster took by itself, as its objects ETCDSnapshotFile say.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OwnSnapshots {
    /// How many can be used, by what they say.
    #[schemars(range(min = 0))]
    pub ready: i64,
    /// How many cannot.
    #[schemars(range(min = 0))]
    pub failed: i64,
    /// The newest one that can be used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub newest: Option<OwnSnapshot>,
}

/// A snapshot of etcd that a cluster took by itself.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OwnSnapshot {
    /// Its name.
    #[schemars(schema_with = "schema::text::<253>")]
    pub name: String,
    /// Name of the node that took it, or s3 for one in a bucket.
    #[schemars(schema_with = "schema::text::<253>")]
    pub node: String,
    /// Bytes.
    #[schemars(range(min = 0))]
    pub bytes: i64,
    /// When it was taken.
    pub taken_at: Time,
}

/// Admission policies of a cluster as they were seen in place last.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PoliciesInPlace {
    /// Tells them from any others: whoever changes one and changes it back leaves another state.
    #[schemars(schema_with = "schema::text::<64>")]
    pub state: String,
    /// Since when this state is known to be in place.
    pub since: Time,
}
