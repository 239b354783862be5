use drover_crds::CisProfile;
use drover_grants::{Admitted, Grants};
use drover_runtime::owned::Owned;
use drover_scan_jobs::node::Nodes;
use serde_json::{Value, json};
use std::sync::Arc;

use super::*;
use crate::{
    consent::Consent,
    observe::{ReportState, ScannedCluster},
};

const UID: &str = "3f2a91c0-0000-4000-8000-000000000000";
const START: &str = "2026-01-01T00:00:00Z";

fn at(seconds: i64) -> Timestamp {
    START.parse::<Timestamp>().unwrap() + SignedDuration::from_secs(seconds)
}

fn scan(status: &Value) -> CisScan {
    serde_json::from_value(json!({
        "apiVersion": "drover.dev/v1alpha1", "kind": "CisScan",
        "metadata": {"name": "weekly", "namespace": "team", "uid": UID, "generation": 1},
        "spec": {"clusters": {"names": ["eu"]}, "profileName": "hardened", "concurrency": 2}, "status": status,
    }))
    .unwrap()
}

fn begun() -> CisScan {
    scan(&json!({"observedGeneration": 1, "startedAt": START}))
}

fn profile(spec: &Value) -> Arc<CisProfile> {
    let whole = json!({"apiVersion": "drover.dev/v1alpha1", "kind": "CisProfile", "metadata": {"name": "hardened"}, "spec": spec});
    Arc::new(serde_json::from_value(whole).unwrap())
}

fn world(nodes: &[(&str, bool)]) -> World {
    let nodes = nodes.iter().map(|(name, is_ready)| ScannedNode::new(name, BTreeMap::new(), *is_ready));
    World {
        cluster: ScannedCluster {
            name: "eu".to_owned(),
            made_with: Some(("v1.34.1".to_owned(), "kubeadm".to_owned())),
            ..ScannedCluster::default()
        },
        consent: Consent::Given,
        image: Some("bench@sha256:0".to_owned()),
        profile: Some(profile(&json!({}))),
        nodes: Arc::new(Nodes { all: nodes.collect(), has_more: false }),
        ..World::default()
    }
}

fn owned<K: Kept>(whole: Value) -> Owned<K> {
    Owned { live: Ok(Arc::new(serde_json::from_value(whole).unwrap())), drift_conflict: None, title: Title::Created }
}

fn answer(node: &str, data: &Value) -> Owned<AnswerSecret> {
    owned(json!({"metadata": {"name": job::name(UID, node), "namespace": "drover-system", "uid": node}, "data": data}))
}

fn running(node: &str, conditions: &Value) -> Owned<Job> {
    let spec = json!({"template": {"spec": {"nodeName": node, "containers": []}}});
    let metadata = json!({"name": job::name(UID, node), "namespace": "drover-system", "creationTimestamp": START});
    owned(json!({"metadata": metadata, "spec": spec, "status": {"conditions": conditions}}))
}

fn actions(decided: &Decided) -> Vec<String> {
    decided
        .actions()
        .map(|action| {
            format!("{action:?}")
                .replace(&job::name(UID, "a"), "A")
                .replace(&job::name(UID, "b"), "B")
                .replace(&job::name(UID, "c"), "C")
        })
        .collect()
}

#[test]
fn it_begins_once_it_may_and_that_is_noted_first() {
    let ready = World { is_management: true, grants: Grants::Allowed, admitted: Some(Admitted::Yes), ..world(&[]) };
    assert_eq!(plan(&scan(&Value::Null), &ready, at(0)).place_status.begun, Some(at(0)));
    for (without, expected) in [
        (World { admitted: Some(Admitted::No), ..ready.clone() }, "NotAdmitted"),
        (World { admitted: None, ..ready.clone() }, "NotYetGranted"),
        (World { profile: None, ..ready.clone() }, "ProfileNotFound"),
        (World { image: None, ..ready }, "NoScanImage"),
    ] {
        let status = plan(&scan(&Value::Null), &without, at(0)).place_status;
        assert_eq!((status.begun, status.obstacles[0].cause.reason()), (None, expected));
    }
    assert!(plan(&scan(&Value::Null), &world(&[("a", true)]), at(0)).is_idle(), "nothing is done in a cluster before");
}

