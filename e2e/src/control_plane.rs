//! One control plane: real processes, real data, on loopback ports.

mod arguments;
mod audited;
mod backup;
mod component;
mod detached;
mod faults;
mod nodes;
mod pooled;
mod ports;
mod running;
mod start;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use kube::config::{KubeConfigOptions, Kubeconfig};

use crate::certificates::{self, Authority};
use crate::error::{Error, Result};
use crate::pool::Lease;
use crate::run_directory::RunDirectory;
use crate::tools::{Program, Tools};
use crate::wait::patiently;
use arguments::Layout;
pub use backup::Revisions;
pub use component::{Component, Components};
pub use detached::{DetachedControlPlane, down};
pub use faults::SlowEtcd;
pub use nodes::NODE_SELECTOR;
pub(crate) use pooled::{Record, administrator_kubeconfig};
use ports::Ports;
use running::Running;

/// Where a control plane keeps its data.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum DataDirectory {
    /// A new directory in the cache, removed at the end.
    #[default]
    Temporary,
    /// This directory, kept at the end; a later start from it finds the same data and the same authority.
    Given(PathBuf),
}

/// Where the API server keeps its objects.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Storage {
    /// An etcd of its own.
    #[default]
    Own,
    /// The etcd of another control plane, under a prefix of its own; for many control planes on a small machine.
    Shared {
        /// Its URL.
        endpoint: String,
        /// Begins with a slash.
        prefix: String,
    },
}

/// 8 GiB, the most that etcd's manual suggests.
const AMPLE_ETCD_QUOTA: u64 = 8 << 30;

/// What control plane to start.
#[derive(Debug, Clone)]
pub struct Options {
    /// The name in messages, in the kubeconfig and of the data directory.
    pub name: String,
    /// Which processes.
    pub components: Components,
    /// Whether to write an audit log, so that tests can count requests.
    pub audit: bool,
    /// More flags for the API server, such as `--watch-cache=false`.
    pub apiserver_arguments: Vec<String>,
    /// More controllers, such as `node-lifecycle-controller`.
    pub additional_controllers: Vec<String>,
    /// How many bytes etcd may hold before it takes no more writes.
    pub etcd_quota: u64,
    /// Where the API server keeps its objects.
    pub storage: Storage,
    /// Where the data is.
    pub data_directory: DataDirectory,
    /// How long each component may take to become ready.
    pub start_timeout: Duration,
}

impl Options {
    /// etcd and an API server without audit, in a temporary directory.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            components: Components::ApiserverOnly,
            audit: false,
            apiserver_arguments: Vec::new(),
            additional_controllers: Vec::new(),
            etcd_quota: AMPLE_ETCD_QUOTA,
            storage: Storage::Own,
            data_directory: DataDirectory::Temporary,
            start_timeout: patiently(Duration::from_mins(1)),
        }
    }

    fn list(&self) -> Vec<Component> {
        let own = |component: &Component| *component != Component::Etcd || self.storage == Storage::Own;
        self.components.list().iter().copied().filter(own).collect()
    }
}

/// A running control plane. Dropping it kills its processes and removes its temporary data.
pub struct ControlPlane {
    options: Options,
    tools: Tools,
    ports: Ports,
    authority: Authority,
    kubeconfig: String,
    client: kube::Client,
    // Dropped before the directory, in which the processes write.
    processes: BTreeMap<Component, Running>,
    layout: Layout,
    directory: RunDirectory,
    /// Where it comes from and goes back to.
    lease: Option<Lease>,
}

