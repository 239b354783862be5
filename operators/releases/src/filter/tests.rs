use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::definition::defined_scope;

const CLUSTER_SCOPED: [&str; 8] = [
    "Namespace",
    "ClusterRole",
    "ClusterRoleBinding",
    "CustomResourceDefinition",
    "ValidatingAdmissionPolicy",
    "APIService",
    "PersistentVolume",
    "MutatingWebhookConfiguration",
];

fn scope_of(kind: &GroupVersionKind) -> Option<Scope> {
    match kind.kind.as_str() {
        "Widget" => None,
        kind if CLUSTER_SCOPED.contains(&kind) => Some(Scope::Cluster),
        _ => Some(Scope::Namespaced),
    }
}

fn rules(tenancy: Tenancy) -> Rules<'static> {
    Rules { tenancy, namespace: "shop", is_held: &|namespace| namespace == "team-web", scope_of: &scope_of }
}

fn verdict(tenancy: Tenancy, value: Value) -> Result<Value, Rule> {
    judge(Object::new(value).unwrap(), &rules(tenancy)).map(|object| object.to_value())
}

/// What an app of a Project, and one of the platform, get for an object.
fn refused(value: &Value) -> (Option<Rule>, Option<Rule>) {
    (verdict(Tenancy::Project, value.clone()).err(), verdict(Tenancy::Platform, value.clone()).err())
}

fn object(version: &str, kind: &str, name: &str) -> Value {
    json!({"apiVersion": version, "kind": kind, "metadata": {"name": name}})
}

fn with(mut value: Value, pointer: &str, what: Value) -> Value {
    let (parent, field) = pointer.rsplit_once('/').unwrap();
    value.pointer_mut(parent).unwrap().as_object_mut().unwrap().insert(field.to_owned(), what);
    value
}

const NAMES: &str = "/metadata/namespace";
const RBAC: &str = "rbac.authorization.k8s.io/v1";

#[test]
fn objects_of_the_whole_cluster_are_refused_to_apps_of_projects() {
    for value in [
        object(RBAC, "ClusterRole", "admin-of-all"),
        object(RBAC, "ClusterRoleBinding", "admin-of-all"),
        object("apiextensions.k8s.io/v1", "CustomResourceDefinition", "a.b.example"),
        object("v1", "Namespace", "shop"),
        object("v1", "PersistentVolume", "host-path"),
        object("admissionregistration.k8s.io/v1", "MutatingWebhookConfiguration", "all"),
    ] {
        assert_eq!(refused(&value), (Some(Rule::ClusterScoped), None), "{value}");
    }
}

#[test]
fn another_namespace_is_refused_to_apps_of_projects() {
    let pod = object("v1", "Pod", "a");
    assert_eq!(refused(&with(pod.clone(), NAMES, json!("other"))), (Some(Rule::ForeignNamespace), None));
    assert_eq!(refused(&with(pod.clone(), NAMES, json!("kube-system"))), (Some(Rule::ForeignNamespace), None));
    assert_eq!(refused(&with(pod, NAMES, json!("shop"))), (None, None));
}

#[test]
fn the_namespace_of_drovers_credentials_is_refused_to_all() {
    let pod = with(object("v1", "Pod", "a"), NAMES, json!("drover-system"));
    assert_eq!(refused(&pod), (Some(Rule::OperatorNamespace), Some(Rule::OperatorNamespace)));
    let beside = Rules { namespace: "drover-system", ..rules(Tenancy::Platform) };
    let verdict = judge(Object::new(object("v1", "Pod", "a")).unwrap(), &beside);
    assert_eq!(verdict, Err(Rule::OperatorNamespace), "by the release too");
}

#[test]
fn what_a_project_holds_is_refused_to_apps_of_the_platform() {
    let pod = with(object("v1", "Pod", "a"), NAMES, json!("team-web"));
    assert_eq!(refused(&pod), (Some(Rule::ForeignNamespace), Some(Rule::ProjectNamespace)));
    assert_eq!(refused(&object("v1", "Namespace", "team-web")).1, Some(Rule::ProjectNamespace));
    let there = Rules { namespace: "team-web", ..rules(Tenancy::Platform) };
    let verdict = judge(Object::new(object("v1", "Pod", "a")).unwrap(), &there);
    assert_eq!(verdict, Err(Rule::ProjectNamespace), "by the release too");
}

