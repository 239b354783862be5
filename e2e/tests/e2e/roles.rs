//! Roles on whole clusters, with the API server's own verdict on what people may do there.

#![expect(clippy::disallowed_methods, reason = "a test may read the clock")]

use drover_e2e::installation::{End, Installation};
use drover_e2e::objects::{delete_from, owned, patch_on};
use drover_e2e::story::*;
use k8s_openapi::api::core::v1::Service;
use kube::api::ListParams;
use serde_json::{Value, json};

/// A `ServiceAccount` as a user.
const ACCOUNT: &str = "system:serviceaccount:tools:ci";

drover_e2e::tests![roles_are_given_on_clusters_and_taken_away,];

/// A template of context Cluster that reads these resources.
fn a_template(name: &str, resources: &[&str], inherits: &[&str]) -> Value {
    let rules = match resources {
        [] => json!([]),
        resources => json!([{"apiGroups": [""], "resources": resources, "verbs": ["get", "list"]}]),
    };
    json!({
        "apiVersion": "drover.dev/v1alpha1", "kind": "RoleTemplate", "metadata": {"name": name},
        "spec": {"context": "Cluster", "rules": rules, "inherits": inherits},
    })
}

fn a_binding(name: &str, template: &str, clusters: &Value, subjects: &Value) -> Value {
    json!({
        "apiVersion": "drover.dev/v1alpha1", "kind": "ClusterRoleTemplateBinding", "metadata": {"name": name},
        "spec": {"clusters": clusters, "roleTemplateName": template, "subjects": subjects},
    })
}

fn user(name: &str) -> Value {
    json!({"kind": "User", "name": name})
}

/// Waits until the API servers say so: cluster, who, resource, and whether they may list it.
async fn until_may(installation: &Installation, verdicts: &[(&str, &str, &str, bool)]) {
    for (cluster, who, resource, allowed) in verdicts {
        may(installation.cluster(cluster).unwrap(), who, &format!("list {resource}"), "", *allowed).await;
    }
}

async fn roles_are_given_on_clusters_and_taken_away() {
    let Some(mut installation) = restful_story("roles", &["eu", "us"]).await else { return };
    let mut us = a_cluster("us");
    us["spec"]["identity"] = json!({"usernamePrefix": "oidc:", "groupsPrefix": "oidc:"});
    us["metadata"]["labels"] = json!({"env": "test"});
    ready_with(&installation, &a_cluster("eu")).await;
    ready_with(&installation, &us).await;

    // In any order of files: the binding, its template, and what that inherits.
    let on_eu = a_binding("watchers", "watcher", &json!({"names": ["eu"]}), &json!([user("ada"), user("bob")]));
    installation.apply(&on_eu).await.unwrap();
    reads(&installation, "clusterroletemplatebinding", "watchers", "Ready", "False/RoleTemplateNotFound").await;
    installation.apply(&a_template("watcher", &["nodes"], &["reader"])).await.unwrap();
    reads(&installation, "roletemplate", "watcher", "Resolved", "False/RoleTemplateNotFound").await;
    ready_with(&installation, &a_template("reader", &["pods"], &[])).await;
    ready_with(&installation, &on_eu).await;
    until_may(&installation, &[("eu", "ada", "nodes", true), ("eu", "ada", "pods", true)]).await;
    until_may(&installation, &[("eu", "ada", "secrets", false), ("us", "oidc:ada", "nodes", false)]).await;

    // By label, and on all clusters; another cluster may spell people otherwise.
    let group =
        json!([{"kind": "Group", "name": "auditors"}, {"kind": "ServiceAccount", "name": "ci", "namespace": "tools"}]);
    let everywhere = a_binding("auditors", "reader", &json!({"all": {}}), &group);
    ready_with(&installation, &everywhere).await;
    until_may(&installation, &[("eu", "@auditors", "pods", true), ("us", "@oidc:auditors", "pods", true)]).await;
    until_may(
        &installation,
        &[("us", "@auditors", "pods", false), ("us", "system:serviceaccount:tools:ci", "pods", true)],
    )
    .await;
    let by_label =
        a_binding("test", "watcher", &json!({"selector": {"matchLabels": {"env": "test"}}}), &json!([user("eve")]));
    ready_with(&installation, &by_label).await;
    until_may(&installation, &[("us", "oidc:eve", "nodes", true), ("eu", "eve", "nodes", false)]).await;
    quiet(&installation, "roles are given").await;

    what_a_template_says_anew_holds(&installation).await;
    what_is_changed_there_is_restored(&installation).await;
    t03_groups_and_accounts_lose_what_they_had_in_every_cluster(&installation).await;
    t19_groups_are_those_of_the_request_and_nobody_remembers_them(&installation).await;
    t13_what_grants_goes_with_the_role_the_binding_and_the_cluster(&mut installation).await;
    rights_go(&installation).await;
}

