//! A rollout on bad days, on real API servers: it is held, its leader is killed while another one waits, and a cluster goes away in the middle.
//! Stages keep their order, nothing is skipped, and no app of a target is written twice.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use drover_e2e::audit::{AuditEvent, AuditMark};
use drover_e2e::http_proxy::{HttpProxy, WriteTrap};
use drover_e2e::installation::{DROVER_USER, Installation};
use drover_e2e::objects::api;
use drover_e2e::proxy::{Mode, Proxy};
use drover_e2e::runner::Soak;
use drover_e2e::story::*;
use drover_e2e::wait::{eventually, soon};
use kube::api::ListParams;
use serde_json::{Value, json};

use crate::apps::{charts, deployer, digest, packed};

drover_e2e::tests![
    i13_a_rollout_is_held_loses_its_leader_and_a_cluster_and_skips_nothing,
    i13_ten_rollouts_are_held_lose_their_leaders_and_a_cluster_and_skip_nothing => soak(Soak::Kills),
];

/// In the order of their stages: a canary, one that stays, and one that goes away and comes back.
const CLUSTERS: [&str; 3] = [CANARY, STAYS, GOES];
const CANARY: &str = "eu";
const STAYS: &str = "us";
const GOES: &str = "ap";
const CHART: [(&str, &str); 3] = [
    ("Chart.yaml", "apiVersion: v2\nname: greets\nversion: 1.0.0\n"),
    ("values.yaml", "greeting: hello\n"),
    (
        "templates/config.yaml",
        "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {{ .Release.Name }}-config\ndata:\n  greeting: {{ .Values.greeting | quote }}\n",
    ),
];

async fn i13_a_rollout_is_held_loses_its_leader_and_a_cluster_and_skips_nothing() {
    Box::pin(rollouts(1)).await;
}

async fn i13_ten_rollouts_are_held_lose_their_leaders_and_a_cluster_and_skip_nothing() {
    Box::pin(rollouts(10)).await;
}

async fn rollouts(rounds: u32) {
    let Some(mut chaos) = Box::pin(Chaos::prepared()).await else { return };
    for round in 1..=rounds {
        chaos.rolls_out(&format!("number {round}"), Duration::from_millis(u64::from(round - 1) * 300)).await;
    }
    quiet(&chaos.installation, "all rollouts").await;
}

struct Chaos {
    installation: Installation,
    /// To the cluster that goes away.
    way: Proxy,
    chart: Vec<u8>,
    /// The process that leads; the one after it waits.
    leader: usize,
    _requests: HttpProxy,
}

impl Chaos {
    /// The first revision is everywhere, and a second process waits.
    async fn prepared() -> Option<Self> {
        let mut installation = prepared_restful("chaos of rollouts", &CLUSTERS).await?;
        let (way, requests) = proxied(&installation, GOES, Arc::new(WriteTrap::default())).await;
        installation.start_drover().await.unwrap();
        let chart = packed(&installation, "greets", &CHART);
        for object in [deployer(), charts("charts", &chart), a_project("shop", &NAMESPACES)] {
            installation.apply(&object).await.unwrap();
        }
        for cluster in CLUSTERS {
            let change = json!({"metadata": {"labels": {"stage": if cluster == CANARY { "canary" } else { "all" }}}});
            patch(&installation, "cluster", cluster, change).await;
        }
        let chaos = Self { installation, way, chart, leader: 0, _requests: requests };
        let app = chaos.app("hello");
        ready_with(&chaos.installation, &app).await;
        let mut chaos = chaos;
        says(&mut chaos.installation, 0, "this process leads").await;
        chaos.another_waits().await;
        Some(chaos)
    }

    fn app(&self, greeting: &str) -> Value {
        let stages = json!([
            {"name": "canary", "selector": {"matchLabels": {"stage": "canary"}}, "minReady": "2s"},
            {"name": "all", "minReady": "0s", "maxUnavailable": "100%"},
        ]);
        let template = json!({
            "namespace": "team-web", "projectName": "shop", "roleTemplateName": "deployer", "values": {"greeting": greeting},
            "chart": {"configMap": {"name": "charts", "key": "chart.tgz", "digest": digest(&self.chart)}},
        });
        let spec = json!({"clusters": {"all": {}}, "template": template, "rollout": {"stages": stages}});
        let metadata = json!({"name": "web", "namespace": TEAM});
        json!({"apiVersion": "drover.dev/v1alpha1", "kind": "MultiClusterApp", "metadata": metadata, "spec": spec})
    }

    async fn another_waits(&mut self) {
        self.installation.start_drover().await.unwrap();
        says(&mut self.installation, self.leader + 1, "another process leads").await;
    }

    /// The leader is killed, the one that waited goes on, and another one waits.
    async fn leader_is_killed(&mut self) {
        self.installation.replica(self.leader).unwrap().kill().await.unwrap();
        self.leader += 1;
        says(&mut self.installation, self.leader, "this process leads").await;
        self.another_waits().await;
    }

