//! The quota of a Project: what each namespace gets of it, and what is told about it.

use drover_crds::{Project, ProjectQuota, QuotaOverflow, condition::QUOTA_READY};
use drover_runtime::{
    Owner, Place, PlaceState,
    model::{End, Field, Manager, ModelWorld as _, Requests, decide, until_quiet},
    owned::Change,
    place_status::PlaceEntry,
    quantity::Amount,
};
use proptest::{collection::vec, prelude::*, sample::Index};
use serde_json::json;

use super::{
    decisions::{NOW, OPEN, cluster_of, lines, only_message, plan, shop},
    safety::{held_by, key},
    strategies::{any_quota, any_requests},
    world::ModelCluster,
};
use crate::{ProjectOperator, act::Action, summary::summarise};

/// Two namespaces that want all there is, the older one by name first.
const SHARED: &str = "quota: {perCluster: {pods: 10}, namespaceDefault: {pods: 6}}
namespaces: [{name: team-a-db}, {name: team-a-web}]";

fn rest(project: &Project, model: &mut ModelCluster) {
    assert_eq!(until_quiet::<ProjectOperator>(project, model, NOW).unwrap(), End::Quiet);
}

fn converged(project: &Project) -> ModelCluster {
    let mut model = cluster_of(OPEN, "{}");
    rest(project, &mut model);
    model
}

/// What the resource quotas say, as `db: 6, web: 4`.
fn granted(model: &ModelCluster, resource: &str) -> String {
    let path = ["spec", "hard", resource].map(ToOwned::to_owned).to_vec();
    let of = |(key, found): (&String, &drover_runtime::model::ModelObject)| {
        let value = found.fields.get(&path).map_or("none", |field| field.value.as_str().unwrap());
        format!("{}: {value}", key.trim_start_matches("team-a-").trim_end_matches("/drover"))
    };
    model.quotas.iter().map(of).collect::<Vec<_>>().join(", ")
}

#[test]
fn a_new_namespace_gets_its_quota_in_one_go() {
    let project = shop("quota: {namespaceDefault: {pods: 6}}\nnamespaces: [{name: team-a-web}]");
    let groups = plan(&project, &cluster_of(OPEN, "{}")).groups;
    assert_eq!(format!("{groups:?}"), "[[create Namespace team-a-web, create ResourceQuota team-a-web/drover]]");
    assert_eq!(lines(&project, &converged(&project)), ["1 ready"]);
}

#[test]
fn the_quota_goes_out_in_order_and_who_is_short_is_told() {
    let project = shop(SHARED);
    let model = converged(&project);
    assert_eq!(granted(&model, "pods"), "db: 6, web: 4");
    assert_eq!(lines(&project, &model), ["! QuotaExhausted", "2 ready"]);
    let message = only_message(&project, &model);
    assert!(message.starts_with("namespace team-a-web on cluster eu gets less pods than it requests"), "{message}");
    let zero = shop(&SHARED.replace("quota: {", "quota: {overflow: Zero, "));
    assert_eq!(granted(&converged(&zero), "pods"), "db: 6, web: 0");
}

#[test]
fn a_request_of_its_own_stands_in_for_the_default_of_that_resource() {
    let spec = "quota: {perCluster: {pods: 10, limits.cpu: 4}, namespaceDefault: {pods: 6, secrets: 5}}
namespaces: [{name: team-a-db, quota: {pods: 2, limits.cpu: 1000m, count/jobs.batch: 3}}, {name: team-a-web}]";
    let model = converged(&shop(spec));
    for (resource, expected) in [
        ("pods", "db: 2, web: 6"),
        ("limits.cpu", "db: 1, web: 0"),
        ("secrets", "db: 5, web: 5"),
        ("count/jobs.batch", "db: 3, web: none"),
    ] {
        assert_eq!(granted(&model, resource), expected, "{resource}");
    }
    assert_eq!(lines(&shop(spec), &model), ["2 ready"], "it fits exactly");
}

