//! Control planes that outlive the process that started them.

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{ControlPlane, Running, client_from};
use crate::error::{FileContext, Result};
use crate::json_file;
use crate::process::DetachedProcess;

/// What a state file says about a control plane that runs on its own.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DetachedControlPlane {
    /// Its name.
    pub name: String,
    /// The URL of its API server.
    pub endpoint: String,
    /// The kubeconfig of an administrator.
    pub kubeconfig_path: PathBuf,
    /// Its processes, in the order in which they were started.
    pub processes: Vec<DetachedProcess>,
    directory: PathBuf,
    temporary: bool,
}

impl ControlPlane {
    /// Writes what [`down`] needs to end the control plane, and then lets it run on its own: whoever kills us in between leaves
    /// a file of processes that have ended, and no processes without a file.
    pub fn detach(mut self, state_file: &Path) -> Result<DetachedControlPlane> {
        for process in self.processes.values_mut() {
            process.check()?;
        }
        let (name, endpoint, kubeconfig_path) = (self.name().to_owned(), self.endpoint(), self.kubeconfig_path());
        let (directory, temporary) = (self.directory(), self.directory.is_temporary());
        let processes = self.processes.values().map(Running::observe).collect::<Result<Vec<_>>>()?;
        let state = DetachedControlPlane { name, endpoint, kubeconfig_path, processes, directory, temporary };
        json_file::write(state_file, &state)?;
        self.directory.detach(&state.processes)?;
        std::mem::take(&mut self.processes).into_values().try_for_each(|running| running.detach().map(drop))?;
        Ok(state)
    }
}

impl DetachedControlPlane {
    /// Reads a state file.
    pub fn load(state_file: &Path) -> Result<Self> {
        json_file::read(state_file)
    }

    /// Whether all its processes run.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.processes.iter().all(DetachedProcess::is_running)
    }

    /// A client of a cluster administrator.
    pub async fn client(&self) -> Result<kube::Client> {
        let path = &self.kubeconfig_path;
        client_from(&fs::read_to_string(path).on("read", path)?).await
    }
}

/// Ends the control plane of a state file, removes its temporary data and the state file. Only signals processes that
/// are still the ones that were started.
pub async fn down(state_file: &Path) -> Result<DetachedControlPlane> {
    let state = DetachedControlPlane::load(state_file)?;
    for process in state.processes.iter().rev() {
        process.terminate().await?;
    }
    if state.temporary && state.directory.is_dir() {
        fs::remove_dir_all(&state.directory).on("remove", &state.directory)?;
    }
    fs::remove_file(state_file).on("remove", state_file)?;
    Ok(state)
}
