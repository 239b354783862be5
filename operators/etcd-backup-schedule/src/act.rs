//! The one action: a change of a backup.

use std::fmt;

use drover_crds::{EtcdBackup, EtcdBackupSchedule};
use drover_runtime::{Owner, PlaceContext, WriteError, owned::Change};
use serde_json::Map;

use crate::{EtcdBackupScheduleOperator, children};

/// One idempotent change of a backup.
#[derive(Clone)]
pub struct Action(pub Change<EtcdBackup>);

impl fmt::Debug for Action {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

impl Action {
    pub(crate) async fn carry_out(
        self,
        owner: Owner<'_, EtcdBackupSchedule>,
        place: &PlaceContext,
    ) -> Result<(), WriteError> {
        let content = match &self.0 {
            Change::Create { desired, .. } | Change::Apply { desired, .. } | Change::Adopt { desired, .. } => {
                children::content(desired)
            }
            Change::Disown { .. } | Change::Release(_) | Change::Disclaim(_) | Change::Delete(_) => Map::new(),
        };
        self.0.carry_out_with::<EtcdBackupScheduleOperator>(owner, place, &content).await
    }
}
