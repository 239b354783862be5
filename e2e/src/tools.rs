//! Finds the programs of a control plane, or builds them from the pinned Go modules in `e2e/tools`.
//!
//! The order per program: its own variable (`TEST_ASSET_KUBE_APISERVER` and so on), the directory in
//! `KUBEBUILDER_ASSETS`, our cache (`DROVER_E2E_CACHE`, else `drover-e2e` in the user's cache directory), then a build.

mod benchmarks;
mod build;
mod program;
mod progress;
mod stages;

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::error::{Error, Result};
pub(crate) use build::{digest_of_tree, short_digest};
pub use program::Program;
pub(crate) use progress::say;

/// Where a program came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// The environment names it.
    Provided,
    /// An earlier run built it.
    Cached,
    /// This run built it, in this time.
    Built(Duration),
}

/// A program that is ready to run.
#[derive(Debug, Clone)]
pub struct Found {
    /// Which program.
    pub program: Program,
    /// Where it is.
    pub path: PathBuf,
    /// Where it came from.
    pub origin: Origin,
}

/// The places where programs are looked for.
#[derive(Debug, Clone)]
pub struct Tools {
    cache: PathBuf,
    modules: PathBuf,
}

impl Tools {
    /// The places that the environment names, or the usual ones.
    pub fn from_environment() -> Result<Self> {
        let modules = variable("DROVER_E2E_TOOLS")
            .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("tools"), PathBuf::from);
        Ok(Self { cache: cache_directory()?, modules })
    }

    /// The path of one program; builds it if it is nowhere, which can take minutes.
    pub fn path(&self, program: Program) -> Result<PathBuf> {
        self.ensure(program).map(|found| found.path)
    }

    /// Like [`Tools::path`], and says where the program came from.
    pub fn ensure(&self, program: Program) -> Result<Found> {
        if let Some(path) = provided(program)? {
            return Ok(Found { program, path, origin: Origin::Provided });
        }
        let (path, origin) = build::cached_or_built(&self.cache, &self.modules, program)?;
        Ok(Found { program, path, origin })
    }

    /// Like [`Tools::ensure`] for several programs, without blocking the asynchronous runtime.
    pub async fn ensure_all(&self, programs: &[Program]) -> Result<Vec<Found>> {
        let (tools, programs) = (self.clone(), programs.to_vec());
        tokio::task::spawn_blocking(move || programs.into_iter().map(|program| tools.ensure(program)).collect()).await?
    }

    /// The Stage files that tell kwok how nodes and pods behave.
    pub fn kwok_stages(&self) -> Result<Vec<PathBuf>> {
        let stages = stages::find(&self.path(Program::Kwok)?, &self.cache, &self.modules)?;
        Ok([stages, stages::own()?].concat())
    }

    /// The folder with the benchmarks of kube-bench.
    pub fn kube_bench_configuration(&self) -> Result<PathBuf> {
        benchmarks::find(&self.path(Program::KubeBench)?, &self.cache, &self.modules)
    }

    /// The directory in which running control planes keep their data.
    pub(crate) fn run_directory(&self) -> PathBuf {
        self.cache.join("run")
    }

    /// The file that says which ports belong to which control plane.
    pub(crate) fn ports_file(&self) -> PathBuf {
        self.cache.join("ports.json")
    }

    /// The file that says how long tests took.
    pub(crate) fn durations_file(&self) -> PathBuf {
        self.cache.join("durations.json")
    }

    /// The file that says what of a part of `make soak` has passed.
    pub(crate) fn soak_file(&self, part: &str) -> PathBuf {
        self.cache.join(format!("soak-{part}"))
    }

    /// The directory of packages of the system's distribution that were unpacked.
    pub(crate) fn packages_directory(&self) -> PathBuf {
        self.cache.join("packages")
    }

    /// The directory of the control planes that are kept.
    pub(crate) fn planes_directory(&self) -> PathBuf {
        self.cache.join("planes")
    }
}

fn provided(program: Program) -> Result<Option<PathBuf>> {
    let variable_name = program.variable();
    if let Some(path) = variable(&variable_name).map(PathBuf::from) {
        return if path.is_file() { Ok(Some(path)) } else { Err(Error::NotThere { variable: variable_name, path }) };
    }
    let in_assets = variable("KUBEBUILDER_ASSETS").map(|directory| Path::new(&directory).join(program.name()));
    Ok(in_assets.filter(|path| path.is_file()))
}

fn cache_directory() -> Result<PathBuf> {
    let named = variable("DROVER_E2E_CACHE").map(PathBuf::from);
    let of_desktop = variable("XDG_CACHE_HOME").map(|directory| Path::new(&directory).join("drover-e2e"));
    let of_home = variable("HOME").map(|directory| Path::new(&directory).join(".cache/drover-e2e"));
    named.or(of_desktop).or(of_home).ok_or(Error::NoCache)
}

/// A variable that is set and not empty.
pub(crate) fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}
