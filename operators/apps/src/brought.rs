//! Kinds that a chart defines itself in `crds/`. As helm installs these before it renders, the chart finds them served although the cluster
//! does not serve them yet. Pure.

use drover_charts::Chart;
use drover_crds::{CatalogApp, CrdPolicy};
use drover_releases::{definition, manifest::objects, object::Object};
use http::StatusCode;
use kube::{core::GroupVersionKind, discovery::Scope};
use serde_json::{Value, json};

/// Kinds that come with the release, each in one version.
#[derive(Clone, Debug, Default)]
pub(crate) struct Brought(Vec<Kind>);

#[derive(Clone, Debug)]
struct Kind {
    gvk: GroupVersionKind,
    plural: String,
    namespaced: bool,
}

/// What lies in `crds/` of a chart; what cannot be read is judged after the render.
pub(crate) fn definitions(chart: &Chart) -> Vec<Object> {
    let texts = chart.crds().filter_map(|(_, file)| str::from_utf8(file).ok());
    texts.filter_map(|text| objects(text).ok()).flatten().collect()
}

impl Brought {
    /// Those that an app brings by its chart. An app of a Project brings none.
    pub(crate) fn by(app: &CatalogApp, chart: &Chart) -> Self {
        if app.spec.crds == CrdPolicy::Skip || !app.spec.is_of_platform() {
            return Self::default();
        }
        Self::of(&definitions(chart))
    }

    fn of(definitions: &[Object]) -> Self {
        let of_one = |found: &Object| {
            let plural = found.as_value().pointer("/spec/names/plural").and_then(Value::as_str).unwrap_or_default();
            let kinds = definition::kinds(found).into_iter().filter_map(|kind| {
                let namespaced = definition::defined_scope(definitions, &kind)? == Scope::Namespaced;
                Some(Kind { gvk: kind, plural: plural.to_owned(), namespaced })
            });
            kinds.collect::<Vec<_>>()
        };
        Self(definitions.iter().filter(|found| definition::is_one(found)).flat_map(of_one).collect())
    }

    /// As Helm's `.Capabilities.APIVersions` has them.
    pub(crate) fn api_versions(&self) -> impl Iterator<Item = String> {
        let both = |found: &Kind| {
            let version = found.gvk.api_version();
            [format!("{version}/{}", found.gvk.kind), version]
        };
        self.0.iter().flat_map(both)
    }

    /// Whether one of them has this name in paths, and lies in no namespace.
    pub(crate) fn is_of_cluster(&self, group: &str, version: &str, plural: &str) -> bool {
        let is_it =
            |found: &&Kind| (&*found.gvk.group, &*found.gvk.version, &*found.plural) == (group, version, plural);
        self.0.iter().find(is_it).is_some_and(|found| !found.namespaced)
    }

    /// What a cluster answers to a question for what it serves, with these kinds besides; none where they do not change it.
    pub(crate) fn discovered(&self, path: &str, status: StatusCode, body: &[u8]) -> Option<Vec<u8>> {
        let answer = serde_json::from_slice::<Value>(body).ok().filter(|_| status == StatusCode::OK);
        let segments: Vec<&str> = path.split('/').skip(1).collect();
        let whole = match segments.as_slice() {
            ["apis"] => self.groups(answer?),
            ["apis", group, version] => self.resources(group, version, answer)?,
            _ => return None,
        };
        Some(whole.to_string().into_bytes())
    }

    fn groups(&self, mut answer: Value) -> Value {
        let Some(groups) = answer.get_mut("groups").and_then(Value::as_array_mut) else { return answer };
        for Kind { gvk: kind, .. } in &self.0 {
            let version = json!({"groupVersion": kind.api_version(), "version": kind.version});
            match groups.iter_mut().find(|found| found["name"] == *kind.group) {
                Some(found) => {
                    let versions = found.get_mut("versions").and_then(Value::as_array_mut);
                    if let Some(versions) = versions.filter(|versions| !versions.contains(&version)) {
                        versions.push(version);
                    }
                }
                None => {
                    groups
                        .push(json!({"name": kind.group, "versions": [version.clone()], "preferredVersion": version}));
                }
            }
        }
        answer
    }

