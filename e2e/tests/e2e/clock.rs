//! The wall clock of the machine on which drover runs jumps, as when a virtual machine wakes up or somebody corrects it.

use drover_e2e::clock::JumpingClock;
use drover_e2e::installation::{End, Installation};
use drover_e2e::story::*;
use drover_e2e::wait::{eventually, soon};
use k8s_openapi::jiff::Timestamp;
use serde_json::Value;

drover_e2e::tests![a_clock_that_jumps_changes_neither_the_leader_nor_anything_downstream,];

const TWO_HOURS: i64 = 2 * 60 * 60;

async fn a_clock_that_jumps_changes_neither_the_leader_nor_anything_downstream() {
    let Some(mut installation) = prepared_restful("a clock that jumps", &["eu"]).await else { return };
    let clock = JumpingClock::compile().unwrap();
    installation.environment = clock.environment();
    installation.start_drover().await.unwrap();
    says(&mut installation, 0, "this process leads").await;
    installation.environment.clear();
    installation.start_drover().await.unwrap();
    says(&mut installation, 1, "another process leads").await;
    ready_with(&installation, &a_project("shop", &["team-web"])).await;
    reads(&installation, "cluster", "eu", "Ready", "True/Connected").await;
    let pace = time_to_heal(&installation, "eu").await;
    let (term, status) = (term(&installation).await, status(&installation).await);

    let mut now = 0;
    for jump in [TWO_HOURS, -TWO_HOURS] {
        let fault = format!("a clock that is {jump} s off");
        let before = renewed(&installation).await;
        clock.set(jump).unwrap();
        is_renewed(&mut installation, before, jump - now).await;
        now = jump;
        let healed = time_to_heal(&installation, "eu").await;
        not_held_up(&fault, pace, healed);
        converged(&installation, "shop").await;
        tokio::time::sleep(longer_than_the_lease()).await;
        quiet(&installation, &fault).await;
        assert_eq!(drover_e2e::story::term(&installation).await, term, "{fault}");
        assert_eq!(self::status(&installation).await, status, "{fault}");
    }

    // The standby's clock is right, and what it finds in the Lease and in the conditions is of the future.
    let before = renewed(&installation).await;
    clock.set(TWO_HOURS).unwrap();
    is_renewed(&mut installation, before, TWO_HOURS - now).await;
    time_to_heal(&installation, "eu").await;
    installation.replica(0).unwrap().kill().await.unwrap();
    says(&mut installation, 1, "this process leads").await;
    time_to_heal(&installation, "eu").await;
    converged(&installation, "shop").await;
    quiet(&installation, "a takeover with another clock").await;
    installation.stop_drover(End::Terminate).await.unwrap();
}

async fn renewed(installation: &Installation) -> Timestamp {
    lease(installation).await.unwrap()["renewTime"].as_str().unwrap().parse().unwrap()
}

/// Waits until drover renews the Lease by the new clock, which shows that it has jumped.
async fn is_renewed(installation: &mut Installation, before: Timestamp, jump: i64) {
    let outcome = eventually("drover follows the clock", soon(), async || {
        installation.replica(0)?.check()?;
        let moved = renewed(installation).await.duration_since(before).as_secs();
        Ok(if jump > 0 { moved >= jump } else { moved < jump / 2 }.then_some(()))
    })
    .await;
    assert!(outcome.is_ok(), "{outcome:?}");
}

/// What is said of the cluster, with times: nothing in it hangs on the time of day.
async fn status(installation: &Installation) -> Value {
    get(installation, "cluster", "eu").await.unwrap()["status"].take()
}
