//! Invariant B8: exactly one run a tick, whatever happens to the clock and to Drover.

use drover_crds::CatchUp;
use drover_runtime::Requeue;
use k8s_openapi::jiff::SignedDuration;
use proptest::prelude::*;
use serde_json::json;

use super::model::*;

fn set(ticks: &[&str]) -> std::collections::BTreeSet<String> {
    ticks.iter().map(|tick| (*tick).to_owned()).collect()
}

#[test]
fn a_schedule_begins_with_its_next_tick_and_makes_one_backup_of_each_cluster_then() {
    let mut model = Model::new(&json!({}), &["eu", "us"], "2026-11-27T12:00:00Z");
    assert_eq!(model.rest(), Requeue::At(at("2026-11-28T03:00:00Z")));
    assert_eq!((model.names().len(), model.says("Ready").as_str()), (0, "True/Ready"));
    assert_eq!(model.status().last_scheduled, None);
    model.now = at("2026-11-28T03:00:00Z");
    let (told, _) = model.step();
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told.iter().all(|action| action.starts_with("create EtcdBackup team/nightly-")), "{told:?}");
    model.until("2026-11-30T12:00:00Z", succeeds);
    for cluster in ["eu", "us"] {
        assert_eq!(model.ticks(cluster), set(&["28T03:00", "29T03:00", "30T03:00"]));
    }
    let status = model.status();
    assert_eq!(status.last_scheduled.unwrap().0, at("2026-11-30T03:00:00Z"));
    assert_eq!(status.next_run.unwrap().0, at("2026-12-01T03:00:00Z"));
    assert_eq!(status.clusters.unwrap().summary, "2/2");
}

#[test]
fn at_rest_nothing_is_done_and_nothing_written() {
    let mut model = Model::new(&json!({"jitter": "1h"}), &["eu", "us"], "2026-11-27T12:00:00Z");
    model.until("2026-11-28T12:00:00Z", succeeds);
    model.rest();
    let writes = model.writes;
    for _ in 0..50 {
        model.now += minutes(13);
        assert_eq!(model.step().0, [""; 0]);
    }
    assert_eq!(model.writes, writes);
}

