//! An etcd as distributions start one on a node: with TLS, and the certificates of its clients in a folder.

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::certificates::{Authority, write_private};
use crate::error::{Error, FileContext, Result};
use crate::process::{Process, Specification};
use crate::wait::{eventually, soon};
use crate::{Program, Tools};

/// Where kubeadm has the certificates of etcd.
pub const CERTIFICATES: &str = "/etc/kubernetes/pki/etcd";
/// Where every member listens on its node.
pub const ADDRESS: &str = "127.0.0.1:2379";

/// Files of a client, in the folder with the certificates.
#[derive(Clone, Copy, Debug)]
pub struct ClientFiles {
    /// The authority of the member's certificate.
    pub authority: &'static str,
    /// The certificate of a client is `NAME.crt`, its key `NAME.key`.
    pub client: &'static str,
}

/// Those of kubeadm.
pub const OF_KUBEADM: ClientFiles = ClientFiles { authority: "ca.crt", client: "healthcheck-client" };
/// Those of k3s and RKE2.
pub const OF_K3S: ClientFiles = ClientFiles { authority: "server-ca.crt", client: "client" };

/// A member on loopback. Dropping it ends it.
#[derive(Debug)]
pub struct KubeadmEtcd {
    /// The process, to do harm to it.
    pub process: Process,
    port: u16,
    etcdctl: PathBuf,
    files: ClientFiles,
    folder: TempDir,
}

impl KubeadmEtcd {
    /// Starts an empty one, and waits until it answers.
    pub async fn start(tools: &Tools) -> Result<Self> {
        Self::with(tools, OF_KUBEADM).await
    }

    /// The same with these names of files.
    pub async fn with(tools: &Tools, files: ClientFiles) -> Result<Self> {
        let found = tools.ensure_all(&[Program::Etcd, Program::Etcdctl]).await?;
        let [etcd, etcdctl] = found.as_slice() else { return Err(Error::TaskEnded) };
        let folder = tempfile::tempdir().on("create a folder in", std::env::temp_dir())?;
        let certificates = folder.path().join("pki");
        fs::create_dir(&certificates).on("create", &certificates)?;
        let authority = Authority::new("etcd-ca")?;
        write_private(&certificates.join(files.authority), authority.certificate())?;
        authority.server("control-plane-1")?.write(&certificates, "server")?;
        authority.client("kube-etcd-healthcheck-client", &[])?.write(&certificates, files.client)?;
        let (port, peer) = (free_port()?, free_port()?);
        let process = Process::start(&Specification {
            name: "etcd with TLS".to_owned(),
            program: etcd.path.clone(),
            arguments: arguments(folder.path(), &certificates.join(files.authority), port, peer),
            environment: Vec::new(),
            log: folder.path().join("etcd.log"),
        })?;
        let member = Self { process, port, etcdctl: etcdctl.path.clone(), files, folder };
        eventually("etcd answers", soon(), async || Ok(member.etcdctl(&["endpoint", "health"]).ok())).await?;
        Ok(member)
    }

    /// The folder with its certificates.
    #[must_use]
    pub fn certificates(&self) -> PathBuf {
        self.folder.path().join("pki")
    }

    /// Where it listens in place of [`ADDRESS`].
    #[must_use]
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// `etcdctl` with the certificate of a client.
    #[must_use]
    pub fn command(&self) -> Command {
        let certificates = self.certificates();
        let mut command = Command::new(&self.etcdctl);
        command.arg(format!("--endpoints=https://{}", self.address()));
        let ClientFiles { authority, client } = self.files;
        let files =
            [("cacert", authority.to_owned()), ("cert", format!("{client}.crt")), ("key", format!("{client}.key"))];
        for (flag, file) in files {
            command.arg(format!("--{flag}={}", certificates.join(file).display()));
        }
        command
    }

    /// Runs etcdctl with the certificate of a client, and returns what it prints.
    pub fn etcdctl(&self, arguments: &[&str]) -> Result<String> {
        let output = self.command().args(arguments).output();
        let output = output.map_err(|source| Error::Start { name: "etcdctl".to_owned(), source })?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        Err(Error::Command {
            command: format!("etcdctl {}", arguments.join(" ")),
            status: output.status.to_string(),
            output: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }
}

fn arguments(folder: &Path, authority: &Path, port: u16, peer: u16) -> Vec<String> {
    let (client, peer) = (format!("https://127.0.0.1:{port}"), format!("http://127.0.0.1:{peer}"));
    let file = |name: &str| authority.with_file_name(name).display().to_string();
    vec![
        "--name=control-plane-1".to_owned(),
        format!("--data-dir={}", folder.join("data").display()),
        format!("--listen-client-urls={client}"),
        format!("--advertise-client-urls={client}"),
        format!("--listen-peer-urls={peer}"),
        format!("--initial-advertise-peer-urls={peer}"),
        format!("--initial-cluster=control-plane-1={peer}"),
        format!("--cert-file={}", file("server.crt")),
        format!("--key-file={}", file("server.key")),
        format!("--trusted-ca-file={}", authority.display()),
        "--client-cert-auth".to_owned(),
        // The most that etcd advises.
        format!("--quota-backend-bytes={}", 8_u64 << 30),
        "--unsafe-no-fsync".to_owned(),
        "--log-level=warn".to_owned(),
    ]
}

fn free_port() -> Result<u16> {
    let failed = |source| Error::Start { name: "a port".to_owned(), source };
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(failed)?;
    Ok(listener.local_addr().map_err(failed)?.port())
}
