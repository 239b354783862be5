use serde_json::{Value, json};

use super::{checker::problems, merge, schema};

fn yaml(text: &str) -> Value {
    serde_yaml::from_str(text).unwrap()
}

/// What is said of a key that no label may have.
const KEYS: &str = "a key has at most 63 letters";

/// A DNS name of this length.
fn long_domain(length: usize) -> String {
    format!("{}x", "a.".repeat(length))[..length - 1].to_owned() + "x"
}

/// So many labels or annotations.
fn many(count: usize) -> Value {
    (0..count).map(|number| (format!("key-{number}"), Value::from("v"))).collect()
}

fn cluster() -> Value {
    yaml(include_str!("cluster.yaml"))
}

fn project() -> Value {
    yaml(include_str!("project.yaml"))
}

/// `kind`, patch to the good object, part of the one expected complaint.
pub(super) fn refused(kind: &str, good: &Value, cases: &[(Value, &str)]) {
    let schema = schema(kind);
    for (patch, complaint) in cases {
        let mut object = good.clone();
        merge(&mut object, patch);
        let found = problems(&schema, &object);
        assert!(found.iter().any(|f| f.contains(complaint)), "{patch}: {complaint}: {found:?}");
    }
}

pub(super) fn accepted(kind: &str, good: &Value, patches: &[Value]) {
    let schema = schema(kind);
    for patch in patches {
        let mut object = good.clone();
        merge(&mut object, patch);
        assert_eq!(problems(&schema, &object), Vec::<String>::new(), "{patch}");
    }
}

#[test]
fn good_clusters_are_accepted() {
    accepted(
        "Cluster",
        &cluster(),
        &[
            json!({}),
            json!({ "spec": { "tenants": null, "health": {}, "claim": {}, "certificates": null } }),
            json!({ "metadata": { "name": "local" }, "spec": { "connection": { "kubeconfig": null, "local": {} } } }),
            json!({ "metadata": { "name": "a".repeat(63) } }),
            json!({ "spec": { "deletionTimeout": "1h30m" } }),
            json!({ "spec": { "appValues": { "registry.mirror": "r.example", "a": "" } } }),
            json!({ "spec": { "tenants": [{ "name": "a", "from": { "all": {} }, "maxNamespaces": 0, "metadataKeys": ["*", "a", "b*", "c.d/*", "c.d/e*"] }] } }),
            json!({ "spec": { "tenants": [{ "name": "a", "from": { "selector": { "matchExpressions": [
            { "key": "example.com/team", "operator": "Exists" },
            { "key": "stage", "operator": "NotIn", "values": ["dev", ""] },
        ] } } }] } }),
        ],
    );
}

