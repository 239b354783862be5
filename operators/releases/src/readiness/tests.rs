use proptest::prelude::*;
use serde_json::json;

use super::*;

/// What `of` says of an object with these fields over those of `base`.
fn judged(base: &Value, changes: &[(&str, Value)]) -> Readiness {
    let mut object = base.clone();
    for (pointer, value) in changes {
        let (parent, field) = pointer.rsplit_once('/').unwrap();
        let parent = object.pointer_mut(parent).unwrap().as_object_mut().unwrap();
        if value.is_null() {
            parent.remove(field);
        } else {
            parent.insert(field.to_owned(), value.clone());
        }
    }
    of(Some(&object))
}

fn condition(type_: &str, status: &str, reason: &str) -> Value {
    json!({"type": type_, "status": status, "reason": reason})
}

fn deployment() -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"generation": 2}, "spec": {"replicas": 2},
        "status": {"observedGeneration": 2, "replicas": 2, "updatedReplicas": 2, "readyReplicas": 2, "availableReplicas": 2,
            "conditions": [condition("Progressing", "True", "NewReplicaSetAvailable"), condition("Available", "True", "")]}})
}

#[test]
fn an_absent_object_and_one_in_deletion_are_told_apart() {
    assert_eq!(of(None), NotFound);
    assert_eq!(judged(&deployment(), &[("/metadata/deletionTimestamp", json!("2026-11-26T18:00:00Z"))]), Terminating);
}

#[test]
fn a_deployment_is_ready_only_once_the_latest_spec_runs_everywhere() {
    assert_eq!(judged(&deployment(), &[]), Ready);
    let exceeded = json!([condition("Progressing", "False", "ProgressDeadlineExceeded")]);
    let halfway = json!([condition("Progressing", "True", "ReplicaSetUpdated"), condition("Available", "True", "")]);
    for (changes, expected) in [
        (("/metadata/generation", json!(3)), NOT_OBSERVED),
        (("/status/observedGeneration", json!(null)), NOT_OBSERVED),
        (("/spec/replicas", json!(3)), FEWER),
        (("/status/updatedReplicas", json!(1)), FEWER),
        (("/status/replicas", json!(3)), OUTDATED),
        (("/status/availableReplicas", json!(1)), UNAVAILABLE),
        (("/status/readyReplicas", json!(1)), UNAVAILABLE),
        (("/status/conditions", json!([])), UNAVAILABLE),
        (("/status/conditions", halfway), UNAVAILABLE),
        (("/status/conditions", exceeded), Failed("its progress deadline is exceeded")),
    ] {
        assert_eq!(judged(&deployment(), std::slice::from_ref(&changes)), expected, "{changes:?}");
    }
    let without_deadline = [
        ("/spec/progressDeadlineSeconds", json!(i32::MAX)),
        ("/status/conditions", json!([condition("Available", "True", "")])),
    ];
    assert_eq!(judged(&deployment(), &without_deadline), Ready);
    assert_eq!(judged(&deployment(), &[("/status", json!(null))]), NOT_OBSERVED, "a fresh one");
}

#[test]
fn a_stateful_set_is_ready_once_its_revision_is_current_or_its_partition_is() {
    let set = json!({"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"generation": 1}, "spec": {"replicas": 3, "updateStrategy": {}},
        "status": {"observedGeneration": 1, "replicas": 3, "readyReplicas": 3, "currentReplicas": 3, "updatedReplicas": 3,
            "currentRevision": "a", "updateRevision": "a"}});
    assert_eq!(judged(&set, &[]), Ready);
    assert_eq!(judged(&set, &[("/status/updateRevision", json!("b"))]), OUTDATED);
    assert_eq!(judged(&set, &[("/status/readyReplicas", json!(2))]), UNAVAILABLE);
    assert_eq!(judged(&set, &[("/status/replicas", json!(2))]), FEWER);
    assert_eq!(judged(&set, &[("/status/replicas", json!(4))]), OUTDATED);
    let partition = ("/spec/updateStrategy/rollingUpdate", json!({"partition": 2}));
    let updated = |count: i64| {
        [partition.clone(), ("/status/updatedReplicas", json!(count)), ("/status/updateRevision", json!("b"))]
    };
    assert_eq!(judged(&set, &updated(1)), Ready);
    assert_eq!(judged(&set, &updated(0)), OUTDATED);
    assert_eq!(
        judged(&set, &[("/spec/updateStrategy/type", json!("OnDelete")), ("/status/readyReplicas", json!(0))]),
        Ready
    );
}

