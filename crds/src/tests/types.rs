use std::{collections::BTreeMap, time::Duration};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use serde_json::{Value, json};

use crate::{
    ApiDuration, ClusterSelection, ClusterSpec, ClusterStatus, NamespaceSelection, ProjectSpec, ProjectStatus,
    RoleBindingStatus, RoleTemplateStatus, StatusConditions, Tenant, pattern_matches,
};

#[test]
fn patterns() {
    for (pattern, name, expected) in [
        ("", "", true),
        ("", "a", false),
        ("a", "a", true),
        ("a", "ab", false),
        ("a", "ba", false),
        ("*", "", true),
        ("*", "anything", true),
        ("**", "", true),
        ("kube-*", "kube-system", true),
        ("kube-*", "kube-", true),
        ("kube-*", "kube", false),
        ("kube-*", "my-kube-system", false),
        ("*-apps", "team-apps", true),
        ("*-apps", "team-apps-2", false),
        ("a*a", "a", false),
        ("a*a", "aa", true),
        ("ab*ba", "aba", false),
        ("a*b*c", "abc", true),
        ("a*b*c", "a-b-b-c", true),
        ("a*b*c", "acb", false),
        ("a*b*b*c", "a-b-c", false),
        ("*a*", "bab", true),
        ("*a*", "bb", false),
        ("*ab*ab*", "aab", false),
        ("*ab*ab*", "ab-ab", true),
        ("a?c", "abc", false),
        ("a.c", "abc", false),
        ("ü*", "über", true),
    ] {
        assert_eq!(pattern_matches(pattern, name), expected, "{pattern} {name}");
    }
    let name = "a".repeat(100_000);
    assert!(!pattern_matches(&format!("{}b", "*a".repeat(1_000)), &name));
}

#[test]
fn selections() {
    let labels = BTreeMap::from([("region".to_owned(), "eu".to_owned())]);
    for (selection, expected) in [
        (json!({ "all": {} }), true),
        (json!({ "names": ["us-1", "eu-1"] }), true),
        (json!({ "names": ["eu"] }), false),
        (json!({ "names": [] }), false),
        (json!({ "selector": { "matchLabels": { "region": "eu" } } }), true),
        (json!({ "selector": { "matchLabels": { "region": "us" } } }), false),
        (json!({ "selector": { "matchLabels": { "region": "eu", "stage": "dev" } } }), false),
        (
            json!({ "selector": { "matchExpressions": [{ "key": "region", "operator": "In", "values": ["us", "eu"] }] } }),
            true,
        ),
        (
            json!({ "selector": { "matchExpressions": [{ "key": "region", "operator": "NotIn", "values": ["eu"] }] } }),
            false,
        ),
        (
            json!({ "selector": { "matchExpressions": [{ "key": "stage", "operator": "NotIn", "values": ["dev"] }] } }),
            true,
        ),
        (json!({ "selector": { "matchExpressions": [{ "key": "region", "operator": "Exists" }] } }), true),
        (json!({ "selector": { "matchExpressions": [{ "key": "region", "operator": "DoesNotExist" }] } }), false),
        (
            json!({ "selector": {
            "matchLabels": { "region": "eu" }, "matchExpressions": [{ "key": "stage", "operator": "Exists" }],
        } }),
            false,
        ),
        // Invalid ones, which the schema refuses too.
        (json!({ "selector": {} }), false),
        (json!({ "selector": { "matchLabels": {}, "matchExpressions": [] } }), false),
        (
            json!({ "selector": { "matchExpressions": [{ "key": "region", "operator": "Near", "values": ["eu"] }] } }),
            false,
        ),
        (json!({ "selector": { "matchExpressions": [{ "key": "stage", "operator": "NotIn" }] } }), false),
        (json!({ "selector": { "matchExpressions": [{ "key": "stage", "operator": "NotIn", "values": [] }] } }), false),
        (
            json!({ "selector": { "matchExpressions": [{ "key": "region", "operator": "Exists", "values": ["eu"] }] } }),
            false,
        ),
    ] {
        let clusters: ClusterSelection = serde_json::from_value(selection.clone()).unwrap();
        let namespaces: NamespaceSelection = serde_json::from_value(selection.clone()).unwrap();
        assert_eq!(clusters.selects("eu-1", &labels), expected, "{selection}");
        assert_eq!(clusters.matcher().selects("eu-1", &labels), expected, "{selection}");
        assert_eq!(namespaces.selects("eu-1", &labels), expected, "{selection}");
        assert_eq!(serde_json::to_value(&clusters).unwrap(), selection);
    }
    assert!(!ClusterSelection::Selector(LabelSelector::default()).selects("a", &BTreeMap::new()));
    assert!(serde_json::from_value::<ClusterSelection>(json!({ "names": [], "all": {} })).is_err());
}

#[test]
fn durations() {
    for (text, millis) in [
        ("30s", 30_000),
        ("10m", 600_000),
        ("720h", 2_592_000_000),
        ("1h30m", 5_400_000),
        ("90m", 5_400_000),
        ("1500ms", 1_500),
        ("1s500ms", 1_500),
        ("0s", 0),
        ("007s", 7_000),
    ] {
        let duration: ApiDuration = serde_json::from_value(json!(text)).unwrap();
        assert_eq!(duration.as_std(), Duration::from_millis(millis), "{text}");
        assert_eq!(serde_json::to_value(&duration).unwrap(), json!(text));
        let respelled = ApiDuration::from(duration.as_std());
        assert_eq!(respelled, duration);
        assert_eq!(respelled.to_string().parse(), Ok(duration));
    }
    for text in
        ["", "5", "s", "-5s", "+5s", "1.5h", "1d", "5 s", "5s ", "5S", "99999999999999999999h", "18446744073709551615h"]
    {
        assert!(text.parse::<ApiDuration>().is_err(), "{text}");
    }
    assert_eq!(ApiDuration::from(Duration::from_hours(720)).to_string(), "720h");
    assert_eq!(ApiDuration::from(Duration::from_millis(1_001)).to_string(), "1001ms");
    assert_eq!(ApiDuration::from(Duration::ZERO).to_string(), "0s");
}

