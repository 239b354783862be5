//! What a revision no longer has, and where live objects differ from what a release says.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use drover_client::quantity::Amount;
use serde_json::{Value, json};

use crate::object::{Identity, Object};

/// Paths that are reported of one object.
pub const MAX_PATHS: usize = 20;
/// Characters of one of these paths.
const LONGEST_PATH: usize = 200;

/// The objects of `before` that `after` no longer has, but for those that outlive their release. The version of their API does not
/// matter. Before one is deleted its live object has to be asked too: whether it [is kept](Object::is_kept) and
/// [belongs to](Object::belongs_to) the release.
#[must_use]
pub fn to_prune<'a>(before: &'a [Object], after: &[Object], namespace: &str) -> Vec<&'a Object> {
    let identity = |object: &Object| {
        let identity = object.identity();
        // What names no namespace lies in that of the release, or in none at all.
        Identity { namespace: identity.namespace.filter(|own| own != namespace), ..identity }
    };
    let stays: BTreeSet<Identity> = after.iter().map(identity).collect();
    before.iter().filter(|object| !object.is_kept() && !stays.contains(&identity(object))).collect()
}

/// The paths of the fields of `wanted` that `live` does not show so, such as `spec.template.spec.containers.app.image`; at most
/// [`MAX_PATHS`], and no values.
///
/// What `live` has beyond `wanted` is of no interest: it belongs to others, or is a default. Quantities are compared by value, lists of
/// built-in kinds by their keys, other lists by position.
#[must_use]
pub fn drift(wanted: &Value, live: &Value) -> Vec<String> {
    let wanted = as_stored(wanted);
    let mut comparison = Comparison { path: Vec::new(), found: Vec::new() };
    comparison.compare(&wanted, live);
    comparison.found
}

/// The items of a list under `field` before and after, each with what tells it from the others; none where only its position does.
#[must_use]
pub fn keyed<'a>(field: &str, before: &'a [Value], after: &'a [Value]) -> Option<[Vec<(String, &'a Value)>; 2]> {
    let fits = |keys: &[&str]| [before, after].iter().all(|items| has_keys(items, keys));
    let (_, keys) = LIST_KEYS.iter().find(|(name, keys)| *name == field && fits(keys))?;
    let title = |item: &Value| keys.iter().map(|key| text(&key_of(item, key))).collect::<Vec<_>>().join("/");
    Some([before, after].map(|items| items.iter().map(|item| (title(item), item)).collect()))
}

/// What the API server makes of fields that it does not store as they are written.
fn as_stored(wanted: &Value) -> Cow<'_, Value> {
    let mut stored = Cow::Borrowed(wanted);
    let kind = (wanted.get("apiVersion").and_then(Value::as_str), wanted.get("kind").and_then(Value::as_str));
    if kind != (Some("v1"), Some("Secret")) {
        return stored;
    }
    let Some(texts) = wanted.get("stringData").and_then(Value::as_object) else { return stored };
    if let Some(secret) = stored.to_mut().as_object_mut() {
        secret.remove("stringData");
        let data = secret.entry("data").or_insert_with(|| json!({}));
        if data.is_null() {
            *data = json!({});
        }
        for (key, text) in texts {
            let packed = BASE64_STANDARD.encode(text.as_str().unwrap_or_default());
            if let Some(data) = data.as_object_mut() {
                data.insert(key.clone(), packed.into());
            }
        }
    }
    stored
}

struct Comparison<'a> {
    path: Vec<Cow<'a, str>>,
    found: Vec<String>,
}

impl<'a> Comparison<'a> {
    fn compare(&mut self, wanted: &'a Value, live: &Value) {
        if self.found.len() >= MAX_PATHS {
            return;
        }
        match (wanted, live) {
            (Value::Object(fields), live) => {
                // The status is not the release's to say.
                let is_status = |key: &str| self.path.is_empty() && key == "status";
                let fields: Vec<_> = fields.iter().filter(|(key, _)| !is_status(key)).collect();
                for (key, value) in fields {
                    self.at(key.into(), value, live.get(key).unwrap_or(&Value::Null));
                }
            }
            (Value::Array(wanted), Value::Array(live)) => self.compare_lists(wanted, live),
            (wanted, live) if is_same(wanted, live) || (is_empty(wanted) && is_empty(live)) => {}
            (wanted, live) if self.is_quantity() && is_same_amount(wanted, live) => {}
            _ => self.report(),
        }
    }

