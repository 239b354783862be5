//! The schemas as the API server will judge with them, offline. `checker` is a small stand-in for that judgement.

mod checker;
mod lint;
mod multi_cluster_app;
mod objects;
mod types;

use serde_json::Value;

/// Schema of a kind as [`crate::all`] publishes it, or will.
fn schema(kind: &str) -> Value {
    let crd = crate::v1alpha1::all().into_iter().find(|crd| crd.spec.names.kind == kind).unwrap();
    serde_json::to_value(crd.spec.versions[0].schema.as_ref().unwrap().open_api_v3_schema.as_ref().unwrap()).unwrap()
}

/// A merge patch (RFC 7396).
fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = serde_json::json!({});
    }
    let target = target.as_object_mut().unwrap();
    for (key, value) in patch {
        if value.is_null() {
            target.remove(key);
        } else {
            merge(target.entry(key).or_insert(Value::Null), value);
        }
    }
}
