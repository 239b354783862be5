//! Control planes that outlive the process that started them.

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{ControlPlane, Running, client_from};
use crate::error::{Error, FileContext, Result};
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
    /// Lets the control plane run on its own, and writes what [`down`] needs to end it.
    pub fn detach(mut self, state_file: &Path) -> Result<DetachedControlPlane> {
        for process in self.processes.values_mut() {
            process.check()?;
        }
        let (name, endpoint, kubeconfig_path) = (self.name().to_owned(), self.endpoint(), self.kubeconfig_path());
        let (directory, temporary) = (self.directory(), self.directory.is_temporary());
        let processes = std::mem::take(&mut self.processes);
        let processes = processes.into_values().map(Running::detach).collect::<Result<Vec<_>>>()?;
        let state = DetachedControlPlane { name, endpoint, kubeconfig_path, processes, directory, temporary };
        let text = serde_json::to_string_pretty(&state).map_err(|source| json_error(state_file, source))?;
        fs::write(state_file, text).on("write", state_file)?;
        self.directory.detach(&state.processes)?;
        Ok(state)
    }
}

impl DetachedControlPlane {
    /// Reads a state file.
    pub fn load(state_file: &Path) -> Result<Self> {
        let text = fs::read_to_string(state_file).on("read", state_file)?;
        serde_json::from_str(&text).map_err(|source| json_error(state_file, source))
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

fn json_error(state_file: &Path, source: serde_json::Error) -> Error {
    Error::Json { what: state_file.display().to_string(), source }
}
