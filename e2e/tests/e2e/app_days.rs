//! The days of an app after its first: what changes in the cluster, what a person does there, and what is wanted to wait or to stay.

use std::time::Duration;

use drover_e2e::installation::Installation;
use drover_e2e::objects::api;
use drover_e2e::story::*;
use drover_e2e::wait::eventually;
use kube::api::{ListParams, Patch, PatchParams};
use serde_json::{Value, json};

use crate::apps::{an_app, charts, condition_message, deployer, helm, history, packed};

drover_e2e::tests![an_app_stays_as_its_release_says,];

const CONFIG: &str = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {{ .Release.Name }}-config\ndata:\n  greeting: {{ .Values.greeting | quote }}\n  random: {{ randAlphaNum 8 }}\n";
const DEPLOYMENT: &str = "{{ if .Values.web }}\napiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: {{ .Release.Name }}\nspec:\n  selector: {matchLabels: {app: web}}\n  template:\n    metadata: {labels: {app: web}}\n    spec: {containers: [{name: web, image: web}]}\n{{ end }}";

async fn an_app_stays_as_its_release_says() {
    let Some(installation) = restful_story("app-days", &["eu"]).await else { return };
    let chart = packed(
        &installation,
        "days",
        &[
            ("Chart.yaml", "apiVersion: v2\nname: days\nversion: 1.0.0\n"),
            ("values.yaml", "greeting: hello\nweb: false\n"),
            ("templates/config.yaml", CONFIG),
            ("templates/deployment.yaml", DEPLOYMENT),
        ],
    );
    let mut role = deployer();
    let verbs = json!(["get", "list", "create", "update", "patch", "delete"]);
    let workloads = json!({"apiGroups": ["apps"], "resources": ["deployments"], "verbs": verbs});
    role["spec"]["rules"].as_array_mut().unwrap().push(workloads);
    for object in [role, charts("charts", &chart), a_project("shop", &NAMESPACES)] {
        installation.apply(&object).await.unwrap();
    }
    let days = Days { installation: &installation, chart };
    days.is(json!({"values": {"greeting": "one"}})).await;
    days.what_drifts_is_told_and_then_applied_again().await;
    days.a_release_that_a_person_changed_is_released_again().await;
    days.a_revert_is_a_way_back_and_a_pin_holds_it().await;
    days.an_app_waits_for_another_one().await;
    days.a_workload_that_fails_later_is_told().await;
}

struct Days<'a> {
    installation: &'a Installation,
    chart: Vec<u8>,
}

