//! The objects of one informer, by key and by owner.

use std::{
    any::TypeId,
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use serde::Deserialize;
use serde_json::Value;

use super::{
    Kept, OwnerRecord, bare,
    informer::{ObjectKey, Undecodable},
    memory_budget::weight,
    read::Decoded,
    split::{Excess, Part},
};
use crate::{answer::without_managed_fields, error::legible};

/// What every object has.
#[derive(Deserialize)]
pub(super) struct Metadata {
    pub(super) metadata: ObjectMeta,
}

#[derive(Debug)]
pub(super) struct Entry<K> {
    object: Result<Arc<K>, Arc<Undecodable>>,
    weight: usize,
}

/// Drops the annotations that are not kept.
pub fn keep_annotations(annotations: &mut BTreeMap<String, String>) {
    annotations.retain(|key, value| value.len() <= FOREIGN_LIMIT || key.starts_with(OWN_PREFIX));
}

/// What a decoder says, without where: an event has the object elsewhere than a list has.
fn words(error: &serde_json::Error) -> String {
    let (whole, place) = (error.to_string(), format!(" at line {} column {}", error.line(), error.column()));
    whole.strip_suffix(&place).unwrap_or(&whole).to_owned()
}

/// Longest annotation of others that is kept, in bytes: no object asks Drover for a longer one.
const FOREIGN_LIMIT: usize = 1024;
/// What annotations of Drover begin with.
pub(super) const OWN_PREFIX: &str = "drover.dev/";
/// Longest name of an object, in bytes.
const NAME_LIMIT: usize = 253;

impl Metadata {
    /// That of an object, whatever its managed fields are.
    pub(super) fn decode(json: &[u8]) -> serde_json::Result<ObjectMeta> {
        let decoded = serde_json::from_slice(json);
        let Self { metadata } =
            decoded.or_else(|_| Self::deserialize(&without_managed_fields(serde_json::from_slice(json)?)))?;
        Ok(metadata)
    }
}

/// A name as Kubernetes validates those of all kinds; most have stricter rules.
fn is_path_segment(name: &str) -> bool {
    let is_printable = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'/' | b'%' | b'?' | b'#' | b'\\');
    (1..=NAME_LIMIT).contains(&name.len()) && name != "." && name != ".." && name.bytes().all(is_printable)
}

/// The words of a decoder may repeat what they are about, in bytes.
const ERROR_LIMIT: usize = 1024;

impl<K: Kept> Entry<K> {
    /// The object; where only its metadata can be decoded, what is known of it.
    pub(super) fn decode(json: &[u8]) -> serde_json::Result<Self> {
        Self::decode_with(|| serde_json::from_slice(json), || serde_json::from_slice(json))
    }

    pub(super) fn decode_with(
        whole: impl FnOnce() -> serde_json::Result<K>,
        value: impl FnOnce() -> serde_json::Result<Value>,
    ) -> serde_json::Result<Self> {
        if let Ok(object) = whole() {
            return Ok(Self::good_one(object));
        }
        let value = without_managed_fields(value()?);
        match K::deserialize(&value) {
            Ok(object) => Ok(Self::good_one(object)),
            Err(error) => {
                let meta = Metadata::deserialize(&value)?.metadata;
                Ok(Self::bad_one(Undecodable { meta, error: legible(&words(&error), ERROR_LIMIT) }))
            }
        }
    }

    /// What came of the object; where it exceeds a bound, what is known of it.
    pub(super) fn of_part(part: &Part) -> Decoded<Self> {
        let Some(excess) = part.excess else { return Self::decode(&part.json).map(Ok) };
        Ok(bare::identity(&part.json).map(|meta| Self::beyond(excess, meta)).ok_or(excess))
    }

    /// An object that is not decoded because it exceeds a bound.
    pub(super) fn beyond(excess: Excess, meta: ObjectMeta) -> Self {
        Self::bad_one(Undecodable { meta, error: format!("{excess}, so Drover does not read it: make it smaller") })
    }

    fn bad_one(undecodable: Undecodable) -> Self {
        Self { weight: weight(&undecodable.meta, &undecodable), object: Err(Arc::new(undecodable)) }
    }

    fn good_one(mut object: K) -> Self {
        let meta = object.meta_mut();
        // Half of an object's size, and nothing reads it.
        meta.managed_fields = None;
        if let Some(annotations) = &mut meta.annotations {
            keep_annotations(annotations);
        }
        Self { weight: weight(object.meta(), &object), object: Ok(Arc::new(object)) }
    }

    pub(super) fn object(&self) -> Result<&Arc<K>, &Arc<Undecodable>> {
        self.object.as_ref()
    }

