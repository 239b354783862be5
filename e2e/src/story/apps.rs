//! Apps as people apply them.

#![expect(clippy::unwrap_used, clippy::missing_panics_doc, reason = "a story is a test, and a test may panic")]

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::objects::TEAM;
use crate::charts::ChartFiles;

/// The digest by which an app names a packaged chart.
#[must_use]
pub fn digest(package: &[u8]) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, package);
    digest.as_ref().iter().fold("sha256:".to_owned(), |text, byte| format!("{text}{byte:02x}"))
}

/// A `ConfigMap` with a packaged chart that apps may use.
#[must_use]
pub fn a_packaged_chart(name: &str, chart: &ChartFiles) -> Value {
    let package = STANDARD.encode(chart.package().unwrap());
    let metadata = json!({"name": name, "namespace": TEAM, "labels": {"drover.dev/usable-by": "catalog-app"}});
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "binaryData": {"chart.tgz": package}})
}

/// The `RoleTemplate` `deployer`: what an app needs for the charts for tests.
#[must_use]
pub fn a_deployer() -> Value {
    let verbs = json!(["get", "list", "create", "update", "patch", "delete"]);
    let core = ["configmaps", "secrets", "services", "serviceaccounts", "pods", "persistentvolumeclaims"];
    let rules = json!([
        {"apiGroups": [""], "resources": core, "verbs": verbs},
        {"apiGroups": ["apps"], "resources": ["deployments", "statefulsets", "daemonsets"], "verbs": verbs},
        {"apiGroups": ["batch"], "resources": ["jobs"], "verbs": verbs},
    ]);
    json!({
        "apiVersion": "drover.dev/v1alpha1", "kind": "RoleTemplate", "metadata": {"name": "deployer"},
        "spec": {"context": "Project", "rules": rules, "bindableFrom": {"all": {}}},
    })
}

/// An app of the Project `shop`, with the role of [`a_deployer`] in the namespace `team-web` of `cluster`, with the chart in a `ConfigMap`.
/// What `spec` says besides stands in its spec.
#[must_use]
pub fn an_app(name: &str, cluster: &str, (map, chart): (&str, &ChartFiles), spec: &Value) -> Value {
    let digest = digest(&chart.package().unwrap());
    let mut whole = json!({
        "clusterName": cluster, "namespace": "team-web", "projectName": "shop", "roleTemplateName": "deployer",
        "chart": {"configMap": {"name": map, "key": "chart.tgz", "digest": digest}},
    });
    whole.as_object_mut().unwrap().extend(spec.as_object().cloned().unwrap_or_default());
    let metadata = json!({"name": name, "namespace": TEAM});
    json!({"apiVersion": "drover.dev/v1alpha1", "kind": "CatalogApp", "metadata": metadata, "spec": whole})
}
