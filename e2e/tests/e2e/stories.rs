//! What people do with clusters and projects, on real API servers.

use std::time::Duration;

use drover_crds::names::ANNOTATION_CREATED;
use drover_e2e::control_plane::Component;
use drover_e2e::installation::{DROVER_USER, End, kubectl_on};
use drover_e2e::objects::{apply_to, patch_on};
use drover_e2e::story::*;
use serde_json::json;

drover_e2e::tests![
    stories:
    a_cluster_joins_a_project_converges_and_then_it_is_quiet,
    what_somebody_changes_downstream_is_restored_and_what_is_theirs_is_left_alone,
    deleting_a_project_keeps_its_namespaces_unless_asked_and_the_same_yaml_takes_them_up_again,
    what_two_projects_want_goes_to_the_older_one_even_if_the_younger_is_first_at_work,
    a_project_moves_to_another_cluster_and_back_and_nothing_is_deleted,
    files_may_come_in_any_order_and_the_status_says_what_is_missing,
    a_bad_kubeconfig_is_refused_nothing_of_it_is_run_and_a_good_secret_heals_it
        => unkillable("it reaches the cluster in ways of its own"),
    a_field_that_somebody_keeps_changing_back_is_reported_and_left_alone
        => unkillable("drover counts reverts in memory, so a restart begins to count again"),
    the_management_cluster_itself_may_be_a_cluster_of_the_fleet,
    a_namespace_in_conflict_is_named_and_holds_up_no_other,
];

async fn a_cluster_joins_a_project_converges_and_then_it_is_quiet() {
    let Some(mut installation) = restful_story("a cluster joins", &["eu", "us"]).await else { return };
    let before = marks(&installation).unwrap();
    with_shop(&installation).await;
    assert!(writes_since(&installation, &before).unwrap().len() >= 8, "the count of writes sees none");
    for cluster in ["eu", "us"] {
        for namespace in NAMESPACES {
            let found = downstream_namespace(&installation, cluster, namespace).await.unwrap().unwrap();
            assert_eq!(found["metadata"]["labels"]["drover.dev/owner-name"], "shop", "{found}");
        }
        reads(&installation, "cluster", cluster, "Ready", "True/Connected").await;
    }
    let shown = installation.kubectl(&["get", "drover", "--all-namespaces"]).unwrap();
    assert!(shown.contains("2/2") && shown.contains("4/4"), "{shown}");

    // Quiet at rest, whether it ran on, was restarted, was killed, or the same YAML was applied again.
    quiet(&installation, "everything converged").await;
    for how in [End::Terminate, End::Kill] {
        let before = marks(&installation).unwrap();
        restart_drover(&mut installation, how).await;
        installation.apply(&a_project("shop", &NAMESPACES)).await.unwrap();
        says(&mut installation, 0, "this process leads").await;
        for cluster in ["eu", "us"] {
            says(&mut installation, 0, &format!("connected cluster={cluster}")).await;
        }
        unmoved_since(&installation, &before, &format!("a restart by {how:?}")).await;
        converged(&installation, "shop").await;
    }
}

