//! What each class of failure does to a key.

use tokio::time::Instant;

use super::*;

/// A rig with one toy whose act fails in this way from the beginning.
async fn failing(class: Class) -> (Rig, Instant) {
    let rig = Rig::warm().await;
    rig.stage.fail("toy", class);
    rig.server.create("toy", &plain());
    rig.until("it was tried", || !rig.stage.passes("toy").is_empty()).await;
    let started = rig.stage.passes("toy")[0];
    (rig, started)
}

#[tokio::test(start_paused = true)]
async fn what_passes_by_itself_and_what_is_a_defect_back_off_ever_longer() {
    for class in [Class::Transient, Class::Bug] {
        let (rig, _) = failing(class).await;
        sleep(seconds(3600)).await;
        let passes = rig.stage.passes("toy");
        let gaps: Vec<Duration> = passes.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert!((10..=60).contains(&gaps.len()), "{class:?} was tried {} times in an hour", gaps.len());
        assert!(gaps[0] <= seconds(1), "{class:?}: {gaps:?}");
        assert!(gaps.iter().all(|gap| *gap <= seconds(301)), "{class:?}: {gaps:?}");
        assert!(gaps.iter().skip(8).any(|gap| *gap > seconds(60)), "{class:?}: {gaps:?}");
        assert_eq!(rig.reason("toy").as_deref(), Some(class.as_str()));

        rig.stage.heal("toy");
        rig.wake("toy");
        rig.until_ready("toy").await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_conflict_is_looked_at_again_at_once_and_is_not_told() {
    let (rig, started) = failing(Class::Conflict).await;
    sleep(seconds(10)).await;
    let soon = rig.stage.passes("toy").iter().filter(|at| **at - started < seconds(10)).count();
    assert!((40..=60).contains(&soon), "{soon} passes in 10 s");
    assert_ne!(rig.reason("toy").as_deref(), Some("conflict"));
    rig.stage.heal("toy");
    rig.until_ready("toy").await;
}

#[tokio::test(start_paused = true)]
async fn what_waits_for_a_time_is_looked_at_then_and_after_the_resync_interval_at_the_latest() {
    let rig = Rig::warm().await;
    for (toy, seconds) in [("soon", 60), ("late", 86_400)] {
        rig.server.create(toy, &json!({"again_in": seconds}));
        rig.until_ready(toy).await;
    }
    sleep(seconds(5)).await;
    let passes = |toy| rig.stage.passes(toy).len();
    let before = (passes("soon"), passes("late"));
    sleep(seconds(580)).await;
    assert!(passes("soon") - before.0 >= 9, "once a minute");
    assert_eq!(passes("late"), before.1, "it is not yet time");
    sleep(seconds(20)).await;
    assert_eq!(passes("late"), before.1 + 1, "the resync interval, 10 min, is over");
}

#[tokio::test(start_paused = true)]
async fn what_waits_for_somebody_else_is_told_and_waits() {
    for (class, reason) in
        [(Class::Blocked, "blocked"), (Class::Invalid, "invalid"), (Class::Unreachable, "unreachable: unreachable")]
    {
        let (rig, _) = failing(class).await;
        sleep(seconds(590)).await;
        assert_eq!(rig.stage.passes("toy").len(), 1, "{class:?}");
        assert_eq!(rig.reason("toy").as_deref(), Some(reason));
        sleep(seconds(20)).await;
        assert_eq!(rig.stage.passes("toy").len(), 2, "{class:?}: in case nobody tells");

        rig.stage.heal("toy");
        rig.server.edit_spec("toy", &plain());
        let healed = tokio::time::timeout(seconds(5), rig.until_ready("toy")).await;
        assert!(healed.is_ok(), "{class:?}: a change of the toy wakes it");
    }
}
