//! A node, as far as its Cluster's status tells of it.

use std::borrow::Cow;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::{Resource, core::ClusterResourceScope};
use serde::{Deserialize, Deserializer};

/// The fields of a Node that are kept: a hundred bytes of twelve thousand.
#[derive(Clone, Debug, Deserialize)]
pub struct SlimNode {
    #[serde(deserialize_with = "slim_meta")]
    metadata: ObjectMeta,
    #[serde(default)]
    spec: Spec,
    #[serde(default)]
    status: Status,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
struct Spec {
    #[serde(default)]
    unschedulable: bool,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
struct Status {
    #[serde(default, rename = "conditions", deserialize_with = "ready_condition")]
    ready: bool,
}

#[derive(Deserialize)]
struct ConditionFields<'a> {
    #[serde(borrow, rename = "type")]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    status: Cow<'a, str>,
}

impl SlimNode {
    /// Whether its kubelet says that it is ready.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.status.ready
    }

    /// Whether it is cordoned.
    #[must_use]
    pub fn is_unschedulable(&self) -> bool {
        self.spec.unschedulable
    }
}

fn ready_condition<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    let conditions = Vec::<ConditionFields<'_>>::deserialize(deserializer)?;
    Ok(conditions.iter().any(|condition| condition.kind == "Ready" && condition.status == "True"))
}

fn slim_meta<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ObjectMeta, D::Error> {
    let whole = ObjectMeta::deserialize(deserializer)?;
    Ok(ObjectMeta {
        name: whole.name,
        uid: whole.uid,
        resource_version: whole.resource_version,
        ..ObjectMeta::default()
    })
}

impl Resource for SlimNode {
    type DynamicType = ();
    type Scope = ClusterResourceScope;

    fn kind((): &()) -> Cow<'_, str> {
        "Node".into()
    }

    fn group((): &()) -> Cow<'_, str> {
        "".into()
    }

    fn version((): &()) -> Cow<'_, str> {
        "v1".into()
    }

    fn plural((): &()) -> Cow<'_, str> {
        "nodes".into()
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
    fn only_what_is_counted_is_kept() {
        let node: SlimNode = serde_json::from_value(json!({
            "metadata": {"name": "n", "labels": {"a": "b"}, "annotations": {"big": "x"}, "uid": "1", "resourceVersion": "5"},
            "spec": {"unschedulable": true, "podCIDR": "10.0.0.0/24"},
            "status": {"conditions": [{"type": "DiskPressure", "status": "False"}, {"type": "Ready", "status": "True"}]},
        }))
        .unwrap();
        assert!(node.is_ready() && node.is_unschedulable());
        assert_eq!((node.metadata.labels, node.metadata.annotations), (None, None));
    }

    #[test]
    fn a_node_without_status_is_not_ready() {
        let node: SlimNode = serde_json::from_value(json!({"metadata": {"name": "n"}})).unwrap();
        assert!(!node.is_ready() && !node.is_unschedulable());
    }
}
