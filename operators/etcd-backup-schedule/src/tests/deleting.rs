//! What goes, and what stays whatever happens: safety rules R1 to R5, and invariant B5 with the plans of the operator itself.

use std::{collections::BTreeSet, sync::Arc};

use drover_crds::{ApiDuration, BackupRetention, DeletionPolicy, EtcdBackup};
use drover_runtime::Title;
use kube::ResourceExt as _;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::model::*;
use crate::{
    children::{Child, Children},
    observe::World,
    plan::clean_up,
};

fn kept(last: u32) -> Value {
    json!({"schedule": "@hourly", "retention": {"keepLast": last}})
}

#[test]
fn what_is_not_kept_goes_with_its_data() {
    let mut model = Model::new(&kept(2), &["eu", "us"], "2026-11-27T11:30:00Z");
    model.until("2026-11-27T14:10:00Z", succeeds);
    let before = model.ticks("eu");
    assert_eq!(before.len(), 2);
    model.until("2026-11-27T14:59:00Z", succeeds);
    model.now = at("2026-11-27T15:00:00Z");
    model.rest();
    assert_eq!(model.ticks("eu").len(), 3, "the new one has not succeeded yet");
    succeeds(model.backup("eu", "27T15:00"));
    let (told, _) = model.step();
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(
        told[0].starts_with("apply EtcdBackup team/nightly-") && told[1].starts_with("delete EtcdBackup team/nightly-")
    );
    assert_eq!(model.ticks("eu"), BTreeSet::from(["27T14:00".to_owned(), "27T15:00".to_owned()]));
}

#[test]
fn a_process_that_ends_between_both_leaves_no_backup_that_goes_with_its_object() {
    let mut model = Model::new(&kept(1), &["eu"], "2026-11-27T11:30:00Z");
    model.until("2026-11-27T12:10:00Z", succeeds);
    model.now = at("2026-11-27T13:00:00Z");
    model.rest();
    succeeds(model.backup("eu", "27T13:00"));
    model.step_and_crash(1);
    assert_eq!(model.backup("eu", "27T12:00").spec.deletion_policy, DeletionPolicy::Delete);
    // Before the next process looks, a person wants to keep more.
    model.change(|spec| spec.retention.as_mut().unwrap().keep_last = Some(5));
    model.rest();
    assert_eq!(model.backup("eu", "27T12:00").spec.deletion_policy, DeletionPolicy::Orphan);
    // What people write there themselves stays.
    model.backup("eu", "27T13:00").spec.deletion_policy = DeletionPolicy::Delete;
    model.rest();
    assert_eq!(model.backup("eu", "27T13:00").spec.deletion_policy, DeletionPolicy::Delete);
}

#[test]
fn r3_failures_make_nothing_go_and_the_newest_three_of_them_stay() {
    let mut model = Model::new(&kept(1), &["eu"], "2026-11-27T11:30:00Z");
    model.until("2026-11-27T13:30:00Z", succeeds);
    model.until("2026-11-27T20:30:00Z", fails);
    let expected = ["27T13:00", "27T18:00", "27T19:00", "27T20:00"];
    assert_eq!(model.ticks("eu"), expected.map(str::to_owned).into());
}

#[test]
fn r2_what_is_pinned_lost_not_verified_or_the_last_one_stays() {
    let mut model = Model::new(&kept(0), &["eu"], "2026-11-27T11:30:00Z");
    model.until("2026-11-27T12:30:00Z", succeeds);
    model.backup("eu", "27T12:00").spec.pinned = true;
    model.until("2026-11-27T13:30:00Z", loses_its_data);
    model.until("2026-11-27T14:30:00Z", succeeds);
    model.until("2026-11-27T15:30:00Z", |live| {
        succeeds(live);
        live.status.as_mut().unwrap().conditions.clear();
    });
    assert_eq!(model.ticks("eu").len(), 4, "{:?}", model.ticks("eu"));
    model.until("2026-11-27T16:30:00Z", succeeds);
    assert_eq!(model.ticks("eu"), ["27T12:00", "27T13:00", "27T16:00"].map(str::to_owned).into());
}

