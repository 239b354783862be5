//! Which clusters or namespaces are meant.

use std::{borrow::Cow, collections::BTreeMap};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::core::{Selector, SelectorExt as _};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

pub use crate::duration::ApiDuration;
use crate::schema;

/// Everything there is. An object, so that it can gain exceptions one day.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Everything {}

/// Which clusters are meant: by name, by label, or all.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ClusterSelection {
    /// Exactly these.
    Names(Vec<String>),
    /// Those whose labels match.
    Selector(LabelSelector),
    /// Every one.
    All(Everything),
}

/// Which namespaces of the management cluster are meant: by name, by label, or all.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum NamespaceSelection {
    /// Exactly these.
    Names(Vec<String>),
    /// Those whose labels match.
    Selector(LabelSelector),
    /// Every one.
    All(Everything),
}

impl ClusterSelection {
    /// Whether the cluster of this name and these labels is meant. An invalid selector selects nothing.
    #[must_use]
    pub fn selects(&self, name: &str, labels: &BTreeMap<String, String>) -> bool {
        match self {
            Self::Names(names) => names.iter().any(|n| n == name),
            Self::Selector(selector) => selector_matches(selector, labels),
            Self::All(Everything {}) => true,
        }
    }
}

impl NamespaceSelection {
    /// Whether the namespace of this name and these labels is meant. An invalid selector selects nothing.
    #[must_use]
    pub fn selects(&self, name: &str, labels: &BTreeMap<String, String>) -> bool {
        match self {
            Self::Names(names) => names.iter().any(|n| n == name),
            Self::Selector(selector) => selector_matches(selector, labels),
            Self::All(Everything {}) => true,
        }
    }
}

/// False for a selector without requirements too: Kubernetes would take it as "all", here it is an accident.
fn selector_matches(selector: &LabelSelector, labels: &BTreeMap<String, String>) -> bool {
    let valid = selector.match_expressions.iter().flatten().all(|e| {
        let wants_values = matches!(e.operator.as_str(), "In" | "NotIn");
        wants_values != e.values.as_ref().is_none_or(Vec::is_empty)
    });
    valid && Selector::try_from(selector.clone()).is_ok_and(|s| !s.selects_all() && s.matches(labels))
}

/// Whether the whole of `name` matches `pattern`, in which `*` stands for any run of characters, also none, and
/// everything else for itself. Takes time proportional to the length of both.
#[must_use]
pub fn pattern_matches(pattern: &str, name: &str) -> bool {
    let Some((head, rest)) = pattern.split_once('*') else { return pattern == name };
    let (middle, tail) = rest.rsplit_once('*').unwrap_or(("", rest));
    let Some(mut name) = name.strip_prefix(head).and_then(|n| n.strip_suffix(tail)) else { return false };
    for part in middle.split('*') {
        let Some((_, after)) = name.split_once(part) else { return false };
        name = after;
    }
    true
}

fn selection_schema(names: Schema, selector: &Schema, what: &str) -> Schema {
    let mut names = names;
    names.insert("description".into(), format!("Exactly these {what}, by name.").into());
    json_schema!({
        "type": "object",
        "properties": {
            "names": names,
            "selector": selector,
            "all": { "description": format!("Every one of the {what}: write {{}}."), "type": "object" },
        },
        "x-kubernetes-validations": [{
            "rule": "[has(self.names), has(self.selector), has(self.all)].exists_one(given, given)",
            "message": "give exactly one of names, selector and all",
        }],
    })
}

impl JsonSchema for ClusterSelection {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "ClusterSelection".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        selection_schema(schema::names::<500>(generator), &schema::label_selector(generator), "clusters")
    }
}

impl JsonSchema for NamespaceSelection {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "NamespaceSelection".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        selection_schema(schema::names::<100>(generator), &schema::label_selector(generator), "namespaces")
    }
}
