//! Tries a store.

use bytes::Bytes;
use drover_backups::Prefix;
use drover_crds::{BackupStore, names::DROVER_NAMESPACE};
use drover_runtime::{Failure, Owner, PlaceContext};
use drover_stores::{OpenError, Store, StoreCause, StoreFailure};
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt as _;
use std::time::Instant;

use crate::{
    BackupStoreOperator,
    observe::{Attempt, Held},
};

/// Most objects that are counted.
const MOST_OBJECTS: usize = 100_000;

/// Tries it now. What comes of it is seen by the next reconcile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Try {
    /// What is asked for.
    pub asked: String,
    /// When that was decided.
    pub now: Timestamp,
}

impl Try {
    pub(crate) async fn carry_out(
        self,
        operator: &BackupStoreOperator,
        owner: Owner<'_, BackupStore>,
        place: &PlaceContext,
    ) {
        let Some(store) = owner.object() else { return };
        let outcome = tried(operator, store, place).await.map_err(|error| Failure::of(&error));
        let attempt = Attempt { asked: self.asked, ended: Instant::now(), at: self.now, outcome };
        operator.keep(owner.key(), Some(attempt));
    }
}

async fn tried(operator: &BackupStoreOperator, store: &BackupStore, place: &PlaceContext) -> Result<Held, OpenError> {
    let namespace = place.fleet.operator_namespace().unwrap_or(DROVER_NAMESPACE);
    let bucket = operator.stores.open(&place.management.client(), namespace, store).await?;
    let prefix: Prefix = store.spec.s3.prefix.as_deref().unwrap_or_default().parse().map_err(|error| {
        OpenError::new(StoreCause::StoreInvalid, format!("spec.s3.prefix of BackupStore {}: {error}", store.name_any()))
    })?;
    write(&bucket, &format!("{}probe-{}", prefix.start(), store.uid().unwrap_or_default())).await?;
    Ok(match bucket.list(&prefix.start(), MOST_OBJECTS).await {
        Ok(all) => Held {
            objects: i64::try_from(all.len()).ok(),
            bytes: i64::try_from(all.iter().map(|object| object.bytes).sum::<u64>()).ok(),
        },
        Err(error) if error.failure == StoreFailure::Unexpected => Held { objects: None, bytes: None },
        Err(error) => return Err(error.into()),
    })
}

/// Writes an object, asks for another one in its place, which must be refused, and deletes it.
async fn write(bucket: &Store, key: &str) -> Result<(), OpenError> {
    let content = Bytes::from_static(b"Drover tries whether it can write here.\n");
    bucket.put(key, content.clone()).await?;
    let overwritten = bucket.put_new(key, Bytes::from_static(b"Drover overwrites nothing.\n")).await;
    let found = bucket.get(key, 1024).await;
    bucket.delete(key).await?;
    match overwritten {
        Err(error) if error.failure == StoreFailure::Exists => {}
        Err(error) => return Err(error.into()),
        Ok(()) => {
            let message = "it overwrites an object although it is asked not to (If-None-Match), so a backup there would not be safe; use another store";
            return Err(OpenError::new(StoreCause::StoreNotSupported, message));
        }
    }
    if found? != content {
        let message = "it answers with other bytes than were written; find out who changes objects in the bucket";
        return Err(OpenError::new(StoreCause::StoreContentDiffers, message));
    }
    Ok(())
}
