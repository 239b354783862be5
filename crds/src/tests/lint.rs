use kube::core::cel::{CompiledSchema, compile_schema, estimate_rule_cost};
use serde_json::{Value, json};

use super::schema;

const FORMATS: [&str; 3] = ["int32", "int64", "date-time"];

/// What the API server would refuse or warn of, and what would make objects or the cost of rules unbounded.
fn lint(node: &Value, at: &str, found: &mut Vec<String>) {
    let mut say = |what: &str| found.push(format!("{at}: {what}"));
    let has = |key: &str| node.get(key).is_some();
    let type_ = node["type"].as_str();
    if type_.is_none() && !has("x-kubernetes-int-or-string") && !has("x-kubernetes-preserve-unknown-fields") {
        say("neither type nor int-or-string nor preserve-unknown-fields");
    }
    if has("properties") && has("additionalProperties") {
        say("properties together with additionalProperties");
    }
    if has("nullable") {
        say("nullable");
    }
    for keyword in ["$ref", "definitions", "const", "uniqueItems", "oneOf", "anyOf", "title"] {
        if has(keyword) {
            say(keyword);
        }
    }
    if node["format"].as_str().is_some_and(|format| !FORMATS.contains(&format)) {
        say("unrecognized format");
    }
    let bounded = match type_ {
        Some("string") => has("maxLength") || has("enum") || node["format"] == json!("date-time"),
        Some("array") => has("maxItems") && has("x-kubernetes-list-type"),
        Some("object") => has("maxProperties") || !has("additionalProperties"),
        Some(_) => true,
        None => !has("x-kubernetes-int-or-string") || has("maxLength"),
    };
    if !bounded {
        say("not bounded");
    }
    if type_ == Some("array")
        && node["items"]["type"] == json!("object")
        && node["x-kubernetes-list-type"] == json!("set")
    {
        say("set of objects");
    }
    for rule in node["x-kubernetes-validations"].as_array().into_iter().flatten() {
        if rule["message"].as_str().is_none_or(|message| message.is_empty() || message.contains('\n')) {
            say("rule without a message of one line");
        }
    }
    for (name, child) in node["properties"].as_object().into_iter().flatten() {
        let path = format!("{at}.{name}");
        let description = child["description"].as_str().unwrap_or_default();
        if description.is_empty() || description.contains('\n') {
            found.push(format!("{path}: no description of one paragraph"));
        }
        lint(child, &path, found);
    }
    for child in ["items", "additionalProperties"] {
        if let Some(schema) = node.get(child) {
            lint(schema, &format!("{at}.{child}"), found);
        }
    }
}

fn lint_rules(schema: &CompiledSchema, at: &str, found: &mut Vec<String>) {
    for rule in &schema.validations {
        match rule {
            Ok(compiled) => {
                let warnings = estimate_rule_cost(&compiled.rule.rule, schema);
                found.extend(warnings.into_iter().map(|w| format!("{at}: {}", w.message)));
            }
            Err(error) => found.push(format!("{at}: {error}")),
        }
    }
    for (name, child) in &schema.properties {
        lint_rules(child, &format!("{at}.{name}"), found);
    }
    for child in schema.items.iter().chain(&schema.additional_properties) {
        lint_rules(child, &format!("{at}[]"), found);
    }
}

#[test]
fn the_schemas_are_structural_bounded_and_described() {
    for crd in crate::all() {
        let kind = &crd.spec.names.kind;
        let schema = schema(kind);
        let mut found = Vec::new();
        for part in ["spec", "status"] {
            lint(&schema["properties"][part], &format!("{kind}.{part}"), &mut found);
        }
        lint_rules(&compile_schema(&schema), kind, &mut found);
        assert_eq!(found, Vec::<String>::new());
    }
}

