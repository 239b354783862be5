//! Cases with a name: what went wrong elsewhere, and bad days.

use drover_crds::{OfflinePolicy, RolloutPhase};
use serde_json::{Value, json};

use super::model::{Outcome, World, stage, strategy};
use crate::{To, Wait};

const TWO: [&str; 2] = ["canary", "prod"];

/// A canary of one and four others, with what the patches say of each stage.
fn canary(canary: &Value, prod: &Value) -> World {
    let rollout = json!({ "stages": [stage("canary", canary), stage("prod", prod)] });
    let mut world = World::completed(strategy(&rollout), &["canary", "prod", "prod", "prod", "prod"]);
    world.want("two");
    world
}

fn started(world: &mut World) -> Vec<String> {
    let decision = world.plan(usize::MAX);
    decision.starts.iter().map(|start| world.clusters[start.target].name.clone()).collect()
}

/// The app of a cluster is released, and that is seen.
fn done(world: &mut World, cluster: usize, outcome: Outcome) {
    world.release(cluster);
    world.finish(cluster, outcome);
    world.report(cluster);
}

fn wait(world: &World) -> String {
    world.decide().wait.map(|wait| wait.to_string()).unwrap_or_default()
}

#[test]
fn a_canary_is_ready_for_long_enough_before_the_next_stage_begins() {
    let mut world = canary(&json!({}), &json!({ "maxUnavailable": "50%" }));
    assert_eq!(started(&mut world), ["c0"]);
    assert_eq!(wait(&world), "stage canary waits for targets to become ready, c0 among them");
    done(&mut world, 0, Outcome::Ready);
    for _ in 0..4 {
        assert_eq!(started(&mut world), [] as [&str; 0]);
        assert!(wait(&world).starts_with("all of stage canary are ready, and have to be so for minReady"));
        let next = world.decide().requeue_at.unwrap().as_second();
        assert_eq!(next, world.clock + 30, "a quarter of 2m");
        world.clock = next;
    }
    let first = started(&mut world);
    assert_eq!(first.len(), 2, "half of four: {first:?}");
    assert_eq!(world.record.reached.as_deref(), Some("canary"));
    assert_eq!(world.settle().phase, RolloutPhase::Completed);
    assert!(world.all_run("two"));
}

#[test]
fn a_target_that_is_ready_for_too_short_a_time_counts_as_unavailable() {
    let more = json!({ "maxUnavailable": 1, "minReady": "100s" });
    let mut world = World::completed(strategy(&json!({ "stages": [stage("prod", &more)] })), &["prod"; 3]);
    world.want("two");
    let first = started(&mut world)[0].trim_start_matches('c').parse().unwrap();
    done(&mut world, first, Outcome::Ready);
    world.clock += 99;
    assert_eq!(started(&mut world), [] as [&str; 0]);
    assert_eq!(world.decide().requeue_at.unwrap().as_second(), world.clock + 1);
    world.clock += 1;
    assert_eq!(started(&mut world).len(), 1);
}

/// Argo CD judges a step by the health of before: production went first.
#[test]
fn argo_29410_a_status_of_before_the_revision_opens_no_stage() {
    let mut world = canary(&json!({ "minReady": "0s" }), &json!({ "minReady": "0s" }));
    assert_eq!(started(&mut world), ["c0"]);
    // Its status says ready, of the revision before.
    assert!(world.app(0).seen.ready_since.is_some());
    world.clock += 3_600;
    assert_eq!(started(&mut world), [] as [&str; 0]);
    // It began, and says so; what is ready is not the revision.
    world.release(0);
    world.report(0);
    assert_eq!(started(&mut world), [] as [&str; 0]);
    // The spec was judged, and the former revision is still what runs.
    let app = world.app(0);
    (app.seen.is_releasing, app.seen.ready_since) = (false, Some(0));
    assert_eq!(started(&mut world), [] as [&str; 0]);
    world.finish(0, Outcome::Ready);
    world.report(0);
    // It is done, and a person edits it: what its status says is of before.
    world.app(0).generation += 1;
    assert_eq!(started(&mut world), [] as [&str; 0]);
    world.release(0);
    world.report(0);
    assert!(!started(&mut world).is_empty());
}