    fn at(&mut self, key: Cow<'a, str>, wanted: &'a Value, live: &Value) {
        self.path.push(key);
        self.compare(wanted, live);
        self.path.pop();
    }

    fn compare_lists(&mut self, wanted: &'a [Value], live: &[Value]) {
        let list = self.path.last().map(AsRef::as_ref).unwrap_or_default();
        let keys = LIST_KEYS.iter().find(|(name, keys)| *name == list && has_keys(wanted, keys));
        if let Some((_, keys)) = keys {
            let by_keys = |item: &Value| keys.iter().map(|key| text(&key_of(item, key))).collect::<Vec<_>>();
            let mut there: BTreeMap<Vec<String>, &Value> = BTreeMap::new();
            for item in live {
                there.entry(by_keys(item)).or_insert(item);
            }
            for item in wanted {
                if self.found.len() >= MAX_PATHS {
                    return;
                }
                let same = there.get(&by_keys(item)).copied();
                let name = keys.first().map(|key| text(&key_of(item, key))).unwrap_or_default();
                self.at(name.into(), item, same.unwrap_or(&Value::Null));
            }
        } else if SETS.contains(&list) {
            let there: BTreeSet<String> = live.iter().map(text).collect();
            if wanted.iter().any(|item| !there.contains(&text(item))) {
                self.report();
            }
        } else if wanted.len() == live.len() {
            for (position, (wanted, live)) in wanted.iter().zip(live).enumerate() {
                self.at(position.to_string().into(), wanted, live);
            }
        } else {
            self.report();
        }
    }

    fn report(&mut self) {
        if self.found.len() < MAX_PATHS {
            let path = self.path.join(".");
            self.found.push(path.chars().take(LONGEST_PATH).collect());
        }
    }

    /// Whether the path is one of quantities in kinds that are built in.
    fn is_quantity(&self) -> bool {
        let last = |back: usize| self.path.len().checked_sub(back).and_then(|at| self.path.get(at)).map(AsRef::as_ref);
        last(1).is_some_and(|field| QUANTITIES.contains(&field))
            || last(2).is_some_and(|map| QUANTITY_MAPS.contains(&map))
    }
}

/// Lists of built-in kinds by the fields that tell their items apart.
const LIST_KEYS: [(&str, &[&str]); 19] = [
    ("containers", &["name"]),
    ("initContainers", &["name"]),
    ("ephemeralContainers", &["name"]),
    ("env", &["name"]),
    ("volumes", &["name"]),
    ("imagePullSecrets", &["name"]),
    ("secrets", &["name"]),
    ("webhooks", &["name"]),
    ("resourceClaims", &["name"]),
    ("schedulingGates", &["name"]),
    ("matchConditions", &["name"]),
    ("hostAliases", &["ip"]),
    ("volumeMounts", &["mountPath"]),
    ("volumeDevices", &["devicePath"]),
    ("topologySpreadConstraints", &["topologyKey", "whenUnsatisfiable"]),
    ("conditions", &["type"]),
    ("ports", &["containerPort", "protocol"]),
    ("ports", &["port", "protocol"]),
    ("claims", &["name"]),
];
/// Lists whose order means nothing.
const SETS: [&str; 1] = ["finalizers"];
/// Maps of quantities.
const QUANTITY_MAPS: [&str; 12] = [
    "limits",
    "requests",
    "hard",
    "capacity",
    "allocatable",
    "overhead",
    "min",
    "max",
    "default",
    "defaultRequest",
    "maxLimitRequestRatio",
    "podFixed",
];
/// Fields that are quantities.
const QUANTITIES: [&str; 3] = ["sizeLimit", "divisor", "averageValue"];

