//! What a scan found, as tests in the format of `JUnit`. Pure. What was not scanned is an error, so that nothing takes it for an all-clear.

use std::fmt::Write as _;

use drover_crds::{CheckResult, CheckState, CisReportStatus, FailOn, Verdict};
use drover_runtime::error::legible;

use super::{
    answer::{Answer, OfCluster, nodes_in_state},
    formats::{remedy, unlisted, unnamed},
};

/// Most names of nodes in one message.
const MOST_NAMES: usize = 100;

/// How a test ended.
enum Ended {
    Passed,
    Skipped(String),
    Failed(String),
    Error(String),
}

struct Case {
    name: String,
    class: String,
    ended: Ended,
    /// What stands below the message.
    details: String,
}

struct Suite {
    name: String,
    at: Option<String>,
    cases: Vec<Case>,
}

/// Tests, and how those of them ended that did not succeed.
#[derive(Clone, Copy, Default)]
struct Numbers {
    tests: usize,
    failures: usize,
    errors: usize,
    skipped: usize,
}

/// The whole document.
pub(super) fn junit(answer: &Answer) -> String {
    let mut suites: Vec<_> = answer.clusters.iter().map(suite).collect();
    let mut of_scan = Vec::new();
    if !answer.has_ended {
        of_scan.push(error("the scan has ended", "scan", "the scan has not ended"));
    }
    if answer.unnamed > 0 {
        of_scan.push(error("every cluster was scanned", "scan", &unnamed(answer)));
    }
    if answer.clusters.is_empty() && answer.unnamed == 0 {
        of_scan.push(error("a cluster was scanned", "scan", "the scan has no cluster"));
    }
    if answer.verdict != Some(Verdict::Pass) && suites.iter().all(Suite::is_clear) && of_scan.is_empty() {
        of_scan.push(error("nothing fails and all was scanned", "scan", &answer.summary()));
    }
    if !of_scan.is_empty() {
        suites.push(Suite { name: format!("CisScan {}", answer.scan), at: None, cases: of_scan });
    }
    write(&format!("CisScan {}", answer.scan), &suites)
}

fn error(name: &str, class: &str, message: &str) -> Case {
    Case {
        name: name.to_owned(),
        class: class.to_owned(),
        ended: Ended::Error(message.to_owned()),
        details: String::new(),
    }
}

fn suite(cluster: &OfCluster) -> Suite {
    let name = cluster.name.clone();
    let status = match &cluster.found {
        Err(why) => return Suite { name, at: None, cases: vec![error("the cluster was scanned", "scan", why)] },
        Ok(report) => report.status.clone().unwrap_or_default(),
    };
    let mut cases: Vec<_> = (0..status.results.len()).filter_map(|position| case(&status, position)).collect();
    if cases.is_empty() {
        cases.push(error("a check was looked at", "scan", "the report has no checks"));
    }
    cases.extend(status.missing.iter().map(|node| {
        let message = format!("{}: {}", node.reason, node.message);
        error(&format!("node {} was scanned", node.name), "node", &message)
    }));
    let unlisted = unlisted(&status.nodes.clone().unwrap_or_default(), &status.missing);
    if unlisted > 0 {
        cases.push(error("every node was scanned", "node", &format!("{unlisted} more nodes have no results")));
    }
    let at = status.completed_at.as_ref().map(|at| at.0.to_string());
    let mut suite = Suite { name, at, cases };
    if status.verdict != Some(Verdict::Pass) && suite.is_clear() {
        let verdict = status.verdict.map_or_else(|| "none".to_owned(), |verdict| format!("{verdict:?}"));
        suite.cases.push(error(
            "nothing fails and all was scanned",
            "scan",
            &format!("the verdict of the report is {verdict}"),
        ));
    }
    suite
}

