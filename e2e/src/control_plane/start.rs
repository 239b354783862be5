//! From options to a control plane that answers.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::ServiceAccount;
use kube::Api;
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use super::arguments::{self, Layout};
use super::ports::Ports;
use super::{Component, ControlPlane, DataDirectory, Options, Running, client_from};
use crate::audit;
use crate::certificates::{self, Authority, ensure_signing_key, write_private};
use crate::error::{Error, FileContext, Result};
use crate::process::{Process, Specification};
use crate::run_directory::RunDirectory;
use crate::tools::Tools;

const POLL: Duration = Duration::from_millis(50);
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);
const ATTEMPTS_FOR_PORTS: usize = 5;
const ADMINISTRATORS: &str = "system:masters";

impl ControlPlane {
    /// Starts a control plane and waits until it is ready.
    pub async fn start(options: Options) -> Result<Self> {
        let tools = Tools::from_environment()?;
        tools.ensure_all(&options.components.programs()).await?;
        let directory = match &options.data_directory {
            DataDirectory::Temporary => RunDirectory::temporary(&tools.run_directory(), &options.name)?,
            DataDirectory::Given(path) => RunDirectory::given(path)?,
        };
        let layout = Layout(directory.path().to_owned());
        let authority = prepare_files(&layout)?;
        let ports = Ports::reserve(&tools.ports_file(), directory.path())?;
        let (kubeconfig, client) = administrator(&options, &layout, &authority, ports).await?;
        let (processes, lease) = (BTreeMap::new(), None);
        let mut plane =
            Self { options, tools, ports, authority, kubeconfig, client, processes, layout, directory, lease };
        plane.start_on_free_ports().await?;
        Ok(plane)
    }

    /// Another process can take a port between our look and the start, so a start that fails for this is tried again.
    async fn start_on_free_ports(&mut self) -> Result<()> {
        for _ in 1..ATTEMPTS_FOR_PORTS {
            match self.start_components(&self.options.list()).await {
                Err(Error::Ended { tail, .. }) if tail.contains("address already in use") => {
                    self.change_ports().await?;
                }
                outcome => return outcome,
            }
        }
        self.start_components(&self.options.list()).await
    }

    async fn change_ports(&mut self) -> Result<()> {
        self.processes.clear();
        self.ports = Ports::reserve(&self.tools.ports_file(), self.directory.path())?;
        (self.kubeconfig, self.client) =
            administrator(&self.options, &self.layout, &self.authority, self.ports).await?;
        Ok(())
    }

    /// Starts these components, which must be in their order, and waits until they are ready.
    pub(super) async fn start_components(&mut self, components: &[Component]) -> Result<()> {
        for component in components {
            self.spawn(*component)?;
            if *component == Component::Apiserver {
                self.wait_for_apiserver().await?;
            }
        }
        for component in components {
            self.wait_for_port(*component).await?;
        }
        if components.contains(&Component::ControllerManager) {
            self.wait_for_service_account().await?;
        }
        Ok(())
    }

    pub(super) fn spawn(&mut self, component: Component) -> Result<()> {
        let stages = if component == Component::Kwok { self.tools.kwok_stages()? } else { Vec::new() };
        let process = Process::start(&Specification {
            name: format!("{} of {}", component.name(), self.options.name),
            program: self.tools.path(component.program())?,
            arguments: arguments::of(component, &self.options, &self.layout, self.ports, &stages),
            environment: arguments::environment(),
            log: self.layout.log(component),
        })?;
        self.processes.insert(component, Running::Ours(process));
        Ok(())
    }

    /// Waits until `/readyz` says ok to an administrator.
    pub async fn wait_for_apiserver(&mut self) -> Result<()> {
        let client = self.client.clone();
        self.wait_until(Component::Apiserver, || probe_readiness(client.clone())).await
    }

