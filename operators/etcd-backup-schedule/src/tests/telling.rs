//! What the status says of clusters, and what it costs to say it.

use std::time::Instant;

use drover_crds::condition::HEALTHY;
use serde_json::json;

use super::model::*;
use crate::{
    ScheduleCause,
    observe::{Missing, Selected},
};

fn reasons(model: &Model) -> Vec<String> {
    model.status().problems.iter().map(|problem| format!("{} {}", problem.cluster, problem.reason)).collect()
}

#[test]
fn after_two_missed_runs_a_schedule_is_not_healthy_and_names_the_cluster() {
    let mut model = Model::new(&json!({"schedule": "@hourly"}), &["eu", "us"], "2026-11-27T11:30:00Z");
    model.until("2026-11-27T12:30:00Z", succeeds);
    let of_eu = |live: &mut drover_crds::EtcdBackup| {
        if live.spec.cluster_name == "eu" { fails(live) } else { succeeds(live) }
    };
    model.until("2026-11-27T13:30:00Z", of_eu);
    assert_eq!((model.says("Ready").as_str(), model.says(HEALTHY).as_str()), ("False/LastBackupFailed", "True/Ready"));
    assert_eq!(reasons(&model), ["eu LastBackupFailed"]);
    let status = model.status();
    assert_eq!(status.clusters.unwrap().summary, "1/2");
    let recovery_point = status.recovery_point.unwrap();
    assert_eq!(recovery_point.cluster.as_deref(), Some("eu"));
    assert_eq!(recovery_point.taken_at.unwrap().0, at("2026-11-27T12:00:00Z"));
    model.until("2026-11-27T14:30:00Z", of_eu);
    assert_eq!(model.says(HEALTHY), "False/BackupsMissed");
    assert_eq!(reasons(&model), ["eu BackupsMissed"]);
    assert!(model.status().problems[0].message.contains("no backup of its last two times; EtcdBackup nightly-"));
    model.until("2026-11-27T15:30:00Z", succeeds);
    assert_eq!((model.says("Ready").as_str(), model.says(HEALTHY).as_str()), ("True/Ready", "True/Ready"));
    assert_eq!(reasons(&model), [""; 0]);
}

#[test]
fn a_backup_that_waits_or_hangs_is_told_and_counts_as_missed_when_its_time_is_over() {
    let mut model = Model::new(&json!({"schedule": "@hourly"}), &["eu"], "2026-11-27T11:30:00Z");
    model.until("2026-11-27T12:04:00Z", waits);
    assert_eq!(model.says("Ready"), "True/Ready");
    model.until("2026-11-27T12:06:00Z", waits);
    model.rest();
    assert_eq!(reasons(&model), ["eu BackupWaits"]);
    assert!(model.status().problems[0].message.ends_with("says: store main is not ready"));
    model.until("2026-11-27T13:04:00Z", waits);
    assert_eq!(model.says(HEALTHY), "True/Ready");
    model.until("2026-11-27T13:30:00Z", waits);
    model.rest();
    assert_eq!(model.says(HEALTHY), "False/BackupsMissed", "the second one was skipped, as the first one waits");
    let mut model = Model::new(&json!({"schedule": "@hourly"}), &["eu"], "2026-11-27T11:30:00Z");
    model.until("2026-11-27T12:44:00Z", runs);
    assert_eq!(model.says("Ready"), "True/Ready");
}

#[test]
fn clusters_that_are_away_leave_it_ready_and_not_healthy() {
    let mut model = Model::new(&json!({"schedule": "@hourly"}), &["eu", "us"], "2026-11-27T11:30:00Z");
    model.until("2026-11-27T12:30:00Z", succeeds);
    model.world.selected[0].is_online = false;
    let away = |live: &mut drover_crds::EtcdBackup| {
        if live.spec.cluster_name == "eu" { waits(live) } else { succeeds(live) }
    };
    model.until("2026-11-27T15:30:00Z", away);
    assert_eq!(model.says("Ready"), "True/ReadyExceptUnreachable");
    assert_eq!(model.says(HEALTHY), "False/BackupsMissed");
    let clusters = model.status().clusters.unwrap();
    assert_eq!((clusters.summary.as_str(), clusters.unreachable), ("1/2", 1));
}

#[test]
fn a_cluster_that_joins_has_missed_nothing_before() {
    let mut model = Model::new(&json!({"schedule": "@hourly"}), &["eu"], "2026-11-27T11:30:00Z");
    model.until("2026-11-27T16:30:00Z", succeeds);
    model.world.selected.push(selected("us"));
    model.until(
        "2026-11-27T17:30:00Z",
        |live| {
            if live.spec.cluster_name == "us" { fails(live) } else { succeeds(live) }
        },
    );
    assert_eq!((model.says(HEALTHY).as_str(), reasons(&model)), ("True/Ready", vec!["us LastBackupFailed".to_owned()]));
    assert_eq!(model.status().recovery_point.unwrap().clusters_without, 1);
}

#[test]
fn what_is_named_and_cannot_be_backed_up_is_a_problem_and_what_is_selected_is_counted() {
    let mut model = Model::new(&json!({}), &["eu"], "2026-11-27T12:00:00Z");
    (model.world.refused, model.world.not_supported) = (3, 2);
    model.rest();
    let status = model.status();
    assert_eq!((status.clusters.unwrap().without_consent, status.not_supported), (3, 2));
    assert_eq!(model.says("Ready"), "True/Ready");
    let message = "cluster us does not let namespace team take backups".to_owned();
    let cause = ScheduleCause::BackupsNotAllowed.cause();
    model.world.missing = vec![Missing { cluster: "us".to_owned(), cause, message }];
    model.rest();
    assert_eq!(model.says("Ready"), "False/BackupsNotAllowed");
    assert_eq!(reasons(&model), ["us BackupsNotAllowed"]);
}

/// The status of a fleet has one size, and is told in time: the model checks that it has no more than 16 KiB.
#[test]
fn a_fleet_of_a_thousand_fits_and_costs_little() {
    let selected: Vec<Selected> = (0..1_000).map(|number| selected(&format!("{}-{number}", "c".repeat(58)))).collect();
    let spec = json!({"schedule": "@hourly", "jitter": "30m", "retention": {"keepLast": 3, "daily": 7, "weekly": 4}});
    let mut model = Model::new(&spec, &[], "2026-11-27T11:30:00Z");
    model.world.selected = selected;
    for hour in ["12", "13", "14", "15"] {
        model.now = at(&format!("2026-11-27T{hour}:30:00Z"));
        model.step();
        let mut count = 0;
        for found in &mut model.world.backups {
            let live = std::sync::Arc::make_mut(found.live.as_mut().unwrap());
            if live.status.is_none() {
                count += 1;
                if count % 2 == 0 { succeeds(live) } else { fails(live) }
            }
        }
        model.step();
    }
    assert_eq!(model.says(HEALTHY), "False/BackupsMissed");
    assert_eq!(model.status().problems.len(), 20);
    assert!(model.world.backups.len() >= 3_000, "{}", model.world.backups.len());
    model.rest();
    let writes = model.writes;
    let begin = Instant::now();
    for _ in 0..10 {
        assert_eq!(model.step().0, [""; 0]);
    }
    let each = begin.elapsed() / 10;
    assert_eq!(model.writes, writes, "at rest nothing is written");
    // 20 ms with optimisations; tests are built without.
    assert!(each.as_millis() < 2_000, "a decision takes {each:?}");
    println!("a decision about 1,000 clusters with {} backups takes {each:?}", model.world.backups.len());
}
