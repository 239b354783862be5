//! The end of a release.

use drover_releases::{manifest::objects, order::for_uninstall, record::Status};
use k8s_openapi::jiff::Timestamp;

use super::{InCluster, applied, forget_runs};
use crate::{AppError, state::events};

impl InCluster<'_> {
    /// Notes that the release is being uninstalled.
    pub async fn begin_uninstall(&mut self, revision: i64, now: Timestamp) -> Result<(), AppError> {
        let Some(found) = self.newest().filter(|found| found.record.version == revision).cloned() else {
            return Ok(());
        };
        self.update(&found, now, |record| {
            record.info.status = Status::Uninstalling;
            record.info.deleted = Some(now);
            "Deletion in progress".clone_into(&mut record.info.description);
            forget_runs(record, &events(Status::Uninstalling));
        })
        .await
    }

    /// Deletes all objects of the release, and notes that.
    pub async fn delete_all(&mut self, now: Timestamp) -> Result<(), AppError> {
        let found = self.under_way()?;
        self.delete_succeeded(&found).await?;
        let mut all = objects(&found.record.manifest).unwrap_or_default();
        all.extend(self.before(found.record.version));
        let mut all = self.kept_by_filters(all);
        for_uninstall(&mut all);
        for object in &all {
            self.delete_one(object).await?;
        }
        self.update(&found, now, applied).await
    }

    /// Whether the release is being uninstalled.
    #[must_use]
    pub fn is_uninstalling(&self) -> bool {
        self.newest().is_some_and(|found| found.record.info.status == Status::Uninstalling)
    }

    /// Deletes all records, the newest last: it says that the release is being uninstalled.
    pub(super) async fn purge(&mut self) -> Result<(), AppError> {
        for found in self.records.clone() {
            self.delete_record(found.record.version).await?;
        }
        Ok(())
    }
}
