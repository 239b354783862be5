//! What members may do beside their Project: roles of the management cluster, by whose rights an owner adds members.

use drover_e2e::installation::{End, Installation};
use drover_e2e::objects::{api, delete_from};
use drover_e2e::story::*;
use drover_e2e::wait::{becomes, eventually, soon};
use k8s_openapi::api::core::v1::ResourceQuota;
use kube::api::{DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::{Value, json};

drover_e2e::tests![management_roles_let_an_owner_add_members_while_the_namespace_has_one_project,];

const BINDING: &str = "projectroletemplatebinding";
const BOUND: &str = "ManagementRolesBound";
const ADD_MEMBERS: &str = "create projectroletemplatebindings.drover.dev";
/// By the binding, the role that lets its subjects add members.
const ROLE_BINDING: &str = "drover:owners:management:drover-admin";

fn a_role(name: &str, management_roles: &[&str]) -> Value {
    let pods = json!([{"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]}]);
    json!({
        "apiVersion": "drover.dev/v1alpha1", "kind": "RoleTemplate", "metadata": {"name": name},
        "spec": {"context": "Project", "rules": pods, "bindableFrom": {"all": {}}, "managementRoles": management_roles},
    })
}

fn a_binding(name: &str, role: &str, subjects: &Value) -> Value {
    json!({
        "apiVersion": "drover.dev/v1alpha1", "kind": "ProjectRoleTemplateBinding",
        "metadata": {"name": name, "namespace": TEAM},
        "spec": {"projectName": "shop", "roleTemplateName": role, "subjects": subjects},
    })
}

fn group(name: &str) -> Value {
    json!([{"kind": "Group", "name": name}])
}

/// Creates an object as the user of a client.
async fn creates(client: &Client, object: &Value) -> Result<(), String> {
    let objects = api(client.clone(), object["kind"].as_str().unwrap(), TEAM).await.unwrap();
    let object: DynamicObject = serde_json::from_value(object.clone()).unwrap();
    objects.create(&PostParams::default(), &object).await.map(drop).map_err(|error| error.to_string())
}

/// The role bindings that Drover has in the management cluster.
async fn role_bindings(installation: &Installation) -> Vec<String> {
    let all = api(installation.management.client(), "rolebinding", TEAM).await.unwrap();
    let ours = ListParams::default().labels("drover.dev/owner-kind=ProjectRoleTemplateBinding");
    all.list(&ours).await.unwrap().items.into_iter().filter_map(|found| found.metadata.name).collect()
}

async fn management_roles_let_an_owner_add_members_while_the_namespace_has_one_project() {
    let Some(mut installation) = restful_story("management roles", &["eu"]).await else { return };
    // The management cluster as a cluster of the fleet has policies of its own about what Drover may bind.
    let local = json!({
        "apiVersion": "drover.dev/v1alpha1", "kind": "Cluster", "metadata": {"name": "local"},
        "spec": {"connection": {"local": {}}},
    });
    ready_with(&installation, &local).await;
    ready_with(&installation, &a_project("shop", &["team-web"])).await;
    for role in [a_role("owner", &["drover-view", "drover-admin"]), a_role("viewer", &[])] {
        installation.apply(&role).await.unwrap();
    }
    an_owner_adds_a_member(&installation).await;
    only_people_and_only_what_is_allowed(&installation).await;
    what_is_changed_is_restored_and_a_second_project_takes_the_rights(&installation).await;
    quiet(&installation, "an owner has rights beside the Project").await;
    rights_end(&mut installation).await;
}

async fn an_owner_adds_a_member(installation: &Installation) {
    let (management, eu) = (&installation.management, installation.cluster("eu").unwrap());
    let olga = management.client_for("olga", &["owners"]).await.unwrap();
    let bob = a_binding("bob", "viewer", &json!([{"kind": "User", "name": "bob"}]));
    assert!(creates(&olga, &bob).await.is_err(), "nobody made her an owner yet");
    ready_with(installation, &a_binding("owners", "owner", &group("owners"))).await;
    reads(installation, BINDING, "owners", BOUND, "True/ManagementRolesBound").await;
    may(management, "@owners", ADD_MEMBERS, TEAM, true).await;
    creates(&olga, &bob).await.unwrap();
    a_quota_bounds_how_many_she_creates(installation, &olga).await;
    may(eu, "bob", "list pods", "team-web", true).await;
    for (what, namespace) in [
        (ADD_MEMBERS, "default"),
        ("patch projects.drover.dev", TEAM),
        ("create clusterroletemplatebindings.drover.dev", ""),
        ("escalate roletemplates.drover.dev", ""),
        ("list secrets", TEAM),
        ("create rolebindings.rbac.authorization.k8s.io", TEAM),
    ] {
        assert!(!allows(management, "@owners", what, namespace).await.unwrap(), "{what} in {namespace:?}");
    }
}

/// Bindings are the tenant's to create, and the management cluster keeps them.
async fn a_quota_bounds_how_many_she_creates(installation: &Installation, olga: &Client) {
    let counted = "count/projectroletemplatebindings.drover.dev";
    let quota = json!({
        "apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "members", "namespace": TEAM},
        "spec": {"hard": {counted: "2"}},
    });
    installation.apply(&quota).await.unwrap();
    // The controller counts kinds that came after it only later; until then nothing is let in.
    let quotas: Api<ResourceQuota> = Api::namespaced(installation.management.client(), TEAM);
    let hard = json!({counted: "2"});
    let full = Patch::Merge(json!({"status": {"hard": hard, "used": hard}}));
    quotas.patch_status("members", &PatchParams::default(), &full).await.unwrap();
    let carl = a_binding("carl", "viewer", &group("carl"));
    let ask = async || {
        let refusal = creates(olga, &carl).await.unwrap_err();
        Ok(refusal.contains("exceeded quota: members").then_some(()))
    };
    eventually("no third binding is let in", soon(), ask).await.unwrap();
    delete_from(&installation.management, "resourcequota", TEAM, "members").await.unwrap();
}

async fn only_people_and_only_what_is_allowed(installation: &Installation) {
    let subjects = json!([{"kind": "ServiceAccount", "name": "ci", "namespace": "team-web"}]);
    ready_with(installation, &a_binding("ci", "owner", &subjects)).await;
    let account = "system:serviceaccount:team-web:ci";
    may(installation.cluster("eu").unwrap(), account, "list pods", "team-web", true).await;
    assert!(!allows(&installation.management, account, ADD_MEMBERS, TEAM).await.unwrap());

    installation.apply(&a_role("root", &["cluster-admin", "drover-view"])).await.unwrap();
    installation.apply(&a_binding("roots", "root", &group("roots"))).await.unwrap();
    reads(installation, BINDING, "roots", "Ready", "False/ManagementRoleNotAllowed").await;
    may(&installation.management, "@roots", "list projects.drover.dev", TEAM, true).await;
    assert!(!allows(&installation.management, "@roots", "list secrets", TEAM).await.unwrap());
    let expected = [
        "drover:owners:management:drover-admin",
        "drover:owners:management:drover-view",
        "drover:roots:management:drover-view",
    ];
    assert_eq!(role_bindings(installation).await, expected);
    deleted(installation, BINDING, "roots").await;
    may(&installation.management, "@roots", "list projects.drover.dev", TEAM, false).await;
}

async fn what_is_changed_is_restored_and_a_second_project_takes_the_rights(installation: &Installation) {
    let management = &installation.management;
    delete_from(management, "rolebinding", TEAM, ROLE_BINDING).await.unwrap();
    may(management, "@owners", ADD_MEMBERS, TEAM, true).await;

    installation.apply(&a_project("till", &["team-till"])).await.unwrap();
    reads(installation, BINDING, "owners", BOUND, "False/SeveralProjects").await;
    may(management, "@owners", ADD_MEMBERS, TEAM, false).await;
    reads(installation, BINDING, "owners", "Ready", "True/Ready").await;
    deleted(installation, "project", "till").await;
    may(management, "@owners", ADD_MEMBERS, TEAM, true).await;
    reads(installation, BINDING, "owners", BOUND, "True/ManagementRolesBound").await;
}

/// By an edit of the binding, and by its deletion while Drover is down.
async fn rights_end(installation: &mut Installation) {
    let to = |name: &str| json!({"spec": {"subjects": group(name)}});
    patch(installation, BINDING, "owners", to("others")).await;
    may(&installation.management, "@owners", ADD_MEMBERS, TEAM, false).await;
    let olga = installation.management.client_for("olga", &["owners"]).await.unwrap();
    let eve = a_binding("eve", "owner", &json!([{"kind": "User", "name": "eve"}]));
    assert!(creates(&olga, &eve).await.is_err(), "she is no owner any more");
    may(&installation.management, "@others", ADD_MEMBERS, TEAM, true).await;

    installation.stop_drover(End::Terminate).await.unwrap();
    for name in ["owners", "ci", "bob"] {
        deleted(installation, BINDING, name).await;
    }
    assert!(!role_bindings(installation).await.is_empty());
    installation.start_drover().await.unwrap();
    let all = api(installation.management.client(), "rolebinding", TEAM).await.unwrap();
    becomes(&all, ROLE_BINDING, "what was left is gone", soon(), |found| found.is_none()).await.unwrap();
    may(&installation.management, "@others", ADD_MEMBERS, TEAM, false).await;
}
