//! The folder in which a snapshot is kept until it is stored: with enough space, for this process alone, and emptied at the end.

use std::{
    fs,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use drover_backups::{Content, FailureCause};
use drover_fetch::{Digest, Digester};
use tokio::{
    fs::File,
    io::{AsyncWriteExt as _, BufWriter},
    time::timeout,
};

use crate::{
    SnapshotError,
    etcd::{Pieces, RpcError},
};

/// Bytes of the digest at the end of a snapshot.
const DIGEST: usize = 32;
/// A database has whole pages, and these are multiples of this.
const SECTOR: u64 = 512;
/// Bytes that are written at once.
const BUFFER: usize = 1 << 20;
/// What etcd writes beside the data once it runs: two files of its log.
const SCRATCH: u64 = 160 << 20;
/// The database grows while it is read.
const GROWTH_PERCENT: u64 = 110;

/// The folder.
#[derive(Debug)]
pub(crate) struct Spool {
    folder: PathBuf,
}

impl Spool {
    /// Makes a folder of this process in `parent`.
    pub(crate) fn create(parent: &Path) -> Result<Self, SnapshotError> {
        let failed = |error| SnapshotError::storage(&format!("the spool folder {}", parent.display()), &error);
        // The programs of etcd run in folders of their own.
        let parent = std::path::absolute(parent).map_err(failed)?;
        let folder = parent.join(format!("drover-{:016x}", rand::random::<u64>()));
        let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder);
        made.map_err(failed)?;
        Ok(Self { folder })
    }

    /// A file or folder in it.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Makes sure that there are as many free bytes; `what` needs them.
    pub(crate) fn require(&self, bytes: u64, what: &str) -> Result<(), SnapshotError> {
        let room = rustix::fs::statvfs(&self.folder);
        let room = room.map_err(|error| SnapshotError::storage("the spool folder", &error.into()))?;
        let free = room.f_bavail.saturating_mul(room.f_frsize);
        if free >= bytes {
            return Ok(());
        }
        let [needed, free] = [bytes, free].map(|bytes| bytes.div_ceil(1 << 20));
        let message =
            format!("the spool folder has {free} MiB free, and {what} needs {needed} MiB: give the backup more space");
        Err(SnapshotError::new(FailureCause::SpoolFull, message))
    }
}

impl Drop for Spool {
    fn drop(&mut self) {
        // What is in it are the secrets of a cluster. The folder of a Job goes with its Pod, whatever happens here.
        fs::remove_dir_all(&self.folder).ok();
    }
}

/// Bytes that a backup of a database of `db_bytes` needs: the snapshot, and beside it first a restored copy, then what is uploaded.
pub(crate) fn needed(db_bytes: u64) -> u64 {
    (db_bytes.saturating_mul(2).saturating_mul(GROWTH_PERCENT) / 100).saturating_add(SCRATCH)
}

/// Receives a snapshot into `path`, and compares the digest at its end. No piece may take longer than `stall`.
pub(crate) async fn receive(
    pieces: &mut Pieces,
    spool: &Spool,
    path: &Path,
    stall: Duration,
) -> Result<Content, SnapshotError> {
    let failed = |error: std::io::Error| SnapshotError::storage("the snapshot cannot be kept", &error);
    let mut file = BufWriter::with_capacity(BUFFER, File::create_new(path).await.map_err(failed)?);
    let mut check = Trailer::default();
    while let Some((blob, remaining)) = next(pieces, stall, check.bytes).await? {
        if check.bytes == 0 {
            spool.require(remaining.saturating_add(blob.len() as u64), "the snapshot")?;
        }
        check.update(&blob);
        file.write_all(&blob).await.map_err(failed)?;
    }
    file.flush().await.map_err(failed)?;
    check.finish()
}

async fn next(
    pieces: &mut Pieces,
    stall: Duration,
    received: u64,
) -> Result<Option<(bytes::Bytes, u64)>, SnapshotError> {
    let mib = received >> 20;
    match timeout(stall, pieces.next()).await {
        Ok(Ok(piece)) => Ok(piece),
        Ok(Err(error @ RpcError::Status { .. })) => Err(SnapshotError::new(
            FailureCause::Interrupted,
            format!("the member {error} after {mib} MiB of the snapshot"),
        )),
        Ok(Err(_)) => {
            let message = format!("the stream of the snapshot broke off after {mib} MiB: look at the log of etcd");
            Err(SnapshotError::new(FailureCause::Interrupted, message))
        }
        Err(_) => {
            let seconds = stall.as_secs();
            let message = format!(
                "the stream of the snapshot stood still for {seconds} s after {mib} MiB: look at the member's load and disk"
            );
            Err(SnapshotError::new(FailureCause::Stalled, message))
        }
    }
}

/// Digests a snapshot, of which the last 32 bytes are the digest of those before.
#[derive(Debug, Default)]
pub(crate) struct Trailer {
    digester: Digester,
    /// The last bytes, which are digested once others follow.
    held: Vec<u8>,
    bytes: u64,
}

impl Trailer {
    pub(crate) fn update(&mut self, piece: &[u8]) {
        self.bytes += piece.len() as u64;
        self.held.extend_from_slice(piece);
        let body = self.held.len().saturating_sub(DIGEST);
        self.digester.update(self.held.get(..body).unwrap_or_default());
        self.held.drain(..body);
    }

    /// Length and digest of all, with the last 32 bytes.
    pub(crate) fn finish(self) -> Result<Content, SnapshotError> {
        let corrupt = |why: &str| {
            let message = format!(
                "the snapshot is damaged: {why}. Nothing of it is kept; look at the disk and the network of the member"
            );
            Err(SnapshotError::new(FailureCause::Corrupt, message))
        };
        if self.bytes % SECTOR != DIGEST as u64 || self.bytes <= DIGEST as u64 {
            return corrupt("its length is not that of a database and a digest");
        }
        let mut digester = self.digester;
        let body: Digest = digester.clone().finish();
        if body.bytes()[..] != self.held {
            return corrupt("it has another digest than the one at its end");
        }
        digester.update(&self.held);
        Ok(Content { bytes: self.bytes, sha256: digester.finish() })
    }
}

#[cfg(test)]
pub(crate) mod tests;
