//! How clusters and Projects go: what stays, what goes, and that nothing waits for ever. On real API servers; the whole
//! matrix is a table test on models.

use drover_e2e::charts::ChartFiles;
use drover_e2e::control_plane::Component;
use drover_e2e::installation::{Installation, example, kubectl_on};
use drover_e2e::objects::{apply_to, delete_from};
use drover_e2e::releases::left_in;
use drover_e2e::story::*;
use drover_e2e::wait::{eventually, soon};
use drover_e2e::{Program, require_or_skip};
use serde_json::{Value, json};

drover_e2e::tests![
    stories:
    a_cluster_that_goes_leaves_everything_as_it_is_and_comes_back_as_it_was
        => unkillable("it counts the connections of the process that it started"),
    a_cluster_that_goes_with_delete_loses_what_is_drovers_and_keeps_the_namespaces,
    a_cluster_that_goes_with_delete_has_its_apps_uninstalled_first_and_waits_for_them_until_its_deadline,
    a_cluster_that_goes_with_delete_keeps_what_another_installation_imported,
    a_cluster_that_is_away_is_let_go_at_its_deadline_and_a_project_waits_no_longer
        => unkillable("the proxy that kills answers for an API server that is stopped"),
    a_cluster_that_goes_with_delete_frees_the_namespaces_of_a_project_that_is_no_more,
    a_cluster_that_returns_before_its_deadline_is_given_back_as_its_policy_says
        => unkillable("the proxy that kills answers for an API server that is stopped"),
    a_project_waits_for_no_cluster_longer_than_it_says_and_releases_later_what_stays
        => unkillable("the proxy that kills answers for an API server that is stopped"),
    a_project_and_its_cluster_that_go_together_with_delete_leave_nothing,
    a_suspended_cluster_is_not_written_to_and_its_deletion_waits,
    a_folder_renamed_in_git_and_a_label_typo_delete_nothing,
    a_project_is_renamed_and_a_namespace_moves_within_a_tenant,
];

const OWNER: &str = "/metadata/labels/drover.dev~1owner-name";

async fn running_shop(test: &str) -> Option<Installation> {
    let installation = story(test, &["eu"]).await?;
    with_shop(&installation).await;
    Some(installation)
}

async fn change(installation: &Installation, spec: &Value) {
    let mut eu = a_cluster("eu");
    eu["spec"].as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
    installation.apply(&eu).await.unwrap();
}

async fn has_claim(installation: &Installation) -> bool {
    claim(installation, "eu").await.is_some()
}

async fn web(installation: &Installation) -> Value {
    downstream_namespace(installation, "eu", "team-web").await.unwrap().unwrap()
}

/// How many connections drover has to the cluster.
fn connections(installation: &mut Installation) -> usize {
    let port = format!(":{:04X}", installation.cluster("eu").unwrap().port());
    let pid = installation.replica(0).unwrap().pid();
    let table = std::fs::read_to_string(format!("/proc/{pid}/net/tcp")).unwrap();
    // The third column is the other side, the tenth the inode.
    let to_port = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let to_port =
        to_port.filter(|columns| columns[2].ends_with(&port)).map(|columns| format!("socket:[{}]", columns[9]));
    let to_port: Vec<_> = to_port.collect();
    let open = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
    let open = open.filter_map(|file| std::fs::read_link(file.ok()?.path()).ok());
    open.filter(|target| to_port.iter().any(|socket| target.as_os_str() == socket.as_str())).count()
}

/// Nobody can change this namespace of the cluster any more.
async fn lock(installation: &Installation, name: &str) {
    let eu = installation.cluster("eu").unwrap();
    let api = "admissionregistration.k8s.io/v1";
    let policy = json!({
        "apiVersion": api, "kind": "ValidatingAdmissionPolicy", "metadata": {"name": "locked"},
        "spec": {
            "matchConstraints": {"resourceRules": [{
                "apiGroups": [""], "apiVersions": ["v1"], "operations": ["UPDATE"], "resources": ["namespaces"],
            }]},
            "validations": [{"expression": format!("object.metadata.name != '{name}'")}],
        },
    });
    let binding = json!({
        "apiVersion": api, "kind": "ValidatingAdmissionPolicyBinding", "metadata": {"name": "locked"},
        "spec": {"policyName": "locked", "validationActions": ["Deny"]},
    });
    for object in [policy, binding] {
        apply_to(eu, &object).await.unwrap();
    }
    eventually("the namespace is locked", soon(), async || {
        Ok(kubectl_on(eu, &["annotate", "namespace", name, "--overwrite", "try=again"]).is_err().then_some(()))
    })
    .await
    .unwrap();
}

