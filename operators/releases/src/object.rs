//! One object of a release: what tells it from others, and what makes it the release's as Helm sees it.

use std::fmt;

use kube::core::GroupVersionKind;
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::definition;

/// Characters of the longest name that Kubernetes knows.
const LONGEST_NAME: usize = 253;
/// The label by which Helm knows what it manages, and its value.
pub const MANAGED_BY: (&str, &str) = ("app.kubernetes.io/managed-by", "Helm");
/// The annotation that names the release of an object.
const RELEASE_NAME: &str = "meta.helm.sh/release-name";
/// The annotation that names the namespace of the release of an object.
const RELEASE_NAMESPACE: &str = "meta.helm.sh/release-namespace";
/// The annotation by which an object outlives its release.
const RESOURCE_POLICY: &str = "helm.sh/resource-policy";

/// A map with `apiVersion`, `kind` and `metadata`. Labels and annotations, where they are, are maps.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Object(Value);

/// What tells an object from others, whatever its version.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Identity {
    /// The API group; the core group is empty.
    pub group: String,
    /// The kind, such as `Deployment`.
    pub kind: String,
    /// The namespace, where the object names one.
    pub namespace: Option<String>,
    /// The name. One that the API server has yet to generate is its prefix and `*`.
    pub name: String,
}

impl fmt::Display for Identity {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.namespace {
            Some(namespace) => write!(formatter, "{} {namespace}/{}", self.kind, self.name),
            None => write!(formatter, "{} {}", self.kind, self.name),
        }
    }
}

impl Object {
    /// Takes what has the shape of an object; its name may be missing.
    #[must_use]
    pub fn new(value: Value) -> Option<Self> {
        let Value::Object(mut fields) = value else { return None };
        let metadata = fields.entry("metadata").or_insert_with(|| json!({}));
        let is_map = |field: &str| metadata.get(field).is_none_or(|value| value.is_object() || value.is_null());
        let is_name = |field: &str| metadata.get(field).is_none_or(|value| value.is_null() || is_name(value));
        let is_well_formed = metadata.is_object()
            && ["labels", "annotations"].into_iter().all(is_map)
            && ["name", "generateName", "namespace"].into_iter().all(is_name)
            && ["apiVersion", "kind"].iter().all(|field| fields.get(*field).is_some_and(is_name_of_a_kind));
        is_well_formed.then_some(Self(Value::Object(fields)))
    }

    /// The object as JSON.
    #[must_use]
    pub fn as_value(&self) -> &Value {
        &self.0
    }

    /// The object as JSON, taken.
    #[must_use]
    pub fn into_value(self) -> Value {
        self.0
    }

    /// A copy of the object as JSON.
    #[must_use]
    pub fn to_value(&self) -> Value {
        self.0.clone()
    }

    /// Its group, version and kind.
    #[must_use]
    pub fn kind(&self) -> GroupVersionKind {
        let text = |field: &str| self.0.get(field).and_then(Value::as_str).unwrap_or_default();
        let (group, version) = text("apiVersion").split_once('/').unwrap_or(("", text("apiVersion")));
        GroupVersionKind::gvk(group, version, text("kind"))
    }

    /// What tells it from others.
    #[must_use]
    pub fn identity(&self) -> Identity {
        let GroupVersionKind { group, kind, .. } = self.kind();
        let name = match (self.name(), self.text("generateName")) {
            (Some(name), _) => name.to_owned(),
            (None, Some(prefix)) => format!("{prefix}*"),
            (None, None) => String::new(),
        };
        Identity { group, kind, namespace: self.namespace().map(ToOwned::to_owned), name }
    }