/// Rancher starts all batches at once unless there is an interval.
#[test]
fn rancher_17856_a_batch_without_an_interval_is_still_a_batch() {
    let rollout = json!({ "stages": [stage("prod", &json!({ "batchSize": 2, "maxUnavailable": "100%" }))] });
    let mut world = World::completed(strategy(&rollout), &["prod"; 6]);
    world.want("two");
    assert_eq!(started(&mut world).len(), 2);
    world.clock += 86_400;
    assert_eq!(started(&mut world).len(), 0, "the batch is not ready");
    assert_eq!(world.settle().phase, RolloutPhase::Completed);
}

/// A batch is remembered in the status, not in the memory of a process.
#[test]
fn an_interval_counts_from_the_last_batch_whatever_process_made_it() {
    let more = json!({ "batchSize": 1, "interval": "10m", "minReady": "0s", "maxUnavailable": "100%" });
    let mut world = World::completed(strategy(&json!({ "stages": [stage("prod", &more)] })), &["prod"; 3]);
    world.want("two");
    // The process dies after it noted the batch, and before it did anything.
    assert_eq!(world.plan(0).starts.len(), 1);
    world.clock += 300;
    assert_eq!(started(&mut world).len(), 1, "what was noted and not started follows");
    done(&mut world, 0, Outcome::Ready);
    done(&mut world, 1, Outcome::Ready);
    done(&mut world, 2, Outcome::Ready);
    world.clock += 299;
    assert_eq!(started(&mut world).len(), 0);
    assert_eq!(wait(&world), "stage prod waits until its interval is over");
    assert_eq!(world.decide().requeue_at.unwrap().as_second(), world.clock + 1);
    world.clock += 1;
    assert_eq!(started(&mut world).len(), 1);
    // A batch that a clock noted for the year 2100 holds nothing up for longer than the interval.
    world.record.batch.as_mut().unwrap().at.0 = "2100-01-01T00:00:00Z".parse().unwrap();
    (0..3).for_each(|cluster| done(&mut world, cluster, Outcome::Ready));
    assert_eq!(started(&mut world).len(), 0);
    world.clock += 600;
    assert_eq!(started(&mut world).len(), 1);
}

/// Rancher never looks at an app again that failed for want of a right.
#[test]
fn rancher_18088_what_failed_and_is_mended_goes_on() {
    let mut world = canary(&json!({ "minReady": "0s" }), &json!({ "minReady": "0s", "maxUnavailable": "100%" }));
    started(&mut world);
    done(&mut world, 0, Outcome::Broken);
    assert_eq!(started(&mut world), [] as [&str; 0]);
    assert_eq!(world.phase, Some(RolloutPhase::Failed));
    assert_eq!(
        wait(&world),
        "more targets of stage canary failed than maxFailures allows, c0 among them; mend them, or change the app"
    );
    // The role is given, and the app is tried again.
    let app = world.app(0);
    app.generation += 1;
    done(&mut world, 0, Outcome::Ready);
    assert_eq!(started(&mut world).len(), 4);
}

/// Fleet leaves out clusters that no partition selects.
#[test]
fn fleet_clusters_that_no_stage_selects_are_the_last_stage() {
    let rollout = strategy(&json!({ "stages": [stage("canary", &json!({ "minReady": "0s" }))] }));
    let mut world = World::completed(rollout, &["other", "canary", "none"]);
    world.want("two");
    assert_eq!(started(&mut world), ["c1"]);
    done(&mut world, 1, Outcome::Ready);
    assert_eq!(started(&mut world).len(), 1, "25% of two, and at least one");
    assert_eq!(
        world.decide().counted.stages.iter().map(|stage| (&*stage.name, stage.total)).collect::<Vec<_>>(),
        [("canary", 1), ("rest", 2)]
    );
    world.settle();
    assert!(world.all_run("two"));
}