    fn resources(&self, group: &str, version: &str, answer: Option<Value>) -> Option<Value> {
        let mut ours =
            self.0.iter().filter(|found| found.gvk.group == group && found.gvk.version == version).peekable();
        ours.peek()?;
        let none = json!({
            "kind": "APIResourceList", "apiVersion": "v1", "groupVersion": format!("{group}/{version}"), "resources": [],
        });
        let mut answer = answer.unwrap_or(none);
        let resources = answer.get_mut("resources")?.as_array_mut()?;
        for Kind { gvk: kind, plural, namespaced } in ours {
            if !resources.iter().any(|found| found["kind"] == *kind.kind) {
                resources.push(json!({
                    "name": plural, "singularName": "", "namespaced": namespaced, "kind": kind.kind, "verbs": ["get", "list"],
                }));
            }
        }
        Some(answer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn brought() -> Brought {
        let definition = |plural: &str, kind: &str, scope: &str| {
            Object::new(json!({
                "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
                "metadata": {"name": format!("{plural}.a.example")},
                "spec": {
                    "group": "a.example", "names": {"kind": kind, "plural": plural}, "scope": scope,
                    "versions": [{"name": "v1", "served": true}, {"name": "v0", "served": false}],
                },
            }))
            .unwrap()
        };
        Brought::of(&[definition("toys", "Toy", "Namespaced"), definition("shops", "Shop", "Cluster")])
    }

    #[test]
    fn what_a_chart_defines_counts_as_served() {
        let brought = brought();
        let versions: Vec<_> = brought.api_versions().collect();
        assert_eq!(versions, ["a.example/v1/Toy", "a.example/v1", "a.example/v1/Shop", "a.example/v1"]);
        let is_of_cluster = |plural| brought.is_of_cluster("a.example", "v1", plural);
        assert_eq!(["toys", "shops", "others"].map(is_of_cluster), [false, true, false]);
    }

    #[test]
    fn what_a_cluster_says_that_it_serves_is_completed() {
        let asked = |path: &str, status: StatusCode, body: &Value| {
            let answer = brought().discovered(path, status, body.to_string().as_bytes())?;
            serde_json::from_slice::<Value>(&answer).ok()
        };
        let group = |name: &str, versions: &[&str]| {
            let version = |version: &&str| json!({"groupVersion": format!("{name}/{version}"), "version": version});
            let versions: Vec<_> = versions.iter().map(version).collect();
            json!({"name": name, "versions": versions, "preferredVersion": versions[0]})
        };
        let groups = |all: &[Value]| json!({"kind": "APIGroupList", "groups": all});
        for (served, expected) in [
            (vec![group("apps", &["v1"])], vec![group("apps", &["v1"]), group("a.example", &["v1"])]),
            (vec![group("a.example", &["v2"])], vec![group("a.example", &["v2", "v1"])]),
            (vec![group("a.example", &["v1"])], vec![group("a.example", &["v1"])]),
        ] {
            assert_eq!(asked("/apis", StatusCode::OK, &groups(&served)), Some(groups(&expected)));
        }
        let kinds = |answer: Option<Value>| {
            let found = answer.unwrap()["resources"].as_array().unwrap().clone();
            found.iter().map(|found| found["kind"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        let path = "/apis/a.example/v1";
        assert_eq!(kinds(asked(path, StatusCode::NOT_FOUND, &json!({"kind": "Status"}))), ["Toy", "Shop"]);
        let served = json!({"kind": "APIResourceList", "resources": [{"kind": "Toy", "verbs": ["watch"]}]});
        assert_eq!(kinds(asked(path, StatusCode::OK, &served)), ["Toy", "Shop"]);
        for (path, status) in [
            ("/apis/apps/v1", StatusCode::NOT_FOUND),
            ("/apis", StatusCode::NOT_FOUND),
            ("/api/v1", StatusCode::OK),
            ("/apis/a.example/v1/namespaces/shop/toys", StatusCode::NOT_FOUND),
        ] {
            assert_eq!(asked(path, status, &json!({})), None, "{path}");
        }
    }
}
