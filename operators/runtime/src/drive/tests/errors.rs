//! What each class of failure does to a key.

use k8s_openapi::jiff::SignedDuration;
use tokio::{sync::Notify, time::Instant};

use super::*;
use crate::clock;

/// A rig with one toy whose act fails in this way from the beginning.
async fn failing(class: Class) -> (Rig, Instant) {
    let rig = Rig::warm().await;
    rig.stage.fail("toy", class);
    rig.server.create("toy", &plain());
    rig.until("it was tried", || !rig.stage.reconciles("toy").is_empty()).await;
    let started = rig.stage.reconciles("toy")[0];
    (rig, started)
}

#[tokio::test(start_paused = true)]
async fn what_passes_by_itself_and_what_is_a_defect_back_off_ever_longer() {
    for (class, reason) in
        [(Class::Transient, "transient"), (Class::Unreachable, "unreachable: unreachable"), (Class::Bug, "bug")]
    {
        let (rig, _) = failing(class).await;
        sleep(seconds(3600)).await;
        let reconciles = rig.stage.reconciles("toy");
        let gaps: Vec<Duration> = reconciles.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert!((10..=60).contains(&gaps.len()), "{class:?} was tried {} times in an hour", gaps.len());
        assert!(gaps[0] <= seconds(1), "{class:?}: {gaps:?}");
        assert!(gaps.iter().all(|gap| *gap <= seconds(301)), "{class:?}: {gaps:?}");
        assert!(gaps.iter().skip(8).any(|gap| *gap > seconds(60)), "{class:?}: {gaps:?}");
        assert_eq!(rig.reason("toy").as_deref(), Some(reason));

        rig.stage.heal("toy");
        rig.enqueue("toy");
        rig.until_ready("toy").await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_conflict_is_retried_at_once_and_one_that_stays_backs_off_and_is_told() {
    let (rig, started) = failing(Class::Conflict).await;
    sleep(Duration::from_millis(250)).await;
    assert_eq!(rig.stage.reconciles("toy").len(), 2, "at once");
    rig.stage.heal("toy");
    rig.until_ready("toy").await;
    assert!(!rig.told().contains(&"conflict".to_owned()), "one that goes away is no news");

    rig.stage.fail("toy", Class::Conflict);
    rig.stage.unmake("toy");
    rig.enqueue("toy");
    sleep(seconds(60)).await;
    let reconciles = rig.stage.reconciles("toy").iter().filter(|at| **at - started < seconds(70)).count();
    assert!((8..=25).contains(&reconciles), "{reconciles} reconciles in a minute");
    assert_eq!(rig.reason("toy").as_deref(), Some("conflict"));
}

#[tokio::test(start_paused = true)]
async fn what_often_heals_by_itself_leaves_the_last_verdict_and_hints_the_probe() {
    for class in [Class::Transient, Class::Unreachable] {
        let rig = Rig::warm().await;
        let doubts = Arc::<Notify>::default();
        let cache = Cache::ungated(MockServer::of::<Toy>().client()).with_doubts(Arc::clone(&doubts));
        rig.fleet.send_replace(clusters([cluster("eu-1", Link::Connected(Arc::new(cache)))]));
        rig.server.create("toy", &on(&["eu-1"]));
        rig.until_ready("toy").await;
        rig.stage.fail("toy", class);
        rig.stage.unmake("toy");
        rig.driver.enqueue_place(&Place::cluster("eu-1"));
        let hinted = tokio::time::timeout(seconds(1), doubts.notified()).await;
        assert!(hinted.is_ok(), "{class:?}: the probe finds out whether it is the connection");
        rig.stage.heal("toy");
        rig.until_ready("toy").await;
        assert!(!rig.told().contains(&class.as_str().to_owned()), "{class:?}: {:?}", rig.told());
    }
}

#[tokio::test(start_paused = true)]
async fn one_request_that_is_not_authorised_is_tried_again_soon() {
    let (rig, _) = failing(Class::Unreachable).await;
    rig.stage.heal("toy");
    let healed = tokio::time::timeout(seconds(3), rig.until_ready("toy")).await;
    assert!(healed.is_ok(), "no reconnect comes, as the connection never went");
}

#[tokio::test(start_paused = true)]
async fn what_follows_an_action_is_looked_at_as_soon_as_the_plan_says() {
    let rig = Rig::warm().await;
    rig.server.create("toy", &json!({"soon_in": 50}));
    rig.enqueue("toy");
    rig.until("it is looked at after the action", || rig.stage.reconciles("toy").len() > 1).await;
    let looks = rig.stage.reconciles("toy");
    assert!(looks[1] - looks[0] < Duration::from_millis(100), "{looks:?}");
}

#[tokio::test(start_paused = true)]
async fn what_is_due_by_the_wall_clock_is_not_late_by_more_than_a_minute_when_that_is_set() {
    let rig = Rig::warm().await;
    rig.server.create("toy", &json!({"again_in": 500}));
    rig.until_ready("toy").await;
    sleep(seconds(5)).await;
    let before = rig.stage.reconciles("toy").len();
    clock::set_by(SignedDuration::from_secs(495));
    sleep(seconds(60)).await;
    assert_eq!(rig.stage.reconciles("toy").len(), before + 1);
    sleep(seconds(300)).await;
    assert_eq!(rig.stage.reconciles("toy").len(), before + 1, "a clock that goes as it should enqueues nothing");
}

#[tokio::test(start_paused = true)]
async fn what_waits_for_a_time_is_looked_at_then_and_after_the_resync_interval_at_the_latest() {
    let rig = Rig::warm().await;
    for (toy, seconds) in [("soon", 60), ("late", 86_400)] {
        rig.server.create(toy, &json!({"again_in": seconds}));
        rig.until_ready(toy).await;
    }
    sleep(seconds(5)).await;
    let reconciles = |toy| rig.stage.reconciles(toy).len();
    let before = (reconciles("soon"), reconciles("late"));
    sleep(seconds(580)).await;
    assert!(reconciles("soon") - before.0 >= 9, "once a minute");
    assert_eq!(reconciles("late"), before.1, "it is not yet time");
    sleep(seconds(20)).await;
    assert_eq!(reconciles("late"), before.1 + 1, "the resync interval, 10 min, is over");
}

#[tokio::test(start_paused = true)]
async fn what_waits_for_another_client_is_reported_and_waits() {
    for (class, reason) in [(Class::Blocked, "blocked"), (Class::Invalid, "invalid")] {
        let (rig, _) = failing(class).await;
        sleep(seconds(59)).await;
        assert_eq!(rig.stage.reconciles("toy").len(), 1, "{class:?}");
        assert_eq!(rig.reason("toy").as_deref(), Some(reason));
        sleep(seconds(2)).await;
        assert_eq!(rig.stage.reconciles("toy").len(), 2, "{class:?}: in case no watch tells");

        rig.stage.heal("toy");
        rig.server.edit_spec("toy", &plain());
        let healed = tokio::time::timeout(seconds(5), rig.until_ready("toy")).await;
        assert!(healed.is_ok(), "{class:?}: a change of the toy enqueues it");
    }
}

#[tokio::test(start_paused = true)]
async fn each_refusal_is_told_beside_what_is_known_now_and_does_not_make_the_status_flap() {
    let rig = Rig::warm().await;
    rig.stage.fail("toy", Class::Blocked);
    rig.server.create("toy", &json!({"groups": 2}));
    rig.until("both are told", || rig.reason("toy").as_deref() == Some("blocked and blocked")).await;
    rig.stage.read(7);
    rig.enqueue("toy");
    rig.until("what is known is current", || rig.reason("toy").as_deref() == Some("blocked and blocked 7")).await;
    let writes = rig.server.write_count();
    sleep(seconds(1200)).await;
    assert_eq!(rig.server.write_count(), writes);
    rig.stage.heal("toy");
    let healed = tokio::time::timeout(seconds(65), rig.until_ready("toy")).await;
    assert!(healed.is_ok(), "nothing tells that it would not be refused any more");
}

#[tokio::test(start_paused = true)]
async fn a_failure_ends_its_group_and_the_other_groups_go_on() {
    for (class, steps, groups, done) in [
        (Class::Blocked, 3, 1, 0), // What follows a guard that failed is not done.
        (Class::Blocked, 1, 3, 2),
        (Class::Blocked, 2, 2, 2),
        (Class::Transient, 2, 3, 2), // It is about the whole server: what had begun side by side ends, and nothing begins.
        (Class::Transient, 1, 40, 15),
    ] {
        let rig = Rig::warm().await;
        rig.stage.act_takes(Duration::from_millis(1));
        rig.stage.fail_first("toy", class);
        rig.server.create("toy", &json!({"steps": steps, "groups": groups}));
        rig.until("it was tried", || !rig.stage.reconciles("toy").is_empty()).await;
        sleep(Duration::from_millis(50)).await;
        assert_eq!(rig.stage.acted("toy").len(), done, "{class:?}: {groups} groups of {steps}");
    }
}