/// Fleet lets a cluster be in two partitions.
#[test]
fn a_cluster_that_two_stages_select_is_in_the_first_one() {
    let both =
        json!({ "name": "second", "selector": { "matchExpressions": [{ "key": "stage", "operator": "Exists" }] } });
    let rollout = strategy(&json!({ "stages": [stage("canary", &json!({})), both] }));
    let mut world = World::completed(rollout, &["canary", "prod"]);
    world.want("two");
    assert_eq!(started(&mut world), ["c0"]);
    let stages: Vec<_> = world.decide().counted.stages.iter().map(|stage| (stage.name.clone(), stage.total)).collect();
    assert_eq!(stages, [("canary".to_owned(), 1), ("second".to_owned(), 1)]);
}

#[test]
fn an_approval_counts_only_for_the_revision_that_waits() {
    let mut world =
        canary(&json!({ "minReady": "0s" }), &json!({ "approval": "Required", "maxUnavailable": 1, "minReady": "0s" }));
    world.approve = Some("one".to_owned());
    started(&mut world);
    done(&mut world, 0, Outcome::Ready);
    assert_eq!(started(&mut world), [] as [&str; 0]);
    assert_eq!(world.phase, Some(RolloutPhase::WaitingForApproval));
    assert_eq!(wait(&world), "stage prod needs approval; set annotation drover.dev/approve: two");
    world.approve = Some("two".to_owned());
    assert_eq!(started(&mut world).len(), 1);
    // Whoever takes the annotation away again stops nothing: that is what hold is for.
    world.approve = None;
    let one = (1..5).find(|cluster| world.clusters[*cluster].app.as_ref().unwrap().given == "two").unwrap();
    done(&mut world, one, Outcome::Ready);
    assert_eq!(started(&mut world).len(), 1);
    // Another revision needs its own.
    world.want("three");
    world.approve = Some("two".to_owned());
    assert_eq!(started(&mut world), ["c0"]);
    done(&mut world, 0, Outcome::Ready);
    started(&mut world);
    assert_eq!(world.phase, Some(RolloutPhase::WaitingForApproval));
}

#[test]
fn a_hold_stops_everything_of_its_revision_and_nothing_of_another() {
    let mut world = canary(&json!({}), &json!({}));
    world.hold = Some("two".to_owned());
    world.clusters[1].app = None;
    world.clusters[2].is_selected = false;
    let decision = world.plan(usize::MAX);
    assert!(decision.starts.is_empty() && decision.mark.is_empty() && decision.phase == RolloutPhase::Paused);
    assert_eq!(wait(&world), "annotation drover.dev/hold holds revision two; remove it to go on");
    assert_eq!(decision.wait.as_ref().and_then(Wait::stage), Some("canary"), "it is seen where it stands");
    world.want("three");
    assert!(started(&mut world).contains(&"c0".to_owned()));
}

#[test]
fn a_pause_updates_nothing_and_clusters_that_join_get_what_was_complete() {
    let mut world = canary(&json!({}), &json!({}));
    world.strategy.paused = true;
    world.clusters[3].app = None;
    let decision = world.plan(usize::MAX);
    assert_eq!(
        decision.starts.iter().map(|start| (start.target, start.to, start.is_new)).collect::<Vec<_>>(),
        [(3, To::Completed, true)]
    );
    assert_eq!(wait(&world), "spec.rollout.paused holds the rollout; set it to false to go on");
    assert_eq!(decision.wait.as_ref().and_then(Wait::stage), Some("canary"));
}

