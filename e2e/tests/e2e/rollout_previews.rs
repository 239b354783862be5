//! What a revision would change is seen before it is approved, on real API servers, and nothing of that is secret.

use std::process::Command;

use drover_e2e::{
    installation::{Installation, drover_binary},
    objects::api,
    story::*,
    wait::{eventually, soon},
};
use kube::api::ListParams;
use serde_json::{Value, json};

use crate::apps::{charts, deployer, digest, packed};

drover_e2e::tests![what_a_revision_would_change_is_seen_before_it_is_approved,];

/// A chart that puts a password into a Secret, and whatever it is given into a `ConfigMap`.
const KEEPS: [(&str, &str); 4] = [
    ("Chart.yaml", "apiVersion: v2\nname: keeps\nversion: 1.0.0\n"),
    ("values.yaml", "greeting: hello\npassword: none\nmore: false\n"),
    (
        "templates/config.yaml",
        "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {{ .Release.Name }}-config\ndata:\n  greeting: {{ .Values.greeting | quote }}\n  \
         token: {{ .Values.password | quote }}\n{{- if .Values.more }}\n---\napiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: \
         {{ .Release.Name }}-more\ndata:\n  of: this\n{{- end }}\n",
    ),
    (
        "templates/secret.yaml",
        "apiVersion: v1\nkind: Secret\nmetadata:\n  name: {{ .Release.Name }}-secret\nstringData:\n  password: {{ .Values.password | quote }}\n",
    ),
];
/// The same chart, which looks up in the cluster what it puts into the `ConfigMap`.
const LOOKS_UP: &str = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {{ .Release.Name }}-config\ndata:\n  greeting: {{ .Values.greeting | quote }}\n  \
    token: {{ (lookup \"v1\" \"Secret\" .Release.Namespace \"web-secret\").data.password | quote }}\n";
/// Values of the Secret, as they are and as its `data` has them.
const SECRETS: [&str; 4] = ["first-s3cr3t", "second-s3cr3t", "Zmlyc3QtczNjcjN0", "c2Vjb25kLXMzY3IzdA"];

/// The app `web` with these values: a canary first, and all others once they are approved.
fn an_app(chart: &[u8], values: &Value, sources: &Value) -> Value {
    let stages = json!([
        {"name": "canary", "selector": {"matchLabels": {"stage": "canary"}}, "minReady": "0s"},
        {"name": "everywhere", "minReady": "0s", "approval": "Required"},
    ]);
    json!({
        "apiVersion": "drover.dev/v1alpha1", "kind": "MultiClusterApp", "metadata": {"name": "web", "namespace": TEAM},
        "spec": {
            "clusters": {"all": {}},
            "template": {
                "namespace": "team-web", "projectName": "shop", "roleTemplateName": "deployer", "values": values, "valuesFrom": sources,
                "chart": {"configMap": {"name": "charts", "key": "chart.tgz", "digest": digest(chart)}},
            },
            "rollout": {"stages": stages},
        },
    })
}

fn passwords(password: &str) -> Value {
    let metadata = json!({"name": "passwords", "namespace": TEAM, "labels": {"drover.dev/usable-by": "catalog-app"}});
    json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": {"values.yaml": format!("password: {password}\n")},
    })
}

async fn what_a_revision_would_change_is_seen_before_it_is_approved() {
    let Some(installation) = restful_story("rollout previews", &["eu", "us"]).await else { return };
    let chart = packed(&installation, "keeps", &KEEPS);
    for object in [deployer(), charts("charts", &chart), a_project("shop", &NAMESPACES)] {
        installation.apply(&object).await.unwrap();
    }
    converged(&installation, "shop").await;
    patch(&installation, "cluster", "eu", json!({"metadata": {"labels": {"stage": "canary"}}})).await;
    let greets = |greeting: &str| an_app(&chart, &json!({"greeting": greeting}), &json!([]));
    installation.apply(&greets("one")).await.unwrap();
    says(&installation, "False/WaitingForApproval").await;
    let said = diff(&installation);
    assert!(said.contains("no cluster that it can reach has the app"), "nothing is there yet: {said}");
    approve(&installation).await;

    values_are_shown_where_nothing_is_secret(&installation, &chart).await;
    of_what_may_be_secret_only_fields_are_shown(&installation, &chart).await;
    nor_is_what_a_chart_looks_up(&installation).await;
    nothing_of_it_is_left(&installation).await;
}

async fn values_are_shown_where_nothing_is_secret(installation: &Installation, chart: &[u8]) {
    let values = json!({"greeting": "two", "more": true});
    installation.apply(&an_app(chart, &values, &json!([]))).await.unwrap();
    let preview = previewed(installation, "everywhere").await;
    assert_eq!(
        preview,
        json!({
            "cluster": "us", "created": 1, "changed": 1, "removed": 0, "objects": ["ConfigMap web-config", "ConfigMap web-more"],
        })
    );
    quiet(installation, "a revision waits for approval").await;
    let said = diff(installation);
    let expected = "\nStage everywhere, cluster us: 1 to create, 1 to change, 0 to remove\n\
        ~ ConfigMap web-config\n    data.greeting: \"one\" -> \"two\"\n\
        + ConfigMap web-more\n    data.of: \"this\"\n";
    assert!(said.contains(expected), "{said}");
    assert!(said.contains("  template.values.greeting\n"), "and what differs in the spec: {said}");
    approve(installation).await;
    let values = downstream(installation, "us", "configmap", "team-web", "web-config").await.unwrap().unwrap();
    assert_eq!(values["data"]["greeting"], "two");
}

async fn of_what_may_be_secret_only_fields_are_shown(installation: &Installation, chart: &[u8]) {
    let from_secret = json!([{"kind": "Secret", "name": "passwords"}]);
    installation.apply(&passwords(SECRETS[0])).await.unwrap();
    installation.apply(&an_app(chart, &json!({"greeting": "two"}), &from_secret)).await.unwrap();
    let preview = previewed(installation, "everywhere").await;
    assert_eq!((&preview["changed"], &preview["removed"]), (&json!(2), &json!(1)), "{preview}");
    let fields =
        "~ ConfigMap web-config\n    data.token\n- ConfigMap web-more\n~ Secret web-secret\n    stringData.password\n";
    let said = diff(installation);
    assert!(said.contains(fields) && said.contains("as some of it may be secret"), "{said}");
    approve(installation).await;

    installation.apply(&passwords(SECRETS[1])).await.unwrap();
    let preview = previewed(installation, "everywhere").await;
    assert_eq!(preview["changed"], 2, "{preview}");
    let said = diff(installation);
    assert!(
        said.contains("~ ConfigMap web-config\n    data.token\n~ Secret web-secret\n    stringData.password\n"),
        "{said}"
    );
    says_no_secret(installation, &said).await;
    approve(installation).await;
    says_no_secret(installation, "").await;
}

async fn nor_is_what_a_chart_looks_up(installation: &Installation) {
    let mut files = KEEPS;
    files[2].1 = LOOKS_UP;
    let chart = packed(installation, "looks-up", &files);
    installation.apply(&charts("charts", &chart)).await.unwrap();
    installation.apply(&an_app(&chart, &json!({"greeting": "three", "password": "open"}), &json!([]))).await.unwrap();
    previewed(installation, "everywhere").await;
    let said = diff(installation);
    let fields =
        "~ ConfigMap web-config\n    data.greeting\n    data.token\n~ Secret web-secret\n    stringData.password\n";
    assert!(said.contains(fields), "{said}");
    says_no_secret(installation, &said).await;
    approve(installation).await;
    let config = downstream(installation, "us", "configmap", "team-web", "web-config").await.unwrap().unwrap();
    assert!(
        config["data"]["token"].as_str().is_some_and(|token| token.starts_with(SECRETS[3])),
        "the case can fail: {config}"
    );
}

/// Neither what a person reads nor what Drover wrote in the management cluster, or logged, has a value of the Secret.
async fn says_no_secret(installation: &Installation, said: &str) {
    let mut all = said.to_owned() + &installation.drover_log();
    for kind in ["multiclusterapp", "catalogapp", "controllerrevision", "event"] {
        let found = api(installation.management.client(), kind, TEAM).await.unwrap();
        let found = found.list(&ListParams::default()).await.unwrap().items;
        assert!(!found.is_empty(), "no {kind}");
        all += &serde_json::to_string(&found).unwrap();
    }
    for secret in SECRETS {
        assert!(!all.contains(secret), "{secret} is told");
    }
}

async fn nothing_of_it_is_left(installation: &Installation) {
    // The status says that all is over before what was kept for it goes.
    let is_gone = async || Ok(previews(installation).await.is_empty().then_some(()));
    let gone = eventually("no preview is kept", soon(), is_gone).await;
    assert!(gone.is_ok(), "{:?}", previews(installation).await);
    quiet(installation, "all targets have the revision").await;
}

async fn says(installation: &Installation, expected: &str) {
    reads(installation, "multiclusterapp", "web", "Ready", expected).await;
}

async fn approve(installation: &Installation) {
    says(installation, "False/WaitingForApproval").await;
    let app = get(installation, "multiclusterapp", "web").await.unwrap();
    let revision = &app["status"]["targetRevision"]["name"];
    patch(
        installation,
        "multiclusterapp",
        "web",
        json!({"metadata": {"annotations": {"drover.dev/approve": revision}}}),
    )
    .await;
    says(installation, "True/Ready").await;
}

/// What the status says of a stage, once that is known and the rollout waits.
async fn previewed(installation: &Installation, stage: &str) -> Value {
    let of_stage = |app: &Value| {
        let stages = app["status"]["stages"].as_array().cloned().unwrap_or_default();
        let found = stages.into_iter().find(|found| found["name"] == stage)?;
        found.get("preview").cloned().filter(|_| app["status"]["phase"] == "WaitingForApproval")
    };
    object_becomes(installation, "multiclusterapp", "web", "it says what would change", |app| {
        app.is_some_and(|app| {
            of_stage(app).is_some() && app["status"]["observedGeneration"] == app["metadata"]["generation"]
        })
    })
    .await;
    says(installation, "False/WaitingForApproval").await;
    let app = get(installation, "multiclusterapp", "web").await.unwrap();
    of_stage(&app).unwrap()
}

async fn previews(installation: &Installation) -> Vec<Value> {
    let kept = api(installation.management.client(), "controllerrevision", TEAM).await.unwrap();
    let kept = kept.list(&ListParams::default()).await.unwrap().items;
    kept.into_iter().map(|kept| kept.data["data"].clone()).filter(|data| data.get("preview").is_some()).collect()
}

fn diff(installation: &Installation) -> String {
    let kubeconfig = installation.directory().join("vera.kubeconfig");
    std::fs::write(&kubeconfig, installation.management.kubeconfig_for("vera", &["system:masters"]).unwrap()).unwrap();
    let mut command = Command::new(drover_binary().unwrap());
    command.arg("rollout").arg("--management-kubeconfig").arg(&kubeconfig);
    let output = command.args(["diff", "web", "--namespace", TEAM]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}
