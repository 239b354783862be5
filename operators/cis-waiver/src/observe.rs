//! What a waiver is for: the clusters that it selects, and whether their newest reports name it. Decides nothing.

use std::collections::BTreeMap;

use drover_crds::{CisWaiver, names::LOCAL_CLUSTER};
use drover_runtime::PlaceContext;
use drover_scans::kept::{KeptReport, Reported};
use kube::ResourceExt as _;

/// What a reconcile knows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct World {
    /// Whether all Clusters are known.
    pub is_complete: bool,
    /// How many clusters it selects.
    pub clusters: usize,
    /// How many of them were scanned.
    pub scanned: usize,
    /// Of how many of these the newest report names it.
    pub used: usize,
}

pub(crate) fn observe(waiver: &CisWaiver, place: &PlaceContext) -> World {
    let is_meant = |name: &str, labels: &BTreeMap<String, String>| {
        name != LOCAL_CLUSTER && waiver.spec.clusters.selects(name, labels)
    };
    let selected = place.fleet.iter().filter(|(name, view)| is_meant(name.as_str(), view.object.labels()));
    let newest = newest(&place.related::<KeptReport>().all());
    let mut world = World { is_complete: place.fleet.synced(), ..World::default() };
    for (name, _) in selected {
        world.clusters += 1;
        let Some(reported) = newest.get(name.as_str()) else { continue };
        world.scanned += 1;
        world.used += usize::from(reported.waiver_names.iter().any(|used| *used == waiver.name_any()));
    }
    world
}

/// The newest finished report of each cluster.
fn newest<R: AsRef<KeptReport>>(reports: &[R]) -> BTreeMap<String, Reported> {
    let mut newest: BTreeMap<String, Reported> = BTreeMap::new();
    for report in reports.iter().map(AsRef::as_ref) {
        let Some(reported) = report.reported() else { continue };
        let cluster = &report.spec.cluster_name;
        if newest.get(cluster).is_none_or(|known| known.at < reported.at) {
            newest.insert(cluster.clone(), reported);
        }
    }
    newest
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_newest_report_of_a_cluster_counts() {
        let report = |name: &str, at: &str, waivers: &[&str]| -> std::sync::Arc<KeptReport> {
            let counts = json!({"total": 1, "pass": 1, "fail": 0, "warn": 0, "skip": 0, "waived": 0, "notApplicable": 0, "error": 0});
            let whole = json!({
                "metadata": {"name": name, "namespace": "team"},
                "spec": {"scanName": "a", "scanUID": "u", "clusterName": "eu"},
                "status": {"completedAt": at, "verdict": "Pass", "counts": counts, "nodes": {"total": 1, "scanned": 1, "summary": "1/1"}, "waiverNames": waivers},
            });
            std::sync::Arc::new(serde_json::from_value(whole).unwrap())
        };
        let reports =
            [report("b", "2026-01-02T00:00:00Z", &["own"]), report("a", "2026-01-01T00:00:00Z", &["own", "other"])];
        assert_eq!(newest(&reports)["eu"].waiver_names, ["own"]);
    }
}
