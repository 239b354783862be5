//! Guards of the namespaces of a Project, as a real API server and the people in a cluster meet them.

use drover_e2e::installation::{DROVER_USER, Installation, downstream_roles, grant_downstream_roles};
use drover_e2e::objects::{apply_text_to, apply_to, delete_from, patch_on};
use drover_e2e::story::*;
use drover_e2e::wait::{eventually, soon};
use serde_json::{Value, json};

drover_e2e::tests![
    guards_hold_for_what_runs_in_a_namespace_and_a_tenant_cannot_change_them,
    an_import_of_before_lacks_one_guard_only_and_another_import_heals_it,
];

/// A Pod that asks for nothing.
fn a_pod(name: &str, namespace: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": namespace},
        "spec": {"automountServiceAccountToken": false, "containers": [{"name": "main", "image": "none.invalid/none"}]},
    })
}

async fn run(installation: &Installation, pod: &Value) -> Result<(), String> {
    let eu = installation.cluster("eu").unwrap();
    let account = json!({
        "apiVersion": "v1", "kind": "ServiceAccount",
        "metadata": {"name": "default", "namespace": pod["metadata"]["namespace"]},
    });
    apply_to(eu, &account).await.unwrap();
    apply_to(eu, pod).await.map_err(|error| format!("{error:?}"))
}

async fn guard_becomes(installation: &Installation, kind: &str, what: &str, wanted: impl Fn(&Value) -> bool) {
    downstream_becomes(installation, "eu", kind, "team-web", "drover", what, |found| found.is_some_and(&wanted)).await;
}

