//! Whatever happens in whichever order to whichever fleet, the promises hold: they are checked at each decision of the model.

use drover_crds::{OnStageFailure, RolloutPhase, RolloutStrategy};
use proptest::prelude::*;
use serde_json::json;

use super::model::{Outcome, World, stage, strategy};

const STAGES: [&str; 4] = ["a", "b", "c", "none"];
const REVISIONS: [&str; 3] = ["one", "two", "three"];

/// What happens next.
#[derive(Clone, Copy, Debug)]
enum Event {
    /// A decision, of which so many actions are done before the process dies.
    Plan(usize),
    Time(i64),
    Jump(i64),
    Release(usize),
    Finish(usize, Outcome),
    Report(usize),
    ReportAll,
    /// The app is released, that ends so, and it is seen.
    Live(usize, Outcome),
    Turn(usize, bool),
    Online(usize, bool),
    Paused(usize, bool),
    Move(usize, usize),
    Select(usize, bool),
    Want(usize),
    Approve(usize),
    Hold(Option<usize>),
    PauseAll(bool),
    Edit(usize),
    Delete(usize),
    Take(usize),
}

fn event() -> impl Strategy<Value = Event> {
    let cluster = || 0_usize..12;
    let outcome = || prop_oneof![4 => Just(Outcome::Ready), 1 => Just(Outcome::Broken), 1 => Just(Outcome::Undone)];
    prop_oneof![
        12 => prop_oneof![3 => Just(usize::MAX), 1 => 0_usize..4].prop_map(Event::Plan),
        6 => (1_i64..200).prop_map(Event::Time),
        4 => cluster().prop_map(Event::Release),
        4 => (cluster(), outcome()).prop_map(|(cluster, outcome)| Event::Finish(cluster, outcome)),
        12 => (cluster(), outcome()).prop_map(|(cluster, outcome)| Event::Live(cluster, outcome)),
        4 => cluster().prop_map(Event::Report),
        4 => Just(Event::ReportAll),
        2 => (cluster(), any::<bool>()).prop_map(|(cluster, is)| Event::Turn(cluster, is)),
        2 => (cluster(), any::<bool>()).prop_map(|(cluster, is)| Event::Online(cluster, is)),
        1 => (cluster(), any::<bool>()).prop_map(|(cluster, is)| Event::Paused(cluster, is)),
        2 => (cluster(), 0_usize..4).prop_map(|(cluster, stage)| Event::Move(cluster, stage)),
        2 => (cluster(), any::<bool>()).prop_map(|(cluster, is)| Event::Select(cluster, is)),
        2 => (0_usize..3).prop_map(Event::Want),
        2 => (0_usize..3).prop_map(Event::Approve),
        1 => prop::option::of(0_usize..3).prop_map(Event::Hold),
        1 => any::<bool>().prop_map(Event::PauseAll),
        1 => cluster().prop_map(Event::Edit),
        1 => cluster().prop_map(Event::Delete),
        1 => cluster().prop_map(Event::Take),
    ]
}

fn jump() -> impl Strategy<Value = Event> {
    prop_oneof![20 => event(), 1 => (-20_000_i64..20_000).prop_map(Event::Jump)]
}

fn share() -> impl Strategy<Value = serde_json::Value> {
    prop_oneof![
        (0_u32..4).prop_map(|count| json!(count)),
        (0_u32..=100).prop_map(|percent| json!(format!("{percent}%")))
    ]
}

fn one_stage(name: &'static str) -> impl Strategy<Value = serde_json::Value> {
    let failures = (prop_oneof![Just("Pause"), Just("Rollback"), Just("Continue")], 0_u32..2);
    let times = (0_u32..150, prop_oneof![Just(0_u32), 0_u32..200]);
    (share(), prop::option::of(share()), times, any::<bool>(), failures).prop_map(
        move |(unavailable, batch, (ready, interval), approval, (on_failure, most))| {
            let mut more = json!({
                "maxUnavailable": unavailable, "minReady": format!("{ready}s"), "interval": format!("{interval}s"),
                "approval": if approval { "Required" } else { "None" }, "onFailure": on_failure, "maxFailures": most,
            });
            if let Some(batch) = batch {
                more["batchSize"] = batch;
            }
            stage(name, &more)
        },
    )
}

fn any_strategy() -> impl Strategy<Value = RolloutStrategy> {
    let policy = prop_oneof![3 => Just("Skip"), 1 => Just("Wait"), 1 => Just("Count")];
    let prune = (0_u32..=100, 0_u32..300);
    ((one_stage("a"), one_stage("b"), one_stage("c")), 0_usize..4, policy, prune).prop_map(
        |((a, b, c), count, policy, (fraction, grace))| {
            let stages = &[a, b, c][..count.min(3)];
            let prune = json!({ "maxFraction": format!("{fraction}%"), "grace": format!("{grace}s") });
            strategy(&json!({ "stages": stages, "offlinePolicy": policy, "prune": prune }))
        },
    )
}

