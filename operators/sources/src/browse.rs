//! What people look at: all charts of a repository, and all versions of one.

use std::sync::Arc;

use drover_charts::{ChartSummary, IndexRow, index};
use drover_crds::ChartRepository;
use k8s_openapi::jiff::Timestamp;
use kube::Client;
use tokio::task::spawn_blocking;

use crate::{
    SourceCause, SourceError, Sources,
    kept::{limits, unreadable},
    registry,
};

impl Sources {
    /// All charts of a repository that has an index, by name.
    pub async fn charts(
        &self,
        client: &Client,
        repository: &ChartRepository,
        now: Timestamp,
    ) -> Result<Vec<ChartSummary>, SourceError> {
        self.content(client, repository, now).await?;
        let (file, limits) = (self.file_of(repository), limits(repository));
        let read = spawn_blocking(move || {
            let file = file.open().map_err(|_| unreadable())?;
            index::charts(file, &limits).map_err(|error| SourceError::new(SourceCause::IndexInvalid, error.to_string()))
        });
        read.await.unwrap_or_else(|_| Err(unreadable()))
    }

    /// All versions of a chart, the newest first.
    pub async fn versions(
        &self,
        client: &Client,
        repository: &ChartRepository,
        chart: &str,
        now: Timestamp,
    ) -> Result<Arc<Vec<IndexRow>>, SourceError> {
        if repository.spec.oci.is_some() {
            return registry::rows(self, client, repository, chart).await.map(|(rows, _)| rows);
        }
        let state = self.content(client, repository, now).await?.index.ok_or_else(unreadable)?;
        self.rows(repository, &state, chart).await
    }
}
