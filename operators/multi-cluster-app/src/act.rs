//! One function per action.

use std::fmt;

use drover_crds::{CatalogApp, MultiClusterApp};
use drover_previews::Look;
use drover_runtime::{Operator as _, Owner, PlaceContext, owned::Change};
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
    /// Look what a revision would change.
    Look(Look),
}

impl fmt::Debug for Action {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::App(change) => change.fmt(formatter),
            Self::Revision(change) => change.fmt(formatter),
            Self::Look(what) => write!(formatter, "look at {} targets of {}", what.subjects.len(), what.revision),
        }
    }
}

impl Action {
    pub(crate) async fn carry_out(
        self,
        operator: &MultiClusterAppOperator,
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
            Self::Look(what) => {
                let seal = operator.seal.get(place).await?;
                operator.previews.begin(&owner.key(), what, place, (&seal, MultiClusterAppOperator::NAME));
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
