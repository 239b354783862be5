//! Apps of the platform on real API servers: of no Project, for the whole cluster, where the owner of the cluster says so.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use drover_e2e::charts::ChartFiles;
use drover_e2e::installation::Installation;
use drover_e2e::objects::apply_to;
use drover_e2e::story::*;
use serde_json::{Value, json};

drover_e2e::tests![an_app_of_no_project_needs_three_consents_and_has_the_cluster_but_for_what_is_held,];

/// Where the apps of this story are released.
const OPS: &str = "team-ops";

fn packed(chart: &str) -> Vec<u8> {
    ChartFiles::of(chart).unwrap().package().unwrap()
}

fn digest(bytes: &[u8]) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, bytes);
    digest.as_ref().iter().fold("sha256:".to_owned(), |text, byte| format!("{text}{byte:02x}"))
}

fn in_config_map(name: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "ConfigMap", "binaryData": {"chart.tgz": STANDARD.encode(packed(name))},
        "metadata": {"name": name, "namespace": TEAM, "labels": {"drover.dev/usable-by": "catalog-app"}},
    })
}

/// An app of no Project; `chart` names it, and the folder of its chart.
fn a_platform_app(chart: &str, spec: &Value) -> Value {
    let mut whole = json!({
        "clusterName": "eu", "namespace": OPS, "roleTemplateName": "platform",
        "chart": {"configMap": {"name": chart, "key": "chart.tgz", "digest": digest(&packed(chart))}},
    });
    whole.as_object_mut().unwrap().extend(spec.as_object().cloned().unwrap_or_default());
    let metadata = json!({"name": chart, "namespace": TEAM});
    json!({"apiVersion": "drover.dev/v1alpha1", "kind": "CatalogApp", "metadata": metadata, "spec": whole})
}

fn a_template(name: &str, context: &str) -> Value {
    let rule = |groups: &[&str], resources: &[&str]| {
        json!({
            "apiGroups": groups, "resources": resources,
            "verbs": ["get", "list", "watch", "create", "update", "patch", "delete"],
        })
    };
    let rules = json!([
        rule(&[""], &["configmaps", "secrets", "namespaces", "pods"]),
        rule(&["rbac.authorization.k8s.io"], &["clusterroles"]),
        rule(&["scheduling.k8s.io"], &["priorityclasses"]),
        rule(&["apiextensions.k8s.io"], &["customresourcedefinitions"]),
        rule(&["charts.drover.invalid"], &["gadgets"]),
    ]);
    json!({
        "apiVersion": "drover.dev/v1alpha1", "kind": "RoleTemplate", "metadata": {"name": name},
        "spec": {"context": context, "rules": rules, "bindableFrom": {"names": [TEAM]}},
    })
}

/// The Cluster, with these operations for its tenant.
fn with_operations(operations: &Value) -> Value {
    let mut cluster = a_cluster("eu");
    cluster["spec"]["tenants"][0]["operations"] = operations.clone();
    cluster
}

async fn says(installation: &Installation, app: &str, expected: &str) {
    reads(installation, "catalogapp", app, "Ready", expected).await;
}

async fn of_cluster(installation: &Installation, kind: &str, name: &str) -> Option<Value> {
    downstream(installation, "eu", kind, "", name).await.unwrap()
}

async fn an_app_of_no_project_needs_three_consents_and_has_the_cluster_but_for_what_is_held() {
    let Some(installation) = restful_story("platform-apps", &["eu"]).await else { return };
    for object in [
        a_template("platform", "Cluster"),
        a_template("of-projects", "Project"),
        in_config_map("cluster-wide"),
        in_config_map("custom-resources"),
        a_project("shop", &["team-web"]),
    ] {
        ready_or_applied(&installation, &object).await;
    }
    nothing_without_consent(&installation).await;
    released_in_the_whole_cluster(&installation).await;
    what_a_project_holds_is_not_its(&installation).await;
    definitions_come_first_and_stay(&installation).await;
    consent_that_is_withdrawn_takes_the_role(&installation).await;
}

async fn ready_or_applied(installation: &Installation, object: &Value) {
    if object["kind"] == "Project" {
        ready_with(installation, object).await;
    } else {
        installation.apply(object).await.unwrap();
    }
}

async fn nothing_without_consent(installation: &Installation) {
    let app = a_platform_app("cluster-wide", &json!({}));
    installation.apply(&app).await.unwrap();
    says(installation, "cluster-wide", "False/ClusterAppsNotAllowed").await;
    let mut becomes_of_project = app.clone();
    becomes_of_project["spec"]["projectName"] = json!("shop");
    let refused = installation.apply(&becomes_of_project).await.unwrap_err().to_string();
    assert!(refused.contains("whether the app is of a Project cannot be changed"), "{refused}");
    assert_eq!(of_cluster(installation, "clusterrolebinding", BINDING).await, None);

    installation.apply(&with_operations(&json!(["ClusterApps"]))).await.unwrap();
    says(installation, "cluster-wide", "False/NamespaceNotFound").await;
    let of_projects = a_platform_app("cluster-wide", &json!({"roleTemplateName": "of-projects"}));
    installation.apply(&of_projects).await.unwrap();
    says(installation, "cluster-wide", "False/ContextMismatch").await;
}

