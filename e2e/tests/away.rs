//! A cluster that is away for long: nothing is written meanwhile, nothing is held up, and it comes back alone.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

mod common;

use std::sync::Arc;
use std::time::{Duration, Instant};

use common::*;
use drover_e2e::http_proxy::WriteTrap;
use drover_e2e::installation::{Installation, kubectl_on};
use drover_e2e::proxy::Mode;

/// For how many seconds the cluster is away. An hour was tried by hand; a minute is past every timeout of a connection.
const AWAY: &str = "DROVER_E2E_AWAY_SECONDS";
const SHORTLY: u64 = 60;

fn absence() -> Duration {
    let named = std::env::var(AWAY).ok().map(|seconds| seconds.parse().unwrap());
    Duration::from_secs(named.unwrap_or(SHORTLY))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_that_was_away_for_long_converges_alone_and_nothing_is_written_meanwhile() {
    let Some(mut installation) = prepared("a cluster away", &["eu", "us"]).await else { return };
    let (connections, _requests) = proxied(&installation, "us", Arc::new(WriteTrap::default())).await;
    installation.start_drover().unwrap();
    installation.apply(&project("shop", &["team-web", "team-db"]).to_string()).unwrap();
    converged(&installation, "shop").await;

    connections.set(Mode::HangInDial);
    reads(&installation, "cluster", "us", "Ready", "False/Timeout").await;
    installation.apply(&project("shop", &["team-web", "team-late"]).to_string()).unwrap();
    reads(&installation, "project", "shop", "Ready", "True/ReadyExceptUnreachable").await;
    meanwhile_people_work_in(&installation, "us");
    rest().await;
    let quiet = marks(&installation).unwrap();
    tokio::time::sleep(absence()).await;
    let written = writes_since(&installation, &quiet).unwrap();
    let log = installation.drover_log();
    assert_eq!(
        written,
        Vec::<String>::new(),
        "while us was away; it reads {:#}\ndrover:\n{log}",
        ready(&installation, "us")
    );
    reads(&installation, "project", "shop", "Ready", "True/ReadyExceptUnreachable").await;
    time_to_heal(&installation, "eu").await;

    // What changed meanwhile cannot be watched from where drover left off.
    installation.cluster_mut("us").unwrap().expire_watches().await.unwrap();
    let back = Instant::now();
    connections.set(Mode::Pass);
    reads(&installation, "cluster", "us", "Ready", "True/Connected").await;
    converged(&installation, "shop").await;
    println!("away for {:?}: converged {:?} after it was back", absence(), back.elapsed());
    for there in ["team-web", "team-late"] {
        assert!(downstream_namespace(&installation, "us", there).unwrap().is_some(), "{there}");
    }
    let labels = downstream_namespace(&installation, "us", "team-late").unwrap().unwrap()["metadata"]["labels"].clone();
    assert_eq!(labels["drover.dev/owner-name"], "shop", "{labels}");
    let released = downstream_namespace(&installation, "us", "team-db").unwrap().unwrap();
    assert!(released["metadata"]["labels"]["drover.dev/owner-name"].is_null(), "{released}");
    rest().await;
    let quiet = marks(&installation).unwrap();
    rest().await;
    assert_eq!(writes_since(&installation, &quiet).unwrap(), Vec::<String>::new(), "afterwards");
}

/// A namespace of ours is deleted by hand in the cluster that nobody reaches.
fn meanwhile_people_work_in(installation: &Installation, name: &str) {
    let plane = installation.cluster(name).unwrap();
    kubectl_on(plane, &["delete", "namespace", "team-web"]).unwrap();
}
