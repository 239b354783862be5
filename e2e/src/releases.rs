//! What a release of a chart leaves in a namespace, in a form in which two clients can be compared.

#![expect(clippy::indexing_slicing, reason = "what an object does not have is null")]

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flate2::read::GzDecoder;
use serde_json::{Value, json};

use crate::ControlPlane;
use crate::error::Result;
use crate::objects::{all_in, api, name_of};

/// The type of the Secrets that are release records.
pub const RECORD: &str = "helm.sh/release.v1";

/// What controllers of Kubernetes make, or report.
const OF_CONTROLLERS: [&str; 4] = ["Event", "Endpoints", "EndpointSlice", "ControllerRevision"];
/// What the API server counts, or makes up.
const OF_THE_SERVER: [&str; 5] = ["uid", "resourceVersion", "creationTimestamp", "managedFields", "selfLink"];
/// Labels of a record whose values are times.
const TIMES_OF_RECORDS: [&str; 2] = ["createdAt", "modifiedAt"];

/// What clients of Helm left in a namespace, by `KIND/NAME`: without what controllers and Drover's Projects made, and without what
/// the API server makes up. Of a release record what it holds.
pub async fn left_in(plane: &ControlPlane, namespace: &str) -> Result<BTreeMap<String, Value>> {
    let all = all_in(plane, namespace).await?;
    let key = |object: &Value| format!("{}/{}", object["kind"].as_str().unwrap_or_default(), name_of(object));
    Ok(all.iter().filter(|object| is_of_a_release(object)).map(|object| (key(object), plain(object))).collect())
}

/// The same of objects of the whole cluster, given by kind and name; those that are not there are left out.
pub async fn left_of_cluster(plane: &ControlPlane, objects: &[(&str, &str)]) -> Result<BTreeMap<String, Value>> {
    let mut found = BTreeMap::new();
    for (kind, name) in objects {
        if let Some(object) = api(plane.client(), kind, "").await?.get_opt(name).await? {
            found.insert(format!("{kind}/{name}"), plain(&serde_json::to_value(object).unwrap_or_default()));
        }
    }
    Ok(found)
}

fn is_of_a_release(object: &Value) -> bool {
    let kind = object["kind"].as_str().unwrap_or_default();
    let labels = object["metadata"]["labels"].as_object();
    let is_of_drover = labels.is_some_and(|labels| labels.contains_key("drover.dev/owner-kind"));
    let is_of_every_namespace =
        [("ServiceAccount", "default"), ("ConfigMap", "kube-root-ca.crt")].contains(&(kind, name_of(object)));
    !is_of_drover
        && !is_of_every_namespace
        && !OF_CONTROLLERS.contains(&kind)
        && object["metadata"].get("ownerReferences").is_none()
}

fn plain(object: &Value) -> Value {
    let uid = object["metadata"]["uid"].as_str().unwrap_or_default();
    let mut plain: Value = serde_json::from_str(&object.to_string().replace(uid, "UID")).unwrap_or_default();
    let managers = managers(object);
    if let Some(fields) = plain.as_object_mut() {
        fields.remove("status");
        fields.insert("managers".to_owned(), managers);
    }
    if let Some(metadata) = plain.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.retain(|field, _| !OF_THE_SERVER.contains(&field.as_str()));
    }
    if let Some(spec) = plain.get_mut("spec").and_then(Value::as_object_mut) {
        spec.retain(|field, _| !["clusterIP", "clusterIPs"].contains(&field.as_str()));
    }
    if plain["type"] == RECORD {
        plain_record(&mut plain);
    }
    plain
}

/// Who manages which fields, but for what controllers report.
fn managers(object: &Value) -> Value {
    let is_record = object["type"] == RECORD;
    let entries = object["metadata"]["managedFields"].as_array().into_iter().flatten();
    let told = entries.filter(|entry| entry["manager"] == "helm" || entry["manager"] == "Helm").map(|entry| {
        // The fields of a record are those of its labels.
        let fields = if is_record { &Value::Null } else { &entry["fieldsV1"] };
        json!([entry["manager"], entry["operation"], fields])
    });
    told.collect()
}

fn plain_record(secret: &mut Value) {
    let record = secret["data"]["release"].as_str().and_then(decoded).unwrap_or_default();
    let text = |value: &Value| value.as_str().map(str::to_owned);
    if let Some(labels) = secret.pointer_mut("/metadata/labels").and_then(Value::as_object_mut) {
        for time in TIMES_OF_RECORDS {
            labels.entry(time).and_modify(|value| *value = "a time".into());
        }
    }
    let mut record = without_times(record);
    if let Some(hooks) = record.get_mut("hooks").and_then(Value::as_array_mut) {
        // The order in which they are told has no meaning.
        hooks.sort_by_key(|hook| (text(&hook["path"]), text(&hook["name"])));
    }
    secret["data"] = record;
}

/// A record as the text in its Secret says it, however Helm packed it.
#[must_use]
pub fn decoded(data: &str) -> Option<Value> {
    let packed = STANDARD.decode(STANDARD.decode(data).ok()?).ok()?;
    let mut json = Vec::new();
    GzDecoder::new(packed.as_slice()).read_to_end(&mut json).ok()?;
    serde_json::from_slice(&json).ok()
}

fn without_times(value: Value) -> Value {
    match value {
        Value::Object(fields) => {
            let plain = |(name, value): (String, Value)| {
                let is_time = ["_deployed", "_at", "deleted"].iter().any(|end| name.ends_with(end));
                let value = if is_time && value.is_string() { "a time".into() } else { without_times(value) };
                (name, value)
            };
            Value::Object(fields.into_iter().map(plain).collect())
        }
        Value::Array(items) => items.into_iter().map(without_times).collect(),
        value => value,
    }
}

/// One place in which two values differ.
#[derive(Debug, Clone, PartialEq)]
pub struct Difference {
    /// Where, such as `/spec/replicas`.
    pub path: String,
    /// What the first one says; none if it says nothing.
    pub ours: Option<Value>,
    /// What the second one says.
    pub theirs: Option<Value>,
}

/// Every place in which two values differ.
#[must_use]
pub fn differences(ours: &Value, theirs: &Value) -> Vec<Difference> {
    let mut found = Vec::new();
    compare(String::new(), Some(ours), Some(theirs), &mut found);
    found
}

fn compare(path: String, ours: Option<&Value>, theirs: Option<&Value>, found: &mut Vec<Difference>) {
    match (ours, theirs) {
        (Some(Value::Object(a)), Some(Value::Object(b))) => {
            let names: BTreeSet<&String> = a.keys().chain(b.keys()).collect();
            for name in names {
                compare(format!("{path}/{name}"), a.get(name), b.get(name), found);
            }
        }
        (Some(Value::Array(a)), Some(Value::Array(b))) if a.len() == b.len() => {
            for (place, (a, b)) in a.iter().zip(b).enumerate() {
                compare(format!("{path}/{place}"), Some(a), Some(b), found);
            }
        }
        (ours, theirs) if ours == theirs => {}
        (ours, theirs) => found.push(Difference { path, ours: ours.cloned(), theirs: theirs.cloned() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_place_in_which_two_values_differ_is_told() {
        let [ours, theirs] = [json!({"a": [1, 2], "b": {"c": 1}, "d": 1}), json!({"a": [1, 3], "b": {}, "d": 1})];
        let paths: Vec<String> = differences(&ours, &theirs).into_iter().map(|found| found.path).collect();
        assert_eq!(paths, ["/a/1", "/b/c"]);
        assert!(differences(&ours, &ours).is_empty());
    }
}
