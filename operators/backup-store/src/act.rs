//! Asks a store for all that backups need of it.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use bytes::Bytes;
use drover_backups::Prefix;
use drover_crds::{BackupStore, names::DROVER_NAMESPACE};
use drover_runtime::{Failure, Owner, PlaceContext};
use drover_stores::{OpenError, Store, StoreCause, StoreError};
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt as _;
use tokio::time::timeout;

use crate::{
    BackupStoreOperator,
    judge::{Answers, held, unneeded},
    observe::Attempt,
};

/// Most objects that are counted.
const MOST_OBJECTS: usize = 100_000;
/// Most open uploads that are looked at.
const MOST_UPLOADS: usize = 1_000;
/// How long all requests but those that count may take: with these a try ends within two minutes.
const TRY_LIMIT: Duration = Duration::from_mins(1);
/// How long it may take to count.
const COUNT_LIMIT: Duration = Duration::from_secs(40);

/// Tries it now. What comes of it is seen by the next reconcile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Try {
    /// What is asked for.
    pub asked: String,
    /// The uploads of backups that are under way.
    pub under_way: BTreeSet<String>,
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
        let outcome = self.answers(operator, store, place).await;
        let outcome = outcome.map_err(|error| Failure::of(&error)).and_then(|answers| answers.judged());
        let attempt = Attempt { asked: self.asked, ended: Instant::now(), at: self.now, outcome };
        operator.keep(owner.key(), Some(attempt));
    }

    async fn answers(
        &self,
        operator: &BackupStoreOperator,
        store: &BackupStore,
        place: &PlaceContext,
    ) -> Result<Answers, OpenError> {
        let namespace = place.fleet.operator_namespace().unwrap_or(DROVER_NAMESPACE);
        let bucket = operator.stores.open(&place.management.client(), namespace, store).await?;
        let prefix: Prefix = store.spec.s3.prefix.as_deref().unwrap_or_default().parse().map_err(|error| {
            OpenError::new(
                StoreCause::StoreInvalid,
                format!("spec.s3.prefix of BackupStore {}: {error}", store.name_any()),
            )
        })?;
        let key = format!("{}probe-{}", prefix.start(), store.uid().unwrap_or_default());
        let mut answers = Answers::default();
        let asking = async {
            // After a failure nothing more is asked.
            if write(&bucket, &key, &mut answers).await.is_ok() {
                let _ = self.upload(&bucket, &prefix, &key, &mut answers).await;
            }
        };
        answers.is_late = timeout(TRY_LIMIT, asking).await.is_err();
        if answers.judged().is_ok() {
            let counting = timeout(COUNT_LIMIT, bucket.list(&prefix.start(), MOST_OBJECTS)).await;
            answers.held = counting.ok().and_then(Result::ok).map(|all| held(&all, &prefix));
        }
        Ok(answers)
    }

    /// Opens an upload, lists all, and aborts it, with those that nobody needs.
    async fn upload(
        &self,
        bucket: &Store,
        prefix: &Prefix,
        key: &str,
        answers: &mut Answers,
    ) -> Result<(), StoreError> {
        let opened = told(bucket.create_upload(key).await, &mut answers.opened, |_| ())?;
        let open = bucket.list_uploads(&prefix.start(), MOST_UPLOADS).await;
        let open = told(open, &mut answers.uploads, |_| ()).unwrap_or_default();
        let aborting = async {
            bucket.abort_upload(key, &opened).await?;
            let others = unneeded(&open, prefix, key, &self.under_way, self.now);
            for upload in others.into_iter().filter(|upload| upload.id != opened) {
                bucket.abort_upload(&upload.key, &upload.id).await?;
            }
            Ok(())
        };
        told(aborting.await, &mut answers.aborted, |()| ())
    }
}

/// Writes an object, asks for another one in its place, which must be refused, and deletes it.
async fn write(bucket: &Store, key: &str, answers: &mut Answers) -> Result<(), StoreError> {
    let content = Bytes::from_static(b"Drover tries whether it can write here.\n");
    told(bucket.put(key, content.clone()).await, &mut answers.put, |()| ())?;
    let other = Bytes::from_static(b"Drover overwrites nothing.\n");
    let _ = told(bucket.put_new(key, other).await, &mut answers.overwritten, |()| ());
    let _ = told(bucket.get(key, 1024).await, &mut answers.read, |found| *found == content);
    told(bucket.delete(key).await, &mut answers.deleted, |()| ())
}

/// Notes an answer.
fn told<T, N>(
    answer: Result<T, StoreError>,
    note: &mut Option<Result<N, StoreError>>,
    what: impl Fn(&T) -> N,
) -> Result<T, StoreError> {
    *note = Some(answer.as_ref().map(what).map_err(Clone::clone));
    answer
}
