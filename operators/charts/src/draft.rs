//! Files that are there whole or not at all.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    process,
    sync::atomic::{AtomicU64, Ordering},
};

/// How names of drafts begin. No other file in these folders does.
const PREFIX: &str = ".draft-";

/// Makes a folder that only this user may look into, if it is not there.
pub(crate) fn private_folder(folder: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

/// A file that is being written; it goes if it is not published.
#[derive(Debug)]
pub(crate) struct Draft {
    path: PathBuf,
    pub(crate) file: File,
}

impl Draft {
    /// In `folder`, which is private.
    pub(crate) fn create(folder: &Path) -> io::Result<Self> {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = folder.join(format!("{PREFIX}{}-{number}", process::id()));
        let options = OpenOptions::new().write(true).create_new(true).mode(0o600).clone();
        let file = match options.open(&path) {
            // Of an earlier process of this number.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                fs::remove_file(&path)?;
                options.open(&path)?
            }
            opened => opened?,
        };
        Ok(Self { path, file })
    }

    /// Opens what is written so far.
    pub(crate) fn reader(&self) -> io::Result<File> {
        File::open(&self.path)
    }

    /// Puts it at `target` in the same folder, in place of what is there, and survives a loss of power.
    pub(crate) fn publish(self, target: &Path) -> io::Result<()> {
        self.file.sync_all()?;
        fs::rename(&self.path, target)
    }

    /// Removes what processes before this one left in `folder`.
    pub(crate) fn remove_all(folder: &Path) -> io::Result<()> {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            if entry.file_name().to_string_lossy().starts_with(PREFIX) {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        // It is not there any more once it is published.
        let _ = fs::remove_file(&self.path);
    }
}
