//! One function per action.

use std::{fmt, time::Duration};

use bytes::Bytes;
use drover_backup_jobs::{
    job,
    task::{self, Attempt, TaskSecret, Way},
};
use drover_backups::{
    BackupIdentity, ClusterIdentity, FORMAT_VERSION, Folder, LayoutOf, Manifest, Prefix, PrefixError, StoredConfig,
    StoredObject, Success, upload,
};
use drover_crds::{
    BackedUpCluster, BackupAttempt, BackupStore, Cluster, EtcdBackup, SnapshotStatus, StoredBackup,
    names::DROVER_NAMESPACE,
};
use drover_fetch::Digest;
use drover_operations::{Locks, Operation};
use drover_runtime::{ObjectKey, Owner, PlaceContext, cache::Lookup, owned::Change};
use drover_stored_backups::{
    Expected, Finding, Found as Stored, ReadError,
    audit::{Look, Outcome},
    look, look_at, read_manifest,
    status::snapshot_status,
};
use drover_stores::{Found, Part, Store, StoreFailure};
use k8s_openapi::{ByteString, api::batch::v1::Job, apimachinery::pkg::apis::meta::v1::Time, jiff::Timestamp};
use kube::ResourceExt as _;
use serde_json::json;

use crate::{
    BackupCause, BackupError, EtcdBackupOperator,
    plan::{self, store_name},
};

/// Most uploads that are looked at below the keys of one backup.
const MOST_UPLOADS: usize = 1_000;
/// How much longer than the backup may take the lock is held.
const LOCK_MARGIN_SECONDS: u64 = 15 * 60;

/// One idempotent change.
#[derive(Clone)]
pub enum Action {
    /// Take the lock of the cluster.
    Lock(Timestamp),
    /// Open an upload in the store, after those that an earlier process opened and did not note are aborted.
    Open,
    /// Of the Job.
    Job(Change<Job>),
    /// Of the Secret with its task.
    Task(Change<TaskSecret>),
    /// Write the task, which may take so long.
    WriteTask(Duration),
    /// Complete the upload, and write the manifest.
    Complete {
        /// What the Job answered.
        success: Box<Success>,
        /// When it ended.
        at: Time,
    },
    /// Release the lock of the cluster.
    Unlock,
    /// Remove from the store what a failed attempt left there.
    Abandon,
    /// Delete what the manifest names.
    DeleteData,
    /// Read the manifest of a backup that is in its store already.
    Import {
        /// What the keys of the store begin with.
        prefix: String,
        /// UID of the cluster that it has to be of.
        cluster_uid: String,
    },
    /// Look whether the store still has all of it.
    Look(Timestamp),
}

impl fmt::Debug for Action {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lock(_) => formatter.write_str("take the lock"),
            Self::Open => formatter.write_str("open an upload"),
            Self::Job(change) => change.fmt(formatter),
            Self::Task(change) => change.fmt(formatter),
            Self::WriteTask(_) => formatter.write_str("write the task"),
            Self::Complete { .. } => formatter.write_str("complete the upload"),
            Self::Unlock => formatter.write_str("release the lock"),
            Self::Abandon => formatter.write_str("abandon the upload"),
            Self::DeleteData => formatter.write_str("delete the data"),
            Self::Import { .. } => formatter.write_str("read the manifest"),
            Self::Look(_) => formatter.write_str("look at the data"),
        }
    }
}

