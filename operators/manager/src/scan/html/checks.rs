//! The part of a page about one cluster: what changed, what is missing, and every check. Pure.

use std::{collections::BTreeSet, fmt::Write as _};

use drover_crds::{CheckResult, CheckState, CisReportStatus, ReportChanges};
use drover_scans::missing::MissingReason;

use super::{
    counts, status,
    text::{STATES, State, Text, VerdictMark, count},
};
use crate::scan::{
    answer::{OfCluster, nodes_in_state},
    formats::{remedy, unlisted},
};

/// Most bytes of the names of nodes at one check: the page stays one that a browser opens.
const MOST_NAMES: usize = 384;
/// The checks of so many clusters are open from the beginning; with more the page would be long.
const MOST_OPEN: usize = 5;

/// All of a cluster.
pub(super) fn cluster(out: &mut String, number: usize, cluster: &OfCluster, of: usize) {
    let name = Text(&cluster.name);
    let _ = write!(out, "<section class=\"cluster\" id=\"c{number}\" data-cluster=\"{name}\">\n<h3>{name}: ");
    match (&cluster.found, status(cluster)) {
        (Err(why), _) => {
            let _ = writeln!(out, "<b class=\"Incomplete\">! not scanned</b></h3>\n<p>{}</p>", Text(why));
        }
        (Ok(_), None) => out.push_str("<b class=\"Incomplete\">! no report</b></h3>\n"),
        (Ok(_), Some(status)) => {
            let _ = writeln!(out, "{}</h3>", VerdictMark(status.verdict));
            let used = status.benchmark.clone().unwrap_or_default();
            let nodes = status.nodes.clone().unwrap_or_default();
            let _ = writeln!(
                out,
                "<p>By {}: {}. {}, profile {}. {} of {} nodes were scanned.</p>",
                Text(&used.name),
                Text(&used.why),
                Text(&used.engine),
                Text(&used.profile_name),
                nodes.scanned,
                nodes.total
            );
            changes(out, status.changes.as_ref());
            missing(out, status);
            checks(out, status, of <= MOST_OPEN);
        }
    }
    out.push_str("</section>\n");
}

fn changes(out: &mut String, changes: Option<&ReportChanges>) {
    let Some(changes) = changes else { return };
    out.push_str("<h4>Since the report before</h4>\n");
    let _ = match &changes.report_name {
        Some(name) => writeln!(out, "<p>Compared with the CisReport {}.</p>", Text(name)),
        None => writeln!(out, "<p>There is no report before by this benchmark, so all that fails is new.</p>"),
    };
    let lists = [
        ("checks fail that did not before", changes.new_failures, &changes.new_failure_checks),
        ("checks failed before and pass", changes.fixed, &changes.fixed_checks),
    ];
    out.push_str("<ul>");
    for (what, count, checks) in lists {
        let _ = write!(out, "<li>{count} {what}");
        for (position, check) in checks.iter().enumerate() {
            let _ = write!(out, "{}{}", if position == 0 { ": " } else { ", " }, Text(check));
        }
        let more = usize::try_from(count).unwrap_or_default().saturating_sub(checks.len());
        if more > 0 {
            let _ = write!(out, " and {more} more");
        }
        out.push_str("</li>");
    }
    out.push_str("</ul>\n");
}

fn missing(out: &mut String, status: &CisReportStatus) {
    let unlisted = unlisted(&status.nodes.clone().unwrap_or_default(), &status.missing);
    if status.missing.is_empty() && unlisted == 0 {
        return;
    }
    out.push_str("<h4>Nodes without results, or not all of them</h4>\n");
    if !status.missing.is_empty() {
        out.push_str(
            "<div class=\"wide\" role=\"region\" aria-label=\"Nodes without results\" tabindex=\"0\"><table><thead><tr><th scope=\"col\">Node</th><th scope=\"col\">Reason</th><th scope=\"col\">Message</th><th scope=\"col\">What to do</th></tr></thead>\n<tbody>\n",
        );
        for node in &status.missing {
            let _ = writeln!(
                out,
                "<tr><th scope=\"row\">{}</th><td>{}</td><td class=\"words\">{}</td><td class=\"words\">{}</td></tr>",
                Text(&node.name),
                Text(&node.reason),
                Text(&node.message),
                Text(&what_to_do(&node.reason))
            );
        }
        out.push_str("</tbody></table></div>\n");
    }
    if unlisted > 0 {
        let _ = writeln!(out, "<p>{unlisted} more nodes have no results.</p>");
    }
}

