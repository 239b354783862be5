use drover_runtime::Failure;
use serde_json::json;

use super::*;

fn scan(names: &[&str]) -> CisScan {
    serde_json::from_value(json!({
        "apiVersion": "drover.dev/v1alpha1", "kind": "CisScan", "metadata": {"name": "weekly", "namespace": "team", "generation": 1},
        "spec": {"clusters": {"names": names}, "profileName": "hardened"},
        "status": {"observedGeneration": 1, "startedAt": "2026-01-01T00:00:00Z"},
    }))
    .unwrap()
}

fn at(time: &str) -> Timestamp {
    time.parse().unwrap()
}

fn reported(verdict: Verdict) -> Reported {
    let counts = CheckCounts { total: 10, pass: 9, fail: 1, ..CheckCounts::default() };
    Reported {
        at: at("2026-01-01T00:05:00Z"),
        verdict,
        counts,
        nodes: NodeCoverage::of(2, 2),
        changes: None,
        waiver_names: Vec::new(),
        refusal: None,
    }
}

/// The status with these clusters, where those with a verdict have a report.
fn status(names: &[&str], clusters: &[(&str, PlaceState, Option<Verdict>)], over: Option<&str>) -> CisScanStatus {
    let reports = clusters.iter().filter_map(|(name, _, verdict)| Some(((*name).to_owned(), reported((*verdict)?))));
    let of_management = PlaceStatus { reports: reports.collect(), over: over.map(at), ..PlaceStatus::default() };
    let of_cluster = |(name, state, verdict): &(&str, PlaceState, Option<Verdict>)| {
        let known = Some(PlaceStatus { is_done: verdict.is_some(), ..PlaceStatus::default() });
        (Place::cluster(name), PlaceEntry { known, state: state.clone() })
    };
    let management = (Place::Management, PlaceEntry { known: Some(of_management), state: PlaceState::Current });
    let statuses: PlaceStatuses<_> = clusters.iter().map(of_cluster).chain([management]).collect();
    summarise(&scan(names), &statuses, at("2026-01-01T00:06:00Z"))
}

#[test]
fn clusters_that_do_not_admit_the_namespace_are_not_looked_at_so_nothing_passes() {
    let of_management =
        PlaceStatus { reports: [("eu".to_owned(), reported(Verdict::Pass))].into(), ..PlaceStatus::default() };
    let done = PlaceStatus { is_done: true, ..PlaceStatus::default() };
    let current = |known| PlaceEntry { known: Some(known), state: PlaceState::Current };
    let statuses: PlaceStatuses<_> =
        [(Place::Management, current(of_management)), (Place::cluster("eu"), current(done))].into_iter().collect();
    let status = summarise(&scan(&["eu"]), &statuses.with_refused(2), at("2026-01-01T00:06:00Z"));
    assert_eq!(status.verdict, Some(Verdict::Incomplete));
    assert!(status.conditions[0].message.contains("2 of the selected clusters do not admit"), "{status:?}");
}

fn away() -> PlaceState {
    PlaceState::Unreachable(Failure::new(StatusCause::Unreachable, "refused"))
}

#[test]
fn it_ends_with_the_last_report_and_counts_all_of_them() {
    use Verdict::{Fail, Pass};
    let open =
        status(&["eu", "us"], &[("eu", PlaceState::Current, Some(Pass)), ("us", PlaceState::Current, None)], None);
    assert_eq!((open.verdict, open.conditions[0].reason.as_str()), (None, "Scanning"));
    let ended = status(
        &["eu", "us"],
        &[("eu", PlaceState::Current, Some(Pass)), ("us", PlaceState::Current, Some(Fail))],
        None,
    );
    assert_eq!((ended.verdict, ended.completed_at.map(|time| time.0)), (Some(Fail), Some(at("2026-01-01T00:05:00Z"))));
    assert_eq!((ended.counts.unwrap().total, ended.nodes.unwrap().summary.as_str()), (20, "4/4"));
    assert_eq!(ended.conditions[0].reason, "Ready", "a scan that found something has ended well");
}

#[test]
fn nothing_passes_that_was_not_looked_at() {
    use Verdict::{Fail, Incomplete, Pass};
    let end = Some("2026-01-01T00:21:00Z");
    let of =
        |names: &[&str], clusters: &[(&str, PlaceState, Option<Verdict>)], over| status(names, clusters, over).verdict;
    let eu = |verdict| ("eu", PlaceState::Current, verdict);
    assert_eq!(of(&["eu"], &[eu(Some(Pass))], None), Some(Pass));
    assert_eq!(of(&["eu", "us"], &[eu(Some(Pass)), ("us", away(), None)], None), None, "there is time");
    assert_eq!(of(&["eu", "us"], &[eu(Some(Pass)), ("us", away(), None)], end), Some(Incomplete));
    assert_eq!(of(&["eu", "us"], &[eu(Some(Pass))], end), Some(Incomplete), "there is no such Cluster");
    assert_eq!(of(&["eu"], &[eu(Some(Pass)), ("us", PlaceState::Released, None)], None), Some(Pass));
    assert_eq!(of(&["eu", "us"], &[eu(Some(Pass)), ("us", PlaceState::Released, None)], end), Some(Incomplete));
    assert_eq!(of(&["eu", "us"], &[eu(Some(Fail)), ("us", away(), None)], end), Some(Fail));
    assert_eq!(of(&["eu"], &[eu(None)], end), Some(Incomplete));
    assert_eq!(of(&["eu"], &[("eu", away(), Some(Pass))], None), Some(Pass), "it was scanned before it went away");
    assert_eq!(of(&[], &[], end), Some(Incomplete), "there is nothing to look at");
    let late = status(&["eu"], &[eu(None)], end);
    assert_eq!(
        (late.problems[0].reason.as_str(), late.conditions[0].reason.as_str()),
        ("NotScanned", "ScanIncomplete")
    );
}