impl Action {
    pub(crate) async fn carry_out(
        self,
        operator: &EtcdBackupOperator,
        owner: Owner<'_, EtcdBackup>,
        place: &PlaceContext,
    ) -> Result<(), BackupError> {
        match self {
            Self::Job(change) => return Ok(change.carry_out::<EtcdBackupOperator>(owner, place).await?),
            Self::Task(change) => return Ok(change.carry_out::<EtcdBackupOperator>(owner, place).await?),
            _ => {}
        }
        let Some(backup) = owner.object() else { return Ok(()) };
        let backups = Backups { operator, backup, place };
        match self {
            Self::Job(_) | Self::Task(_) => Ok(()),
            Self::Lock(now) => backups.lock(now).await,
            Self::Open => backups.open().await,
            Self::WriteTask(left) => backups.write_task(left).await,
            Self::Complete { success, at } => backups.complete(&success, at).await,
            Self::Unlock => backups.unlock().await,
            Self::Abandon => backups.abandon().await,
            Self::DeleteData => backups.delete_data().await,
            Self::Import { prefix, cluster_uid } => backups.import(&prefix, &cluster_uid).await,
            Self::Look(now) => backups.look(now).await,
        }
    }
}

struct Backups<'a> {
    operator: &'a EtcdBackupOperator,
    backup: &'a EtcdBackup,
    place: &'a PlaceContext,
}

