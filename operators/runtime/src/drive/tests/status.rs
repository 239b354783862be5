//! The status: when it is written, and when it is not.

use k8s_openapi::{apimachinery::pkg::apis::meta::v1::Time, jiff::Timestamp};

use super::*;
use crate::drive::object_tracker::ObjectTracker;

#[tokio::test(start_paused = true)]
async fn after_a_start_a_status_waits_for_every_verdict_and_at_most_for_the_warm_up() {
    let server = MockServer::of::<Toy>();
    server.create("all-known", &on(&["eu-1"]));
    server.create("one-missing", &on(&["eu-1", "us-1"]));
    let rig = Rig::start(server, clusters([cluster("eu-1", connected()), cluster("us-1", Link::Connecting)]));

    sleep(seconds(10)).await;
    assert!(rig.is_ready("all-known"), "with a verdict at once");
    assert!(rig.stage.has_thing("one-missing", &Place::cluster("eu-1")), "work does not wait");
    sleep(seconds(49)).await;
    assert_eq!(rig.status("one-missing"), None);
    sleep(seconds(2)).await;
    assert_eq!(rig.says("one-missing", "cluster us-1").as_deref(), Some("pending"));
    assert_eq!(rig.says("one-missing", "cluster eu-1").as_deref(), Some("made 0"));
}

#[tokio::test(start_paused = true)]
async fn a_verdict_during_the_warm_up_ends_the_wait() {
    let server = MockServer::of::<Toy>();
    server.create("toy", &on(&["eu-1", "us-1"]));
    let rig = Rig::start(server, clusters([cluster("eu-1", connected()), cluster("us-1", Link::Connecting)]));
    sleep(seconds(20)).await;
    assert_eq!(rig.status("toy"), None);
    rig.fleet.send_replace(clusters([cluster("eu-1", connected()), cluster("us-1", disconnected())]));
    sleep(seconds(3)).await;
    assert_eq!(rig.says("toy", "cluster us-1").as_deref(), Some("unreachable: Unreachable"));
}

#[tokio::test(start_paused = true)]
async fn nothing_is_said_or_done_before_the_fleet_is_known() {
    let server = MockServer::of::<Toy>();
    server.create("toy", &on(&["eu-1"]));
    let rig = Rig::start(server, FleetView::default());
    sleep(seconds(300)).await;
    assert_eq!((rig.server.write_count(), rig.status("toy")), (0, None));
    rig.fleet.send_replace(clusters([cluster("eu-1", connected())]));
    rig.until_ready("toy").await;
}

#[tokio::test(start_paused = true)]
async fn a_status_is_written_at_most_once_a_second_and_the_last_word_is_the_latest() {
    let rig = Rig::warm().await;
    rig.server.create("toy", &plain());
    rig.until_ready("toy").await;
    let before = rig.server.writes("toy/status").len();
    for reading in 1..=100 {
        rig.stage.read(reading);
        rig.enqueue("toy");
        sleep(Duration::from_millis(100)).await;
    }
    sleep(seconds(2)).await;

    assert_eq!(rig.says("toy", "the management cluster").as_deref(), Some("made 100"));
    let writes = rig.server.writes("toy/status");
    let count = writes.len() - before;
    assert!((8..=11).contains(&count), "{count} writes in 10 s");
    let gaps = writes.windows(2).map(|pair| pair[1].at - pair[0].at);
    assert!(gaps.min() >= Some(seconds(1)));
}

