//! What the places of a backup find out, and how its status keeps it. Pure.
//!
//! | note | found out by | kept once there is |
//! |---|---|---|
//! | [`Note::Begun`] | the cluster | nothing |
//! | [`Note::Opened`] | the management cluster | an attempt |
//! | [`Note::Answered`] | the cluster | an upload |
//! | [`Note::Failed`] | both | an attempt, and no snapshot |
//! | [`Note::Stored`] | the management cluster | an attempt: what is stored is a backup, whatever came after |
//! | [`Note::Cleared`] | the cluster | a failure |
//! | [`Note::Ended`] | the management cluster | a snapshot or a failure |
//!
//! Each is kept at its step only, so what a place found out before says nothing again. Nothing is done on account of a note before the
//! status has it.

use drover_backups::{Check, Encryption, Snapshot};
use drover_crds::{
    BackedUpCluster, BackupAttempt, BackupFailure, BackupPhase, EtcdBackupStatus, SnapshotStatus, StoredBackup,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

/// The Job ended, and did not say how, or something else than it was asked.
pub(crate) const NO_ANSWER: &str = "NoAnswer";
/// The Cluster is of another cluster by now.
pub(crate) const ANOTHER_CLUSTER: &str = "AnotherCluster";
/// It took too long.
pub(crate) const DEADLINE_EXCEEDED: &str = "DeadlineExceeded";

/// Something that the status is to keep.
#[derive(Clone, Debug, PartialEq)]
pub enum Note {
    /// An attempt begins.
    Begun {
        /// What is backed up.
        cluster: BackedUpCluster,
        /// The attempt.
        attempt: Box<BackupAttempt>,
    },
    /// An upload is open, and the time of the backup begins.
    Opened {
        /// The identity of the upload.
        upload: String,
        /// When that was seen.
        at: Time,
    },
    /// The Job uploaded all of it.
    Answered {
        /// What it answered.
        answer: String,
        /// When it ended.
        at: Time,
    },
    /// There will be no backup.
    Failed(BackupFailure),
    /// The manifest is written.
    Stored {
        /// What is stored.
        snapshot: Box<SnapshotStatus>,
        /// Where.
        stored: StoredBackup,
    },
    /// Nothing of a failed attempt is left in the cluster.
    Cleared,
    /// All is done.
    Ended(Time),
}

impl Note {
    /// Why there will be no backup.
    pub(crate) fn failed(reason: &str, message: impl Into<String>) -> Self {
        Self::Failed(BackupFailure { reason: reason.to_owned(), message: message.into() })
    }

    /// Keeps it in the status, if that is at its step.
    pub(crate) fn keep(self, status: &mut EtcdBackupStatus) {
        if status.completed_at.is_some() {
            return;
        }
        let Some(attempt) = &mut status.attempt else {
            if let Self::Begun { cluster, attempt } = self {
                (status.cluster, status.attempt) = (Some(cluster), Some(*attempt));
            }
            return;
        };
        let is_open = attempt.failure.is_none() && status.snapshot.is_none();
        match self {
            Self::Opened { upload, at } if is_open && attempt.upload_id.is_none() => {
                (attempt.upload_id, status.started_at) = (Some(upload), Some(at));
            }
            Self::Answered { answer, at } if is_open && attempt.upload_id.is_some() && attempt.answer.is_none() => {
                (attempt.answer, attempt.answered_at) = (Some(answer), Some(at));
            }
            Self::Failed(failure) if is_open => {
                attempt.failure = Some(failure);
                (attempt.answer, attempt.answered_at) = (None, None);
            }
            Self::Stored { snapshot, stored } if status.snapshot.is_none() => {
                (attempt.answer, attempt.answered_at, attempt.failure, attempt.cleared) = (None, None, None, false);
                (status.snapshot, status.stores) = (Some(*snapshot), vec![stored]);
            }
            Self::Cleared if attempt.failure.is_some() => attempt.cleared = true,
            Self::Ended(at) if !is_open => status.completed_at = Some(at),
            _ => {}
        }
    }
}

/// How far a backup is by what is noted.
#[must_use]
pub fn phase(status: &EtcdBackupStatus) -> BackupPhase {
    let Some(attempt) = &status.attempt else { return BackupPhase::Pending };
    match (&attempt.failure, &status.completed_at) {
        (Some(_), Some(_)) => BackupPhase::Failed,
        (None, Some(_)) => BackupPhase::Succeeded,
        (None, None) if status.snapshot.is_none() && attempt.answer.is_none() => BackupPhase::Running,
        (_, None) => BackupPhase::Completing,
    }
}

/// A snapshot, as the status tells of it.
#[must_use]
pub fn snapshot_status(snapshot: &Snapshot) -> SnapshotStatus {
    let whole = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    let etcd = &snapshot.etcd;
    SnapshotStatus {
        member: if etcd.member.is_empty() { etcd.member_id.to_string() } else { etcd.member.clone() },
        etcd_version: etcd.version.clone(),
        revision: whole(etcd.revision),
        total_keys: etcd.total_keys.map(whole),
        bytes: whole(snapshot.plain.bytes),
        stored_bytes: whole(snapshot.stored.bytes),
        digest: snapshot.plain.sha256.to_string(),
        verified: snapshot.verified.iter().map(|check| check_name(*check).to_owned()).collect(),
        quorum: etcd.quorum,
        encrypted: snapshot.encryption == Encryption::Age,
    }
}

fn check_name(check: Check) -> &'static str {
    match check {
        Check::Sha256 => "Sha256",
        Check::Revision => "Revision",
        Check::Keys => "Keys",
        Check::HashKv => "HashKV",
    }
}

/// Whether a snapshot was restored, and had the revision and the keys of the member.
#[must_use]
pub fn is_verified(snapshot: &SnapshotStatus) -> bool {
    let has = |check: Check| snapshot.verified.iter().any(|name| name == check_name(check));
    [Check::Sha256, Check::Revision, Check::Keys].into_iter().all(has)
}
