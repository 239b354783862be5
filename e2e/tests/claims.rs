//! Whose a cluster is: one installation's, one Cluster's, and nobody else writes to it. On real API servers.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

mod common;

use common::*;
use drover_e2e::installation::{DROVER_USER, Installation, kubectl_on};
use serde_json::{Value, json};

fn claim(installation: &Installation, cluster: &str) -> Value {
    let arguments = ["get", "configmap", "drover-claim", "--namespace=drover-system", "--output=json"];
    let text = kubectl_on(installation.cluster(cluster).unwrap(), &arguments).unwrap();
    serde_json::from_str::<Value>(&text).unwrap()["data"].clone()
}

fn ready_message(installation: &Installation, cluster: &str) -> String {
    let object = get(installation, "cluster", cluster).unwrap();
    let conditions = object["status"]["conditions"].as_array().unwrap().clone();
    conditions.into_iter().find(|condition| condition["type"] == "Ready").unwrap()["message"].to_string()
}

#[tokio::test]
async fn of_two_installations_one_holds_a_cluster_until_the_other_takes_it_over() {
    let Some(first) = story("two installations", &["eu"]).await else { return };
    let Some(mut second) = prepared("the second installation", &[]).await else { return };
    first.apply(&project("shop", &["team-web"]).to_string()).unwrap();
    converged(&first, "shop").await;
    assert_eq!(claim(&first, "eu"), json!({"installation": "e2e", "clusterName": "eu"}));

    second.name = "second".to_owned();
    let kubeconfig = first.cluster("eu").unwrap().kubeconfig_for(DROVER_USER, &["system:masters"]).unwrap();
    second.store_secret("eu", &kubeconfig).unwrap();
    let mut eu = cluster("eu");
    second.apply(&eu.to_string()).unwrap();
    second.apply(&project("shop", &["team-web", "team-theirs"]).to_string()).unwrap();
    let before = marks(&first);
    second.start_drover().unwrap();
    reads(&second, "cluster", "eu", "Accepted", "False/ClaimedByOther").await;
    reads(&second, "cluster", "eu", "Ready", "False/ClaimedByOther").await;
    assert!(ready_message(&second, "eu").contains("takeFrom: e2e"), "{}", ready_message(&second, "eu"));
    rest().await;
    assert_eq!(writes_since(&first, &before), Vec::<String>::new(), "neither of the two writes");

    eu["spec"]["claim"] = json!({"takeFrom": "e2e"});
    second.apply(&eu.to_string()).unwrap();
    reads(&second, "cluster", "eu", "Ready", "True/Connected").await;
    converged(&second, "shop").await;
    reads(&first, "cluster", "eu", "Ready", "False/ClaimedByOther").await;
    assert_eq!(claim(&first, "eu"), json!({"installation": "second", "clusterName": "eu"}));
    // The one that lost it keeps away from it, and lets it go without a word to it.
    first.kubectl(&["delete", "cluster", "eu", "--timeout=30s"]).unwrap();
    assert_eq!(claim(&first, "eu"), json!({"installation": "second", "clusterName": "eu"}));
}

#[tokio::test]
async fn two_clusters_for_one_and_the_management_cluster_by_kubeconfig_are_duplicates() {
    let Some(installation) = story("duplicates", &["eu"]).await else { return };
    reads(&installation, "cluster", "eu", "Accepted", "True/Claimed").await;
    let mut twin = cluster("twin");
    twin["spec"]["connection"]["kubeconfig"]["secretRef"]["name"] = "eu".into();
    installation.apply(&twin.to_string()).unwrap();
    reads(&installation, "cluster", "twin", "Ready", "False/DuplicateOf").await;
    assert!(ready_message(&installation, "twin").contains("Cluster eu"), "{}", ready_message(&installation, "twin"));

    let own = installation.management.kubeconfig_for(DROVER_USER, &["system:masters"]).unwrap();
    installation.store_secret("own", &own).unwrap();
    installation.apply(&cluster("own").to_string()).unwrap();
    reads(&installation, "cluster", "own", "Ready", "False/DuplicateOf").await;
    assert!(ready_message(&installation, "own").contains("local"), "{}", ready_message(&installation, "own"));
    reads(&installation, "cluster", "eu", "Ready", "True/Connected").await;

    // Once the first one is let go the other one takes its place.
    installation.kubectl(&["delete", "cluster", "eu", "--timeout=30s"]).unwrap();
    reads(&installation, "cluster", "twin", "Ready", "True/Connected").await;
    assert_eq!(claim(&installation, "eu"), json!({"installation": "e2e", "clusterName": "twin"}));
}

#[tokio::test]
async fn a_token_and_the_certificates_have_their_dates_and_a_rotation_leaves_no_gap() {
    let Some(installation) = story("dates", &["eu"]).await else { return };
    installation.apply(&project("shop", &["team-web"]).to_string()).unwrap();
    converged(&installation, "shop").await;
    let names = |object: &Value| {
        let all = object["status"]["certificates"].as_array().cloned().unwrap_or_default();
        let mut names: Vec<_> = all.iter().map(|one| one["name"].as_str().unwrap().to_owned()).collect();
        names.sort();
        names
    };
    let with_certificate = get(&installation, "cluster", "eu").unwrap();
    assert_eq!(names(&with_certificate), ["api-server", "client"], "{with_certificate}");
    let ready_since = |object: &Value| {
        let conditions = object["status"]["conditions"].as_array().unwrap().clone();
        let ready = conditions.into_iter().find(|condition| condition["type"] == "Ready").unwrap();
        (ready["status"].clone(), ready["lastTransitionTime"].clone())
    };

    let eu = installation.cluster("eu").unwrap();
    kubectl_on(eu, &["create", "serviceaccount", "drover", "--namespace=default"]).unwrap();
    let binding = "--clusterrole=cluster-admin";
    kubectl_on(eu, &["create", "clusterrolebinding", "drover", binding, "--serviceaccount=default:drover"]).unwrap();
    let token = kubectl_on(eu, &["create", "token", "drover", "--namespace=default", "--duration=2h"]).unwrap();
    let kubeconfig = eu.kubeconfig_for(DROVER_USER, &["system:masters"]).unwrap();
    let with_token = kubeconfig.lines().filter_map(|line| match line.trim_start() {
        key if key.starts_with("client-key-data") => None,
        certificate if certificate.starts_with("client-certificate-data") => {
            Some(line.replace(certificate, &format!("token: {}", token.trim())))
        }
        _ => Some(line.to_owned()),
    });
    installation.store_secret("eu", &with_token.collect::<Vec<_>>().join("\n")).unwrap();
    drover_e2e::installation::eventually("only the server's certificate is left", SOON, async || {
        Ok((names(&get(&installation, "cluster", "eu")?) == ["api-server"]).then_some(()))
    })
    .await
    .unwrap();
    let rotated = get(&installation, "cluster", "eu").unwrap();
    assert!(rotated["status"]["credential"]["notAfter"].is_string(), "{rotated}");
    assert_eq!(ready_since(&rotated), ready_since(&with_certificate), "Ready never changed");
    converged(&installation, "shop").await;
}