#[test]
fn bad_clusters_are_refused() {
    let local = "the management cluster itself is the Cluster named 'local'";
    let requirement = "a selector needs at least one requirement";
    let from = |from: Value| json!({ "spec": { "tenants": [{ "name": "a", "from": from }] } });
    let tenant = |fields: Value| {
        let mut entry = json!({ "name": "a", "from": { "all": {} } });
        merge(&mut entry, &fields);
        json!({ "spec": { "tenants": [entry] } })
    };
    let expression = |e: Value| from(json!({ "selector": { "matchExpressions": [e] } }));
    refused(
        "Cluster",
        &cluster(),
        &[
            (json!({ "metadata": { "name": "local" } }), local),
            (json!({ "spec": { "connection": { "kubeconfig": null, "local": {} } } }), local),
            (json!({ "spec": { "connection": { "local": {} } } }), "give exactly one of kubeconfig and local"),
            (json!({ "spec": { "connection": { "kubeconfig": null } } }), "give exactly one of kubeconfig and local"),
            (json!({ "metadata": { "name": "eu.west" } }), "the name must be a DNS label"),
            (json!({ "spec": { "appValues": { "a/b": "c" } } }), "a key has 1 to 63 letters"),
            (json!({ "spec": { "appValues": { "a": "b".repeat(1025) } } }), "appValues.a: more than maxLength"),
            (json!({ "metadata": { "name": "a".repeat(64) } }), "the name must be a DNS label"),
            (json!({ "spec": { "connection": null } }), ".spec: lacks a required field"),
            (
                json!({ "spec": { "connection": { "kubeconfig": { "secretRef": { "name": "A" } } } } }),
                "name: does not match",
            ),
            (json!({ "spec": { "expectedUID": "a b" } }), "expectedUID: does not match"),
            (json!({ "spec": { "expectedUID": "a".repeat(65) } }), "expectedUID: more than maxLength"),
            (json!({ "spec": { "health": { "interval": "10ms" } } }), "must be between 1s and 1h"),
            (json!({ "spec": { "health": { "timeout": "6m" } } }), "must be between 1s and 5m"),
            (json!({ "spec": { "health": { "interval": "soon" } } }), "interval: does not match"),
            (json!({ "spec": { "health": { "failureThreshold": 0 } } }), "failureThreshold: less than minimum"),
            (json!({ "spec": { "deletionTimeout": "1d" } }), "deletionTimeout: does not match"),
            (json!({ "spec": { "deletionPolicy": "Retain" } }), "deletionPolicy: not in enum"),
            (json!({ "spec": { "protectedNamespaces": ["a?"] } }), "protectedNamespaces[0]: does not match"),
            (json!({ "spec": { "protectedNamespaces": ["a", "a"] } }), "protectedNamespaces: duplicate"),
            (json!({ "spec": { "podSecurity": { "enforce": "none" } } }), "enforce: not in enum"),
            (json!({ "spec": { "nodeRanges": ["10.0.0.0"] } }), "nodeRanges[0]: does not match"),
            (json!({ "spec": { "nodeRanges": ["10.0.0.0/33"] } }), "nodeRanges[0]: does not match"),
            (json!({ "spec": { "nodeRanges": ["fd00::/129"] } }), "nodeRanges[0]: does not match"),
            (json!({ "spec": { "nodeRanges": ["nodes/8"] } }), "nodeRanges[0]: does not match"),
            (json!({ "spec": { "podSecurity": { "exempt": ["a*"] } } }), "exempt[0]: does not match"),
            (
                json!({ "spec": { "tenants": [
            { "name": "a", "from": { "all": {} } }, { "name": "a", "from": { "all": {} } },
        ] } }),
                "every tenant entry needs a name of its own",
            ),
            (tenant(json!({ "maxNamespaces": -1 })), "maxNamespaces: less than minimum"),
            (tenant(json!({ "maxNamespaces": 10_001 })), "maxNamespaces: more than maximum"),
            (tenant(json!({ "metadataKeys": ["a*b"] })), "metadataKeys[0]: does not match"),
            (tenant(json!({ "metadataKeys": ["a/b/c"] })), "metadataKeys[0]: does not match"),
            (tenant(json!({ "metadataKeys": [""] })), "metadataKeys[0]: less than minLength"),
            (tenant(json!({ "operations": ["Reboot"] })), "operations[0]: not in enum"),
            (tenant(json!({ "operations": ["Scan", "Scan"] })), "operations: duplicate"),
            (tenant(json!({ "clusterWide": true })), "clusterWide: unknown field"),
            (json!({ "spec": { "tenants": [{ "name": "a" }] } }), "tenants[0]: lacks a required field"),
            (json!({ "spec": { "tennants": [] } }), "tennants: unknown field"),
            (from(json!({})), "give exactly one of names, selector and all"),
            (from(json!({ "names": ["a"], "all": {} })), "give exactly one of names, selector and all"),
            (from(json!({ "names": ["A"] })), "names[0]: does not match"),
            (from(json!({ "selector": {} })), requirement),
            (from(json!({ "selector": { "matchLabels": {} } })), requirement),
            (from(json!({ "selector": { "matchLabels": {}, "matchExpressions": [] } })), requirement),
            (expression(json!({ "key": "a", "operator": "In" })), "In and NotIn need at least one value"),
            (
                expression(json!({ "key": "a", "operator": "Exists", "values": ["b"] })),
                "In and NotIn need at least one value",
            ),
            (expression(json!({ "key": "a", "operator": "Gt" })), "operator: not in enum"),
            (expression(json!({ "key": "a b", "operator": "Exists" })), "key: does not match"),
            (from(json!({ "selector": { "matchLabels": { "a b": "c" } } })), KEYS),
        ],
    );
}

#[test]
fn good_projects_are_accepted() {
    accepted(
        "Project",
        &project(),
        &[
            json!({}),
            json!({ "spec": { "clusters": { "names": null, "all": {} }, "namespaces": null } }),
            json!({ "spec": { "quota": { "perCluster": { "pods": 50, "limits.cpu": "1.5", "limits.memory": "1e3" } } } }),
            json!({ "spec": { "namespaces": [{ "name": "a", "quota": {
                "cpu": 1, "requests.memory": "1Gi", "limits.ephemeral-storage": "1e9", "requests.storage": "1Ti", "pods": 5,
                "hugepages-2Mi": "4Mi", "requests.hugepages-1Gi": "1Gi", "requests.nvidia.com/gpu": 2, "services.nodeports": 0,
                "gold.storageclass.storage.k8s.io/requests.storage": "10G", "count/deployments.apps": "1k",
                "gpu.deviceclass.resource.k8s.io/devices": 3,
            } }] } }),
            json!({ "spec": { "namespaces": [{ "name": "defaults" }, { "name": "my-kube-x" }] } }),
            json!({ "spec": { "namespaces": [{
                "name": "a",
                "labels": { "x".repeat(63): "c", "A_b.c": "", format!("{}/c", long_domain(253)): "c" },
                "annotations": { "a": "\u{e9}".repeat(512), "b": "x".repeat(1024) },
            }] } }),
            json!({ "spec": { "namespaces": [{ "name": "a", "labels": many(31), "annotations": many(15) }] } }),
            json!({ "spec": { "podSecurity": { "enforce": "baseline", "enforceVersion": "v1.37" } } }),
            json!({ "spec": { "namespaces": [{
                "name": "a", "podSecurity": { "enforce": "privileged" }, "containerDefaults": { "limits": { "cpu": 1 } },
                "networkIsolation": { "mode": "None" },
            }] } }),
            json!({ "spec": { "deletionTimeout": "30s" } }),
        ],
    );
}

