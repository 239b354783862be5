//! Members of a Project create namespaces themselves, and reach no further than its prefixes.

use std::time::Instant;

use drover_e2e::ControlPlane;
use drover_e2e::installation::Installation;
use drover_e2e::objects::{api, apply_to, delete_from, patch_on};
use drover_e2e::story::*;
use drover_e2e::wait::{eventually, soon};
use kube::Client;
use kube::api::{DynamicObject, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use crate::members::{Who, may};

drover_e2e::tests![
    members_create_namespaces_of_their_project_and_no_others,
    what_creates_namespaces_creates_those_of_its_project_and_changes_no_others,
];

const RBAC: &str = "rbac.authorization.k8s.io";

/// A namespace that asks for a Project of `team`.
fn asking(name: &str, project: &str) -> Value {
    let mut namespace = a_namespace(name);
    namespace["metadata"]["labels"] = json!({"drover.dev/project-namespace": TEAM, "drover.dev/project": project});
    namespace
}

/// What Drover gives to members who may create namespaces `team-x-*` for the Project `shop`, by hand.
async fn give(plane: &ControlPlane, name: &str, subject: &Value, rules: &Value) {
    let version = format!("{RBAC}/v1");
    let role = json!({"apiVersion": version, "kind": "ClusterRole", "metadata": {"name": name}, "rules": rules});
    apply_to(plane, &role).await.unwrap();
    let binding = json!({
        "apiVersion": version, "kind": "ClusterRoleBinding", "metadata": {"name": name},
        "roleRef": {"apiGroup": RBAC, "kind": "ClusterRole", "name": name}, "subjects": [subject],
    });
    apply_to(plane, &binding).await.unwrap();
}

/// Whoever asks the API server of `eu`, which says what it would do.
struct Requester(Client);

impl Requester {
    async fn of(plane: &ControlPlane, user: &str) -> Self {
        Self(plane.client_for(user, &[]).await.unwrap())
    }

    async fn creates(&self, namespace: &Value) -> Result<(), String> {
        let namespaces = api(self.0.clone(), "namespace", "").await.unwrap();
        let object: DynamicObject = serde_json::from_value(namespace.clone()).unwrap();
        let dry = PostParams { dry_run: true, ..PostParams::default() };
        namespaces.create(&dry, &object).await.map(drop).map_err(|error| error.to_string())
    }

    /// As `kubectl apply --server-side` and Flux do.
    async fn applies(&self, namespace: &Value) -> Result<(), String> {
        let namespaces = api(self.0.clone(), "namespace", "").await.unwrap();
        let name = namespace["metadata"]["name"].as_str().unwrap();
        let dry = PatchParams { dry_run: true, ..PatchParams::apply("flux") };
        namespaces.patch(name, &dry, &Patch::Apply(namespace)).await.map(drop).map_err(|error| error.to_string())
    }

    async fn changes(&self, name: &str, metadata: &Value) -> Result<(), String> {
        let namespaces = api(self.0.clone(), "namespace", "").await.unwrap();
        let dry = PatchParams { dry_run: true, ..PatchParams::default() };
        let change = Patch::Merge(json!({"metadata": metadata}));
        namespaces.patch(name, &dry, &change).await.map(drop).map_err(|error| error.to_string())
    }
}

/// `None` is to be allowed, anything else to be refused with these words.
fn expect(what: &str, outcome: &Result<(), String>, expected: Option<&str>) {
    match (outcome, expected) {
        (Ok(()), None) => {}
        (Err(refusal), Some(words)) if refusal.contains(words) => {}
        _ => panic!("{what}: {outcome:?} instead of {expected:?}"),
    }
}

async fn what_creates_namespaces_creates_those_of_its_project_and_changes_no_others() {
    let Some(installation) = story("self-service policy", &["eu"]).await else { return };
    reads(&installation, "cluster", "eu", "AdmissionInstalled", "True/PoliciesInstalled").await;
    let eu = installation.cluster("eu").unwrap();
    let user = |name: &str| json!({"apiGroup": RBAC, "kind": "User", "name": name});
    let verbs = json!(["create", "patch", "self-service"]);
    let of_shop = json!(["team.shop", "team.shop.team-x-", "team.shop.team-y-z-"]);
    let rules = json!([
        {"apiGroups": [""], "resources": ["namespaces"], "verbs": verbs},
        {"apiGroups": ["drover.dev"], "resources": ["projects"], "resourceNames": of_shop, "verbs": ["create-namespaces"]},
    ]);
    give(eu, "mia", &user("mia"), &rules).await;
    let rules = json!([{"apiGroups": [""], "resources": ["namespaces"], "verbs": ["create", "update", "patch"]}]);
    give(eu, "provisioner", &user("provisioner"), &rules).await;
    let mia = Requester::of(eu, "mia").await;
    let own = eventually("mia may create namespaces of shop, and the fence holds her", soon(), async || {
        let outcomes = (mia.creates(&asking("team-x-a", "shop")).await, mia.creates(&a_namespace("team-x-a")).await);
        Ok(matches!(outcomes, (Ok(()), Err(_))).then_some(()))
    });
    assert!(own.await.is_ok(), "{:?}", mia.creates(&asking("team-x-a", "shop")).await);
    what_is_created(&mia).await;
    apply_to(eu, &asking("team-x-own", "shop")).await.unwrap();
    apply_to(eu, &a_namespace("team-x-other")).await.unwrap();
    what_is_changed(&mia).await;
    others_ask_for_nothing(eu).await;
}

const NOT_FOR: Option<&str> = Some("may not ask for Project");
const STAYS: Option<&str> = Some("asks for Project team.shop");
const MEANS_SOMETHING: Option<&str> = Some("means something to the cluster");

async fn what_is_created(mia: &Requester) {
    let mut level = asking("team-x-a", "shop");
    level["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] = json!("privileged");
    let mut record = asking("team-x-a", "shop");
    record["metadata"]["labels"]["drover.dev/owner-name"] = json!("bank");
    let mut half = asking("team-x-a", "shop");
    half["metadata"]["labels"].as_object_mut().unwrap().remove("drover.dev/project-namespace");
    let mut stuck = asking("team-x-a", "shop");
    stuck["metadata"]["finalizers"] = json!(["example.com/keep"]);
    let mut plain = asking("team-x-a", "shop");
    plain["metadata"]["labels"]["app.kubernetes.io/part-of"] = json!("shop");
    plain["metadata"]["labels"]["kustomize.toolkit.fluxcd.io/name"] = json!("shop");
    plain["metadata"]["annotations"] = json!({"kubectl.kubernetes.io/last-applied-configuration": "{}"});
    let mut door = asking("team-x-a", "shop");
    door["metadata"]["labels"]["tier"] = json!("front");
    for (what, namespace, expected) in [
        ("one of the Project", asking("team-x-a-b-c-d-e-f", "shop"), None),
        ("one with the other prefix", asking("team-y-z-a", "shop"), None),
        ("one with labels of its own", plain, None),
        ("one with a label that the Project may not set either", door, MEANS_SOMETHING),
        ("one without labels", a_namespace("team-x-a"), Some("has to name its Project")),
        ("one with half of the labels", half, NOT_FOR),
        ("another prefix", asking("team-y-a", "shop"), NOT_FOR),
        ("a name that only begins alike", asking("team-xa", "shop"), NOT_FOR),
        ("a prefix deep in the name", asking("a-team-x-a", "shop"), NOT_FOR),
        ("another Project", asking("team-x-a", "bank"), NOT_FOR),
        ("a system namespace", asking("kube-x", "shop"), NOT_FOR),
        ("the pod security of the cluster's owner", level, MEANS_SOMETHING),
        ("a finalizer", stuck, MEANS_SOMETHING),
        // Two policies refuse it, and either may answer.
        ("the record of Drover", record, Some("denied request")),
    ] {
        expect(what, &mia.creates(&namespace).await, expected);
        expect(&format!("{what}, applied"), &mia.applies(&namespace).await, expected);
    }
}

async fn what_is_changed(mia: &Requester) {
    let project = |name: Value| json!({"labels": {"drover.dev/project": name}});
    let request = json!({"labels": {"drover.dev/project": "shop", "drover.dev/project-namespace": TEAM}});
    let withdrawn = json!({"labels": {"drover.dev/project": null, "drover.dev/project-namespace": null}});
    let none = Some("is none that the requester may create");
    for (what, namespace, metadata, expected) in [
        ("a label of its own", "team-x-own", json!({"labels": {"app.kubernetes.io/part-of": "shop"}}), None),
        ("a label that opens doors", "team-x-own", json!({"labels": {"tier": "front"}}), MEANS_SOMETHING),
        ("the request withdrawn", "team-x-own", withdrawn, STAYS),
        ("half of the request withdrawn", "team-x-own", project(Value::Null), STAYS),
        ("asking for another Project", "team-x-own", project(json!("bank")), STAYS),
        ("a mesh", "team-x-own", json!({"labels": {"istio-injection": "enabled"}}), MEANS_SOMETHING),
        (
            "a node selector",
            "team-x-own",
            json!({"annotations": {"scheduler.alpha.kubernetes.io/node-selector": "a=b"}}),
            MEANS_SOMETHING,
        ),
        ("a system namespace relabelled", "kube-system", request.clone(), NOT_FOR),
        ("a system namespace labelled", "kube-system", json!({"labels": {"tier": "front"}}), none),
        ("one that exists relabelled", "team-x-other", request, NOT_FOR),
        ("one that exists labelled", "team-x-other", json!({"labels": {"tier": "front"}}), none),
    ] {
        expect(what, &mia.changes(namespace, &metadata).await, expected);
    }
}

/// Whoever may create namespaces from elsewhere is not held to those of a Project, and cannot ask for one.
async fn others_ask_for_nothing(eu: &ControlPlane) {
    let provisioner = Requester::of(eu, "provisioner").await;
    let level = json!({"labels": {"pod-security.kubernetes.io/enforce": "privileged"}});
    let request = json!({"labels": {"drover.dev/project": "shop", "drover.dev/project-namespace": TEAM}});
    expect("any namespace", &provisioner.creates(&a_namespace("anything")).await, None);
    expect("one of a Project", &provisioner.creates(&asking("team-x-a", "shop")).await, NOT_FOR);
    expect("any level", &provisioner.changes("team-x-other", &level).await, None);
    expect("a request", &provisioner.changes("team-x-other", &request).await, NOT_FOR);
    let moved = json!({"labels": {"drover.dev/project": "bank"}});
    expect("a move", &provisioner.changes("team-x-own", &moved).await, STAYS);
}

/// `shop` lets members with the role `maker` create two namespaces `team-x-*`.
fn a_shop() -> Value {
    let mut shop = a_project("shop", &["team-web"]);
    shop["spec"]["selfService"] = json!({"namePrefixes": ["team-x-"], "maxNamespaces": 2});
    shop["spec"]["podSecurity"] = json!({"enforce": "baseline"});
    shop["spec"]["containerDefaults"] = json!({"limits": {"memory": "256Mi"}});
    shop["spec"]["deletionPolicy"] = json!("Delete");
    shop
}

fn makers(subjects: &Value) -> [Value; 2] {
    let rules = json!([
        {"apiGroups": ["drover.dev"], "resources": ["projects"], "verbs": ["create-namespaces"]},
        {"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]},
    ]);
    let template = json!({
        "apiVersion": "drover.dev/v1alpha1", "kind": "RoleTemplate", "metadata": {"name": "maker"},
        "spec": {"context": "Project", "rules": rules, "bindableFrom": {"names": [TEAM]}},
    });
    let binding = json!({
        "apiVersion": "drover.dev/v1alpha1", "kind": "ProjectRoleTemplateBinding",
        "metadata": {"name": "makers", "namespace": TEAM},
        "spec": {"projectName": "shop", "roleTemplateName": "maker", "subjects": subjects},
    });
    [template, binding]
}

impl Requester {
    /// Creates it for good, once the requester may.
    async fn has_created(&self, namespace: &Value) {
        let namespaces = api(self.0.clone(), "namespace", "").await.unwrap();
        let object: DynamicObject = serde_json::from_value(namespace.clone()).unwrap();
        let created = eventually("a member creates a namespace", soon(), async || {
            Ok(namespaces.create(&PostParams::default(), &object).await.is_ok().then_some(()))
        });
        assert!(created.await.is_ok(), "{:?}", self.creates(namespace).await);
    }
}

/// Waits until `mia` may list pods in a namespace, or may not.
async fn mia_may(installation: &Installation, namespace: &str, expected: bool) {
    let what = format!("whether mia may list pods in {namespace} becomes {expected}");
    let outcome = eventually(&what, soon(), async || {
        Ok((may(installation, Who::User("mia"), namespace).await == expected).then_some(()))
    })
    .await;
    assert!(outcome.is_ok(), "{outcome:?}\ndrover:\n{}", installation.drover_log());
}

async fn holder(installation: &Installation, namespace: &str) -> Value {
    let found = downstream_namespace(installation, "eu", namespace).await.unwrap().unwrap();
    found["metadata"]["labels"]["drover.dev/owner-name"].clone()
}

const FORBIDDEN: Option<&str> = Some("cannot create resource");

async fn members_create_namespaces_of_their_project_and_no_others() {
    let Some(installation) = restful_story("self-service", &["eu"]).await else { return };
    let eu = installation.cluster("eu").unwrap();
    let subjects = json!([
        {"kind": "User", "name": "mia"},
        {"kind": "ServiceAccount", "name": "ci", "namespace": "team-web"},
        {"kind": "ServiceAccount", "name": "ci", "namespace": "kube-system"},
    ]);
    for object in makers(&subjects).iter().chain([&a_shop()]) {
        installation.apply(object).await.unwrap();
    }
    let (mia, ci) = (Requester::of(eu, "mia").await, Requester::of(eu, "system:serviceaccount:team-web:ci").await);
    mia.has_created(&asking("team-x-a", "shop")).await;
    let since = Instant::now();
    mia_may(&installation, "team-x-a", true).await;
    println!("who created a namespace has access after {:?}", since.elapsed());
    let guarded = downstream_namespace(&installation, "eu", "team-x-a").await.unwrap().unwrap();
    assert_eq!(guarded["metadata"]["labels"]["pod-security.kubernetes.io/enforce"], "baseline");
    assert!(downstream(&installation, "eu", "limitrange", "team-x-a", "drover").await.unwrap().is_some());

    let foreign = Requester::of(eu, "system:serviceaccount:kube-system:ci").await;
    expect("an account of a foreign namespace", &foreign.creates(&asking("team-x-b", "shop")).await, FORBIDDEN);
    expect("another prefix", &mia.creates(&asking("team-y-a", "shop")).await, NOT_FOR);
    expect("another Project", &mia.creates(&asking("team-x-b", "bank")).await, NOT_FOR);
    installation.apply(&makers(&json!([subjects[0], subjects[1]]))[1]).await.unwrap();
    ci.has_created(&asking("team-x-b", "shop")).await;
    mia_may(&installation, "team-x-b", true).await;
    converged(&installation, "shop").await;
    quiet(&installation, "members created namespaces").await;

    what_is_no_right_gets_no_membership(&installation, &mia).await;
    what_is_withdrawn_goes(&installation, &mia).await;
    deleted(&installation, "project", "shop").await;
    let left = downstream_namespace(&installation, "eu", "team-x-a").await.unwrap().unwrap();
    assert_eq!(left["metadata"]["labels"].get("drover.dev/owner-name"), None, "what people created stays");
    let role = "drover:team.shop:create-namespaces";
    assert_eq!(downstream(&installation, "eu", "clusterrole", "", role).await.unwrap(), None);
}

async fn what_is_no_right_gets_no_membership(installation: &Installation, mia: &Requester) {
    let eu = installation.cluster("eu").unwrap();
    mia.has_created(&asking("team-x-c", "shop")).await;
    reads(installation, "project", "shop", "Ready", "False/SelfServiceLimitReached").await;
    mia_may(installation, "team-x-c", false).await;

    // An administrator may set the labels anywhere, and it has no effect.
    let request = json!({"metadata": {"labels": {"drover.dev/project": "shop", "drover.dev/project-namespace": TEAM}}});
    patch_on(eu, "namespace", "", "kube-system", request).await.unwrap();
    reads(installation, "project", "shop", "Ready", "False/NamespaceNotEntitled").await;
    assert_eq!(holder(installation, "kube-system").await, Value::Null);
    mia_may(installation, "kube-system", false).await;
    let none = json!({"metadata": {"labels": {"drover.dev/project": null, "drover.dev/project-namespace": null}}});
    patch_on(eu, "namespace", "", "kube-system", none).await.unwrap();
    delete_from(eu, "namespace", "", "team-x-c").await.unwrap();
    converged(installation, "shop").await;

    // Neither of two Projects takes up what both may want.
    let mut bank = a_project("bank", &["team-x-listed"]);
    bank["spec"]["selfService"] = json!({"namePrefixes": ["team-x-b-"], "maxNamespaces": 2});
    installation.apply(&bank).await.unwrap();
    reads(installation, "project", "bank", "Ready", "False/PrefixesOverlap").await;
    reads(installation, "project", "shop", "Ready", "False/PrefixesOverlap").await;
    delete_from(eu, "namespace", "", "team-x-b").await.unwrap();
    mia.has_created(&asking("team-x-b-new", "shop")).await;
    let relabelled = json!({"labels": {"drover.dev/project": "shop", "drover.dev/project-namespace": TEAM}});
    expect("a listed namespace of another Project", &mia.changes("team-x-listed", &relabelled).await, NOT_FOR);
    mia_may(installation, "team-x-b-new", false).await;
    assert_eq!(holder(installation, "team-x-b-new").await, Value::Null);
    assert_eq!(holder(installation, "team-x-listed").await, "bank");
    deleted(installation, "project", "bank").await;
    mia_may(installation, "team-x-b-new", true).await;
}

async fn what_is_withdrawn_goes(installation: &Installation, mia: &Requester) {
    let withdrawn = json!({"labels": {"drover.dev/project": null, "drover.dev/project-namespace": null}});
    expect("what she has", &mia.changes("team-x-b-new", &withdrawn).await, STAYS);
    let eu = installation.cluster("eu").unwrap();
    patch_on(eu, "namespace", "", "team-x-b-new", json!({"metadata": withdrawn})).await.unwrap();
    mia_may(installation, "team-x-b-new", false).await;
    namespace_becomes(installation, "eu", "team-x-b-new", "it is released", |found| {
        found.is_some_and(|it| it["metadata"]["labels"].get("drover.dev/owner-name").is_none())
    })
    .await;

    deleted(installation, "projectroletemplatebinding", "makers").await;
    mia_may(installation, "team-x-a", false).await;
    let gone = eventually("mia creates no more namespaces", soon(), async || {
        Ok(mia.creates(&asking("team-x-d", "shop")).await.is_err().then_some(()))
    });
    gone.await.unwrap();
    expect("a namespace of before", &mia.creates(&asking("team-x-d", "shop")).await, FORBIDDEN);
}