async fn what_somebody_changes_downstream_is_restored_and_what_is_theirs_is_left_alone() {
    let Some(installation) = story("drift", &["eu"]).await else { return };
    let eu = installation.cluster("eu").unwrap();
    let mut theirs = a_namespace("team-theirs");
    theirs["metadata"]["labels"] = json!({"a": "b", "app.kubernetes.io/managed-by": "Helm"});
    apply_to(eu, &theirs).await.unwrap();
    let theirs = downstream_namespace(&installation, "eu", "team-theirs").await.unwrap();

    let mut shop = a_project("shop", &["team-web", "team-theirs"]);
    shop["spec"]["namespaceMetadata"] = json!({"labels": {"tier": "gold"}});
    installation.apply(&shop).await.unwrap();
    reads(&installation, "project", "shop", "Ready", "False/NamespaceExists").await;
    assert_eq!(
        downstream_namespace(&installation, "eu", "team-theirs").await.unwrap(),
        theirs,
        "somebody else's object"
    );

    kubectl_on(eu, &["label", "namespace", "team-web", "tier=lead", "extra=mine", "--overwrite"]).unwrap();
    namespace_becomes(&installation, "eu", "team-web", "the label is restored, the other one kept", |namespace| {
        namespace
            .is_some_and(|it| it["metadata"]["labels"]["tier"] == "gold" && it["metadata"]["labels"]["extra"] == "mine")
    })
    .await;
    let old = downstream_namespace(&installation, "eu", "team-web").await.unwrap().unwrap()["metadata"]["uid"].clone();
    remove_namespace(eu, "team-web").await.unwrap();
    namespace_becomes(&installation, "eu", "team-web", "the namespace is created again", |namespace| {
        namespace.is_some_and(|it| it["metadata"]["uid"] != old && it["metadata"]["labels"]["tier"] == "gold")
    })
    .await;
    // As `kubectl replace` of a bare Namespace does.
    let wipe =
        ["labels", "annotations"].map(|of| json!({"op": "replace", "path": format!("/metadata/{of}"), "value": {}}));
    patch_on(eu, "namespace", "", "team-web", json!(wipe)).await.unwrap();
    namespace_becomes(&installation, "eu", "team-web", "the wiped record is healed", |namespace| {
        namespace.is_some_and(|it| {
            let (labels, annotations) = (&it["metadata"]["labels"], &it["metadata"]["annotations"]);
            labels["drover.dev/owner-name"] == "shop"
                && labels["tier"] == "gold"
                && annotations[ANNOTATION_CREATED].is_string()
        })
    })
    .await;

    // Consent of both sides: the Project asks, the cluster's owner allows.
    shop["spec"]["namespaces"][1]["onExisting"] = "Adopt".into();
    installation.apply(&shop).await.unwrap();
    reads(&installation, "project", "shop", "Reconciling", "True/AdoptionNotAllowed").await;
    let mut open = a_cluster("eu");
    open["spec"]["tenants"][0]["adopt"] = "Allowed".into();
    installation.apply(&open).await.unwrap();
    converged(&installation, "shop").await;
    let adopted = downstream_namespace(&installation, "eu", "team-theirs").await.unwrap().unwrap();
    assert_eq!(adopted["metadata"]["labels"]["a"], "b");
    assert_eq!(adopted["metadata"]["labels"]["app.kubernetes.io/managed-by"], "Helm");
    assert_eq!(adopted["metadata"]["labels"]["tier"], "gold");
}

async fn deleting_a_project_keeps_its_namespaces_unless_asked_and_the_same_yaml_takes_them_up_again() {
    let Some(installation) = story("deletion", &["eu"]).await else { return };
    let mut shop = a_project("shop", &["team-web"]);
    ready_with(&installation, &shop).await;

    deleted(&installation, "project", "shop").await;
    let kept = downstream_namespace(&installation, "eu", "team-web").await.unwrap().unwrap();
    assert_eq!(kept["metadata"]["labels"].get("drover.dev/owner-name"), None, "{kept}");

    // A folder renamed in Git: everything was deleted, everything comes back.
    ready_with(&installation, &shop).await;
    let same = downstream_namespace(&installation, "eu", "team-web").await.unwrap().unwrap();
    assert_eq!(same["metadata"]["uid"], kept["metadata"]["uid"]);

    // Another Project of the same name elsewhere has no claim on it.
    shop["spec"]["namespaces"] = json!([{"name": "team-new"}, {"name": "team-web"}]);
    shop["metadata"]["name"] = "rival".into();
    installation.apply(&shop).await.unwrap();
    reads(&installation, "project", "rival", "Ready", "False/NamespaceTaken").await;
    let message = problem(&installation, "project", "rival").await;
    assert!(message.contains("team/shop"), "{message}");

    patch(&installation, "project", "rival", json!({"spec": {"deletionPolicy": "Delete"}})).await;
    deleted(&installation, "project", "rival").await;
    assert_eq!(downstream_namespace(&installation, "eu", "team-new").await.unwrap(), None);
    assert!(downstream_namespace(&installation, "eu", "team-web").await.unwrap().is_some(), "it was never the rival's");
}