#[test]
fn bad_projects_are_refused() {
    let reserved = "are set by Drover or Kubernetes";
    let namespace = |fields: Value| {
        let mut entry = json!({ "name": "a" });
        merge(&mut entry, &fields);
        json!({ "spec": { "namespaces": [entry] } })
    };
    let namespaces =
        |count: usize| (0..count).map(|number| json!({ "name": format!("a-{number}") })).collect::<Vec<_>>();
    let isolation = |from: Value| json!({ "spec": { "networkIsolation": { "mode": "Project", "allowFrom": [from] } } });
    refused(
        "Project",
        &project(),
        &[
            (json!({ "metadata": { "name": "team.a" } }), "the name must be a DNS label"),
            (namespace(json!({ "name": "default" })), "are protected"),
            (namespace(json!({ "name": "kube-system" })), "are protected"),
            (namespace(json!({ "name": "drover-system" })), "are protected"),
            (namespace(json!({ "name": "a.b" })), "name: does not match"),
            (namespace(json!({ "labels": { "drover.dev/project": "x" } })), reserved),
            (namespace(json!({ "labels": { "app.kubernetes.io/managed-by": "x" } })), reserved),
            (namespace(json!({ "labels": { "pod-security.kubernetes.io/enforce": "privileged" } })), reserved),
            (namespace(json!({ "labels": { "kubernetes.io/metadata.name": "x" } })), reserved),
            (namespace(json!({ "annotations": { "drover.dev/adopted": "true" } })), reserved),
            (namespace(json!({ "labels": { "a": "b c" } })), "labels.a: does not match"),
            (namespace(json!({ "labels": { "a b": "c" } })), KEYS),
            (namespace(json!({ "labels": { "": "c" } })), KEYS),
            (namespace(json!({ "labels": { "/a": "c" } })), KEYS),
            (namespace(json!({ "labels": { "a/b/c": "c" } })), KEYS),
            (namespace(json!({ "labels": { "a..b/c": "c" } })), KEYS),
            (namespace(json!({ "labels": { "x".repeat(64): "c" } })), KEYS),
            (namespace(json!({ "labels": { format!("{}/c", long_domain(254)): "c" } })), KEYS),
            (namespace(json!({ "annotations": { "-a": "c" } })), KEYS),
            (namespace(json!({ "annotations": { "a": "\u{e9}".repeat(513) } })), "at most 1024 bytes"),
            (namespace(json!({ "annotations": { "a": "x".repeat(1025) } })), "annotations.a: more than maxLength"),
            (namespace(json!({ "annotations": many(17) })), "annotations: more than maxProperties"),
            (namespace(json!({ "annotations": many(16) })), "at most 16 annotations"),
            (namespace(json!({ "labels": many(33) })), "labels: more than maxProperties"),
            (namespace(json!({ "labels": many(32) })), "at most 32 labels"),
            (json!({ "spec": { "containerDefaults": { "max": { "x".repeat(318): "1" } } } }), "at most 317 characters"),
            (json!({ "spec": { "quota": { "perCluster": { "widgets": "1" } } } }), "knows no resource of this name"),
            (json!({ "spec": { "quota": { "namespaceDefault": { "limits.pods": "1" } } } }), "knows no resource"),
            (json!({ "spec": { "quota": { "namespaceDefault": { "a/b/c": "1" } } } }), "knows no resource"),
            (
                json!({ "spec": { "quota": { "namespaceDefault": { format!("{}/c", long_domain(254)): "1" } } } }),
                "knows no resource",
            ),
            (namespace(json!({ "quota": { "hugepages-": "1" } })), "knows no resource of this name"),
            (namespace(json!({ "quota": { "Pods": "1" } })), "knows no resource of this name"),
            (namespace(json!({ "quota": { "limits.cpu": "4x0" } })), "limits.cpu: does not match"),
            (namespace(json!({ "quota": { "limits.cpu": "-1" } })), "limits.cpu: does not match"),
            (namespace(json!({ "quota": { "pods": -1 } })), "pods: less than minimum"),
            (namespace(json!({ "onExisting": "Steal" })), "onExisting: not in enum"),
            (json!({ "spec": { "namespaceMetadata": { "labels": { "drover.dev/a": "b" } } } }), reserved),
            (
                json!({ "spec": { "namespaceMetadata": { "annotations": { "app.kubernetes.io/managed-by": "b" } } } }),
                reserved,
            ),
            (json!({ "spec": { "namespaces": [{ "name": "a" }, { "name": "a" }] } }), "namespaces: duplicate"),
            (json!({ "spec": { "namespaces": namespaces(501) } }), "namespaces: more than maxItems"),
            (json!({ "spec": { "clusters": null } }), ".spec: lacks a required field"),
            (json!({ "spec": { "clusters": { "all": {} } } }), "give exactly one of names, selector and all"),
            (
                json!({ "spec": { "clusters": { "names": null, "selector": { "matchLabels": {} } } } }),
                "at least one requirement",
            ),
            (json!({ "spec": { "clusters": { "names": ["a", "a"] } } }), "names: duplicate"),
            (json!({ "spec": { "secrets": [{ "name": "a" }, { "name": "a" }] } }), "secrets: duplicate"),
            (json!({ "spec": { "secrets": [{ "name": "A" }] } }), "name: does not match"),
            (
                json!({ "spec": { "secrets": (0..33).map(|number| json!({ "name": format!("s{number}") })).collect::<Value>() } }),
                "secrets: more than maxItems",
            ),
            (json!({ "spec": { "selfService": { "namePrefixes": ["kube-x-"] } } }), "are protected"),
            (json!({ "spec": { "selfService": { "namePrefixes": ["drover-"] } } }), "are protected"),
            (json!({ "spec": { "selfService": { "namePrefixes": ["drover-system-a-"] } } }), "are protected"),
            (json!({ "spec": { "selfService": { "namePrefixes": [] } } }), "namePrefixes: less than minItems"),
            (json!({ "spec": { "selfService": { "namePrefixes": ["a-", "a-"] } } }), "namePrefixes: duplicate"),
            (json!({ "spec": { "selfService": { "namePrefixes": ["shop"] } } }), "does not match"),
            (json!({ "spec": { "selfService": { "namePrefixes": ["a--"] } } }), "does not match"),
            (json!({ "spec": { "selfService": { "namePrefixes": ["a-b-c-d-e-"] } } }), "does not match"),
            (json!({ "spec": { "selfService": { "maxNamespaces": 0 } } }), "maxNamespaces: less than minimum"),
            (json!({ "spec": { "podSecurity": { "enforce": null } } }), "enforceVersion needs enforce"),
            (namespace(json!({ "podSecurity": { "enforceVersion": "v1.37" } })), "enforceVersion needs enforce"),
            (json!({ "spec": { "podSecurity": { "enforce": "Baseline" } } }), "enforce: not in enum"),
            (json!({ "spec": { "podSecurity": { "enforceVersion": "1.37" } } }), "enforceVersion: does not match"),
            (json!({ "spec": { "networkIsolation": { "mode": null } } }), "networkIsolation: lacks a required field"),
            (isolation(json!({})), "at least one requirement"),
        ],
    );
}

