//! What a Job is to do, as one file in a Secret that is mounted.

use std::{fmt, path::PathBuf, time::Duration};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{AttemptId, FORMAT_VERSION};

/// Most bytes of a task: a Secret has 1 MiB.
const MOST_BYTES: usize = 1 << 20;

/// What a Job is to do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Task {
    /// [`FORMAT_VERSION`] of who wrote it.
    pub format_version: u32,
    /// Which attempt it is; the report names it.
    pub attempt: AttemptId,
    /// Where etcd is.
    pub etcd: EtcdAccess,
    /// How long, and how much.
    pub limits: Limits,
    /// How the snapshot is proved.
    pub verify: Verify,
    /// Public keys of age, `age1…`; none: nothing is encrypted.
    #[serde(default)]
    pub recipients: Vec<String>,
    /// Where the store is.
    pub store: StoreAccess,
    /// Where the parts of the snapshot go: all of [`upload::lengths`](crate::upload::lengths).
    pub snapshot: Vec<PresignedUrl>,
    /// What else is stored. It is left out without recipients.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config: Option<ConfigTask>,
}

/// Where etcd is, and how a client of it proves who it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EtcdAccess {
    /// URLs of members, in the order in which they are tried.
    pub endpoints: Vec<String>,
    /// File with the authority of the members' certificates, in PEM.
    pub authority: PathBuf,
    /// File with the certificate of a client, in PEM.
    pub certificate: PathBuf,
    /// File with its private key, in PEM.
    pub key: PathBuf,
}

/// How long a Job may take, and what a healthy member is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Limits {
    /// Longest time in which the stream of a snapshot may stand still.
    pub stall_seconds: u32,
    /// Longest time of all.
    pub deadline_seconds: u32,
    /// Most entries that a member has received and not applied yet.
    pub most_lag: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { stall_seconds: 60, deadline_seconds: 30 * 60, most_lag: 5_000 }
    }
}

impl Limits {
    /// Longest time in which the stream of a snapshot may stand still.
    #[must_use]
    pub fn stall(&self) -> Duration {
        Duration::from_secs(self.stall_seconds.into())
    }

    /// Longest time of all.
    #[must_use]
    pub fn deadline(&self) -> Duration {
        Duration::from_secs(self.deadline_seconds.into())
    }
}

/// How a snapshot is proved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verify {
    /// Not beyond what is always done, which is `Hash`; the backup does not count as verified.
    None,
    /// By the digest at its end.
    Hash,
    /// By restoring it beside, and comparing the copy with the member.
    #[default]
    Restore,
}

/// Where the store is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StoreAccess {
    /// Authorities of the store's certificate, in PEM; without them those of the image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authorities: Option<String>,
    /// Whether it may be at a loopback, link-local or metadata address, as the manager may reach it there.
    #[serde(default)]
    pub allow_local_addresses: bool,
}

/// Where something of exactly this length may be uploaded. Who has it may upload, so it is never logged.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PresignedUrl {
    /// Number of the part; 1 where there are no parts.
    pub part: u16,
    /// Bytes, as the header `Content-Length` of the request, which is signed.
    pub length: u64,
    /// For a `PUT`.
    url: String,
}

impl PresignedUrl {
    /// Lets part `part` of exactly `length` bytes be put to `url`.
    #[must_use]
    pub fn new(part: u16, length: u64, url: String) -> Self {
        Self { part, length, url }
    }

    /// The URL.
    #[must_use]
    pub fn expose_url(&self) -> &str {
        &self.url
    }
}

impl fmt::Debug for PresignedUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("PresignedUrl")
            .field("part", &self.part)
            .field("length", &self.length)
            .finish_non_exhaustive()
    }
}

/// What else a restore needs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ConfigTask {
    /// Files of the node, and folders of which the files are meant. What is missing is noted in the bundle.
    pub files: Vec<PathBuf>,
    /// What the manager knows, such as the Cluster object and the version of Kubernetes: `facts.json` of the bundle.
    pub facts: Value,
    /// Where it goes: a URL per length of [`upload::CONFIG_LENGTHS`](crate::upload::CONFIG_LENGTHS).
    pub uploads: Vec<PresignedUrl>,
}

/// Why a task cannot be done. Neither says what stands in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TaskError {
    /// It is no task.
    #[error("the file of the task is no task of drover etcd-snapshot, or has more than 1 MiB")]
    Unreadable,
    /// It is of another version.
    #[error(
        "the task has format version {found}, this program reads {FORMAT_VERSION}: use the image of the same version as the manager"
    )]
    Version {
        /// That of the task.
        found: u32,
    },
}

impl Task {
    /// Reads the file of a task.
    pub fn parse(text: &[u8]) -> Result<Self, TaskError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Version {
            format_version: u32,
        }
        if text.len() > MOST_BYTES {
            return Err(TaskError::Unreadable);
        }
        // The version first: a task of another one may not be readable at all.
        let Version { format_version: found } = serde_json::from_slice(text).map_err(|_| TaskError::Unreadable)?;
        if found != FORMAT_VERSION {
            return Err(TaskError::Version { found });
        }
        serde_json::from_slice(text).map_err(|_| TaskError::Unreadable)
    }
}
