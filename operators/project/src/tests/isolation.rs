//! Isolation: who gets in, and that nobody else opens the door.

use drover_crds::condition::ISOLATION_READY;
use drover_runtime::{
    Place, PlaceState,
    model::{Pace, every_crash, until_quiet},
    place_status::PlaceEntry,
};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{
    decisions::{NOW, OPEN, cluster_of, lines, plan, shop},
    strategies::{any_cluster, any_project},
    world::ModelCluster,
};
use crate::{ProjectOperator, guards::Guard, summary::summarise};

const ISOLATED: &str = "networkIsolation: {mode: Project}
namespaces: [{name: team-a-web}]";
const GUARD: &str = "team-a-web/drover";

/// What the network policy of the first namespace says.
fn policy(cluster: &str, spec: &str) -> Option<Value> {
    let (project, model) = (shop(spec), cluster_of(&format!("{OPEN}\n{cluster}"), "{}"));
    let wanted = NetworkPolicy::wanted(&project, &model.cluster, &project.spec.namespaces[0]).unwrap()?;
    Some(json!(wanted.spec))
}

fn converged(spec: &str) -> ModelCluster {
    let mut model = cluster_of(OPEN, "{}");
    until_quiet::<ProjectOperator>(&shop(spec), &mut model, NOW).unwrap();
    model
}

#[test]
fn traffic_comes_from_the_project_from_what_it_allows_and_from_the_nodes() {
    let spec = "networkIsolation: {mode: Project, allowFrom: [{matchLabels: {kubernetes.io/metadata.name: ingress}}]}
namespaces: [{name: team-a-web}]";
    let record = json!({
        "drover.dev/owner-kind": "Project", "drover.dev/owner-namespace": "team-a", "drover.dev/owner-name": "shop",
    });
    let expected = json!({
        "podSelector": {},
        "policyTypes": ["Ingress"],
        "ingress": [{"from": [
            {"podSelector": {}},
            {"namespaceSelector": {"matchLabels": record}},
            {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "ingress"}}},
            {"ipBlock": {"cidr": "10.0.0.0/16"}},
        ]}],
    });
    assert_eq!(policy("nodeRanges: [10.0.0.0/16]", spec), Some(expected));
}

#[test]
fn the_isolation_of_a_namespace_stands_in_for_that_of_the_project() {
    assert_eq!(policy("", "namespaces: [{name: team-a-web}]"), None);
    let open = "networkIsolation: {mode: Project}\nnamespaces: [{name: team-a-web, networkIsolation: {mode: None}}]";
    assert_eq!(policy("", open), None);
    let only_one = "namespaces: [{name: team-a-web, networkIsolation: {mode: Project}}]";
    assert!(policy("", only_one).is_some());
}

#[test]
fn a_new_namespace_is_closed_from_the_first_moment_and_never_against_itself() {
    let (project, model) = (shop(ISOLATED), cluster_of(OPEN, "{}"));
    let groups = plan(&project, &model).groups;
    assert_eq!(format!("{groups:?}"), "[[create Namespace team-a-web, create NetworkPolicy team-a-web/drover]]");
    for world in every_crash::<ProjectOperator, _>(&project, &model, NOW, Pace::InTurn).unwrap() {
        let Some(found) = world.policies.get(GUARD) else { continue };
        let rules = &found.fields[&vec!["spec".to_owned(), "ingress".to_owned()]].value;
        assert_eq!(rules[0]["from"][0], json!({"podSelector": {}}), "it has its rules as soon as it is there");
    }
}

#[test]
fn nobody_else_opens_the_door() {
    let (project, before) = (shop(ISOLATED), converged(ISOLATED));
    let path = |path: &[&str]| path.iter().map(|part| (*part).to_owned()).collect::<Vec<_>>();
    let everybody = json!([{"from": [{"podSelector": {}}]}, {}]);
    for (what, changed, value) in [
        ("another rule", path(&["spec", "ingress"]), everybody),
        ("no rule about ingress", path(&["spec", "policyTypes"]), json!(["Egress"])),
        ("only some pods", path(&["spec", "podSelector", "matchLabels", "closed"]), json!("yes")),
    ] {
        let mut model = before.clone();
        let field = drover_runtime::model::Field::by(drover_runtime::model::Manager::Other, value);
        model.policies.get_mut(GUARD).unwrap().fields.insert(changed, field);
        let found = lines(&project, &model);
        assert!(found[0].starts_with(&format!("apply NetworkPolicy {GUARD}: restores spec.")), "{what}: {found:?}");
    }
}

#[test]
fn isolation_that_is_wanted_no_more_goes_and_a_released_namespace_keeps_it() {
    let model = converged(ISOLATED);
    assert_eq!(lines(&shop("namespaces: [{name: team-a-web}]"), &model), [format!("delete NetworkPolicy {GUARD}")]);
    let groups = plan(&shop(""), &model).groups;
    assert_eq!(format!("{groups:?}"), format!("[[release NetworkPolicy {GUARD}, release Namespace team-a-web]]"));
}

/// `IsolationReady` when the cluster looks like this.
fn told(spec: &str, model: &ModelCluster) -> Option<String> {
    let project = shop(spec);
    let entry = PlaceEntry { known: Some(plan(&project, model).place_status), state: PlaceState::Current };
    let status = summarise(&project, &[(Place::cluster("eu"), entry)].into_iter().collect());
    let found = status.conditions.into_iter().find(|condition| condition.type_ == ISOLATION_READY)?;
    Some(format!("{} {}: {}", found.status, found.reason, found.message))
}

#[test]
fn the_condition_counts_the_namespaces_that_are_isolated() {
    let held = cluster_of(OPEN, "team-a-web: {heldBy: team-a/shop, applied: {}}");
    assert_eq!(told(ISOLATED, &held).as_deref(), Some("False Progressing: 0/1 namespaces have their isolation"));
    assert_eq!(
        told(ISOLATED, &converged(ISOLATED)).as_deref(),
        Some("True Ready: 1/1 namespaces have their isolation")
    );
    assert_eq!(told("namespaces: [{name: team-a-web}]", &held), None);
}

proptest! {
    /// Whatever the cluster was like before: what counts as ready is isolated as wanted, and only then.
    #[test]
    fn what_is_ready_is_isolated(mut project in any_project(), mut model in any_cluster()) {
        project.spec.suspend = false;
        until_quiet::<ProjectOperator>(&project, &mut model, NOW)?;
        let place_status = plan(&project, &model).place_status;
        if place_status.ready == place_status.wanted {
            for wanted in &project.spec.namespaces {
                let guard = NetworkPolicy::wanted(&project, &model.cluster, wanted).unwrap();
                let found = model.policies.get(&format!("{}/drover", wanted.name)).map(|found| {
                    found.fields[&vec!["spec".to_owned(), "ingress".to_owned()]].value.clone()
                });
                prop_assert_eq!(found, guard.map(|guard| json!(guard.spec.unwrap().ingress)));
            }
            prop_assert_eq!(place_status.isolation.ready, place_status.isolation.wanted);
        }
    }
}
