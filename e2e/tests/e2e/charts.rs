//! The charts with the real Helm: what they render, and an installation's whole life with objects in place.

use std::path::{Path, PathBuf};
use std::process::Command;

use drover_e2e::existing::skip;
use drover_e2e::installation::{
    CHART_VALUES, DROVER_USER, End, Installation, chart, charts, downstream_roles, grant_downstream_roles,
};
use drover_e2e::objects::{apply_text_to, find};
use drover_e2e::{Program, Tools, require_or_skip};
use mlua::LuaSerdeExt as _;
use serde_json::{Value, json};

use drover_e2e::story::*;

drover_e2e::tests![
    values_show_in_what_is_rendered,
    bad_values_are_refused_by_name,
    every_value_is_in_the_schema_and_the_other_way_round,
    an_installation_is_upgraded_rolled_back_removed_and_installed_again_with_objects_in_place,
    an_installation_of_the_previous_charts_is_upgraded_with_objects_in_place,
    the_roles_that_ship_are_enough,
    a_role_that_lacks_what_drover_needs_is_said_and_granting_it_heals,
    drover_reads_secrets_in_its_own_namespace_only_unless_allowed_and_grants_itself_nothing,
    argocd_reads_health_as_kstatus_does,
];

/// Renders the chart `drover` as `helm template` does: the objects, or what Helm says against it.
fn rendered(namespace: &str, values: &[&str]) -> Result<Vec<Value>, String> {
    let mut command = Command::new(Tools::from_environment().unwrap().path(Program::Helm).unwrap());
    command.args(["template", "drover", &chart("drover"), "--namespace", namespace, "--kube-version=1.37.1"]);
    command.args(values.iter().flat_map(|value| ["--set", value]));
    let output = command.output().unwrap();
    if !output.status.success() {
        return Err(String::from_utf8(output.stderr).unwrap());
    }
    let documents = serde_yaml::Deserializer::from_slice(&output.stdout);
    let objects = documents.map(|document| serde::Deserialize::deserialize(document).unwrap());
    Ok(objects.filter(|object: &Value| !object.is_null()).collect())
}

fn of_kind<'objects>(objects: &'objects [Value], kind: &str) -> Vec<&'objects Value> {
    objects.iter().filter(|object| object["kind"] == kind).collect()
}

async fn values_show_in_what_is_rendered() {
    if !require_or_skip("rendered", &[Program::Helm]).await.unwrap() {
        return;
    }
    let image = "image.repository=registry.example.com/drover";
    let objects = rendered("drover-system", &[image]).unwrap();
    for (kind, count) in [("Deployment", 1), ("PodDisruptionBudget", 1), ("NetworkPolicy", 1), ("ServiceMonitor", 0)] {
        assert_eq!(of_kind(&objects, kind).len(), count, "{kind} by default");
    }
    assert!(of_kind(&objects, "RoleTemplate").iter().any(|role| role["metadata"]["name"] == "project-owner"));
    let people = of_kind(&objects, "ClusterRole");
    let rules = |name: &str| people.iter().find(|role| role["metadata"]["name"] == name).unwrap()["rules"].clone();
    assert_eq!(rules("drover-view")[0]["verbs"], json!(["get", "list", "watch"]));
    assert!(rules("drover-edit").is_array() && rules("drover-admin").is_array());
    let written = rules("drover-platform")[0]["resources"].clone();
    assert!(
        ["clusters", "projects"].iter().all(|kind| written.as_array().unwrap().contains(&json!(kind))),
        "{written}"
    );
    let pod = &of_kind(&objects, "Deployment")[0]["spec"]["template"]["spec"];
    assert_eq!(pod["containers"][0]["image"], "registry.example.com/drover:0.1.0");
    assert_eq!(pod["containers"][0]["securityContext"]["capabilities"]["drop"], json!(["ALL"]));
    let shown = pod.to_string();
    assert!(!shown.contains("DROVER_ALLOW_LOCAL_ADDRESSES"), "{shown}");

    let digest = format!("image.digest=sha256:{}", "a".repeat(64));
    let values = [
        "replicaCount=1",
        image,
        "proxy.https=http://proxy:3128",
        "allowLocalAddresses=true",
        "caBundle.configMap=authorities",
        "metrics.serviceMonitor.enabled=true",
        "argocd.healthScript=true",
        "local.enabled=true",
        "managementRoles={viewers,drover-view}",
        "roleTemplates.create=false",
        &digest,
    ];
    let objects = rendered("drover-system", &values).unwrap();
    for (kind, count) in [("PodDisruptionBudget", 0), ("ServiceMonitor", 1), ("ConfigMap", 1), ("RoleTemplate", 0)] {
        assert_eq!(of_kind(&objects, kind).len(), count, "{kind} with these values");
    }
    let pod = &of_kind(&objects, "Deployment")[0]["spec"]["template"]["spec"];
    assert_eq!(pod["containers"][0]["image"], format!("registry.example.com/drover@sha256:{}", "a".repeat(64)));
    assert_eq!(pod["volumes"][0]["configMap"]["name"], "authorities");
    let environment = pod["containers"][0]["env"].as_array().unwrap();
    let value = |name: &str| environment.iter().find(|entry| entry["name"] == name).map(|entry| entry["value"].clone());
    assert_eq!(value("DROVER_ALLOW_LOCAL_ADDRESSES"), Some(json!("true")));
    assert_eq!(value("DROVER_MANAGEMENT_ROLES"), Some(json!("viewers,drover-view")));
    assert_eq!(value("HTTPS_PROXY"), Some(json!("http://proxy:3128")));
    assert_eq!(value("NO_PROXY"), Some(json!("kubernetes.default.svc,$(KUBERNETES_SERVICE_HOST)")));
    assert_eq!(value("SSL_CERT_FILE"), Some(json!("/etc/drover/ca/ca.crt")));
}

