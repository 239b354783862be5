//! Control planes that one test after the other uses.
//!
//! A control plane costs four seconds of two cores to start, and 20 ms to be put back to its first state ([`reset`]). So it
//! stays when a test is over, in a folder in which the processes of all tests find it. Whoever uses one holds the lock of a
//! file in its folder, which the system releases however a process ends. What a test stopped, froze, restored or otherwise
//! harmed is thrown away.
//!
//! A pool ends with the process that made it, by a lock as well, or it is kept: see [`Pool::kept`].

mod lease;
mod reset;

use std::fs::{self, File};
use std::num::NonZeroUsize;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::control_plane::{DataDirectory, Record, administrator_kubeconfig};
use crate::error::{Error, FileContext, Result};
use crate::run_directory::{OWNER_LOCK, RunDirectory};
use crate::tools::{Tools, variable};
use crate::{Components, ControlPlane, Options};
use crate::{installation, json_file};
pub(crate) use lease::Lease;
use lease::Seat;
pub use lease::{Outcome, give_back};
use reset::{AT_REST, FirstState};

/// Names the folder of the pool to the processes of tests.
pub const POOL: &str = "DROVER_E2E_POOL";

/// How links are called that a test has to the control planes that it took, for whoever shows their logs.
pub(crate) const PLANE_LINK: &str = "plane";

const RECORD: &str = "plane.json";
const FIRST_STATE: &str = "first-state.json";
const TAKEN: &str = "taken.lock";
const HARMED: &str = "harmed";
/// Held by whoever starts a control plane, one for each that may be started at a time.
const STARTING: &str = "starting";
/// More at a time do not become ready sooner, and miss the time that each has for it.
const STARTS_PER_CORE: usize = 2;
/// Between two looks for a turn.
const TURN_PAUSE: Duration = Duration::from_millis(50);
/// Held for moments, by whoever looks for a control plane or makes a place for one.
const POOL_LOCK: &str = "pool.lock";

/// What a control plane of a pool has. All have a controller manager and write an audit log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Shape {
    /// Nothing but what Kubernetes makes itself.
    Bare,
    /// Both charts are installed.
    Management,
}

/// A folder with control planes.
#[derive(Debug)]
pub struct Pool {
    directory: PathBuf,
    /// Whose holder all of it ends with; none if it is kept.
    owner: Option<PathBuf>,
    tools: Tools,
}

/// A pool that ends with this process, or with this value.
#[derive(Debug)]
pub struct OwnedPool {
    pool: Pool,
    _directory: RunDirectory,
}

/// What the folder of a control plane says of it.
#[derive(Debug, Serialize, Deserialize)]
struct Entry {
    shape: Shape,
    /// Of which charts, for one that has them.
    charts: String,
    plane: Record,
}

impl OwnedPool {
    /// An empty pool.
    pub fn create() -> Result<Self> {
        let tools = Tools::from_environment()?;
        let directory = RunDirectory::temporary(&tools.run_directory(), "pool")?;
        let path = directory.path().to_owned();
        let owner = Some(path.join(OWNER_LOCK));
        Ok(Self { pool: Pool { directory: path, owner, tools }, _directory: directory })
    }

    /// The pool.
    #[must_use]
    pub fn pool(&self) -> &Pool {
        &self.pool
    }

    /// Ends everything in it and removes it.
    pub async fn end(self) -> Result<()> {
        self.pool.end().await
    }
}

impl Pool {
    /// The pool that this process was told of, else the one that is kept, if there is one.
    pub fn from_environment() -> Result<Self> {
        let Some(directory) = variable(POOL).map(PathBuf::from) else { return Self::kept() };
        let owner = Some(directory.join(OWNER_LOCK)).filter(|lock| lock.is_file());
        Ok(Self { directory, owner, tools: Tools::from_environment()? })
    }

    /// The pool whose control planes outlive the processes that use them. It is there once [`Pool::fill`] was called.
    pub fn kept() -> Result<Self> {
        let tools = Tools::from_environment()?;
        Ok(Self { directory: tools.planes_directory(), owner: None, tools })
    }

