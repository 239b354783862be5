//! The folder of one render: private, and gone when it is dropped.

use std::{
    fs::{self, DirBuilder, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use ring::rand::{SecureRandom as _, SystemRandom};

use crate::manifest::{NOTES_TEMPLATE, NOTES_TEMPLATE_NAME};

const PREFIX: &str = "render-";
/// Deeper than any template of a chart: Helm renders the deepest ones first.
const DEPTH: usize = 120;

/// What templates that ask the cluster have in them.
pub const ASKS: [&str; 2] = ["lookup", "APIVersions"];

fn asks(bytes: &[u8]) -> bool {
    let has = |word: &&str| bytes.windows(word.len()).any(|window| window == word.as_bytes());
    ASKS.iter().any(has)
}

/// A folder for one render. Write the checked files of the chart into [`RenderFolder::chart`], then hand it to
/// [`Renderer::render`](crate::Renderer::render).
#[derive(Debug)]
pub struct RenderFolder {
    root: PathBuf,
    chart: PathBuf,
}

impl RenderFolder {
    /// Creates one below `folder`.
    pub(crate) fn create(folder: &Path) -> io::Result<Self> {
        let mut random = [0; 16];
        SystemRandom::new().fill(&mut random).map_err(|_| io::Error::other("the system has no random numbers"))?;
        let root = folder.join(format!("{PREFIX}{:032x}", u128::from_be_bytes(random)));
        let private = |path: &Path| DirBuilder::new().mode(0o700).create(path);
        private(&root)?;
        let created = Self { chart: root.join("chart"), root };
        private(&created.chart)?;
        private(&created.home())?;
        Ok(created)
    }

    /// Removes what a process that was killed left behind.
    pub(crate) fn remove_left_behind(folder: &Path) -> io::Result<()> {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            if entry.file_name().to_string_lossy().starts_with(PREFIX) {
                fs::remove_dir_all(entry.path())?;
            }
        }
        Ok(())
    }

    /// Where the files of the chart belong: an empty folder.
    #[must_use]
    pub fn chart(&self) -> &Path {
        &self.chart
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// An empty folder for what Helm keeps per person.
    pub(crate) fn home(&self) -> PathBuf {
        self.root.join("home")
    }

    /// Writes a file that only this user reads.
    pub(crate) fn write(&self, name: &str, bytes: &[u8]) -> io::Result<PathBuf> {
        let path = self.root.join(name);
        if let Some(parent) = path.parent() {
            DirBuilder::new().mode(0o700).recursive(true).create(parent)?;
        }
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&path)?;
        file.write_all(bytes)?;
        Ok(path)
    }

    /// Whether the chart may ask for objects or kinds of the cluster, so that [`Cluster::Asked`](super::Cluster::Asked) renders other
    /// objects than [`Cluster::Described`](super::Cluster::Described). Values can be templates too: search them for [`ASKS`]. Blocks.
    pub fn asks_cluster(&self) -> io::Result<bool> {
        let mut folders = vec![self.chart.clone()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder)? {
                let entry = entry?;
                if entry.file_type()?.is_dir() {
                    folders.push(entry.path());
                } else if asks(&fs::read(entry.path())?) {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    /// Adds a template that prints the notes, if the chart has some, and one that sets what `helm template` has no flags for, or flags
    /// that do more: all templates share `.Release`.
    pub(crate) fn add_templates(&self, revision: i64, is_upgrade: bool) -> io::Result<()> {
        if self.chart.join("templates/NOTES.txt").is_file() {
            self.write(&format!("chart/{NOTES_TEMPLATE_NAME}"), NOTES_TEMPLATE.as_bytes())?;
        }
        let flags =
            [("IsUpgrade", is_upgrade), ("IsInstall", !is_upgrade)].map(|(flag, is_so)| (flag, is_so.to_string()));
        let fields = flags.into_iter().chain([("Revision", revision.to_string())]);
        let set = fields.map(|(field, value)| format!("{{{{- $_ := set .Release \"{field}\" {value} -}}}}"));
        let text = set.collect::<Vec<_>>().concat();
        self.write(&format!("chart/templates/{}release.yaml", "drover/".repeat(DEPTH)), text.as_bytes())?;
        Ok(())
    }
}

impl Drop for RenderFolder {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.root) {
            tracing::warn!(%error, "a folder of a render stays behind");
        }
    }
}
