//! Admission policies as a real API server judges by them: for a person with kubectl, a `ServiceAccount`, and a controller for
//! Git that impersonates one.

use std::collections::BTreeMap;

use drover_crds::{ClusterRoleTemplateBinding, ProjectRoleTemplateBinding, RoleTemplate};
use drover_e2e::ControlPlane;
use drover_e2e::control_plane::client_from;
use drover_e2e::installation::{CHART_VALUES, DROVER_USER, Installation, chart};
use drover_e2e::objects::{api, apply_to, delete_from, patch_on};
use drover_e2e::story::*;
use drover_e2e::wait::{becomes, eventually, soon};
use k8s_openapi::api::admissionregistration::v1::ValidatingAdmissionPolicy;
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{Namespace, ServiceAccount};
use kube::api::{DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::{Api, Client, CustomResourceExt as _};
use serde_json::{Value, json};

drover_e2e::tests![
    t01_t07_t25_t26_only_who_has_the_verbs_says_who_has_a_role,
    t06_t12_only_who_may_escalate_says_what_a_role_allows,
    expressions_fit_their_types_and_a_thousand_subjects_their_budget,
    t21_t22_t23_what_drover_records_and_writes_is_changed_by_drover_alone,
    t11_policies_that_are_deleted_or_altered_are_told_and_restored,
];

/// Whoever asks, and how.
struct Requester {
    how: &'static str,
    client: Client,
}

impl Requester {
    /// Whether the API server would create this object; else why not.
    async fn creates(&self, object: &Value) -> Result<(), String> {
        let namespace = object["metadata"]["namespace"].as_str().unwrap_or_default();
        let objects = api(self.client.clone(), object["kind"].as_str().unwrap(), namespace).await.unwrap();
        let object: DynamicObject = serde_json::from_value(object.clone()).unwrap();
        let dry = PostParams { dry_run: true, ..PostParams::default() };
        objects.create(&dry, &object).await.map(drop).map_err(|error| error.to_string())
    }

    /// Whether it would make this change of an object of `team`.
    async fn changes(&self, kind: &str, name: &str, change: Value) -> Result<(), String> {
        let objects = api(self.client.clone(), kind, TEAM).await.unwrap();
        let dry = PatchParams { dry_run: true, ..PatchParams::default() };
        objects.patch(name, &dry, &Patch::Merge(change)).await.map(drop).map_err(|error| error.to_string())
    }

    /// `None` is to be allowed, anything else to be refused with these words.
    fn expects(&self, what: &str, outcome: &Result<(), String>, expected: Option<&str>) {
        match (outcome, expected) {
            (Ok(()), None) => {}
            (Err(refusal), Some(words)) if refusal.contains(words) => {}
            _ => panic!("{what}, by {}: {outcome:?} instead of {expected:?}", self.how),
        }
    }
}

/// A person, a `ServiceAccount`, and a controller for Git that acts as another one, each of which has exactly `rules` in the whole
/// cluster and `here` in `team`.
async fn requesters(plane: &ControlPlane, everywhere: Value, here: Value) -> Vec<Requester> {
    for name in ["deployer", "synced", "flux"] {
        let account =
            json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name, "namespace": TEAM}});
        apply_to(plane, &account).await.unwrap();
    }
    let account = |name: &str| json!({"kind": "ServiceAccount", "name": name, "namespace": TEAM});
    let subjects = json!([{"kind": "User", "name": "jane"}, account("deployer"), account("synced")]);
    grant(plane, "tested", None, everywhere, &subjects).await;
    grant(plane, "tested", Some(TEAM), here, &subjects).await;
    let impersonates = json!([{"apiGroups": [""], "resources": ["serviceaccounts"], "resourceNames": ["synced"], "verbs": ["impersonate"]}]);
    grant(plane, "flux", Some(TEAM), impersonates, &json!([account("flux")])).await;

    let token = plane.kubeconfig_with_token(&token(plane, "deployer").await);
    let mut flux: Value =
        serde_yaml::from_str(&plane.kubeconfig_with_token(&self::token(plane, "flux").await)).unwrap();
    flux["users"][0]["user"]["as"] = json!(format!("system:serviceaccount:{TEAM}:synced"));
    vec![
        Requester { how: "a person", client: plane.client_for("jane", &[]).await.unwrap() },
        Requester { how: "a ServiceAccount", client: client_from(&token).await.unwrap() },
        Requester { how: "a GitOps controller", client: client_from(&flux.to_string()).await.unwrap() },
    ]
}

