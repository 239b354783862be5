//! CisScan: whether the nodes of clusters keep to a benchmark, looked at once.

#![expect(clippy::doc_markdown, reason = "kubectl explain shows these texts as they are")]
#![expect(unreachable_pub, reason = "KubeSchema copies each struct, with its `pub`, into a function")]

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    ApiDuration, ClusterSelection, SelectsClusters,
    condition::{UNOBSERVED, status_conditions, unobserved},
    schema,
    v1alpha1::{Admission, Problem, TargetSummary},
};

/// How long a scan may take unless its spec says otherwise.
pub const DEFAULT_SCAN_TIMEOUT: Duration = Duration::from_mins(20);
/// How long one node may take unless the spec says otherwise.
pub const DEFAULT_NODE_TIMEOUT: Duration = Duration::from_mins(5);
/// Neither takes less than this …
pub const LEAST_SCAN_TIMEOUT: Duration = Duration::from_mins(1);
/// … nor longer.
pub const MAX_SCAN_TIMEOUT: Duration = Duration::from_hours(6);
/// No node takes longer than this: another scan of the cluster may wait.
pub const MAX_NODE_TIMEOUT: Duration = Duration::from_mins(30);
/// How many nodes of a cluster are scanned at the same time unless the spec says otherwise.
pub const DEFAULT_SCAN_CONCURRENCY: u32 = 10;

/// The wanted scan.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "drover.dev",
    version = "v1alpha1",
    kind = "CisScan",
    plural = "cisscans",
    shortname = "cscan",
    category = "drover",
    namespaced,
    status = "CisScanStatus",
    derive = "PartialEq",
    doc = "One scan of the nodes of clusters by a CIS benchmark. What it finds of each cluster is in a CisReport beside it.",
    validation = Rule::new("self.metadata.name.size() <= 63 && !self.metadata.name.contains('.')")
        .message("the name must be a DNS label: at most 63 characters, no dots"),
    printcolumn(name = "Ready", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].status"#),
    printcolumn(name = "Reason", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].reason"#),
    printcolumn(name = "Verdict", type_ = "string", json_path = ".status.verdict"),
    printcolumn(name = "Passed", type_ = "integer", json_path = ".status.counts.pass"),
    printcolumn(name = "Failed", type_ = "integer", json_path = ".status.counts.fail"),
    printcolumn(name = "Warned", type_ = "integer", json_path = ".status.counts.warn"),
    printcolumn(name = "Errors", type_ = "integer", json_path = ".status.counts.error"),
    printcolumn(name = "Nodes", type_ = "string", json_path = ".status.nodes.summary"),
    printcolumn(name = "Clusters", type_ = "string", json_path = ".status.clusters.summary"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(
        name = "Message",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Ready")].message"#,
        priority = "1"
    ),
    printcolumn(name = "Skipped", type_ = "integer", json_path = ".status.counts.skip", priority = "1"),
    printcolumn(name = "Waived", type_ = "integer", json_path = ".status.counts.waived", priority = "1"),
    printcolumn(name = "Not Applicable", type_ = "integer", json_path = ".status.counts.notApplicable", priority = "1"),
    printcolumn(name = "Profile", type_ = "string", json_path = ".spec.profileName", priority = "1"),
    printcolumn(name = "New Failures", type_ = "integer", json_path = ".status.changes.newFailures", priority = "1"),
    printcolumn(name = "Fixed", type_ = "integer", json_path = ".status.changes.fixed", priority = "1")
)]
#[x_kube(validation = ("has(self.timeout) == has(oldSelf.timeout)", "a scan runs once; create another one"))]
#[x_kube(validation = ("has(self.nodeTimeout) == has(oldSelf.nodeTimeout)", "a scan runs once; create another one"))]
#[x_kube(validation = ("has(self.concurrency) == has(oldSelf.concurrency)", "a scan runs once; create another one"))]
#[x_kube(validation = ("has(self.failOn) == has(oldSelf.failOn)", "a scan runs once; create another one"))]
#[x_kube(validation = ("has(self.baselineName) == has(oldSelf.baselineName)", "a scan runs once; create another one"))]
#[serde(rename_all = "camelCase")]
pub struct CisScanSpec {
    /// The clusters: exactly one of names, selector and all. The tenant entry of each for this namespace needs Scan in operations, and
    /// whoever creates the scan the verb operate on them: by name where up to 8 are named, else on all. It cannot be changed.
    #[x_kube(validation = ("self == oldSelf", "a scan runs once; create another one"))]
    pub clusters: ClusterSelection,
    /// Name of the CisProfile, such as hardened or permissive-kubeadm. It cannot be changed.
    #[schemars(schema_with = "schema::dns_label")]
    #[x_kube(validation = ("self == oldSelf", "a scan runs once; create another one"))]
    pub profile_name: String,
    /// What makes the verdict Fail: Fail is a check that fails, Warn also one that warns, as those that a person has to look at do. It
    /// cannot be changed. Default: Fail.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = ("self == oldSelf", "a scan runs once; create another one"))]
    pub fail_on: Option<FailOn>,
    /// How long it may take for all clusters, from 1m to 6h. Then it ends with what there is, and its verdict says what is missing. It
    /// cannot be changed. Default: 20m.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = ("self == oldSelf", "a scan runs once; create another one"))]
    pub timeout: Option<ApiDuration>,
    /// How long one node may take, from 1m to 30m. It cannot be changed. Default: 5m.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = ("self == oldSelf", "a scan runs once; create another one"))]
    pub node_timeout: Option<ApiDuration>,
    /// How many nodes of each cluster are scanned at the same time, from 1 to 50. It cannot be changed. Default: 10.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::concurrency")]
    #[x_kube(validation = ("self == oldSelf", "a scan runs once; create another one"))]
    pub concurrency: Option<u32>,
    /// Name of a CisScan of the same namespace that ended before: what fails and did not there is told as new. Of a cluster without a
    /// report there, the report counts of the scan that this one was compared with, and so on. It cannot be changed. Default: nothing is
    /// compared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::dns_label")]
    #[x_kube(validation = ("self == oldSelf", "a scan runs once; create another one"))]
    pub baseline_name: Option<String>,
}