/// Whether every item has keys of its own.
fn has_keys(items: &[Value], keys: &[&str]) -> bool {
    let first = keys.first().copied().unwrap_or_default();
    let of = |item: &Value| keys.iter().map(|key| text(&key_of(item, key))).collect::<Vec<_>>();
    let distinct: BTreeSet<_> = items.iter().map(of).collect();
    items.iter().all(|item| item.get(first).is_some()) && distinct.len() == items.len()
}

fn key_of<'a>(item: &'a Value, key: &str) -> Cow<'a, Value> {
    match item.get(key) {
        Some(value) => Cow::Borrowed(value),
        None if key == "protocol" => Cow::Owned("TCP".into()),
        None => Cow::Owned(Value::Null),
    }
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned)
}

fn is_same(wanted: &Value, live: &Value) -> bool {
    let numbers = wanted.as_f64().zip(live.as_f64());
    wanted == live || numbers.is_some_and(|(wanted, live)| (wanted - live).abs() == 0.0)
}

fn is_same_amount(wanted: &Value, live: &Value) -> bool {
    let amount =
        |value: &Value| (value.is_string() || value.is_number()).then(|| Amount::parse(&text(value))).flatten();
    amount(wanted).is_some_and(|wanted| Some(wanted) == amount(live))
}

