//! Scans at times that repeat, and what becomes of one when drover is killed, on real API servers.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use drover_e2e::Program;
use drover_e2e::http_proxy::{HttpProxy, Victim, WriteTrap};
use drover_e2e::installation::{End, Installation};
use drover_e2e::objects::api;
use drover_e2e::process::DetachedProcess;
use drover_e2e::require_or_skip;
use drover_e2e::runner::Soak;
use drover_e2e::story::*;
use drover_e2e::wait::{eventually, patiently, soon};
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::api::{ListParams, Patch, PatchParams};
use serde_json::{Value, json};

use crate::backups::allow;
use crate::scans::{IMAGE, SCAN, a_profile, a_scan, ended, node, nothing_is_left, prepared_to_scan, report};

drover_e2e::tests![
    a_schedule_scans_and_tells_what_is_new,
    c2_killed_at_every_eighth_write_of_a_scan_there_is_one_report_and_nothing_is_left,
    c2_killed_at_each_write_of_a_scan_there_is_one_report_and_nothing_is_left => soak(Soak::Kills),
];

const KIND: &str = "cisscanschedule";
/// More writes than a scan takes.
const MANY: usize = 40;

fn a_schedule(spec: &Value) -> Value {
    let template = json!({"profileName": "own", "timeout": "5m", "nodeTimeout": "2m"});
    let mut whole = json!({"clusters": {"names": ["eu"]}, "template": template, "schedule": "* * * * *"});
    whole.as_object_mut().unwrap().extend(spec.as_object().cloned().unwrap_or_default());
    let metadata = json!({"name": "minutely", "namespace": TEAM});
    json!({"apiVersion": "drover.dev/v1alpha1", "kind": "CisScanSchedule", "metadata": metadata, "spec": whole})
}

async fn all(installation: &Installation, kind: &str) -> Vec<Value> {
    let api = api(installation.management.client(), kind, TEAM).await.unwrap();
    let all = api.list(&ListParams::default()).await.unwrap();
    all.items.into_iter().map(|object| serde_json::to_value(object).unwrap()).collect()
}

/// As if it had been written long ago: the newest scan that was missed is made at once.
async fn becomes_old(installation: &Installation) {
    let created = get(installation, KIND, "minutely").await.unwrap()["metadata"]["creationTimestamp"].clone();
    let created: Timestamp = created.as_str().unwrap().parse().unwrap();
    let since = created - SignedDuration::from_hours(2);
    let schedules = api(installation.management.client(), KIND, TEAM).await.unwrap();
    let change = json!({"status": {"since": since.to_string()}});
    schedules.patch_status("minutely", &PatchParams::default(), &Patch::Merge(&change)).await.unwrap();
}

async fn last_scan(installation: &Installation, before: Option<&str>) -> Value {
    let is_there = async || {
        let last = get(installation, KIND, "minutely").await?["status"]["lastScan"].clone();
        Ok(last["name"].as_str().is_some_and(|name| Some(name) != before).then_some(last))
    };
    eventually("the schedule tells of its next scan", patiently(Duration::from_mins(3)), is_there).await.unwrap()
}

fn set_mode(manifests: &Path, mode: u32) {
    let file = manifests.join("kube-apiserver.yaml");
    std::fs::set_permissions(file, std::fs::Permissions::from_mode(mode)).unwrap();
}

async fn a_schedule_scans_and_tells_what_is_new() {
    let Some(mut installation) = prepared_to_scan("scan schedules", &["eu"]).await else { return };
    let (_eu, manifests) = node(&installation, "eu", true).await;
    let manifests = manifests.unwrap();
    allow(&installation, "eu", &["Scan"]).await;
    set_mode(&manifests, 0o600);
    let spec = json!({"retention": {"keepLast": 1}});
    installation.apply(&a_schedule(&json!({"schedule": "0 0 30 2 *"}))).await.unwrap();
    reads(&installation, KIND, "minutely", "Stalled", "True/ScheduleInvalid").await;
    installation.apply(&a_schedule(&spec)).await.unwrap();
    reads(&installation, KIND, "minutely", "Ready", "True/Ready").await;
    installation.stop_drover(End::Terminate).await.unwrap();
    becomes_old(&installation).await;
    installation.start_drover().await.unwrap();

    let first = last_scan(&installation, None).await;
    assert!(first["changes"].is_null() && first["counts"]["fail"].as_i64() > Some(0), "{first}");
    reads(&installation, KIND, "minutely", "Alert", "True/NewFailures").await;
    set_mode(&manifests, 0o666);
    // Whatever becomes of drover, each time has one scan.
    restart_drover(&mut installation, End::Kill).await;
    let first = first["name"].as_str().unwrap();
    let second = last_scan(&installation, Some(first)).await;
    assert_eq!(second["changes"], json!({"newFailures": 1, "fixed": 0}), "{second}");
    reads(&installation, KIND, "minutely", "Alert", "True/NewFailures").await;
    let name = second["name"].as_str().unwrap();
    let scan = get(&installation, SCAN, name).await.unwrap();
    assert_eq!(scan["spec"]["baselineName"], first, "{scan}");
    assert_eq!(condition(&scan, "Compliant").as_deref(), Some("False/NewFailures"), "{scan}");
    let changes = report(&installation, name, "eu").await["status"]["changes"].clone();
    assert_eq!(changes["newFailureChecks"], json!(["master/1.1.1"]), "{changes}");

    patch(&installation, KIND, "minutely", json!({"spec": {"suspend": true}})).await;
    reads(&installation, KIND, "minutely", "Ready", "True/Suspended").await;
    let ticks: Vec<_> = all(&installation, SCAN).await.iter().map(|scan| scan["metadata"]["name"].clone()).collect();
    let distinct: std::collections::BTreeSet<_> = ticks.iter().map(ToString::to_string).collect();
    assert_eq!(ticks.len(), distinct.len());
    assert!(!distinct.contains(&format!("{first:?}")), "the first one is kept no longer: {distinct:?}");
    deleted(&installation, KIND, "minutely").await;
    assert!(!all(&installation, SCAN).await.is_empty(), "no scan goes with its schedule");
}