    async fn rolls_out(&mut self, greeting: &str, pause: Duration) {
        let before = self.greetings().await;
        let mark = self.installation.management.audit_mark().unwrap();
        let revision = self.is_held_after_its_canary(greeting).await;
        self.leader_is_killed().await;
        quiet(&self.installation, "the rollout is held").await;
        let held = self.greetings().await;
        assert_eq!(
            held,
            BTreeMap::from([
                (CANARY, greeting.to_owned()),
                (STAYS, before[STAYS].clone()),
                (GOES, before[GOES].clone())
            ])
        );

        self.way.set(Mode::Refuse);
        reads(&self.installation, "cluster", GOES, "Ready", "False/DialFailed").await;
        self.annotate("drover.dev/hold", &Value::Null).await;
        self.has_revision(STAYS, &revision).await;
        tokio::time::sleep(pause).await;
        self.leader_is_killed().await;
        reads(&self.installation, "multiclusterapp", "web", "Ready", "True/ReadyExceptUnreachable").await;
        let mut away = self.greetings().await;
        assert_eq!(away.remove(GOES), Some(before[GOES].clone()));
        assert!(away.values().all(|said| said == greeting), "{away:?}");

        self.way.set(Mode::Pass);
        reads(&self.installation, "multiclusterapp", "web", "Ready", "True/Ready").await;
        assert!(self.greetings().await.values().all(|said| said == greeting));
        quiet(&self.installation, "the rollout is complete").await;
        assert_eq!(self.written_since(mark).await, CLUSTERS, "each app of a target once, in the order of the stages");
    }

    /// It is held once its canary has it, before any other target.
    async fn is_held_after_its_canary(&self, greeting: &str) -> String {
        let former = self.target_revision().await;
        self.installation.apply(&self.app(greeting)).await.unwrap();
        object_becomes(&self.installation, "multiclusterapp", "web", "it has another revision", |app| {
            app.is_some_and(|app| app["status"]["targetRevision"]["name"].as_str().is_some_and(|name| name != former))
        })
        .await;
        let revision = self.target_revision().await;
        self.has_revision(CANARY, &revision).await;
        self.annotate("drover.dev/hold", &json!(revision)).await;
        object_becomes(&self.installation, "multiclusterapp", "web", "it is held", |app| {
            app.is_some_and(|app| app["status"]["phase"] == "Paused")
        })
        .await;
        eventually("the canary says so", soon(), async || {
            Ok((self.greetings().await[CANARY] == greeting).then_some(()))
        })
        .await
        .unwrap();
        revision
    }

    async fn annotate(&self, annotation: &str, value: &Value) {
        patch(&self.installation, "multiclusterapp", "web", json!({"metadata": {"annotations": {annotation: value}}}))
            .await;
    }

    async fn target_revision(&self) -> String {
        let app = get(&self.installation, "multiclusterapp", "web").await.unwrap();
        app["status"]["targetRevision"]["name"].as_str().unwrap().to_owned()
    }

    /// The apps of the targets, by cluster.
    async fn apps(&self) -> BTreeMap<String, Value> {
        let all = api(self.installation.management.client(), "catalogapp", TEAM).await.unwrap();
        let all = all.list(&ListParams::default()).await.unwrap().items;
        let all = all.into_iter().map(|app| serde_json::to_value(app).unwrap());
        all.map(|app| (app["spec"]["clusterName"].as_str().unwrap().to_owned(), app)).collect()
    }

    async fn has_revision(&self, cluster: &str, revision: &str) {
        let has_it = |app: &Value| app["metadata"]["annotations"]["drover.dev/revision"] == revision;
        let told = format!("the app on {cluster} has revision {revision}");
        let outcome =
            eventually(&told, soon(), async || Ok(self.apps().await.get(cluster).filter(|app| has_it(app)).map(drop)));
        let outcome = outcome.await;
        assert!(outcome.is_ok(), "{outcome:?}\ndrover:\n{}", self.installation.drover_log());
    }

    /// What the releases say, by cluster.
    async fn greetings(&self) -> BTreeMap<&'static str, String> {
        let mut said = BTreeMap::new();
        for cluster in CLUSTERS {
            let config = downstream(&self.installation, cluster, "configmap", "team-web", "web-config").await.unwrap();
            said.insert(cluster, config.unwrap()["data"]["greeting"].as_str().unwrap().to_owned());
        }
        said
    }

    /// The clusters of which the app was written since then, in order. What was refused, as it came of an old version, changed nothing.
    async fn written_since(&self, mark: AuditMark) -> Vec<String> {
        let by_name: BTreeMap<String, String> = self
            .apps()
            .await
            .into_iter()
            .map(|(cluster, app)| (app["metadata"]["name"].as_str().unwrap().to_owned(), cluster))
            .collect();
        let events = self.installation.management.audit_events_since(mark).unwrap().into_iter();
        let is_of_app = |event: &AuditEvent| event.resource == "catalogapps" && event.subresource.is_empty();
        let writes = events.filter(|event| event.user == DROVER_USER && is_of_app(event) && event.changes());
        let (done, refused): (Vec<_>, Vec<_>) = writes.partition(|event| (200..300).contains(&event.code));
        for event in &refused {
            println!("refused: {event}");
        }
        done.iter().map(|event| by_name[&event.name].clone()).collect()
    }
}