#[test]
fn a_hold_tells_the_stage_at_which_the_revision_stands() {
    let soon = json!({ "minReady": "0s" });
    let mut world = canary(&soon, &soon);
    let stage = |world: &mut World| {
        world.hold = Some("two".to_owned());
        let decision = world.decide();
        world.hold = None;
        decision.wait.as_ref().and_then(Wait::stage).map(str::to_owned)
    };
    assert_eq!(started(&mut world), ["c0"]);
    assert_eq!(stage(&mut world).as_deref(), Some("canary"), "it is on its way there");
    let mut failed = world.clone();
    done(&mut failed, 0, Outcome::Undone);
    assert_eq!(stage(&mut failed).as_deref(), Some("canary"), "it failed there");
    done(&mut world, 0, Outcome::Ready);
    assert_eq!(stage(&mut world).as_deref(), Some(TWO[1]), "it is complete there");
    world.want("one");
    world.hold = Some("one".to_owned());
    world.clusters[0].app = None;
    assert_eq!(world.decide().wait.as_ref().and_then(Wait::stage), Some("canary"), "one joins there");
}

#[test]
fn a_budget_of_nothing_says_so_and_mends_what_is_broken() {
    for nothing in [json!(0), json!("0%")] {
        let mut world = canary(&json!({ "maxUnavailable": nothing }), &json!({}));
        assert_eq!(started(&mut world), [] as [&str; 0]);
        assert_eq!(
            wait(&world),
            "maxUnavailable or batchSize of stage canary is 0, so no target is updated; set at least 1"
        );
        world.turn(0, false);
        world.report(0);
        assert_eq!(started(&mut world), ["c0"]);
    }
    let mut world =
        canary(&json!({ "maxUnavailable": "100%" }), &json!({ "maxUnavailable": "100%", "minReady": "0s" }));
    started(&mut world);
    done(&mut world, 0, Outcome::Ready);
    world.settle();
    assert!(world.all_run("two"));
}

#[test]
fn a_failure_beyond_what_is_allowed_takes_all_back_and_is_not_tried_again() {
    let prod = json!({ "onFailure": "Rollback", "maxUnavailable": 2, "minReady": "0s", "maxFailures": 1 });
    let mut world = canary(&json!({ "minReady": "0s" }), &prod);
    started(&mut world);
    done(&mut world, 0, Outcome::Ready);
    let first = started(&mut world);
    assert_eq!(first.len(), 2);
    let of = |name: &String| name.trim_start_matches('c').parse::<usize>().unwrap();
    done(&mut world, of(&first[0]), Outcome::Undone);
    // One may fail; it is back at what it had, and the next one is started.
    assert_eq!(started(&mut world).len(), 1);
    done(&mut world, of(&first[1]), Outcome::Broken);
    let decision = world.plan(usize::MAX);
    assert_eq!(decision.phase, RolloutPhase::RollingBack);
    assert!(world.record.failed);
    // The last stage first, and the canary last.
    assert!(decision.starts.iter().all(|start| start.to == To::Completed));
    assert_eq!(decision.starts.last().map(|start| start.target), Some(0));
    let last = world.settle();
    assert_eq!(last.phase, RolloutPhase::RolledBack);
    assert!(world.all_run("one"));
    world.clusters[4].app = None;
    world.clock += 1_000_000;
    assert_eq!(started(&mut world), ["c4"]);
    assert_eq!(world.app(4).given, "one");
    world.want("three");
    assert_eq!(started(&mut world), ["c0"]);
}

#[test]
fn a_rollback_of_the_first_revision_has_nowhere_to_go() {
    let rollout = json!({ "stages": [stage("prod", &json!({ "onFailure": "Rollback", "maxUnavailable": 1 }))] });
    let mut world = World::new(strategy(&rollout), &["prod", "prod"]);
    let first = started(&mut world);
    assert_eq!(first.len(), 1);
    let first = usize::from(first[0] == "c1");
    done(&mut world, first, Outcome::Broken);
    assert_eq!(started(&mut world), [] as [&str; 0]);
    assert_eq!(world.phase, Some(RolloutPhase::Failed));
    assert!(wait(&world).contains("no revision was complete before"));
}

