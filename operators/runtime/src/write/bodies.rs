//! What is sent to create, apply and release an object: API servers get it from [`Writer`](super::Writer), and the model world
//! interprets the same.

use std::collections::BTreeMap;

use drover_crds::names::{
    ANNOTATION_ADOPTED, ANNOTATION_APPLIED, ANNOTATION_CREATED, ANNOTATION_OWNER_UID, ANNOTATION_RELEASED_BY,
    LABEL_MANAGED_BY, LABEL_PROJECT, LABEL_PROJECT_NAMESPACE, MANAGED_BY,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::core::{DynamicObject, TypeMeta};
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::{hash, to_json};
use crate::{
    cache::{Kept, ObjectKey, OwnerRecord},
    operator::{Operator, Owner, record_of},
    owner::Title,
};

/// On whose behalf something is written.
#[derive(Clone, Debug)]
pub(crate) struct Author {
    pub(crate) owner: OwnerRecord,
    /// Goes into an annotation for diagnosis; empty for an owner that is gone.
    pub(crate) uid: String,
    /// The name of this installation of Drover.
    pub(crate) installation: String,
}

impl Author {
    pub(crate) fn of<O: Operator>(owner: Owner<'_, O::Kind>) -> Self {
        use kube::Resource as _;
        let uid = owner.object().and_then(|object| object.meta().uid.clone()).unwrap_or_default();
        Self { owner: record_of::<O>(owner.key()), uid, installation: String::new() }
    }

    /// Whether an object was created for the owner, and not adopted since.
    pub(crate) fn has_created(&self, live: &ObjectMeta) -> bool {
        self.owner.title(live, &self.installation) == Title::Created
    }

    /// The first request for an object: its name, owner labels and marks, and the seed, without which the server would refuse it.
    pub(crate) fn created<K: Kept>(&self, desired: &K, seed: Value) -> DynamicObject {
        let key = ObjectKey::of(desired.meta());
        let created = self.owner.created_mark(&self.installation, &key);
        let marks = [(ANNOTATION_OWNER_UID, self.uid.clone()), (ANNOTATION_CREATED, created)];
        let metadata = ObjectMeta {
            name: desired.meta().name.clone(),
            namespace: desired.meta().namespace.clone(),
            labels: Some(self.owner.labels()),
            annotations: Some(marks.map(|(name, value)| (name.to_owned(), value)).into()),
            ..ObjectMeta::default()
        };
        let data = if seed.is_object() { seed } else { json!({}) };
        DynamicObject { types: Some(types::<K>()), metadata, data }
    }

    /// An apply: the wanted fields, their owner and its title, and the desired hash by which a later reconcile knows that it was sent.
    /// On what we did not create, the label that says which tool manages it stays as it is.
    pub(crate) fn applied<K: Kept + Serialize>(&self, desired: &K, live: &ObjectMeta, created: bool) -> Value {
        let mut body = to_json(desired);
        let hash = hash(&body);
        let (labels, mark) = if created {
            let mark = self.owner.created_mark(&self.installation, &ObjectKey::of(live));
            (self.owner.labels(), (ANNOTATION_CREATED, mark))
        } else {
            (self.owner.record(), (ANNOTATION_ADOPTED, "true".to_owned()))
        };
        merge(
            &mut body,
            json!({
                "apiVersion": K::api_version(&()), "kind": K::kind(&()),
                "metadata": {
                    "uid": live.uid,
                    "resourceVersion": live.resource_version,
                    "labels": labels,
                    "annotations": {ANNOTATION_OWNER_UID: self.uid, ANNOTATION_APPLIED: hash, mark.0: mark.1},
                },
            }),
        );
        body
    }
}

/// A strategic merge patch that gives an object the metadata of `applied`, and `content` for what its fields were.
pub(super) fn replaced(applied: &Value, content: &Map<String, Value>) -> Value {
    let field = |name: &str| applied.get(name).cloned().unwrap_or_default();
    let mut body = json!({"apiVersion": field("apiVersion"), "kind": field("kind"), "metadata": field("metadata")});
    for (name, value) in content {
        let mut value = value.clone();
        if value.is_object() {
            merge(&mut value, json!({"$patch": "replace"}));
        }
        merge(&mut body, json!({ name: value }));
    }
    body
}

/// What a strategic merge patch of [`replaced`] does, as a JSON patch: kinds that are defined in a cluster know no other one. `live` is what
/// it is about.
pub(super) fn as_json_patch(replaced: &Value, live: &ObjectMeta) -> Value {
    let at = |path: &str| replaced.pointer(path).cloned().unwrap_or_default();
    let test = |path: &str| json!({"op": "test", "path": path, "value": at(path)});
    let mut operations = vec![test("/metadata/uid"), test("/metadata/resourceVersion")];
    for (name, of_live) in [("labels", &live.labels), ("annotations", &live.annotations)] {
        let (path, wanted) = (format!("/metadata/{name}"), at(&format!("/metadata/{name}")));
        if of_live.as_ref().is_none_or(BTreeMap::is_empty) {
            operations.push(json!({"op": "add", "path": path, "value": wanted}));
            continue;
        }
        for (key, value) in wanted.as_object().into_iter().flatten() {
            let key = key.replace('~', "~0").replace('/', "~1");
            operations.push(json!({"op": "add", "path": format!("{path}/{key}"), "value": value}));
        }
    }
    for (field, value) in replaced.as_object().into_iter().flatten() {
        if !["apiVersion", "kind", "metadata"].contains(&field.as_str()) {
            let mut value = value.clone();
            if let Some(fields) = value.as_object_mut() {
                fields.remove("$patch");
            }
            operations.push(json!({"op": "add", "path": format!("/{field}"), "value": value}));
        }
    }
    Value::Array(operations)
}

/// A merge patch that takes all labels and annotations of ours off an object, but the mark of who created it, and notes who released
/// it. On what was adopted, the label that says which tool manages it is not ours. A request for another owner than this one goes, too:
/// whoever asked did not know what this owner would leave there.
pub(crate) fn released(live: &ObjectMeta, owner: &ObjectKey) -> Value {
    let mut labels = without(&OwnerRecord::LABELS);
    let is_adopted = live.annotations.as_ref().is_some_and(|all| all.contains_key(ANNOTATION_ADOPTED));
    let managed_by = live.labels.as_ref().and_then(|all| all.get(LABEL_MANAGED_BY));
    if !is_adopted && managed_by.is_some_and(|by| by == MANAGED_BY) {
        merge(&mut labels, without(&[LABEL_MANAGED_BY]));
    }
    let own = [(LABEL_PROJECT, &owner.name), (LABEL_PROJECT_NAMESPACE, &owner.namespace)];
    let is_another = |label: &str, value: &String| own.iter().any(|(asked, own)| label == *asked && value != *own);
    if live.labels.iter().flatten().any(|(label, value)| is_another(label, value)) {
        merge(&mut labels, without(&[LABEL_PROJECT, LABEL_PROJECT_NAMESPACE]));
    }
    let mut annotations = without(&[ANNOTATION_OWNER_UID, ANNOTATION_APPLIED, ANNOTATION_ADOPTED]);
    merge(&mut annotations, json!({ANNOTATION_RELEASED_BY: owner.to_string()}));
    json!({"metadata": {
        "uid": live.uid, "resourceVersion": live.resource_version, "labels": labels, "annotations": annotations,
    }})
}

/// A merge patch that takes only the labels of an owner off an object.
pub(crate) fn disclaimed(live: &ObjectMeta) -> Value {
    let labels = without(&OwnerRecord::LABELS);
    json!({"metadata": {"uid": live.uid, "resourceVersion": live.resource_version, "labels": labels}})
}

fn without(names: &[&str]) -> Value {
    names.iter().map(|name| ((*name).to_owned(), Value::Null)).collect()
}

fn types<K: Kept>() -> TypeMeta {
    TypeMeta { api_version: K::api_version(&()).into_owned(), kind: K::kind(&()).into_owned() }
}

fn merge(into: &mut Value, from: Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (into, from) => *into = from,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_asked_for_another_project_asks_no_more_once_it_is_released() {
        let owner = ObjectKey::namespaced("team-a", "shop");
        for (namespace, project, is_kept) in
            [("team-a", "shop", true), ("team-a", "bank", false), ("team-b", "shop", false)]
        {
            let labels = [(LABEL_PROJECT_NAMESPACE, namespace), (LABEL_PROJECT, project)];
            let labels = labels.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
            let live = ObjectMeta { labels: Some(labels), ..ObjectMeta::default() };
            let patch = released(&live, &owner);
            let is_taken = |label| patch["metadata"]["labels"].get(label) == Some(&Value::Null);
            assert_eq!(
                [is_taken(LABEL_PROJECT), is_taken(LABEL_PROJECT_NAMESPACE)],
                [!is_kept; 2],
                "{namespace}/{project}"
            );
        }
        assert!(released(&ObjectMeta::default(), &owner)["metadata"]["labels"].get(LABEL_PROJECT).is_none());
    }

    #[test]
    fn content_takes_the_place_of_what_tells_it_and_of_all_that_was_there() {
        let applied = json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "registry", "uid": "1"}, "revision": "7", "type": "Opaque",
        });
        let content = json!({"type": "Opaque", "data": {"key": "dmFsdWU="}});
        let expected = json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "registry", "uid": "1"}, "type": "Opaque",
            "data": {"$patch": "replace", "key": "dmFsdWU="},
        });
        assert_eq!(replaced(&applied, content.as_object().unwrap()), expected);
    }

    #[test]
    fn a_json_patch_replaces_the_same_and_takes_nothing_off_that_others_noted() {
        let annotations = json!({"drover.dev/applied": "1"});
        let metadata =
            json!({"uid": "1", "resourceVersion": "7", "labels": {"a~b/c": "d"}, "annotations": annotations});
        let body =
            json!({"apiVersion": "v1", "kind": "K", "metadata": metadata, "spec": {"$patch": "replace", "a": null}});
        let mut live = ObjectMeta { labels: Some([("x".to_owned(), "y".to_owned())].into()), ..ObjectMeta::default() };
        let patch = as_json_patch(&body, &live);
        let operations: Vec<_> = patch
            .as_array()
            .unwrap()
            .iter()
            .map(|operation| {
                format!(
                    "{} {} {}",
                    operation["op"].as_str().unwrap(),
                    operation["path"].as_str().unwrap(),
                    operation["value"]
                )
            })
            .collect();
        let expected = [
            r#"test /metadata/uid "1""#,
            r#"test /metadata/resourceVersion "7""#,
            r#"add /metadata/labels/a~0b~1c "d""#,
            r#"add /metadata/annotations {"drover.dev/applied":"1"}"#,
            r#"add /spec {"a":null}"#,
        ];
        assert_eq!(operations, expected);
        live.annotations = Some([("of".to_owned(), "others".to_owned())].into());
        assert!(as_json_patch(&body, &live).to_string().contains("/metadata/annotations/drover.dev~1applied"));
    }
}
