//! Fields and who manages them, as `managedFields` records it.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::ModelObject;

/// Labels, annotations, or other fields by their path.
pub type Fields<P = String, V = String> = BTreeMap<P, Field<V>>;

/// A value and who manages it; a field without managers vanishes.
#[derive(Clone, Debug, PartialEq)]
pub struct Field<V = String> {
    /// Its value.
    pub value: V,
    /// Who manages it.
    pub managers: BTreeSet<Manager>,
}

/// An entry of `managedFields`. What Drover applies and what it posts or patches are two of them, as on a real server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Manager {
    /// Drover, by server-side apply.
    Applied,
    /// Drover, by another request.
    Patched,
    /// Another client.
    Other,
}

impl<V> Field<V> {
    /// A field that one manager set.
    pub fn by(manager: Manager, value: V) -> Self {
        Self { value, managers: BTreeSet::from([manager]) }
    }
}

/// What one request says, leaf by leaf. Lists count as one leaf.
pub(super) struct Leaves {
    pub(super) labels: BTreeMap<String, String>,
    pub(super) annotations: BTreeMap<String, String>,
    pub(super) fields: BTreeMap<Vec<String>, Value>,
}

impl Leaves {
    pub(super) fn of(body: &Value) -> Self {
        let texts = |pointer: &str| {
            let found = body.pointer(pointer).and_then(Value::as_object).into_iter().flatten();
            found.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned()))).collect()
        };
        let mut fields = BTreeMap::new();
        for (name, value) in body.as_object().into_iter().flatten() {
            if !["apiVersion", "kind", "metadata", "status"].contains(&name.as_str()) {
                collect(&mut fields, vec![name.clone()], value);
            }
        }
        Self { labels: texts("/metadata/labels"), annotations: texts("/metadata/annotations"), fields }
    }

    /// The first field that another client manages with another value.
    pub(super) fn conflict(&self, live: &ModelObject) -> Option<String> {
        let Self { labels, annotations, fields } = self;
        let of_labels = conflict(&live.labels, labels).or_else(|| conflict(&live.annotations, annotations));
        of_labels.cloned().or_else(|| Some(conflict(&live.fields, fields)?.join(".")))
    }

    /// Sets what is applied now and gives up what was applied before and is not any more.
    pub(super) fn apply_to(self, live: &mut ModelObject) {
        apply(&mut live.labels, self.labels);
        apply(&mut live.annotations, self.annotations);
        apply(&mut live.fields, self.fields);
    }
}

fn collect(into: &mut BTreeMap<Vec<String>, Value>, path: Vec<String>, value: &Value) {
    match value {
        Value::Null => {}
        Value::Object(map) => {
            for (key, value) in map {
                collect(into, path.iter().chain([key]).cloned().collect(), value);
            }
        }
        leaf => drop(into.insert(path, leaf.clone())),
    }
}

fn conflict<'a, P: Ord, V: PartialEq>(fields: &Fields<P, V>, wanted: &'a BTreeMap<P, V>) -> Option<&'a P> {
    let differs = |key: &P, value: &V| {
        let others = |field: &Field<V>| field.managers.iter().any(|manager| *manager != Manager::Applied);
        fields.get(key).is_some_and(|field| field.value != *value && others(field))
    };
    wanted.iter().find(|(key, value)| differs(key, value)).map(|(key, _)| key)
}

fn apply<P: Ord, V: PartialEq + Clone>(fields: &mut Fields<P, V>, wanted: BTreeMap<P, V>) {
    for (key, field) in &mut *fields {
        if !wanted.contains_key(key) {
            field.managers.remove(&Manager::Applied);
        }
    }
    for (key, value) in wanted {
        let field = fields.entry(key).or_insert_with(|| Field::by(Manager::Applied, value.clone()));
        if field.value == value {
            field.managers.insert(Manager::Applied);
        } else {
            *field = Field::by(Manager::Applied, value);
        }
    }
    fields.retain(|_, field| !field.managers.is_empty());
}
