//! Snapshots of etcd, their restore, and compaction.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde_json::Value;

use super::{Component, ControlPlane, arguments};
use crate::error::{Error, FileContext, Result};
use crate::tools::Program;

/// What a restore does to the revisions that clients remember.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Revisions {
    /// They start again at the snapshot, so clients know versions that do not exist yet: what a plain restore does.
    GoBack,
    /// They jump ahead and the past counts as compacted: what the manual of etcd advises for Kubernetes.
    Bump,
}

impl ControlPlane {
    /// Saves a snapshot of etcd in the directory of this control plane.
    pub async fn backup_etcd(&self) -> Result<PathBuf> {
        let directory = self.layout.0.join("snapshots");
        fs::create_dir_all(&directory).on("create", &directory)?;
        let count = fs::read_dir(&directory).on("list", &directory)?.count();
        let snapshot = directory.join(format!("{count}.db"));
        self.etcdctl(&["snapshot", "save", &snapshot.to_string_lossy()]).await?;
        Ok(snapshot)
    }

    /// Stops everything, replaces the data by the snapshot, and starts what ran before.
    pub async fn restore_etcd(&mut self, snapshot: &Path, revisions: Revisions) -> Result<()> {
        let running: Vec<Component> = self.processes.keys().copied().collect();
        for component in running.iter().rev() {
            self.stop(*component).await?;
        }
        let (restored, data) = (self.layout.0.join("etcd-restored"), self.layout.etcd_data());
        let mut call = vec!["snapshot".to_owned(), "restore".to_owned(), snapshot.display().to_string()];
        call.push(format!("--data-dir={}", restored.display()));
        call.extend(arguments::etcd_membership(self.ports));
        if revisions == Revisions::Bump {
            call.extend(["--bump-revision=1000000000".to_owned(), "--mark-compacted".to_owned()]);
        }
        run(&self.tools.path(Program::Etcdutl)?, &call).await?;
        fs::remove_dir_all(&data).on("remove", &data)?;
        fs::rename(&restored, &data).on("rename the restored data to", &data)?;
        self.start_components(&running).await
    }

    /// Forgets all history in etcd up to now. The watch cache of a running API server still remembers some: see
    /// [`ControlPlane::expire_watches`].
    pub async fn force_compaction(&self) -> Result<()> {
        self.harm()?;
        // A new revision, so that even a watch that is up to date is left behind.
        self.etcdctl(&["put", "/drover-e2e/compaction", "requested"]).await?;
        let status = self.etcdctl(&["get", "/drover-e2e/compaction", "--write-out=json"]).await?;
        let revision = revision_in(&status)
            .ok_or_else(|| Error::Output { command: "etcdctl get".to_owned(), output: status.clone() })?;
        self.etcdctl(&["compact", "--physical=true", &revision.to_string()]).await?;
        Ok(())
    }

    pub(super) async fn etcdctl(&self, arguments: &[&str]) -> Result<String> {
        let endpoint = format!("--endpoints={}", self.etcd_endpoint());
        let arguments: Vec<String> = arguments.iter().map(|part| (*part).to_owned()).chain([endpoint]).collect();
        run(&self.tools.path(Program::Etcdctl)?, &arguments).await
    }
}

fn revision_in(status: &str) -> Option<u64> {
    let value: Value = serde_json::from_str(status).ok()?;
    value.get("header")?.get("revision")?.as_u64()
}

async fn run(program: &Path, arguments: &[String]) -> Result<String> {
    let command = format!("{} {}", program.display(), arguments.join(" "));
    let mut process = tokio::process::Command::new(program);
    process.args(arguments).stdin(Stdio::null()).kill_on_drop(true);
    let output = process.output().await.map_err(|source| Error::Start { name: command.clone(), source })?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        Err(Error::Command { command, status: output.status.to_string(), output: text })
    }
}
