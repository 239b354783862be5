//! Renders a chart by helm, for the cluster of an app.

use std::sync::Arc;

use drover_charts::Chart;
use drover_crds::CatalogApp;
use drover_releases::{
    Rendered,
    render::{ASKS, Cluster, RenderError, RenderFolder, Renderer, Request, Slot},
};
use kube::ResourceExt as _;
use serde_json::{Map, Value};

use crate::{
    AppCause, AppError,
    brought::Brought,
    confide::may_confide,
    lookup::Refuser,
    release::InCluster,
    shared::{self, Shared, Turn},
};

/// What is rendered.
pub(crate) struct Job<'a> {
    pub(crate) app: &'a CatalogApp,
    pub(crate) chart: &'a Chart,
    pub(crate) values: &'a Map<String, Value>,
    /// Whether any of the values is secret.
    pub(crate) is_secret: bool,
    /// Room for it.
    pub(crate) slot: &'a Slot,
    /// What equal targets of one app on many clusters have in common.
    pub(crate) shared: &'a Shared,
}

impl Job<'_> {
    pub(crate) async fn run(&self, renderer: &Renderer, cluster: &InCluster<'_>) -> Result<Arc<Rendered>, AppError> {
        let values = Value::Object(self.values.clone());
        let brought = Brought::by(self.app, self.chart);
        let known = cluster.kinds().api_versions().map(str::to_owned);
        let apis: Vec<String> = known.chain(brought.api_versions()).collect();
        let request = Request {
            release: self.app.release_name(),
            namespace: &self.app.spec.namespace,
            revision: cluster.next_revision(),
            is_upgrade: cluster.is_upgrade(),
            values: &values,
            cluster: Cluster::Described { version: &cluster.kinds().version, apis: &apis },
            is_secret: self.is_secret,
        };
        let turn = self.shared.turn(shared::key(self.app, self.chart.digest(), &request)).await;
        if let Turn::Rendered(found) = turn {
            return Ok(found);
        }
        let (found, asks) = self.render(renderer, cluster, request, brought).await?;
        let found = Arc::new(found);
        if let Turn::First(first) = turn {
            // What it makes up, such as a password, is the secret of one cluster.
            first.done(&found, asks || may_confide(self.chart, self.values));
        }
        Ok(found)
    }

    /// What helm makes of it, and whether it asks the cluster for that.
    async fn render(
        &self,
        renderer: &Renderer,
        cluster: &InCluster<'_>,
        request: Request<'_>,
        brought: Brought,
    ) -> Result<(Rendered, bool), AppError> {
        let folder = renderer.folder().map_err(|error| self.failed(&error))?;
        write(self.chart.clone(), &folder).await?;
        let asks = folder.asks_cluster().map_err(RenderError::from).map_err(|error| self.failed(&error))?;
        let asks = asks || ASKS.iter().any(|word| request.values.to_string().contains(word));
        let server = if asks {
            Some(cluster.lookup_server(brought).await.map_err(|error| self.failed(&error.into()))?)
        } else {
            None
        };
        let asked = server.as_ref().map(|server| Cluster::Asked { port: server.port, path: &server.path });
        let request = Request { cluster: asked.unwrap_or(request.cluster), ..request };
        let outcome = renderer.render(self.slot, folder, &request).await;
        match server.and_then(|server| server.refused()) {
            Some((path, refuser)) if outcome.is_err() => {
                let why = match refuser {
                    Refuser::Role => "which its role does not let it read",
                    Refuser::Reach => "and what lies in drover-system or in namespaces of Projects is out of its reach",
                };
                let (chart, app) = (&self.chart.metadata().name, self.app.name_any());
                let message = format!("chart {chart} of app {app} looks up {path}, {why}");
                Err(AppError::new(AppCause::LookupRefused, message))
            }
            _ => outcome.map(|rendered| (rendered, asks)).map_err(|error| self.failed(&error)),
        }
    }

    fn failed(&self, error: &RenderError) -> AppError {
        let cause = match error {
            RenderError::HelmMissing
            | RenderError::WrongHelmVersion
            | RenderError::NotConfined
            | RenderError::Folder(_) => AppCause::HelmUnavailable,
            RenderError::Deadline
            | RenderError::OutOfMemory
            | RenderError::TooMuchOutput
            | RenderError::Failed(_)
            | RenderError::UnknownKinds
            | RenderError::Malformed(_) => AppCause::RenderFailed,
        };
        AppError::new(cause, format!("chart {} of app {}: {error}", self.chart.metadata().name, self.app.name_any()))
    }
}

/// Files are written where blocking is allowed.
async fn write(chart: Chart, folder: &RenderFolder) -> Result<(), AppError> {
    let target = folder.chart().to_owned();
    let written = tokio::task::spawn_blocking(move || chart.write_to(&target)).await;
    match written {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => {
            Err(AppError::new(AppCause::HelmUnavailable, format!("the folder for rendering cannot be used: {error}")))
        }
        Err(_) => Err(AppError::new(
            AppCause::InternalError,
            "writing a chart ended early; report it with the log of Drover at that time",
        )),
    }
}