async fn grant(plane: &ControlPlane, name: &str, namespace: Option<&str>, rules: Value, subjects: &Value) {
    let (role, binding) = namespace.map_or(("ClusterRole", "ClusterRoleBinding"), |_| ("Role", "RoleBinding"));
    let mut metadata = json!({"name": name});
    if let Some(namespace) = namespace {
        metadata["namespace"] = json!(namespace);
    }
    let group = "rbac.authorization.k8s.io";
    let version = format!("{group}/v1");
    apply_to(plane, &json!({"apiVersion": version, "kind": role, "metadata": metadata, "rules": rules})).await.unwrap();
    let reference = json!({"apiGroup": group, "kind": role, "name": name});
    let object = json!({"apiVersion": version, "kind": binding, "metadata": metadata, "roleRef": reference, "subjects": subjects});
    apply_to(plane, &object).await.unwrap();
}

async fn token(plane: &ControlPlane, account: &str) -> String {
    let accounts: Api<ServiceAccount> = Api::namespaced(plane.client(), TEAM);
    let spec = TokenRequestSpec { expiration_seconds: Some(3600), ..TokenRequestSpec::default() };
    let request = TokenRequest { spec: Some(spec), ..TokenRequest::default() };
    let answer = accounts.create_token_request(account, &PostParams::default(), &request).await.unwrap();
    answer.status.unwrap().token.unwrap()
}

/// Waits until what was just granted, and the policies, are known to the API server.
async fn are_ready(all: &[Requester], object: &Value, refused: &Value) {
    for requester in all {
        let what = format!("{} may what was granted, and no more", requester.how);
        let ask = async || {
            let outcomes = (requester.creates(object).await, requester.creates(refused).await);
            Ok(matches!(outcomes, (Ok(()), Err(_))).then_some(()))
        };
        let outcome = eventually(&what, soon(), ask).await;
        let said = (requester.creates(object).await, requester.creates(refused).await);
        assert!(outcome.is_ok(), "{what}: {said:?}");
    }
}

async fn with_definitions(plane: &ControlPlane) {
    let known: Vec<String> = drover_crds::all().into_iter().map(|definition| definition.spec.names.kind).collect();
    for definition in [RoleTemplate::crd(), ProjectRoleTemplateBinding::crd(), ClusterRoleTemplateBinding::crd()] {
        if !known.contains(&definition.spec.names.kind) {
            apply_to(plane, &serde_json::to_value(&definition).unwrap()).await.unwrap();
            let definitions = api(plane.client(), "customresourcedefinition", "").await.unwrap();
            let established = |found: Option<&Value>| {
                let conditions = found.and_then(|found| found["status"]["conditions"].as_array());
                conditions
                    .is_some_and(|all| all.iter().any(|one| one["type"] == "Established" && one["status"] == "True"))
            };
            becomes(&definitions, definition.metadata.name.as_deref().unwrap(), "it is served", soon(), established)
                .await
                .unwrap();
        }
    }
}

