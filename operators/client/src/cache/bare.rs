//! What is read of an object that exceeds a bound: who it is. Of the rest, which may be cut off, nothing is built.

use std::{collections::BTreeMap, fmt};

use drover_crds::names::LABEL_MANAGED_BY;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use serde::{
    Deserialize, Deserializer,
    de::{DeserializeSeed, IgnoredAny, MapAccess, Visitor},
};

use super::objects::OWN_PREFIX;

/// Who the object is, where its metadata stands in this part of its JSON.
pub(super) fn identity(json: &[u8]) -> Option<ObjectMeta> {
    Some(read(json, Level::Object).identity?.into())
}

/// The type of an event, and who its object is.
pub(super) fn event(json: &[u8]) -> Option<(String, ObjectMeta)> {
    let found = read(json, Level::Event);
    Some((found.event?, found.identity?.into()))
}

fn read(json: &[u8], level: Level) -> Found {
    let mut found = Found::default();
    // An error says where the part was cut off; what came before is known.
    let _ = Fields { found: &mut found, level }.deserialize(&mut serde_json::Deserializer::from_slice(json));
    found
}

#[derive(Default)]
struct Found {
    event: Option<String>,
    identity: Option<Identity>,
}

#[derive(Clone, Copy)]
enum Level {
    Event,
    Object,
}

/// The fields of an event or an object.
struct Fields<'a> {
    found: &'a mut Found,
    level: Level,
}

impl<'de> DeserializeSeed<'de> for Fields<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Fields<'_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<String>()? {
            match (self.level, &*key) {
                (Level::Event, "type") => self.found.event = Some(map.next_value()?),
                (Level::Event, "object") => {
                    map.next_value_seed(Fields { found: &mut *self.found, level: Level::Object })?;
                }
                (Level::Object, "metadata") => self.found.identity = Some(map.next_value()?),
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(())
    }
}

/// What of metadata says which object it is, and of which owner. All else may be what exceeds the bound.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Identity {
    name: Option<String>,
    namespace: Option<String>,
    uid: Option<String>,
    resource_version: Option<String>,
    generation: Option<i64>,
    creation_timestamp: Option<Time>,
    deletion_timestamp: Option<Time>,
    labels: Option<OwnKeys>,
    annotations: Option<OwnKeys>,
}

impl From<Identity> for ObjectMeta {
    fn from(identity: Identity) -> Self {
        Self {
            name: identity.name,
            namespace: identity.namespace,
            uid: identity.uid,
            resource_version: identity.resource_version,
            generation: identity.generation,
            creation_timestamp: identity.creation_timestamp,
            deletion_timestamp: identity.deletion_timestamp,
            labels: identity.labels.map(|OwnKeys(labels)| labels),
            annotations: identity.annotations.map(|OwnKeys(annotations)| annotations),
            ..Self::default()
        }
    }
}

/// The labels or annotations of Drover.
struct OwnKeys(BTreeMap<String, String>);

impl<'de> Deserialize<'de> for OwnKeys {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(OwnKeysVisitor)
    }
}

struct OwnKeysVisitor;

impl<'de> Visitor<'de> for OwnKeysVisitor {
    type Value = OwnKeys;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a map of texts")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<OwnKeys, A::Error> {
        let mut own = BTreeMap::new();
        while let Some(key) = map.next_key::<String>()? {
            if key == LABEL_MANAGED_BY || key.starts_with(OWN_PREFIX) {
                own.insert(key, map.next_value()?);
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(OwnKeys(own))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_an_object_is_is_read_from_its_beginning_wherever_it_is_cut_off() {
        let object = r#"{"type":"Opaque","object":{"metadata":{"name":"no"}},"metadata":{"name":"a","uid":"1","labels":{"b":"c",
            "drover.dev/d":"e"},"managedFields":[[[{}]]],"ownerReferences":7},"data":{"metadata":{"name":"b"}}}"#;
        let known = object.find(r#","data""#).unwrap();
        for end in [known, known + 1, known + 20, object.len()] {
            let meta = identity(&object.as_bytes()[..end]).unwrap();
            assert_eq!((meta.name.as_deref(), meta.uid.as_deref()), (Some("a"), Some("1")), "{end}");
            assert_eq!(meta.labels, Some([("drover.dev/d".to_owned(), "e".to_owned())].into()));
        }
        assert!(identity(&object.as_bytes()[..known - 1]).is_none());
        let at = format!(r#"{{"type":"ADDED","object":{object}}}"#);
        let (kind, meta) = event(&at.as_bytes()[..at.len() - 20]).unwrap();
        assert_eq!((&*kind, meta.name.as_deref()), ("ADDED", Some("a")));
        for bad in [r#"{"object":{"metadata":{"name":"a"}}}"#, r#"{"type":"ADDED"}"#, r#"{"type":1}"#, "[]", "", "{"] {
            assert!(event(bad.as_bytes()).is_none(), "{bad}");
        }
        let deep = format!(r#"{{"a":{}1{},"metadata":{{"name":"a"}}}}"#, "[".repeat(9_000), "]".repeat(9_000));
        assert!(identity(deep.as_bytes()).is_some(), "what is passed over takes no stack");
    }
}