async fn c2_killed_at_every_eighth_write_of_a_scan_there_is_one_report_and_nothing_is_left() {
    Box::pin(killed_at_writes(8)).await;
}

async fn c2_killed_at_each_write_of_a_scan_there_is_one_report_and_nothing_is_left() {
    Box::pin(killed_at_writes(1)).await;
}

/// drover, which may have been killed at a write after the end, such as that of an event.
async fn alive(installation: &mut Installation) -> DetachedProcess {
    if let Ok(drover) = installation.replica(0).unwrap().observe() {
        return drover;
    }
    restart_as_itself(installation, End::Kill).await;
    installation.replica(0).unwrap().observe().unwrap()
}

/// Whenever drover is killed, what it wrote last being known to the servers and not to itself, the scan has one report.
async fn killed_at_writes(step: usize) {
    if !require_or_skip("kill a scan", &[Program::KubeBench]).await.unwrap() {
        return;
    }
    let Some(mut installation) = prepared_restful("kill a scan", &["eu"]).await else { return };
    let trap = Arc::new(WriteTrap::default());
    let _ways = proxied(&installation, "eu", Arc::clone(&trap)).await;
    installation.way = Some(HttpProxy::start(&installation.management, Arc::clone(&trap)).await.unwrap());
    installation.environment = vec![("DROVER_SCAN_IMAGE".to_owned(), IMAGE.to_owned())];
    let (_node, _) = node(&installation, "eu", true).await;
    installation.start_drover_as("drover-again").await.unwrap();
    allow(&installation, "eu", &["Scan"]).await;
    installation.apply(&a_profile()).await.unwrap();
    reads(&installation, "cisprofile", "own", "Ready", "True/Ready").await;

    let (mut kills, mut digest) = (0, None);
    for at in (1..MANY).step_by(step) {
        let name = format!("kill-{at}");
        let drover = alive(&mut installation).await;
        trap.set(at, Victim::Process(drover));
        installation.apply(&a_scan(&name, &json!({"clusters": {"names": ["eu"]}}))).await.unwrap();
        let mut killed = false;
        let outcome = eventually(&name, 3 * soon(), async || {
            if trap.take_sprung() {
                killed = true;
                restart_as_itself(&mut installation, End::Kill).await;
            }
            let status = get(&installation, SCAN, &name).await?["status"].clone();
            Ok((!status["completedAt"].is_null()).then_some(()))
        })
        .await;
        assert!(outcome.is_ok(), "killed at write {at}: {outcome:?}\n{}", installation.drover_log());
        let scan = ended(&installation, &name, "True/Ready").await;
        assert_eq!(scan["status"]["nodes"]["summary"], "1/1", "killed at write {at}: {scan}");
        nothing_is_left(&installation, "eu").await;
        let reports = all(&installation, "cisreport").await;
        let ours: Vec<_> = reports.iter().filter(|report| report["spec"]["scanName"] == *name).collect();
        assert_eq!(ours.len(), 1, "killed at write {at}");
        let found = ours[0]["status"]["digest"].clone();
        assert_eq!(*digest.get_or_insert_with(|| found.clone()), found, "killed at write {at}");
        let drover = alive(&mut installation).await;
        killed |= trap.take_sprung();
        trap.set(MANY * 10, Victim::Process(drover));
        deleted(&installation, SCAN, &name).await;
        kills += usize::from(killed);
        if !killed {
            break;
        }
    }
    println!("killed {kills} times");
    assert!((10 / step..MANY - 1).contains(&kills), "{kills} kills are not all writes of a scan");
}