/// What the status says once the Project is at rest: `QuotaReady`, and what is granted and left.
fn told(project: &Project, model: &ModelCluster) -> (String, String) {
    let entry = PlaceEntry { known: Some(plan(project, model).place_status), state: PlaceState::Current };
    let status = summarise(project, &[(Place::cluster("eu"), entry)].into_iter().collect());
    let found = status.conditions.iter().find(|condition| condition.type_ == QUOTA_READY);
    let condition = found.map(|it| format!("{} {}: {}", it.status, it.reason, it.message)).unwrap_or_default();
    (condition, json!(status.quota).to_string())
}

#[test]
fn the_status_tells_what_is_granted_and_left() {
    let project = shop(
        "quota: {perCluster: {pods: 20, limits.memory: 1Gi}, namespaceDefault: {pods: 6}}
containerDefaults: {limits: {memory: 64Mi}}
namespaces: [{name: team-a-db, quota: {limits.memory: 512Mi}}, {name: team-a-web}]",
    );
    let (condition, quota) = told(&project, &converged(&project));
    assert_eq!(condition, "True Ready: 2/2 namespaces have their quota");
    let expected = r#"[{"allocated":{"limits.memory":"512Mi","pods":"12"},"available":{"limits.memory":"512Mi","pods":"8"},"cluster":"eu"}]"#;
    assert_eq!(quota, expected);
    let own = shop("namespaces: [{name: team-a-db, quota: {pods: 5}}]");
    assert_eq!(
        told(&own, &converged(&own)),
        ("True Ready: 1/1 namespaces have their quota".to_owned(), "[]".to_owned())
    );
    let none = shop("namespaces: [{name: team-a-db}]");
    assert_eq!(told(&none, &converged(&none)), (String::new(), "[]".to_owned()));
}