/// What the reference says of this reason, without its marks for code.
fn what_to_do(reason: &str) -> String {
    let mut all = MissingReason::ALL.into_iter();
    all.find(|(known, _, _)| known.as_str() == reason).map(|(_, _, todo)| todo.replace('`', "")).unwrap_or_default()
}

fn checks(out: &mut String, status: &CisReportStatus, is_open: bool) {
    let all = counts(status);
    let open = if is_open { " open" } else { "" };
    let _ = write!(out, "<h4>Checks</h4>\n<details{open}><summary>{} checks", all.total);
    let found = STATES.into_iter().map(|state| (state, count(&all, state))).filter(|(_, number)| *number > 0);
    for (position, (state, number)) in found.enumerate() {
        let _ = write!(out, "{}{number} {}", if position == 0 { ": " } else { ", " }, State(state));
    }
    out.push_str(
        "</summary>\n<table class=\"checks\"><thead><tr><th scope=\"col\">Check</th><th scope=\"col\">Target</th><th scope=\"col\">State</th><th scope=\"col\">Nodes</th><th scope=\"col\">What it is about</th></tr></thead>\n<tbody>\n",
    );
    let changed = Changed::of(status);
    for (position, result) in status.results.iter().enumerate() {
        check(out, status, (position, result), &changed);
    }
    out.push_str("</tbody></table></details>\n");
}

/// The checks that changed, as far as the report lists them.
struct Changed<'a> {
    failures: BTreeSet<&'a str>,
    fixed: BTreeSet<&'a str>,
}

impl<'a> Changed<'a> {
    fn of(status: &'a CisReportStatus) -> Self {
        let set = |checks: fn(&ReportChanges) -> &Vec<String>| {
            status.changes.iter().flat_map(checks).map(String::as_str).collect::<BTreeSet<_>>()
        };
        Self { failures: set(|changes| &changes.new_failure_checks), fixed: set(|changes| &changes.fixed_checks) }
    }
}

fn check(out: &mut String, status: &CisReportStatus, (position, result): (usize, &CheckResult), changed: &Changed<'_>) {
    let key = format!("{}/{}", result.target, result.id);
    let (is_new, is_fixed) = (changed.failures.contains(key.as_str()), changed.fixed.contains(key.as_str()));
    let state = State(result.state);
    let fresh = if is_new { " data-fresh" } else { "" };
    let _ = write!(
        out,
        "<tr data-state=\"{}\"{fresh}><th scope=\"row\">{}</th><td>{}</td><td>{state}",
        state.word(),
        Text(&result.id),
        Text(&result.target)
    );
    for (tag, is_so) in [("mixed", result.mixed), ("new", is_new), ("fixed", is_fixed)] {
        if is_so {
            let _ = write!(out, " <span class=\"tag\">{tag}</span>");
        }
    }
    let _ = write!(out, "</td><td>{} of {}</td><td>{}", result.nodes_in_state, result.nodes, Text(&result.title));
    names(out, status, position, result);
    if let Some(evidence) = &result.evidence {
        let is_left_out = matches!(result.state, CheckState::Skip | CheckState::NotApplicable);
        let name = if is_left_out { "Why" } else { "Found" };
        let _ = write!(out, "<p>{name}: <code>{}</code></p>", Text(evidence));
    }
    if let Some(waiver) = &result.waiver_name {
        let _ = write!(out, "<p>Waived by the CisWaiver {}</p>", Text(waiver));
    }
    if let Some(remedy) = remedy(status, result) {
        let _ = write!(out, "<p>What to do: {}</p>", Text(remedy));
    }
    out.push_str("</td></tr>\n");
}

/// The names of the nodes where it is so, as far as there is room.
fn names(out: &mut String, status: &CisReportStatus, position: usize, result: &CheckResult) {
    let names = nodes_in_state(status, position);
    if names.is_empty() {
        return;
    }
    out.push_str("<p>Nodes:");
    let mut room = MOST_NAMES;
    let mut told = 0;
    for name in names {
        let Some(rest) = room.checked_sub(name.len() + 1) else { break };
        let _ = write!(out, " {}", Text(name));
        (room, told) = (rest, told + 1);
    }
    let more = usize::try_from(result.nodes_in_state).unwrap_or_default().saturating_sub(told);
    if more > 0 {
        let _ = write!(out, " and {more} more");
    }
    out.push_str("</p>");
}
