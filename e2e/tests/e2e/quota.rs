//! The quota of a Project, divided among its namespaces on a real API server.

use drover_e2e::installation::Installation;
use drover_e2e::objects::{delete_from, patch_on};
use drover_e2e::story::*;
use serde_json::{Value, json};

drover_e2e::tests![a_quota_is_divided_raised_lowered_and_handed_back,];

/// One resource name of every form that Kubernetes accepts.
const EVERY_FORM: [(&str, &str); 12] = [
    ("cpu", "4000m"),
    ("requests.memory", "0.5Gi"),
    ("limits.ephemeral-storage", "1e9"),
    ("hugepages-2Mi", "4Mi"),
    ("requests.hugepages-1Gi", "1Gi"),
    ("requests.nvidia.com/gpu", "2"),
    ("requests.storage", "100Gi"),
    ("gold.storageclass.storage.k8s.io/requests.storage", "10G"),
    ("gold.storageclass.storage.k8s.io/persistentvolumeclaims", "3"),
    ("services.loadbalancers", "0"),
    ("count/deployments.apps", "1000"),
    ("count/secrets", "5"),
];

async fn grant_becomes(installation: &Installation, namespace: &str, what: &str, pods: &str) {
    let is_so = |found: Option<&Value>| found.is_some_and(|it| it["spec"]["hard"]["pods"] == pods);
    downstream_becomes(installation, "eu", "resourcequota", namespace, "drover", what, is_so).await;
}

/// What the status tells of the quota on the only cluster: granted and left.
async fn told(installation: &Installation) -> (String, String) {
    let shop = get(installation, "project", "shop").await.unwrap();
    let row = &shop["status"]["quota"][0];
    assert_eq!(row["cluster"], "eu", "{}", shop["status"]);
    let of = |what: &str| row[what]["pods"].as_str().unwrap().to_owned();
    (of("allocated"), of("available"))
}

async fn a_quota_is_divided_raised_lowered_and_handed_back() {
    let Some(installation) = restful_story("quota", &["eu"]).await else { return };
    let eu = installation.cluster("eu").unwrap();
    ready_with(&installation, &a_cluster("eu")).await;
    let mut shop = a_project("shop", &["team-db", "team-web"]);
    let mut each: Value = EVERY_FORM.into_iter().map(|(resource, amount)| (resource, json!(amount))).collect();
    each["pods"] = json!(6);
    shop["spec"]["quota"] = json!({"perCluster": {"pods": 10}, "namespaceDefault": each});
    installation.apply(&shop).await.unwrap();
    reads(&installation, "project", "shop", "QuotaReady", "False/QuotaExhausted").await;
    grant_becomes(&installation, "team-db", "the first one gets what it requests", "6").await;
    grant_becomes(&installation, "team-web", "the second one gets the rest", "4").await;
    let message = problem(&installation, "project", "shop").await;
    assert!(message.contains("namespace team-web on cluster eu gets less pods"), "{message}");
    let hard =
        downstream(&installation, "eu", "resourcequota", "team-db", "drover").await.unwrap().unwrap()["spec"]["hard"]
            .clone();
    assert_eq!(hard.as_object().unwrap().len(), EVERY_FORM.len() + 1, "{hard}");
    assert_eq!(
        (&hard["cpu"], &hard["requests.memory"], &hard["count/deployments.apps"]),
        (&json!("4"), &json!("512Mi"), &json!("1k"))
    );
    quiet(&installation, "everything is granted that there is").await;

    shop["spec"]["quota"]["perCluster"] = json!({"pods": "12000m"});
    ready_with(&installation, &shop).await;
    assert_eq!(told(&installation).await, ("12".to_owned(), "0".to_owned()), "it fits exactly");
    reads(&installation, "project", "shop", "QuotaReady", "True/Ready").await;

    // Lowered, the quota takes nothing away; then a request that shrinks makes room.
    shop["spec"]["quota"]["perCluster"] = json!({"pods": 8});
    installation.apply(&shop).await.unwrap();
    reads(&installation, "project", "shop", "QuotaReady", "False/Overcommitted").await;
    assert_eq!(told(&installation).await, ("12".to_owned(), "-4".to_owned()));
    grant_becomes(&installation, "team-web", "what runs keeps its quota", "6").await;
    shop["spec"]["namespaces"][0]["quota"] = json!({"pods": 2});
    ready_with(&installation, &shop).await;
    assert_eq!(told(&installation).await, ("8".to_owned(), "0".to_owned()));

    // What a tenant changes comes back.
    patch_on(eu, "resourcequota", "team-web", "drover", json!({"spec": {"hard": {"pods": "100"}}})).await.unwrap();
    grant_becomes(&installation, "team-web", "the grant is restored", "6").await;
    delete_from(eu, "resourcequota", "team-web", "drover").await.unwrap();
    grant_becomes(&installation, "team-web", "it is created again", "6").await;

    // A namespace that leaves the Project hands back what it had, and keeps its limits.
    shop["spec"]["namespaces"] = json!([{"name": "team-web", "quota": {"pods": 8}}]);
    ready_with(&installation, &shop).await;
    grant_becomes(&installation, "team-web", "it has what the other one had", "8").await;
    let left = downstream(&installation, "eu", "resourcequota", "team-db", "drover").await.unwrap().unwrap();
    assert_eq!(
        (&left["spec"]["hard"]["pods"], left["metadata"]["labels"].get("drover.dev/owner-name")),
        (&json!("2"), None)
    );
    quiet(&installation, "all is granted").await;
    shop["spec"].as_object_mut().unwrap().remove("quota");
    shop["spec"]["namespaces"][0].as_object_mut().unwrap().remove("quota");
    ready_with(&installation, &shop).await;
    assert_eq!(downstream(&installation, "eu", "resourcequota", "team-web", "drover").await.unwrap(), None);
}
