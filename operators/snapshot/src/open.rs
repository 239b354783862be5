//! The way back: from what is stored to the snapshot, to the configuration, and to a restored copy.

use std::{
    fs::{File, OpenOptions},
    io::{self, BufRead, BufReader, BufWriter, Read, Write},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

use drover_backups::{Content, Encryption, Manifest, Snapshot};
use drover_fetch::Digester;

use crate::{
    Copied, Programs, SnapshotError,
    age::{AgeError, Decryptor, Identity},
    scratch::Scratch,
    spool::{Spool, Trailer},
};

/// Bytes that are read at once.
const PIECE: usize = 1 << 20;
/// Most bytes of a configuration, decrypted.
const CONFIG_BYTES: u64 = 8 << 20;

/// Why a backup cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// What was read is not what the manifest says.
    #[error("{what} has other bytes than its manifest says: it was changed or cut after Drover stored it")]
    Changed {
        /// Which object.
        what: &'static str,
    },
    /// It cannot be decrypted.
    #[error("{what} {error}")]
    Age {
        /// Which object.
        what: &'static str,
        /// Why.
        error: AgeError,
    },
    /// There is no private key for it.
    #[error("the backup is encrypted: name the file with the private key of one of its recipients, --identity FILE")]
    NoIdentity,
    /// There is no configuration in it.
    #[error("the backup has no configuration: it was taken without recipients, or with includeConfig: false")]
    NoConfig,
    /// A file cannot be read or written.
    #[error("{what}: {error}")]
    Io {
        /// Which.
        what: String,
        /// Why.
        error: io::Error,
    },
    /// The snapshot does not restore, or to something else.
    #[error("{0}")]
    Snapshot(#[from] SnapshotError),
    /// The restored copy is not what the manifest says.
    #[error(
        "the restored copy has {what} {found}, and the manifest says {expected}: do not restore a cluster from this backup"
    )]
    Different {
        /// What differs.
        what: &'static str,
        /// In the copy.
        found: u64,
        /// In the manifest.
        expected: u64,
    },
}

const SNAPSHOT: &str = "the snapshot";
const CONFIG: &str = "the configuration";

fn content(source: &mut impl Read) -> io::Result<Content> {
    let (mut digester, mut bytes) = (Digester::default(), 0);
    let mut piece = vec![0; PIECE];
    loop {
        let read = source.read(&mut piece)?;
        if read == 0 {
            return Ok(Content { bytes, sha256: digester.finish() });
        }
        digester.update(piece.get(..read).unwrap_or_default());
        bytes += read as u64;
    }
}

/// Writes the snapshot that is stored in `from` to `to`, a new file for the owner alone, and removes that again if anything is not as
/// `snapshot` says. Nothing is decrypted before what is stored is known to be unchanged.
pub fn open_snapshot(from: &Path, to: &Path, snapshot: &Snapshot, identities: &[Identity]) -> Result<(), OpenError> {
    let failed = |path: &Path| {
        let what = path.display().to_string();
        move |error: io::Error| OpenError::Io { what, error }
    };
    let found = content(&mut File::open(from).map_err(failed(from))?).map_err(failed(from))?;
    if found != snapshot.stored {
        return Err(OpenError::Changed { what: SNAPSHOT });
    }
    let source = BufReader::with_capacity(PIECE, File::open(from).map_err(failed(from))?);
    let target = OpenOptions::new().write(true).create_new(true).mode(0o600).open(to).map_err(failed(to))?;
    unseal(source, target, snapshot, identities).inspect_err(|_| {
        std::fs::remove_file(to).ok();
    })
}

fn unseal(source: impl BufRead, target: File, snapshot: &Snapshot, identities: &[Identity]) -> Result<(), OpenError> {
    match snapshot.encryption {
        Encryption::None => expand(source, target, snapshot),
        Encryption::Age if identities.is_empty() => Err(OpenError::NoIdentity),
        Encryption::Age => {
            let opened =
                Decryptor::new(identities, source).map_err(|error| OpenError::Age { what: SNAPSHOT, error })?;
            expand(BufReader::with_capacity(PIECE, opened), target, snapshot)
        }
    }
}

/// Expands `source` into `target`, and compares it with what the manifest says and with the digest at its own end.
fn expand(source: impl BufRead, target: File, snapshot: &Snapshot) -> Result<(), OpenError> {
    let failed = |error| OpenError::Io { what: SNAPSHOT.to_owned(), error };
    let decoder = zstd::Decoder::with_buffer(source).map_err(failed)?;
    // No more than it may have, so that a forged one does not fill the disk.
    let mut plain = decoder.take(snapshot.plain.bytes.saturating_add(1));
    let (mut target, mut trailer) = (BufWriter::with_capacity(PIECE, target), Trailer::default());
    let mut piece = vec![0; PIECE];
    loop {
        let read = plain.read(&mut piece).map_err(failed)?;
        if read == 0 {
            break;
        }
        let read = piece.get(..read).unwrap_or_default();
        trailer.update(read);
        target.write_all(read).map_err(failed)?;
    }
    let target = target.into_inner().map_err(|error| failed(error.into_error()))?;
    if trailer.finish()? != snapshot.plain {
        return Err(OpenError::Changed { what: SNAPSHOT });
    }
    target.sync_all().map_err(failed)
}

/// The archive (tar) of the configuration out of what is stored.
pub fn open_config(stored: &[u8], manifest: &Manifest, identities: &[Identity]) -> Result<Vec<u8>, OpenError> {
    let config = manifest.config.as_ref().ok_or(OpenError::NoConfig)?;
    if identities.is_empty() {
        return Err(OpenError::NoIdentity);
    }
    let mut source = stored;
    let found = content(&mut source).map_err(|error| OpenError::Io { what: CONFIG.to_owned(), error })?;
    if found != config.stored {
        return Err(OpenError::Changed { what: CONFIG });
    }
    let failed = |error| OpenError::Age { what: CONFIG, error };
    let mut archive = Vec::new();
    let opened = Decryptor::new(identities, stored).map_err(failed)?;
    opened.take(CONFIG_BYTES).read_to_end(&mut archive).map_err(|error| failed(error.into()))?;
    Ok(archive)
}

/// Restores a snapshot beside, in a folder below `spool`, and compares the copy with what the manifest says.
pub async fn verify(path: &Path, snapshot: &Snapshot, programs: &Programs, spool: &Path) -> Result<Copied, OpenError> {
    let spool = Spool::create(spool)?;
    let mut scratch = Scratch::restore(programs, path, spool.path("scratch")).await?;
    let (_, copied) = scratch.look().await?;
    matches(&copied, snapshot)?;
    Ok(copied)
}

/// Whether a restored copy is what the manifest says. Hashes of other versions of etcd may differ, so they are not compared.
fn matches(copied: &Copied, snapshot: &Snapshot) -> Result<(), OpenError> {
    let etcd = &snapshot.etcd;
    let pairs = [
        // Where nothing was restored at the time, the revision is one that the copy has at least.
        ("revision", copied.revision, etcd.total_keys.map(|_| etcd.revision)),
        ("a compacted revision", copied.compact_revision, etcd.compact_revision),
        ("keys", copied.total_keys, etcd.total_keys),
    ];
    let different = pairs.into_iter().find(|(_, found, expected)| expected.is_some_and(|expected| expected != *found));
    match different {
        Some((what, found, Some(expected))) => Err(OpenError::Different { what, found, expected }),
        _ if copied.revision < etcd.revision => {
            Err(OpenError::Different { what: "revision", found: copied.revision, expected: etcd.revision })
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
