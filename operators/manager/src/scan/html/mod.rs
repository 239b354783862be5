//! What a scan found, as one page for a browser. Pure. It needs nothing from outside, and all of it can be read without its script.
//!
//! Every text from a cluster is taken for hostile: it is written as [`Text`] only, and the policy of the page lets no other style and no
//! other script in than the two that are here.

mod checks;
mod text;
mod trend;

use std::fmt::Write as _;

use drover_crds::{
    CheckChanges, CheckCounts, CisReport, CisReportStatus, CisScan, FailOn, NodeCoverage,
    names::{LABEL_OWNER_KIND, LABEL_OWNER_NAME},
};
use drover_fetch::Digest;
use k8s_openapi::{ByteString, apimachinery::pkg::apis::meta::v1::Time};
use kube::ResourceExt as _;

use self::text::{STATES, State, Text, VerdictMark, count};
pub(super) use self::trend::Chain;
use super::{
    answer::{Answer, OfCluster, completed},
    formats::unnamed,
};

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// What the page is about.
#[derive(Clone, Copy, Debug)]
pub(super) struct Page<'a> {
    pub(super) answer: &'a Answer,
    pub(super) scan: &'a CisScan,
    /// The scans before.
    pub(super) chain: &'a Chain,
}

/// The whole document.
pub(super) fn html(page: Page<'_>) -> Result<String, serde_json::Error> {
    let mut out = String::new();
    head(&mut out, page)?;
    summary(&mut out, page);
    clusters(&mut out, page.answer);
    trend::section(&mut out, page.chain);
    out.push_str("<section aria-labelledby=\"checks\"><h2 id=\"checks\">Checks</h2>\n");
    filters(&mut out, page.answer);
    for (number, cluster) in page.answer.clusters.iter().enumerate() {
        checks::cluster(&mut out, number, cluster, page.answer.clusters.len());
    }
    let _ = write!(out, "</section>\n</main>\n<script>{SCRIPT}</script>\n</body>\n</html>\n");
    Ok(out)
}

fn head(out: &mut String, page: Page<'_>) -> Result<(), serde_json::Error> {
    let Page { answer, .. } = page;
    let (name, verdict) = (Text(&answer.scan), VerdictMark(answer.verdict));
    let (style, script) = (source(STYLE)?, source(SCRIPT)?);
    let _ = write!(
        out,
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src {style}; script-src {script}; base-uri 'none'; form-action 'none'\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<meta name=\"referrer\" content=\"no-referrer\">\n\
         <title>CisScan {name}: {}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<header>\n\
         <h1>CisScan {name}: {verdict}</h1>\n<nav aria-label=\"Parts of this page\"><a href=\"#summary\">Summary</a> \
         <a href=\"#clusters\">Clusters</a> <a href=\"#trend\">Over time</a> <a href=\"#checks\">Checks</a></nav>\n</header>\n<main>\n",
        verdict.word(),
    );
    Ok(())
}

/// How a policy names a text that is part of the page.
fn source(text: &str) -> Result<String, serde_json::Error> {
    // Kubernetes has bytes as base64, which is what a policy wants.
    let digest = serde_json::to_string(&ByteString(Digest::of(text.as_bytes()).bytes().to_vec()))?;
    Ok(format!("'sha256-{}'", digest.trim_matches('"')))
}

