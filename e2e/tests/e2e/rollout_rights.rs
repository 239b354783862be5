//! Who may do what with an app on many clusters, and `drover rollout` with the rights of each.

use std::process::Command;
use std::time::Duration;

use drover_e2e::installation::{Installation, drover_binary};
use drover_e2e::objects::api;
use drover_e2e::story::*;
use drover_e2e::wait::{eventually, soon};
use kube::api::{DeleteParams, DynamicObject, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use crate::apps::{charts, deployer, digest, packed};

drover_e2e::tests![an_app_on_many_clusters_is_shared_by_role_bindings_and_steered_by_its_owners,];

const KIND: &str = "multiclusterapp";
const GREETS: [(&str, &str); 3] = [
    ("Chart.yaml", "apiVersion: v2\nname: greets\nversion: 1.0.0\n"),
    ("values.yaml", "greeting: hello\n"),
    (
        "templates/config.yaml",
        "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {{ .Release.Name }}-config\ndata:\n  greeting: {{ .Values.greeting | quote }}\n",
    ),
];

/// People, each in the group of the role that is bound to it.
const OLGA: (&str, &str) = ("olga", "owners");
const MAX: (&str, &str) = ("max", "members");
const VERA: (&str, &str) = ("vera", "viewers");
/// Who has the role `drover-edit` in the namespace, and may give the role of the app.
const EDDA: (&str, &str) = ("edda", "editors");

/// What the refusal of the policy about apps of rollouts says.
const NOT_BY_HAND: &str = "change the MultiClusterApp instead";

/// The app `web`, of which every revision needs approval.
fn an_app(chart: &[u8]) -> Value {
    json!({
        "apiVersion": "drover.dev/v1alpha1", "kind": "MultiClusterApp", "metadata": {"name": "web", "namespace": TEAM},
        "spec": {
            "clusters": {"all": {}},
            "template": {
                "namespace": "team-web", "projectName": "shop", "roleTemplateName": "deployer",
                "chart": {"configMap": {"name": "charts", "key": "chart.tgz", "digest": digest(chart)}},
                "values": {"greeting": "one"},
            },
            "rollout": {"stages": [{"name": "everywhere", "minReady": "1s", "approval": "Required"}]},
        },
    })
}

/// What `drover rollout` prints for a person, or why it fails.
fn rollout(installation: &Installation, (user, group): (&str, &str), arguments: &[&str]) -> Result<String, String> {
    let kubeconfig = installation.directory().join(format!("{user}.kubeconfig"));
    std::fs::write(&kubeconfig, installation.management.kubeconfig_for(user, &[group]).unwrap()).unwrap();
    let output = Command::new(drover_binary().unwrap())
        .arg("rollout")
        .arg("--management-kubeconfig")
        .arg(&kubeconfig)
        .args(arguments)
        .args(["--namespace", TEAM])
        .output()
        .unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    let said = text(output.stdout) + &text(output.stderr);
    if output.status.success() { Ok(said) } else { Err(said) }
}

/// Changes the app as a person.
async fn changes(installation: &Installation, (user, group): (&str, &str), change: Value) -> Result<(), String> {
    let client = installation.management.client_for(user, &[group]).await.unwrap();
    let apps = api(client, KIND, TEAM).await.unwrap();
    let outcome = apps.patch("web", &PatchParams::default(), &Patch::Merge(change)).await;
    outcome.map(drop).map_err(|error| error.to_string())
}

async fn creates(installation: &Installation, (user, group): (&str, &str), object: &Value) -> Result<(), String> {
    let client = installation.management.client_for(user, &[group]).await.unwrap();
    let apps = api(client, KIND, TEAM).await.unwrap();
    let object: DynamicObject = serde_json::from_value(object.clone()).unwrap();
    apps.create(&PostParams::default(), &object).await.map(drop).map_err(|error| error.to_string())
}

async fn says(installation: &Installation, expected: &str) {
    reads(installation, KIND, "web", "Ready", expected).await;
}

/// The name of the revision that is wanted.
async fn target(installation: &Installation) -> String {
    let app = get(installation, KIND, "web").await.unwrap();
    app["status"]["targetRevision"]["name"].as_str().unwrap().to_owned()
}

async fn an_app_on_many_clusters_is_shared_by_role_bindings_and_steered_by_its_owners() {
    let Some(installation) = story("rollout rights", &["eu"]).await else { return };
    let chart = packed(&installation, "greets", &GREETS);
    for object in [deployer(), charts("charts", &chart), a_project("shop", &["team-web"])] {
        installation.apply(&object).await.unwrap();
    }
    converged(&installation, "shop").await;
    who_administers_the_namespace_shares_its_apps(&installation).await;
    each_role_allows_what_it_says(&installation).await;
    who_may_not_give_the_role_writes_no_app(&installation, &chart).await;
    only_an_owner_approves(&installation).await;
    a_revision_is_held_and_goes_on(&installation).await;
    who_writes_apps_changes_none_of_a_rollout(&installation).await;
    who_writes_apps_makes_up_none_of_a_rollout(&installation).await;
    who_writes_apps_may_have_one_looked_at_and_deleted(&installation).await;
    what_changed_is_seen_and_approved_by_name(&installation).await;
}

async fn who_administers_the_namespace_shares_its_apps(installation: &Installation) {
    let admin = ["create", "rolebinding", "admin", "--clusterrole=admin", "--user=ada", "--namespace", TEAM];
    installation.kubectl(&admin).unwrap();
    for what in ["create rolebindings.rbac.authorization.k8s.io", "approve multiclusterapps.drover.dev"] {
        may(&installation.management, "ada", what, TEAM, true).await;
    }
    for (role, group) in [("owner", OLGA.1), ("member", MAX.1), ("viewer", VERA.1)] {
        let (role, of) = (format!("--clusterrole=drover-app-{role}"), format!("--group={group}"));
        installation.kubectl(&["create", "rolebinding", group, &role, &of, "--namespace", TEAM, "--as=ada"]).unwrap();
    }
}

async fn each_role_allows_what_it_says(installation: &Installation) {
    let management = &installation.management;
    let (owners, members, viewers) = (OLGA.1, MAX.1, VERA.1);
    for (what, who) in [
        ("create multiclusterapps.drover.dev", &[owners][..]),
        ("delete multiclusterapps.drover.dev", &[owners]),
        ("approve multiclusterapps.drover.dev", &[owners]),
        ("patch multiclusterapps.drover.dev", &[owners, members]),
        ("update multiclusterapps.drover.dev", &[owners, members]),
        ("watch multiclusterapps.drover.dev", &[owners, members, viewers]),
        ("list controllerrevisions.apps", &[owners, members, viewers]),
        ("get catalogapps.drover.dev", &[owners, members, viewers]),
        ("patch multiclusterapps.drover.dev/status", &[]),
        ("delete controllerrevisions.apps", &[]),
        ("create controllerrevisions.apps", &[]),
        ("patch catalogapps.drover.dev", &[]),
        ("bind roletemplates.drover.dev", &[]),
        ("list secrets", &[]),
    ] {
        for group in [owners, members, viewers] {
            may(management, &format!("@{group}"), what, TEAM, who.contains(&group)).await;
            assert!(
                !allows(management, &format!("@{group}"), what, "default").await.unwrap(),
                "{group} in default: {what}"
            );
        }
    }
}

async fn who_may_not_give_the_role_writes_no_app(installation: &Installation, chart: &[u8]) {
    let refusal = creates(installation, OLGA, &an_app(chart)).await.unwrap_err();
    assert!(refusal.contains("the verb bind on roletemplates.drover.dev deployer"), "{refusal}");
    let rules = json!([{"apiGroups": ["drover.dev"], "resources": ["roletemplates"], "resourceNames": ["deployer"], "verbs": ["bind"]}]);
    let role = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": "give-deployer", "namespace": TEAM},
        "rules": rules,
    });
    installation.apply(&role).await.unwrap();
    let bound =
        ["create", "rolebinding", "give-deployer", "--role=give-deployer", "--group=owners", "--namespace", TEAM];
    installation.kubectl(&bound).unwrap();
    let ask = async || Ok(creates(installation, OLGA, &an_app(chart)).await.is_ok().then_some(()));
    eventually("an owner who may give the role writes the app", soon(), ask).await.unwrap();
    says(installation, "False/WaitingForApproval").await;

    let greeting = json!({"spec": {"template": {"values": {"greeting": "mine"}}}});
    let refusal = changes(installation, MAX, greeting.clone()).await.unwrap_err();
    assert!(refusal.contains("the verb bind on roletemplates.drover.dev deployer"), "{refusal}");
    let refusal = changes(installation, VERA, greeting).await.unwrap_err();
    assert!(refusal.contains("cannot patch resource"), "{refusal}");
    changes(installation, MAX, json!({"metadata": {"labels": {"reviewed": "yes"}}})).await.unwrap();
}