/// Else a comparison with Git would never settle: reading an object and writing it again adds nothing, drops nothing and respells nothing.
#[test]
fn what_people_write_survives_unchanged() {
    for object in [cluster(), project()] {
        assert_eq!(round_trip(&object), object);
    }
    let minimal = json!({
        "apiVersion": "drover.dev/v1alpha1",
        "kind": "Cluster",
        "metadata": { "name": "local" },
        "spec": { "connection": { "local": {} } },
    });
    assert_eq!(round_trip(&minimal), minimal);
    let minimal = json!({
        "apiVersion": "drover.dev/v1alpha1",
        "kind": "Project",
        "metadata": { "name": "a", "namespace": "b" },
        "spec": { "clusters": { "all": {} }, "namespaces": [{ "name": "c" }] },
    });
    assert_eq!(round_trip(&minimal), minimal);
}

fn round_trip(object: &Value) -> Value {
    if object["kind"] == "Cluster" {
        serde_json::to_value(serde_json::from_value::<crate::Cluster>(object.clone()).unwrap()).unwrap()
    } else {
        serde_json::to_value(serde_json::from_value::<crate::Project>(object.clone()).unwrap()).unwrap()
    }
}

/// The status as an operator would write it passes the schema, and reads back.
#[test]
fn written_status_is_accepted() {
    let mut object = cluster();
    let status = json!({
        "observedGeneration": 3,
        "clusterUID": "5c9d6c3e-0000-4000-8000-000000000000",
        "nodes": { "total": 3, "ready": 2, "unschedulable": 1, "summary": "2/3" },
        "resources": { "capacity": { "cpu": "12", "memory": "49152Ki" }, "allocatable": { "cpu": "11500m" } },
        "certificates": [{ "name": "serving", "source": "10.0.0.1:6443", "notAfter": "2027-01-01T00:00:00Z" }],
        "credential": { "notAfter": "2027-01-01T00:00:00Z" },
        "conditions": [{
            "type": "Ready", "status": "False", "reason": "ConnectionLost", "message": "",
            "lastTransitionTime": "2026-11-21T10:00:00Z", "observedGeneration": 3,
        }],
    });
    merge(&mut object, &json!({ "status": status }));
    assert_eq!(problems(&schema("Cluster"), &object), Vec::<String>::new());
    assert_eq!(round_trip(&object), object);
    refused(
        "Cluster",
        &object,
        &[
            (json!({ "status": { "conditions": [{ "type": "Ready" }] } }), "lacks a required field"),
            (json!({ "status": { "nodes": { "ready": -1 } } }), "ready: less than minimum"),
        ],
    );

    let mut object = project();
    let problem = json!({ "cluster": "eu-1", "namespace": "a", "reason": "Taken", "message": "it is of another" });
    merge(
        &mut object,
        &json!({ "status": {
        "observedGeneration": -1,
        "clusters": { "total": 50, "ready": 48, "unreachable": 2, "summary": "48/50" },
        "namespaces": { "total": 1, "ready": 0, "summary": "0/1" },
        "quota": [{ "cluster": "eu-1", "allocated": { "pods": "50" }, "available": { "pods": "-10" } }],
        "problems": [problem],
    } }),
    );
    assert_eq!(problems(&schema("Project"), &object), Vec::<String>::new());
    assert_eq!(round_trip(&object), object);
    let many = vec![problem; crate::MAX_PROBLEMS + 1];
    let long = json!({ "cluster": "c", "reason": "R", "message": "m".repeat(crate::MAX_PROBLEM_MESSAGE + 1) });
    refused(
        "Project",
        &object,
        &[
            (json!({ "status": { "problems": many } }), "problems: more than maxItems"),
            (json!({ "status": { "problems": [long] } }), "message: more than maxLength"),
        ],
    );
}

/// A template, with what the patch says.
fn template() -> Value {
    json!({
        "apiVersion": "drover.dev/v1alpha1", "kind": "RoleTemplate", "metadata": { "name": "deployer" },
        "spec": { "context": "Project", "rules": [{ "apiGroups": ["apps"], "resources": ["deployments"], "verbs": ["get"] }] },
    })
}