#[test]
fn the_backups_of_a_fleet_are_spread() {
    let names: Vec<String> = (0..60).map(|number| format!("c-{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut model = Model::new(&json!({"jitter": "1h"}), &names, "2026-11-27T12:00:00Z");
    model.now = at("2026-11-28T03:00:00Z");
    let mut most = 0;
    for minute in 0..=60 {
        model.now = at("2026-11-28T03:00:00Z") + minutes(minute);
        let (told, _) = model.step();
        most = most.max(told.len());
        model.rest();
    }
    assert!((1..=6).contains(&most), "{most} at once");
    assert_eq!(model.created.len(), 60);
    assert_eq!(model.status().last_scheduled.unwrap().0, at("2026-11-28T04:00:00Z"));
    // One that joins now begins with the next tick.
    model.world.selected.push(selected("late"));
    model.rest();
    assert_eq!(model.created.len(), 60);
}

#[test]
fn after_downtime_the_newest_run_is_made_up_for_at_once_or_none_is() {
    for (catch_up, expected) in [("Latest", set(&["28T03:00", "01T03:00"])), ("None", set(&["28T03:00"]))] {
        let mut model = Model::new(&json!({"catchUp": catch_up}), &["eu"], "2026-11-27T12:00:00Z");
        model.until("2026-11-28T12:00:00Z", succeeds);
        // Drover is down over three ticks.
        model.now = at("2026-12-01T09:00:00Z");
        model.rest();
        assert_eq!(model.ticks("eu"), expected, "{catch_up}");
        model.until("2026-12-02T09:00:00Z", succeeds);
        assert!(model.ticks("eu").contains("02T03:00"), "{catch_up}");
        assert_eq!(model.ticks("eu").len(), expected.len() + 1, "{catch_up}");
    }
}

#[test]
fn a_run_is_skipped_while_the_one_before_is_under_way_and_stays_so() {
    let mut model = Model::new(&json!({"schedule": "@hourly"}), &["eu"], "2026-11-27T11:30:00Z");
    model.until("2026-11-27T13:30:00Z", runs);
    assert_eq!(model.ticks("eu"), set(&["27T12:00"]));
    let running = model.backup("eu", "27T12:00");
    succeeds(running);
    running.status.as_mut().unwrap().completed_at.as_mut().unwrap().0 = at("2026-11-27T13:31:00Z");
    model.now = at("2026-11-27T13:32:00Z");
    model.rest();
    assert_eq!(model.ticks("eu"), set(&["27T12:00"]), "that of 13:00 was skipped");
    model.until("2026-11-27T14:30:00Z", succeeds);
    assert_eq!(model.ticks("eu"), set(&["27T12:00", "27T14:00"]));
}

#[test]
fn a_backup_that_never_begins_makes_room_for_the_next_one() {
    let mut model = Model::new(&json!({}), &["eu"], "2026-11-27T12:00:00Z");
    model.until("2026-11-28T03:01:00Z", |live| {
        waits(live);
        let admission =
            json!({"generation": 1, "admitted": false, "policies": "a", "first": "a", "since": "2026-11-28T03:00:00Z"});
        live.status.as_mut().unwrap().admission = serde_json::from_value(admission).unwrap();
    });
    assert_eq!(model.says("Ready"), "False/LastBackupFailed");
    model.until("2026-11-29T03:10:00Z", succeeds);
    assert_eq!(model.ticks("eu"), set(&["29T03:00"]));
    assert_eq!(model.says("Ready"), "True/Ready");
}

#[test]
fn a_backup_that_a_person_deletes_is_not_taken_anew() {
    let mut model = Model::new(&json!({}), &["eu"], "2026-11-27T12:00:00Z");
    model.until("2026-11-28T03:10:00Z", succeeds);
    model.world.backups.clear();
    model.until("2026-11-28T23:00:00Z", succeeds);
    assert_eq!(model.ticks("eu"), set(&[]));
}

#[test]
fn another_schedule_begins_with_its_next_tick() {
    let mut model = Model::new(&json!({}), &["eu"], "2026-11-27T12:00:00Z");
    model.until("2026-11-28T12:00:00Z", succeeds);
    model.change(|spec| spec.schedule = "0 6 * * *".to_owned());
    model.until("2026-11-29T05:00:00Z", succeeds);
    assert_eq!(model.ticks("eu"), set(&["28T03:00"]), "the tick of 6:00 was over when it was written");
    model.until("2026-11-29T12:00:00Z", succeeds);
    assert_eq!(model.ticks("eu"), set(&["28T03:00", "29T06:00"]));
    assert_eq!(model.says("Healthy"), "True/Ready");
    model.change(|spec| spec.time_zone = Some("Asia/Tokyo".to_owned()));
    model.until("2026-11-29T20:00:00Z", succeeds);
    assert_eq!(model.ticks("eu").len(), 2);
    // What changes nothing of the times loses no run.
    model.now = at("2026-11-30T00:00:00Z");
    model.change(|spec| spec.retention = Some(drover_crds::BackupRetention::default()));
    model.rest();
    assert!(model.ticks("eu").contains("29T21:00"));
}

#[test]
fn a_suspended_schedule_does_nothing_and_goes_on() {
    let mut model = Model::new(&json!({}), &["eu"], "2026-11-27T12:00:00Z");
    model.until("2026-11-28T12:00:00Z", succeeds);
    model.change(|spec| spec.suspend = true);
    model.rest();
    let writes = model.writes;
    model.until("2026-12-01T12:00:00Z", succeeds);
    assert_eq!((model.says("Ready").as_str(), model.says("Healthy").as_str()), ("True/Suspended", "True/Ready"));
    assert_eq!((model.ticks("eu"), model.writes), (set(&["28T03:00"]), writes));
    model.change(|spec| spec.suspend = false);
    model.rest();
    assert_eq!(model.ticks("eu"), set(&["28T03:00", "01T03:00"]), "it is made up for as after downtime");
}

#[test]
fn what_is_not_admitted_or_cannot_be_read_begins_nothing() {
    use drover_grants::{Admitted, GrantCause, Grants};
    let frozen = Grants::Frozen { cause: GrantCause::GrantsFrozen, message: "absent".to_owned() };
    for (admitted, grants, reason) in [
        (Some(Admitted::No), Grants::Allowed, "False/NotAdmitted"),
        (Some(Admitted::Unjudged), Grants::Allowed, "False/NotYetGranted"),
        (Some(Admitted::Yes), frozen, "False/GrantsFrozen"),
    ] {
        let mut model = Model::new(&json!({"schedule": "@hourly"}), &["eu"], "2026-11-27T12:00:00Z");
        (model.world.admitted, model.world.grants) = (admitted, grants);
        model.now = at("2026-11-27T14:30:00Z");
        model.rest();
        assert_eq!((model.names().len(), model.says("Ready").as_str()), (0, reason));
        (model.world.admitted, model.world.grants) = (Some(Admitted::Yes), Grants::Allowed);
        model.rest();
        assert_eq!(model.ticks("eu"), set(&["27T14:00"]), "nothing was noted meanwhile");
    }
    let mut model = Model::new(&json!({"schedule": "0 0 30 2 *"}), &["eu"], "2026-11-27T12:00:00Z");
    assert_eq!(model.rest(), Requeue::Watch);
    let told = ["Ready", "Stalled", "ScheduleValid"].map(|kind| model.says(kind));
    assert_eq!(told, ["False/ScheduleInvalid", "True/ScheduleInvalid", "False/ScheduleInvalid"]);
    let mut model = Model::new(&json!({}), &["eu"], "2026-11-27T12:00:00Z");
    model.until("2026-11-28T12:00:00Z", succeeds);
    let before = model.status();
    model.world = crate::observe::World { backups: model.world.backups.clone(), ..Default::default() };
    model.now = at("2026-11-29T12:00:00Z");
    model.rest();
    assert_eq!(model.status(), before, "while not all Clusters are known, what was told stands");
}

#[test]
fn b8_a_clock_that_jumps_makes_no_run_twice() {
    let mut model = Model::new(&json!({"schedule": "@hourly"}), &["eu"], "2026-11-27T11:30:00Z");
    model.until("2026-11-27T15:30:00Z", succeeds);
    assert_eq!(model.created.len(), 4);
    // Back by two hours; retention had deleted one of before.
    model.world.backups.remove(1);
    model.now = at("2026-11-27T13:10:00Z");
    model.rest();
    assert_eq!(model.created.len(), 4);
    model.until("2026-11-27T15:40:00Z", succeeds);
    assert_eq!(model.created.len(), 4, "{:?}", model.created);
    model.until("2026-11-27T16:10:00Z", succeeds);
    assert_eq!(model.created.len(), 5);
    // Far ahead and back: the runs of these days are made all the same.
    model.now = at("2027-11-27T16:10:00Z");
    model.rest();
    model.now = at("2026-11-27T16:20:00Z");
    model.until("2026-11-27T18:10:00Z", succeeds);
    assert!(model.ticks("eu").is_superset(&set(&["27T17:00", "27T18:00"])), "{:?}", model.ticks("eu"));
}

#[test]
fn b8_over_daylight_saving_there_is_one_backup_a_day() {
    let spec = json!({"schedule": "30 2 * * *", "timeZone": "Europe/Berlin", "jitter": "30m"});
    for (from, to) in
        [("2026-03-27T12:00:00Z", "2026-04-01T12:00:00Z"), ("2026-10-23T12:00:00Z", "2026-10-28T12:00:00Z")]
    {
        let mut model = Model::new(&spec, &["eu", "us"], from);
        model.until(to, succeeds);
        assert_eq!(model.created.len(), 10, "{:?}", model.created);
    }
}

/// What may happen to Drover between two looks.
#[derive(Clone, Debug)]
enum Happens {
    /// Time goes by, in minutes.
    Time(i64),
    /// The process ends after so many requests.
    Crash(usize),
    /// Another replica looks at the same: it would make backups of the same names, of which the API server takes one.
    Replica,
    /// Everything that is under way ends.
    Ends,
}

fn happenings() -> impl Strategy<Value = Vec<Happens>> {
    let one = prop_oneof![
        4 => (-90..240_i64).prop_map(Happens::Time),
        2 => (0..3_usize).prop_map(Happens::Crash),
        1 => Just(Happens::Replica),
        3 => Just(Happens::Ends),
    ];
    prop::collection::vec(one, 1..60)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn b8_no_tick_has_two_backups_whatever_happens(all in happenings(), jitter in 0..90_u64, latest in any::<bool>()) {
        let catch_up = if latest { "Latest" } else { "None" };
        let spec = json!({"schedule": "@hourly", "timeZone": "Europe/Berlin", "jitter": format!("{jitter}m"), "catchUp": catch_up});
        let mut model = Model::new(&spec, &["eu", "us", "ap"], "2026-10-24T20:30:00Z");
        let (created, mut newest) = (model.now, model.now);
        for one in all {
            match one {
                Happens::Time(length) => model.now = (model.now + minutes(length)).max(created),
                Happens::Crash(requests) => drop(model.step_and_crash(requests)),
                Happens::Replica => {
                    let made = |plan: &crate::plan::PlaceStatus| plan.noted.clone();
                    let of = || crate::plan::plan(&model.schedule, &model.world, model.now);
                    let (one, other) = (of(), of());
                    prop_assert_eq!(format!("{:?}", one.groups), format!("{:?}", other.groups));
                    prop_assert_eq!(made(&one.place_status), made(&other.place_status));
                }
                Happens::Ends => model.world.backups.iter_mut().for_each(|found| {
                    let live = std::sync::Arc::make_mut(found.live.as_mut().unwrap());
                    if live.status.is_none() { succeeds(live) }
                }),
            }
            model.step();
            newest = newest.max(model.now);
        }
        let mut names = model.created.clone();
        names.sort();
        names.dedup();
        prop_assert_eq!(names.len(), model.created.len(), "a run was made twice: {:?}", model.created);
        for name in names {
            let tick = drover_schedule::runs::tick_of(&name).unwrap();
            prop_assert!(tick > created && tick <= newest, "{name}");
        }
    }

    /// Where nothing is in the way, every tick has its backup, wherever Drover ends and begins again.
    #[test]
    fn b8_every_tick_has_its_backup_as_long_as_drover_looks_in_time(
        steps in prop::collection::vec((1..55_i64, prop::option::of(0..2_usize)), 1..30),
        jitter in 0..59_u64,
    ) {
        let spec = json!({"schedule": "@hourly", "jitter": format!("{jitter}m")});
        let mut model = Model::new(&spec, &["eu", "us"], "2026-10-24T20:30:00Z");
        for (length, crash) in steps {
            let next = model.now + minutes(length);
            if let Some(requests) = crash {
                model.step_and_crash(requests);
            }
            // It is looked at when it asked for it, at least.
            model.until(&next.to_string(), succeeds);
            model.rest();
        }
        let end = model.now - SignedDuration::from_mins(60);
        let hours = (model.now.duration_since(at("2026-10-24T20:00:00Z")).as_hours()).max(0);
        let whole = end.duration_since(at("2026-10-24T20:00:00Z")).as_hours().max(0);
        for cluster in ["eu", "us"] {
            let count = i64::try_from(model.ticks(cluster).len()).unwrap();
            prop_assert!((whole..=hours).contains(&count), "{count} of {whole} to {hours}");
        }
    }
}

#[test]
fn catch_up_is_latest_unless_the_spec_says_otherwise() {
    let model = Model::new(&json!({}), &[], "2026-11-27T12:00:00Z");
    assert_eq!(model.schedule.spec.catch_up, CatchUp::Latest);
}
