//! An HTTP repository of charts: its index on disk, and its charts.

use std::{
    fs::{self, File},
    io::{self, BufWriter},
    path::{Path, PathBuf},
};

use bytes::Bytes;
use tokio::task::spawn_blocking;

use crate::{
    cache::{HOLDER_ENDS, make_room},
    draft::{Draft, private_folder},
    index::{self, IndexCounts, IndexError, IndexLimits, IndexRow},
    limits::MIB,
};
use drover_fetch::{Digest, FetchError, FetchFailure, Fetched, Fetcher, Request, Source, Url, UrlError};

/// The name of the index in a repository.
const INDEX: &str = "index.yaml";
/// How names of indexes on disk end.
const ENDING: &str = ".yaml";
/// Most bytes of all indexes in one folder, shared by those who hold them; what had to go is fetched again.
const FOLDER_BYTES: u64 = 256 * MIB as u64;

/// Why an index or a chart of a repository is not to be had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RepositoryError {
    /// It could not be fetched.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// The index cannot be used.
    #[error(transparent)]
    Index(#[from] IndexError),
    /// A URL cannot be used.
    #[error("the URL of the repository or of a chart in its index {0}")]
    Url(#[from] UrlError),
    /// The index could not be stored.
    #[error("the index cannot be stored; check the volume of the cache")]
    Storage,
}

/// The index of one repository on disk. It is there whole or not at all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexFile {
    folder: PathBuf,
    path: PathBuf,
}

impl IndexFile {
    /// In `folder`, by the key of the repository. Repositories that read with different credentials have different keys. What all of one
    /// `holder` take together pushes out nothing that others hold within their share.
    #[must_use]
    pub fn new(folder: &Path, holder: &str, key: &str) -> Self {
        let [holder, key] = [holder, key].map(|text| Digest::of(text.as_bytes()).hex());
        let name = format!("{holder}{HOLDER_ENDS}{key}{ENDING}");
        Self { folder: folder.to_owned(), path: folder.join(name) }
    }

    /// Opens it to read.
    pub fn open(&self) -> io::Result<File> {
        File::open(&self.path)
    }

    /// Removes it. It is no error if it is not there.
    pub fn remove(&self) -> io::Result<()> {
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

/// What came of a refresh.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refreshed {
    /// The index on disk is current.
    Unchanged,
    /// It was written anew.
    Changed(IndexState),
}

/// An index that was read whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexState {
    /// Its digest.
    pub digest: Digest,
    /// To ask the server by for a newer one.
    pub etag: Option<String>,
    /// How many bytes it has.
    pub bytes: usize,
    /// How much there is in it.
    pub counts: IndexCounts,
}

/// One HTTP repository.
#[derive(Clone, Debug)]
pub struct Repository {
    /// The folder that the index is in.
    pub url: Url,
    /// How it is reached.
    pub source: Source,
    /// The bounds on its index.
    pub index: IndexLimits,
    /// Most bytes of a packed chart.
    pub chart_bytes: usize,
}

impl Repository {
    /// Fetches the index into `file`, unless the server says that the one with this `etag` is current. An index that cannot be
    /// used does not take the place of the one before.
    pub async fn refresh(
        &self,
        fetcher: &Fetcher,
        file: &IndexFile,
        etag: Option<&str>,
    ) -> Result<Refreshed, RepositoryError> {
        let url = self.url.inside(INDEX)?;
        let etag = etag.filter(|_| file.path.exists());
        let request = Request { etag, may_compress: true, ..Request::new(&url, self.index.bytes) };
        let draft = private_folder(&file.folder)
            .and_then(|()| Draft::create(&file.folder))
            .map_err(|_| RepositoryError::Storage)?;
        match fetcher.fetch(&self.source, request, BufWriter::new(&draft.file)).await? {
            Fetched::NotModified => Ok(Refreshed::Unchanged),
            Fetched::Body(received) => {
                let counts = publish(draft, file.path.clone(), self.index).await?;
                let (digest, etag, bytes) = (received.digest, received.etag, received.bytes);
                Ok(Refreshed::Changed(IndexState { digest, etag, bytes, counts }))
            }
        }
    }

    /// Fetches a packed chart that the index has, from the first of its URLs that gives it, and compares its digest if the
    /// index knows that.
    pub async fn chart(&self, fetcher: &Fetcher, row: &IndexRow) -> Result<Bytes, RepositoryError> {
        let mut failed = RepositoryError::Url(UrlError::Invalid);
        for url in &row.urls {
            match self.chart_at(fetcher, url, row.digest).await {
                Ok(bytes) => return Ok(bytes),
                // Other bytes under the same name are no fault of a server that passes by itself.
                Err(RepositoryError::Fetch(error)) if error.failure == FetchFailure::DigestMismatch => {
                    return Err(error.into());
                }
                Err(error) => failed = error,
            }
        }
        Err(failed)
    }

    async fn chart_at(&self, fetcher: &Fetcher, url: &str, digest: Option<Digest>) -> Result<Bytes, RepositoryError> {
        let url = self.url.inside(url)?;
        Ok(chart(fetcher, &self.source, &url, digest, self.chart_bytes).await?)
    }
}

/// Fetches the packed chart at `url`, of at most `limit` bytes, and compares its digest if there is one.
pub async fn chart(
    fetcher: &Fetcher,
    source: &Source,
    url: &Url,
    digest: Option<Digest>,
    limit: usize,
) -> Result<Bytes, FetchError> {
    let bytes = fetcher.bytes(source, Request::new(url, limit)).await?;
    match digest {
        Some(digest) if digest != Digest::of(&bytes) => Err(FetchFailure::DigestMismatch.at(url.host())),
        _ => Ok(bytes),
    }
}

/// Reads the whole draft, and puts it in place if it is an index.
async fn publish(draft: Draft, target: PathBuf, limits: IndexLimits) -> Result<IndexCounts, RepositoryError> {
    let checked = spawn_blocking(move || {
        let counts = index::counts(draft.reader().map_err(|_| RepositoryError::Storage)?, &limits)?;
        draft.publish(&target).map_err(|_| RepositoryError::Storage)?;
        if let Some(folder) = target.parent() {
            // One that goes at the same time by another hand is gone.
            let _ = make_room(folder, ENDING, FOLDER_BYTES);
        }
        Ok(counts)
    });
    checked.await.unwrap_or(Err(RepositoryError::Storage))
}

#[cfg(test)]
mod tests;
