//! Apps after the management cluster was lost: the same files, applied to a new one, take up the releases that are there.

use drover_e2e::audit::{AuditEvent, AuditMark};
use drover_e2e::installation::{End, Installation};
use drover_e2e::releases::left_in;
use drover_e2e::story::*;
use serde_json::{Value, json};

use crate::apps::{an_app, charts, condition_message, deployer, digest, history, packed};

drover_e2e::tests![
    apps_are_taken_up_by_a_rebuilt_management_cluster_and_nothing_is_released_anew
        => unkillable("the management cluster that the proxy leads to is gone"),
];

const HOOK: &str = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {{ .Release.Name }}-hook\n  annotations:\n    helm.sh/hook: pre-install,pre-upgrade\n";
/// It renders the same each time.
const STEADY: [(&str, &str); 4] = [
    ("Chart.yaml", "apiVersion: v2\nname: steady\nversion: 1.0.0\n"),
    ("values.yaml", "greeting: hello\n"),
    (
        "templates/config.yaml",
        "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {{ .Release.Name }}-config\ndata:\n  greeting: {{ .Values.greeting | quote }}\n",
    ),
    ("templates/hook.yaml", HOOK),
];
/// It makes up a password each time.
const RANDOM: [(&str, &str); 4] = [
    ("Chart.yaml", "apiVersion: v2\nname: random\nversion: 1.0.0\n"),
    ("values.yaml", "greeting: hello\n"),
    (
        "templates/secret.yaml",
        "apiVersion: v1\nkind: Secret\nmetadata:\n  name: {{ .Release.Name }}-made-up\n  labels:\n    greeting: {{ .Values.greeting }}\ndata:\n  \
         password: {{ randAlphaNum 16 | b64enc }}\n",
    ),
    ("templates/hook.yaml", HOOK),
];
/// More than the 63 characters that a label has.
const LONG: &str = "an-app-with-a-name-that-together-with-its-namespace-has-many-c";

async fn apps_are_taken_up_by_a_rebuilt_management_cluster_and_nothing_is_released_anew() {
    let Some(mut installation) = restful_story("rebuilt with apps", &["eu", "us"]).await else { return };
    let files = files(&installation);
    patch(&installation, "cluster", "eu", json!({"metadata": {"labels": {"stage": "canary"}}})).await;
    for object in &files {
        installation.apply(object).await.unwrap();
    }
    approved(&installation).await;
    all_ready(&installation, &files).await;
    let before = both(&installation).await;
    assert!(before.to_string().contains("random-made-up"), "{before:#}");

    installation.stop_drover(End::Kill).await.unwrap();
    installation.rebuild_management().await.unwrap();
    let marks: Vec<_> = installation.downstream.values().map(|plane| plane.audit_mark().unwrap()).collect();
    installation.apply(&a_namespace(TEAM)).await.unwrap();
    for object in &files {
        installation.apply(object).await.unwrap();
    }
    for cluster in ["eu", "us"] {
        let mut cluster_with_stage = a_cluster(cluster);
        if cluster == "eu" {
            cluster_with_stage["metadata"]["labels"]["stage"] = "canary".into();
        }
        installation.apply(&cluster_with_stage).await.unwrap();
        installation.store_kubeconfig(cluster).await.unwrap();
    }
    installation.start_drover().await.unwrap();
    all_ready(&installation, &files).await;
    quiet(&installation, "all apps are taken up").await;
    assert_eq!(both(&installation).await, before, "no revision, no password, nothing is another one");
    assert_eq!(writes_of_apps(&installation, &marks), Vec::<String>::new());
    let of_random = get(&installation, "catalogapp", "random").await.unwrap();
    assert_eq!(of_random["status"]["applied"]["takenUp"], "AsFound", "{of_random:#}");
    assert!(condition_message(&of_random).ends_with("taken up as it was found"), "{of_random:#}");

    what_was_rendered_anew_is_kept_as_it_is_to_be(&installation).await;
    what_was_only_found_is_left_alone(&installation).await;
    the_next_change_is_one_upgrade(&installation, &files).await;
}

/// What lies in Git.
fn files(installation: &Installation) -> Vec<Value> {
    let steady = packed(installation, "steady", &STEADY);
    let random = packed(installation, "random", &RANDOM);
    let from =
        |name: &str, chart: &[u8]| json!({"configMap": {"name": name, "key": "chart.tgz", "digest": digest(chart)}});
    let template = json!({
        "namespace": "team-web", "projectName": "shop", "roleTemplateName": "deployer", "chart": from("steady", &steady),
    });
    let everywhere = json!({
        "apiVersion": "drover.dev/v1alpha1", "kind": "MultiClusterApp", "metadata": {"name": "everywhere", "namespace": TEAM},
        "spec": {
            "clusters": {"all": {}}, "template": template,
            "rollout": {"stages": [
                {"name": "first", "selector": {"matchLabels": {"stage": "canary"}}, "minReady": "0s"},
                {"name": "all", "minReady": "0s", "approval": "Required"},
            ]},
        },
    });
    let web =
        json!({"values": {"greeting": "good morning"}, "chart": from("steady", &steady), "drift": {"mode": "Correct"}});
    let made_up = json!({"chart": from("random", &random), "drift": {"mode": "Correct"}});
    vec![
        deployer(),
        charts("steady", &steady),
        charts("random", &random),
        a_project("shop", &NAMESPACES),
        an_app("web", &steady, &web),
        an_app("random", &random, &made_up),
        an_app(LONG, &steady, &json!({"chart": from("steady", &steady), "releaseName": "long"})),
        everywhere,
    ]
}

