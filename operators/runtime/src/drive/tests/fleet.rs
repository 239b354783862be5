//! Clusters come, go, and come back.

use super::*;
use crate::OwnerRecord;

#[tokio::test(start_paused = true)]
async fn a_lost_cluster_is_told_and_its_return_wakes_what_is_placed_there() {
    let rig = Rig::warm().await;
    rig.fleet.send_replace(clusters([cluster("eu-1", disconnected()), cluster("us-1", connected())]));
    rig.server.create("toy", &on(&["eu-1", "us-1"]));
    rig.until("it is reported", || rig.says("toy", "cluster eu-1").as_deref() == Some("unreachable: Unreachable"))
        .await;
    rig.until("the other is reported", || rig.says("toy", "cluster us-1").as_deref() == Some("made 0")).await;
    sleep(seconds(1200)).await;
    assert_eq!(rig.stage.reconciles("toy").len(), 2, "a dead cluster costs nothing, a converged one neither");

    rig.fleet.send_replace(clusters([cluster("eu-1", connected()), cluster("us-1", connected())]));
    let back = tokio::time::timeout(seconds(5), rig.until_ready("toy")).await;
    assert!(back.is_ok(), "its reconnect enqueues it");

    rig.fleet.send_replace(clusters([cluster("eu-1", disconnected()), cluster("us-1", connected())]));
    rig.until("it is reported again", || !rig.is_ready("toy")).await;
    assert!(rig.stage.has_thing("toy", &Place::cluster("eu-1")), "unknown is not gone");
}

#[tokio::test(start_paused = true)]
async fn what_is_being_deleted_is_let_go_of_at_a_cluster_that_returns_although_it_was_no_place_meanwhile() {
    let rig = Rig::warm().await;
    let us = connected();
    rig.fleet.send_replace(clusters([cluster("eu-1", connected()), cluster("us-1", us.clone())]));
    rig.server.create("toy", &json!({"clusters": ["eu-1"], "where_reached": true}));
    let there = |cluster: &str| rig.stage.has_thing("toy", &Place::cluster(cluster));
    rig.until("it is made", || there("eu-1") && there("us-1")).await;
    // What keeps the deletion going.
    let held = suspended("us-1", us);
    rig.fleet.send_replace(clusters([cluster("eu-1", disconnected()), held.clone()]));
    rig.server.delete("toy");
    sleep(seconds(300)).await;
    assert!(there("eu-1") && there("us-1"));
    rig.fleet.send_replace(clusters([cluster("eu-1", connected()), held]));
    rig.until("it is released", || !there("eu-1")).await;
}

#[tokio::test(start_paused = true)]
async fn a_cluster_that_leaves_the_fleet_lets_its_parts_go() {
    let rig = Rig::warm().await;
    rig.fleet.send_replace(clusters([cluster("eu-1", disconnected()), cluster("us-1", connected())]));
    rig.server.create("toy", &on(&["eu-1", "us-1"]));
    rig.until("both are reported", || rig.status("toy").is_some_and(|status| status.places.len() == 2)).await;
    rig.server.delete("toy");
    sleep(seconds(300)).await;
    assert!(rig.server.get("toy").is_some(), "eu-1 is only unreachable");

    rig.fleet.send_replace(clusters([cluster("us-1", connected())]));
    rig.until("the toy is gone", || rig.server.get("toy").is_none()).await;
}

#[tokio::test(start_paused = true)]
async fn a_cluster_that_joins_or_leaves_the_choice_of_a_toy_is_in_its_status_or_not() {
    let rig = Rig::warm().await;
    rig.fleet.send_replace(clusters([cluster("us-1", connected())]));
    rig.server.create("toy", &on(&["eu-1", "us-1"]));
    rig.until_ready("toy").await;
    assert_eq!(rig.says("toy", "cluster eu-1"), None);
    assert!(rig.stage.acted("toy").iter().all(|acted| acted.place == Place::cluster("us-1")));
    rig.fleet.send_replace(clusters([cluster("eu-1", connected()), cluster("us-1", connected())]));
    rig.until("the new one has it", || rig.says("toy", "cluster eu-1").as_deref() == Some("made 0")).await;
    rig.server.edit_spec("toy", &on(&["us-1"]));
    rig.until("it is not a target any more", || rig.says("toy", "cluster eu-1").is_none()).await;
}