fn world() -> impl Strategy<Value = World> {
    (any_strategy(), prop::collection::vec(0_usize..4, 1..12), any::<bool>()).prop_map(
        |(strategy, stages, is_there)| {
            let stages: Vec<_> = stages.into_iter().map(|stage| STAGES[stage]).collect();
            if is_there { World::completed(strategy, &stages) } else { World::new(strategy, &stages) }
        },
    )
}

fn happen(world: &mut World, event: Event) {
    let count = world.clusters.len();
    match event {
        Event::Plan(most) => drop(world.plan(most)),
        Event::Time(seconds) => world.clock += seconds,
        Event::Jump(seconds) => (world.clock, world.has_jumped) = (world.clock + seconds, true),
        Event::Release(cluster) => world.release(cluster % count),
        Event::Finish(cluster, outcome) => world.finish(cluster % count, outcome),
        Event::Report(cluster) => world.report(cluster % count),
        Event::ReportAll => (0..count).for_each(|cluster| world.report(cluster)),
        Event::Live(cluster, outcome) => {
            world.release(cluster % count);
            world.finish(cluster % count, outcome);
            world.report(cluster % count);
        }
        Event::Turn(cluster, is_healthy) => world.turn(cluster % count, is_healthy),
        Event::Online(cluster, is) => world.clusters[cluster % count].is_online = is,
        Event::Paused(cluster, is) => world.clusters[cluster % count].is_paused = is,
        Event::Move(cluster, stage) => {
            world.clusters[cluster % count].labels.insert("stage".to_owned(), STAGES[stage].to_owned());
        }
        Event::Select(cluster, is) => world.clusters[cluster % count].is_selected = is,
        Event::Want(revision) => world.want(REVISIONS[revision]),
        Event::Approve(revision) => world.approve = Some(REVISIONS[revision].to_owned()),
        Event::Hold(revision) => world.hold = revision.map(|revision| REVISIONS[revision].to_owned()),
        Event::PauseAll(is) => world.strategy.paused = is,
        Event::Edit(cluster) => {
            if let Some(app) = &mut world.clusters[cluster % count].app {
                app.generation += 1;
            }
        }
        Event::Delete(cluster) => world.clusters[cluster % count].app = None,
        Event::Take(cluster) => {
            if let Some(app) = &mut world.clusters[cluster % count].app {
                // It is another object then, and nothing of it was done by us.
                (app.is_foreign, app.is_by_us, app.deselected_since) = (!app.is_foreign, false, None);
            }
        }
    }
}

/// Nothing is in the way any more.
fn calm(world: &mut World) {
    (world.hold, world.strategy.paused) = (None, false);
    for cluster in &mut world.clusters {
        (cluster.is_online, cluster.is_paused, cluster.is_selected) = (true, false, true);
        if cluster.app.as_ref().is_some_and(|app| app.is_foreign) {
            cluster.app = None;
        }
    }
    for stage in &mut world.strategy.stages {
        let is_none = |share: Option<drover_crds::CountOrPercent>| share.is_some_and(|share| share.of(100) == 0);
        stage.max_unavailable = stage.max_unavailable.filter(|share| !is_none(Some(*share)));
        stage.batch_size = stage.batch_size.filter(|share| !is_none(Some(*share)));
        stage.on_failure = OnStageFailure::Continue;
    }
}

/// What ends well ends with the wanted revision everywhere, or with the one before where it was taken back.
fn end(world: &mut World) {
    calm(world);
    // A failure stays one until what is wanted changes; the model mends none.
    if world.wanted == "four" || !world.decide().record.failed {
        world.want("four");
    }
    world.want("four");
    world.approve = Some("four".to_owned());
    let last = world.settle();
    assert_eq!(last.phase, RolloutPhase::Completed);
    assert!(world.all_run("four"), "{:#?}", world.clusters);
    assert_eq!(world.record.completed.as_deref(), Some("four"));
    let again = world.decide();
    assert!(
        again.record == world.record
            && again.starts.is_empty()
            && again.unmark.is_empty()
            && again.requeue_at.is_none(),
        "it is not at rest"
    );
}

fn cases(count: u32) -> ProptestConfig {
    ProptestConfig { cases: count, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(cases(1_500))]

    #[test]
    fn i13_no_budget_is_exceeded_no_stage_is_skipped_and_all_are_updated_in_the_end(
        mut world in world(), events in prop::collection::vec(event(), 1..80)
    ) {
        for event in events {
            happen(&mut world, event);
        }
        end(&mut world);
    }

    #[test]
    fn i14_a_clock_that_jumps_skips_no_stage_and_exceeds_no_budget(
        mut world in world(), events in prop::collection::vec(jump(), 1..80)
    ) {
        for event in events {
            happen(&mut world, event);
        }
        end(&mut world);
    }
}
