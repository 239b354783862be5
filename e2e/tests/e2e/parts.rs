//! Several Deployments that each run a part of Drover, on real API servers.

use std::process::{Command, Output};

use drover_e2e::installation::{Installation, drover_binary};
use drover_e2e::process::{Process, Specification};
use drover_e2e::story::*;
use serde_json::json;

drover_e2e::tests![each_part_runs_by_its_own_rights_and_both_together_do_all,];

async fn each_part_runs_by_its_own_rights_and_both_together_do_all() {
    let Some(installation) = prepared("parts", &["eu"]).await else { return };
    // Without the rights of the chart, so that nothing is done by anybody else.
    installation.helm(&["uninstall", "drover"]).unwrap();
    let _parts = (start(&installation, "cluster").await, start(&installation, "project").await);
    let mut shop = a_project("shop", &["team-shop"]);
    shop["spec"]["deletionPolicy"] = json!("Delete");
    installation.apply(&shop).await.unwrap();
    reads(&installation, "cluster", "eu", "Ready", "True/Connected").await;
    converged(&installation, "shop").await;
    for (part, right, answer) in [
        ("cluster", ["patch", "projects.drover.dev"], "no"),
        ("project", ["patch", "projects.drover.dev"], "yes"),
        ("project", ["patch", "clusters.drover.dev"], "no"),
    ] {
        let account = format!("--as=system:serviceaccount:drover-system:drover-{part}");
        let asked = installation.kubectl(&["auth", "can-i", right[0], right[1], &account]);
        assert_eq!(if asked.is_ok() { "yes" } else { "no" }, answer, "{part}: {right:?}");
    }

    // A part is a Drover that runs.
    let management = installation.management.kubeconfig_path();
    let refused = drover(&["detach", "eu", "--force", "--management-kubeconfig", &management.display().to_string()]);
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success() && said.contains("the Lease drover-system/drover-"), "{said}");
    assert_eq!(get(&installation, "cluster", "eu").await.unwrap()["metadata"].get("deletionTimestamp"), None);

    deleted(&installation, "project", "shop").await;
    assert_eq!(downstream_namespace(&installation, "eu", "team-shop").await.unwrap(), None);
    deleted(&installation, "cluster", "eu").await;
}

/// Starts a `drover` that runs one operator, as a `ServiceAccount` with the roles that `drover rbac` prints for it.
async fn start(installation: &Installation, part: &str) -> Process {
    let name = format!("drover-{part}");
    let folder = installation.directory().join(&name);
    let operators = format!("--operators={part}");
    let written = drover(&["rbac", &operators, "--output", &folder.display().to_string()]);
    assert!(written.status.success(), "{written:?}");
    installation.apply_text(&std::fs::read_to_string(folder.join("management.yaml")).unwrap()).await.unwrap();
    let namespace = "--namespace=drover-system";
    let account = format!("--serviceaccount=drover-system:{name}");
    installation.kubectl(&["create", "serviceaccount", &name, namespace]).unwrap();
    let role = format!("--clusterrole={name}");
    installation.kubectl(&["create", "clusterrolebinding", &name, &role, &account]).unwrap();
    installation.kubectl(&["create", "rolebinding", &name, &format!("--role={name}"), &account, namespace]).unwrap();
    let token = installation.kubectl(&["create", "token", &name, namespace, "--duration=2h"]).unwrap();
    let kubeconfig = folder.join("kubeconfig");
    std::fs::write(&kubeconfig, installation.management.kubeconfig_with_token(token.trim())).unwrap();
    let kubeconfig = format!("--kubeconfig={}", kubeconfig.display());
    let arguments =
        ["run", &operators, &kubeconfig, "--admin-address=127.0.0.1:0", "--allow-local-addresses", "--log-format=text"];
    let specification = Specification {
        program: drover_binary().unwrap(),
        arguments: arguments.map(str::to_owned).to_vec(),
        log: folder.join("log"),
        environment: Vec::new(),
        name,
    };
    Process::start(&specification).unwrap()
}

fn drover(arguments: &[&str]) -> Output {
    Command::new(drover_binary().unwrap()).args(arguments).output().unwrap()
}
