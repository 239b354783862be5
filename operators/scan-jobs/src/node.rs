//! What is kept of a node while it is scanned, and how nodes are read.

use std::{borrow::Cow, collections::BTreeMap};

use drover_runtime::{ApiError, cache::list_page};
use k8s_openapi::{api::core::v1::Node, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use kube::{Api, Client, Resource, api::ListParams};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

/// Most nodes of a cluster that are scanned.
pub const MOST_NODES: usize = 20_000;
/// Most bytes of the nodes of a cluster, as they are kept.
const MOST_OF_NODES: usize = 32 << 20;
/// Nodes of one request.
const PAGE: u32 = 500;
/// So many bytes a node counts at least while a page is read.
const LEAST_NODE: usize = 1 << 10;
/// Most labels of a node that are kept.
const MOST_LABELS: usize = 256;
/// Labels of roles go before all others: they say what is looked at.
const ROLE: &str = "node-role.kubernetes.io/";

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

    /// About how many bytes it takes.
    #[must_use]
    pub fn weight(&self) -> usize {
        let of_labels = self.metadata.labels.iter().flatten().map(|(key, value)| key.len() + value.len() + 64);
        self.name().len() + of_labels.sum::<usize>() + 256
    }

    /// Whether it is ready.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.is_ready
    }
}

/// The nodes of a cluster, and whether there are more than are scanned.
#[derive(Clone, Debug, Default)]
pub struct Nodes {
    /// By name.
    pub all: Vec<ScannedNode>,
    /// Whether there are others.
    pub has_more: bool,
}

impl Nodes {
    /// Those of a cluster, read by pages within bounds.
    ///
    /// # Errors
    /// Those of a request, and a page that is too large.
    pub async fn list(client: &Client) -> Result<Self, ApiError> {
        let api = Api::<ScannedNode>::all(client.clone());
        let (mut nodes, mut next, mut weight) = (Self::default(), None, 0);
        loop {
            let mut wanted = ListParams::default().limit(PAGE);
            wanted.continue_token = next;
            let (page, token) = list_page("list Nodes", &api, &wanted, LEAST_NODE).await?;
            let named = page.into_iter().filter(|node| is_a_name(node.name()));
            let before = nodes.all.len();
            nodes.all.extend(named);
            weight += nodes.all.iter().skip(before).map(ScannedNode::weight).sum::<usize>();
            next = token;
            if next.is_none() || nodes.all.len() > MOST_NODES || weight > MOST_OF_NODES {
                break;
            }
        }
        nodes.has_more = next.is_some() || nodes.all.len() > MOST_NODES;
        nodes.all.sort_by(|one, other| one.name().cmp(other.name()));
        nodes.all.dedup_by(|one, other| one.name() == other.name());
        nodes.all.truncate(MOST_NODES);
        Ok(nodes)
    }
}

/// As nodes are named: what a cluster says is no input to trust.
fn is_a_name(name: &str) -> bool {
    let is_part = |part: &str| {
        !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
    };
    name.len() <= 253 && name.split('.').all(is_part)
}

fn metadata<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ObjectMeta, D::Error> {
    let whole = Value::deserialize(deserializer)?;
    let labels = whole.get("labels").and_then(Value::as_object);
    let text = |(key, value): (&String, &Value)| Some((key.clone(), value.as_str()?.to_owned()));
    let is_role = |(key, _): &(&String, &Value)| key.starts_with(ROLE);
    let (roles, others): (Vec<_>, Vec<_>) = labels.into_iter().flatten().partition(is_role);
    let kept = roles.into_iter().chain(others).filter_map(text).take(MOST_LABELS);
    Ok(ObjectMeta {
        name: whole.get("name").and_then(Value::as_str).map(str::to_owned),
        labels: Some(kept.collect()),
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