    /// Whether it has a folder.
    #[must_use]
    pub fn exists(&self) -> bool {
        self.directory.is_dir()
    }

    /// Its folder.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Makes sure that it has at least so many control planes of each of these shapes. Only what is missing is started: the rest
    /// stays as it is, with whatever a test left in it.
    pub async fn fill(&self, shapes: &[Shape]) -> Result<()> {
        fs::create_dir_all(&self.directory).on("create", &self.directory)?;
        let mut missing = shapes.to_vec();
        for folder in self.folders()? {
            let Some(entry) = Entry::read(&folder) else { continue };
            let place = missing.iter().position(|shape| *shape == entry.shape);
            if let Some(place) = place
                && self.is_usable(&entry, &folder)?
            {
                missing.remove(place);
            }
        }
        let started =
            missing.into_iter().map(|shape| async move { self.start(shape, fingerprint(shape)?, "new").await });
        let started: Vec<ControlPlane> = futures::future::try_join_all(started).await?;
        drop(started);
        give_back(Outcome::Passed).await
    }

    /// Whether a test may take it, rather than throw it away.
    fn is_usable(&self, entry: &Entry, folder: &Path) -> Result<bool> {
        let is_harmed = folder.join(HARMED).exists();
        Ok(!is_harmed && entry.charts == fingerprint(entry.shape)? && entry.plane.is_current(&self.tools))
    }

    /// Takes a control plane in its first state, under this name; starts one if none is free.
    pub async fn take(&self, shape: Shape, name: &str) -> Result<ControlPlane> {
        let plane = self.take_or_start(shape, name).await?;
        if variable(POOL).is_some() {
            // Two of one name are rare, and the logs of the first will do.
            let _ = symlink(plane.directory(), std::env::temp_dir().join(format!("{name}.{PLANE_LINK}")));
        }
        Ok(plane)
    }

    async fn take_or_start(&self, shape: Shape, name: &str) -> Result<ControlPlane> {
        let charts = fingerprint(shape)?;
        while let Some((seat, entry)) = self.free(shape)? {
            let is_usable = self.is_usable(&entry, &seat.directory)?;
            entry.plane.thaw()?;
            if is_usable && seat.first_state()?.restore(&entry.plane, &seat.directory, AT_REST).await.is_ok() {
                let directory = seat.directory.clone();
                return ControlPlane::take_over(entry.plane, &directory, name, Lease::new(seat)).await;
            }
            seat.discard().await?;
        }
        self.start(shape, charts, name).await
    }

    /// Some control plane of this shape that nobody uses.
    fn free(&self, shape: Shape) -> Result<Option<(Seat, Entry)>> {
        let _lock = self.lock()?;
        for folder in self.folders()? {
            let Some(seat) = Seat::of_existing(&folder) else { continue };
            match seat.entry() {
                Some(entry) if entry.shape == shape => return Ok(Some((seat, entry))),
                Some(_) => {}
                // Whoever was about to start it is gone, and all of it with them.
                None => seat.remove()?,
            }
        }
        Ok(None)
    }

    async fn start(&self, shape: Shape, charts: String, name: &str) -> Result<ControlPlane> {
        let turn = self.turn().await?;
        let seat = self.place()?;
        let options = Options {
            components: Components::WithControllerManager,
            audit: true,
            data_directory: DataDirectory::Given(seat.directory.clone()),
            ..Options::new(name)
        };
        let plane = ControlPlane::start(options).await?;
        if shape == Shape::Management {
            installation::install_charts(&plane, &installation::charts())?;
        }
        drop(turn);
        let entry = Entry { shape, charts, plane: plane.record()? };
        FirstState::settled(&entry.plane).await?.write(&seat.directory.join(FIRST_STATE))?;
        // Until here it ends with us. Whoever kills us from here on leaves a record by which others end it.
        seat.write(&entry)?;
        plane.hand_over(self.owner.as_deref())?;
        let directory = seat.directory.clone();
        ControlPlane::take_over(entry.plane, &directory, name, Lease::new(seat)).await
    }

