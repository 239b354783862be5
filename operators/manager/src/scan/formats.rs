//! How an answer about scans is written: for people, as JSON and as CSV. Pure.

use std::fmt::Write as _;

use drover_crds::{
    CheckCounts, CheckResult, CheckState, CisReport, CisReportSpec, CisReportStatus, MissingNode, NodeCoverage,
};
use drover_runtime::error::legible;
use drover_scans::{missing::MissingReason, remedies};
use serde::Serialize;

use super::answer::{Answer, Newest, OfCluster, completed, nodes_in_state};
use crate::{access::columns, output::shown};

/// Most bytes of a text from a report. The schema of the kind allows less.
pub(super) const MOST_BYTES: usize = 4 << 10;
/// What a spreadsheet takes for a formula begins with one of these.
const FORMULA: [char; 8] = ['=', '+', '-', '@', '＝', '＋', '－', '＠'];
const HEAD: [&str; 13] = [
    "cluster",
    "benchmark",
    "id",
    "title",
    "target",
    "state",
    "mixed",
    "nodes",
    "nodesInState",
    "failingNodes",
    "evidence",
    "waiver",
    "remedy",
];

/// A text from a report, on one line.
pub(super) fn line(text: &str) -> String {
    legible(text, MOST_BYTES)
}

/// What a person reads: what is not as it should be.
pub(super) fn table(answer: &Answer) -> String {
    let mut parts: Vec<String> = answer.clusters.iter().map(cluster).collect();
    if answer.unnamed > 0 {
        parts.push(format!("{}\n", unnamed(answer)));
    }
    if parts.is_empty() {
        parts.push("The scan has no cluster.\n".to_owned());
    }
    parts.join("\n")
}

/// That clusters have no report.
pub(super) fn unnamed(answer: &Answer) -> String {
    let more = if answer.clusters.is_empty() { "" } else { " more" };
    format!("{}{more} clusters of the scan have no report; look at status.problems of the CisScan", answer.unnamed)
}

fn cluster(cluster: &OfCluster) -> String {
    let name = line(&cluster.name);
    let status = match &cluster.found {
        Err(why) => return format!("Cluster {name}: not scanned: {}\n", line(why)),
        Ok(report) => report.status.clone().unwrap_or_default(),
    };
    let CisReportStatus { benchmark, verdict, nodes, missing, results, .. } = &status;
    let verdict = verdict.map_or_else(|| "no verdict".to_owned(), |verdict| format!("{verdict:?}"));
    let benchmark = benchmark.as_ref().map(|used| format!(" by {}", line(&used.name))).unwrap_or_default();
    let nodes = nodes.clone().unwrap_or_default();
    let mut text = format!("Cluster {name}: {verdict}{benchmark}, {} of {} nodes\n", nodes.scanned, nodes.total);
    let told = results.iter().filter(|result| !matches!(result.state, CheckState::Pass | CheckState::NotApplicable));
    let rows: Vec<_> = told.map(row).collect();
    if !rows.is_empty() {
        let head = ["CHECK", "STATE", "NODES", "TARGET", "TITLE"].map(str::to_owned);
        text += &columns(&std::iter::once(head).chain(rows).collect::<Vec<_>>());
    }
    let _ = writeln!(text, "{}", counts(CheckCounts::of(results.iter().map(|result| result.state))));
    if !missing.is_empty() {
        let head = ["NODE WITHOUT RESULTS", "REASON", "MESSAGE"].map(str::to_owned);
        let rows = missing.iter().map(|node| [&node.name, &node.reason, &node.message].map(|text| line(text)));
        text += &columns(&std::iter::once(head).chain(rows).collect::<Vec<_>>());
    }
    let unlisted = unlisted(&nodes, missing);
    if unlisted > 0 {
        let _ = writeln!(text, "{unlisted} more nodes have no results.");
    }
    text
}

/// How many nodes have no results and are not listed. A node that is not ready or gone is listed, and is none of those that there were.
pub(super) fn unlisted(nodes: &NodeCoverage, listed: &[MissingNode]) -> usize {
    let is_counted = |node: &&MissingNode| MissingReason::named(&node.reason).is_some_and(MissingReason::is_counted);
    let missing = nodes.total.saturating_sub(nodes.scanned);
    usize::try_from(missing).unwrap_or_default().saturating_sub(listed.iter().filter(is_counted).count())
}

/// What to do about a check that is not as it should be, where that is known.
pub(super) fn remedy(status: &CisReportStatus, result: &CheckResult) -> Option<&'static str> {
    if !matches!(result.state, CheckState::Fail | CheckState::Warn | CheckState::Waived) {
        return None;
    }
    remedies::remedy(&status.benchmark.as_ref()?.name, &result.target, &result.id)
}

