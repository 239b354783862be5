//! CisScanSchedule: scans of the same clusters, again and again, and what each finds that the one before did not.

#![expect(clippy::doc_markdown, reason = "kubectl explain shows these texts as they are")]
#![expect(unreachable_pub, reason = "KubeSchema copies each struct, with its `pub`, into a function")]

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    ApiDuration, CatchUp, ClusterSelection, SelectsClusters,
    condition::{UNOBSERVED, status_conditions, unobserved},
    schema::{self, is_default},
    v1alpha1::{Admission, CheckChanges, CheckCounts, CisScanSpec, FailOn, MAX_JITTER, NodeCoverage, Verdict},
};

/// How many ended scans are kept unless the spec says otherwise.
pub const DEFAULT_KEPT_SCANS: u32 = 10;
/// Most ended scans that are kept.
pub const MAX_KEPT_SCANS: u32 = 100;

/// The wanted state of a schedule.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "drover.dev",
    version = "v1alpha1",
    kind = "CisScanSchedule",
    plural = "cisscanschedules",
    shortname = "cschedule",
    category = "drover",
    namespaced,
    status = "CisScanScheduleStatus",
    derive = "PartialEq",
    doc = "Scans of clusters at times that repeat: a CisScan for each time, compared with the one before, and how many are kept.",
    validation = Rule::new("self.metadata.name.size() <= 63 && !self.metadata.name.contains('.')")
        .message("the name must be a DNS label: at most 63 characters, no dots"),
    printcolumn(name = "Ready", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].status"#),
    printcolumn(name = "Reason", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].reason"#),
    printcolumn(name = "Schedule", type_ = "string", json_path = ".spec.schedule"),
    printcolumn(name = "Last", type_ = "date", json_path = ".status.lastScan.completedAt"),
    printcolumn(name = "Next", type_ = "string", json_path = ".status.nextRun"),
    printcolumn(name = "Verdict", type_ = "string", json_path = ".status.lastScan.verdict"),
    printcolumn(name = "New Failures", type_ = "integer", json_path = ".status.lastScan.changes.newFailures"),
    printcolumn(name = "Fixed", type_ = "integer", json_path = ".status.lastScan.changes.fixed"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(
        name = "Message",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Ready")].message"#,
        priority = "1"
    ),
    printcolumn(name = "Healthy", type_ = "string", json_path = r#".status.conditions[?(@.type=="Healthy")].status"#, priority = "1"),
    printcolumn(name = "Alert", type_ = "string", json_path = r#".status.conditions[?(@.type=="Alert")].status"#, priority = "1"),
    printcolumn(name = "Zone", type_ = "string", json_path = ".spec.timeZone", priority = "1"),
    printcolumn(name = "Scan", type_ = "string", json_path = ".status.lastScan.name", priority = "1")
)]
#[serde(rename_all = "camelCase")]
pub struct CisScanScheduleSpec {
    /// The clusters: exactly one of names, selector and all. The tenant entry of each for this namespace needs Scan in operations, and
    /// whoever writes the schedule the verb operate on them: by name where up to 8 are named, else on all.
    pub clusters: ClusterSelection,
    /// What each scan is.
    pub template: CisScanTemplate,
    /// When: minute, hour, day of the month, month and day of the week, with blanks between them, as cron has them; or @hourly, @daily,
    /// @weekly, @monthly or @yearly. The first scan begins at the next such time.
    #[schemars(schema_with = "schema::cron")]
    pub schedule: String,
    /// The time zone of the schedule, by its name in the IANA database, such as Europe/Berlin. Default: UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::time_zone")]
    pub time_zone: Option<String>,
    /// How long after that a scan begins at most, up to 24h, and never beyond the next time; a schedule has always the same part of it, so
    /// that many schedules do not begin at once. Default: 0s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jitter: Option<ApiDuration>,
    /// Whether nothing is created or deleted for now. Default: false.
    #[serde(default, skip_serializing_if = "is_default")]
    pub suspend: bool,
    /// What becomes of scans that were missed, as Drover was down or the schedule suspended: Latest makes the newest one at once, as long
    /// as it is not yet time for the next; None waits for that. Default: Latest.
    #[serde(default, skip_serializing_if = "is_default")]
    pub catch_up: CatchUp,
    /// Which scans are kept. Default: the last 10 that ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retention: Option<ScanRetention>,
    /// What the condition Alert tells: NewFailures is checks that fail and did not in the scan before, Failures every check that fails.
    /// Default: NewFailures.
    #[serde(default, skip_serializing_if = "is_default")]
    pub alert_on: AlertOn,
}

/// What each scan of a schedule is.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CisScanTemplate {
    /// Name of the CisProfile, such as hardened or permissive-kubeadm.
    #[schemars(schema_with = "schema::dns_label")]
    pub profile_name: String,
    /// What makes the verdict Fail: Fail is a check that fails, Warn also one that warns. Default: Fail.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fail_on: Option<FailOn>,
    /// How long a scan may take for all clusters, from 1m to 6h. Default: 20m.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<ApiDuration>,
    /// How long one node may take, from 1m to 30m. Default: 5m.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_timeout: Option<ApiDuration>,
    /// How many nodes of each cluster are scanned at the same time, from 1 to 50. Default: 10.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::concurrency")]
    pub concurrency: Option<u32>,
}

