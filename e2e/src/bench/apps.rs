//! Many small releases on one cluster, beside a loop of the real helm on an equal one.

use std::collections::BTreeMap;
use std::fs;
use std::num::NonZeroUsize;
use std::process::Stdio;
use std::time::{Duration, Instant};

use drover_crds::CatalogApp;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use kube::api::{Api, ListParams, Patch, PatchParams, PostParams};
use serde_json::json;

use super::measure::{ReadyTimes, Table, per, seconds};
use super::peak::{Peak, children};
use super::{Size, cluster_name, drover, import, progress, settle};
use crate::audit::AuditEvent;
use crate::charts::ChartFiles;
use crate::error::{Error, FileContext as _, Result};
use crate::installation::{DROVER_USER, End, Installation, Plan};
use crate::story::{Marks, TEAM, a_deployer, a_namespace, a_packaged_chart, a_project, an_app, marks, writes_since};
use crate::wait::eventually;
use crate::{Components, ControlPlane, Program, Tools};

pub(super) const NAMESPACE: &str = "team-web";
const AT_ONCE: usize = 16;
/// Of the loop of helm.
const HELMS_AT_ONCE: usize = 2;
/// A node takes 110 Pods.
const PODS_PER_NODE: usize = 100;
pub(super) const PATIENCE: Duration = Duration::from_mins(40);

pub(super) async fn run(size: Size) -> Result<Table> {
    Tools::from_environment()?.ensure_all(&[Program::Kwok, Program::KubeScheduler]).await?;
    let count = size.apps.get();
    let mut table = Table::new(format!(
        "{count} releases of a Deployment, a Service, a ServiceAccount and a ConfigMap on one cluster, beside a loop of helm"
    ));
    let mut installation = installation(size).await?;
    let chart = ChartFiles::of("tiny")?;
    prepare(&installation, &chart).await?;

    for (what, message, revision) in [("install", "one", 1), ("upgrade", "two", 2)] {
        progress(&format!("{count} apps: {what}."));
        let memory = Peak::of_drover(drover(&mut installation)?.pid());
        let (from, started) = (marks(&installation)?, Instant::now());
        apply(&installation, &chart, count, message).await?;
        released(&installation, count, revision).await?;
        let drovers = started.elapsed();
        let requests = requests(&installation, &from)?;
        let drovers_memory = memory.most();

        progress(&format!("{count} times helm: {what}."));
        let memory = Peak::of_helms();
        let started = Instant::now();
        helm_loop(&installation, &chart, count, message).await?;
        let helms = started.elapsed();
        table.row(format!("{what}: Drover, all ready"), seconds(drovers));
        table.row(format!("{what}: helm, two at a time, without a wait"), seconds(helms));
        table.row(format!("{what}: times as fast"), format!("{:.1}", helms.as_secs_f64() / drovers.as_secs_f64()));
        table.row(format!("{what}: requests for a release"), format!("{:.1}", per(total(&requests), size.apps)));
        table.row(format!("{what}: which"), by_kind(&requests, size.apps));
        table.row(format!("{what}: peak memory of Drover, of that child processes"), drovers_memory);
        table.row(format!("{what}: peak memory of the helms"), memory.most());
    }
    rest(size, &mut installation, &mut table).await?;
    Ok(table)
}

/// At rest, and over a restart.
async fn rest(size: Size, installation: &mut Installation, table: &mut Table) -> Result<()> {
    settle(size, installation).await?;
    progress("Nothing happens.");
    let from = marks(installation)?;
    tokio::time::sleep(size.idle).await;
    let at_rest = requests(installation, &from)?;
    table.row("requests at rest, watches and probes left out", total(&at_rest).to_string());
    let which: Vec<_> = at_rest.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
    table.row("requests at rest: which", which.join(", "));
    table.row("child processes at rest", children(drover(installation)?.pid()).len().to_string());
    progress("drover starts again.");
    installation.stop_drover(End::Terminate).await?;
    let (from, started) = (marks(installation)?, Instant::now());
    installation.start_drover().await?;
    settle(size, installation).await?;
    table.row("restart until at rest", seconds(started.elapsed()));
    table.row("writes of a restart", writes_since(installation, &from)?.len().to_string());
    Ok(())
}

/// Two clusters with nodes for all Pods, and drover.
pub(super) async fn installation(size: Size) -> Result<Installation> {
    let nodes = size.apps.get().div_ceil(PODS_PER_NODE);
    let clusters = vec![cluster_name(0), cluster_name(1)];
    let plan = Plan { clusters, components: Components::WithScheduler, nodes, audit: true, shared_etcd: false };
    let mut installation = Installation::start(&plan).await?;
    installation.apply(&a_namespace(TEAM)).await?;
    installation.start_drover().await?;
    Ok(installation)
}