fn row(result: &CheckResult) -> [String; 5] {
    let waiver = result.waiver_name.as_ref().map(|name| format!(" ({})", line(name))).unwrap_or_default();
    [
        line(&result.id),
        format!("{:?}{waiver}", result.state),
        format!("{}/{}", result.nodes_in_state, result.nodes),
        line(&result.target),
        line(&result.title),
    ]
}

fn counts(counts: CheckCounts) -> String {
    let CheckCounts { total, pass: well, fail, warn, skip, waived, not_applicable, error } = counts;
    format!(
        "{total} checks: {well} are as they should be, {fail} fail, {error} could not be looked at, {warn} are for a person to look at, {waived} are waived, {skip} are skipped, {not_applicable} do not apply"
    )
}

#[derive(Serialize)]
struct Printed<'a> {
    spec: &'a CisReportSpec,
    status: Option<&'a CisReportStatus>,
}

/// Spec and status of each report.
pub(super) fn json(answer: &Answer) -> Result<String, serde_json::Error> {
    let printed =
        |report: &'_ CisReport| serde_json::to_value(Printed { spec: &report.spec, status: report.status.as_ref() });
    let reports = answer.clusters.iter().filter_map(|cluster| cluster.found.as_ref().ok());
    let reports = reports.map(printed).collect::<Result<Vec<_>, _>>()?;
    Ok(shown(&serde_json::to_string_pretty(&reports)?) + "\n")
}

/// A row for each cluster and check.
pub(super) fn csv(answer: &Answer) -> String {
    let mut text = HEAD.join(",") + "\n";
    let reports = answer.clusters.iter().filter_map(|cluster| cluster.found.as_ref().ok());
    for report in reports {
        let Some(status) = completed(report) else { continue };
        let benchmark = status.benchmark.as_ref().map(|used| used.name.as_str()).unwrap_or_default();
        for (position, result) in status.results.iter().enumerate() {
            let failing = nodes_in_state(status, position).join(" ");
            let cells = [
                &report.spec.cluster_name,
                benchmark,
                &result.id,
                &result.title,
                &result.target,
                &format!("{:?}", result.state),
                &result.mixed.to_string(),
                &result.nodes.to_string(),
                &result.nodes_in_state.to_string(),
                &failing,
                result.evidence.as_deref().unwrap_or_default(),
                result.waiver_name.as_deref().unwrap_or_default(),
                remedy(status, result).unwrap_or_default(),
            ];
            text += &(cells.map(cell).join(",") + "\n");
        }
    }
    text
}

/// A text that neither ends its cell nor is taken for a formula.
fn cell(text: &str) -> String {
    // The names of all nodes may be long.
    let text = legible(text, usize::MAX);
    // Some programs drop blanks before they look.
    let guard = if text.trim_start().starts_with(FORMULA) { "'" } else { "" };
    let text = format!("{guard}{text}");
    let is_plain = !text.contains([',', '"', '\n', '\r']);
    if is_plain { text } else { format!("\"{}\"", text.replace('"', "\"\"")) }
}

/// The state of a check on all clusters.
pub(super) fn check(newest: &Newest, id: &str) -> String {
    let head = ["CLUSTER", "SCAN", "STATE", "NODES", "BENCHMARK"].map(str::to_owned);
    let (mut rows, mut fails) = (vec![head], String::new());
    for (cluster, kept) in newest.with() {
        for of_check in &kept.states {
            let result = &of_check.result;
            let state = format!("{:?}", result.state);
            let nodes = format!("{}/{}", result.nodes_in_state, result.nodes);
            rows.push([line(cluster), line(&kept.scan), state, nodes, line(&kept.benchmark)]);
            if result.state == CheckState::Fail {
                fails += &failing(cluster, result, &of_check.nodes);
            }
        }
    }
    let mut text = columns(&rows);
    if !fails.is_empty() {
        let _ = write!(text, "\nIt fails on these nodes:\n{fails}");
    }
    let without = newest.without();
    if !without.is_empty() {
        let count = without.len();
        let names: Vec<_> = without.into_iter().map(line).collect();
        let (id, names) = (line(id), names.join(", "));
        let _ = writeln!(text, "\n{count} clusters with reports have no check {id} in the newest one: {names}");
    }
    text + "Clusters without any CisReport are not in this list.\n"
}

fn failing(cluster: &str, result: &CheckResult, nodes: &[String]) -> String {
    let names: Vec<_> = nodes.iter().map(|name| line(name)).collect();
    let rest = usize::try_from(result.nodes_in_state).unwrap_or_default().saturating_sub(names.len());
    let rest = if rest > 0 { format!(" and {rest} more, which the report does not name") } else { String::new() };
    format!("  {}: {}{rest}\n", line(cluster), names.join(" "))
}

#[cfg(test)]
mod tests;
