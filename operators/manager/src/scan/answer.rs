//! What reports say of a scan, and of a check: selected and joined. Pure.

use std::collections::{BTreeMap, BTreeSet};

use drover_crds::{
    CheckResult, CheckState, CisReport, CisReportStatus, CisScan, ClusterSelection, Verdict,
    condition::{READY, StatusConditions as _},
};
use kube::ResourceExt as _;

/// What is known of the clusters of a scan.
#[derive(Debug)]
pub(super) struct Answer {
    /// Namespace and name of the scan.
    pub(super) scan: String,
    /// What came of what was asked for; none before the scan has ended.
    pub(super) verdict: Option<Verdict>,
    /// Whether the scan has ended.
    pub(super) has_ended: bool,
    /// The clusters, by their names.
    pub(super) clusters: Vec<OfCluster>,
    /// So many more have no report, and are not named anywhere.
    pub(super) unnamed: usize,
}

/// What is known of one cluster.
#[derive(Debug)]
pub(super) struct OfCluster {
    pub(super) name: String,
    /// Its report, or why there is none.
    pub(super) found: Result<CisReport, String>,
}

/// What is asked of a scan.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Asked<'a> {
    /// Only this cluster.
    pub(super) cluster: Option<&'a str>,
    /// Also before the scan has ended.
    pub(super) is_partial: bool,
}

/// Whether it is a report of this very scan, and not of one that had its name before.
pub(super) fn is_of(report: &CisReport, scan: &CisScan) -> bool {
    let uid = scan.uid();
    report.spec.scan_name == scan.name_any() && uid.is_some_and(|uid| uid == report.spec.scan_uid)
}

/// Namespace and name.
pub(super) fn title(namespace: Option<&str>, name: &str) -> String {
    format!("{}/{name}", namespace.unwrap_or_default())
}

impl Answer {
    /// What the reports of the scan say, or why that cannot be told.
    pub(super) fn of(scan: &CisScan, reports: Vec<CisReport>, asked: Asked<'_>) -> Result<Self, String> {
        let title = title(scan.namespace().as_deref(), &scan.name_any());
        let status = scan.status.clone().unwrap_or_default();
        let has_ended = status.completed_at.is_some();
        if !has_ended && !asked.is_partial {
            let ready = status.conditions().iter().find(|condition| condition.type_ == READY);
            let state = ready.map_or_else(|| "it has no status yet".to_owned(), |ready| ready.message.clone());
            return Err(format!(
                "CisScan {title} has not ended: {state}; wait for it, or see what there is with --partial"
            ));
        }
        let own = reports.into_iter().filter(|report| is_of(report, scan) && completed(report).is_some());
        let mut found: BTreeMap<String, Result<CisReport, String>> =
            own.map(|report| (report.spec.cluster_name.clone(), Ok(report))).collect();
        for (name, why) in expected(scan) {
            found.entry(name).or_insert(Err(why));
        }
        let all = status.clusters.as_ref().map_or(0, |clusters| usize::try_from(clusters.total).unwrap_or_default());
        let unnamed = all.saturating_sub(found.len());
        let whole = Self { scan: title, verdict: status.verdict, has_ended, clusters: Vec::new(), unnamed };
        match asked.cluster {
            None => {
                let clusters = found.into_iter().map(|(name, found)| OfCluster { name, found }).collect();
                Ok(Self { clusters, ..whole })
            }
            Some(name) => whole.only(name, found),
        }
    }

    fn only(self, name: &str, mut all: BTreeMap<String, Result<CisReport, String>>) -> Result<Self, String> {
        let Some(found) = all.remove(name) else {
            let others: Vec<_> = all.into_keys().collect();
            let others = if others.is_empty() { "none".to_owned() } else { others.join(", ") };
            return Err(format!("CisScan {} knows no cluster {name}; it knows: {others}", self.scan));
        };
        // Of a cluster that was not scanned nothing is known to be well.
        let verdict = found.as_ref().ok().map_or(Some(Verdict::Incomplete), |report| completed(report)?.verdict);
        let clusters = vec![OfCluster { name: name.to_owned(), found }];
        Ok(Self { verdict, clusters, unnamed: 0, ..self })
    }

    /// How many clusters have a report, and of how many.
    pub(super) fn coverage(&self) -> (usize, usize) {
        let reported = self.clusters.iter().filter(|cluster| cluster.found.is_ok()).count();
        (reported, self.clusters.len() + self.unnamed)
    }

    /// What a person hears beside the answer.
    pub(super) fn summary(&self) -> String {
        let verdict = self.verdict.map_or_else(|| "none yet".to_owned(), |verdict| format!("{verdict:?}"));
        let (reported, all) = self.coverage();
        let ended = if self.has_ended { "" } else { "; the scan has not ended" };
        format!("CisScan {}: verdict {verdict}; {reported} of {all} clusters have a report{ended}", self.scan)
    }
}

