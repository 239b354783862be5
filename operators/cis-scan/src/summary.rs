//! From what the places tell to the status of a scan. Pure.

use std::collections::{BTreeMap, BTreeSet};

use drover_crds::{
    CheckChanges, CheckCounts, CisScan, CisScanStatus, MAX_PROBLEMS, NodeCoverage, Problem, Verdict,
    condition::COMPLIANT,
};
use drover_fleet::targets;
use drover_runtime::{
    Place, PlaceState, PlaceStatuses, StatusCause,
    fan_out::{FanOut, Finding, Whole},
    place_status::{PlaceEntry, Readiness},
    status::{Activity, State, condition, ready_conditions},
};
use drover_scans::kept::{self, Reported};
use k8s_openapi::{
    apimachinery::pkg::apis::meta::v1::{Condition, Time},
    jiff::Timestamp,
};

use crate::{ScanCause, plan::PlaceStatus};

/// Joins what the places found out. What has ended stays as it is.
pub(crate) fn summarise(scan: &CisScan, statuses: &PlaceStatuses<PlaceStatus>, _: Timestamp) -> CisScanStatus {
    let former = scan.status.clone().unwrap_or_default();
    if former.completed_at.is_some() && scan.metadata.deletion_timestamp.is_none() {
        return former;
    }
    let of_management = statuses.get(&Place::Management).and_then(|entry| entry.known.clone()).unwrap_or_default();
    let clusters = statuses.of_clusters();
    let fan_out = FanOut::of(scan, Whole::default(), &clusters);
    let totals = Totals::of(&clusters, &fan_out, &of_management.reports);
    let started_at = former.started_at.or(of_management.begun.map(Time));
    let completed_at = started_at.as_ref().and_then(|_| totals.ended(of_management.over)).map(Time);
    let verdict = completed_at.as_ref().map(|_| totals.verdict());
    let mut problems = fan_out.problems();
    if completed_at.is_some() {
        problems.extend(totals.problems(scan, &problems));
        problems.truncate(MAX_PROBLEMS);
    }
    let Readiness { state, cause, message, activity } = match verdict {
        _ if fan_out.is_deleting() => Readiness::no(StatusCause::Deleting, "it is being deleted".to_owned()),
        Some(verdict) => totals.result(verdict, problems.first()),
        None if started_at.is_none() => before(&of_management),
        None => totals.under_way(&fan_out),
    };
    let mut conditions = ready_conditions(state, cause, &message, activity);
    conditions.extend([compliant(verdict, &totals), fan_out.reachable(), targets::allowed(&fan_out)]);
    CisScanStatus {
        observed_generation: former.observed_generation,
        started_at,
        completed_at,
        verdict,
        counts: Some(totals.counts),
        nodes: Some(NodeCoverage::of(totals.scanned, totals.nodes)),
        changes: totals.changes,
        clusters: Some(totals.targets(&fan_out)),
        problems,
        admission: of_management.admission.or(former.admission),
        conditions,
    }
}

fn before(of_management: &PlaceStatus) -> Readiness {
    match of_management.obstacles.first() {
        Some(obstacle) => Readiness::no(obstacle.cause, obstacle.message.clone()),
        None => Readiness::no(StatusCause::Progressing, "it is about to begin".to_owned()),
    }
}

fn compliant(verdict: Option<Verdict>, totals: &Totals<'_>) -> Condition {
    let CheckCounts { fail, warn, .. } = totals.counts;
    match verdict {
        None => condition(COMPLIANT, State::Unknown, ScanCause::Scanning, "the scan has not ended"),
        Some(Verdict::Pass) => condition(COMPLIANT, State::True, ScanCause::ChecksPassed, "nothing fails"),
        Some(Verdict::Fail) => {
            let new = totals.changes.map_or(0, |changes| changes.new_failures);
            if new > 0 {
                let message = format!(
                    "{new} checks fail that did not before, {fail} fail in all and {warn} warn; look at status.changes of the CisReports"
                );
                return condition(COMPLIANT, State::False, ScanCause::NewFailures, message);
            }
            let message = format!("{fail} checks fail and {warn} warn; look at status.results of the CisReports");
            condition(COMPLIANT, State::False, ScanCause::ChecksFailed, message)
        }
        Some(Verdict::Incomplete) => {
            let message = "nothing fails of what was looked at, and not all was; look at status.problems";
            condition(COMPLIANT, State::Unknown, ScanCause::ScanIncomplete, message)
        }
    }
}

