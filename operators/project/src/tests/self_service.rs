//! Namespaces that members create themselves: which become the Project's, and who may create them.

use drover_crds::{Cluster, Project};
use drover_grants::{Admitted, GrantCause, Grants};
use drover_runtime::{
    ObjectKey, Owner,
    model::{End, Pace, decide, every_crash, until_quiet},
};
use drover_self_service::Rival;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::ResourceExt as _;
use serde_json::json;

use super::{
    decisions::{NOW, OPEN, cluster_of, lines, shop},
    strategies::{a_binding, a_template, deleted},
    world::ModelCluster,
};
use crate::{ProjectOperator, leave::clean_up};

const SERVING: &str = "selfService: {namePrefixes: [team-a-], maxNamespaces: 2}";
/// When everything was created, and the policies have settled.
const LATER: Timestamp = Timestamp::constant(3_600, 0);

/// A namespace that asks for `team-a/shop`, in YAML.
fn asking(name: &str) -> String {
    format!("{name}: {{labels: {{drover.dev/project-namespace: team-a, drover.dev/project: shop}}}}")
}

fn there(names: &[&str]) -> String {
    names.iter().map(|name| asking(name)).collect::<Vec<_>>().join("\n")
}

/// A cluster in which `ada` may create namespaces of `team-a/shop`, with these namespaces.
fn with(tenants: &str, names: &[&str]) -> ModelCluster {
    let mut model = cluster_of(tenants, if names.is_empty() { "{}".to_owned() } else { there(names) }.as_str());
    model.add_templates(&[a_template("maker")]);
    model.set_bindings(vec![a_binding("makers", "maker", &json!([{"kind": "User", "name": "ada"}]))]);
    model
}

fn people(name: &str) -> serde_json::Value {
    json!({"kind": "User", "name": name})
}

fn rest(project: &Project, model: &mut ModelCluster) -> End {
    until_quiet::<ProjectOperator>(project, model, LATER).unwrap()
}

fn planned(project: &Project, model: &ModelCluster) -> String {
    let plan = decide::<ProjectOperator>(project, model, LATER);
    format!("{:?}", plan.groups)
}

fn told(project: &Project, model: &ModelCluster) -> Vec<&'static str> {
    let plan = decide::<ProjectOperator>(project, model, LATER);
    plan.place_status.problems.iter().map(|problem| problem.cause.reason()).collect()
}

/// The namespaces that carry the labels of the Project.
fn held(model: &ModelCluster) -> Vec<&str> {
    let is_held = |labels: &drover_runtime::model::Fields| labels.contains_key("drover.dev/owner-name");
    model.namespaces.iter().filter(|(_, found)| is_held(&found.labels)).map(|(name, _)| name.as_str()).collect()
}

const CREATES: &str = "[create ClusterRole drover:team-a.shop:create-namespaces, create ClusterRoleBinding drover:team-a.shop:create-namespaces]";

#[test]
fn what_asks_is_adopted_guarded_and_shared_with_the_members() {
    let mut project =
        shop(&format!("{SERVING}\npodSecurity: {{enforce: baseline}}\ncontainerDefaults: {{limits: {{memory: 1Gi}}}}"));
    project.spec.deletion_policy = drover_crds::DeletionPolicy::Delete;
    let mut model = with(OPEN, &["team-a-x"]);
    assert_eq!(planned(&project, &model), format!("[[adopt Namespace team-a-x], {CREATES}]"));
    assert_eq!(rest(&project, &mut model), End::Quiet);
    assert_eq!(held(&model), ["team-a-x"]);
    assert_eq!(model.namespaces["team-a-x"].labels["pod-security.kubernetes.io/enforce"].value, "baseline");
    assert!(model.limits.contains_key("team-a-x/drover"));
    assert!(model.role_bindings.contains_key("team-a-x/drover:maker"));
    assert!(told(&project, &model).is_empty());
    assert_eq!(rest(&deleted(project), &mut model), End::Released);
    assert!(held(&model).is_empty() && model.namespaces.contains_key("team-a-x"), "what people created stays");
    assert!(model.role_bindings.is_empty() && model.creators.is_empty() && model.creators_roles.is_empty());
}

#[test]
fn t11_who_may_create_keeps_that_while_the_binding_was_not_judged_and_nobody_gains_it() {
    let project = shop(SERVING);
    for admitted in [Admitted::No, Admitted::Unjudged] {
        let mut model = with(OPEN, &[]);
        rest(&project, &mut model);
        let before = model.creators.clone();
        model.set_bindings(vec![a_binding("makers", "maker", &json!([people("ada"), people("eve")]))]);
        model.unadmitted = [("makers".to_owned(), admitted)].into();
        rest(&project, &mut model);
        assert_eq!(format!("{:?}", model.creators), format!("{before:?}"), "{admitted:?}");
        model.set_bindings(vec![a_binding("makers", "maker", &json!([people("eve")]))]);
        rest(&project, &mut model);
        assert!(model.creators.is_empty(), "{admitted:?}: ada is named no more");
    }
}

