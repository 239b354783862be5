use std::collections::BTreeMap;

use drover_crds::{CheckState, CisProfileSpec, CisWaiver, FailOn, UsedBenchmark, Verdict};
use k8s_openapi::jiff::Timestamp;
use proptest::prelude::*;
use serde_json::json;

use crate::{
    answer::{Check, EngineState, FailureReason, NodeAnswer, TargetAnswer, TargetFailure},
    judge::effective,
    missing::MissingReason,
    report::{Aggregator, Finished, Scanned},
};

type Node = (String, Vec<(&'static str, EngineState)>);

fn answer(node: &str, checks: Vec<Check>) -> NodeAnswer {
    let target = TargetAnswer { target: "node".to_owned(), failure: None, checks };
    NodeAnswer {
        attempt: "u".to_owned(),
        node: node.to_owned(),
        engine: "e".to_owned(),
        benchmark: "cis-1.12".to_owned(),
        targets: vec![target],
    }
}

fn check(id: &str, state: EngineState) -> Check {
    let evidence = (state != EngineState::Pass).then(|| format!("found {state:?}"));
    Check { id: id.to_owned(), title: format!("Ensure {id}"), state, evidence }
}

fn benchmark() -> UsedBenchmark {
    UsedBenchmark { name: "cis-1.12".to_owned(), ..UsedBenchmark::default() }
}

/// What comes of these nodes.
fn report_by(nodes: &[Node], profile: &CisProfileSpec, waivers: &[CisWaiver], fail_on: FailOn) -> Finished {
    let (benchmark, labels) = (benchmark(), BTreeMap::new());
    let scanned =
        Scanned { cluster_name: "eu", cluster_labels: &labels, benchmark: &benchmark, profile, waivers, fail_on };
    let mut aggregator = Aggregator::new(scanned);
    for (name, checks) in nodes {
        let checks = checks.iter().map(|(id, state)| check(id, *state)).collect();
        aggregator.add(name, &BTreeMap::new(), &answer(name, checks), &["node"]);
    }
    aggregator.finish()
}

fn report(nodes: &[Node]) -> Finished {
    report_by(nodes, &CisProfileSpec::default(), &[], FailOn::Fail)
}

fn node(name: &str, checks: &[(&'static str, EngineState)]) -> Node {
    (name.to_owned(), checks.to_vec())
}

fn waiver(extra: &serde_json::Value) -> CisWaiver {
    let mut spec = json!({
        "checks": ["4.1.1"], "clusters": {"names": ["eu"]}, "reason": "known", "approvedBy": "ada", "expiresAt": "2026-06-01T00:00:00Z",
    });
    spec.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    let metadata = json!({"name": "known", "creationTimestamp": "2026-01-01T00:00:00Z"});
    serde_json::from_value(
        json!({"apiVersion": "drover.dev/v1alpha1", "kind": "CisWaiver", "metadata": metadata, "spec": spec}),
    )
    .unwrap()
}

#[test]
fn the_worst_state_of_a_check_counts_and_nodes_that_differ_are_told() {
    use EngineState::{Fail, Pass, Warn};
    let found =
        report(&[node("a", &[("4.1.10", Pass), ("4.1.9", Warn)]), node("b", &[("4.1.10", Fail), ("4.1.9", Warn)])]);
    let told: Vec<_> =
        found.results.iter().map(|result| (&*result.id, result.state, result.mixed, result.nodes_in_state)).collect();
    assert_eq!(told, [("4.1.9", CheckState::Warn, false, 2), ("4.1.10", CheckState::Fail, true, 1)]);
    assert_eq!(found.results[1].node_names, ["b"]);
    assert_eq!((found.verdict, found.nodes.summary.as_str()), (Verdict::Fail, "2/2"));
    let states: Vec<_> =
        found.node_groups.iter().map(|group| (group.node_names[0].as_str(), group.states.as_str())).collect();
    assert_eq!(states, [("a", "WP"), ("b", "WF")]);
}

#[test]
fn a_profile_goes_before_a_waiver_and_that_before_the_engine() {
    let rule = |id: &str| json!([{"id": id, "reason": "because"}]);
    let profile = |skip: &str, not_applicable: &str| -> CisProfileSpec {
        serde_json::from_value(json!({"skip": rule(skip), "notApplicable": rule(not_applicable)})).unwrap()
    };
    let state = |engine, profile: &CisProfileSpec, waivers: &[CisWaiver]| {
        report_by(&[node("a", &[("4.1.1", engine)])], profile, waivers, FailOn::Fail).results.remove(0).state
    };
    let (none, waivers) = (profile("1", "1"), [waiver(&json!({}))]);
    assert_eq!(state(EngineState::Fail, &profile("4.1.1", "4.1.1"), &waivers), CheckState::NotApplicable);
    assert_eq!(state(EngineState::Fail, &profile("4.1.1", "1"), &waivers), CheckState::Waived);
    assert_eq!(state(EngineState::Fail, &profile("4.1.1", "1"), &[]), CheckState::Skip);
    assert_eq!(state(EngineState::Pass, &none, &waivers), CheckState::Pass);
    assert_eq!(
        state(EngineState::Error, &none, &waivers),
        CheckState::Error,
        "nobody answers for what was not looked at"
    );
    for other in [
        json!({"benchmark": "cis-1.11"}),
        json!({"clusters": {"names": ["us"]}}),
        json!({"nodeSelector": {"matchLabels": {"a": "b"}}}),
    ] {
        assert_eq!(state(EngineState::Fail, &none, &[waiver(&other)]), CheckState::Fail);
    }
}

#[test]
fn c5_a_waiver_that_ends_turns_the_verdict() {
    let at = |now: &str| {
        let waivers: Vec<_> = [waiver(&json!({}))]
            .into_iter()
            .filter(|waiver| effective(waiver, now.parse::<Timestamp>().unwrap()))
            .collect();
        report_by(&[node("a", &[("4.1.1", EngineState::Fail)])], &CisProfileSpec::default(), &waivers, FailOn::Fail)
            .verdict
    };
    assert_eq!((at("2026-05-31T23:59:59Z"), at("2026-06-01T00:00:00Z")), (Verdict::Pass, Verdict::Fail));
}

#[test]
fn c6_what_was_not_looked_at_never_passes() {
    let pass = || vec![check("4.1.1", EngineState::Pass)];
    let (benchmark, labels, profile) = (benchmark(), BTreeMap::new(), CisProfileSpec::default());
    let verdict = |add: &dyn Fn(&mut Aggregator<'_>)| {
        let mut aggregator = Aggregator::new(Scanned {
            cluster_name: "eu",
            cluster_labels: &labels,
            benchmark: &benchmark,
            profile: &profile,
            waivers: &[],
            fail_on: FailOn::Fail,
        });
        add(&mut aggregator);
        aggregator.finish().verdict
    };
    let none = BTreeMap::new();
    assert_eq!(verdict(&|all| all.add("a", &none, &answer("a", pass()), &["node"])), Verdict::Pass);
    assert_eq!(verdict(&|_| {}), Verdict::Incomplete);
    assert_eq!(verdict(&|all| all.add("a", &none, &answer("a", pass()), &["master", "node"])), Verdict::Incomplete);
    assert_eq!(verdict(&|all| all.add("a", &none, &answer("a", Vec::new()), &["node"])), Verdict::Incomplete);
    assert_eq!(
        verdict(&|all| all.add("a", &none, &answer("a", vec![check("1", EngineState::Error)]), &["node"])),
        Verdict::Incomplete
    );
    let late = |all: &mut Aggregator<'_>| {
        all.add("a", &none, &answer("a", pass()), &["node"]);
        all.missing("b", MissingReason::TimedOut, "it was late");
    };
    assert_eq!(verdict(&late), Verdict::Incomplete);
    let failed = |all: &mut Aggregator<'_>| {
        let mut answer = answer("a", pass());
        answer.targets[0].failure = Some(TargetFailure { reason: FailureReason::TimedOut, message: "x".to_owned() });
        all.add("a", &none, &answer, &["node"]);
    };
    assert_eq!(verdict(&failed), Verdict::Incomplete);
    let not_ready = |all: &mut Aggregator<'_>| {
        all.add("a", &none, &answer("a", pass()), &["node"]);
        all.missing("b", MissingReason::NodeNotReady, "it is not ready");
    };
    assert_eq!(verdict(&not_ready), Verdict::Pass, "of the nodes that are ready");
    let without_control_plane = |all: &mut Aggregator<'_>| {
        all.add("a", &none, &answer("a", pass()), &["node"]);
        all.missing("control-plane", MissingReason::NoControlPlane, "no node has its label");
    };
    assert_eq!(verdict(&without_control_plane), Verdict::Incomplete);
}