/// A member who may give the role of the app changes the rest of the spec, and no stage so that its clusters need no approval any more.
async fn who_may_not_approve_takes_no_gate_away(installation: &Installation) {
    let bound = ["create", "rolebinding", "give-too", "--role=give-deployer", "--group=members", "--namespace", TEAM];
    installation.kubectl(&bound).unwrap();
    let stages = |stages: Value| json!({"spec": {"rollout": {"stages": stages}}});
    let gate = json!({"name": "everywhere", "minReady": "2s", "approval": "Required"});
    let ask = async || Ok(changes(installation, MAX, stages(json!([gate]))).await.is_ok().then_some(()));
    eventually("a member changes how long a stage waits", soon(), ask).await.unwrap();
    let before = json!({"name": "before", "selector": {"matchLabels": {"env": "prod"}}});
    for attempt in [
        json!([]),
        json!([{"name": "everywhere", "minReady": "2s"}]),
        json!([{"name": "everywhere", "minReady": "2s", "approval": "Required", "selector": {"matchLabels": {"no": "cluster"}}}]),
        json!([before, gate]),
    ] {
        let refusal = changes(installation, MAX, stages(attempt.clone())).await.unwrap_err();
        assert!(refusal.contains("the verb approve on multiclusterapps.drover.dev web"), "{attempt}: {refusal}");
    }
    let elsewhere = json!({"spec": {"clusters": {"all": null, "names": ["eu"]}}});
    let refusal = changes(installation, MAX, elsewhere).await.unwrap_err();
    assert!(refusal.contains("the verb approve on multiclusterapps.drover.dev web"), "{refusal}");
    installation.kubectl(&["delete", "rolebinding", "give-too", "--namespace", TEAM]).unwrap();
    let decided = async || {
        let app = get(installation, KIND, "web").await.unwrap();
        Ok((app["status"]["observedGeneration"] == app["metadata"]["generation"]).then_some(()))
    };
    eventually("the present spec is decided about", soon(), decided).await.unwrap();
}

