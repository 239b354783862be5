//! What is kept of one repository in memory, and what its object says of it.

use std::sync::{Mutex, MutexGuard, PoisonError};

use drover_charts::{Digest, IndexLimits, IndexState};
use drover_crds::ChartRepository;
use tokio::sync::Mutex as AsyncMutex;

use crate::{Attempt, SourceCause, SourceError, registry};

/// What is known of one repository.
#[derive(Default)]
pub(crate) struct Known {
    pub(crate) uid: String,
    pub(crate) attempt: Mutex<Option<Attempt>>,
    pub(crate) turn: AsyncMutex<()>,
    pub(crate) tags: Mutex<registry::Tags>,
}

impl Known {
    pub(crate) fn attempt(&self) -> Option<Attempt> {
        lock(&self.attempt).clone()
    }
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Where a repository is.
pub(crate) fn url_of(repository: &ChartRepository) -> String {
    let spec = &repository.spec;
    let http = spec.http.as_ref().map(|http| http.url.clone());
    http.or_else(|| spec.oci.as_ref().map(|oci| oci.url.clone())).unwrap_or_default()
}

/// The digest of the index that its status tells.
pub(crate) fn told_digest(repository: &ChartRepository) -> Option<String> {
    repository.status.as_ref()?.index_digest.clone()
}

pub(crate) fn digest_of(index: Option<&IndexState>) -> Option<Digest> {
    index.map(|index| index.digest)
}

pub(crate) fn limits(repository: &ChartRepository) -> IndexLimits {
    IndexLimits { bytes: repository.spec.limits.most_index_bytes(), ..IndexLimits::default() }
}

pub(crate) fn not_suspended(repository: &ChartRepository) -> Result<(), SourceError> {
    if repository.spec.suspend {
        return Err(SourceError::new(SourceCause::RepositoryNotRead, "it is suspended; resume it"));
    }
    Ok(())
}

/// An app waits for no server that hangs, and is told when its repository was read.
pub(crate) fn being_read() -> SourceError {
    SourceError {
        is_transient: true,
        ..SourceError::new(SourceCause::RepositoryNotRead, "it is being read; the app goes on after that")
    }
}

pub(crate) fn unreadable() -> SourceError {
    SourceError {
        is_transient: true,
        ..SourceError::new(SourceCause::StorageFailed, "its index cannot be read from disk; it is fetched again")
    }
}

pub(crate) fn gone(chart: &str, version: &str) -> SourceError {
    let message = format!(
        "it does not have version {version} of chart {chart} any more as it was chosen; publish it again, or choose another version"
    );
    SourceError::new(SourceCause::VersionNotFound, message)
}
