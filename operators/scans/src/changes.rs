//! What a report finds that the one before did not. Pure.
//!
//! A check is told by its target and its number. It is a new failure if it fails and did not fail before, whatever it was then: also one
//! that was waived, left out or not looked at. It is fixed if it failed before and passes on all nodes.

use std::collections::BTreeMap;

use drover_crds::{
    CheckResult, CheckState, CisReport, CisReportStatus, FailOn, MAX_CHANGED_CHECKS, ReportChanges, UsedBenchmark,
};

use crate::report::Finished;

/// Compares what was found on a cluster with its report before. Without one by the same benchmark, the numbers of which are those of the
/// same checks, all that fails is new. Unless all nodes were looked at, nothing is fixed.
#[must_use]
pub fn changes(before: Option<&CisReport>, now: &Finished, used: &UsedBenchmark) -> ReportChanges {
    let by_same =
        |status: &CisReportStatus| status.benchmark.as_ref().is_some_and(|benchmark| benchmark.name == used.name);
    let before = before.and_then(|report| Some((report.metadata.name.clone()?, report.status.as_ref()?)));
    let before = before.filter(|(_, status)| by_same(status));
    let before = before.as_ref().map(|(name, status)| (name.clone(), status.results.as_slice()));
    compared(before, &now.results, used.fail_on, now.is_whole())
}

fn compared(
    before: Option<(String, &[CheckResult])>,
    now: &[CheckResult],
    fail_on: FailOn,
    is_whole: bool,
) -> ReportChanges {
    let (report_name, before) = before.map_or((None, &[][..]), |(name, results)| (Some(name), results));
    let former: BTreeMap<_, _> = before.iter().map(|result| ((&result.target, &result.id), result.state)).collect();
    let failed_before =
        |result: &CheckResult| former.get(&(&result.target, &result.id)).is_some_and(|state| fail_on.fails(*state));
    let failures = now.iter().filter(|result| fail_on.fails(result.state) && !failed_before(result));
    let fixed = now.iter().filter(|result| is_whole && result.state == CheckState::Pass && failed_before(result));
    let ((new_failures, new_failure_checks), (fixed, fixed_checks)) = (listed(failures), listed(fixed));
    ReportChanges { report_name, new_failures, fixed, new_failure_checks, fixed_checks }
}

/// How many there are, and the first of them.
fn listed<'a>(results: impl Iterator<Item = &'a CheckResult>) -> (i64, Vec<String>) {
    let (mut count, mut first) = (0, Vec::new());
    for CheckResult { target, id, .. } in results {
        count += 1;
        if first.len() < MAX_CHANGED_CHECKS {
            first.push(format!("{target}/{id}"));
        }
    }
    (count, first)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn result(id: &str, state: CheckState) -> CheckResult {
        let result = json!({"id": id, "title": "a", "target": "node", "state": state, "nodes": 1, "nodesInState": 1});
        serde_json::from_value(result).unwrap()
    }

    fn differs(before: &[(&str, CheckState)], now: &[(&str, CheckState)], fail_on: FailOn) -> ReportChanges {
        let of = |all: &[(&str, CheckState)]| all.iter().map(|(id, state)| result(id, *state)).collect::<Vec<_>>();
        compared(Some(("before".to_owned(), &of(before))), &of(now), fail_on, true)
    }

    #[test]
    fn what_fails_and_did_not_before_is_new_whatever_it_was_then() {
        use CheckState::{Error, Fail, NotApplicable, Pass, Skip, Waived, Warn};
        for then in [NotApplicable, Pass, Skip, Waived, Warn, Error] {
            let changes = differs(&[("1.1", then)], &[("1.1", Fail)], FailOn::Fail);
            assert_eq!((changes.new_failures, changes.fixed), (1, 0), "{then:?}");
            assert_eq!(changes.new_failure_checks, ["node/1.1"]);
        }
        assert_eq!(differs(&[("1.1", Fail)], &[("1.1", Fail)], FailOn::Fail).new_failures, 0);
        assert_eq!(differs(&[], &[("1.1", Fail)], FailOn::Fail).new_failures, 1, "the check is new");
    }

    #[test]
    fn only_what_passes_is_fixed() {
        use CheckState::{Error, Fail, NotApplicable, Pass, Skip, Waived, Warn};
        assert_eq!(differs(&[("1.1", Fail)], &[("1.1", Pass)], FailOn::Fail).fixed_checks, ["node/1.1"]);
        for now in [NotApplicable, Skip, Waived, Warn, Error] {
            assert_eq!(differs(&[("1.1", Fail)], &[("1.1", now)], FailOn::Fail).fixed, 0, "{now:?}");
        }
        assert_eq!(differs(&[("1.1", Fail)], &[], FailOn::Fail).fixed, 0, "what is not there is not fixed");
        let (before, now) = ([result("1.1", Fail)], [result("1.1", Pass)]);
        let partly = compared(Some(("before".to_owned(), &before)), &now, FailOn::Fail, false);
        assert_eq!(partly.fixed, 0, "it may fail on the node that was not looked at");
    }

    #[test]
    fn a_warning_is_a_failure_where_the_scan_fails_on_it() {
        use CheckState::{Pass, Warn};
        assert_eq!(differs(&[("1.1", Pass)], &[("1.1", Warn)], FailOn::Fail).new_failures, 0);
        assert_eq!(differs(&[("1.1", Pass)], &[("1.1", Warn)], FailOn::Warn).new_failures, 1);
    }

    #[test]
    fn without_a_report_before_all_that_fails_is_new_and_lists_are_bounded() {
        let results: Vec<_> = (0..80).map(|number| result(&number.to_string(), CheckState::Fail)).collect();
        let changes = compared(None, &results, FailOn::Fail, true);
        assert_eq!((changes.new_failures, changes.new_failure_checks.len(), changes.report_name), (80, 50, None));
    }

    #[test]
    fn a_report_by_another_benchmark_is_none_and_one_by_the_same_is_compared() {
        let finished = Finished {
            counts: drover_crds::CheckCounts::default(),
            nodes: drover_crds::NodeCoverage::of(1, 1),
            missing: Vec::new(),
            results: vec![result("1.1", CheckState::Fail)],
            node_groups: Vec::new(),
            waiver_names: Vec::new(),
            digest: String::new(),
            verdict: drover_crds::Verdict::Fail,
        };
        let used = |name: &str| UsedBenchmark { name: name.to_owned(), ..UsedBenchmark::default() };
        let status = CisReportStatus {
            benchmark: Some(used("cis-1.12")),
            results: vec![result("1.1", CheckState::Fail)],
            ..CisReportStatus::default()
        };
        let spec = json!({"scanName": "a", "scanUID": "u", "clusterName": "eu"});
        let mut before = CisReport::new("before", serde_json::from_value(spec).unwrap());
        before.status = Some(status);
        let same = changes(Some(&before), &finished, &used("cis-1.12"));
        assert_eq!((same.report_name.as_deref(), same.new_failures), (Some("before"), 0));
        let other = changes(Some(&before), &finished, &used("cis-1.11"));
        assert_eq!((other.report_name, other.new_failures), (None, 1));
    }
}