fn a_role(name: &str, context: &str) -> Value {
    let rule = json!({"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]});
    json!({
        "apiVersion": "drover.dev/v1alpha1", "kind": "RoleTemplate", "metadata": {"name": name},
        "spec": {"context": context, "rules": [rule]},
    })
}

fn subject(kind: &str, name: &str) -> Value {
    match kind {
        "ServiceAccount" => json!({"kind": kind, "name": name, "namespace": "team-web"}),
        _ => json!({"kind": kind, "name": name}),
    }
}

fn in_project(namespace: &str, project: &str, role: &str, subjects: &Value) -> Value {
    json!({
        "apiVersion": "drover.dev/v1alpha1", "kind": "ProjectRoleTemplateBinding",
        "metadata": {"name": "members", "namespace": namespace},
        "spec": {"projectName": project, "roleTemplateName": role, "subjects": subjects},
    })
}

fn on_clusters(clusters: &Value, role: &str, subjects: &Value) -> Value {
    json!({
        "apiVersion": "drover.dev/v1alpha1", "kind": "ClusterRoleTemplateBinding", "metadata": {"name": "members"},
        "spec": {"clusters": clusters, "roleTemplateName": role, "subjects": subjects},
    })
}

fn rule(resources: &[&str], names: &[&str], verbs: &[&str]) -> Value {
    let mut rule = json!({"apiGroups": ["drover.dev"], "resources": resources, "verbs": verbs});
    if !names.is_empty() {
        rule["resourceNames"] = json!(names);
    }
    rule
}

const WRITES: [&str; 5] = ["create", "get", "patch", "update", "delete"];

fn an_app(cluster: &str, project: Option<&str>, role: &str) -> Value {
    let chart = json!({"configMap": {"name": "c", "key": "c.tgz", "digest": format!("sha256:{}", "0".repeat(64))}});
    let spec = json!({
        "clusterName": cluster, "namespace": "team-web", "projectName": project, "roleTemplateName": role, "chart": chart,
    });
    let metadata = json!({"name": "asked", "namespace": TEAM});
    json!({"apiVersion": "drover.dev/v1alpha1", "kind": "CatalogApp", "metadata": metadata, "spec": spec})
}

async fn t01_t07_t25_t26_only_who_has_the_verbs_says_who_has_a_role() {
    let Some(installation) = prepared("admission", &[]).await else { return };
    let plane = &installation.management;
    with_definitions(plane).await;
    installation.apply(&a_namespace("other")).await.unwrap();
    let eight: Vec<String> = (1..=8).map(|number| format!("eu-{number}")).collect();
    let clusters: Vec<&str> = eight.iter().map(String::as_str).collect();
    let everywhere = json!([
        rule(&["projectroletemplatebindings", "clusterroletemplatebindings"], &[], &WRITES),
        rule(&["clusters"], &clusters, &["manage-members"]),
        rule(&["roletemplates"], &["auditor"], &["bind"]),
        rule(&["catalogapps"], &[], &WRITES),
        rule(&["clusters"], &["eu-1"], &["operate"]),
    ]);
    let here =
        json!([rule(&["projects"], &["shop"], &["manage-members"]), rule(&["roletemplates"], &["viewer"], &["bind"]),]);
    let all = requesters(plane, everywhere, here).await;
    let anna = json!([subject("User", "anna")]);
    are_ready(&all, &in_project(TEAM, "shop", "viewer", &anna), &in_project(TEAM, "shop", "owner", &anna)).await;
    let foreign = in_project(TEAM, "bank", "owner", &json!([subject("Group", "system:authenticated")]));
    installation.apply(&foreign).await.unwrap();

    let (manage, bind, system) = (Some("manage-members"), Some("verb bind on"), Some("bind-system-subjects"));
    for requester in &all {
        for (what, namespace, project, role, subjects, expected) in [
            ("what was granted", TEAM, "shop", "viewer", anna.clone(), None),
            ("another Project", TEAM, "bank", "viewer", anna.clone(), manage),
            ("the Project of this name in another namespace", "other", "shop", "viewer", anna.clone(), manage),
            ("a role that was not handed out", TEAM, "shop", "owner", anna.clone(), bind),
            ("a role for clusters", TEAM, "shop", "node-admin", anna.clone(), bind),
            ("everybody", TEAM, "shop", "viewer", json!([anna[0], subject("Group", "system:authenticated")]), system),
            ("nobody known", TEAM, "shop", "viewer", json!([subject("User", "System:anonymous")]), system),
            ("a node", TEAM, "shop", "viewer", json!([subject("User", "system:node:one")]), system),
            ("an account", TEAM, "shop", "viewer", json!([subject("ServiceAccount", "web")]), None),
        ] {
            let mut object = in_project(namespace, project, role, &subjects);
            object["metadata"]["name"] = json!("asked");
            requester.expects(what, &requester.creates(&object).await, expected);
        }
        let two = json!(["eu-1", "us-1"]);
        for (what, clusters, role, subjects, expected) in [
            ("eight clusters", json!({"names": eight}), "auditor", &anna, None),
            ("a foreign cluster among them", json!({"names": two}), "auditor", &anna, manage),
            ("every cluster", json!({"all": {}}), "auditor", &anna, manage),
            ("clusters by label", json!({"selector": {"matchLabels": {"a": "b"}}}), "auditor", &anna, manage),
            ("no cluster", json!({"names": []}), "auditor", &anna, manage),
            ("a role that was handed out in a namespace", json!({"names": ["eu-1"]}), "viewer", &anna, bind),
            (
                "everybody",
                json!({"names": ["eu-1"]}),
                "auditor",
                &json!([subject("Group", "system:authenticated")]),
                system,
            ),
        ] {
            requester.expects(what, &requester.creates(&on_clusters(&clusters, role, subjects)).await, expected);
        }
        let operate = Some("verb operate on");
        for (what, cluster, project, role, expected) in [
            ("an app of a Project", "us-1", Some("shop"), "viewer", None),
            ("an app of the platform", "eu-1", None, "viewer", None),
            ("one for a foreign cluster", "us-1", None, "viewer", operate),
            ("one with a role that was not handed out", "eu-1", None, "owner", bind),
        ] {
            requester.expects(what, &requester.creates(&an_app(cluster, project, role)).await, expected);
        }
        let binding = "projectroletemplatebinding";
        let widened = json!({"spec": {"subjects": [anna[0]]}});
        requester.expects("a foreign one changed", &requester.changes(binding, "members", widened).await, manage);
        let labels = json!({"metadata": {"labels": {"a": "b"}, "finalizers": ["example.com/wait"]}});
        requester.expects("its metadata changed", &requester.changes(binding, "members", labels).await, None);
    }
    // Deletion is nobody's to hold up.
    let bindings = api(all[2].client.clone(), "projectroletemplatebinding", TEAM).await.unwrap();
    bindings.delete("members", &DeleteParams::default()).await.unwrap();
}

async fn t06_t12_only_who_may_escalate_says_what_a_role_allows() {
    let Some(installation) = prepared("role templates", &[]).await else { return };
    let plane = &installation.management;
    with_definitions(plane).await;
    let everywhere =
        json!([rule(&["roletemplates"], &[], &WRITES), rule(&["roletemplates"], &["mine"], &["escalate"]),]);
    let all = requesters(plane, everywhere, json!([])).await;
    are_ready(&all, &a_role("mine", "Project"), &a_role("viewer", "Project")).await;
    installation.apply(&a_role("viewer", "Project")).await.unwrap();
    let escalate = Some("verb escalate on roletemplates.drover.dev viewer");
    for requester in &all {
        requester.expects("a new one", &requester.creates(&a_role("viewer", "Project")).await, escalate);
        for (what, change, expected) in [
            ("rules", json!({"rules": [{"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"]}]}), escalate),
            ("fewer rules", json!({"rules": null}), escalate),
            (
                "rules in the cluster",
                json!({"clusterRules": [{"apiGroups": [""], "resources": ["nodes"], "verbs": ["get"]}]}),
                escalate,
            ),
            ("an existing ClusterRole", json!({"externalClusterRoles": ["cluster-admin"]}), escalate),
            ("the rights of another", json!({"inherits": ["owner"]}), escalate),
            ("who may give it", json!({"bindableFrom": {"all": {}}}), escalate),
            ("rights beside the Project", json!({"managementRoles": ["drover-admin"]}), escalate),
            ("its description", json!({"displayName": "Viewer", "description": "Looks at Pods."}), None),
        ] {
            let outcome = requester.changes("roletemplate", "viewer", json!({"spec": change})).await;
            requester.expects(what, &outcome, expected);
        }
    }
}

async fn expressions_fit_their_types_and_a_thousand_subjects_their_budget() {
    let Some(installation) = prepared("types", &[]).await else { return };
    let plane = &installation.management;
    with_definitions(plane).await;
    let warnings = type_warnings(plane).await;
    assert_eq!(warnings, BTreeMap::new());

    let everywhere = json!([
        rule(&["projectroletemplatebindings", "clusterroletemplatebindings"], &[], &WRITES),
        rule(&["clusters", "projects"], &[], &["manage-members"]),
        rule(&["roletemplates"], &[], &["bind"]),
    ]);
    let all = requesters(plane, everywhere, json!([])).await;
    let few = json!([subject("User", "anna")]);
    let system = json!([subject("User", "system:anna")]);
    are_ready(&all[..1], &in_project(TEAM, "shop", "viewer", &few), &in_project(TEAM, "shop", "viewer", &system)).await;
    let long = |number: usize| format!("{number}-{}", "U".repeat(200));
    let mut crowd: Vec<Value> = (0..1000).map(|number| subject("User", &long(number))).collect();
    let eight: Vec<String> = (1..=8).map(|number| format!("eu-{number}")).collect();
    let mut members = in_project(TEAM, "shop", "viewer", &json!(crowd));
    let operators = on_clusters(&json!({"names": eight}), "viewer", &json!(crowd));
    for object in [&members, &operators] {
        all[0].expects("a thousand subjects", &all[0].creates(object).await, None);
    }
    members["metadata"]["name"] = json!("crowd");
    installation.apply(&members).await.unwrap();
    let binding = "projectroletemplatebinding";
    crowd[999] = subject("User", "anna");
    let changed = json!({"spec": {"subjects": crowd}});
    all[0].expects("the last of them", &all[0].changes(binding, "crowd", changed).await, None);
    crowd[999] = subject("Group", "system:authenticated");
    let changed = json!({"spec": {"subjects": crowd}});
    let refusal = all[0].changes(binding, "crowd", changed).await;
    all[0].expects("one of a thousand", &refusal, Some("bind-system-subjects"));
}

/// What the API server says of copies of all policies, which it looks at anew.
async fn type_warnings(plane: &ControlPlane) -> BTreeMap<String, Value> {
    let policies: Api<ValidatingAdmissionPolicy> = Api::all(plane.client());
    let drovers = policies.list(&ListParams::default()).await.unwrap();
    let mut warnings = BTreeMap::new();
    for found in drovers.items {
        let mut copy = ValidatingAdmissionPolicy { spec: found.spec, ..ValidatingAdmissionPolicy::default() };
        copy.metadata.name = found.metadata.name.map(|name| format!("copy-{name}"));
        policies.create(&PostParams::default(), &copy).await.unwrap();
        let name = copy.metadata.name.unwrap();
        let objects = api(plane.client(), "validatingadmissionpolicy", "").await.unwrap();
        let checked = |found: Option<&Value>| found.is_some_and(|it| it["status"]["typeChecking"].is_object());
        let found = becomes(&objects, &name, "its types are checked", soon(), checked).await.unwrap().unwrap();
        if let Some(said) = found["status"]["typeChecking"].get("expressionWarnings") {
            warnings.insert(name, said.clone());
        }
    }
    assert!(policies.list(&ListParams::default()).await.unwrap().items.len() >= 6, "there are policies");
    warnings
}

/// A client that is told nothing of it: what the API server would say.
async fn relabels(requester: &Requester, namespace: &str, labels: &Value, way: &str) -> Result<(), String> {
    let namespaces: Api<Namespace> = Api::all(requester.client.clone());
    let change = Patch::Merge(json!({"metadata": {"labels": labels}}));
    let dry = PatchParams { dry_run: true, ..PatchParams::default() };
    let outcome = match way {
        "" => namespaces.patch(namespace, &dry, &change).await,
        "finalize" => {
            let mut changed = namespaces.get(namespace).await.unwrap();
            for (key, value) in labels.as_object().unwrap() {
                let all = changed.metadata.labels.get_or_insert_default();
                match value.as_str() {
                    Some(value) => drop(all.insert(key.clone(), value.to_owned())),
                    None => drop(all.remove(key)),
                }
            }
            let dry = PostParams { dry_run: true, ..PostParams::default() };
            namespaces.replace_subresource(way, namespace, &dry, &changed).await
        }
        way => namespaces.patch_subresource(way, namespace, &dry, &change).await,
    };
    outcome.map(drop).map_err(|error| error.to_string())
}

fn all_on(group: &str, resources: &[&str]) -> Value {
    json!({"apiGroups": [group], "resources": resources, "verbs": ["create", "delete", "get", "list", "patch", "update"]})
}

async fn guarded_story(test: &str) -> Option<Installation> {
    let installation = story(test, &["eu"]).await?;
    let mut shop = a_project("shop", &NAMESPACES);
    shop["spec"]["containerDefaults"] = json!({"limits": {"memory": "256Mi"}});
    shop["spec"]["networkIsolation"] = json!({"mode": "Project"});
    ready_with(&installation, &shop).await;
    reads(&installation, "cluster", "eu", "AdmissionInstalled", "True/PoliciesInstalled").await;
    Some(installation)
}

async fn t21_t22_t23_what_drover_records_and_writes_is_changed_by_drover_alone() {
    let Some(installation) = guarded_story("admission downstream").await else { return };
    let eu = installation.cluster("eu").unwrap();
    assert_eq!(type_warnings(eu).await, BTreeMap::new());
    apply_to(eu, &a_namespace(TEAM)).await.unwrap();
    let everywhere = json!([
        all_on("", &["namespaces", "namespaces/status", "namespaces/finalize", "limitranges"]),
        all_on("networking.k8s.io", &["networkpolicies"]),
    ]);
    let all = requesters(eu, everywhere, json!([])).await;
    let mut captured = a_namespace("captured");
    let free = captured.clone();
    captured["metadata"]["labels"] = json!({"drover.dev/owner-kind": "Project"});
    are_ready(&all, &free, &captured).await;

    let (record, level) = (Some("record who owns it"), Some("set-pod-security"));
    let owner = |name: Value| json!({"drover.dev/owner-name": name});
    let enforce = json!({"pod-security.kubernetes.io/enforce": "privileged"});
    for requester in &all {
        requester.expects("a captured namespace", &requester.creates(&captured).await, record);
        for way in ["", "status", "finalize"] {
            for (what, namespace, labels, expected) in [
                ("a system namespace captured", "kube-system", owner(json!("shop")), record),
                ("a foreign namespace captured", TEAM, owner(json!("shop")), record),
                ("the record changed", "team-web", owner(json!("bank")), record),
                ("the record removed", "team-web", owner(Value::Null), record),
                ("a label of their own", "team-web", json!({"a": "b"}), None),
                ("the level of the Project", "team-web", enforce.clone(), level),
                ("the level of their own namespace", TEAM, enforce.clone(), None),
            ] {
                let what = format!("{what} through namespaces/{way}");
                requester.expects(&what, &relabels(requester, namespace, &labels, way).await, expected);
            }
        }
        what_is_written_stays(requester).await;
    }
    the_fence_lets_through_what_the_import_names(eu).await;

    // A namespace ends with what guards it, for whoever deletes it.
    let before = downstream_namespace(&installation, "eu", "team-db").await.unwrap().unwrap();
    let namespaces: Api<Namespace> = Api::all(all[1].client.clone());
    namespaces.delete("team-db", &DeleteParams::default()).await.unwrap();
    namespace_becomes(&installation, "eu", "team-db", "it ended and came back", |namespace| {
        namespace.is_some_and(|it| it["metadata"]["uid"] != before["metadata"]["uid"])
    })
    .await;
}

async fn what_is_written_stays(requester: &Requester) {
    let written = Some("nothing else may change it");
    for (kind, change) in [
        ("limitrange", json!({"spec": {"limits": []}})),
        ("limitrange", json!({"metadata": {"labels": null}})),
        ("limitrange", json!({"metadata": {"finalizers": ["example.com/keep"]}})),
        ("networkpolicy", json!({"spec": {"ingress": [{}]}})),
    ] {
        let objects = api(requester.client.clone(), kind, "team-web").await.unwrap();
        let dry = PatchParams { dry_run: true, ..PatchParams::default() };
        let outcome = objects.patch("drover", &dry, &Patch::Merge(&change)).await.map(drop).map_err(|e| e.to_string());
        requester.expects(&format!("{kind} {change}"), &outcome, written);
        let dry = DeleteParams { dry_run: true, ..DeleteParams::default() };
        let outcome = objects.delete("drover", &dry).await.map(drop).map_err(|error| error.to_string());
        requester.expects(&format!("{kind} deleted"), &outcome, written);
    }
    let mut own = json!({
        "apiVersion": "v1", "kind": "LimitRange", "metadata": {"name": "own", "namespace": "team-web"},
        "spec": {"limits": [{"type": "Container", "max": {"memory": "1Gi"}}]},
    });
    requester.expects("one of their own", &requester.creates(&own).await, None);
    own["metadata"]["labels"] = json!({"drover.dev/owner-kind": "Project"});
    requester.expects("one that looks like Drover's", &requester.creates(&own).await, written);
}

/// Drover may bind and escalate, as far as RBAC knows.
async fn the_fence_lets_through_what_the_import_names(eu: &ControlPlane) {
    let rbac = "rbac.authorization.k8s.io";
    let rights = json!([
        all_on(rbac, &["rolebindings", "clusterrolebindings", "clusterroles"]),
        {"apiGroups": [rbac], "resources": ["clusterroles", "roles"], "verbs": ["bind", "escalate"]},
    ]);
    let subjects = json!([{"kind": "User", "name": DROVER_USER}]);
    grant(eu, "may-bind", None, rights, &subjects).await;
    let everything = json!([{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}]);
    grant(eu, "may-everything", None, everything, &json!([{"kind": "User", "name": "root"}])).await;
    let drover = Requester { how: "Drover", client: eu.client_for(DROVER_USER, &[]).await.unwrap() };
    let root = Requester { how: "an administrator", client: eu.client_for("root", &[]).await.unwrap() };
    let version = format!("{rbac}/v1");
    let bound = |kind: &str, role: &str| {
        json!({
            "apiVersion": version, "kind": "RoleBinding", "metadata": {"name": "given", "namespace": "team-web"},
            "roleRef": {"apiGroup": rbac, "kind": kind, "name": role}, "subjects": [{"kind": "User", "name": "anna"}],
        })
    };
    let role = |name: &str, labels: Value| {
        let rule = json!({"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"]});
        let metadata = json!({"name": name, "labels": labels});
        json!({"apiVersion": version, "kind": "ClusterRole", "metadata": metadata, "rules": [rule]})
    };
    are_ready(&[drover], &bound("ClusterRole", "drover:viewer"), &bound("ClusterRole", "cluster-admin")).await;
    let drover = Requester { how: "Drover", client: eu.client_for(DROVER_USER, &[]).await.unwrap() };
    let ours = json!({"app.kubernetes.io/managed-by": "drover", "drover.dev/owner-kind": "RoleTemplate"});
    let aggregated = json!({"rbac.authorization.k8s.io/aggregate-to-admin": "true"});
    let mut aggregating = role("drover:all", json!({}));
    aggregating["aggregationRule"] = json!({"clusterRoleSelectors": [{"matchLabels": {"a": "b"}}]});
    let (binding, writing) = (Some("--bindable-cluster-role"), Some("Drover may write ClusterRoles"));
    for (what, object, expected) in [
        ("its own role", bound("ClusterRole", "drover:viewer"), None),
        ("a role that the import names", bound("ClusterRole", "view"), None),
        ("the role of an administrator", bound("ClusterRole", "cluster-admin"), binding),
        ("a role of the namespace", bound("Role", "drover:viewer"), binding),
        ("a role of its own, written", role("drover:viewer", ours.clone()), None),
        ("a role of others, written", role("drove", ours), writing),
        ("one that others take up", role("drover:viewer", aggregated), writing),
        ("one that takes up others", aggregating, writing),
    ] {
        drover.expects(what, &drover.creates(&object).await, expected);
        root.expects(what, &root.creates(&object).await, None);
    }
    what_an_earlier_import_let_it_bind_can_be_taken_away(&drover, &root, bound("ClusterRole", "cluster-admin")).await;
}