async fn a_cluster_that_goes_leaves_everything_as_it_is_and_comes_back_as_it_was() {
    let Some(mut installation) = restful_story("a cluster goes", &["eu"]).await else { return };
    ready_with(&installation, &a_project("shop", &["team-web"])).await;
    let before = web(&installation).await;
    assert!(connections(&mut installation) > 0);
    deleted(&installation, "cluster", "eu").await;
    assert!(!has_claim(&installation).await, "the claim is released");
    assert_eq!(web(&installation).await, before);
    reads(&installation, "project", "shop", "Ready", "False/NoTargets").await;
    eventually("nothing of Drover is connected any more", soon(), async || {
        Ok((connections(&mut installation) == 0).then_some(()))
    })
    .await
    .unwrap();
    let gone = marks(&installation).unwrap();
    tokio::time::sleep(two_periods()).await;
    let requests = requests_since(&installation, &gone).unwrap();
    let there: Vec<_> = requests.iter().filter(|(plane, _)| plane == "eu").collect();
    assert!(there.is_empty(), "nobody is asked any more: {there:?}");
    // Nobody waits for it any more, not even the deletion of what it holds.
    change(&installation, &json!({})).await;
    converged(&installation, "shop").await;
    assert_eq!(web(&installation).await["metadata"]["uid"], before["metadata"]["uid"]);
    assert!(has_claim(&installation).await);
}

async fn a_cluster_that_goes_with_delete_loses_what_is_drovers_and_keeps_the_namespaces() {
    let Some(installation) = running_shop("a cluster goes with Delete").await else { return };
    change(&installation, &json!({"deletionPolicy": "Delete"})).await;
    // As a `helm uninstall` of both does it most of the time: the Secret goes first.
    delete_from(&installation.management, "secret", "drover-system", "eu").await.unwrap();
    reads(&installation, "cluster", "eu", "Ready", "False/SecretMissing").await;
    assert!(has_claim(&installation).await);
    deleted(&installation, "cluster", "eu").await;
    assert!(!has_claim(&installation).await);
    let kept = web(&installation).await;
    assert_eq!(kept.pointer(OWNER), None, "{kept}");
    namespace_becomes(&installation, "eu", "drover-system", "Drover's own namespace is gone", |found| found.is_none())
        .await;
    reads(&installation, "project", "shop", "Ready", "False/NoTargets").await;
    // The credential lost its rights with the namespace, so they come back with the Cluster.
    installation.store_kubeconfig("eu").await.unwrap();
    change(&installation, &json!({})).await;
    converged(&installation, "shop").await;
    // One that was never reached has nothing to wait for.
    installation.apply(&a_cluster("nowhere")).await.unwrap();
    reads(&installation, "cluster", "nowhere", "Ready", "False/SecretMissing").await;
    deleted(&installation, "cluster", "nowhere").await;
}

async fn a_cluster_that_goes_with_delete_has_its_apps_uninstalled_first_and_waits_for_them_until_its_deadline() {
    let test = "a cluster goes with its apps";
    if !require_or_skip(test, &[Program::Helm]).await.unwrap() {
        return;
    }
    let Some(installation) = running_shop(test).await else { return };
    let chart = ChartFiles::of("tiny").unwrap();
    installation.apply(&a_deployer()).await.unwrap();
    installation.apply(&a_packaged_chart("tiny", &chart)).await.unwrap();
    let app = an_app("web", "eu", ("tiny", &chart), &json!({"wait": {"strategy": "None"}}));
    ready_with(&installation, &app).await;
    change(&installation, &json!({"deletionPolicy": "Delete"})).await;
    hold(&installation, json!(["example.org/hold"])).await;
    delete(&installation, "cluster", "eu").await;
    let what = "the release is being uninstalled";
    downstream_becomes(&installation, "eu", "configmap", "team-web", "web", what, |found| {
        found.is_some_and(|found| found.pointer("/metadata/deletionTimestamp").is_some())
    })
    .await;
    object_becomes(&installation, "cluster", "eu", "it waits for the app", |eu| {
        let status = eu.map(Value::to_string).unwrap_or_default();
        status.contains("WaitingForOwners") && status.contains("still has 1 app that Drover uninstalls")
    })
    .await;
    assert!(has_role(&installation).await, "the app is uninstalled by its role");
    assert_eq!(web(&installation).await.pointer(OWNER), Some(&json!("shop")), "and in a namespace that is guarded");
    hold(&installation, json!([])).await;
    becomes_gone(&installation, "cluster", "eu").await;
    let eu = installation.cluster("eu").unwrap();
    assert_eq!(left_in(eu, "team-web").await.unwrap(), [].into(), "nothing of the release is left");
    assert!(!has_claim(&installation).await && !has_role(&installation).await);
    assert_eq!(web(&installation).await.pointer(OWNER), None);
    namespace_becomes(&installation, "eu", "drover-system", "Drover's own namespace is gone", |found| found.is_none())
        .await;
    // Once more, and what is held is never let go.
    installation.store_kubeconfig("eu").await.unwrap();
    change(&installation, &json!({"deletionPolicy": "Delete", "deletionTimeout": "10s"})).await;
    converged(&installation, "shop").await;
    let what = "it is released again";
    downstream_becomes(&installation, "eu", "configmap", "team-web", "web", what, |found| found.is_some()).await;
    becomes_ready(&installation, &app).await;
    hold(&installation, json!(["example.org/hold"])).await;
    deleted(&installation, "cluster", "eu").await;
    assert!(!has_claim(&installation).await);
    let kept = downstream(&installation, "eu", "configmap", "team-web", "web").await.unwrap();
    assert!(kept.is_some(), "what the deadline did not wait for stays");
    hold(&installation, json!([])).await;
}

