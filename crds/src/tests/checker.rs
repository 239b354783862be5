use std::collections::HashSet;

use kube::core::cel::Validator;
use serde_json::{Value, json};

/// Everything that is wrong with `object`: plain schema rules, list invariants, unknown fields, CEL rules.
pub(super) fn problems(schema: &Value, object: &Value) -> Vec<String> {
    let mut found = Vec::new();
    check(schema, object, "", &mut found);
    if let Err(errors) = Validator::new().validate(schema, object, None) {
        found.extend(errors.as_slice().iter().map(|e| format!("{}: {}", e.field_path, e.message)));
    }
    found
}

fn matches(pattern: &str, text: &str) -> bool {
    let rule = format!("self.matches({})", json!(pattern));
    let schema = json!({ "type": "string", "x-kubernetes-validations": [{ "rule": rule, "message": "no match" }] });
    match Validator::new().validate(&schema, &json!(text), None) {
        Ok(()) => true,
        Err(errors) => {
            assert_eq!(errors.as_slice()[0].message, "no match", "{pattern} cannot be evaluated");
            false
        }
    }
}

fn check(schema: &Value, value: &Value, at: &str, found: &mut Vec<String>) {
    let mut say = |what: &str| found.push(format!("{at}: {what}"));
    let number = |key: &str| schema[key].as_f64();
    let count = |key: &str| schema[key].as_u64().and_then(|n| usize::try_from(n).ok());
    let size = match value {
        Value::String(text) => text.chars().count(),
        Value::Array(items) => items.len(),
        Value::Object(members) => members.len(),
        _ => 0,
    };
    let (kind, most) = match value {
        Value::String(_) => ("string", "maxLength"),
        Value::Array(_) => ("array", "maxItems"),
        Value::Object(_) => ("object", "maxProperties"),
        Value::Bool(_) => ("boolean", ""),
        Value::Number(n) if n.is_i64() => ("integer", ""),
        _ => ("other", ""),
    };
    let int_or_string = schema["x-kubernetes-int-or-string"] == json!(true);
    if !(schema["type"] == json!(kind) || int_or_string && ["string", "integer"].contains(&kind)) {
        return say(&format!("is of type {kind}"));
    }
    if count(most).is_some_and(|most| size > most) {
        say(&format!("more than {most}"));
    }
    if value.is_array() && count("minItems").is_some_and(|least| size < least) {
        say("less than minItems");
    }
    if value.is_string() && count("minLength").is_some_and(|least| size < least) {
        say("less than minLength");
    }
    if schema["enum"].as_array().is_some_and(|choices| !choices.contains(value)) {
        say("not in enum");
    }
    if let (Some(pattern), Some(text)) = (schema["pattern"].as_str(), value.as_str())
        && !matches(pattern, text)
    {
        say("does not match pattern");
    }
    if let Some(amount) = value.as_f64() {
        if number("minimum").is_some_and(|least| amount < least) {
            say("less than minimum");
        }
        if number("maximum").is_some_and(|most| amount > most) {
            say("more than maximum");
        }
    }
    let lacks =
        |s: &Value| s["required"].as_array().into_iter().flatten().any(|k| value.get(k.as_str().unwrap()).is_none());
    if lacks(schema) {
        say("lacks a required field");
    }
    let keys: Option<Vec<Value>> = match (schema["x-kubernetes-list-type"].as_str(), value.as_array()) {
        (Some("set"), Some(items)) => Some(items.clone()),
        (Some("map"), Some(items)) => {
            let names = schema["x-kubernetes-list-map-keys"].as_array().unwrap();
            Some(items.iter().map(|i| names.iter().map(|n| i[n.as_str().unwrap()].clone()).collect()).collect())
        }
        _ => None,
    };
    if keys.is_some_and(|keys| keys.iter().collect::<HashSet<_>>().len() != keys.len()) {
        say("duplicate");
    }
    for (index, item) in value.as_array().into_iter().flatten().enumerate() {
        check(&schema["items"], item, &format!("{at}[{index}]"), found);
    }
    for (key, member) in value.as_object().into_iter().flatten() {
        let path = format!("{at}.{key}");
        if at.is_empty() && ["apiVersion", "kind", "metadata"].contains(&key.as_str()) {
            continue;
        }
        match schema["properties"].get(key).or(schema.get("additionalProperties")) {
            Some(schema) => check(schema, member, &path, found),
            None if schema["x-kubernetes-preserve-unknown-fields"] == json!(true) => {}
            None => found.push(format!("{path}: unknown field")),
        }
    }
}
