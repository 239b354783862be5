//! Admission policies as a real API server judges by them: for a person with kubectl, a `ServiceAccount`, and a controller for
//! Git that impersonates one.

use std::collections::BTreeMap;

use drover_crds::{ClusterRoleTemplateBinding, ProjectRoleTemplateBinding, RoleTemplate};
use drover_e2e::ControlPlane;
use drover_e2e::control_plane::client_from;
use drover_e2e::objects::{api, apply_to};
use drover_e2e::story::*;
use drover_e2e::wait::{becomes, eventually, soon};
use k8s_openapi::api::admissionregistration::v1::ValidatingAdmissionPolicy;
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::api::{DynamicObject, Patch, PatchParams, PostParams};
use kube::{Api, Client, CustomResourceExt as _};
use serde_json::{Value, json};

drover_e2e::tests![
    t01_t07_t25_t26_only_who_has_the_verbs_says_who_has_a_role,
    t06_t12_only_who_may_escalate_says_what_a_role_allows,
    expressions_fit_their_types_and_a_thousand_subjects_their_budget,
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
        let binding = "projectroletemplatebinding";
        let widened = json!({"spec": {"subjects": [anna[0]]}});
        requester.expects("a foreign one changed", &requester.changes(binding, "members", widened).await, manage);
        let labels = json!({"metadata": {"labels": {"a": "b"}, "finalizers": ["example.com/wait"]}});
        requester.expects("its metadata changed", &requester.changes(binding, "members", labels).await, None);
    }
    // Deletion is nobody's to hold up.
    let bindings = api(all[2].client.clone(), "projectroletemplatebinding", TEAM).await.unwrap();
    bindings.delete("members", &kube::api::DeleteParams::default()).await.unwrap();
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
    let drovers = policies.list(&kube::api::ListParams::default()).await.unwrap();
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
    assert!(policies.list(&kube::api::ListParams::default()).await.unwrap().items.len() >= 6, "there are policies");
    warnings
}