/// Another client holds what the release made with these finalizers.
async fn hold(installation: &Installation, finalizers: Value) {
    let change = json!({"metadata": {"finalizers": finalizers}});
    patch_downstream(installation, "eu", "configmap", "team-web", "web", change).await;
}

async fn has_role(installation: &Installation) -> bool {
    downstream(installation, "eu", "clusterrole", "", "drover:deployer").await.unwrap().is_some()
}

async fn a_cluster_that_goes_with_delete_keeps_what_another_installation_imported() {
    let Some(installation) = running_shop("another installation imported the cluster").await else { return };
    let eu = installation.cluster("eu").unwrap();
    let account = ["serviceaccount", "drover-other", "--namespace=drover-system"];
    kubectl_on(eu, &[&["create"], &account[..]].concat()).unwrap();
    let label = "app.kubernetes.io/managed-by=drover-import";
    kubectl_on(eu, &[&["label"], &account[..], &[label]].concat()).unwrap();
    change(&installation, &json!({"deletionPolicy": "Delete"})).await;
    deleted(&installation, "cluster", "eu").await;
    assert_eq!(claim(&installation, "eu").await, None, "it is the other one's to claim");
    kubectl_on(eu, &[&["get"], &account[..]].concat()).unwrap();
    let namespace = downstream_namespace(&installation, "eu", "drover-system").await.unwrap().unwrap();
    assert_eq!(namespace.pointer("/metadata/deletionTimestamp"), None);
}

async fn a_cluster_that_is_away_is_let_go_at_its_deadline_and_a_project_waits_no_longer() {
    let Some(mut installation) = running_shop("a cluster that is away goes").await else { return };
    change(&installation, &json!({"deletionPolicy": "Delete", "deletionTimeout": "20s"})).await;
    installation.cluster_mut("eu").unwrap().stop(Component::Apiserver).await.unwrap();
    reads(&installation, "cluster", "eu", "Connected", "False/DialFailed").await;
    delete(&installation, "cluster", "eu").await;
    delete(&installation, "project", "shop").await;
    reads(&installation, "cluster", "eu", "Deleting", "True/WaitingForCluster").await;
    becomes_gone(&installation, "cluster", "eu").await;
    becomes_gone(&installation, "project", "shop").await;
    let events = installation.kubectl(&["get", "events", "--all-namespaces"]).unwrap();
    assert!(events.contains("Abandoned"), "{events}");

    // It returns with the labels of a Project that is no more: nobody's, and others may take it over by consent.
    installation.cluster_mut("eu").unwrap().start_again(Component::Apiserver).await.unwrap();
    assert_eq!(web(&installation).await.pointer(OWNER), Some(&json!("shop")));
    let mut store = a_project("store", &["team-web"]);
    change(&installation, &json!({})).await;
    installation.apply(&store).await.unwrap();
    reads(&installation, "project", "store", "Ready", "False/NamespaceExists").await;
    let mut open = a_cluster("eu");
    open["spec"]["tenants"][0]["adopt"] = "Allowed".into();
    installation.apply(&open).await.unwrap();
    store["spec"]["namespaces"][0]["onExisting"] = "Adopt".into();
    ready_with(&installation, &store).await;
    assert_eq!(web(&installation).await.pointer(OWNER), Some(&json!("store")));
}

