//! EtcdBackup: one backup of the etcd of one cluster.

#![expect(clippy::doc_markdown, reason = "kubectl explain shows these texts as they are")]
#![expect(unreachable_pub, reason = "KubeSchema copies each struct, with its `pub`, into a function")]

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    ApiDuration, DeletionPolicy,
    condition::{UNOBSERVED, status_conditions, unobserved},
    schema::{self, is_default},
    v1alpha1::Admission,
};

/// How long a backup may take unless its spec says otherwise.
pub const DEFAULT_BACKUP_TIMEOUT: Duration = Duration::from_mins(30);
/// It may take no less than this …
pub const LEAST_BACKUP_TIMEOUT: Duration = Duration::from_mins(1);
/// … and no longer.
pub const MAX_BACKUP_TIMEOUT: Duration = Duration::from_hours(6);

/// The wanted state of a backup.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "drover.dev",
    version = "v1alpha1",
    kind = "EtcdBackup",
    plural = "etcdbackups",
    shortname = "ebackup",
    category = "drover",
    namespaced,
    status = "EtcdBackupStatus",
    derive = "PartialEq",
    doc = "A backup of the etcd of a cluster, which holds everything in that cluster, Secrets included.",
    validation = Rule::new("self.metadata.name.size() <= 63 && !self.metadata.name.contains('.')")
        .message("the name must be a DNS label: at most 63 characters, no dots"),
    printcolumn(name = "Ready", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].status"#),
    printcolumn(name = "Reason", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].reason"#),
    printcolumn(name = "Cluster", type_ = "string", json_path = ".spec.clusterName"),
    printcolumn(name = "Revision", type_ = "integer", json_path = ".status.snapshot.revision"),
    printcolumn(name = "Keys", type_ = "integer", json_path = ".status.snapshot.totalKeys"),
    printcolumn(name = "Bytes", type_ = "integer", json_path = ".status.snapshot.bytes"),
    printcolumn(name = "Verified", type_ = "string", json_path = r#".status.conditions[?(@.type=="Verified")].status"#),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(
        name = "Message",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Ready")].message"#,
        priority = "1"
    ),
    printcolumn(
        name = "Available",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Available")].status"#,
        priority = "1"
    ),
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase", priority = "1"),
    printcolumn(name = "Member", type_ = "string", json_path = ".status.snapshot.member", priority = "1"),
    printcolumn(name = "Kubernetes", type_ = "string", json_path = ".status.cluster.kubernetesVersion", priority = "1")
)]
#[x_kube(validation = ("has(self.storeNames) != has(self.existing)", "name storeNames to take a backup, or existing for one that is in a store: one of them"))]
#[x_kube(validation = ("!has(self.existing) || !(has(self.verify) || has(self.timeout))", "of an existing backup nothing is taken, so verify and timeout say nothing"))]
#[x_kube(validation = ("has(self.existing) == has(oldSelf.existing)", "a backup is taken once; create another one"))]
#[x_kube(validation = ("has(self.verify) == has(oldSelf.verify)", "a backup is taken once; create another one"))]
#[x_kube(validation = ("has(self.timeout) == has(oldSelf.timeout)", "a backup is taken once; create another one"))]
#[serde(rename_all = "camelCase")]
pub struct EtcdBackupSpec {
    /// Name of the Cluster. Its tenant entry for this namespace needs Backup in operations, and whoever creates the backup the verb operate
    /// on the Cluster. It cannot be changed.
    #[schemars(schema_with = "schema::dns_label")]
    #[x_kube(validation = ("self == oldSelf", "the cluster cannot be changed; create another backup"))]
    pub cluster_name: String,
    /// Name of the BackupStore that it goes to: exactly one. It cannot be changed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::one_name")]
    #[x_kube(validation = ("self == oldSelf", "the store cannot be changed; create another backup"))]
    pub store_names: Vec<String>,
    /// A backup that is in a store already, instead of storeNames: nothing is taken. `drover backup import` makes it. It cannot be
    /// changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = ("self == oldSelf", "it is one backup; create another object for another one"))]
    pub existing: Option<ExistingBackup>,
    /// How it is proved that the backup can be restored: Restore restores it into another etcd beside, and compares revision, keys and
    /// where possible hashes with the member; Hash only checks the digest that the member sends; None is as Hash. Only after Restore
    /// the backup is Verified. It cannot be changed. Default: Restore.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = ("self == oldSelf", "a backup is taken once; create another one"))]
    pub verify: Option<BackupVerification>,
    /// How long it may take, from 1m to 6h. It cannot be changed. Default: 30m.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = ("self == oldSelf", "a backup is taken once; create another one"))]
    pub timeout: Option<ApiDuration>,
    /// Whether its data stay, whatever deletes the object. Default: false.
    #[serde(default, skip_serializing_if = "is_default")]
    pub pinned: bool,
    /// What becomes of its data in the store when this object is deleted: Orphan leaves them, Delete deletes them, unless it is
    /// pinned. Default: Orphan.
    #[serde(default, skip_serializing_if = "is_default")]
    pub deletion_policy: DeletionPolicy,
}

