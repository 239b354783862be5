//! Directories for the data of running control planes, and the removal of those whose owner is gone.

use std::fs::{self, DirBuilder, File};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use crate::error::{FileContext, Result};
use crate::json_file;
use crate::process::DetachedProcess;

pub(crate) const OWNER_LOCK: &str = "owner.lock";
const DETACHED: &str = "detached.json";

/// A directory that is ours as long as this value lives.
#[derive(Debug)]
pub(crate) struct RunDirectory {
    path: PathBuf,
    temporary: bool,
    _owner: Option<File>,
}

impl RunDirectory {
    /// A new directory below `parent`, after the removal of those there whose owner was killed.
    pub(crate) fn temporary(parent: &Path, name: &str) -> Result<Self> {
        create_private(parent)?;
        let all = parent.join(".lock");
        let _guard = lock_file(&all)?;
        sweep(parent)?;
        let directory =
            tempfile::Builder::new().prefix(&format!("{name}-")).tempdir_in(parent).on("create in", parent)?;
        let path = directory.keep();
        let owner = lock_file(&path.join(OWNER_LOCK))?;
        Ok(Self { path, temporary: true, _owner: Some(owner) })
    }

    /// A directory that the caller gives and keeps.
    pub(crate) fn given(path: &Path) -> Result<Self> {
        create_private(path)?;
        let path = fs::canonicalize(path).on("resolve", path)?;
        Ok(Self { path, temporary: false, _owner: None })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn is_temporary(&self) -> bool {
        self.temporary
    }

    /// Leaves the directory to the processes that use it.
    pub(crate) fn detach(mut self, processes: &[DetachedProcess]) -> Result<()> {
        json_file::write(&self.path.join(DETACHED), processes)?;
        self.temporary = false;
        Ok(())
    }
}

impl Drop for RunDirectory {
    fn drop(&mut self) {
        if self.temporary {
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}

/// Removes every directory that nobody holds the lock of and no detached process uses.
fn sweep(parent: &Path) -> Result<()> {
    for entry in fs::read_dir(parent).on("list", parent)?.flatten() {
        let path = entry.path();
        if path.is_dir() && is_abandoned(&path) {
            // What a dying process still writes into makes this fail; then the next sweep removes it.
            let _ = fs::remove_dir_all(&path);
        }
    }
    Ok(())
}

fn is_abandoned(path: &Path) -> bool {
    let Ok(owner) = File::open(path.join(OWNER_LOCK)) else { return true };
    if owner.try_lock().is_err() {
        return false;
    }
    let processes: Vec<DetachedProcess> = json_file::read(&path.join(DETACHED)).unwrap_or_default();
    !processes.iter().any(DetachedProcess::is_running)
}

fn lock_file(path: &Path) -> Result<File> {
    let file = File::create(path).on("create", path)?;
    file.lock().on("lock", path)?;
    Ok(file)
}

fn create_private(path: &Path) -> Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path).on("create", path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::{Process, Specification};

    #[test]
    fn leftovers_go_and_owned_directories_stay() {
        let parent = tempfile::tempdir().unwrap();
        let owned = RunDirectory::temporary(parent.path(), "owned").unwrap();
        let abandoned = parent.path().join("abandoned");
        fs::create_dir(&abandoned).unwrap();
        File::create(abandoned.join(OWNER_LOCK)).unwrap();

        let second = RunDirectory::temporary(parent.path(), "second").unwrap();

        assert!(owned.path().is_dir());
        assert!(second.path().is_dir());
        assert!(!abandoned.exists());
    }

    #[test]
    fn a_dropped_directory_is_removed_and_a_given_one_is_not() {
        let parent = tempfile::tempdir().unwrap();
        let temporary = RunDirectory::temporary(parent.path(), "x").unwrap().path().to_owned();
        let given = RunDirectory::given(&parent.path().join("given")).unwrap().path().to_owned();
        assert!(!temporary.exists());
        assert!(given.is_dir());
    }

    #[tokio::test]
    async fn a_detached_directory_goes_when_its_processes_have() {
        let parent = tempfile::tempdir().unwrap();
        let process = Process::start(&Specification {
            name: "test".to_owned(),
            program: PathBuf::from("sleep"),
            arguments: vec!["60".to_owned()],
            environment: Vec::new(),
            log: parent.path().join("log"),
        });
        let process = process.unwrap().detach().unwrap();
        let directory = RunDirectory::temporary(parent.path(), "detached").unwrap();
        let path = directory.path().to_owned();
        directory.detach(std::slice::from_ref(&process)).unwrap();

        sweep(parent.path()).unwrap();
        assert!(path.is_dir());
        process.terminate().await.unwrap();
        sweep(parent.path()).unwrap();
        assert!(!path.exists());
    }
}
