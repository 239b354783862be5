//! One function per action.

use std::fmt;

use drover_crds::{CatalogApp, MultiClusterApp};
use drover_runtime::{Owner, PlaceContext, owned::Change};
use k8s_openapi::api::apps::v1::ControllerRevision;
use serde_json::Map;

use crate::{MultiClusterAppOperator, RolloutError, children, revisions};

/// One idempotent change.
#[derive(Clone)]
pub enum Action {
    /// Of the app of a target.
    App(Change<CatalogApp>),
    /// Of what is kept of a revision.
    Revision(Change<ControllerRevision>),
}

impl fmt::Debug for Action {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::App(change) => change.fmt(formatter),
            Self::Revision(change) => change.fmt(formatter),
        }
    }
}

impl Action {
    pub(crate) async fn carry_out(
        self,
        owner: Owner<'_, MultiClusterApp>,
        place: &PlaceContext,
    ) -> Result<(), RolloutError> {
        match self {
            Self::App(change) => {
                let content = desired(&change).map(children::content).unwrap_or_default();
                change.carry_out_with::<MultiClusterAppOperator>(owner, place, &content).await?;
            }
            Self::Revision(change) => {
                let content = desired(&change).map_or_else(Map::new, revisions::content);
                change.carry_out_with::<MultiClusterAppOperator>(owner, place, &content).await?;
            }
        }
        Ok(())
    }
}

/// What is to be written, if something is.
fn desired<K>(change: &Change<K>) -> Option<&K> {
    match change {
        Change::Create { desired, .. } | Change::Apply { desired, .. } | Change::Adopt { desired, .. } => Some(desired),
        Change::Disown { .. } | Change::Release(_) | Change::Disclaim(_) | Change::Delete(_) => None,
    }
}