#[test]
fn one_that_lost_its_data_later_takes_the_place_of_none_that_can_be_restored() {
    let mut model = Model::new(&kept(2), &["eu"], "2026-11-27T11:30:00Z");
    model.until("2026-11-27T13:30:00Z", succeeds);
    loses_its_data(model.backup("eu", "27T13:00"));
    model.until("2026-11-27T14:30:00Z", fails);
    model.until("2026-11-27T15:30:00Z", loses_its_data);
    model.until("2026-11-27T16:30:00Z", succeeds);
    assert!(model.ticks("eu").contains("27T12:00"), "it is one of two that can be restored: {:?}", model.ticks("eu"));
    model.until("2026-11-27T17:30:00Z", succeeds);
    let expected = ["27T13:00", "27T14:00", "27T15:00", "27T16:00", "27T17:00"];
    assert_eq!(model.ticks("eu"), expected.map(str::to_owned).into());
}

#[test]
fn r1_only_what_this_installation_made_for_this_schedule_and_this_cluster_goes() {
    let forge = |change: fn(&mut drover_runtime::owned::Owned<EtcdBackup>)| {
        let mut model = Model::new(&kept(0), &["eu"], "2026-11-27T11:30:00Z");
        model.until("2026-11-27T12:30:00Z", succeeds);
        change(&mut model.world.backups[0]);
        model.until("2026-11-27T14:30:00Z", succeeds);
        model.ticks("eu").contains("27T12:00")
    };
    assert!(!forge(|_| {}), "it goes");
    assert!(forge(|found| found.title = Title::Unfounded), "only its labels say so");
    assert!(forge(|found| found.title = Title::Another));
    assert!(forge(|found| found.title = Title::Adopted), "another installation made it");
    assert!(
        forge(|found| {
            let live = Arc::make_mut(found.live.as_mut().unwrap());
            live.status.as_mut().unwrap().cluster.as_mut().unwrap().uid = "former-uid".to_owned();
        }),
        "it is of another cluster of this name"
    );
    assert!(
        forge(|found| {
            let live = Arc::make_mut(found.live.as_mut().unwrap());
            live.status.as_mut().unwrap().attempt.as_mut().unwrap().id = "other-1".to_owned();
        }),
        "the status is of another backup"
    );
    assert!(
        forge(|found| {
            let live = Arc::make_mut(found.live.as_mut().unwrap());
            live.status.as_mut().unwrap().stores.clear();
        }),
        "nothing says where it is"
    );
}

#[test]
fn r5_of_a_cluster_that_is_gone_or_left_and_of_a_schedule_that_is_gone_all_backups_stay() {
    let mut model = Model::new(&kept(5), &["eu", "us"], "2026-11-27T11:30:00Z");
    model.until("2026-11-27T16:30:00Z", succeeds);
    assert_eq!(model.names().len(), 10);
    model.world.selected.retain(|selected| selected.name == "eu");
    model.change(|spec| spec.retention.as_mut().unwrap().keep_last = Some(1));
    model.rest();
    assert_eq!((model.ticks("eu").len(), model.ticks("us").len()), (1, 5));
    // One that cannot be told from another of its name.
    model.world.selected.push(crate::observe::Selected { uid: None, ..selected("us") });
    model.rest();
    assert_eq!(model.ticks("us").len(), 5);
    model.world.selected.clear();
    model.rest();
    assert_eq!((model.names().len(), model.says("Ready").as_str()), (6, "False/NoTargets"));
    let gone = clean_up();
    assert!(gone.is_idle() && gone.requeue == drover_runtime::Requeue::Released);
}

#[test]
fn nothing_goes_while_the_inputs_are_not_live_or_the_spec_is_not_admitted() {
    let of = |change: fn(&mut World)| {
        let mut model = Model::new(&kept(5), &["eu"], "2026-11-27T11:30:00Z");
        model.until("2026-11-27T16:30:00Z", succeeds);
        model.change(|spec| spec.retention.as_mut().unwrap().keep_last = Some(1));
        change(&mut model.world);
        model.rest();
        model.names().len()
    };
    assert_eq!(of(|_| {}), 1);
    assert_eq!(of(|world| world.is_complete = false), 5);
    assert_eq!(of(|world| world.admitted = Some(drover_grants::Admitted::No)), 5);
    assert_eq!(of(|world| world.grants = drover_grants::Grants::Unjudged), 5);
}

