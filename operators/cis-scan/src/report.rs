//! The report of one cluster, as far as it is kept, and its name. Pure.

use std::borrow::Cow;

use drover_crds::{CheckCounts, CisReport, CisReportSpec, CisScan, NodeCoverage, Verdict};
use drover_fetch::Digest;
use k8s_openapi::{
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference, Time},
    jiff::Timestamp,
};
use kube::{Resource, ResourceExt as _};
use serde::{Deserialize, Serialize};

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

    /// How it ended; none before it did.
    #[must_use]
    pub fn reported(&self) -> Option<Reported> {
        let KeptStatus { completed_at, verdict, counts, nodes } = &self.status;
        let at = completed_at.as_ref()?.0;
        Some(Reported { at, verdict: (*verdict)?, counts: (*counts)?, nodes: nodes.clone()? })
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
    let digest = Digest::of(format!("{scan}/{cluster}").as_bytes()).to_string();
    let hex = digest.rsplit(':').next().unwrap_or_default();
    let part = |name: &str| name.get(..PART).unwrap_or(name).trim_end_matches('-').to_owned();
    format!("{}-{}-{}", part(scan), part(cluster), hex.get(..8).unwrap_or(hex))
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
