//! Where the objects of a backup are in a store.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::{AttemptId, Encryption, Uid};

/// Most bytes of a prefix.
const MOST_PREFIX_BYTES: usize = 512;
const MANIFEST: &str = "manifest.json";

/// What the keys of all objects of a store begin with: nothing, or names with slashes between them and none at the ends.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Prefix(String);

/// The text is no prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a prefix has names of letters, digits, `-`, `_` and `.` with one slash between them, at most 512 bytes")]
pub struct PrefixError;

impl FromStr for Prefix {
    type Err = PrefixError;

    fn from_str(text: &str) -> Result<Self, PrefixError> {
        let is_letter = |letter: u8| letter.is_ascii_alphanumeric() || b"-_.".contains(&letter);
        let is_name = |name: &str| !matches!(name, "" | "." | "..") && name.bytes().all(is_letter);
        let is_prefix = text.is_empty() || (text.len() <= MOST_PREFIX_BYTES && text.split('/').all(is_name));
        if is_prefix { Ok(Self(text.to_owned())) } else { Err(PrefixError) }
    }
}

impl TryFrom<String> for Prefix {
    type Error = PrefixError;

    fn try_from(text: String) -> Result<Self, PrefixError> {
        text.parse()
    }
}

impl From<Prefix> for String {
    fn from(prefix: Prefix) -> Self {
        prefix.0
    }
}

impl Prefix {
    /// What the keys of all objects begin with: nothing, or the prefix and a slash, so that it is no other one with a longer name.
    #[must_use]
    pub fn start(&self) -> String {
        if self.0.is_empty() { String::new() } else { format!("{}/", self.0) }
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// The keys of one backup: `PREFIX/CLUSTER-UID/BACKUP-UID/…`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Folder {
    /// Of the store.
    pub prefix: Prefix,
    /// UID of the namespace kube-system of the cluster that was backed up.
    pub cluster: Uid,
    /// UID of the `EtcdBackup`.
    pub backup: Uid,
}

impl Folder {
    /// What all its keys begin with; ends in a slash.
    #[must_use]
    pub fn start(&self) -> String {
        format!("{}{}/{}/", self.prefix.start(), self.cluster, self.backup)
    }

    /// Key of the manifest.
    #[must_use]
    pub fn manifest(&self) -> String {
        format!("{}{MANIFEST}", self.start())
    }

    /// Key of the snapshot that an attempt takes. No two attempts write the same one.
    #[must_use]
    pub fn snapshot(&self, attempt: &AttemptId, encryption: Encryption) -> String {
        let ending = match encryption {
            Encryption::Age => ".age",
            Encryption::None => "",
        };
        format!("{}snapshot.{attempt}.db.zst{ending}", self.start())
    }

    /// Key of the configuration that an attempt bundles; it is always encrypted.
    #[must_use]
    pub fn config(&self, attempt: &AttemptId) -> String {
        format!("{}config.{attempt}.age", self.start())
    }

    /// The folder in which this key is one of a snapshot; none if it is none below `prefix`.
    #[must_use]
    pub fn of_snapshot(prefix: &Prefix, key: &str) -> Option<Self> {
        let parts: Vec<&str> = key.strip_prefix(prefix.start().as_str())?.split('/').collect();
        let [cluster, backup, name] = parts.as_slice() else { return None };
        let attempt = name.strip_prefix("snapshot.")?.split_once(".db.zst")?.0.parse().ok()?;
        let found = Self { prefix: prefix.clone(), cluster: cluster.parse().ok()?, backup: backup.parse().ok()? };
        let is_one = |encryption| found.snapshot(&attempt, encryption) == key;
        [Encryption::Age, Encryption::None].into_iter().any(is_one).then_some(found)
    }

    /// The folder whose manifest has this key; none if it is no manifest below `prefix`.
    #[must_use]
    pub fn of_manifest(prefix: &Prefix, key: &str) -> Option<Self> {
        let parts: Vec<&str> = key.strip_prefix(prefix.start().as_str())?.split('/').collect();
        let [cluster, backup, MANIFEST] = parts.as_slice() else { return None };
        Some(Self { prefix: prefix.clone(), cluster: cluster.parse().ok()?, backup: backup.parse().ok()? })
    }
}
