//! A node, as far as the status of its Cluster reports it.

use std::{borrow::Cow, collections::BTreeMap};

use drover_runtime::quantity::Amount;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::{Resource, core::ClusterResourceScope};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use crate::distribution::Distribution;

/// Resources that every node has.
pub(crate) const COMMON_RESOURCES: [&str; 4] = ["cpu", "ephemeral-storage", "memory", "pods"];
/// Most resources of a vendor that are reported, such as `nvidia.com/gpu`.
pub(crate) const MOST_EXTENDED: usize = 4;
/// Longest name of a resource that an API server accepts: a DNS name, a slash and a label.
const LONGEST_NAME: usize = 317;

/// Labels that say what runs on a node.
const ROLES: [&str; 2] = ["node-role.kubernetes.io/control-plane", "node-role.kubernetes.io/etcd"];

/// Amounts by resource.
pub(crate) type Amounts = BTreeMap<String, Amount>;

/// The fields of a Node that are kept: some hundred bytes of twelve thousand.
#[derive(Clone, Debug, Deserialize)]
#[serde(from = "Whole")]
pub struct SlimNode {
    metadata: ObjectMeta,
    ready: bool,
    unschedulable: bool,
    pub(crate) capacity: Amounts,
    pub(crate) allocatable: Amounts,
    pub(crate) hint: Option<Distribution>,
    roles: Vec<&'static str>,
}

/// A Node while it is read.
#[derive(Deserialize)]
struct Whole {
    metadata: Meta,
    #[serde(default)]
    spec: Spec,
    #[serde(default)]
    status: Status,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Meta {
    name: Option<String>,
    uid: Option<String>,
    resource_version: Option<String>,
    #[serde(default)]
    labels: Value,
    #[serde(default)]
    annotations: Value,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Spec {
    unschedulable: bool,
    #[serde(rename = "providerID")]
    provider_id: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Status {
    #[serde(rename = "conditions", deserialize_with = "ready_condition")]
    ready: bool,
    #[serde(deserialize_with = "slim_amounts")]
    capacity: Amounts,
    #[serde(deserialize_with = "slim_amounts")]
    allocatable: Amounts,
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
        self.ready
    }

    /// Whether it is cordoned.
    #[must_use]
    pub fn is_unschedulable(&self) -> bool {
        self.unschedulable
    }

    /// Whether it has this label, which says what runs on it.
    pub(crate) fn has_role(&self, label: &str) -> bool {
        self.roles.contains(&label)
    }
}

impl From<Whole> for SlimNode {
    fn from(Whole { metadata, spec, status }: Whole) -> Self {
        let hint = Distribution::of_node(&metadata.labels, &metadata.annotations, &spec.provider_id);
        let roles = ROLES.into_iter().filter(|role| metadata.labels.get(role).is_some()).collect();
        let metadata = ObjectMeta {
            name: metadata.name,
            uid: metadata.uid,
            resource_version: metadata.resource_version,
            ..ObjectMeta::default()
        };
        let Status { ready, capacity, allocatable } = status;
        Self { metadata, ready, unschedulable: spec.unschedulable, capacity, allocatable, hint, roles }
    }
}

fn ready_condition<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    let conditions = Vec::<ConditionFields<'_>>::deserialize(deserializer)?;
    Ok(conditions.iter().any(|condition| condition.kind == "Ready" && condition.status == "True"))
}

fn slim_amounts<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Amounts, D::Error> {
    let whole = BTreeMap::<String, Value>::deserialize(deserializer)?;
    let amounts = whole.into_iter().filter_map(|(name, value)| {
        let amount = Amount::parse(value.as_str()?)?;
        (name.len() <= LONGEST_NAME).then_some((name, amount))
    });
    Ok(reported(amounts.collect()))
}

/// The amounts that are reported. Which vendors' resources there are is up to the cluster, so they are limited.
pub(crate) fn reported(mut amounts: Amounts) -> Amounts {
    let mut extended = 0;
    amounts.retain(|name, _| {
        let is_extended = name.contains('/');
        extended += usize::from(is_extended);
        if is_extended { extended <= MOST_EXTENDED } else { COMMON_RESOURCES.contains(&name.as_str()) }
    });
    amounts
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

    fn shown(amounts: &Amounts) -> Vec<String> {
        let show = |(name, amount): (&String, &Amount)| {
            format!("{name}={}", amount.print(drover_runtime::quantity::Form::Decimal).0)
        };
        amounts.iter().map(show).collect()
    }

    #[test]
    fn only_what_is_told_of_is_kept() {
        let text = json!({
            "metadata": {"name": "n", "labels": {"eks.amazonaws.com/nodegroup": "b"}, "annotations": {"big": "x"},
                "uid": "1", "resourceVersion": "5"},
            "spec": {"unschedulable": true, "podCIDR": "10.0.0.0/24", "providerID": "aws:///x"},
            "status": {
                "conditions": [{"type": "DiskPressure", "status": "False"}, {"type": "Ready", "status": "True"}],
                "capacity": {"cpu": "4", "memory": "8Gi", "pods": "110", "ephemeral-storage": "many", "hugepages-2Mi": "0",
                    "a.com/x": "1", "b.com/x": "1", "c.com/x": "1", "d.com/x": "1", "e.com/x": "1"},
                "allocatable": {"cpu": "3500m", "pods": 110},
            },
        });
        let node: SlimNode = serde_json::from_str(&text.to_string()).unwrap();
        assert!(node.is_ready() && node.is_unschedulable());
        assert_eq!((node.metadata.labels, node.metadata.annotations), (None, None));
        assert_eq!((node.metadata.name.as_deref(), node.metadata.uid.as_deref()), (Some("n"), Some("1")));
        assert_eq!(node.metadata.resource_version.as_deref(), Some("5"));
        assert_eq!(
            shown(&node.capacity),
            ["a.com/x=1", "b.com/x=1", "c.com/x=1", "cpu=4", "d.com/x=1", "memory=8589934592", "pods=110"]
        );
        assert_eq!(shown(&node.allocatable), ["cpu=3500m"]);
        assert_eq!(node.hint, Some(Distribution::Eks));
    }

    #[test]
    fn a_node_without_status_is_not_ready() {
        let node: SlimNode = serde_json::from_value(json!({"metadata": {"name": "n"}})).unwrap();
        assert!(!node.is_ready() && !node.is_unschedulable());
        assert!(node.capacity.is_empty() && node.hint.is_none());
    }
}
