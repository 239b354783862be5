//! What is kept of a node while it is scanned. Pure.

use std::{borrow::Cow, collections::BTreeMap};

use k8s_openapi::{api::core::v1::Node, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use kube::Resource;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

/// Most labels of a node that are kept.
const MOST_LABELS: usize = 256;

/// A node: its name, its labels, and whether it is ready. Whatever else it says, it keeps no other node from being read.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ScannedNode {
    #[serde(deserialize_with = "metadata")]
    metadata: ObjectMeta,
    #[serde(deserialize_with = "is_ready", rename = "status", skip_serializing)]
    is_ready: bool,
}

impl ScannedNode {
    /// One of this name.
    #[must_use]
    pub fn new(name: &str, labels: BTreeMap<String, String>, is_ready: bool) -> Self {
        let metadata = ObjectMeta { name: Some(name.to_owned()), labels: Some(labels), ..ObjectMeta::default() };
        Self { metadata, is_ready }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.metadata.name.as_deref().unwrap_or_default()
    }

    /// Its labels.
    #[must_use]
    pub fn labels(&self) -> BTreeMap<String, String> {
        self.metadata.labels.clone().unwrap_or_default()
    }

    /// Whether it is ready.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.is_ready
    }
}

fn metadata<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ObjectMeta, D::Error> {
    let whole = Value::deserialize(deserializer)?;
    let labels = whole.get("labels").and_then(Value::as_object);
    let text = |(key, value): (&String, &Value)| Some((key.clone(), value.as_str()?.to_owned()));
    Ok(ObjectMeta {
        name: whole.get("name").and_then(Value::as_str).map(str::to_owned),
        labels: Some(labels.into_iter().flatten().filter_map(text).take(MOST_LABELS).collect()),
        ..ObjectMeta::default()
    })
}

fn is_ready<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    let whole = Value::deserialize(deserializer)?;
    let mut conditions = whole.get("conditions").and_then(Value::as_array).into_iter().flatten();
    Ok(conditions.any(|condition| condition["type"] == "Ready" && condition["status"] == "True"))
}

impl Resource for ScannedNode {
    type DynamicType = ();
    type Scope = <Node as Resource>::Scope;

    fn kind((): &()) -> Cow<'_, str> {
        Node::kind(&())
    }
    fn group((): &()) -> Cow<'_, str> {
        Node::group(&())
    }
    fn version((): &()) -> Cow<'_, str> {
        Node::version(&())
    }
    fn plural((): &()) -> Cow<'_, str> {
        Node::plural(&())
    }
    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }
    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_node_is_read_whatever_it_says_of_itself() {
        let read = |whole: Value| serde_json::from_value::<ScannedNode>(whole).unwrap();
        let ready = json!({"conditions": [{"type": "Ready", "status": "True"}], "capacity": 7});
        let node =
            read(json!({"metadata": {"name": "n1", "labels": {"a": "b", "c": 1}, "annotations": 3}, "status": ready}));
        assert_eq!((node.name(), node.is_ready(), node.labels().len()), ("n1", true, 1));
        let other = read(json!({"metadata": {"labels": []}, "status": {"conditions": "none"}}));
        assert_eq!((other.name(), other.is_ready()), ("", false));
    }
}
