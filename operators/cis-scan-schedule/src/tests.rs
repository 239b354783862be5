//! Schedules over days, with scans in memory: every plan is carried out at once, and scans end as they are told to.

use std::sync::Arc;

use drover_crds::{CisScan, CisScanSchedule, CisScanScheduleStatus, Verdict, condition::StatusConditions as _};
use drover_grants::Admitted;
use drover_runtime::{
    Place, PlaceState, PlaceStatuses, Requeue, Title,
    owned::{Change, Owned},
    place_status::PlaceEntry,
    status::finish,
};
use k8s_openapi::{apimachinery::pkg::apis::meta::v1::Time, jiff::Timestamp};
use kube::ResourceExt as _;
use serde_json::{Value, json};

use crate::{Action, observe::World, plan::plan, summary::summarise};

fn at(time: &str) -> Timestamp {
    time.parse().unwrap()
}

struct Model {
    schedule: CisScanSchedule,
    world: World,
    now: Timestamp,
    created: Vec<CisScan>,
}

impl Model {
    fn new(spec: &Value) -> Self {
        let mut whole =
            json!({"clusters": {"all": {}}, "template": {"profileName": "hardened"}, "schedule": "0 3 * * *"});
        whole.as_object_mut().unwrap().extend(spec.as_object().cloned().unwrap());
        let schedule = serde_json::from_value(json!({
            "apiVersion": "drover.dev/v1alpha1", "kind": "CisScanSchedule",
            "metadata": {"name": "nightly", "namespace": "team", "uid": "1", "generation": 1, "creationTimestamp": "2026-11-01T12:00:00Z"},
            "spec": whole,
        }));
        let world = World {
            admitted: Some(Admitted::Yes),
            policies: Some(drover_admission::PoliciesState { id: "a".to_owned(), since: None }),
            ..World::default()
        };
        Self { schedule: schedule.unwrap(), world, now: at("2026-11-01T12:00:00Z"), created: Vec::new() }
    }

    fn status(&self) -> CisScanScheduleStatus {
        self.schedule.status.clone().unwrap_or_default()
    }

    fn says(&self, kind: &str) -> String {
        let status = self.status();
        let found = status.conditions().iter().find(|condition| condition.type_ == kind);
        found.map(|found| format!("{}/{}", found.status, found.reason)).unwrap_or_default()
    }

    /// Plans once, does the first `requests` of what is planned, and writes the status if that was all.
    fn step(&mut self, requests: usize) -> (usize, Requeue) {
        let plan = plan(&self.schedule, &self.world, self.now);
        let count = plan.actions().count();
        for Action(change) in plan.groups.into_iter().flatten().take(requests) {
            match change {
                Change::Create { desired, .. } => {
                    let mut live = *desired;
                    assert!(!self.names().contains(&live.name_any()), "{} is there", live.name_any());
                    live.metadata.uid = Some(live.name_any());
                    self.created.push(live.clone());
                    let owned = Owned { live: Ok(Arc::new(live)), drift_conflict: None, title: Title::Created };
                    self.world.scans.push(owned);
                }
                Change::Delete(meta) => self.world.scans.retain(|found| found.meta().name != meta.name),
                other => panic!("{other:?}"),
            }
        }
        if requests > count {
            let entry = PlaceEntry { known: Some(plan.place_status), state: PlaceState::Current };
            let fresh = summarise(&self.schedule, &PlaceStatuses::from_iter([(Place::Management, entry)]));
            let generation = self.schedule.metadata.generation.unwrap();
            self.schedule.status = Some(finish(self.schedule.status.as_ref(), fresh, generation, self.now));
        }
        (count, plan.requeue)
    }

    fn rest(&mut self) -> Requeue {
        for _ in 0..10 {
            let before = self.schedule.status.clone();
            let (count, requeue) = self.step(usize::MAX);
            if count == 0 && self.schedule.status == before {
                return requeue;
            }
        }
        panic!("it does not come to rest");
    }

