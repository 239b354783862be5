//! What else a restore needs, as an archive: files of the node, and what the manager knows.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use serde::Serialize;
use serde_json::Value;

use crate::SnapshotError;

/// Most bytes of one file.
const FILE_BYTES: u64 = 1 << 20;
/// Most bytes of all.
const ALL_BYTES: usize = 3 << 20;
/// Most files.
const MOST_FILES: usize = 256;
/// Where files of the node are in the archive, below their own paths.
const NODE: &str = "node";

/// What is not in the archive although it was asked for: `missing.json`.
#[derive(Debug, Serialize)]
struct Missing {
    path: PathBuf,
    reason: String,
}

/// The archive (tar): `facts.json`, the files under `node/`, and `missing.json` if something is missing.
pub(crate) fn bundle(files: &[PathBuf], facts: &Value) -> Result<Vec<u8>, SnapshotError> {
    let mut archive = tar::Builder::new(Vec::new());
    archive.mode(tar::HeaderMode::Deterministic);
    let mut missing = Vec::new();
    let found = found(files, &mut missing);
    let mut bytes = 0;
    for path in found {
        match read(&path) {
            Ok(content) if bytes + content.len() <= ALL_BYTES => {
                bytes += content.len();
                let name = Path::new(NODE).join(path.strip_prefix("/").unwrap_or(&path));
                append(&mut archive, &name, &content)?;
            }
            Ok(_) => missing.push(Missing { path, reason: "all files together have more than 3 MiB".to_owned() }),
            Err(error) => missing.push(Missing { path, reason: error.to_string() }),
        }
    }
    append(&mut archive, Path::new("facts.json"), &json(facts))?;
    if !missing.is_empty() {
        append(&mut archive, Path::new("missing.json"), &json(&missing))?;
    }
    archive.into_inner().map_err(|error| failed(&error))
}

/// The files that are meant: those named, and those in folders that are named.
fn found(files: &[PathBuf], missing: &mut Vec<Missing>) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    for path in files {
        let inside = || -> io::Result<Vec<PathBuf>> {
            if !fs::metadata(path)?.is_dir() {
                return Ok(vec![path.clone()]);
            }
            let entries = fs::read_dir(path)?.collect::<io::Result<Vec<_>>>()?;
            Ok(entries.iter().map(fs::DirEntry::path).filter(|path| path.is_file()).collect())
        };
        match inside() {
            Ok(inside) => found.extend(inside),
            Err(error) => missing.push(Missing { path: path.clone(), reason: error.to_string() }),
        }
    }
    while found.len() > MOST_FILES {
        let reason = format!("there are more than {MOST_FILES} files");
        missing.extend(found.pop_last().map(|path| Missing { path, reason }));
    }
    found
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    let file = File::open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is no file"));
    }
    file.take(FILE_BYTES + 1).read_to_end(&mut content)?;
    let is_small = content.len() as u64 <= FILE_BYTES;
    if is_small { Ok(content) } else { Err(io::Error::other("it has more than 1 MiB")) }
}

fn append(archive: &mut tar::Builder<Vec<u8>>, name: &Path, content: &[u8]) -> Result<(), SnapshotError> {
    let mut header = tar::Header::new_gnu();
    header.set_size(content.len() as u64);
    header.set_mode(0o600);
    header.set_mtime(0);
    archive.append_data(&mut header, name, content).map_err(|error| failed(&error))
}

fn json(value: &impl Serialize) -> Vec<u8> {
    // Only a map with keys that are no texts could not be written.
    serde_json::to_vec_pretty(value).unwrap_or_default()
}

fn failed(error: &io::Error) -> SnapshotError {
    SnapshotError::storage("the configuration cannot be bundled", error)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn names(archive: &[u8]) -> Vec<(String, String)> {
        let mut archive = tar::Archive::new(archive);
        let entries = archive.entries().unwrap().map(Result::unwrap);
        let read = |mut entry: tar::Entry<'_, &[u8]>| {
            let mut text = String::new();
            entry.read_to_string(&mut text).unwrap();
            (entry.path().unwrap().display().to_string(), text)
        };
        entries.map(read).collect()
    }

    #[test]
    fn files_folders_and_what_is_missing_are_in_the_archive() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::create_dir_all(path("manifests/deeper")).unwrap();
        for (name, text) in [("manifests/a.yaml", "a: 1"), ("manifests/deeper/b.yaml", "no"), ("c.yaml", "c: 1")] {
            fs::write(path(name), text).unwrap();
        }
        fs::write(path("large"), vec![b'x'; 1 + (1 << 20)]).unwrap();
        let files = ["manifests", "c.yaml", "large", "gone"].map(path);
        let mut archive = bundle(&files, &json!({"kubernetesVersion": "v1.37.1"})).unwrap();
        // As padding leaves it.
        archive.extend([0; 5_000]);
        let root = format!("node{}", folder.path().display());
        let found = names(&archive);
        let of = |name: &str| found.iter().find(|(found, _)| found == name).map(|(_, text)| text.as_str());
        assert_eq!(of(&format!("{root}/manifests/a.yaml")), Some("a: 1"));
        assert_eq!(of(&format!("{root}/c.yaml")), Some("c: 1"));
        assert_eq!(found.len(), 4, "{found:?}");
        assert!(of("facts.json").unwrap().contains("v1.37.1"));
        let missing = of("missing.json").unwrap();
        assert!(missing.contains("large") && missing.contains("gone") && !missing.contains("c.yaml"), "{missing}");
    }
}
