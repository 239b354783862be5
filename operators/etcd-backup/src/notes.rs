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
//! | [`Note::Imported`] | the management cluster | nothing: it is all that there is to say of a backup that is in a store already |
//!
//! Each is kept at its step only, so what a place found out before says nothing again. Nothing is done on account of a note before the
//! status has it.

use drover_crds::{
    BackedUpCluster, BackupAttempt, BackupFailure, BackupPhase, EtcdBackupStatus, SnapshotStatus, StoredBackup,
};
use drover_stored_backups::Imported;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

/// The Job ended, and did not say how, or something else than it was asked.
pub(crate) const NO_ANSWER: &str = "NoAnswer";
/// The Cluster is of another cluster by now.
pub(crate) const ANOTHER_CLUSTER: &str = "AnotherCluster";
/// It took too long.
pub(crate) const DEADLINE_EXCEEDED: &str = "DeadlineExceeded";

/// Another client wrote the manifest.
pub(crate) const MANIFEST_TAKEN: &str = "ManifestTaken";

/// The words for why there is no backup that are not the Job's, what they mean, and what to do, as the reference lists them.
pub const ENDS: &[(&str, &str, &str)] = &[
    (
        NO_ANSWER,
        "The Job ended, and did not say how, or something else than it was asked.",
        "Look at the events of the Job that the message names.",
    ),
    (ANOTHER_CLUSTER, "The Cluster is of another cluster by now.", "Create another backup."),
    (
        DEADLINE_EXCEEDED,
        "It took longer than `spec.timeout`.",
        "Do what the message says of the cause, and create another backup.",
    ),
    (
        MANIFEST_TAKEN,
        "Another client wrote the manifest of the backup.",
        "Find out who writes to the bucket, and change its keys.",
    ),
];

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
    /// It is in the store already.
    Imported(Box<Imported>),
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
            match self {
                Self::Begun { cluster, attempt } => (status.cluster, status.attempt) = (Some(cluster), Some(*attempt)),
                Self::Imported(found) => import(*found, status),
                _ => {}
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
            // The answer stays until the end: it tells which manifest in the store is Drover's.
            Self::Failed(failure) if is_open => attempt.failure = Some(failure),
            Self::Stored { snapshot, stored } if status.snapshot.is_none() => {
                (attempt.answer, attempt.answered_at, attempt.failure, attempt.cleared) = (None, None, None, false);
                (status.snapshot, status.stores) = (Some(*snapshot), vec![stored]);
            }
            Self::Cleared if attempt.failure.is_some() => attempt.cleared = true,
            Self::Ended(at) if !is_open => {
                (attempt.answer, attempt.answered_at) = (None, None);
                status.completed_at = Some(at);
            }
            _ => {}
        }
    }
}

fn import(found: Imported, status: &mut EtcdBackupStatus) {
    let Imported { cluster, attempt, snapshot, stored, taken_at, completed_at } = found;
    (status.cluster, status.attempt) = (Some(cluster), Some(attempt));
    (status.snapshot, status.stores) = (Some(snapshot), vec![stored]);
    (status.started_at, status.completed_at) = (Some(taken_at), Some(completed_at));
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
