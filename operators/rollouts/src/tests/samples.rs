//! On which targets a person sees what a revision would change.

use drover_crds::RolloutPhase;
use serde_json::json;

use super::model::{Outcome, World, stage, strategy};

/// A canary, and four others that need approval, with revision `one` everywhere.
fn world() -> World {
    let approved = json!({ "minReady": "0s", "approval": "Required", "maxUnavailable": 1 });
    let rollout = json!({ "stages": [stage("canary", &json!({ "minReady": "0s" })), stage("prod", &approved)] });
    let mut world = World::completed(strategy(&rollout), &["canary", "prod", "prod", "prod", "prod"]);
    world.want("two");
    world
}

fn samples(world: &World) -> Vec<String> {
    let decision = world.decide();
    let told = decision.samples.iter().map(|sample| format!("{} {}", sample.stage, world.clusters[sample.target].name));
    told.collect()
}

/// The canary has the revision, and all others wait for approval.
fn waiting() -> World {
    let mut world = world();
    world.plan(usize::MAX);
    world.release(0);
    world.finish(0, Outcome::Ready);
    world.report(0);
    world.plan(usize::MAX);
    assert_eq!(world.decide().phase, RolloutPhase::WaitingForApproval);
    world
}

#[test]
fn it_is_the_target_that_comes_first_in_each_stage_without_the_revision() {
    let mut world = world();
    let before = samples(&world);
    assert_eq!(before.len(), 1, "the canary starts now: {before:?}");
    let waiting = waiting();
    assert_eq!(samples(&waiting), before);
    world = waiting;
    world.approve = Some("two".to_owned());
    let started = world.plan(usize::MAX).starts;
    assert_eq!(before, [format!("prod {}", world.clusters[started[0].target].name)]);
}

#[test]
fn it_is_none_that_cannot_be_reached_or_is_suspended_and_one_with_a_release_first() {
    let mut world = waiting();
    let mut seen = Vec::new();
    for is_offline in [true, false] {
        let first = samples(&world)[0].clone();
        let cluster = world.clusters.iter_mut().find(|cluster| first.ends_with(&cluster.name)).unwrap();
        (cluster.is_online, cluster.is_paused) = (!is_offline, !is_offline);
        seen.push(first);
    }
    let first = samples(&world)[0].clone();
    assert!(!seen.contains(&first), "{seen:?} {first}");
    let cluster = world.clusters.iter().position(|cluster| first.ends_with(&cluster.name)).unwrap();
    world.app(cluster).seen.applied = None;
    let next = samples(&world)[0].clone();
    assert_ne!(next, first, "it has no release");
    world.clusters.iter_mut().filter(|cluster| cluster.name != "c0").for_each(|cluster| cluster.is_online = false);
    assert!(samples(&world).is_empty());
}

#[test]
fn a_person_who_holds_a_rollout_sees_every_stage() {
    let mut held = world();
    held.hold = Some("two".to_owned());
    assert_eq!(samples(&held).len(), 2);
    assert_eq!(samples(&held)[0], "canary c0");
    let mut paused = world();
    paused.strategy.paused = true;
    assert_eq!(samples(&paused).len(), 2);
}

#[test]
fn where_no_person_looks_there_is_none() {
    let stages: Vec<_> = (0..7).map(|number| stage(&format!("s{number}"), &json!({ "minReady": "0s" }))).collect();
    let names: Vec<_> = (0..7).map(|number| format!("s{number}")).collect();
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    let mut world = World::completed(strategy(&json!({ "stages": stages })), &names);
    assert!(samples(&world).is_empty(), "it is complete");
    world.want("two");
    assert!(samples(&world).is_empty(), "no stage needs approval");
    world.hold = Some("two".to_owned());
    assert_eq!(samples(&world).len(), 5);
    world.hold = None;
    let mut failed = world.clone();
    (failed.record.revision, failed.record.failed) = (Some("two".to_owned()), true);
    failed.hold = Some("two".to_owned());
    assert_eq!((failed.decide().phase, samples(&failed).len()), (RolloutPhase::Paused, 0), "it goes nowhere");
    world.settle();
    assert!(samples(&world).is_empty());
    world.hold = Some("two".to_owned());
    assert!(samples(&world).is_empty(), "every target has it");
    world.hold = None;
    world.strategy.paused = true;
    world.want("one");
    assert_eq!(samples(&world).len(), 5, "a way back is seen as well");
}