/// An import that names a role no more holds up no withdrawal of what was bound before.
async fn what_an_earlier_import_let_it_bind_can_be_taken_away(drover: &Requester, root: &Requester, mut bound: Value) {
    let person = |name: &str| json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": name});
    bound["subjects"] = json!([person("anna"), person("bob")]);
    let mut ours = bound.clone();
    ours["metadata"] = json!({"name": "ours", "namespace": "team-web", "labels": {"drover.dev/owner-kind": "Other"}});
    for object in [&bound, &ours] {
        create(root, object).await;
    }
    let objects = api(drover.client.clone(), "rolebinding", "team-web").await.unwrap();
    let fence = Some("--bindable-cluster-role");
    for (name, what, subjects, expected) in [
        ("ours", "somebody less", json!([person("bob")]), None),
        ("ours", "nobody", Value::Null, None),
        ("ours", "somebody else", json!([person("bob"), person("eve")]), fence),
        ("given", "somebody less of a foreign one", json!([person("bob")]), fence),
    ] {
        let dry = PatchParams { dry_run: true, ..PatchParams::default() };
        let change = Patch::Merge(json!({"subjects": subjects}));
        let outcome = objects.patch(name, &dry, &change).await.map(drop).map_err(|error| error.to_string());
        drover.expects(what, &outcome, expected);
    }
    let crowd: Vec<Value> = (0..1000).map(|number| person(&format!("user-{number}"))).collect();
    let mut large = ours.clone();
    large["metadata"]["name"] = json!("large");
    large["subjects"] = json!(crowd);
    create(root, &large).await;
    let dry = PatchParams { dry_run: true, ..PatchParams::default() };
    let change = Patch::Merge(json!({"subjects": crowd[1..]}));
    let outcome = objects.patch("large", &dry, &change).await.map(drop).map_err(|error| error.to_string());
    drover.expects("one of a thousand less", &outcome, None);
    for (name, expected) in [("ours", None), ("given", fence)] {
        let dry = DeleteParams { dry_run: true, ..DeleteParams::default() };
        let outcome = objects.delete(name, &dry).await.map(drop).map_err(|error| error.to_string());
        drover.expects(&format!("{name} deleted"), &outcome, expected);
    }
}