#[test]
fn role_templates_name_their_verbs_and_keep_to_their_context() {
    accepted(
        "RoleTemplate",
        &template(),
        &[
            json!({ "spec": { "inherits": ["viewer"], "externalClusterRoles": ["view"], "bindableFrom": { "all": {} } } }),
            json!({ "spec": { "clusterRules": [{ "nonResourceURLs": ["/metrics"], "verbs": ["get"] }] } }),
            json!({ "spec": { "context": "Cluster", "rules": null } }),
        ],
    );
    let rule = |rule: Value| json!({ "spec": { "rules": [rule] } });
    refused(
        "RoleTemplate",
        &template(),
        &[
            (rule(json!({ "apiGroups": [""], "resources": ["pods"], "verbs": ["*"] })), "name the verbs"),
            (rule(json!({ "apiGroups": [""], "verbs": ["get"] })), "a rule has either apiGroups and resources"),
            (rule(json!({ "nonResourceURLs": ["/metrics"], "verbs": ["get"] })), "nonResourceURLs lie outside"),
            (json!({ "spec": { "context": "Cluster", "clusterRules": [] } }), "clusterRules belong to"),
            (
                json!({ "spec": { "context": "Cluster", "managementRoles": ["drover-view"] } }),
                "managementRoles belong to",
            ),
            (json!({ "metadata": { "name": "a.b" } }), "DNS label"),
        ],
    );
}

#[test]
fn t25_a_binding_names_every_kind_of_subject_and_never_the_masters() {
    let binding = json!({
        "apiVersion": "drover.dev/v1alpha1", "kind": "ClusterRoleTemplateBinding", "metadata": { "name": "auditors" },
        "spec": { "clusters": { "all": {} }, "roleTemplateName": "viewer", "subjects": [{ "kind": "Group", "name": "auditors" }] },
    });
    let subject = |subject: Value| json!({ "spec": { "subjects": [subject] } });
    accepted(
        "ClusterRoleTemplateBinding",
        &binding,
        &[
            subject(json!({ "kind": "User", "name": "ada@example.com" })),
            subject(json!({ "kind": "ServiceAccount", "name": "ci", "namespace": "tools" })),
            json!({ "spec": { "expiresAt": "2027-01-31T00:00:00Z" } }),
        ],
    );
    let users = |count: usize| {
        let users: Vec<_> = (0..count).map(|number| json!({ "kind": "User", "name": format!("u{number}") })).collect();
        json!({ "spec": { "subjects": users } })
    };
    let mut in_project = binding.clone();
    in_project["kind"] = "ProjectRoleTemplateBinding".into();
    in_project["metadata"]["namespace"] = "team-a".into();
    in_project["spec"] = json!({ "projectName": "shop", "roleTemplateName": "viewer", "subjects": [] });
    for (kind, binding) in [("ClusterRoleTemplateBinding", &binding), ("ProjectRoleTemplateBinding", &in_project)] {
        accepted(kind, binding, &[users(1000)]);
        let masters = |kind: &str, name: &str| {
            let mut masters = json!({ "kind": kind, "name": name });
            if kind == "ServiceAccount" {
                masters["namespace"] = "tools".into();
            }
            (subject(masters), "system:masters")
        };
        let expiring = |time: &str| json!({ "spec": { "expiresAt": time } });
        let times = ["2027-01-31T00:00:00.123456789+05:30", "2999-12-31T23:59:59-23:59"];
        accepted(kind, binding, &times.map(expiring));
        let mut cases = vec![(users(1001), "subjects: more than maxItems")];
        // The format of times alone takes these, and no decoder does.
        for time in
            ["9999-12-31T23:59:59Z", "2027-01-31T00:00:00+99:00", "2027-01-31T00:00:00.1234567890Z", "2027-01-31"]
        {
            cases.push((expiring(time), "expiresAt: does not match"));
        }
        cases.extend([
            masters("User", "System:Masters"),
            masters("Group", "SYSTEM:MASTERS"),
            masters("ServiceAccount", "system:masters"),
        ]);
        refused(kind, binding, &cases);
    }
    let nine: Vec<String> = (0..9).map(|number| format!("c{number}")).collect();
    refused(
        "ClusterRoleTemplateBinding",
        &binding,
        &[
            (subject(json!({ "kind": "Group", "name": "system:masters" })), "system:masters"),
            (subject(json!({ "kind": "User", "name": "System:Masters" })), "system:masters"),
            (subject(json!({ "kind": "ServiceAccount", "name": "ci" })), "a ServiceAccount needs a namespace"),
            (json!({ "spec": { "clusters": { "all": null, "names": nine } } }), "at most 8 clusters"),
        ],
    );
}

/// An app, of a Project.
pub(super) fn app() -> Value {
    let chart = json!({ "configMap": { "name": "c", "key": "c.tgz", "digest": format!("sha256:{}", "0".repeat(64)) } });
    json!({
        "apiVersion": "drover.dev/v1alpha1", "kind": "CatalogApp", "metadata": { "name": "web", "namespace": "team-a" },
        "spec": {
            "clusterName": "eu", "namespace": "team-a-web", "projectName": "shop", "roleTemplateName": "deployer", "chart": chart,
        },
    })
}