#[test]
fn a_new_revision_in_the_middle_starts_over_and_a_revert_goes_straight_back() {
    let mut world = canary(&json!({ "minReady": "0s" }), &json!({ "maxUnavailable": 1, "minReady": "0s" }));
    started(&mut world);
    done(&mut world, 0, Outcome::Ready);
    assert_eq!(started(&mut world).len(), 1);
    world.want("three");
    assert_eq!(started(&mut world), ["c0"], "those of prod keep what they have");
    assert_eq!(world.record.completed.as_deref(), Some("one"));
    world.want("one");
    assert_eq!(started(&mut world), [] as [&str; 0], "whether they are down is not known yet");
    for cluster in 0..world.clusters.len() {
        if world.app(cluster).given != "one" {
            world.release(cluster);
            world.report(cluster);
        }
    }
    let back = started(&mut world);
    assert_eq!(back.len(), 2, "{back:?}");
    assert_eq!(world.settle().phase, RolloutPhase::Completed);
    assert!(world.all_run("one"));
}

#[test]
fn the_way_back_keeps_to_the_budget() {
    let quick = |unavailable: &str| json!({ "maxUnavailable": unavailable, "minReady": "0s", "batchSize": 1, "interval": "1h" });
    let rollout =
        |unavailable| strategy(&json!({ "stages": [stage("prod", &quick(unavailable)), stage("never", &json!({}))] }));
    let mut world = World::completed(rollout("100%"), &["prod", "prod", "prod", "prod", "never"]);
    world.want("two");
    for _ in 0..4 {
        started(&mut world);
        (0..4).for_each(|cluster| done(&mut world, cluster, Outcome::Ready));
        world.clock += 3_600;
    }
    assert!((0..4).all(|cluster| world.app(cluster).running.as_deref() == Some("two")));
    world.want("one");
    world.strategy = rollout("50%");
    assert_eq!(started(&mut world).len(), 2, "two of four, whatever batch and interval");
    assert_eq!(started(&mut world).len(), 0);
    let back = (0..4).find(|cluster| world.app(*cluster).given == "one").unwrap();
    done(&mut world, back, Outcome::Ready);
    assert_eq!(started(&mut world).len(), 1);
}

#[test]
fn what_failed_and_is_down_is_part_of_what_is_unavailable() {
    for (outcome, most) in [(Outcome::Broken, 0), (Outcome::Undone, 1)] {
        let more = json!({ "maxUnavailable": 1, "onFailure": "Continue", "minReady": "0s" });
        let mut world = World::completed(strategy(&json!({ "stages": [stage("prod", &more)] })), &["prod"; 3]);
        world.want("two");
        let first = started(&mut world)[0].trim_start_matches('c').parse().unwrap();
        done(&mut world, first, outcome);
        assert_eq!(started(&mut world).len(), most, "{outcome:?}");
    }
}

/// What an edit by hand does to an app is not known before its status says so: no start of it is free.
#[test]
fn an_app_of_which_nothing_is_known_is_not_broken() {
    let mut world = canary(&json!({}), &json!({ "maxUnavailable": 1 }));
    started(&mut world);
    done(&mut world, 0, Outcome::Ready);
    world.clock += 1_000;
    (1..5).for_each(|cluster| world.app(cluster).generation += 1);
    world.record.reached = Some("canary".to_owned());
    assert_eq!(started(&mut world), [] as [&str; 0]);
    assert_eq!(world.phase, Some(RolloutPhase::Progressing));
}

#[test]
fn i16_an_offline_target_blocks_nothing_and_catches_up_in_one_step() {
    let mut world = canary(&json!({ "minReady": "0s" }), &json!({ "minReady": "0s" }));
    world.clusters[2].is_online = false;
    world.settle();
    assert_eq!(world.record.completed.as_deref(), Some("two"));
    world.want("three");
    assert_eq!(world.settle().phase, RolloutPhase::Completed);
    assert_eq!(world.app(2).given, "one");
    let counts = world.decide().counted.counts;
    assert_eq!((counts.targets, counts.updated, counts.offline, counts.pending), (5, 4, 1, 1));
    world.clusters[2].is_online = true;
    let decision = world.plan(usize::MAX);
    assert_eq!(decision.starts.iter().map(|start| (start.target, start.to)).collect::<Vec<_>>(), [(2, To::Wanted)]);
    world.settle();
    assert!(world.all_run("three"));
}