async fn bad_values_are_refused_by_name() {
    if !require_or_skip("bad values", &[Program::Helm]).await.unwrap() {
        return;
    }
    for (value, named) in [
        ("replicas=3", "replicas"),
        ("replicaCount=-1", "/replicaCount"),
        ("log.format=xml", "/log/format"),
        ("image.digest=sha256:short", "/image/digest"),
        ("proxy.https=socks5://proxy", "/proxy/https"),
        ("allowLocalAddresses=10.0.0.0/8", "/allowLocalAddresses"),
        ("workers=0", "/workers"),
        ("metrics.serviceMonitor.interval=often", "/metrics/serviceMonitor/interval"),
        ("managementRoles={cluster-admin}", "/managementRoles/0"),
    ] {
        let refusal = rendered("drover-system", &[value]).unwrap_err();
        assert!(refusal.contains(named), "{value}: {refusal}");
    }
    let refusal = rendered("drover-system", &[]).unwrap_err();
    assert!(refusal.contains("image.repository is not set"), "a bare name is pulled from a public registry: {refusal}");
    let objects = rendered("drover-system", &["replicaCount=0"]).unwrap();
    let nowhere = of_kind(&objects, "Deployment")[0]["spec"]["template"]["spec"]["containers"][0]["image"].to_string();
    assert!(nowhere.contains(".invalid/drover:"), "{nowhere}");
    let refusal = rendered("elsewhere", &["replicaCount=0", "local.enabled=true"]).unwrap_err();
    assert!(refusal.contains("local.enabled needs the release to be in the namespace drover-system"), "{refusal}");
}

async fn every_value_is_in_the_schema_and_the_other_way_round() {
    let read = |name: &str| std::fs::read_to_string(Path::new(&chart("drover")).join(name)).unwrap();
    let values: Value = serde_yaml::from_str(&read("values.yaml")).unwrap();
    let schema: Value = serde_json::from_str(&read("values.schema.json")).unwrap();
    same_members("", &values, &schema);
}

fn same_members(path: &str, values: &Value, schema: &Value) {
    let Some(properties) = schema["properties"].as_object() else { return };
    let names = |object: &serde_json::Map<String, Value>| object.keys().cloned().collect::<Vec<_>>();
    let (mut in_values, mut in_schema) = (names(values.as_object().unwrap()), names(properties));
    in_values.sort();
    in_schema.sort();
    assert_eq!(in_values, in_schema, "members of {path:?}");
    for (name, inner) in properties {
        same_members(&format!("{path}/{name}"), &values[name], inner);
    }
}

