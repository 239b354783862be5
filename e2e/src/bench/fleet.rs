//! Many clusters with little in them: what each costs, and how fast the fleet is when something happens.

use std::time::{Duration, Instant};

use drover_crds::{Cluster, Project};
use k8s_openapi::api::core::v1::Namespace;
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use super::measure::{ReadyTimes, Table, mebibytes, per, percentiles, requests, seconds, share, usage};
use super::{Size, cluster_name, drover, import, installation, progress, settle};
use crate::error::Result;
use crate::installation::{DROVER_USER, End, Installation};
use crate::proxy::{Mode, Proxy};
use crate::story::{Marks, a_project, marks};
use crate::wait::eventually;

/// One Project with a namespace on a single cluster, this often; quickly and thoroughly.
const PROJECTS: [usize; 2] = [5, 100];
const CUTS: [usize; 2] = [1, 5];
const CUT: [Duration; 2] = [Duration::from_secs(8), Duration::from_secs(20)];
const HEAL_LIMIT: Duration = Duration::from_mins(3);
/// A namespace that the Project of the whole fleet has on every cluster.
const EVERYWHERE: &str = "team-everywhere";
/// A label that it has there.
const LABEL: &str = "bench";
/// Its value at first.
const FIRST: &str = "first";

pub(super) async fn run(size: Size) -> Result<Table> {
    let mut table = Table::new(format!("{} clusters", size.clusters));
    let mut installation = installation(size, size.clusters.get()).await?;
    costs_of_clusters(size, &mut installation, &mut table).await?;
    paces(size, &installation, &mut table).await?;
    rest(size, &mut installation, &mut table).await?;
    cuts(size, &mut installation, &mut table).await?;
    restart(size, &mut installation, &mut table).await?;
    failover(size, &mut installation, &mut table).await?;
    Ok(table)
}

async fn costs_of_clusters(size: Size, installation: &mut Installation, table: &mut Table) -> Result<()> {
    progress("Clusters join.");
    let alone = usage(drover(installation)?)?;
    let ready = ReadyTimes::of::<Cluster>(installation.management.client());
    let mut times = Vec::new();
    for number in 0..size.clusters.get() {
        times.push(import(installation, &ready, &cluster_name(number)).await?);
    }
    let joined = settle(size, installation).await?;
    table.row("Cluster: apply → Ready, p50 / p99", percentiles(times));
    table.row("memory of drover without clusters", mebibytes(alone.anonymous));
    table.row("memory per joined cluster", mebibytes(per(joined.anonymous - alone.anonymous, size.clusters)));
    Ok(())
}

async fn paces(size: Size, installation: &Installation, table: &mut Table) -> Result<()> {
    progress("Projects are applied.");
    let ready = ReadyTimes::of::<Project>(installation.management.client());
    let applied = Instant::now();
    installation.apply(&everywhere(FIRST)).await?;
    table.row("Project on all clusters: apply → Ready", seconds(ready.wait("everywhere", applied).await?));
    let mut times = Vec::new();
    for number in 0..size.times(PROJECTS) {
        let name = format!("single-{number}");
        let mut single = a_project(&name, &[&format!("team-{name}")]);
        if let Some(clusters) = single.pointer_mut("/spec/clusters") {
            *clusters = json!({"names": [cluster_name(number % size.clusters)]});
        }
        let applied = Instant::now();
        installation.apply(&single).await?;
        times.push(ready.wait(&name, applied).await?);
    }
    table.row("Project on one cluster: apply → Ready, p50 / p99", percentiles(times));
    Ok(())
}

async fn rest(size: Size, installation: &mut Installation, table: &mut Table) -> Result<()> {
    progress("Nothing happens.");
    let before = settle(size, installation).await?;
    let from = marks(installation)?;
    tokio::time::sleep(size.idle).await;
    let after = usage(drover(installation)?)?;
    let minutes = size.idle.as_secs_f64() / 60.0;
    table.row(format!("requests in {minutes:.1} idle minutes, the Lease left out"), requests(installation, &from)?);
    let leases = lease_writes(installation, &from)?.to_string();
    table.row(format!("writes to the Lease in {minutes:.1} idle minutes"), leases);
    table.row("CPU at rest", share(after.cpu - before.cpu, size.idle));
    table.row("memory of drover with clusters and Projects", mebibytes(after.anonymous));
    Ok(())
}