#[test]
fn the_lint_finds_what_it_is_for() {
    for (what, node) in [
        ("neither type", json!({})),
        (
            "properties together",
            json!({
                "type": "object", "maxProperties": 1, "properties": {}, "additionalProperties": { "type": "boolean" },
            }),
        ),
        ("unrecognized format", json!({ "type": "integer", "format": "uint32" })),
        ("not bounded", json!({ "type": "string" })),
        ("not bounded", json!({ "type": "array", "maxItems": 3, "items": { "type": "boolean" } })),
        ("not bounded", json!({ "type": "object", "additionalProperties": { "type": "boolean" } })),
        ("nullable", json!({ "type": "boolean", "nullable": true })),
        ("no description", json!({ "type": "object", "properties": { "a": { "type": "boolean" } } })),
        ("without a message", json!({ "type": "boolean", "x-kubernetes-validations": [{ "rule": "self" }] })),
        (
            "set of objects",
            json!({
                "type": "array", "maxItems": 1, "x-kubernetes-list-type": "set", "items": { "type": "object" },
            }),
        ),
    ] {
        let mut found = Vec::new();
        lint(&node, "", &mut found);
        assert!(found.len() == 1 && found[0].contains(what), "{what}: {found:?}");
    }
    let mut found = Vec::new();
    let rules = json!({ "type": "object", "x-kubernetes-validations": [{ "rule": "has(self", "message": "m" }] });
    lint_rules(&compile_schema(&rules), "", &mut found);
    assert_eq!(found.len(), 1, "{found:?}");
}

#[test]
fn the_definitions_say_what_kubectl_needs() {
    for (crd, (name, scope, short, columns)) in crate::all().iter().zip([
        (
            "clusters.drover.dev",
            "Cluster",
            "dcl",
            "Ready Reason Version Nodes Age Message+ Distribution+ CPU+ Memory+ Expires+ Endpoint+",
        ),
        ("projects.drover.dev", "Namespaced", "dproj", "Ready Reason Clusters Namespaces Age Message+"),
    ]) {
        let version = &crd.spec.versions[0];
        assert_eq!(crd.metadata.name.as_deref(), Some(name));
        assert_eq!((crd.spec.group.as_str(), version.name.as_str()), (crate::GROUP, crate::VERSION));
        assert_eq!(crd.spec.scope, scope);
        assert_eq!(crd.spec.names.short_names, Some(vec![short.to_owned()]));
        assert_eq!(crd.spec.names.categories, Some(vec!["drover".to_owned()]));
        let shown: Vec<_> = version
            .additional_printer_columns
            .iter()
            .flatten()
            .map(|column| format!("{}{}", column.name, if column.priority == Some(1) { "+" } else { "" }))
            .collect();
        assert_eq!(shown.join(" "), columns);
        assert!(version.subresources.as_ref().unwrap().status.is_some());
        let schema = schema(&crd.spec.names.kind);
        assert_eq!(schema["properties"]["status"]["default"], json!({ "observedGeneration": -1 }));
        assert_eq!(schema["properties"]["spec"].get("default"), None);
    }
}

#[test]
fn lists_of_objects_are_keyed() {
    let (cluster, project) = (schema("Cluster"), schema("Project"));
    for (schema, path, key) in [
        (&cluster, "/properties/spec/properties/tenants", "name"),
        (&cluster, "/properties/status/properties/certificates", "name"),
        (&cluster, "/properties/status/properties/conditions", "type"),
        (&project, "/properties/spec/properties/namespaces", "name"),
        (&project, "/properties/status/properties/quota", "cluster"),
        (&project, "/properties/status/properties/conditions", "type"),
    ] {
        let list = schema.pointer(path).unwrap();
        assert_eq!(list["x-kubernetes-list-type"], "map", "{path}");
        assert_eq!(list["x-kubernetes-list-map-keys"], json!([key]), "{path}");
        assert!(list["items"]["required"].as_array().unwrap().contains(&json!(key)), "{path}");
    }
}