async fn an_installation_is_upgraded_rolled_back_removed_and_installed_again_with_objects_in_place() {
    let Some(mut installation) = story("chart life", &["eu"]).await else { return };
    ready_with(&installation, &a_project("shop", &["team-shop"])).await;
    let before = identity(&installation).await;
    let uid = downstream_uid(&installation).await;

    let values = "replicaCount=0,local.enabled=true,installation=blue,log.filter=debug";
    installation.helm(&["upgrade", "drover", &chart("drover"), "--set", values]).unwrap();
    assert!(deployment(&installation).contains("DROVER_INSTALLATION"));
    let refused = installation.helm(&["upgrade", "drover", &chart("drover"), "--set", "replicaCount=many"]);
    assert!(refused.unwrap_err().to_string().contains("/replicaCount"));
    installation.helm(&["rollback", "drover", "1"]).unwrap();
    assert!(!deployment(&installation).contains("DROVER_INSTALLATION"));
    assert_eq!(identity(&installation).await, before);

    let newer = charts_with_one_more_field();
    installation.helm(&["upgrade", "drover-crds", &newer.path().display().to_string()]).unwrap();
    let mut with_field = a_project("shop", &["team-shop"]);
    with_field["spec"]["inventedLater"] = json!("yes");
    installation.apply(&with_field).await.unwrap();
    assert_eq!(get(&installation, "project", "shop").await.unwrap()["spec"]["inventedLater"], "yes");
    installation.helm(&["rollback", "drover-crds", "1"]).unwrap();
    ready_with(&installation, &a_project("shop", &["team-shop"])).await;

    installation.stop_drover(End::Terminate).await.unwrap();
    for release in ["drover", "drover-crds"] {
        installation.helm(&["uninstall", release]).unwrap();
    }
    let roles = installation.kubectl(&["get", "clusterrole", "drover", "drover-platform", "--ignore-not-found"]);
    assert_eq!(roles.unwrap(), "", "rights go");
    assert_eq!(identity(&installation).await, before, "definitions and objects stay");
    let select = ["get", "customresourcedefinitions", "--selector=app.kubernetes.io/part-of=drover", "--output=name"];
    let selected = installation.kubectl(&select).unwrap();
    assert_eq!(selected.lines().count(), drover_crds::all().len(), "what an uninstall may delete: {selected}");
    installation.helm(&["install", "drover-crds", &chart("drover-crds")]).unwrap();
    let role = async || get(&installation, "roletemplate", "project-owner").await.unwrap()["metadata"]["uid"].clone();
    let kept = role().await;
    installation.helm(&["install", "drover", &chart("drover"), "--set", "replicaCount=0"]).unwrap();
    assert_eq!(role().await, kept, "who has a role keeps it while Drover is removed");
    installation.start_drover().await.unwrap();
    ready_with(&installation, &a_project("shop", &["team-shop", "team-more"])).await;
    assert_eq!(identity(&installation).await, before);
    assert_eq!(downstream_uid(&installation).await, uid, "nothing was made anew");
}

async fn an_installation_of_the_previous_charts_is_upgraded_with_objects_in_place() {
    let test = "upgrade from the previous charts";
    let Some(previous) = previous_charts(test) else { return };
    let Some(mut installation) = prepared_from(&previous.path().join("charts"), test, &["eu"]).await else { return };
    // The drover of those charts is not at hand, and this one may need rights that they do not give yet.
    let ahead = ["clusterrolebinding", "ahead", "--clusterrole=cluster-admin", "--serviceaccount=drover-system:drover"];
    installation.kubectl(&[&["create"], &ahead[..]].concat()).unwrap();
    installation.start_drover().await.unwrap();
    ready_with(&installation, &a_project("shop", &["team-shop"])).await;
    installation.stop_drover(End::Terminate).await.unwrap();
    deleted(&installation, "clusterrolebinding", "ahead").await;
    let (before, uid) = (identity(&installation).await, downstream_uid(&installation).await);
    let quiet = marks(&installation).unwrap();

    installation.helm(&["upgrade", "drover-crds", &chart("drover-crds")]).unwrap();
    installation.helm(&["upgrade", "drover", &chart("drover"), "--set", CHART_VALUES]).unwrap();
    installation.timers = Some(Timers::SHORT);
    installation.start_drover().await.unwrap();
    says(&mut installation, 0, "connected cluster=eu").await;
    reads(&installation, "cluster", "eu", "Ready", "True/Connected").await;
    converged(&installation, "shop").await;
    tokio::time::sleep(two_periods()).await;
    let writes = writes_since(&installation, &quiet).unwrap().into_iter();
    let downstream: Vec<_> = writes.filter(|write| write.starts_with("eu:")).collect();
    assert_eq!(downstream, Vec::<String>::new(), "an upgrade is nothing to a cluster");

    ready_with(&installation, &a_project("shop", &["team-shop", "team-more"])).await;
    assert!(downstream_namespace(&installation, "eu", "team-more").await.unwrap().is_some());
    assert_eq!(identity(&installation).await, before);
    assert_eq!(downstream_uid(&installation).await, uid, "nothing was made anew");
}