async fn only_an_owner_approves(installation: &Installation) {
    let first = target(installation).await;
    for annotation in ["drover.dev/approve", "drover.dev/hold"] {
        let change = json!({"metadata": {"annotations": {annotation: first}}});
        let refusal = changes(installation, MAX, change).await.unwrap_err();
        assert!(refusal.contains("the verb approve on multiclusterapps.drover.dev web"), "{annotation}: {refusal}");
    }
    for command in ["approve", "hold"] {
        let refusal = rollout(installation, MAX, &[command, "web"]).unwrap_err();
        assert!(refusal.contains("the verb approve on multiclusterapps.drover.dev web"), "{command}: {refusal}");
        let refusal = rollout(installation, VERA, &[command, "web"]).unwrap_err();
        assert!(refusal.contains("cannot patch resource"), "{command}: {refusal}");
    }
    who_may_not_approve_takes_no_gate_away(installation).await;
    let said = rollout(installation, VERA, &["status", "web"]).unwrap();
    assert!(said.contains("WaitingForApproval at stage everywhere") && said.contains(&first), "{said}");
    let said = rollout(installation, VERA, &["diff", "web"]).unwrap();
    assert!(said.contains("follows no other one") && said.contains("everywhere   1"), "{said}");

    let refusal = rollout(installation, OLGA, &["approve", "web", "--revision", "web-other"]).unwrap_err();
    assert!(refusal.contains("is not the one that is wanted now"), "{refusal}");
    rollout(installation, OLGA, &["approve", "web"]).unwrap();
    says(installation, "True/Ready").await;
    let refusal = changes(installation, MAX, json!({"metadata": {"annotations": {"drover.dev/approve": null}}})).await;
    assert!(refusal.unwrap_err().contains("the verb approve"), "nor takes it away");
}

