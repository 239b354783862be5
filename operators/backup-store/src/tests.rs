use std::time::{Duration, Instant};

use drover_runtime::{Failure, PlaceState, Requeue, place_status::PlaceEntry};
use k8s_openapi::jiff::SignedDuration;
use serde_json::json;

use super::*;
use crate::observe::{Attempt, Held, World};

const NOW: Timestamp = Timestamp::UNIX_EPOCH;
const HELD: Held = Held { objects: Some(3), bytes: Some(7) };

fn store() -> BackupStore {
    serde_json::from_value(json!({
        "apiVersion": "drover.dev/v1alpha1", "kind": "BackupStore", "metadata": {"name": "main", "generation": 1},
        "spec": {"s3": {"endpoint": "https://s3", "bucket": "backups", "credentialsSecretRef": {"name": "keys"}}},
    }))
    .unwrap()
}

fn world(outcome: Result<Held, Failure>, asked: &str, age: Duration) -> World {
    let attempt = Attempt { asked: "1".to_owned(), ended: Instant::now(), at: NOW, outcome };
    World { asked: asked.to_owned(), attempt: Some(attempt), age }
}

fn refused() -> Failure {
    Failure::new(StoreCause::StoreRefused, "the keys are wrong")
}

fn status(store: &BackupStore, world: &World) -> BackupStoreStatus {
    let known = plan::plan(store, world, NOW).place_status;
    let entry = PlaceEntry { known: Some(known), state: PlaceState::Current };
    summary::summarise(store, &[(Place::Management, entry)].into_iter().collect())
}

fn told(status: &BackupStoreStatus) -> Vec<(&str, &str, &str)> {
    let conditions = status.conditions.iter();
    conditions.map(|found| (found.type_.as_str(), found.status.as_str(), found.reason.as_str())).collect()
}

#[test]
fn it_is_tried_at_its_interval_and_at_once_when_something_else_is_asked() {
    let due = |world: &World| {
        let plan = plan::plan(&store(), world, NOW);
        (plan.actions().count(), plan.requeue)
    };
    assert_eq!(due(&World::default()), (1, Requeue::Watch));
    let later = |seconds| Requeue::At(NOW + SignedDuration::from_secs(seconds));
    assert_eq!(due(&world(Ok(HELD), "1", Duration::from_secs(10))), (0, later(590)));
    assert_eq!(due(&world(Ok(HELD), "1", Duration::from_mins(10))), (1, Requeue::Watch));
    assert_eq!(due(&world(Ok(HELD), "2", Duration::from_secs(10))), (1, Requeue::Watch));
    assert_eq!(due(&world(Err(refused()), "1", Duration::from_secs(10))), (0, later(50)));
}

#[test]
fn what_is_found_is_told_and_told_once() {
    let mut store = store();
    let first = status(&store, &World::default());
    assert_eq!(told(&first), [("Ready", "False", "Progressing"), ("Reconciling", "True", "Progressing")]);
    let good = world(Ok(HELD), "1", Duration::ZERO);
    let ready = status(&store, &good);
    let expected =
        [("Ready", "True", "Ready"), ("Writable", "True", "Ready"), ("ConditionalPutSupported", "True", "Ready")];
    assert_eq!((told(&ready), ready.used_bytes, ready.objects), (expected.to_vec(), Some(7), Some(3)));

    store.status = Some(BackupStoreStatus { observed_generation: 1, ..ready.clone() });
    let mut again = good.clone();
    again.attempt.as_mut().unwrap().at = NOW + SignedDuration::from_secs(600);
    assert_eq!(status(&store, &again).checked_at, ready.checked_at, "what is as before is not written again");
    again.attempt.as_mut().unwrap().outcome = Ok(Held { bytes: Some(8), ..HELD });
    assert_ne!(status(&store, &again).checked_at, ready.checked_at);
    assert_eq!(told(&status(&store, &World::default())), expected, "after a start what was told before stands");
}

#[test]
fn what_fails_says_which_part() {
    let bad = status(&store(), &world(Err(refused()), "1", Duration::ZERO));
    assert_eq!(
        told(&bad),
        [
            ("Ready", "False", "StoreRefused"),
            ("Stalled", "True", "StoreRefused"),
            ("Writable", "False", "StoreRefused")
        ]
    );
    assert_eq!(bad.conditions[0].message, "BackupStore main cannot be used: the keys are wrong");
    let unsafe_one = Failure::new(StoreCause::StoreNotSupported, "it overwrites");
    let bad = status(&store(), &world(Err(unsafe_one), "1", Duration::ZERO));
    assert_eq!(told(&bad)[2], ("ConditionalPutSupported", "False", "StoreNotSupported"));
}