async fn cuts(size: Size, installation: &mut Installation, table: &mut Table) -> Result<()> {
    progress("One cluster is cut off and comes back.");
    let name = cluster_name(0);
    let plane = installation.cluster(&name)?;
    let direct = plane.kubeconfig_for(DROVER_USER, &[])?;
    let proxy = Proxy::start(plane.port()).await?;
    let through = direct.replace(&plane.endpoint(), &format!("https://{}", proxy.address()));
    installation.store_secret(&name, &through).await?;
    settle(size, installation).await?;
    let mut times = Vec::new();
    for round in 0..size.times(CUTS) {
        proxy.set(Mode::Refuse);
        let value = format!("round-{round}");
        installation.apply(&everywhere(&value)).await?;
        tokio::time::sleep(size.times(CUT)).await;
        let restored = Instant::now();
        proxy.set(Mode::Pass);
        labelled(installation, &name, &value).await?;
        times.push(restored.elapsed());
    }
    table.row(format!("cut for {} s: back → up to date, p50 / p99", size.times(CUT).as_secs()), percentiles(times));
    installation.apply(&everywhere(FIRST)).await?;
    installation.store_secret(&name, &direct).await
}

async fn restart(size: Size, installation: &mut Installation, table: &mut Table) -> Result<()> {
    progress("drover is killed, and everything is changed before it starts again.");
    settle(size, installation).await?;
    installation.stop_drover(End::Kill).await?;
    let names: Vec<String> = (0..size.clusters.get()).map(cluster_name).collect();
    for name in &names {
        strip(installation, name).await?;
    }
    let (from, started) = (marks(installation)?, Instant::now());
    installation.start_drover().await?;
    for name in &names {
        labelled(installation, name, FIRST).await?;
    }
    table.row("restart after kill: start → every cluster repaired", seconds(started.elapsed()));
    settle(size, installation).await?;
    table.row("requests of that restart", requests(installation, &from)?);
    Ok(())
}

async fn failover(size: Size, installation: &mut Installation, table: &mut Table) -> Result<()> {
    progress("The leader is killed while a standby waits.");
    installation.start_drover().await?;
    settle(size, installation).await?;
    let name = cluster_name(0);
    // The drover that was killed is gone from the list, so the leader is the first.
    drover(installation)?.kill().await?;
    strip(installation, &name).await?;
    let killed = Instant::now();
    labelled(installation, &name, FIRST).await?;
    table.row("leader killed: → standby repaired a cluster", seconds(killed.elapsed()));
    Ok(())
}

/// A Project with one namespace on all clusters, labelled with this value.
fn everywhere(value: &str) -> Value {
    let mut project = a_project("everywhere", &[]);
    if let Some(namespaces) = project.pointer_mut("/spec/namespaces") {
        *namespaces = json!([{"name": EVERYWHERE, "labels": {LABEL: value}}]);
    }
    project
}

/// Takes away a label that the Project wants, as a person would by mistake.
async fn strip(installation: &Installation, cluster: &str) -> Result<()> {
    let namespaces: Api<Namespace> = Api::all(installation.cluster(cluster)?.client());
    let patch = json!({"metadata": {"labels": {LABEL: null}}});
    namespaces.patch(EVERYWHERE, &PatchParams::default(), &Patch::Merge(patch)).await?;
    Ok(())
}

/// Waits until the namespace has the label with this value.
async fn labelled(installation: &Installation, cluster: &str, value: &str) -> Result<()> {
    let namespaces: Api<Namespace> = Api::all(installation.cluster(cluster)?.client());
    eventually(&format!("{cluster} has the label {value}"), HEAL_LIMIT, async || {
        let labels = namespaces.get(EVERYWHERE).await?.metadata.labels.unwrap_or_default();
        Ok(labels.get(LABEL).is_some_and(|found| found == value).then_some(()))
    })
    .await
}

fn lease_writes(installation: &Installation, from: &Marks) -> Result<usize> {
    let Some(mark) = from.first() else { return Ok(0) };
    let events = installation.management.audit_events_since(*mark)?;
    Ok(events.iter().filter(|event| event.user == DROVER_USER && event.resource == "leases" && event.changes()).count())
}
