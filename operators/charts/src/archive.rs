//! Unpacks an archive into memory, within bounds, and refuses everything that could mean two things.

use std::{
    cell::Cell,
    collections::BTreeMap,
    io::{self, Read},
    str,
};

use bytes::Bytes;
use flate2::bufread::GzDecoder;
use tar::{Entry, EntryType};

use crate::limits::Limits;

/// The files of a chart, by their paths below its folder.
pub(crate) type Files = BTreeMap<String, Bytes>;

/// Most bytes of a path.
const PATH_BYTES: usize = 1_000;
/// Most bytes of one name in a path, as file systems have it.
const NAME_BYTES: usize = 255;
/// What Windows puts in front of text. Helm drops it.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Why an archive is refused. `path` is that of an entry, as far as it can be shown.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ArchiveError {
    /// It is no gzip of a tar, or broken.
    #[error("the archive is damaged or is no gzip of a tar; package the chart with `helm package`")]
    Damaged,
    /// The archive itself is too large.
    #[error("the archive has more than {0} bytes; remove files from the chart, or raise the limit")]
    PackedTooLarge(usize),
    /// What it unpacks to is too large.
    #[error("the archive unpacks to more than {0} bytes; remove files from the chart")]
    UnpackedTooLarge(usize),
    /// One file is too large.
    #[error("{path} has more than {limit} bytes; remove it from the chart")]
    FileTooLarge {
        /// The file.
        path: String,
        /// Most bytes.
        limit: usize,
    },
    /// There are too many entries.
    #[error("the archive has more than {0} entries; remove files from the chart")]
    TooManyFiles(usize),
    /// An entry lies too deep.
    #[error("{path} lies deeper than {limit} folders; move it up")]
    TooDeep {
        /// The entry.
        path: String,
        /// Most names in a path.
        limit: usize,
    },
    /// An entry is neither a file nor a folder.
    #[error("{0} is a link, a device, or of another kind that a chart may not hold; replace it by a file")]
    NotAFile(String),
    /// The path of an entry could lead elsewhere, or cannot be shown.
    #[error("the path {path} {problem}; package the chart with `helm package`")]
    BadPath {
        /// The path, escaped and cut.
        path: String,
        /// What is wrong with it.
        problem: PathProblem,
    },
    /// Two entries claim one path, or a file lies where a folder is.
    #[error("two entries of the archive are named {0}; package the chart with `helm package`")]
    Twice(String),
    /// There is more than one folder at the top.
    #[error("the archive has more than one folder at its top; package one chart with `helm package`")]
    SecondTop,
    /// Something follows the end of the archive.
    #[error("something follows the end of the archive; package the chart with `helm package`")]
    TrailingBytes,
}

/// What is wrong with the path of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathProblem {
    /// It is not UTF-8.
    #[error("is not UTF-8")]
    NotUtf8,
    /// It has a backslash.
    #[error("has a backslash")]
    Backslash,
    /// It has a control character.
    #[error("has a control character")]
    Control,
    /// It begins with `/`.
    #[error("is absolute")]
    Absolute,
    /// It has `.`, `..` or nothing between two slashes.
    #[error("has `.`, `..` or an empty name in it")]
    Relative,
    /// It, or a name in it, is too long.
    #[error("is too long")]
    TooLong,
    /// It lies in no folder.
    #[error("lies outside of the folder of the chart")]
    Outside,
}

/// What may still be unpacked of a chart and its subcharts.
pub(crate) struct Budget {
    limits: Limits,
    bytes: Cell<usize>,
    entries: Cell<usize>,
    is_exceeded: Cell<bool>,
}

impl Budget {
    pub(crate) fn new(limits: Limits) -> Self {
        let (bytes, entries) = (Cell::new(limits.unpacked_bytes), Cell::new(limits.files));
        Self { limits, bytes, entries, is_exceeded: Cell::new(false) }
    }

    fn take_entry(&self) -> Result<(), ArchiveError> {
        let left = self.entries.get().checked_sub(1).ok_or(ArchiveError::TooManyFiles(self.limits.files))?;
        self.entries.set(left);
        Ok(())
    }

    /// What an error of a reader means.
    fn failure(&self) -> ArchiveError {
        if self.is_exceeded.get() {
            ArchiveError::UnpackedTooLarge(self.limits.unpacked_bytes)
        } else {
            ArchiveError::Damaged
        }
    }
}

/// Counts what is unpacked, and stops at the bound.
struct Metered<'a> {
    gzip: GzDecoder<&'a [u8]>,
    budget: &'a Budget,
}

impl Read for Metered<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.gzip.read(buffer)?;
        let Some(left) = self.budget.bytes.get().checked_sub(read) else {
            self.budget.is_exceeded.set(true);
            return Err(io::Error::other("the bound is reached"));
        };
        self.budget.bytes.set(left);
        Ok(read)
    }
}

