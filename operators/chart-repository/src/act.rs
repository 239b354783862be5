//! Reads a repository.

use drover_crds::ChartRepository;
use drover_runtime::{Owner, PlaceContext};
use drover_sources::SourceError;
use k8s_openapi::jiff::Timestamp;

use crate::ChartRepositoryOperator;

/// Reads it now. What comes of it is seen by the next reconcile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetch {
    /// What is asked for.
    pub asked: String,
    /// When that was decided.
    pub now: Timestamp,
}

impl Fetch {
    pub(crate) async fn carry_out(
        self,
        operator: &ChartRepositoryOperator,
        owner: Owner<'_, ChartRepository>,
        place: &PlaceContext,
    ) -> Result<(), SourceError> {
        let (Some(repository), Some(sources)) = (owner.object(), &operator.sources) else { return Ok(()) };
        sources.fetch(&place.management.client(), repository, &self.asked, self.now).await
    }
}
