//! What people apply, and what they read of it.

use drover_crds::names::LABEL_PROJECT;
use serde_json::{Value, json};

/// The namespace of the management cluster in which stories have their objects.
pub const TEAM: &str = "team";
/// The namespaces of the Project `shop` of [`super::with_shop`].
pub const NAMESPACES: [&str; 2] = ["team-web", "team-db"];
/// Between two probes of a Cluster of a story.
pub const PROBE_SECONDS: u64 = 2;

/// A Namespace.
#[must_use]
pub fn a_namespace(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
}

/// A Cluster labelled `env=prod` that lets the namespace `team` hold `team-*`, with any labels.
#[must_use]
pub fn a_cluster(name: &str) -> Value {
    json!({
        "apiVersion": "drover.dev/v1alpha1", "kind": "Cluster", "metadata": {"name": name, "labels": {"env": "prod"}},
        "spec": {
            "connection": {"kubeconfig": {"secretRef": {"name": name}}},
            "health": {"interval": format!("{PROBE_SECONDS}s"), "timeout": "3s"},
            "tenants": [{"name": "team", "from": {"names": ["team"]}, "namespacePatterns": ["team-*"], "metadataKeys": ["*"]}],
        },
    })
}

/// A Project in `team` with these namespaces on every cluster labelled `env=prod`.
#[must_use]
pub fn a_project(name: &str, namespaces: &[&str]) -> Value {
    let namespaces: Vec<_> = namespaces.iter().map(|name| json!({"name": name})).collect();
    json!({
        "apiVersion": "drover.dev/v1alpha1", "kind": "Project", "metadata": {"name": name, "namespace": TEAM},
        "spec": {"clusters": {"selector": {"matchLabels": {"env": "prod"}}}, "namespaces": namespaces},
    })
}

/// A Secret that the Project `shop` may copy; whether it does says its spec.
#[must_use]
pub fn a_secret_of_shop() -> Value {
    let labels = json!({LABEL_PROJECT: "shop"});
    let metadata = json!({"name": "registry", "namespace": TEAM, "labels": labels});
    json!({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": {"password": "of the registry"}})
}

/// An object of each kind of ours but Cluster, in the order in which they are applied, with all guards. All are deleted with what they made. The
/// tests of safety apply these: drover is killed at its writes for them, and the ways to clusters that have them fail.
#[must_use]
pub fn one_of_each_kind() -> Vec<Value> {
    let mut shop = a_project("shop", &NAMESPACES);
    if let Some(spec) = shop.get_mut("spec").and_then(Value::as_object_mut) {
        spec.insert("deletionPolicy".to_owned(), "Delete".into());
        spec.insert("podSecurity".to_owned(), json!({"enforce": "baseline"}));
        spec.insert("containerDefaults".to_owned(), json!({"limits": {"memory": "256Mi"}}));
        spec.insert("quota".to_owned(), json!({"perCluster": {"pods": "20"}, "namespaceDefault": {"pods": "10"}}));
        spec.insert("secrets".to_owned(), json!([{"name": "registry"}]));
        spec.insert("networkIsolation".to_owned(), json!({"mode": "Project"}));
    }
    let rules = json!([{"apiGroups": [""], "resources": ["nodes"], "verbs": ["get", "list"]}]);
    let template = json!({
        "apiVersion": "drover.dev/v1alpha1", "kind": "RoleTemplate", "metadata": {"name": "watcher"},
        "spec": {"context": "Cluster", "rules": rules},
    });
    let subjects = json!([{"kind": "User", "name": "ada"}]);
    let binding = json!({
        "apiVersion": "drover.dev/v1alpha1", "kind": "ClusterRoleTemplateBinding", "metadata": {"name": "watchers"},
        "spec": {"clusters": {"all": {}}, "roleTemplateName": "watcher", "subjects": subjects},
    });
    let pods = json!([{"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list"]}]);
    let viewer = json!({
        "apiVersion": "drover.dev/v1alpha1", "kind": "RoleTemplate", "metadata": {"name": "viewer"},
        "spec": {"context": "Project", "rules": pods, "bindableFrom": {"all": {}}},
    });
    let members = json!({
        "apiVersion": "drover.dev/v1alpha1", "kind": "ProjectRoleTemplateBinding",
        "metadata": {"name": "viewers", "namespace": TEAM},
        "spec": {"projectName": "shop", "roleTemplateName": "viewer", "subjects": subjects},
    });
    vec![shop, template, binding, viewer, members]
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_tests_of_safety_apply_every_kind() {
        let mut applied: BTreeSet<_> =
            one_of_each_kind().iter().map(|object| object["kind"].as_str().unwrap().to_owned()).collect();
        applied.insert("Cluster".to_owned());
        // drover is killed while it releases charts, by themselves and by rollouts, in stories of their own, in `kills`.
        applied.extend(["CatalogApp", "MultiClusterApp"].map(str::to_owned));
        // A repository is no part of a cluster: what becomes of one that does not answer is tested beside `drover-sources`.
        applied.insert("ChartRepository".to_owned());
        // A backup needs a store, and a node that runs its Job: it has stories of its own, in `backups` and `backup_schedules`.
        applied.extend(["BackupStore", "EtcdBackup", "EtcdBackupSchedule"].map(str::to_owned));
        // Names are at a server of DNS, and have stories of their own, in `global_dns`.
        applied.extend(["GlobalDNSProvider", "GlobalDNS"].map(str::to_owned));
        // A scan needs nodes that run its Jobs: it has stories of its own, in `scans`.
        applied.extend(["CisProfile", "CisWaiver", "CisScan", "CisScanSchedule", "CisReport"].map(str::to_owned));
        let ours: BTreeSet<_> = drover_crds::all().into_iter().map(|definition| definition.spec.names.kind).collect();
        assert_eq!(applied, ours);
    }
}
