//! Members: who has which role after what, judged from outside by the role bindings that are there.

use std::collections::BTreeSet;

use drover_crds::{Cluster, Project, ProjectRoleTemplateBinding, names::LABEL_OWNER_NAME};
use drover_grants::{GrantCause, Grants};
use drover_runtime::{
    Owner, Requeue,
    model::{End, ModelObject, Pace, Requests, decide, every_crash, until_quiet},
    operator::record_of,
};
use k8s_openapi::{
    api::rbac::v1::RoleBinding,
    apimachinery::pkg::apis::meta::v1::Time,
    jiff::{SignedDuration, Timestamp},
};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{
    decisions::{NOW, OPEN, cluster_of, lines, plan, shop},
    safety::requested,
    strategies::{NAMES, a_binding, a_template, any_cluster, any_project_alive_or_not, deleted},
    world::ModelCluster,
};
use crate::{ProjectOperator, act::Action};

const WEB_AND_DB: &str = "namespaces: [{name: team-a-web}, {name: team-a-db}]";
const BOTH: [&str; 2] = ["team-a-db", "team-a-web"];

/// A cluster in which the roles `viewer` and `deployer` may be given, with these bindings.
fn with(bindings: Vec<ProjectRoleTemplateBinding>) -> ModelCluster {
    let mut model = cluster_of(OPEN, "{}");
    model.add_templates(&[a_template("viewer"), a_template("deployer")]);
    model.set_bindings(bindings);
    model
}

fn users(names: &[&str]) -> Value {
    names.iter().map(|name| json!({"kind": "User", "name": name})).collect()
}

fn viewers(names: &[&str]) -> ProjectRoleTemplateBinding {
    a_binding("viewers", "viewer", &users(names))
}

fn rest(project: &Project, model: &mut ModelCluster) -> End {
    until_quiet::<ProjectOperator>(project, model, NOW).unwrap()
}

/// Who has which role in which namespace by `team-a/shop`, as `namespace role subject`.
pub(super) fn access(model: &ModelCluster) -> BTreeSet<String> {
    access_by("team-a/shop", model)
}

fn access_by(project: &str, model: &ModelCluster) -> BTreeSet<String> {
    let (namespace, name) = project.split_once('/').unwrap();
    let record = record_of::<ProjectOperator>(drover_runtime::ObjectKey::namespaced(namespace, name));
    let all = model.role_bindings.owned::<RoleBinding>(&record);
    let all = all.into_iter().filter_map(|found| found.live.ok());
    let lines = all.flat_map(|found| {
        let (namespace, role) = (found.metadata.namespace.clone().unwrap(), found.role_ref.name.clone());
        let subjects = found.subjects.clone().unwrap_or_default();
        subjects.into_iter().map(move |subject| format!("{namespace} {role} {}", subject.name))
    });
    lines.collect()
}

fn everywhere(given: &[&str]) -> BTreeSet<String> {
    BOTH.iter().flat_map(|namespace| given.iter().map(move |given| format!("{namespace} {given}"))).collect()
}

fn reasons(project: &Project, model: &ModelCluster, now: Timestamp) -> Vec<&'static str> {
    let plan = decide::<ProjectOperator>(project, model, now);
    plan.place_status.problems.iter().map(|problem| problem.cause.reason()).collect()
}

#[test]
fn a_new_namespace_gets_its_members_after_its_guards_in_one_go() {
    let project = shop("containerDefaults: {limits: {memory: 256Mi}}\nnamespaces: [{name: team-a-web}]");
    let groups = plan(&project, &with(vec![viewers(&["ada"])])).groups;
    let expected = "[[create Namespace team-a-web, create LimitRange team-a-web/drover, create RoleBinding team-a-web/drover:viewer:external:view]]";
    assert_eq!(format!("{groups:?}"), expected);
}