#[test]
fn nodes_are_scanned_so_many_at_a_time_each_with_its_secret_first() {
    let nodes = [("a", true), ("b", true), ("c", true)];
    let first = plan(&begun(), &world(&nodes), at(0));
    assert_eq!(actions(&first), ["prepare Secret A", "prepare Secret B"]);
    let prepared = World { answers: vec![answer("a", &Value::Null)], ..world(&nodes) };
    let second = plan(&begun(), &prepared, at(1));
    let expected = ["make account A", "create Job drover-system/A", "prepare Secret B"];
    assert_eq!(actions(&second), expected, "two at a time");
    let under_way = World {
        answers: vec![answer("a", &Value::Null), answer("b", &Value::Null)],
        jobs: vec![running("a", &json!([])), running("b", &json!([]))],
        ..world(&nodes)
    };
    assert!(plan(&begun(), &under_way, at(2)).is_idle());
    let answered =
        World { answers: vec![answer("a", &json!({"answer": "eA=="})), answer("b", &Value::Null)], ..under_way };
    let third = plan(&begun(), &answered, at(3));
    assert_eq!((actions(&third), third.place_status.progress), (vec!["prepare Secret C".to_owned()], (1, 3)));
}

#[test]
fn c2_whatever_becomes_of_a_node_the_report_comes() {
    let seen = |world: &World, now| {
        let decided = plan(&begun(), world, now);
        let report = decided.actions().find_map(|action| match action {
            Action::Report(input) => Some(input.nodes()[0].1.clone()),
            _ => None,
        });
        report.map(|seen| match seen {
            Seen::Answered(_) => "Answered",
            Seen::Missing(reason, _) => reason.as_str(),
        })
    };
    let reported = |world: &World, now| seen(world, now).is_some();
    let one = |conditions: Value| World {
        answers: vec![answer("a", &Value::Null)],
        jobs: vec![running("a", &conditions)],
        ..world(&[("a", true)])
    };
    let is = |kind: &str, reason: &str| json!([{"type": kind, "status": "True", "reason": reason}]);
    assert!(!reported(&one(json!([])), at(10)));
    assert_eq!(seen(&one(is("Failed", "DeadlineExceeded")), at(10)), Some("TimedOut"));
    assert_eq!(seen(&one(is("Failed", "BackoffLimitExceeded")), at(10)), Some("JobFailed"), "evicted");
    assert_eq!(seen(&one(json!([])), at(400)), Some("TimedOut"), "its node died, and the Job never ends");
    assert_eq!(seen(&world(&[("a", false)]), at(10)), Some("NodeNotReady"));
    assert_eq!(seen(&world(&[("a", true)]), at(1_200)), Some("TimedOut"), "the time of the scan is over");
    let gone = World { answers: Vec::new(), jobs: vec![running("a", &json!([]))], ..world(&[]) };
    assert_eq!(seen(&gone, at(10)), Some("NodeGone"));
    let no_answer = one(is("Complete", ""));
    assert!(!reported(&no_answer, at(10)), "the answer may be on its way");
    let many = Nodes { has_more: true, ..Nodes::clone(&world(&[]).nodes) };
    let decided = plan(&begun(), &World { nodes: Arc::new(many), ..world(&[]) }, at(10));
    assert_eq!(actions(&decided), ["report of 1 nodes"], "those that are not scanned are told");
}

#[test]
fn a_cluster_without_a_benchmark_has_a_report_that_says_so() {
    let of_version = |version: &str, spec: &Value| {
        let mut world = world(&[("a", true)]);
        world.cluster.made_with = Some((version.to_owned(), "kubeadm".to_owned()));
        world.profile = Some(profile(spec));
        actions(&plan(&begun(), &world, at(0)))
    };
    assert_eq!(of_version("v1.37.1", &json!({})), ["report of 0 nodes"]);
    assert_eq!(of_version("v1.37.1", &json!({"unmapped": "Nearest"})), ["prepare Secret A"]);
}

#[test]
fn what_was_made_goes_when_the_report_is_there_or_the_owner_withdraws() {
    let reported = Reported {
        at: at(9),
        verdict: drover_crds::Verdict::Pass,
        counts: drover_crds::CheckCounts::default(),
        nodes: drover_crds::NodeCoverage::of(1, 1),
        changes: None,
        waiver_names: Vec::new(),
        refusal: None,
    };
    let left = World {
        answers: vec![answer("a", &Value::Null), answer("b", &Value::Null)],
        jobs: vec![running("a", &json!([]))],
        ..world(&[("a", true)])
    };
    let expected = ["discard Secret A", "delete Job drover-system/A", "discard Secret B"];
    let done = World { report: ReportState::Done(reported.clone()), ..left.clone() };
    assert_eq!(
        (actions(&plan(&begun(), &done, at(9))), plan(&begun(), &done, at(9)).place_status.is_done),
        (expected.map(str::to_owned).to_vec(), false)
    );
    let clear = World { report: ReportState::Done(reported), ..world(&[]) };
    assert!(plan(&begun(), &clear, at(9)).is_idle() && plan(&begun(), &clear, at(9)).place_status.is_done);
    assert_eq!(actions(&clean_up(&left)), expected);
    assert_eq!(clean_up(&world(&[])).requeue, Requeue::Released);
    for (consent, cause) in [(Consent::NoTenant, "NotATenant"), (Consent::NoScans, "ScansNotAllowed")] {
        let decided = plan(&begun(), &World { consent, ..left.clone() }, at(9));
        assert_eq!(
            (actions(&decided), decided.place_status.obstacles[0].cause.reason()),
            (expected.map(str::to_owned).to_vec(), cause)
        );
    }
}