async fn prepare(installation: &Installation, chart: &ChartFiles) -> Result<()> {
    let clusters = ReadyTimes::of::<drover_crds::Cluster>(installation.management.client());
    import(installation, &clusters, &cluster_name(0)).await?;
    let projects = ReadyTimes::of::<drover_crds::Project>(installation.management.client());
    let applied = Instant::now();
    for object in [a_deployer(), a_packaged_chart("tiny", chart), a_project("shop", &[NAMESPACE])] {
        installation.apply(&object).await?;
    }
    projects.wait("shop", applied).await?;
    crate::objects::apply_to(twin(installation)?, &a_namespace(NAMESPACE)).await
}

fn twin(installation: &Installation) -> Result<&ControlPlane> {
    installation.cluster(&cluster_name(1))
}

fn apps(installation: &Installation) -> Api<CatalogApp> {
    Api::namespaced(installation.management.client(), TEAM)
}

async fn apply(installation: &Installation, chart: &ChartFiles, count: usize, message: &str) -> Result<()> {
    let api = apps(installation);
    stream::iter(0..count)
        .map(Ok::<_, Error>)
        .try_for_each_concurrent(AT_ONCE, |number| {
            let (name, api) = (release(number), api.clone());
            let app = an_app(&name, &cluster_name(0), ("tiny", chart), &json!({"values": {"message": message}}));
            async move {
                let app: CatalogApp =
                    serde_json::from_value(app).map_err(|source| Error::Json { what: name.clone(), source })?;
                if api.get_opt(&name).await?.is_none() {
                    api.create(&PostParams::default(), &app).await?;
                } else {
                    let change = json!({"spec": {"values": {"message": message}}});
                    api.patch(&name, &PatchParams::default(), &Patch::Merge(change)).await?;
                }
                Ok(())
            }
        })
        .await
}

/// Waits until this revision of all apps is Ready.
async fn released(installation: &Installation, count: usize, revision: i64) -> Result<()> {
    let api = apps(installation);
    let is_there = |app: &CatalogApp| {
        let status = app.status.as_ref();
        let applied = status.and_then(|status| status.applied.as_ref()).map(|applied| applied.revision);
        let mut conditions = status.into_iter().flat_map(|status| &status.conditions);
        let ready = conditions.any(|condition| condition.type_ == "Ready" && condition.status == "True");
        applied == Some(revision) && ready
    };
    eventually("all releases are ready", PATIENCE, async || {
        tokio::time::sleep(Duration::from_millis(250)).await;
        let all = api.list(&ListParams::default()).await?.items;
        Ok((all.iter().filter(|app| is_there(app)).count() == count).then_some(()))
    })
    .await
}

async fn helm_loop(installation: &Installation, chart: &ChartFiles, count: usize, message: &str) -> Result<()> {
    let package = installation.directory().join("tiny.tgz");
    fs::write(&package, chart.package()?).on("write", &package)?;
    let plane = twin(installation)?;
    stream::iter(0..count)
        .map(Ok::<_, Error>)
        .try_for_each_concurrent(HELMS_AT_ONCE, |number| {
            let package = package.clone();
            async move {
                let mut helm = tokio::process::Command::from(plane.helm()?);
                helm.args(["upgrade", "--install", &release(number)]).arg(&package);
                helm.args(["--namespace", NAMESPACE, &format!("--set=message={message}")]);
                helm.stdout(Stdio::null()).stderr(Stdio::piped());
                let output = helm.output().await;
                let output = output.map_err(|source| Error::Start { name: "helm".to_owned(), source })?;
                crate::installation::finished("helm upgrade --install", &output).map(drop)
            }
        })
        .await
}

fn release(number: usize) -> String {
    format!("app-{number:04}")
}

/// The requests that Drover made as itself and as the apps, by what they ask for: watches, the Lease and probes left out.
pub(super) fn requests(installation: &Installation, from: &Marks) -> Result<BTreeMap<String, u32>> {
    let mut counts = BTreeMap::new();
    let counted = |event: &AuditEvent| {
        let is_app = event.user.starts_with("system:serviceaccount:drover-system:app.");
        (event.user == DROVER_USER || is_app) && event.verb != "watch" && !["", "leases"].contains(&&*event.resource)
    };
    for (plane, mark) in installation.planes().zip(from) {
        for event in plane.audit_events_since(*mark)?.iter().filter(|event| counted(event)) {
            let kind = event.kind();
            *counts.entry(format!("{} {}", kind.verb, kind.resource)).or_default() += 1;
        }
    }
    Ok(counts)
}

pub(super) fn total(requests: &BTreeMap<String, u32>) -> f64 {
    f64::from(requests.values().sum::<u32>())
}

/// Each kind of request for a release, the most frequent first.
pub(super) fn by_kind(requests: &BTreeMap<String, u32>, releases: NonZeroUsize) -> String {
    let mut kinds: Vec<_> = requests.iter().collect();
    kinds.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
    let told = kinds.into_iter().map(|(kind, count)| format!("{:.1} {kind}", per(f64::from(*count), releases)));
    told.collect::<Vec<_>>().join(", ")
}
