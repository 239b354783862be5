//! Secrets that a Project brings: which namespaces have what, judged from outside by the copies that are there.

use drover_crds::{DeletionPolicy, Project, ProjectSecret};
use drover_grants::{GrantCause, Grants};
use drover_runtime::model::{End, until_quiet};
use serde_json::Value;

use super::{
    decisions::{NOW, OPEN, cluster_of, plan, shop},
    strategies::{a_secret, deleted, going},
    world::ModelCluster,
};
use crate::ProjectOperator;

const WEB_AND_DB: &str = "namespaces: [{name: team-a-web}, {name: team-a-db}]";

fn asking(text: &str) -> Project {
    let mut project = shop(text);
    project.spec.secrets = vec![ProjectSecret { name: "registry".to_owned() }];
    project
}

fn registry(value: &str) -> Value {
    a_secret("registry", "shop", "Opaque", value)
}

fn with(sources: Vec<Value>) -> ModelCluster {
    let mut model = cluster_of(OPEN, "{}");
    model.set_sources(sources);
    model
}

/// What is copied where, as `namespace/name value`.
fn copies(model: &ModelCluster) -> Vec<String> {
    let value = |found: &drover_runtime::model::ModelObject| {
        let field = found.fields.get(["data", "key"].map(str::to_owned).as_slice());
        field.and_then(|field| field.value.as_str().map(str::to_owned)).unwrap_or_default()
    };
    model.copies.iter().map(|(key, found)| format!("{key} {}", value(found))).collect()
}

fn rest(project: &Project, model: &mut ModelCluster) -> End {
    until_quiet::<ProjectOperator>(project, model, NOW).unwrap()
}

fn everywhere(value: &str) -> [String; 2] {
    ["team-a-db", "team-a-web"].map(|namespace| format!("{namespace}/registry {value}"))
}

fn reasons(project: &Project, model: &ModelCluster) -> Vec<&'static str> {
    plan(project, model).place_status.problems.iter().map(|problem| problem.cause.reason()).collect()
}

#[test]
fn a_new_namespace_gets_its_secrets_after_its_guards_in_one_go() {
    let mut project = asking("containerDefaults: {limits: {memory: 256Mi}}\nnamespaces: [{name: team-a-web}]");
    let model = with(vec![registry("b25l")]);
    let expected =
        "[[create Namespace team-a-web, create LimitRange team-a-web/drover, create Secret team-a-web/registry]]";
    assert_eq!(format!("{:?}", plan(&project, &model).groups), expected);
    project.spec.secrets.clear();
    assert!(!format!("{:?}", plan(&project, &model).groups).contains("Secret"));
}

#[test]
fn copies_follow_their_source_and_go_with_it() {
    let (project, mut model) = (asking(WEB_AND_DB), with(vec![registry("b25l")]));
    assert_eq!(rest(&project, &mut model), End::Quiet);
    assert_eq!(copies(&model), everywhere("b25l"));
    model.set_sources(vec![registry("dHdv")]);
    rest(&project, &mut model);
    assert_eq!(copies(&model), everywhere("dHdv"));
    model.set_sources(vec![a_secret("registry", "shop", "kubernetes.io/basic-auth", "dHdv")]);
    rest(&project, &mut model);
    assert!(
        model.copies.values().all(|found| found.fields[&vec!["type".to_owned()]].value == "kubernetes.io/basic-auth")
    );
    model.set_sources(vec![a_secret("registry", "shop", "helm.sh/release.v1", "dHdv")]);
    assert_eq!((reasons(&project, &model), plan(&project, &model).is_idle()), (vec!["SecretTypeNotAllowed"], true));
    model.set_sources(vec![a_secret("registry", "other", "Opaque", "dHdv")]);
    rest(&project, &mut model);
    assert_eq!((copies(&model), reasons(&project, &model)), (vec![], vec!["SecretOfAnotherProject"]));
}