fn summary(out: &mut String, page: Page<'_>) {
    let Page { answer, scan, .. } = page;
    let statuses = || answer.clusters.iter().filter_map(status);
    let counts = statuses().map(counts).fold(CheckCounts::default(), CheckCounts::plus);
    let nodes = statuses().filter_map(|status| status.nodes.as_ref());
    let (scanned, total) = nodes.fold((0, 0), |(scanned, total), nodes: &NodeCoverage| {
        (nodes.scanned.saturating_add(scanned), nodes.total.saturating_add(total))
    });
    let (reported, all) = answer.coverage();
    out.push_str("<section aria-labelledby=\"summary\"><h2 id=\"summary\">Summary</h2>\n<dl class=\"facts\">\n");
    fact(out, "Verdict", VerdictMark(answer.verdict));
    fact(out, "Clusters", format_args!("{reported} of {all} have a report"));
    fact(out, "Nodes", format_args!("{scanned} of {total} were scanned"));
    let time = |at: Option<&Time>| at.map_or_else(|| "not yet".to_owned(), |at| at.0.to_string());
    let of_scan = scan.status.as_ref();
    fact(out, "Began", Text(&time(of_scan.and_then(|status| status.started_at.as_ref()))));
    fact(out, "Ended", Text(&time(of_scan.and_then(|status| status.completed_at.as_ref()))));
    fact(out, "Profile", Text(&scan.spec.profile_name));
    let fails_on = match scan.spec.fail_on() {
        FailOn::Fail => "a check that fails",
        FailOn::Warn => "a check that fails or warns",
    };
    fact(out, "Fails on", fails_on);
    if let Some(before) = &scan.spec.baseline_name {
        fact(out, "Compared with", format_args!("CisScan {}", Text(before)));
    }
    let labels = scan.labels();
    if let (Some("CisScanSchedule"), Some(name)) =
        (labels.get(LABEL_OWNER_KIND).map(String::as_str), labels.get(LABEL_OWNER_NAME))
    {
        fact(out, "Schedule", format_args!("CisScanSchedule {}, by its label", Text(name)));
    }
    let changes = statuses().filter_map(changes).reduce(|one, other| CheckChanges {
        new_failures: one.new_failures.saturating_add(other.new_failures),
        fixed: one.fixed.saturating_add(other.fixed),
    });
    if let Some(CheckChanges { new_failures, fixed }) = changes {
        fact(out, "Since before", format_args!("{new_failures} checks fail that did not, {fixed} are fixed"));
    }
    fact(out, "Checks", format_args!("{} over all clusters", counts.total));
    out.push_str("</dl>\n<ul class=\"counts\">");
    for state in STATES {
        let _ = write!(out, "<li>{} {}</li>", State(state), count(&counts, state));
    }
    out.push_str("</ul>\n");
    problems(out, answer, scan);
    out.push_str("</section>\n");
}

fn fact(out: &mut String, name: &str, value: impl std::fmt::Display) {
    let _ = writeln!(out, "<dt>{name}</dt><dd>{value}</dd>");
}

/// What the scan has problems with, of what was asked for.
fn problems(out: &mut String, answer: &Answer, scan: &CisScan) {
    let is_asked = |cluster: &str| cluster.is_empty() || answer.clusters.iter().any(|known| known.name == cluster);
    let problems = scan.status.iter().flat_map(|status| &status.problems);
    let problems: Vec<_> = problems.filter(|problem| is_asked(&problem.cluster)).collect();
    if problems.is_empty() && answer.unnamed == 0 && answer.has_ended {
        return;
    }
    out.push_str("<h3>What is missing</h3>\n<ul>\n");
    if !answer.has_ended {
        out.push_str("<li>The scan has not ended.</li>\n");
    }
    if answer.unnamed > 0 {
        let _ = writeln!(out, "<li>{}.</li>", Text(&unnamed(answer)));
    }
    for problem in problems {
        let on = if problem.cluster.is_empty() { "" } else { ": " };
        let (cluster, reason) = (Text(&problem.cluster), Text(&problem.reason));
        let _ = writeln!(out, "<li>{cluster}{on}{reason}: {}</li>", Text(&problem.message));
    }
    out.push_str("</ul>\n");
}