/// What all reports say together.
struct Totals<'a> {
    reports: BTreeMap<&'a str, &'a Reported>,
    /// Clusters without a report.
    unreported: BTreeSet<&'a str>,
    /// Whether a cluster with a report still has something of the scan.
    is_clearing: bool,
    /// Named Clusters that do not exist, or are being deleted.
    is_missing_some: bool,
    /// Clusters that a selector selects, and that do not admit the namespace: nobody looked at them.
    refused: i64,
    counts: CheckCounts,
    /// Where reports were compared with those before.
    changes: Option<CheckChanges>,
    scanned: i64,
    nodes: i64,
    /// Nodes that are done with, and all, of the clusters without a report.
    progress: (usize, usize),
}

impl<'a> Totals<'a> {
    fn of(
        clusters: &'a PlaceStatuses<PlaceStatus>,
        fan_out: &FanOut<'a, PlaceStatus>,
        reports: &'a BTreeMap<String, Reported>,
    ) -> Self {
        let is_missing = |finding: &Finding<'_>| matches!(finding, Finding::Unknown(_) | Finding::Deleting(_));
        let mut totals = Self {
            // A cluster that is no target any more was scanned all the same.
            reports: reports.iter().map(|(name, reported)| (name.as_str(), reported)).collect(),
            unreported: BTreeSet::new(),
            is_clearing: false,
            is_missing_some: fan_out.findings.iter().any(is_missing),
            refused: fan_out.targets().without_consent,
            counts: CheckCounts::default(),
            changes: None,
            scanned: 0,
            nodes: 0,
            progress: (0, 0),
        };
        for (place, entry) in clusters.iter() {
            let Place::Cluster(name) = place else { continue };
            totals.add(name.as_str(), entry);
        }
        for reported in totals.reports.values() {
            totals.counts = totals.counts.plus(reported.counts);
            if let Some(changes) = reported.changes {
                totals.changes = Some(totals.changes.unwrap_or_default().plus(changes));
            }
            totals.scanned += reported.nodes.scanned;
            totals.nodes += reported.nodes.total;
        }
        totals
    }

    fn add(&mut self, name: &'a str, entry: &PlaceEntry<PlaceStatus>) {
        let known = entry.known.as_ref();
        if self.reports.contains_key(name) {
            let is_away =
                matches!(entry.state, PlaceState::Unreachable(_) | PlaceState::Suspended | PlaceState::Released);
            self.is_clearing |= !is_away && !known.is_some_and(|known| known.is_done);
        } else if entry.state != PlaceState::Released {
            self.unreported.insert(name);
            let (done, all) = known.map_or((0, 0), |known| known.progress);
            self.progress = (self.progress.0 + done, self.progress.1 + all);
        }
    }

    /// When the scan ended, if it did: with the last report, or when its time was over.
    fn ended(&self, over: Option<Timestamp>) -> Option<Timestamp> {
        let is_complete =
            !self.reports.is_empty() && self.unreported.is_empty() && !self.is_clearing && !self.is_missing_some;
        let last = self.reports.values().map(|reported| reported.at).max().filter(|_| is_complete);
        last.or(over)
    }

    fn verdict(&self) -> Verdict {
        let found = self.reports.values().map(|reported| reported.verdict);
        let is_whole = self.unreported.is_empty() && !self.is_missing_some && self.refused == 0;
        let of_whole = if is_whole { Verdict::Pass } else { Verdict::Incomplete };
        // Without any report nothing was looked at.
        found.max().map_or(Verdict::Incomplete, |worst| worst.max(of_whole))
    }

