//! What is removed, and what is not.

use std::collections::BTreeMap;

use drover_crds::{PruneGuard, RolloutRecord};
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use serde_json::json;

use super::model::{World, strategy};
use crate::{Blocked, Deselected, Target, prune::prune};

/// So many clusters with the app, of which the first ones leave.
fn world(count: usize, left: usize, prune: &serde_json::Value) -> World {
    let mut world = World::completed(strategy(&json!({ "prune": prune })), &vec!["a"; count]);
    leave(&mut world, 0..left);
    world
}

fn leave(world: &mut World, which: std::ops::Range<usize>) {
    which.for_each(|cluster| world.clusters[cluster].is_selected = false);
}

fn apps(world: &World) -> usize {
    world.clusters.iter().filter(|cluster| cluster.app.is_some()).count()
}

#[test]
fn an_app_is_removed_once_its_cluster_left_for_long_enough() {
    let mut world = world(10, 3, &json!({}));
    assert_eq!(world.plan(usize::MAX).mark.len(), 3);
    world.clock += 599;
    let decision = world.plan(usize::MAX);
    assert!(decision.remove.is_empty() && decision.mark.is_empty());
    assert_eq!(decision.requeue_at.unwrap().as_second(), world.clock + 1);
    world.clock += 1;
    assert_eq!(world.plan(usize::MAX).remove.len(), 3);
    assert_eq!(apps(&world), 7);
}

#[test]
fn who_comes_back_in_time_keeps_the_app() {
    let mut world = world(10, 3, &json!({}));
    world.plan(usize::MAX);
    world.clusters.iter_mut().for_each(|cluster| cluster.is_selected = true);
    world.clock += 10_000;
    let decision = world.plan(usize::MAX);
    assert!(decision.remove.is_empty());
    assert_eq!(decision.unmark, [0, 1, 2]);
    assert_eq!(apps(&world), 10);
    // The time counts anew when it leaves again.
    leave(&mut world, 0..3);
    world.plan(usize::MAX);
    assert!(world.plan(usize::MAX).remove.is_empty());
}

#[test]
fn i15_a_fleet_that_is_relabelled_as_a_whole_keeps_all_and_says_so() {
    for left in [4, 9] {
        let mut world = world(10, left, &json!({ "grace": "0s" }));
        for _ in 0..100 {
            let decision = world.plan(usize::MAX);
            assert_eq!(decision.blocked, Some(Blocked::TooMany { deselected: left, allowed: 3 }));
            world.clock += 1_000;
        }
        assert_eq!(apps(&world), 10);
        let text = world.decide().blocked.unwrap().to_string();
        assert!(text.contains("raise maxFraction"), "{text}");
        // A person says that it is meant.
        world.strategy.prune.max_fraction = Some(drover_crds::Percent::new(100));
        world.plan(usize::MAX);
        assert_eq!(apps(&world), 10 - left);
    }
}

/// They are seen one after the other: within an hour it is as if they had left at once.
#[test]
fn i15_a_fleet_that_goes_away_slowly_keeps_most_for_an_hour() {
    let mut world = world(10, 0, &json!({ "grace": "0s" }));
    let start = world.clock;
    for cluster in 0..9 {
        leave(&mut world, cluster..cluster + 1);
        for _ in 0..3 {
            world.plan(usize::MAX);
            world.clock += 60;
        }
    }
    assert!(world.clock - start < 3_600);
    assert_eq!(apps(&world), 7);
}

#[test]
fn an_empty_selection_removes_nothing() {
    let mut world = world(3, 3, &json!({ "maxFraction": "100%", "grace": "0s" }));
    for _ in 0..10 {
        assert_eq!(world.plan(usize::MAX).blocked, Some(Blocked::NothingSelected));
        world.clock += 10_000;
    }
    assert_eq!(apps(&world), 3);
}

#[test]
fn a_fleet_of_one_may_move() {
    let mut world = world(2, 1, &json!({ "grace": "0s" }));
    world.clusters[1].app = None;
    world.plan(usize::MAX);
    world.clock += 1;
    world.plan(usize::MAX);
    assert!(world.clusters[0].app.is_none());
    let mut world = self::world(2, 1, &json!({ "grace": "0s", "maxFraction": "0%" }));
    assert_eq!(world.plan(usize::MAX).blocked, Some(Blocked::TooMany { deselected: 1, allowed: 0 }));
}

/// The process dies after it noted the removal, or the server refuses it: it is tried again, and counts once.
#[test]
fn what_was_granted_is_removed_in_the_end_and_counts_once() {
    let mut world = world(10, 3, &json!({ "grace": "0s" }));
    world.plan(usize::MAX);
    world.clock += 1;
    for most in [0, 1, 0, 1, 1] {
        let decision = world.plan(most);
        assert!(!decision.remove.is_empty() && decision.blocked.is_none(), "{decision:?}");
        world.clock += 1;
    }
    assert_eq!(apps(&world), 7);
    leave(&mut world, 3..4);
    assert_eq!(world.plan(usize::MAX).blocked, Some(Blocked::TooMany { deselected: 1, allowed: 0 }));
    world.clock += 3_600;
    assert_eq!(world.plan(usize::MAX).blocked, None);
}

/// An API server keeps whole seconds only: what was granted has to be known again by them.
#[test]
fn what_is_noted_reads_back_as_it_was_decided() {
    let now: Timestamp = "2026-11-27T02:44:05.266444073Z".parse().unwrap();
    let guard: PruneGuard = serde_json::from_value(json!({"maxFraction": "100%", "grace": "0s"})).unwrap();
    let labels = BTreeMap::new();
    let target = Target { cluster: "eu", labels: &labels, child: None, is_online: true, is_paused: false };
    let mut record = RolloutRecord::default();
    let marked = prune(now, &guard, &[target], &[Deselected { since: None }], &mut record, false);
    assert_eq!(marked.mark_at.to_string(), "2026-11-27T02:44:05Z");
    let deselected = [Deselected { since: Some(marked.mark_at) }];
    let later = now + SignedDuration::from_millis(1_500);
    assert_eq!(prune(later, &guard, &[target], &deselected, &mut record, false).remove, [0]);
    let stored: RolloutRecord = serde_json::from_value(serde_json::to_value(&record).unwrap()).unwrap();
    assert_eq!(stored, record);
    let mut again = stored.clone();
    assert_eq!(prune(later, &guard, &[target], &deselected, &mut again, false).remove, [0]);
    assert_eq!(again, stored, "nothing is to be noted once more");
}