#[test]
fn a_daemon_set_is_ready_once_it_runs_on_every_node() {
    let set = json!({"apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {"generation": 1}, "spec": {},
        "status": {"observedGeneration": 1, "desiredNumberScheduled": 2, "currentNumberScheduled": 2, "updatedNumberScheduled": 2,
            "numberAvailable": 2, "numberReady": 2}});
    assert_eq!(judged(&set, &[]), Ready);
    assert_eq!(judged(&set, &[("/status/currentNumberScheduled", json!(1))]), FEWER);
    assert_eq!(judged(&set, &[("/status/updatedNumberScheduled", json!(1))]), OUTDATED);
    assert_eq!(judged(&set, &[("/status/numberReady", json!(1))]), UNAVAILABLE);
    assert_eq!(judged(&set, &[("/status/observedGeneration", json!(null))]), NOT_OBSERVED);
}

#[test]
fn replica_sets_jobs_and_pods_follow_their_own_rules() {
    let set = json!({"apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": {}, "spec": {"replicas": 1}, "status":
        {"observedGeneration": 1, "replicas": 1, "fullyLabeledReplicas": 1, "availableReplicas": 1, "readyReplicas": 1}});
    assert_eq!(judged(&set, &[]), Ready);
    let failure = ("/status/conditions", json!([condition("ReplicaFailure", "True", "FailedCreate")]));
    assert_eq!(judged(&set, &[failure]), InProgress("Pods cannot be created"));

    let job = json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {}, "spec": {}, "status": {}});
    assert_eq!(judged(&job, &[]), InProgress("the Job has not begun"));
    assert_eq!(judged(&job, &[("/status/startTime", json!("2026-11-26T18:00:00Z"))]), Ready);
    let failed = ("/status/conditions", json!([condition("Failed", "True", "BackoffLimitExceeded")]));
    assert_eq!(judged(&job, &[failed]), Failed("the Job failed"));
    assert_eq!(judged(&job, &[("/spec/suspend", json!(true))]), Ready);

    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {}, "status": {"phase": "Running"}});
    assert_eq!(judged(&pod, &[]), InProgress("the Pod is not ready"));
    assert_eq!(judged(&pod, &[("/status/conditions", json!([condition("Ready", "True", "")]))]), Ready);
    let crash = json!([{"state": {"waiting": {"reason": "CrashLoopBackOff"}}}]);
    assert_eq!(
        judged(&pod, &[("/status/containerStatuses", crash)]),
        InProgress("a container cannot start or crashes")
    );
    assert_eq!(judged(&pod, &[("/status/phase", json!("Failed"))]), Failed("the Pod failed"));
    assert_eq!(judged(&pod, &[("/status/phase", json!("Succeeded"))]), Ready);
    let unscheduled =
        [("/status/phase", json!("Pending")), ("/status/conditions", json!([condition("PodScheduled", "False", "")]))];
    assert_eq!(judged(&pod, &unscheduled), InProgress("the Pod cannot be scheduled"));
}

#[test]
fn claims_services_definitions_and_api_services_follow_their_own_rules() {
    let claim =
        json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {}, "status": {"phase": "Pending"}});
    assert_eq!(judged(&claim, &[]), InProgress("the claim is not bound to a volume"));
    assert_eq!(judged(&claim, &[("/status/phase", json!("Bound"))]), Ready);

    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {}, "spec": {"type": "LoadBalancer"}});
    assert_eq!(judged(&service, &[]), InProgress("the Service has no address"));
    assert_eq!(judged(&service, &[("/spec/clusterIP", json!("10.0.0.1"))]), Ready);
    assert_eq!(judged(&service, &[("/spec/type", json!("ClusterIP"))]), Ready);

    let definition = json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {}, "status": {}});
    let with = |conditions: Value| judged(&definition, &[("/status/conditions", conditions)]);
    assert_eq!(with(json!([])), InProgress("the definition is not served yet"));
    assert_eq!(
        with(json!([condition("Established", "False", "Installing")])),
        InProgress("the definition is not served yet")
    );
    assert_eq!(with(json!([condition("Established", "True", "")])), Ready);
    let conflict = with(json!([condition("NamesAccepted", "False", "ListKindConflict")]));
    assert_eq!(conflict, Failed("the names of the definition conflict with other ones"));

    let service =
        json!({"apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService", "metadata": {}, "status": {}});
    assert!(matches!(judged(&service, &[]), InProgress(_)));
    assert_eq!(judged(&service, &[("/status/conditions", json!([condition("Available", "True", "")]))]), Ready);

    let budget =
        json!({"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"generation": 1}, "status": {}});
    assert_eq!(judged(&budget, &[]), NOT_OBSERVED);
    assert_eq!(judged(&budget, &[("/status/observedGeneration", json!(1))]), Ready);
}

#[test]
fn other_kinds_are_judged_by_conditions_and_ready_without_any() {
    let widget =
        json!({"apiVersion": "acme.example/v1", "kind": "Deployment", "metadata": {"generation": 2}, "status": {}});
    let with = |conditions: Value| judged(&widget, &[("/status/conditions", conditions)]);
    assert_eq!(judged(&widget, &[]), Ready, "a Deployment of another group is none");
    assert_eq!(with(json!([condition("Ready", "False", "")])), InProgress("its condition Ready is not True"));
    assert_eq!(with(json!([condition("Ready", "True", "")])), Ready);
    assert_eq!(
        with(json!([condition("Ready", "True", ""), condition("Reconciling", "True", "")])),
        InProgress("it is being reconciled")
    );
    assert_eq!(with(json!([condition("Stalled", "True", "")])), Failed("it is stalled"));
    assert_eq!(judged(&widget, &[("/status/observedGeneration", json!(1))]), NOT_OBSERVED);
    assert_eq!(of(Some(&json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {}}))), Ready);
    assert_eq!(of(Some(&json!({"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": {}}))), Ready);
}