#[test]
fn what_leaves_the_list_of_secrets_or_namespaces_is_withdrawn_before_the_namespace_is_released() {
    let (mut project, mut model) = (asking(WEB_AND_DB), with(vec![registry("b25l")]));
    rest(&project, &mut model);
    project.spec.namespaces.retain(|wanted| wanted.name == "team-a-db");
    assert_eq!(format!("{:?}", plan(&project, &model).groups), "[[delete Secret team-a-web/registry]]");
    rest(&project, &mut model);
    assert_eq!(copies(&model), everywhere("b25l")[..1]);
    project.spec.secrets.clear();
    rest(&project, &mut model);
    assert_eq!(copies(&model), [""; 0]);
}

#[test]
fn neither_suspension_nor_absent_policies_hold_a_withdrawal_up_and_both_bring_nothing() {
    let (mut project, mut model) = (asking(WEB_AND_DB), with(vec![registry("b25l")]));
    rest(&project, &mut model);
    let frozen = Grants::Frozen { cause: GrantCause::GrantsFrozen, message: "look".to_owned() };
    for (suspend, grants) in [(true, Grants::Allowed), (false, frozen)] {
        project.spec.suspend = suspend;
        model.grants = grants;
        let mut changed = model.clone();
        changed.set_sources(vec![registry("dHdv")]);
        assert!(plan(&project, &changed).is_idle(), "what is new is not brought");
        changed.set_sources(Vec::new());
        rest(&project, &mut changed);
        assert_eq!(copies(&changed), [""; 0]);
    }
}

#[test]
fn no_secret_comes_where_a_guard_is_missing_or_another_project_left_something() {
    let (project, mut model) = (asking(WEB_AND_DB), with(vec![registry("b25l")]));
    rest(&project, &mut model);
    model.copies.clear();
    let mut unguarded = project.clone();
    unguarded.spec.network_isolation = Some(serde_json::from_value(serde_json::json!({"mode": "Project"})).unwrap());
    model.refused.insert("NetworkPolicy");
    assert!(plan(&unguarded, &model).is_idle(), "the guard cannot be had");
    model.refused.clear();

    model.copy_by("team-a/other", "team-a-web", "theirs", "dHdv");
    model.set_sources(vec![registry("b25l")]);
    assert_eq!(format!("{:?}", plan(&project, &model).groups), "[[create Secret team-a-db/registry]]");
    assert!(reasons(&project, &model).contains(&"FormerGrantsRemain"));
}

#[test]
fn a_project_that_ends_in_any_way_leaves_no_copy() {
    for (what, policy, suspend, cluster_goes) in [
        ("orphaned", DeletionPolicy::Orphan, false, false),
        ("deleted", DeletionPolicy::Delete, false, false),
        ("suspended", DeletionPolicy::Delete, true, false),
        ("with its cluster", DeletionPolicy::Orphan, false, true),
    ] {
        let (mut project, mut model) = (asking(WEB_AND_DB), with(vec![registry("b25l")]));
        rest(&project, &mut model);
        (project.spec.deletion_policy, project.spec.suspend) = (policy, suspend);
        let project = if cluster_goes { project } else { deleted(project) };
        let mut model = if cluster_goes { going(model, DeletionPolicy::Delete) } else { model };
        assert_eq!(rest(&project, &mut model), End::Released, "{what}");
        assert_eq!(copies(&model), [""; 0], "{what}");
    }
}

#[test]
fn a_cluster_where_the_rights_are_lacking_says_so_and_gets_its_namespaces() {
    let (project, model) = (asking(WEB_AND_DB), with(vec![registry("b25l")]));
    let mut world = drover_runtime::model::ModelWorld::<ProjectOperator>::observe(&model, (&project).into());
    world.secrets.copies.refused = true;
    let plan = crate::plan::plan(&project, &world, NOW);
    let told: Vec<_> = plan.place_status.problems.iter().map(|problem| problem.cause.reason()).collect();
    assert_eq!(told, ["CopiesNotPermitted"]);
    assert_eq!(format!("{:?}", plan.groups), "[[create Namespace team-a-db], [create Namespace team-a-web]]");
}