#[test]
fn a_lower_quota_takes_nothing_away_and_says_so() {
    let model = converged(&shop(&SHARED.replace("10", "12")));
    let lowered = shop(&SHARED.replace("10", "8"));
    assert_eq!(lines(&lowered, &model), ["! Overcommitted", "2 ready"]);
    let (condition, quota) = told(&lowered, &model);
    assert!(
        condition.starts_with("False Overcommitted: namespaces on cluster eu were granted more pods"),
        "{condition}"
    );
    assert!(quota.contains(r#""available":{"pods":"-4"}"#), "{quota}");
    let mut model = model;
    let less = shop(&SHARED.replace("10", "8").replace("{name: team-a-db}", "{name: team-a-db, quota: {pods: 1}}"));
    rest(&less, &mut model);
    assert_eq!(granted(&model, "pods"), "db: 1, web: 6");
}

#[test]
fn what_containers_have_to_state_is_said_and_is_no_failure() {
    let with = |defaults: &str| {
        shop(&format!(
            "quota: {{namespaceDefault: {{limits.cpu: 4, requests.memory: 1Gi, pods: 5}}}}
containerDefaults: {defaults}\nnamespaces: [{{name: team-a-web}}]"
        ))
    };
    for (defaults, expected) in [
        ("{}", Some("limits.cpu")),
        ("{limits: {cpu: 1}}", Some("requests.memory")),
        ("{limits: {cpu: 1}, requests: {memory: 64Mi}}", None),
        ("{limits: {cpu: 1, memory: 64Mi}}", None),
    ] {
        let (condition, _) = told(&with(defaults), &converged(&with(defaults)));
        let warning =
            expected.map(|resource| format!("; containers in namespace team-a-web have to state {resource}, or"));
        assert!(condition.starts_with("True Ready: 1/1 namespaces have their quota"), "{condition}");
        assert_eq!(condition.contains("have to state"), expected.is_some(), "{condition}");
        assert!(condition.contains(&warning.unwrap_or_default()), "{condition}");
    }
}

#[test]
fn what_a_tenant_changes_is_restored_and_gains_nothing() {
    let project = shop(SHARED);
    let mut model = converged(&project);
    let path = ["spec", "hard", "pods"].map(ToOwned::to_owned);
    for changed in ["6", "100"] {
        let field = model.quotas.get_mut("team-a-web/drover").unwrap().fields.get_mut(&path[..]).unwrap();
        *field = Field::by(Manager::Other, json!(changed));
        rest(&project, &mut model);
        assert_eq!(granted(&model, "pods"), "db: 6, web: 4", "it requests 6, and gets what is left");
    }
    model.quotas.remove("team-a-web/drover");
    assert_eq!(lines(&project, &model)[0], "create ResourceQuota team-a-web/drover");
    rest(&project, &mut model);
    assert_eq!(granted(&model, "pods"), "db: 6, web: 4");
}

#[test]
fn what_no_api_server_keeps_is_told_and_what_is_there_stays() {
    let bad = |quota: &str| shop(&format!("namespaces: [{{name: team-a-web, quota: {quota}}}]"));
    for quota in ["{pods: 500m}", "{limits.cpu: 1e30}", "{count/jobs.batch: 0.5}"] {
        assert_eq!(lines(&bad(quota), &cluster_of(OPEN, "{}")), ["! InvalidQuantity"], "{quota}");
    }
    let mut model = converged(&bad("{pods: 5}"));
    rest(&bad("{pods: 500m}"), &mut model);
    assert_eq!(granted(&model, "pods"), "web: 5");
    assert_eq!(lines(&bad("{requests.nvidia.com/gpu: 500m}"), &model)[0], "apply ResourceQuota team-a-web/drover");
}

#[test]
fn a_namespace_that_leaves_hands_back_what_it_had_and_keeps_its_limits() {
    let mut model = converged(&shop(SHARED));
    rest(&shop(&SHARED.replace("{name: team-a-db}, ", "")), &mut model);
    assert_eq!(granted(&model, "pods"), "db: 6, web: 6");
    assert!(model.quotas["team-a-db/drover"].labels.is_empty());
}

/// What the resource quotas allow together, but for what the Project gave up.
fn sum(model: &ModelCluster, project: &Project, resource: &str, except: &[String]) -> Amount {
    let path = ["spec", "hard", resource].map(ToOwned::to_owned);
    let is_held = |name: &str| model.namespaces.get(name).and_then(held_by) == Some(key(project));
    let is_listed = |name: &str| project.spec.namespaces.iter().any(|wanted| wanted.name == name);
    let held = model.quotas.iter().filter(|(key, found)| {
        let (namespace, _) = key.split_once('/').unwrap();
        is_held(namespace)
            && !except.iter().any(|name| name == namespace)
            && (is_listed(namespace) || !found.labels.is_empty())
    });
    let hard = held.map(|(_, found)| found).filter_map(|found| found.fields.get(&path[..]));
    hard.fold(Amount::default(), |sum, field| sum.plus(Amount::parse(field.value.as_str().unwrap()).unwrap()))
}

/// Carries out what is decided until the process dies, after so many requests at the latest. No request may let the namespaces use more
/// together than there is, unless they could before.
fn until_killed(project: &Project, model: &mut ModelCluster, requests: usize) -> Result<(), TestCaseError> {
    let mut requests = Requests::only(requests);
    let quota = project.spec.quota.clone().unwrap_or_default();
    let actions: Vec<Action> = decide::<ProjectOperator>(project, model, NOW).groups.into_iter().flatten().collect();
    // What is taken up brings along what it has.
    let is_taken_up = |action: &&Action| matches!(action, Action::Namespace(Change::Adopt { .. }));
    let brings: Vec<String> = actions.iter().filter(is_taken_up).filter_map(Action::namespace).collect();
    let sum = |model: &ModelCluster, resource: &str| sum(model, project, resource, &brings);
    for action in actions {
        let before = model.clone();
        let done = model.act(Owner::of(project), action.clone(), &mut requests);
        for (resource, most) in &quota.per_cluster {
            let most = Amount::parse(&most.0).unwrap().max(sum(&before, resource));
            prop_assert!(sum(model, resource) <= most, "{:?} exceeds the quota of {}", action, resource);
        }
        if done.is_err() {
            break;
        }
    }
    model.settle();
    Ok(())
}

/// What a tenant does to the guards of a namespace.
#[derive(Clone, Copy, Debug)]
enum Mischief {
    Raise,
    Lower,
    Unlabel,
    Delete,
}

fn mischief(model: &mut ModelCluster, mischief: Mischief, which: Index) {
    if model.quotas.is_empty() {
        return;
    }
    let key = model.quotas.keys().nth(which.index(model.quotas.len())).unwrap().clone();
    let found = model.quotas.get_mut(&key).unwrap();
    let fill = |value: &str| Field::by(Manager::Other, json!(value));
    match mischief {
        Mischief::Raise => found.fields.values_mut().for_each(|field| *field = fill("50")),
        Mischief::Lower => found.fields.values_mut().for_each(|field| *field = fill("0")),
        Mischief::Unlabel => found.labels.clear(),
        Mischief::Delete => drop(model.quotas.remove(&key)),
    }
}

fn any_mischief() -> impl Strategy<Value = Option<(Mischief, Index)>> {
    use Mischief::{Delete, Lower, Raise, Unlabel};
    prop::option::weighted(0.3, (prop::sample::select(vec![Raise, Lower, Unlabel, Delete]), any::<Index>()))
}

proptest! {
    /// Whatever changes meanwhile, and wherever the process dies.
    #[test]
    fn q1_no_request_grants_more_than_there_is(
        steps in vec((any_quota(), vec(any_requests(), 4), 1..=4_usize, 0..12_usize, any_mischief()), 1..8),
    ) {
        let mut model = cluster_of(OPEN, "{}");
        for (quota, requests, count, killed, bad) in steps {
            let mut project = shop("namespaces: [{name: team-a-1}, {name: team-a-2}, {name: team-a-3}, {name: team-a-4}]");
            for (namespace, request) in project.spec.namespaces.iter_mut().zip(requests) {
                namespace.quota = request;
            }
            project.spec.namespaces.truncate(count);
            project.spec.quota = Some(quota);
            until_killed(&project, &mut model, killed)?;
            if let Some((what, which)) = bad {
                mischief(&mut model, what, which);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    /// A hundred namespaces that come a few at a time, and a process that dies again and again.
    #[test]
    fn q11_many_namespaces_at_once_and_a_process_that_dies_end_well(
        requested in vec(0..6_u8, 100), most in 0..400_u16, kills in vec((1..=30_usize, 0..60_usize), 1..10),
    ) {
        let namespace = |(number, pods): (usize, u8)| {
            serde_json::from_value(json!({"name": format!("team-a-{number}"), "quota": {"pods": pods}})).unwrap()
        };
        let all: Vec<drover_crds::ProjectNamespace> = requested.iter().copied().enumerate().map(namespace).collect();
        let mut project = shop("");
        let per_cluster = serde_json::from_value(json!({"pods": most})).unwrap();
        project.spec.quota = Some(ProjectQuota { per_cluster, overflow: QuotaOverflow::Remaining, ..ProjectQuota::default() });
        let mut model = cluster_of(OPEN, "{}");
        let mut listed = 0;
        for (further, killed) in kills {
            listed += further;
            project.spec.namespaces = all.iter().take(listed).cloned().collect();
            until_killed(&project, &mut model, killed)?;
        }
        project.spec.namespaces = all;
        rest(&project, &mut model);
        let wanted: u64 = requested.into_iter().map(u64::from).sum();
        let granted = wanted.min(u64::from(most)).to_string();
        prop_assert_eq!(sum(&model, &project, "pods", &[]), Amount::parse(&granted).unwrap());
    }
}
