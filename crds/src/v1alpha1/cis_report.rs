//! CisReport: what a scan found of one cluster.

#![expect(clippy::doc_markdown, reason = "kubectl explain shows these texts as they are")]
#![expect(unreachable_pub, reason = "KubeSchema copies each struct, with its `pub`, into a function")]

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    condition::{UNOBSERVED, status_conditions, unobserved},
    schema::{self, is_default},
    v1alpha1::{CheckCounts, FailOn, NodeCoverage, Verdict},
};

/// Most checks in a report.
pub const MAX_CHECKS: usize = 1_000;
/// Most names of nodes that a check lists; the groups of nodes have all.
pub const MAX_NODE_NAMES: usize = 10;
/// Most nodes without results that a report lists.
pub const MAX_NODES_MISSING: usize = 100;
/// Most checks that a report lists as new failures, and as fixed.
pub const MAX_CHANGED_CHECKS: usize = 50;
/// Most waivers that a report names.
pub const MAX_WAIVER_NAMES: usize = 100;
/// Most groups of nodes in a report.
pub const MAX_NODE_GROUPS: usize = 1_000;

/// Of what a report is.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[kube(
    group = "drover.dev",
    version = "v1alpha1",
    kind = "CisReport",
    plural = "cisreports",
    shortname = "creport",
    category = "drover",
    namespaced,
    status = "CisReportStatus",
    derive = "PartialEq",
    doc = "What a CisScan found of one cluster. Drover writes it, and it goes with its scan.",
    validation = Rule::new("self.metadata.name.size() <= 63 && !self.metadata.name.contains('.')")
        .message("the name must be a DNS label: at most 63 characters, no dots"),
    printcolumn(name = "Ready", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].status"#),
    printcolumn(name = "Reason", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].reason"#),
    printcolumn(name = "Cluster", type_ = "string", json_path = ".spec.clusterName"),
    printcolumn(name = "Verdict", type_ = "string", json_path = ".status.verdict"),
    printcolumn(name = "Passed", type_ = "integer", json_path = ".status.counts.pass"),
    printcolumn(name = "Failed", type_ = "integer", json_path = ".status.counts.fail"),
    printcolumn(name = "Warned", type_ = "integer", json_path = ".status.counts.warn"),
    printcolumn(name = "Errors", type_ = "integer", json_path = ".status.counts.error"),
    printcolumn(name = "Nodes", type_ = "string", json_path = ".status.nodes.summary"),
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
    printcolumn(name = "Benchmark", type_ = "string", json_path = ".status.benchmark.name", priority = "1"),
    printcolumn(name = "Scan", type_ = "string", json_path = ".spec.scanName", priority = "1"),
    printcolumn(name = "New Failures", type_ = "integer", json_path = ".status.changes.newFailures", priority = "1"),
    printcolumn(name = "Fixed", type_ = "integer", json_path = ".status.changes.fixed", priority = "1")
)]
#[x_kube(validation = ("self == oldSelf", "a report is of one scan of one cluster"))]
#[serde(rename_all = "camelCase")]
pub struct CisReportSpec {
    /// Name of the CisScan beside it.
    #[schemars(schema_with = "schema::dns_label")]
    pub scan_name: String,
    /// UID of that.
    #[serde(rename = "scanUID")]
    #[schemars(schema_with = "schema::uid")]
    pub scan_uid: String,
    /// Name of the Cluster.
    #[schemars(schema_with = "schema::dns_label")]
    pub cluster_name: String,
}

/// What was found.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CisReportStatus {
    /// The metadata.generation that this status judges; -1 before it is written.
    #[serde(default = "unobserved")]
    pub observed_generation: i64,
    /// When it was put together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completed_at: Option<Time>,
    /// By what was judged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub benchmark: Option<UsedBenchmark>,
    /// What came of it: Pass, Fail, or Incomplete where nothing fails and not all could be looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verdict: Option<Verdict>,
    /// The checks by their states. They add up to total.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counts: Option<CheckCounts>,
    /// How many nodes there were, and how many of them are counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nodes: Option<NodeCoverage>,
    /// Nodes whose results are not counted, with the reason, at most 100.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub missing: Vec<MissingNode>,
    /// Every check, in the order of the benchmark.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 1000))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub results: Vec<CheckResult>,
    /// The nodes, those with equal results together. Empty where there are too many for one object: then the results count only.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 1000))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub node_groups: Vec<NodeGroup>,
    /// What differs from the report of a scan before, where the scan is compared with one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changes: Option<ReportChanges>,
    /// Names of the CisWaivers that took responsibility for something, at most 100.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::waiver_names")]
    pub waiver_names: Vec<String>,
    /// SHA-256 of all results and groups, the same for the same findings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::digest")]
    pub digest: Option<String>,
    /// Ready, and what it is made of.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::conditions")]
    pub conditions: Vec<Condition>,
}

status_conditions!(CisReportStatus);

/// By what nodes were judged, and why.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UsedBenchmark {
    /// As kube-bench names it.
    #[schemars(schema_with = "schema::benchmark")]
    pub name: String,
    /// Why this one.
    #[schemars(schema_with = "schema::text::<256>")]
    pub why: String,
    /// What judged, with its version.
    #[schemars(schema_with = "schema::text::<64>")]
    pub engine: String,
    /// Name of the CisProfile.
    #[schemars(schema_with = "schema::dns_label")]
    pub profile_name: String,
    /// Its generation then.
    #[schemars(range(min = 0))]
    pub profile_generation: i64,
    /// What made the verdict Fail.
    #[serde(default, skip_serializing_if = "is_default")]
    pub fail_on: FailOn,
}

