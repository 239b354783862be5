//! Packed charts for tests.

use std::io::Write as _;

use flate2::{Compression, write::GzEncoder};
use tar::{Builder, EntryType, Header};

/// What one entry of an archive is.
pub(crate) enum Entry<'a> {
    File(&'a [u8], &'a [u8]),
    Kind(EntryType, &'a [u8]),
}

/// A file as `helm package` puts it there.
pub(crate) fn file<'a>(path: &'a str, content: &'a str) -> Entry<'a> {
    Entry::File(path.as_bytes(), content.as_bytes())
}

/// The tar of these entries, as they are: nothing is corrected.
pub(crate) fn tar_of(entries: &[Entry<'_>]) -> Vec<u8> {
    let mut builder = Builder::new(Vec::new());
    for entry in entries {
        let (kind, path, content) = match entry {
            Entry::File(path, content) => (EntryType::Regular, *path, *content),
            Entry::Kind(kind, path) => (*kind, *path, &b""[..]),
        };
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        let name = &mut header.as_old_mut().name;
        name.iter_mut().zip(path).for_each(|(to, from)| *to = *from);
        header.set_cksum();
        builder.append(&header, content).unwrap();
    }
    builder.into_inner().unwrap()
}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

pub(crate) fn packed(entries: &[Entry<'_>]) -> Vec<u8> {
    gzip(&tar_of(entries))
}

pub(crate) const CHART_YAML: &str = "apiVersion: v2\nname: web\nversion: 1.2.3\nappVersion: 4.5\n";
