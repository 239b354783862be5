use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::json;
use tempfile::TempDir;

use super::ChartFiles;
use crate::error::{Error, FileContext, Result};
use crate::process::{Process, Specification};
use crate::wait::{eventually, soon};
use crate::{Program, Tools};

/// Who may use a registry that wants a login.
pub const LOGIN: (&str, &str) = ("drover", "drover-test-password");

/// `LOGIN` as htpasswd writes it, with bcrypt.
const HTPASSWD: &str = "drover:$2b$05$abcdefghijklmnopqrstuuTmKqz9F/v8SGe9gyDWZRKXRlo1leY0i\n";

/// An OCI registry on loopback, over plain HTTP. Dropping it ends it.
#[derive(Debug)]
pub struct Registry {
    address: String,
    wants_login: bool,
    helm: std::path::PathBuf,
    process: Process,
    folder: TempDir,
}

impl Registry {
    /// Starts an empty one that everyone may use.
    pub async fn start(tools: &Tools) -> Result<Self> {
        Self::launch(tools, false).await
    }

    /// Starts an empty one that wants [`LOGIN`].
    pub async fn start_with_login(tools: &Tools) -> Result<Self> {
        Self::launch(tools, true).await
    }

    async fn launch(tools: &Tools, wants_login: bool) -> Result<Self> {
        let found = tools.ensure_all(&[Program::Registry, Program::Helm]).await?;
        let [registry, helm] = found.as_slice() else { return Err(Error::TaskEnded) };
        let folder = tempfile::tempdir().on("create a folder in", std::env::temp_dir())?;
        let process = Process::start(&Specification {
            name: "registry".to_owned(),
            program: registry.path.clone(),
            arguments: vec!["serve".to_owned(), configure(folder.path(), wants_login)?],
            environment: Vec::new(),
            log: folder.path().join("registry.log"),
        })?;
        let mut registry = Self { address: String::new(), wants_login, helm: helm.path.clone(), process, folder };
        registry.address = eventually("the registry listens", soon(), async || registry.listens()).await?;
        Ok(registry)
    }

    /// The address that it says that it listens on.
    fn listens(&self) -> Result<Option<String>> {
        let log = fs::read_to_string(self.process.log()).on("read", self.process.log())?;
        let (_, rest) = log.split_once("listening on ").unwrap_or_default();
        let address = rest.split(['"', ',', ' ', '\n']).next().filter(|address| !address.is_empty());
        Ok(address.map(str::to_owned))
    }

    /// The URL of a repository in it, as a `ChartRepository` names it: `oci://127.0.0.1:PORT/NAME`.
    #[must_use]
    pub fn url(&self, name: &str) -> String {
        format!("oci://{}/{name}", self.address)
    }

    /// Pushes a chart below `name` with the real Helm.
    pub fn push(&self, name: &str, chart: &ChartFiles) -> Result<()> {
        let package = self.folder.path().join("package.tgz");
        fs::write(&package, chart.package()?).on("write", &package)?;
        let mut command = Command::new(&self.helm);
        command.arg("push").arg(&package).arg(self.url(name)).arg("--plain-http");
        if self.wants_login {
            command.args(["--username", LOGIN.0, "--password", LOGIN.1]);
        }
        for variable in ["HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME"] {
            command.env(variable, self.folder.path().join("helm"));
        }
        let output = command.output().map_err(|source| Error::Start { name: "helm".to_owned(), source })?;
        if output.status.success() {
            return Ok(());
        }
        Err(Error::Command {
            command: "helm push".to_owned(),
            status: output.status.to_string(),
            output: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }
}

/// Writes its configuration; it chooses a port by itself.
fn configure(folder: &Path, wants_login: bool) -> Result<String> {
    let passwords = folder.join("htpasswd");
    fs::write(&passwords, HTPASSWD).on("write", &passwords)?;
    let login = json!({"htpasswd": {"realm": "charts", "path": passwords}});
    let configuration = json!({
        "version": 0.1,
        "log": {"level": "info"},
        "storage": {"filesystem": {"rootdirectory": folder.join("storage")}, "delete": {"enabled": true}},
        "http": {"addr": "127.0.0.1:0"},
        "auth": wants_login.then_some(login),
    });
    let path = folder.join("registry.yaml");
    fs::write(&path, configuration.to_string()).on("write", &path)?;
    Ok(path.display().to_string())
}