#[tokio::test(start_paused = true)]
async fn what_clusters_say_is_put_together_at_the_management_cluster() {
    let rig = Rig::warm().await;
    rig.fleet.send_replace(clusters([cluster("eu-1", connected()), cluster("us-1", disconnected())]));
    rig.server.create("toy", &json!({"clusters": ["eu-1", "us-1"], "counts": true}));
    let counted = |count: &str| rig.says("toy", "the management cluster").as_deref() == Some(count);
    rig.until("one has it", || counted("made 1")).await;
    sleep(seconds(1200)).await;
    let before = rig.stage.reconciles("toy").len();
    sleep(seconds(1200)).await;
    assert_eq!(rig.stage.reconciles("toy").len(), before, "at rest nothing is put together again");

    rig.fleet.send_replace(clusters([cluster("eu-1", connected()), cluster("us-1", connected())]));
    rig.until("the other one has it as well", || counted("made 2")).await;
    rig.fleet.send_replace(clusters([cluster("eu-1", connected()), cluster("us-1", disconnected())]));
    rig.until("it is away", || rig.says("toy", "cluster us-1").as_deref() == Some("unreachable: Unreachable")).await;
    assert!(counted("made 2"), "unknown is not gone");
    rig.fleet.send_replace(clusters([cluster("eu-1", connected())]));
    rig.until("one that leaves does not count", || counted("made 1")).await;
}

#[tokio::test(start_paused = true)]
async fn a_suspended_cluster_gets_no_act_and_says_so_until_it_goes_on() {
    let rig = Rig::warm().await;
    let link = connected();
    rig.fleet.send_replace(clusters([suspended("eu-1", link.clone())]));
    rig.server.create("toy", &on(&["eu-1"]));
    rig.until("it is reported", || rig.says("toy", "cluster eu-1").as_deref() == Some("suspended")).await;
    rig.server.delete("toy");
    sleep(seconds(300)).await;
    assert!(rig.stage.acted("toy").is_empty());

    rig.server.create("other", &on(&["eu-1"]));
    sleep(seconds(300)).await;
    assert!(rig.stage.acted("other").is_empty());
    rig.fleet.send_replace(clusters([cluster("eu-1", link)]));
    rig.until_ready("other").await;
}

#[tokio::test(start_paused = true)]
async fn a_cluster_that_the_fleet_does_not_know_yet_is_waited_for_at_no_cost() {
    let rig = Rig::warm().await;
    rig.server.create("toy", &json!({"clusters": ["eu-1"], "insists": true}));
    for _ in 0..10_000 {
        tokio::task::yield_now().await;
    }
    assert!(rig.reconciles_of_any_kind() < 20, "{} reconciles in no time", rig.reconciles_of_any_kind());
    rig.until("it is reported", || rig.says("toy", "cluster eu-1").as_deref() == Some("pending")).await;
    rig.fleet.send_replace(clusters([cluster("eu-1", connected())]));
    rig.until_ready("toy").await;
}

#[tokio::test(start_paused = true)]
async fn in_a_cluster_that_is_not_claimed_yet_nothing_is_done() {
    let rig = Rig::warm().await;
    let Link::Connected(cache) = connected() else { panic!() };
    rig.fleet.send_replace(clusters([cluster("eu-1", Link::Unclaimed(Arc::clone(&cache)))]));
    rig.server.create("toy", &on(&["eu-1"]));
    rig.until("it is reported", || rig.says("toy", "cluster eu-1").as_deref() == Some("pending")).await;
    assert!(rig.stage.acted("toy").is_empty());
    rig.fleet.send_replace(clusters([cluster("eu-1", Link::Connected(cache))]));
    rig.until_ready("toy").await;
}

/// A toy that is made in three steps of a second each, of which the first is done.
async fn half_made() -> Rig {
    let rig = Rig::warm().await;
    rig.fleet.send_replace(clusters([cluster("eu-1", connected())]));
    rig.stage.act_takes(seconds(1));
    rig.server.create("toy", &json!({"clusters": ["eu-1"], "steps": 3}));
    rig.until("the first step is done", || rig.stage.acted("toy").len() == 1).await;
    rig
}