#[test]
fn who_may_create_no_more_loses_that_before_others_may_create_more() {
    let mut model = with(OPEN, &[]);
    model.set_bindings(vec![a_binding("makers", "maker", &json!([people("ada"), people("bob")]))]);
    rest(&shop(SERVING), &mut model);
    model.set_bindings(vec![a_binding("makers", "maker", &json!([people("ada")]))]);
    let more = shop(&SERVING.replace("[team-a-]", "[team-a-, team-a-x-]"));
    let applied = |kind: &str| format!("apply {kind} drover:team-a.shop:create-namespaces");
    let both = [applied("ClusterRoleBinding"), applied("ClusterRole")].join(", ");
    assert_eq!(planned(&more, &model), format!("[[{both}]]"));
    assert_eq!(planned(&shop(SERVING), &model), format!("[[{}]]", applied("ClusterRoleBinding")));
}

#[test]
fn what_has_no_right_to_be_taken_up_is_told_and_left_alone() {
    let rival = |prefixes: &[&str], listed: &[&str]| Rival {
        key: ObjectKey::namespaced("team-b", "bank"),
        prefixes: prefixes.iter().map(|prefix| (*prefix).to_owned()).collect(),
        listed: listed.iter().map(|name| (*name).to_owned()).collect(),
    };
    let narrow = "tenants: [{name: a, from: {names: [team-a]}, namespacePatterns: ['team-a-w*', 'team-a-x'], metadataKeys: ['*']}]";
    let full = "tenants: [{name: a, from: {names: [team-a]}, namespacePatterns: ['*'], metadataKeys: ['*'], maxNamespaces: 0}]";
    let protecting = format!("{OPEN}\nprotectedNamespaces: [team-a-x]");
    for (what, cluster, name, rivals, expected) in [
        ("no prefix of the Project", OPEN, "shared", vec![], vec!["NamespaceNotEntitled"]),
        ("a system namespace", OPEN, "kube-system", vec![], vec!["NamespaceNotEntitled"]),
        (
            "outside of the tenant's patterns",
            narrow,
            "team-a-y",
            vec![],
            vec!["PrefixNotAllowed", "NamespaceNotAllowed"],
        ),
        ("protected", &protecting, "team-a-x", vec![], vec!["PrefixNotAllowed", "NamespaceProtected"]),
        ("no room for the tenant", full, "team-a-x", vec![], vec!["NamespaceLimitReached"]),
        ("listed elsewhere", OPEN, "team-a-x", vec![rival(&[], &["team-a-x"])], vec!["NamespaceTaken"]),
        ("prefixes that overlap", OPEN, "team-a-x-b", vec![rival(&["team-a-x-"], &[])], vec!["PrefixesOverlap"]),
    ] {
        let (project, mut model) = (shop(SERVING), with(cluster, &[name]));
        model.rivals = rivals;
        rest(&project, &mut model);
        assert_eq!((held(&model).len(), told(&project, &model)), (0, expected), "{what}");
    }
    let other = "team-a-x: {labels: {drover.dev/project-namespace: team-b, drover.dev/project: shop}}";
    let (project, mut model) = (shop(SERVING), cluster_of(OPEN, other));
    rest(&project, &mut model);
    assert_eq!((held(&model).len(), told(&project, &model).len()), (0, 0), "it asks for another Project");
}

#[test]
fn a_prefix_that_the_cluster_does_not_wholly_allow_lets_nobody_create() {
    let narrow = "tenants: [{name: a, from: {names: [team-a]}, namespacePatterns: ['team-a-w*'], metadataKeys: ['*']}]";
    let (project, model) = (shop(SERVING), with(narrow, &[]));
    assert_eq!((planned(&project, &model), told(&project, &model)), ("[]".to_owned(), vec!["PrefixNotAllowed"]));
    let within = shop("selfService: {namePrefixes: [team-a-, team-a-web-], maxNamespaces: 2}");
    assert_eq!(planned(&within, &model), format!("[{CREATES}]"));
    let plan = decide::<ProjectOperator>(&within, &model, LATER);
    assert!(!format!("{:#?}", plan.groups).contains("team-a.shop.team-a-\""));
}

