//! BackupStore: where backups go, and who can decrypt them.

#![expect(clippy::doc_markdown, reason = "kubectl explain shows these texts as they are")]
#![expect(unreachable_pub, reason = "KubeSchema copies each struct, with its `pub`, into a function")]

use std::{collections::BTreeMap, time::Duration};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    ApiDuration, NamespaceSelection,
    condition::{UNOBSERVED, status_conditions, unobserved},
    schema::{self, is_default},
    v1alpha1::SecretName,
};

/// How often a store is tried unless its spec says otherwise.
pub const DEFAULT_STORE_INTERVAL: Duration = Duration::from_mins(10);
/// It is never tried more often than this.
pub const LEAST_STORE_INTERVAL: Duration = Duration::from_mins(1);
/// The region that signatures are for unless the spec names one.
pub const DEFAULT_REGION: &str = "us-east-1";

/// The wanted state of a store.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "drover.dev",
    version = "v1alpha1",
    kind = "BackupStore",
    plural = "backupstores",
    shortname = "bstore",
    category = "drover",
    status = "BackupStoreStatus",
    derive = "PartialEq",
    doc = "A bucket in which backups are stored, and who can decrypt them.",
    validation = Rule::new("self.metadata.name.size() <= 63 && !self.metadata.name.contains('.')")
        .message("the name must be a DNS label: at most 63 characters, no dots"),
    printcolumn(name = "Ready", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].status"#),
    printcolumn(name = "Reason", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].reason"#),
    printcolumn(name = "Bucket", type_ = "string", json_path = ".spec.s3.bucket"),
    printcolumn(name = "Backups", type_ = "integer", json_path = ".status.backups"),
    printcolumn(name = "Bytes", type_ = "integer", json_path = ".status.usedBytes"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(
        name = "Message",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Ready")].message"#,
        priority = "1"
    )
)]
#[serde(rename_all = "camelCase")]
pub struct BackupStoreSpec {
    /// A bucket of S3, or of what is compatible with it.
    pub s3: S3Store,
    /// Who can decrypt what is stored.
    #[serde(default, skip_serializing_if = "is_default")]
    pub encryption: BackupEncryption,
    /// The namespaces of the management cluster whose backups may go here: exactly one of names, selector and all. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usable_from: Option<NamespaceSelection>,
    /// How often Drover tries whether it can write here, at least 1m. Default: 10m.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval: Option<ApiDuration>,
}

/// A bucket.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct S3Store {
    /// URL of the server, such as https://s3.eu-central-1.amazonaws.com, without bucket and path.
    #[schemars(schema_with = "schema::server_url")]
    pub endpoint: String,
    /// The region that requests are signed for. Default: us-east-1, which most compatible servers take.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::dns_label")]
    pub region: Option<String>,
    /// Name of the bucket. It has to exist. It cannot be changed.
    #[schemars(schema_with = "schema::bucket")]
    #[x_kube(validation = ("self == oldSelf", "backups stay where they are; create another BackupStore for another bucket"))]
    pub bucket: String,
    /// What the keys of all objects begin with, such as drover/prod, without slashes at the ends. Default: nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::object_prefix")]
    pub prefix: Option<String>,
    /// Where the name of the bucket stands in URLs: Path, Virtual (in the name of the host) or Auto, which is Virtual at AWS and Path
    /// elsewhere. Default: Auto.
    #[serde(default, skip_serializing_if = "is_default")]
    pub addressing: BucketAddressing,
    /// Certificates in PEM that the server's certificate is signed by. Default: the authorities that Drover's image brings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::text::<65536>")]
    pub ca_bundle: Option<String>,
    /// A Secret in Drover's namespace with the keys accessKeyID and secretAccessKey, and sessionToken if they are of a session. It
    /// carries the label drover.dev/usable-by with the value backup-store, and the annotation drover.dev/hosts, which names the hosts
    /// that may get requests signed with them.
    pub credentials_secret_ref: SecretName,
}

/// Where the name of a bucket stands in URLs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum BucketAddressing {
    /// In the name of the host at AWS, in the path elsewhere.
    #[default]
    Auto,
    /// In the path.
    Path,
    /// In the name of the host.
    Virtual,
}

/// Who can decrypt what is stored.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[x_kube(validation = ("!has(self.required) || !self.required || (has(self.recipients) && self.recipients.size() > 0)", "required needs at least one recipient"))]
pub struct BackupEncryption {
    /// Public keys of age, such as age1…, of which each can decrypt every backup; at most 8. Neither Drover nor the nodes have the private
    /// ones. Default: none; backups are not encrypted then, and hold no configuration of the cluster.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::age_recipients")]
    pub recipients: Vec<String>,
    /// Whether nothing is stored without recipients. Default: false.
    #[serde(default, skip_serializing_if = "is_default")]
    pub required: bool,
}

/// The observed state of a store.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BackupStoreStatus {
    /// The metadata.generation that this status judges; -1 before the first reconcile.
    #[serde(default = "unobserved")]
    pub observed_generation: i64,
    /// Bytes below the prefix, as they were counted last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub used_bytes: Option<i64>,
    /// Objects below the prefix, as they were counted last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub objects: Option<i64>,
    /// Backups below the prefix, as they were counted last: those with a manifest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub backups: Option<i64>,
    /// When what is told here was found for the first time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checked_at: Option<Time>,
    /// Ready, and what it is made of.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::conditions")]
    pub conditions: Vec<Condition>,
}

status_conditions!(BackupStoreStatus);

impl BackupStoreSpec {
    /// How often it is tried.
    #[must_use]
    pub fn interval(&self) -> Duration {
        self.interval.as_ref().map_or(DEFAULT_STORE_INTERVAL, ApiDuration::as_std).max(LEAST_STORE_INTERVAL)
    }

    /// Whether backups of this namespace, which has these labels, may go here.
    #[must_use]
    pub fn is_usable_from(&self, namespace: &str, labels: &BTreeMap<String, String>) -> bool {
        self.usable_from.as_ref().is_some_and(|usable| usable.selects(namespace, labels))
    }
}

impl S3Store {
    /// The region that signatures are for.
    #[must_use]
    pub fn region(&self) -> &str {
        self.region.as_deref().unwrap_or(DEFAULT_REGION)
    }
}

impl Default for BackupStoreStatus {
    fn default() -> Self {
        Self {
            observed_generation: UNOBSERVED,
            used_bytes: None,
            objects: None,
            backups: None,
            checked_at: None,
            conditions: Vec::new(),
        }
    }
}
