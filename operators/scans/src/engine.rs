//! What kube-bench prints, as checks. Everything in it comes from a node, and is no input to trust. Pure.

use drover_client::error::legible;
use serde::{Deserialize, de::IgnoredAny};
use serde_json::Value;

pub use crate::redact::redact;

use crate::answer::{Check, EngineState, FailureReason, TargetFailure};

/// Most checks of one target.
pub const MAX_CHECKS: usize = 1_000;
/// Most bytes of the number of a check.
pub(crate) const MAX_ID: usize = 32;
/// Most bytes of a title.
pub(crate) const MAX_TITLE: usize = 256;
/// Most bytes of what was found.
pub(crate) const MAX_EVIDENCE: usize = 512;
/// The audits of k3s read the journal of the node, which the image has no program for: without it they say nothing at all.
const NO_JOURNAL: &str = "journalctl: not found";
/// Where an audit says so, kube-bench lets checks pass that something is not set: in a pipe it does not see that a program failed.
const LOOKED_AT_NOTHING: [&str; 8] = [
    "File not found",
    ": not found",
    "command not found",
    "No such file or directory",
    "Permission denied",
    "Operation not permitted",
    "No journal files were found",
    "Usage: ",
];

#[derive(Deserialize)]
struct Printed {
    #[serde(rename = "Controls")]
    controls: Vec<Control>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Control {
    node_type: String,
    #[serde(rename = "tests")]
    groups: Option<Vec<Group>>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Group {
    results: Option<Vec<PrintedCheck>>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct PrintedCheck {
    test_number: String,
    test_desc: String,
    status: String,
    actual_value: Value,
    reason: Value,
    expected_result: Value,
    #[serde(rename = "test_info")]
    _info: Option<IgnoredAny>,
}

/// Reads what `kube-bench run --targets TARGET --json` printed.
pub fn parse(target: &str, stdout: &[u8]) -> Result<Vec<Check>, TargetFailure> {
    let none = |message: String| TargetFailure { reason: FailureReason::NoResults, message };
    let controls = match serde_json::from_slice::<Printed>(stdout) {
        Ok(printed) => printed.controls,
        // With --nototals the list alone is printed.
        Err(error) => serde_json::from_slice::<Vec<Control>>(stdout).map_err(|_| {
            none(format!("what kube-bench printed for target {target} is none of its results: {error}"))
        })?,
    };
    let of_target = controls.into_iter().filter(|control| control.node_type == target);
    // An empty list of Go is null.
    let groups = of_target.flat_map(|control| control.groups.unwrap_or_default());
    let results: Vec<_> = groups.flat_map(|group| group.results.unwrap_or_default()).collect();
    if results.is_empty() {
        return Err(none(format!("kube-bench printed no check of target {target}")));
    }
    if results.len() > MAX_CHECKS {
        return Err(none(format!("kube-bench printed more than {MAX_CHECKS} checks of target {target}")));
    }
    if results.iter().any(|result| result.test_number.trim().is_empty()) {
        return Err(none(format!("kube-bench printed a check of target {target} without a number")));
    }
    let mut checks: Vec<Check> = Vec::with_capacity(results.len());
    for found in results.iter().map(|result| check(target, result)) {
        match checks.iter_mut().find(|known| known.id == found.id) {
            Some(known) if found.state.severity() > known.state.severity() => *known = found,
            Some(_) => {}
            None => checks.push(found),
        }
    }
    Ok(checks)
}

fn check(target: &str, result: &PrintedCheck) -> Check {
    let text = |value: &Value| match value {
        Value::String(text) => text.trim().to_owned(),
        _ => String::new(),
    };
    let (reason, actual, expected) = (text(&result.reason), text(&result.actual_value), text(&result.expected_result));
    // kube-bench always prints what was found, if only nothing.
    let found_nothing = result.actual_value.is_string() && actual.is_empty();
    // Some tests of etcd look last at an environment that their audits do not read.
    let saw_nothing = (found_nothing && target != "etcd") || LOOKED_AT_NOTHING.iter().any(|said| actual.contains(said));
    let has_no_journal = [&actual, &reason].iter().any(|said| said.contains(NO_JOURNAL));
    let state = if has_no_journal { EngineState::Error } else { state(&result.status, &reason, saw_nothing) };
    let (reason, actual) = match target {
        "etcd" => (without_output(&reason), of_etcd(&actual)),
        _ => (reason, actual),
    };
    let evidence = match state {
        EngineState::Pass | EngineState::Skip => None,
        EngineState::Error if result.status == "PASS" && actual.is_empty() => {
            Some("it passed, but its audit found nothing".to_owned())
        }
        EngineState::Error if !reason.is_empty() => Some(reason),
        _ if actual.is_empty() => Some(reason).filter(|reason| !reason.is_empty()),
        _ if expected.is_empty() => Some(format!("found {actual}")),
        _ => Some(format!("found {actual}; expected {expected}")),
    };
    Check {
        id: legible(&result.test_number, MAX_ID),
        title: legible(&result.test_desc, MAX_TITLE),
        state,
        evidence: evidence.map(|evidence| legible(&redact(&evidence), MAX_EVIDENCE)),
    }
}

fn state(status: &str, reason: &str, saw_nothing: bool) -> EngineState {
    let could_not_run = ["failed to run", "unknown binary operator"].iter().any(|start| reason.starts_with(start));
    match status {
        _ if could_not_run => EngineState::Error,
        "PASS" if saw_nothing => EngineState::Error,
        "PASS" => EngineState::Pass,
        "FAIL" => EngineState::Fail,
        "WARN" => EngineState::Warn,
        "INFO" => EngineState::Skip,
        _ => EngineState::Error,
    }
}

/// kube-bench shows the whole environment of etcd, which is for nobody else to see.
fn of_etcd(actual: &str) -> String {
    let is_of_etcd = |word: &&str| word.starts_with("--") || word.starts_with("ETCD_");
    actual.split_whitespace().filter(is_of_etcd).collect::<Vec<_>>().join(" ")
}

/// Why an audit could not run, without what it had printed by then.
fn without_output(reason: &str) -> String {
    match (reason.split_once(", output: "), reason.rsplit_once(", error: ")) {
        (Some((audit, _)), Some((_, error))) => format!("{audit}, error: {error}"),
        (Some((audit, _)), None) => audit.to_owned(),
        (None, _) => reason.to_owned(),
    }
}
