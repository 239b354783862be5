//! Apps on real API servers: a chart becomes a release that helm knows, with the rights of the app and no others.

use std::fs;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use drover_e2e::installation::Installation;
use drover_e2e::story::*;
use serde_json::{Value, json};

drover_e2e::tests![an_app_is_a_release_that_helm_knows,];

const CHART: &str = "apiVersion: v2\nname: shop\nversion: 1.2.3\nappVersion: \"7\"\n";
const VALUES: &str = "greeting: hello\nsecret: \"\"\nservice:\n  port: 80\n";
const SCHEMA: &str =
    r#"{"type":"object","properties":{"service":{"type":"object","properties":{"port":{"type":"integer"}}}}}"#;
const TEMPLATES: [(&str, &str); 4] = [
    (
        "config.yaml",
        "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {{ .Release.Name }}-config\ndata:\n  greeting: {{ .Values.greeting | quote }}\n  \
         random: {{ randAlphaNum 8 }}\n  revision: {{ .Release.Revision | quote }}\n",
    ),
    (
        "service.yaml",
        "apiVersion: v1\nkind: Service\nmetadata:\n  name: {{ .Release.Name }}\nspec:\n  ports:\n  - port: {{ .Values.service.port }}\n",
    ),
    (
        "hook.yaml",
        "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {{ .Release.Name }}-hook\n  annotations:\n    helm.sh/hook: pre-install,pre-upgrade\n",
    ),
    ("NOTES.txt", "Say {{ .Values.greeting }}.\n"),
];

/// Packs a chart by helm, and returns the bytes.
pub(crate) fn packed(installation: &Installation, name: &str, files: &[(&str, &str)]) -> Vec<u8> {
    let folder = installation.directory().join(name);
    for (path, text) in files {
        let path = folder.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    let target = installation.directory().join(format!("{name}-packed"));
    let arguments = ["package", &folder.display().to_string(), "--destination", &target.display().to_string()];
    let output = installation.management.helm().unwrap().args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let archive = fs::read_dir(&target).unwrap().next().unwrap().unwrap().path();
    fs::read(archive).unwrap()
}

fn shop_chart(installation: &Installation) -> Vec<u8> {
    let mut files = vec![("Chart.yaml", CHART), ("values.yaml", VALUES), ("values.schema.json", SCHEMA)];
    let templates: Vec<(PathBuf, &str)> =
        TEMPLATES.iter().map(|(name, text)| (Path::new("templates").join(name), *text)).collect();
    files.extend(templates.iter().map(|(path, text)| (path.to_str().unwrap(), *text)));
    packed(installation, "shop", &files)
}

pub(crate) fn digest(bytes: &[u8]) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, bytes);
    digest.as_ref().iter().fold("sha256:".to_owned(), |text, byte| format!("{text}{byte:02x}"))
}

pub(crate) fn charts(name: &str, chart: &[u8]) -> Value {
    json!({
        "apiVersion": "v1", "kind": "ConfigMap", "binaryData": {"chart.tgz": STANDARD.encode(chart)},
        "metadata": {"name": name, "namespace": TEAM, "labels": {"drover.dev/usable-by": "catalog-app"}},
    })
}

/// What an app may do with this role, and nothing beyond.
pub(crate) fn deployer() -> Value {
    let verbs = json!(["get", "list", "create", "update", "patch", "delete"]);
    let rules = json!([{"apiGroups": [""], "resources": ["configmaps", "secrets", "services"], "verbs": verbs}]);
    json!({
        "apiVersion": "drover.dev/v1alpha1", "kind": "RoleTemplate", "metadata": {"name": "deployer"},
        "spec": {"context": "Project", "rules": rules, "bindableFrom": {"all": {}}},
    })
}

pub(crate) fn an_app(name: &str, chart: &[u8], spec: &Value) -> Value {
    let mut whole = json!({
        "clusterName": "eu", "namespace": "team-web", "projectName": "shop", "roleTemplateName": "deployer",
        "chart": {"configMap": {"name": "charts", "key": "chart.tgz", "digest": digest(chart)}},
    });
    whole.as_object_mut().unwrap().extend(spec.as_object().cloned().unwrap_or_default());
    let metadata = json!({"name": name, "namespace": TEAM});
    json!({"apiVersion": "drover.dev/v1alpha1", "kind": "CatalogApp", "metadata": metadata, "spec": whole})
}

