//! A control plane that one process started and others use after it: see [`crate::pool`].

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::arguments::Layout;
use super::ports::Ports;
use super::start::administrator;
use super::{Component, Components, ControlPlane, DataDirectory, Options, Running};
use crate::certificates::Authority;
use crate::error::Result;
use crate::pool::Lease;
use crate::process::DetachedProcess;
use crate::run_directory::RunDirectory;
use crate::tools::Tools;

/// The kubeconfig of the administrator of the control plane in a directory.
pub(crate) fn administrator_kubeconfig(directory: &Path) -> PathBuf {
    Layout(directory.to_owned()).kubeconfig("admin")
}

/// What a process has to know to go on with a control plane that another one started.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Record {
    components: Components,
    audit: bool,
    pub(crate) ports: Ports,
    processes: BTreeMap<Component, DetachedProcess>,
}

impl Record {
    /// Whether all its processes run, and run what would be started today.
    pub(crate) fn is_current(&self, tools: &Tools) -> bool {
        self.processes.iter().all(|(component, process)| {
            let program = tools.path(component.program());
            program.is_ok_and(|program| program == process.program()) && process.is_running()
        })
    }

    /// Stops its processes in their tracks: what nobody uses takes no time of a core.
    pub(crate) async fn freeze(&self) -> Result<()> {
        for process in self.processes.values().rev() {
            process.pause().await?;
        }
        Ok(())
    }

    /// Lets them go on.
    pub(crate) fn thaw(&self) -> Result<()> {
        self.processes.values().try_for_each(DetachedProcess::resume)
    }

    /// Kills what still runs.
    pub(crate) async fn kill(&self) -> Result<()> {
        for process in self.processes.values().rev() {
            process.kill().await?;
        }
        Ok(())
    }
}

impl ControlPlane {
    /// What another process has to know to go on with it.
    pub(crate) fn record(&self) -> Result<Record> {
        let processes = self.processes.iter().map(|(component, running)| Ok((*component, running.observe()?)));
        let processes = processes.collect::<Result<_>>()?;
        Ok(Record { components: self.options.components, audit: self.options.audit, ports: self.ports, processes })
    }

    /// Leaves the processes to others: they end with the holder of `lock`, or, without one, when somebody ends them.
    pub(crate) fn hand_over(mut self, lock: Option<&Path>) -> Result<()> {
        std::mem::take(&mut self.processes).into_values().try_for_each(|running| match (running, lock) {
            (Running::Ours(process), Some(lock)) => process.tie_to(lock).map(drop),
            (running, _) => running.detach().map(drop),
        })
    }

    /// Goes on with a control plane under another name.
    pub(crate) async fn take_over(record: Record, directory: &Path, name: &str, lease: Lease) -> Result<Self> {
        let Record { components, audit, ports, processes } = record;
        let data_directory = DataDirectory::Given(directory.to_owned());
        let options = Options { components, audit, data_directory, ..Options::new(name) };
        let directory = RunDirectory::given(directory)?;
        let layout = Layout(directory.path().to_owned());
        let authority = Authority::load_or_create(&layout.certificates(), "ca")?;
        let (kubeconfig, client) = administrator(&options, &layout, &authority, ports).await?;
        let processes =
            processes.into_iter().map(|(component, process)| (component, Running::Pooled(process))).collect();
        let (tools, lease) = (Tools::from_environment()?, Some(lease));
        Ok(Self { options, tools, ports, authority, kubeconfig, client, processes, layout, directory, lease })
    }

    /// Nobody uses it after us.
    pub fn harm(&self) -> Result<()> {
        self.lease.as_ref().map_or(Ok(()), Lease::harm)
    }
}