#[test]
fn no_app_asks_for_a_token_of_an_account_elsewhere() {
    let token = with(object("v1", "Secret", "a"), "/type", json!("kubernetes.io/service-account-token"));
    assert_eq!(refused(&token), (Some(Rule::TokenSecret), None));
    let elsewhere = with(token, NAMES, json!("kube-system"));
    assert_eq!(refused(&elsewhere), (Some(Rule::ForeignNamespace), Some(Rule::TokenSecret)));
}

#[test]
fn what_carries_keys_of_drover_is_known_whoever_wrote_it() {
    let live = |metadata: Value| {
        is_of_drover(&Object::new(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})).unwrap())
    };
    assert!(live(json!({"name": "a", "labels": {"drover.dev/owner-kind": "Project"}})));
    assert!(live(json!({"name": "a", "annotations": {"drover.dev/created": "another/Project/a/b/c"}})));
    assert!(!live(json!({"name": "a", "labels": {"app": "drover.dev"}})));
}

#[test]
fn namespaces_of_the_cluster_itself_are_no_parts_of_apps() {
    for name in ["kube-system", "drover-system", "default", "kube-public", "kube-node-lease"] {
        assert_eq!(refused(&object("v1", "Namespace", name)).1, Some(Rule::ProtectedNamespace), "{name}");
    }
    assert_eq!(refused(&object("v1", "Namespace", "monitoring")).1, None);
}

#[test]
fn an_object_without_namespace_gets_that_of_the_release_and_one_of_the_cluster_none() {
    let placed = verdict(Tenancy::Project, object("v1", "Pod", "a")).unwrap();
    assert_eq!(placed["metadata"], json!({"name": "a", "namespace": "shop"}));
    let empty = verdict(Tenancy::Project, with(object("v1", "Pod", "a"), NAMES, json!(""))).unwrap();
    assert_eq!(empty["metadata"]["namespace"], "shop");
    let role = with(object(RBAC, "ClusterRole", "a"), NAMES, json!("x"));
    assert_eq!(verdict(Tenancy::Platform, role).unwrap()["metadata"], json!({"name": "a"}));
}

#[test]
fn kinds_of_drover_are_refused_to_all_and_so_is_what_serves_them() {
    let both = (Some(Rule::DroverKind), Some(Rule::DroverKind));
    assert_eq!(refused(&object("drover.dev/v1alpha1", "Project", "a")), both);
    assert_eq!(refused(&object("x.drover.dev/v1", "Anything", "a")), both);
    assert_eq!(refused(&object("notdrover.dev/v1", "Anything", "a")), (None, None));
    for (version, kind, name) in [
        ("apiextensions.k8s.io/v1", "CustomResourceDefinition", "projects.drover.dev"),
        ("apiregistration.k8s.io/v1", "APIService", "v1alpha1.drover.dev"),
    ] {
        assert_eq!(refused(&object(version, kind, name)).1, Some(Rule::DroverKind), "{name}");
    }
}

#[test]
fn labels_annotations_and_finalizers_of_drover_are_refused_in_templates_too() {
    let labels = json!({"drover.dev/owner-name": "x"});
    let template = json!({"template": {"metadata": {"annotations": {"drover.dev/created": "x"}}}});
    let claims = json!({"volumeClaimTemplates": [{"metadata": {"labels": {"sub.drover.dev/a": "x"}}}]});
    for value in [
        with(object("v1", "Pod", "a"), "/metadata/labels", labels.clone()),
        with(object("v1", "Pod", "a"), "/metadata/annotations", labels),
        with(object("v1", "Pod", "a"), "/metadata/finalizers", json!(["drover.dev/project"])),
        with(object("apps/v1", "Deployment", "a"), "/spec", template.clone()),
        with(object("batch/v1", "CronJob", "a"), "/spec", json!({"jobTemplate": {"spec": template}})),
        with(object("apps/v1", "StatefulSet", "a"), "/spec", claims),
    ] {
        assert_eq!(refused(&value), (Some(Rule::DroverKey), Some(Rule::DroverKey)), "{value}");
    }
    let others = json!({"app": "a", "mydrover.dev/x": "y", "drover.dev.example.com/x": "y"});
    assert_eq!(refused(&with(object("v1", "Pod", "a"), "/metadata/labels", others)), (None, None));
}

