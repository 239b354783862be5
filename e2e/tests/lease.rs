//! The leader loses the management cluster, from which it has its mandate. It ends before another one begins, and what
//! people have downstream does not change.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

mod common;

use std::sync::Arc;
use std::time::{Duration, Instant};

use common::*;
use drover_e2e::control_plane::Component;
use drover_e2e::http_proxy::{Answers, HttpProxy, WriteTrap};
use drover_e2e::installation::{End, Installation, eventually};
use drover_e2e::proxy::{Mode, Proxy};
use serde_json::Value;

/// The deadline of a renewal, 10 s, the second that the rest of the process has, and what two busy cores need for the noise.
/// Others wait for 15 s.
const LATEST_END: Duration = Duration::from_secs(13);

/// A leader whose way to the management cluster can be cut, and a standby that goes there directly.
struct Pair {
    installation: Installation,
    connections: Proxy,
    requests: Option<HttpProxy>,
}

impl Pair {
    async fn prepare(test: &str) -> Option<Self> {
        let installation = prepared(test, &["eu"]).await?;
        installation.apply(&project("shop", &["team-web"]).to_string()).unwrap();
        let requests = HttpProxy::start(&installation.management, Arc::new(WriteTrap::default())).await.unwrap();
        let connections = Proxy::start(requests.port()).await.unwrap();
        let requests = Some(requests.behind(&connections));
        Some(Self { installation, connections, requests })
    }

    /// The way is cut and mended again; meanwhile the standby takes over.
    async fn takes_over(&mut self, fault: &str, cut: impl Fn(&Self), mend: impl Fn(&Self)) {
        self.start().await;
        let before = picture(&self.installation, "eu");
        cut(self);
        self.leader_ends_before_the_standby_begins(fault).await;
        time_to_heal(&self.installation, "eu").await;
        converged(&self.installation, "shop").await;
        mend(self);
        assert_eq!(picture(&self.installation, "eu"), before, "{fault}");
        quiet(&self.installation, fault).await;
        for _replica in 0..2 {
            self.installation.stop_drover(End::Terminate).await.unwrap();
        }
    }

    /// Starts both, and waits until one works and the other waits.
    async fn start(&mut self) {
        self.installation.way = self.requests.take();
        self.installation.start_drover().unwrap();
        self.requests = self.installation.way.take();
        says(&mut self.installation, 0, "this process leads").await;
        self.installation.start_drover().unwrap();
        says(&mut self.installation, 1, "another process leads").await;
        converged(&self.installation, "shop").await;
    }

    async fn leader_ends_before_the_standby_begins(&mut self, fault: &str) {
        let leader = lease(&self.installation).unwrap()["holderIdentity"].clone();
        let (cut, mut ended) = (Instant::now(), None);
        eventually("another one leads", SOON, async || {
            let is_taken_over = lease(&self.installation)?["holderIdentity"] != leader;
            if ended.is_none() && !self.installation.replica(0)?.is_running() {
                ended = Some(cut.elapsed());
            }
            assert!(!is_taken_over || ended.is_some(), "{fault}: two processes run while one leads");
            Ok(is_taken_over.then_some(()))
        })
        .await
        .unwrap();
        println!("{fault}: the leader ended after {:?}, another one leads after {:?}", ended.unwrap(), cut.elapsed());
        assert!(ended.unwrap() < LATEST_END, "{fault}: {ended:?}");
        let old = self.installation.replica(0).unwrap();
        let log = std::fs::read_to_string(old.log()).unwrap();
        assert_eq!(old.exit_code(), Some(1), "{fault}: {log}");
        for reason in ["the leader lease was not renewed in time", "drover: leadership was lost"] {
            assert!(log.contains(reason), "{fault}: {log}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_is_cut_off_ends_before_the_standby_begins() {
    let Some(mut pair) = Pair::prepare("a leader that is cut off").await else { return };
    for mode in [Mode::Hang, Mode::Refuse] {
        let set = |pair: &Pair, mode| pair.connections.set(mode);
        pair.takes_over(&format!("{mode:?}"), |pair| set(pair, mode), |pair| set(pair, Mode::Pass)).await;
    }
    // Its watches go on, so it still learns what people want.
    let set = |pair: &Pair, answers| pair.requests.as_ref().unwrap().set(answers);
    let mend = |pair: &Pair| set(pair, Answers::Pass);
    pair.takes_over("errors", |pair| set(pair, Answers::InternalError), mend).await;
}

#[tokio::test]
async fn a_management_api_server_that_crashes_or_goes_for_longer_leaves_no_trace() {
    let Some(mut installation) = prepared("a management API server that goes", &["eu"]).await else { return };
    installation.apply(&project("shop", &["team-web"]).to_string()).unwrap();
    start_again(&mut installation).await;
    converged(&installation, "shop").await;
    let (before, term) = (picture(&installation, "eu"), term(&installation));

    installation.management.kill(Component::Apiserver).await.unwrap();
    installation.management.start_again(Component::Apiserver).await.unwrap();
    // It is back in a few seconds, and on a busy machine only after the deadline of a renewal.
    let is_kept = installation.replica(0).unwrap().is_running();
    println!("the Lease was kept: {is_kept}");
    if !is_kept {
        start_again(&mut installation).await;
    }
    works_as_before(&installation, "a crash", &before).await;
    assert_eq!(common::term(&installation), term, "a crash");

    // On SIGTERM it answers nobody any more and waits for whoever watches.
    installation.management.stop(Component::Apiserver).await.unwrap();
    eventually("drover ends", SOON, async || Ok((!installation.replica(0)?.is_running()).then_some(()))).await.unwrap();
    assert_eq!(installation.replica(0).unwrap().exit_code(), Some(1));
    installation.management.start_again(Component::Apiserver).await.unwrap();
    start_again(&mut installation).await;
    works_as_before(&installation, "a longer absence", &before).await;
}

/// The same identity comes back, as a pod's container does, in the place of the one that ended.
async fn start_again(installation: &mut Installation) {
    installation.stop_drover(End::Kill).await.unwrap();
    installation.start_drover_as("drover-again").unwrap();
}

async fn works_as_before(installation: &Installation, fault: &str, before: &Value) {
    eventually("drover holds the Lease", SOON, async || {
        let lease = lease(installation)?;
        Ok((lease["holderIdentity"] == "drover-again").then_some(()))
    })
    .await
    .unwrap();
    time_to_heal(installation, "eu").await;
    reads(installation, "cluster", "eu", "Ready", "True/Connected").await;
    converged(installation, "shop").await;
    assert_eq!(picture(installation, "eu"), *before, "{fault}");
    quiet(installation, fault).await;
}