fn clusters(out: &mut String, answer: &Answer) {
    out.push_str("<section aria-labelledby=\"clusters\"><h2 id=\"clusters\">Clusters</h2>\n");
    if answer.clusters.is_empty() {
        out.push_str("<p>No cluster is named.</p>\n</section>\n");
        return;
    }
    out.push_str(
        "<div class=\"wide\" role=\"region\" aria-labelledby=\"clusters\" tabindex=\"0\"><table>\n<thead><tr><th scope=\"col\">Cluster</th><th scope=\"col\">Verdict</th>",
    );
    for state in STATES {
        let _ = write!(out, "<th scope=\"col\">{}</th>", State(state));
    }
    for name in ["All", "Nodes", "New failures", "Fixed", "Benchmark", "Why"] {
        let _ = write!(out, "<th scope=\"col\">{name}</th>");
    }
    out.push_str("</tr></thead>\n<tbody>\n");
    for (number, cluster) in answer.clusters.iter().enumerate() {
        let _ = write!(out, "<tr><th scope=\"row\"><a href=\"#c{number}\">{}</a></th>", Text(&cluster.name));
        match (&cluster.found, status(cluster)) {
            (Err(why), _) => {
                let _ = write!(out, "<td class=\"Incomplete\">! not scanned</td><td colspan=\"13\">{}</td>", Text(why));
            }
            (Ok(_), None) => out.push_str("<td class=\"Incomplete\">! none</td><td colspan=\"13\"></td>"),
            (Ok(_), Some(status)) => of_cluster(out, status),
        }
        out.push_str("</tr>\n");
    }
    out.push_str("</tbody></table></div>\n</section>\n");
}

fn of_cluster(out: &mut String, status: &CisReportStatus) {
    let counts = counts(status);
    let _ = write!(out, "<td>{}</td>", VerdictMark(status.verdict));
    for state in STATES {
        let _ = write!(out, "<td class=\"number\">{}</td>", count(&counts, state));
    }
    let nodes = status.nodes.clone().unwrap_or_default();
    let _ = write!(out, "<td class=\"number\">{}</td><td>{} of {}</td>", counts.total, nodes.scanned, nodes.total);
    match changes(status) {
        Some(CheckChanges { new_failures, fixed }) => {
            let _ = write!(out, "<td class=\"number\">{new_failures}</td><td class=\"number\">{fixed}</td>");
        }
        None => out.push_str("<td>not compared</td><td>not compared</td>"),
    }
    let used = status.benchmark.clone().unwrap_or_default();
    let _ = write!(out, "<td>{}</td><td class=\"words\">{}</td>", Text(&used.name), Text(&used.why));
}

/// The filters, which the script shows.
fn filters(out: &mut String, answer: &Answer) {
    out.push_str("<form id=\"filters\" autocomplete=\"off\" hidden>\n<fieldset><legend>State</legend>");
    for state in STATES {
        let (value, mark) = (State(state).word(), State(state));
        let _ =
            write!(out, "<label><input type=\"checkbox\" name=\"state\" value=\"{value}\" checked> {mark}</label> ");
    }
    out.push_str("</fieldset>\n<label>Cluster <select name=\"cluster\"><option value=\"\">all</option>");
    for cluster in &answer.clusters {
        let name = Text(&cluster.name);
        let _ = write!(out, "<option value=\"{name}\">{name}</option>");
    }
    out.push_str(
        "</select></label>\n<label>Text <input type=\"search\" name=\"text\"></label>\n\
         <label><input type=\"checkbox\" name=\"fresh\"> only new failures</label>\n\
         <button type=\"reset\">Show all</button>\n</form>\n<p id=\"told\" role=\"status\"></p>\n\
         <p>What to do names files as kubeadm lays them out. After a change of its configuration, restart the kubelet.</p>\n",
    );
}

/// The status of the report of a cluster, if there is one that is finished.
fn status(cluster: &OfCluster) -> Option<&CisReportStatus> {
    cluster.found.as_ref().ok().and_then(|report: &CisReport| completed(report))
}

fn counts(status: &CisReportStatus) -> CheckCounts {
    CheckCounts::of(status.results.iter().map(|result| result.state))
}

fn changes(status: &CisReportStatus) -> Option<CheckChanges> {
    status.changes.as_ref().map(|changes| CheckChanges { new_failures: changes.new_failures, fixed: changes.fixed })
}

#[cfg(test)]
mod tests;