/// An edit narrows and widens whatever inherits from it.
async fn what_a_template_says_anew_holds(installation: &Installation) {
    let rules = |resource: &str| json!([{"apiGroups": [""], "resources": [resource], "verbs": ["list"]}]);
    let change = async {
        patch(installation, "roletemplate", "reader", json!({"spec": {"rules": rules("services")}})).await;
        until_may(installation, &[("eu", "ada", "services", true), ("us", "@oidc:auditors", "services", true)]).await;
        until_may(installation, &[("eu", "ada", "pods", false), ("us", "@oidc:auditors", "pods", false)]).await;
    };
    b10_without_a_gap(installation, ("eu", "ada", "nodes"), change).await;
}

/// What somebody may before and after a change, he may all the time.
async fn b10_without_a_gap(installation: &Installation, right: (&str, &str, &str), change: impl Future<Output = ()>) {
    let (cluster, who, resource) = right;
    let (cluster, what) = (installation.cluster(cluster).unwrap(), format!("list {resource}"));
    let asked = async {
        let mut times = 0_usize;
        while allows(cluster, who, &what, "").await.unwrap() {
            times += 1;
        }
        times
    };
    tokio::select! {
        times = asked => panic!("{right:?} was denied after {times} times"),
        () = change => {}
    }
}

/// CVE-2021-36775 was about groups, and about bindings of whole clusters.
async fn t03_groups_and_accounts_lose_what_they_had_in_every_cluster(installation: &Installation) {
    let all = |allowed: bool| {
        [("eu", "@auditors"), ("us", "@oidc:auditors"), ("eu", ACCOUNT), ("us", ACCOUNT)]
            .map(|(cluster, who)| (cluster, who, "services", allowed))
    };
    let of = |subjects: Value| json!({"spec": {"subjects": subjects}});
    until_may(installation, &all(true)).await;
    patch(installation, "clusterroletemplatebinding", "auditors", of(json!([user("zoe")]))).await;
    until_may(installation, &all(false)).await;
    let name = "drover:reader";
    for cluster in ["eu", "us"] {
        let found = downstream(installation, cluster, "clusterrolebinding", "", name).await.unwrap().unwrap();
        assert_eq!(found["subjects"].as_array().unwrap().len(), 1, "{found}");
    }
    let account = json!({"kind": "ServiceAccount", "name": "ci", "namespace": "tools"});
    let both = json!([{"kind": "Group", "name": "auditors"}, account]);
    patch(installation, "clusterroletemplatebinding", "auditors", of(both)).await;
    until_may(installation, &all(true)).await;
}

/// Whoever left a group has its rights until his token ends, and not a moment longer.
async fn t19_groups_are_those_of_the_request_and_nobody_remembers_them(installation: &Installation) {
    let eu = installation.cluster("eu").unwrap();
    let lists = async |groups: &[&str]| {
        let services = kube::Api::<Service>::all(eu.client_for("gina", groups).await.unwrap());
        services.list(&ListParams::default()).await.is_ok()
    };
    assert!(lists(&["auditors"]).await && !lists(&["auditors:former"]).await && !lists(&[]).await);
    let found = downstream(installation, "eu", "clusterrolebinding", "", "drover:reader").await.unwrap().unwrap();
    assert!(!found.to_string().contains("gina"), "{found}");
}

