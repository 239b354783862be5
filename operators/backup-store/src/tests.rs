use std::time::{Duration, Instant};

use drover_backups::Prefix;
use drover_runtime::{Failure, PlaceState, Requeue, place_status::PlaceEntry};
use drover_stores::{Listed, StoreError, StoreFailure, Upload};
use k8s_openapi::jiff::SignedDuration;
use serde_json::json;

use super::*;
use crate::{
    judge::{Answers, held, unneeded},
    observe::{Attempt, Held, World},
};

const NOW: Timestamp = Timestamp::UNIX_EPOCH;
const HELD: Held = Held { objects: Some(3), bytes: Some(7), backups: Some(1) };

fn store() -> BackupStore {
    serde_json::from_value(json!({
        "apiVersion": "drover.dev/v1alpha1", "kind": "BackupStore", "metadata": {"name": "main", "generation": 1},
        "spec": {"s3": {"endpoint": "https://s3", "bucket": "backups", "credentialsSecretRef": {"name": "keys"}}},
    }))
    .unwrap()
}

fn world(outcome: Result<Held, Failure>, asked: &str, age: Duration) -> World {
    let attempt = Attempt { asked: "1".to_owned(), ended: Instant::now(), at: NOW, outcome };
    World { asked: asked.to_owned(), attempt: Some(attempt), age, ..World::default() }
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

fn answered(failure: StoreFailure) -> StoreError {
    StoreError { host: "s3".to_owned(), bucket: "backups".to_owned(), failure }
}

/// What a store answers that can be used.
fn good() -> Answers {
    Answers {
        put: Some(Ok(())),
        overwritten: Some(Err(answered(StoreFailure::Exists))),
        read: Some(Ok(true)),
        deleted: Some(Ok(())),
        opened: Some(Ok(())),
        uploads: Some(Ok(())),
        aborted: Some(Ok(())),
        held: Some(HELD),
        is_late: false,
    }
}

#[test]
fn a_store_is_used_only_if_it_answers_each_request_as_backups_need_it() {
    assert_eq!(good().judged(), Ok(HELD));
    assert_eq!(Answers { held: None, ..good() }.judged(), Ok(Held::default()), "what is not counted is not told");
    let lists_none = Some(Err(answered(StoreFailure::NotSupported { status: 501 })));
    assert_eq!(Answers { uploads: lists_none, ..good() }.judged(), Ok(HELD), "a rule of the bucket does");
    let forbidden = || Some(Err(answered(StoreFailure::Forbidden)));
    for (answers, expected) in [
        (Answers { put: forbidden(), ..Answers::default() }, StoreCause::StoreRefused),
        (Answers { overwritten: Some(Ok(())), ..good() }, StoreCause::StoreNotSupported),
        (Answers { overwritten: forbidden(), ..good() }, StoreCause::StoreRefused),
        (Answers { read: Some(Ok(false)), ..good() }, StoreCause::StoreContentDiffers),
        (Answers { read: Some(Err(answered(StoreFailure::NotFound))), ..good() }, StoreCause::StoreContentDiffers),
        (Answers { deleted: forbidden(), ..good() }, StoreCause::StoreRefused),
        (
            Answers { opened: Some(Err(answered(StoreFailure::NotSupported { status: 501 }))), ..good() },
            StoreCause::StoreNotSupported,
        ),
        (Answers { uploads: forbidden(), ..good() }, StoreCause::StoreRefused),
        (Answers { aborted: forbidden(), ..good() }, StoreCause::StoreRefused),
        (Answers { is_late: true, ..Answers::default() }, StoreCause::StoreUnavailable),
    ] {
        assert_eq!(answers.judged().map_err(|failure| failure.cause), Err(expected.cause()), "{answers:?}");
    }
}

#[test]
fn only_uploads_of_backups_that_are_old_and_under_way_nowhere_are_not_needed() {
    let prefix: Prefix = "fleet".parse().unwrap();
    let hours = |hours| NOW - SignedDuration::from_hours(hours);
    let upload = |key: &str, id: &str, opened| Upload { key: key.to_owned(), id: id.to_owned(), opened };
    let snapshot = "fleet/c-1/b-1/snapshot.b-1-1.db.zst";
    let open = [
        upload(snapshot, "old", Some(hours(25))),
        upload(snapshot, "under-way", Some(hours(25))),
        upload(snapshot, "young", Some(hours(23))),
        upload(snapshot, "undated", None),
        upload("fleet/c-1/b-1/other", "of-others", Some(hours(25))),
        upload("fleet-2/c-1/b-1/snapshot.b-1-1.db.zst", "of-another-store", Some(hours(25))),
        upload("fleet/probe-u", "of-a-try", Some(hours(0))),
        upload("fleet/probe-v", "of-another-try", Some(hours(25))),
    ];
    let under_way = ["under-way".to_owned()].into();
    let found = unneeded(&open, &prefix, "fleet/probe-u", &under_way, NOW);
    assert_eq!(found.iter().map(|upload| upload.id.as_str()).collect::<Vec<_>>(), ["of-a-try", "old"]);
}

#[test]
fn what_a_store_holds_is_counted_whatever_else_is_in_it() {
    let listed = |key: &str, bytes| Listed { key: key.to_owned(), bytes };
    let all = [
        listed("fleet/c-1/b-1/manifest.json", 1),
        listed("fleet/c-1/b-1/snapshot.b-1-1.db.zst", 10),
        listed("fleet/c-1/x/y/manifest.json", 100),
        listed("fleet/\u{fffd}", u64::MAX),
    ];
    let held = held(&all, &"fleet".parse().unwrap());
    assert_eq!(held, Held { objects: Some(4), bytes: Some(i64::MAX), backups: Some(1) });
}