/// What differs from the report of a scan before.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReportChanges {
    /// Name of the CisReport that this one is compared with. Without one nothing is known of the cluster by this benchmark, and all that
    /// fails is new.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::dns_label")]
    pub report_name: Option<String>,
    /// How many checks fail and did not before.
    #[schemars(range(min = 0))]
    pub new_failures: i64,
    /// How many checks failed before and pass.
    #[schemars(range(min = 0))]
    pub fixed: i64,
    /// Target and number of those that fail and did not before, such as master/1.2.6, at most 50.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::changed_checks")]
    pub new_failure_checks: Vec<String>,
    /// The same of those that failed before and pass.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::changed_checks")]
    pub fixed_checks: Vec<String>,
}

/// A node without results.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MissingNode {
    /// Its name.
    #[schemars(schema_with = "schema::text::<253>")]
    pub name: String,
    /// Why, for programs.
    #[schemars(schema_with = "schema::text::<64>")]
    pub reason: String,
    /// Why, for people.
    #[schemars(schema_with = "schema::text::<512>")]
    pub message: String,
}

/// The state of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub enum CheckState {
    /// It does not apply there, by the profile.
    NotApplicable,
    /// It is as the benchmark asks.
    Pass,
    /// The profile leaves it out.
    Skip,
    /// A waiver takes responsibility for it.
    Waived,
    /// A person has to look at it.
    Warn,
    /// It could not be looked at.
    Error,
    /// It is otherwise.
    Fail,
}

/// A check on all nodes.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CheckResult {
    /// Its number in the benchmark.
    #[schemars(schema_with = "schema::text::<32>")]
    pub id: String,
    /// What it looks at, in the words of the engine.
    #[schemars(schema_with = "schema::text::<256>")]
    pub title: String,
    /// Which components it is about, such as master, etcd or node.
    #[schemars(schema_with = "schema::text::<32>")]
    pub target: String,
    /// The worst of its states on the nodes: Fail, Error, Warn, Waived, Skip, Pass or NotApplicable.
    pub state: CheckState,
    /// Whether the nodes differ. Default: false.
    #[serde(default, skip_serializing_if = "is_default")]
    pub mixed: bool,
    /// On how many nodes it was looked at.
    #[schemars(range(min = 0))]
    pub nodes: i64,
    /// On how many of them it has this state.
    #[schemars(range(min = 0))]
    pub nodes_in_state: i64,
    /// Names of some of those where it is in the state Fail, Error or Warn, at most 10.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::node_names")]
    pub node_names: Vec<String>,
    /// What was found on the first of them, without what may be secret, or why it was left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::text::<512>")]
    pub evidence: Option<String>,
    /// Name of the CisWaiver that takes responsibility, if one does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::dns_label")]
    pub waiver_name: Option<String>,
}

/// Nodes with equal results.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeGroup {
    /// Their names.
    #[schemars(schema_with = "schema::group_names")]
    pub node_names: Vec<String>,
    /// A letter for each of the results, in their order: P for Pass, F for Fail, W for Warn, S for Skip, V for Waived, N for NotApplicable,
    /// E for Error, and a dash where it was not looked at on these nodes.
    #[schemars(schema_with = "schema::text::<1000>")]
    pub states: String,
}

impl FailOn {
    /// Whether a check in this state makes the verdict Fail.
    #[must_use]
    pub const fn fails(self, state: CheckState) -> bool {
        match self {
            Self::Fail => matches!(state, CheckState::Fail),
            Self::Warn => matches!(state, CheckState::Fail | CheckState::Warn),
        }
    }
}

impl CheckState {
    /// Its letter in the groups of nodes.
    #[must_use]
    pub const fn letter(self) -> char {
        match self {
            Self::NotApplicable => 'N',
            Self::Pass => 'P',
            Self::Skip => 'S',
            Self::Waived => 'V',
            Self::Warn => 'W',
            Self::Error => 'E',
            Self::Fail => 'F',
        }
    }
}

impl CheckCounts {
    /// The counts of these states.
    pub fn of(states: impl IntoIterator<Item = CheckState>) -> Self {
        let mut counts = Self::default();
        for state in states {
            counts.total += 1;
            *match state {
                CheckState::NotApplicable => &mut counts.not_applicable,
                CheckState::Pass => &mut counts.pass,
                CheckState::Skip => &mut counts.skip,
                CheckState::Waived => &mut counts.waived,
                CheckState::Warn => &mut counts.warn,
                CheckState::Error => &mut counts.error,
                CheckState::Fail => &mut counts.fail,
            } += 1;
        }
        counts
    }
}

impl Default for CisReportStatus {
    fn default() -> Self {
        Self {
            observed_generation: UNOBSERVED,
            completed_at: None,
            benchmark: None,
            verdict: None,
            counts: None,
            nodes: None,
            missing: Vec::new(),
            results: Vec::new(),
            node_groups: Vec::new(),
            changes: None,
            waiver_names: Vec::new(),
            digest: None,
            conditions: Vec::new(),
        }
    }
}
