//! What the Job of an attempt is to do. Pure, but for the clock in signatures.

use std::time::Duration;

use drover_backups::{
    AttemptId, Encryption, FORMAT_VERSION, Folder, Layout, Limits, PresignedUrl, StoreAccess, Task, Verify, upload,
};
use drover_crds::{BackedUpCluster, BackupAttempt, BackupVerification, EtcdBackup};
use drover_stores::{Store, StoreError};
use kube::ResourceExt as _;

/// What an attempt is, out of its record.
pub(crate) struct Attempt {
    pub(crate) id: AttemptId,
    pub(crate) folder: Folder,
    pub(crate) encryption: Encryption,
    pub(crate) recipients: Vec<String>,
}

impl Attempt {
    /// None if the record cannot be one.
    pub(crate) fn of(backup: &EtcdBackup, record: &BackupAttempt, cluster: &BackedUpCluster) -> Option<Self> {
        let folder = Folder {
            prefix: record.prefix.parse().ok()?,
            cluster: cluster.uid.parse().ok()?,
            backup: backup.uid()?.parse().ok()?,
        };
        let encryption = if record.recipients.is_empty() { Encryption::None } else { Encryption::Age };
        Some(Self { id: record.id.parse().ok()?, folder, encryption, recipients: record.recipients.clone() })
    }

    /// The key of its snapshot.
    pub(crate) fn snapshot(&self) -> String {
        self.folder.snapshot(&self.id, self.encryption)
    }
}

/// How the store is reached from the cluster.
pub(crate) struct Way {
    pub(crate) authorities: Option<String>,
    pub(crate) allows_local: bool,
}

pub(crate) fn task(
    backup: &EtcdBackup,
    attempt: &Attempt,
    layout: &Layout,
    (store, way): (&Store, Way),
    upload_id: &str,
) -> Result<Task, StoreError> {
    let timeout = backup.spec.timeout();
    let key = attempt.snapshot();
    let presign = |(part, length): (u16, u64)| {
        let expires = timeout + Duration::from_mins(10);
        let url = store.presign_part(&key, upload_id, part.into(), length, expires)?;
        Ok(PresignedUrl::new(part, length, url.expose().to_owned()))
    };
    let limits = Limits { deadline_seconds: u32::try_from(timeout.as_secs()).unwrap_or(u32::MAX), ..Limits::default() };
    Ok(Task {
        format_version: FORMAT_VERSION,
        attempt: attempt.id.clone(),
        etcd: layout.access(),
        limits,
        verify: match backup.spec.verify() {
            BackupVerification::None => Verify::None,
            BackupVerification::Hash => Verify::Hash,
            BackupVerification::Restore => Verify::Restore,
        },
        recipients: attempt.recipients.clone(),
        store: StoreAccess { authorities: way.authorities, allow_local_addresses: way.allows_local },
        snapshot: upload::lengths().map(presign).collect::<Result<_, StoreError>>()?,
        config: None,
    })
}
