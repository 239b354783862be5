//! What goes wrong at three in the morning, on real API servers: afterwards everything is as without it, and meanwhile
//! nobody else is slowed down.

use std::time::Duration;

use drover_e2e::control_plane::{Component, Revisions};
use drover_e2e::installation::{DROVER_USER, End, Installation, kubectl_on};
use drover_e2e::story::*;
use drover_e2e::wait::{eventually, soon};
use serde_json::json;

drover_e2e::tests![
    a_stopped_cluster_is_said_hurts_nobody_and_returns_alone,
    a_cluster_that_hangs_is_said_hurts_nobody_and_returns_alone,
    a_kubeconfig_for_another_server_is_refused_and_the_old_connection_goes_on,
    a_cluster_restored_from_an_older_backup_is_converged_anew,
    a_cluster_that_lost_its_watch_history_misses_no_delete,
    killed_anywhere_it_ends_in_the_same_state,
    of_two_replicas_one_works_and_the_other_takes_over,
    an_object_that_does_not_decode_stalls_alone,
    a_cluster_object_that_does_not_decode_stays_connected_as_it_was_read_last,
    a_namespace_that_does_not_end_is_said_and_created_again_once_it_is_gone,
];

const NAMESPACES: [&str; 2] = ["team-web", "team-db"];

async fn running_shop(test: &str) -> Option<Installation> {
    with_shop(story(test, &["eu", "us"]).await?).await
}

/// The same with short clocks.
async fn restful_shop(test: &str) -> Option<Installation> {
    with_shop(restful_story(test, &["eu", "us"]).await?).await
}

async fn with_shop(installation: Installation) -> Option<Installation> {
    installation.apply(&project("shop", &NAMESPACES).to_string()).await.unwrap();
    converged(&installation, "shop").await;
    Some(installation)
}

async fn a_stopped_cluster_is_said_hurts_nobody_and_returns_alone() {
    let Some(mut installation) = restful_shop("a stopped cluster").await else { return };
    let pace = time_to_heal(&installation, "eu").await;
    installation.cluster_mut("us").unwrap().stop(Component::Apiserver).await.unwrap();
    reads(&installation, "cluster", "us", "Ready", "False/DialFailed").await;
    reads(&installation, "project", "shop", "Ready", "True/ReadyExceptUnreachable").await;
    reads(&installation, "project", "shop", "ClustersReachable", "False/Unreachable").await;
    let shown = get(&installation, "cluster", "us").await.unwrap();
    assert!(shown["status"]["kubernetesVersion"].is_string(), "what was known is stale, not gone");

    not_held_up("a stopped cluster", pace, time_to_heal(&installation, "eu").await);

    // A restart of drover while the cluster is away forgets nothing, and writes nothing.
    quiet(&installation, "a cluster stopped").await;
    let before = marks(&installation).unwrap();
    restart_drover(&mut installation, End::Terminate).await;
    says(&mut installation, 0, "this process leads").await;
    unmoved_since(&installation, &before, "a restart").await;
    reads(&installation, "project", "shop", "Ready", "True/ReadyExceptUnreachable").await;

    let wider = project("shop", &["team-web", "team-db", "team-late"]);
    installation.apply(&wider.to_string()).await.unwrap();
    installation.cluster_mut("us").unwrap().start_again(Component::Apiserver).await.unwrap();
    converged(&installation, "shop").await;
    assert!(downstream_namespace(&installation, "us", "team-late").await.unwrap().is_some());
}

async fn a_cluster_that_hangs_is_said_hurts_nobody_and_returns_alone() {
    let Some(mut installation) = running_shop("a hanging cluster").await else { return };
    let quick = time_to_heal(&installation, "eu").await;
    installation.cluster_mut("us").unwrap().pause(Component::Apiserver).await.unwrap();
    not_held_up("a hanging cluster", quick, time_to_heal(&installation, "eu").await);
    reads(&installation, "cluster", "us", "Ready", "False/Timeout").await;
    installation.cluster_mut("us").unwrap().resume(Component::Apiserver).unwrap();
    reads(&installation, "cluster", "us", "Ready", "True/Connected").await;
    converged(&installation, "shop").await;
    time_to_heal(&installation, "us").await;
}

async fn a_kubeconfig_for_another_server_is_refused_and_the_old_connection_goes_on() {
    let Some(installation) = running_shop("another server").await else { return };
    let port = installation.cluster("us").unwrap().port();
    // Nobody whom we trust answers: certain at once.
    let stranger = installation.cluster("eu").unwrap().kubeconfig_for(DROVER_USER, &["system:masters"]).unwrap();
    let eu_port = installation.cluster("eu").unwrap().port().to_string();
    installation.store_secret("us", &stranger.replace(&eu_port, &port.to_string())).await.unwrap();
    reads(&installation, "cluster", "us", "CredentialValid", "False/NewCredentialRejected").await;
    // Another cluster under the same name: refused, and the old connection goes on.
    installation.store_secret("us", &stranger).await.unwrap();
    eventually("the other cluster is refused", soon(), async || {
        let us = get(&installation, "cluster", "us").await?;
        Ok(us["status"]["conditions"].to_string().contains("was imported under this name").then_some(()))
    })
    .await
    .unwrap();
    reads(&installation, "cluster", "us", "Ready", "True/Connected").await;
}