impl Backups<'_> {
    fn uid(&self) -> String {
        self.backup.uid().unwrap_or_default()
    }

    /// Drover's own namespace in the management cluster.
    fn namespace(&self) -> &str {
        self.place.fleet.operator_namespace().unwrap_or(DROVER_NAMESPACE)
    }

    /// What is noted of the attempt.
    fn noted(&self) -> Option<(BackupAttempt, BackedUpCluster, Attempt)> {
        let status = self.backup.status.clone()?;
        let (record, cluster) = (status.attempt?, status.cluster?);
        let attempt = Attempt::of(self.backup, &record, &cluster)?;
        Some((record, cluster, attempt))
    }

    async fn store(&self) -> Result<Option<(BackupStore, Store)>, BackupError> {
        let key = ObjectKey::cluster_scoped(store_name(self.backup));
        let Lookup::Found(found) = self.place.related::<BackupStore>().lookup(&key) else { return Ok(None) };
        let client = self.place.management.client();
        let store = self.operator.stores.open(&client, self.namespace(), &found).await?;
        Ok(Some(((*found).clone(), store)))
    }

    async fn needed_store(&self) -> Result<(BackupStore, Store), BackupError> {
        let missing = || {
            let message = format!("there is no BackupStore {}; create it again", store_name(self.backup));
            BackupError::new(BackupCause::StoreNotFound, message)
        };
        self.store().await?.ok_or_else(missing)
    }

    fn operation(&self) -> Operation {
        Operation::of("EtcdBackup", self.backup)
    }

    async fn lock(&self, now: Timestamp) -> Result<(), BackupError> {
        let cluster = &self.backup.spec.cluster_name;
        let seconds = self.backup.spec.timeout().as_secs() + LOCK_MARGIN_SECONDS;
        Ok(Locks::of(self.place).take(&self.operation(), cluster, seconds, now).await?)
    }

    async fn write_task(&self, left: Duration) -> Result<(), BackupError> {
        let Some((record, cluster, attempt)) = self.noted() else { return Ok(()) };
        let layout = LayoutOf::distribution(&cluster.distribution).map(LayoutOf::layout);
        let (Some(layout), Some(upload)) = (layout, &record.upload_id) else { return Ok(()) };
        let (object, store) = self.needed_store().await?;
        let way = Way { authorities: object.spec.s3.ca_bundle, allows_local: self.operator.stores.allows_local };
        let key = ObjectKey::cluster_scoped(&self.backup.spec.cluster_name);
        let facts = task::facts(self.backup, &cluster, self.place.related::<Cluster>().get(&key).as_deref());
        let task = task::task(self.backup, &attempt, (layout, left), (&store, way), (upload, facts))?;
        let data = json!({job::TASK: ByteString(serde_json::to_vec(&task).unwrap_or_default())});
        let content = [("data", data), ("immutable", json!(true)), ("type", json!("Opaque"))];
        let content = content.into_iter().map(|(field, value)| (field.to_owned(), value)).collect();
        let create = Change::create(TaskSecret::of(&attempt.id));
        create.carry_out_with::<EtcdBackupOperator>(self.backup.into(), self.place, &content).await?;
        Ok(())
    }

    async fn unlock(&self) -> Result<(), BackupError> {
        Locks::of(self.place).release(&self.operation(), &self.backup.spec.cluster_name).await?;
        self.operator.remember(&self.uid(), |memory| memory.is_unlocked = true);
        Ok(())
    }

    async fn open(&self) -> Result<(), BackupError> {
        let Some((_, _, attempt)) = self.noted() else { return Ok(()) };
        let (_, store) = self.needed_store().await?;
        self.abort_others(&store, &attempt.folder).await?;
        let opened = store.create_upload(&attempt.snapshot()).await?;
        self.operator.remember(&self.uid(), |memory| memory.opened = Some(opened));
        Ok(())
    }

    /// Aborts what is open below the keys of this backup.
    async fn abort_others(&self, store: &Store, folder: &Folder) -> Result<(), BackupError> {
        let open = match store.list_uploads(&folder.start(), MOST_UPLOADS).await {
            // Then a rule of the bucket has to end them.
            Err(error) if matches!(error.failure, StoreFailure::NotSupported { .. }) => return Ok(()),
            open => open?,
        };
        // Stores read a prefix in their own way.
        for upload in open.iter().filter(|upload| upload.key.starts_with(&folder.start())) {
            store.abort_upload(&upload.key, &upload.id).await?;
        }
        Ok(())
    }

    async fn complete(&self, success: &Success, at: Time) -> Result<(), BackupError> {
        let Some((record, cluster, attempt)) = self.noted() else { return Ok(()) };
        let Some(upload) = &record.upload_id else { return Ok(()) };
        let (_, store) = self.needed_store().await?;
        let key = attempt.snapshot();
        let etags = (1..).zip(&success.parts);
        let parts: Vec<_> = etags.map(|(number, etag)| Part { number, etag: format!("\"{etag}\"") }).collect();
        match store.complete_upload(&key, upload, &parts).await {
            // The answer to an earlier attempt was lost; the object tells.
            Err(error) if error.failure == StoreFailure::NoUpload => {}
            answer => answer?,
        }
        // One that was opened by a request without an answer is nobody's.
        self.abort_others(&store, &attempt.folder).await?;
        let etag = self.has(&store, &key, success.snapshot.stored.bytes).await?.etag;
        if let Some(config) = &success.config {
            self.has(&store, &attempt.config(), config.stored.bytes).await?;
        }
        let text = self.manifest(success, &cluster, &attempt, at).to_text();
        let stored = self.stored(&attempt, Digest::of(text.as_bytes()), etag);
        let manifest = attempt.folder.manifest();
        match store.put_new(&manifest, Bytes::from(text)).await {
            Err(error) if error.failure == StoreFailure::Exists => {
                let message = format!(
                    "store {} has another manifest under {manifest} than Drover writes; find out who writes to the bucket, and change its keys",
                    store_name(self.backup)
                );
                self.operator.remember(&self.uid(), |memory| memory.taken = Some(message));
                return Ok(());
            }
            answer => answer?,
        }
        let snapshot = Box::new(snapshot_status(&success.snapshot));
        self.operator.remember(&self.uid(), |memory| memory.completed = Some((snapshot, stored)));
        Ok(())
    }

    /// Whether the store has what the Job says that it uploaded.
    async fn has(&self, store: &Store, key: &str, bytes: u64) -> Result<Found, BackupError> {
        if let Some(found) = store.head(key).await?.filter(|found| found.bytes == bytes) {
            return Ok(found);
        }
        let message = format!(
            "store {} does not have the {bytes} bytes that the Job uploaded to {key}; find out who changes objects in the bucket",
            store_name(self.backup)
        );
        Err(BackupError::new(BackupCause::BackupFailed, message))
    }

    /// The same whenever it is made: what was written is compared with it.
    fn manifest(&self, success: &Success, cluster: &BackedUpCluster, attempt: &Attempt, at: Time) -> Manifest {
        let status = self.backup.status.clone().unwrap_or_default();
        Manifest {
            format_version: FORMAT_VERSION,
            cluster: ClusterIdentity {
                uid: attempt.folder.cluster.clone(),
                name: self.backup.spec.cluster_name.clone(),
                kubernetes_version: cluster.kubernetes_version.clone(),
                distribution: cluster.distribution.clone(),
            },
            backup: BackupIdentity {
                uid: attempt.folder.backup.clone(),
                namespace: self.backup.namespace().unwrap_or_default(),
                name: self.backup.name_any(),
                attempt: attempt.id.clone(),
            },
            taken_at: status.started_at.unwrap_or_else(|| at.clone()),
            completed_at: at,
            object: StoredObject { key: attempt.snapshot(), part_bytes: upload::PART_BYTES },
            snapshot: success.snapshot.clone(),
            config: success.config.as_ref().map(|config| StoredConfig { key: attempt.config(), stored: config.stored }),
            recipients: attempt.recipients.clone(),
            tool: success.tool.clone(),
        }
    }

    /// Removes what a failed attempt left. If its manifest is there after all, as the answer to that request was lost, it is a backup.
    async fn abandon(&self) -> Result<(), BackupError> {
        let found = match (self.noted(), self.store().await?) {
            (Some(noted), Some((_, store))) => self.given_up(&noted, &store).await?,
            // Without a store that Drover may use, a rule of the bucket has to end the upload.
            _ => None,
        };
        self.operator.remember(&self.uid(), |memory| {
            memory.completed = found.or(memory.completed.take());
            memory.is_abandoned = true;
        });
        Ok(())
    }

    /// The backup, if there is one: with the manifest that Drover writes, for what the Job answered. One of another client counts for
    /// nothing. Else the upload goes first, so that nothing is added to what is deleted.
    async fn given_up(
        &self,
        (record, cluster, attempt): &(BackupAttempt, BackedUpCluster, Attempt),
        store: &Store,
    ) -> Result<Option<(Box<SnapshotStatus>, StoredBackup)>, BackupError> {
        if let (Some(Ok(success)), Some(at)) = (plan::answer(record), record.answered_at.clone()) {
            let intended = Digest::of(self.manifest(&success, cluster, attempt, at).to_text().as_bytes());
            match read_manifest(store, &attempt.folder).await {
                Ok(Some(found)) if found.digest == intended => match look_at(store, &found.manifest, None).await? {
                    (Finding::Available, etag) => {
                        let stored = self.stored(attempt, intended, etag);
                        return Ok(Some((Box::new(snapshot_status(&success.snapshot)), stored)));
                    }
                    // Without all of its data it is none.
                    _ => store.delete(&attempt.folder.manifest()).await?,
                },
                Err(ReadError::Store(error)) => return Err(error.into()),
                _ => {}
            }
        }
        let opened = self.operator.memory(&self.uid()).opened;
        for upload in record.upload_id.iter().chain(&opened) {
            store.abort_upload(&attempt.snapshot(), upload).await?;
        }
        self.abort_others(store, &attempt.folder).await?;
        for key in [attempt.snapshot(), attempt.config()] {
            store.delete(&key).await?;
        }
        Ok(None)
    }

    /// The manifest of this backup, if it was written.
    async fn manifest_of(&self, folder: &Folder, store: &Store) -> Result<Option<Stored>, BackupError> {
        read_manifest(store, folder).await.map_err(|error| match error {
            ReadError::Store(error) => error.into(),
            ReadError::Manifest { .. } => {
                let message = format!("{error}; delete the objects below {} by hand", folder.start());
                BackupError::new(BackupCause::BackupFailed, message)
            }
        })
    }

    fn stored(&self, attempt: &Attempt, digest: Digest, etag: Option<String>) -> StoredBackup {
        StoredBackup {
            store_name: store_name(self.backup).to_owned(),
            manifest: attempt.folder.manifest(),
            manifest_digest: digest.to_string(),
            etag,
        }
    }

    /// Deletes only what the manifest of this backup names, itself first: data without a manifest is no backup.
    async fn delete_data(&self) -> Result<(), BackupError> {
        if let Some((_, _, attempt)) = self.noted() {
            let (_, store) = self.needed_store().await?;
            let keys = match self.manifest_of(&attempt.folder, &store).await? {
                Some(found) => found.manifest.keys(&attempt.folder),
                // An attempt that was not completed, or was deleted in part: no other attempt has these keys.
                None => vec![attempt.snapshot(), attempt.config()],
            };
            for key in keys {
                store.delete(&key).await?;
            }
        }
        self.operator.remember(&self.uid(), |memory| memory.has_deleted = true);
        Ok(())
    }

    /// Reads the manifest that the spec names, and judges it.
    async fn import(&self, prefix: &str, cluster_uid: &str) -> Result<(), BackupError> {
        let Some(existing) = &self.backup.spec.existing else { return Ok(()) };
        let refused = |message: String| BackupError::new(BackupCause::ExistingRefused, message);
        let prefix: Prefix = prefix.parse().map_err(|error: PrefixError| refused(error.to_string()))?;
        let namespace = self.backup.namespace().unwrap_or_default();
        let cluster_name = &self.backup.spec.cluster_name;
        let expected = Expected { existing, prefix: &prefix, namespace: &namespace, cluster_name, cluster_uid };
        let folder = expected.folder().map_err(|refusal| refused(refusal.to_string()))?;
        let (_, store) = self.needed_store().await?;
        let found = read_manifest(&store, &folder).await.map_err(|error| match error {
            ReadError::Store(error) => error.into(),
            ReadError::Manifest { .. } => refused(error.to_string()),
        })?;
        let store_name = &existing.store_name;
        let gone = |key: &str| {
            refused(format!("store {store_name} has no {key}; check whether a lifecycle rule or a person removed it"))
        };
        let found = found.ok_or_else(|| gone(&existing.key))?;
        let mut imported = expected.imported(&found).map_err(|refusal| refused(refusal.to_string()))?;
        // What the status says of it at once: all of it is there.
        imported.stored.etag = match look_at(&store, &found.manifest, None).await? {
            (Finding::Available, etag) => etag,
            (Finding::Missing { key }, _) => return Err(gone(&key)),
            (Finding::Changed { key }, _) => {
                let message = format!(
                    "{key} in store {store_name} has another size than its manifest says; find out who writes to the bucket"
                );
                return Err(refused(message));
            }
        };
        self.operator.remember(&self.uid(), |memory| memory.imported = Some(Box::new(imported)));
        Ok(())
    }

    /// Looks whether the store still has all of it, if it is its turn. What is seen is told by the next reconcile; where the store does
    /// not answer, what was seen before stands.
    async fn look(&self, now: Timestamp) -> Result<(), BackupError> {
        let before = self.operator.last_look(&self.uid());
        let has_waited = before.as_ref().is_some_and(|look| matches!(look.outcome, Outcome::Waits(_)));
        let wait = if has_waited { Duration::ZERO } else { self.operator.turn(store_name(self.backup)) };
        let (outcome, seen) = match now.checked_add(wait) {
            Ok(turn) if turn > now => (Outcome::Waits(turn), None),
            _ => self.seen().await.map_or((Outcome::Silent, None), |seen| (Outcome::Answered, Some(seen))),
        };
        let finding = seen.or(before.and_then(|look| look.finding));
        self.operator
            .keep_look(self.uid(), Look { at: now, request: plan::request(self.backup).to_owned(), outcome, finding });
        Ok(())
    }

    async fn seen(&self) -> Option<Finding> {
        let (_, _, attempt) = self.noted()?;
        let stored = self.backup.status.as_ref()?.stores.first()?;
        // The BackupStore says itself why it cannot be used.
        let (_, store) = self.store().await.ok()??;
        look(&store, &attempt.folder, &stored.manifest_digest, stored.etag.as_deref()).await.ok()
    }
}