#[tokio::test(start_paused = true)]
async fn at_rest_nothing_is_written_and_our_own_status_wakes_no_place() {
    let rig = Rig::warm().await;
    rig.server.create("toy", &plain());
    rig.until_ready("toy").await;
    sleep(seconds(5)).await;
    assert_eq!(rig.stage.reconciles("toy").len(), 2, "one reconcile makes, one sees that it is made");

    let writes = rig.server.write_count();
    (0..20).for_each(|_| rig.enqueue("toy"));
    sleep(seconds(1200)).await;
    assert_eq!(rig.server.write_count(), writes);
    assert_eq!(rig.stage.reconciles("toy").len(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_status_that_another_client_overwrote_is_written_again() {
    let rig = Rig::warm().await;
    rig.server.create("toy", &plain());
    rig.until_ready("toy").await;
    sleep(seconds(5)).await;
    rig.server.edit("toy", |toy| toy["status"]["conditions"] = json!([]));
    assert!(!rig.is_ready("toy"));
    rig.until_ready("toy").await;
    assert_eq!(rig.stage.reconciles("toy").len(), 2, "the places have nothing to do with it");
}

#[tokio::test(start_paused = true)]
async fn a_failing_act_is_told_once_and_does_not_make_the_status_flap() {
    let rig = Rig::warm().await;
    rig.stage.act_takes(Duration::from_millis(300));
    rig.stage.fail("toy", Class::Transient);
    rig.server.create("toy", &plain());
    rig.until("the failure is reported", || rig.reason("toy").as_deref() == Some("transient")).await;
    let writes = rig.server.write_count();
    sleep(seconds(1200)).await;
    assert!(rig.stage.reconciles("toy").len() > 4, "it was tried again");
    assert_eq!(rig.server.write_count(), writes);
    rig.stage.heal("toy");
    rig.until_ready("toy").await;
}

#[tokio::test(start_paused = true)]
async fn a_status_of_a_server_that_was_restored_from_a_backup_is_written_again() {
    let rig = Rig::warm().await;
    rig.server.create("toy", &plain());
    rig.until_ready("toy").await;
    rig.server.go_back(1);
    rig.server.edit_spec("toy", &json!({"clusters": ["nowhere"]}));
    rig.until("the status follows the spec", || rig.status("toy").is_some_and(|status| status.places.is_empty())).await;
}

#[tokio::test(start_paused = true)]
async fn what_was_written_is_seen_before_the_next_decision() {
    let rig = Rig::warm().await;
    rig.stage.hide(true);
    rig.server.create("toy", &plain());
    rig.until("it acted", || !rig.stage.acted("toy").is_empty()).await;
    for _ in 0..10 {
        rig.enqueue("toy");
        sleep(seconds(1)).await;
    }
    assert_eq!(rig.stage.acted("toy").len(), 1, "the cache does not show it yet, so nothing is decided");
    rig.stage.hide(false);
    rig.until_ready("toy").await;
    assert_eq!(rig.stage.acted("toy").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_write_that_never_shows_up_does_not_block_for_ever() {
    let rig = Rig::warm().await;
    rig.stage.hide(true);
    rig.server.create("toy", &plain());
    rig.until("it acted again", || rig.stage.acted("toy").len() > 1).await;
}

#[tokio::test(start_paused = true)]
async fn work_that_takes_minutes_is_looked_at_meanwhile_and_is_no_failure() {
    let rig = Rig::warm().await;
    rig.stage.act_takes(seconds(1));
    rig.server.create("toy", &json!({"groups": 3_000}));
    let looked = tokio::time::timeout(seconds(30), rig.until_ready("toy")).await;
    assert!(looked.is_ok(), "the status shows what is there already");
    let acts = rig.stage.acted("toy").len();
    assert!((64..=112).contains(&acts), "{acts} acts until the second look");
}

/// A policy in the management cluster, which says it in other words each time.
fn frozen(words: usize) -> String {
    format!("AdmissionPolicy 'frozen' with binding 'all' denied request: the {words}th time")
}

#[tokio::test(start_paused = true)]
async fn a_refused_finalizer_or_status_is_told_once_by_an_event_and_tried_again_within_a_minute() {
    for target in ["toy", "toy/status"] {
        let rig = Rig::warm().await;
        rig.server.refuse(target, Some(&frozen(0)));
        rig.server.create("toy", &plain());
        rig.until("an event tells it", || rig.told() == ["Rejected"]).await;
        sleep(seconds(1)).await;
        let reason = rig.reason("toy");
        let (writes, patches) = (rig.server.write_count(), rig.server.patches(target));
        for words in 1..20 {
            rig.server.refuse(target, Some(&frozen(words)));
            sleep(seconds(60)).await;
        }
        assert!(rig.server.patches(target) >= patches + 18, "{target}: it is tried again");
        assert_eq!((rig.told().len(), rig.server.write_count()), (1, writes), "{target}: {:?}", rig.told());
        let told = if target == "toy" { Some("Rejected") } else { None };
        assert_eq!(reason.as_deref(), told, "{target}: the status says it where it may be written");
        assert_eq!(rig.stage.acted("toy").is_empty(), target == "toy", "nothing is made without the finalizer");

        rig.server.refuse(target, None);
        let healed = tokio::time::timeout(seconds(65), rig.until_ready("toy")).await;
        assert!(healed.is_ok(), "{target}");
    }
}

#[test]
fn a_judgement_of_another_generation_is_not_taken_for_one_of_this() {
    let toy = |generation: i64, deleting: bool| {
        let mut toy = Toy::new("toy", serde_json::from_value(plain()).unwrap());
        (toy.metadata.uid, toy.metadata.generation) = (Some("1".to_owned()), Some(generation));
        toy.metadata.deletion_timestamp = deleting.then_some(Time(Timestamp::UNIX_EPOCH));
        toy
    };
    let (mut objects, key) = (ObjectTracker::<ToyOperator>::default(), ObjectKey::cluster_scoped("toy"));
    let (tracked, _) = objects.note(&key, &toy(2, false));
    assert!(tracked.is_about(&toy(2, false).metadata));
    assert!(!tracked.is_about(&toy(1, false).metadata));
    assert!(!tracked.is_about(&toy(2, true).metadata));
}
