//! Whether what is in a store is the backup that `spec.existing` of an `EtcdBackup` names. Pure.
//!
//! Who writes the object chooses the key, and who writes into the bucket the manifest. So the digest ties the manifest to the object, its
//! UIDs to the key, the UID of the cluster to the Cluster whose owner consents, and its namespace to the one in which it may be deleted.

use drover_backups::{Encryption, Folder, Manifest, Prefix};
use drover_crds::{BackedUpCluster, BackupAttempt, ExistingBackup, SnapshotStatus, StoredBackup};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::{look::Found, status::snapshot_status};

/// Most bytes of a text that goes into the status, and of the name of a distribution.
const MOST_TEXT_BYTES: usize = 128;
const MOST_DISTRIBUTION_BYTES: usize = 64;
/// Most recipients, and the letters of one: those of bech32.
const MOST_RECIPIENTS: usize = 8;
const RECIPIENT_LETTERS: &str = "023456789acdefghjklmnpqrstuvwxyz";

/// What is named, and of which cluster it has to be.
#[derive(Clone, Copy, Debug)]
pub struct Expected<'a> {
    /// What the spec names.
    pub existing: &'a ExistingBackup,
    /// What the keys of the store begin with.
    pub prefix: &'a Prefix,
    /// The namespace of the object.
    pub namespace: &'a str,
    /// The Cluster that the object names.
    pub cluster_name: &'a str,
    /// UID of the namespace kube-system of that.
    pub cluster_uid: &'a str,
}

/// A backup that is in a store, as the status of its object tells of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Imported {
    /// What was backed up.
    pub cluster: BackedUpCluster,
    /// The attempt that took it.
    pub attempt: BackupAttempt,
    /// The snapshot.
    pub snapshot: SnapshotStatus,
    /// Where it is.
    pub stored: StoredBackup,
    /// When it was taken.
    pub taken_at: Time,
    /// When its manifest was written.
    pub completed_at: Time,
}

/// Why it is not the backup that is named.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The key is none of a manifest there.
    #[error("{key} is no key of a manifest below the prefix of the store; take it from `drover backup import`")]
    NoManifest {
        /// The key.
        key: String,
    },
    /// The key has another UID.
    #[error(
        "{key} is the manifest of backup {found}, and spec.existing.backupUID is another one; take both from `drover backup import`"
    )]
    OtherBackup {
        /// The key.
        key: String,
        /// The UID in it.
        found: String,
    },
    /// The manifest has another digest.
    #[error(
        "{key} has another digest than spec.existing.manifestSHA256; take it from `drover backup import`, or find out who writes to the bucket"
    )]
    OtherManifest {
        /// Its key.
        key: String,
    },
    /// It is of another cluster.
    #[error(
        "{key} is of the cluster with UID {found}, and Cluster {cluster} is another one; name the Cluster that was backed up"
    )]
    OtherCluster {
        /// Key of the manifest.
        key: String,
        /// UID of the cluster in it.
        found: String,
        /// The Cluster.
        cluster: String,
    },
    /// It was taken by another namespace.
    #[error("{key} was not taken by namespace {namespace}; import it into the namespace that took it")]
    OtherNamespace {
        /// Key of the manifest.
        key: String,
        /// The namespace of the object.
        namespace: String,
    },
    /// It holds a text that no backup has.
    #[error("{key} holds texts that no backup has; find out who writes to the bucket")]
    Odd {
        /// Key of the manifest.
        key: String,
    },
}

impl Expected<'_> {
    /// Where the manifest is.
    pub fn folder(&self) -> Result<Folder, Refusal> {
        let key = &self.existing.key;
        let Some(folder) = Folder::of_manifest(self.prefix, key) else {
            return Err(Refusal::NoManifest { key: key.clone() });
        };
        if folder.backup.as_str() != self.existing.backup_uid {
            return Err(Refusal::OtherBackup { key: key.clone(), found: folder.backup.to_string() });
        }
        if folder.cluster.as_str() != self.cluster_uid {
            let (found, cluster) = (folder.cluster.to_string(), self.cluster_name.to_owned());
            return Err(Refusal::OtherCluster { key: key.clone(), found, cluster });
        }
        Ok(folder)
    }

    /// What the status says of what was read there, but for what the store calls the snapshot.
    pub fn imported(&self, found: &Found) -> Result<Imported, Refusal> {
        let (key, digest) = (self.existing.key.clone(), found.digest.to_string());
        let Found { manifest, .. } = found;
        if manifest.backup.namespace != self.namespace {
            return Err(Refusal::OtherNamespace { key, namespace: self.namespace.to_owned() });
        }
        if digest != self.existing.manifest_sha256 {
            return Err(Refusal::OtherManifest { key });
        }
        if !is_ordinary(manifest) {
            return Err(Refusal::Odd { key });
        }
        Ok(Imported {
            cluster: BackedUpCluster {
                uid: manifest.cluster.uid.to_string(),
                kubernetes_version: manifest.cluster.kubernetes_version.clone(),
                distribution: manifest.cluster.distribution.clone(),
            },
            attempt: BackupAttempt {
                id: manifest.backup.attempt.to_string(),
                prefix: self.prefix.to_string(),
                recipients: manifest.recipients.clone(),
                ..BackupAttempt::default()
            },
            snapshot: snapshot_status(&manifest.snapshot),
            stored: StoredBackup {
                store_name: self.existing.store_name.clone(),
                manifest: key,
                manifest_digest: digest,
                etag: None,
            },
            taken_at: manifest.taken_at.clone(),
            completed_at: manifest.completed_at.clone(),
        })
    }
}