async fn create(root: &Requester, object: &Value) {
    let objects = api(root.client.clone(), "rolebinding", "team-web").await.unwrap();
    let object: DynamicObject = serde_json::from_value(object.clone()).unwrap();
    objects.create(&PostParams::default(), &object).await.unwrap();
}

/// A binding in the Project `shop`.
fn gives_view(name: &str, people: &[&str]) -> Value {
    let subjects: Vec<Value> = people.iter().map(|name| json!({"kind": "User", "name": name})).collect();
    json!({
        "apiVersion": "drover.dev/v1alpha1", "kind": "ProjectRoleTemplateBinding",
        "metadata": {"name": name, "namespace": TEAM},
        "spec": {"projectName": "shop", "roleTemplateName": "viewer", "subjects": subjects},
    })
}

/// A role of the Project that allows to do this with Secrets, which `view` does not.
fn keeper(verbs: &[&str]) -> Value {
    let rule = json!({"apiGroups": [""], "resources": ["secrets"], "verbs": verbs});
    json!({
        "apiVersion": "drover.dev/v1alpha1", "kind": "RoleTemplate", "metadata": {"name": "keeper"},
        "spec": {"context": "Project", "rules": [rule], "bindableFrom": {"all": {}}},
    })
}

/// What `keeper` allows was changed while a policy was missing: `get` was taken away, `delete` was added.
async fn what_a_template_allows_counts_once_it_is_written_again(installation: &Installation) {
    let eu = installation.cluster("eu").unwrap();
    reads(installation, "roletemplate", "keeper", "Ready", "False/NotAdmitted").await;
    reads(installation, "projectroletemplatebinding", "keepers", "Ready", "False/NotAdmitted").await;
    let can = async |verb: &str, expected| may(eu, "ada", &format!("{verb} secrets"), "team-web", expected).await;
    for (verb, expected) in [("list", true), ("get", false), ("delete", false)] {
        can(verb, expected).await;
    }
    patch(installation, "roletemplate", "keeper", json!({"spec": {"description": "Keeps Secrets."}})).await;
    reads(installation, "roletemplate", "keeper", "Ready", "False/NotAdmitted").await;
    can("delete", false).await;
    ready_with(installation, &keeper(&["get", "list"])).await;
    can("get", true).await;
    ready_with(installation, &keeper(&["delete", "list"])).await;
    can("delete", true).await;
    reads(installation, "projectroletemplatebinding", "keepers", "Ready", "True/Ready").await;
}

