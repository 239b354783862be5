//! Which clusters or namespaces are meant.

use std::{
    borrow::Cow,
    collections::{BTreeMap, HashSet},
    marker::PhantomData,
};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::core::{Selector, SelectorExt as _};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use crate::schema;

/// Which of the objects of one kind are meant: by name, by label, or all.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", bound = "")]
pub enum Selection<Of> {
    /// Exactly these.
    Names(Vec<String>),
    /// Those whose labels match.
    Selector(LabelSelector),
    /// Every one.
    All(Everything<Of>),
}

/// Which clusters are meant: by name, by label, or all.
pub type ClusterSelection = Selection<Clusters>;

/// Which namespaces of the management cluster are meant: by name, by label, or all.
pub type NamespaceSelection = Selection<Namespaces>;

/// Everything there is. An object, so that it can gain exceptions one day.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(bound = "")]
pub struct Everything<Of> {
    #[serde(skip)]
    of: PhantomData<Of>,
}

/// What a [`Selection`] selects from.
pub trait Selectable {
    /// The name of the type in schemas.
    const SELECTION: &'static str;
    /// What the objects are called, for people.
    const PLURAL: &'static str;

    /// The schema of a list of their names.
    fn names(generator: &mut SchemaGenerator) -> Schema;
}

/// The clusters of the fleet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Clusters;

impl Selectable for Clusters {
    const SELECTION: &'static str = "ClusterSelection";
    const PLURAL: &'static str = "clusters";

    fn names(generator: &mut SchemaGenerator) -> Schema {
        schema::names::<500>(generator)
    }
}

/// The namespaces of the management cluster.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Namespaces;

impl Selectable for Namespaces {
    const SELECTION: &'static str = "NamespaceSelection";
    const PLURAL: &'static str = "namespaces";

    fn names(generator: &mut SchemaGenerator) -> Schema {
        schema::names::<100>(generator)
    }
}

impl<Of> Selection<Of> {
    /// Whether the object of this name and these labels is meant. An invalid selector selects nothing.
    #[must_use]
    pub fn selects(&self, name: &str, labels: &BTreeMap<String, String>) -> bool {
        match self {
            Self::Names(names) => names.iter().any(|n| n == name),
            Self::Selector(selector) => LabelMatcher::new(selector).matches(labels),
            Self::All(Everything { of: PhantomData }) => true,
        }
    }

    /// The same selection, to be asked about many objects.
    #[must_use]
    pub fn matcher(&self) -> SelectionMatcher<'_> {
        match self {
            Self::Names(names) => SelectionMatcher::Names(names.iter().map(String::as_str).collect()),
            Self::Selector(selector) => SelectionMatcher::Labels(LabelMatcher::new(selector)),
            Self::All(Everything { of: PhantomData }) => SelectionMatcher::All,
        }
    }
}

/// A [`Selection`] that costs little for each of many objects.
#[derive(Clone, Debug)]
pub enum SelectionMatcher<'a> {
    /// Exactly these.
    Names(HashSet<&'a str>),
    /// Those whose labels match.
    Labels(LabelMatcher),
    /// Every one.
    All,
}

impl SelectionMatcher<'_> {
    /// What [`Selection::selects`] answers.
    #[must_use]
    pub fn selects(&self, name: &str, labels: &BTreeMap<String, String>) -> bool {
        match self {
            Self::Names(names) => names.contains(name),
            Self::Labels(matcher) => matcher.matches(labels),
            Self::All => true,
        }
    }
}

impl<Of> Selection<Of> {
    /// The keys of the labels that it looks at.
    pub fn label_keys(&self) -> impl Iterator<Item = &str> {
        let selector = match self {
            Self::Selector(selector) => Some(selector),
            Self::Names(_) | Self::All(_) => None,
        };
        selector.into_iter().flat_map(|selector| {
            let expressions = selector.match_expressions.iter().flatten().map(|expression| &expression.key);
            selector.match_labels.iter().flat_map(BTreeMap::keys).chain(expressions).map(String::as_str)
        })
    }
}

/// A label selector that was read once, for many objects.
#[derive(Clone, Debug)]
pub struct LabelMatcher(Option<Selector>);

impl LabelMatcher {
    /// One without requirements matches nothing, as one that is invalid does: Kubernetes would take it as "all", here it is an accident.
    #[must_use]
    pub fn new(selector: &LabelSelector) -> Self {
        let valid = selector.match_expressions.iter().flatten().all(|e| {
            let wants_values = matches!(e.operator.as_str(), "In" | "NotIn");
            wants_values != e.values.as_ref().is_none_or(Vec::is_empty)
        });
        let read = valid.then(|| Selector::try_from(selector.clone()).ok()).flatten();
        Self(read.filter(|selector| !selector.selects_all()))
    }

    /// Whether all requirements hold.
    #[must_use]
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.0.as_ref().is_some_and(|selector| selector.matches(labels))
    }
}

/// A kind that fans out: it selects the clusters on which it is reconciled.
pub trait SelectsClusters {
    /// `spec.clusters`.
    fn clusters(&self) -> &ClusterSelection;
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

impl<Of: Selectable> JsonSchema for Selection<Of> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        Of::SELECTION.into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let mut names = Of::names(generator);
        names.insert("description".into(), format!("Exactly these {}, by name.", Of::PLURAL).into());
        json_schema!({
            "type": "object",
            "properties": {
                "names": names,
                "selector": schema::label_selector(generator),
                "all": { "description": format!("Every one of the {}: write {{}}.", Of::PLURAL), "type": "object" },
            },
            "x-kubernetes-validations": [{
                "rule": "[has(self.names), has(self.selector), has(self.all)].exists_one(given, given)",
                "message": "give exactly one of names, selector and all",
            }],
        })
    }
}
