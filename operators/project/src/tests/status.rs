//! What `summarise` tells: a table of fleets, and what holds for every fleet.

use std::iter::repeat_n;

use drover_crds::{
    MAX_PROBLEM_MESSAGE, MAX_PROBLEMS, Project, ProjectStatus,
    condition::{RBAC_READY, READY},
};
use drover_runtime::{
    ApiCause, Failure, Place, PlaceState, PlaceStatuses, Refusal, StatusCause,
    fan_out::Obstacle,
    place_status::PlaceEntry,
    status::{condition, finish},
};
use k8s_openapi::jiff::Timestamp;
use proptest::{collection::vec, prelude::*};

use super::decisions::shop;
use crate::{
    cause::ProjectCause,
    place_status::{Guarded, PlaceStatus},
    summary::summarise,
};

/// What a status may weigh, whatever the fleet's size.
const MAX_STATUS: usize = 16 * 1024;

fn failure() -> Failure {
    let message = "cannot apply Namespace team-a-web: admission webhook says no".to_owned();
    Failure::new(ApiCause::Forbidden, message)
}

fn failed(cause: ApiCause) -> PlaceEntry<PlaceStatus> {
    entry(None, PlaceState::Failed(Failure::new(cause, "failed")))
}

fn away() -> PlaceState {
    PlaceState::Unreachable(Failure::new(ApiCause::ConnectionFailed, "no route"))
}

fn entry(known: Option<PlaceStatus>, state: PlaceState) -> PlaceEntry<PlaceStatus> {
    PlaceEntry { known, state }
}

/// A cluster with one wanted namespace that is there.
fn good() -> PlaceEntry<PlaceStatus> {
    entry(Some(place_status(1, 1)), PlaceState::Current)
}

fn place_status(wanted: i64, ready: i64) -> PlaceStatus {
    PlaceStatus { wanted, ready, ..PlaceStatus::default() }
}

fn fleet(entries: impl IntoIterator<Item = PlaceEntry<PlaceStatus>>) -> PlaceStatuses<PlaceStatus> {
    let named = |(number, entry)| (Place::cluster(&format!("c{number}")), entry);
    entries.into_iter().enumerate().map(named).collect()
}

fn wants_web() -> Project {
    shop("namespaces: [{name: team-a-web}]")
}

/// `Ready`, its reason, and which of `Reconciling` and `Stalled` goes with it.
fn ready(project: &Project, statuses: &PlaceStatuses<PlaceStatus>) -> String {
    let status = summarise(project, statuses);
    let [ready] = &status.conditions.iter().filter(|c| c.type_ == READY).collect::<Vec<_>>()[..] else {
        panic!("not exactly one Ready: {status:?}")
    };
    let activity = status.conditions.iter().find(|c| ["Reconciling", "Stalled"].contains(&c.type_.as_str()));
    let activity = activity.map(|condition| format!(", {}", condition.type_)).unwrap_or_default();
    format!("{} {}{activity}", ready.status, ready.reason)
}

fn other(status: &ProjectStatus, kind: &str) -> String {
    let found = status.conditions.iter().find(|condition| condition.type_ == kind).unwrap();
    format!("{} {}: {}", found.status, found.reason, found.message)
}

/// The Project as it was left when it was Ready for its present spec.
fn after_a_restart() -> Project {
    let mut project = wants_web();
    let was =
        ProjectStatus { conditions: vec![condition(READY, true, StatusCause::Ready, "")], ..ProjectStatus::default() };
    project.status = Some(finish(None, was, 1, Timestamp::UNIX_EPOCH));
    project
}