    /// Lets time go by until then; whenever the schedule wants to be looked at, it is.
    fn until(&mut self, time: &str) {
        let time = at(time);
        loop {
            let next = match self.rest() {
                Requeue::At(next) => next,
                Requeue::Watch | Requeue::Released => time,
            };
            assert!(next > self.now, "at {} it asks for {next}", self.now);
            self.now = next.min(time);
            if next >= time {
                self.rest();
                return;
            }
        }
    }

    /// Ends all scans that are open.
    fn end(&mut self, verdict: Verdict, failures: i64, changes: Option<i64>) {
        for found in &mut self.world.scans {
            let live = Arc::make_mut(found.live.as_mut().unwrap());
            if live.status.as_ref().is_some_and(|status| status.completed_at.is_some()) {
                continue;
            }
            let counts = json!({"total": 100, "pass": 100 - failures, "fail": failures, "warn": 0, "skip": 0, "waived": 0, "notApplicable": 0, "error": 0});
            let changes = changes.map(|new| json!({"newFailures": new, "fixed": 0}));
            let mut status = json!({"observedGeneration": 1, "startedAt": self.now, "completedAt": self.now, "verdict": verdict, "counts": counts});
            if let Some(changes) = changes {
                status["changes"] = changes;
            }
            live.status = Some(serde_json::from_value(status).unwrap());
        }
        self.rest();
    }

    fn names(&self) -> Vec<String> {
        self.world.scans.iter().map(|found| found.meta().name.clone().unwrap()).collect()
    }
}

#[test]
fn a_scan_comes_at_each_time_and_is_compared_with_the_last_one_that_ended() {
    let mut model = Model::new(&json!({}));
    model.until("2026-11-02T03:00:00Z");
    assert_eq!((model.created.len(), &model.created[0].spec.baseline_name), (1, &None));
    assert_eq!(model.says("Alert"), "Unknown/Progressing");
    model.end(Verdict::Fail, 7, None);
    assert_eq!(model.says("Alert"), "True/NewFailures", "all that the first scan finds is new");
    model.until("2026-11-03T03:00:00Z");
    assert_eq!(model.created[1].spec.baseline_name, Some(model.created[0].name_any()));
    model.end(Verdict::Fail, 7, Some(0));
    assert_eq!((model.says("Ready"), model.says("Alert")), ("True/Ready".to_owned(), "False/NothingToTell".to_owned()));
    model.until("2026-11-04T03:00:00Z");
    model.end(Verdict::Fail, 8, Some(1));
    assert_eq!(model.says("Alert"), "True/NewFailures");
    assert_eq!(model.status().last_scan.unwrap().name, model.created[2].name_any());
}

#[test]
fn everything_that_fails_is_told_where_that_is_asked_for() {
    let mut model = Model::new(&json!({"alertOn": "Failures"}));
    model.until("2026-11-02T03:00:00Z");
    model.end(Verdict::Fail, 7, Some(0));
    assert_eq!(model.says("Alert"), "True/ChecksFailed");
    model.until("2026-11-03T03:00:00Z");
    model.end(Verdict::Pass, 0, Some(0));
    assert_eq!(model.says("Alert"), "False/NothingToTell");
}

#[test]
fn a_run_is_skipped_while_the_one_before_is_under_way_and_a_deleted_scan_does_not_come_back() {
    let mut model = Model::new(&json!({}));
    model.until("2026-11-02T03:00:00Z");
    model.until("2026-11-03T04:00:00Z");
    assert_eq!(model.created.len(), 1);
    model.end(Verdict::Pass, 0, None);
    assert_eq!(model.created.len(), 1, "the time of the second one went by");
    model.until("2026-11-04T03:30:00Z");
    assert_eq!(model.created.len(), 2);
    model.world.scans.clear();
    model.until("2026-11-04T05:00:00Z");
    assert_eq!(model.created.len(), 2);
}

