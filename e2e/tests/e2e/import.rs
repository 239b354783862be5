//! `drover import` on real API servers.

use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Output};

use drover_e2e::control_plane::Component;
use drover_e2e::installation::{End, Installation, administrator_token, drover_binary, kubectl_on};
use drover_e2e::story::*;
use drover_e2e::wait::{eventually, soon};
use serde_json::{Value, json};

drover_e2e::tests![
    a_cluster_whose_kubeconfig_runs_a_program_comes_in_with_one_command_and_drover_has_only_its_own_rights,
    an_import_that_would_hit_something_else_is_refused_and_what_is_printed_can_be_applied,
    what_was_imported_is_detached_without_a_trace,
    a_detach_that_was_cut_off_is_ended_by_the_next_one,
    a_detach_that_nobody_carries_out_says_so,
    a_drover_that_is_gone_is_stood_in_for_by_force_but_not_one_that_runs,
    force_lets_go_of_a_cluster_that_is_away_and_of_projects_and_says_what_stays,
];

async fn a_cluster_whose_kubeconfig_runs_a_program_comes_in_with_one_command_and_drover_has_only_its_own_rights() {
    let Some(mut installation) = prepared("import", &["eu", "us"]).await else { return };
    installation.start_drover().await.unwrap();
    let person = kubeconfig_with_exec(&installation, "us").await;
    forget(&installation, "us").await;

    let output = import(&installation, &person, &["--name=us", "--apply"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(String::from_utf8_lossy(&output.stdout), "", "nothing is shown");
    reads(&installation, "cluster", "us", "Ready", "True/Connected").await;
    // The rest of the Cluster is the person's, who applies it as every other one.
    let mut consenting = a_cluster("us");
    consenting["metadata"]["labels"]["env"] = json!("test");
    installation.apply(&consenting).await.unwrap();
    let mut shop = a_project("shop", &["team-shop"]);
    shop["spec"]["clusters"] = json!({"names": ["us"]});
    shop["spec"]["deletionPolicy"] = json!("Delete");
    ready_with(&installation, &shop).await;
    let us = installation.cluster("us").unwrap();
    let bindings = kubectl_on(us, &["get", "clusterrolebindings", "--output=json"]).unwrap();
    let bindings: Value = serde_json::from_str(&bindings).unwrap();
    let ours = bindings["items"].as_array().unwrap().iter().filter(|binding| {
        binding["subjects"].as_array().is_some_and(|all| all.iter().any(|one| one["namespace"] == "drover-system"))
    });
    let roles: Vec<_> = ours.map(|binding| binding["roleRef"]["name"].as_str().unwrap().to_owned()).collect();
    assert_eq!(roles, ["drover-e2e"]);
    a_cluster_role_is_bound_once_the_import_names_it(&installation, &person).await;
    deleted(&installation, "project", "shop").await;
    assert_eq!(downstream_namespace(&installation, "us", "team-shop").await.unwrap(), None);

    let before = versions(&installation).await;
    assert!(import(&installation, &person, &["--name=us", "--apply"]).status.success());
    assert_eq!(versions(&installation).await, before, "a second import changes nothing");
}

/// The fence lets Drover bind `cluster-admin` only by the import's leave, and take it away without.
async fn a_cluster_role_is_bound_once_the_import_names_it(installation: &Installation, person: &str) {
    let version = "drover.dev/v1alpha1";
    let admins = json!({
        "apiVersion": version, "kind": "RoleTemplate", "metadata": {"name": "admins"},
        "spec": {"context": "Project", "externalClusterRoles": ["cluster-admin"], "bindableFrom": {"names": [TEAM]}},
    });
    let anna = json!({
        "apiVersion": version, "kind": "ProjectRoleTemplateBinding", "metadata": {"name": "anna", "namespace": TEAM},
        "spec": {"projectName": "shop", "roleTemplateName": "admins", "subjects": [{"kind": "User", "name": "anna"}]},
    });
    the_fence_stands(installation).await;
    installation.apply(&admins).await.unwrap();
    installation.apply(&anna).await.unwrap();
    let name = "drover:admins:external:cluster-admin";
    let role_binding = async |what: &str, is_there: bool| {
        let wanted = |found: Option<&Value>| found.is_some() == is_there;
        downstream_becomes(installation, "us", "rolebinding", "team-shop", name, what, wanted).await;
    };
    reads(installation, "project", "shop", "Ready", "False/Rejected").await;
    let said = problem(installation, "project", "shop").await;
    assert!(said.contains("cluster-admin") && said.contains("--bindable-cluster-role"), "{said}");
    role_binding("the fence refuses it", false).await;
    assert!(
        import(installation, person, &["--name=us", "--apply", "--bindable-cluster-role=cluster-admin"])
            .status
            .success()
    );
    // Drover would try it again within a minute.
    patch(installation, "project", "shop", json!({"metadata": {"labels": {"look": "again"}}})).await;
    role_binding("it is bound", true).await;
    converged(installation, "shop").await;

    let output = import(installation, person, &["--name=us", "--apply"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("binds the ClusterRole cluster-admin in this cluster no more"), "{said}");
    deleted(installation, "projectroletemplatebinding", "anna").await;
    role_binding("it is taken away", false).await;
    converged(installation, "shop").await;
}

/// An API server takes up a new admission policy within seconds, not at once.
async fn the_fence_stands(installation: &Installation) {
    let us = installation.cluster("us").unwrap();
    let line = "create rolebinding probe --clusterrole=cluster-admin --user=anna --namespace=team-shop --dry-run=server \
                --as=system:serviceaccount:drover-system:drover-e2e";
    let arguments: Vec<_> = line.split_whitespace().collect();
    let is_refused =
        || kubectl_on(us, &arguments).err().filter(|said| said.to_string().contains("--bindable-cluster-role"));
    eventually("the fence of the import stands", soon(), async || Ok(is_refused())).await.unwrap();
}

async fn an_import_that_would_hit_something_else_is_refused_and_what_is_printed_can_be_applied() {
    let Some(installation) = prepared("import refused", &["eu", "us"]).await else { return };
    let person = kubeconfig_with_exec(&installation, "us").await;
    let refused = |arguments: &[&str]| {
        let output = import(&installation, &person, arguments);
        assert!(!output.status.success());
        String::from_utf8(output.stderr).unwrap()
    };
    assert!(refused(&["--name=us", "--apply"]).contains("drover-system/us was not made by an import"));
    patch(&installation, "cluster", "eu", json!({"spec": {"expectedUID": "0"}})).await;
    assert!(refused(&["--name=eu", "--apply"]).contains("stands for another cluster"));
    let own = installation.management.kubeconfig_path().display().to_string();
    let context = installation.kubectl(&["config", "current-context"]).unwrap();
    let itself = [format!("--kubeconfig={own}"), format!("--context={}", context.trim()), "--name=me".to_owned()];
    let output = drover(&installation, &itself);
    assert!(String::from_utf8_lossy(&output.stderr).contains("the management cluster itself"), "{output:?}");

    let output = import(&installation, &person, &["--name=printed"]);
    let printed = String::from_utf8(output.stdout).unwrap();
    assert!(installation.kubectl(&["get", "cluster", "printed"]).is_err(), "nothing is applied");
    installation.apply_text(&printed).await.unwrap();
    assert_eq!(get(&installation, "cluster", "printed").await.unwrap()["metadata"]["name"], "printed");
    let nobody = std::fs::read_to_string(&person)
        .unwrap()
        .replace(&installation.cluster("us").unwrap().endpoint(), "https://127.0.0.1:1");
    let elsewhere = format!("{person}.elsewhere");
    std::fs::write(&elsewhere, nobody).unwrap();
    let output = import(&installation, &elsewhere, &["--name=third"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        said.contains("downstream cluster: cannot get the namespace kube-system") && said.contains("refused"),
        "{said}"
    );
    let bad = import(&installation, &person, &["--name=third", "--installation=No Label"]);
    assert!(String::from_utf8_lossy(&bad.stderr).contains("--installation"));
}

async fn what_was_imported_is_detached_without_a_trace() {
    let Some(mut installation) = prepared("detach", &["eu", "us"]).await else { return };
    installation.start_drover().await.unwrap();
    let person = kubeconfig_with_exec(&installation, "us").await;
    forget(&installation, "us").await;
    let before = traces(&installation);
    assert!(import(&installation, &person, &["--name=us", "--apply"]).status.success());
    reads(&installation, "cluster", "us", "Ready", "True/Connected").await;
    assert_ne!(traces(&installation), before);
    installation.kubectl(&["annotate", "cluster", "us", "argocd.argoproj.io/tracking-id=fleet:x"]).unwrap();

    let wrong = kubeconfig_with_exec(&installation, "eu").await;
    let output = detach(&installation, &["us", &format!("--kubeconfig={wrong}"), "--context=prod"]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("stands for another cluster"), "{output:?}");
    let mistyped = detach(&installation, &["uss", &format!("--kubeconfig={person}"), "--context=prod"]);
    let said = String::from_utf8_lossy(&mistyped.stderr);
    assert!(said.contains("the Cluster us, which stays in the fleet"), "{said}");
    let output = detach(&installation, &["us", &format!("--kubeconfig={person}"), "--context=prod"]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{said}");
    assert!(said.contains("Argo CD applied the Cluster us"), "{said}");
    assert_eq!(traces(&installation), before);
    assert!(installation.kubectl(&["get", "cluster", "us"]).is_err());
    assert!(installation.kubectl(&["get", "secret", "us", "--namespace=drover-system"]).is_err());

    let output = detach(&installation, &["--all"]);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(installation.kubectl(&["get", "clusters.drover.dev", "--output=name"]).unwrap(), "");
    let secrets = installation.kubectl(&["get", "secret", "eu", "--namespace=drover-system", "--output=name"]);
    assert_eq!(secrets.unwrap().trim(), "secret/eu", "a Secret that no import made is somebody's");
}

async fn a_detach_that_was_cut_off_is_ended_by_the_next_one() {
    let Some(mut installation) = prepared("detach again", &["us"]).await else { return };
    installation.start_drover().await.unwrap();
    let person = kubeconfig_with_exec(&installation, "us").await;
    forget(&installation, "us").await;
    let before = traces(&installation);
    assert!(import(&installation, &person, &["--name=us", "--apply"]).status.success());
    // So far it came: the Cluster is gone, and nothing else.
    deleted(&installation, "cluster", "us").await;
    let output = detach(&installation, &["us", &format!("--kubeconfig={person}"), "--context=prod"]);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(traces(&installation), before);
    assert!(installation.kubectl(&["get", "secret", "us", "--namespace=drover-system"]).is_err());
    // And by `--all`, which knows no names any more.
    assert!(import(&installation, &person, &["--name=us", "--apply"]).status.success());
    deleted(&installation, "cluster", "us").await;
    assert!(detach(&installation, &["--all"]).status.success());
    assert!(installation.kubectl(&["get", "secret", "us", "--namespace=drover-system"]).is_err());
}

async fn a_detach_that_nobody_carries_out_says_so() {
    let Some(mut installation) = prepared("detach alone", &["eu"]).await else { return };
    installation.start_drover().await.unwrap();
    reads(&installation, "cluster", "eu", "Ready", "True/Connected").await;
    installation.stop_drover(End::Terminate).await.unwrap();
    let output = detach(&installation, &["eu", "--timeout=2s"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("is Drover running?"), "{said}");
}

async fn a_drover_that_is_gone_is_stood_in_for_by_force_but_not_one_that_runs() {
    let Some(mut installation) = prepared("detach by force", &["us"]).await else { return };
    installation.start_drover_as("the-leader").await.unwrap();
    let person = kubeconfig_with_exec(&installation, "us").await;
    forget(&installation, "us").await;
    let before = traces(&installation);
    assert!(import(&installation, &person, &["--name=us", "--apply"]).status.success());
    reads(&installation, "cluster", "us", "Ready", "True/Connected").await;
    let theirs = json!([{"op": "add", "path": "/metadata/finalizers/-", "value": "example.com/theirs"}]);
    patch(&installation, "cluster", "us", theirs).await;
    let refused = detach(&installation, &["us", "--force", "--timeout=2s"]);
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success() && said.contains("the-leader renews the Lease drover-system/drover"), "{said}");
    let lives = get(&installation, "cluster", "us").await.unwrap();
    assert_eq!(lives["metadata"].get("deletionTimestamp"), None, "nothing was done");

    installation.stop_drover(End::Kill).await.unwrap();
    patch(&installation, "cluster", "us", json!({"spec": {"suspend": true}})).await;
    let output = detach(&installation, &["us", "--force", "--timeout=2s"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("spec.suspend is set") && claim(&installation, "us").await.is_some(), "{said}");
    patch(&installation, "cluster", "us", json!({"spec": {"suspend": false}})).await;
    // By the stored kubeconfig; what is somebody else's stays.
    let output = detach(&installation, &["us", "--force", "--timeout=2s"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("not Drover's: example.com/theirs"), "{said}");
    assert!(said.contains("its claim is released") && claim(&installation, "us").await.is_none(), "{said}");
    let held = get(&installation, "cluster", "us").await.unwrap();
    assert_eq!(held["metadata"]["finalizers"], json!(["example.com/theirs"]));
    patch(&installation, "cluster", "us", json!({"metadata": {"finalizers": []}})).await;
    let output = detach(&installation, &["us", "--force", &format!("--kubeconfig={person}"), "--context=prod"]);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(traces(&installation), before);
    assert!(installation.kubectl(&["get", "secret", "us", "--namespace=drover-system"]).is_err());
}

async fn force_lets_go_of_a_cluster_that_is_away_and_of_projects_and_says_what_stays() {
    let Some(mut installation) = prepared("detach all by force", &["eu", "us"]).await else { return };
    let person = kubeconfig_with_exec(&installation, "eu").await;
    for name in ["shop", "stays"] {
        installation.apply(&a_project(name, &[&format!("team-{name}")])).await.unwrap();
    }
    installation.start_drover().await.unwrap();
    converged(&installation, "shop").await;
    converged(&installation, "stays").await;
    installation.stop_drover(End::Terminate).await.unwrap();
    delete(&installation, "project", "shop").await;
    patch(&installation, "cluster", "us", json!({"spec": {"deletionPolicy": "Delete"}})).await;
    let others = json!({"data": {"installation": "others"}});
    patch_downstream(&installation, "us", "configmap", "drover-system", "drover-claim", others).await;
    installation.cluster_mut("eu").unwrap().stop(Component::Apiserver).await.unwrap();

    let output = detach(&installation, &["--all", "--force"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("`drover detach eu --force --context CONTEXT` removes it later"), "{said}");
    assert!(said.contains("does not carry out the policy Delete of the Cluster us"), "{said}");
    assert!(said.contains(r#"of the installation "others", and stays"#), "{said}");
    assert_eq!(claim(&installation, "us").await.unwrap()["installation"], "others", "it is not ours");
    assert_eq!(installation.kubectl(&["get", "clusters.drover.dev", "--output=name"]).unwrap(), "");
    let projects = installation.kubectl(&["get", "projects.drover.dev", "--all-namespaces", "--output=name"]).unwrap();
    assert_eq!(projects.trim(), "project.drover.dev/stays");
    let namespace = downstream_namespace(&installation, "us", "team-shop").await.unwrap().unwrap();
    assert_eq!(namespace["metadata"]["labels"]["drover.dev/owner-name"], "shop");

    installation.cluster_mut("eu").unwrap().start_again(Component::Apiserver).await.unwrap();
    assert!(claim(&installation, "eu").await.is_some());
    let output = detach(&installation, &["eu", "--force", &format!("--kubeconfig={person}"), "--context=prod"]);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(claim(&installation, "eu").await, None);
}

/// What there is in the cluster `us` that an import may leave behind.
fn traces(installation: &Installation) -> String {
    let us = installation.cluster("us").unwrap();
    let everywhere = kubectl_on(us, &["get", "clusterroles,clusterrolebindings", "--output=name"]).unwrap();
    let kinds = "serviceaccounts,secrets,roles,rolebindings,configmaps";
    let inside = kubectl_on(us, &["get", kinds, "--namespace=drover-system", "--output=name"]).unwrap();
    // The cluster itself puts it there, some time after the namespace.
    everywhere + &inside.replace("configmap/kube-root-ca.crt\n", "")
}

/// Takes a Cluster and its Secret away again, so that an import can bring them.
async fn forget(installation: &Installation, name: &str) {
    deleted(installation, "cluster", name).await;
    deleted(installation, "secret", &format!("drover-system/{name}")).await;
}

fn detach(installation: &Installation, arguments: &[&str]) -> Output {
    let mut command = Command::new(drover_binary().unwrap());
    command.arg("detach").arg("--management-kubeconfig").arg(installation.management.kubeconfig_path());
    command.args(["--installation=e2e", "--allow-local-addresses"]).args(arguments).output().unwrap()
}

/// A kubeconfig of a person for the cluster `name`, in which a program prints the credential.
async fn kubeconfig_with_exec(installation: &Installation, name: &str) -> String {
    let plane = installation.cluster(name).unwrap();
    let token = administrator_token(plane, "default", "person").await.unwrap();
    let mut kubeconfig: Value = serde_yaml::from_str(&plane.kubeconfig_with_token(&token)).unwrap();
    let credential = json!({
        "apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential",
        "status": {"token": kubeconfig["users"][0]["user"]["token"]},
    });
    let program = installation.directory().join(format!("{name}-login"));
    std::fs::write(&program, format!("#!/bin/sh\necho '{credential}'\n")).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o700)).unwrap();
    kubeconfig["users"][0]["user"] = json!({"exec": {
        "apiVersion": "client.authentication.k8s.io/v1", "command": program, "interactiveMode": "Never",
    }});
    kubeconfig["contexts"][0]["name"] = json!("prod");
    let path = installation.directory().join(format!("{name}.kubeconfig"));
    std::fs::write(&path, kubeconfig.to_string()).unwrap();
    path.display().to_string()
}

fn import(installation: &Installation, person: &str, arguments: &[&str]) -> Output {
    let from = [format!("--kubeconfig={person}"), "--context=prod".to_owned()];
    drover(installation, &from.into_iter().chain(arguments.iter().map(|&text| text.to_owned())).collect::<Vec<_>>())
}

fn drover(installation: &Installation, arguments: &[String]) -> Output {
    let mut command = Command::new(drover_binary().unwrap());
    command.arg("import").arg("--management-kubeconfig").arg(installation.management.kubeconfig_path());
    command.args(["--installation=e2e"].iter().filter(|_| !arguments.iter().any(|text| text.contains("installation"))));
    command.args(arguments).output().unwrap()
}

/// Resource versions of what an import makes; the status of the Cluster may go on.
async fn versions(installation: &Installation) -> Vec<Value> {
    let secret = ["get", "secret", "us", "--namespace=drover-system", "--output=json"];
    let secret: Value = serde_json::from_str(&installation.kubectl(&secret).unwrap()).unwrap();
    let us = installation.cluster("us").unwrap();
    let kinds = "serviceaccounts,secrets,roles,rolebindings";
    let there = kubectl_on(us, &["get", kinds, "--namespace=drover-system", "--output=json"]).unwrap();
    let there: Value = serde_json::from_str(&there).unwrap();
    let version = |object: &Value| object["metadata"]["resourceVersion"].clone();
    let generation = get(installation, "cluster", "us").await.unwrap()["metadata"]["generation"].clone();
    there["items"].as_array().unwrap().iter().map(version).chain([version(&secret), generation]).collect()
}