#[test]
fn ready_at_fleet_size() {
    let obstacle = Obstacle {
        namespace: Some("team-a-web".into()),
        cause: ProjectCause::NamespaceExists.into(),
        message: "m".into(),
    };
    let blocked = PlaceStatus { wanted: 1, problems: vec![obstacle], ..PlaceStatus::default() };
    for (what, entries, expected) in [
        ("no target", vec![], "False NoTargets, Reconciling"),
        ("all as wanted", vec![good(), good()], "True Ready"),
        ("one without a verdict", vec![good(), entry(None, PlaceState::Pending)], "False Progressing, Reconciling"),
        (
            "one on its way",
            vec![good(), entry(Some(place_status(2, 1)), PlaceState::Current)],
            "False Progressing, Reconciling",
        ),
        ("one away, known", vec![good(), entry(Some(place_status(1, 1)), away())], "True ReadyExceptUnreachable"),
        ("one away, never seen", vec![good(), entry(None, away())], "True ReadyExceptUnreachable"),
        ("all away, seen before", vec![entry(Some(place_status(1, 1)), away())], "True ReadyExceptUnreachable"),
        ("none ever reached", vec![entry(None, away()), entry(None, away())], "False Unreachable, Reconciling"),
        ("one in the way", vec![good(), entry(Some(blocked), PlaceState::Current)], "False NamespaceExists, Stalled"),
        ("one failed", vec![good(), entry(None, PlaceState::Failed(failure()))], "False Forbidden, Stalled"),
        ("one failed for now", vec![good(), failed(ApiCause::Timeout)], "False Timeout, Reconciling"),
        (
            "one of two needs a person",
            vec![failed(ApiCause::Timeout), failed(ApiCause::Rejected)],
            "False Rejected, Stalled",
        ),
        (
            "one suspended",
            vec![good(), entry(Some(place_status(1, 0)), PlaceState::Suspended)],
            "False ClusterSuspended, Reconciling",
        ),
    ] {
        assert_eq!(ready(&wants_web(), &fleet(entries)), expected, "{what}");
    }
}

/// What another part of admission refuses says nothing of members.
#[test]
fn that_the_fence_refuses_a_role_is_told_of_the_members() {
    let members = Guarded { wanted: 2, ready: 1 };
    for (refuser, expected) in [
        (
            "create RoleBinding web/drover:owner: the admission policy drover-fence-bindings",
            "False Rejected: cluster c0: no",
        ),
        ("create Namespace web: the admission webhook names", "False Progressing: 1/2 role bindings are as wanted"),
    ] {
        let failure = Failure { refuser: Some(refuser.to_owned()), ..Failure::new(ApiCause::Rejected, "no") };
        let refused = PlaceState::Refused(vec![Refusal { namespace: Some("web".to_owned()), failure }]);
        let known = PlaceStatus { members, ..place_status(1, 1) };
        let status = summarise(&wants_web(), &fleet([entry(Some(known), refused)]));
        assert_eq!(other(&status, RBAC_READY), expected);
    }
}

/// Two of five namespaces are refused: three are there, and both are named.
#[test]
fn what_is_refused_is_named_each_and_the_rest_counts() {
    let refusal = |name: &str| Refusal { namespace: Some(name.to_owned()), failure: failure() };
    let refused = entry(Some(place_status(5, 3)), PlaceState::Refused(vec![refusal("team-a-1"), refusal("team-a-2")]));
    let status = summarise(&wants_web(), &fleet([good(), refused]));
    assert_eq!(status.namespaces.as_ref().unwrap().summary, "4/6");
    let named = status.problems.iter().map(|problem| problem.namespace.as_deref()).collect::<Vec<_>>();
    assert_eq!(named, [Some("team-a-1"), Some("team-a-2")]);
    assert!(other(&status, READY).starts_with("False Forbidden: cluster c1: cannot apply Namespace team-a-web"));
    assert!(other(&status, READY).ends_with("(and 1 more, see status.problems)"));
    assert!(other(&status, "NamespacesReady").starts_with("False Forbidden: cluster c1: "));
    assert_eq!(status.clusters.unwrap().summary, "1/2");
}

#[test]
fn what_was_ready_before_a_restart_stays_ready_while_all_clusters_are_away() {
    let unreached = fleet([entry(None, away())]);
    assert_eq!(ready(&after_a_restart(), &unreached), "True ReadyExceptUnreachable");
    let mut changed = after_a_restart();
    changed.metadata.generation = Some(2);
    assert_eq!(ready(&changed, &unreached), "False Unreachable, Reconciling", "another spec");
}

/// A leader that takes over knows nothing of clusters that are away, and must not write that down.
#[test]
fn a_restart_changes_nothing_that_is_said() {
    let before = summarise(&after_a_restart(), &fleet([good(), entry(Some(place_status(1, 1)), away())]));
    let after = summarise(&after_a_restart(), &fleet([good(), entry(None, away())]));
    assert_eq!(before, after);
}

#[test]
fn a_project_tells_first_what_concerns_all_of_it() {
    let failed = fleet([entry(None, PlaceState::Failed(failure()))]);
    assert_eq!(ready(&shop("suspend: true"), &failed), "True Suspended");
    let deleting = super::strategies::deleted(shop("suspend: true"));
    assert_eq!(ready(&deleting, &failed), "False Deleting, Reconciling", "a suspended Project goes like any other");
    let deleting = super::strategies::deleted(shop(""));
    assert_eq!(ready(&deleting, &failed), "False Deleting, Reconciling");
}