    /// Why there is no verdict on clusters of which nothing else is told.
    fn problems(&self, scan: &CisScan, told: &[Problem]) -> Vec<Problem> {
        let is_told = |cluster: &str| told.iter().any(|problem| problem.cluster == cluster);
        let name = scan.metadata.name.as_deref().unwrap_or_default();
        let problem = |cluster: &str, cause: ScanCause, message: String| Problem {
            cluster: cluster.to_owned(),
            namespace: None,
            reason: cause.reason().to_owned(),
            message,
        };
        let unreported = self.unreported.iter().filter(|cluster| !is_told(cluster)).map(|cluster| {
            let message =
                format!("cluster {cluster} was not scanned until the time of the scan was over; look at the Cluster");
            problem(cluster, ScanCause::NotScanned, message)
        });
        let incomplete = self.reports.iter().filter(|(_, reported)| reported.verdict == Verdict::Incomplete);
        let incomplete = incomplete.map(|(cluster, reported)| {
            let (nodes, errors) = (&reported.nodes.summary, reported.counts.error);
            let report = kept::name(name, cluster);
            if let Some(refusal) = &reported.refusal {
                let message = format!("cluster {cluster} was not scanned: {refusal} (CisReport {report})");
                return problem(cluster, ScanCause::BenchmarkUnavailable, message);
            }
            let message = format!(
                "of cluster {cluster} {nodes} nodes were scanned, and {errors} checks could not be looked at; look at CisReport {report}"
            );
            problem(cluster, ScanCause::ScanIncomplete, message)
        });
        unreported.chain(incomplete).collect()
    }

    fn result(&self, verdict: Verdict, first: Option<&Problem>) -> Readiness {
        let CheckCounts { total, pass, fail, warn, .. } = self.counts;
        let (scanned, nodes, clusters) = (self.scanned, self.nodes, self.reports.len());
        let found = format!(
            "{pass} of {total} checks passed, {fail} failed, {warn} warn; {scanned} of {nodes} nodes of {clusters} clusters were scanned"
        );
        if verdict == Verdict::Incomplete {
            let first = first.map(|problem| format!("; {}", problem.message)).unwrap_or_default();
            let refused = match self.refused {
                0 => String::new(),
                refused => format!(
                    "; {refused} of the selected clusters do not admit this namespace, so nothing is known of them: select others, or ask their owners"
                ),
            };
            return Readiness::no(ScanCause::ScanIncomplete, format!("{found}{first}{refused}"));
        }
        Readiness { state: State::True, cause: StatusCause::Ready.into(), message: found, activity: Activity::Settled }
    }

    fn under_way(&self, fan_out: &FanOut<'_, PlaceStatus>) -> Readiness {
        let (done, all) = self.progress;
        let clusters = self.reports.len() + self.unreported.len();
        let so_far = format!(
            "{} of {clusters} clusters have a report, {done} of {all} nodes of the others are done",
            self.reports.len()
        );
        match fan_out.findings.first() {
            Some(finding) => {
                let Problem { message, .. } = finding.problem();
                Readiness::no(finding.cause(), format!("{message} ({so_far})"))
            }
            None if clusters == 0 => Readiness::no(StatusCause::NoTargets, "no cluster is selected that admits this namespace; look at spec.clusters, at the labels of the Clusters, and at their spec.tenants".to_owned()),
            None => Readiness::no(ScanCause::Scanning, so_far),
        }
    }

    fn targets(&self, fan_out: &FanOut<'_, PlaceStatus>) -> drover_crds::TargetSummary {
        let mut targets = fan_out.targets();
        let ready = i64::try_from(self.reports.len()).unwrap_or(i64::MAX);
        (targets.ready, targets.total) = (ready, ready + i64::try_from(self.unreported.len()).unwrap_or(i64::MAX));
        targets.summary = format!("{ready}/{}", targets.total);
        targets
    }
}

#[cfg(test)]
mod tests;