async fn a_cluster_restored_from_an_older_backup_is_converged_anew() {
    let Some(mut installation) = story("an older backup", &["eu"]).await else { return };
    installation.apply(&project("shop", &["team-web"]).to_string()).await.unwrap();
    converged(&installation, "shop").await;
    let backup = installation.cluster("eu").unwrap().backup_etcd().await.unwrap();
    installation.apply(&project("shop", &NAMESPACES).to_string()).await.unwrap();
    converged(&installation, "shop").await;
    installation.cluster_mut("eu").unwrap().restore_etcd(&backup, Revisions::GoBack).await.unwrap();
    namespace_becomes(&installation, "eu", "team-db", "what the restore undid is done again", |namespace| {
        namespace.is_some()
    })
    .await;
    converged(&installation, "shop").await;
}

async fn a_cluster_that_lost_its_watch_history_misses_no_delete() {
    let Some(mut installation) = running_shop("lost watch history").await else { return };
    installation.cluster_mut("eu").unwrap().expire_watches().await.unwrap();
    converged(&installation, "shop").await;
    time_to_heal(&installation, "eu").await;
    converged(&installation, "shop").await;
}

async fn killed_anywhere_it_ends_in_the_same_state() {
    let Some(mut installation) = prepared("kill -9", &["eu", "us"]).await else { return };
    installation.start_drover().await.unwrap();
    installation.apply(&project("still", &["team-still"]).to_string()).await.unwrap();
    converged(&installation, "still").await;
    let many: Vec<String> = (0..12).map(|number| format!("team-{number}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    for round in 0_u64..6 {
        let mut shop = project("shop", &many);
        shop["spec"]["namespaceMetadata"] = json!({"labels": {"round": round.to_string()}});
        installation.apply(&shop.to_string()).await.unwrap();
        // The same identity comes back, as a pod's container does, and need not wait for its own Lease.
        tokio::time::sleep(Duration::from_millis(30 + 70 * round)).await;
        restart_drover_as_itself(&mut installation, End::Kill).await;
    }
    converged(&installation, "shop").await;
    converged(&installation, "still").await;
    let (eu, us) = (picture(&installation, "eu").await, picture(&installation, "us").await);
    assert_eq!(eu, us);
    for namespace in many {
        let found = downstream_namespace(&installation, "eu", namespace).await.unwrap().unwrap();
        assert_eq!(found["metadata"]["labels"]["round"], "5", "{found}");
        assert!(found["metadata"]["annotations"]["drover.dev/applied"].is_string(), "{found}");
    }
}

async fn of_two_replicas_one_works_and_the_other_takes_over() {
    let Some(mut installation) = restful_story("two replicas", &["eu"]).await else { return };
    installation.apply(&project("shop", &["team-web"]).to_string()).await.unwrap();
    converged(&installation, "shop").await;
    // The newest is stopped first, so the standby is the one that was started before it.
    installation.stop_drover(End::Terminate).await.unwrap();
    installation.start_drover().await.unwrap();
    let holder = lease_holder(&installation, |holder| !holder.is_empty()).await;
    installation.start_drover().await.unwrap();
    tokio::time::sleep(longer_than_the_lease()).await;
    assert_eq!(lease_holder(&installation, |_| true).await, holder, "the standby does not disturb the leader");
    installation.replica(0).unwrap().kill().await.unwrap();
    let second = lease_holder(&installation, |now| !now.is_empty() && now != holder).await;
    assert_ne!(second, holder);
    time_to_heal(&installation, "eu").await;
    converged(&installation, "shop").await;
}

async fn an_object_that_does_not_decode_stalls_alone() {
    let Some(installation) = running_shop("an undecodable object").await else { return };
    // An older Drover's definition, or one that somebody edited: it lets through what this version cannot read.
    let loose = json!([
        {"op": "replace", "path": "/spec/versions/0/schema/openAPIV3Schema/properties/spec",
         "value": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}},
    ]);
    installation
        .kubectl(&["patch", "crd", "projects.drover.dev", "--type=json", "--patch", &loose.to_string()])
        .unwrap();
    let mut broken = project("broken", &[]);
    broken["spec"]["namespaces"] = "not a list".into();
    eventually("the loose definition is served", soon(), async || {
        Ok(installation.apply(&broken.to_string()).await.ok())
    })
    .await
    .unwrap();
    reads(&installation, "project", "broken", "Stalled", "True/InvalidObject").await;
    // One that was good and becomes unreadable keeps what it has.
    patch_shop(&installation, r#"{"spec":{"suspend":"no"}}"#);
    reads(&installation, "project", "shop", "Stalled", "True/InvalidObject").await;
    assert!(downstream_namespace(&installation, "eu", "team-web").await.unwrap().is_some(), "unknown is not gone");
    installation.apply(&project("fine", &["team-fine"]).to_string()).await.unwrap();
    converged(&installation, "fine").await;
    patch_shop(&installation, r#"{"spec":{"suspend":false}}"#);
    converged(&installation, "shop").await;
}

async fn a_cluster_object_that_does_not_decode_stays_connected_as_it_was_read_last() {
    let Some(mut installation) = restful_shop("an undecodable Cluster").await else { return };
    let suspend = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/suspend";
    let loose = json!([{"op": "replace", "path": suspend, "value": {"x-kubernetes-preserve-unknown-fields": true}}]);
    installation
        .kubectl(&["patch", "crd", "clusters.drover.dev", "--type=json", "--patch", &loose.to_string()])
        .unwrap();
    let broken = ["patch", "cluster", "us", "--type=merge", "--patch", r#"{"spec":{"suspend":"perhaps"}}"#];
    eventually("the loose definition is served", soon(), async || Ok(installation.kubectl(&broken).ok()))
        .await
        .unwrap();
    reads(&installation, "cluster", "us", "Stalled", "True/InvalidObject").await;
    installation.apply(&project("shop", &["team-web", "team-db", "team-late"]).to_string()).await.unwrap();
    converged(&installation, "shop").await;
    assert!(downstream_namespace(&installation, "us", "team-late").await.unwrap().is_some());

    // A drover that never could read it does not take it for gone.
    restart_drover(&mut installation, End::Terminate).await;
    let mut deleting = project("shop", &NAMESPACES);
    deleting["spec"]["deletionPolicy"] = json!("Delete");
    installation.apply(&deleting.to_string()).await.unwrap();
    installation.kubectl(&["delete", "project", "shop", "--namespace=team", "--wait=false"]).unwrap();
    namespace_becomes(&installation, "eu", "team-web", "eu lets go", |found| found.is_none()).await;
    tokio::time::sleep(two_periods()).await;
    assert!(
        get(&installation, "project", "shop").await.is_ok(),
        "the deletion waits for the cluster that cannot be read"
    );
    let repaired = ["patch", "cluster", "us", "--type=merge", "--patch", r#"{"spec":{"suspend":false}}"#];
    installation.kubectl(&repaired).unwrap();
    installation.kubectl(&["wait", "--for=delete", "project/shop", "--namespace=team", "--timeout=40s"]).unwrap();
    assert!(downstream_namespace(&installation, "us", "team-web").await.unwrap().is_none());
}

async fn a_namespace_that_does_not_end_is_said_and_created_again_once_it_is_gone() {
    let Some(installation) = story("a stuck namespace", &["eu"]).await else { return };
    installation.apply(&project("shop", &["team-web", "team-db"]).to_string()).await.unwrap();
    converged(&installation, "shop").await;
    let eu = installation.cluster("eu").unwrap();
    let patch =
        |patch: &str| kubectl_on(eu, &["patch", "namespace", "team-web", "--type=merge", "--patch", patch]).unwrap();
    patch(r#"{"metadata":{"finalizers":["example.com/hold"]}}"#);
    let old = downstream_namespace(&installation, "eu", "team-web").await.unwrap().unwrap()["metadata"]["uid"].clone();
    kubectl_on(eu, &["delete", "namespace", "team-web", "--wait=false"]).unwrap();
    reads(&installation, "project", "shop", "Ready", "False/Terminating").await;
    // Meanwhile the other one is looked after.
    remove_namespace(eu, "team-db").await.unwrap();
    namespace_becomes(&installation, "eu", "team-db", "the other namespace is back", |found| found.is_some()).await;
    patch(r#"{"metadata":{"finalizers":null}}"#);
    namespace_becomes(&installation, "eu", "team-web", "the namespace is back", |found| {
        found.is_some_and(|found| found["metadata"]["uid"] != old)
    })
    .await;
    converged(&installation, "shop").await;
}

fn patch_shop(installation: &Installation, patch: &str) {
    let arguments = ["patch", "project", "shop", "--namespace=team", "--type=merge", "--patch", patch];
    installation.kubectl(&arguments).unwrap();
}

async fn restart_drover_as_itself(installation: &mut Installation, how: End) {
    installation.stop_drover(how).await.unwrap();
    installation.start_drover_as("drover-again").await.unwrap();
}

async fn lease_holder(installation: &Installation, wanted: impl Fn(&str) -> bool) -> String {
    eventually("a leader", soon(), async || {
        let path = "--output=jsonpath={.spec.holderIdentity}";
        let holder = installation.kubectl(&["get", "lease", "drover", "--namespace=drover-system", path])?;
        Ok(wanted(&holder).then_some(holder))
    })
    .await
    .unwrap()
}