/// The first time, a person lets the rollout go on; after the rebuild nobody has to.
async fn approved(installation: &Installation) {
    reads(installation, "multiclusterapp", "everywhere", "Ready", "False/WaitingForApproval").await;
    let app = get(installation, "multiclusterapp", "everywhere").await.unwrap();
    let revision = app["status"]["targetRevision"]["name"].clone();
    let change = json!({"metadata": {"annotations": {"drover.dev/approve": revision}}});
    patch(installation, "multiclusterapp", "everywhere", change).await;
}

async fn all_ready(installation: &Installation, files: &[Value]) {
    for object in files.iter().filter(|object| object["kind"] != "ConfigMap") {
        becomes_ready(installation, object).await;
    }
}

/// What there is of releases.
async fn both(installation: &Installation) -> Value {
    let mut all = Vec::new();
    for plane in installation.downstream.values() {
        all.push(json!(left_in(plane, "team-web").await.unwrap()));
    }
    all.into()
}

/// What was changed by Drover or in the name of an app. A token is none, and what an app may do is taken away while it is not there: one of
/// many clusters comes after its cluster.
fn writes_of_apps(installation: &Installation, marks: &[AuditMark]) -> Vec<String> {
    let mut writes = Vec::new();
    for (plane, mark) in installation.downstream.values().zip(marks) {
        let is_one = |user: &str| user.starts_with("system:serviceaccount:drover-system:");
        let is_right = |event: &AuditEvent| {
            let of_many = event.name.contains("app.team.everywhere-") || event.name == "drover:deployer";
            of_many && ["clusterroles", "rolebindings", "serviceaccounts"].contains(&event.resource.as_str())
        };
        let events = plane.audit_events_since(*mark).unwrap().into_iter();
        let changes = events
            .filter(|event| is_one(&event.user) && event.changes() && event.subresource != "token" && !is_right(event));
        writes.extend(changes.map(|event| format!("{}: {event} by {}", plane.name(), event.user)));
    }
    writes
}

async fn change(installation: &Installation, kind: &str, name: &str, change: Value) {
    patch_downstream(installation, "eu", kind, "team-web", name, change).await;
}

/// Nobody waits for the interval at which it is looked for drift.
async fn look(installation: &Installation, app: &str) {
    let change = json!({"metadata": {"annotations": {"drover.dev/reconcile-at": "now"}}});
    patch(installation, "catalogapp", app, change).await;
}

async fn what_was_rendered_anew_is_kept_as_it_is_to_be(installation: &Installation) {
    change(installation, "configmap", "web-config", json!({"data": {"greeting": "mine"}})).await;
    look(installation, "web").await;
    downstream_becomes(installation, "eu", "configmap", "team-web", "web-config", "it is put right", |found| {
        found.is_some_and(|found| found["data"]["greeting"] == "good morning")
    })
    .await;
}

/// The manifest in its record may be forged, so it is told what differs, and nothing of it is applied.
async fn what_was_only_found_is_left_alone(installation: &Installation) {
    change(installation, "secret", "random-made-up", json!({"data": {"password": "bWluZQ=="}})).await;
    look(installation, "random").await;
    object_becomes(installation, "catalogapp", "random", "the drift is told", |app| {
        app.is_some_and(|app| app["status"]["drift"]["objects"] == 1)
    })
    .await;
    quiet(installation, "the drift is told").await;
    let found = downstream(installation, "eu", "secret", "team-web", "random-made-up").await.unwrap().unwrap();
    assert_eq!(found["data"]["password"], "bWluZQ==");
}

async fn the_next_change_is_one_upgrade(installation: &Installation, files: &[Value]) {
    for name in ["web", "random"] {
        let mut app = files
            .iter()
            .find(|object| object["metadata"]["name"] == name && object["kind"] == "CatalogApp")
            .unwrap()
            .clone();
        app["spec"]["values"] = json!({"greeting": "good-evening"});
        ready_with(installation, &app).await;
    }
    assert_eq!(history(installation), [(1, "superseded".to_owned()), (2, "deployed".to_owned())]);
    let of_random = get(installation, "catalogapp", "random").await.unwrap();
    assert_eq!(of_random["status"]["applied"]["takenUp"], Value::Null, "{of_random:#}");
    assert_eq!(of_random["status"]["applied"]["revision"], 2);
}
