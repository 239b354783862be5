//! Many apps, each rolled out over two clusters in two stages.

use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

use drover_crds::MultiClusterApp;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use kube::api::{Api, ListParams, Patch, PatchParams};
use serde_json::{Value, json};

use super::apps::{NAMESPACE, PATIENCE, by_kind, installation, requests, total};
use super::measure::{ReadyTimes, Table, per, seconds};
use super::peak::Peak;
use super::{Size, cluster_name, drover, import, progress, settle};
use crate::charts::ChartFiles;
use crate::error::{Error, Result};
use crate::installation::{End, Installation};
use crate::story::{TEAM, a_deployer, a_packaged_chart, a_project, digest, marks, writes_since};
use crate::wait::eventually;
use crate::{Program, Tools};

const CLUSTERS: NonZeroUsize = NonZeroUsize::new(2).unwrap();
const AT_ONCE: usize = 16;
/// An upgrade is interrupted once one in so many targets has it.
const INTERRUPTED_AT: usize = 2;

pub(super) async fn run(size: Size) -> Result<Table> {
    Tools::from_environment()?.ensure_all(&[Program::Kwok, Program::KubeScheduler]).await?;
    let targets = size.apps.saturating_mul(CLUSTERS);
    let title = format!("{} apps over two clusters, {targets} targets, a stage for each cluster", size.apps);
    let mut table = Table::new(title);
    let mut installation = installation(size).await?;
    let chart = ChartFiles::of("tiny")?;
    prepare(&installation, &chart).await?;
    settle(size, &mut installation).await?;

    for (what, message, revision) in [("install", "one", 1), ("upgrade", "two", 2)] {
        progress(&format!("{targets} targets: {what}."));
        let memory = Peak::of_drover(drover(&mut installation)?.pid());
        let (from, started) = (marks(&installation)?, Instant::now());
        apply(&installation, &chart, size.apps.get(), message).await?;
        released(&installation, revision, targets.get()).await?;
        complete(&installation, size.apps.get()).await?;
        table.row(format!("{what}: until all are ready"), seconds(started.elapsed()));
        let requests = requests(&installation, &from)?;
        table.row(format!("{what}: requests for a target"), format!("{:.1}", per(total(&requests), targets)));
        table.row(format!("{what}: which"), by_kind(&requests, targets));
        table.row(format!("{what}: peak memory of Drover, of its child processes"), memory.most());
    }
    killed_midway(size, &mut installation, &chart, targets, &mut table).await?;
    settle(size, &mut installation).await?;
    progress("Nothing happens.");
    let from = marks(&installation)?;
    tokio::time::sleep(size.idle).await;
    table.row("writes at rest", writes_since(&installation, &from)?.len().to_string());
    table.row("status of an app, the largest", format!("{} bytes", largest_status(&installation).await?));
    Ok(table)
}

/// An upgrade with a `kill -9` in its middle.
async fn killed_midway(
    size: Size,
    installation: &mut Installation,
    chart: &ChartFiles,
    targets: NonZeroUsize,
    table: &mut Table,
) -> Result<()> {
    progress(&format!("{targets} targets: an upgrade that is interrupted."));
    let (from, started) = (marks(installation)?, Instant::now());
    apply(installation, chart, size.apps.get(), "three").await?;
    released(installation, 3, targets.get().div_euclid(INTERRUPTED_AT)).await?;
    installation.stop_drover(End::Kill).await?;
    installation.start_drover().await?;
    released(installation, 3, targets.get()).await?;
    complete(installation, size.apps.get()).await?;
    table.row("upgrade with a kill in its middle: until all are ready", seconds(started.elapsed()));
    let requests = requests(installation, &from)?;
    let records = requests.iter().filter(|(kind, _)| kind.starts_with("create") && kind.ends_with("secrets"));
    let records: u32 = records.map(|(_, count)| *count).sum();
    table.row("upgrade with a kill in its middle: records of releases created", records.to_string());
    Ok(())
}

