//! What a decision costs for 5,000 targets. Run by `make bench`.

#![expect(missing_docs, reason = "criterion makes the functions")]
#![expect(clippy::expect_used, reason = "a bench may panic")]

use std::{collections::BTreeMap, hint::black_box};

use criterion::{Criterion, criterion_group, criterion_main};
use drover_crds::{RolloutRecord, RolloutStrategy};
use drover_rollouts::{Child, Revision, Rollout, Target, plan};
use k8s_openapi::jiff::Timestamp;
use serde_json::json;

const TARGETS: usize = 5_000;
/// As many as a spec may have.
const STAGES: usize = 20;

fn strategy() -> RolloutStrategy {
    let stage = |number: usize| {
        let selector = json!({ "matchLabels": { "region": format!("r{number}"), "tier": "gold" } });
        json!({ "name": format!("s{number}"), "selector": selector, "maxUnavailable": "50%", "minReady": "0s" })
    };
    serde_json::from_value(json!({ "stages": (0..STAGES).map(stage).collect::<Vec<_>>() })).expect("a strategy")
}

fn labels(number: usize) -> BTreeMap<String, String> {
    let more = (0..10).map(|label| (format!("example.com/label-{label}"), format!("value-{number}")));
    // Every other one is in no stage, so that all selectors are tried.
    let region = if number.is_multiple_of(2) { number % STAGES } else { STAGES };
    let own = [("region".to_owned(), format!("r{region}")), ("tier".to_owned(), "gold".to_owned())];
    more.chain(own).collect()
}

fn bench(criterion: &mut Criterion) {
    let now = Timestamp::from_second(1_800_000_000).expect("a time");
    let strategy = strategy();
    let fleet: Vec<_> = (0..TARGETS).map(|number| (format!("cluster-{number:04}"), labels(number))).collect();
    let (old, new) = (Revision("web-0123456789ab"), Revision("web-ba9876543210"));
    let targets = |given: Revision<'static>| -> Vec<_> {
        let child = Child {
            given: Some(given),
            applied: Some(given),
            is_current: true,
            ready_since: Some(Timestamp::UNIX_EPOCH),
            ..Child::default()
        };
        let target = |(cluster, labels): &'static (String, BTreeMap<String, String>)| Target {
            cluster,
            labels,
            child: Some(child),
            is_online: true,
            is_paused: false,
        };
        let fleet: &'static [_] = fleet.clone().leak();
        fleet.iter().map(target).collect()
    };
    let rollout = Rollout { app: "team-a/web", strategy: &strategy, wanted: new, approve: None, hold: None };
    let record = RolloutRecord { completed: Some(old.0.to_owned()), ..RolloutRecord::default() };
    for (name, targets) in [("none updated", targets(old)), ("all updated", targets(new))] {
        criterion.bench_function(&format!("plan, 5,000 targets, 20 stages, {name}"), |bencher| {
            bencher.iter(|| plan(now, &rollout, black_box(&targets), &[], &record));
        });
    }
}

criterion_group!(benches, bench);
criterion_main!(benches);
