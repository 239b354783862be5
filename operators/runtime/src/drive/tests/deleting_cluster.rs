//! Clusters that are being deleted, and the last word of a toy that waited for one.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_cluster_that_goes_with_delete_is_cleaned_and_then_counts_no_more() {
    let rig = Rig::warm().await;
    let (eu, us) = (connected(), connected());
    rig.fleet.send_replace(clusters([cluster("eu-1", eu.clone()), cluster("us-1", us.clone())]));
    rig.server.create("toy", &on(&["eu-1", "us-1"]));
    rig.until_ready("toy").await;

    rig.fleet.send_replace(clusters([going("eu-1", "Delete", eu), cluster("us-1", us)]));
    rig.until("it is gone from there", || !rig.stage.has_thing("toy", &Place::cluster("eu-1"))).await;
    rig.until("it is no target any more", || rig.says("toy", "cluster eu-1").is_none()).await;
    assert!(rig.is_ready("toy"));
    assert!(rig.stage.has_thing("toy", &Place::cluster("us-1")));
}

#[tokio::test(start_paused = true)]
async fn who_has_nothing_in_a_cluster_that_goes_gets_no_status_write_for_it_however_slow_it_is() {
    let rig = Rig::warm().await;
    let us = connected();
    rig.fleet.send_replace(clusters([cluster("us-1", us.clone())]));
    rig.server.create("toy", &on(&["eu-1", "us-1"]));
    rig.until_ready("toy").await;
    sleep(seconds(5)).await;

    let (eu, writes) = (Place::cluster("eu-1"), rig.server.write_count());
    rig.stage.hang(eu.clone());
    rig.fleet.send_replace(clusters([going("eu-1", "Delete", connected()), cluster("us-1", us.clone())]));
    sleep(seconds(600)).await;
    assert_eq!(rig.server.write_count(), writes, "while nothing is known of it, and when a look fails");

    rig.server.edit_spec("toy", &on(&["us-1", "eu-1"]));
    rig.until_ready("toy").await;
    sleep(seconds(60)).await;
    assert_eq!(rig.server.write_count(), writes + 1, "a new generation is written down, and nothing else");
    assert_eq!(rig.says("toy", "cluster eu-1"), None);
}

#[tokio::test(start_paused = true)]
async fn a_toy_that_is_deleted_waits_for_the_verdict_of_a_cluster_that_goes() {
    let rig = Rig::warm().await;
    let eu = connected();
    rig.fleet.send_replace(clusters([cluster("eu-1", eu.clone())]));
    rig.server.create("toy", &on(&["eu-1"]));
    rig.until_ready("toy").await;
    rig.stage.act_takes(seconds(20));
    rig.fleet.send_replace(clusters([going("eu-1", "Delete", eu)]));
    rig.server.delete("toy");
    sleep(seconds(10)).await;
    assert!(rig.server.get("toy").is_some(), "something is still there");
    rig.until("the toy is gone", || rig.server.get("toy").is_none()).await;
    assert!(!rig.stage.has_thing("toy", &Place::cluster("eu-1")));
}

#[tokio::test(start_paused = true)]
async fn in_a_cluster_that_is_deleted_with_orphan_nothing_is_done() {
    let rig = Rig::warm().await;
    let eu = connected();
    rig.fleet.send_replace(clusters([cluster("eu-1", eu.clone())]));
    rig.server.create("toy", &on(&["eu-1"]));
    rig.until_ready("toy").await;
    rig.fleet.send_replace(clusters([going("eu-1", "Orphan", eu)]));
    rig.until("it is reported", || rig.says("toy", "cluster eu-1").as_deref() == Some("suspended")).await;
    sleep(seconds(300)).await;
    assert!(rig.stage.has_thing("toy", &Place::cluster("eu-1")));
    assert_eq!(rig.stage.acted("toy").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn the_last_word_of_a_toy_is_told_once_and_written_nowhere() {
    let rig = Rig::warm().await;
    rig.fleet.send_replace(clusters([cluster("eu-1", disconnected()), cluster("us-1", connected())]));
    rig.server.create("toy", &on(&["eu-1", "us-1"]));
    rig.until("both are reported", || rig.status("toy").is_some_and(|status| status.places.len() == 2)).await;
    rig.server.delete("toy");
    rig.until("one waits", || rig.says("toy", "cluster us-1").as_deref() == Some("released")).await;
    sleep(seconds(5)).await;
    let (told, statuses) = (rig.told(), rig.server.writes("toy/status").len());
    assert_eq!(told.last().map(String::as_str), Some("unreachable: Unreachable"));

    rig.fleet.send_replace(clusters([cluster("us-1", connected())]));
    rig.until("the toy is gone", || rig.server.get("toy").is_none()).await;
    sleep(seconds(60)).await;
    assert_eq!(rig.server.writes("toy/status").len(), statuses);
    assert_eq!(rig.told()[told.len()..], ["released"]);
}
