//! Templates and bindings that cannot be decoded: nobody gains a right by them, and nobody loses one.

use std::collections::BTreeSet;

use drover_crds::{ProjectRoleTemplateBinding, RoleTemplate};
use drover_grants::Admitted;
use drover_runtime::{Requeue, model::until_quiet};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{
    decisions::{NOW, OPEN, cluster_of, plan, shop},
    members::access,
    strategies::{a_binding, a_template, any_cluster, any_project_alive_or_not, deleted},
    world::ModelCluster,
};
use crate::ProjectOperator;

const WEB: &str = "namespaces: [{name: team-a-web}]";

fn users(names: &[&str]) -> Value {
    names.iter().map(|name| json!({"kind": "User", "name": name})).collect()
}

fn binding(name: &str, template: &str, people: &[&str]) -> ProjectRoleTemplateBinding {
    a_binding(name, template, &users(people))
}

/// A template that inherits `viewer`.
fn heir() -> RoleTemplate {
    let spec = json!({"context": "Project", "bindableFrom": {"all": {}}, "inherits": ["viewer"], "rules": [
        {"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]},
    ]});
    RoleTemplate::new("heir", serde_json::from_value(spec).unwrap())
}

/// What `ada` and `bob` have by these bindings on a cluster at rest.
fn at_rest(bindings: Vec<ProjectRoleTemplateBinding>) -> ModelCluster {
    let mut model = cluster_of(OPEN, "{}");
    model.add_templates(&[a_template("viewer"), a_template("deployer"), heir()]);
    model.set_bindings(bindings);
    rest(&mut model);
    model
}

fn rest(model: &mut ModelCluster) {
    until_quiet::<ProjectOperator>(&shop(WEB), model, NOW).unwrap();
}

fn told(model: &ModelCluster) -> Vec<&'static str> {
    plan(&shop(WEB), model).place_status.problems.iter().map(|problem| problem.cause.reason()).collect()
}

fn web(given: &[&str]) -> BTreeSet<String> {
    given.iter().map(|given| format!("team-a-web {given}")).collect()
}

#[test]
fn a_template_that_cannot_be_decoded_gives_nothing_more_and_takes_nothing_away() {
    for (template, garbled, given) in [
        ("viewer", "viewer", vec!["view"]),
        ("deployer", "deployer", vec!["drover:deployer"]),
        ("heir", "viewer", vec!["drover:heir", "view"]),
        ("heir", "heir", vec!["drover:heir", "view"]),
    ] {
        let have = |people: &[&str]| {
            let given = people.iter().flat_map(|name| given.iter().map(move |role| format!("{role} {name}")));
            web(&given.collect::<Vec<_>>().iter().map(String::as_str).collect::<Vec<_>>())
        };
        let mut model = at_rest(vec![binding("one", template, &["ada", "bob"])]);
        assert_eq!(access(&model), have(&["ada", "bob"]), "{template}");
        model.garble_template(garbled, false);
        rest(&mut model);
        assert_eq!(access(&model), have(&["ada", "bob"]), "{template} by {garbled}");
        assert_eq!(told(&model), ["RoleTemplateUndecodable"], "{template} by {garbled}");
        model.set_bindings(vec![binding("one", template, &["bob", "eve"])]);
        rest(&mut model);
        assert_eq!(access(&model), have(&["bob"]), "{template} by {garbled}: who is removed loses it, nobody gains it");
        let mut over = binding("one", template, &["bob"]);
        over.spec.expires_at = Some(Time(NOW));
        model.set_bindings(vec![over]);
        rest(&mut model);
        assert_eq!(access(&model), BTreeSet::new(), "{template} by {garbled}: its time is over");
    }
}

#[test]
fn other_roles_are_given_and_taken_while_one_template_cannot_be_decoded() {
    let mut model = at_rest(vec![binding("one", "viewer", &["ada"]), binding("two", "deployer", &["ada"])]);
    model.garble_template("viewer", false);
    model.set_bindings(vec![binding("one", "viewer", &["ada"]), binding("two", "deployer", &["bob"])]);
    rest(&mut model);
    assert_eq!(access(&model), web(&["drover:deployer bob", "view ada"]));
    model.garble_template("viewer", true);
    rest(&mut model);
    assert_eq!(access(&model), web(&["drover:deployer bob"]), "it is on its way out, whatever it says");
}

#[test]
fn a_binding_that_cannot_be_decoded_may_give_whatever_is_there() {
    let mut model = at_rest(vec![binding("one", "viewer", &["ada", "bob"]), binding("two", "deployer", &["ada"])]);
    model.set_bindings(vec![binding("two", "deployer", &["ada", "eve"])]);
    model.undecodable = vec!["one".to_owned()];
    rest(&mut model);
    assert_eq!(access(&model), web(&["drover:deployer ada", "drover:deployer eve", "view ada", "view bob"]));
    assert_eq!(told(&model), ["BindingUndecodable"]);
    assert!(matches!(plan(&shop(WEB), &model).requeue, Requeue::At(_)), "no watch tells that it is gone");
    model.undecodable.clear();
    rest(&mut model);
    assert_eq!(access(&model), web(&["drover:deployer ada", "drover:deployer eve"]));
}