#[test]
fn offline_targets_are_waited_for_or_counted_where_that_is_asked() {
    for (policy, most) in [(OfflinePolicy::Wait, 2), (OfflinePolicy::Count, 1)] {
        let rollout = json!({ "stages": [stage("prod", &json!({ "maxUnavailable": 2, "minReady": "0s" }))], "offlinePolicy": policy });
        let mut world = World::completed(strategy(&rollout), &["prod", "prod", "prod", "prod", "other"]);
        world.want("two");
        world.clusters[0].is_online = false;
        assert_eq!(started(&mut world).len(), most, "{policy:?}");
        let last = world.settle();
        assert_eq!(last.phase, RolloutPhase::Progressing, "{policy:?}");
        assert!(last.is_degraded, "nothing goes on for longer than 10m");
        let found = last.wait.unwrap();
        assert!(matches!(&found, Wait::Offline { cluster, .. } if cluster == "c0"), "{found:?}");
        assert_eq!(world.app(4).given, "one");
        world.clusters[0].is_online = true;
        assert_eq!(world.settle().phase, RolloutPhase::Completed);
    }
}

#[test]
fn nothing_is_complete_that_was_never_tried() {
    let mut world = canary(&json!({}), &json!({}));
    for cluster in &mut world.clusters {
        cluster.is_online = false;
    }
    let decision = world.plan(usize::MAX);
    assert_eq!((decision.phase, decision.wait.as_ref()), (RolloutPhase::Pending, Some(&Wait::AllOffline)));
    world.clusters[4].is_online = true;
    assert!(started(&mut world).contains(&"c4".to_owned()), "a stage that is away as a whole blocks nothing");
    for cluster in &mut world.clusters {
        cluster.is_selected = false;
    }
    assert_eq!(world.plan(usize::MAX).wait, Some(Wait::NoTarget));
    assert_eq!(world.record.completed.as_deref(), Some("one"));
}

#[test]
fn who_is_relabelled_skips_no_stage() {
    let mut world = canary(&json!({ "minReady": "0s" }), &json!({ "maxUnavailable": 1, "minReady": "0s" }));
    started(&mut world);
    done(&mut world, 0, Outcome::Ready);
    assert_eq!(started(&mut world).len(), 1);
    let behind = (1..5).find(|cluster| world.clusters[*cluster].app.as_ref().unwrap().given == "one").unwrap();
    world.clusters[behind].labels.insert("stage".to_owned(), "canary".to_owned());
    // The canary is not complete any more: nothing else is started before the new one is done.
    assert_eq!(started(&mut world), [format!("c{behind}")]);
    (1..5).filter(|cluster| *cluster != behind).for_each(|cluster| done(&mut world, cluster, Outcome::Ready));
    assert_eq!(started(&mut world), [] as [&str; 0]);
    done(&mut world, behind, Outcome::Ready);
    assert_eq!(started(&mut world).len(), 1);
}

#[test]
fn clusters_that_join_get_what_their_stage_has() {
    let mut world = canary(&json!({ "minReady": "0s", "maxUnavailable": "100%" }), &json!({ "minReady": "0s" }));
    world.clusters[0].app = None;
    world.clusters[1].app = None;
    let decision = world.plan(usize::MAX);
    let starts: Vec<_> = decision.starts.iter().map(|start| (start.target, start.to)).collect();
    assert_eq!(starts, [(0, To::Wanted), (1, To::Completed)]);
}

#[test]
fn an_app_of_others_is_left_alone_and_named() {
    let mut world = canary(&json!({}), &json!({}));
    world.app(0).is_foreign = true;
    assert_eq!(started(&mut world), [] as [&str; 0]);
    assert!(
        wait(&world).starts_with("the name of an app of stage canary is taken by an object of others, that for c0")
    );
    assert_eq!(world.decide().counted.not_ready[0].reason, "NameTaken");
}