async fn prepare(installation: &Installation, chart: &ChartFiles) -> Result<()> {
    let clusters = ReadyTimes::of::<drover_crds::Cluster>(installation.management.client());
    for number in 0..CLUSTERS.get() {
        import(installation, &clusters, &cluster_name(number)).await?;
    }
    let change = json!({"metadata": {"labels": {"stage": "first"}}});
    let all: Api<drover_crds::Cluster> = Api::all(installation.management.client());
    all.patch(&cluster_name(0), &PatchParams::default(), &Patch::Merge(&change)).await?;
    let projects = ReadyTimes::of::<drover_crds::Project>(installation.management.client());
    let applied = Instant::now();
    for object in [a_deployer(), a_packaged_chart("tiny", chart), a_project("shop", &[NAMESPACE])] {
        installation.apply(&object).await?;
    }
    projects.wait("shop", applied).await.map(drop)
}

fn an_app(number: usize, chart: &ChartFiles, message: &str) -> Result<Value> {
    let first = json!({"name": "first", "selector": {"matchLabels": {"stage": "first"}}, "minReady": "0s"});
    let stages = json!([first, {"name": "others", "minReady": "0s"}]);
    Ok(json!({
        "apiVersion": "drover.dev/v1alpha1", "kind": "MultiClusterApp",
        "metadata": {"name": format!("app-{number:04}"), "namespace": TEAM},
        "spec": {
            "clusters": {"all": {}},
            "template": {
                "namespace": NAMESPACE, "projectName": "shop", "roleTemplateName": "deployer",
                "chart": {"configMap": {"name": "tiny", "key": "chart.tgz", "digest": digest(&chart.package()?)}},
                "values": {"message": message},
            },
            "rollout": {"stages": stages},
        },
    }))
}

fn apps(installation: &Installation) -> Api<MultiClusterApp> {
    Api::namespaced(installation.management.client(), TEAM)
}

async fn apply(installation: &Installation, chart: &ChartFiles, count: usize, message: &str) -> Result<()> {
    let api = apps(installation);
    let all = (0..count).map(|number| an_app(number, chart, message)).collect::<Result<Vec<_>>>()?;
    stream::iter(all)
        .map(Ok::<_, Error>)
        .try_for_each_concurrent(AT_ONCE, |app| {
            let api = api.clone();
            async move {
                let name = app.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default().to_owned();
                api.patch(&name, &PatchParams::apply("bench"), &Patch::Apply(&app)).await?;
                Ok(())
            }
        })
        .await
}

/// Waits until so many targets have this revision of their release.
async fn released(installation: &Installation, revision: i64, targets: usize) -> Result<()> {
    let api: Api<drover_crds::CatalogApp> = Api::namespaced(installation.management.client(), TEAM);
    let is_there = |app: &drover_crds::CatalogApp| {
        let applied = app.status.as_ref().and_then(|status| status.applied.as_ref());
        applied.is_some_and(|applied| applied.revision == revision)
    };
    eventually("targets are released", PATIENCE, async || {
        tokio::time::sleep(Duration::from_millis(250)).await;
        let all = api.list(&ListParams::default()).await?.items;
        Ok((all.iter().filter(|app| is_there(app)).count() >= targets).then_some(()))
    })
    .await
}

/// Waits until the rollout of so many apps is complete.
async fn complete(installation: &Installation, count: usize) -> Result<()> {
    let api = apps(installation);
    let is_ready = |app: &MultiClusterApp| {
        let mut conditions = app.status.iter().flat_map(|status| &status.conditions);
        conditions.any(|condition| {
            condition.type_ == "Ready"
                && condition.status == "True"
                && condition.observed_generation == app.metadata.generation
        })
    };
    eventually("all rollouts are complete", PATIENCE, async || {
        tokio::time::sleep(Duration::from_millis(250)).await;
        let all = api.list(&ListParams::default()).await?.items;
        Ok((all.iter().filter(|app| is_ready(app)).count() == count).then_some(()))
    })
    .await
}

async fn largest_status(installation: &Installation) -> Result<usize> {
    let all = apps(installation).list(&ListParams::default()).await?.items;
    let sizes = all.iter().map(|app| serde_json::to_vec(&app.status).map(|status| status.len()));
    let sizes: serde_json::Result<Vec<_>> = sizes.collect();
    let sizes = sizes.map_err(|source| Error::Json { what: "statuses".to_owned(), source })?;
    Ok(sizes.into_iter().max().unwrap_or_default())
}
