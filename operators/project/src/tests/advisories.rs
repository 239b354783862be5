//! Advisories of other multi-tenancy projects, as far as namespaces are concerned, by the numbers of
//! `docs/security.md`.

use drover_runtime::{model::until_quiet, owned::Change};
use k8s_openapi::jiff::Timestamp;
use serde_json::Value;

use super::{
    decisions::{ADOPTING, OPEN, cluster_of, lines, shop},
    safety::{held_by, key},
    strategies::{deleted, project},
    world::ModelCluster,
};
use crate::{ProjectOperator, act::Action};

fn rest(project: &drover_crds::Project, model: &mut ModelCluster) {
    until_quiet::<ProjectOperator>(project, model, Timestamp::UNIX_EPOCH).unwrap();
}

/// GHSA-8h6m-wv39-239m: a project named like one elsewhere got its namespaces.
#[test]
fn t10_projects_of_the_same_name_share_nothing() {
    let cluster = "tenants: [{name: all, from: {all: {}}, namespacePatterns: ['*'], adopt: Allowed}]";
    let spec = "namespaces: [{name: web, onExisting: Adopt}]";
    let first = shop(spec);
    // Joined by a dash or concatenated, each of these would read like `team-a/shop`.
    for (namespace, name) in [("team-b", "shop"), ("team", "a-shop"), ("team-a-shop", "shop"), ("team-a", "sho")] {
        let mut model = cluster_of(cluster, "{}");
        rest(&first, &mut model);
        let before = model.clone();
        let other = project(namespace, name, first.spec.clone());
        assert_eq!(lines(&other, &model), ["! WaitingForRelease"], "{namespace}/{name}");
        rest(&other, &mut model);
        rest(&deleted(other), &mut model);
        assert_eq!(model, before, "{namespace}/{name}");
        assert_eq!(held_by(&model.namespaces["web"]), Some(key(&first)));
    }
}

/// CVE-2018-20321: tenants reached the service account of the operator. No Project may hold its namespace, and nothing that lies
/// in it is a tenant's.
#[test]
fn t16_the_namespace_of_drover_is_no_project_s_in_any_cluster() {
    let everything = "tenants: [{name: all, from: {all: {}}, namespacePatterns: ['*'], adopt: Allowed}]";
    let wants_it = shop("namespaces: [{name: drover-system, onExisting: Adopt}]");
    let mut model = cluster_of(everything, "{drover-system: {}}");
    let before = model.clone();
    assert_eq!(lines(&wants_it, &model), ["! NamespaceProtected"]);
    rest(&wants_it, &mut model);
    assert_eq!(model, before);

    let inside = shop("namespaces: [{name: web}]");
    let mut model = cluster_of(everything, "{}");
    model.in_operator_namespace = true;
    assert_eq!(lines(&inside, &model), ["! NotATenant"]);
    rest(&inside, &mut model);
    assert!(model.namespaces.is_empty());
}

/// CVE-2024-39690: a tenant captured a namespace without an owner.
#[test]
fn t21_an_existing_namespace_is_taken_only_by_consent_and_a_system_one_never() {
    let asks = shop("namespaces: [{name: team-a-web, onExisting: Adopt}, {name: kube-system, onExisting: Adopt}]");
    let there = "{team-a-web: {labels: {team: blue}}, kube-system: {}}";
    let everything = "tenants: [{name: all, from: {all: {}}, namespacePatterns: ['*'], adopt: Allowed}]";
    for (cluster, taken) in [(OPEN, false), (ADOPTING, true), (everything, true)] {
        let mut model = cluster_of(cluster, there);
        let before = model.clone();
        rest(&asks, &mut model);
        assert_eq!(held_by(&model.namespaces["team-a-web"]).is_some(), taken, "{cluster}");
        assert_eq!(model.namespaces["kube-system"], before.namespaces["kube-system"], "{cluster}");
    }
}

