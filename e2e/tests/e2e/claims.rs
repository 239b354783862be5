//! Whose a cluster is: one installation's, one Cluster's, and nobody else writes to it. On real API servers.

use drover_e2e::installation::{DROVER_USER, End, Installation, grant_downstream_roles, kubectl_on};
use drover_e2e::story::*;
use serde_json::{Value, json};

const OWNER: &str = "/metadata/labels/drover.dev~1owner-name";

drover_e2e::tests![
    a_cluster_is_claimed_before_anything_else_is_written_there,
    a_cluster_that_is_not_the_one_that_was_pinned_is_not_written_to,
    who_lost_a_cluster_keeps_away_from_it,
    two_clusters_for_one_and_the_management_cluster_by_kubeconfig_are_duplicates,
];

/// The user that the second installation is downstream.
const SECOND_USER: &str = "second";

async fn a_cluster_is_claimed_before_anything_else_is_written_there() {
    let Some(mut installation) = prepared("the claim comes first", &["eu"]).await else { return };
    installation.apply(&a_project("shop", &["team-web"])).await.unwrap();
    // A role in Drover's namespace can be granted only where that is there already: this Drover makes it, as an administrator.
    let eu = installation.cluster("eu").unwrap();
    remove_namespace(eu, "drover-system").await.unwrap();
    let administrator = eu.kubeconfig_for(DROVER_USER, &["system:masters"]).unwrap();
    installation.store_secret("eu", &administrator).await.unwrap();
    let mark = eu.audit_mark().unwrap();
    installation.start_drover().await.unwrap();
    converged(&installation, "shop").await;
    let eu = installation.cluster("eu").unwrap();
    let mut written = writes_by(DROVER_USER, eu, mark).unwrap();
    // Admission policies come as soon as the claim does.
    let first_policy = written.iter().position(|write| write.contains(" validatingadmissionpolic"));
    assert!(first_policy.is_none_or(|at| at >= 2), "{written:?}");
    written.retain(|write| !write.contains(" validatingadmissionpolic"));
    let expected = [
        "create namespaces drover-system 201",
        "create configmaps drover-system/drover-claim 201",
        "create namespaces team-web 201",
    ];
    assert_eq!(written.get(..expected.len()), Some(&expected.map(str::to_owned)[..]), "{written:?}");
    let label = "--output=jsonpath={.metadata.labels}";
    for object in ["namespace/drover-system", "configmap/drover-claim"] {
        let found = kubectl_on(eu, &["get", object, "--namespace=drover-system", label]).unwrap();
        assert!(found.contains(r#""app.kubernetes.io/managed-by":"drover""#), "{object}: {found}");
    }
    // Without a name of its own the installation is that of the management cluster.
    installation.stop_drover(End::Terminate).await.unwrap();
    installation.name = String::new();
    installation.start_drover().await.unwrap();
    reads(&installation, "cluster", "eu", "Accepted", "False/ClaimedByOther").await;
}

async fn a_cluster_that_is_not_the_one_that_was_pinned_is_not_written_to() {
    let Some(mut installation) = prepared_restful("a pin", &["eu"]).await else { return };
    let eu = installation.cluster("eu").unwrap();
    let mark = eu.audit_mark().unwrap();
    let path = "--output=jsonpath={.metadata.uid}";
    let uid = kubectl_on(eu, &["get", "namespace", "kube-system", path]).unwrap();
    let mut pinned = a_cluster("eu");
    pinned["spec"]["expectedUID"] = json!("11111111-2222-3333-4444-555555555555");
    installation.apply(&pinned).await.unwrap();
    installation.apply(&a_project("shop", &["team-web"])).await.unwrap();
    installation.start_drover().await.unwrap();
    reads(&installation, "cluster", "eu", "Ready", "False/IdentityMismatch").await;
    tokio::time::sleep(two_periods()).await;
    assert_eq!(writes_by(DROVER_USER, installation.cluster("eu").unwrap(), mark).unwrap(), Vec::<String>::new());
    pinned["spec"]["expectedUID"] = json!(uid);
    ready_with(&installation, &pinned).await;
    converged(&installation, "shop").await;
    // Once they met, no change of the spec moves it to another one.
    pinned["spec"]["expectedUID"] = json!("11111111-2222-3333-4444-555555555555");
    installation.apply(&pinned).await.unwrap();
    reads(&installation, "cluster", "eu", "Ready", "False/IdentityMismatch").await;
    assert_eq!(get(&installation, "cluster", "eu").await.unwrap()["status"]["clusterUID"], json!(uid));
}

async fn who_lost_a_cluster_keeps_away_from_it() {
    let Some(first) = restful_story("the first holder", &["eu"]).await else { return };
    let Some(mut second) = prepared_restful("the second holder", &[]).await else { return };
    ready_with(&first, &a_project("shop", &["team-web"])).await;
    assert_eq!(claim(&first, "eu").await.unwrap(), json!({"installation": "e2e", "clusterName": "eu"}));

    let plane = first.cluster("eu").unwrap();
    second.name = String::new();
    grant_downstream_roles(plane, SECOND_USER).await.unwrap();
    second.store_secret("eu", &plane.kubeconfig_for(SECOND_USER, &[]).unwrap()).await.unwrap();
    let mut eu = a_cluster("eu");
    second.apply(&eu).await.unwrap();
    second.apply(&a_project("shop", &["team-web", "team-new"])).await.unwrap();
    let start = plane.audit_mark().unwrap();
    second.start_drover().await.unwrap();
    reads(&second, "cluster", "eu", "Accepted", "False/ClaimedByOther").await;
    reads(&second, "cluster", "eu", "Ready", "False/ClaimedByOther").await;
    let message = ready_condition(&second, "eu").await["message"].to_string();
    assert!(message.contains("takeFrom: e2e"), "{message}");
    tokio::time::sleep(two_periods()).await;
    assert_eq!(writes_by(DROVER_USER, plane, start).unwrap(), Vec::<String>::new(), "neither of the two writes");
    assert_eq!(writes_by(SECOND_USER, plane, start).unwrap(), Vec::<String>::new(), "the cluster is the first one's");

    // What the new holder puts into a namespace that both have is no business of the former one, which has not noticed yet.
    let mut limited = a_project("shop", &["team-web", "team-new"]);
    limited["spec"]["containerDefaults"] = json!({"limits": {"memory": "256Mi"}});
    second.apply(&limited).await.unwrap();
    eu["spec"]["claim"] = json!({"takeFrom": "e2e"});
    second.apply(&eu).await.unwrap();
    reads(&second, "cluster", "eu", "Accepted", "True/Claimed").await;
    reads(&first, "cluster", "eu", "Ready", "False/ClaimedByOther").await;
    reads(&first, "cluster", "eu", "Accepted", "False/ClaimedByOther").await;
    let uid = second.kubectl(&["get", "namespace", "kube-system", "--output=jsonpath={.metadata.uid}"]).unwrap();
    let told = get(&first, "cluster", "eu").await.unwrap()["status"]["conditions"].to_string();
    assert!(told.contains(&uid), "the holder is named: {told}");

    let mark = plane.audit_mark().unwrap();
    converged(&second, "shop").await;
    let mut of_former = writes_by(DROVER_USER, plane, start).unwrap();
    of_former.retain(|written| written.contains("limitranges"));
    assert_eq!(of_former, Vec::<String>::new(), "the guards of the new holder");
    first.apply(&a_project("shop", &["team-web", "team-old"])).await.unwrap();
    remove_namespace(plane, "team-web").await.unwrap();
    namespace_becomes(&first, "eu", "team-web", "the new holder restores it", |found| found.is_some()).await;
    tokio::time::sleep(two_periods()).await;
    assert_eq!(writes_by(DROVER_USER, plane, mark).unwrap(), Vec::<String>::new(), "the former holder");
    assert!(downstream_namespace(&first, "eu", "team-old").await.unwrap().is_none());
    assert!(downstream_namespace(&first, "eu", "team-new").await.unwrap().is_some());

    // What the former holder deletes does not wait for what is not its own any more.
    deleted(&first, "project", "shop").await;
    first.apply(&a_project("shop", &["team-web", "team-old"])).await.unwrap();
    assert_eq!(writes_by(DROVER_USER, plane, mark).unwrap(), Vec::<String>::new(), "the former holder");

    // Each wish is fulfilled once: two that name each other do not fight. The last one who changed a spec has it.
    let mut back = a_cluster("eu");
    back["spec"]["claim"] = json!({"takeFrom": uid});
    first.apply(&back).await.unwrap();
    reads(&first, "cluster", "eu", "Accepted", "True/Claimed").await;
    reads(&second, "cluster", "eu", "Ready", "False/ClaimedByOther").await;
    converged(&first, "shop").await;
    let is_released = |found: Option<&Value>| found.is_some_and(|found| found.pointer(OWNER).is_none());
    namespace_becomes(&first, "eu", "team-new", "who holds the cluster releases what it does not list", is_released)
        .await;
    let (kind, namespace, what) =
        ("limitrange", "team-web", "what the other one put there, once that is no news any more");
    downstream_becomes(&first, "eu", kind, namespace, "drover", what, is_released).await;
    let settled = plane.audit_mark().unwrap();
    tokio::time::sleep(two_periods()).await;
    for user in [DROVER_USER, SECOND_USER] {
        assert_eq!(writes_by(user, plane, settled).unwrap(), Vec::<String>::new(), "{user} goes on fighting");
    }
    assert_eq!(claim(&first, "eu").await.unwrap()["installation"], "e2e");
    // The one that lost it lets it go without a word to it.
    deleted(&second, "cluster", "eu").await;
    assert_eq!(claim(&first, "eu").await.unwrap()["installation"], "e2e");
    reads(&first, "cluster", "eu", "Ready", "True/Connected").await;
}

fn eu_kubeconfig(installation: &Installation) -> String {
    installation.cluster("eu").unwrap().kubeconfig_for(DROVER_USER, &[]).unwrap()
}

async fn two_clusters_for_one_and_the_management_cluster_by_kubeconfig_are_duplicates() {
    let Some(mut installation) = prepared("duplicates", &["eu"]).await else { return };
    // An older one, first by name too, that only says which cluster it is does not stand in its way.
    let path = "--output=jsonpath={.metadata.uid}";
    let uid = kubectl_on(installation.cluster("eu").unwrap(), &["get", "namespace", "kube-system", path]).unwrap();
    let mut claimed = a_cluster("claimed");
    claimed["spec"]["expectedUID"] = json!(uid);
    installation.kubectl(&["delete", "cluster.drover.dev", "eu"]).unwrap();
    installation.apply(&claimed).await.unwrap();
    installation.apply(&a_cluster("eu")).await.unwrap();
    installation.start_drover().await.unwrap();
    reads(&installation, "cluster", "claimed", "Ready", "False/SecretMissing").await;
    reads(&installation, "cluster", "eu", "Accepted", "True/Claimed").await;
    reads(&installation, "cluster", "eu", "Ready", "True/Connected").await;
    let mut twin = a_cluster("twin");
    twin["spec"]["connection"]["kubeconfig"]["secretRef"]["name"] = "eu".into();
    installation.apply(&twin).await.unwrap();
    reads(&installation, "cluster", "twin", "Ready", "False/SecretNotAllowed").await;
    let secret = ["label", "secret", "eu", "drover.dev/cluster-", "--namespace=drover-system"];
    installation.kubectl(&secret).unwrap();
    reads(&installation, "cluster", "twin", "Ready", "False/SecretMissing").await;
    reads(&installation, "cluster", "eu", "Ready", "True/Connected").await;
    installation.store_kubeconfig("eu").await.unwrap();
    installation.store_secret("twin", &eu_kubeconfig(&installation)).await.unwrap();
    installation.apply(&a_cluster("twin")).await.unwrap();
    reads(&installation, "cluster", "twin", "Ready", "False/DuplicateOf").await;
    let message = ready_condition(&installation, "twin").await["message"].to_string();
    assert!(message.contains("Cluster eu"), "{message}");

    let own = installation.management.kubeconfig_for(DROVER_USER, &[]).unwrap();
    installation.store_secret("own", &own).await.unwrap();
    installation.apply(&a_cluster("own")).await.unwrap();
    reads(&installation, "cluster", "own", "Ready", "False/DuplicateOf").await;
    let message = ready_condition(&installation, "own").await["message"].to_string();
    assert!(message.contains("local"), "{message}");
    reads(&installation, "cluster", "eu", "Ready", "True/Connected").await;

    // Once the first one is let go the other one takes its place.
    deleted(&installation, "cluster", "eu").await;
    reads(&installation, "cluster", "twin", "Ready", "True/Connected").await;
    assert_eq!(claim(&installation, "eu").await.unwrap(), json!({"installation": "e2e", "clusterName": "twin"}));
}