/// What makes the verdict Fail: Fail is a check that fails, Warn also one that warns, as those that a person has to look at do. It cannot be
/// changed. Default: Fail.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum FailOn {
    /// From a failure on.
    #[default]
    Fail,
    /// From a warning on.
    Warn,
}

/// What came of a scan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum Verdict {
    /// All was looked at, and nothing fails.
    Pass,
    /// Nothing fails of what was looked at, and not all was.
    Incomplete,
    /// Something fails.
    Fail,
}

/// The observed state of a scan.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CisScanStatus {
    /// The metadata.generation that this status judges; -1 before the first reconcile.
    #[serde(default = "unobserved")]
    pub observed_generation: i64,
    /// When the first cluster was begun.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Time>,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completed_at: Option<Time>,
    /// What came of it: Pass, Fail, or Incomplete where nothing fails and not all could be looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verdict: Option<Verdict>,
    /// The checks of all clusters by their states. They add up to total.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counts: Option<CheckCounts>,
    /// The nodes of all clusters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nodes: Option<NodeCoverage>,
    /// What fails and did not in the scan that this one is compared with, and what was fixed, over all clusters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changes: Option<CheckChanges>,
    /// How many clusters; ready are those with a report.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clusters: Option<TargetSummary>,
    /// What is wrong, at most 20.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 20))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub problems: Vec<Problem>,
    /// Under which admission policies the spec was written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub admission: Option<Admission>,
    /// Ready, Compliant, and what they are made of.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::conditions")]
    pub conditions: Vec<Condition>,
}

status_conditions!(CisScanStatus, problems);

