//! From one holder to the next, and from one credential to the next: what is written in which order, that who lost a
//! cluster keeps away from it, and that nothing stops meanwhile. On real API servers.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]
#![expect(clippy::disallowed_methods, reason = "a test may read the clock")]

mod common;

use std::time::{Duration, Instant};

use common::*;
use drover_e2e::ControlPlane;
use drover_e2e::audit::AuditMark;
use drover_e2e::installation::{DROVER_USER, End, Installation, eventually, kubectl_on, token_kubeconfig};
use k8s_openapi::jiff;
use serde_json::{Value, json};

/// The user that the second installation is downstream.
const SECOND_USER: &str = "second";

/// What `user` changed on a control plane since `mark`, in order.
fn changes(plane: &ControlPlane, mark: AuditMark, user: &str) -> Vec<String> {
    let events = plane.audit_events_since(mark).unwrap().into_iter();
    let changes = events.filter(|event| event.user == user && !["get", "list", "watch"].contains(&event.verb.as_str()));
    changes.map(|event| format!("{} {} {} {}", event.verb, event.resource, event.name, event.code)).collect()
}

#[tokio::test]
async fn a_cluster_is_claimed_before_anything_else_is_written_there() {
    let Some(mut installation) = prepared("the claim comes first", &["eu"]).await else { return };
    installation.apply(&project("shop", &["team-web"]).to_string()).unwrap();
    let mark = installation.cluster("eu").unwrap().audit_mark().unwrap();
    installation.start_drover().unwrap();
    converged(&installation, "shop").await;
    let eu = installation.cluster("eu").unwrap();
    let written = changes(eu, mark, DROVER_USER);
    let expected =
        ["create namespaces drover-system 201", "create configmaps drover-claim 201", "create namespaces team-web 201"];
    assert_eq!(written.get(..expected.len()), Some(&expected.map(str::to_owned)[..]), "{written:?}");
    let label = "--output=jsonpath={.metadata.labels}";
    for object in ["namespace/drover-system", "configmap/drover-claim"] {
        let found = kubectl_on(eu, &["get", object, "--namespace=drover-system", label]).unwrap();
        assert!(found.contains(r#""app.kubernetes.io/managed-by":"drover""#), "{object}: {found}");
    }
    // Without a name of its own the installation is that of the management cluster.
    installation.stop_drover(End::Terminate).await.unwrap();
    installation.name = String::new();
    installation.start_drover().unwrap();
    reads(&installation, "cluster", "eu", "Accepted", "False/ClaimedByOther").await;
}

#[tokio::test]
async fn who_lost_a_cluster_keeps_away_from_it() {
    let Some(first) = story("the first holder", &["eu"]).await else { return };
    let Some(mut second) = prepared("the second holder", &[]).await else { return };
    first.apply(&project("shop", &["team-web"]).to_string()).unwrap();
    converged(&first, "shop").await;

    let plane = first.cluster("eu").unwrap();
    second.name = String::new();
    second.store_secret("eu", &plane.kubeconfig_for(SECOND_USER, &["system:masters"]).unwrap()).unwrap();
    let mut eu = cluster("eu");
    second.apply(&eu.to_string()).unwrap();
    second.apply(&project("shop", &["team-web", "team-new"]).to_string()).unwrap();
    let start = plane.audit_mark().unwrap();
    second.start_drover().unwrap();
    reads(&second, "cluster", "eu", "Ready", "False/ClaimedByOther").await;
    rest().await;
    assert_eq!(changes(plane, start, SECOND_USER), Vec::<String>::new(), "the cluster is the first one's");

    eu["spec"]["claim"] = json!({"takeFrom": "e2e"});
    second.apply(&eu.to_string()).unwrap();
    reads(&second, "cluster", "eu", "Accepted", "True/Claimed").await;
    let moved = Instant::now();
    reads(&first, "cluster", "eu", "Ready", "False/ClaimedByOther").await;
    reads(&first, "cluster", "eu", "Accepted", "False/ClaimedByOther").await;
    assert!(moved.elapsed() < Duration::from_secs(10), "more than a few probes: {:?}", moved.elapsed());
    let uid = second.kubectl(&["get", "namespace", "kube-system", "--output=jsonpath={.metadata.uid}"]).unwrap();
    let told = get(&first, "cluster", "eu").unwrap()["status"]["conditions"].to_string();
    assert!(told.contains(&uid), "the holder is named: {told}");

    let mark = plane.audit_mark().unwrap();
    converged(&second, "shop").await;
    first.apply(&project("shop", &["team-web", "team-old"]).to_string()).unwrap();
    kubectl_on(plane, &["delete", "namespace", "team-web"]).unwrap();
    namespace_becomes(&first, "eu", "team-web", "the new holder restores it", |found| found.is_some()).await;
    rest().await;
    assert_eq!(changes(plane, mark, DROVER_USER), Vec::<String>::new(), "the former holder");
    assert!(downstream_namespace(&first, "eu", "team-old").unwrap().is_none());
    assert!(downstream_namespace(&first, "eu", "team-new").unwrap().is_some());
}

#[tokio::test]
async fn a_namespace_that_does_not_end_is_said_and_created_again_once_it_is_gone() {
    let Some(installation) = story("a stuck namespace", &["eu"]).await else { return };
    installation.apply(&project("shop", &["team-web", "team-db"]).to_string()).unwrap();
    converged(&installation, "shop").await;
    let eu = installation.cluster("eu").unwrap();
    let patch =
        |patch: &str| kubectl_on(eu, &["patch", "namespace", "team-web", "--type=merge", "--patch", patch]).unwrap();
    patch(r#"{"metadata":{"finalizers":["example.com/hold"]}}"#);
    let old = downstream_namespace(&installation, "eu", "team-web").unwrap().unwrap()["metadata"]["uid"].clone();
    kubectl_on(eu, &["delete", "namespace", "team-web", "--wait=false"]).unwrap();
    reads(&installation, "project", "shop", "Ready", "False/Progressing").await;
    // Meanwhile the other one is looked after.
    kubectl_on(eu, &["delete", "namespace", "team-db"]).unwrap();
    namespace_becomes(&installation, "eu", "team-db", "the other namespace is back", |found| found.is_some()).await;
    patch(r#"{"metadata":{"finalizers":null}}"#);
    namespace_becomes(&installation, "eu", "team-web", "the namespace is back", |found| {
        found.is_some_and(|found| found["metadata"]["uid"] != old)
    })
    .await;
    converged(&installation, "shop").await;
}

/// Deletes a namespace and returns how long drover takes to bring it back.
async fn time_to_heal(installation: &Installation, cluster: &str) -> Duration {
    let uid = |namespace: &Value| namespace["metadata"]["uid"].clone();
    let old = uid(&downstream_namespace(installation, cluster, "team-web").unwrap().unwrap());
    kubectl_on(installation.cluster(cluster).unwrap(), &["delete", "namespace", "team-web"]).unwrap();
    let gone = Instant::now();
    namespace_becomes(installation, cluster, "team-web", "the namespace is back", |namespace| {
        namespace.is_some_and(|namespace| uid(namespace) != old)
    })
    .await;
    gone.elapsed()
}

fn ready(installation: &Installation, cluster: &str) -> Value {
    let object = get(installation, "cluster", cluster).unwrap();
    let conditions = object["status"]["conditions"].as_array().unwrap();
    conditions.iter().find(|condition| condition["type"] == "Ready").unwrap().clone()
}

#[tokio::test]
async fn a_credential_is_rotated_without_a_gap_and_a_withdrawn_one_is_said() {
    const ACCOUNT: &str = "system:serviceaccount:default:rotated";
    let Some(installation) = story("rotation", &["eu"]).await else { return };
    installation.apply(&project("shop", &["team-web"]).to_string()).unwrap();
    converged(&installation, "shop").await;
    let before = ready(&installation, "eu");
    let eu = installation.cluster("eu").unwrap();
    let mark = eu.audit_mark().unwrap();
    let creations_by = |user: &str| {
        let events = eu.audit_events_since(mark).unwrap();
        let created = |event: &&drover_e2e::audit::AuditEvent| event.verb == "create" && event.resource == "namespaces";
        events.iter().filter(created).filter(|event| event.user == user).count()
    };

    installation.store_secret("eu", &token_kubeconfig(eu, "rotated").unwrap()).unwrap();
    let meanwhile = time_to_heal(&installation, "eu").await;
    assert!(meanwhile < Duration::from_secs(10), "{meanwhile:?}");
    eventually("the status tells of the token", SOON, async || {
        let certificates = get(&installation, "cluster", "eu")?["status"]["certificates"].to_string();
        Ok((!certificates.contains("client")).then_some(()))
    })
    .await
    .unwrap();
    time_to_heal(&installation, "eu").await;
    assert!(creations_by(ACCOUNT) >= 1, "nothing was done with the token");
    assert_eq!(ready(&installation, "eu"), before, "Ready never changed");

    // An account that is gone: nothing is written any more, and what is wrong is said.
    kubectl_on(eu, &["delete", "serviceaccount", "rotated", "--namespace=default"]).unwrap();
    reads(&installation, "cluster", "eu", "Ready", "False/Unauthorized").await;
    reads(&installation, "cluster", "eu", "CredentialValid", "False/Unauthorized").await;
    installation.store_kubeconfig("eu").unwrap();
    reads(&installation, "cluster", "eu", "Ready", "True/Connected").await;
    time_to_heal(&installation, "eu").await;
    converged(&installation, "shop").await;
}

#[tokio::test]
async fn a_certificate_that_ends_soon_is_said_and_nothing_stops() {
    let Some(installation) = story("certificates", &["eu"]).await else { return };
    reads(&installation, "cluster", "eu", "CertificatesValid", "True/Valid").await;
    let soon = jiff::Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC).date() + jiff::Span::new().days(3);
    let end = (i32::from(soon.year()), u8::try_from(soon.month()).unwrap(), u8::try_from(soon.day()).unwrap());
    let eu = installation.cluster("eu").unwrap();
    installation.store_secret("eu", &eu.kubeconfig_until(DROVER_USER, &["system:masters"], end).unwrap()).unwrap();
    reads(&installation, "cluster", "eu", "CertificatesValid", "False/Expiring").await;
    reads(&installation, "cluster", "eu", "CredentialValid", "False/Expiring").await;
    reads(&installation, "cluster", "eu", "Ready", "True/Connected").await;
    let status = get(&installation, "cluster", "eu").unwrap()["status"].clone();
    assert!(status["credential"]["notAfter"].as_str().unwrap().starts_with(&soon.to_string()), "{status}");
    installation.apply(&project("shop", &["team-web"]).to_string()).unwrap();
    converged(&installation, "shop").await;

    // Whoever renews it at the last moment says so, and is not warned before.
    let mut late = cluster("eu");
    late["spec"]["certificates"] = json!({"warnBefore": "1h"});
    installation.apply(&late.to_string()).unwrap();
    reads(&installation, "cluster", "eu", "CertificatesValid", "True/Valid").await;
    reads(&installation, "cluster", "eu", "CredentialValid", "True/Accepted").await;
}