#[test]
fn an_app_says_where_it_belongs_and_where_its_values_come_from() {
    let from = |source: Value| json!({ "spec": { "valuesFrom": [source] } });
    accepted(
        "CatalogApp",
        &app(),
        &[
            json!({ "spec": { "projectName": null, "crds": "CreateReplace" } }),
            json!({ "spec": { "crds": "Skip" } }),
            // What a server-side apply leaves of values once all of them are gone.
            json!({ "spec": { "values": {} } }),
            json!({ "spec": { "crds": "Create" } }),
            from(json!({ "kind": "Cluster", "key": "labels/example.com/zone", "targetPath": "zone" })),
            from(json!({ "kind": "Secret", "name": "a" })),
        ],
    );
    refused(
        "CatalogApp",
        &app(),
        &[
            (json!({ "spec": { "projectName": "" } }), "projectName"),
            (json!({ "spec": { "crds": "CreateReplace" } }), "replaces no definitions"),
            (json!({ "spec": { "crds": "Delete" } }), "crds: not in enum"),
            (from(json!({ "kind": "Secret" })), "give the name"),
            (from(json!({ "kind": "Cluster", "name": "eu", "key": "name", "targetPath": "a" })), "give the name"),
            (from(json!({ "kind": "Cluster", "key": "name" })), "needs key and targetPath"),
            (from(json!({ "kind": "Cluster", "key": "spec/connection", "targetPath": "a" })), "the key is one of"),
            (from(json!({ "kind": "ConfigMap", "name": "a", "key": "a/b" })), "the key is one of"),
        ],
    );
}

#[test]
fn a_chart_repository_is_in_one_place_and_has_no_password_in_its_url() {
    let good = json!({
        "apiVersion": "drover.dev/v1alpha1", "kind": "ChartRepository", "metadata": { "name": "stable" },
        "spec": { "http": { "url": "https://charts.example.org/stable" } },
    });
    accepted(
        "ChartRepository",
        &good,
        &[
            json!({}),
            json!({ "spec": { "http": null, "oci": { "url": "oci://registry.example.org:5000/team/charts" } } }),
            json!({ "spec": { "http": { "url": "http://10.0.0.1:8080/?token=x" }, "proxyURL": "http://proxy:3128" } }),
            json!({ "spec": { "limits": { "indexBytes": "64Mi", "chartBytes": "512Ki" }, "interval": "30s" } }),
            json!({ "spec": { "usableFrom": { "all": {} }, "secretRef": { "name": "login" }, "suspend": true } }),
        ],
    );
    refused(
        "ChartRepository",
        &good,
        &[
            (json!({ "spec": { "http": null } }), "give exactly one of http and oci"),
            (json!({ "spec": { "oci": { "url": "oci://a/b" } } }), "give exactly one of http and oci"),
            (json!({ "spec": { "http": { "url": "https://ann:s3cr3t@a" } } }), "url: does not match"),
            (json!({ "spec": { "http": { "url": "file:///etc/passwd" } } }), "url: does not match"),
            (json!({ "spec": { "proxyURL": "http://ann:s3cr3t@proxy" } }), "proxyURL: does not match"),
            (json!({ "spec": { "http": null, "oci": { "url": "https://a/b" } } }), "url: does not match"),
            (json!({ "spec": { "limits": { "indexBytes": "64M" } } }), "indexBytes: does not match"),
            (json!({ "metadata": { "name": "a.b" } }), "the name must be a DNS label"),
        ],
    );
}

#[test]
fn values_that_are_all_gone_are_none() {
    let mut empty = app();
    empty["spec"]["values"] = Value::Null;
    accepted("CatalogApp", &empty, &[]);
    let read: crate::CatalogApp = serde_json::from_value(empty).unwrap();
    assert!(read.spec.values.is_empty());
}

#[test]
fn a_backup_store_is_a_bucket_with_keys_in_a_secret() {
    let good = json!({
        "apiVersion": "drover.dev/v1alpha1", "kind": "BackupStore", "metadata": { "name": "main" },
        "spec": { "s3": {
            "endpoint": "https://s3.example.org", "bucket": "backups", "credentialsSecretRef": { "name": "keys" },
        } },
    });
    let recipient = format!("age1{}", "q".repeat(58));
    let s3 = |fields: Value| json!({ "spec": { "s3": fields } });
    accepted(
        "BackupStore",
        &good,
        &[
            json!({}),
            s3(
                json!({ "region": "eu-central-1", "prefix": "drover/prod-1", "addressing": "Virtual", "caBundle": "x" }),
            ),
            s3(json!({ "endpoint": "http://10.0.0.1:9000/", "bucket": "a.b-c", "prefix": "..a/_b" })),
            json!({ "spec": { "encryption": { "recipients": [recipient], "required": true }, "interval": "5m" } }),
            json!({ "spec": { "usableFrom": { "names": ["team"] } } }),
        ],
    );
    refused(
        "BackupStore",
        &good,
        &[
            (s3(json!({ "endpoint": "https://ann:s3cr3t@s3" })), "endpoint: does not match"),
            (s3(json!({ "endpoint": "https://s3/bucket" })), "endpoint: does not match"),
            (s3(json!({ "bucket": "Backups" })), "bucket: does not match"),
            (s3(json!({ "bucket": "a..b" })), "bucket: does not match"),
            (s3(json!({ "prefix": "/a" })), "prefix: does not match"),
            (s3(json!({ "prefix": "a/" })), "prefix: does not match"),
            (s3(json!({ "prefix": "a/../b" })), "prefix: does not match"),
            (json!({ "spec": { "encryption": { "required": true } } }), "required needs at least one recipient"),
            (json!({ "spec": { "encryption": { "recipients": ["AGE-SECRET-KEY-1"] } } }), "does not match"),
            (json!({ "metadata": { "name": "a.b" } }), "the name must be a DNS label"),
        ],
    );
}