/// A backup that is in a store.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ExistingBackup {
    /// Name of the BackupStore.
    #[schemars(schema_with = "schema::dns_label")]
    pub store_name: String,
    /// Key of its manifest in the bucket, with the prefix of the store.
    #[schemars(schema_with = "schema::text::<1024>")]
    pub key: String,
    /// UID of the EtcdBackup that took it.
    #[serde(rename = "backupUID")]
    #[schemars(schema_with = "schema::uid")]
    pub backup_uid: String,
    /// SHA-256 of its manifest. A manifest with another one is refused.
    #[serde(rename = "manifestSHA256")]
    #[schemars(schema_with = "schema::digest")]
    pub manifest_sha256: String,
}

/// How it is proved that a backup can be restored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum BackupVerification {
    /// Not beyond what is always done.
    None,
    /// By the digest that the member sends.
    Hash,
    /// By restoring it into another etcd.
    #[default]
    Restore,
}

/// How far a backup is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum BackupPhase {
    /// It has not begun.
    Pending,
    /// The snapshot is taken, verified and uploaded.
    Running,
    /// All is uploaded, or it failed, and it is being completed or given up.
    Completing,
    /// It can be restored from.
    Succeeded,
    /// There is no backup.
    Failed,
}

/// The observed state of a backup.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EtcdBackupStatus {
    /// The metadata.generation that this status judges; -1 before the first reconcile.
    #[serde(default = "unobserved")]
    pub observed_generation: i64,
    /// How far it is: Pending, Running, Completing, Succeeded or Failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<BackupPhase>,
    /// When the attempt began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Time>,
    /// When it succeeded or failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completed_at: Option<Time>,
    /// What was backed up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<BackedUpCluster>,
    /// What is under way, or was; it is noted before anything is done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt: Option<BackupAttempt>,
    /// The snapshot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<SnapshotStatus>,
    /// Where it is.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 4))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["storeName".into()]))]
    pub stores: Vec<StoredBackup>,
    /// Under which admission policies the spec was written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub admission: Option<Admission>,
    /// Ready, and what it is made of.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::conditions")]
    pub conditions: Vec<Condition>,
}

status_conditions!(EtcdBackupStatus);

/// The cluster as it was when the backup was taken.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BackedUpCluster {
    /// UID of its namespace kube-system.
    #[schemars(schema_with = "schema::uid")]
    pub uid: String,
    /// Such as v1.37.1.
    #[schemars(schema_with = "schema::text::<128>")]
    pub kubernetes_version: String,
    /// Such as kubeadm.
    #[schemars(schema_with = "schema::text::<64>")]
    pub distribution: String,
}

