//! The backups in a bucket, with nothing but the bucket and its keys.

use std::{env, fs, io::Write as _, os::unix::fs::OpenOptionsExt as _, path::Path, time::Duration};

use drover_backups::{Content, Folder, Manifest, Prefix, Uid};
use drover_fetch::{Digest, Fetcher, Source, Trust};
use drover_runtime::clock::now;
use drover_stored_backups::{Found, read_manifest};
use drover_stores::{Bucket, Keys, Store};
use futures::{StreamExt as _, stream};
use tokio::time::sleep;

use super::{BackupError, arguments::BucketArguments};

/// Most objects of a bucket that are listed: 100,000 backups and more.
const MOST_OBJECTS: usize = 400_000;
/// Manifests that are read at a time.
const AT_ONCE: usize = 16;
/// Most bytes of a configuration, whatever a manifest says.
const MOST_SMALL_BYTES: usize = 8 << 20;
/// So many bytes at a time, from a large object.
const RANGE: u64 = 64 << 20;
/// How long one request may take.
const REQUEST_LIMIT: Duration = Duration::from_mins(10);
/// How often a range is asked for at most, and the pause between.
const ATTEMPTS: u32 = 5;
const PAUSE: Duration = Duration::from_secs(2);

/// A bucket with backups.
pub(super) struct Backups {
    store: Store,
    prefix: Prefix,
}

/// A backup that was found.
pub(super) struct Listed {
    /// Key of its manifest.
    pub(super) key: String,
    /// What was read there, or why it counts for nothing.
    pub(super) found: Result<Found, BackupError>,
}

fn variable(name: &'static str) -> Result<String, BackupError> {
    env::var(name).ok().filter(|value| !value.is_empty()).ok_or(BackupError::NoKeys(name))
}

impl Backups {
    /// Connects to nothing yet.
    pub(super) fn open(arguments: &BucketArguments) -> Result<Self, BackupError> {
        let bucket =
            Bucket::new(&arguments.endpoint, arguments.addressing.into(), &arguments.bucket, &arguments.region);
        let bucket = bucket.map_err(BackupError::Bucket)?;
        let keys = Keys {
            access: variable("AWS_ACCESS_KEY_ID")?,
            secret: variable("AWS_SECRET_ACCESS_KEY")?.into(),
            session: variable("AWS_SESSION_TOKEN").ok().map(Into::into),
        };
        let trust = match &arguments.ca_file {
            None => Trust::System,
            Some(path) => {
                let pem = fs::read(path).map_err(BackupError::file(path))?;
                Trust::from_pem(&pem).map_err(|error| BackupError::Authorities(path.clone(), error))?
            }
        };
        let source = Source { trust, timeout: REQUEST_LIMIT, ..Source::default() };
        let fetcher = Fetcher::new(arguments.addresses.policy());
        Ok(Self { store: Store::new(fetcher, source, bucket, keys, now), prefix: arguments.prefix.clone() })
    }

    /// All backups, in the order of their keys.
    pub(super) async fn list(&self) -> Result<Vec<Listed>, BackupError> {
        let objects = self.store.list(&self.prefix.start(), MOST_OBJECTS).await?;
        let folders = objects.into_iter().filter_map(|object| Folder::of_manifest(&self.prefix, &object.key));
        let reading = folders.map(|folder| async move {
            let found = self.read(&folder).await;
            Listed { key: folder.manifest(), found }
        });
        Ok(stream::iter(reading).buffered(AT_ONCE).collect().await)
    }

    /// The backup with this UID, or this key of a manifest, which has this digest.
    pub(super) async fn find(&self, named: &str, digest: Option<&Digest>) -> Result<Manifest, BackupError> {
        if let Some(folder) = Folder::of_manifest(&self.prefix, named) {
            return self.manifest(&folder, digest).await;
        }
        let gone = || BackupError::NotFound(named.to_owned());
        let uid: Uid = named.parse().map_err(|_| gone())?;
        let objects = self.store.list(&self.prefix.start(), MOST_OBJECTS).await?;
        let mut folders = objects.into_iter().filter_map(|object| Folder::of_manifest(&self.prefix, &object.key));
        let mut found = folders.by_ref().filter(|folder| folder.backup == uid);
        match (found.next(), found.next()) {
            (Some(folder), None) => self.manifest(&folder, digest).await,
            (Some(_), Some(_)) => Err(BackupError::Ambiguous(named.to_owned())),
            (None, _) => Err(gone()),
        }
    }

    async fn manifest(&self, folder: &Folder, expected: Option<&Digest>) -> Result<Manifest, BackupError> {
        let Found { manifest, digest } = self.read(folder).await?;
        if expected.is_some_and(|expected| *expected != digest) {
            return Err(BackupError::OtherManifest(folder.manifest(), digest));
        }
        Ok(manifest)
    }

    async fn read(&self, folder: &Folder) -> Result<Found, BackupError> {
        let found = read_manifest(&self.store, folder).await?;
        found.ok_or_else(|| BackupError::NotFound(folder.manifest()))
    }

    /// A small object.
    pub(super) async fn get(&self, key: &str, content: &Content) -> Result<Vec<u8>, BackupError> {
        let limit = usize::try_from(content.bytes).unwrap_or(usize::MAX).min(MOST_SMALL_BYTES);
        Ok(self.store.get(key, limit).await?.into())
    }

    /// Writes an object to `path`, a new file, range by range: what is there stays when a connection breaks off.
    pub(super) async fn download(&self, key: &str, content: &Content, path: &Path) -> Result<(), BackupError> {
        let mut options = fs::OpenOptions::new();
        let mut file = options.write(true).create_new(true).mode(0o600).open(path).map_err(BackupError::file(path))?;
        let mut start = 0;
        while start < content.bytes {
            let end = content.bytes.min(start + RANGE);
            let range = self.range(key, start..end).await?;
            file.write_all(&range).map_err(BackupError::file(path))?;
            start = end;
        }
        file.sync_all().map_err(BackupError::file(path))
    }

    async fn range(&self, key: &str, range: std::ops::Range<u64>) -> Result<Vec<u8>, BackupError> {
        let length = usize::try_from(range.end - range.start).unwrap_or(usize::MAX);
        let mut attempt = 1;
        loop {
            let mut bytes = Vec::new();
            match self.store.read(key, Some(range.clone()), length, &mut bytes).await {
                Ok(_) if bytes.len() == length => return Ok(bytes),
                Ok(_) => return Err(BackupError::Short(key.to_owned())),
                Err(error) if attempt == ATTEMPTS || !error.failure.is_transient() => return Err(error.into()),
                Err(_) => sleep(PAUSE * attempt).await,
            }
            attempt += 1;
        }
    }
}