/// Whoever waits for the commit that suspends it would else wait for ever, and never apply the one that ends the suspension.
#[test]
fn a_suspended_project_is_settled_and_keeps_the_last_verdict_in_the_other_conditions() {
    let suspended = shop("suspend: true\nnamespaces: [{name: team-a-web}]");
    for entries in [
        vec![],
        vec![good()],
        vec![entry(None, PlaceState::Pending)],
        vec![entry(None, away())],
        vec![entry(None, PlaceState::Failed(failure()))],
        vec![entry(Some(place_status(1, 0)), PlaceState::Current)],
        vec![stuck(1)],
    ] {
        assert_eq!(ready(&suspended, &fleet(entries)), "True Suspended");
    }
    let status = summarise(&suspended, &fleet([stuck(1), entry(None, away())]));
    assert_eq!(other(&status, "NamespacesReady"), "False Terminating: team-a-0 is not gone");
    assert!(other(&status, "ClustersReachable").starts_with("False Unreachable"));
    assert_eq!(status.problems.len(), 1);
}

#[test]
fn a_named_cluster_that_does_not_exist_is_told_with_the_remedy() {
    let mut project = wants_web();
    project.spec.clusters = serde_json::from_value(serde_json::json!({"names": ["c0", "typo"]})).unwrap();
    let statuses = fleet([good()]);
    assert_eq!(ready(&project, &statuses), "False ClusterNotFound, Reconciling");
    let expected =
        "False ClusterNotFound: there is no Cluster typo to work on; create it, or remove it from spec.clusters.names";
    assert_eq!(other(&summarise(&project, &statuses), "ClustersAllowed"), expected);
}

#[test]
fn clusters_without_consent_are_counted_and_told_and_are_no_targets() {
    let status = summarise(&wants_web(), &fleet([good()]).with_refused(3));
    let clusters = status.clusters.clone().unwrap();
    assert_eq!((clusters.total, clusters.ready, clusters.without_consent, &*clusters.summary), (1, 1, 3, "1/1"));
    assert_eq!(ready(&wants_web(), &fleet([good()]).with_refused(3)), "True Ready");
    let told = other(&status, "ClustersAllowed");
    assert!(told.starts_with("True Allowed: 3 of the selected clusters do not admit this namespace"), "{told}");
    let none = summarise(&wants_web(), &fleet([]).with_refused(3));
    assert!(other(&none, READY).starts_with("False NoTargets: 3 selected clusters do not admit it"));
    let told = other(&none, "ClustersAllowed");
    assert!(told.contains("none of the 3 selected clusters admits this namespace") && told.contains("spec.tenants"));
    let unselected = other(&summarise(&wants_web(), &fleet([])), READY);
    assert!(unselected.contains("no cluster is selected") && !unselected.contains("tenants"), "{unselected}");
}

#[test]
fn namespaces_are_counted_where_they_can_be_seen() {
    let entries =
        [good(), entry(Some(place_status(3, 2)), PlaceState::Current), entry(Some(place_status(1, 1)), away())];
    let status = summarise(&wants_web(), &fleet(entries));
    let clusters = status.clusters.unwrap();
    assert_eq!((clusters.total, clusters.ready, clusters.unreachable, &*clusters.summary), (3, 1, 1, "1/3"));
    assert_eq!(status.namespaces.unwrap().summary, "3/4");
}

#[test]
fn clusters_that_are_away_are_named_up_to_five() {
    let status = summarise(&wants_web(), &fleet(repeat_n(entry(None, away()), 7)));
    let among = "cluster c0 (ConnectionFailed), cluster c1 (ConnectionFailed), cluster c2 (ConnectionFailed), cluster c3 (ConnectionFailed), cluster c4 (ConnectionFailed)";
    let expected = format!("False Unreachable: 7 of 7 clusters cannot be worked on, among them {among}");
    assert_eq!(other(&status, "ClustersReachable"), expected);
}

#[test]
fn a_deletion_says_whom_it_waits_for_and_why() {
    let refused = Failure::new(StatusCause::Unreachable.cause().foreign(), "it is eu-1");
    let entries =
        [entry(None, PlaceState::Released), entry(None, away()), entry(None, PlaceState::Unreachable(refused))];
    let status = summarise(&super::strategies::deleted(wants_web()), &fleet(entries));
    let expected = "False Deleting: waiting for 2 of 3 clusters that cannot be worked on, among them cluster c1 (ConnectionFailed), \
        cluster c2 (Unreachable); delete a Cluster that will not come back (kubectl delete cluster.drover.dev)";
    assert_eq!(other(&status, READY), expected);
    assert_eq!(status.clusters.unwrap().summary, "0/3");
}