/// Checks by their states.
#[derive(KubeSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CheckCounts {
    /// All of them.
    #[schemars(range(min = 0))]
    pub total: i64,
    /// What is as the benchmark asks, on every node.
    #[schemars(range(min = 0))]
    pub pass: i64,
    /// What is otherwise on at least one node.
    #[schemars(range(min = 0))]
    pub fail: i64,
    /// What a person has to look at.
    #[schemars(range(min = 0))]
    pub warn: i64,
    /// What the profile leaves out, with a reason.
    #[schemars(range(min = 0))]
    pub skip: i64,
    /// What a CisWaiver takes responsibility for.
    #[schemars(range(min = 0))]
    pub waived: i64,
    /// What does not apply there, by the profile.
    #[schemars(range(min = 0))]
    pub not_applicable: i64,
    /// What could not be looked at: neither passed nor failed.
    #[schemars(range(min = 0))]
    pub error: i64,
}

/// How many nodes were looked at.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeCoverage {
    /// Those that were there.
    #[schemars(range(min = 0))]
    pub total: i64,
    /// Those whose results are counted.
    #[schemars(range(min = 0))]
    pub scanned: i64,
    /// Scanned of all, such as 48/50.
    #[schemars(schema_with = "schema::text::<64>")]
    pub summary: String,
}

/// What differs from a scan before.
#[derive(KubeSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CheckChanges {
    /// Checks that fail and did not before. What was not looked at before by the same benchmark counts as new.
    #[schemars(range(min = 0))]
    pub new_failures: i64,
    /// Checks that failed before and pass.
    #[schemars(range(min = 0))]
    pub fixed: i64,
}

impl CheckChanges {
    /// All of both.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self { new_failures: self.new_failures + other.new_failures, fixed: self.fixed + other.fixed }
    }
}

impl NodeCoverage {
    /// So many of so many.
    #[must_use]
    pub fn of(scanned: i64, total: i64) -> Self {
        Self { total, scanned, summary: format!("{scanned}/{total}") }
    }
}

impl CheckCounts {
    /// All of both.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            total: self.total + other.total,
            pass: self.pass + other.pass,
            fail: self.fail + other.fail,
            warn: self.warn + other.warn,
            skip: self.skip + other.skip,
            waived: self.waived + other.waived,
            not_applicable: self.not_applicable + other.not_applicable,
            error: self.error + other.error,
        }
    }
}

impl SelectsClusters for CisScan {
    fn clusters(&self) -> &ClusterSelection {
        &self.spec.clusters
    }
}

impl CisScanSpec {
    /// How long it may take for all clusters.
    #[must_use]
    pub fn timeout(&self) -> Duration {
        bounded(self.timeout.as_ref(), DEFAULT_SCAN_TIMEOUT, MAX_SCAN_TIMEOUT)
    }

    /// How long one node may take.
    #[must_use]
    pub fn node_timeout(&self) -> Duration {
        bounded(self.node_timeout.as_ref(), DEFAULT_NODE_TIMEOUT, MAX_NODE_TIMEOUT)
    }

    /// How many nodes of each cluster are scanned at the same time.
    #[must_use]
    pub fn concurrency(&self) -> usize {
        self.concurrency.unwrap_or(DEFAULT_SCAN_CONCURRENCY).clamp(1, 50) as usize
    }

    /// What makes it fail.
    #[must_use]
    pub fn fail_on(&self) -> FailOn {
        self.fail_on.unwrap_or_default()
    }
}

fn bounded(wanted: Option<&ApiDuration>, default: Duration, most: Duration) -> Duration {
    wanted.map_or(default, ApiDuration::as_std).clamp(LEAST_SCAN_TIMEOUT, most)
}

impl Default for CisScanStatus {
    fn default() -> Self {
        Self {
            observed_generation: UNOBSERVED,
            started_at: None,
            completed_at: None,
            verdict: None,
            counts: None,
            nodes: None,
            changes: None,
            clusters: None,
            problems: Vec::new(),
            admission: None,
            conditions: Vec::new(),
        }
    }
}
