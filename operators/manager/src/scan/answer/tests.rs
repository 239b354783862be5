use serde_json::{Value, json};

use super::*;

/// A scan of `selected` that ended.
pub(in crate::scan) fn scan(selected: &Value, status: &Value) -> CisScan {
    let mut whole = json!({"completedAt": "2026-11-27T05:00:00Z", "verdict": "Fail"});
    whole.as_object_mut().unwrap().extend(status.as_object().unwrap().clone());
    let metadata = json!({"namespace": "team", "name": "nightly", "uid": "s-1"});
    let spec = json!({"clusters": selected, "profileName": "hardened"});
    serde_json::from_value(json!({
        "apiVersion": "drover.dev/v1alpha1", "kind": "CisScan", "metadata": metadata, "spec": spec, "status": whole,
    }))
    .unwrap()
}

/// A report of that scan on `cluster`, with these fields of its status besides the usual ones.
pub(in crate::scan) fn report(cluster: &str, status: &Value) -> CisReport {
    let mut whole = json!({
        "completedAt": "2026-11-27T05:00:00Z", "verdict": "Fail",
        "benchmark": {"name": "cis-1.12", "why": "w", "engine": "kube-bench", "profileName": "hardened", "profileGeneration": 1},
        "nodes": {"total": 3, "scanned": 3, "summary": "3/3"},
        "results": [
            result("1.1.1", "Pass", &json!({"nodesInState": 3})),
            result("1.1.2", "Fail", &json!({"mixed": true, "nodeNames": ["n1"]})),
        ],
    });
    whole.as_object_mut().unwrap().extend(status.as_object().unwrap().clone());
    serde_json::from_value(json!({
        "apiVersion": "drover.dev/v1alpha1", "kind": "CisReport", "metadata": {"namespace": "team", "name": format!("nightly-{cluster}")},
        "spec": {"scanName": "nightly", "scanUID": "s-1", "clusterName": cluster}, "status": whole,
    }))
    .unwrap()
}

pub(in crate::scan) fn result(id: &str, state: &str, more: &Value) -> Value {
    let mut whole = json!({"id": id, "title": format!("title of {id}"), "target": "master", "state": state, "nodes": 3, "nodesInState": 1});
    whole.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    whole
}

pub(in crate::scan) fn answer(scan: &CisScan, reports: Vec<CisReport>) -> Answer {
    Answer::of(scan, reports, Asked { is_partial: true, ..Asked::default() }).unwrap()
}

fn named(answer: &Answer) -> Vec<(&str, bool)> {
    answer.clusters.iter().map(|cluster| (cluster.name.as_str(), cluster.found.is_ok())).collect()
}

#[test]
fn every_cluster_of_a_scan_is_in_the_answer() {
    let problem = json!({"cluster": "ap-1", "reason": "NotScanned", "message": "it was away"});
    let clusters = json!({"total": 6, "ready": 1, "unreachable": 0, "summary": "1/6"});
    let scan = scan(&json!({"names": ["us-1", "eu-1"]}), &json!({"problems": [problem], "clusters": clusters}));
    let open = report("sa-1", &json!({"completedAt": null}));
    let mut foreign = report("us-1", &json!({}));
    foreign.spec.scan_uid = "s-0".to_owned();
    let mut of_other = report("us-1", &json!({}));
    of_other.spec.scan_name = "nightly-us".to_owned();
    let answer = answer(&scan, vec![report("eu-1", &json!({})), open, foreign, of_other]);
    assert_eq!(named(&answer), [("ap-1", false), ("eu-1", true), ("us-1", false)]);
    assert_eq!(answer.unnamed, 3);
    assert_eq!(answer.coverage(), (1, 6));
    assert_eq!(answer.clusters[0].found.as_ref().unwrap_err(), "NotScanned: it was away");
    assert_eq!(answer.summary(), "CisScan team/nightly: verdict Fail; 1 of 6 clusters have a report");
}

