//! EtcdBackupSchedule: backups of the etcd of many clusters, again and again.

#![expect(clippy::doc_markdown, reason = "kubectl explain shows these texts as they are")]
#![expect(unreachable_pub, reason = "KubeSchema copies each struct, with its `pub`, into a function")]

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

use crate::{
    ApiDuration, CatchUp, ClusterSelection, DeletionPolicy, SelectsClusters,
    condition::{UNOBSERVED, status_conditions, unobserved},
    schema::{self, is_default},
    v1alpha1::{Admission, BackupVerification, EtcdBackupSpec, Problem, TargetSummary},
};

/// Runs are spread over no more than this.
pub const MAX_JITTER: Duration = Duration::from_hours(24);
/// How many verified backups of a cluster stay whatever else is said, unless the spec says otherwise.
pub const DEFAULT_MIN_VERIFIED: u32 = 1;

/// The wanted state of a schedule.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "drover.dev",
    version = "v1alpha1",
    kind = "EtcdBackupSchedule",
    plural = "etcdbackupschedules",
    shortname = "ebschedule",
    category = "drover",
    namespaced,
    status = "EtcdBackupScheduleStatus",
    derive = "PartialEq",
    doc = "Backups of the etcd of many clusters at times that repeat: an EtcdBackup for each cluster and time, and how long they are kept.",
    validation = Rule::new("self.metadata.name.size() <= 63 && !self.metadata.name.contains('.')")
        .message("the name must be a DNS label: at most 63 characters, no dots"),
    printcolumn(name = "Ready", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].status"#),
    printcolumn(name = "Reason", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].reason"#),
    printcolumn(name = "Schedule", type_ = "string", json_path = ".spec.schedule"),
    printcolumn(name = "Last", type_ = "date", json_path = ".status.lastScheduled"),
    printcolumn(name = "Next", type_ = "string", json_path = ".status.nextRun"),
    printcolumn(name = "Clusters", type_ = "string", json_path = ".status.clusters.summary"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(
        name = "Message",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Ready")].message"#,
        priority = "1"
    ),
    printcolumn(name = "Healthy", type_ = "string", json_path = r#".status.conditions[?(@.type=="Healthy")].status"#, priority = "1"),
    printcolumn(name = "Zone", type_ = "string", json_path = ".spec.timeZone", priority = "1"),
    printcolumn(name = "Recovery Point", type_ = "string", json_path = ".status.recoveryPoint.takenAt", priority = "1")
)]
#[serde(rename_all = "camelCase")]
pub struct EtcdBackupScheduleSpec {
    /// The clusters: exactly one of names, selector and all. The tenant entry of each for this namespace needs Backup in operations, and
    /// whoever writes the schedule the verb operate on them: by name where up to 8 are named, else on all.
    pub clusters: ClusterSelection,
    /// What each backup is.
    pub template: EtcdBackupTemplate,
    /// When: minute, hour, day of the month, month and day of the week, with blanks between them, as cron has them; or @hourly, @daily,
    /// @weekly, @monthly or @yearly. The first backups are taken at the next such time.
    #[schemars(schema_with = "schema::cron")]
    pub schedule: String,
    /// The time zone of the schedule, by its name in the IANA database, such as Europe/Berlin. Default: UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::time_zone")]
    pub time_zone: Option<String>,
    /// Over which time after that the clusters are spread, up to 24h, and never beyond the next time; each has always the same part of it.
    /// Default: 0s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jitter: Option<ApiDuration>,
    /// Whether nothing is created or deleted for now. Default: false.
    #[serde(default, skip_serializing_if = "is_default")]
    pub suspend: bool,
    /// What becomes of backups that were missed, as Drover was down or the schedule suspended: Latest takes the newest one at once, as long
    /// as it is not yet time for the next; None waits for that. Default: Latest.
    #[serde(default, skip_serializing_if = "is_default")]
    pub catch_up: CatchUp,
    /// Which backups of each cluster are kept. Default: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retention: Option<BackupRetention>,
}

/// What each backup of a schedule is.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EtcdBackupTemplate {
    /// Name of the BackupStore that it goes to: exactly one.
    #[schemars(schema_with = "schema::one_name")]
    pub store_names: Vec<String>,
    /// How it is proved that the backup can be restored: Restore, Hash or None, as an EtcdBackup has it. Default: Restore.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verify: Option<BackupVerification>,
    /// How long it may take, from 1m to 6h. Default: 30m.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<ApiDuration>,
    /// Whether all of its data stay, whatever deletes the object. Then retention deletes nothing. Default: false.
    #[serde(default, skip_serializing_if = "is_default")]
    pub pinned: bool,
    /// What becomes of its data when its object is deleted otherwise than by retention: Orphan leaves them, Delete deletes them. With Delete,
    /// who deletes the namespace deletes the data. Default: Orphan.
    #[serde(default, skip_serializing_if = "is_default")]
    pub deletion_policy: DeletionPolicy,
}

