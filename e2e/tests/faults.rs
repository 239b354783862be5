//! One cluster's way to the API server fails in every way that is known. Meanwhile the other cluster is served as fast as
//! before; afterwards both are as if nothing had been, and nobody writes.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

mod common;

use std::sync::Arc;
use std::time::{Duration, Instant};

use common::*;
use drover_e2e::http_proxy::{Answers, HttpProxy, WriteTrap};
use drover_e2e::installation::{Installation, eventually, kubectl_on};
use drover_e2e::proxy::{Mode, Proxy};
use serde_json::{Value, json};

/// How much longer than without a fault the healthy cluster may wait: what two busy cores need for the noise.
const NOISE: Duration = Duration::from_secs(3);

/// Two clusters with one Project, and proxies in front of `us`.
struct Story {
    installation: Installation,
    connections: Proxy,
    requests: HttpProxy,
    /// How long `eu` takes to heal when all is well.
    pace: Duration,
    round: usize,
}

impl Story {
    async fn start(test: &str) -> Option<Self> {
        let mut installation = prepared(test, &["eu", "us"]).await?;
        let (connections, requests) = proxied(&installation, "us", Arc::new(WriteTrap::default())).await;
        installation.start_drover().unwrap();
        installation.apply(&project("shop", &["team-web", "team-db"]).to_string()).unwrap();
        converged(&installation, "shop").await;
        let pace = time_to_heal(&installation, "eu").await;
        Some(Self { installation, connections, requests, pace, round: 0 })
    }

    /// A fault comes and goes.
    async fn passes(&mut self, fault: &str, expected: Option<&str>, comes: impl Fn(&Self), goes: impl Fn(&Self)) {
        comes(self);
        self.while_it_lasts(fault, expected).await;
        goes(self);
        self.afterwards(fault).await;
    }

    /// While something is wrong: people want something new, `eu` gets it, and `us` reads as expected.
    async fn while_it_lasts(&mut self, fault: &str, expected: Option<&str>) {
        self.round += 1;
        let mut shop = project("shop", &["team-web", "team-db"]);
        shop["spec"]["namespaceMetadata"] = json!({"labels": {"round": self.round.to_string()}});
        let asked = Instant::now();
        self.installation.apply(&shop.to_string()).unwrap();
        let round = self.round.to_string();
        namespace_becomes(&self.installation, "eu", "team-web", fault, |found| {
            found.is_some_and(|found| found["metadata"]["labels"]["round"] == round)
        })
        .await;
        let served = asked.elapsed();
        let healed = time_to_heal(&self.installation, "eu").await;
        println!("{fault}: eu served in {served:?}, healed in {healed:?} (without a fault {:?})", self.pace);
        assert!(served < self.pace + NOISE && healed < self.pace + NOISE, "eu was held up by {fault}");
        if let Some(expected) = expected {
            reads(&self.installation, "cluster", "us", "Ready", expected).await;
        }
    }

    /// Afterwards: both are the same, as nothing ever happened to `eu`, and then nobody writes.
    async fn afterwards(&self, fault: &str) {
        reads(&self.installation, "cluster", "us", "Ready", "True/Connected").await;
        converged(&self.installation, "shop").await;
        assert_eq!(ours(&self.installation, "us"), ours(&self.installation, "eu"), "after {fault}");
        quiet(&self.installation, fault).await;
    }
}

/// The Project's namespaces.
fn ours(installation: &Installation, cluster: &str) -> Vec<Value> {
    let all = picture(installation, cluster).as_array().unwrap().clone();
    let ours: Vec<_> = all.into_iter().filter(|item| item[0].as_str().unwrap().starts_with("team-")).collect();
    assert_eq!(ours.len(), 2);
    ours
}

#[tokio::test(flavor = "multi_thread")]
async fn faults_of_connections_pass_without_a_trace() {
    let Some(mut story) = Story::start("faults of connections").await else { return };
    for (mode, expected) in [
        (Mode::Refuse, Some("False/DialFailed")),
        (Mode::HangInDial, Some("False/Timeout")),
        (Mode::Hang, Some("False/Timeout")),
        (Mode::Reset, Some("False/DialFailed")),
        (Mode::Slow, None),
    ] {
        let set = |story: &Story, mode| story.connections.set(mode);
        story.passes(&format!("{mode:?}"), expected, |story| set(story, mode), |story| set(story, Mode::Pass)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn faults_of_requests_pass_without_a_trace() {
    let Some(mut story) = Story::start("faults of requests").await else { return };
    for (answers, expected) in [
        (Answers::TooManyRequests, Some("False/APIServerNotReady")),
        (Answers::InternalError, Some("False/APIServerNotReady")),
        (Answers::Late(Duration::from_secs(1)), None),
        (Answers::TruncatedWatches, None),
    ] {
        let set = |story: &Story, answers| story.requests.set(answers);
        let lift = |story: &Story| set(story, Answers::Pass);
        story.passes(&format!("{answers:?}"), expected, |story| set(story, answers), lift).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_and_a_full_disk_pass_without_a_trace() {
    let Some(mut story) = Story::start("a slow and a full disk").await else { return };
    let slow = story.installation.cluster_mut("us").unwrap().slow_etcd().unwrap();
    story.while_it_lasts("a slow disk", None).await;
    drop(slow);
    story.afterwards("a slow disk").await;

    story.installation.cluster_mut("us").unwrap().exhaust_etcd().await.unwrap();
    story.while_it_lasts("a full disk", None).await;
    reads(&story.installation, "project", "shop", "Ready", "False/APIServerError").await;
    story.installation.cluster_mut("us").unwrap().relieve_etcd().await.unwrap();
    story.afterwards("a full disk").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_that_falls_silent_is_noticed_within_five_minutes() {
    let Some(mut story) = Story::start("a silent watch").await else { return };
    story.requests.set(Answers::SilentWatches);
    story.while_it_lasts("silent watches", Some("True/Connected")).await;
    story.requests.set(Answers::Pass);
    let us = story.installation.cluster("us").unwrap();
    kubectl_on(us, &["delete", "namespace", "team-db"]).unwrap();
    // The server ends a watch after 290 s, and drover gives it up 5 s later.
    eventually("the namespace is back", Duration::from_secs(330), async || {
        Ok(downstream_namespace(&story.installation, "us", "team-db")?.map(drop))
    })
    .await
    .unwrap();
    story.afterwards("silent watches").await;
}