impl Days<'_> {
    fn web(&self, spec: &Value) -> Value {
        an_app("web", &self.chart, spec)
    }

    async fn is(&self, spec: Value) {
        ready_with(self.installation, &self.web(&spec)).await;
    }

    async fn config(&self) -> Option<Value> {
        downstream(self.installation, "eu", "configmap", "team-web", "web-config").await.unwrap()
    }

    /// Asks for a look at the cluster, as a person does.
    async fn asks(&self, when: &str) {
        let annotations = json!({"metadata": {"annotations": {"drover.dev/reconcile-at": when}}});
        patch(self.installation, "catalogapp", "web", annotations).await;
    }

    async fn drifted(&self, what: &str, is_so: impl Fn(Option<&str>) -> bool) {
        let told = |app: Option<&Value>| {
            let conditions = app.and_then(|app| app.pointer("/status/conditions")?.as_array());
            let mut conditions = conditions.into_iter().flatten();
            let found = conditions.find(|condition| condition["type"] == "Drifted");
            is_so(found.and_then(|found| found["message"].as_str()))
        };
        object_becomes(self.installation, "catalogapp", "web", what, told).await;
    }

    async fn greets(&self, expected: &str) {
        let what = format!("the greeting is {expected}");
        downstream_becomes(self.installation, "eu", "configmap", "team-web", "web-config", &what, |found| {
            found.is_some_and(|found| found["data"]["greeting"] == expected)
        })
        .await;
    }

    async fn what_drifts_is_told_and_then_applied_again(&self) {
        let other = json!({"data": {"greeting": "from a stranger", "theirs": "stays"}});
        patch_downstream(self.installation, "eu", "configmap", "team-web", "web-config", other).await;
        self.asks("1").await;
        self.drifted("drift is told", |told| told.is_some_and(|told| told.contains("web-config (data.greeting)")))
            .await;
        assert_eq!(self.config().await.unwrap()["data"]["greeting"], "from a stranger", "it is told, and left");
        self.is(json!({"values": {"greeting": "one"}, "drift": {"mode": "Correct"}})).await;
        self.greets("one").await;
        self.drifted("drift is over", |told| told.is_none()).await;
        assert_eq!(self.config().await.unwrap()["data"]["theirs"], "stays");
        deleted_downstream(self.installation, "eu", "configmap", "team-web", "web-config").await;
        self.asks("2").await;
        self.greets("one").await;
        assert_eq!(history(self.installation).len(), 1, "it is no new revision");
        quiet(self.installation, "drift is corrected").await;
    }

    async fn a_release_that_a_person_changed_is_released_again(&self) {
        self.is(json!({"values": {"greeting": "two"}, "drift": {"mode": "Correct"}})).await;
        helm(self.installation, &["rollback", "web", "1"]);
        self.greets("one").await;
        self.asks("3").await;
        self.greets("two").await;
        helm(self.installation, &["uninstall", "web"]);
        self.asks("4").await;
        self.greets("two").await;
    }

    async fn a_revert_is_a_way_back_and_a_pin_holds_it(&self) {
        let spec = |greeting: &str| json!({"values": {"greeting": greeting}});
        self.is(spec("three")).await;
        let random = self.config().await.unwrap()["data"]["random"].clone();
        let revision = self.revision().await;
        self.is(spec("four")).await;
        self.is(spec("three")).await;
        assert_eq!(self.config().await.unwrap()["data"]["random"], random, "it is not rendered again");
        assert_eq!(self.revision().await, revision + 2);
        self.is(spec("five")).await;
        self.is(json!({"values": {"greeting": "six"}, "pin": {"revision": revision}})).await;
        assert_eq!(self.config().await.unwrap()["data"]["random"], random);
        let gone = self.web(&json!({"pin": {"revision": 77}}));
        self.installation.apply(&gone).await.unwrap();
        reads(self.installation, "catalogapp", "web", "Ready", "False/RevisionNotFound").await;
        assert_eq!(self.config().await.unwrap()["data"]["random"], random);
        self.is(spec("six")).await;
        self.greets("six").await;
    }

    async fn revision(&self) -> i64 {
        let app = get(self.installation, "catalogapp", "web").await.unwrap();
        app["status"]["applied"]["revision"].as_i64().unwrap()
    }

    async fn an_app_waits_for_another_one(&self) {
        let waiting = an_app("waiting", &self.chart, &json!({"dependsOn": [{"name": "first"}]}));
        self.installation.apply(&waiting).await.unwrap();
        reads(self.installation, "catalogapp", "waiting", "Ready", "False/DependencyNotReady").await;
        let config = downstream(self.installation, "eu", "configmap", "team-web", "waiting-config").await.unwrap();
        assert_eq!(config, None);
        ready_with(self.installation, &an_app("first", &self.chart, &json!({}))).await;
        becomes_ready(self.installation, &waiting).await;
        let round =
            an_app("first", &self.chart, &json!({"dependsOn": [{"name": "waiting"}], "values": {"greeting": "x"}}));
        self.installation.apply(&round).await.unwrap();
        reads(self.installation, "catalogapp", "first", "Ready", "False/DependencyCycle").await;
        deleted(self.installation, "catalogapp", "waiting").await;
        deleted(self.installation, "catalogapp", "first").await;
    }

    /// Nothing runs Pods here, so the test says what the kubelet would.
    async fn a_workload_that_fails_later_is_told(&self) {
        self.installation.apply(&self.web(&json!({"values": {"web": true}}))).await.unwrap();
        self.the_pod_is("True").await;
        becomes_ready(self.installation, &self.web(&json!({}))).await;
        self.the_pod_is("False").await;
        reads(self.installation, "catalogapp", "web", "Ready", "False/NotReady").await;
        let message = condition_message(&get(self.installation, "catalogapp", "web").await.unwrap());
        assert!(message.contains("Deployment web"), "{message}");
        self.the_pod_is("True").await;
        becomes_ready(self.installation, &self.web(&json!({}))).await;
    }

    async fn the_pod_is(&self, ready: &str) {
        let pods = api(self.installation.downstream["eu"].client(), "pod", "team-web").await.unwrap();
        let selected = ListParams::default().labels("app=web");
        let found = eventually("there is a Pod", Duration::from_secs(30), async || {
            Ok(pods.list(&selected).await?.items.into_iter().next())
        });
        let name = found.await.unwrap().metadata.name.unwrap();
        let condition = json!({"type": "Ready", "status": ready, "lastTransitionTime": "2026-11-26T00:00:00Z"});
        let status = json!({"status": {"phase": "Running", "conditions": [condition]}});
        pods.patch_status(&name, &PatchParams::default(), &Patch::Merge(status)).await.unwrap();
    }
}