#[test]
fn a_backup_names_one_cluster_and_one_store() {
    let good = json!({
        "apiVersion": "drover.dev/v1alpha1", "kind": "EtcdBackup", "metadata": { "name": "before-the-upgrade" },
        "spec": { "clusterName": "eu-1", "storeNames": ["main"] },
    });
    accepted(
        "EtcdBackup",
        &good,
        &[
            json!({}),
            json!({ "spec": { "verify": "Hash", "timeout": "1h", "pinned": true, "deletionPolicy": "Delete" } }),
        ],
    );
    let existing = |change: serde_json::Value| {
        let mut existing = json!({
            "storeName": "main", "key": "fleet/c-1/b-1/manifest.json", "backupUID": "b-1",
            "manifestSHA256": format!("sha256:{}", "0".repeat(64)),
        });
        existing.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        json!({ "spec": { "storeNames": null, "existing": existing } })
    };
    accepted("EtcdBackup", &good, &[existing(json!({}))]);
    let mut taken = existing(json!({}));
    taken["spec"]["verify"] = json!("Hash");
    refused(
        "EtcdBackup",
        &good,
        &[
            (json!({ "spec": { "storeNames": null } }), "one of them"),
            (json!({ "spec": { "existing": existing(json!({}))["spec"]["existing"] } }), "one of them"),
            (taken, "verify and timeout say nothing"),
            (existing(json!({ "manifestSHA256": "0" })), "manifestSHA256"),
            (existing(json!({ "backupUID": "a/b" })), "backupUID"),
            (json!({ "spec": { "storeNames": [] } }), "storeNames"),
            (json!({ "spec": { "storeNames": ["a", "b"] } }), "storeNames"),
            (json!({ "spec": { "verify": "Some" } }), "verify"),
            (json!({ "metadata": { "name": "a.b" } }), "the name must be a DNS label"),
        ],
    );
}

#[test]
fn a_schedule_of_backups_is_in_five_fields_or_a_name_for_them() {
    let good = json!({
        "apiVersion": "drover.dev/v1alpha1", "kind": "EtcdBackupSchedule", "metadata": { "name": "nightly" },
        "spec": { "clusters": { "all": {} }, "template": { "storeNames": ["main"] }, "schedule": "0 3 * * *" },
    });
    let spec = |fields: Value| json!({ "spec": fields });
    accepted(
        "EtcdBackupSchedule",
        &good,
        &[
            json!({}),
            spec(json!({ "schedule": "*/5,7 1-3/2 1,15  JAN-mar SUN", "timeZone": "America/Argentina/Buenos_Aires" })),
            spec(json!({ "schedule": "@daily", "timeZone": "Etc/GMT+1", "jitter": "1h30m", "suspend": true })),
            spec(
                json!({ "catchUp": "None", "retention": { "keepLast": 0, "hourly": 24, "maxAge": "720h", "minVerified": 3 } }),
            ),
            spec(
                json!({ "template": { "verify": "Hash", "timeout": "1h", "pinned": true, "deletionPolicy": "Delete" } }),
            ),
        ],
    );
    refused(
        "EtcdBackupSchedule",
        &good,
        &[
            (spec(json!({ "schedule": "0 0 3 * * *" })), "schedule: does not match"),
            (spec(json!({ "schedule": "@reboot" })), "schedule: does not match"),
            (spec(json!({ "schedule": "TZ=UTC 0 3 * * *" })), "schedule: does not match"),
            (spec(json!({ "schedule": "0 3 L * *\n" })), "schedule: does not match"),
            (spec(json!({ "timeZone": "../etc/passwd" })), "timeZone: does not match"),
            (spec(json!({ "catchUp": "All" })), "catchUp"),
            (spec(json!({ "retention": { "keepLast": -1 } })), "keepLast"),
            (spec(json!({ "retention": { "minVerified": 0 } })), "minVerified"),
            (spec(json!({ "template": { "storeNames": [] } })), "storeNames"),
            (spec(json!({ "clusters": { "names": ["eu"] } })), "give exactly one of names, selector and all"),
            (json!({ "metadata": { "name": "a.b" } }), "the name must be a DNS label"),
        ],
    );
}

/// The fields of a schema, by name, without their texts and rules.
fn plain(schema: &Value) -> std::collections::BTreeMap<String, Value> {
    let properties = schema["properties"].as_object().unwrap().clone();
    let without_texts = properties.into_iter().map(|(name, mut field)| {
        for key in ["description", "x-kubernetes-validations"] {
            field.as_object_mut().unwrap().remove(key);
        }
        (name, field)
    });
    without_texts.collect()
}

/// What a backup taken by hand may say, one of a schedule may say as well: but for the cluster, and what was taken before.
#[test]
fn the_template_of_a_schedule_is_the_spec_of_a_backup() {
    let mut of_backup = plain(&schema("EtcdBackup")["properties"]["spec"]);
    of_backup.retain(|name, _| !["clusterName", "existing"].contains(&name.as_str()));
    let template = plain(&schema("EtcdBackupSchedule")["properties"]["spec"]["properties"]["template"]);
    assert_eq!(template, of_backup);
}

