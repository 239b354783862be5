//! What is sent to create, apply and release an object: API servers get it from [`Writer`](super::Writer), and the model world
//! interprets the same.

use drover_crds::names::{
    ANNOTATION_ADOPTED, ANNOTATION_APPLIED, ANNOTATION_CREATED, ANNOTATION_OWNER_UID, ANNOTATION_RELEASED_BY,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::core::{DynamicObject, TypeMeta};
use serde::Serialize;
use serde_json::{Value, json};

use super::{hash, to_json};
use crate::{
    cache::{Kept, ObjectKey, OwnerRecord},
    operator::{Operator, Owner, record_of},
};

/// On whose behalf something is written.
#[derive(Clone, Debug)]
pub(crate) struct Author {
    pub(crate) owner: OwnerRecord,
    /// Goes into an annotation for diagnosis; empty for an owner that is gone.
    pub(crate) uid: String,
}

impl Author {
    pub(crate) fn of<O: Operator>(owner: Owner<'_, O::Kind>) -> Self {
        use kube::Resource as _;
        let uid = owner.object().and_then(|object| object.meta().uid.clone()).unwrap_or_default();
        Self { owner: record_of::<O>(owner.key()), uid }
    }

    /// The first request for an object: its name, owner labels and marks, and the seed, without which the server would refuse it.
    pub(crate) fn created<K: Kept>(&self, desired: &K, seed: Value) -> DynamicObject {
        let key = ObjectKey::of(desired.meta());
        let marks = [(ANNOTATION_OWNER_UID, self.uid.clone()), (ANNOTATION_CREATED, self.owner.created_mark(&key))];
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

    /// An apply: the wanted fields, their owner, and the desired hash by which a later reconcile knows that it was sent.
    pub(crate) fn applied<K: Kept + Serialize>(&self, desired: &K, live: &ObjectMeta, adopted: bool) -> Value {
        let mut body = to_json(desired);
        let hash = hash(&body);
        merge(
            &mut body,
            json!({
                "apiVersion": K::api_version(&()), "kind": K::kind(&()),
                "metadata": {
                    "uid": live.uid,
                    "resourceVersion": live.resource_version,
                    "labels": self.owner.labels(),
                    "annotations": {ANNOTATION_OWNER_UID: self.uid, ANNOTATION_APPLIED: hash},
                },
            }),
        );
        if adopted {
            merge(&mut body, json!({"metadata": {"annotations": {ANNOTATION_ADOPTED: "true"}}}));
        }
        body
    }
}

/// A merge patch that takes all labels and annotations of ours off an object, and notes who released it.
pub(crate) fn released(live: &ObjectMeta, owner: &ObjectKey) -> Value {
    let gone = |names: &[&str]| names.iter().map(|name| ((*name).to_owned(), Value::Null)).collect::<Value>();
    let mut patch = json!({"metadata": {
        "uid": live.uid, "resourceVersion": live.resource_version,
        "labels": gone(&OwnerRecord::LABELS),
        "annotations": gone(&[ANNOTATION_OWNER_UID, ANNOTATION_APPLIED, ANNOTATION_ADOPTED, ANNOTATION_CREATED]),
    }});
    merge(&mut patch, json!({"metadata": {"annotations": {ANNOTATION_RELEASED_BY: owner.to_string()}}}));
    patch
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