/// `late` was created while a policy was missing, and `bob` was added to `early`.
async fn what_was_written_meanwhile_counts_once_it_is_written_again(installation: &Installation) {
    const BINDING: &str = "projectroletemplatebinding";
    let eu = installation.cluster("eu").unwrap();
    for name in ["late", "early"] {
        reads(installation, BINDING, name, "Ready", "False/NotAdmitted").await;
    }
    for (who, expected) in [("ada", true), ("bob", false), ("eve", false)] {
        may(eu, who, "list pods", "team-web", expected).await;
    }
    deleted(installation, BINDING, "late").await;
    for again in [gives_view("late", &["eve"]), gives_view("early", &["ada", "bob", "carl"])] {
        ready_with(installation, &again).await;
    }
    for who in ["ada", "bob", "carl", "eve"] {
        may(eu, who, "list pods", "team-web", true).await;
    }
}

async fn t11_policies_that_are_deleted_or_altered_are_told_and_restored() {
    let Some(installation) = guarded_story("admission is restored").await else { return };
    let eu = installation.cluster("eu").unwrap();
    let policy = ("validatingadmissionpolicy", "drover-guards");
    let binding = ("validatingadmissionpolicybinding", "drover-namespaces");
    let before = downstream(&installation, "eu", policy.0, "", policy.1).await.unwrap().unwrap();
    delete_from(eu, policy.0, "", policy.1).await.unwrap();
    downstream_becomes(&installation, "eu", policy.0, "", policy.1, "it is written again", |found| {
        found.is_some_and(|it| it["metadata"]["uid"] != before["metadata"]["uid"] && it["spec"] == before["spec"])
    })
    .await;
    for change in [json!({"spec": {"validationActions": ["Audit"]}}), json!({"metadata": {"labels": null}})] {
        patch_on(eu, binding.0, "", binding.1, change).await.unwrap();
        downstream_becomes(&installation, "eu", binding.0, "", binding.1, "it is in force again", |found| {
            found.is_some_and(|it| {
                it["spec"]["validationActions"] == json!(["Deny"])
                    && it["metadata"]["labels"]["drover.dev/owner-kind"] == "Cluster"
            })
        })
        .await;
    }
    reads(&installation, "cluster", "eu", "AdmissionInstalled", "True/PoliciesInstalled").await;

    let role = json!({
        "apiVersion": "drover.dev/v1alpha1", "kind": "RoleTemplate", "metadata": {"name": "viewer"},
        "spec": {"context": "Project", "externalClusterRoles": ["view"], "bindableFrom": {"all": {}}},
    });
    installation.apply(&role).await.unwrap();
    ready_with(&installation, &gives_view("early", &["ada"])).await;
    let mut keepers = gives_view("keepers", &["ada"]);
    keepers["spec"]["roleTemplateName"] = json!("keeper");
    ready_with(&installation, &keeper(&["get", "list"])).await;
    ready_with(&installation, &keepers).await;

    // Those of the management cluster are the chart's to restore.
    installation.kubectl(&["delete", "validatingadmissionpolicybinding", "drover-role-templates"]).unwrap();
    let look = |number: usize| json!({"metadata": {"labels": {"look": number.to_string()}}});
    patch(&installation, "cluster", "eu", look(1)).await;
    reads(&installation, "cluster", "eu", "AdmissionInstalled", "False/PoliciesMissing").await;
    reads(&installation, "cluster", "eu", "Ready", "True/Connected").await;
    installation.apply(&gives_view("late", &["eve"])).await.unwrap();
    installation.apply(&gives_view("early", &["ada", "bob"])).await.unwrap();
    installation.apply(&keeper(&["delete", "list"])).await.unwrap();
    installation.helm(&["upgrade", "drover", &chart("drover"), "--set", CHART_VALUES]).unwrap();
    patch(&installation, "cluster", "eu", look(2)).await;
    reads(&installation, "cluster", "eu", "AdmissionInstalled", "True/PoliciesInstalled").await;

    // In this order, as what is created within a second of the policies is not told from what was created before.
    what_a_template_allows_counts_once_it_is_written_again(&installation).await;
    what_was_written_meanwhile_counts_once_it_is_written_again(&installation).await;

    // With the Cluster they go, before the claim does.
    patch(&installation, "cluster", "eu", json!({"spec": {"deletionPolicy": "Delete"}})).await;
    deleted(&installation, "project", "shop").await;
    deleted(&installation, "cluster", "eu").await;
    let left = api(eu.client(), policy.0, "").await.unwrap().list(&ListParams::default()).await.unwrap();
    assert!(left.items.is_empty(), "{:?}", left.items);
}
