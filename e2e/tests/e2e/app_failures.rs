//! What does not become ready, what fails and what goes away in the middle: an app is Ready only when its workloads really are, and every bad
//! day ends in a condition, with no revision that hangs.

use std::sync::Arc;

use drover_e2e::charts::ChartFiles;
use drover_e2e::http_proxy::{HttpProxy, WriteTrap};
use drover_e2e::installation::Installation;
use drover_e2e::proxy::{Mode, Proxy};
use drover_e2e::releases::left_in;
use drover_e2e::story::*;
use drover_e2e::wait::{eventually, soon};
use drover_e2e::{Program, require_or_skip};
use futures::future::join_all;
use serde_json::{Value, json};

drover_e2e::tests![an_app_is_ready_only_when_it_really_is_and_a_bad_day_ends_in_a_condition,];

/// The charts that the apps here have, each in a `ConfigMap` of its name.
const CHARTS: [&str; 2] = ["hooks", "workloads"];
/// For what does not become ready. What does has longer, on a busy machine.
const WAITS: [&str; 2] = ["8s", "40s"];

struct Failures {
    installation: Installation,
    connections: Proxy,
    _requests: HttpProxy,
}

async fn an_app_is_ready_only_when_it_really_is_and_a_bad_day_ends_in_a_condition() {
    let Some(failures) = Failures::prepared().await else { return };
    tokio::join!(
        failures.never_ready("never-ready", json!({"pods": "never-ready"}), "never-ready-daemonset"),
        failures.never_ready("volume", json!({"volume": true}), "PersistentVolumeClaim team-web/volume"),
        failures.hook("hook-fails", json!({"failing": "pre-install"})),
        failures.hook("hook-never-ends", json!({"endless": "post-install"})),
        failures.goes_back("back"),
    );
    failures.a_cluster_goes_away_in_the_middle().await;
}

impl Failures {
    async fn prepared() -> Option<Self> {
        if !require_or_skip("failures", &[Program::Helm, Program::Kwok, Program::KubeScheduler]).await.unwrap() {
            return None;
        }
        let mut installation = prepared_restful("failures", &["eu"]).await?;
        installation.cluster_mut("eu").unwrap().start_pods(1).await.unwrap();
        let (connections, requests) = proxied(&installation, "eu", Arc::new(WriteTrap::default())).await;
        installation.start_drover().await.unwrap();
        installation.apply(&a_deployer()).await.unwrap();
        join_all(CHARTS.map(|name| {
            let map = a_packaged_chart(name, &chart(name));
            let installation = &installation;
            async move { installation.apply(&map).await.unwrap() }
        }))
        .await;
        with_shop(&installation).await;
        Some(Self { installation, connections, _requests: requests })
    }

    async fn applied(&self, name: &str, of: &str, values: &Value, on_failure: &str) {
        let [short, long] = WAITS;
        let wait = if values["message"] == "one" || values["message"] == "three" { long } else { short };
        let remediation = json!({"retries": 0, "onFailure": on_failure});
        let spec = json!({"values": values, "wait": {"timeout": wait}, "remediation": remediation});
        self.installation.apply(&an_app(name, "eu", (of, &chart(of)), &spec)).await.unwrap();
    }

    async fn says(&self, name: &str, expected: &str) {
        reads(&self.installation, "catalogapp", name, "Ready", expected).await;
    }

    async fn message(&self, name: &str) -> String {
        let app = get(&self.installation, "catalogapp", name).await.unwrap();
        let conditions = app["status"]["conditions"].as_array().unwrap();
        let ready = conditions.iter().find(|condition| condition["type"] == "Ready").unwrap();
        ready["message"].as_str().unwrap().to_owned()
    }

    /// What the records of a release say of its revisions, in order.
    async fn revisions(&self, release: &str) -> Vec<String> {
        let all = left_in(self.installation.cluster("eu").unwrap(), "team-web").await.unwrap();
        let prefix = format!("Secret/sh.helm.release.v1.{release}.v");
        let records = all.iter().filter(|(key, _)| key.starts_with(&prefix));
        let status = |record: &Value| record["data"]["info"]["status"].as_str().unwrap().to_owned();
        records.map(|(key, record)| format!("{} {}", &key[prefix.len()..], status(record))).collect()
    }

    async fn never_ready(&self, name: &str, values: Value, which: &str) {
        self.applied(name, "workloads", &values, "Keep").await;
        self.says(name, "False/Progressing").await;
        self.says(name, "False/RetriesExhausted").await;
        let message = self.message(name).await;
        assert!(message.contains(which) && message.contains("is not ready in time"), "{message}");
        // So does the event, which is all that people see of it later.
        eventually("an event says so", soon(), async || {
            let told = self.installation.kubectl(&["get", "events", "--namespace=team", "--output=json"])?;
            let told: Value = serde_json::from_str(&told).unwrap();
            let mut events = told["items"].as_array().unwrap().iter();
            let says_so = |event: &Value| {
                let note = event["message"].as_str().unwrap_or_default();
                event["involvedObject"]["name"] == name && note.contains(which) && note.contains("is not ready in time")
            };
            Ok(events.any(says_so).then_some(()))
        })
        .await
        .unwrap();
        assert_eq!(self.revisions(name).await, ["1 failed"]);
    }

    async fn hook(&self, name: &str, values: Value) {
        self.applied(name, "hooks", &values, "Keep").await;
        self.says(name, "False/RetriesExhausted").await;
        let message = self.message(name).await;
        assert!(message.contains("hook") || message.contains("Job"), "{message}");
        assert_eq!(self.revisions(name).await, ["1 failed"]);
    }

    async fn goes_back(&self, name: &str) {
        self.applied(name, "hooks", &json!({"message": "one"}), "Rollback").await;
        self.says(name, "True/Ready").await;
        self.applied(name, "hooks", &json!({"message": "two", "failing": "post-upgrade"}), "Rollback").await;
        self.says(name, "False/RetriesExhausted").await;
        assert_eq!(self.revisions(name).await, ["1 superseded", "2 failed", "3 deployed"]);
        let config = downstream(&self.installation, "eu", "configmap", "team-web", name).await.unwrap().unwrap();
        assert_eq!(config["data"]["message"], "one");
    }

    /// Its upgrade waits for a hook meanwhile. Once it is back the upgrade ends, and the next one goes its way.
    async fn a_cluster_goes_away_in_the_middle(&self) {
        self.applied("away", "hooks", &json!({"message": "one"}), "Keep").await;
        self.says("away", "True/Ready").await;
        self.applied("away", "hooks", &json!({"message": "two", "endless": "pre-upgrade"}), "Keep").await;
        self.says("away", "False/Progressing").await;
        self.connections.set(Mode::Refuse);
        self.says("away", "Unknown/Unreachable").await;
        self.connections.set(Mode::Pass);
        self.says("away", "False/RetriesExhausted").await;
        assert_eq!(self.revisions("away").await, ["1 deployed", "2 failed"]);
        self.applied("away", "hooks", &json!({"message": "three"}), "Keep").await;
        self.says("away", "True/Ready").await;
        assert_eq!(self.revisions("away").await, ["1 superseded", "2 failed", "3 deployed"]);
    }
}

fn chart(name: &str) -> ChartFiles {
    ChartFiles::of(name).unwrap()
}