    async fn wait_for_port(&mut self, component: Component) -> Result<()> {
        let port = match component {
            Component::Etcd => self.ports.etcd_client,
            Component::Apiserver => self.ports.apiserver,
            Component::ControllerManager => self.ports.controller_manager,
            Component::Scheduler => self.ports.scheduler,
            Component::Kwok => self.ports.kwok,
        };
        self.wait_until(component, || async move {
            TcpStream::connect(("127.0.0.1", port)).await.map(drop).map_err(|error| error.to_string())
        })
        .await
    }

    /// Without it, pods are refused.
    async fn wait_for_service_account(&mut self) -> Result<()> {
        let accounts: Api<ServiceAccount> = Api::namespaced(self.client(), "default");
        self.wait_until(Component::ControllerManager, || async {
            match accounts.get_opt("default").await {
                Ok(Some(_)) => Ok(()),
                Ok(None) => Err("service account default/default is not there".to_owned()),
                Err(error) => Err(error.to_string()),
            }
        })
        .await
    }

    async fn wait_until<F: Future<Output = Result<(), String>>>(
        &mut self,
        component: Component,
        probe: impl Fn() -> F,
    ) -> Result<()> {
        let limit = self.options.start_timeout;
        let started = Instant::now();
        loop {
            // Any of them: an API server waits long for an etcd that has ended.
            self.processes.values_mut().try_for_each(Running::check)?;
            let reason = match timeout(PROBE_TIMEOUT, probe()).await {
                Ok(Ok(())) => return Ok(()),
                Ok(Err(reason)) => reason,
                Err(_) => format!("no answer in {} s", PROBE_TIMEOUT.as_secs()),
            };
            if started.elapsed() > limit {
                let process = self.process(component)?;
                let (name, log, tail) = (process.name().to_owned(), process.log().to_owned(), process.log_tail());
                return Err(Error::NotReady { name, seconds: limit.as_secs(), reason, log, tail });
            }
            sleep(POLL).await;
        }
    }
}

async fn probe_readiness(client: kube::Client) -> Result<(), String> {
    let request = http::Request::get("/readyz").body(Vec::new()).map_err(|error| error.to_string())?;
    client.request_text(request).await.map(drop).map_err(|error| error.to_string())
}

/// Directories, authority, keys and the audit policy: everything that does not depend on ports.
fn prepare_files(layout: &Layout) -> Result<Authority> {
    let certificates = layout.certificates();
    for directory in [&certificates, &layout.logs()] {
        fs::create_dir_all(directory).on("create", directory)?;
    }
    let authority = Authority::load_or_create(&certificates, "ca")?;
    authority.server("kube-apiserver")?.write(&certificates, "apiserver")?;
    ensure_signing_key(&certificates, "service-account")?;
    write_private(&layout.audit_policy(), &audit::policy())?;
    Ok(authority)
}

/// Writes the kubeconfigs of administrator and components; returns the first, with a client.
pub(super) async fn administrator(
    options: &Options,
    layout: &Layout,
    authority: &Authority,
    ports: Ports,
) -> Result<(String, kube::Client)> {
    let write = |file: &str, user: &str, groups: &[&str]| -> Result<String> {
        let identity = authority.client(user, groups)?;
        let server = format!("https://127.0.0.1:{}", ports.apiserver);
        let text = certificates::kubeconfig(&options.name, &server, authority.certificate(), user, &identity);
        let path: PathBuf = layout.kubeconfig(file);
        write_private(&path, &text)?;
        Ok(text)
    };
    write(Component::ControllerManager.name(), "system:kube-controller-manager", &[])?;
    write(Component::Scheduler.name(), "system:kube-scheduler", &[])?;
    write(Component::Kwok.name(), "kwok", &[ADMINISTRATORS])?;
    let kubeconfig = write("admin", "admin", &[ADMINISTRATORS])?;
    let client = client_from(&kubeconfig).await?;
    Ok((kubeconfig, client))
}