/// What helm, run by a person, prints of the release.
pub(crate) fn helm(installation: &Installation, arguments: &[&str]) -> String {
    let mut command = installation.downstream["eu"].helm().unwrap();
    let output = command.args(arguments).args(["--namespace", "team-web"]).output().unwrap();
    assert!(output.status.success(), "helm {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

pub(crate) fn history(installation: &Installation) -> Vec<(i64, String)> {
    let all: Value = serde_json::from_str(&helm(installation, &["history", "web", "--output", "json"])).unwrap();
    let entry = |entry: &Value| (entry["revision"].as_i64().unwrap(), entry["status"].as_str().unwrap().to_owned());
    all.as_array().unwrap().iter().map(entry).collect()
}

async fn config(installation: &Installation) -> Value {
    downstream(installation, "eu", "configmap", "team-web", "web-config").await.unwrap().unwrap()
}

async fn says(installation: &Installation, app: &str, expected: &str) {
    reads(installation, "catalogapp", app, "Ready", expected).await;
}

async fn an_app_is_a_release_that_helm_knows() {
    let Some(installation) = restful_story("apps", &["eu"]).await else { return };
    let chart = shop_chart(&installation);
    for object in [deployer(), charts("charts", &chart), a_project("shop", &NAMESPACES)] {
        installation.apply(&object).await.unwrap();
    }
    let web = an_app("web", &chart, &json!({"values": {"greeting": "good morning"}}));
    ready_with(&installation, &web).await;
    helm_knows_it(&installation).await;
    quiet(&installation, "the app is released").await;
    a_change_is_one_upgrade(&installation, &chart).await;
    wrong_values_reach_no_cluster(&installation, &chart).await;
    nothing_beyond_its_rights(&installation).await;
    what_belongs_to_nobody_is_not_taken(&installation, &chart).await;
    a_password_is_kept_by_lookup(&installation).await;
    a_release_of_helm_is_taken_over(&installation, &chart).await;
    nothing_is_left(&installation).await;
}

async fn helm_knows_it(installation: &Installation) {
    let config = config(installation).await;
    assert_eq!(config["data"]["greeting"], "good morning");
    assert_eq!(config["data"]["revision"], "1");
    assert_eq!(config["metadata"]["labels"]["app.kubernetes.io/managed-by"], "Helm");
    assert_eq!(config["metadata"]["annotations"]["meta.helm.sh/release-name"], "web");
    assert_eq!(history(installation), [(1, "deployed".to_owned())]);
    assert!(helm(installation, &["get", "notes", "web"]).contains("Say good morning."));
    assert!(helm(installation, &["get", "manifest", "web"]).contains("web-config"));
    assert_eq!(helm(installation, &["get", "values", "web"]), "USER-SUPPLIED VALUES:\ngreeting: good morning\n");
    let list: Value = serde_json::from_str(&helm(installation, &["list", "--output", "json"])).unwrap();
    assert_eq!(list[0]["chart"], "shop-1.2.3");
    assert_eq!(list[0]["app_version"], "7");
}

async fn a_change_is_one_upgrade(installation: &Installation, chart: &[u8]) {
    let spec = json!({"values": {"greeting": "good evening"}, "answers": {"service.port": "8080"}});
    ready_with(installation, &an_app("web", chart, &spec)).await;
    assert_eq!(config(installation).await["data"]["greeting"], "good evening");
    assert_eq!(history(installation), [(1, "superseded".to_owned()), (2, "deployed".to_owned())]);
    let random = config(installation).await["data"]["random"].clone();
    quiet(installation, "the app is upgraded").await;
    assert_eq!(config(installation).await["data"]["random"], random, "a stored manifest decides");
    helm(installation, &["rollback", "web", "1"]);
    assert_eq!(config(installation).await["data"]["greeting"], "good morning", "a person can go back");
}

async fn wrong_values_reach_no_cluster(installation: &Installation, chart: &[u8]) {
    let wrong = json!({"releaseName": "wrong", "values": {"service": {"port": "many"}}});
    installation.apply(&an_app("wrong", chart, &wrong)).await.unwrap();
    says(installation, "wrong", "False/ValuesInvalid").await;
    let secret = downstream(installation, "eu", "secret", "team-web", "sh.helm.release.v1.wrong.v1").await.unwrap();
    assert_eq!(secret, None);
    deleted(installation, "catalogapp", "wrong").await;
}

async fn nothing_beyond_its_rights(installation: &Installation) {
    let role =
        "apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata:\n  name: everything\nrules: []\n";
    let chart = packed(
        installation,
        "greedy",
        &[("Chart.yaml", "apiVersion: v2\nname: greedy\nversion: 1.0.0\n"), ("templates/role.yaml", role)],
    );
    installation.apply(&charts("greedy", &chart)).await.unwrap();
    let from = json!({"chart": {"configMap": {"name": "greedy", "key": "chart.tgz", "digest": digest(&chart)}}});
    installation.apply(&an_app("greedy", &chart, &from)).await.unwrap();
    says(installation, "greedy", "False/ObjectsRefused").await;
    deleted(installation, "catalogapp", "greedy").await;

    let job = "apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: d\nspec:\n  selector: {matchLabels: {a: b}}\n  template:\n    metadata: {labels: {a: b}}\n    spec: {containers: [{name: c, image: i}]}\n";
    let chart = packed(
        installation,
        "beyond",
        &[("Chart.yaml", "apiVersion: v2\nname: beyond\nversion: 1.0.0\n"), ("templates/d.yaml", job)],
    );
    installation.apply(&charts("beyond", &chart)).await.unwrap();
    let from = json!({
        "chart": {"configMap": {"name": "beyond", "key": "chart.tgz", "digest": digest(&chart)}}, "remediation": {"retries": 0},
    });
    installation.apply(&an_app("beyond", &chart, &from)).await.unwrap();
    says(installation, "beyond", "False/RetriesExhausted").await;
    let message = condition_message(&get(installation, "catalogapp", "beyond").await.unwrap());
    assert!(message.contains("Deployment"), "{message}");
    assert_eq!(downstream(installation, "eu", "deployment", "team-web", "d").await.unwrap(), None);
    deleted(installation, "catalogapp", "beyond").await;
}

pub(crate) fn condition_message(app: &Value) -> String {
    let conditions = app["status"]["conditions"].as_array().unwrap();
    let ready = conditions.iter().find(|condition| condition["type"] == "Ready").unwrap();
    ready["message"].as_str().unwrap().to_owned()
}

/// Not by another try either.
async fn what_belongs_to_nobody_is_not_taken(installation: &Installation, chart: &[u8]) {
    let metadata = json!({"name": "foreign-config", "namespace": "team-web"});
    let foreign = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"greeting": "mine"}});
    drover_e2e::objects::apply_to(&installation.downstream["eu"], &foreign).await.unwrap();
    installation.apply(&an_app("foreign", chart, &json!({"remediation": {"retries": 1}}))).await.unwrap();
    says(installation, "foreign", "False/RetriesExhausted").await;
    deleted(installation, "catalogapp", "foreign").await;
    let found = downstream(installation, "eu", "configmap", "team-web", "foreign-config").await.unwrap().unwrap();
    assert_eq!(found["data"], json!({"greeting": "mine"}));
    assert_eq!(found["metadata"]["labels"], Value::Null);
}

