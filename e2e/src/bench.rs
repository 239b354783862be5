//! `make bench`: what a fleet costs, measured on real API servers and printed as Markdown.

mod fleet;
mod measure;
mod nodes;
mod projects;

use std::io::Write;
use std::time::{Duration, Instant};

use crate::error::{Error, Result};
use crate::installation::{Installation, Plan};
use crate::process::Process;
use crate::story::{cluster, namespace};
use crate::{Components, Program, Tools};
use measure::ReadyTimes;

/// How much to measure.
#[derive(Debug, Clone, Copy)]
pub struct Size {
    /// Downstream clusters, at least one.
    pub clusters: usize,
    /// Nodes of the large cluster.
    pub nodes: usize,
    /// Projects on one cluster, each with ten namespaces.
    pub projects: usize,
    /// How long nothing happens while writes and CPU time are counted.
    pub idle: Duration,
}

/// Measures everything and prints tables on the way.
pub async fn run(size: Size) -> Result<()> {
    let programs = [Program::Etcd, Program::KubeApiserver, Program::Kubectl, Program::Helm];
    Tools::from_environment()?.ensure_all(&programs).await?;
    fleet::run(size).await?.print();
    nodes::run(size).await?.print();
    projects::run(size).await?.print();
    Ok(())
}

/// An installation in which drover runs and no Cluster is applied yet. API servers only: nothing here needs controllers.
async fn installation(clusters: usize) -> Result<Installation> {
    progress(&format!("Starting {} API servers.", clusters + 1));
    let names: Vec<String> = (0..clusters).map(cluster_name).collect();
    let plan =
        Plan { clusters: names, components: Components::ApiserverOnly, nodes: 0, audit: true, shared_etcd: true };
    let mut installation = Installation::start(&plan).await?;
    installation.apply(&namespace("team").to_string())?;
    installation.start_drover()?;
    settle().await;
    Ok(installation)
}

/// Applies the Cluster `name`; returns how long it took until it was Ready.
async fn import(installation: &Installation, ready: &ReadyTimes, name: &str) -> Result<Duration> {
    installation.store_kubeconfig(name)?;
    let applied = Instant::now();
    installation.apply(&slow_probe(name).to_string())?;
    ready.wait(name, applied).await
}

/// With the default interval of probes, which is what a fleet at rest costs.
fn slow_probe(name: &str) -> serde_json::Value {
    let mut cluster = cluster(name);
    if let Some(spec) = cluster.get_mut("spec").and_then(serde_json::Value::as_object_mut) {
        spec.remove("health");
    }
    cluster
}

fn cluster_name(number: usize) -> String {
    format!("c{number:02}")
}

/// The drover that was started first.
fn drover(installation: &mut Installation) -> Result<&mut Process> {
    installation.replica(0)
}

/// Time for a lease to be taken, caches to fill and allocators to give back.
async fn settle() {
    tokio::time::sleep(Duration::from_secs(20)).await;
}

fn progress(text: &str) {
    let _ = writeln!(std::io::stderr(), "bench: {text}");
}

fn nothing_measured() -> Error {
    Error::NeverHappened { what: "a measurement".to_owned(), seconds: 0 }
}
