//! CisProfile: by what nodes are judged, and what is left out.

#![expect(clippy::doc_markdown, reason = "kubectl explain shows these texts as they are")]
#![expect(unreachable_pub, reason = "KubeSchema copies each struct, with its `pub`, into a function")]

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    condition::{UNOBSERVED, status_conditions, unobserved},
    schema::{self, is_default},
};

/// The wanted profile.
#[derive(CustomResource, KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "drover.dev",
    version = "v1alpha1",
    kind = "CisProfile",
    plural = "cisprofiles",
    shortname = "cprofile",
    category = "drover",
    status = "CisProfileStatus",
    derive = "PartialEq",
    doc = "By which benchmark scans judge, and which of its checks they leave out, with reasons.",
    validation = Rule::new("self.metadata.name.size() <= 63 && !self.metadata.name.contains('.')")
        .message("the name must be a DNS label: at most 63 characters, no dots"),
    printcolumn(name = "Ready", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].status"#),
    printcolumn(name = "Reason", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].reason"#),
    printcolumn(name = "Benchmark", type_ = "string", json_path = ".spec.benchmark"),
    printcolumn(name = "Unmapped", type_ = "string", json_path = ".spec.unmapped"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(
        name = "Message",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Ready")].message"#,
        priority = "1"
    )
)]
#[serde(rename_all = "camelCase")]
pub struct CisProfileSpec {
    /// The benchmark, as kube-bench names it, such as cis-1.12. Default: the one that fits the distribution and the version of each cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::benchmark")]
    pub benchmark: Option<String>,
    /// What becomes of a cluster for whose version there is no benchmark: Refuse does not scan it, Nearest takes that of the nearest
    /// version, and the report says so. Default: Refuse.
    #[serde(default, skip_serializing_if = "is_default")]
    pub unmapped: Unmapped,
    /// Checks that are left out, with the reason for it. They are counted as skipped. Default: none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["id".into()]))]
    pub skip: Vec<LeftOut>,
    /// Checks that do not apply to these clusters, with the reason for it. They are counted as not applicable. Default: none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["id".into()]))]
    pub not_applicable: Vec<LeftOut>,
}

/// What becomes of a cluster for whose version there is no benchmark.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Unmapped {
    /// It is not scanned.
    #[default]
    Refuse,
    /// The benchmark of the nearest version is taken.
    Nearest,
}

/// A check that is left out.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftOut {
    /// Its number in the benchmark, such as 1.2.6.
    #[schemars(schema_with = "schema::check_id")]
    pub id: String,
    /// Why.
    #[schemars(schema_with = "schema::reason_text")]
    pub reason: String,
}

/// The observed state of a profile.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CisProfileStatus {
    /// The metadata.generation that this status judges; -1 before the first reconcile.
    #[serde(default = "unobserved")]
    pub observed_generation: i64,
    /// Ready, and what it is made of.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::conditions")]
    pub conditions: Vec<Condition>,
}

status_conditions!(CisProfileStatus);

impl Default for CisProfileStatus {
    fn default() -> Self {
        Self { observed_generation: UNOBSERVED, conditions: Vec::new() }
    }
}
