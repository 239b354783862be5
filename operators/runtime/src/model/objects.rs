//! The objects of one kind in memory.

use std::{
    collections::BTreeMap,
    ops::{Deref, DerefMut},
    sync::Arc,
};

use drover_crds::names::ANNOTATION_APPLIED;
use futures::FutureExt as _;
use k8s_openapi::{
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time},
    jiff::Timestamp,
};
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::{
    Requests,
    fields::{Field, Fields, Manager},
    server::ModelServer,
};
use crate::{
    act::Stop,
    cache::{Kept, ObjectKey, OwnerRecord, Undecodable},
    operator::{Operator, Owner},
    owned::{Change, Owned},
    write::{Author, WriteError, Writer},
};

/// So many repeats, then [`DriftConflicts`](crate::drift_conflicts::DriftConflicts) leaves an object alone.
const DRIFT_CONFLICT_FROM: usize = 3;

/// The objects of one kind at one place, by namespace and name as [`ObjectKey`] writes them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ModelObjects {
    /// How many objects were ever created, for UIDs that were never used before.
    created: usize,
    pub(super) fixed: &'static [&'static str],
    objects: BTreeMap<String, ModelObject>,
}

/// One object.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ModelObject {
    /// Differs from that of every object before it.
    pub uid: String,
    /// Grows with every write, as `resourceVersion` does.
    pub(super) version: usize,
    /// Its labels.
    pub labels: Fields,
    /// Its annotations.
    pub annotations: Fields,
    /// All other fields, by their path.
    pub fields: Fields<Vec<String>, Value>,
    /// When it was created, where that matters.
    pub created_at: Option<Timestamp>,
    /// Whether it was deleted; it vanishes at the next [`settle`](ModelObjects::settle).
    pub terminating: bool,
    /// Another client sets this label again between any two reconciles.
    pub drifting: Option<(String, String)>,
    /// The desired state that was applied last, and how often it was applied again.
    pub(super) repeats: (Option<String>, usize),
}

impl Deref for ModelObjects {
    type Target = BTreeMap<String, ModelObject>;

    fn deref(&self) -> &Self::Target {
        &self.objects
    }
}

impl DerefMut for ModelObjects {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.objects
    }
}

impl ModelObjects {
    /// None yet, of a kind whose `fixed` fields (of the first level, such as `roleRef`) are required and immutable.
    #[must_use]
    pub fn with_fixed(fixed: &'static [&'static str]) -> Self {
        Self { fixed, ..Self::default() }
    }

    /// Adds an object under a new UID, whoever's it is.
    pub fn add(&mut self, key: &ObjectKey, object: ModelObject) -> &mut ModelObject {
        self.created += 1;
        let object = ModelObject { uid: format!("uid-{}", self.created), ..object };
        self.objects.entry(key.to_string()).insert_entry(object).into_mut()
    }

    /// What [`Owned::at`] would find.
    #[must_use]
    pub fn owned<K: Kept>(&self, owner: &OwnerRecord) -> Vec<Owned<K>> {
        let described = self.objects.iter().map(|(key, object)| (object.meta(key), object));
        let ours = described.filter(|(meta, _)| owner.owns(meta)).map(|(meta, object)| Owned {
            title: owner.title(&meta, ""),
            drift_conflict: object.drift_conflict(),
            live: object.live(meta),
        });
        ours.collect()
    }

    /// Does what [`Change::carry_out`] does on an API server. The process may die before every request.
    pub fn carry_out<O: Operator, K: Kept + Serialize>(
        &mut self,
        owner: Owner<'_, O::Kind>,
        change: Change<K>,
        requests: &mut Requests,
    ) -> Result<(), Stop<WriteError>> {
        let server = ModelServer::of(self, requests);
        match change.write(Writer::to(server, Author::of::<O>(owner))).now_or_never() {
            Some(answer) => Ok(answer?),
            None => Err(Stop::Interrupted),
        }
    }

    /// The same of [`Change::carry_out_with`].
    pub fn carry_out_with<O: Operator, K: Kept + Serialize>(
        &mut self,
        owner: Owner<'_, O::Kind>,
        change: Change<K>,
        content: &Map<String, Value>,
        requests: &mut Requests,
    ) -> Result<(), Stop<WriteError>> {
        let server = ModelServer::of(self, requests);
        match change.write_with(Writer::to(server, Author::of::<O>(owner)), content).now_or_never() {
            Some(answer) => Ok(answer?),
            None => Err(Stop::Interrupted),
        }
    }

    /// What happens between two reconciles: what is terminating vanishes, and other clients set their labels again.
    pub fn settle(&mut self) {
        self.objects.retain(|_, object| !object.terminating);
        for object in self.objects.values_mut() {
            let Some((key, value)) = object.drifting.clone() else { continue };
            if object.labels.get(&key).is_none_or(|field| field.value != value) {
                object.labels.insert(key, Field::by(Manager::Other, value));
                object.version += 1;
            }
        }
    }

    /// The same objects, had other requests created them.
    #[must_use]
    pub fn with_other_ids(&self) -> Self {
        let mut other = self.clone();
        for object in other.objects.values_mut() {
            object.uid = format!("other-{}", object.uid);
            object.version += 1000;
        }
        other
    }

    /// The objects without what differs from one run to another: UIDs, versions and counts.
    #[must_use]
    pub fn shape(&self) -> BTreeMap<String, ModelObject> {
        let anonymous =
            |object: &ModelObject| ModelObject { uid: String::new(), version: 0, repeats: (None, 0), ..object.clone() };
        self.objects.iter().map(|(key, object)| (key.clone(), anonymous(object))).collect()
    }
}

