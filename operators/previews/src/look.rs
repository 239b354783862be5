//! One look at a target: what is released there, and what a revision would release.

use std::time::Duration;

use drover_apps::{
    AppCause, AppError,
    inputs::{self, Known},
    prepare::Preparations,
    release::{InCluster, Recall, With},
    repository,
    seal::Seal,
};
use drover_crds::{CatalogApp, ChartRepository};
use drover_releases::Record;
use drover_runtime::{
    ClusterName, Link, OwnerRecord, Place, PlaceContext, StatusCause, cache::Health, clock::now, error::Classify as _,
};
use k8s_openapi::api::core::v1::Namespace;
use kube::ResourceExt as _;
use tokio::time::sleep;

use crate::{
    Differs, Outcome, Subject,
    compare::{Contents, differences},
    text::{Shows, tell},
};

/// For so many seconds a look waits until it is known which namespaces Projects hold: where no other operator asks, it is the first one.
const PATIENCE: u32 = 10;

/// By what is looked.
pub(crate) struct Means<'a> {
    pub(crate) preparations: &'a Preparations,
    pub(crate) recall: &'a Recall,
    pub(crate) seal: &'a Seal,
}

/// Looks at a target from the management cluster.
pub(crate) async fn look(means: &Means<'_>, subject: &Subject, management: &PlaceContext) -> Outcome {
    match found(means, subject, management).await {
        Ok(found) => Outcome::Differs(found),
        Err(error) => unknown(&subject.app, &error),
    }
}

/// Where the cluster was asked, its words may quote what is secret.
fn unknown(app: &CatalogApp, error: &AppError) -> Outcome {
    let (reason, cluster) = (error.cause().reason().to_owned(), &app.spec.cluster_name);
    let message = match error {
        AppError::Other { message, .. } => message.clone(),
        AppError::AsApp(_) => format!("cluster {cluster} did not let app {} look at its release", app.name_any()),
        AppError::Read(_) | AppError::Write(_) => {
            format!("what app {} is made of cannot be read in the management cluster", app.name_any())
        }
    };
    Outcome::Unknown { reason, message: message.chars().take(512).collect() }
}

async fn found(means: &Means<'_>, subject: &Subject, management: &PlaceContext) -> Result<Differs, AppError> {
    let app = &subject.app;
    if app.status.is_none() {
        let message = format!(
            "nothing is released on cluster {} under the names that the app has by this revision, so all of it would be new there",
            app.spec.cluster_name
        );
        return Err(AppError::Other { cause: AppCause::RevisionNotFound.into(), message });
    }
    if is_first_under_way(app) {
        let message = format!(
            "release {} on cluster {} is not over yet, so there is nothing to compare with; Drover looks again once it is",
            app.release_name(),
            app.spec.cluster_name
        );
        return Err(AppError::Other { cause: StatusCause::Progressing.into(), message });
    }
    let place = at_cluster(app, management).await?;
    let known = known(subject, &place, means.seal)?;
    let inputs = inputs::inputs(app, &known).map_err(|(cause, message)| AppError::Other { cause, message })?;
    let with = With { seal: means.seal, recall: means.recall, now: now() };
    let cluster = InCluster::of(app, &place, with).await?;
    let rendered;
    let (after, is_open) = match (cluster.repeated(&inputs.hash), inputs.held.clone()) {
        (Some((release, record)), _) => (record, release.without_secrets),
        (None, Some((cause, message))) => return Err(AppError::Other { cause, message }),
        (None, None) => {
            rendered = means.preparations.preview(app, &place, &cluster, &inputs, now()).await?;
            (&rendered.record, rendered.release.without_secrets)
        }
    };
    let released = cluster.released();
    let is_open = is_open && (released.is_none() || was_open(app));
    let shows = if is_open { Shows::Values } else { Shows::Paths };
    let [before, after] = [contents(app, released)?, contents(app, Some(after))?];
    Ok(tell(&differences(&before, &after), shows, released.is_none()))
}

/// Whether something is released that is not noted yet. What is released then makes another target, which is looked at.
fn is_first_under_way(app: &CatalogApp) -> bool {
    app.status.as_ref().is_some_and(|status| status.applied.is_none() && status.pending.is_some())
}

/// Whether nothing of what is released can be secret.
fn was_open(app: &CatalogApp) -> bool {
    app.status.as_ref().and_then(|status| status.applied.as_ref()).is_some_and(|applied| applied.without_secrets)
}

fn contents(app: &CatalogApp, record: Option<&Record>) -> Result<Contents, AppError> {
    let read = record.map(|record| Contents::of(record, &app.spec.namespace)).transpose();
    let read =
        read.map_err(|error| AppError::Other { cause: AppCause::RenderFailed.into(), message: error.to_string() })?;
    Ok(read.unwrap_or_default())
}

/// The cluster of a target, as its app is released there.
async fn at_cluster(app: &CatalogApp, management: &PlaceContext) -> Result<PlaceContext, AppError> {
    let name = ClusterName::from(&*app.spec.cluster_name);
    let away = |cause: StatusCause, why: &str| AppError::Other {
        cause: cause.into(),
        message: format!("cluster {name} {why}; Drover looks again"),
    };
    let unreachable = || away(StatusCause::Unreachable, "cannot be reached");
    let view = management.fleet.get(&name).ok_or_else(unreachable)?;
    let Link::Connected(cache) = &view.link else { return Err(unreachable()) };
    // What Projects hold is out of reach for a chart, so that has to be known.
    let held = cache.informer::<Namespace>(&OwnerRecord::query("Project"));
    for _ in 0..PATIENCE {
        if held.health() != Health::Live {
            sleep(Duration::from_secs(1)).await;
        }
    }
    if held.health() != Health::Live {
        return Err(away(StatusCause::Progressing, "did not tell yet which namespaces Projects hold there"));
    }
    Ok(PlaceContext {
        place: Place::Cluster(name.clone()),
        cluster: Some(view.object.clone()),
        fleet: management.fleet.clone(),
        cache: cache.clone(),
        management: management.management.clone(),
    })
}

fn known(subject: &Subject, place: &PlaceContext, seal: &Seal) -> Result<Known, AppError> {
    let app = &subject.app;
    let mut known = Known::of(app, &place.management);
    known.facts = place.cluster.as_ref().map(|cluster| inputs::facts(app, cluster)).unwrap_or_default();
    known.seal = Some(seal.clone());
    if let Some(chart) = &app.spec.chart.repository {
        let labels = place.fleet.namespace_labels(&app.namespace().unwrap_or_default()).cloned().unwrap_or_default();
        let usable = repository::usable(app, chart, &labels, |key| place.related::<ChartRepository>().lookup(key));
        usable.map_err(|(cause, message)| AppError::Other { cause, message })?;
        known.chosen = subject.chosen.clone().map(Ok);
    }
    Ok(known)
}
