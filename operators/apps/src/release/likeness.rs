//! Whether a release that the status says nothing of any more is what would be released.

use drover_releases::{manifest::objects, record::Record};
use futures::{StreamExt as _, TryStreamExt as _, stream};

use super::{Found, InCluster};
use crate::{AppError, prepare::Prepared, state::Likeness};

/// So many objects are compared at a time.
const AT_ONCE: usize = 8;

impl InCluster<'_> {
    /// Compares a record with what is prepared. Nothing is written: what is not the same as what was rendered may be forged.
    pub(super) async fn likeness(&self, prepared: &Prepared, found: &Found) -> Result<Likeness, AppError> {
        let is_same = self.digest(&found.record) == prepared.release.manifest_digest;
        let is_of_chart = found.chart.as_ref() == Some(&prepared.release.chart_digest);
        match by_records(&found.record, &prepared.record, is_same, is_of_chart) {
            Some(likeness) => Ok(likeness),
            None if self.is_as_recorded(&found.record).await? => Ok(Likeness::Unchanged),
            None => Ok(Likeness::Other),
        }
    }

    /// Whether all objects of a record are in the cluster as it says, and the app may have them.
    async fn is_as_recorded(&self, record: &Record) -> Result<bool, AppError> {
        let Some(all) = objects(&record.manifest).ok().and_then(|all| self.allowed(all).ok()) else {
            return Ok(false);
        };
        let compared = all.into_iter().map(async |object| {
            let live = self.live(&object).await?;
            Ok::<_, AppError>(self.differs(&object, live.as_ref(), false).await?.is_none())
        });
        stream::iter(compared).buffer_unordered(AT_ONCE).try_all(async |is_as_recorded| is_as_recorded).await
    }
}

/// What the records say already; none if the cluster has to say it.
fn by_records(found: &Record, rendered: &Record, is_same: bool, is_of_chart: bool) -> Option<Likeness> {
    let has_same_sources = found.chart == rendered.chart && found.config == rendered.config;
    match (has_same_sources, is_same, is_of_chart) {
        (true, true, _) => Some(Likeness::Same),
        (true, false, true) => None,
        _ => Some(Likeness::Other),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Map, json};

    use super::*;

    #[test]
    fn only_what_is_of_the_same_chart_and_values_is_compared_with_the_cluster() {
        let record = |value: u32| Record {
            config: Map::from_iter([("a".to_owned(), json!(value))]),
            manifest: "m".to_owned(),
            ..Record::default()
        };
        let (rendered, other) = (record(1), record(2));
        assert_eq!(by_records(&rendered, &rendered, true, false), Some(Likeness::Same));
        assert_eq!(by_records(&rendered, &rendered, false, true), None);
        assert_eq!(
            by_records(&rendered, &rendered, false, false),
            Some(Likeness::Other),
            "of another chart, or of helm"
        );
        assert_eq!(by_records(&other, &rendered, true, true), Some(Likeness::Other), "helm get values would lie");
        assert_eq!(by_records(&other, &rendered, false, true), Some(Likeness::Other));
    }
}
