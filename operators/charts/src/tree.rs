//! The checked files of a chart on disk, for `helm template`.

use std::{
    fs::{DirBuilder, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::Path,
};

use crate::chart::Chart;

/// The template that [`Notes::AsObject`] adds to the chart. What it renders to has this path in Helm's comment `# Source:`.
pub const NOTES_TEMPLATE: &str = "templates/zz-drover-release-notes.yaml";
/// Name of the `ConfigMap` that the template renders to. It never reaches a cluster.
pub const NOTES_OBJECT: &str = "drover-release-notes";
/// Key in its data that holds the notes.
pub const NOTES_KEY: &str = "notes";

/// Whether the notes are rendered too, which `helm template` does not do of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notes {
    /// As the object [`NOTES_OBJECT`] in the manifest, if the chart has notes.
    AsObject,
    /// Not at all.
    Omit,
}

impl Chart {
    /// Writes the files into `folder`, which exists, is empty and private. Folders get mode 0700, files 0600. Blocks.
    ///
    /// `.helmignore` at the top is left out: Helm does not heed it in a packed chart, but would in a folder.
    pub fn write_to(&self, folder: &Path, notes: Notes) -> io::Result<()> {
        let written = self.files().iter().filter(|(path, _)| path.as_str() != ".helmignore");
        written.into_iter().try_for_each(|(path, bytes)| write(folder, path, bytes))?;
        if notes == Notes::AsObject && self.notes().is_some() {
            write(folder, NOTES_TEMPLATE, notes_template().as_bytes())?;
        }
        Ok(())
    }
}

fn notes_template() -> String {
    format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {NOTES_OBJECT}\ndata:\n  {NOTES_KEY}: \
         {{{{ include (print $.Template.BasePath \"/NOTES.txt\") . | toJson }}}}\n"
    )
}

/// No link is followed: a file that is there already is an error.
fn write(folder: &Path, path: &str, bytes: &[u8]) -> io::Result<()> {
    let target = folder.join(path);
    if let Some(parent) = target.parent() {
        DirBuilder::new().recursive(true).mode(0o700).create(parent)?;
    }
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(target)?.write_all(bytes)
}