#[test]
fn without_progress_for_too_long_it_is_degraded_and_goes_on() {
    let mut world = canary(&json!({ "minReady": "0s" }), &json!({ "minReady": "0s" }));
    started(&mut world);
    let decision = world.plan(usize::MAX);
    assert!(!decision.is_degraded);
    assert_eq!(decision.requeue_at.unwrap().as_second(), world.clock + 600);
    world.clock += 599;
    assert!(!world.plan(usize::MAX).is_degraded);
    world.clock += 1;
    assert!(world.plan(usize::MAX).is_degraded);
    done(&mut world, 0, Outcome::Ready);
    assert!(!world.plan(usize::MAX).is_degraded);
    assert!(world.settle().wait.is_none());
    // Who waits for a person or for a time is not stuck.
    let mut world = canary(&json!({ "approval": "Required" }), &json!({}));
    world.plan(usize::MAX);
    world.clock += 1_000_000;
    assert!(!world.plan(usize::MAX).is_degraded);
}

/// A clock that jumps once by a year opens no stage before three quarters of the time are over.
#[test]
fn i14_a_clock_that_jumps_opens_no_stage_by_itself() {
    for jump in [31_536_000, -31_536_000] {
        let mut world = canary(&json!({ "minReady": "1000s" }), &json!({}));
        started(&mut world);
        done(&mut world, 0, Outcome::Ready);
        started(&mut world);
        world.clock += jump;
        world.has_jumped = true;
        let mut passed = 0;
        while started(&mut world).is_empty() {
            world.clock += 10;
            passed += 10;
            assert!(passed <= 2_000, "it never opens");
        }
        assert!(passed >= 750, "{jump}: {passed}s");
    }
}

#[test]
fn one_and_the_same_target_twice_counts_once() {
    let mut world = canary(&json!({}), &json!({}));
    let twin = world.clusters[0].clone();
    world.clusters.push(twin);
    assert_eq!(started(&mut world), ["c0"]);
    assert_eq!(world.decide().counted.counts.targets, 5);
}

#[test]
fn stages_are_named_as_they_are_shown() {
    let world = canary(&json!({}), &json!({}));
    let decision = world.decide();
    let names: Vec<_> = decision.counted.stages.iter().map(|stage| stage.name.as_str()).collect();
    assert_eq!(names, TWO);
    assert_eq!(decision.counted.counts.summary, "0/5");
    assert_eq!(decision.wait.as_ref().and_then(Wait::stage), Some("canary"));
}

/// What takes a cluster away may be the revision itself.
#[test]
fn a_canary_that_goes_away_with_the_revision_opens_no_stage() {
    let mut world = canary(&json!({ "minReady": "0s" }), &json!({ "minReady": "0s" }));
    assert_eq!(started(&mut world), ["c0"]);
    world.clusters[0].is_online = false;
    assert_eq!(started(&mut world), [] as [&str; 0]);
    assert!(wait(&world).starts_with("stage canary waits for clusters that are offline or suspended, c0 among them"));
    world.clusters[0].is_online = true;
    done(&mut world, 0, Outcome::Ready);
    assert!(!started(&mut world).is_empty());
}

#[test]
fn a_stage_that_needs_approval_needs_it_with_nobody_there() {
    let rollout = json!({ "stages": [stage("eu", &json!({ "approval": "Required", "minReady": "0s" })), stage("us", &json!({}))] });
    let mut world = World::completed(strategy(&rollout), &["eu", "us"]);
    world.clusters[0].is_online = false;
    world.want("two");
    assert_eq!(started(&mut world), [] as [&str; 0]);
    assert_eq!(world.phase, Some(RolloutPhase::WaitingForApproval));
    world.approve = Some("two".to_owned());
    assert_eq!(started(&mut world), ["c1"]);
}