    pub(super) fn meta(&self) -> &ObjectMeta {
        match &self.object {
            Ok(object) => object.meta(),
            Err(undecodable) => &undecodable.meta,
        }
    }

    /// Whether its name and namespace can stand in the path of a request, as a real API server ensures: nothing else is kept.
    pub(super) fn has_path(&self) -> bool {
        let meta = self.meta();
        meta.name.as_deref().is_some_and(is_path_segment) && meta.namespace.as_deref().is_none_or(is_path_segment)
    }

    /// What keeping it takes.
    pub(super) fn weight(&self) -> usize {
        self.weight
    }

    pub(super) fn good(self) -> Option<Arc<K>> {
        self.object.ok()
    }

    pub(super) fn clone_good(&self) -> Option<Arc<K>> {
        self.object.as_ref().ok().map(Arc::clone)
    }

    pub(super) fn version(&self) -> (Option<&str>, Option<&str>) {
        (self.meta().uid.as_deref(), self.meta().resource_version.as_deref())
    }
}

/// How objects of a kind are found besides by their keys and owners, such as all bindings of one Project.
pub trait Index<K>: 'static {
    /// Under which key an object is found; none if it is not in this index.
    fn key(object: &K) -> Option<ObjectKey>;
}

/// Objects by their namespace.
pub(super) struct OfNamespace;

impl<K: Resource> Index<K> for OfNamespace {
    fn key(object: &K) -> Option<ObjectKey> {
        object.meta().namespace.as_deref().map(ObjectKey::cluster_scoped)
    }
}

/// The objects, with an index by the owner that their labels record: every reconcile asks what its object owns, and a search
/// through all of them costs the square of their number. More indexes are added by who needs them.
#[derive(Debug)]
pub(super) struct Objects<K> {
    by_key: HashMap<ObjectKey, Entry<K>>,
    /// Whatever the kind of the owner.
    by_owner: Groups,
    /// Those that do not decode.
    undecodable: BTreeSet<ObjectKey>,
    indexes: HashMap<TypeId, Indexed<K>>,
}

/// What is found by an [`Index`].
#[derive(Debug)]
struct Indexed<K> {
    key: fn(&K) -> Option<ObjectKey>,
    groups: Groups,
}

/// Keys of objects by what they have in common.
#[derive(Debug, Default)]
struct Groups(HashMap<ObjectKey, BTreeSet<ObjectKey>>);

impl Groups {
    fn add(&mut self, group: Option<ObjectKey>, key: &ObjectKey) {
        if let Some(group) = group {
            self.0.entry(group).or_default().insert(key.clone());
        }
    }

    fn remove(&mut self, group: Option<ObjectKey>, key: &ObjectKey) {
        if let Some(group) = group
            && let Some(keys) = self.0.get_mut(&group)
        {
            keys.remove(key);
            if keys.is_empty() {
                self.0.remove(&group);
            }
        }
    }

    fn keys(&self, group: &ObjectKey) -> impl Iterator<Item = &ObjectKey> {
        self.0.get(group).into_iter().flatten()
    }
}

impl<K> Default for Objects<K> {
    fn default() -> Self {
        Self {
            by_key: HashMap::new(),
            by_owner: Groups::default(),
            undecodable: BTreeSet::new(),
            indexes: HashMap::new(),
        }
    }
}

impl<K: Kept> Objects<K> {
    pub(super) fn insert(&mut self, entry: Entry<K>) -> Option<Entry<K>> {
        let key = ObjectKey::of(entry.meta());
        let old = self.remove(&key);
        self.by_owner.add(OwnerRecord::recorded_of_any_kind(entry.meta()), &key);
        if let Ok(object) = entry.object() {
            self.indexes.values_mut().for_each(|index| index.groups.add((index.key)(object), &key));
        }
        if entry.object().is_err() {
            self.undecodable.insert(key.clone());
        }
        self.by_key.insert(key, entry);
        old
    }

    pub(super) fn remove(&mut self, key: &ObjectKey) -> Option<Entry<K>> {
        let old = self.by_key.remove(key)?;
        self.undecodable.remove(key);
        self.by_owner.remove(OwnerRecord::recorded_of_any_kind(old.meta()), key);
        if let Ok(object) = old.object() {
            self.indexes.values_mut().for_each(|index| index.groups.remove((index.key)(object), key));
        }
        Some(old)
    }

    pub(super) fn get(&self, key: &ObjectKey) -> Option<&Entry<K>> {
        self.by_key.get(key)
    }

    pub(super) fn owned(&self, owner: &OwnerRecord) -> impl Iterator<Item = &Entry<K>> {
        let keys = self.by_owner.keys(&owner.key);
        keys.filter_map(|key| self.get(key)).filter(|entry| owner.owns(entry.meta()))
    }

