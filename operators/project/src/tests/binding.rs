//! What a binding tells: effective on how many clusters, and why not elsewhere.

use std::sync::Arc;

use drover_crds::{Cluster, ProjectRoleTemplateBinding, RoleBindingStatus};
use drover_runtime::{
    ObjectKey, Operator as _, OwnerRecord, Place, PlaceState, PlaceStatuses, Requeue, place_status::PlaceEntry,
};
use k8s_openapi::{apimachinery::pkg::apis::meta::v1::Time, jiff::SignedDuration};
use serde_json::{Value, json};

use super::{
    decisions::{NOW, OPEN, cluster_of, shop},
    strategies::{a_binding, a_template},
    world::ModelCluster,
};
use crate::{
    ProjectOperator,
    binding::{
        ProjectBindingOperator,
        observe::{AtCluster, World},
        plan::PlaceStatus,
    },
};

const WEB: &str = "namespaces: [{name: team-a-web}]";

fn ada() -> ProjectRoleTemplateBinding {
    a_binding("ada", "viewer", &json!([{"kind": "User", "name": "ada"}]))
}

/// What the operator of bindings sees of a cluster.
fn world(model: &ModelCluster, cluster: Option<Arc<Cluster>>) -> World {
    let record = OwnerRecord { kind: "Project", key: ObjectKey::namespaced("team-a", "shop") };
    let at = cluster.map(|cluster| AtCluster {
        cluster,
        namespaces: model.namespaces.keys().cloned().collect(),
        granted: model.role_bindings.owned(&record),
    });
    World { has_project: true, templates: model.templates.clone(), labels: std::collections::BTreeMap::default(), at }
}

fn told(binding: &ProjectRoleTemplateBinding, worlds: &[World]) -> RoleBindingStatus {
    let entries = worlds.iter().map(|world| {
        let place = match &world.at {
            Some(_) => Place::cluster("eu"),
            None => Place::Management,
        };
        let known = Some(ProjectBindingOperator::plan(binding, world, NOW).place_status);
        (place, PlaceEntry { known, state: PlaceState::Current })
    });
    let statuses: PlaceStatuses<PlaceStatus> = entries.collect();
    ProjectBindingOperator::summarise(binding, &statuses, NOW)
}

fn ready(status: &RoleBindingStatus) -> String {
    let found = status.conditions.iter().find(|condition| condition.type_ == "Ready").unwrap();
    format!("{}/{}", found.status, found.reason)
}

/// A cluster on which the Project did all that it had to do for these bindings.
fn granted(bindings: Vec<ProjectRoleTemplateBinding>) -> ModelCluster {
    let mut model = cluster_of(OPEN, "{}");
    model.add_templates(&[a_template("viewer")]);
    model.set_bindings(bindings);
    drover_runtime::model::until_quiet::<ProjectOperator>(&shop(WEB), &mut model, NOW).unwrap();
    model
}

fn both(model: &ModelCluster) -> [World; 2] {
    [world(model, None), world(model, Some(Arc::clone(&model.cluster)))]
}

#[test]
fn a_binding_is_ready_once_every_namespace_has_its_role() {
    let model = granted(vec![ada()]);
    let status = told(&ada(), &both(&model));
    assert_eq!((ready(&status), status.clusters.unwrap().summary), ("True/Ready".to_owned(), "1/1".to_owned()));
    let before = granted(Vec::new());
    let status = told(&ada(), &both(&before));
    assert_eq!(
        (ready(&status), status.clusters.unwrap().summary),
        ("False/NotYetGranted".to_owned(), "0/1".to_owned())
    );
    assert_eq!(status.problems[0].namespace.as_deref(), Some("team-a-web"));
}

#[test]
fn why_a_binding_gives_nothing_is_told_once_whatever_the_number_of_clusters() {
    let model = granted(Vec::new());
    let mut without_project = both(&model);
    for world in &mut without_project {
        world.has_project = false;
    }
    assert_eq!(ready(&told(&ada(), &without_project)), "False/ProjectNotFound");
    assert_eq!(ready(&told(&ada(), &without_project[..1])), "False/ProjectNotFound", "there is no cluster then");
    let missing = a_binding("ada", "missing", &json!([]));
    let status = told(&missing, &both(&model));
    assert_eq!((ready(&status), status.problems.len()), ("False/RoleTemplateNotFound".to_owned(), 0));
    let mut expired = ada();
    expired.spec.expires_at = Some(Time(NOW));
    assert_eq!(ready(&told(&expired, &both(&model))), "True/Expired");
    let unbindable: Value = json!({"context": "Project", "bindableFrom": {"names": ["team-b"]}});
    let mut template = a_template("viewer");
    template.spec = serde_json::from_value(unbindable).unwrap();
    let mut model = model;
    model.add_templates(&[template]);
    assert_eq!(ready(&told(&ada(), &both(&model))), "False/RoleTemplateNotBindable");
}

#[test]
fn a_subject_that_gets_nothing_is_told_though_all_others_have_the_role() {
    let subjects = json!([
        {"kind": "User", "name": "ada"}, {"kind": "ServiceAccount", "name": "ci", "namespace": "team-b-web"},
    ]);
    let binding = a_binding("ada", "viewer", &subjects);
    let status = told(&binding, &both(&granted(vec![binding.clone()])));
    assert_eq!(ready(&status), "False/ServiceAccountOfAnotherProject");
    assert!(status.problems[0].message.contains("ServiceAccount team-b-web/ci on cluster eu"), "{status:?}");
}

#[test]
fn it_is_looked_at_again_when_it_expires() {
    let mut binding = ada();
    let end = NOW + SignedDuration::from_secs(60);
    binding.spec.expires_at = Some(Time(end));
    let model = granted(vec![binding.clone()]);
    let requeue = ProjectBindingOperator::plan(&binding, &both(&model)[1], NOW).requeue;
    assert_eq!(requeue, Requeue::At(end));
}