/// Unpacks `packed`, which lies `outer` names deep in another archive.
pub(crate) fn unpack(packed: &[u8], outer: usize, budget: &Budget) -> Result<Files, ArchiveError> {
    if packed.len() > budget.limits.packed_bytes {
        return Err(ArchiveError::PackedTooLarge(budget.limits.packed_bytes));
    }
    let mut archive = tar::Archive::new(Metered { gzip: GzDecoder::new(packed), budget });
    let mut contents = Contents { outer, budget, top: None, files: Files::new() };
    for entry in archive.entries().map_err(|_| budget.failure())? {
        budget.take_entry()?;
        contents.add(entry.map_err(|_| budget.failure())?)?;
    }
    // Another program may read on where this one saw the end.
    let mut rest = archive.into_inner();
    let is_padding = only_zeros(&mut rest).map_err(|_| budget.failure())?;
    if !is_padding || !rest.gzip.into_inner().is_empty() {
        return Err(ArchiveError::TrailingBytes);
    }
    contents.without_files_as_folders()
}

fn only_zeros(reader: &mut impl Read) -> io::Result<bool> {
    let mut buffer = [0; 4096];
    loop {
        let read = reader.read(&mut buffer)?;
        if read == 0 {
            return Ok(true);
        }
        if buffer.iter().take(read).any(|byte| *byte != 0) {
            return Ok(false);
        }
    }
}

/// What has been unpacked of one archive.
struct Contents<'a> {
    outer: usize,
    budget: &'a Budget,
    top: Option<String>,
    files: Files,
}

impl Contents<'_> {
    fn add(&mut self, entry: Entry<'_, impl Read>) -> Result<(), ArchiveError> {
        let kind = entry.header().entry_type();
        // What `git archive` puts first: the commit.
        if kind == EntryType::XGlobalHeader {
            return Ok(());
        }
        let path = checked_path(&entry.path_bytes())?;
        match kind {
            EntryType::Regular if !path.ends_with('/') => self.add_file(&path, entry),
            // Programs differ in whether bytes follow a folder.
            EntryType::Directory if entry.size() == 0 => self.below_top(path.trim_end_matches('/')).map(drop),
            _ => Err(ArchiveError::NotAFile(path)),
        }
    }

    fn add_file(&mut self, path: &str, mut entry: Entry<'_, impl Read>) -> Result<(), ArchiveError> {
        let limit = self.budget.limits.file_bytes;
        let name = self.below_top(path)?.ok_or_else(|| bad(path.as_bytes(), PathProblem::Outside))?;
        let size = usize::try_from(entry.size()).unwrap_or(usize::MAX);
        if size > limit {
            return Err(ArchiveError::FileTooLarge { path: name, limit });
        }
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).map_err(|_| self.budget.failure())?;
        if bytes.len() != size {
            return Err(ArchiveError::Damaged);
        }
        let bytes = Bytes::from(bytes);
        let bytes = if bytes.starts_with(BYTE_ORDER_MARK) { bytes.slice(BYTE_ORDER_MARK.len()..) } else { bytes };
        match self.files.insert(name.clone(), bytes) {
            Some(_) => Err(ArchiveError::Twice(name)),
            None => Ok(()),
        }
    }

    /// The path below the folder at the top; none for the folder itself.
    fn below_top(&mut self, path: &str) -> Result<Option<String>, ArchiveError> {
        let (top, name) = path.split_once('/').map_or((path, None), |(top, name)| (top, Some(name)));
        if self.top.get_or_insert_with(|| top.to_owned()) != top {
            return Err(ArchiveError::SecondTop);
        }
        let limit = self.budget.limits.depth;
        if name.is_some_and(|name| name.split('/').count() + self.outer > limit) {
            return Err(ArchiveError::TooDeep { path: path.to_owned(), limit });
        }
        Ok(name.map(str::to_owned))
    }

    fn without_files_as_folders(self) -> Result<Files, ArchiveError> {
        let folders = self.files.keys().flat_map(|path| path.match_indices('/').map(|(end, _)| path.get(..end)));
        match folders.flatten().find(|folder| self.files.contains_key(*folder)) {
            Some(folder) => Err(ArchiveError::Twice(folder.to_owned())),
            None => Ok(self.files),
        }
    }
}

/// A path that leads nowhere else. A folder may end with a slash.
fn checked_path(bytes: &[u8]) -> Result<String, ArchiveError> {
    let path = str::from_utf8(bytes).map_err(|_| bad(bytes, PathProblem::NotUtf8))?;
    match problem(path) {
        Some(problem) => Err(bad(bytes, problem)),
        None => Ok(path.to_owned()),
    }
}

fn problem(path: &str) -> Option<PathProblem> {
    let names = || path.strip_suffix('/').unwrap_or(path).split('/');
    if path.starts_with('/') {
        Some(PathProblem::Absolute)
    } else if path.contains('\\') {
        Some(PathProblem::Backslash)
    } else if path.chars().any(char::is_control) {
        Some(PathProblem::Control)
    } else if path.len() > PATH_BYTES || names().any(|name| name.len() > NAME_BYTES) {
        Some(PathProblem::TooLong)
    } else {
        names().any(|name| matches!(name, "" | "." | "..")).then_some(PathProblem::Relative)
    }
}

fn bad(path: &[u8], problem: PathProblem) -> ArchiveError {
    let shown: String = String::from_utf8_lossy(path).chars().take(100).flat_map(char::escape_debug).collect();
    ArchiveError::BadPath { path: shown, problem }
}
