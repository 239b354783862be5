//! How what would be released differs from what is, object by object and field by field. Pure.

use std::collections::{BTreeMap, BTreeSet};

use drover_releases::{
    Identity, Object, Record,
    diff::keyed,
    manifest::{ManifestError, objects},
};
use serde_json::{Map, Value};

/// Most fields of one object that are listed; the others are counted.
const MOST_FIELDS: usize = 40;
/// Most characters of the path of a field.
const LONGEST_PATH: usize = 200;
/// What every object has, and what its identity says already.
const IDENTIFYING: [&str; 4] = ["apiVersion", "kind", "metadata.name", "metadata.namespace"];

/// The objects of a release, with those of its hooks.
#[derive(Debug, Default)]
pub struct Contents(BTreeMap<Title, Object>);

/// What tells an object of a release from the others.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Title {
    is_hook: bool,
    identity: Identity,
}

/// What becomes of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It is created.
    Created,
    /// Some of its fields change.
    Changed,
    /// It is deleted.
    Removed,
    /// It belongs to the release no longer, and stays, as its annotation says.
    Left,
}

/// An object that is not as it was.
#[derive(Debug)]
pub struct Differing<'a> {
    /// Kind and name, such as `Deployment web`.
    pub title: String,
    /// Whether what it holds is secret, whatever that is.
    pub is_secret: bool,
    /// What becomes of it.
    pub change: Change,
    /// The fields that differ; none of an object that goes.
    pub fields: Vec<Field<'a>>,
    /// How many more fields differ.
    pub more: usize,
}

/// A field that is not as it was.
#[derive(Debug, PartialEq)]
pub struct Field<'a> {
    /// Where it is, such as `spec.template.spec.containers.app.image`.
    pub path: String,
    /// What it holds; none if there is no such field.
    pub before: Option<&'a Value>,
    /// What it would hold; none if there would be no such field.
    pub after: Option<&'a Value>,
}

impl Contents {
    /// Reads a record of a release in `namespace`.
    pub fn of(record: &Record, namespace: &str) -> Result<Self, ManifestError> {
        let mut all = BTreeMap::new();
        let mut add = |is_hook: bool, found: Vec<Object>| {
            for object in found {
                let identity = object.identity();
                // What names no namespace lies in that of the release.
                let identity = Identity { namespace: identity.namespace.filter(|own| own != namespace), ..identity };
                all.insert(Title { is_hook, identity }, object);
            }
        };
        add(false, objects(&record.manifest)?);
        for hook in &record.hooks {
            add(true, hook.objects()?);
        }
        Ok(Self(all))
    }
}

/// What is not as it was, sorted by kind and name, hooks last.
#[must_use]
pub fn differences<'a>(before: &'a Contents, after: &'a Contents) -> Vec<Differing<'a>> {
    let titles: BTreeSet<_> = before.0.keys().chain(after.0.keys()).collect();
    titles.into_iter().filter_map(|title| difference(title, before.0.get(title), after.0.get(title))).collect()
}

fn difference<'a>(title: &Title, before: Option<&'a Object>, after: Option<&'a Object>) -> Option<Differing<'a>> {
    let mut walk = Walk::default();
    let change = match (before, after) {
        // What becomes of a hook is said by its policy, not by the revision after it.
        (Some(_), None) if title.is_hook => return None,
        (Some(before), None) if before.is_kept() => Change::Left,
        (Some(_), None) => Change::Removed,
        (before, after) => {
            walk.compare(before.map(Object::as_value), after.map(Object::as_value));
            if before.is_some() && walk.fields.is_empty() {
                return None;
            }
            if before.is_some() { Change::Changed } else { Change::Created }
        }
    };
    let hook = if title.is_hook { "hook " } else { "" };
    Some(Differing {
        title: format!("{hook}{}", title.identity).chars().filter(|letter| !letter.is_control()).collect(),
        is_secret: title.identity.kind == "Secret",
        change,
        fields: walk.fields,
        more: walk.more,
    })
}

#[derive(Default)]
struct Walk<'a> {
    path: Vec<String>,
    fields: Vec<Field<'a>>,
    more: usize,
}

impl<'a> Walk<'a> {
    /// A field that is null is none.
    fn compare(&mut self, before: Option<&'a Value>, after: Option<&'a Value>) {
        let [before, after] = [before, after].map(|value| value.filter(|value| !value.is_null()));
        if before == after {
            return;
        }
        match (before, after) {
            (None | Some(Value::Object(_)), None | Some(Value::Object(_))) => {
                let [one, two] = [before, after].map(|value| value.and_then(Value::as_object));
                self.compare_maps(before, after, [one, two]);
            }
            (None | Some(Value::Array(_)), None | Some(Value::Array(_))) => {
                let [one, two] =
                    [before, after].map(|value| value.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default());
                self.compare_lists(before, after, [one, two]);
            }
            _ => self.report(before, after),
        }
    }

    fn compare_maps(
        &mut self,
        before: Option<&'a Value>,
        after: Option<&'a Value>,
        maps: [Option<&'a Map<String, Value>>; 2],
    ) {
        let keys: BTreeSet<&String> = maps.into_iter().flatten().flat_map(Map::keys).collect();
        if keys.is_empty() {
            return self.report(before, after);
        }
        for key in keys {
            let [one, two] = maps.map(|map| map.and_then(|map| map.get(key)));
            self.at(segment(key), one, two);
        }
    }

    fn compare_lists(&mut self, before: Option<&'a Value>, after: Option<&'a Value>, lists: [&'a [Value]; 2]) {
        let [one, two] = lists;
        let name = self.path.last().cloned().unwrap_or_default();
        if let Some([one, two]) = keyed(name.trim_start_matches('.'), one, two) {
            let [one, two]: [BTreeMap<String, &Value>; 2] = [one, two].map(|items| items.into_iter().collect());
            let keys: BTreeSet<&String> = one.keys().chain(two.keys()).collect();
            for key in keys {
                self.at(segment(key), one.get(key).copied(), two.get(key).copied());
            }
        } else if one.len() == two.len() {
            for (position, (one, two)) in one.iter().zip(two).enumerate() {
                self.at(format!("[{position}]"), Some(one), Some(two));
            }
        } else {
            self.report(before, after);
        }
    }

    fn at(&mut self, segment: String, before: Option<&'a Value>, after: Option<&'a Value>) {
        self.path.push(segment);
        self.compare(before, after);
        self.path.pop();
    }

    fn report(&mut self, before: Option<&'a Value>, after: Option<&'a Value>) {
        let path = self.path.concat();
        let path = path.trim_start_matches('.');
        if IDENTIFYING.contains(&path) && before.is_none() {
            return;
        }
        if self.fields.len() >= MOST_FIELDS {
            self.more += 1;
            return;
        }
        let path = path.chars().take(LONGEST_PATH).collect();
        self.fields.push(Field { path, before, after });
    }
}

/// A key that is no plain word stands in quotation marks.
fn segment(key: &str) -> String {
    let is_plain = !key.is_empty() && key.chars().all(|letter| letter.is_ascii_alphanumeric() || "-_".contains(letter));
    if is_plain { format!(".{key}") } else { format!("[{key:?}]") }
}