    /// What the index `I` has under a key; none if the index was not added yet.
    pub(super) fn indexed<I: Index<K>>(&self, key: &ObjectKey) -> Option<Vec<Arc<K>>> {
        let found = self.indexes.get(&TypeId::of::<I>())?.groups.keys(key);
        Some(found.filter_map(|key| self.get(key)?.clone_good()).collect())
    }

    /// Adds the index `I`, unless it is there.
    pub(super) fn add_index<I: Index<K>>(&mut self) {
        if !self.indexes.contains_key(&TypeId::of::<I>()) {
            self.indexes.insert(TypeId::of::<I>(), self.index(I::key));
        }
    }

    /// Adds the indexes that `other` has.
    pub(super) fn add_indexes_of(&mut self, other: &Self) {
        let added: Vec<_> = other.indexes.iter().map(|(name, index)| (*name, self.index(index.key))).collect();
        self.indexes.extend(added);
    }

    fn index(&self, key: fn(&K) -> Option<ObjectKey>) -> Indexed<K> {
        let mut groups = Groups::default();
        for (name, entry) in &self.by_key {
            groups.add(entry.object().ok().and_then(|object| key(object)), name);
        }
        Indexed { key, groups }
    }

    pub(super) fn undecodable(&self) -> impl Iterator<Item = &Entry<K>> {
        self.undecodable.iter().filter_map(|key| self.get(key))
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&ObjectKey, &Entry<K>)> {
        self.by_key.iter()
    }

