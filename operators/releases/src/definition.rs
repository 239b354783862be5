//! Definitions of kinds, as charts bring them in `crds/`.

use kube::{core::GroupVersionKind, discovery::Scope};
use serde_json::Value;

use crate::object::Object;

const GROUP: &str = "apiextensions.k8s.io";

/// Whether an object defines a kind.
#[must_use]
pub fn is_one(object: &Object) -> bool {
    let kind = object.kind();
    kind.group == GROUP && kind.kind == "CustomResourceDefinition"
}

/// The kinds that a definition gives, one for each version that is served.
#[must_use]
pub fn kinds(definition: &Object) -> Vec<GroupVersionKind> {
    let text = |pointer: &str| definition.as_value().pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let versions = definition.as_value().pointer("/spec/versions").and_then(Value::as_array);
    let is_served = |version: &&Value| version.get("served").and_then(Value::as_bool).unwrap_or_default();
    let names = versions.into_iter().flatten().filter(is_served).filter_map(|version| version.get("name")?.as_str());
    names.map(|version| GroupVersionKind::gvk(text("/spec/group"), version, text("/spec/names/kind"))).collect()
}

/// Where objects of a kind live by the definitions among `objects`: a chart may bring kinds along with their objects.
#[must_use]
pub fn defined_scope(objects: &[Object], kind: &GroupVersionKind) -> Option<Scope> {
    let mut definitions = objects.iter().filter(|object| is_one(object));
    let definition = definitions.find(|definition| kinds(definition).contains(kind))?;
    match definition.as_value().pointer("/spec/scope")?.as_str()? {
        "Cluster" => Some(Scope::Cluster),
        "Namespaced" => Some(Scope::Namespaced),
        _ => None,
    }
}

/// Whether the cluster serves what a definition, as it is stored, says.
#[must_use]
pub fn is_established(live: &Value) -> bool {
    condition(live, "Established")
        .is_some_and(|condition| condition.get("status").is_some_and(|status| status == "True"))
}

/// Why the cluster never will, such as a name that another definition has.
#[must_use]
pub fn refusal(live: &Value) -> Option<String> {
    let condition = condition(live, "NamesAccepted")?;
    let is_refused = condition.get("status").is_some_and(|status| status == "False");
    let reason = condition.get("reason").and_then(Value::as_str).unwrap_or("NotAccepted");
    is_refused.then(|| reason.chars().filter(char::is_ascii_alphanumeric).take(64).collect())
}

fn condition<'a>(live: &'a Value, kind: &str) -> Option<&'a Value> {
    let conditions = live.pointer("/status/conditions")?.as_array()?;
    conditions.iter().find(|condition| condition.get("type").is_some_and(|found| found == kind))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn gadgets(status: &Value) -> Object {
        let value = json!({
            "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": "gadgets.a.example"},
            "spec": {
                "group": "a.example", "scope": "Namespaced", "names": {"kind": "Gadget", "plural": "gadgets"},
                "versions": [{"name": "v1", "served": true}, {"name": "v1alpha1", "served": false}],
            },
            "status": status,
        });
        Object::new(value).unwrap()
    }

    #[test]
    fn a_definition_gives_the_kinds_of_the_versions_that_are_served() {
        let definition = gadgets(&json!({}));
        assert!(is_one(&definition));
        let [kind] = &kinds(&definition)[..] else { panic!("{:?}", kinds(&definition)) };
        assert_eq!((kind.api_version().as_str(), kind.kind.as_str()), ("a.example/v1", "Gadget"));
        assert_eq!(defined_scope(std::slice::from_ref(&definition), kind), Some(Scope::Namespaced));
        assert_eq!(defined_scope(&[definition], &GroupVersionKind::gvk("a.example", "v1alpha1", "Gadget")), None);
    }

    #[test]
    fn a_definition_is_served_or_refused_by_its_conditions() {
        let with = |kind: &str, status: &str| {
            let condition = json!({"type": kind, "status": status, "reason": "ListKindConflict"});
            gadgets(&json!({"conditions": [condition]})).into_value()
        };
        assert!(is_established(&with("Established", "True")) && !is_established(&with("Established", "False")));
        assert_eq!(refusal(&with("NamesAccepted", "False")).as_deref(), Some("ListKindConflict"));
        assert_eq!(refusal(&with("NamesAccepted", "True")), None);
    }
}
