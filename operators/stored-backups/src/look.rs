//! What a store has of a backup.

use drover_backups::{Folder, Manifest, ManifestError};
use drover_fetch::{Digest, FetchFailure};
use drover_stores::{Store, StoreError, StoreFailure};

/// Most bytes of a manifest that is read.
const MANIFEST_BYTES: usize = 64 * 1024;

/// A manifest that was read.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// What it says.
    pub manifest: Manifest,
    /// SHA-256 of its text.
    pub digest: Digest,
}

/// Why a manifest could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The store does not answer, or refuses.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What is under its key counts for nothing.
    #[error("{key} {error}")]
    Manifest {
        /// Its key.
        key: String,
        /// Why.
        error: ManifestError,
    },
}

/// What is seen of a backup in its store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// All that its manifest names is there, as it was stored.
    Available,
    /// An object is gone.
    Missing {
        /// Its key.
        key: String,
    },
    /// An object is another one than was stored.
    Changed {
        /// Its key.
        key: String,
    },
}

/// The manifest in a folder; none if there is none.
pub async fn read_manifest(store: &Store, folder: &Folder) -> Result<Option<Found>, ReadError> {
    let key = folder.manifest();
    let unreadable = |error| ReadError::Manifest { key: key.clone(), error };
    let text = match store.get(&key, MANIFEST_BYTES).await {
        Err(error) if error.failure == StoreFailure::NotFound => return Ok(None),
        Err(error) if matches!(error.failure, StoreFailure::Fetch(FetchFailure::TooLarge { .. })) => {
            return Err(unreadable(ManifestError::Unreadable));
        }
        text => text?,
    };
    let manifest = Manifest::parse(&text, folder).map_err(unreadable)?;
    Ok(Some(Found { manifest, digest: Digest::of(&text) }))
}

/// Looks whether the store has the manifest with this digest, and all that it names. Of the snapshot the `ETag` is compared, where one is
/// known: another one is another object. Three requests at most, and no data.
pub async fn look(store: &Store, folder: &Folder, digest: &str, etag: Option<&str>) -> Result<Finding, StoreError> {
    match read_manifest(store, folder).await {
        Ok(Some(found)) if found.digest.to_string() == digest => Ok(look_at(store, &found.manifest, etag).await?.0),
        Ok(None) => Ok(Finding::Missing { key: folder.manifest() }),
        Ok(Some(_)) | Err(ReadError::Manifest { .. }) => Ok(Finding::Changed { key: folder.manifest() }),
        Err(ReadError::Store(error)) => Err(error),
    }
}

/// Looks whether the store has all that a manifest names, with as many bytes, and what it calls the snapshot.
pub async fn look_at(
    store: &Store,
    manifest: &Manifest,
    etag: Option<&str>,
) -> Result<(Finding, Option<String>), StoreError> {
    let (key, bytes) = (manifest.object.key.clone(), manifest.snapshot.stored.bytes);
    let Some(data) = store.head(&key).await? else { return Ok((Finding::Missing { key }, None)) };
    let is_same = etag.zip(data.etag.as_deref()).is_none_or(|(stored, found)| stored == found);
    if data.bytes != bytes || !is_same {
        return Ok((Finding::Changed { key }, data.etag));
    }
    if let Some(config) = &manifest.config {
        let key = config.key.clone();
        match store.head(&key).await? {
            None => return Ok((Finding::Missing { key }, data.etag)),
            Some(found) if found.bytes != config.stored.bytes => return Ok((Finding::Changed { key }, data.etag)),
            Some(_) => {}
        }
    }
    Ok((Finding::Available, data.etag))
}
