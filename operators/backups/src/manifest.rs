//! `manifest.json`: what a backup is, beside its data, written last.

use std::collections::BTreeSet;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde::{Deserialize, Serialize};

use crate::{AttemptId, Content, Encryption, Folder, Prefix, Snapshot, Uid};

/// The version of tasks and manifests that this program writes. Another one is not read: it may mean something else.
pub const FORMAT_VERSION: u32 = 1;
/// Most bytes of a manifest.
const MOST_BYTES: usize = 64 * 1024;

/// What a backup is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    /// [`FORMAT_VERSION`] of who wrote it.
    pub format_version: u32,
    /// What was backed up.
    pub cluster: ClusterIdentity,
    /// Which backup it is.
    pub backup: BackupIdentity,
    /// When the Job was started, by the clock of the manager.
    pub taken_at: Time,
    /// When the manifest was written, by the clock of the manager.
    pub completed_at: Time,
    /// Where the snapshot is.
    pub object: StoredObject,
    /// What it is.
    pub snapshot: Snapshot,
    /// Where the configuration is, if it was stored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config: Option<StoredConfig>,
    /// Public keys of those who can decrypt it.
    #[serde(default)]
    pub recipients: Vec<String>,
    /// Version of the program that took it.
    pub tool: String,
}

/// What was backed up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClusterIdentity {
    /// UID of its namespace kube-system.
    pub uid: Uid,
    /// Name of the Cluster.
    pub name: String,
    /// Such as `v1.37.1`.
    pub kubernetes_version: String,
    /// As `status.distribution` of the Cluster says.
    pub distribution: String,
}

/// Which backup it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupIdentity {
    /// UID of the `EtcdBackup`.
    pub uid: Uid,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// The attempt that succeeded.
    pub attempt: AttemptId,
}

/// An object that was uploaded in parts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StoredObject {
    /// Its key.
    pub key: String,
    /// Bytes of each part but the last.
    pub part_bytes: u64,
}

/// The configuration, encrypted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredConfig {
    /// Its key.
    pub key: String,
    /// What is stored.
    pub stored: Content,
}

/// Why a manifest counts for nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    /// It is no manifest.
    #[error("is no manifest of a backup, or has more than 64 KiB")]
    Unreadable,
    /// It is of another version.
    #[error("has format version {found}, and this program reads {FORMAT_VERSION}: use a newer drover")]
    Version {
        /// That of the manifest.
        found: u32,
    },
    /// It names other UIDs than its key, or keys elsewhere.
    #[error("names a cluster, backup or object of another folder: the objects in the bucket were moved or forged")]
    Misplaced,
    /// What it says of the snapshot does not fit together.
    #[error("contradicts itself: it was changed after Drover wrote it")]
    Contradictory,
}

impl Manifest {
    /// Reads the manifest that was found in `folder`.
    pub fn parse(text: &[u8], folder: &Folder) -> Result<Self, ManifestError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Version {
            format_version: u32,
        }
        if text.len() > MOST_BYTES {
            return Err(ManifestError::Unreadable);
        }
        let Version { format_version: found } = serde_json::from_slice(text).map_err(|_| ManifestError::Unreadable)?;
        if found != FORMAT_VERSION {
            return Err(ManifestError::Version { found });
        }
        let manifest: Self = serde_json::from_slice(text).map_err(|_| ManifestError::Unreadable)?;
        if !manifest.is_of(folder) {
            return Err(ManifestError::Misplaced);
        }
        if manifest.is_coherent() { Ok(manifest) } else { Err(ManifestError::Contradictory) }
    }

    /// As it is written into a store.
    #[must_use]
    pub fn to_text(&self) -> String {
        // Only a map with keys that are no texts could not be written.
        serde_json::to_string_pretty(self).unwrap_or_default()
    }

    /// The folder in which it belongs.
    #[must_use]
    pub fn folder(&self, prefix: Prefix) -> Folder {
        Folder { prefix, cluster: self.cluster.uid.clone(), backup: self.backup.uid.clone() }
    }

    /// The keys of what it names, in the order in which they are deleted: itself first, so that data without a manifest is no
    /// backup. All are in its own folder.
    #[must_use]
    pub fn keys(&self, folder: &Folder) -> Vec<String> {
        let config = self.config.iter().map(|config| config.key.clone());
        [folder.manifest(), self.object.key.clone()].into_iter().chain(config).collect()
    }

    /// Whether it names this folder, and the objects of its attempt there.
    fn is_of(&self, folder: &Folder) -> bool {
        let attempt = &self.backup.attempt;
        self.cluster.uid == folder.cluster
            && self.backup.uid == folder.backup
            && self.object.key == folder.snapshot(attempt, self.snapshot.encryption)
            && self.config.as_ref().is_none_or(|config| config.key == folder.config(attempt))
    }

    fn is_coherent(&self) -> bool {
        let is_encrypted = self.snapshot.encryption == Encryption::Age;
        let checks: BTreeSet<_> = self.snapshot.verified.iter().collect();
        is_encrypted != self.recipients.is_empty()
            && (is_encrypted || self.config.is_none())
            && checks.len() == self.snapshot.verified.len()
    }
}