async fn what_two_projects_want_goes_to_the_older_one_even_if_the_younger_is_first_at_work() {
    let Some(installation) = story("two want the same", &["eu"]).await else { return };
    let mut elder = a_project("zebra", &["team-web"]);
    elder["spec"]["suspend"] = true.into();
    installation.apply(&elder).await.unwrap();
    // Dates of objects have no fractions of seconds, and by name the other one would be first.
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    installation.apply(&a_project("ant", &["team-web"])).await.unwrap();
    reads(&installation, "project", "ant", "Ready", "False/NamespaceTaken").await;
    let message = problem(&installation, "project", "ant").await;
    assert!(message.contains("to Project team/zebra, which is older"), "{message}");
    reads(&installation, "project", "zebra", "Ready", "True/Suspended").await;
    assert_eq!(downstream_namespace(&installation, "eu", "team-web").await.unwrap(), None);

    elder["spec"]["suspend"] = false.into();
    ready_with(&installation, &elder).await;
    // A change of its own makes it look again at once.
    let mut younger = a_project("ant", &["team-web"]);
    younger["spec"]["displayName"] = "Ant".into();
    installation.apply(&younger).await.unwrap();
    reads(&installation, "project", "ant", "Ready", "False/NamespaceTaken").await;
    let message = problem(&installation, "project", "ant").await;
    assert!(message.contains("held by Project team/zebra"), "{message}");
}

async fn a_project_moves_to_another_cluster_and_back_and_nothing_is_deleted() {
    let Some(installation) = story("a move", &["eu", "us"]).await else { return };
    let mut shop = a_project("shop", &["team-web"]);
    let mut homes = Vec::new();
    for home in ["eu", "us", "eu"] {
        shop["spec"]["clusters"] = json!({"names": [home]});
        ready_with(&installation, &shop).await;
        let status = get(&installation, "project", "shop").await.unwrap()["status"].take();
        assert_eq!(status["clusters"]["total"], 1, "{status:#}");
        homes.push(
            downstream_namespace(&installation, home, "team-web").await.unwrap().unwrap()["metadata"]["uid"].take(),
        );
    }
    assert_eq!(homes[0], homes[2], "what it left it takes up again");
    assert!(downstream_namespace(&installation, "us", "team-web").await.unwrap().is_some());
}

async fn files_may_come_in_any_order_and_the_status_says_what_is_missing() {
    let Some(mut installation) = prepared("any order", &["eu"]).await else { return };
    deleted(&installation, "cluster", "eu").await;
    deleted(&installation, "secret", "drover-system/eu").await;
    installation.start_drover().await.unwrap();
    let mut shop = a_project("shop", &["team-web"]);
    shop["spec"]["clusters"] = json!({"names": ["eu"]});
    installation.apply(&shop).await.unwrap();
    // Whoever waits for it must not give up: what is missing may still come.
    reads(&installation, "project", "shop", "Reconciling", "True/ClusterNotFound").await;
    installation.apply(&a_cluster("eu")).await.unwrap();
    reads(&installation, "cluster", "eu", "Reconciling", "True/SecretMissing").await;
    installation.store_kubeconfig("eu").await.unwrap();
    converged(&installation, "shop").await;

    // A cluster that loses its label, and one whose owner withdraws consent: nothing is deleted.
    let mut closed = a_cluster("eu");
    closed["spec"]["tenants"] = json!([]);
    installation.apply(&closed).await.unwrap();
    reads(&installation, "project", "shop", "Reconciling", "True/NotATenant").await;
    assert!(downstream_namespace(&installation, "eu", "team-web").await.unwrap().is_some());
    installation.apply(&a_cluster("eu")).await.unwrap();
    converged(&installation, "shop").await;
}