/// Whether the API server may drop the value.
fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(value) => !value,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn object(version: &str, kind: &str, namespace: Option<&str>, name: &str, policy: &str) -> Object {
        Object::new(json!({"apiVersion": version, "kind": kind, "metadata": {"namespace": namespace, "name": name,
            "annotations": {"helm.sh/resource-policy": policy}}}))
        .unwrap()
    }

    #[test]
    fn what_is_gone_from_the_manifest_is_pruned_whatever_its_version() {
        let before = [
            object("v1", "ConfigMap", None, "gone", ""),
            object("v1", "ConfigMap", Some("shop"), "stays", ""),
            object("policy/v1beta1", "PodDisruptionBudget", None, "moved", ""),
            object("v1", "Secret", None, "kept", "keep"),
            object("v1", "Secret", Some("other"), "stays", ""),
        ];
        let after = [
            object("v1", "ConfigMap", None, "stays", ""),
            object("policy/v1", "PodDisruptionBudget", Some("shop"), "moved", ""),
            object("v1", "Secret", None, "stays", ""),
        ];
        let pruned: Vec<_> =
            to_prune(&before, &after, "shop").iter().map(|object| object.identity().to_string()).collect();
        assert_eq!(pruned, ["ConfigMap gone", "Secret other/stays"]);
        assert!(to_prune(&before, &before, "shop").is_empty());
    }

    #[test]
    fn only_what_the_release_says_counts() {
        let live = json!({"metadata": {"labels": {"a": "1", "theirs": "x"}, "uid": "u"}, "spec": {"replicas": 3, "paused": false},
            "status": {}});
        assert!(drift(&json!({"metadata": {"labels": {"a": "1"}}, "spec": {"replicas": 3}}), &live).is_empty());
        assert_eq!(drift(&json!({"metadata": {"labels": {"a": "2"}}}), &live), ["metadata.labels.a"]);
        assert_eq!(drift(&json!({"spec": {"replicas": 0}}), &live), ["spec.replicas"]);
        assert!(drift(&json!({"spec": {"replicas": 3.0, "suspend": false, "args": [], "x": null}}), &live).is_empty());
        assert_eq!(drift(&json!({"spec": {"replicas": "3"}}), &live), ["spec.replicas"]);
    }

    #[test]
    fn quantities_are_compared_by_value_and_other_texts_are_not() {
        let of = |cpu: Value, text: &str| json!({"spec": {"containers": [{"name": "a", "resources": {"limits": {"cpu": cpu}}, "env": [{"name": "E", "value": text}]}]}});
        assert!(drift(&of(json!(1), "1"), &of(json!("1"), "1")).is_empty());
        assert!(drift(&of(json!("1000m"), "1"), &of(json!("1"), "1")).is_empty());
        assert_eq!(drift(&of(json!("2"), "1"), &of(json!("1"), "1")), ["spec.containers.a.resources.limits.cpu"]);
        assert_eq!(drift(&of(json!("1"), "1000m"), &of(json!("1"), "1")), ["spec.containers.a.env.E.value"]);
    }

    #[test]
    fn lists_are_compared_by_their_keys_or_by_position() {
        let live = json!({"spec": {
            "containers": [{"name": "sidecar"}, {"name": "app", "image": "a:1", "ports": [{"containerPort": 80, "protocol": "TCP"}]}],
            "ports": [{"port": 53, "protocol": "TCP", "nodePort": 1}, {"port": 53, "protocol": "UDP", "nodePort": 2}],
            "args": ["x", "y"]}});
        let spec = |spec: Value| drift(&json!({"spec": spec}), &live);
        assert!(
            spec(json!({"containers": [{"name": "app", "image": "a:1", "ports": [{"containerPort": 80}]}]})).is_empty()
        );
        assert_eq!(spec(json!({"containers": [{"name": "app", "image": "a:2"}]})), ["spec.containers.app.image"]);
        assert_eq!(
            spec(json!({"containers": [{"name": "gone", "image": "a:2"}]})),
            ["spec.containers.gone.name", "spec.containers.gone.image"]
                .iter()
                .rev()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
        );
        assert!(spec(json!({"ports": [{"port": 53, "protocol": "UDP", "nodePort": 2}]})).is_empty());
        assert_eq!(spec(json!({"args": ["x"]})), ["spec.args"]);
        assert_eq!(spec(json!({"args": ["x", "z"]})), ["spec.args.1"]);
        let finalizers = json!({"metadata": {"finalizers": ["b", "a"]}});
        assert!(drift(&json!({"metadata": {"finalizers": ["a"]}}), &finalizers).is_empty());
    }

    #[test]
    fn long_lists_take_no_longer_than_their_length() {
        let ports = |from: i64| -> Vec<Value> { (from..from + 40_000).map(|port| json!({"port": port})).collect() };
        let started = std::time::Instant::now();
        assert_eq!(drift(&json!({"ports": ports(0)}), &json!({"ports": ports(40_000)})).len(), MAX_PATHS);
        assert!(drift(&json!({"ports": ports(0)}), &json!({"ports": ports(0)})).is_empty());
        assert!(started.elapsed().as_secs() < 20, "it took {:?}", started.elapsed());
    }

    #[test]
    fn texts_of_a_secret_are_compared_as_they_are_stored() {
        let wanted = json!({"apiVersion": "v1", "kind": "Secret", "data": null, "stringData": {"a": "b"}});
        let live = |data: Value| json!({"apiVersion": "v1", "kind": "Secret", "data": data});
        assert!(drift(&wanted, &live(json!({"a": "Yg=="}))).is_empty());
        assert_eq!(drift(&wanted, &live(json!({"a": "Yw=="}))), ["data.a"]);
    }

    #[test]
    fn what_is_reported_is_bounded() {
        let many: serde_json::Map<_, _> =
            (0..100).map(|number| (format!("{}{number}", "k".repeat(500)), json!("x"))).collect();
        let found = drift(&Value::Object(many), &json!({}));
        assert_eq!(found.len(), MAX_PATHS);
        assert!(found.iter().all(|path| path.len() == LONGEST_PATH));
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i32>().prop_map(Value::from),
            "[a-c]{0,3}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map(
                    prop::sample::select(vec!["name", "ports", "port", "env", "limits"]),
                    inner,
                    0..4
                )
                .prop_map(|map| map
                    .into_iter()
                    .map(|(key, value)| (key.to_owned(), value))
                    .collect::<serde_json::Map<_, _>>()
                    .into()),
            ]
        })
    }

    proptest! {
        #[test]
        fn nothing_drifts_from_itself_and_no_pair_is_a_defect(one in any_json(), other in any_json()) {
            prop_assert_eq!(drift(&one, &one), Vec::<String>::new());
            prop_assert!(drift(&one, &other).len() <= MAX_PATHS);
        }
    }
}
