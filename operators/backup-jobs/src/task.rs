//! What the Job of an attempt is to do, and the Secret in which it is.

use std::{borrow::Cow, time::Duration};

use drover_backups::{
    AttemptId, ConfigTask, Encryption, FORMAT_VERSION, Folder, Layout, Limits, PresignedUrl, StoreAccess, Task, Verify,
    upload,
};
use drover_crds::{BackedUpCluster, BackupAttempt, BackupVerification, Cluster, EtcdBackup, names::DROVER_NAMESPACE};
use drover_stores::{Store, StoreError};
use k8s_openapi::{api::core::v1::Secret, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use kube::{Resource, ResourceExt as _};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::job;

/// The Secret of a task, as far as it is kept: without the task, as whoever has that may upload.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct TaskSecret {
    metadata: ObjectMeta,
}

impl TaskSecret {
    /// That of an attempt, with the name of its Job.
    #[must_use]
    pub fn of(attempt: &AttemptId) -> Self {
        let (name, namespace) = (Some(job::name(attempt)), Some(DROVER_NAMESPACE.to_owned()));
        Self { metadata: ObjectMeta { name, namespace, ..ObjectMeta::default() } }
    }
}

impl Resource for TaskSecret {
    type DynamicType = ();
    type Scope = <Secret as Resource>::Scope;

    fn kind((): &()) -> Cow<'_, str> {
        Secret::kind(&())
    }
    fn group((): &()) -> Cow<'_, str> {
        Secret::group(&())
    }
    fn version((): &()) -> Cow<'_, str> {
        Secret::version(&())
    }
    fn plural((): &()) -> Cow<'_, str> {
        Secret::plural(&())
    }
    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }
    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

/// What an attempt is, out of its record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// Tells it from any other one.
    pub id: AttemptId,
    /// Where its objects are.
    pub folder: Folder,
    /// How they are encrypted.
    pub encryption: Encryption,
    /// For whom.
    pub recipients: Vec<String>,
}

impl Attempt {
    /// None if the record cannot be one.
    #[must_use]
    pub fn of(backup: &EtcdBackup, record: &BackupAttempt, cluster: &BackedUpCluster) -> Option<Self> {
        // Under which it was taken, wherever it was imported from there.
        let existing = backup.spec.existing.as_ref().map(|existing| existing.backup_uid.clone());
        let uid = existing.or(backup.uid())?;
        let folder = Folder {
            prefix: record.prefix.parse().ok()?,
            cluster: cluster.uid.parse().ok()?,
            backup: uid.parse().ok()?,
        };
        let encryption = if record.recipients.is_empty() { Encryption::None } else { Encryption::Age };
        Some(Self { id: record.id.parse().ok()?, folder, encryption, recipients: record.recipients.clone() })
    }

    /// The key of its configuration.
    #[must_use]
    pub fn config(&self) -> String {
        self.folder.config(&self.id)
    }

    /// The key of its snapshot.
    #[must_use]
    pub fn snapshot(&self) -> String {
        self.folder.snapshot(&self.id, self.encryption)
    }
}

/// What the Job is asked to prove.
#[must_use]
pub fn verify(backup: &EtcdBackup) -> Verify {
    match backup.spec.verify() {
        BackupVerification::None => Verify::None,
        BackupVerification::Hash => Verify::Hash,
        BackupVerification::Restore => Verify::Restore,
    }
}

/// How the store is reached from the cluster.
#[derive(Clone, Debug)]
pub struct Way {
    /// Authorities of its certificate, in PEM; none: those of the image.
    pub authorities: Option<String>,
    /// Whether it may be on loopback and the like.
    pub allows_local: bool,
}

/// What the Job of an attempt is to do in the time that is left. Whoever has it may upload.
pub fn task(
    backup: &EtcdBackup,
    attempt: &Attempt,
    (layout, left): (&Layout, Duration),
    (store, way): (&Store, Way),
    (upload_id, facts): (&str, Value),
) -> Result<Task, StoreError> {
    let key = attempt.snapshot();
    let expires = left + Duration::from_mins(10);
    let presign = |(part, length): (u16, u64)| {
        let url = store.presign_part(&key, upload_id, part.into(), length, expires)?;
        Ok(PresignedUrl::new(part, length, url.expose().to_owned()))
    };
    let limits = Limits { deadline_seconds: u32::try_from(left.as_secs()).unwrap_or(u32::MAX), ..Limits::default() };
    Ok(Task {
        format_version: FORMAT_VERSION,
        attempt: attempt.id.clone(),
        etcd: layout.access(),
        limits,
        verify: verify(backup),
        recipients: attempt.recipients.clone(),
        store: StoreAccess { authorities: way.authorities, allow_local_addresses: way.allows_local },
        snapshot: upload::lengths().map(presign).collect::<Result<_, StoreError>>()?,
        config: config(attempt, layout, store, expires, facts)?,
    })
}

/// It holds secrets, so it is left out where it would not be encrypted.
fn config(
    attempt: &Attempt,
    layout: &Layout,
    store: &Store,
    expires: Duration,
    facts: Value,
) -> Result<Option<ConfigTask>, StoreError> {
    if attempt.recipients.is_empty() {
        return Ok(None);
    }
    let presign = |length| {
        let url = store.presign_put_new(&attempt.config(), length, expires)?;
        Ok(PresignedUrl::new(1, length, url.expose().to_owned()))
    };
    let uploads = upload::CONFIG_LENGTHS.into_iter().map(presign).collect::<Result<_, StoreError>>()?;
    let files = layout.config_files.iter().map(Into::into).collect();
    Ok(Some(ConfigTask { files, facts, uploads }))
}

/// What a restore needs to know of the cluster: what it is, and its Cluster as people wrote it.
#[must_use]
pub fn facts(backup: &EtcdBackup, known: &BackedUpCluster, cluster: Option<&Cluster>) -> Value {
    let written = cluster.map(|cluster| json!({"labels": cluster.labels(), "spec": cluster.spec}));
    json!({
        "clusterName": backup.spec.cluster_name, "clusterUID": known.uid, "kubernetesVersion": known.kubernetes_version,
        "distribution": known.distribution, "cluster": written,
    })
}