impl ModelObject {
    /// One that another client created.
    #[must_use]
    pub fn by_another(labels: BTreeMap<String, String>, annotations: BTreeMap<String, String>) -> Self {
        let (labels, annotations) = (by(Manager::Other, labels), by(Manager::Other, annotations));
        Self { labels, annotations, ..Self::default() }
    }

    /// Its metadata, under this key.
    #[must_use]
    pub fn meta(&self, key: &str) -> ObjectMeta {
        let (namespace, name) = key.split_once('/').map_or((None, key), |(namespace, name)| (Some(namespace), name));
        ObjectMeta {
            name: Some(name.to_owned()),
            namespace: namespace.map(ToOwned::to_owned),
            uid: Some(self.uid.clone()),
            resource_version: Some(self.version.to_string()),
            creation_timestamp: self.created_at.map(Time),
            deletion_timestamp: self.terminating.then_some(Time(Timestamp::UNIX_EPOCH)),
            labels: plain(&self.labels),
            annotations: plain(&self.annotations),
            ..ObjectMeta::default()
        }
    }

    /// The hash of the desired state that another client keeps reverting, if one does.
    #[must_use]
    pub fn drift_conflict(&self) -> Option<String> {
        let (hash, repeats) = &self.repeats;
        hash.clone().filter(|_| *repeats >= DRIFT_CONFLICT_FROM)
    }

    /// Sets how often the desired state that was applied last had to be applied again.
    pub fn set_reverts(&mut self, reverts: usize) {
        self.repeats = (self.applied_hash(), reverts);
    }

    /// From now on another client sets this label whenever it is not so.
    pub fn keep_changing(&mut self, key: &str, value: &str) {
        self.drifting = Some((key.to_owned(), value.to_owned()));
        self.labels.insert(key.to_owned(), Field::by(Manager::Other, value.to_owned()));
    }

    fn applied_hash(&self) -> Option<String> {
        self.annotations.get(ANNOTATION_APPLIED).map(|field| field.value.clone())
    }

    /// Counts as `DriftConflicts::record` does.
    pub(super) fn count_applied(&mut self, desired_hash: &str, restoring: bool) {
        let repeats =
            if self.repeats.0.as_deref() == Some(desired_hash) { self.repeats.1 + 1 } else { usize::from(restoring) };
        self.repeats = (Some(desired_hash.to_owned()), repeats);
    }

    /// The whole of it, with this metadata.
    pub fn live<K: Kept>(&self, meta: ObjectMeta) -> Result<Arc<K>, Arc<Undecodable>> {
        let mut object = json!({"apiVersion": K::api_version(&()), "kind": K::kind(&()), "metadata": meta});
        for (path, field) in &self.fields {
            set(&mut object, path, field.value.clone());
        }
        let undecodable = |error: serde_json::Error| Undecodable { meta, error: error.to_string() };
        serde_json::from_value(object).map(Arc::new).map_err(|error| Arc::new(undecodable(error)))
    }
}

fn set(object: &mut Value, path: &[String], value: Value) {
    match (path, object) {
        ([], object) => *object = value,
        ([first, rest @ ..], Value::Object(map)) => {
            set(map.entry(first.clone()).or_insert_with(|| Value::Object(Map::new())), rest, value);
        }
        _ => {}
    }
}

fn plain(fields: &Fields) -> Option<BTreeMap<String, String>> {
    let values = fields.iter().map(|(key, field)| (key.clone(), field.value.clone()));
    (!fields.is_empty()).then(|| values.collect())
}

pub(super) fn by<P: Ord, V>(manager: Manager, values: BTreeMap<P, V>) -> Fields<P, V> {
    values.into_iter().map(|(key, value)| (key, Field::by(manager, value))).collect()
}