/// Which backups of each cluster are kept. A backup stays that any of the numbers keeps; where there is no number, all stay that maxAge
/// keeps. Periods are those of the time zone.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BackupRetention {
    /// The newest ones, so many. Default: no such rule.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::count")]
    pub keep_last: Option<u32>,
    /// The newest one of each of the last hours that have one, so many hours. Default: no such rule.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::count")]
    pub hourly: Option<u32>,
    /// The same by days. Default: no such rule.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::count")]
    pub daily: Option<u32>,
    /// The same by weeks, from Monday on. Default: no such rule.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::count")]
    pub weekly: Option<u32>,
    /// The same by months. Default: no such rule.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::count")]
    pub monthly: Option<u32>,
    /// What is older goes, also if a number keeps it. Default: no such rule.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_age: Option<ApiDuration>,
    /// So many verified backups stay whatever else is said, at least 1. Default: 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::least_one")]
    pub min_verified: Option<u32>,
}

/// The observed state of a schedule.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EtcdBackupScheduleStatus {
    /// The metadata.generation that this status judges; -1 before the first reconcile.
    #[serde(default = "unobserved")]
    pub observed_generation: i64,
    /// Until when all backups that were due have been created, or skipped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_scheduled: Option<Time>,
    /// The schedule and the time zone that this is about …
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::text::<256>")]
    pub follows: Option<String>,
    /// … and since when they are so: nothing is made up for of the time before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Time>,
    /// When the next backup is created.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_run: Option<Time>,
    /// How many clusters; ready are those of which the last backup that ended succeeded, and those that wait for their first one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clusters: Option<TargetSummary>,
    /// Clusters that are selected, and of which Drover cannot reach the etcd, such as managed control planes: no targets, only counted.
    /// Default: 0.
    #[serde(default, skip_serializing_if = "is_default")]
    #[schemars(range(min = 0))]
    pub not_supported: i64,
    /// How many backups of this schedule there are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backups: Option<BackupCounts>,
    /// The oldest of the newest verified backups of all clusters: to this time the fleet can go back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recovery_point: Option<RecoveryPoint>,
    /// What is wrong, at most 20.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 20))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub problems: Vec<Problem>,
    /// Under which admission policies the spec was written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub admission: Option<Admission>,
    /// Ready, ScheduleValid, Healthy, and what they are made of.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::conditions")]
    pub conditions: Vec<Condition>,
}

status_conditions!(EtcdBackupScheduleStatus, problems);

/// Counts of the backups of a schedule.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BackupCounts {
    /// That have not ended.
    #[schemars(range(min = 0))]
    pub running: i64,
    /// That succeeded.
    #[schemars(range(min = 0))]
    pub succeeded: i64,
    /// Those of them that were restored and compared.
    #[schemars(range(min = 0))]
    pub verified: i64,
    /// That failed and are still shown.
    #[schemars(range(min = 0))]
    pub failed: i64,
}

/// To which time a fleet can go back.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RecoveryPoint {
    /// Name of the Cluster with the oldest one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::dns_label")]
    pub cluster: Option<String>,
    /// When that backup was taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub taken_at: Option<Time>,
    /// Clusters without any verified backup of this schedule.
    #[schemars(range(min = 0))]
    pub clusters_without: i64,
}

impl SelectsClusters for EtcdBackupSchedule {
    fn clusters(&self) -> &ClusterSelection {
        &self.spec.clusters
    }
}

impl EtcdBackupScheduleSpec {
    /// Over which time after a tick the clusters are spread.
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
}

impl EtcdBackupTemplate {
    /// The backup of one cluster.
    #[must_use]
    pub fn of_cluster(&self, cluster: &str) -> EtcdBackupSpec {
        EtcdBackupSpec {
            cluster_name: cluster.to_owned(),
            store_names: self.store_names.clone(),
            existing: None,
            verify: self.verify,
            timeout: self.timeout.clone(),
            pinned: self.pinned,
            deletion_policy: self.deletion_policy,
        }
    }
}

impl Default for EtcdBackupScheduleStatus {
    fn default() -> Self {
        Self {
            observed_generation: UNOBSERVED,
            last_scheduled: None,
            follows: None,
            since: None,
            next_run: None,
            clusters: None,
            not_supported: 0,
            backups: None,
            recovery_point: None,
            problems: Vec::new(),
            admission: None,
            conditions: Vec::new(),
        }
    }
}