    /// Its name, unless the API server is to generate one.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.text("name")
    }

    /// The namespace that it names.
    #[must_use]
    pub fn namespace(&self) -> Option<&str> {
        self.text("namespace")
    }

    /// The value of one of its annotations.
    #[must_use]
    pub fn annotation(&self, key: &str) -> Option<&str> {
        self.0.get("metadata")?.get("annotations")?.get(key)?.as_str()
    }

    /// Whether it outlives its release: by `helm.sh/resource-policy: keep`, which is to be asked of the live object too, or because it
    /// defines a kind: with it all objects of that kind would go, whoever made them.
    #[must_use]
    pub fn is_kept(&self) -> bool {
        let is_said = self.annotation(RESOURCE_POLICY).is_some_and(|policy| policy.trim().eq_ignore_ascii_case("keep"));
        is_said || definition::is_one(self)
    }

    /// Whether it carries Helm's marks of this release. Nothing else may be pruned or uninstalled with the release.
    #[must_use]
    pub fn belongs_to(&self, release: &str, namespace: &str) -> bool {
        let label = self.0.get("metadata").and_then(|metadata| metadata.get("labels")?.get(MANAGED_BY.0)?.as_str());
        label == Some(MANAGED_BY.1)
            && self.annotation(RELEASE_NAME) == Some(release)
            && self.annotation(RELEASE_NAMESPACE) == Some(namespace)
    }

    /// Namespace and name of the release that its annotations name.
    #[must_use]
    pub fn release(&self) -> Option<(&str, &str)> {
        Some((self.annotation(RELEASE_NAMESPACE)?, self.annotation(RELEASE_NAME)?))
    }

    /// Adds Helm's marks of a release, over what a chart says of them. Helm marks all but hooks and what lies in `crds/`.
    pub fn mark(&mut self, release: &str, namespace: &str) {
        self.set("labels", MANAGED_BY.0, MANAGED_BY.1);
        self.set("annotations", RELEASE_NAME, release);
        self.set("annotations", RELEASE_NAMESPACE, namespace);
    }

    pub(crate) fn metadata_mut(&mut self) -> Option<&mut Map<String, Value>> {
        self.0.get_mut("metadata").and_then(Value::as_object_mut)
    }

    fn set(&mut self, map: &str, key: &str, value: &str) {
        let Some(metadata) = self.metadata_mut() else { return };
        let entries = metadata.entry(map).or_insert_with(|| json!({}));
        if !entries.is_object() {
            *entries = json!({});
        }
        if let Some(entries) = entries.as_object_mut() {
            entries.insert(key.to_owned(), value.into());
        }
    }

    fn text(&self, field: &str) -> Option<&str> {
        self.0.get("metadata")?.get(field)?.as_str().filter(|text| !text.is_empty())
    }
}

fn is_name(value: &Value) -> bool {
    let is_printable = |text: &str| text.chars().all(|letter| letter.is_ascii_graphic());
    value.as_str().is_some_and(|text| text.len() <= LONGEST_NAME && is_printable(text))
}

fn is_name_of_a_kind(value: &Value) -> bool {
    is_name(value) && value.as_str().is_some_and(|text| !text.is_empty() && text.matches('/').count() <= 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(value: Value) -> Object {
        Object::new(value).unwrap()
    }

    #[test]
    fn only_what_has_the_shape_of_an_object_is_one() {
        let good = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "a", "namespace": "b"}});
        assert_eq!(object(good.clone()).identity().to_string(), "Deployment b/a");
        assert_eq!(object(good.clone()).kind(), GroupVersionKind::gvk("apps", "v1", "Deployment"));
        let bad = |path: &str, value: Value| {
            let mut changed = good.clone();
            *changed.pointer_mut(path).unwrap() = value;
            changed
        };
        for value in [
            json!(null),
            json!([]),
            json!({"kind": "A"}),
            bad("/apiVersion", json!(1)),
            bad("/apiVersion", json!("a/b/c")),
            bad("/kind", json!("")),
            bad("/metadata", json!("x")),
            bad("/metadata/name", json!(5)),
            bad("/metadata/name", json!("a\nb")),
            bad("/metadata/name", json!("a".repeat(254))),
            bad("/metadata", json!({"name": "a", "labels": []})),
        ] {
            assert_eq!(Object::new(value.clone()), None, "{value}");
        }
    }

    #[test]
    fn what_is_marked_belongs_to_that_release_only() {
        let mut marked = object(json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "a",
            "labels": {"app.kubernetes.io/managed-by": "Tiller", "team": "blue"}, "annotations": null}}));
        assert!(!marked.belongs_to("web", "shop"));
        marked.mark("web", "shop");
        assert!(marked.belongs_to("web", "shop"));
        assert!(!marked.belongs_to("web", "other") && !marked.belongs_to("we", "shop"));
        assert_eq!(marked.to_value()["metadata"]["labels"]["team"], "blue");
    }

    #[test]
    fn an_object_is_kept_by_its_annotation() {
        let with = |policy: &str| {
            object(json!({"apiVersion": "v1", "kind": "Secret",
                "metadata": {"name": "a", "annotations": {"helm.sh/resource-policy": policy}}}))
        };
        assert!(with("keep").is_kept() && with(" Keep ").is_kept());
        assert!(!with("delete").is_kept());
        for version in ["v1", "v1beta1"] {
            let api_version = format!("apiextensions.k8s.io/{version}");
            let definition =
                json!({"apiVersion": api_version, "kind": "CustomResourceDefinition", "metadata": {"name": "a.b.c"}});
            assert!(Object::new(definition).unwrap().is_kept(), "with it all objects of its kind would go");
        }
    }
}