#[test]
fn a_scan_that_has_not_ended_is_told_only_where_that_is_asked_for() {
    let condition = json!({
        "type": "Ready", "status": "False", "reason": "Scanning", "message": "1 of 2 clusters", "lastTransitionTime": "2026-11-27T05:00:00Z",
    });
    let scan = scan(&json!({"all": {}}), &json!({"completedAt": null, "verdict": null, "conditions": [condition]}));
    let refusal = Answer::of(&scan, Vec::new(), Asked::default()).unwrap_err();
    assert_eq!(
        refusal,
        "CisScan team/nightly has not ended: 1 of 2 clusters; wait for it, or see what there is with --partial"
    );
    let answer = answer(&scan, vec![report("eu-1", &json!({}))]);
    assert!(answer.summary().contains("verdict none yet") && answer.summary().ends_with("the scan has not ended"));
}

#[test]
fn one_cluster_has_the_verdict_of_its_report() {
    let scan = scan(&json!({"names": ["eu-1", "us-1", "ap-1"]}), &json!({}));
    let reports = || vec![report("eu-1", &json!({"verdict": "Pass"})), report("ap-1", &json!({}))];
    let only = |cluster| Answer::of(&scan, reports(), Asked { cluster: Some(cluster), is_partial: false });
    let eu = only("eu-1").unwrap();
    assert_eq!((named(&eu), eu.verdict), (vec![("eu-1", true)], Some(Verdict::Pass)));
    assert_eq!(only("us-1").unwrap().verdict, Some(Verdict::Incomplete), "nothing is known to be well");
    let refusal = only("eu").unwrap_err();
    assert_eq!(refusal, "CisScan team/nightly knows no cluster eu; it knows: ap-1, eu-1, us-1");
}

#[test]
fn nodes_come_from_the_groups_where_there_are() {
    let groups = json!([
        {"nodeNames": ["n3", "n1"], "states": "PF"},
        {"nodeNames": ["n2"], "states": "PF"},
        {"nodeNames": ["n4"], "states": "P-"},
        {"nodeNames": ["n5"], "states": "P"},
        {"nodeNames": ["n6"], "states": "\u{e9}F"},
    ]);
    let with = report("eu-1", &json!({"nodeGroups": groups})).status.unwrap();
    assert_eq!(nodes_in_state(&with, 1), ["n1", "n2", "n3", "n6"]);
    assert!(nodes_in_state(&with, 0).is_empty(), "a check that passes has none to look at");
    assert!(nodes_in_state(&with, 7).is_empty());
    assert_eq!(nodes_in_state(&report("eu-1", &json!({})).status.unwrap(), 1), ["n1"]);
}

#[test]
fn the_newest_report_of_a_cluster_tells_of_a_check() {
    let at = |cluster: &str, day: u8, status: &Value| {
        let mut report = report(cluster, status);
        report.status.as_mut().unwrap().completed_at =
            Some(serde_json::from_value(json!(format!("2026-11-{day:02}T05:00:00Z"))).unwrap());
        report
    };
    let passing = json!({"results": [result("1.1.2", "Pass", &json!({}))]});
    let other = json!({
        "results": [], "benchmark": {"name": "cis-1.11", "why": "w", "engine": "e", "profileName": "p", "profileGeneration": 1},
    });
    let reports = [
        at("eu-1", 27, &passing),
        at("eu-1", 26, &json!({})),
        report("eu-1", &json!({"completedAt": null})),
        at("us-1", 25, &json!({})),
        at("us-1", 26, &other),
        report("ap-1", &json!({"completedAt": null})),
    ];
    let newest = |benchmark| {
        let mut newest = Newest::default();
        for report in &reports {
            newest.add(report, "1.1.2", benchmark);
        }
        let mut backwards = Newest::default();
        for report in reports.iter().rev() {
            backwards.add(report, "1.1.2", benchmark);
        }
        let states = |newest: &Newest| {
            newest.with().map(|(name, kept)| (name.to_owned(), kept.states[0].result.state)).collect::<Vec<_>>()
        };
        assert_eq!(states(&newest), states(&backwards));
        (states(&newest), newest.without().join(" "))
    };
    assert_eq!(newest(None), (vec![("eu-1".to_owned(), CheckState::Pass)], "ap-1 us-1".to_owned()));
    let both = vec![("eu-1".to_owned(), CheckState::Pass), ("us-1".to_owned(), CheckState::Fail)];
    assert_eq!(newest(Some("cis-1.12")), (both, "ap-1".to_owned()));
}
