//! Templates for tests.

use drover_crds::RoleTemplate;

pub(crate) fn template(name: &str, spec: &serde_json::Value) -> RoleTemplate {
    let object = serde_json::json!({
        "apiVersion": "drover.dev/v1alpha1", "kind": "RoleTemplate", "metadata": {"name": name}, "spec": spec,
    });
    serde_json::from_value(object).unwrap()
}
