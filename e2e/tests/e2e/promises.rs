//! What must stay true whatever else changes (the README's list of promises), on real API servers.

use drover_e2e::installation::{DROVER_USER, End, Installation};
use drover_e2e::story::*;
use drover_e2e::wait::{eventually, soon};
use serde_json::{Value, json};

drover_e2e::tests![
    stories:
    specs_belong_to_people_and_status_to_us,
    a_management_cluster_rebuilt_from_the_same_files_takes_up_where_the_old_one_stopped
        => unkillable("the management cluster that the proxy leads to is gone"),
    no_secret_shows_up_anywhere => unkillable("it makes its own kubeconfigs, which lead past the proxy"),
    access_needs_the_consent_of_the_clusters_owner_also_later,
];

/// What people own of an object: everything but the status and what the server keeps.
fn belongs_to_people(object: &Value) -> Value {
    let meta = &object["metadata"];
    json!([object["spec"], meta["labels"], meta["annotations"], meta["generation"], meta["ownerReferences"]])
}

async fn specs_belong_to_people_and_status_to_us() {
    let Some(mut installation) = prepared("specs belong to people", &["eu"]).await else { return };
    installation.apply(&a_project("shop", &["team-web"])).await.unwrap();
    let both = async |installation: &Installation| {
        (owned(installation, "cluster/eu").await, owned(installation, "project/shop").await)
    };
    let before = both(&installation).await;
    installation.start_drover().await.unwrap();
    converged(&installation, "shop").await;
    assert_eq!(both(&installation).await, before);

    for name in ["cluster/eu", "project/shop"] {
        let object = with_managers(&installation, name).await;
        for entry in object["metadata"]["managedFields"].as_array().unwrap() {
            let ours = entry["manager"].as_str().unwrap().starts_with("drover");
            if ours && entry["subresource"] != "status" {
                let only_finalizers =
                    json!({"f:metadata": {"f:finalizers": entry["fieldsV1"]["f:metadata"]["f:finalizers"]}});
                assert_eq!(entry["fieldsV1"], only_finalizers, "{name}");
            }
        }
    }
}

async fn owned(installation: &Installation, name: &str) -> Value {
    belongs_to_people(&with_managers(installation, name).await)
}

async fn with_managers(installation: &Installation, name: &str) -> Value {
    let arguments = ["get", name, "--namespace=team", "--output=json", "--show-managed-fields"];
    serde_json::from_str(&installation.kubectl(&arguments).unwrap()).unwrap()
}

async fn a_management_cluster_rebuilt_from_the_same_files_takes_up_where_the_old_one_stopped() {
    let Some(mut installation) = restful_story("a rebuilt management cluster", &["eu", "us"]).await else { return };
    with_shop(&installation).await;
    let both =
        async |installation: &Installation| (picture(installation, "eu").await, picture(installation, "us").await);
    let before = both(&installation).await;
    installation.stop_drover(End::Kill).await.unwrap();
    installation.rebuild_management().await.unwrap();

    let downstream: Vec<_> = installation.downstream.values().map(|plane| plane.audit_mark().unwrap()).collect();
    installation.start_drover().await.unwrap();
    installation.apply(&a_namespace(TEAM)).await.unwrap();
    installation.apply(&a_project("shop", &NAMESPACES)).await.unwrap();
    for cluster_name in ["eu", "us"] {
        installation.apply(&a_cluster(cluster_name)).await.unwrap();
        installation.store_kubeconfig(cluster_name).await.unwrap();
    }
    converged(&installation, "shop").await;
    eventually("both clusters are found again", soon(), async || {
        let shop = get(&installation, "project", "shop").await?;
        Ok((shop["status"]["clusters"]["summary"] == "2/2").then_some(()))
    })
    .await
    .unwrap();
    tokio::time::sleep(two_periods()).await;
    assert_eq!(both(&installation).await, before);
    for (plane, mark) in installation.downstream.values().zip(downstream) {
        assert_eq!(writes_by(DROVER_USER, plane, mark).unwrap(), Vec::<String>::new());
    }
    // The record of a former UID blocks nothing: what the old one created, the new one deletes when asked.
    let mut shop = a_project("shop", &NAMESPACES);
    shop["spec"]["deletionPolicy"] = "Delete".into();
    ready_with(&installation, &shop).await;
    deleted(&installation, "project", "shop").await;
    for (cluster, name) in ["eu", "us"].into_iter().zip(NAMESPACES) {
        assert_eq!(downstream_namespace(&installation, cluster, name).await.unwrap(), None, "{name} on {cluster}");
    }
}