#[test]
fn a_schedule_of_scans_has_a_template_that_is_the_spec_of_a_scan() {
    let good = json!({
        "apiVersion": "drover.dev/v1alpha1", "kind": "CisScanSchedule", "metadata": { "name": "weekly" },
        "spec": { "clusters": { "all": {} }, "template": { "profileName": "hardened" }, "schedule": "@weekly" },
    });
    let spec = |fields: Value| json!({ "spec": fields });
    accepted(
        "CisScanSchedule",
        &good,
        &[
            json!({}),
            spec(json!({ "schedule": "0 4 * * 1", "timeZone": "Europe/Berlin", "jitter": "30m", "suspend": true })),
            spec(json!({ "catchUp": "None", "retention": { "keepLast": 1 }, "alertOn": "Failures" })),
            spec(json!({ "template": { "failOn": "Warn", "timeout": "1h", "nodeTimeout": "10m", "concurrency": 50 } })),
        ],
    );
    refused(
        "CisScanSchedule",
        &good,
        &[
            (spec(json!({ "schedule": "0 0 3 * * *" })), "schedule: does not match"),
            (spec(json!({ "retention": { "keepLast": 0 } })), "keepLast"),
            (spec(json!({ "retention": { "keepLast": 101 } })), "keepLast"),
            (spec(json!({ "alertOn": "Never" })), "alertOn"),
            (spec(json!({ "template": { "concurrency": 51 } })), "concurrency"),
            (spec(json!({ "clusters": { "names": ["eu"] } })), "give exactly one of names, selector and all"),
            (json!({ "metadata": { "name": "a.b" } }), "the name must be a DNS label"),
        ],
    );
    let mut of_scan = plain(&schema("CisScan")["properties"]["spec"]);
    of_scan.retain(|name, _| !["clusters", "baselineName"].contains(&name.as_str()));
    let template = plain(&schema("CisScanSchedule")["properties"]["spec"]["properties"]["template"]);
    assert_eq!(template, of_scan);
}

#[test]
fn a_provider_of_dns_has_a_server_a_key_and_grants() {
    let good = json!({
        "apiVersion": "drover.dev/v1alpha1", "kind": "GlobalDNSProvider", "metadata": { "name": "main" },
        "spec": {
            "rfc2136": { "server": "ns1.example.com", "keyName": "drover." },
            "credentialsSecretRef": { "name": "key" }, "domains": ["apps.example.com"],
        },
    });
    let server = |fields: Value| json!({ "spec": { "rfc2136": fields } });
    let grant =
        |suffix: &str| json!({ "spec": { "grants": [{ "from": { "names": ["team"] }, "suffixes": [suffix] }] } });
    accepted(
        "GlobalDNSProvider",
        &good,
        &[
            json!({}),
            server(
                json!({ "server": "203.0.113.1:5353", "algorithm": "HmacSHA512", "verifyServers": ["[2001:db8::1]:53"] }),
            ),
            server(json!({ "server": "2001:db8::1" })),
            grant("team.apps.example.com"),
            grant("*.apps.example.com"),
            grant("_acme-challenge.apps.example.com"),
            json!({ "spec": { "adoptOwners": ["abc_route53"], "interval": "5m" } }),
        ],
    );
    refused(
        "GlobalDNSProvider",
        &good,
        &[
            (server(json!({ "server": "https://ns1.example.com" })), "server: does not match"),
            (server(json!({ "keyName": "a b" })), "keyName: does not match"),
            (grant("com"), "does not match"),
            (grant("Team.example.com"), "does not match"),
            (json!({ "spec": { "adoptOwners": ["a,b"] } }), "does not match"),
            (json!({ "metadata": { "name": "a.b" } }), "the name must be a DNS label"),
        ],
    );
}

#[test]
fn names_are_at_one_provider_and_come_from_clusters() {
    let good = json!({
        "apiVersion": "drover.dev/v1alpha1", "kind": "GlobalDNS", "metadata": { "name": "shop" },
        "spec": {
            "providerName": "main", "fqdns": ["shop.team.example.com"],
            "targets": { "selection": { "clusters": { "all": {} }, "namespaces": ["team-web"] } },
        },
    });
    accepted(
        "GlobalDNS",
        &good,
        &[
            json!({}),
            json!({ "spec": { "ttl": 60, "sources": ["Ingress"], "maxEndpoints": 4, "mode": "Observe", "whenAllUnhealthy": "Remove" } }),
            json!({ "spec": { "policy": { "failover": { "tiers": [{ "clusters": { "names": ["eu"] }, "minHealthy": 2 }] } } } }),
            json!({ "spec": { "targets": { "selection": { "labels": { "matchLabels": { "app": "shop" } } } }, "deletionTimeout": "1m" } }),
        ],
    );
    refused(
        "GlobalDNS",
        &good,
        &[
            (json!({ "spec": { "fqdns": [] } }), "fqdns"),
            (json!({ "spec": { "fqdns": ["shop"] } }), "does not match"),
            (json!({ "spec": { "fqdns": ["Shop.example.com"] } }), "does not match"),
            (json!({ "spec": { "ttl": 0 } }), "ttl"),
            (json!({ "spec": { "targets": { "selection": { "namespaces": [] } } } }), "namespaces"),
            (json!({ "spec": { "maxEndpoints": 65 } }), "maxEndpoints"),
            (json!({ "spec": { "policy": { "failover": { "tiers": [] } } } }), "tiers"),
            (json!({ "metadata": { "name": "a.b" } }), "the name must be a DNS label"),
        ],
    );
}