#[test]
fn the_last_scans_stay_and_the_last_whole_one_beside_them() {
    let mut model = Model::new(&json!({"retention": {"keepLast": 2}}));
    for (day, verdict) in [(2, Verdict::Pass), (3, Verdict::Fail), (4, Verdict::Incomplete), (5, Verdict::Incomplete)] {
        model.until(&format!("2026-11-0{day}T03:00:00Z"));
        model.end(verdict, 0, None);
    }
    let kept: Vec<_> = model.created.iter().skip(1).map(kube::ResourceExt::name_any).collect();
    assert_eq!(model.names(), kept, "the last one that looked at everything is there to compare with");
    assert_eq!((model.status().kept, model.says("Ready")), (3, "False/LastScanIncomplete".to_owned()));
    assert_eq!(model.says("Healthy"), "False/ScansMissed");
    model.until("2026-11-06T03:00:00Z");
    model.end(Verdict::Pass, 0, None);
    assert_eq!((model.names().len(), model.says("Healthy")), (2, "True/Ready".to_owned()));
}

#[test]
fn a_scan_of_others_is_not_deleted() {
    let mut model = Model::new(&json!({"retention": {"keepLast": 1}}));
    model.until("2026-11-02T03:00:00Z");
    model.end(Verdict::Pass, 0, None);
    model.world.scans[0].title = Title::Adopted;
    for day in [3, 4] {
        model.until(&format!("2026-11-0{day}T03:00:00Z"));
        model.end(Verdict::Pass, 0, None);
    }
    assert_eq!(model.names().len(), 2);
    assert_eq!(model.names()[0], model.created[0].name_any());
}

#[test]
fn what_does_not_begin_is_told() {
    let mut model = Model::new(&json!({}));
    model.until("2026-11-02T03:04:00Z");
    assert_eq!(model.says("Ready"), "True/Ready");
    model.until("2026-11-02T03:30:00Z");
    assert_eq!(model.says("Ready"), "False/ScanWaits");
}

#[test]
fn a_schedule_that_nobody_admitted_or_that_cannot_be_read_makes_nothing() {
    let mut model = Model::new(&json!({"schedule": "0 3 31 2 *"}));
    model.until("2026-11-03T03:00:00Z");
    assert_eq!((model.says("Ready"), model.created.len()), ("False/ScheduleInvalid".to_owned(), 0));
    let mut model = Model::new(&json!({}));
    model.world.admitted = Some(Admitted::No);
    model.until("2026-11-03T03:00:00Z");
    assert_eq!((model.says("Ready"), model.created.len()), ("False/NotAdmitted".to_owned(), 0));
    let mut model = Model::new(&json!({"suspend": true}));
    model.until("2026-11-03T03:00:00Z");
    assert_eq!((model.says("Ready"), model.created.len()), ("True/Suspended".to_owned(), 0));
}

#[test]
fn whatever_ends_drover_a_run_has_one_scan() {
    for requests in 0..3 {
        let mut model = Model::new(&json!({"retention": {"keepLast": 1}}));
        model.until("2026-11-02T03:00:00Z");
        model.end(Verdict::Pass, 0, None);
        model.now = at("2026-11-03T03:00:00Z");
        model.step(requests);
        model.until("2026-11-03T05:00:00Z");
        assert_eq!(model.created.len(), 2, "after {requests} requests");
    }
}

#[test]
fn the_newest_run_that_was_missed_is_made_up_for_and_with_none_it_is_not() {
    for (catch_up, expected) in [("Latest", 1), ("None", 0)] {
        let mut model = Model::new(&json!({"catchUp": catch_up}));
        model.rest();
        model.now = at("2026-11-05T10:00:00Z");
        model.rest();
        assert_eq!(model.created.len(), expected, "{catch_up}");
    }
}

#[test]
fn times_are_told_by_the_status() {
    let mut model = Model::new(&json!({"timeZone": "Europe/Berlin", "jitter": "1h"}));
    model.rest();
    let next = model.status().next_run.map(|Time(next)| next).unwrap();
    let tick = at("2026-11-02T02:00:00Z");
    assert!(next >= tick && next < tick + k8s_openapi::jiff::SignedDuration::from_hours(1), "{next}");
}
