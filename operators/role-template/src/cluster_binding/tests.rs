//! What a binding on clusters tells.

use std::sync::Arc;

use drover_crds::{ClusterRoleTemplateBinding, IdentityMapping, RoleBindingStatus, RoleTemplate};
use drover_roles::{Resolved, resolve};
use drover_runtime::{Operator as _, Place, PlaceState, PlaceStatuses, Requeue, place_status::PlaceEntry};
use k8s_openapi::{
    api::rbac::v1::{ClusterRole, ClusterRoleBinding},
    apimachinery::pkg::apis::meta::v1::Time,
    jiff::{SignedDuration, Timestamp},
};
use serde_json::{Value, json};

use super::{
    ClusterRoleTemplateBindingOperator,
    observe::{AtCluster, World},
};
use crate::uses::Use;

const NOW: Timestamp = Timestamp::UNIX_EPOCH;

fn binding(people: &[&str]) -> ClusterRoleTemplateBinding {
    let subjects: Vec<Value> = people.iter().map(|name| json!({"kind": "User", "name": name})).collect();
    let spec = json!({"clusters": {"all": {}}, "roleTemplateName": "reader", "subjects": subjects});
    ClusterRoleTemplateBinding::new("readers", serde_json::from_value(spec).unwrap())
}

fn ending_at(end: Timestamp) -> ClusterRoleTemplateBinding {
    let mut binding = binding(&["ann"]);
    binding.spec.expires_at = Some(Time(end));
    binding
}

fn template(context: &str) -> Resolved {
    let rule = json!({"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]});
    let spec = serde_json::from_value(json!({"context": context, "rules": [rule]})).unwrap();
    resolve(&RoleTemplate::new("reader", spec), |_| None)
}

/// A cluster in which these people have the role.
fn given_to(people: &[&str]) -> AtCluster {
    let rules = template("Cluster").rules;
    let role: ClusterRole =
        serde_json::from_value(json!({"metadata": {"name": "drover:reader"}, "rules": rules})).unwrap();
    let group = "rbac.authorization.k8s.io";
    let subjects: Vec<Value> =
        people.iter().map(|name| json!({"apiGroup": group, "kind": "User", "name": name})).collect();
    let bound: ClusterRoleBinding = serde_json::from_value(json!({
        "metadata": {"name": "drover:reader"}, "subjects": subjects,
        "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": "drover:reader"},
    }))
    .unwrap();
    AtCluster { roles: vec![Arc::new(role)], bindings: vec![Arc::new(bound)], ..AtCluster::default() }
}

fn world(cluster: Option<AtCluster>) -> World {
    World { template: Some(template("Cluster")), cluster, ..World::default() }
}

fn told(binding: &ClusterRoleTemplateBinding, whole: World, clusters: Vec<AtCluster>) -> RoleBindingStatus {
    let at = |(number, cluster)| (Place::cluster(&format!("c{number}")), world(Some(cluster)));
    let worlds = clusters.into_iter().enumerate().map(at);
    let entries = worlds.chain([(Place::Management, whole)]).map(|(place, world)| {
        let known = Some(ClusterRoleTemplateBindingOperator::plan(binding, &world, NOW).place_status);
        (place, PlaceEntry { known, state: PlaceState::Current })
    });
    let statuses: PlaceStatuses<_> = entries.collect();
    ClusterRoleTemplateBindingOperator::summarise(binding, &statuses, NOW)
}

fn ready(status: &RoleBindingStatus) -> (String, String) {
    let found = status.conditions.iter().find(|condition| condition.type_ == "Ready").unwrap();
    (format!("{}/{}", found.status, found.reason), status.clusters.clone().unwrap().summary)
}

#[test]
fn it_is_effective_where_everybody_has_the_role_with_its_rules() {
    let mut narrow = given_to(&["ann"]);
    narrow.roles.clear();
    let others = |people: &[&str]| AtCluster { others: vec![Use::of(&binding(&["bob"]))], ..given_to(people) };
    for (binding, clusters, expected) in [
        (binding(&["ann"]), vec![given_to(&["ann"]), others(&["ann", "bob"])], ("True/Ready", "2/2")),
        (binding(&["ann"]), vec![given_to(&["ann"]), given_to(&[])], ("False/Progressing", "1/2")),
        (binding(&["ann"]), vec![narrow], ("False/Progressing", "0/1")),
        (binding(&["ann", "system:masters"]), vec![given_to(&["ann"])], ("False/SubjectRefused", "0/1")),
        (ending_at(NOW), vec![given_to(&[]), given_to(&[])], ("True/Expired", "0/2")),
        (ending_at(NOW), vec![given_to(&[]), given_to(&["ann"])], ("False/RevocationPending", "0/2")),
    ] {
        let status = told(&binding, world(None), clusters);
        assert_eq!(ready(&status), (expected.0.to_owned(), expected.1.to_owned()), "{status:?}");
    }
}

#[test]
fn what_its_template_lacks_is_told_once() {
    for (whole, reason) in [
        (World { template: None, ..world(None) }, "False/RoleTemplateNotFound"),
        (World { template: Some(template("Project")), ..world(None) }, "False/ContextMismatch"),
        (World { undecodable: Some("reader".to_owned()), ..World::default() }, "False/RoleTemplateUndecodable"),
        (World { undecodable: Some("parent".to_owned()), ..world(None) }, "False/RoleTemplateUndecodable"),
        (World { unadmitted: Some("parent".to_owned()), ..world(None) }, "False/NotAdmitted"),
    ] {
        let status = told(&binding(&["ann"]), whole, vec![given_to(&["ann"])]);
        assert_eq!((ready(&status).0, status.problems.len()), (reason.to_owned(), 0));
    }
}

#[test]
fn people_are_looked_for_as_the_cluster_spells_them() {
    let identity = IdentityMapping { username_prefix: Some("oidc:".to_owned()), groups_prefix: None };
    let spelled = |people: &[&str]| AtCluster { identity: Some(identity.clone()), ..given_to(people) };
    let status = told(&binding(&["ann"]), world(None), vec![spelled(&["oidc:ann"]), spelled(&["ann"])]);
    assert_eq!(ready(&status).1, "1/2");
}

#[test]
fn it_is_looked_at_again_when_it_ends() {
    let end = NOW + SignedDuration::from_secs(60);
    let requeue = |binding: &ClusterRoleTemplateBinding, now| {
        ClusterRoleTemplateBindingOperator::plan(binding, &world(Some(given_to(&["ann"]))), now).requeue
    };
    assert_eq!(requeue(&ending_at(end), NOW), Requeue::At(end));
    assert_eq!(requeue(&ending_at(end), end), Requeue::Watch);
}