async fn guards_hold_for_what_runs_in_a_namespace_and_a_tenant_cannot_change_them() {
    let Some(installation) = restful_story("guards", &["eu"]).await else { return };
    let mut cluster = a_cluster("eu");
    cluster["spec"]["podSecurity"] = json!({"enforce": "baseline"});
    cluster["spec"]["nodeRanges"] = json!(["10.0.0.0/16", "fd00::/8"]);
    ready_with(&installation, &cluster).await;
    let mut shop = a_project("shop", &["team-web", "team-db"]);
    shop["spec"]["podSecurity"] = json!({"enforce": "privileged", "warn": "restricted"});
    // As people write quantities: the server stores 1, 500m and 1k, and it fills in the requests.
    shop["spec"]["containerDefaults"] = json!({
        "requests": {"cpu": "0.5"}, "limits": {"cpu": "1000m", "memory": "0.25Gi"}, "max": {"ephemeral-storage": 1000},
    });
    let ingress = json!({"matchLabels": {"kubernetes.io/metadata.name": "ingress"}});
    shop["spec"]["networkIsolation"] = json!({"mode": "Project", "allowFrom": [ingress]});
    shop["spec"]["namespaces"][1]["networkIsolation"] = json!({"mode": "None"});
    ready_with(&installation, &shop).await;
    reads(&installation, "project", "shop", "PodSecurityReady", "True/Ready").await;
    reads(&installation, "project", "shop", "IsolationReady", "True/Ready").await;
    quiet(&installation, "the guards are there").await;

    // Pod security: the cluster's level holds although the Project asks for less.
    let mut pod = a_pod("root", "team-web");
    pod["spec"]["containers"][0]["securityContext"] = json!({"privileged": true});
    let refused = run(&installation, &pod).await.unwrap_err();
    assert!(refused.contains("violates PodSecurity") && refused.contains("baseline:latest"), "{refused}");

    // LimitRange: who states nothing gets the defaults.
    run(&installation, &a_pod("modest", "team-web")).await.unwrap();
    let modest = downstream(&installation, "eu", "pod", "team-web", "modest").await.unwrap().unwrap();
    let resources = &modest["spec"]["containers"][0]["resources"];
    assert_eq!((&resources["requests"]["cpu"], &resources["limits"]["memory"]), (&json!("500m"), &json!("256Mi")));

    // NetworkPolicy: the Project, what it allows, the nodes, and the namespace itself.
    let policy = downstream(&installation, "eu", "networkpolicy", "team-web", "drover").await.unwrap().unwrap();
    let peers = policy["spec"]["ingress"][0]["from"].as_array().unwrap();
    assert_eq!((peers.len(), &peers[0]), (5, &json!({"podSelector": {}})), "{policy}");
    assert_eq!(peers[1]["namespaceSelector"]["matchLabels"]["drover.dev/owner-name"], "shop");
    assert_eq!(peers[4], json!({"ipBlock": {"cidr": "fd00::/8"}}));
    assert_eq!(
        downstream(&installation, "eu", "networkpolicy", "team-db", "drover").await.unwrap(),
        None,
        "it is open"
    );

    what_a_tenant_changes_is_restored(&installation).await;
    quiet(&installation, "everything was restored").await;

    // Released, the namespaces keep them; the same YAML takes all of it up again.
    deleted(&installation, "project", "shop").await;
    let kept = downstream(&installation, "eu", "limitrange", "team-web", "drover").await.unwrap().unwrap();
    assert_eq!(kept["metadata"]["labels"].get("drover.dev/owner-name"), None, "{kept}");
    let namespace = downstream_namespace(&installation, "eu", "team-web").await.unwrap().unwrap();
    assert_eq!(namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"], "baseline");
    ready_with(&installation, &shop).await;
    shop["spec"].as_object_mut().unwrap().remove("containerDefaults");
    ready_with(&installation, &shop).await;
    assert_eq!(downstream(&installation, "eu", "limitrange", "team-web", "drover").await.unwrap(), None);
}

async fn what_a_tenant_changes_is_restored(installation: &Installation) {
    let eu = installation.cluster("eu").unwrap();
    let label = "pod-security.kubernetes.io/enforce";
    let change = json!({"metadata": {"labels": {label: "privileged"}}});
    patch_on(eu, "namespace", "", "team-web", change).await.unwrap();
    namespace_becomes(installation, "eu", "team-web", "the level is restored", |namespace| {
        namespace.is_some_and(|it| it["metadata"]["labels"][label] == "baseline")
    })
    .await;

    for (path, value) in [
        ("/spec/ingress/-", json!({})),
        ("/spec/podSelector/matchLabels", json!({"closed": "yes"})),
        ("/spec/policyTypes", json!(["Egress"])),
    ] {
        // Three times in ten minutes would be a conflict: each is a change of its own to a policy of its own.
        deleted_downstream_and_back(installation).await;
        let opens = json!([{"op": "add", "path": path, "value": value}]);
        patch_on(eu, "networkpolicy", "team-web", "drover", opens).await.unwrap();
        guard_becomes(installation, "networkpolicy", &format!("{path} is restored"), |it| {
            let spec = &it["spec"];
            spec["ingress"].as_array().is_some_and(|rules| rules.len() == 1)
                && spec["podSelector"] == json!({})
                && spec["policyTypes"] == json!(["Ingress"])
        })
        .await;
    }

    let generous = json!({"spec": {"limits": [{"type": "Container", "default": {"memory": "1Ti"}}]}});
    patch_on(eu, "limitrange", "team-web", "drover", generous).await.unwrap();
    guard_becomes(installation, "limitrange", "the limits are restored", |it| {
        it["spec"]["limits"][0]["default"]["memory"] == "256Mi"
    })
    .await;
    let labels = json!({"metadata": {"labels": null}});
    patch_on(eu, "limitrange", "team-web", "drover", labels).await.unwrap();
    guard_becomes(installation, "limitrange", "its labels are restored", |it| {
        it["metadata"]["labels"]["drover.dev/owner-name"] == "shop"
    })
    .await;
    let record = json!({"metadata": {"labels": null, "annotations": null}});
    patch_on(eu, "networkpolicy", "team-web", "drover", record).await.unwrap();
    guard_becomes(installation, "networkpolicy", "its whole record is restored", |it| {
        it["metadata"]["labels"]["drover.dev/owner-name"] == "shop"
            && it["metadata"]["annotations"]["drover.dev/created"].is_string()
    })
    .await;
}

/// A policy that is deleted comes back with its rules.
async fn deleted_downstream_and_back(installation: &Installation) {
    let eu = installation.cluster("eu").unwrap();
    let before = downstream(installation, "eu", "networkpolicy", "team-web", "drover").await.unwrap().unwrap();
    delete_from(eu, "networkpolicy", "team-web", "drover").await.unwrap();
    guard_becomes(installation, "networkpolicy", "it is created again", |it| {
        it["metadata"]["uid"] != before["metadata"]["uid"]
            && it["metadata"]["annotations"]["drover.dev/applied"].is_string()
    })
    .await;
}

/// The roles of a Drover that knew nothing of `resource`.
pub(crate) fn roles_without(resource: &str) -> String {
    let all = downstream_roles().unwrap();
    let rule_about = |rule: &&str| rule.contains(&format!("  - {resource}\n"));
    let others: String = all.split_inclusive("- apiGroups:\n").filter(|rule| !rule_about(rule)).collect();
    assert_ne!(others, all);
    others
}

async fn reads_missing(installation: &Installation, told: &str) {
    eventually(told, soon(), async || {
        let cluster = get(installation, "cluster", "eu").await?;
        Ok(cluster["status"]["conditions"].to_string().contains(told).then_some(()))
    })
    .await
    .unwrap();
}

async fn an_import_of_before_lacks_one_guard_only_and_another_import_heals_it() {
    let Some(mut installation) = prepared("an import of before", &["eu"]).await else { return };
    apply_text_to(installation.cluster("eu").unwrap(), &roles_without("limitranges")).await.unwrap();
    installation.start_drover().await.unwrap();
    reads(&installation, "cluster", "eu", "CredentialValid", "False/DownstreamRoleOutdated").await;
    let mut shop = a_project("shop", &["team-web", "team-db"]);
    shop["spec"]["networkIsolation"] = json!({"mode": "Project"});
    shop["spec"]["namespaces"][0]["containerDefaults"] = json!({"limits": {"memory": "256Mi"}});
    installation.apply(&shop).await.unwrap();
    reads(&installation, "project", "shop", "Ready", "False/GuardNotPermitted").await;
    let told = problem(&installation, "project", "shop").await;
    assert!(told.contains("the kind LimitRange") && told.contains("--name eu --apply"), "{told}");
    assert_eq!(downstream_namespace(&installation, "eu", "team-web").await.unwrap(), None, "not without its guard");
    // The first rule is about limit ranges: to read them is not enough.
    let read_only = downstream_roles().unwrap().replacen("  - create\n", "", 1);
    apply_text_to(installation.cluster("eu").unwrap(), &read_only).await.unwrap();
    reads_missing(&installation, "the credential may not create limitranges,").await;
    tokio::time::sleep(two_periods()).await;
    reads(&installation, "project", "shop", "Ready", "False/GuardNotPermitted").await;
    assert_eq!(downstream_namespace(&installation, "eu", "team-web").await.unwrap(), None, "nor without one to come");
    let isolates = |found: Option<&Value>| found.is_some_and(|it| it["spec"]["ingress"].is_array());
    downstream_becomes(&installation, "eu", "networkpolicy", "team-db", "drover", "the rest goes on", isolates).await;

    grant_downstream_roles(installation.cluster("eu").unwrap(), DROVER_USER).await.unwrap();
    converged(&installation, "shop").await;
    guard_becomes(&installation, "limitrange", "it is there", |it| it["spec"]["limits"][0].is_object()).await;
    a_cluster_that_is_locked_down_says_so_and_grants_what_it_may_later(&installation).await;
}

/// It refuses to have role bindings read, and then to have them written.
async fn a_cluster_that_is_locked_down_says_so_and_grants_what_it_may_later(installation: &Installation) {
    let eu = installation.cluster("eu").unwrap();
    let viewer = json!({
        "apiVersion": "drover.dev/v1alpha1", "kind": "RoleTemplate", "metadata": {"name": "viewer"},
        "spec": {"context": "Project", "externalClusterRoles": ["view"], "bindableFrom": {"all": {}}},
    });
    let ann = json!({
        "apiVersion": "drover.dev/v1alpha1", "kind": "ProjectRoleTemplateBinding", "metadata": {"name": "ann", "namespace": TEAM},
        "spec": {"projectName": "shop", "roleTemplateName": "viewer", "subjects": [{"kind": "User", "name": "ann"}]},
    });
    let without = roles_without("rolebindings");
    let read_only = format!(
        "{without}---\napiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata: {{name: drover-downstream-more}}\n\
         rules: [{{apiGroups: [rbac.authorization.k8s.io], resources: [rolebindings], verbs: [get, list, watch]}}]\n"
    );
    apply_text_to(eu, &read_only).await.unwrap();
    let reference =
        json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "drover-downstream-more"});
    let binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": "drover-downstream-more"},
        "roleRef": reference, "subjects": [{"kind": "User", "name": DROVER_USER}],
    });
    apply_to(eu, &binding).await.unwrap();
    installation.apply(&viewer).await.unwrap();
    installation.apply(&ann).await.unwrap();
    reads(installation, "cluster", "eu", "CredentialValid", "False/DownstreamRoleOutdated").await;
    reads(installation, "project", "shop", "Ready", "False/Forbidden").await;
    let told = problem(installation, "project", "shop").await;
    assert!(told.contains("create RoleBinding"), "{told}");
    grant_downstream_roles(eu, DROVER_USER).await.unwrap();
    converged(installation, "shop").await;
    reads(installation, "projectroletemplatebinding", "ann", "Ready", "True/Ready").await;
}