const PASSWORD: &str = r#"{{- $old := lookup "v1" "Secret" .Release.Namespace "pass" }}
apiVersion: v1
kind: Secret
metadata:
  name: pass
  labels:
    greeting: {{ .Values.greeting | quote }}
data:
  password: {{ if $old }}{{ index $old.data "password" }}{{ else }}{{ randAlphaNum 16 | b64enc }}{{ end }}
"#;

async fn a_password_is_kept_by_lookup(installation: &Installation) {
    let files = [
        ("Chart.yaml", "apiVersion: v2\nname: pass\nversion: 1.0.0\n"),
        ("values.yaml", "greeting: one\n"),
        ("templates/secret.yaml", PASSWORD),
    ];
    let chart = packed(installation, "pass", &files);
    installation.apply(&charts("pass", &chart)).await.unwrap();
    let spec = |greeting: &str| {
        let from = json!({"name": "pass", "key": "chart.tgz", "digest": digest(&chart)});
        json!({"chart": {"configMap": from}, "values": {"greeting": greeting}})
    };
    ready_with(installation, &an_app("pass", &chart, &spec("one"))).await;
    let password = |secret: Option<Value>| secret.unwrap()["data"]["password"].as_str().unwrap().to_owned();
    let first = password(downstream(installation, "eu", "secret", "team-web", "pass").await.unwrap());
    ready_with(installation, &an_app("pass", &chart, &spec("two"))).await;
    let secret = downstream(installation, "eu", "secret", "team-web", "pass").await.unwrap();
    assert_eq!(secret.as_ref().unwrap()["metadata"]["labels"]["greeting"], "two");
    assert_eq!(password(secret), first);
    deleted(installation, "catalogapp", "pass").await;
}

async fn a_release_of_helm_is_taken_over(installation: &Installation, chart: &[u8]) {
    let archive = installation.directory().join("byhand.tgz");
    fs::write(&archive, chart).unwrap();
    helm(installation, &["install", "byhand", &archive.display().to_string()]);
    let uid = |object: Option<Value>| object.unwrap()["metadata"]["uid"].clone();
    let before = uid(downstream(installation, "eu", "configmap", "team-web", "byhand-config").await.unwrap());
    installation.apply(&an_app("byhand", chart, &json!({}))).await.unwrap();
    says(installation, "byhand", "False/ObjectExists").await;
    ready_with(installation, &an_app("byhand", chart, &json!({"takeOwnership": true}))).await;
    let after = uid(downstream(installation, "eu", "configmap", "team-web", "byhand-config").await.unwrap());
    assert_eq!(before, after, "nothing is created anew");
    deleted(installation, "catalogapp", "byhand").await;
    downstream_becomes(installation, "eu", "configmap", "team-web", "byhand-config", "it is gone", |found| {
        found.is_none()
    })
    .await;
}

async fn nothing_is_left(installation: &Installation) {
    deleted(installation, "catalogapp", "web").await;
    for (kind, namespace, name) in [
        ("configmap", "team-web", "web-config"),
        ("service", "team-web", "web"),
        ("secret", "team-web", "sh.helm.release.v1.web.v1"),
        ("secret", "team-web", "sh.helm.release.v1.web.v2"),
        ("serviceaccount", "drover-system", "app.team.web"),
        ("rolebinding", "team-web", "drover:app.team.web:drover:deployer"),
    ] {
        downstream_becomes(installation, "eu", kind, namespace, name, "it is gone", |found| found.is_none()).await;
    }
}