#[test]
fn what_exceeds_the_maximum_gets_no_membership_and_is_told_once() {
    let names = ["team-a-a", "team-a-b", "team-a-c", "team-a-d"];
    let (project, mut model) = (shop(SERVING), with(OPEN, &names));
    rest(&project, &mut model);
    assert_eq!((held(&model), told(&project, &model)), (vec!["team-a-a", "team-a-b"], vec!["SelfServiceLimitReached"]));
    model.namespaces.retain(|name, _| name != "team-a-a");
    rest(&project, &mut model);
    assert_eq!(held(&model), ["team-a-b", "team-a-c"], "the next one takes its place");
}

#[test]
fn what_no_longer_asks_is_released_and_its_members_lose_it() {
    let (project, mut model) = (shop(SERVING), with(OPEN, &["team-a-x"]));
    rest(&project, &mut model);
    model.namespaces.get_mut("team-a-x").unwrap().labels.remove("drover.dev/project");
    rest(&project, &mut model);
    assert!(held(&model).is_empty() && model.role_bindings.is_empty());
}

#[test]
fn a_namespace_that_vanished_meanwhile_is_not_created() {
    let (project, model) = (shop(SERVING), with(OPEN, &["team-a-x"]));
    let mut world = drover_runtime::model::ModelWorld::<ProjectOperator>::observe(&model, Owner::of(&project));
    world.namespaces.insert("team-a-x".to_owned(), crate::observe::Seen::Absent { older_project: None });
    let plan = crate::plan::plan(&project, &world, LATER);
    assert_eq!(format!("{:?}", plan.groups), format!("[{CREATES}]"));
}

#[test]
fn nothing_is_given_or_taken_up_before_the_policy_is_in_force() {
    let (project, mut model) = (shop(SERVING), with(OPEN, &["team-a-x"]));
    model.guarded_since = None;
    assert_eq!((planned(&project, &model), told(&project, &model)), ("[]".to_owned(), vec!["RequestNotGuarded"]));
    model.guarded_since = Some(LATER - SignedDuration::from_secs(1));
    let plan = decide::<ProjectOperator>(&project, &model, LATER);
    assert!(plan.groups.is_empty());
    assert_eq!(plan.requeue, drover_runtime::Requeue::At(LATER + SignedDuration::from_secs(4)), "{plan:?}");
}

#[test]
fn who_may_create_namespaces_loses_that_first_of_all() {
    let (project, mut model) = (shop(SERVING), with(OPEN, &["team-a-x"]));
    rest(&project, &mut model);
    model.set_bindings(Vec::new());
    model.grants = Grants::Frozen { cause: GrantCause::GrantsFrozen, message: String::new() };
    let first =
        "delete ClusterRoleBinding drover:team-a.shop:create-namespaces], [delete ClusterRole drover:team-a.shop";
    assert!(planned(&project, &model).starts_with(&format!("[[{first}")), "{}", planned(&project, &model));
    let mut suspended = project.clone();
    suspended.spec.suspend = true;
    assert!(planned(&suspended, &model).starts_with(&format!("[[{first}")));
    for (what, owner) in [
        ("it does not select the cluster", Owner::Present(&project)),
        ("it is gone", Owner::Gone(&ObjectKey::namespaced("team-a", "shop"))),
    ] {
        let world = drover_runtime::model::ModelWorld::<ProjectOperator>::observe(&model, owner);
        assert!(format!("{:?}", clean_up(owner, &world).groups).starts_with(&format!("[[{first}")), "{what}");
    }
}

#[test]
fn nothing_of_it_happens_in_the_management_cluster() {
    let (project, mut model) = (shop(SERVING), with(OPEN, &["team-a-x"]));
    let spec = model.cluster.spec.clone();
    model.cluster = std::sync::Arc::new(Cluster::new("local", spec));
    assert_eq!(model.cluster.name_any(), "local");
    assert_eq!((planned(&project, &model), told(&project, &model)), ("[]".to_owned(), vec!["SelfServiceNotHere"]));
}

#[test]
fn a_process_that_dies_anywhere_ends_in_the_same() {
    let (project, model) = (shop(SERVING), with(OPEN, &["team-a-x", "team-a-y", "team-a-z"]));
    let mut once = model.clone();
    rest(&project, &mut once);
    for mut crashed in every_crash::<ProjectOperator, _>(&project, &model, LATER, Pace::SideBySide).unwrap() {
        assert_eq!(rest(&project, &mut crashed), End::Quiet);
        assert_eq!((held(&crashed), crashed.role_bindings.len()), (held(&once), once.role_bindings.len()));
    }
    assert_eq!(lines(&project, &once).last().map(String::as_str), Some("2 ready"), "{NOW}");
}