#[test]
fn owners_are_refused() {
    let owned = json!([{"apiVersion": "v1", "kind": "Secret", "name": "x", "uid": "y", "blockOwnerDeletion": true}]);
    let value = with(object("v1", "Pod", "a"), "/metadata/ownerReferences", owned);
    assert_eq!(refused(&value), (Some(Rule::OwnerReference), Some(Rule::OwnerReference)));
}

#[test]
fn guards_of_a_project_are_refused_to_its_apps() {
    for (version, kind, name, expected) in [
        ("v1", "ResourceQuota", "more", Some(Rule::Guard)),
        ("v1", "LimitRange", "more", Some(Rule::Guard)),
        ("v1", "ResourceQuota", "drover", Some(Rule::DroverName)),
        ("networking.k8s.io/v1", "NetworkPolicy", "drover", Some(Rule::DroverName)),
        ("networking.k8s.io/v1", "NetworkPolicy", "allow-web", None),
    ] {
        assert_eq!(refused(&object(version, kind, name)).0, expected, "{kind} {name}");
    }
    assert_eq!(refused(&object("v1", "ResourceQuota", "more")).1, None);
}

#[test]
fn names_of_drovers_roles_policies_and_guards_are_refused_to_all() {
    for (version, kind, name) in [
        (RBAC, "RoleBinding", "drover:deployer"),
        (RBAC, "ClusterRole", "drover:deployer"),
        (RBAC, "ClusterRoleBinding", "drover-system"),
        ("admissionregistration.k8s.io/v1", "ValidatingAdmissionPolicy", "drover-guards"),
        ("v1", "LimitRange", "drover"),
        ("networking.k8s.io/v1", "NetworkPolicy", "drover"),
    ] {
        assert_eq!(refused(&object(version, kind, name)).1, Some(Rule::DroverName), "{kind} {name}");
    }
    assert_eq!(refused(&object(RBAC, "Role", "drovers")), (None, None));
    assert_eq!(refused(&object("apps/v1", "Deployment", "drover-ui")), (None, None));
}

#[test]
fn roles_of_the_cluster_itself_are_refused_to_all() {
    for (kind, name) in [("ClusterRole", "system:node"), ("ClusterRoleBinding", "system:masters")] {
        assert_eq!(refused(&object(RBAC, kind, name)).1, Some(Rule::SystemName), "{kind} {name}");
    }
    assert_eq!(refused(&object(RBAC, "Role", "system:x")), (Some(Rule::SystemName), Some(Rule::SystemName)));
}

#[test]
fn release_records_and_what_would_stand_in_their_place_are_refused_to_all() {
    let typed = with(object("v1", "Secret", "innocent"), "/type", json!("helm.sh/release.v1"));
    let named = object("v1", "Secret", "sh.helm.release.v1.web.v7");
    for value in [typed, named] {
        assert_eq!(refused(&value), (Some(Rule::ReleaseRecord), Some(Rule::ReleaseRecord)), "{value}");
    }
    let config_map = with(object("v1", "ConfigMap", "a"), "/type", json!("helm.sh/release.v1"));
    assert_eq!(refused(&config_map), (None, None));
}

#[test]
fn secrets_for_tokens_are_refused_to_apps_of_projects() {
    for type_ in TOKENS {
        let value = with(object("v1", "Secret", "a"), "/type", json!(type_));
        assert_eq!(refused(&value), (Some(Rule::TokenSecret), None), "{type_}");
    }
    assert_eq!(refused(&with(object("v1", "Secret", "a"), "/type", json!("Opaque"))), (None, None));
}

#[test]
fn kinds_that_the_cluster_does_not_have_and_names_to_be_generated_are_refused() {
    assert_eq!(refused(&object("acme.example/v1", "Widget", "a")).1, Some(Rule::UnknownKind));
    let generated = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"generateName": "a-"}});
    assert_eq!(refused(&generated).0, Some(Rule::NoName));
    let refusals = check(vec![Object::new(generated).unwrap()], &rules(Tenancy::Project)).unwrap_err();
    assert_eq!(refusals[0].to_string(), "Pod a-*: it has no fixed name: set metadata.name");
}

#[test]
fn what_only_the_api_server_sets_is_taken_out() {
    let metadata =
        json!({"name": "a", "creationTimestamp": null, "resourceVersion": "7", "uid": "u", "managedFields": [{}]});
    let value = with(object("v1", "Pod", "a"), "/metadata", metadata);
    assert_eq!(verdict(Tenancy::Project, value).unwrap()["metadata"], json!({"name": "a", "namespace": "shop"}));
}