#[test]
fn what_is_known_to_be_over_goes_whatever_another_binding_may_give() {
    let rest_with = |change: &dyn Fn(&mut ModelCluster)| {
        let mut model = at_rest(vec![binding("one", "viewer", &["ada", "bob"])]);
        model.undecodable = vec!["other".to_owned()];
        change(&mut model);
        rest(&mut model);
        access(&model)
    };
    let over = |model: &mut ModelCluster| {
        let mut over = binding("one", "viewer", &["ada"]);
        over.spec.expires_at = Some(Time(NOW));
        model.set_bindings(vec![over]);
    };
    assert_eq!(rest_with(&over), web(&["view bob"]), "a binding says that its time is over");
    let going = |model: &mut ModelCluster| model.set_bindings(vec![deleted(binding("one", "viewer", &["ada"]))]);
    assert_eq!(rest_with(&going), web(&["view bob"]));
    let spec_of = |spec: Value| RoleTemplate::new("viewer", serde_json::from_value(spec).unwrap());
    let closed = spec_of(json!({"context": "Project", "externalClusterRoles": ["view"]}));
    assert_eq!(
        rest_with(&|model| model.add_templates(std::slice::from_ref(&closed))),
        web(&[]),
        "no binding may give it"
    );
    let open = json!({"context": "Project", "bindableFrom": {"all": {}}, "externalClusterRoles": ["edit"]});
    let another = spec_of(open);
    let given = rest_with(&|model| model.add_templates(std::slice::from_ref(&another)));
    assert_eq!(given, web(&["edit ada", "edit bob"]), "no binding gives what the template does not");
    assert_eq!(rest_with(&|model| model.add_templates(&[deleted(a_template("viewer"))])), web(&[]));
}

#[test]
fn an_account_of_a_namespace_that_was_given_up_keeps_nothing() {
    let accounts = json!([{"kind": "ServiceAccount", "name": "ci", "namespace": "team-a-db"}]);
    let project = shop("namespaces: [{name: team-a-web}, {name: team-a-db}]");
    let mut model = cluster_of(OPEN, "{}");
    model.add_templates(&[a_template("viewer")]);
    model.set_bindings(vec![a_binding("one", "viewer", &accounts)]);
    until_quiet::<ProjectOperator>(&project, &mut model, NOW).unwrap();
    model.undecodable = vec!["one".to_owned()];
    model.set_bindings(Vec::new());
    until_quiet::<ProjectOperator>(&project, &mut model, NOW).unwrap();
    assert_eq!(access(&model).len(), 2);
    rest(&mut model);
    assert_eq!(access(&model), BTreeSet::new());
}

proptest! {
    #[test]
    fn nobody_gains_or_loses_a_right_by_what_cannot_be_decoded(
        project in any_project_alive_or_not(),
        mut model in any_cluster(),
        garbled in proptest::sample::subsequence(vec!["viewer", "deployer"], 0..=2),
        is_binding_garbled in any::<bool>(),
        lost in any::<prop::sample::Index>(),
    ) {
        prop_assume!(project.metadata.deletion_timestamp.is_none());
        until_quiet::<ProjectOperator>(&project, &mut model, NOW).unwrap();
        let before = access(&model);
        for name in garbled {
            model.garble_template(name, false);
        }
        if is_binding_garbled && !model.bindings.is_empty() {
            let lost = model.bindings.remove(lost.index(model.bindings.len()));
            model.undecodable = vec![lost.metadata.name.clone().unwrap()];
        }
        until_quiet::<ProjectOperator>(&project, &mut model, NOW).unwrap();
        prop_assert_eq!(access(&model), before);
    }
}

#[test]
fn t11_what_was_written_without_policies_gives_nothing_new_and_takes_nothing_away() {
    for (admitted, told_then) in [(Admitted::No, vec!["NotAdmitted"]), (Admitted::Unjudged, vec![])] {
        let mut model = at_rest(vec![binding("one", "viewer", &["ada", "bob"])]);
        model.set_bindings(vec![binding("one", "viewer", &["ada", "eve"]), binding("two", "deployer", &["eve"])]);
        model.unadmitted = [("one".to_owned(), admitted), ("two".to_owned(), admitted)].into();
        rest(&mut model);
        assert_eq!(access(&model), web(&["view ada"]), "{admitted:?}: bob is named no more");
        assert_eq!(BTreeSet::from_iter(told(&model)), BTreeSet::from_iter(told_then));
        model.unadmitted.clear();
        rest(&mut model);
        assert_eq!(access(&model), web(&["drover:deployer eve", "view ada", "view eve"]));
    }
}

#[test]
fn t11_a_template_that_was_written_without_policies_gives_nothing_new_and_what_it_drops_goes() {
    for (admitted, told_then) in [(Admitted::No, vec!["NotAdmitted"]), (Admitted::Unjudged, vec![])] {
        let mut model = at_rest(vec![binding("one", "viewer", &["ada", "bob"])]);
        model.set_bindings(vec![binding("one", "viewer", &["ada", "eve"])]);
        model.templates.judge("viewer", |_| admitted);
        rest(&mut model);
        assert_eq!(access(&model), web(&["view ada"]), "{admitted:?}: bob is named no more");
        assert_eq!(told(&model), told_then);
        let mut other = a_template("viewer");
        other.spec.external_cluster_roles = vec!["admin".to_owned()];
        model.add_templates(&[other]);
        model.templates.judge("viewer", |_| admitted);
        rest(&mut model);
        assert_eq!(access(&model), BTreeSet::new(), "{admitted:?}: view is given no more, and admin not yet");
        model.templates.judge("viewer", |_| Admitted::Yes);
        rest(&mut model);
        assert_eq!(access(&model), web(&["admin ada", "admin eve"]));
    }
}
