//! The report of one cluster, as far as it is kept, and its name. Pure.

use std::borrow::Cow;

use drover_crds::{
    CheckChanges, CheckCounts, CisReport, CisReportSpec, CisScan, NodeCoverage, Verdict, condition::READY,
};
use drover_fetch::Digest;
use k8s_openapi::{
    apimachinery::pkg::apis::meta::v1::{Condition, ObjectMeta, OwnerReference, Time},
    jiff::Timestamp,
};
use kube::{Resource, ResourceExt as _};
use serde::{Deserialize, Serialize};

/// The reason of a report on a cluster for which there is no benchmark.
pub const NO_BENCHMARK: &str = "BenchmarkUnavailable";
/// So much of the names of scan and cluster is in the name of a report.
const PART: usize = 26;

/// What is kept of a report: which one it is, and how it ended. The results stay where they are.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct KeptReport {
    metadata: ObjectMeta,
    /// Of what it is.
    pub spec: CisReportSpec,
    #[serde(default, skip_serializing)]
    status: KeptStatus,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct KeptStatus {
    completed_at: Option<Time>,
    verdict: Option<Verdict>,
    counts: Option<CheckCounts>,
    nodes: Option<NodeCoverage>,
    changes: Option<CheckChanges>,
    waiver_names: Vec<String>,
    #[serde(deserialize_with = "refusal", rename = "conditions")]
    refusal: Option<String>,
}

/// What a report says of a cluster for which there is no benchmark.
fn refusal<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let conditions = Vec::<Condition>::deserialize(deserializer)?;
    let is_refusal = |found: &Condition| found.type_ == READY && found.reason == NO_BENCHMARK;
    Ok(conditions.into_iter().find(is_refusal).map(|found| found.message))
}

/// How a report ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reported {
    /// When.
    pub at: Timestamp,
    /// What came of it.
    pub verdict: Verdict,
    /// Its checks.
    pub counts: CheckCounts,
    /// Its nodes.
    pub nodes: NodeCoverage,
    /// How it differs from a report before, where it was compared with one.
    pub changes: Option<CheckChanges>,
    /// The waivers that took responsibility for something.
    pub waiver_names: Vec<String>,
    /// Why the cluster could not be scanned at all, if it could not.
    pub refusal: Option<String>,
}

impl Reported {
    /// Whether every node was looked at.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.nodes.scanned == self.nodes.total
    }
}

impl KeptReport {
    /// The report of `scan` on `cluster`, before there is anything in it. It goes with the scan.
    #[must_use]
    pub fn of(scan: &CisScan, cluster: &str) -> Self {
        let owner = OwnerReference {
            api_version: CisScan::api_version(&()).into_owned(),
            kind: CisScan::kind(&()).into_owned(),
            name: scan.name_any(),
            uid: scan.uid().unwrap_or_default(),
            ..OwnerReference::default()
        };
        let metadata = ObjectMeta {
            name: Some(name(&scan.name_any(), cluster)),
            namespace: scan.namespace(),
            owner_references: Some(vec![owner]),
            ..ObjectMeta::default()
        };
        let spec = CisReportSpec {
            scan_name: scan.name_any(),
            scan_uid: scan.uid().unwrap_or_default(),
            cluster_name: cluster.to_owned(),
        };
        Self { metadata, spec, status: KeptStatus::default() }
    }

    /// Whether it is of this scan, and not of another one that had its name.
    #[must_use]
    pub fn is_of(&self, scan: &CisScan) -> bool {
        let CisReportSpec { scan_name, scan_uid, cluster_name } = &self.spec;
        let has_its_name = self.metadata.name.as_deref() == Some(&name(scan_name, cluster_name));
        let is_beside = self.metadata.namespace == scan.metadata.namespace;
        has_its_name
            && is_beside
            && scan.metadata.name.as_ref() == Some(scan_name)
            && scan.metadata.uid.as_ref() == Some(scan_uid)
    }

    /// How it ended; none before it did.
    #[must_use]
    pub fn reported(&self) -> Option<Reported> {
        let KeptStatus { completed_at, verdict, counts, nodes, changes, waiver_names, refusal } = self.status.clone();
        Some(Reported {
            at: completed_at?.0,
            verdict: verdict?,
            counts: counts?,
            nodes: nodes?,
            changes,
            waiver_names,
            refusal,
        })
    }
}

impl Resource for KeptReport {
    type DynamicType = ();
    type Scope = <CisReport as Resource>::Scope;

    fn kind((): &()) -> Cow<'_, str> {
        CisReport::kind(&())
    }
    fn group((): &()) -> Cow<'_, str> {
        CisReport::group(&())
    }
    fn version((): &()) -> Cow<'_, str> {
        CisReport::version(&())
    }
    fn plural((): &()) -> Cow<'_, str> {
        CisReport::plural(&())
    }
    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }
    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

/// The name of the report of a scan on a cluster: a DNS label, and no two are the same.
#[must_use]
pub fn name(scan: &str, cluster: &str) -> String {
    let hex = Digest::of(format!("{scan}/{cluster}").as_bytes()).hex();
    let part = |name: &str| name.get(..PART).unwrap_or(name).trim_end_matches('-').to_owned();
    format!("{}-{}-{}", part(scan), part(cluster), hex.get(..8).unwrap_or(&hex))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn c4_scans_with_names_alike_have_reports_of_their_own() {
        assert_ne!(name("foo", "bar-eu"), name("foo-bar", "eu"));
        let long = name(&"s".repeat(63), &"c".repeat(63));
        assert!(long.len() <= 63 && !long.contains("--"), "{long}");
        assert!(name("nightly", "eu-1").starts_with("nightly-eu-1-"));
    }
}