    /// A new folder that is ours.
    fn place(&self) -> Result<Seat> {
        let _lock = self.lock()?;
        let folder = tempfile::Builder::new().prefix("plane-").tempdir_in(&self.directory);
        let folder = folder.on("create in", &self.directory)?.keep();
        Seat::of_new(folder)
    }

    fn folders(&self) -> Result<Vec<PathBuf>> {
        let entries = fs::read_dir(&self.directory).on("list", &self.directory)?.flatten();
        Ok(entries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect())
    }

    /// Waits for a turn to start a control plane, which lasts as long as the file is open.
    async fn turn(&self) -> Result<File> {
        let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let files = (0..STARTS_PER_CORE * cores).map(|number| {
            let path = self.directory.join(format!("{STARTING}-{number}.lock"));
            File::create(&path).on("create", path)
        });
        let mut files = files.collect::<Result<Vec<File>>>()?;
        loop {
            if let Some(free) = files.iter().position(|file| file.try_lock().is_ok()) {
                return Ok(files.swap_remove(free));
            }
            tokio::time::sleep(TURN_PAUSE).await;
        }
    }

    fn lock(&self) -> Result<File> {
        let path = self.directory.join(POOL_LOCK);
        let file = File::create(&path).on("create", &path)?;
        file.lock().on("lock", path)?;
        Ok(file)
    }

    /// Ends all of its control planes and removes it. Of one that is kept none may be in use.
    pub async fn end(&self) -> Result<()> {
        let _held = if self.owner.is_none() { Some((self.lock()?, self.all_seats()?)) } else { None };
        for folder in self.folders()? {
            if let Some(entry) = Entry::read(&folder) {
                entry.plane.kill().await?;
            }
        }
        fs::remove_dir_all(&self.directory).on("remove", &self.directory)
    }

    /// All of them, so that nobody takes one any more.
    fn all_seats(&self) -> Result<Vec<Seat>> {
        let (mut seats, mut in_use) = (Vec::new(), Vec::new());
        for folder in self.folders()? {
            match Seat::of_existing(&folder) {
                Some(seat) => seats.push(seat),
                None if folder.join(TAKEN).exists() => in_use.push(folder.display().to_string()),
                None => {}
            }
        }
        if in_use.is_empty() { Ok(seats) } else { Err(Error::PlanesInUse { folders: in_use.join(", ") }) }
    }

    /// What it has, for people: a line for each control plane.
    pub fn describe(&self) -> Result<Vec<String>> {
        let line = |folder: PathBuf| {
            let entry = Entry::read(&folder)?;
            let state = if self.is_usable(&entry, &folder).unwrap_or(false) { "running" } else { "outdated or harmed" };
            Some(format!("{:?}: {state}, KUBECONFIG={}", entry.shape, administrator_kubeconfig(&folder).display()))
        };
        Ok(self.folders()?.into_iter().filter_map(line).collect())
    }
}

impl Entry {
    /// None if nothing was started there yet.
    fn read(folder: &Path) -> Option<Self> {
        json_file::read(&folder.join(RECORD)).ok()
    }
}

/// Says whether charts are the same.
fn fingerprint(shape: Shape) -> Result<String> {
    match shape {
        Shape::Bare => Ok(String::new()),
        Shape::Management => crate::tools::digest_of_tree(&installation::charts()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_kept_pool_does_not_end_while_somebody_uses_it() {
        let parent = tempfile::tempdir().unwrap();
        let directory = parent.path().join("planes");
        fs::create_dir(&directory).unwrap();
        let pool = Pool { directory, owner: None, tools: Tools::from_environment().unwrap() };
        let (used, free) = (pool.place().unwrap(), pool.place().unwrap());
        let (used_folder, free_folder) = (used.directory.clone(), free.directory.clone());
        drop(free);
        let error = pool.end().await.unwrap_err().to_string();
        assert!(error.contains(&used_folder.display().to_string()), "{error}");
        assert!(!error.contains(&free_folder.display().to_string()), "{error}");
        assert!(free_folder.exists(), "all or nothing");
        drop(used);
        pool.end().await.unwrap();
        assert!(!pool.exists());
    }
}