/// A cluster with `count` namespaces that do not go away.
fn stuck(count: usize) -> PlaceEntry<PlaceStatus> {
    let names = (0..count).map(|number| format!("team-a-{number}"));
    let stuck = |name| Obstacle {
        message: format!("{name} is not gone"),
        namespace: Some(name),
        cause: StatusCause::Terminating.into(),
    };
    entry(
        Some(PlaceStatus { wanted: 2, problems: names.map(stuck).collect(), ..PlaceStatus::default() }),
        PlaceState::Current,
    )
}

#[test]
fn a_deletion_names_what_does_not_go_away() {
    let deleting = super::strategies::deleted(wants_web());
    let one = summarise(&deleting, &fleet([stuck(1), entry(None, PlaceState::Released)]));
    assert_eq!(other(&one, READY), "False Deleting: releasing what is held on 2 clusters; team-a-0 is not gone");
    assert_eq!(one.problems[0].namespace.as_deref(), Some("team-a-0"));
    let two = summarise(&deleting, &fleet([stuck(2), entry(None, away())]));
    let expected = "False Deleting: waiting for 1 of 2 clusters that cannot be worked on, among them cluster c1 (ConnectionFailed); \
        delete a Cluster that will not come back (kubectl delete cluster.drover.dev); team-a-0 is not gone (and 1 more, see status.problems)";
    assert_eq!(other(&two, READY), expected);
}

#[test]
fn the_last_word_of_a_deletion_is_no_news_but_for_clusters_that_were_waited_for() {
    let deleting = super::strategies::deleted(wants_web());
    let all_gone = || {
        fleet([
            entry(Some(place_status(0, 0)), PlaceState::Released),
            entry(Some(place_status(0, 0)), PlaceState::Released),
        ])
    };
    let told = |statuses| {
        let conditions = summarise(&deleting, &statuses).conditions;
        conditions.into_iter().map(|c| (c.type_, c.status, c.reason)).collect::<Vec<_>>()
    };
    let letting_go = told(fleet([entry(Some(place_status(1, 0)), PlaceState::Current), good()]));
    assert_eq!(told(all_gone()), letting_go);
    assert_eq!(told(fleet([])), letting_go);
    assert_eq!(told(fleet([stuck(1)])), letting_go);
    assert_ne!(told(fleet([entry(None, away())])), letting_go);
}

#[test]
fn a_cluster_where_everything_was_released_is_no_target_and_only_its_name_is_a_problem() {
    let statuses = || fleet([good(), entry(Some(place_status(1, 1)), PlaceState::Released)]);
    let without = fleet([good()]);
    assert_eq!(summarise(&wants_web(), &statuses()), summarise(&wants_web(), &without));
    let mut named = wants_web();
    named.spec.clusters = serde_json::from_value(serde_json::json!({"names": ["c0", "c1"]})).unwrap();
    assert_eq!(ready(&named, &statuses()), "False ClusterDeleting, Reconciling");
    let expected = "False ClusterDeleting: Cluster c1 is being deleted; remove it from spec.clusters.names";
    assert_eq!(other(&summarise(&named, &statuses()), "ClustersAllowed"), expected);
}

#[test]
fn no_namespace_is_called_ready_that_was_never_seen() {
    let status = summarise(&wants_web(), &fleet([entry(None, away())]));
    assert_eq!(other(&status, "NamespacesReady"), "Unknown NotObserved: no selected cluster could be looked at");
}

fn long_name(number: usize) -> String {
    format!("{number:05}{}", "x".repeat(58))
}

/// 2,000 clusters with the longest names, in each of which everything is wrong, in words that JSON has to escape.
fn worst_fleet(text: &str) -> PlaceStatuses<PlaceStatus> {
    let message = text.repeat(1000 / text.len());
    let obstacle = |number| Obstacle {
        namespace: Some(long_name(number)),
        cause: ProjectCause::NamespaceExists.into(),
        message: message.clone(),
    };
    let place_status = PlaceStatus { wanted: 500, problems: (0..2).map(obstacle).collect(), ..PlaceStatus::default() };
    let failure = Failure { message: message.clone(), ..failure() };
    let state = |number: usize| match number % 2 {
        0 => PlaceState::Failed(failure.clone()),
        _ => PlaceState::Unreachable(failure.clone()),
    };
    let entry = |number| (Place::cluster(&long_name(number)), entry(Some(place_status.clone()), state(number)));
    (0..2000).map(entry).collect()
}