/// Whether drover sees it happen or not.
async fn t13_what_grants_goes_with_the_role_the_binding_and_the_cluster(installation: &mut Installation) {
    const WAYS: [&str; 3] = ["by-role", "by-binding", "by-label"];
    let people = WAYS.map(|name| format!("oidc:{name}"));
    let all = |allowed: bool| people.each_ref().map(|person| ("us", person.as_str(), "events", allowed));
    let label = |value: &str| json!({"metadata": {"labels": {"env": value}}});
    for drover_sees_it in [true, false] {
        for name in WAYS {
            installation.apply(&a_template(name, &["events"], &[])).await.unwrap();
            let by_label = json!({"selector": {"matchLabels": {"env": "test"}}});
            let clusters = if name == "by-label" { by_label } else { json!({"names": ["us"]}) };
            installation.apply(&a_binding(name, name, &clusters, &json!([user(name)]))).await.unwrap();
        }
        until_may(installation, &all(true)).await;
        t14_nothing_that_grants_lives_by_an_owner(installation).await;
        if !drover_sees_it {
            installation.stop_drover(End::Terminate).await.unwrap();
        }
        delete(installation, "roletemplate", "by-role").await;
        delete(installation, "clusterroletemplatebinding", "by-binding").await;
        patch(installation, "cluster", "us", label("prod")).await;
        if !drover_sees_it {
            installation.start_drover().await.unwrap();
        }
        until_may(installation, &all(false)).await;
        for (kind, name) in ["clusterrole", "clusterrolebinding"].iter().flat_map(|kind| WAYS.map(|name| (*kind, name)))
        {
            let name = format!("drover:{name}");
            downstream_becomes(installation, "us", kind, "", &name, "nothing stays", |found| found.is_none()).await;
        }
        patch(installation, "cluster", "us", label("test")).await;
    }
    for kind in ["roletemplates.drover.dev", "clusterroletemplatebindings.drover.dev"] {
        installation.kubectl(&[&["delete", "--ignore-not-found", kind], &WAYS[..]].concat()).unwrap();
    }
}

/// An owner that is deleted as an orphan keeps alive what it owned.
async fn t14_nothing_that_grants_lives_by_an_owner(installation: &Installation) {
    let all = owned(installation.cluster("us").unwrap()).await.unwrap();
    let grants: Vec<_> = all.iter().filter(|object| object["kind"].as_str().unwrap().contains("Role")).collect();
    assert!(!grants.is_empty());
    for object in grants {
        assert!(object["metadata"].get("ownerReferences").is_none(), "{object}");
    }
}

async fn what_is_changed_there_is_restored(installation: &Installation) {
    let eu = installation.cluster("eu").unwrap();
    let wider = json!({"rules": [{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}]});
    patch_on(eu, "clusterrole", "", "drover:watcher", wider).await.unwrap();
    let mallory = json!([{"op": "add", "path": "/subjects/-", "value":
        {"kind": "User", "name": "mallory", "apiGroup": "rbac.authorization.k8s.io"}}]);
    patch_on(eu, "clusterrolebinding", "", "drover:watcher", mallory).await.unwrap();
    until_may(installation, &[("eu", "ada", "secrets", false), ("eu", "mallory", "nodes", false)]).await;
    delete_from(eu, "clusterrolebinding", "", "drover:watcher").await.unwrap();
    until_may(installation, &[("eu", "ada", "nodes", true)]).await;
}

/// Expiry, a person removed, a binding deleted, a template deleted: nothing stays.
async fn rights_go(installation: &Installation) {
    patch(installation, "clusterroletemplatebinding", "watchers", json!({"spec": {"subjects": [user("bob")]}})).await;
    until_may(installation, &[("eu", "ada", "nodes", false), ("eu", "bob", "nodes", true)]).await;
    let soon = k8s_openapi::jiff::Timestamp::now() + k8s_openapi::jiff::SignedDuration::from_secs(2);
    let end = json!({"spec": {"expiresAt": soon.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()}});
    patch(installation, "clusterroletemplatebinding", "test", end).await;
    until_may(installation, &[("us", "oidc:eve", "nodes", false)]).await;
    reads(installation, "clusterroletemplatebinding", "test", "Ready", "True/Expired").await;
    deleted(installation, "clusterroletemplatebinding", "watchers").await;
    until_may(installation, &[("eu", "bob", "nodes", false)]).await;
    // Its rights go with the request to delete it, though something else, such as a foreground deletion, holds the object.
    patch(installation, "roletemplate", "reader", json!({"metadata": {"finalizers": ["example.com/hold"]}})).await;
    installation.kubectl(&["delete", "roletemplate.drover.dev", "reader", "--wait=false"]).unwrap();
    until_may(installation, &[("eu", "@auditors", "services", false), ("us", "@oidc:auditors", "services", false)])
        .await;
    patch(installation, "roletemplate", "reader", json!({"metadata": {"finalizers": null}})).await;
    for cluster in ["eu", "us"] {
        for kind in ["clusterrole", "clusterrolebinding"] {
            for name in ["drover:reader", "drover:watcher"] {
                downstream_becomes(installation, cluster, kind, "", name, "nothing stays", |found| found.is_none())
                    .await;
            }
        }
    }
    reads(installation, "clusterroletemplatebinding", "auditors", "Ready", "False/RoleTemplateNotFound").await;
    quiet(installation, "all is withdrawn").await;
}
