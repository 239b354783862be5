//! The API as the API server sees it: definitions, good and bad objects, and every file under `examples`.

use std::path::Path;

use drover_e2e::ControlPlane;
use drover_e2e::installation::kubectl_on;
use drover_e2e::objects::{api, apply_to, patch_on};
use drover_e2e::story::{a_cluster, a_project, prepared};
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

drover_e2e::tests![
    the_definitions_are_accepted_without_a_warning,
    every_example_is_accepted,
    bad_objects_are_refused_with_a_reason_and_a_fresh_one_is_not_taken_for_ready,
];

async fn the_definitions_are_accepted_without_a_warning() {
    let Some(installation) = prepared("definitions", &[]).await else { return };
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../config");
    let mut kubectl = installation.management.kubectl().unwrap();
    let output =
        kubectl.args(["apply", "--server-side", "--force-conflicts", "--kustomize"]).arg(folder).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(String::from_utf8_lossy(&output.stderr), "", "a warning");
}

async fn every_example_is_accepted() {
    let Some(installation) = prepared("examples", &[]).await else { return };
    for file in examples(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples")) {
        let text = std::fs::read_to_string(&file).unwrap();
        installation.apply_text(&text).await.unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    }
    let shown = installation.kubectl(&["get", "drover", "--all-namespaces"]).unwrap();
    assert!(shown.contains("prod-eu") && shown.contains("shop"), "{shown}");
}

/// What people apply; the smallest operator is a crate, which is compiled.
fn examples(folder: &Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let all = entries.flat_map(|path| if path.is_dir() { examples(&path) } else { vec![path] });
    all.filter(|path| path.extension().is_some_and(|extension| extension == "yaml")).collect()
}

async fn bad_objects_are_refused_with_a_reason_and_a_fresh_one_is_not_taken_for_ready() {
    let Some(installation) = prepared("bad objects", &[]).await else { return };
    let plane = &installation.management;
    apply_to(plane, &a_project("good", &["team-web"])).await.unwrap();
    let fresh: Value =
        serde_json::from_str(&kubectl_on(plane, &["get", "project", "good", "-n", "team", "-o", "json"]).unwrap())
            .unwrap();
    assert_eq!(fresh["status"]["observedGeneration"], -1);

    for (what, path, value, expected) in [
        ("no selection", "/spec/clusters", json!({}), "exactly one of"),
        ("two selections", "/spec/clusters", json!({"all": {}, "names": ["a"]}), "exactly one of"),
        ("an empty selector", "/spec/clusters", json!({"selector": {"matchLabels": {}}}), "requirement"),
        ("a protected namespace", "/spec/namespaces", json!([{"name": "kube-system"}]), "protected"),
        ("our own labels", "/spec/namespaceMetadata", json!({"labels": {"drover.dev/owner-name": "x"}}), "drover.dev/"),
        (
            "a pod security label",
            "/spec/namespaceMetadata",
            json!({"labels": {"pod-security.kubernetes.io/enforce": "privileged"}}),
            "pod-security",
        ),
        ("a key that no label may have", "/spec/namespaceMetadata", json!({"labels": {"a b": "c"}}), "63 letters"),
        ("a long annotation", "/spec/namespaceMetadata", json!({"annotations": {"a": "x".repeat(1025)}}), "1024"),
        ("a name twice", "/spec/namespaces", json!([{"name": "team-a"}, {"name": "team-a"}]), "uplicate"),
        ("a policy that is none", "/spec/deletionPolicy", json!("Maybe"), "Unsupported value"),
    ] {
        let mut bad = a_project("bad", &[]);
        let (parent, key) = path.rsplit_once('/').unwrap();
        bad.pointer_mut(parent).unwrap()[key] = value;
        refused(plane, &bad, what, expected).await;
    }
    for (what, name, connection, expected) in [
        ("no connection", "eu", json!({}), "exactly one of"),
        ("local under another name", "eu", json!({"local": {}}), "local"),
        ("a kubeconfig under the name local", "local", json!({"kubeconfig": {"secretRef": {"name": "x"}}}), "local"),
        ("a name with dots", "eu.prod", json!({"kubeconfig": {"secretRef": {"name": "x"}}}), "name"),
    ] {
        let bad = json!({"apiVersion": "drover.dev/v1alpha1", "kind": "Cluster", "metadata": {"name": name}, "spec": {"connection": connection}});
        refused(plane, &bad, what, expected).await;
    }
    rights_have_one_owner(plane).await;
}

/// As Flux and Argo CD apply: an entry that another field manager added does not survive it.
async fn rights_have_one_owner(plane: &ControlPlane) {
    let mut twice = a_cluster("eu");
    let (entry, tenants) = (twice["spec"]["tenants"][0].clone(), twice["spec"]["tenants"].as_array_mut().unwrap());
    tenants.push(entry);
    refused(plane, &twice, "a tenant entry twice", "a name of its own").await;
    let clusters = api(plane.client(), "cluster", "").await.unwrap();
    let flux = PatchParams::apply("flux").force();
    let apply = async || clusters.patch("eu", &flux, &Patch::Apply(&a_cluster("eu"))).await.unwrap();
    apply().await;
    let added = json!([{"op": "add", "path": "/spec/tenants/-", "value": {"name": "mine", "from": {"all": {}}}}]);
    patch_on(plane, "cluster", "", "eu", added).await.unwrap();
    let applied = apply().await;
    assert_eq!(applied.data["spec"]["tenants"].as_array().unwrap().len(), 1, "{}", applied.data["spec"]["tenants"]);
}

async fn refused(plane: &ControlPlane, object: &Value, what: &str, expected: &str) {
    let error = apply_to(plane, object).await.expect_err(what).to_string();
    assert!(error.contains(expected), "{what}: {error}");
}
