//! Nothing is made before the finalizer is set, and it stays until everything is gone again.

use super::{fleet::connected_with_things_of, toy::Action, *};
use crate::clock;

const OURS: &str = "drover.dev/toy";
const THEIRS: &str = "example.com/theirs";

#[tokio::test(start_paused = true)]
async fn the_finalizer_is_set_before_the_first_act_and_kept_until_every_place_is_released() {
    let rig = Rig::warm().await;
    rig.fleet.send_replace(clusters([cluster("eu-1", connected()), cluster("us-1", connected())]));
    rig.server.create("toy", &on(&["eu-1", "us-1"]));
    rig.until_ready("toy").await;
    assert_eq!(rig.stage.acted("toy").len(), 2);
    assert!(rig.stage.acted("toy").iter().all(|acted| acted.finalizers == [OURS]));

    rig.fleet.send_replace(clusters([cluster("eu-1", connected()), cluster("us-1", disconnected())]));
    rig.server.delete("toy");
    rig.until("the reachable place is empty", || !rig.stage.has_thing("toy", &Place::cluster("eu-1"))).await;
    sleep(seconds(300)).await;
    assert_eq!(rig.server.finalizers("toy"), [OURS], "one place is not released yet");

    rig.fleet.send_replace(clusters([cluster("eu-1", connected()), cluster("us-1", connected())]));
    rig.until("the toy is gone", || rig.server.get("toy").is_none()).await;
    assert!(!rig.stage.has_thing("toy", &Place::cluster("us-1")));
    let removed = rig.stage.acted("toy").iter().filter(|acted| acted.action == Action::Remove).count();
    assert_eq!(removed, 2, "each place is cleaned once");
    assert!(rig.stage.acted("toy").iter().all(|acted| acted.finalizers == [OURS]));
}

#[tokio::test(start_paused = true)]
async fn a_place_that_is_woken_before_the_finalizer_is_seen_waits_for_it() {
    let rig = Rig::warm().await;
    rig.server.create("toy", &plain());
    rig.server.hold_watches(true);
    rig.until("it is set", || rig.server.finalizers("toy") == [OURS]).await;
    for _ in 0..10 {
        rig.enqueue("toy");
        sleep(seconds(1)).await;
    }
    assert!(rig.stage.reconciles("toy").is_empty());
    assert_eq!(rig.server.patches("toy"), 1, "it is patched once, not until the watch shows it");
    rig.server.hold_watches(false);
    rig.until_ready("toy").await;

    rig.server.delete("toy");
    rig.until("it is removed", || rig.stage.acted("toy").len() == 2).await;
    rig.server.hold_watches(true);
    rig.until("the toy is gone", || rig.server.get("toy").is_none()).await;
    for _ in 0..10 {
        rig.enqueue("toy");
        sleep(seconds(1)).await;
    }
    assert_eq!(rig.server.patches("toy"), 2, "neither is its removal");
}

#[tokio::test(start_paused = true)]
async fn finalizers_of_others_stay_and_what_only_waits_for_them_is_left_alone() {
    let rig = Rig::warm().await;
    rig.server.create("toy", &plain());
    rig.server.edit("toy", |toy| toy["metadata"]["finalizers"] = json!([THEIRS]));
    rig.until_ready("toy").await;
    assert_eq!(rig.server.finalizers("toy"), [THEIRS, OURS]);

    rig.server.delete("toy");
    rig.until("ours is gone", || rig.server.finalizers("toy") == [THEIRS]).await;
    let (writes, reconciles) = (rig.server.write_count(), rig.stage.reconciles("toy").len());
    sleep(seconds(1200)).await;
    assert_eq!(rig.server.finalizers("toy"), [THEIRS]);
    assert_eq!((rig.server.write_count(), rig.stage.reconciles("toy").len()), (writes, reconciles));
}

#[tokio::test(start_paused = true)]
async fn a_finalizer_that_is_added_at_the_same_time_is_not_lost() {
    let rig = Rig::warm().await;
    rig.server.create("toy", &plain());
    rig.until_ready("toy").await;
    rig.server.hold_watches(true);
    rig.server.edit("toy", |toy| toy["metadata"]["finalizers"] = json!([]));
    rig.server.hold_watches(false);
    rig.server.hold_watches(true);
    rig.server.edit("toy", |toy| toy["metadata"]["finalizers"] = json!([THEIRS]));
    sleep(seconds(10)).await;
    assert_eq!(rig.server.finalizers("toy"), [THEIRS], "we do not know of it yet");
    rig.server.hold_watches(false);
    rig.until("both are there", || rig.server.finalizers("toy") == [THEIRS, OURS]).await;
}