async fn a_cluster_that_goes_with_delete_frees_the_namespaces_of_a_project_that_is_no_more() {
    let Some(installation) = story("a Project that is no more", &["eu"]).await else { return };
    ready_with(&installation, &a_project("shop", &["team-locked", "team-web"])).await;
    // As a management cluster that was rebuilt without the Project would have it.
    change(&installation, &json!({"suspend": true})).await;
    reads(&installation, "cluster", "eu", "Ready", "True/Suspended").await;
    delete(&installation, "project", "shop").await;
    let unfinished = json!([{"op": "remove", "path": "/metadata/finalizers"}]);
    patch(&installation, "project", "shop", unfinished).await;
    // Before the pauses between two attempts grow longer than what is waited for.
    change(&installation, &json!({"deletionPolicy": "Delete", "deletionTimeout": "8s"})).await;
    reads(&installation, "cluster", "eu", "Ready", "True/Connected").await;
    let before = web(&installation).await;
    assert_eq!(before.pointer(OWNER), Some(&json!("shop")));
    lock(&installation, "team-locked").await;

    deleted(&installation, "cluster", "eu").await;
    let locked = downstream_namespace(&installation, "eu", "team-locked").await.unwrap().unwrap();
    assert_eq!(locked.pointer(OWNER), Some(&json!("shop")), "what refuses stays as it is, and holds up nothing");
    let after = web(&installation).await;
    assert_eq!((after.pointer(OWNER), &after["metadata"]["uid"]), (None, &before["metadata"]["uid"]), "{after:#}");
    assert!(!has_claim(&installation).await);
}

async fn a_cluster_that_returns_before_its_deadline_is_given_back_as_its_policy_says() {
    let Some(mut installation) = running_shop("a cluster that returns goes").await else { return };
    change(&installation, &json!({"deletionPolicy": "Delete", "deletionTimeout": "10m"})).await;
    installation.cluster_mut("eu").unwrap().stop(Component::Apiserver).await.unwrap();
    reads(&installation, "cluster", "eu", "Connected", "False/DialFailed").await;
    delete(&installation, "cluster", "eu").await;
    reads(&installation, "cluster", "eu", "Deleting", "True/WaitingForCluster").await;
    installation.cluster_mut("eu").unwrap().start_again(Component::Apiserver).await.unwrap();
    becomes_gone(&installation, "cluster", "eu").await;
    assert_eq!(web(&installation).await.pointer(OWNER), None);
    assert!(!has_claim(&installation).await);
}

async fn a_project_waits_for_no_cluster_longer_than_it_says_and_releases_later_what_stays() {
    let Some(mut installation) = running_shop("a project that waits").await else { return };
    let mut shop = a_project("shop", &["team-web"]);
    (shop["spec"]["deletionPolicy"], shop["spec"]["deletionTimeout"]) = ("Delete".into(), "3s".into());
    ready_with(&installation, &shop).await;
    installation.cluster_mut("eu").unwrap().stop(Component::Apiserver).await.unwrap();
    reads(&installation, "cluster", "eu", "Connected", "False/DialFailed").await;
    deleted(&installation, "project", "shop").await;
    eventually("an event names what stays", soon(), async || {
        let told = installation.kubectl(&["get", "events", "--namespace=team", "--output=jsonpath={.items[*]}"])?;
        Ok((told.contains("DeletionTimedOut") && told.contains("what Drover has on cluster eu stays")).then_some(()))
    })
    .await
    .unwrap();
    installation.cluster_mut("eu").unwrap().start_again(Component::Apiserver).await.unwrap();
    namespace_becomes(&installation, "eu", "team-web", "it is released and stays", |found| {
        found.is_some_and(|found| found.pointer(OWNER).is_none() && found["metadata"]["deletionTimestamp"].is_null())
    })
    .await;
}

async fn a_project_and_its_cluster_that_go_together_with_delete_leave_nothing() {
    let Some(installation) = story("both go", &["eu"]).await else { return };
    let mut shop = a_project("shop", &["team-web"]);
    shop["spec"]["deletionPolicy"] = "Delete".into();
    installation.apply(&shop).await.unwrap();
    change(&installation, &json!({"deletionPolicy": "Delete"})).await;
    converged(&installation, "shop").await;
    delete(&installation, "project", "shop").await;
    delete(&installation, "cluster", "eu").await;
    becomes_gone(&installation, "project", "shop").await;
    becomes_gone(&installation, "cluster", "eu").await;
    for name in ["team-web", "drover-system"] {
        namespace_becomes(&installation, "eu", name, "it is gone", |found| found.is_none()).await;
    }
}

