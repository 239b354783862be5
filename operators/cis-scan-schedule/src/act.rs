//! The one action: a change of a scan.

use std::fmt;

use drover_crds::{CisScan, CisScanSchedule};
use drover_runtime::{Owner, PlaceContext, WriteError, owned::Change};
use serde_json::Map;

use crate::{CisScanScheduleOperator, children};

/// One idempotent change of a scan.
#[derive(Clone)]
pub struct Action(pub Change<CisScan>);

impl fmt::Debug for Action {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

impl Action {
    pub(crate) async fn carry_out(
        self,
        owner: Owner<'_, CisScanSchedule>,
        place: &PlaceContext,
    ) -> Result<(), WriteError> {
        let content = match &self.0 {
            Change::Create { desired, .. } => children::content(desired),
            _ => Map::new(),
        };
        self.0.carry_out_with::<CisScanScheduleOperator>(owner, place, &content).await
    }
}