/// CVE-2025-55205: labels on `kube-system` made it a tenant's.
#[test]
fn t22_forged_owner_labels_give_no_hold_on_what_the_project_may_not_have() {
    // A tenant forged the labels, or the cluster's owner withdrew what he once allowed.
    let there = "{kube-system: {heldBy: team-a/shop}, payments: {heldBy: team-a/shop}}";
    let spec = "deletionPolicy: Delete\nnamespaces: [{name: kube-system, labels: {team: mine}}, {name: payments}]";
    let mut model = cluster_of(OPEN, there);
    let before = model.clone();
    rest(&shop(spec), &mut model);
    assert_eq!(model, before, "while the Project lives");
    rest(&deleted(shop(spec)), &mut model);
    assert!(model.namespaces.contains_key("kube-system") && model.namespaces.contains_key("payments"));
    assert!(model.namespaces.values().all(|namespace| held_by(namespace).is_none()));
}

/// CVE-2026-22872: tenants had objects of any kind created with the controller's rights. Here nothing of a guard but numbers, and
/// selectors of namespaces, is a tenant's, and its name is not.
#[test]
fn t24_of_guards_only_one_of_each_kind_with_a_fixed_name_is_ever_written() {
    let spec = "containerDefaults: {limits: {cpu: 1}}
networkIsolation: {mode: Project}
namespaces: [{name: team-a-web}]";
    let model = cluster_of(OPEN, "team-a-web: {heldBy: team-a/shop, applied: {}}");
    let actions = drover_runtime::model::decide::<ProjectOperator>(&shop(spec), &model, Timestamp::UNIX_EPOCH).groups;
    let written: Vec<Value> = actions
        .concat()
        .into_iter()
        .map(|action| match action {
            Action::Limits(Change::Create { desired, .. }) => serde_json::to_value(desired).unwrap(),
            Action::Isolation(Change::Create { desired, .. }) => serde_json::to_value(desired).unwrap(),
            action => panic!("{action:?}"),
        })
        .collect();
    let kinds: Vec<_> = written.iter().map(|body| (body["kind"].clone(), body["metadata"].clone())).collect();
    let metadata = serde_json::json!({"name": "drover", "namespace": "team-a-web"});
    assert_eq!(kinds, [("LimitRange".into(), metadata.clone()), ("NetworkPolicy".into(), metadata)]);
}

/// CVE-2026-22872: tenants had objects of any kind created with the controller's rights.
#[test]
fn t24_nothing_but_names_labels_and_annotations_of_namespaces_is_ever_written() {
    let spec = "namespaces:
    - {name: team-a-web, labels: {tier: front}, annotations: {note: hello}}
    - {name: team-a-db}
    - {name: team-a-log, onExisting: Adopt}";
    let model =
        cluster_of(ADOPTING, "{team-a-db: {heldBy: team-a/shop}, team-a-log: {}, team-a-old: {heldBy: team-a/shop}}");
    let actions =
        drover_runtime::model::decide::<ProjectOperator>(&shop(spec), &model, Timestamp::UNIX_EPOCH).groups.concat();
    assert_eq!(actions.len(), 4);
    for action in actions {
        // A new kind of action has to be thought about here, and below.
        let Action::Namespace(change) = action else { panic!("{action:?}") };
        let written = match change {
            Change::Create { desired, .. } | Change::Apply { desired, .. } | Change::Adopt { desired, .. } => desired,
            Change::Disown { .. } | Change::Release(_) | Change::Disclaim(_) | Change::Delete(_) => continue,
        };
        let Value::Object(mut body) = serde_json::to_value(written).unwrap() else { panic!("not an object") };
        let Some(Value::Object(metadata)) = body.remove("metadata") else { panic!("no metadata") };
        assert_eq!((body.remove("apiVersion"), body.remove("kind")), (Some("v1".into()), Some("Namespace".into())));
        assert!(body.is_empty(), "{body:?}");
        assert!(metadata.keys().all(|key| ["name", "labels", "annotations"].contains(&key.as_str())), "{metadata:?}");
    }
}