async fn a_suspended_cluster_is_not_written_to_and_its_deletion_waits() {
    let Some(installation) = running_shop("a suspended cluster").await else { return };
    change(&installation, &json!({"suspend": true})).await;
    reads(&installation, "cluster", "eu", "Ready", "True/Suspended").await;
    let before = marks(&installation).unwrap();
    installation.apply(&a_project("shop", &["team-web", "team-new"])).await.unwrap();
    reads(&installation, "project", "shop", "Ready", "False/ClusterSuspended").await;
    delete(&installation, "cluster", "eu").await;
    reads(&installation, "cluster", "eu", "Deleting", "True/Suspended").await;
    let downstream: Vec<_> =
        writes_since(&installation, &before).unwrap().into_iter().filter(|write| write.starts_with("eu:")).collect();
    assert_eq!(downstream, Vec::<String>::new());
    patch(&installation, "cluster", "eu", json!({"spec": {"suspend": false}})).await;
    becomes_gone(&installation, "cluster", "eu").await;
    assert!(!has_claim(&installation).await);
}

async fn a_folder_renamed_in_git_and_a_label_typo_delete_nothing() {
    let Some(installation) = running_shop("a folder renamed").await else { return };
    let uid = web(&installation).await["metadata"]["uid"].clone();
    installation.kubectl(&["label", "cluster", "eu", "env=prd", "--overwrite"]).unwrap();
    reads(&installation, "project", "shop", "Ready", "False/NoTargets").await;
    assert!(web(&installation).await.pointer(OWNER).is_some(), "leaving a cluster writes nothing there");
    installation.kubectl(&["label", "cluster", "eu", "env=prod", "--overwrite"]).unwrap();
    converged(&installation, "shop").await;

    delete(&installation, "cluster", "eu").await;
    delete(&installation, "project", "shop").await;
    becomes_gone(&installation, "cluster", "eu").await;
    becomes_gone(&installation, "project", "shop").await;
    installation.apply(&a_project("shop", &["team-web"])).await.unwrap();
    change(&installation, &json!({})).await;
    converged(&installation, "shop").await;
    assert_eq!(web(&installation).await["metadata"]["uid"], uid);
}

async fn a_project_is_renamed_and_a_namespace_moves_within_a_tenant() {
    let Some(installation) = restful_story("a rename", &["eu"]).await else { return };
    let mut eu = a_cluster("eu");
    eu["spec"]["tenants"] = json!([
        {"name": "team-a", "from": {"names": ["team-a"]}, "namespacePatterns": ["team-a-*"]},
    ]);
    installation.apply(&eu).await.unwrap();
    installation.apply_text(&example("rename/before.yaml").unwrap()).await.unwrap();
    converged(&installation, "team-a/shop").await;
    let uid =
        downstream_namespace(&installation, "eu", "team-a-web").await.unwrap().unwrap()["metadata"]["uid"].clone();
    // The new one waits for what the old one holds, as whoever applied both in one commit does; it takes over once the old one is gone.
    installation.apply_text(&example("rename/after.yaml").unwrap()).await.unwrap();
    reads(&installation, "project", "team-a/store", "Reconciling", "True/WaitingForRelease").await;
    deleted(&installation, "project", "team-a/shop").await;
    namespace_becomes(&installation, "eu", "team-a-web", "the new Project took it over", |found| {
        found.is_some_and(|found| found.pointer(OWNER) == Some(&json!("store")) && found["metadata"]["uid"] == uid)
    })
    .await;
    converged(&installation, "team-a/store").await;

    installation.apply_text(&example("move/before.yaml").unwrap()).await.unwrap();
    converged(&installation, "team-a/counter").await;
    installation.apply_text(&example("move/after.yaml").unwrap()).await.unwrap();
    let is_moved = |found: Option<&Value>| found.is_some_and(|quota| quota["spec"]["hard"]["pods"] == "20");
    downstream_becomes(&installation, "eu", "resourcequota", "team-a-stock", "drover", "it moved", is_moved).await;
    converged(&installation, "team-a/counter").await;
    converged(&installation, "team-a/storage").await;
}
