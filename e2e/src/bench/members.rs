//! Many members of one Project with many namespaces, judged by the API server of its cluster.

use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

use drover_crds::{Cluster, Project, ProjectRoleTemplateBinding};
use futures::{StreamExt, TryStreamExt, stream};
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec};
use kube::Api;
use kube::api::{Patch, PatchParams, PostParams};
use serde_json::json;

use super::measure::{ReadyTimes, Table, both, growth, per, percentiles, requests, seconds, usage};
use super::roles::{a_binding, a_role, subjects};
use super::{Size, cluster_name, drover, import, installation, progress, settle};
use crate::error::{Error, Result};
use crate::installation::{End, Installation};
use crate::story::{TEAM, a_project, marks, writes_since};
use crate::wait::eventually;

/// What each role lets its members list; it is named after that, and so is its binding.
const ROLES: [&str; 3] = ["pods", "services", "configmaps"];
/// Somebody is added and removed again this often; quickly and thoroughly.
const ROUNDS: [usize; 2] = [3, 50];
/// Questions to the API server at a time: it has to answer Drover beside.
const AT_ONCE: usize = 4;
/// A namespace that did not answer as expected is asked again by `eventually`; this is the longest that all may take.
const PATIENCE: Duration = Duration::from_mins(5);
const PROJECT: &str = "crowd";

pub(super) async fn run(size: Size) -> Result<Table> {
    let title = format!(
        "One Project with {} namespaces and {} members in {} roles",
        size.namespaces,
        size.members,
        ROLES.len()
    );
    let mut table = Table::new(title);
    let mut installation = installation(size, 1).await?;
    import(&installation, &ReadyTimes::of::<Cluster>(installation.management.client()), &cluster_name(0)).await?;
    let ready = ReadyTimes::of::<Project>(installation.management.client());
    let applied = Instant::now();
    installation.apply(&a_project(PROJECT, &names(&namespaces(size)))).await?;
    ready.wait(PROJECT, applied).await?;
    all_join(size, &mut installation, &mut table).await?;
    one_comes_and_goes(size, &mut installation, &mut table).await?;

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

async fn all_join(size: Size, installation: &mut Installation, table: &mut Table) -> Result<()> {
    progress("Members join.");
    let before = settle(size, installation).await?;
    let (from, applied) = (marks(installation)?, Instant::now());
    for resource in ROLES {
        installation.apply(&a_role(resource, "", resource)).await?;
        installation.apply(&a_binding(resource, PROJECT, resource, &members(size))).await?;
    }
    let last = format!("member-{}", size.members.get() - 1);
    for resource in ROLES {
        everywhere(installation, size, Question { user: &last, resource }, true).await?;
    }
    table.row("three bindings applied → all allowed in every namespace", seconds(applied.elapsed()));
    let joined = settle(size, installation).await?;
    table.row("requests until then", requests(installation, &from)?);
    table.row("CPU until then", format!("{:.2} s", joined.cpu - before.cpu));
    table.row("memory, before → after", growth(before.anonymous, joined.anonymous));
    Ok(())
}

async fn one_comes_and_goes(size: Size, installation: &mut Installation, table: &mut Table) -> Result<()> {
    progress("One member after the other is added and removed.");
    let (mut added, mut removed) = (Vec::new(), Vec::new());
    let (before, from) = (usage(drover(installation)?)?, marks(installation)?);
    for round in 0..size.times(ROUNDS) {
        let user = format!("new-{round}");
        let Some(resource) = ROLES.get(round % ROLES.len()) else { continue };
        let question = Question { user: &user, resource };
        let mut with_one_more = members(size);
        with_one_more.push(user.clone());
        added.push(changed(installation, size, question, &with_one_more, true).await?);
        removed.push(changed(installation, size, question, &members(size), false).await?);
    }
    let after = settle(size, installation).await?;
    let changes = NonZeroUsize::MIN.saturating_add(added.len() + removed.len() - 1);
    table.row("member added → allowed in every namespace, p50 / p99", percentiles(added));
    table.row("member removed → denied in every namespace, p50 / p99", percentiles(removed));
    table.row("requests of these changes", requests(installation, &from)?);
    table.row("CPU per change", format!("{:.0} ms", 1000.0 * per(after.cpu - before.cpu, changes)));
    table.row("memory then, and its peak", both(after.anonymous, after.peak));
    Ok(())
}

/// How long it takes until the API server answers alike in every namespace after a binding has these members.
async fn changed(
    installation: &Installation,
    size: Size,
    question: Question<'_>,
    members: &[String],
    allowed: bool,
) -> Result<Duration> {
    let bindings: Api<ProjectRoleTemplateBinding> = Api::namespaced(installation.management.client(), TEAM);
    let patch = Patch::Merge(json!({"spec": {"subjects": subjects(members)}}));
    let changed = Instant::now();
    bindings.patch(question.resource, &PatchParams::default(), &patch).await?;
    everywhere(installation, size, question, allowed).await?;
    Ok(changed.elapsed())
}

/// Whether this user may list what a role is about.
#[derive(Clone, Copy)]
struct Question<'a> {
    user: &'a str,
    resource: &'a str,
}

impl Question<'_> {
    fn review(self, namespace: &str) -> SubjectAccessReview {
        let asked = ResourceAttributes {
            namespace: Some(namespace.to_owned()),
            verb: Some("list".to_owned()),
            resource: Some(self.resource.to_owned()),
            ..ResourceAttributes::default()
        };
        let spec = SubjectAccessReviewSpec {
            user: Some(self.user.to_owned()),
            resource_attributes: Some(asked),
            ..SubjectAccessReviewSpec::default()
        };
        SubjectAccessReview { spec, ..SubjectAccessReview::default() }
    }
}

/// Waits until the API server has given this answer in each namespace.
async fn everywhere(installation: &Installation, size: Size, question: Question<'_>, allowed: bool) -> Result<()> {
    let reviews: Api<SubjectAccessReview> = Api::all(installation.cluster(&cluster_name(0))?.client());
    let answered = |namespace: String| {
        let reviews = reviews.clone();
        async move {
            let what = format!("{} may list {} in {namespace}: {allowed}", question.user, question.resource);
            let review = question.review(&namespace);
            eventually(&what, PATIENCE, async || {
                let answer = reviews.create(&PostParams::default(), &review).await?;
                Ok((answer.status.is_some_and(|status| status.allowed) == allowed).then_some(()))
            })
            .await
        }
    };
    stream::iter(namespaces(size)).map(Ok::<_, Error>).try_for_each_concurrent(AT_ONCE, answered).await
}

fn namespaces(size: Size) -> Vec<String> {
    (0..size.namespaces.get()).map(|number| format!("team-crowd-{number:03}")).collect()
}

fn members(size: Size) -> Vec<String> {
    (0..size.members.get()).map(|number| format!("member-{number}")).collect()
}

fn names(all: &[String]) -> Vec<&str> {
    all.iter().map(String::as_str).collect()
}