const BINDING: &str = "drover:app.team.cluster-wide:drover:platform";

async fn released_in_the_whole_cluster(installation: &Installation) {
    apply_to(&installation.downstream["eu"], &a_namespace(OPS)).await.unwrap();
    ready_with(installation, &a_platform_app("cluster-wide", &json!({"values": {"namespace": true}}))).await;
    let role = of_cluster(installation, "clusterrole", "cluster-wide-reader").await.unwrap();
    assert_eq!(role["metadata"]["annotations"]["meta.helm.sh/release-namespace"], OPS);
    assert!(of_cluster(installation, "namespace", "cluster-wide-extra").await.is_some());
    let binding = of_cluster(installation, "clusterrolebinding", BINDING).await.unwrap();
    assert_eq!(binding["subjects"].as_array().unwrap().len(), 1);
    assert_eq!(binding["subjects"][0]["name"], "app.team.cluster-wide");
    quiet(installation, "the app of the platform is released").await;
}

/// What members of a Project write is theirs, by a namespace that the chart names, and by the one of the release.
async fn what_a_project_holds_is_not_its(installation: &Installation) {
    let elsewhere = json!({"releaseName": "elsewhere", "namespace": "team-web"});
    let mut app = a_platform_app("cluster-wide", &elsewhere);
    app["metadata"]["name"] = json!("elsewhere");
    installation.apply(&app).await.unwrap();
    says(installation, "elsewhere", "False/NamespaceOfProject").await;
    deleted(installation, "catalogapp", "elsewhere").await;
}

const GADGETS: &str = "gadgets.charts.drover.invalid";

/// Only an app of the platform defines kinds. The size of its gadget is a fact of the Cluster, and a change of that is one upgrade.
async fn definitions_come_first_and_stay(installation: &Installation) {
    let mut of_project = a_platform_app(
        "custom-resources",
        &json!({
            "projectName": "shop", "namespace": "team-web", "roleTemplateName": "of-projects", "releaseName": "gadget",
        }),
    );
    of_project["metadata"]["name"] = json!("of-project");
    installation.apply(&of_project).await.unwrap();
    says(installation, "of-project", "False/DefinitionsMissing").await;
    assert_eq!(of_cluster(installation, "customresourcedefinition", GADGETS).await, None);

    let size = json!({"kind": "Cluster", "key": "appValues/size", "targetPath": "size"});
    installation.apply(&a_platform_app("custom-resources", &json!({"valuesFrom": [size]}))).await.unwrap();
    says(installation, "custom-resources", "False/ValuesNotFound").await;
    for (size, revision) in [("3", 1), ("4", 2)] {
        let mut cluster = with_operations(&json!(["ClusterApps"]));
        cluster["spec"]["appValues"] = json!({"size": size});
        installation.apply(&cluster).await.unwrap();
        if revision == 1 {
            says(installation, "custom-resources", "True/Ready").await;
        }
        let wanted = size.parse::<i64>().unwrap();
        let is_so = |found: Option<&Value>| found.is_some_and(|gadget| gadget["spec"]["size"] == wanted);
        downstream_becomes(installation, "eu", "gadget", OPS, "custom-resources", "it has the size", is_so).await;
        says(installation, "custom-resources", "True/Ready").await;
        let app = get(installation, "catalogapp", "custom-resources").await.unwrap();
        assert_eq!(app["status"]["applied"]["revision"], revision);
    }
    // What lacked a kind is looked at again once the kind is there.
    says(installation, "of-project", "True/Ready").await;
    deleted(installation, "catalogapp", "of-project").await;
    deleted(installation, "catalogapp", "custom-resources").await;
    assert!(of_cluster(installation, "customresourcedefinition", GADGETS).await.is_some());
    assert_eq!(downstream(installation, "eu", "gadget", OPS, "custom-resources").await.unwrap(), None);
}

async fn consent_that_is_withdrawn_takes_the_role(installation: &Installation) {
    installation.apply(&with_operations(&json!([]))).await.unwrap();
    says(installation, "cluster-wide", "False/ClusterAppsNotAllowed").await;
    downstream_becomes(installation, "eu", "clusterrolebinding", "", BINDING, "it is gone", |found| found.is_none())
        .await;
    assert!(of_cluster(installation, "clusterrole", "cluster-wide-reader").await.is_some(), "what is released stays");
    installation.apply(&with_operations(&json!(["ClusterApps"]))).await.unwrap();
    says(installation, "cluster-wide", "True/Ready").await;
    downstream_becomes(installation, "eu", "clusterrolebinding", "", BINDING, "it is there", |found| found.is_some())
        .await;
    deleted(installation, "catalogapp", "cluster-wide").await;
    assert_eq!(of_cluster(installation, "clusterrole", "cluster-wide-reader").await, None);
    assert_eq!(of_cluster(installation, "clusterrolebinding", BINDING).await, None);
}
