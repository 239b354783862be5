//! What goes wrong at three in the morning, on real API servers: afterwards everything is as without it, and meanwhile
//! nobody else is slowed down.

use std::time::Duration;

use drover_e2e::control_plane::{Component, Revisions};
use drover_e2e::installation::{DROVER_USER, End, Installation};
use drover_e2e::objects::{delete_from, patch_on};
use drover_e2e::story::*;
use drover_e2e::wait::{eventually, soon};
use serde_json::{Value, json};

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

async fn running_shop(test: &str) -> Option<Installation> {
    let installation = story(test, &["eu", "us"]).await?;
    with_shop(&installation).await;
    Some(installation)
}

/// The same with short clocks.
async fn restful_shop(test: &str) -> Option<Installation> {
    let installation = restful_story(test, &["eu", "us"]).await?;
    with_shop(&installation).await;
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

    let wider = a_project("shop", &["team-web", "team-db", "team-late"]);
    installation.apply(&wider).await.unwrap();
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
    let stranger = installation.cluster("eu").unwrap().kubeconfig_for(DROVER_USER, &[]).unwrap();
    let eu_port = installation.cluster("eu").unwrap().port().to_string();
    installation.store_secret("us", &stranger.replace(&eu_port, &port.to_string())).await.unwrap();
    reads(&installation, "cluster", "us", "CredentialValid", "False/NewCredentialRejected").await;
    // Another cluster under the same name: refused, and the old connection goes on.
    installation.store_secret("us", &stranger).await.unwrap();
    eventually("the other cluster is refused", soon(), async || {
        let us = get(&installation, "cluster", "us").await?;
        Ok(us["status"]["conditions"].to_string().contains("but this Cluster stands for").then_some(()))
    })
    .await
    .unwrap();
    reads(&installation, "cluster", "us", "Ready", "True/Connected").await;
}

async fn a_cluster_restored_from_an_older_backup_is_converged_anew() {
    let Some(mut installation) = story("an older backup", &["eu"]).await else { return };
    ready_with(&installation, &a_project("shop", &["team-web"])).await;
    let backup = installation.cluster("eu").unwrap().backup_etcd().await.unwrap();
    ready_with(&installation, &a_project("shop", &NAMESPACES)).await;
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
    ready_with(&installation, &a_project("still", &["team-still"])).await;
    let many: Vec<String> = (0..12).map(|number| format!("team-{number}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    for round in 0_u64..6 {
        let mut shop = a_project("shop", &many);
        shop["spec"]["namespaceMetadata"] = json!({"labels": {"round": round.to_string()}});
        installation.apply(&shop).await.unwrap();
        tokio::time::sleep(Duration::from_millis(30 + 70 * round)).await;
        restart_as_itself(&mut installation, End::Kill).await;
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
    ready_with(&installation, &a_project("shop", &["team-web"])).await;
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
    patch(&installation, "customresourcedefinition", "projects.drover.dev", loose).await;
    let mut broken = a_project("broken", &[]);
    broken["spec"]["namespaces"] = "not a list".into();
    eventually("the loose definition is served", soon(), async || Ok(installation.apply(&broken).await.ok()))
        .await
        .unwrap();
    reads(&installation, "project", "broken", "Stalled", "True/InvalidObject").await;
    // One that was good and becomes unreadable keeps what it has.
    patch(&installation, "project", "shop", json!({"spec": {"suspend": "no"}})).await;
    reads(&installation, "project", "shop", "Stalled", "True/InvalidObject").await;
    assert!(downstream_namespace(&installation, "eu", "team-web").await.unwrap().is_some(), "unknown is not gone");
    ready_with(&installation, &a_project("fine", &["team-fine"])).await;
    patch(&installation, "project", "shop", json!({"spec": {"suspend": false}})).await;
    converged(&installation, "shop").await;
}

async fn a_cluster_object_that_does_not_decode_stays_connected_as_it_was_read_last() {
    let Some(mut installation) = restful_shop("an undecodable Cluster").await else { return };
    let suspend = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/suspend";
    let loose = json!([{"op": "replace", "path": suspend, "value": {"x-kubernetes-preserve-unknown-fields": true}}]);
    patch(&installation, "customresourcedefinition", "clusters.drover.dev", loose).await;
    let broken = json!({"spec": {"suspend": "perhaps"}});
    eventually("the loose definition is served", soon(), async || {
        Ok(patch_on(&installation.management, "cluster", "", "us", broken.clone()).await.ok())
    })
    .await
    .unwrap();
    reads(&installation, "cluster", "us", "Stalled", "True/InvalidObject").await;
    ready_with(&installation, &a_project("shop", &["team-web", "team-db", "team-late"])).await;
    assert!(downstream_namespace(&installation, "us", "team-late").await.unwrap().is_some());

    // A drover that never could read it does not take it for gone.
    restart_drover(&mut installation, End::Terminate).await;
    let mut deleting = a_project("shop", &NAMESPACES);
    deleting["spec"]["deletionPolicy"] = json!("Delete");
    installation.apply(&deleting).await.unwrap();
    delete(&installation, "project", "shop").await;
    namespace_becomes(&installation, "eu", "team-web", "eu lets go", |found| found.is_none()).await;
    tokio::time::sleep(two_periods()).await;
    assert!(
        get(&installation, "project", "shop").await.is_ok(),
        "the deletion waits for the cluster that cannot be read"
    );
    patch(&installation, "cluster", "us", json!({"spec": {"suspend": false}})).await;
    becomes_gone(&installation, "project", "shop").await;
    assert!(downstream_namespace(&installation, "us", "team-web").await.unwrap().is_none());
}

async fn a_namespace_that_does_not_end_is_said_and_created_again_once_it_is_gone() {
    let Some(installation) = story("a stuck namespace", &["eu"]).await else { return };
    ready_with(&installation, &a_project("shop", &["team-web", "team-db"])).await;
    let eu = installation.cluster("eu").unwrap();
    let hold = async |finalizers: Value| {
        let change = json!({"metadata": {"finalizers": finalizers}});
        patch_on(eu, "namespace", "", "team-web", change).await.unwrap();
    };
    hold(json!(["example.com/hold"])).await;
    let old = downstream_namespace(&installation, "eu", "team-web").await.unwrap().unwrap()["metadata"]["uid"].clone();
    delete_from(eu, "namespace", "", "team-web").await.unwrap();
    reads(&installation, "project", "shop", "Ready", "False/Terminating").await;
    // Meanwhile the other one is looked after.
    remove_namespace(eu, "team-db").await.unwrap();
    namespace_becomes(&installation, "eu", "team-db", "the other namespace is back", |found| found.is_some()).await;
    hold(json!(null)).await;
    namespace_becomes(&installation, "eu", "team-web", "the namespace is back", |found| {
        found.is_some_and(|found| found["metadata"]["uid"] != old)
    })
    .await;
    converged(&installation, "shop").await;
}

async fn lease_holder(installation: &Installation, wanted: impl Fn(&str) -> bool) -> String {
    eventually("a leader", soon(), async || {
        let holder = lease(installation).await?["holderIdentity"].as_str().unwrap_or_default().to_owned();
        Ok(wanted(&holder).then_some(holder))
    })
    .await
    .unwrap()
}
