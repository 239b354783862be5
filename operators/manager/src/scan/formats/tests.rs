use serde_json::{Value, json};

use super::*;
use crate::scan::answer::tests::{answer, report, result, scan};

fn of(reports: Vec<CisReport>) -> Answer {
    answer(&scan(&json!({"names": ["eu-1", "us-1"]}), &json!({})), reports)
}

#[test]
fn a_person_reads_what_is_not_as_it_should_be() {
    let results = json!([
        result("1.1.1", "Pass", &json!({})),
        result("1.1.2", "Fail", &json!({"nodesInState": 2})),
        result("1.1.3", "Waived", &json!({"waiverName": "known"})),
        result("1.1.4", "NotApplicable", &json!({})),
    ]);
    let missing = json!([
        {"name": "n4", "reason": "TimedOut", "message": "it was late\u{1b}[2J"},
        {"name": "n5", "reason": "NodeNotReady", "message": "it is not ready"},
    ]);
    let nodes = json!({"total": 5, "scanned": 3, "summary": "3/5"});
    let eu = report("eu-1", &json!({"results": results, "missing": missing, "nodes": nodes}));
    let expected = "\
Cluster eu-1: Fail by cis-1.12, 3 of 5 nodes
CHECK   STATE            NODES   TARGET   TITLE
1.1.2   Fail             2/3     master   title of 1.1.2
1.1.3   Waived (known)   1/3     master   title of 1.1.3
4 checks: 1 are as they should be, 1 fail, 0 could not be looked at, 0 are for a person to look at, 1 are waived, 0 are skipped, 1 do not apply
NODE WITHOUT RESULTS   REASON         MESSAGE
n4                     TimedOut       it was late [2J
n5                     NodeNotReady   it is not ready
1 more nodes have no results.

Cluster us-1: not scanned: the cluster has no report
";
    assert_eq!(table(&of(vec![eu])), expected);
    let clusters = json!({"total": 2, "ready": 0, "unreachable": 0, "summary": "0/2"});
    let none = answer(&scan(&json!({"all": {}}), &json!({"clusters": clusters})), Vec::new());
    assert!(table(&none).starts_with("2 clusters of the scan have no report"), "{}", table(&none));
    assert_eq!(table(&answer(&scan(&json!({"all": {}}), &json!({})), Vec::new())), "The scan has no cluster.\n");
}

#[test]
fn a_program_gets_specs_and_statuses() {
    let eu = report("eu-1", &json!({"results": [result("1\u{9b}", "Pass", &json!({}))]}));
    let text = json(&of(vec![eu])).unwrap();
    assert!(!text.contains('\u{9b}') && text.ends_with("]\n"), "{text}");
    let read: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((read.as_array().unwrap().len(), &read[0]["spec"]["clusterName"]), (1, &json!("eu-1")));
    assert_eq!(read[0]["status"]["results"][0]["state"], "Pass");
    assert_eq!(json(&of(Vec::new())).unwrap(), "[]\n");
}

#[test]
fn a_row_holds_one_check_whatever_its_texts_are() {
    let results = json!([
        result(
            "1.1.2",
            "Fail",
            &json!({
                "mixed": true, "title": "say \"a\", b", "evidence": "=cmd()\r\nx", "waiverName": "w",
            })
        ),
        result("1.1.3", "Pass", &json!({"title": "plain"})),
    ]);
    let groups = json!([{"nodeNames": ["n2", "n1"], "states": "FP"}]);
    let text = csv(&of(vec![report("eu-1", &json!({"results": results, "nodeGroups": groups}))]));
    let expected = "\
cluster,benchmark,id,title,target,state,mixed,nodes,nodesInState,failingNodes,evidence,waiver,remedy
eu-1,cis-1.12,1.1.2,\"say \"\"a\"\", b\",master,Fail,true,3,1,n1 n2,'=cmd()  x,w,Run chown root:root /etc/kubernetes/manifests/kube-apiserver.yaml.
eu-1,cis-1.12,1.1.3,plain,master,Pass,false,3,1,,,,
";
    assert_eq!(text, expected);
}

#[test]
fn no_cell_is_a_formula() {
    for (text, expected) in [
        ("=1", "'=1"),
        ("+1", "'+1"),
        ("-1", "'-1"),
        ("@a", "'@a"),
        ("\t=1", "' =1"),
        ("  =1", "'  =1"),
        ("\u{a0}\u{200b}\u{0}@a", "'\u{a0}  @a"),
        ("＝1", "'＝1"),
        (" a =1", " a =1"),
        ("--flag=a,b", "\"'--flag=a,b\""),
        ("a=1", "a=1"),
        ("", ""),
        ("\"", "\"\"\"\""),
    ] {
        assert_eq!(cell(text), expected, "{text:?}");
    }
}

#[test]
fn a_check_is_told_with_the_nodes_where_it_fails_and_the_clusters_that_have_none() {
    let groups = json!([{"nodeNames": ["n1", "n\u{7}2"], "states": "PF"}]);
    let failing = json!({"results": [result("1.1.1", "Pass", &json!({})), result("1.1.2", "Fail", &json!({"nodesInState": 3}))], "nodeGroups": groups});
    let mut newest = Newest::default();
    for (cluster, status) in
        [("eu-1", failing), ("us-1", json!({"results": []})), ("ap-1", json!({"completedAt": null}))]
    {
        newest.add(&report(cluster, &status), "1.1.2", None);
    }
    let expected = "\
CLUSTER   SCAN           STATE   NODES   BENCHMARK
eu-1      team/nightly   Fail    3/3     cis-1.12

It fails on these nodes:
  eu-1: n 2 n1 and 1 more, which the report does not name

2 clusters with reports have no check 1.1.2 in the newest one: ap-1, us-1
Clusters without any CisReport are not in this list.
";
    assert_eq!(check(&newest, "1.1.2"), expected);
}

#[test]
fn a_node_that_is_listed_and_does_not_count_is_none_of_those_that_are_missing() {
    let node = |reason: &str| MissingNode { name: "n".to_owned(), reason: reason.to_owned(), message: String::new() };
    for (reasons, expected) in [
        (&[][..], 3),
        (&["TimedOut", "NoAnswer"], 1),
        (&["NodeNotReady", "NodeGone", "NoControlPlane", "TooManyNodes"], 3),
        (&["TimedOut", "NodeGone"], 2),
        (&["OfALaterVersion"], 3),
        (&["TimedOut", "TimedOut", "TimedOut", "TimedOut"], 0),
    ] {
        let listed: Vec<_> = reasons.iter().map(|reason| node(reason)).collect();
        assert_eq!(unlisted(&NodeCoverage::of(2, 5), &listed), expected, "{reasons:?}");
    }
}

#[test]
fn what_is_as_it_should_be_needs_no_remedy() {
    let of = |id: &str, state: &str| {
        let status = report("eu-1", &json!({"results": [result(id, state, &json!({}))]})).status.unwrap();
        remedy(&status, &status.results[0])
    };
    for state in ["Fail", "Warn", "Waived"] {
        assert!(of("1.1.1", state).is_some_and(|remedy| remedy.starts_with("Run chmod 600")), "{state}");
        assert_eq!(of("9.9.9", state), None);
    }
    for state in ["Pass", "Error", "Skip", "NotApplicable"] {
        assert_eq!(of("1.1.1", state), None, "{state}");
    }
}
