use std::collections::BTreeSet;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinitionVersion;
use kube::core::cel::{CompiledSchema, compile_schema, estimate_rule_cost};
use serde_json::{Value, json};

use super::schema;
use crate::{
    ClusterSpec, ProjectSpec, RoleTemplateSpec,
    no_effect::{self, NoEffect},
};

/// YAML 1.1, as kubectl and Helm read a definition, has these for true and false: a field of such a name is none in the API server.
const NO_NAMES: [&str; 8] = ["y", "n", "yes", "no", "on", "off", "true", "false"];
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
        if NO_NAMES.contains(&name.to_lowercase().as_str()) {
            found.push(format!("{path}: a name that YAML reads as a switch"));
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
    for crd in crate::v1alpha1::all() {
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
        ("a switch", json!({ "type": "object", "properties": { "on": { "type": "boolean", "description": "d" } } })),
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

/// The paths, with their descriptions, of `node` and what is in it.
fn described(node: &Value, at: &str, into: &mut Vec<(String, String)>) {
    into.push((at.to_owned(), node["description"].as_str().unwrap_or_default().to_owned()));
    for (name, child) in node["properties"].as_object().into_iter().flatten() {
        described(child, &format!("{at}.{name}"), into);
    }
    if let Some(items) = node.get("items") {
        described(items, &format!("{at}[]"), into);
    }
}

fn paths<S>(fields: NoEffect<S>) -> BTreeSet<String> {
    fields.iter().map(|(path, _)| (*path).to_owned()).collect()
}

#[test]
fn a_field_without_effect_and_no_other_says_so_first() {
    for crd in crate::v1alpha1::all() {
        let kind = crd.spec.names.kind;
        let without_effect = match kind.as_str() {
            "Cluster" => paths(ClusterSpec::NO_EFFECT),
            "Project" => paths(ProjectSpec::NO_EFFECT),
            "RoleTemplate" => paths(RoleTemplateSpec::NO_EFFECT),
            "ProjectRoleTemplateBinding"
            | "ClusterRoleTemplateBinding"
            | "CatalogApp"
            | "ChartRepository"
            | "MultiClusterApp"
            | "BackupStore"
            | "EtcdBackup"
            | "EtcdBackupSchedule"
            | "GlobalDNSProvider"
            | "GlobalDNS"
            | "CisProfile"
            | "CisWaiver"
            | "CisScan"
            | "CisScanSchedule"
            | "CisReport" => BTreeSet::new(),
            _ => panic!("{kind}: add its NO_EFFECT here, or BTreeSet::new() if all of its fields have an effect"),
        };
        let mut all = Vec::new();
        described(&schema(&kind)["properties"]["spec"], "spec", &mut all);
        let says_so = all.iter().filter(|(_, description)| description.starts_with(no_effect::PREFIX));
        assert_eq!(says_so.map(|(path, _)| path.clone()).collect::<BTreeSet<_>>(), without_effect, "{kind}");
        for (path, description) in all {
            let elsewhere = description.trim_start_matches(no_effect::PREFIX).to_lowercase();
            assert!(!elsewhere.contains("no effect"), "{kind} {path}: say it first, as {:?}", no_effect::PREFIX);
        }
    }
}

/// The columns that a definition shows, those of `-o wide` with a plus.
fn columns(version: &CustomResourceDefinitionVersion) -> Vec<String> {
    let columns = version.additional_printer_columns.iter().flatten();
    columns.map(|column| format!("{}{}", column.name, if column.priority == Some(1) { "+" } else { "" })).collect()
}

#[test]
fn the_definitions_say_what_kubectl_needs() {
    let mut short_names = BTreeSet::new();
    for crd in crate::v1alpha1::all() {
        let (spec, names) = (&crd.spec, &crd.spec.names);
        let kind = names.kind.as_str();
        let [version] = &spec.versions[..] else { panic!("{kind}: one version") };
        assert_eq!(crd.metadata.name, Some(format!("{}.{}", names.plural, crate::GROUP)));
        assert_eq!((spec.group.as_str(), version.name.as_str()), (crate::GROUP, crate::VERSION));
        let short = names.short_names.as_deref().unwrap_or_default();
        assert!(!short.is_empty(), "{kind} has no short name");
        assert!(short.iter().all(|name| short_names.insert(name.clone())), "{kind}: {short:?} is used twice");
        assert_eq!(names.categories, Some(vec!["drover".to_owned()]), "{kind}");
        let labels = crd.metadata.labels.clone().unwrap_or_default();
        let part_of = labels.get("app.kubernetes.io/part-of").map(String::as_str);
        assert_eq!(part_of, Some("drover"), "{kind}: an uninstall selects the definitions by this label");
        let columns = columns(version);
        assert_eq!(columns.get(..2), Some(&["Ready".to_owned(), "Reason".to_owned()][..]), "{kind}");
        let wide = columns.iter().position(|column| column.ends_with('+')).expect("wide columns");
        assert!(columns[wide..].iter().all(|column| column.ends_with('+')), "{kind}: {columns:?}");
        assert_eq!((columns[wide - 1].as_str(), columns[wide].as_str()), ("Age", "Message+"), "{kind}");
        assert!(version.subresources.as_ref().unwrap().status.is_some(), "{kind}");
        let schema = schema(kind);
        assert_eq!(schema["properties"]["status"]["default"], json!({ "observedGeneration": -1 }), "{kind}");
        assert_eq!(schema["properties"]["spec"].get("default"), None, "{kind}");
        assert_eq!(
            schema.pointer("/properties/status/properties/conditions/x-kubernetes-list-type"),
            Some(&json!("map"))
        );
    }
}

/// Every list of objects in `node`, with its path.
fn lists_of_objects<'a>(node: &'a Value, at: &str, found: &mut Vec<(String, &'a Value)>) {
    if node["items"]["type"] == json!("object") {
        found.push((at.to_owned(), node));
    }
    for (name, child) in node["properties"].as_object().into_iter().flatten() {
        lists_of_objects(child, &format!("{at}.{name}"), found);
    }
    for child in ["items", "additionalProperties"] {
        if let Some(schema) = node.get(child) {
            lists_of_objects(schema, &format!("{at}.{child}"), found);
        }
    }
}

/// Server-side apply merges a keyed list entry by entry; an atomic one has one owner as a whole.
#[test]
fn lists_of_objects_are_keyed_or_atomic_and_a_key_is_required() {
    let (mut keyed, mut atomic) = (Vec::new(), Vec::new());
    for crd in crate::v1alpha1::all() {
        let kind = &crd.spec.names.kind;
        let schema = schema(kind);
        let mut lists = Vec::new();
        lists_of_objects(&schema, kind, &mut lists);
        for (path, list) in lists {
            if list["x-kubernetes-list-type"] == "atomic" {
                atomic.push(path);
                continue;
            }
            assert_eq!(list["x-kubernetes-list-type"], "map", "{path}");
            let keys = list["x-kubernetes-list-map-keys"].as_array().unwrap();
            let required = list["items"]["required"].as_array().unwrap();
            assert!(!keys.is_empty() && keys.iter().all(|key| required.contains(key)), "{path}");
            keyed.push(path);
        }
    }
    assert!(keyed.contains(&"Project.spec.namespaces".to_owned()), "{keyed:?}");
    assert!(atomic.contains(&"Cluster.spec.tenants".to_owned()), "rights have one owner: {atomic:?}");
}
