//! What decisions about large Projects cost. Run by `make bench`.

#![expect(missing_docs, reason = "criterion makes the functions")]
#![expect(clippy::expect_used, clippy::panic, reason = "a bench may panic")]

use std::{
    collections::{BTreeMap, BTreeSet},
    hint::black_box,
    sync::Arc,
};

use criterion::{Criterion, criterion_group, criterion_main};
use drover_crds::{
    Cluster, Project, ProjectRoleTemplateBinding, QuotaOverflow, RoleTemplate,
    names::{ANNOTATION_APPLIED, ANNOTATION_OWNER_UID},
};
use drover_grants::Members;
use drover_project::{
    ProjectOperator,
    act::Action,
    allocate::{Amounts, Claim, allocate},
    bounds::Bounds,
    guards::Guards,
    observe::{Seen, World},
    secrets::Secrets,
    self_service::Served,
};
use drover_runtime::{
    Kept, Operator as _, Title,
    operator::owner_of,
    owned::{Change, Owned},
    quantity::Amount,
    write::desired_hash,
};
use k8s_openapi::jiff::Timestamp;
use serde::Serialize;
use serde_json::{Value, json};

/// Namespaces of the quota that is divided.
const CLAIMS: usize = 10_000;
const ROLES: usize = 3;
const RESOURCES: [&str; 2] = ["pods", "requests.cpu"];

fn bench(criterion: &mut Criterion) {
    let per_cluster = amounts("50k");
    let claims: Vec<Claim> = (0..CLAIMS).map(claim).collect();
    criterion.bench_function("allocate, 10,000 namespaces and 2 resources", |bencher| {
        bencher.iter(|| allocate(black_box(&per_cluster), QuotaOverflow::Remaining, black_box(&claims)));
    });
    for (namespaces, members) in [(100, 200), (500, 20)] {
        let project = project(namespaces);
        let world = converged(&project, members);
        let name = format!("plan at rest, {namespaces} namespaces, {members} members in {ROLES} roles");
        criterion.bench_function(&name, |bencher| {
            bencher.iter(|| ProjectOperator::plan(black_box(&project), black_box(&world), Timestamp::UNIX_EPOCH));
        });
    }
}

/// Every second namespace has what it requests.
fn claim(number: usize) -> Claim {
    Claim {
        namespace: format!("team-{number:05}"),
        created: Some(Timestamp::UNIX_EPOCH),
        requested: Some(amounts("10")),
        usable: if number.is_multiple_of(2) { amounts("10") } else { Amounts::new() },
        is_granted: true,
    }
}

fn amounts(text: &str) -> Amounts {
    let amount = Amount::parse(text).expect("an amount");
    RESOURCES.map(|resource| (resource.to_owned(), amount)).into()
}

fn project(namespaces: usize) -> Project {
    let namespaces: Vec<Value> = (0..namespaces).map(|number| json!({"name": format!("team-{number:04}")})).collect();
    made(json!({
        "apiVersion": "drover.dev/v1alpha1", "kind": "Project",
        "metadata": {"name": "crowd", "namespace": "team", "uid": "uid-of-crowd", "generation": 1},
        "spec": {
            "clusters": {"all": {}}, "namespaces": namespaces,
            "quota": {"perCluster": {"pods": "50k"}, "namespaceDefault": {"pods": "20"}},
        },
    }))
}

/// A world in which everything that the Project wants is there.
fn converged(project: &Project, members: usize) -> World {
    let mut world = empty(members);
    loop {
        let plan = ProjectOperator::plan(project, &world, Timestamp::UNIX_EPOCH);
        if plan.groups.is_empty() {
            assert!(!world.members.owned.is_empty(), "{:?}", plan.place_status);
            return world;
        }
        for action in plan.groups.into_iter().flatten() {
            carry_out(project, &mut world, action);
        }
    }
}

fn carry_out(project: &Project, world: &mut World, action: Action) {
    match action {
        Action::Namespace(Change::Create { desired, .. }) => {
            let live = live(project, *desired).live.expect("it decodes");
            let name = live.metadata.name.clone().unwrap_or_default();
            world.namespaces.insert(name, Seen::Ours { live, drift_conflict: None });
        }
        Action::Quota(Change::Create { desired, .. }) => world.guards.quota.owned.push(live(project, *desired)),
        Action::Members(Change::Create { desired, .. }) => world.members.owned.push(live(project, *desired)),
        other => panic!("nothing else is to be done: {other:?}"),
    }
}

/// An object as Drover creates it.
fn live<K: Kept + Serialize>(project: &Project, desired: K) -> Owned<K> {
    let (record, applied) = (owner_of::<ProjectOperator>(project), desired_hash(&desired));
    let mut live = desired;
    let meta = live.meta_mut();
    meta.labels.get_or_insert_default().extend(record.labels());
    let uid = project.metadata.uid.clone().unwrap_or_default();
    let notes = [(ANNOTATION_APPLIED.to_owned(), applied), (ANNOTATION_OWNER_UID.to_owned(), uid)];
    meta.annotations.get_or_insert_default().extend(notes);
    record.mark_as(Title::Created, meta, "");
    Owned { live: Ok(Arc::new(live)), drift_conflict: None, title: Title::Created }
}

fn empty(members: usize) -> World {
    let cluster: Cluster = made(json!({
        "apiVersion": "drover.dev/v1alpha1", "kind": "Cluster", "metadata": {"name": "eu"},
        "spec": {
            "connection": {"kubeconfig": {"secretRef": {"name": "eu"}}},
            "tenants": [{"name": "team", "from": {"names": ["team"]}, "namespacePatterns": ["team-*"]}],
        },
    }));
    World {
        cluster: Arc::new(cluster),
        in_operator_namespace: false,
        tenant_labels: Some(BTreeMap::new()),
        bounds: Bounds::default(),
        installation: String::new(),
        others: BTreeSet::new(),
        namespaces: BTreeMap::new(),
        guards: Guards::default(),
        secrets: Secrets::default(),
        members: Members {
            bindings: (0..ROLES).map(|role| Arc::new(binding(role, members))).collect(),
            templates: (0..ROLES).map(template).collect(),
            ..Members::default()
        },
        served: Served::default(),
        with_apps: BTreeSet::new(),
    }
}

fn role_name(role: usize) -> String {
    format!("role-{role}")
}

fn template(role: usize) -> RoleTemplate {
    made(json!({
        "apiVersion": "drover.dev/v1alpha1", "kind": "RoleTemplate", "metadata": {"name": role_name(role)},
        "spec": {
            "context": "Project", "bindableFrom": {"names": ["team"]},
            "rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}],
        },
    }))
}

fn binding(role: usize, members: usize) -> ProjectRoleTemplateBinding {
    let subjects: Vec<Value> =
        (0..members).map(|number| json!({"kind": "User", "name": format!("member-{number}")})).collect();
    made(json!({
        "apiVersion": "drover.dev/v1alpha1", "kind": "ProjectRoleTemplateBinding",
        "metadata": {"name": role_name(role), "namespace": "team"},
        "spec": {"projectName": "crowd", "roleTemplateName": role_name(role), "subjects": subjects},
    }))
}

fn made<K: serde::de::DeserializeOwned>(object: Value) -> K {
    serde_json::from_value(object).expect("an object of its kind")
}

criterion_group!(benches, bench);
criterion_main!(benches);