/// The newest charts of the history that differ from those here, in the folder `charts` of a new one; none, said aloud,
/// where no history goes back that far.
fn previous_charts(test: &str) -> Option<tempfile::TempDir> {
    let git = |arguments: &[&str]| Command::new("git").arg("-C").arg(charts().join("..")).args(arguments).output().ok();
    let history = git(&["log", "--format=%H", "--", "charts"]).filter(|output| output.status.success());
    let history = history.map(|output| String::from_utf8(output.stdout).unwrap()).unwrap_or_default();
    let differs = |commit: &&str| git(&["diff", "--quiet", commit, "--", "charts"]).unwrap().status.code() == Some(1);
    let Some(commit) = history.lines().find(differs) else {
        skip(test, "git knows no other charts than these: fetch the history with `git fetch --unshallow`");
        return None;
    };
    let folder = tempfile::tempdir().unwrap();
    let archive = folder.path().join("charts.tar");
    let written = git(&["archive", &format!("--output={}", archive.display()), commit, "charts"]).unwrap();
    assert!(written.status.success(), "{}", String::from_utf8_lossy(&written.stderr));
    let unpacked = Command::new("tar").arg("-xf").arg(archive).arg("-C").arg(folder.path()).status().unwrap();
    assert!(unpacked.success());
    Some(folder)
}

/// UIDs of what people made: these objects are the same ones.
async fn identity(installation: &Installation) -> Vec<Value> {
    let uid = async |kind, name| get(installation, kind, name).await.unwrap()["metadata"]["uid"].clone();
    vec![uid("cluster", "eu").await, uid("project", "shop").await]
}

async fn downstream_uid(installation: &Installation) -> Value {
    downstream_namespace(installation, "eu", "team-shop").await.unwrap().unwrap()["metadata"]["uid"].clone()
}

fn deployment(installation: &Installation) -> String {
    let arguments = ["get", "deployment", "drover", "--namespace=drover-system", "--output=json"];
    installation.kubectl(&arguments).unwrap()
}

/// The chart of the definitions, in which Projects have one more field.
fn charts_with_one_more_field() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let copied = Command::new("cp").arg("-R").arg(format!("{}/.", chart("drover-crds"))).arg(folder.path()).status();
    assert!(copied.unwrap().success());
    let file: PathBuf = folder.path().join("templates/drover.dev_projects.yaml");
    let mut definition: Value = serde_yaml::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
    let schema = &mut definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
    schema["properties"]["spec"]["properties"]["inventedLater"] = json!({"type": "string"});
    std::fs::write(&file, serde_yaml::to_string(&definition).unwrap()).unwrap();
    folder
}

async fn the_roles_that_ship_are_enough() {
    let Some(mut installation) = prepared("roles", &["eu"]).await else { return };
    let eu = installation.cluster("eu").unwrap();
    let client = eu.client_for(DROVER_USER, &[]).await.unwrap();
    assert!(find(client, "pod", "drover-system", "any").await.is_err(), "every story runs with these roles alone");
    installation.start_drover().await.unwrap();
    let mut shop = a_project("shop", &["team-shop"]);
    shop["spec"]["deletionPolicy"] = json!("Delete");
    ready_with(&installation, &shop).await;
    reads(&installation, "cluster", "eu", "CredentialValid", "True/Accepted").await;
    deleted(&installation, "project", "shop").await;
    assert_eq!(downstream_namespace(&installation, "eu", "team-shop").await.unwrap(), None);

    let mut eu = a_cluster("eu");
    eu["spec"]["deletionPolicy"] = json!("Delete");
    ready_with(&installation, &eu).await;
    deleted(&installation, "cluster", "eu").await;
}

async fn a_role_that_lacks_what_drover_needs_is_said_and_granting_it_heals() {
    let Some(mut installation) = prepared("an outdated role", &["eu"]).await else { return };
    let eu = installation.cluster("eu").unwrap();
    let granted = downstream_roles().unwrap().replacen("  - delete\n", "", 1);
    assert_ne!(granted, downstream_roles().unwrap());
    apply_text_to(eu, &granted).await.unwrap();
    installation.start_drover().await.unwrap();
    reads(&installation, "cluster", "eu", "CredentialValid", "False/DownstreamRoleOutdated").await;
    reads(&installation, "cluster", "eu", "Ready", "True/Connected").await;
    let said = get(&installation, "cluster", "eu").await.unwrap()["status"]["conditions"].to_string();
    assert!(said.contains("the credential may not delete ") && said.contains("--name eu --apply"), "{said}");
    grant_downstream_roles(installation.cluster("eu").unwrap(), DROVER_USER).await.unwrap();
    reads(&installation, "cluster", "eu", "CredentialValid", "True/Accepted").await;
}