async fn a_revision_is_held_and_goes_on(installation: &Installation) {
    let said = rollout(installation, OLGA, &["resume", "web"]).unwrap();
    assert!(said.contains("no annotation holds a revision"), "{said}");
    let said = rollout(installation, OLGA, &["hold", "web"]).unwrap();
    assert!(said.contains("is held, and no other one"), "{said}");
    says(installation, "False/RolloutPaused").await;
    let said = rollout(installation, OLGA, &["hold", "web"]).unwrap();
    assert!(said.contains("is held already"), "{said}");
    let refusal = rollout(installation, MAX, &["resume", "web"]).unwrap_err();
    assert!(refusal.contains("the verb approve"), "{refusal}");
    rollout(installation, OLGA, &["resume", "web"]).unwrap();
    says(installation, "True/Ready").await;
}

/// The name of the app of the only target.
async fn child(installation: &Installation) -> String {
    let children = installation.kubectl(&["get", "catalogapps", "--namespace", TEAM, "--output=name"]).unwrap();
    let names: Vec<_> = children.lines().filter_map(|line| line.split_once('/')).collect();
    assert_eq!(names.len(), 1, "{children}");
    names[0].1.to_owned()
}

/// Changes an object as somebody who writes apps.
async fn edits(installation: &Installation, kind: &str, name: &str, change: Value) -> Result<(), String> {
    let client = installation.management.client_for(EDDA.0, &[EDDA.1]).await.unwrap();
    let objects = api(client, kind, TEAM).await.unwrap();
    let outcome = objects.patch(name, &PatchParams::default(), &Patch::Merge(change)).await;
    outcome.map(drop).map_err(|error| error.to_string())
}

/// Lets Edda write apps, and revisions and what belongs to another app, which no role that ships allows.
async fn an_editor(installation: &Installation) {
    let revisions = json!({"apiGroups": ["apps"], "resources": ["controllerrevisions"], "verbs": ["create", "patch"]});
    let other = json!({"apiGroups": ["drover.dev"], "resources": ["multiclusterapps"], "resourceNames": ["other"], "verbs": ["manage"]});
    let role = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": "write-revisions", "namespace": TEAM},
        "rules": [revisions, other],
    });
    installation.apply(&role).await.unwrap();
    for role in ["--role=write-revisions", "--role=give-deployer", "--clusterrole=drover-edit"] {
        let name = format!("editors-{}", role.split_once('=').unwrap().1);
        installation.kubectl(&["create", "rolebinding", &name, role, "--group=editors", "--namespace", TEAM]).unwrap();
    }
    for what in ["create controllerrevisions.apps", "patch catalogapps.drover.dev"] {
        may(&installation.management, "@editors", what, TEAM, true).await;
    }
    may(&installation.management, "@editors", "manage multiclusterapps.drover.dev", TEAM, false).await;
}

