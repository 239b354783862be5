//! Many Projects on one cluster.

use std::time::Instant;

use drover_crds::{Cluster, Project};
use futures::{StreamExt, TryStreamExt, stream};
use kube::Api;
use kube::api::PostParams;

use super::measure::{ReadyTimes, Table, mebibytes, requests, seconds, share, usage};
use super::{Size, cluster_name, drover, import, installation, progress, settle};
use crate::error::{Error, Result};
use crate::installation::End;
use crate::story::{a_project, marks, writes_since};

const NAMESPACES: usize = 10;
const AT_ONCE: usize = 16;

pub(super) async fn run(size: Size) -> Result<Table> {
    let title = format!("{} Projects with {NAMESPACES} namespaces each on one cluster", size.projects);
    let mut table = Table::new(title);
    let mut installation = installation(size, 1).await?;
    let clusters = ReadyTimes::of::<Cluster>(installation.management.client());
    import(&installation, &clusters, &cluster_name(0)).await?;
    let empty = settle(size, &mut installation).await?;

    progress("Projects are applied.");
    let ready = ReadyTimes::of::<Project>(installation.management.client());
    let (from, applied) = (marks(&installation)?, Instant::now());
    apply(&installation.management.client(), size.projects.get()).await?;
    table.row("applied all, 16 at a time", seconds(applied.elapsed()));
    all_ready(&ready, size.projects.get(), applied).await?;
    table.row("first apply → all Ready", seconds(applied.elapsed()));
    let converged = settle(size, &mut installation).await?;
    table.row("requests until then", requests(&installation, &from)?);
    table.row("CPU until then", format!("{:.1} s", converged.cpu - empty.cpu));
    table.row("memory, before → after", format!("{} → {}", mebibytes(empty.anonymous), mebibytes(converged.anonymous)));

    progress("Nothing happens.");
    let from = marks(&installation)?;
    tokio::time::sleep(size.idle).await;
    let rested = usage(drover(&mut installation)?)?;
    table.row("writes at rest, the Lease left out", writes_since(&installation, &from)?.len().to_string());
    table.row("CPU at rest", share(rested.cpu - converged.cpu, size.idle));

    progress("drover starts again.");
    installation.stop_drover(End::Terminate).await?;
    let from = marks(&installation)?;
    installation.start_drover().await?;
    let restarted = settle(size, &mut installation).await?;
    table.row("writes of a restart", writes_since(&installation, &from)?.len().to_string());
    table.row("CPU of a restart until at rest", format!("{:.2} s", restarted.cpu));
    let memory = format!("{}, {}", mebibytes(restarted.anonymous), mebibytes(restarted.peak));
    table.row("memory after a restart, and its peak on the way", memory);
    Ok(table)
}

async fn apply(client: &kube::Client, count: usize) -> Result<()> {
    let projects: Api<Project> = Api::namespaced(client.clone(), "team");
    stream::iter(0..count)
        .map(Ok::<_, Error>)
        .try_for_each_concurrent(AT_ONCE, |number| {
            let projects = projects.clone();
            async move {
                let name = name(number);
                let namespaces: Vec<String> = (0..NAMESPACES).map(|place| format!("team-{name}-{place}")).collect();
                let namespaces: Vec<&str> = namespaces.iter().map(String::as_str).collect();
                let project = serde_json::from_value(a_project(&name, &namespaces))
                    .map_err(|source| Error::Json { what: name, source })?;
                Ok(projects.create(&PostParams::default(), &project).await.map(drop)?)
            }
        })
        .await
}

async fn all_ready(ready: &ReadyTimes, count: usize, applied: Instant) -> Result<()> {
    for number in 0..count {
        ready.wait(&name(number), applied).await?;
    }
    Ok(())
}

fn name(number: usize) -> String {
    format!("p{number:04}")
}
