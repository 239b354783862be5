//! What is known of a snapshot: measured by the Job, written into the manifest.

use drover_fetch::Digest;
use serde::{Deserialize, Serialize};

use crate::EtcdId;

/// Some bytes, by length and digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Content {
    /// How many.
    pub bytes: u64,
    /// Their SHA-256.
    pub sha256: Digest,
}

/// How an object is encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Encryption {
    /// Not at all: the backup names no recipients.
    None,
    /// By age, version 1, for recipients with X25519 keys.
    Age,
}

/// A comparison that a snapshot stood.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Check {
    /// The digest at the end of the snapshot is that of its bytes.
    Sha256,
    /// It was restored, and its revision is one that the member had while it was taken.
    Revision,
    /// The restored copy has as many keys as the member has at that revision.
    Keys,
    /// The restored copy and the member have the same hash at that revision.
    #[serde(rename = "HashKV")]
    HashKv,
}

/// What etcd said of itself and of the snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EtcdFacts {
    /// Version of the member, such as `3.6.4`.
    pub version: String,
    /// Id of the cluster of etcd.
    #[serde(rename = "clusterID")]
    pub cluster_id: EtcdId,
    /// Id of the member that gave the snapshot.
    #[serde(rename = "memberID")]
    pub member_id: EtcdId,
    /// Its name; empty if it has none.
    #[serde(default)]
    pub member: String,
    /// Whether the cluster had a leader then. Without one the snapshot may lack what the others accepted last.
    pub quorum: bool,
    /// The revision of the restored copy; where none was restored, the one of the member before the snapshot, which is not later.
    pub revision: u64,
    /// Below it there is no history in the restored copy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compact_revision: Option<u64>,
    /// Keys of the restored copy at its revision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total_keys: Option<u64>,
    /// `HashKV` of the restored copy at its revision.
    #[serde(default, rename = "hashKV", skip_serializing_if = "Option::is_none")]
    pub hash_kv: Option<u32>,
}

/// A snapshot that was taken and stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Snapshot {
    /// What etcd sent, with the digest at its end.
    pub plain: Content,
    /// What was uploaded: compressed by zstd, with padding, then encrypted.
    pub stored: Content,
    /// How.
    pub encryption: Encryption,
    /// What was found out of etcd.
    pub etcd: EtcdFacts,
    /// The comparisons that it stood, in this order.
    pub verified: Vec<Check>,
}

impl Snapshot {
    /// Whether it was restored, and had the revision and the keys of the member.
    #[must_use]
    pub fn is_verified(&self) -> bool {
        [Check::Sha256, Check::Revision, Check::Keys].iter().all(|check| self.verified.contains(check))
    }
}