#[test]
fn without_retention_all_stay() {
    let mut model = Model::new(&json!({"schedule": "@hourly"}), &["eu"], "2026-11-27T11:30:00Z");
    model.until("2026-11-29T12:30:00Z", succeeds);
    assert_eq!(model.names().len(), 49);
    let max_age = Some("24h".parse::<ApiDuration>().unwrap());
    model.change(|spec| spec.retention = Some(BackupRetention { max_age, ..BackupRetention::default() }));
    model.rest();
    assert_eq!(model.names().len(), 24, "from the 28th, 13:00, on");
}

/// What becomes of one run.
#[derive(Clone, Copy, Debug)]
enum Ends {
    Well,
    Badly,
    Lost,
    NotVerified,
    Pinned,
    Never,
}

fn histories() -> impl Strategy<Value = Vec<Ends>> {
    let one = prop::sample::select(vec![
        Ends::Well,
        Ends::Well,
        Ends::Well,
        Ends::Badly,
        Ends::Lost,
        Ends::NotVerified,
        Ends::Pinned,
        Ends::Never,
    ]);
    prop::collection::vec(one, 1..40)
}

fn end(live: &mut EtcdBackup, how: Ends) {
    match how {
        Ends::Well => succeeds(live),
        Ends::Badly => fails(live),
        Ends::Lost => loses_its_data(live),
        Ends::NotVerified => {
            succeeds(live);
            live.status.as_mut().unwrap().conditions.clear();
        }
        Ends::Pinned => {
            succeeds(live);
            live.spec.pinned = true;
        }
        Ends::Never => runs(live),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// Whatever becomes of runs, and however often the spec changes: enough verified backups stay, and what is held stays.
    #[test]
    fn b5_enough_verified_backups_stay_whatever_becomes_of_runs(
        all in histories(),
        retention in (prop::option::of(0..4_u32), prop::option::of(0..3_u32), prop::option::of(1..30_u64), 1..4_u32),
        crash in prop::option::of(0..3_usize),
    ) {
        let (keep_last, daily, age, least) = retention;
        let mut model = Model::new(&json!({"schedule": "@hourly"}), &["eu"], "2026-11-27T11:30:00Z");
        model.change(|spec| spec.retention = Some(BackupRetention {
            keep_last,
            daily,
            max_age: age.map(|hours| format!("{hours}h").parse().unwrap()),
            min_verified: Some(least),
            ..BackupRetention::default()
        }));
        let mut made = 0;
        for how in all {
            model.now += minutes(60);
            if let Some(requests) = crash {
                model.step_and_crash(requests);
            }
            model.rest();
            for found in &mut model.world.backups {
                let live = Arc::make_mut(found.live.as_mut().unwrap());
                if live.status.is_none() {
                    end(live, how);
                    made += usize::from(matches!(how, Ends::Well | Ends::Pinned));
                } else if live.status.as_ref().unwrap().completed_at.is_none() {
                    fails(live);
                }
            }
            let before: BTreeSet<String> = held(&model);
            model.rest();
            prop_assert!(before.is_subset(&model.names().into_iter().collect()), "what is held stays");
            let children = Children::of(&model.world.backups);
            let good = children.iter().filter(|child| child.can_be_restored()).count();
            prop_assert!(good >= made.min(usize::try_from(least).unwrap()), "{good} of {made} are left");
        }
    }
}

/// The names of those that nothing may delete: pinned, or with data that a person has to look at.
fn held(model: &Model) -> BTreeSet<String> {
    let children = Children::of(&model.world.backups);
    let is_held = |child: &&Child<'_>| {
        child.live.spec.pinned || child.candidate("eu-uid").is_some_and(|candidate| !candidate.is_available)
    };
    children.iter().filter(is_held).map(|child| child.live.name_any()).collect()
}
