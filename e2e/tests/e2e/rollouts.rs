//! One app on many clusters, on real API servers: stage by stage, with approval, back again, and off a cluster that left.

use drover_e2e::installation::Installation;
use drover_e2e::story::*;
use serde_json::{Value, json};

use crate::apps::{charts, deployer, digest, packed};

drover_e2e::tests![an_app_is_rolled_out_stage_by_stage,];

const GREETS: [(&str, &str); 3] = [
    ("Chart.yaml", "apiVersion: v2\nname: greets\nversion: 1.0.0\n"),
    ("values.yaml", "greeting: hello\nregion: none\n"),
    (
        "templates/config.yaml",
        "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {{ .Release.Name }}-config\ndata:\n  greeting: {{ .Values.greeting | quote }}\n  \
         region: {{ .Values.region | quote }}\n",
    ),
];

/// The app `web` with this spec over its usual one: a canary stage, and one for all others that needs approval.
fn an_app(chart: &[u8], greeting: &str, over: &Value) -> Value {
    let stages = json!([
        {"name": "canary", "selector": {"matchLabels": {"stage": "canary"}}, "minReady": "1s"},
        {"name": "everywhere", "minReady": "0s", "approval": "Required"},
    ]);
    let mut spec = json!({
        "clusters": {"all": {}},
        "template": {
            "namespace": "team-web", "projectName": "shop", "roleTemplateName": "deployer",
            "chart": {"configMap": {"name": "charts", "key": "chart.tgz", "digest": digest(chart)}},
            "values": {"greeting": greeting}, "valuesFrom": [{"kind": "ConfigMap", "name": "regions", "optional": true}],
        },
        "overrides": [{"clusters": {"names": ["us"]}, "values": {"region": "west"}}],
        "rollout": {"stages": stages, "prune": {"grace": "0s"}},
    });
    spec.as_object_mut().unwrap().extend(over.as_object().cloned().unwrap_or_default());
    json!({
        "apiVersion": "drover.dev/v1alpha1", "kind": "MultiClusterApp", "metadata": {"name": "web", "namespace": TEAM}, "spec": spec,
    })
}

async fn says(installation: &Installation, expected: &str) {
    reads(installation, "multiclusterapp", "web", "Ready", expected).await;
}

async fn greets(installation: &Installation, cluster: &str, greeting: &str, region: &str) {
    let wanted = json!({"greeting": greeting, "region": region});
    let what = format!("web says {wanted} on {cluster}");
    downstream_becomes(installation, cluster, "configmap", "team-web", "web-config", &what, |found| {
        found.is_some_and(|found| found["data"] == wanted)
    })
    .await;
}

async fn target(installation: &Installation) -> (i64, String) {
    let app = get(installation, "multiclusterapp", "web").await.unwrap();
    let target = &app["status"]["targetRevision"];
    (target["number"].as_i64().unwrap(), target["name"].as_str().unwrap().to_owned())
}

async fn approve(installation: &Installation, revision: &str) {
    let change = json!({"metadata": {"annotations": {"drover.dev/approve": revision}}});
    patch(installation, "multiclusterapp", "web", change).await;
}

async fn an_app_is_rolled_out_stage_by_stage() {
    let Some(installation) = restful_story("rollouts", &["eu", "us"]).await else { return };
    let chart = packed(&installation, "greets", &GREETS);
    for object in [deployer(), charts("charts", &chart), a_project("shop", &NAMESPACES)] {
        installation.apply(&object).await.unwrap();
    }
    converged(&installation, "shop").await;
    patch(&installation, "cluster", "eu", json!({"metadata": {"labels": {"stage": "canary"}}})).await;

    installation.apply(&an_app(&chart, "one", &json!({}))).await.unwrap();
    says(&installation, "False/WaitingForApproval").await;
    greets(&installation, "eu", "one", "none").await;
    let (number, first) = target(&installation).await;
    assert_eq!(number, 1);
    assert_eq!(downstream(&installation, "us", "configmap", "team-web", "web-config").await.unwrap(), None);
    approve(&installation, &first).await;
    says(&installation, "True/Ready").await;
    greets(&installation, "us", "one", "west").await;
    quiet(&installation, "the app is on both clusters").await;

    another_revision_needs_its_own_approval(&installation, &chart, &first).await;
    values_beside_it_are_rolled_out_as_well(&installation).await;
    going_back_is_going_to_a_revision_that_is_kept(&installation, &chart, &first).await;
    nothing_is_left_where_it_is_not_to_be(&installation, &chart).await;
}

async fn another_revision_needs_its_own_approval(installation: &Installation, chart: &[u8], first: &str) {
    installation.apply(&an_app(chart, "two", &json!({}))).await.unwrap();
    greets(installation, "eu", "two", "none").await;
    says(installation, "False/WaitingForApproval").await;
    let (number, second) = target(installation).await;
    assert!(number == 2 && second != first, "{number} {second}");
    greets(installation, "us", "one", "west").await;
    let app = get(installation, "multiclusterapp", "web").await.unwrap();
    assert_eq!(app["status"]["rollout"]["steered"]["approve"], first, "it waits with the approval of the former one");
    approve(installation, &second).await;
    greets(installation, "us", "two", "west").await;
    says(installation, "True/Ready").await;
}

async fn values_beside_it_are_rolled_out_as_well(installation: &Installation) {
    let metadata = json!({"name": "regions", "namespace": TEAM, "labels": {"drover.dev/usable-by": "catalog-app"}});
    let regions = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"values.yaml": "region: east\n"}});
    installation.apply(&regions).await.unwrap();
    greets(installation, "eu", "two", "east").await;
    says(installation, "False/WaitingForApproval").await;
    let (number, third) = target(installation).await;
    assert_eq!(number, 3);
    greets(installation, "us", "two", "west").await;
    approve(installation, &third).await;
    says(installation, "True/Ready").await;
}

async fn going_back_is_going_to_a_revision_that_is_kept(installation: &Installation, chart: &[u8], first: &str) {
    let everything_at_once =
        json!({"rollout": {"prune": {"grace": "0s"}, "stages": [{"name": "everywhere", "minReady": "0s"}]}});
    let mut pinned = everything_at_once.clone();
    pinned["pin"] = json!({"revision": 1});
    installation.apply(&an_app(chart, "two", &pinned)).await.unwrap();
    greets(installation, "eu", "one", "none").await;
    greets(installation, "us", "one", "west").await;
    says(installation, "True/Ready").await;
    assert_eq!(target(installation).await, (1, first.to_owned()));
    quiet(installation, "the app is pinned").await;
}

async fn nothing_is_left_where_it_is_not_to_be(installation: &Installation, chart: &[u8]) {
    let only_eu = json!({"clusters": {"names": ["eu"]}, "rollout": {"prune": {"grace": "0s", "maxFraction": "50%"}}, "pin": {"revision": 1}});
    installation.apply(&an_app(chart, "two", &only_eu)).await.unwrap();
    downstream_becomes(installation, "us", "configmap", "team-web", "web-config", "it is gone", |found| {
        found.is_none()
    })
    .await;
    says(installation, "True/Ready").await;
    greets(installation, "eu", "one", "none").await;
    deleted(installation, "multiclusterapp", "web").await;
    downstream_becomes(installation, "eu", "configmap", "team-web", "web-config", "it is gone", |found| {
        found.is_none()
    })
    .await;
    let kept = drover_e2e::objects::api(installation.management.client(), "controllerrevision", TEAM).await.unwrap();
    let left = kept.list(&kube::api::ListParams::default()).await.unwrap().items;
    assert!(left.is_empty(), "{left:?}");
}