#[test]
fn b4_one_role_binding_for_each_role_and_namespace_however_many_members_there_are() {
    let many: Vec<String> = (0..200).map(|number| format!("user-{number}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let bindings = many.chunks(50).enumerate().map(|(number, some)| {
        a_binding(&format!("binding-{number}"), if number % 2 == 0 { "viewer" } else { "deployer" }, &users(some))
    });
    let (project, mut model) = (shop(WEB_AND_DB), with(bindings.collect()));
    assert_eq!(rest(&project, &mut model), End::Quiet);
    assert_eq!(model.role_bindings.len(), 4);
    assert_eq!(access(&model).len(), 400);
}

#[test]
fn a_further_role_binding_holds_what_one_cannot() {
    let many: Vec<String> = (0..1001).map(|number| format!("user-{number:04}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let (project, mut model) = (shop("namespaces: [{name: team-a-web}]"), with(vec![viewers(&many)]));
    assert_eq!(rest(&project, &mut model), End::Quiet);
    let names: Vec<_> = model.role_bindings.keys().cloned().collect();
    assert_eq!(names, ["team-a-web/drover:viewer:external.2:view", "team-a-web/drover:viewer:external:view"]);
    model.set_bindings(vec![viewers(&many[1..])]);
    assert_eq!(rest(&project, &mut model), End::Quiet);
    assert_eq!((model.role_bindings.len(), access(&model).len()), (1, 1000));
}

#[test]
fn t02_whoever_is_removed_loses_every_role_in_every_namespace() {
    let (project, mut model) = (shop(WEB_AND_DB), with(vec![viewers(&["ada", "bob"])]));
    rest(&project, &mut model);
    assert_eq!(access(&model), everywhere(&["view ada", "view bob"]));
    model.set_bindings(vec![viewers(&["bob"])]);
    rest(&project, &mut model);
    assert_eq!(access(&model), everywhere(&["view bob"]));
    model.set_bindings(Vec::new());
    rest(&project, &mut model);
    assert_eq!((access(&model), model.role_bindings.len()), (BTreeSet::new(), 0));
}

/// CVE-2021-36775: only of users was it looked for what they still had.
#[test]
fn t03_groups_and_accounts_that_are_removed_lose_every_role_in_every_namespace() {
    let subjects = json!([
        {"kind": "Group", "name": "ops"},
        {"kind": "ServiceAccount", "name": "ci", "namespace": "team-a-web"},
        {"kind": "User", "name": "ada"},
    ]);
    let (project, mut model) = (shop(WEB_AND_DB), with(vec![a_binding("all", "viewer", &subjects)]));
    rest(&project, &mut model);
    assert_eq!(access(&model), everywhere(&["view ada", "view ci", "view ops"]));
    for (left, given) in
        [(json!([subjects[0], subjects[2]]), &["view ada", "view ops"][..]), (json!([subjects[2]]), &["view ada"])]
    {
        model.set_bindings(vec![a_binding("all", "viewer", &left)]);
        rest(&project, &mut model);
        assert_eq!(access(&model), everywhere(given));
    }
}

/// What another role replaces is taken and given in one reconcile, and what both give is not touched.
#[test]
fn b10_a_role_that_changes_leaves_no_gap_beyond_one_reconcile() {
    let (project, mut model) = (shop("namespaces: [{name: team-a-web}]"), with(vec![viewers(&["ada"])]));
    rest(&project, &mut model);
    let changed = |spec: Value| {
        let mut template = a_template("viewer");
        template.spec = serde_json::from_value(spec).unwrap();
        template
    };
    let pods = json!([{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}]);
    let wider =
        json!({"context": "Project", "rules": pods, "externalClusterRoles": ["view"], "bindableFrom": {"all": {}}});
    model.add_templates(&[changed(wider)]);
    assert_eq!(format!("{:?}", plan(&project, &model).groups), "[[create RoleBinding team-a-web/drover:viewer]]");
    rest(&project, &mut model);
    let other = json!({"context": "Project", "externalClusterRoles": ["edit"], "bindableFrom": {"all": {}}});
    model.add_templates(&[changed(other)]);
    let all = format!("{:?}", plan(&project, &model).groups);
    for step in [
        "delete RoleBinding team-a-web/drover:viewer]",
        "delete RoleBinding team-a-web/drover:viewer:external:view",
        "create RoleBinding team-a-web/drover:viewer:external:edit",
    ] {
        assert!(all.contains(step), "{step}: {all}");
    }
}

#[test]
fn b3_a_role_that_two_bindings_give_stays_when_one_of_them_goes() {
    let again = a_binding("again", "viewer", &users(&["ada"]));
    let (project, mut model) = (shop(WEB_AND_DB), with(vec![viewers(&["ada"]), again.clone()]));
    rest(&project, &mut model);
    model.set_bindings(vec![again]);
    assert!(plan(&project, &model).is_idle(), "nothing changes");
    assert_eq!(access(&model), everywhere(&["view ada"]));
}

#[test]
fn what_has_expired_is_taken_away_at_its_time() {
    let mut binding = viewers(&["ada"]);
    let end = NOW + SignedDuration::from_hours(1);
    binding.spec.expires_at = Some(Time(end));
    let (project, mut model) = (shop(WEB_AND_DB), with(vec![binding]));
    rest(&project, &mut model);
    assert_eq!(access(&model), everywhere(&["view ada"]));
    assert_eq!(plan(&project, &model).requeue, Requeue::At(end));
    until_quiet::<ProjectOperator>(&project, &mut model, end).unwrap();
    assert_eq!((access(&model), reasons(&project, &model, end)), (BTreeSet::new(), vec![]));
}

#[test]
fn what_is_missing_or_refused_gives_nothing_and_is_told() {
    let project = shop(WEB_AND_DB);
    let told = |binding: ProjectRoleTemplateBinding, change: fn(&mut ModelCluster)| {
        let mut model = with(vec![binding]);
        change(&mut model);
        rest(&project, &mut model);
        (access(&model).len(), reasons(&project, &model, NOW))
    };
    let spec_of = |template: &str, spec: Value| {
        let mut found = a_template(template);
        found.spec = serde_json::from_value(spec).unwrap();
        found
    };
    assert_eq!(told(a_binding("b", "owner", &users(&["ada"])), |_| {}), (0, vec!["RoleTemplateNotFound"]));
    let going = |model: &mut ModelCluster| model.add_templates(&[deleted(a_template("viewer"))]);
    assert_eq!(told(viewers(&["ada"]), going), (0, vec!["RoleTemplateNotFound"]));
    let of_cluster = spec_of("viewer", json!({"context": "Cluster", "bindableFrom": {"all": {}}}));
    let mut model = with(vec![viewers(&["ada"])]);
    model.add_templates(&[of_cluster]);
    rest(&project, &mut model);
    assert_eq!((access(&model).len(), reasons(&project, &model, NOW)), (0, vec!["ContextMismatch"]));
    model.add_templates(&[spec_of("viewer", json!({"context": "Project", "externalClusterRoles": ["view"]}))]);
    rest(&project, &mut model);
    assert_eq!((access(&model).len(), reasons(&project, &model, NOW)), (0, vec!["RoleTemplateNotBindable"]));
    let masters = a_binding("b", "viewer", &json!([{"kind": "Group", "name": "System:Masters"}]));
    assert_eq!(told(masters, |_| {}), (0, vec!["SubjectRefused"]));
}

#[test]
fn t07_a_binding_counts_only_for_the_project_of_its_name_in_its_own_namespace() {
    let mut elsewhere = viewers(&["ada"]);
    elsewhere.metadata.namespace = Some("team-b".to_owned());
    let mut of_another = viewers(&["bob"]);
    of_another.spec.project_name = "store".to_owned();
    let (project, mut model) = (shop(WEB_AND_DB), with(vec![elsewhere, of_another]));
    rest(&project, &mut model);
    assert_eq!(access(&model), BTreeSet::new());
}

#[test]
fn t20_only_service_accounts_of_namespaces_that_the_project_holds_get_a_role() {
    let project = shop(WEB_AND_DB);
    for (subject, is_given) in [
        (json!({"kind": "ServiceAccount", "name": "ci", "namespace": "team-a-web"}), true),
        (json!({"kind": "ServiceAccount", "name": "ci", "namespace": "team-b-web"}), false),
        (json!({"kind": "ServiceAccount", "name": "default", "namespace": "kube-system"}), false),
        (json!({"kind": "Group", "name": "system:serviceaccounts:team-b-web"}), false),
        (json!({"kind": "Group", "name": "system:serviceaccounts"}), false),
        (json!({"kind": "Group", "name": "system:serviceaccounts:team-a-db"}), true),
    ] {
        let mut model = with(vec![a_binding("ci", "viewer", &json!([subject]))]);
        rest(&project, &mut model);
        assert_eq!(!access(&model).is_empty(), is_given, "{subject}");
        let told = if is_given { vec![] } else { vec![GrantCause::ServiceAccountOfAnotherProject.reason()] };
        assert_eq!(reasons(&project, &model, NOW), told, "{subject}");
    }
}

#[test]
fn a_namespace_that_is_given_up_takes_the_rights_of_its_accounts_along() {
    let ci = json!([{"kind": "ServiceAccount", "name": "ci", "namespace": "team-a-web"}]);
    let mut model = with(vec![a_binding("ci", "viewer", &ci)]);
    rest(&shop(WEB_AND_DB), &mut model);
    assert_eq!(access(&model), everywhere(&["view ci"]));
    let project = shop("namespaces: [{name: team-a-db}]");
    let first = plan(&project, &model);
    assert!(first.actions().all(|action| matches!(action, Action::Members(_))), "{first:?}");
    rest(&project, &mut model);
    assert_eq!(access(&model), BTreeSet::new());
    assert!(!model.namespaces["team-a-web"].labels.contains_key(LABEL_OWNER_NAME), "it is released afterwards");
}

#[test]
fn a_suspended_project_gives_nothing_and_still_takes_away() {
    let (mut project, mut model) = (shop(WEB_AND_DB), with(vec![viewers(&["ada", "bob"])]));
    rest(&project, &mut model);
    project.spec.suspend = true;
    model.set_bindings(vec![viewers(&["bob", "eve"]), a_binding("deployers", "deployer", &users(&["bob"]))]);
    rest(&project, &mut model);
    assert_eq!(access(&model), everywhere(&["view bob"]));
    model.set_bindings(Vec::new());
    rest(&project, &mut model);
    assert_eq!(access(&model), BTreeSet::new());
}

#[test]
fn while_grants_are_frozen_nothing_is_added_and_what_is_withdrawn_goes() {
    let (project, mut model) = (shop(WEB_AND_DB), with(vec![viewers(&["ada", "bob"])]));
    rest(&project, &mut model);
    let message = "a policy is missing; install it".to_owned();
    model.grants = Grants::Frozen { cause: GrantCause::GrantsFrozen, message };
    assert_eq!(lines(&project, &model), ["2 ready"], "what was granted stays, and nothing is to be told");
    model.set_bindings(vec![viewers(&["bob", "eve"])]);
    rest(&project, &mut model);
    assert_eq!(access(&model), everywhere(&["view bob"]));
    assert_eq!(reasons(&project, &model, NOW), ["GrantsFrozen"]);
    model.grants = Grants::Allowed;
    rest(&project, &mut model);
    assert_eq!(access(&model), everywhere(&["view bob", "view eve"]));
}

#[test]
fn without_its_guards_a_namespace_gets_no_grant_and_keeps_what_is_still_wanted() {
    let (project, mut model) = (
        shop("containerDefaults: {limits: {memory: 256Mi}}\nnamespaces: [{name: team-a-web}]"),
        with(vec![viewers(&["ada", "bob"])]),
    );
    rest(&project, &mut model);
    model.limits.clear();
    model.limits.add(
        &drover_runtime::ObjectKey::namespaced("team-a-web", "drover"),
        drover_runtime::model::ModelObject::default(),
    );
    model.set_bindings(vec![viewers(&["bob", "eve"])]);
    let end = rest(&project, &mut model);
    assert_eq!(access(&model), ["team-a-web view bob".to_owned()].into(), "{end:?}");
    assert!(reasons(&project, &model, NOW).contains(&"GuardTaken"));
}

#[test]
fn t09_grants_wait_until_nothing_of_another_project_is_left_in_the_namespace() {
    let (project, mut model) = (shop("namespaces: [{name: team-a-web}]"), with(Vec::new()));
    rest(&project, &mut model);
    model.grant_by("team-a/other", "team-a-web", "viewer", &["eve"]);
    model.set_bindings(vec![viewers(&["ada"])]);
    rest(&project, &mut model);
    assert_eq!(reasons(&project, &model, NOW), ["FormerGrantsRemain"]);
    assert_eq!(access(&model), BTreeSet::new());
    model.role_bindings.clear();
    rest(&project, &mut model);
    assert_eq!(access(&model), ["team-a-web view ada".to_owned()].into());
}

#[test]
fn t10_what_another_project_granted_under_an_equal_name_is_left_alone() {
    let (project, mut model) = (shop(WEB_AND_DB), cluster_of(OPEN, "team-b-web: {heldBy: team-b/shop, applied: {}}"));
    model.add_templates(&[a_template("viewer")]);
    model.set_bindings(vec![viewers(&["ada"])]);
    model.grant_by("team-b/shop", "team-b-web", "viewer", &["eve"]);
    rest(&project, &mut model);
    model.set_bindings(Vec::new());
    rest(&deleted(project), &mut model);
    assert_eq!(access_by("team-b/shop", &model), ["team-b-web view eve".to_owned()].into());
}

#[test]
fn b7_what_a_tenant_adds_to_a_role_binding_is_taken_off_however_often() {
    let (project, mut model) = (shop("namespaces: [{name: team-a-web}]"), with(vec![viewers(&["ada"])]));
    rest(&project, &mut model);
    for _ in 0..6 {
        model.add_subject("team-a-web/drover:viewer:external:view", "eve");
        assert!(access(&model).contains("team-a-web view eve"));
        rest(&project, &mut model);
        assert_eq!(access(&model), ["team-a-web view ada".to_owned()].into());
    }
}

#[test]
fn a_cluster_spells_users_as_it_is_used_to() {
    let (project, mut model) = (shop("namespaces: [{name: team-a-web}]"), with(vec![viewers(&["ada"])]));
    let cluster: &mut Cluster = std::sync::Arc::make_mut(&mut model.cluster);
    cluster.spec.identity = serde_json::from_value(json!({"usernamePrefix": "oidc:"})).unwrap();
    rest(&project, &mut model);
    assert_eq!(access(&model), ["team-a-web view oidc:ada".to_owned()].into());
}

#[test]
fn t02_nothing_is_left_of_a_project_that_goes_or_is_gone_or_selects_the_cluster_no_more() {
    let project = shop(WEB_AND_DB);
    let key = drover_runtime::ObjectKey::of(&project.metadata);
    let gone = deleted(project.clone());
    for owner in [Owner::Deleting(&gone), Owner::Gone(&key), Owner::Abandoned(&key)] {
        let mut model = with(vec![viewers(&["ada"])]);
        rest(&project, &mut model);
        let end = until_quiet::<ProjectOperator>(owner, &mut model, NOW).unwrap();
        assert_eq!((end, access(&model)), (End::Released, BTreeSet::new()));
        assert_eq!(model.namespaces.len(), 2, "the namespaces stay");
    }
    let mut model = with(vec![viewers(&["ada"])]);
    rest(&project, &mut model);
    let world = drover_runtime::model::ModelWorld::<ProjectOperator>::observe(&model, Owner::Present(&project));
    let plan = crate::leave::clean_up(Owner::Present(&project), &world);
    let actions: Vec<_> = plan.actions().map(|action| format!("{action:?}")).collect();
    let role_bindings = BOTH.map(|namespace| format!("delete RoleBinding {namespace}/drover:viewer:external:view"));
    assert_eq!(actions, role_bindings);
    let mut requests = Requests::unlimited();
    for action in plan.groups.into_iter().flatten() {
        let done = drover_runtime::model::ModelWorld::<ProjectOperator>::act(
            &mut model,
            Owner::Present(&project),
            action,
            &mut requests,
        );
        done.unwrap_or_else(|_| panic!("it is done"));
    }
    model.role_bindings.settle();
    assert_eq!(access(&model), BTreeSet::new());
}

/// What the bindings give now, by the words of the documentation.
fn entitled(project: &Project, model: &ModelCluster) -> BTreeSet<String> {
    let bindings = model.bindings.iter().filter(|binding| {
        binding.metadata.namespace == project.metadata.namespace
            && Some(&binding.spec.project_name) == project.metadata.name.as_ref()
            && binding.metadata.deletion_timestamp.is_none()
            && binding.spec.expires_at.as_ref().is_none_or(|end| end.0 > NOW)
            && model.templates.get(&binding.spec.role_template_name).is_some()
    });
    let given = bindings.flat_map(|binding| {
        let role = match &*binding.spec.role_template_name {
            "viewer" => "view".to_owned(),
            own => format!("drover:{own}"),
        };
        binding.spec.subjects.iter().map(move |subject| format!("{role} {}", subject.name))
    });
    let given: Vec<String> = given.collect();
    let lives = project.metadata.deletion_timestamp.is_none();
    let listed = project.spec.namespaces.iter().filter(|_| lives).map(|wanted| &wanted.name);
    let asks = |(name, found): &(&String, &ModelObject)| lives && requested(project, model, name, found, true);
    let asking = model.namespaces.iter().filter(asks).map(|(name, _)| name);
    listed.chain(asking).flat_map(|namespace| given.iter().map(move |given| format!("{namespace} {given}"))).collect()
}

proptest! {
    /// After every request and wherever the process dies: nobody gets what no binding gives.
    #[test]
    fn b2_nobody_gets_or_keeps_a_role_without_a_binding_in_force(
        project in any_project_alive_or_not(),
        world in any_cluster(),
    ) {
        let way = every_crash::<ProjectOperator, _>(&project, &world, NOW, Pace::SideBySide)?;
        for step in way.windows(2) {
            let (before, after) = (access(&step[0]), access(&step[1]));
            let more: Vec<_> = after.difference(&before).filter(|given| !entitled(&project, &step[0]).contains(*given)).collect();
            prop_assert!(more.is_empty(), "{:?} is given", more);
        }
        let mut world = world;
        until_quiet::<ProjectOperator>(&project, &mut world, NOW)?;
        let kept: Vec<_> = access(&world).difference(&entitled(&project, &world)).cloned().collect();
        prop_assert!(kept.is_empty(), "{:?} is kept", kept);
    }

    /// What others own is never touched.
    #[test]
    fn b6_what_other_projects_granted_is_left_alone(project in any_project_alive_or_not(), mut world in any_cluster()) {
        let others = ["team-b/shop", "team-a/other"];
        let there = |world: &ModelCluster| -> Vec<_> {
            let stays = |line: &String| NAMES.iter().any(|name| line.starts_with(*name) && !world.namespaces.get(*name).is_none_or(|it| it.terminating));
            others.iter().flat_map(|other| access_by(other, world)).filter(stays).collect()
        };
        let before = there(&world);
        until_quiet::<ProjectOperator>(&project, &mut world, NOW)?;
        let after: BTreeSet<String> = others.iter().flat_map(|other| access_by(other, &world)).collect();
        let lost: Vec<_> = before.iter().filter(|line| !after.contains(*line) && NAMES.iter().any(|name| line.starts_with(name) && world.namespaces.contains_key(*name))).collect();
        prop_assert!(lost.is_empty(), "{:?} is lost", lost);
    }
}