fn case(status: &CisReportStatus, position: usize) -> Option<Case> {
    let result = status.results.get(position)?;
    let used = status.benchmark.clone().unwrap_or_default();
    let on = format!("on {} of {} nodes", result.nodes_in_state, result.nodes);
    let ended = match result.state {
        CheckState::Pass => Ended::Passed,
        CheckState::Fail => Ended::Failed(format!("it fails {on}")),
        CheckState::Error => Ended::Error(format!("it could not be looked at {on}")),
        // There a warning makes the verdict Fail.
        CheckState::Warn if used.fail_on == FailOn::Warn => Ended::Failed(format!("a person has to look at it {on}")),
        CheckState::Warn => Ended::Skipped("a person has to look at it".to_owned()),
        CheckState::Skip => Ended::Skipped("the profile leaves it out".to_owned()),
        CheckState::NotApplicable => Ended::Skipped("it does not apply, by the profile".to_owned()),
        CheckState::Waived => {
            let waiver = result.waiver_name.as_deref().unwrap_or("of no name");
            Ended::Skipped(format!("the CisWaiver {waiver} takes responsibility for it"))
        }
    };
    let class = format!("{}.{}", used.name, result.target);
    let mut details = details(status, position, result);
    if let (Ended::Failed(_), Some(remedy)) = (&ended, remedy(status, result)) {
        details.push(format!("what to do: {remedy}"));
    }
    Some(Case { name: format!("{} {}", result.id, result.title), class, ended, details: details.join("\n") })
}

fn details(status: &CisReportStatus, position: usize, result: &CheckResult) -> Vec<String> {
    let names = nodes_in_state(status, position);
    let mut details = Vec::new();
    if !names.is_empty() {
        let (told, rest) = names.split_at(names.len().min(MOST_NAMES));
        let rest = if rest.is_empty() { String::new() } else { format!(" and {} more", rest.len()) };
        details.push(format!("nodes: {}{rest}", told.join(" ")));
    }
    details.extend(result.evidence.clone());
    details
}

impl Suite {
    fn numbers(&self) -> Numbers {
        let mut numbers = Numbers { tests: self.cases.len(), ..Numbers::default() };
        for case in &self.cases {
            match case.ended {
                Ended::Passed => {}
                Ended::Skipped(_) => numbers.skipped += 1,
                Ended::Failed(_) => numbers.failures += 1,
                Ended::Error(_) => numbers.errors += 1,
            }
        }
        numbers
    }

    /// Whether whoever reads it takes it for an all-clear.
    fn is_clear(&self) -> bool {
        let Numbers { failures, errors, .. } = self.numbers();
        failures + errors == 0
    }
}

impl Numbers {
    fn plus(self, other: Self) -> Self {
        Self {
            tests: self.tests + other.tests,
            failures: self.failures + other.failures,
            errors: self.errors + other.errors,
            skipped: self.skipped + other.skipped,
        }
    }

    fn attributes(self) -> String {
        let Self { tests, failures, errors, skipped } = self;
        format!("tests=\"{tests}\" failures=\"{failures}\" errors=\"{errors}\" skipped=\"{skipped}\"")
    }
}

fn write(name: &str, suites: &[Suite]) -> String {
    let all = suites.iter().map(Suite::numbers).fold(Numbers::default(), Numbers::plus);
    let mut text = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    let _ = writeln!(text, "<testsuites name=\"{}\" {}>", escaped(name), all.attributes());
    for suite in suites {
        let at = suite.at.as_ref().map(|at| format!(" timestamp=\"{}\"", escaped(at))).unwrap_or_default();
        let _ = writeln!(text, "  <testsuite name=\"{}\" {}{at}>", escaped(&suite.name), suite.numbers().attributes());
        for case in &suite.cases {
            write_case(&mut text, case);
        }
        text.push_str("  </testsuite>\n");
    }
    text + "</testsuites>\n"
}

fn write_case(text: &mut String, case: &Case) {
    let _ = write!(text, "    <testcase classname=\"{}\" name=\"{}\"", escaped(&case.class), escaped(&case.name));
    let (element, message) = match &case.ended {
        Ended::Passed => {
            text.push_str("/>\n");
            return;
        }
        Ended::Skipped(message) => ("skipped", message),
        Ended::Failed(message) => ("failure", message),
        Ended::Error(message) => ("error", message),
    };
    let details: Vec<_> = case.details.lines().map(escaped).collect();
    let _ = writeln!(text, ">\n      <{element} message=\"{}\">{}</{element}>", escaped(message), details.join("\n"));
    text.push_str("    </testcase>\n");
}

/// A text in an attribute or an element, on one line, without what XML 1.0 does not know.
fn escaped(text: &str) -> String {
    let mut escaped = String::new();
    for letter in legible(text, usize::MAX).chars() {
        match letter {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&apos;"),
            '\u{fffe}' | '\u{ffff}' => {}
            letter => escaped.push(letter),
        }
    }
    escaped
}

#[cfg(test)]
mod tests;