/// Which scans are kept, with their reports.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ScanRetention {
    /// The last ones that ended, so many, from 1 to 100. The last one that looked at everything stays beside them, so that there is
    /// something to compare with. Default: 10.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::kept_scans")]
    pub keep_last: Option<u32>,
}

/// What a schedule alerts on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum AlertOn {
    /// On what fails and did not before.
    #[default]
    NewFailures,
    /// On everything that fails.
    Failures,
}

/// The observed state of a schedule.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CisScanScheduleStatus {
    /// The metadata.generation that this status judges; -1 before the first reconcile.
    #[serde(default = "unobserved")]
    pub observed_generation: i64,
    /// Until when all scans that were due have been created, or skipped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_scheduled: Option<Time>,
    /// The schedule and the time zone that this is about …
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::text::<256>")]
    pub follows: Option<String>,
    /// … and since when they are so: nothing is made up for of the time before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Time>,
    /// When the next scan is created.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_run: Option<Time>,
    /// How many scans of this schedule there are that have not ended. Default: 0.
    #[serde(default, skip_serializing_if = "is_default")]
    #[schemars(range(min = 0))]
    pub running: i64,
    /// How many of them have ended and are kept. Default: 0.
    #[serde(default, skip_serializing_if = "is_default")]
    #[schemars(range(min = 0))]
    pub kept: i64,
    /// The last one that ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_scan: Option<EndedScan>,
    /// Under which admission policies the spec was written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub admission: Option<Admission>,
    /// Ready, ScheduleValid, Healthy, Alert, and what they are made of.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::conditions")]
    pub conditions: Vec<Condition>,
}

status_conditions!(CisScanScheduleStatus);

/// What came of a scan.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EndedScan {
    /// Name of the CisScan.
    #[schemars(schema_with = "schema::dns_label")]
    pub name: String,
    /// When it ended.
    pub completed_at: Time,
    /// What came of it: Pass, Fail, or Incomplete where nothing fails and not all could be looked at.
    pub verdict: Verdict,
    /// The checks of all clusters by their states.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counts: Option<CheckCounts>,
    /// The nodes of all clusters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nodes: Option<NodeCoverage>,
    /// What fails and did not before, and what was fixed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changes: Option<CheckChanges>,
}

impl SelectsClusters for CisScanSchedule {
    fn clusters(&self) -> &ClusterSelection {
        &self.spec.clusters
    }
}

impl CisScanScheduleSpec {
    /// How long after a tick a scan begins at most.
    #[must_use]
    pub fn jitter(&self) -> Duration {
        self.jitter.as_ref().map_or(Duration::ZERO, ApiDuration::as_std).min(MAX_JITTER)
    }

    /// What a change of makes it another schedule.
    #[must_use]
    pub fn follows(&self) -> String {
        match &self.time_zone {
            Some(zone) => format!("{} {zone}", self.schedule),
            None => self.schedule.clone(),
        }
    }

    /// A scan of this schedule that is compared with another one, where there is one.
    #[must_use]
    pub fn scan_compared_with(&self, baseline_name: Option<String>) -> CisScanSpec {
        let CisScanTemplate { profile_name, fail_on, timeout, node_timeout, concurrency } = self.template.clone();
        let clusters = self.clusters.clone();
        CisScanSpec { clusters, profile_name, fail_on, timeout, node_timeout, concurrency, baseline_name }
    }

    /// How many ended scans are kept.
    #[must_use]
    pub fn kept(&self) -> usize {
        let wanted = self.retention.as_ref().and_then(|retention| retention.keep_last);
        wanted.unwrap_or(DEFAULT_KEPT_SCANS).clamp(1, MAX_KEPT_SCANS) as usize
    }
}

impl Default for CisScanScheduleStatus {
    fn default() -> Self {
        Self {
            observed_generation: UNOBSERVED,
            last_scheduled: None,
            follows: None,
            since: None,
            next_run: None,
            running: 0,
            kept: 0,
            last_scan: None,
            admission: None,
            conditions: Vec::new(),
        }
    }
}