#[test]
fn its_time_is_over_at_last() {
    let management = World { is_management: true, ..World::default() };
    assert_eq!(plan(&begun(), &management, at(1_200)).place_status.over, None);
    assert_eq!(plan(&begun(), &management, at(1_200)).requeue, Requeue::At(at(1_260)));
    assert_eq!(plan(&begun(), &management, at(1_260)).place_status.over, Some(at(1_260)));
}

#[test]
fn what_carries_our_labels_elsewhere_is_left_alone() {
    let elsewhere =
        |name: &str, namespace: &str| json!({"metadata": {"name": name, "namespace": namespace, "uid": "x"}});
    for (name, namespace) in
        [("prod-eu", "team-x"), ("prod-eu", "drover-system"), (job::name(UID, "a").as_str(), "team-x")]
    {
        let forged = World {
            jobs: vec![owned(elsewhere(name, namespace))],
            answers: vec![owned(elsewhere(name, namespace))],
            ..world(&[("a", true)])
        };
        assert!(clean_up(&forged).is_idle(), "{namespace}/{name}");
        assert_eq!(actions(&plan(&begun(), &forged, at(0))), ["prepare Secret A"], "{namespace}/{name}");
    }
}

#[test]
fn c4_a_scan_waits_for_its_turn_and_tells_its_own_namespace_for_whom() {
    let waits =
        |namespace: &str| World { waits_for: Some(ObjectKey::namespaced(namespace, "other")), ..world(&[("a", true)]) };
    let beside = plan(&begun(), &waits("team"), at(0));
    assert!(beside.is_idle() && beside.place_status.obstacles[0].message.contains("CisScan other"));
    let foreign = plan(&begun(), &waits("shop"), at(0));
    assert!(foreign.is_idle() && !foreign.place_status.obstacles[0].message.contains("other ("));
    assert!(!foreign.place_status.obstacles[0].message.contains("CisScan"), "tenants are not told of others");
    assert_eq!(actions(&plan(&begun(), &waits("shop"), at(1_200))), ["report of 1 nodes"], "its time is over at last");
}

#[test]
fn c6_a_control_plane_that_is_not_ready_was_not_looked_at() {
    let labels = BTreeMap::from([("node-role.kubernetes.io/control-plane".to_owned(), String::new())]);
    let unseen = |is_ready: bool| {
        let all = vec![ScannedNode::new("a", labels.clone(), is_ready), ScannedNode::new("b", BTreeMap::new(), true)];
        let data = json!({"answer": "eA=="});
        let answers = if is_ready { vec![answer("a", &data), answer("b", &data)] } else { vec![answer("b", &data)] };
        let nodes = Arc::new(Nodes { all, has_more: false });
        let decided = plan(&begun(), &World { answers, nodes, ..world(&[]) }, at(10));
        let report = decided.actions().find_map(|action| match action {
            Action::Report(input) => Some(input.unseen_control_plane()),
            _ => None,
        });
        report.expect("a report")
    };
    assert_eq!(unseen(true), None);
    assert!(unseen(false).unwrap().contains("no node that was scanned has the label"));
}

#[test]
fn a_job_without_a_pod_is_told_once_it_should_have_one() {
    let told = |status: &Value, now| {
        let mut job = running("a", &json!([]));
        if let Ok(live) = &mut job.live {
            Arc::make_mut(live).status = serde_json::from_value(status.clone()).unwrap();
        }
        let world = World { answers: vec![answer("a", &Value::Null)], jobs: vec![job], ..world(&[("a", true)]) };
        plan(&begun(), &world, at(now)).place_status.obstacles.first().map(|obstacle| obstacle.message.clone())
    };
    assert_eq!(told(&json!({}), 10), None, "it may be on its way");
    assert!(told(&json!({}), 40).unwrap().contains("has no Pod"));
    assert_eq!(told(&json!({"active": 1}), 40), None, "its words tell why it does not run");
    assert_eq!(told(&json!({"succeeded": 1}), 40), None, "it has ended, and the Job is about to");
}
