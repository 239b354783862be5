//! CisWaiver: who takes responsibility for what fails, and until when.

#![expect(clippy::doc_markdown, reason = "kubectl explain shows these texts as they are")]
#![expect(unreachable_pub, reason = "KubeSchema copies each struct, with its `pub`, into a function")]

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, LabelSelector, Time};
use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

use crate::{
    ClusterSelection, SelectsClusters,
    condition::{UNOBSERVED, status_conditions, unobserved},
    schema,
};

/// The longest time from its creation until a waiver ends, in days.
pub const MAX_WAIVER_DAYS: i64 = 366;

/// The wanted waiver.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "drover.dev",
    version = "v1alpha1",
    kind = "CisWaiver",
    plural = "ciswaivers",
    shortname = "cwaiver",
    category = "drover",
    status = "CisWaiverStatus",
    derive = "PartialEq",
    doc = "Who takes responsibility, until when and why, for checks that fail on some clusters.",
    validation = Rule::new("self.metadata.name.size() <= 63 && !self.metadata.name.contains('.')")
        .message("the name must be a DNS label: at most 63 characters, no dots"),
    printcolumn(name = "Ready", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].status"#),
    printcolumn(name = "Reason", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].reason"#),
    printcolumn(name = "Checks", type_ = "string", json_path = ".spec.checks"),
    printcolumn(name = "Expires", type_ = "string", json_path = ".spec.expiresAt"),
    printcolumn(name = "Approved By", type_ = "string", json_path = ".spec.approvedBy"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(
        name = "Message",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Ready")].message"#,
        priority = "1"
    ),
    printcolumn(name = "Why", type_ = "string", json_path = ".spec.reason", priority = "1"),
    printcolumn(name = "Ends Soon", type_ = "string", json_path = r#".status.conditions[?(@.type=="EndsSoon")].status"#, priority = "1"),
    printcolumn(name = "In Use", type_ = "string", json_path = r#".status.conditions[?(@.type=="InUse")].status"#, priority = "1")
)]
#[serde(rename_all = "camelCase")]
pub struct CisWaiverSpec {
    /// The numbers of the checks, such as 1.2.6, from 1 to 64.
    #[schemars(schema_with = "schema::check_ids")]
    pub checks: Vec<String>,
    /// Only in this benchmark, as kube-bench names it: other benchmarks use the same numbers for other checks. Default: in all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::benchmark")]
    pub benchmark: Option<String>,
    /// On which clusters: exactly one of names, selector and all.
    pub clusters: ClusterSelection,
    /// Only on the nodes with these labels. Default: on all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::label_selector")]
    pub node_selector: Option<LabelSelector>,
    /// Why what fails is accepted.
    #[schemars(schema_with = "schema::reason_text")]
    pub reason: String,
    /// Who answers for it.
    #[schemars(schema_with = "schema::reason_text")]
    pub approved_by: String,
    /// Until when, at most 366 days from the creation of this object.
    #[schemars(schema_with = "schema::time")]
    pub expires_at: Time,
}

/// The observed state of a waiver.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CisWaiverStatus {
    /// The metadata.generation that this status judges; -1 before the first reconcile.
    #[serde(default = "unobserved")]
    pub observed_generation: i64,
    /// Ready, EndsSoon, InUse, and what they are made of.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::conditions")]
    pub conditions: Vec<Condition>,
}

status_conditions!(CisWaiverStatus);

impl SelectsClusters for CisWaiver {
    fn clusters(&self) -> &ClusterSelection {
        &self.spec.clusters
    }
}

impl Default for CisWaiverStatus {
    fn default() -> Self {
        Self { observed_generation: UNOBSERVED, conditions: Vec::new() }
    }
}
