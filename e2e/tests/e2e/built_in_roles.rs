//! The roles that ship, given to people on a real cluster.

use std::collections::BTreeMap;

use drover_e2e::ControlPlane;
use drover_e2e::installation::{Installation, chart, charts, example};
use drover_e2e::objects::api;
use drover_e2e::story::*;
use drover_e2e::wait::{eventually, soon};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::APIResourceList;
use kube::api::ListParams;
use serde_json::{Value, json};

drover_e2e::tests![roles_that_ship_give_what_they_say,];

const ROLE: &str = "roletemplate";

/// What the file of the chart holds.
fn shipped() -> Vec<Value> {
    let text = std::fs::read_to_string(charts().join("drover/files/role-templates.yaml")).unwrap();
    let mut file: Value = serde_yaml::from_str(&text).unwrap();
    serde_json::from_value(file["templates"].take()).unwrap()
}

fn name_of(template: &Value) -> &str {
    template["name"].as_str().unwrap()
}

async fn roles_that_ship_give_what_they_say() {
    let Some(installation) = story("roles that ship", &["eu"]).await else { return };
    let eu = installation.cluster("eu").unwrap();
    every_right_is_one_that_a_cluster_knows(eu).await;
    global_roles_are_cluster_roles_of_the_management_cluster(&installation).await;
    the_chart_brings_them(&installation).await;
    ready_with(&installation, &a_project("shop", &["team-web"])).await;
    everybody_is_given_one(&installation).await;
    members_of_a_project_may_do_this_and_no_more(eu).await;
    people_of_clusters_may_do_this_and_no_more(eu).await;
    the_examples_build_on_them(&installation).await;
}

async fn the_chart_brings_them(installation: &Installation) {
    installation.helm(&["upgrade", "drover", &chart("drover"), "--set", "replicaCount=0,local.enabled=true"]).unwrap();
    let expected: Vec<Value> = shipped();
    let outcome = eventually("every role that ships is ready", soon(), async || {
        let all = api(installation.management.client(), ROLE, "").await?.list(&ListParams::default()).await?.items;
        let ready = all.iter().filter(|template| is_ready(&serde_json::to_value(template).unwrap())).count();
        Ok((ready == expected.len() && all.len() == ready).then_some(()))
    });
    let outcome = outcome.await;
    assert!(outcome.is_ok(), "{outcome:?}\n{}", installation.drover_log());
    for template in expected {
        let found = get(installation, ROLE, name_of(&template)).await.unwrap();
        assert_eq!(found["spec"], template["spec"], "{}", name_of(&template));
        assert_eq!(found["metadata"]["annotations"]["helm.sh/resource-policy"], "keep");
    }
}

/// A user of the name of each role has it.
async fn everybody_is_given_one(installation: &Installation) {
    for template in shipped() {
        let name = name_of(&template);
        let subjects = json!([{"kind": "User", "name": name}]);
        let of_project = template["spec"]["context"] == "Project";
        let binding = if of_project {
            json!({
                "apiVersion": "drover.dev/v1alpha1", "kind": "ProjectRoleTemplateBinding",
                "metadata": {"name": name, "namespace": TEAM},
                "spec": {"projectName": "shop", "roleTemplateName": name, "subjects": subjects},
            })
        } else {
            json!({
                "apiVersion": "drover.dev/v1alpha1", "kind": "ClusterRoleTemplateBinding", "metadata": {"name": name},
                "spec": {"clusters": {"all": {}}, "roleTemplateName": name, "subjects": subjects},
            })
        };
        installation.apply(&binding).await.unwrap();
    }
    for template in shipped() {
        let of_project = template["spec"]["context"] == "Project";
        let kind = if of_project { "projectroletemplatebinding" } else { "clusterroletemplatebinding" };
        reads(installation, kind, name_of(&template), "Ready", "True/Ready").await;
    }
}