async fn who_writes_apps_changes_none_of_a_rollout(installation: &Installation) {
    an_editor(installation).await;
    let (child, revision) = (child(installation).await, target(installation).await);
    let label = |key: &str, value: Value| json!({"metadata": {"labels": {key: value}}});
    let annotation = |key: &str, value: Value| json!({"metadata": {"annotations": {key: value}}});
    for change in [
        json!({"spec": {"values": {"greeting": "mine"}}}),
        json!({"spec": {"suspend": true}}),
        label("drover.dev/owner-kind", json!(null)),
        label("drover.dev/owner-kind", json!("Project")),
        label("drover.dev/owner-name", json!("other")),
        label("drover.dev/owner-namespace", json!("other")),
        annotation("drover.dev/inputs", json!("mine")),
        annotation("drover.dev/revision", json!("web-mine")),
        annotation("drover.dev/deselected-since", json!("2020-01-01T00:00:00Z")),
        annotation("drover.dev/created", json!(null)),
        annotation("drover.dev/adopted", json!("true")),
        annotation("drover.dev/owner-uid", json!(null)),
    ] {
        let refusal = edits(installation, "catalogapp", &child, change.clone()).await.unwrap_err();
        assert!(
            refusal.contains(NOT_BY_HAND) && refusal.contains("multiclusterapps.drover.dev web"),
            "{change}: {refusal}"
        );
    }
    for change in [json!({"revision": 7}), label("drover.dev/owner-kind", json!(null))] {
        let refusal = edits(installation, "controllerrevision", &revision, change.clone()).await.unwrap_err();
        assert!(refusal.contains(NOT_BY_HAND), "{change}: {refusal}");
    }
}

async fn who_writes_apps_makes_up_none_of_a_rollout(installation: &Installation) {
    let client = installation.management.client_for(EDDA.0, &[EDDA.1]).await.unwrap();
    let child = get(installation, "catalogapp", &child(installation).await).await.unwrap();
    let mut spec = child["spec"].clone();
    spec["releaseName"] = json!("own");
    let app = |metadata: Value| json!({"apiVersion": "drover.dev/v1alpha1", "kind": "CatalogApp", "metadata": metadata, "spec": spec});
    let kept = |metadata: Value| json!({"apiVersion": "apps/v1", "kind": "ControllerRevision", "metadata": metadata, "revision": 1, "data": {}});
    let owner = json!({
        "drover.dev/owner-kind": "MultiClusterApp", "drover.dev/owner-namespace": "other", "drover.dev/owner-name": "web",
    });
    let creates = async |kind: &str, object: Value| {
        let objects = api(client.clone(), kind, TEAM).await.unwrap();
        let object: DynamicObject = serde_json::from_value(object).unwrap();
        objects.create(&PostParams::default(), &object).await.map(drop).map_err(|error| error.to_string())
    };
    for (kind, object) in [
        ("catalogapp", app(json!({"name": "own", "labels": owner}))),
        ("catalogapp", app(json!({"generateName": "own-", "labels": {"drover.dev/owner-kind": "MultiClusterApp"}}))),
        ("catalogapp", app(json!({"name": "own", "annotations": {"drover.dev/revision": "web-mine"}}))),
        ("controllerrevision", kept(json!({"name": "own", "labels": owner}))),
    ] {
        let refusal = creates(kind, object.clone()).await.unwrap_err();
        assert!(refusal.contains(NOT_BY_HAND), "{object}: {refusal}");
    }

    let of_others =
        json!({"name": "own", "labels": {"app": "web"}, "annotations": {"drover.dev/created": "by a StatefulSet"}});
    creates("controllerrevision", kept(of_others)).await.unwrap();
    let label = json!({"metadata": {"labels": owner}});
    let refusal = edits(installation, "controllerrevision", "own", label).await.unwrap_err();
    assert!(refusal.contains(NOT_BY_HAND), "nor turns one into it: {refusal}");
    installation.kubectl(&["delete", "controllerrevision", "own", "--namespace", TEAM]).unwrap();
}