/// Whether its texts are such as a status takes.
fn is_ordinary(manifest: &Manifest) -> bool {
    let is_text = |text: &String, most: usize| {
        text.len() <= most && text.bytes().all(|letter| letter.is_ascii_graphic() || letter == b' ')
    };
    let is_recipient = |text: &String| {
        let digits = text.strip_prefix("age1").filter(|digits| digits.len() == 58);
        digits.is_some_and(|digits| digits.chars().all(|letter| RECIPIENT_LETTERS.contains(letter)))
    };
    let (cluster, etcd) = (&manifest.cluster, &manifest.snapshot.etcd);
    let mut different = manifest.recipients.clone();
    different.sort();
    different.dedup();
    [&cluster.kubernetes_version, &etcd.member, &etcd.version].into_iter().all(|text| is_text(text, MOST_TEXT_BYTES))
        && is_text(&cluster.distribution, MOST_DISTRIBUTION_BYTES)
        && manifest.recipients.iter().all(is_recipient)
        && different.len() == manifest.recipients.len()
        && different.len() <= MOST_RECIPIENTS
        && (different.is_empty() == (manifest.snapshot.encryption == Encryption::None))
}

#[cfg(test)]
mod tests {
    use drover_fetch::Digest;
    use serde_json::{Value, json};

    use super::*;

    fn manifest(change: &Value) -> Value {
        let content = json!({"bytes": 10, "sha256": "d".repeat(64)});
        let mut manifest = json!({
            "formatVersion": 1,
            "cluster": {"uid": "c-1", "name": "eu", "kubernetesVersion": "v1.37.1", "distribution": "kubeadm"},
            "backup": {"uid": "b-1", "namespace": "team", "name": "nightly", "attempt": "b-1-1"},
            "takenAt": "2026-11-27T03:00:00Z", "completedAt": "2026-11-27T03:01:00Z",
            "object": {"key": "fleet/c-1/b-1/snapshot.b-1-1.db.zst", "partBytes": 100},
            "snapshot": {
                "plain": content, "stored": content, "encryption": "None", "verified": ["Sha256", "Revision", "Keys"],
                "etcd": {
                    "version": "3.7.1", "clusterID": "1", "memberID": "ab", "member": "m", "quorum": true, "revision": 42, "totalKeys": 7,
                },
            },
            "tool": "drover 0.1.0",
        });
        for (pointer, value) in change.as_object().into_iter().flatten() {
            *manifest.pointer_mut(pointer).unwrap() = value.clone();
        }
        manifest
    }

    fn outcome(existing: &Value, expected: &Value, change: &Value) -> Result<Imported, Refusal> {
        let text = manifest(change).to_string();
        let mut named = json!({
            "storeName": "main", "key": "fleet/c-1/b-1/manifest.json", "backupUID": "b-1",
            "manifestSHA256": Digest::of(text.as_bytes()).to_string(),
        });
        named.as_object_mut().unwrap().extend(existing.as_object().unwrap().clone());
        let existing: ExistingBackup = serde_json::from_value(named).unwrap();
        let text_of = |name: &str, usual: &str| expected[name].as_str().unwrap_or(usual).to_owned();
        let (namespace, uid) = (text_of("namespace", "team"), text_of("uid", "c-1"));
        let prefix: Prefix = "fleet".parse().unwrap();
        let expected = Expected {
            existing: &existing,
            prefix: &prefix,
            namespace: &namespace,
            cluster_name: "eu",
            cluster_uid: &uid,
        };
        let folder = expected.folder()?;
        let manifest = Manifest::parse(text.as_bytes(), &folder).unwrap();
        expected.imported(&Found { manifest, digest: Digest::of(text.as_bytes()) })
    }

    #[test]
    fn the_status_says_what_the_manifest_says() {
        let none = json!({});
        let found = outcome(&none, &none, &none).unwrap();
        assert_eq!((found.snapshot.revision, found.snapshot.total_keys), (42, Some(7)));
        assert_eq!((found.attempt.id.as_str(), found.attempt.prefix.as_str()), ("b-1-1", "fleet"));
        assert_eq!((found.cluster.uid.as_str(), found.stored.store_name.as_str()), ("c-1", "main"));
        assert_eq!(found.taken_at.0.to_string(), "2026-11-27T03:00:00Z");
        assert!(crate::status::is_verified(&found.snapshot));
    }

    #[test]
    fn what_is_not_the_backup_that_is_named_is_refused() {
        let none = json!({});
        let refused = |existing: Value| outcome(&existing, &none, &none).unwrap_err();
        assert!(matches!(refused(json!({"key": "fleet/c-1/b-1/other.json"})), Refusal::NoManifest { .. }));
        assert!(matches!(refused(json!({"key": "other/c-1/b-1/manifest.json"})), Refusal::NoManifest { .. }));
        assert!(matches!(refused(json!({"backupUID": "b-2"})), Refusal::OtherBackup { .. }));
        assert!(matches!(refused(json!({"manifestSHA256": "sha256:0"})), Refusal::OtherManifest { .. }));
        let of = |expected: Value| outcome(&none, &expected, &none).unwrap_err();
        assert!(matches!(of(json!({"uid": "c-2"})), Refusal::OtherCluster { .. }));
        assert!(matches!(of(json!({"namespace": "other"})), Refusal::OtherNamespace { .. }));
    }

    #[test]
    fn a_manifest_brings_nothing_into_the_status_that_it_does_not_take() {
        let none = json!({});
        for change in [
            json!({"/cluster/distribution": "k".repeat(65)}),
            json!({"/cluster/kubernetesVersion": "v1\u{1b}[2J"}),
            json!({"/snapshot/etcd/member": "m".repeat(129)}),
        ] {
            assert!(matches!(outcome(&none, &none, &change), Err(Refusal::Odd { .. })), "{change}");
        }
    }
}
