use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::reset::{BRIEFLY, FirstState};
use super::{Entry, FIRST_STATE, HARMED, RECORD, TAKEN};
use crate::error::{FileContext, Result};
use crate::json_file;
use crate::run_directory::OWNER_LOCK;

/// The right to use a control plane of a pool, for as long as this value lives. What is dropped is free once [`give_back`]
/// was called, and at the latest when the process ends.
#[derive(Debug)]
pub(crate) struct Lease(Option<Seat>);

/// The folder of a control plane, locked by us.
#[derive(Debug)]
pub(super) struct Seat {
    pub(super) directory: PathBuf,
    _lock: File,
}

/// How a test ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Its control planes are put back to their first state.
    Passed,
    /// They stay as they are until they are taken again, so that somebody can look.
    Failed,
}

static RETURNED: Mutex<Vec<Seat>> = Mutex::new(Vec::new());

impl Lease {
    pub(super) fn new(seat: Seat) -> Self {
        Self(Some(seat))
    }

    /// Nobody uses the control plane after us.
    pub(crate) fn harm(&self) -> Result<()> {
        self.0.as_ref().map_or(Ok(()), Seat::harm)
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        returned().extend(self.0.take());
    }
}

fn returned() -> MutexGuard<'static, Vec<Seat>> {
    RETURNED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Frees the control planes that this process took and dropped.
pub async fn give_back(outcome: Outcome) -> Result<()> {
    let seats = std::mem::take(&mut *returned());
    futures::future::try_join_all(seats.into_iter().map(|seat| seat.give_back(outcome))).await.map(drop)
}

impl Seat {
    /// None if somebody else has it, or nobody can.
    pub(super) fn of_existing(directory: &Path) -> Option<Self> {
        let lock = File::open(directory.join(TAKEN)).ok()?;
        lock.try_lock().ok()?;
        Some(Self { directory: directory.to_owned(), _lock: lock })
    }

    pub(super) fn of_new(directory: PathBuf) -> Result<Self> {
        let path = directory.join(TAKEN);
        let lock = File::create(&path).on("create", &path)?;
        lock.lock().on("lock", path)?;
        Ok(Self { directory, _lock: lock })
    }

    /// What it holds; none if nothing was started there yet.
    pub(super) fn entry(&self) -> Option<Entry> {
        Entry::read(&self.directory)
    }

    pub(super) fn write(&self, entry: &Entry) -> Result<()> {
        json_file::write(&self.directory.join(RECORD), entry)
    }

    pub(super) fn first_state(&self) -> Result<FirstState> {
        FirstState::read(&self.directory.join(FIRST_STATE))
    }

    pub(super) fn is_harmed(&self) -> bool {
        self.directory.join(HARMED).exists()
    }

    fn is_owned(&self) -> bool {
        self.directory.parent().is_some_and(|pool| pool.join(OWNER_LOCK).is_file())
    }

    fn harm(&self) -> Result<()> {
        let path = self.directory.join(HARMED);
        fs::write(&path, "").on("write", &path)
    }

    /// Ends the control plane and removes its folder.
    pub(super) async fn discard(self) -> Result<()> {
        if let Some(entry) = self.entry() {
            entry.plane.kill().await?;
        }
        self.remove()
    }

    /// Removes its folder. Another process may have done it between our look at the folder and the lock in it.
    pub(super) fn remove(self) -> Result<()> {
        match fs::remove_dir_all(&self.directory) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            outcome => outcome.on("remove", &self.directory),
        }
    }

    async fn give_back(self, outcome: Outcome) -> Result<()> {
        if self.is_harmed() {
            return self.discard().await;
        }
        let Some(entry) = self.entry().filter(|_| outcome == Outcome::Passed) else { return Ok(()) };
        if self.first_state()?.restore(&entry.plane, &self.directory, BRIEFLY).await.is_err() {
            return self.discard().await;
        }
        // A pool that is kept is for people as well.
        if self.is_owned() { entry.plane.freeze().await } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_another_process_has_discarded_already_is_done() {
        let pool = tempfile::tempdir().unwrap();
        let folder = pool.path().join("plane-x");
        fs::create_dir(&folder).unwrap();
        let seat = Seat::of_new(folder.clone()).unwrap();
        fs::remove_dir_all(&folder).unwrap();
        seat.discard().await.unwrap();
    }
}