async fn a_bad_kubeconfig_is_refused_nothing_of_it_is_run_and_a_good_secret_heals_it() {
    let Some(mut installation) = prepared("kubeconfigs", &["eu"]).await else { return };
    let marker = installation.directory().join("was-run");
    let good = installation.cluster("eu").unwrap().kubeconfig();
    let plugin = format!(
        "    exec: {{apiVersion: client.authentication.k8s.io/v1, command: touch, args: ['{}']}}",
        marker.display()
    );
    let is_credential = |line: &str| line.trim_start().starts_with("client-certificate-data");
    let exec = good.lines().map(|line| if is_credential(line) { plugin.as_str() } else { line });
    let exec = exec.collect::<Vec<_>>().join("\n");
    installation.store_secret("eu", &exec).await.unwrap();
    installation.start_drover().await.unwrap();
    reads(&installation, "cluster", "eu", "Ready", "False/UnsafeKubeconfig").await;
    installation.store_secret("eu", "}{ not a kubeconfig").await.unwrap();
    reads(&installation, "cluster", "eu", "Ready", "False/InvalidKubeconfig").await;
    installation.store_kubeconfig("eu").await.unwrap();
    reads(&installation, "cluster", "eu", "Ready", "True/Connected").await;

    // A bad new credential does not cost the working connection.
    installation.store_secret("eu", &exec).await.unwrap();
    reads(&installation, "cluster", "eu", "CredentialValid", "False/NewCredentialRejected").await;
    reads(&installation, "cluster", "eu", "Ready", "True/Connected").await;
    installation.store_kubeconfig("eu").await.unwrap();
    reads(&installation, "cluster", "eu", "CredentialValid", "True/Accepted").await;
    // While it does not work anyway, what is wrong with the new credential is what people have to know.
    let of_drover = installation.cluster("eu").unwrap().kubeconfig_for(DROVER_USER, &[]).unwrap();
    installation.cluster_mut("eu").unwrap().stop(Component::Apiserver).await.unwrap();
    reads(&installation, "cluster", "eu", "Ready", "False/DialFailed").await;
    installation.store_secret("eu", &exec).await.unwrap();
    reads(&installation, "cluster", "eu", "Ready", "False/UnsafeKubeconfig").await;
    installation.store_secret("eu", &of_drover).await.unwrap();
    reads(&installation, "cluster", "eu", "Ready", "False/DialFailed").await;
    installation.cluster_mut("eu").unwrap().start_again(Component::Apiserver).await.unwrap();
    reads(&installation, "cluster", "eu", "Ready", "True/Connected").await;
    // A withdrawn one does.
    deleted(&installation, "secret", "drover-system/eu").await;
    reads(&installation, "cluster", "eu", "Ready", "False/SecretMissing").await;
    assert!(!marker.exists(), "the exec plugin was run");
}

