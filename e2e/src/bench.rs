//! `make bench`: what a fleet costs, measured on real API servers and printed as Markdown.

mod apps;
mod fleet;
mod measure;
mod members;
mod nodes;
mod peak;
mod projects;
mod roles;
mod rollouts;

use std::io::Write;
use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

use crate::error::{Error, Result};
use crate::installation::{Installation, Plan};
use crate::process::Process;
use crate::story::{a_cluster, a_namespace};
use crate::{Components, Program, Tools};
use measure::ReadyTimes;

pub use measure::{Table, Usage, usage};

/// Between two looks at the CPU time that drover has used.
const LOOK: Duration = Duration::from_secs(5);
/// So many looks in a row without work, quickly and thoroughly.
const QUIET_LOOKS: [u32; 2] = [1, 4];
/// As a share of a core: a fleet of 20 needs less for its probes. Quickly is with programs for debugging.
const AT_REST: [f64; 2] = [0.05, 0.02];
const SETTLE_LIMIT: Duration = Duration::from_mins(40);

/// How much to measure.
#[derive(Debug, Clone, Copy)]
pub struct Size {
    /// Downstream clusters.
    pub clusters: NonZeroUsize,
    /// Nodes of the large cluster.
    pub nodes: NonZeroUsize,
    /// Projects on one cluster, each with ten namespaces, a quota and two roles.
    pub projects: NonZeroUsize,
    /// Namespaces of the Project with many members.
    pub namespaces: NonZeroUsize,
    /// Its members, each of whom has three roles in it.
    pub members: NonZeroUsize,
    /// Apps on one cluster; rolled out, on two.
    pub apps: NonZeroUsize,
    /// How long nothing happens while writes and CPU time are counted.
    pub idle: Duration,
    /// Whether figures are taken often enough, and at rest for long enough, to tell something. Otherwise it is only seen that
    /// everything can be measured.
    pub thorough: bool,
}

impl Size {
    fn times<T>(self, [quickly, thoroughly]: [T; 2]) -> T {
        if self.thorough { thoroughly } else { quickly }
    }
}

/// What is measured, a table each.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
pub enum Part {
    /// Many clusters with little in them.
    Clusters,
    /// One cluster with many nodes.
    Nodes,
    /// Many Projects on one cluster.
    Projects,
    /// Many members in many namespaces of one Project.
    Members,
    /// Many apps on one cluster.
    Apps,
    /// Many apps rolled out over two clusters.
    Rollouts,
}

/// Measures these parts and prints their tables on the way.
pub async fn run(size: Size, parts: &[Part]) -> Result<Vec<Table>> {
    let programs = [Program::Etcd, Program::KubeApiserver, Program::Kubectl, Program::Helm];
    Tools::from_environment()?.ensure_all(&programs).await?;
    let mut tables = Vec::new();
    for part in parts {
        let table = match part {
            Part::Clusters => Box::pin(fleet::run(size)).await?,
            Part::Nodes => Box::pin(nodes::run(size)).await?,
            Part::Projects => Box::pin(projects::run(size)).await?,
            Part::Members => Box::pin(members::run(size)).await?,
            Part::Apps => Box::pin(apps::run(size)).await?,
            Part::Rollouts => Box::pin(rollouts::run(size)).await?,
        };
        table.print();
        tables.push(table);
    }
    Ok(tables)
}

/// An installation in which drover runs and no Cluster is applied yet. API servers only: nothing here needs controllers.
async fn installation(size: Size, clusters: usize) -> Result<Installation> {
    progress(&format!("Starting {} API servers.", clusters + 1));
    let names: Vec<String> = (0..clusters).map(cluster_name).collect();
    let plan =
        Plan { clusters: names, components: Components::ApiserverOnly, nodes: 0, audit: true, shared_etcd: true };
    let mut installation = Installation::start(&plan).await?;
    installation.apply(&a_namespace("team")).await?;
    installation.start_drover().await?;
    settle(size, &mut installation).await?;
    Ok(installation)
}

/// Applies the Cluster `name`; returns how long it took until it was Ready.
async fn import(installation: &Installation, ready: &ReadyTimes, name: &str) -> Result<Duration> {
    installation.store_kubeconfig(name).await?;
    let applied = Instant::now();
    installation.apply(&slow_probe(name)).await?;
    ready.wait(name, applied).await
}

/// With the default interval of probes, which is what a fleet at rest costs.
fn slow_probe(name: &str) -> serde_json::Value {
    let mut cluster = a_cluster(name);
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

/// Waits until the drover that was started first is at rest: as good as no CPU time for a while. Returns what it has used then.
async fn settle(size: Size, installation: &mut Installation) -> Result<Usage> {
    let process = drover(installation)?;
    let started = Instant::now();
    let (mut last, mut quiet) = (usage(process)?, 0);
    while quiet < size.times(QUIET_LOOKS) {
        if started.elapsed() > SETTLE_LIMIT {
            return Err(Error::NeverHappened { what: "drover is at rest".to_owned(), seconds: SETTLE_LIMIT.as_secs() });
        }
        tokio::time::sleep(LOOK).await;
        let now = usage(process)?;
        quiet = if now.cpu - last.cpu <= size.times(AT_REST) * LOOK.as_secs_f64() { quiet + 1 } else { 0 };
        last = now;
    }
    Ok(last)
}

fn progress(text: &str) {
    let _ = writeln!(std::io::stderr(), "bench: {text}");
}