#[tokio::test(start_paused = true)]
async fn a_decision_ends_with_the_connection_that_it_was_made_on() {
    let ends: [(&str, FleetView); 4] = [
        ("its Cluster is gone", clusters([])),
        ("another connection took its place", clusters([cluster("eu-1", connected())])),
        ("it was lost", clusters([cluster("eu-1", disconnected())])),
        ("its Cluster is being deleted", clusters([going("eu-1", "Orphan", connected())])),
    ];
    for (end, fleet) in ends {
        let rig = half_made().await;
        rig.fleet.send_replace(fleet);
        sleep(Duration::from_millis(2500)).await;
        // The step that was under way comes to its end.
        assert_eq!(rig.stage.acted("toy").len(), 2, "{end}");
    }
    let rig = half_made().await;
    rig.until("all is done", || rig.stage.acted("toy").len() == 3).await;
}

/// A link to a server on which things are that these toys own, as their labels say.
pub(super) fn connected_with_things_of(toys: &[&str]) -> Link {
    Link::Connected(Arc::new(Cache::ungated(server_with_things_of(toys).client())))
}

fn server_with_things_of(toys: &[&str]) -> MockServer {
    let server = MockServer::of::<Toy>();
    for toy in toys {
        let thing = format!("thing-of-{toy}");
        let owner = OwnerRecord { kind: "Toy", key: ObjectKey::cluster_scoped(toy) };
        server.create(&thing, &json!({}));
        server.edit(&thing, |object| object["metadata"]["labels"] = json!(owner.labels()));
    }
    server
}

#[tokio::test(start_paused = true)]
async fn what_was_left_behind_while_drover_was_down_is_cleaned_up_when_its_cluster_connects() {
    let server = MockServer::of::<Toy>();
    for (name, spec) in [("moved", on(&["us-1"])), ("stays", on(&["eu-1"]))] {
        server.create(name, &spec);
        server.edit(name, |object| object["metadata"]["finalizers"] = json!(["drover.dev/toy"]));
    }
    let rig = Rig::start(server, clusters([cluster("eu-1", disconnected()), cluster("us-1", connected())]));
    let (eu, toys) = (Place::cluster("eu-1"), ["gone", "moved", "stays"]);
    for toy in toys {
        rig.stage.made_before(toy, eu.clone());
    }
    sleep(seconds(300)).await;
    assert!(toys.iter().all(|toy| rig.stage.has_thing(toy, &eu)), "the cluster is away");

    rig.fleet.send_replace(clusters([cluster("eu-1", connected_with_things_of(&toys)), cluster("us-1", connected())]));
    let left = |toy: &str| rig.stage.has_thing(toy, &eu);
    rig.until("what was left is gone", || !left("gone") && !left("moved")).await;
    sleep(seconds(300)).await;
    assert!(left("stays"));
    assert_eq!(rig.stage.acted("gone").len() + rig.stage.acted("stays").len(), 1);
    assert!(rig.status("moved").unwrap().places.keys().eq(["cluster us-1"]), "what it left is no target");
}

/// A cluster with things of these toys, and the gate of its connection.
fn gated_with_things_of(toys: &[&str]) -> (Link, watch::Sender<bool>) {
    let gate = watch::Sender::new(true);
    let link = connected_with_things_of(toys);
    let Link::Connected(cache) = link else { panic!() };
    (Link::Connected(Arc::new(Cache::new(cache.client(), gate.subscribe()))), gate)
}