/// One attempt.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BackupAttempt {
    /// Tells it from any other one.
    #[schemars(schema_with = "schema::uid")]
    pub id: String,
    /// What the keys of its objects in the store begin with, before the UID of the cluster.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(schema_with = "schema::text::<512>")]
    pub prefix: String,
    /// The public keys of age that it is encrypted for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::age_recipients")]
    pub recipients: Vec<String>,
    /// The upload in the store, once it is open.
    #[serde(default, rename = "uploadID", skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::text::<2048>")]
    pub upload_id: Option<String>,
    /// What its Job answered, until it is stored; it is noted before the upload is completed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::text::<4096>")]
    pub answer: Option<String>,
    /// When its Job ended with that answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answered_at: Option<Time>,
    /// Whether it failed and left nothing in the cluster.
    #[serde(default, skip_serializing_if = "is_default")]
    pub cleared: bool,
    /// Why it failed, if it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<BackupFailure>,
}

/// Why an attempt failed.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupFailure {
    /// For programs.
    #[schemars(schema_with = "schema::text::<64>")]
    pub reason: String,
    /// For people.
    #[schemars(schema_with = "schema::text::<2048>")]
    pub message: String,
}

/// A snapshot.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SnapshotStatus {
    /// The member that gave it.
    #[schemars(schema_with = "schema::text::<128>")]
    pub member: String,
    /// Version of etcd.
    #[schemars(schema_with = "schema::text::<128>")]
    pub etcd_version: String,
    /// The revision that it holds.
    #[schemars(range(min = 0))]
    pub revision: i64,
    /// Keys at that revision, if it was restored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub total_keys: Option<i64>,
    /// Its size.
    #[schemars(range(min = 0))]
    pub bytes: i64,
    /// Its size in the store, compressed and encrypted.
    #[schemars(range(min = 0))]
    pub stored_bytes: i64,
    /// SHA-256 of what etcd sent.
    #[schemars(schema_with = "schema::digest")]
    pub digest: String,
    /// What was compared: Sha256, Revision, Keys, HashKV.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::checks")]
    pub verified: Vec<String>,
    /// Whether etcd had a leader then. Without one the snapshot may lack what other members accepted last.
    #[serde(default)]
    pub quorum: bool,
    /// Whether it is encrypted for the recipients of the store.
    #[serde(default)]
    pub encrypted: bool,
}

/// A backup in a store.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StoredBackup {
    /// Name of the BackupStore.
    #[schemars(schema_with = "schema::dns_label")]
    pub store_name: String,
    /// Key of its manifest, which names all else.
    #[schemars(schema_with = "schema::text::<1024>")]
    pub manifest: String,
    /// SHA-256 of the manifest.
    #[schemars(schema_with = "schema::digest")]
    pub manifest_digest: String,
    /// What the store calls the snapshot, if it says so: another one is another object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::text::<2048>")]
    pub etag: Option<String>,
}

impl EtcdBackupSpec {
    /// How long it may take.
    #[must_use]
    pub fn timeout(&self) -> Duration {
        let wanted = self.timeout.as_ref().map_or(DEFAULT_BACKUP_TIMEOUT, ApiDuration::as_std);
        wanted.clamp(LEAST_BACKUP_TIMEOUT, MAX_BACKUP_TIMEOUT)
    }

    /// How it is proved that it can be restored.
    #[must_use]
    pub fn verify(&self) -> BackupVerification {
        self.verify.unwrap_or_default()
    }

    /// The name of the store that it goes to, or is in.
    #[must_use]
    pub fn store_name(&self) -> &str {
        let existing = self.existing.as_ref().map(|existing| existing.store_name.as_str());
        existing.or(self.store_names.first().map(String::as_str)).unwrap_or_default()
    }

    /// Whether its data go with the object.
    #[must_use]
    pub fn deletes_data(&self) -> bool {
        self.deletion_policy == DeletionPolicy::Delete && !self.pinned
    }
}

impl Default for EtcdBackupStatus {
    fn default() -> Self {
        Self {
            observed_generation: UNOBSERVED,
            phase: None,
            started_at: None,
            completed_at: None,
            cluster: None,
            attempt: None,
            snapshot: None,
            stores: Vec::new(),
            admission: None,
            conditions: Vec::new(),
        }
    }
}
