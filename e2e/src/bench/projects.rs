//! Many Projects on one cluster, each with a quota and members in two roles.

use std::fmt::Debug;
use std::time::Instant;

use drover_crds::{Cluster, Project, ProjectRoleTemplateBinding};
use futures::{StreamExt, TryStreamExt, stream};
use k8s_openapi::NamespaceResourceScope;
use kube::api::PostParams;
use kube::{Api, Client, Resource};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::measure::{ReadyTimes, Table, both, growth, requests, seconds, share, usage};
use super::roles::{a_binding, a_role};
use super::{Size, cluster_name, drover, import, installation, progress, settle};
use crate::error::{Error, Result};
use crate::installation::End;
use crate::story::{TEAM, a_project, marks, writes_since};

const NAMESPACES: usize = 10;
/// Every Project has members in each of them.
const ROLES: [&str; 2] = ["readers", "writers"];
/// In each role.
const MEMBERS: usize = 5;
const AT_ONCE: usize = 16;

pub(super) async fn run(size: Size) -> Result<Table> {
    let title = format!(
        "{} Projects with {NAMESPACES} namespaces, a quota and {} roles each on one cluster",
        size.projects,
        ROLES.len()
    );
    let mut table = Table::new(title);
    let mut installation = installation(size, 1).await?;
    let clusters = ReadyTimes::of::<Cluster>(installation.management.client());
    import(&installation, &clusters, &cluster_name(0)).await?;
    let empty = settle(size, &mut installation).await?;

    for role in ROLES {
        installation.apply(&a_role(role, "apps", "deployments")).await?;
    }
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
    table.row("memory, before → after", growth(empty.anonymous, converged.anonymous));

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
    table.row("memory after a restart, and its peak on the way", both(restarted.anonymous, restarted.peak));
    Ok(table)
}

/// The bindings come first, so that a Project that is Ready has its members.
async fn apply(client: &Client, count: usize) -> Result<()> {
    stream::iter(0..count)
        .map(Ok::<_, Error>)
        .try_for_each_concurrent(AT_ONCE, |number| async move {
            let name = name(number);
            for role in ROLES {
                let binding = a_binding(&format!("{name}-{role}"), &name, role, &members(&name, role));
                create::<ProjectRoleTemplateBinding>(client, binding).await?;
            }
            create::<Project>(client, with_quota(&name)).await
        })
        .await
}

async fn create<K>(client: &Client, object: Value) -> Result<()>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + Serialize + DeserializeOwned,
{
    let what = K::kind(&()).into_owned();
    let object: K = serde_json::from_value(object).map_err(|source| Error::Json { what, source })?;
    Ok(Api::<K>::namespaced(client.clone(), TEAM).create(&PostParams::default(), &object).await.map(drop)?)
}

/// Every namespace gets what it requests.
fn with_quota(name: &str) -> Value {
    let namespaces: Vec<String> = (0..NAMESPACES).map(|place| format!("team-{name}-{place}")).collect();
    let namespaces: Vec<&str> = namespaces.iter().map(String::as_str).collect();
    let mut project = a_project(name, &namespaces);
    if let Some(spec) = project.get_mut("spec").and_then(Value::as_object_mut) {
        let quota = json!({"perCluster": {"pods": 10 * NAMESPACES}, "namespaceDefault": {"pods": 10}});
        spec.insert("quota".to_owned(), quota);
    }
    project
}

fn members(project: &str, role: &str) -> Vec<String> {
    (0..MEMBERS).map(|number| format!("{project}-{role}-{number}")).collect()
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
