//! What admission refuses, downstream and in the management cluster, on real API servers: it is named, and it heals by itself.

use drover_e2e::control_plane::ControlPlane;
use drover_e2e::installation::kubectl_on;
use drover_e2e::objects::apply_to;
use drover_e2e::story::*;
use drover_e2e::wait::{eventually, soon};
use serde_json::{Value, json};

drover_e2e::tests![
    stories:
    what_a_cluster_refuses_is_named_each_with_who_refuses_it_and_heals_once_that_goes,
    what_the_management_cluster_refuses_drover_itself_is_told_and_heals_once_that_goes,
];

const API: &str = "admissionregistration.k8s.io/v1";

/// A policy that refuses an object of this kind unless the expression holds.
async fn refuse(plane: &ControlPlane, group: &str, operation: &str, resource: &str, unless: &str) {
    let rule = json!({"apiGroups": [group], "apiVersions": ["*"], "operations": [operation], "resources": [resource]});
    let policy = json!({
        "apiVersion": API, "kind": "ValidatingAdmissionPolicy", "metadata": {"name": "frozen"},
        "spec": {
            "matchConstraints": {"resourceRules": [rule]},
            "validations": [{"expression": unless, "message": "no changes until Monday"}],
        },
    });
    let binding = json!({
        "apiVersion": API, "kind": "ValidatingAdmissionPolicyBinding", "metadata": {"name": "frozen"},
        "spec": {"policyName": "frozen", "validationActions": ["Deny"]},
    });
    for object in [policy, binding] {
        apply_to(plane, &object).await.unwrap();
    }
}

/// Until the policy is at work, which takes the API server a moment.
async fn until_refused(plane: &ControlPlane, attempt: &[&str]) {
    let attempt = [attempt, &["--dry-run=server"]].concat();
    eventually("the policy is at work", soon(), async || Ok(kubectl_on(plane, &attempt).is_err().then_some(())))
        .await
        .unwrap();
}

fn allow(plane: &ControlPlane) {
    kubectl_on(plane, &["delete", "validatingadmissionpolicybinding", "frozen"]).unwrap();
}

async fn what_a_cluster_refuses_is_named_each_with_who_refuses_it_and_heals_once_that_goes() {
    let Some(mut installation) = prepared_restful("a cluster refuses", &["eu"]).await else { return };
    let eu = installation.cluster("eu").unwrap();
    refuse(eu, "", "CREATE", "configmaps", "object.metadata.name != 'drover-claim'").await;
    until_refused(eu, &["create", "configmap", "drover-claim"]).await;
    installation.start_drover().await.unwrap();
    reads(&installation, "cluster", "eu", "Accepted", "False/ClaimRefused").await;
    reads(&installation, "cluster", "eu", "Connected", "True/Connected").await;
    let eu = installation.cluster("eu").unwrap();
    allow(eu);
    reads(&installation, "cluster", "eu", "Ready", "True/Connected").await;

    refuse(eu, "", "CREATE", "namespaces", "!(object.metadata.name in ['team-1', 'team-2'])").await;
    until_refused(eu, &["create", "namespace", "team-1"]).await;
    installation.apply(&a_project("shop", &["team-0", "team-1", "team-2", "team-3", "team-4"])).await.unwrap();
    eventually("three are counted and two are named", soon(), async || {
        let status = get(&installation, "project", "shop").await?["status"].take();
        let problems = status["problems"].as_array().cloned().unwrap_or_default();
        let named: Vec<&Value> = problems.iter().map(|problem| &problem["namespace"]).collect();
        Ok((status["namespaces"]["summary"] == "3/5" && named == ["team-1", "team-2"]).then_some(()))
    })
    .await
    .unwrap();
    reads(&installation, "project", "shop", "Ready", "False/Rejected").await;
    let message = problem(&installation, "project", "shop").await;
    let expected = "cannot create Namespace team-1: the admission policy frozen refuses it: no changes until Monday";
    assert!(message.contains(expected), "{message}");
    allow(eu);
    converged(&installation, "shop").await;

    let webhook = json!({
        "apiVersion": API, "kind": "ValidatingWebhookConfiguration", "metadata": {"name": "down"},
        "webhooks": [{
            "name": "down.example.com", "clientConfig": {"url": "https://127.0.0.1:1/check"},
            "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["namespaces"]}],
            "admissionReviewVersions": ["v1"], "sideEffects": "None", "failurePolicy": "Fail",
            "matchConditions": [{"name": "hooked", "expression": "object.metadata.name == 'team-hooked'"}],
        }],
    });
    apply_to(eu, &webhook).await.unwrap();
    until_refused(eu, &["create", "namespace", "team-hooked"]).await;
    installation.apply(&a_project("shop", &["team-0", "team-hooked"])).await.unwrap();
    reads(&installation, "project", "shop", "Reconciling", "True/WebhookFailed").await;
    let message = problem(&installation, "project", "shop").await;
    assert!(message.contains("the admission webhook down.example.com does not answer"), "{message}");
    kubectl_on(eu, &["delete", "validatingwebhookconfiguration", "down"]).unwrap();
    converged(&installation, "shop").await;
}

async fn what_the_management_cluster_refuses_drover_itself_is_told_and_heals_once_that_goes() {
    let Some(installation) = restful_story("the management cluster refuses", &["eu"]).await else { return };
    ready_with(&installation, &a_project("probe", &[])).await;
    let manager = &installation.management;
    refuse(manager, "drover.dev", "UPDATE", "projects", "!has(object.metadata.finalizers)").await;
    until_refused(manager, &["--namespace=team", "annotate", "project.drover.dev", "probe", "try=this"]).await;
    installation.apply(&a_project("shop", &["team-web"])).await.unwrap();
    reads(&installation, "project", "shop", "Ready", "False/Rejected").await;
    eventually("an event tells it", soon(), async || {
        let events = installation.kubectl(&["get", "events", "--all-namespaces"])?;
        let told =
            |line: &&str| line.contains("project/shop") && line.contains("the admission policy frozen refuses it");
        Ok(events.lines().any(|line| told(&line)).then_some(()))
    })
    .await
    .unwrap();
    assert_eq!(downstream_namespace(&installation, "eu", "team-web").await.unwrap(), None);
    allow(manager);
    converged(&installation, "shop").await;
}
