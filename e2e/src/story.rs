//! What stories and benchmarks apply, and what they read afterwards.

use serde_json::{Value, json};

use crate::ControlPlane;
use crate::audit::{AuditEvent, AuditMark};
use crate::error::Result;
use crate::installation::{DROVER_USER, Installation};

/// A Namespace.
#[must_use]
pub fn namespace(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
}

/// A Cluster labelled `env=prod` that lets the namespace `team` hold `team-*`.
#[must_use]
pub fn cluster(name: &str) -> Value {
    json!({
        "apiVersion": "drover.dev/v1alpha1", "kind": "Cluster", "metadata": {"name": name, "labels": {"env": "prod"}},
        "spec": {
            "connection": {"kubeconfig": {"secretRef": {"name": name}}},
            "health": {"interval": "2s", "timeout": "3s"},
            "tenants": [{"name": "team", "from": {"names": ["team"]}, "namespacePatterns": ["team-*"]}],
        },
    })
}

/// A Project in `team` with these namespaces on every cluster labelled `env=prod`.
#[must_use]
pub fn project(name: &str, namespaces: &[&str]) -> Value {
    let namespaces: Vec<_> = namespaces.iter().map(|name| json!({"name": name})).collect();
    json!({
        "apiVersion": "drover.dev/v1alpha1", "kind": "Project", "metadata": {"name": name, "namespace": "team"},
        "spec": {"clusters": {"selector": {"matchLabels": {"env": "prod"}}}, "namespaces": namespaces},
    })
}

/// `status/reason` of a condition, once it speaks of the current spec.
#[must_use]
pub fn condition(object: &Value, kind: &str) -> Option<String> {
    if object.pointer("/status/observedGeneration") != object.pointer("/metadata/generation") {
        return None;
    }
    let conditions = object.pointer("/status/conditions")?.as_array()?;
    let found = conditions.iter().find(|condition| condition["type"] == kind)?;
    Some(format!("{}/{}", found["status"].as_str()?, found["reason"].as_str()?))
}

/// A place in the audit log of every cluster of an installation.
pub type Marks = Vec<AuditMark>;

/// Where the audit logs end now.
pub fn marks(installation: &Installation) -> Result<Marks> {
    installation.planes().map(ControlPlane::audit_mark).collect()
}

/// The requests that drover made on any cluster since `marks`, with the cluster's name; the leader Lease is left out.
pub fn requests_since(installation: &Installation, marks: &Marks) -> Result<Vec<(String, AuditEvent)>> {
    let mut requests = Vec::new();
    for (plane, mark) in installation.planes().zip(marks) {
        let events = plane.audit_events_since(*mark)?.into_iter();
        let ours = events.filter(|event| event.user == DROVER_USER && event.resource != "leases");
        requests.extend(ours.map(|event| (plane.name().to_owned(), event)));
    }
    Ok(requests)
}

/// Those of them that change something, for people.
pub fn writes_since(installation: &Installation, marks: &Marks) -> Result<Vec<String>> {
    let requests = requests_since(installation, marks)?.into_iter().filter(|(_, event)| event.changes());
    Ok(requests.map(|(plane, event)| format!("{plane}: {} {} {}", event.verb, event.resource, event.name)).collect())
}
