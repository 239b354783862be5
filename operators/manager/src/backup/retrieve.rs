//! `drover backup fetch` and `drover backup verify`.

use std::{
    env, fs,
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use drover_backups::Manifest;
use drover_snapshot::{OpenError, age::Identity, open_config, open_snapshot};
use tokio::task::spawn_blocking;

use super::{
    BackupError,
    arguments::{BackupFetchArguments, BackupVerifyArguments, OneBackup},
    bucket::Backups,
    programs,
};
use crate::output::{print, shown};

/// Most bytes of a file of keys.
const IDENTITY_BYTES: u64 = 64 * 1024;

/// Gets the snapshot or the configuration of a backup.
pub(super) async fn fetch(backups: &Backups, arguments: &BackupFetchArguments) -> Result<(), BackupError> {
    let identities = identities(&arguments.one)?;
    let manifest = backups.find(&arguments.one.backup, arguments.one.manifest_digest.as_ref()).await?;
    if arguments.config {
        return config(backups, &manifest, &identities, arguments.output.as_deref()).await;
    }
    let Some(output) = &arguments.output else { return Ok(()) };
    // Sooner than after the download.
    if output.try_exists().map_err(BackupError::file(output))? {
        return Err(BackupError::File(output.clone(), io::ErrorKind::AlreadyExists.into()));
    }
    snapshot(backups, &manifest, identities, output).await?;
    let etcd = &manifest.snapshot.etcd;
    let advice = "restore it with etcdutl snapshot restore";
    say!("{}: snapshot of {} at revision {}; {advice}", output.display(), shown(&manifest.cluster.name), etcd.revision);
    Ok(())
}

/// Proves that a backup restores.
pub(super) async fn verify(backups: &Backups, arguments: &BackupVerifyArguments) -> Result<(), BackupError> {
    let identities = identities(&arguments.one)?;
    let programs = programs(&arguments.programs).map_err(BackupError::file(&arguments.programs.etcd))?;
    let manifest = backups.find(&arguments.one.backup, arguments.one.manifest_digest.as_ref()).await?;
    let spool = arguments.spool.clone().unwrap_or_else(env::temp_dir);
    let plain = Removed::new(spool.join(format!("drover-{}.db", manifest.backup.uid)))?;
    snapshot(backups, &manifest, identities, &plain.0).await?;
    let copied = drover_snapshot::verify(&plain.0, &manifest.snapshot, &programs, &spool).await?;
    let text = format!(
        "backup {} of {} restores: revision {}, {} keys, as its manifest says\n",
        manifest.backup.uid, manifest.cluster.name, copied.revision, copied.total_keys
    );
    print(&shown(&text)).map_err(BackupError::Print)
}

/// A file that goes when this is dropped: it holds the secrets of a cluster.
struct Removed(PathBuf);

impl Removed {
    /// Of a file that is still to be made: one that is there already is not ours to remove.
    fn new(path: PathBuf) -> Result<Self, BackupError> {
        if path.try_exists().map_err(BackupError::file(&path))? {
            return Err(BackupError::File(path, io::ErrorKind::AlreadyExists.into()));
        }
        Ok(Self(path))
    }
}

impl Drop for Removed {
    fn drop(&mut self) {
        fs::remove_file(&self.0).ok();
    }
}

async fn snapshot(
    backups: &Backups,
    manifest: &Manifest,
    identities: Vec<Identity>,
    output: &Path,
) -> Result<(), BackupError> {
    let mut name = output.as_os_str().to_owned();
    name.push(".stored");
    let stored = Removed::new(name.into())?;
    backups.download(&manifest.object.key, &manifest.snapshot.stored, &stored.0).await?;
    let (from, to, snapshot) = (stored.0.clone(), output.to_owned(), manifest.snapshot.clone());
    let opening = spawn_blocking(move || open_snapshot(&from, &to, &snapshot, &identities));
    opening.await.map_err(|error| BackupError::File(output.to_owned(), io::Error::other(error)))??;
    Ok(())
}

async fn config(
    backups: &Backups,
    manifest: &Manifest,
    identities: &[Identity],
    output: Option<&Path>,
) -> Result<(), BackupError> {
    let config = manifest.config.as_ref().ok_or(OpenError::NoConfig)?;
    let stored = backups.get(&config.key, &config.stored).await?;
    let archive = open_config(&stored, manifest, identities)?;
    match output {
        Some(path) => write_new(path, &archive).map_err(BackupError::file(path)),
        None => print(&texts(&archive).map_err(BackupError::Print)?).map_err(BackupError::Print),
    }
}

fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    use std::{io::Write as _, os::unix::fs::OpenOptionsExt as _};
    fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?.write_all(bytes)
}

/// The files of an archive, each after its name.
fn texts(archive: &[u8]) -> io::Result<String> {
    let mut found = String::new();
    for entry in tar::Archive::new(archive).entries()? {
        let mut entry = entry?;
        let name = entry.path()?.display().to_string();
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes)?;
        let text = String::from_utf8_lossy(&bytes);
        let end = if text.ends_with('\n') { "" } else { "\n" };
        found.extend(["# ", &shown(&name).replace('\n', " "), "\n", &shown(&text), end]);
    }
    Ok(found)
}

/// The private keys that were named; none if no file was.
fn identities(one: &OneBackup) -> Result<Vec<Identity>, BackupError> {
    let Some(path) = &one.identity else { return Ok(Vec::new()) };
    let mut text = String::new();
    let read = fs::File::open(path).and_then(|file| file.take(IDENTITY_BYTES).read_to_string(&mut text));
    read.map_err(BackupError::file(path))?;
    Identity::of_file(&text).map_err(|error| BackupError::Identity(path.clone(), error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_file_that_was_not_there_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("snapshot.db.stored");
        fs::write(&path, "of another").unwrap();
        assert!(Removed::new(path.clone()).is_err());
        assert_eq!(fs::read_to_string(&path).unwrap(), "of another");
        fs::remove_file(&path).unwrap();
        let own = Removed::new(path.clone()).unwrap();
        fs::write(&path, "own").unwrap();
        drop(own);
        assert!(!path.exists());
    }

    #[test]
    fn an_archive_is_shown_without_what_plays_with_a_terminal() {
        let mut archive = tar::Builder::new(Vec::new());
        for (name, text) in [("facts.json", "{}"), ("node/a.yaml", "a: 1\n\u{1b}[2J\n")] {
            let mut header = tar::Header::new_gnu();
            header.set_size(text.len() as u64);
            archive.append_data(&mut header, name, text.as_bytes()).unwrap();
        }
        let mut archive = archive.into_inner().unwrap();
        archive.extend([0; 4096]);
        assert_eq!(texts(&archive).unwrap(), "# facts.json\n{}\n# node/a.yaml\na: 1\n[2J\n");
    }
}