async fn a_field_that_somebody_keeps_changing_back_is_reported_and_left_alone() {
    let Some(installation) = story("a drift_conflict field", &["eu"]).await else { return };
    let mut shop = a_project("shop", &["team-web", "team-db"]);
    shop["spec"]["namespaceMetadata"] = json!({"labels": {"tier": "gold"}});
    ready_with(&installation, &shop).await;
    let eu = installation.cluster("eu").unwrap();
    let restored = |namespace: Option<&serde_json::Value>| {
        namespace.is_some_and(|namespace| namespace["metadata"]["labels"]["tier"] == "gold")
    };
    for _ in 0..3 {
        kubectl_on(eu, &["label", "namespace", "team-web", "tier=lead", "--overwrite"]).unwrap();
        namespace_becomes(&installation, "eu", "team-web", "the label is restored", restored).await;
    }
    kubectl_on(eu, &["label", "namespace", "team-web", "tier=lead", "--overwrite"]).unwrap();
    reads(&installation, "project", "shop", "Ready", "False/DriftConflict").await;
    let message = problem(&installation, "project", "shop").await;
    assert!(message.contains("metadata.labels.tier"), "{message}");
    let left = downstream_namespace(&installation, "eu", "team-web").await.unwrap().unwrap();
    assert_eq!(left["metadata"]["labels"]["tier"], "lead");
    // A new wish is no fight.
    shop["spec"]["namespaceMetadata"] = json!({"labels": {"tier": "platinum"}});
    ready_with(&installation, &shop).await;
}

async fn the_management_cluster_itself_may_be_a_cluster_of_the_fleet() {
    let Some(installation) = story("local", &[]).await else { return };
    let mut local = a_cluster("local");
    local["spec"]["connection"] = json!({"local": {}});
    installation.apply(&local).await.unwrap();
    ready_with(&installation, &a_project("shop", &["team-web"])).await;
    let found =
        installation.kubectl(&["get", "namespace", "team-web", "--output=jsonpath={.metadata.labels}"]).unwrap();
    assert!(found.contains("drover.dev/owner-name"), "{found}");
    let told = get(&installation, "cluster", "local").await.unwrap()["status"].take();
    assert_eq!(told["certificates"][0]["name"], "api-server", "{told:#}");
    assert!(told["certificates"][0]["notAfter"].is_string(), "{told:#}");
    assert_eq!(told["endpoint"], installation.management.endpoint(), "{told:#}");

    // It goes like any other, but Drover's own namespace stays.
    local["spec"]["deletionPolicy"] = "Delete".into();
    installation.apply(&local).await.unwrap();
    deleted(&installation, "cluster", "local").await;
    let found =
        installation.kubectl(&["get", "namespace", "team-web", "--output=jsonpath={.metadata.labels}"]).unwrap();
    assert!(!found.contains("drover.dev/owner-name"), "{found}");
    assert!(get(&installation, "configmap", "drover-system/drover-claim").await.is_err(), "the claim is released");
    assert_eq!(get(&installation, "namespace", "drover-system").await.unwrap()["status"]["phase"], "Active");
}

async fn a_namespace_in_conflict_is_named_and_holds_up_no_other() {
    let Some(installation) = story("a field conflict", &["eu"]).await else { return };
    let eu = installation.cluster("eu").unwrap();
    for (name, labels) in [("team-a", json!({"tier": "silver"})), ("team-b", json!({}))] {
        let mut theirs = a_namespace(name);
        theirs["metadata"]["labels"] = labels;
        apply_to(eu, &theirs).await.unwrap();
    }
    let mut open = a_cluster("eu");
    open["spec"]["tenants"][0]["adopt"] = "Allowed".into();
    installation.apply(&open).await.unwrap();
    let mut shop = a_project("shop", &["team-a", "team-b", "team-c"]);
    shop["spec"]["namespaceMetadata"] = json!({"labels": {"tier": "gold"}});
    for number in 0..2 {
        shop["spec"]["namespaces"][number]["onExisting"] = "Adopt".into();
    }
    installation.apply(&shop).await.unwrap();
    reads(&installation, "project", "shop", "Ready", "False/FieldConflict").await;
    let message = problem(&installation, "project", "shop").await;
    assert!(message.contains("tier") && message.contains("kubectl"), "{message}");
    for (name, tier) in [("team-a", "silver"), ("team-b", "gold"), ("team-c", "gold")] {
        namespace_becomes(&installation, "eu", name, "the tier is as expected", |namespace| {
            namespace.is_some_and(|namespace| namespace["metadata"]["labels"]["tier"] == tier)
        })
        .await;
    }
}