#[tokio::test(start_paused = true)]
async fn a_toy_that_is_deleted_before_anything_was_made_gets_no_finalizer_and_no_act() {
    let rig = Rig::warm().await;
    rig.server.hold_watches(true);
    rig.server.create("toy", &plain());
    rig.server.edit("toy", |toy| toy["metadata"]["finalizers"] = json!([THEIRS]));
    rig.server.delete("toy");
    rig.server.hold_watches(false);
    sleep(seconds(300)).await;
    assert_eq!(rig.server.finalizers("toy"), [THEIRS]);
    assert!(rig.stage.reconciles("toy").is_empty());
    assert_eq!(rig.server.write_count(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_toy_that_was_deleted_and_created_again_starts_afresh() {
    let rig = Rig::warm().await;
    rig.server.create("toy", &plain());
    rig.stage.fail("toy", Class::Invalid);
    rig.until("the failure is reported", || rig.reason("toy").as_deref() == Some("invalid")).await;

    rig.stage.heal("toy");
    rig.server.hold_watches(true);
    rig.server.edit("toy", |toy| toy["metadata"]["finalizers"] = json!([]));
    rig.server.delete("toy");
    rig.server.create("toy", &plain());
    rig.server.hold_watches(false);
    let again = tokio::time::timeout(seconds(5), rig.until_ready("toy")).await;
    assert!(again.is_ok(), "the failure of the one of before is no reason to wait");
    assert_eq!(rig.server.finalizers("toy"), [OURS]);
}

/// As `MockServer::delete`, at the time of the test's clock.
fn delete_now(rig: &Rig, toy: &str) {
    rig.server.edit(toy, |toy| toy["metadata"]["deletionTimestamp"] = json!(clock::now().to_string()));
}

#[tokio::test(start_paused = true)]
async fn no_place_holds_up_a_deletion_for_longer_than_its_timeout_and_what_stays_is_given_up_later() {
    let rig = Rig::warm().await;
    let links = || [cluster("eu-1", connected_with_things_of(&["toy"])), cluster("us-1", disconnected())];
    let [eu, us] = links();
    rig.fleet.send_replace(clusters([cluster("eu-1", connected()), cluster("us-1", connected())]));
    rig.server.create("toy", &json!({"clusters": ["eu-1", "us-1"], "patient_for": 60}));
    rig.until_ready("toy").await;
    // One is away, and the other one refuses.
    rig.fleet.send_replace(clusters([eu.clone(), us]));
    rig.stage.fail("toy", Class::Blocked);
    delete_now(&rig, "toy");
    sleep(seconds(55)).await;
    assert_eq!(rig.server.finalizers("toy"), [OURS], "it waits");
    sleep(seconds(10)).await;
    assert!(rig.server.get("toy").is_none(), "and not for ever");
    rig.until("what stays is told", || rig.told().contains(&"DeletionTimedOut".to_owned())).await;

    rig.stage.heal("toy");
    let there = |cluster: &str| rig.stage.has_thing("toy", &Place::cluster(cluster));
    assert!(there("eu-1") && there("us-1"));
    rig.fleet.send_replace(clusters([
        cluster("eu-1", connected_with_things_of(&["toy"])),
        cluster("us-1", connected_with_things_of(&["toy"])),
    ]));
    rig.until("it is given up on reconnect", || !there("eu-1") && !there("us-1")).await;
    let acted = rig.stage.acted("toy").into_iter().map(|acted| acted.action).collect::<Vec<_>>();
    assert_eq!(acted, [Action::Make, Action::Make, Action::GiveUp, Action::GiveUp], "nothing is removed any more");
}

#[tokio::test(start_paused = true)]
async fn a_toy_of_the_same_name_that_comes_before_the_reconnect_takes_up_what_stayed() {
    let rig = Rig::warm().await;
    rig.fleet.send_replace(clusters([cluster("us-1", connected())]));
    rig.server.create("toy", &json!({"clusters": ["us-1"], "patient_for": 60}));
    rig.until_ready("toy").await;
    rig.fleet.send_replace(clusters([cluster("us-1", disconnected())]));
    delete_now(&rig, "toy");
    rig.until("it is gone", || rig.server.get("toy").is_none()).await;
    rig.server.create("toy", &on(&["us-1"]));
    sleep(seconds(60)).await;
    rig.fleet.send_replace(clusters([cluster("us-1", connected_with_things_of(&["toy"]))]));
    rig.until_ready("toy").await;
    sleep(seconds(60)).await;
    assert_eq!(rig.stage.acted("toy").len(), 1, "it was made once, and nothing was given up");
}

#[tokio::test(start_paused = true)]
async fn where_a_toy_was_not_placed_its_deletion_tries_once() {
    let rig = Rig::warm().await;
    rig.fleet.send_replace(clusters([cluster("eu-1", connected()), cluster("us-1", connected())]));
    rig.server.create("toy", &json!({"clusters": ["eu-1"], "tries": ["us-1"]}));
    rig.until_ready("toy").await;
    rig.stage.hang(Place::cluster("us-1"));
    rig.server.delete("toy");
    rig.until("the toy is gone", || rig.server.get("toy").is_none()).await;
    assert_eq!(rig.told().iter().filter(|reason| *reason == "DeletionTimedOut").count(), 0);

    rig.server.create("other", &json!({"clusters": ["eu-1"], "tries": ["us-2"]}));
    rig.until_ready("other").await;
    rig.fleet.send_replace(clusters([cluster("eu-1", connected()), cluster("us-2", connected())]));
    rig.stage.made_before("other", Place::cluster("us-2"));
    rig.stage.fail("other", Class::Blocked);
    rig.server.delete("other");
    sleep(seconds(1200)).await;
    assert!(rig.server.get("other").is_some(), "it has something there, so it waits");
}