fn cluster_spec(fields: &Value) -> ClusterSpec {
    let mut spec = json!({ "connection": { "local": {} } });
    super::merge(&mut spec, fields);
    serde_json::from_value(spec).unwrap()
}

fn project_spec(fields: &Value) -> ProjectSpec {
    let mut spec = json!({ "clusters": { "all": {} } });
    super::merge(&mut spec, fields);
    serde_json::from_value(spec).unwrap()
}

#[test]
fn what_is_not_implemented_is_listed() {
    for fields in [
        json!({}),
        json!({ "claim": {}, "health": {}, "tenants": [], "suspend": true }),
        json!({ "claim": { "takeFrom": "x" }, "certificates": {}, "deletionPolicy": "Delete" }),
        json!({ "certificates": {}, "identity": {} }),
        json!({ "tenants": [{ "name": "a", "from": { "all": {} }, "operations": ["Scan"] }] }),
    ] {
        assert!(cluster_spec(&fields).unimplemented().is_empty(), "{fields}");
    }
    for fields in [
        json!({}),
        json!({ "namespaces": [{ "name": "a", "labels": { "b": "c" } }], "namespaceMetadata": {} }),
        json!({ "quota": {}, "namespaces": [{ "name": "b", "quota": { "pods": 1 } }] }),
        json!({ "selfService": { "namePrefixes": ["a-"], "maxNamespaces": 1 } }),
        json!({ "containerDefaults": {}, "namespaces": [{ "name": "a", "containerDefaults": {} }] }),
        json!({ "podSecurity": {}, "namespaces": [{ "name": "a", "podSecurity": {} }] }),
        json!({ "networkIsolation": { "mode": "Project" }, "namespaces": [{ "name": "a", "networkIsolation": { "mode": "None" } }] }),
    ] {
        assert!(project_spec(&fields).unimplemented().is_empty(), "{fields}");
    }
}

#[test]
fn effective_values() {
    let spec = cluster_spec(&json!({}));
    assert_eq!(spec.health_interval(), Duration::from_secs(30));
    assert_eq!(spec.health_timeout(), Duration::from_secs(10));
    assert_eq!((spec.failure_threshold(), spec.success_threshold()), (3, 2));
    assert_eq!(spec.certificate_warning(), Duration::from_hours(720));
    assert_eq!(spec.deletion_timeout(), Duration::from_mins(10));
    let spec = cluster_spec(&json!({
        "health": { "interval": "1m", "timeout": "2s", "failureThreshold": 7, "successThreshold": 8 },
        "certificates": { "warnBefore": "1h" },
        "deletionTimeout": "5s",
    }));
    assert_eq!(spec.health_interval(), Duration::from_mins(1));
    assert_eq!(spec.health_timeout(), Duration::from_secs(2));
    assert_eq!((spec.failure_threshold(), spec.success_threshold()), (7, 8));
    assert_eq!(spec.certificate_warning(), Duration::from_hours(1));
    assert_eq!(spec.deletion_timeout(), Duration::from_secs(5));
}

#[test]
fn protection_and_consent() {
    let spec = cluster_spec(&json!({ "protectedNamespaces": ["ingress-*"] }));
    for (namespace, protected) in [
        ("default", true),
        ("kube-system", true),
        ("drover-system", true),
        ("ingress-nginx", true),
        ("ingress", false),
        ("team-a", false),
    ] {
        assert_eq!(spec.protects(namespace), protected, "{namespace}");
    }
    let tenant: Tenant =
        serde_json::from_value(json!({ "name": "a", "from": { "all": {} }, "namespacePatterns": ["a-*", "b"] }))
            .unwrap();
    assert!(tenant.allows_namespace("a-1") && tenant.allows_namespace("b") && !tenant.allows_namespace("b-1"));
    assert!(!tenant.allows_key("team"), "none by default");
    let tenant = Tenant { metadata_keys: vec!["team".to_owned(), "example.com/*".to_owned()], ..tenant };
    for (key, allowed) in [
        ("team", true),
        ("teams", false),
        ("example.com/owner", true),
        ("example.com", false),
        ("a.example.com/b", false),
    ] {
        assert_eq!(tenant.allows_key(key), allowed, "{key}");
    }
}

#[test]
fn a_fresh_status_is_unobserved() {
    assert_eq!(ClusterStatus::default(), serde_json::from_value(json!({})).unwrap());
    assert_eq!(ProjectStatus::default(), serde_json::from_value(json!({})).unwrap());
    assert_eq!(RoleTemplateStatus::default(), serde_json::from_value(json!({})).unwrap());
    assert_eq!(RoleBindingStatus::default(), serde_json::from_value(json!({})).unwrap());
    assert_eq!(crate::MultiClusterAppStatus::default(), serde_json::from_value(json!({})).unwrap());
    assert_eq!(serde_json::to_value(ClusterStatus::default()).unwrap(), json!({ "observedGeneration": -1 }));
    assert_eq!(serde_json::to_value(ProjectStatus::default()).unwrap(), json!({ "observedGeneration": -1 }));
    let mut status = ProjectStatus::default();
    status.set_observed_generation(4);
    assert_eq!((status.observed_generation(), status.conditions().len()), (4, 0));
}
