//! What the answers of a store mean. Pure.

use std::collections::BTreeSet;

use drover_backups::{Folder, Prefix};
use drover_runtime::Failure;
use drover_stores::{Listed, OpenError, StoreCause, StoreError, StoreFailure, Upload};
use k8s_openapi::jiff::{SignedDuration, Timestamp};

use crate::observe::Held;

/// An upload of a backup that is older is nobody's: no backup takes as long.
const STALE: SignedDuration = SignedDuration::from_hours(24);

/// What a store answered, as far as it was asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answers {
    /// To an object that was put.
    pub put: Option<Result<(), StoreError>>,
    /// To another one in its place, which it has to refuse.
    pub overwritten: Option<Result<(), StoreError>>,
    /// When it was asked for the object, and whether that is the first one.
    pub read: Option<Result<bool, StoreError>>,
    /// When the object was deleted.
    pub deleted: Option<Result<(), StoreError>>,
    /// When an upload was opened.
    pub opened: Option<Result<(), StoreError>>,
    /// When it was asked for the uploads that are open.
    pub uploads: Option<Result<(), StoreError>>,
    /// When that upload was aborted, and others that nobody needs.
    pub aborted: Option<Result<(), StoreError>>,
    /// What it holds; none if it holds more than is counted, or did not say it in time.
    pub held: Option<Held>,
    /// Whether it did not answer all of it in time.
    pub is_late: bool,
}

impl Answers {
    /// What the store holds, or why it cannot be used.
    pub fn judged(&self) -> Result<Held, Failure> {
        match self.refusal() {
            Some(error) => Err(Failure::of(&error)),
            None => Ok(self.held.unwrap_or_default()),
        }
    }

    fn refusal(&self) -> Option<OpenError> {
        let failed = |answer: &Option<Result<(), StoreError>>| Some(OpenError::from(answer.clone()?.err()?));
        let unsupported = |message: &str| Some(OpenError::new(StoreCause::StoreNotSupported, message));
        if let Some(error) = failed(&self.put) {
            return Some(error);
        }
        match &self.overwritten {
            Some(Ok(())) => {
                return unsupported(
                    "it overwrites an object although it is asked not to (If-None-Match), so a backup there would not be safe; use another store",
                );
            }
            Some(Err(error)) if error.failure != StoreFailure::Exists => return Some(error.clone().into()),
            _ => {}
        }
        match &self.read {
            Some(Ok(false)) => {
                let message =
                    "it answers with other bytes than were written; find out who changes objects in the bucket";
                return Some(OpenError::new(StoreCause::StoreContentDiffers, message));
            }
            Some(Err(error)) => return Some(error.clone().into()),
            _ => {}
        }
        if let Some(error) = failed(&self.deleted).or_else(|| failed(&self.opened)) {
            return Some(error);
        }
        // Where it lists no uploads, a rule of the bucket ends those that nobody needs.
        let lists_none = |error: &StoreError| matches!(error.failure, StoreFailure::NotSupported { .. });
        if let Some(Err(error)) = self.uploads.as_ref().filter(|answer| !answer.as_ref().is_err_and(lists_none)) {
            return Some(error.clone().into());
        }
        failed(&self.aborted).or_else(|| {
            let message = "it does not answer in time; look at the store";
            self.is_late.then(|| OpenError::new(StoreCause::StoreUnavailable, message))
        })
    }
}

/// What is below a prefix: all objects, and those that are manifests. Keys of others are counted, and mean nothing.
#[must_use]
pub fn held(all: &[Listed], prefix: &Prefix) -> Held {
    let whole = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    let backups = all.iter().filter(|object| Folder::of_manifest(prefix, &object.key).is_some()).count();
    Held {
        objects: i64::try_from(all.len()).ok(),
        bytes: Some(whole(all.iter().fold(0, |sum, object| sum.saturating_add(object.bytes)))),
        backups: i64::try_from(backups).ok(),
    }
}

/// The uploads that nobody needs any more: those of earlier tries, which are under the key `probe`, and those of backups that are older
/// than a day and under way nowhere. What is no upload of Drover's stays.
#[must_use]
pub fn unneeded<'a>(
    open: &'a [Upload],
    prefix: &Prefix,
    probe: &str,
    under_way: &BTreeSet<String>,
    now: Timestamp,
) -> Vec<&'a Upload> {
    let is_stale =
        |upload: &&Upload| upload.opened.and_then(|opened| opened.checked_add(STALE).ok()).is_some_and(|end| end < now);
    let is_of_backup = |upload: &&Upload| Folder::of_snapshot(prefix, &upload.key).is_some();
    let is_needed = |upload: &&Upload| under_way.contains(&upload.id);
    let of_backups = open.iter().filter(|upload| is_of_backup(upload) && is_stale(upload) && !is_needed(upload));
    open.iter().filter(|upload| upload.key == probe).chain(of_backups).collect()
}