/// The clusters that the scan names or has a problem with, each with why it has no report, should it have none.
fn expected(scan: &CisScan) -> Vec<(String, String)> {
    let problems = scan.status.iter().flat_map(|status| &status.problems).filter(|problem| !problem.cluster.is_empty());
    let mut expected: Vec<_> =
        problems.map(|problem| (problem.cluster.clone(), format!("{}: {}", problem.reason, problem.message))).collect();
    if let ClusterSelection::Names(names) = &scan.spec.clusters {
        expected.extend(names.iter().map(|name| (name.clone(), "the cluster has no report".to_owned())));
    }
    expected
}

/// The status of a report that is finished.
pub(super) fn completed(report: &CisReport) -> Option<&CisReportStatus> {
    report.status.as_ref().filter(|status| status.completed_at.is_some())
}

/// The names of the nodes where the result at this position is in its state, if that is one to look at: all of them where the report has
/// groups of nodes, else those that it names.
pub(super) fn nodes_in_state(status: &CisReportStatus, position: usize) -> Vec<&str> {
    let Some(result) = status.results.get(position) else { return Vec::new() };
    if !matches!(result.state, CheckState::Fail | CheckState::Error | CheckState::Warn) {
        return Vec::new();
    }
    if status.node_groups.is_empty() {
        return result.node_names.iter().map(String::as_str).collect();
    }
    let is_in_state = |states: &str| letter(states, position) == Some(result.state.letter());
    let groups = status.node_groups.iter().filter(|group| is_in_state(&group.states));
    let names: BTreeSet<_> = groups.flat_map(|group| &group.node_names).map(String::as_str).collect();
    names.into_iter().collect()
}

fn letter(states: &str, position: usize) -> Option<char> {
    // There may be a thousand groups and as many checks: in a text of ASCII, which it should be, no letter before has to be read.
    if states.is_ascii() {
        return states.as_bytes().get(position).copied().map(char::from);
    }
    states.chars().nth(position)
}

/// The newest report of each cluster, as far as it is about one check.
#[derive(Debug, Default)]
pub(super) struct Newest(BTreeMap<String, Option<Kept>>);

/// What is kept of a report.
#[derive(Debug)]
pub(super) struct Kept {
    /// When it was finished, and which one it is.
    order: (k8s_openapi::jiff::Timestamp, String),
    pub(super) scan: String,
    pub(super) benchmark: String,
    /// The check; none where the report does not have it.
    pub(super) states: Vec<OfCheck>,
}

/// What a report says of a check.
#[derive(Debug)]
pub(super) struct OfCheck {
    pub(super) result: CheckResult,
    /// The nodes in its state, if that is one to look at.
    pub(super) nodes: Vec<String>,
}

impl Newest {
    /// Takes a report in, if it is newer than the one that is known of its cluster.
    pub(super) fn add(&mut self, report: &CisReport, id: &str, benchmark: Option<&str>) {
        let known = self.0.entry(report.spec.cluster_name.clone()).or_default();
        let Some(status) = completed(report) else { return };
        let Some(at) = status.completed_at.as_ref() else { return };
        let by = status.benchmark.as_ref().map(|used| used.name.clone()).unwrap_or_default();
        let scan = title(report.namespace().as_deref(), &report.spec.scan_name);
        let order = (at.0, title(report.namespace().as_deref(), &report.name_any()));
        if benchmark.is_some_and(|wanted| wanted != by) || known.as_ref().is_some_and(|known| known.order >= order) {
            return;
        }
        let results = status.results.iter().enumerate().filter(|(_, result)| result.id == id);
        let found = results.map(|(position, result)| OfCheck {
            result: result.clone(),
            nodes: nodes_in_state(status, position).into_iter().map(str::to_owned).collect(),
        });
        *known = Some(Kept { order, scan, benchmark: by, states: found.collect() });
    }

    /// The clusters with the check, each with the report.
    pub(super) fn with(&self) -> impl Iterator<Item = (&str, &Kept)> {
        let kept = self.0.iter().filter_map(|(cluster, kept)| Some((cluster.as_str(), kept.as_ref()?)));
        kept.filter(|(_, kept)| !kept.states.is_empty())
    }

    /// The clusters that have reports, and none with the check.
    pub(super) fn without(&self) -> Vec<&str> {
        let has = |kept: &Option<Kept>| kept.as_ref().is_some_and(|kept| !kept.states.is_empty());
        self.0.iter().filter(|(_, kept)| !has(kept)).map(|(cluster, _)| cluster.as_str()).collect()
    }
}

#[cfg(test)]
pub(super) mod tests;
