//! The checked files of a chart on disk, for `helm template`.

use std::{
    fs::{DirBuilder, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::Path,
};

use crate::chart::Chart;

impl Chart {
    /// Writes the files into `folder`, which exists, is empty and private. Folders get mode 0700, files 0600. Blocks.
    ///
    /// `.helmignore` at the top is left out: Helm does not heed it in a packed chart, but would in a folder.
    pub fn write_to(&self, folder: &Path) -> io::Result<()> {
        let mut written = self.files().iter().filter(|(path, _)| path.as_str() != ".helmignore");
        written.try_for_each(|(path, bytes)| write(folder, path, bytes))
    }
}

/// No link is followed: a file that is there already is an error.
fn write(folder: &Path, path: &str, bytes: &[u8]) -> io::Result<()> {
    let target = folder.join(path);
    if let Some(parent) = target.parent() {
        DirBuilder::new().recursive(true).mode(0o700).create(parent)?;
    }
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(target)?.write_all(bytes)
}
