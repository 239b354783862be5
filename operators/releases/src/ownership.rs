//! Who owns the fields of an object: what Helm wrote as Helm 3 does it becomes what it applies, or a field that a chart does not have
//! any more would stay for ever. Pure.

use serde_json::{Map, Value};

/// The field manager of Helm, whichever way it writes.
const MANAGER: &str = "helm";

/// The field managers of an object after that, as Helm 4 does it too; none if there is nothing to do.
#[must_use]
pub fn applied_by_helm(live: &Value) -> Option<Vec<Value>> {
    let entries = live.pointer("/metadata/managedFields")?.as_array()?;
    let (written, mut kept): (Vec<_>, Vec<_>) = entries.iter().cloned().partition(|entry| is_by(entry, "Update"));
    let first = written.first()?.clone();
    if !kept.iter().any(|entry| is_by(entry, "Apply")) {
        let mut entry = first;
        entry.as_object_mut()?.insert("operation".to_owned(), "Apply".into());
        kept.push(entry);
    }
    let applied = kept.iter_mut().find(|entry| is_by(entry, "Apply"))?;
    for entry in &written {
        // Paths of another version may not be those of this one.
        if entry.get("apiVersion") == applied.get("apiVersion") {
            let fields = applied.as_object_mut()?.entry("fieldsV1").or_insert_with(|| Map::new().into());
            unite(fields, entry.get("fieldsV1").unwrap_or(&Value::Null));
        }
    }
    Some(kept)
}

fn is_by(entry: &Value, operation: &str) -> bool {
    let text = |field: &str| entry.get(field).and_then(Value::as_str).unwrap_or_default();
    text("manager") == MANAGER && text("operation") == operation && text("subresource").is_empty()
}

/// Adds the paths of a set of fields to those of another one.
fn unite(fields: &mut Value, others: &Value) {
    let (Some(fields), Some(others)) = (fields.as_object_mut(), others.as_object()) else { return };
    for (name, other) in others {
        unite(fields.entry(name).or_insert_with(|| Map::new().into()), other);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn entry(manager: &str, operation: &str, version: &str, fields: &Value) -> Value {
        json!({"manager": manager, "operation": operation, "apiVersion": version, "fieldsType": "FieldsV1", "fieldsV1": fields})
    }

    fn after(entries: &[Value]) -> Option<Vec<Value>> {
        applied_by_helm(&json!({"metadata": {"managedFields": entries}}))
    }

    #[test]
    fn what_helm_3_wrote_is_applied_by_helm_from_then_on() {
        let fields = json!({"f:data": {".": {}, "f:a": {}}});
        let other = entry("kubectl-edit", "Update", "v1", &json!({"f:data": {"f:b": {}}}));
        let before = [other.clone(), entry("helm", "Update", "v1", &fields)];
        let expected = vec![other, entry("helm", "Apply", "v1", &fields)];
        assert_eq!(after(&before), Some(expected.clone()));
        assert_eq!(after(&expected), None, "once is enough");
        assert_eq!(applied_by_helm(&json!({"metadata": {}})), None);
    }

    #[test]
    fn what_it_wrote_is_added_to_what_it_applied() {
        let applied = entry("helm", "Apply", "v1", &json!({"f:data": {"f:a": {}}}));
        let written = entry("helm", "Update", "v1", &json!({"f:data": {"f:b": {}}, "f:immutable": {}}));
        let outdated = entry("helm", "Update", "v1beta1", &json!({"f:old": {}}));
        let united = entry("helm", "Apply", "v1", &json!({"f:data": {"f:a": {}, "f:b": {}}, "f:immutable": {}}));
        assert_eq!(after(&[applied, written, outdated]), Some(vec![united]));
    }

    #[test]
    fn what_a_subresource_was_written_by_stays() {
        let mut scale = entry("helm", "Update", "v1", &json!({}));
        scale["subresource"] = "scale".into();
        assert_eq!(after(&[scale]), None);
    }
}
