//! A cluster that is away for long: nothing is written meanwhile, nothing is held up, and it comes back alone.

use std::sync::Arc;
use std::time::{Duration, Instant};

use drover_e2e::http_proxy::WriteTrap;
use drover_e2e::installation::Installation;
use drover_e2e::proxy::Mode;
use drover_e2e::runner::Soak;
use drover_e2e::story::*;
use serde_json::json;

drover_e2e::tests![
    a_cluster_that_was_away_converges_alone_and_nothing_is_written_meanwhile,
    a_cluster_that_was_away_for_an_hour_converges_alone => soak(Soak::Away),
];

async fn a_cluster_that_was_away_converges_alone_and_nothing_is_written_meanwhile() {
    // Past every time-out of a connection.
    away_for(Duration::from_secs(30), Some(Timers::SHORT)).await;
}

async fn a_cluster_that_was_away_for_an_hour_converges_alone() {
    away_for(Duration::from_hours(1), None).await;
}

async fn away_for(absence: Duration, timers: Option<Timers>) {
    let Some(mut installation) = prepared("a cluster away", &["eu", "us"]).await else { return };
    installation.timers = timers;
    let (connections, _requests) = proxied(&installation, "us", Arc::new(WriteTrap::default())).await;
    installation.start_drover().await.unwrap();
    let objects = one_of_each_kind();
    for object in &objects {
        ready_with(&installation, object).await;
    }
    let mut shop = objects.into_iter().find(|object| object["kind"] == "Project").unwrap();

    connections.set(Mode::HangInDial);
    reads(&installation, "cluster", "us", "Ready", "False/Timeout").await;
    shop["spec"]["namespaces"] = json!([{"name": "team-web"}, {"name": "team-late"}]);
    installation.apply(&shop).await.unwrap();
    reads(&installation, "project", "shop", "Ready", "True/ReadyExceptUnreachable").await;
    meanwhile_people_work_in(&installation, "us").await;
    rests(&installation, "the cluster went away").await;
    let quiet_since = marks(&installation).unwrap();
    tokio::time::sleep(absence).await;
    let written = writes_since(&installation, &quiet_since).unwrap();
    let log = installation.drover_log();
    let us = ready_condition(&installation, "us").await;
    assert_eq!(written, Vec::<String>::new(), "while us was away; it reads {us:#}\ndrover:\n{log}");
    reads(&installation, "project", "shop", "Ready", "True/ReadyExceptUnreachable").await;
    time_to_heal(&installation, "eu").await;

    // What changed meanwhile cannot be watched from where drover left off.
    installation.cluster_mut("us").unwrap().expire_watches().await.unwrap();
    let back = Instant::now();
    connections.set(Mode::Pass);
    reads(&installation, "cluster", "us", "Ready", "True/Connected").await;
    converged(&installation, "shop").await;
    println!("away for {absence:?}: converged {:?} after it was back", back.elapsed());
    for there in ["team-web", "team-late"] {
        assert!(downstream_namespace(&installation, "us", there).await.unwrap().is_some(), "{there}");
        for guard in ["resourcequota", "limitrange", "networkpolicy"] {
            let found = downstream(&installation, "us", guard, there, "drover").await.unwrap().unwrap();
            assert_eq!(found["metadata"]["labels"]["drover.dev/owner-name"], "shop", "{guard} in {there}: {found}");
        }
    }
    let late = downstream_namespace(&installation, "us", "team-late").await.unwrap().unwrap();
    assert_eq!(late["metadata"]["labels"]["drover.dev/owner-name"], "shop", "{late}");
    let released = downstream_namespace(&installation, "us", "team-db").await.unwrap().unwrap();
    assert!(released["metadata"]["labels"]["drover.dev/owner-name"].is_null(), "{released}");
    rests(&installation, "the cluster is back").await;
}

/// With the clocks that drover has by default nothing is proved by a short wait; what was under way is over after it.
async fn rests(installation: &Installation, after: &str) {
    match installation.timers {
        Some(_) => quiet(installation, after).await,
        None => tokio::time::sleep(Duration::from_mins(1)).await,
    }
}

/// A namespace of ours is deleted by hand in the cluster that nobody reaches.
async fn meanwhile_people_work_in(installation: &Installation, name: &str) {
    let plane = installation.cluster(name).unwrap();
    remove_namespace(plane, "team-web").await.unwrap();
}