impl ControlPlane {
    /// The name that it was given.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.options.name
    }

    /// The URL of the API server.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("https://127.0.0.1:{}", self.ports.apiserver)
    }

    /// The port of the API server on 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.ports.apiserver
    }

    /// The port of its etcd on 127.0.0.1, without TLS.
    #[must_use]
    pub fn etcd_port(&self) -> u16 {
        self.ports.etcd_client
    }

    /// The URL of its etcd, for clients on this machine.
    fn etcd_endpoint(&self) -> String {
        match &self.options.storage {
            Storage::Own => format!("http://127.0.0.1:{}", self.ports.etcd_client),
            Storage::Shared { endpoint, .. } => endpoint.clone(),
        }
    }

    /// Its etcd, for another control plane of this name.
    #[must_use]
    pub fn shared_storage(&self, name: &str) -> Storage {
        Storage::Shared { endpoint: self.etcd_endpoint(), prefix: format!("/{name}") }
    }

    /// The kubeconfig of a cluster administrator, with everything inline.
    #[must_use]
    pub fn kubeconfig(&self) -> String {
        self.kubeconfig.clone()
    }

    /// A file with the same kubeconfig.
    #[must_use]
    pub fn kubeconfig_path(&self) -> PathBuf {
        self.layout.kubeconfig("admin")
    }

    /// The kubeconfig of any user, in at most two groups, without any right until a role is bound.
    pub fn kubeconfig_for(&self, user: &str, groups: &[&str]) -> Result<String> {
        let identity = self.authority.client(user, groups)?;
        Ok(certificates::kubeconfig(self.name(), &self.endpoint(), self.authority.certificate(), user, &identity))
    }

    /// The same, with a certificate that ends at the beginning of a day: year, month and day.
    pub fn kubeconfig_until(&self, user: &str, groups: &[&str], end: (i32, u8, u8)) -> Result<String> {
        let identity = self.authority.client_until(user, groups, end)?;
        Ok(certificates::kubeconfig(self.name(), &self.endpoint(), self.authority.certificate(), user, &identity))
    }

    /// The kubeconfig of whoever has this bearer token, such as one by `kubectl create token`.
    #[must_use]
    pub fn kubeconfig_with_token(&self, token: &str) -> String {
        let authority = self.authority.certificate();
        certificates::kubeconfig_with_token(self.name(), &self.endpoint(), authority, "token", token)
    }

    /// A client that acts as any user.
    pub async fn client_for(&self, user: &str, groups: &[&str]) -> Result<kube::Client> {
        client_from(&self.kubeconfig_for(user, groups)?).await
    }

    /// A client of a cluster administrator.
    #[must_use]
    pub fn client(&self) -> kube::Client {
        self.client.clone()
    }

    /// The certificate of the authority, as PEM.
    #[must_use]
    pub fn authority_certificate(&self) -> &str {
        self.authority.certificate()
    }

    /// A `kubectl` that is a cluster administrator and keeps its cache with this control plane.
    pub fn kubectl(&self) -> Result<Command> {
        let mut command = Command::new(self.tools.path(Program::Kubectl)?);
        command.env("KUBECONFIG", self.kubeconfig_path());
        command.env("KUBECACHEDIR", self.layout.0.join("kubectl-cache"));
        Ok(command)
    }

    /// A `helm` that is a cluster administrator and keeps its files with this control plane.
    pub fn helm(&self) -> Result<Command> {
        self.helm_of(Program::Helm)
    }

    /// The same of the major version before, which is built where it is nowhere.
    pub fn helm3(&self) -> Result<Command> {
        self.helm_of(Program::Helm3)
    }

    fn helm_of(&self, program: Program) -> Result<Command> {
        let mut command = Command::new(self.tools.path(program)?);
        command.env("KUBECONFIG", self.kubeconfig_path());
        for folder in ["CACHE", "CONFIG", "DATA"] {
            command.env(format!("HELM_{folder}_HOME"), self.layout.0.join("helm").join(folder.to_lowercase()));
        }
        Ok(command)
    }

    /// The directory with its data and logs.
    #[must_use]
    pub fn directory(&self) -> PathBuf {
        self.layout.0.clone()
    }

    /// The process ids of the programs that were started and not stopped.
    #[must_use]
    pub fn pids(&self) -> BTreeMap<Component, i32> {
        self.processes.iter().map(|(component, process)| (*component, process.pid())).collect()
    }

    fn process(&mut self, component: Component) -> Result<&mut Running> {
        let control_plane = self.options.name.clone();
        self.processes.get_mut(&component).ok_or(Error::NotRunning { control_plane, name: component.name() })
    }
}

/// A client from the text of a kubeconfig.
pub async fn client_from(kubeconfig: &str) -> Result<kube::Client> {
    // Several TLS libraries in one build leave no default; that one is there already is fine.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let config = Kubeconfig::from_yaml(kubeconfig)?;
    let config = kube::Config::from_custom_kubeconfig(config, &KubeConfigOptions::default()).await?;
    Ok(kube::Client::try_from(config)?)
}
