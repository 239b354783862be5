use drover_crds::CisReport;
use serde_json::{Value, json};

use super::*;
use crate::scan::answer::tests::{answer, report, result, scan};

fn of(status: &Value) -> String {
    junit(&answer(&scan(&json!({"names": ["eu-1"]}), &json!({"verdict": "Pass"})), vec![report("eu-1", status)]))
}

/// How many tests, failures, errors and skipped ones the document says that it has, after it was compared with its elements.
fn numbers(text: &str) -> [usize; 4] {
    let head = text.lines().nth(1).unwrap();
    let numbers = ["tests=", "failures=", "errors=", "skipped="].map(|name| {
        let value = head.split(name).nth(1).unwrap().split('"').nth(1).unwrap();
        value.parse::<usize>().unwrap()
    });
    let elements = ["<testcase ", "<failure ", "<error ", "<skipped "].map(|element| text.matches(element).count());
    assert_eq!(numbers, elements, "{text}");
    numbers
}

#[test]
fn each_state_is_a_way_for_a_test_to_end() {
    let states = ["Pass", "Fail", "Error", "Warn", "Skip", "NotApplicable", "Waived"];
    let results: Vec<_> = states.iter().map(|state| result(state, state, &json!({"waiverName": "w"}))).collect();
    let text = of(&json!({"results": results}));
    assert_eq!(numbers(&text), [7, 1, 1, 4]);
    for line in [
        "<testcase classname=\"cis-1.12.master\" name=\"Pass title of Pass\"/>",
        "<failure message=\"it fails on 1 of 3 nodes\">",
        "<skipped message=\"a person has to look at it\">",
        "<skipped message=\"the CisWaiver w takes responsibility for it\">",
        "<testsuite name=\"eu-1\" tests=\"7\" failures=\"1\" errors=\"1\" skipped=\"4\" timestamp=\"2026-11-27T05:00:00Z\">",
    ] {
        assert!(text.contains(line), "{line}: {text}");
    }
}

#[test]
fn a_warning_fails_where_it_makes_the_verdict_fail() {
    let benchmark = json!({
        "name": "cis-1.12", "why": "w", "engine": "e", "profileName": "p", "profileGeneration": 1, "failOn": "Warn",
    });
    let text = of(&json!({"results": [result("1", "Warn", &json!({}))], "benchmark": benchmark}));
    assert_eq!(numbers(&text), [1, 1, 0, 0]);
}

#[test]
fn nothing_that_was_not_scanned_is_an_all_clear() {
    let passing = json!({"verdict": "Pass", "results": [result("1", "Pass", &json!({}))]});
    let clear = of(&passing);
    assert_eq!(numbers(&clear), [1, 0, 0, 0], "one that is clear");
    let with = |more: Value| {
        let mut whole = passing.clone();
        whole.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        of(&whole)
    };
    let missing = |reason: &str| json!([{"name": "n4", "reason": reason, "message": "m"}]);
    let nodes = json!({"total": 4, "scanned": 3, "summary": ""});
    for (text, name) in [
        (with(json!({"missing": missing("TimedOut"), "nodes": nodes})), "node n4 was scanned"),
        (with(json!({"missing": missing("NodeNotReady")})), "node n4 was scanned"),
        (with(json!({"nodes": {"total": 4, "scanned": 3, "summary": ""}})), "every node was scanned"),
        (with(json!({"results": []})), "a check was looked at"),
        (with(json!({"verdict": "Incomplete"})), "nothing fails and all was scanned"),
        (with(json!({"verdict": null})), "nothing fails and all was scanned"),
    ] {
        assert_eq!(numbers(&text)[2], 1, "{text}");
        assert!(text.contains(&format!("name=\"{name}\">\n      <error ")), "{name}: {text}");
    }
    let total = json!({"total": 3, "ready": 1, "unreachable": 0, "summary": "1/3"});
    let eu = || vec![report("eu-1", &passing)];
    let names = json!({"names": ["eu-1", "us-1"]});
    for (selected, status, reports, name) in [
        (&names, json!({"verdict": "Pass"}), eu(), "the cluster was scanned"),
        (&json!({"all": {}}), json!({"verdict": "Pass", "clusters": total}), eu(), "every cluster was scanned"),
        (&json!({"all": {}}), json!({"verdict": "Pass"}), Vec::<CisReport>::new(), "a cluster was scanned"),
        (&json!({"all": {}}), json!({"completedAt": null}), eu(), "the scan has ended"),
        (&json!({"all": {}}), json!({"verdict": "Incomplete"}), eu(), "nothing fails and all was scanned"),
    ] {
        let text = junit(&answer(&scan(selected, &status), reports));
        assert_eq!(numbers(&text)[2], 1, "{text}");
        assert!(text.contains(&format!("name=\"{name}\">\n      <error ")), "{name}: {text}");
    }
}

#[test]
fn texts_cannot_end_their_elements() {
    let evidence = "</failure><!--]]>\u{0}\u{1b}\u{fffe}&\"'";
    let groups = json!([{"nodeNames": ["n1", "n2"], "states": "F"}]);
    let text = of(&json!({"results": [result("<1>", "Fail", &json!({"evidence": evidence}))], "nodeGroups": groups}));
    assert_eq!(numbers(&text), [1, 1, 0, 0]);
    assert!(text.contains("name=\"&lt;1&gt; title of &lt;1&gt;\""), "{text}");
    assert!(text.contains(">nodes: n1 n2\n&lt;/failure&gt;&lt;!--]]&gt;  &amp;&quot;&apos;</failure>"), "{text}");
}

#[test]
fn what_fails_says_what_to_do() {
    let results =
        ["Fail", "Pass", "Waived", "Error"].map(|state| result("1.1.1", state, &json!({"evidence": "found"})));
    let text = of(&json!({"results": results}));
    let todo = "found\nwhat to do: Run chmod 600 /etc/kubernetes/manifests/kube-apiserver.yaml.</failure>";
    assert!(text.contains(todo), "{text}");
    assert_eq!(text.matches("what to do").count(), 1, "{text}");
}