async fn no_secret_shows_up_anywhere() {
    let Some(mut installation) = prepared_restful("secrets", &["eu"]).await else { return };
    let kubeconfig = installation.cluster("eu").unwrap().kubeconfig_for(DROVER_USER, &[]).unwrap();
    let is_key = |line: &&str| line.trim_start().starts_with("client-key-data:");
    let key = kubeconfig.lines().find(is_key).unwrap().split_once(": ").unwrap().1.trim().trim_matches('"').to_owned();
    assert!(key.len() > 100);
    // The same key in a kubeconfig that works, in one that is refused, and in one that is broken.
    installation.store_secret("eu", &kubeconfig).await.unwrap();
    let mut others = Vec::new();
    for (name, text) in [
        ("refused", kubeconfig.replace("client-key-data", "exec: {command: x}\n    client-key-data")),
        ("broken", kubeconfig.replace("apiVersion", "}{")),
        ("halved", kubeconfig.replace("client-certificate-data", "client-certificate-dat")),
    ] {
        installation.store_secret(name, &text).await.unwrap();
        installation.apply(&a_cluster(name)).await.unwrap();
        others.push(name);
    }
    installation.start_drover().await.unwrap();
    installation.apply(&a_project("shop", &["team-web"])).await.unwrap();
    reads(&installation, "cluster", "eu", "Ready", "True/Connected").await;
    for name in others {
        eventually("a verdict", soon(), async || {
            let found = condition(&get(&installation, "cluster", name).await?, "Ready");
            Ok(found.filter(|reading| reading.ends_with("Kubeconfig")))
        })
        .await
        .unwrap();
    }
    tokio::time::sleep(two_periods()).await;
    let log = std::fs::read_to_string(installation.replica(0).unwrap().log()).unwrap();
    let shown = installation.kubectl(&["get", "drover,events", "--all-namespaces", "--output=yaml"]).unwrap();
    assert!(log.len() > 100 && shown.len() > 1000);
    for (place, text) in [("the log", &log), ("status and events", &shown)] {
        assert!(!text.contains(&key) && !text.contains(&key[20..80]), "a private key in {place}");
    }
}

async fn access_needs_the_consent_of_the_clusters_owner_also_later() {
    let Some(installation) = story("consent", &["eu"]).await else { return };
    installation.apply(&a_namespace("stranger")).await.unwrap();
    let mut theirs = a_project("theirs", &["team-x"]);
    theirs["metadata"]["namespace"] = "stranger".into();
    installation.apply(&theirs).await.unwrap();
    let mut greedy = a_project("greedy", &["other-team"]);
    greedy["spec"]["clusters"] = json!({"names": ["eu"]});
    installation.apply(&greedy).await.unwrap();
    reads(&installation, "project", "greedy", "Ready", "False/NamespaceNotAllowed").await;
    reads(&installation, "project", "stranger/theirs", "Ready", "False/NoTargets").await;
    let told = get(&installation, "project", "stranger/theirs").await.unwrap();
    assert_eq!(told["status"]["clusters"]["withoutConsent"], 1, "{told:#}");
    for name in ["team-x", "other-team"] {
        assert_eq!(
            downstream_namespace(&installation, "eu", name).await.unwrap(),
            None,
            "{name} was created without consent"
        );
    }
}