async fn who_writes_apps_may_have_one_looked_at_and_deleted(installation: &Installation) {
    let name = child(installation).await;
    for change in [
        json!({"metadata": {"annotations": {"drover.dev/reconcile-at": "now"}, "labels": {"reviewed": "yes"}}}),
        json!({"metadata": {"finalizers": ["drover.dev/catalog-app", "example.com/kept"]}}),
        json!({"metadata": {"finalizers": ["drover.dev/catalog-app"]}}),
    ] {
        edits(installation, "catalogapp", &name, change).await.unwrap();
    }
    let before = get(installation, "catalogapp", &name).await.unwrap()["metadata"]["uid"].clone();
    let client = installation.management.client_for(EDDA.0, &[EDDA.1]).await.unwrap();
    let apps = api(client, "catalogapp", TEAM).await.unwrap();
    apps.delete(&name, &DeleteParams::default()).await.unwrap();
    let ask = async || {
        let again = get(installation, "catalogapp", &name).await.ok();
        if again.is_none() {
            let version = get(installation, KIND, "web").await.unwrap()["metadata"]["resourceVersion"].clone();
            changes(installation, MAX, json!({"metadata": {"annotations": {"drover.dev/reconcile-at": version}}}))
                .await
                .unwrap();
        }
        Ok(again.is_some_and(|app| app["metadata"]["uid"] != before).then_some(()))
    };
    eventually("Drover creates the app that was deleted again once it is asked to", soon(), ask).await.unwrap();
    says(installation, "True/Ready").await;
}

async fn what_changed_is_seen_and_approved_by_name(installation: &Installation) {
    let first = target(installation).await;
    let secret = "s3cr3t-greeting";
    changes(installation, OLGA, json!({"spec": {"template": {"values": {"greeting": secret}}}})).await.unwrap();
    says(installation, "False/WaitingForApproval").await;
    let second = target(installation).await;
    assert_ne!(first, second);
    let said = rollout(installation, VERA, &["diff", "web"]).unwrap();
    assert!(said.contains(&format!("From revision 1 ({first}) to 2 ({second})")), "{said}");
    assert!(said.contains("\n  template.values.greeting\n"), "{said}");
    let kept = "drover.dev/owner-kind=MultiClusterApp,drover.dev/owner-name=web";
    let kept = installation.kubectl(&["get", "controllerrevisions", "--namespace", TEAM, "--selector", kept]).unwrap();
    assert!(kept.contains(&first) && kept.contains(&second), "{kept}");
    let backwards = rollout(installation, VERA, &["diff", "web", "--revision", "2", "--to", &first]).unwrap();
    assert!(backwards.contains(&format!("From revision 2 ({second}) to 1 ({first})")), "{backwards}");
    assert!(!backwards.contains(secret), "{backwards}");
    let refusal = rollout(installation, OLGA, &["approve", "web", "--revision", &first]).unwrap_err();
    assert!(refusal.contains("is not the one that is wanted now"), "{refusal}");
    tokio::time::sleep(Duration::from_secs(1)).await;
    says(installation, "False/WaitingForApproval").await;
    rollout(installation, OLGA, &["approve", "web", "--revision", &second]).unwrap();
    says(installation, "True/Ready").await;
    let greets = json!({"greeting": secret});
    downstream_becomes(
        installation,
        "eu",
        "configmap",
        "team-web",
        "web-config",
        "the second revision is there",
        |found| found.is_some_and(|found| found["data"] == greets),
    )
    .await;
    let refusal = rollout(installation, OLGA, &["approve", "nothing"]).unwrap_err();
    assert!(refusal.contains("get the MultiClusterApp team/nothing"), "{refusal}");
}