async fn drover_reads_secrets_in_its_own_namespace_only_unless_allowed_and_grants_itself_nothing() {
    let Some(installation) = prepared("rights", &[]).await else { return };
    // As the Cluster `local`, the management cluster gives it the rights that every cluster gives.
    installation.helm(&["upgrade", "drover", &chart("drover"), "--set", "replicaCount=0,local.enabled=false"]).unwrap();
    let may = |verb: &str, resource: &str, namespace: &str| {
        let subject = "--as=system:serviceaccount:drover-system:drover";
        let namespace = format!("--namespace={namespace}");
        // `no` is an exit code as well.
        installation.kubectl(&["auth", "can-i", verb, resource, subject, &namespace]).is_ok()
    };
    assert!(may("list", "secrets", "drover-system"));
    // Of the key by which the inputs of apps are told from others.
    assert!(may("create", "secrets", "drover-system"));
    assert!(may("bind", "clusterroles/drover-admin", "team"));
    for (verb, resource, namespace) in [
        ("list", "secrets", "kube-system"),
        ("list", "secrets", "team"),
        ("update", "secrets", "drover-system"),
        ("create", "pods", "drover-system"),
        ("update", "clusters.drover.dev", "team"),
        ("create", "clusterroles.rbac.authorization.k8s.io", "team"),
        ("impersonate", "users", "team"),
        ("bind", "clusterroles/cluster-admin", "team"),
        ("bind", "clusterroles/drover-platform", "team"),
        ("create", "clusterrolebindings.rbac.authorization.k8s.io", "team"),
    ] {
        assert!(!may(verb, resource, namespace), "{verb} {resource} in {namespace}");
    }
    let values = "replicaCount=0,local.enabled=false,projectSecrets.enabled=true";
    installation.helm(&["upgrade", "drover", &chart("drover"), "--set", values]).unwrap();
    assert!(may("list", "secrets", "team") && !may("create", "secrets", "team"), "whoever installs it allowed it");
}

/// What Argo CD says of an object, by the script of the chart; Argo CD runs it in a Lua 5.1 as well.
fn argocd_health(object: &Value) -> String {
    let script = std::fs::read_to_string(Path::new(&chart("drover")).join("files/argocd-health.lua")).unwrap();
    let lua = mlua::Lua::new();
    lua.globals().set("obj", lua.to_value(object).unwrap()).unwrap();
    let health: mlua::Table = lua.load(script).eval().unwrap();
    health.get("status").unwrap()
}

async fn argocd_reads_health_as_kstatus_does() {
    let object = |generation: u32, conditions: Value| json!({"metadata": {"generation": generation}, "spec": {}, "status": {"observedGeneration": 2, "conditions": conditions}});
    let condition = |kind: &str, status: &str| json!({"type": kind, "status": status, "message": "so it is"});
    let ready = json!([condition("Ready", "True")]);
    let mut suspended = object(2, ready.clone());
    suspended["spec"]["suspend"] = json!(true);
    let mut going = object(2, ready.clone());
    going["metadata"]["deletionTimestamp"] = json!("2026-11-24T00:00:00Z");
    for (object, health) in [
        (json!({"metadata": {"generation": 1}, "status": {"observedGeneration": -1}}), "Progressing"),
        (object(3, ready.clone()), "Progressing"),
        (object(2, ready), "Healthy"),
        (object(2, json!([condition("Ready", "False")])), "Degraded"),
        (object(2, json!([condition("Ready", "False"), condition("Reconciling", "True")])), "Progressing"),
        (object(2, json!([condition("Ready", "False"), condition("Stalled", "True")])), "Degraded"),
        (object(2, json!([condition("Ready", "Unknown")])), "Progressing"),
        (suspended, "Healthy"), // Argo CD's sync waves go on after Healthy only; Suspended would hold them up for ever.
        (going, "Progressing"),
    ] {
        assert_eq!(argocd_health(&object), health, "{object}");
    }
}