#[tokio::test(start_paused = true)]
async fn what_goes_while_its_cluster_is_away_or_suspended_is_cleaned_up_when_that_is_over() {
    for suspends in [false, true] {
        let rig = Rig::start(MockServer::of::<Toy>(), clusters([]));
        let (link, gate) = gated_with_things_of(&["toy"]);
        let eu = Place::cluster("eu-1");
        rig.fleet.send_replace(clusters([cluster("eu-1", link.clone())]));
        rig.server.create("toy", &on(&["eu-1"]));
        rig.until_ready("toy").await;

        if suspends {
            rig.fleet.send_replace(clusters([suspended("eu-1", link.clone())]));
        } else {
            gate.send_replace(false);
            rig.fleet.send_replace(clusters([cluster("eu-1", disconnected())]));
        }
        sleep(seconds(5)).await;
        rig.server.edit_spec("toy", &on(&[]));
        rig.server.edit_spec("toy", &on(&["us-1"]));
        sleep(seconds(120)).await;
        assert!(rig.stage.has_thing("toy", &eu));

        gate.send_replace(true);
        rig.fleet.send_replace(clusters([cluster("eu-1", link)]));
        rig.until("what was left is gone", || !rig.stage.has_thing("toy", &eu)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_left_behind_is_cleaned_up_also_where_nothing_else_is_to_do() {
    let server = MockServer::of::<Toy>();
    let rig = Rig::start(server, clusters([]));
    let eu = Place::cluster("eu-1");
    rig.stage.made_before("gone", eu.clone());
    sleep(seconds(10)).await;
    rig.fleet.send_replace(clusters([cluster("eu-1", connected_with_things_of(&["gone"]))]));
    rig.until("what was left is gone", || !rig.stage.has_thing("gone", &eu)).await;
}

#[tokio::test(start_paused = true)]
async fn what_was_left_behind_in_the_management_cluster_is_cleaned_up_at_the_start() {
    let server = server_with_things_of(&["gone"]);
    // Things are of the kind of toys here: no toy of the management cluster has anything to do there.
    server.edit("thing-of-gone", |object| object["spec"] = on(&["eu-1"]));
    let rig = Rig::start(server, FleetView::default());
    rig.stage.made_before("gone", Place::Management);
    sleep(seconds(300)).await;
    // Without the name of the installation nobody knows what it created: it would be released, and stay.
    assert!(rig.stage.has_thing("gone", &Place::Management));
    rig.fleet.send_replace(clusters([]));
    rig.until("what was left is gone", || !rig.stage.has_thing("gone", &Place::Management)).await;
}

#[tokio::test(start_paused = true)]
async fn a_cluster_that_is_not_selected_any_more_is_cleaned_up() {
    let rig = Rig::warm().await;
    rig.fleet.send_replace(clusters([cluster("eu-1", connected()), cluster("us-1", connected())]));
    rig.server.create("toy", &on(&["eu-1", "us-1"]));
    rig.until_ready("toy").await;
    rig.server.edit_spec("toy", &on(&["us-1"]));
    let there = |cluster: &str| rig.stage.has_thing("toy", &Place::cluster(cluster));
    rig.until("it is cleaned up", || !there("eu-1")).await;
    assert!(there("us-1"));
}

#[tokio::test(start_paused = true)]
async fn a_change_of_a_related_object_wakes_whom_it_concerns_at_all_places() {
    let rig = Rig::warm().await;
    rig.fleet.send_replace(clusters([cluster("eu-1", connected()), cluster("us-1", connected())]));
    for toy in ["reader", "other"] {
        rig.server.create(toy, &on(&["eu-1", "us-1"]));
        rig.until_ready(toy).await;
    }
    sleep(seconds(5)).await;
    let (reader, other) = (rig.stage.reconciles("reader").len(), rig.stage.reconciles("other").len());
    rig.server.create("leader", &json!({"concerns": ["reader"]}));
    sleep(seconds(1)).await;
    assert!(rig.stage.reconciles("reader").len() >= reader + 2);
    assert_eq!(rig.stage.reconciles("other").len(), other);
}

#[tokio::test(start_paused = true)]
async fn an_object_goes_where_a_related_one_goes() {
    let rig = Rig::warm().await;
    rig.fleet.send_replace(clusters([cluster("eu-1", connected()), cluster("us-1", connected())]));
    rig.server.create("follower", &json!({"follows": "leader"}));
    rig.until_ready("follower").await;
    assert_eq!(rig.stage.reconciles("follower").len(), 0, "it has no place");
    sleep(seconds(5)).await;
    rig.server.create("leader", &json!({"clusters": ["eu-1"], "followers": ["follower"]}));
    rig.until("it is where the leader is", || rig.says("follower", "cluster eu-1").as_deref() == Some("made 0")).await;
    assert_eq!(rig.says("follower", "cluster us-1"), None);
    sleep(seconds(5)).await;
    rig.server.edit_spec("leader", &json!({"clusters": ["us-1"], "followers": ["follower"]}));
    let there = |cluster: &str| rig.stage.has_thing("follower", &Place::cluster(cluster));
    rig.until("it went with the leader", || !there("eu-1") && there("us-1")).await;
}