/// Who may do what in which namespaces.
type Verdict<'a> = (&'a str, &'a str, &'a [&'a str]);

/// In these namespaces; everywhere else they may not, nor in the whole cluster.
async fn only_these(eu: &ControlPlane, (what, namespace, who): Verdict<'_>, all: &[&str]) {
    for each in all {
        let expected = who.contains(each);
        if expected {
            may(eu, each, what, namespace, true).await;
        }
        assert_eq!(allows(eu, each, what, namespace).await.unwrap(), expected, "{each} may {what} in {namespace:?}");
    }
}

async fn members_of_a_project_may_do_this_and_no_more(eu: &ControlPlane) {
    let (here, owner, member, reader) = ("team-web", "project-owner", "project-member", "read-only");
    let all = [owner, member, reader, "workloads-view", "workloads-manage", "secrets-view", "secrets-manage"];
    for verdict in [
        ("list pods", here, &[owner, member, reader, "workloads-view", "workloads-manage"][..]),
        ("get pods/log", here, &[owner, member, reader, "workloads-view", "workloads-manage"]),
        ("create deployments.apps", here, &[owner, member, "workloads-manage"]),
        ("update deployments.apps/scale", here, &[owner, member, "workloads-manage"]),
        ("get secrets", here, &[owner, member, "secrets-view", "secrets-manage"]),
        ("create secrets", here, &[owner, member, "secrets-manage"]),
        ("create-namespaces projects.drover.dev", here, &[owner, member]),
        ("get namespaces", here, &[owner, member, reader]),
        ("create pods/exec", here, &[owner]),
        ("delete namespaces", here, &[owner]),
        ("list storageclasses.storage.k8s.io", "", &[owner, member, reader]),
        ("update namespaces", here, &[]),
        ("set-pod-security namespaces", here, &[]),
        ("manage namespaces", here, &[]),
        ("update resourcequotas", here, &[]),
        ("delete networkpolicies.networking.k8s.io", here, &[]),
        ("create rolebindings.rbac.authorization.k8s.io", here, &[]),
        ("create serviceaccounts/token", here, &[]),
        ("impersonate serviceaccounts", here, &[]),
        ("list pods", "default", &[]),
        ("list pods", "", &[]),
        ("list secrets", "kube-system", &[]),
        ("list nodes", "", &[]),
        ("create namespaces", "", &[]),
    ] {
        only_these(eu, verdict, &all).await;
    }
}

async fn people_of_clusters_may_do_this_and_no_more(eu: &ControlPlane) {
    let (owner, member, viewer) = ("cluster-owner", "cluster-member", "projects-view");
    let all = [owner, member, viewer, "nodes-view", "nodes-manage", "storage-manage"];
    for verdict in [
        ("list nodes", "", &[owner, member, "nodes-view", "nodes-manage"][..]),
        ("patch nodes", "", &[owner, "nodes-manage"]),
        ("create pods/eviction", "team-web", &[owner, "nodes-manage"]),
        ("list persistentvolumes", "", &[owner, member, viewer, "storage-manage"]),
        ("delete persistentvolumes", "", &[owner, "storage-manage"]),
        ("list configmaps", "team-web", &[owner, viewer]),
        ("list customresourcedefinitions.apiextensions.k8s.io", "", &[owner, member]),
        ("list secrets", "team-web", &[owner]),
        ("create widgets.example.com", "team-web", &[owner]),
        ("create namespaces", "", &[owner]),
        ("escalate clusterroles.rbac.authorization.k8s.io", "", &[]),
        ("bind clusterroles.rbac.authorization.k8s.io", "", &[]),
        ("impersonate users", "", &[]),
    ] {
        only_these(eu, verdict, &all).await;
    }
}

async fn the_examples_build_on_them(installation: &Installation) {
    for file in ["own-role.yaml", "read-only-auditors.yaml"] {
        installation.apply_text(&example(file).unwrap()).await.unwrap();
    }
    reads(installation, ROLE, "web-developer", "Ready", "True/Ready").await;
    reads(installation, "clusterroletemplatebinding", "auditors", "Ready", "True/Ready").await;
    let eu = installation.cluster("eu").unwrap();
    for (what, expected) in [("list configmaps", true), ("list secrets", false), ("create pods", false)] {
        may(eu, "@auditors", what, "kube-system", expected).await;
    }
}

/// What `docs/roles.md` says of the global roles of Rancher, each given to a group of its name here.
async fn global_roles_are_cluster_roles_of_the_management_cluster(installation: &Installation) {
    let (admin, platform, view) = ("cluster-admin", "drover-platform", "drover-global-view");
    let (creates, defines, nothing) = ("drover-clusters-create", "drover-roles-manage", "user-base");
    for role in [admin, platform, view, creates, defines] {
        let (name, group) = (format!("--clusterrole={role}"), format!("--group={role}"));
        installation.kubectl(&["create", "clusterrolebinding", &format!("of-{role}"), &name, &group]).unwrap();
    }
    let all = [admin, platform, view, creates, defines, nothing];
    for (what, namespace, who) in [
        ("list secrets", "drover-system", &[admin][..]),
        ("create clusterrolebindings.rbac.authorization.k8s.io", "", &[admin]),
        ("create clusters.drover.dev", "", &[admin, platform, creates]),
        ("patch clusters.drover.dev", "", &[admin, platform]),
        ("list clusters.drover.dev", "", &[admin, platform, view, creates]),
        ("create projects.drover.dev", TEAM, &[admin, platform]),
        ("list projectroletemplatebindings.drover.dev", "", &[admin, platform, view]),
        ("manage-members projects.drover.dev", TEAM, &[admin, platform]),
        ("patch roletemplates.drover.dev", "", &[admin, platform, defines]),
        ("escalate roletemplates.drover.dev", "", &[admin, platform, defines]),
        ("bind roletemplates.drover.dev", "", &[admin, platform]),
    ] {
        let groups: Vec<String> = all.iter().map(|role| format!("@{role}")).collect();
        let who: Vec<String> = who.iter().map(|role| format!("@{role}")).collect();
        let (who, groups) = (texts(&who), texts(&groups));
        only_these(&installation.management, (what, namespace, &who), &groups).await;
    }
}

fn texts(all: &[String]) -> Vec<&str> {
    all.iter().map(String::as_str).collect()
}

/// A right to what no API server serves would be a mistake. Metrics are served by an addition, verbs of Drover by policies.
async fn every_right_is_one_that_a_cluster_knows(eu: &ControlPlane) {
    let served = served(eu).await;
    for template in shipped() {
        let rules = ["rules", "clusterRules"].into_iter().filter_map(|field| template["spec"][field].as_array());
        for rule in rules.flatten() {
            let texts = |field: &str| serde_json::from_value::<Vec<String>>(rule[field].clone()).unwrap_or_default();
            for (group, resource) in
                texts("apiGroups").iter().flat_map(|group| texts("resources").into_iter().map(move |one| (group, one)))
            {
                if ["*", "metrics.k8s.io", "drover.dev"].contains(&group.as_str()) {
                    continue;
                }
                let known = served.get(&(group.clone(), resource.clone())).cloned().unwrap_or_default();
                for verb in texts("verbs") {
                    assert!(known.contains(&verb), "{}: {verb} {group}/{resource}: {known:?}", name_of(&template));
                }
            }
        }
    }
}

/// By API group and resource, the verbs that a cluster serves.
async fn served(eu: &ControlPlane) -> BTreeMap<(String, String), Vec<String>> {
    let client = eu.client();
    let mut served = BTreeMap::new();
    let mut note = |group: &str, list: APIResourceList| {
        for resource in list.resources {
            served.entry((group.to_owned(), resource.name)).or_insert_with(Vec::new).extend(resource.verbs);
        }
    };
    note("", client.list_core_api_resources("v1").await.unwrap());
    for group in client.list_api_groups().await.unwrap().groups {
        for version in &group.versions {
            note(&group.name, client.list_api_group_resources(&version.group_version).await.unwrap());
        }
    }
    served
}