#[test]
fn one_refused_object_refuses_the_release_and_the_list_is_bounded() {
    let roles = (0..50).map(|number| object(RBAC, "ClusterRole", &format!("r{number}")));
    let objects = roles.chain([object("v1", "Pod", "a")]).map(|value| Object::new(value).unwrap()).collect();
    let refused = check(objects, &rules(Tenancy::Project)).unwrap_err();
    assert_eq!(refused.len(), MAX_REFUSALS);
    assert_eq!(
        refused[0].to_string(),
        "ClusterRole r0: it belongs to the whole cluster, and an app of a Project has its namespace only"
    );
}

#[test]
fn an_object_that_is_there_twice_is_refused() {
    let pod = |name: &str| object("v1", "Pod", name);
    let twice = [pod("a"), with(pod("a"), NAMES, json!("shop")), pod("b")];
    let objects = twice.map(|value| Object::new(value).unwrap()).to_vec();
    let refused = check(objects, &rules(Tenancy::Project)).unwrap_err();
    assert_eq!(refused.iter().map(ToString::to_string).collect::<Vec<_>>(), ["Pod shop/a: the release has it twice"]);
}

#[test]
fn a_chart_may_bring_kinds_along_with_their_objects() {
    let definition = json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": "a"},
        "spec": {"group": "acme.example", "names": {"kind": "Widget"}, "scope": "Namespaced", "versions": [{"name": "v2", "served": true}]}});
    let objects = [Object::new(object("v1", "Pod", "a")).unwrap(), Object::new(definition).unwrap()];
    let scope =
        |version: &str, kind: &str| defined_scope(&objects, &GroupVersionKind::gvk("acme.example", version, kind));
    assert!(matches!(scope("v2", "Widget"), Some(Scope::Namespaced)));
    assert!(scope("v1", "Widget").is_none() && scope("v2", "Gadget").is_none());
}

fn any_fields() -> impl Strategy<Value = Value> {
    let texts =
        vec!["a", "shop", "drover", "drover.dev/x", "system:a", "", "sh.helm.release.v1.a.v1", "helm.sh/release.v1"];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<i8>().prop_map(Value::from),
        prop::sample::select(texts).prop_map(Value::from)
    ];
    let names = vec![
        "metadata",
        "labels",
        "annotations",
        "finalizers",
        "ownerReferences",
        "name",
        "namespace",
        "type",
        "spec",
        "template",
        "drover.dev/owner",
        "uid",
    ];
    leaf.prop_recursive(4, 30, 5, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            prop::collection::btree_map(prop::sample::select(names.clone()), inner, 0..5).prop_map(|map| map
                .into_iter()
                .map(|(key, value)| (key.to_owned(), value))
                .collect::<Map<_, _>>()
                .into()),
        ]
    })
}

proptest! {
    #[test]
    fn what_was_allowed_is_allowed_again_unchanged(
        fields in any_fields(), version in prop::sample::select(vec!["v1", "apps/v1", RBAC, "drover.dev/v1"]),
        kind in prop::sample::select(vec!["Secret", "Pod", "Role", "ClusterRole", "Namespace", "Widget"]), is_platform in any::<bool>(),
    ) {
        let mut value = fields;
        if let Some(fields) = value.as_object_mut() {
            fields.insert("apiVersion".to_owned(), version.into());
            fields.insert("kind".to_owned(), kind.into());
        }
        let rules = rules(if is_platform { Tenancy::Platform } else { Tenancy::Project });
        if let Some(Ok(once)) = Object::new(value).map(|object| judge(object, &rules)) {
            prop_assert_eq!(judge(once.clone(), &rules), Ok(once.clone()));
        }
    }

    #[test]
    fn an_app_of_a_project_never_leaves_its_namespace(fields in any_fields(), kind in prop::sample::select(vec!["Pod", "Secret", "Role"])) {
        let mut value = json!({"apiVersion": "v1", "kind": kind, "metadata": fields});
        if let Some(metadata) = value["metadata"].as_object_mut() {
            metadata.insert("name".to_owned(), "a".into());
        }
        if let Some(Ok(object)) = Object::new(value).map(|object| judge(object, &rules(Tenancy::Project))) {
            prop_assert_eq!(object.namespace(), Some("shop"));
        }
    }
}