/// The name of a node, its labels, and its checks.
type Answered<'a> = (&'a str, &'a [(&'a str, &'a str)], Vec<Check>);

/// What comes of these answers, each with all the labels of its node.
fn report_of(answers: &[Answered<'_>], waivers: &[CisWaiver]) -> Finished {
    let (benchmark, labels, profile) = (benchmark(), BTreeMap::new(), CisProfileSpec::default());
    let mut aggregator = Aggregator::new(Scanned {
        cluster_name: "eu",
        cluster_labels: &labels,
        benchmark: &benchmark,
        profile: &profile,
        waivers,
        fail_on: FailOn::Fail,
    });
    for (name, labels, checks) in answers {
        let labels = labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        aggregator.add(name, &labels, &answer(name, checks.clone()), &["node"]);
    }
    aggregator.finish()
}

fn checks(prefix: &str, count: u32, state: EngineState) -> Vec<Check> {
    (0..count).map(|id| check(&format!("{prefix}.{id}"), state)).collect()
}

#[test]
fn what_one_node_makes_up_takes_nothing_from_others() {
    use EngineState::{Fail, Pass};
    for made_up in [950, 3_000] {
        for (state, verdict) in [(Fail, Verdict::Fail), (Pass, Verdict::Incomplete)] {
            let liar = ("a", &[][..], checks("0", made_up, Pass));
            for honest in [&["b"][..], &["b", "c"]] {
                let mut answers = vec![liar.clone()];
                answers.extend(honest.iter().map(|name| (*name, &[][..], checks("4", 100, state))));
                let found = report_of(&answers, &[]);
                let kept = found.results.iter().filter(|result| result.id.starts_with("4.")).count();
                assert_eq!((kept, found.counts.total, found.verdict), (100, 1_000, verdict));
                let missing: Vec<_> = found.missing.iter().map(|node| (&*node.name, &*node.reason)).collect();
                assert_eq!(missing, [("a", "TooLarge")]);
                assert_eq!(found.nodes.scanned, found.nodes.total - 1);
                answers.reverse();
                assert_eq!(report_of(&answers, &[]), found);
            }
        }
    }
}

#[test]
fn c6_two_nodes_that_make_up_the_same_checks_push_out_none_of_another_target() {
    let none = BTreeMap::new();
    let (used, profile) = (benchmark(), CisProfileSpec::default());
    let mut all = Aggregator::new(Scanned {
        cluster_name: "eu",
        cluster_labels: &none,
        benchmark: &used,
        profile: &profile,
        waivers: &[],
        fail_on: FailOn::Fail,
    });
    let mut control_plane = answer("cp", checks("1", 60, EngineState::Pass));
    control_plane.targets[0].target = "master".to_owned();
    control_plane.targets[0].checks[7].state = EngineState::Fail;
    all.add("cp", &none, &control_plane, &["master"]);
    for node in ["w1", "w2"] {
        all.add(node, &none, &answer(node, checks("4", 1_000, EngineState::Pass)), &["node"]);
    }
    let finished = all.finish();
    assert_eq!(finished.verdict, Verdict::Fail);
    assert_eq!(finished.results.iter().filter(|result| result.target == "master").count(), 60);
}

#[test]
fn c6_many_nodes_that_make_up_checks_hide_no_failure_and_never_pass() {
    for state in [EngineState::Fail, EngineState::Pass] {
        let names: Vec<String> = (0..30).map(|node| format!("liar-{node}")).collect();
        let liar = |name: &String| (name.clone(), checks(name, 1_000, EngineState::Pass));
        let mut all: Vec<(String, Vec<Check>)> = names.iter().map(liar).collect();
        all.insert(25, ("one".to_owned(), checks("4", 100, state)));
        all.push(("two".to_owned(), checks("4", 100, state)));
        let answers: Vec<_> = all.iter().map(|(name, checks)| (name.as_str(), &[][..], checks.clone())).collect();
        let found = report_of(&answers, &[]);
        let kept = found.results.iter().filter(|result| result.id.starts_with("4.")).count();
        assert_eq!(kept, 100);
        assert_eq!(found.verdict, if state == EngineState::Fail { Verdict::Fail } else { Verdict::Incomplete });
    }
}

#[test]
fn of_two_results_of_one_check_in_an_answer_the_worse_one_counts() {
    use EngineState::{Fail, Pass};
    for states in [[Pass, Fail], [Fail, Pass]] {
        let found = report_of(&[("a", &[], states.map(|state| check("4.1.1", state)).to_vec())], &[]);
        assert_eq!((found.results[0].state, found.results[0].nodes), (CheckState::Fail, 1));
    }
}

#[test]
fn c1_the_title_that_most_nodes_have_and_the_waiver_of_the_first_node_are_told() {
    let titled = |title: &str| vec![Check { title: title.to_owned(), ..check("4.1.1", EngineState::Fail) }];
    let of = |name: &str, pool: &str| {
        let mut waiver =
            waiver(&json!({"nodeSelector": {"matchLabels": {"pool": pool}}, "reason": format!("as {name}")}));
        waiver.metadata.name = Some(name.to_owned());
        waiver
    };
    let waivers = [of("z", "one"), of("y", "two"), of("x", "two")];
    let mut answers = vec![
        ("a", &[("pool", "one")][..], titled("Z")),
        ("b", &[("pool", "two")][..], titled("A")),
        ("c", &[("pool", "two")][..], titled("Z")),
    ];
    let found = report_of(&answers, &waivers);
    let result = &found.results[0];
    assert_eq!((result.state, &*result.title), (CheckState::Waived, "Z"));
    assert_eq!((result.waiver_name.as_deref(), result.evidence.as_deref()), (Some("z"), Some("as z")));
    answers.rotate_left(1);
    assert_eq!(report_of(&answers, &waivers), found);
    answers.remove(2);
    assert_eq!(report_of(&answers, &waivers).results[0].waiver_name.as_deref(), Some("x"));
}

#[test]
fn what_was_found_where_a_check_passes_is_not_kept() {
    let told = Check { evidence: Some("x".to_owned()), ..check("4.1.1", EngineState::Pass) };
    assert_eq!(report_of(&[("a", &[], vec![told])], &[]).results[0].evidence, None);
}

#[test]
fn a_waiver_counts_for_a_year_at_most_and_not_once_it_goes() {
    let is_effective = |expires: &str, created: Option<&str>, goes: bool| {
        let mut waiver = waiver(&json!({"expiresAt": expires}));
        let now: Timestamp = "2026-02-01T00:00:00Z".parse().unwrap();
        waiver.metadata.creation_timestamp = created.map(|time| serde_json::from_value(json!(time)).unwrap());
        waiver.metadata.deletion_timestamp = goes.then(|| waiver.spec.expires_at.clone());
        effective(&waiver, now)
    };
    let created = Some("2026-01-01T00:00:00Z");
    for (expires, created, goes, expected) in [
        ("2026-02-01T00:00:01Z", created, false, true),
        ("2026-02-01T00:00:00Z", created, false, false),
        ("2027-01-02T00:00:00Z", created, false, true),
        ("2027-01-02T00:00:01Z", created, false, false),
        ("2026-03-01T00:00:00Z", None, false, false),
        ("2026-03-01T00:00:00Z", created, true, false),
    ] {
        assert_eq!(is_effective(expires, created, goes), expected, "{expires} {created:?} {goes}");
    }
}

#[test]
fn c3_a_report_of_a_thousand_nodes_fits_into_one_object() {
    for differ in [false, true] {
        let (benchmark, labels, profile) = (benchmark(), BTreeMap::new(), CisProfileSpec::default());
        let mut aggregator = Aggregator::new(Scanned {
            cluster_name: "eu",
            cluster_labels: &labels,
            benchmark: &benchmark,
            profile: &profile,
            waivers: &[],
            fail_on: FailOn::Fail,
        });
        let long = "\"e\" ".repeat(1_024);
        for node in 0..1_000_u32 {
            let name = format!("node-{node:04}.{}", "x".repeat(40));
            let state = |id: u32| match (differ, (node >> (id % 10)) & 1) {
                (true, 1) => EngineState::Warn,
                _ => EngineState::Fail,
            };
            let evidence = |id: u32| Some(format!("{node}-{id} {long}"));
            let check = |id: u32| Check {
                evidence: evidence(id),
                title: "t".repeat(300),
                ..check(&format!("4.{id}"), state(id))
            };
            aggregator.add(&name, &BTreeMap::new(), &answer(&name, (0..130).map(check).collect()), &["node"]);
        }
        let found = aggregator.finish();
        let size = serde_json::to_vec(&(&found.results, &found.node_groups, &found.missing)).unwrap().len();
        assert!(size < 1 << 20, "{size}");
        assert_eq!((found.counts.total, found.nodes.scanned), (130, 1_000));
        assert!(!found.node_groups.is_empty());
    }
}

fn states() -> impl Strategy<Value = EngineState> {
    use EngineState::{Error, Fail, Pass, Skip, Warn};
    prop_oneof![Just(Pass), Just(Fail), Just(Warn), Just(Skip), Just(Error)]
}

proptest! {
    #[test]
    fn c1_the_counts_add_up_and_the_order_of_nodes_changes_nothing(
        nodes in proptest::collection::vec(proptest::collection::vec((prop_oneof![Just("1.1"), Just("1.2"), Just("2.10"), Just("x")], states()), 0..6), 0..6),
    ) {
        let named: Vec<Node> = nodes.into_iter().enumerate().map(|(at, checks)| (format!("n{at}"), checks)).collect();
        let found = report(&named);
        let counts = found.counts;
        let sum = counts.pass + counts.fail + counts.warn + counts.skip + counts.waived + counts.not_applicable + counts.error;
        prop_assert_eq!(counts.total, sum);
        let mut turned = named;
        turned.reverse();
        prop_assert_eq!(&found, &report(&turned));
        let half = turned.len() / 2;
        turned.rotate_left(half);
        prop_assert_eq!(found, report(&turned));
    }
}
