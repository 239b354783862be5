//! The leader loses the management cluster, from which it has its mandate. It ends before another one begins, and what
//! people have downstream does not change.

use std::sync::Arc;
use std::time::Instant;

use drover_e2e::control_plane::Component;
use drover_e2e::http_proxy::{Answers, HttpProxy, WriteTrap};
use drover_e2e::installation::{End, Installation};
use drover_e2e::proxy::{Mode, Proxy};
use drover_e2e::story::*;
use drover_e2e::wait::{eventually, soon};
use serde_json::Value;

drover_e2e::tests![
    a_leader_that_is_cut_off_ends_before_the_standby_begins,
    a_management_api_server_that_crashes_or_goes_for_longer_leaves_no_trace,
];

/// A leader whose way to the management cluster can be cut, and a standby that goes there directly.
struct Pair {
    installation: Installation,
    connections: Proxy,
    requests: Option<HttpProxy>,
}

impl Pair {
    async fn prepare(test: &str) -> Option<Self> {
        let installation = prepared_restful(test, &["eu"]).await?;
        installation.apply(&a_project("shop", &["team-web"])).await.unwrap();
        let requests = HttpProxy::start(&installation.management, Arc::new(WriteTrap::default())).await.unwrap();
        let connections = Proxy::start(requests.port()).await.unwrap();
        let requests = Some(requests.behind(&connections));
        Some(Self { installation, connections, requests })
    }

    /// The way is cut and mended again; meanwhile the standby takes over.
    async fn takes_over(&mut self, fault: &str, cut: impl Fn(&Self), mend: impl Fn(&Self)) {
        self.start().await;
        let before = picture(&self.installation, "eu").await;
        cut(self);
        self.leader_ends_before_the_standby_begins(fault).await;
        time_to_heal(&self.installation, "eu").await;
        converged(&self.installation, "shop").await;
        mend(self);
        assert_eq!(picture(&self.installation, "eu").await, before, "{fault}");
        quiet(&self.installation, fault).await;
        for _replica in 0..2 {
            self.installation.stop_drover(End::Terminate).await.unwrap();
        }
    }

    /// Starts both, and waits until one works and the other waits.
    async fn start(&mut self) {
        self.installation.way = self.requests.take();
        self.installation.start_drover().await.unwrap();
        self.requests = self.installation.way.take();
        says(&mut self.installation, 0, "this process leads").await;
        self.installation.start_drover().await.unwrap();
        says(&mut self.installation, 1, "another process leads").await;
        converged(&self.installation, "shop").await;
    }

    async fn leader_ends_before_the_standby_begins(&mut self, fault: &str) {
        let leader = lease(&self.installation).await.unwrap()["holderIdentity"].clone();
        let (cut, mut ended) = (Instant::now(), None);
        eventually("another one leads", soon(), async || {
            let is_taken_over = lease(&self.installation).await?["holderIdentity"] != leader;
            if ended.is_none() && !self.installation.replica(0)?.is_running() {
                ended = Some(cut.elapsed());
            }
            assert!(!is_taken_over || ended.is_some(), "{fault}: two processes run while one leads");
            Ok(is_taken_over.then_some(()))
        })
        .await
        .unwrap();
        println!("{fault}: the leader ended after {:?}, another one leads after {:?}", ended.unwrap(), cut.elapsed());
        let old = self.installation.replica(0).unwrap();
        let log = std::fs::read_to_string(old.log()).unwrap();
        assert_eq!(old.exit_code(), Some(1), "{fault}: {log}");
        for reason in ["the leader lease was not renewed in time", "drover: leadership was lost"] {
            assert!(log.contains(reason), "{fault}: {log}");
        }
    }
}

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

async fn a_management_api_server_that_crashes_or_goes_for_longer_leaves_no_trace() {
    let Some(mut installation) = prepared_restful("a management API server that goes", &["eu"]).await else { return };
    installation.apply(&a_project("shop", &["team-web"])).await.unwrap();
    restart_as_itself(&mut installation, End::Kill).await;
    converged(&installation, "shop").await;
    let (before, term) = (picture(&installation, "eu").await, term(&installation).await);

    installation.management.kill(Component::Apiserver).await.unwrap();
    installation.management.start_again(Component::Apiserver).await.unwrap();
    // It is back in a few seconds, and on a busy machine only after the deadline of a renewal.
    let is_kept = installation.replica(0).unwrap().is_running();
    println!("the Lease was kept: {is_kept}");
    if !is_kept {
        restart_as_itself(&mut installation, End::Kill).await;
    }
    works_as_before(&installation, "a crash", &before).await;
    assert_eq!(drover_e2e::story::term(&installation).await, term, "a crash");

    // On SIGTERM it answers nobody any more and waits for whoever watches.
    installation.management.stop(Component::Apiserver).await.unwrap();
    eventually("drover ends", soon(), async || Ok((!installation.replica(0)?.is_running()).then_some(())))
        .await
        .unwrap();
    assert_eq!(installation.replica(0).unwrap().exit_code(), Some(1));
    installation.management.start_again(Component::Apiserver).await.unwrap();
    restart_as_itself(&mut installation, End::Kill).await;
    works_as_before(&installation, "a longer absence", &before).await;
}

async fn works_as_before(installation: &Installation, fault: &str, before: &Value) {
    eventually("drover holds the Lease", soon(), async || {
        let lease = lease(installation).await?;
        Ok((lease["holderIdentity"] == "drover-again").then_some(()))
    })
    .await
    .unwrap();
    time_to_heal(installation, "eu").await;
    reads(installation, "cluster", "eu", "Ready", "True/Connected").await;
    converged(installation, "shop").await;
    assert_eq!(picture(installation, "eu").await, *before, "{fault}");
    quiet(installation, fault).await;
}