    pub(super) fn values(&self) -> impl Iterator<Item = &Entry<K>> {
        self.by_key.values()
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = &ObjectKey> {
        self.by_key.keys()
    }

    pub(super) fn into_entries(self) -> impl Iterator<Item = (ObjectKey, Entry<K>)> {
        self.by_key.into_iter()
    }

    pub(super) fn len(&self) -> usize {
        self.by_key.len()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use drover_crds::names::{LABEL_OWNER_KIND, LABEL_OWNER_NAME};
    use k8s_openapi::api::core::v1::Namespace;

    use super::*;

    fn owner(kind: &'static str, name: &str) -> OwnerRecord {
        OwnerRecord { kind, key: ObjectKey::namespaced("team", name) }
    }

    fn entry(name: &str, labels: BTreeMap<String, String>) -> Entry<Namespace> {
        let metadata = ObjectMeta { name: Some(name.to_owned()), labels: Some(labels), ..ObjectMeta::default() };
        Entry::good_one(Namespace { metadata, ..Namespace::default() })
    }

    fn owned(objects: &Objects<Namespace>, owner: &OwnerRecord) -> Vec<String> {
        objects.owned(owner).map(|entry| entry.meta().name.clone().unwrap()).collect()
    }

    #[test]
    fn long_annotations_of_others_are_not_kept() {
        let long = "x".repeat(FOREIGN_LIMIT + 1);
        let all =
            [("kubectl.kubernetes.io/last-applied-configuration", &*long), ("drover.dev/applied", &long), ("a", "b")];
        let annotations = all.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
        let metadata = ObjectMeta { annotations: Some(annotations), ..ObjectMeta::default() };
        let entry = Entry::good_one(Namespace { metadata, ..Namespace::default() });
        assert_eq!(
            entry.meta().annotations.iter().flatten().map(|(key, _)| &**key).collect::<Vec<_>>(),
            ["a", "drover.dev/applied"]
        );
    }

    #[test]
    fn a_name_that_would_change_the_path_of_a_request_is_none() {
        for name in ["team-a", "system:node:a", "drover:view:team:audit", "a.b.c"] {
            assert!(entry(name, BTreeMap::new()).has_path(), "{name}");
        }
        let long = "x".repeat(254);
        for name in ["", ".", "..", "../secrets", "a/b", "a%2fb", "a?b", "a#b", "a b", "a\n", "ä", "a\u{202e}b", &long]
        {
            assert!(!entry(name, BTreeMap::new()).has_path(), "{name}");
        }
    }

    #[test]
    fn what_does_not_decode_is_listed_until_it_does_or_is_gone() {
        let mut objects = Objects::default();
        let names = |objects: &Objects<Namespace>| -> Vec<_> {
            objects.undecodable().filter_map(|entry| entry.meta().name.clone()).collect()
        };
        let nonsense = |name: &str| {
            let json = format!(r#"{{"metadata": {{"name": "{name}"}}, "spec": {{"finalizers": 7}}}}"#);
            Entry::<Namespace>::decode(json.as_bytes()).unwrap()
        };
        for name in ["web", "db"] {
            objects.insert(nonsense(name));
        }
        assert_eq!(names(&objects), ["db", "web"]);
        objects.insert(entry("web", BTreeMap::new()));
        assert_eq!(names(&objects), ["db"]);
        objects.remove(&ObjectKey::cluster_scoped("db"));
        assert_eq!(names(&objects), [""; 0]);
    }

    #[test]
    fn what_is_owned_follows_the_labels() {
        let (shop, store) = (owner("Project", "shop"), owner("Project", "store"));
        let mut objects = Objects::default();
        for name in ["web", "db"] {
            assert!(objects.insert(entry(name, shop.labels())).is_none());
        }
        objects.insert(entry("unowned", BTreeMap::new()));
        assert_eq!(owned(&objects, &shop), ["db", "web"]);

        assert!(objects.insert(entry("web", store.labels())).is_some());
        assert_eq!((owned(&objects, &shop), owned(&objects, &store)), (vec!["db".into()], vec!["web".into()]));
        assert_eq!(owned(&objects, &owner("App", "store")), [""; 0], "of the same name and another kind");

        let mut foreign = store.labels();
        foreign.remove(LABEL_OWNER_NAME);
        objects.insert(entry("web", foreign));
        let mut of_another_kind = shop.labels();
        of_another_kind.insert(LABEL_OWNER_KIND.into(), "App".into());
        objects.insert(entry("db", of_another_kind));
        assert_eq!(owned(&objects, &shop).len() + owned(&objects, &store).len(), 0);
        assert_eq!(owned(&objects, &owner("App", "shop")), ["db"]);

        let db = ObjectKey::cluster_scoped("db");
        assert!(objects.remove(&db).is_some() && objects.remove(&db).is_none());
        assert_eq!((objects.len(), objects.by_owner.0.len()), (2, 0), "nothing is left of those that are gone");
    }

    #[test]
    fn times_in_managed_fields_that_nothing_decodes_hide_no_object() {
        let managed = r#""managedFields": [{"manager": "x", "operation": "Update", "time": "9999-12-31T23:59:59Z"}]"#;
        let json = |spec: &str| format!(r#"{{"metadata": {{"name": "web", {managed}}}, "spec": {spec}}}"#);
        let good: Entry<Namespace> = Entry::decode(json("{}").as_bytes()).unwrap();
        assert!(good.object().is_ok_and(|web| web.metadata.name.as_deref() == Some("web")));
        let bad: Entry<Namespace> = Entry::decode(json("1").as_bytes()).unwrap();
        assert!(bad.object().is_err_and(|web| web.meta.name.as_deref() == Some("web")));
        assert_eq!(Metadata::decode(json("1").as_bytes()).unwrap().name.as_deref(), Some("web"));
    }

    /// Namespaces by the team that their label names.
    struct OfTeam;

    impl Index<Namespace> for OfTeam {
        fn key(namespace: &Namespace) -> Option<ObjectKey> {
            namespace.metadata.labels.as_ref()?.get("team").map(|team| ObjectKey::cluster_scoped(team))
        }
    }

    fn of_team(objects: &Objects<Namespace>, team: &str) -> Option<Vec<String>> {
        let found = objects.indexed::<OfTeam>(&ObjectKey::cluster_scoped(team))?;
        Some(found.iter().map(|namespace| namespace.metadata.name.clone().unwrap()).collect())
    }

    #[test]
    fn an_index_finds_what_is_there_and_follows_it() {
        let team = |name: &str| BTreeMap::from([("team".to_owned(), name.to_owned())]);
        let found = |names: &[&str]| Some(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>());
        let mut objects = Objects::default();
        objects.insert(entry("web", team("blue")));
        objects.insert(entry("unowned", BTreeMap::new()));
        assert_eq!(of_team(&objects, "blue"), None, "nobody has asked for it");
        objects.add_index::<OfTeam>();
        objects.insert(entry("db", team("blue")));
        assert_eq!((of_team(&objects, "blue"), of_team(&objects, "red")), (found(&["db", "web"]), found(&[])));

        objects.insert(entry("web", team("red")));
        objects
            .insert(Entry::decode(br#"{"metadata": {"name": "odd", "labels": {"team": "red"}}, "spec": 1}"#).unwrap());
        assert_eq!((of_team(&objects, "blue"), of_team(&objects, "red")), (found(&["db"]), found(&["web"])));

        let mut listed = Objects::default();
        listed.insert(entry("mail", team("red")));
        listed.add_indexes_of(&objects);
        assert_eq!((of_team(&listed, "blue"), of_team(&listed, "red")), (found(&[]), found(&["mail"])));
        listed.remove(&ObjectKey::cluster_scoped("mail"));
        assert!(listed.indexes[&TypeId::of::<OfTeam>()].groups.0.is_empty(), "nothing is left of what is gone");
    }
}
