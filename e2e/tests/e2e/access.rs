//! `drover access` on real API servers.

use std::process::Command;

use drover_e2e::installation::{Installation, drover_binary};
use drover_e2e::story::*;
use serde_json::{Value, json};

drover_e2e::tests![who_may_do_what_is_told_with_the_binding_that_says_so_and_with_quota,];

/// What `drover access` prints.
fn access(installation: &Installation, arguments: &[&str]) -> String {
    let management = format!("--management-kubeconfig={}", installation.management.kubeconfig_path().display());
    let output = Command::new(drover_binary().unwrap())
        .args(["access", &management, "--allow-local-addresses"])
        .args(arguments)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The cells of a table.
fn cells(table: &str) -> Vec<Vec<&str>> {
    table.lines().map(|line| line.split("   ").map(str::trim).filter(|cell| !cell.is_empty()).collect()).collect()
}

async fn who_may_do_what_is_told_with_the_binding_that_says_so_and_with_quota() {
    let Some(installation) = story("access", &["eu"]).await else { return };
    let role = |name: &str, context: &str, more: Value| {
        let rule = json!({"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list"]});
        let mut spec = json!({"context": context, "rules": [rule]});
        spec.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap_or_default());
        json!({"apiVersion": "drover.dev/v1alpha1", "kind": "RoleTemplate", "metadata": {"name": name}, "spec": spec})
    };
    installation.apply(&role("reader", "Project", json!({"bindableFrom": {"names": [TEAM]}}))).await.unwrap();
    installation.apply(&role("auditor", "Cluster", json!({}))).await.unwrap();
    let mut shop = a_project("shop", &["team-web", "team-db"]);
    shop["spec"]["quota"] = json!({"perCluster": {"pods": "10"}, "namespaceDefault": {"pods": "4"}});
    installation.apply(&shop).await.unwrap();
    let ann = json!({"kind": "User", "name": "ann"});
    installation
        .apply(&json!({
            "apiVersion": "drover.dev/v1alpha1", "kind": "ProjectRoleTemplateBinding",
            "metadata": {"name": "readers", "namespace": TEAM},
            "spec": {
                "projectName": "shop", "roleTemplateName": "reader", "subjects": [ann], "expiresAt": "2099-01-31T00:00:00Z",
            },
        }))
        .await
        .unwrap();
    let auditors = json!({"kind": "Group", "name": "auditors"});
    installation
        .apply(&json!({
            "apiVersion": "drover.dev/v1alpha1", "kind": "ClusterRoleTemplateBinding", "metadata": {"name": "auditors"},
            "spec": {"clusters": {"all": {}}, "roleTemplateName": "auditor", "subjects": [auditors]},
        }))
        .await
        .unwrap();
    converged(&installation, "shop").await;
    reads(&installation, "projectroletemplatebinding", "readers", "Ready", "True/Ready").await;
    reads(&installation, "clusterroletemplatebinding", "auditors", "Ready", "True/Ready").await;

    let told = access(&installation, &["--user=ann"]);
    let row = ["User ann", "reader", "team-web,team-db", "eu", "2099-01-31T00:00:00Z", "Ready on 1/1 clusters"];
    let row: Vec<&str> = row.into_iter().chain(["ProjectRoleTemplateBinding team/readers"]).collect();
    assert_eq!(cells(&told)[1], row, "{told}");
    assert!(access(&installation, &["--user=eve"]).starts_with("No binding of Drover gives a role here."));

    let told = access(&installation, &["--namespace=team-web", "--cluster=eu"]);
    let subjects: Vec<&str> = cells(&told)[1..3].iter().map(|row| row[0]).collect();
    assert_eq!(subjects, ["User ann", "Group auditors"], "{told}");
    assert_eq!(cells(&told).last().unwrap(), &["eu", "drover", "pods", "4", "0"], "{told}");

    let told: Value = serde_json::from_str(&access(&installation, &["--group=auditors", "--output=json"])).unwrap();
    assert_eq!(told["grants"][0]["roleTemplate"], "auditor");
    assert_eq!(told["grants"][0]["clusters"], json!(["eu"]));
}