#[test]
fn a_status_stays_small_whatever_the_fleet() {
    let mut project = wants_web();
    let names: Vec<String> = (0..500).map(|number| format!("absent-{}", &long_name(number)[..56])).collect();
    for text in ["plain ", "\"quoted\" ", "\u{1}\u{2}", "ä", "\\"] {
        let statuses = worst_fleet(text);
        for clusters in [serde_json::json!({"all": {}}), serde_json::json!({"names": names})] {
            project.spec.clusters = serde_json::from_value(clusters).unwrap();
            for project in [project.clone(), super::strategies::deleted(project.clone())] {
                let status = finish(None, summarise(&project, &statuses), 1, Timestamp::UNIX_EPOCH);
                let size = serde_json::to_string(&status).unwrap().len();
                assert!(size <= MAX_STATUS, "{size} bytes for {text:?}");
                assert!(!status.problems.is_empty());
                sound(&status).unwrap();
            }
        }
    }
}

/// What holds for every status.
fn sound(status: &ProjectStatus) -> Result<(), TestCaseError> {
    let count = |kind: &str| status.conditions.iter().filter(|condition| condition.type_ == kind).count();
    prop_assert_eq!(count("Ready"), 1);
    prop_assert!(count("Reconciling") + count("Stalled") <= 1);
    prop_assert!(status.problems.len() <= MAX_PROBLEMS);
    let is_ready = status.conditions.iter().any(|condition| condition.type_ == READY && condition.status == "True");
    prop_assert!(!is_ready || count("Reconciling") + count("Stalled") == 0, "Ready, and yet not at rest");
    for problem in &status.problems {
        prop_assert!(problem.message.chars().count() <= MAX_PROBLEM_MESSAGE);
        prop_assert!(problem.namespace.iter().all(|name| name.len() <= 63) && problem.cluster.len() <= 253);
    }
    for condition in &status.conditions {
        prop_assert!(!condition.reason.is_empty() && !condition.message.is_empty(), "{:?}", condition);
    }
    Ok(())
}

fn any_place_state() -> impl Strategy<Value = PlaceState> {
    prop_oneof![
        1 => Just(PlaceState::Pending),
        4 => Just(PlaceState::Current),
        1 => Just(PlaceState::Failed(failure())),
        1 => vec(proptest::option::of("[a-z]{1,63}"), 0..30).prop_map(|refused| {
            let refusal = |namespace| Refusal { namespace, failure: failure() };
            PlaceState::Refused(refused.into_iter().map(refusal).collect())
        }),
        2 => Just(away()),
        1 => Just(PlaceState::Suspended),
        1 => Just(PlaceState::Released),
    ]
}

fn any_place_status() -> impl Strategy<Value = PlaceStatus> {
    let obstacle = prop::option::of("[a-z]{1,63}").prop_map(|namespace| Obstacle {
        namespace,
        cause: ProjectCause::NamespaceExists.into(),
        message: "exists".into(),
    });
    (0..5i64, 0..5i64, prop_oneof![3 => Just(vec![]), 1 => vec(obstacle, 0..5)]).prop_map(
        |(wanted, missing, problems)| PlaceStatus {
            wanted,
            ready: (wanted - missing).max(0),
            problems,
            ..PlaceStatus::default()
        },
    )
}

fn any_fleet() -> impl Strategy<Value = PlaceStatuses<PlaceStatus>> {
    vec((prop::option::of(any_place_status()), any_place_state()).prop_map(|(known, state)| entry(known, state)), 0..30)
        .prop_map(fleet)
}

proptest! {
    #[test]
    fn every_status_is_sound(
        statuses in any_fleet(),
        suspend in any::<bool>(),
        deleting in any::<bool>(),
        names in prop::option::of(vec("c[0-9]{1,2}", 0..5)),
    ) {
        let mut project = if suspend { shop("suspend: true") } else { wants_web() };
        if deleting {
            project = super::strategies::deleted(project);
        }
        if let Some(names) = names {
            project.spec.clusters = serde_json::from_value(serde_json::json!({"names": names})).unwrap();
        }
        sound(&summarise(&project, &statuses))?;
    }

    #[test]
    fn a_status_of_before_changes_nothing_but_what_was_ready(statuses in any_fleet()) {
        let first = finish(None, summarise(&wants_web(), &statuses), 1, Timestamp::UNIX_EPOCH);
        let mut told = wants_web();
        told.status = Some(first.clone());
        let later = Timestamp::from_second(1_000_000).unwrap();
        let second = finish(Some(&first), summarise(&told, &statuses), 1, later);
        prop_assert_eq!(second, first);
    }
}