#[test]
fn what_is_ready_once_applied_is_ready_as_it_lies_there() {
    let of_kind = |api_version: &str, kind: &str| json!({"apiVersion": api_version, "kind": kind, "metadata": {}});
    let rbac = "rbac.authorization.k8s.io/v1";
    for (api_version, kind) in [("v1", "ConfigMap"), ("v1", "Secret"), ("v1", "Service"), (rbac, "Role")] {
        let object = of_kind(api_version, kind);
        assert!(is_ready_once_applied(&object) && of(Some(&object)) == Ready, "{kind}");
    }
    let mut balanced = of_kind("v1", "Service");
    balanced["spec"] = json!({"type": "LoadBalancer"});
    assert!(!is_ready_once_applied(&balanced) && of(Some(&balanced)) != Ready);
    for (api_version, kind) in [("apps/v1", "Deployment"), ("v1", "Pod"), ("example.org/v1", "ConfigMap")] {
        assert!(!is_ready_once_applied(&of_kind(api_version, kind)), "{kind}");
    }
}

#[test]
fn hooks_have_to_end() {
    let job = |conditions: Value| json!({"apiVersion": "batch/v1", "kind": "Job", "status": {"startTime": "x", "conditions": conditions}});
    assert_eq!(of_hook(Some(&job(json!([])))), InProgress("the Job has not ended"));
    assert_eq!(of_hook(Some(&job(json!([condition("Complete", "True", "")])))), Ready);
    assert_eq!(of_hook(Some(&job(json!([condition("Failed", "True", "")])))), Failed("the Job failed"));
    let pod = |phase: &str| json!({"apiVersion": "v1", "kind": "Pod", "status": {"phase": phase}});
    assert_eq!(of_hook(Some(&pod("Running"))), InProgress("the Pod has not ended"));
    assert_eq!(of_hook(Some(&pod("Succeeded"))), Ready);
    assert_eq!(of_hook(Some(&pod("Failed"))), Failed("the Pod failed"));
    assert_eq!(of_hook(Some(&json!({"apiVersion": "apps/v1", "kind": "Deployment"}))), Ready);
    assert_eq!(of_hook(None), NotFound);
}

/// JSON with the names that the rules look for, and with any values in their places.
fn any_object() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<i64>().prop_map(Value::from),
        any::<bool>().prop_map(Value::from),
        prop::sample::select(vec!["True", "Running", "Ready", "", "Failed"]).prop_map(Value::from),
    ];
    let names = vec![
        "spec",
        "status",
        "metadata",
        "conditions",
        "replicas",
        "type",
        "generation",
        "observedGeneration",
        "partition",
        "updateStrategy",
        "rollingUpdate",
        "containerStatuses",
        "phase",
    ];
    leaf.prop_recursive(4, 40, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(prop::sample::select(names.clone()), inner, 0..6).prop_map(|map| map
                .into_iter()
                .map(|(key, value)| (key.to_owned(), value))
                .collect::<serde_json::Map<_, _>>()
                .into()),
        ]
    })
}

proptest! {
    #[test]
    fn no_object_is_a_defect(mut object in any_object(), kind in prop::sample::select(vec![
        "apps/v1 Deployment", "apps/v1 StatefulSet", "apps/v1 DaemonSet", "apps/v1 ReplicaSet", "batch/v1 Job", "v1 Pod", "v1 Service"])) {
        let (version, kind) = kind.split_once(' ').unwrap();
        if let Some(fields) = object.as_object_mut() {
            fields.insert("apiVersion".to_owned(), version.into());
            fields.insert("kind".to_owned(), kind.into());
        }
        let _ = (of(Some(&object)), of_hook(Some(&object)));
    }

    #[test]
    fn a_status_of_an_older_spec_is_never_ready(observed in 0_i64..5, wanted in 0_i64..5) {
        let changes = [("/metadata/generation", json!(wanted)), ("/status/observedGeneration", json!(observed))];
        prop_assert_eq!(judged(&deployment(), &changes) == Ready, observed == wanted);
    }
}
