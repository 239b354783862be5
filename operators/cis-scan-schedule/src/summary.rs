//! From what was decided to the status of a schedule. Pure.

use drover_crds::{
    AlertOn, CisScanSchedule, CisScanScheduleStatus, Verdict,
    condition::{ALERT, HEALTHY, SCHEDULE_VALID},
};
use drover_runtime::{
    PlaceState, PlaceStatuses, StatusCause,
    place_status::{PlaceEntry, Readiness},
    status::{State, condition, ready_conditions},
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::ResourceExt as _;

use crate::{ScanScheduleCause, plan::PlaceStatus, told::Told};

pub(crate) fn summarise(schedule: &CisScanSchedule, statuses: &PlaceStatuses<PlaceStatus>) -> CisScanScheduleStatus {
    let entry = statuses.iter().next().map(|(_, entry)| entry);
    let former = schedule.status.clone().unwrap_or_default();
    let Readiness { state, cause, message, activity } = readiness(schedule, entry);
    let mut conditions = ready_conditions(state, cause, &message, activity);
    let Some(known) = entry.and_then(|entry| entry.known.clone()) else {
        return CisScanScheduleStatus { conditions, ..former };
    };
    conditions.push(valid(&known));
    let admission = known.admission.or(former.admission.clone());
    let next_run = known.next.map(Time);
    let Some(told) = known.told else {
        // Of what the scans tell the last verdict stands.
        let stands = |found: &&Condition| [HEALTHY, ALERT].contains(&found.type_.as_str());
        conditions.extend(former.conditions.iter().filter(stands).cloned());
        return CisScanScheduleStatus { admission, conditions, next_run, ..former };
    };
    conditions.extend([healthy(&told), alert(schedule, &told)]);
    let (last_scheduled, follows, since) = match known.noted {
        Some(noted) => (noted.until.map(Time), Some(noted.follows), Some(Time(noted.since))),
        None => (former.last_scheduled, former.follows, former.since),
    };
    CisScanScheduleStatus {
        observed_generation: former.observed_generation,
        last_scheduled,
        follows,
        since,
        next_run,
        running: told.running,
        kept: told.kept,
        last_scan: told.last,
        admission,
        conditions,
    }
}

fn valid(known: &PlaceStatus) -> Condition {
    match &known.invalid {
        Some(message) => condition(SCHEDULE_VALID, false, ScanScheduleCause::ScheduleInvalid, message),
        None => condition(SCHEDULE_VALID, true, StatusCause::Ready, "the schedule and its time zone can be read"),
    }
}

fn healthy(told: &Told) -> Condition {
    if told.is_unhealthy {
        let message = "no scan of the last two times looked at everything; look at the CisScans of the schedule";
        condition(HEALTHY, false, ScanScheduleCause::ScansMissed, message)
    } else {
        condition(HEALTHY, true, StatusCause::Ready, "not both of the last two times went by without a whole scan")
    }
}

fn alert(schedule: &CisScanSchedule, told: &Told) -> Condition {
    let Some(last) = &told.last else {
        let message = "no scan of this schedule has ended yet";
        return condition(ALERT, State::Unknown, StatusCause::Progressing, message);
    };
    let (name, count, alert_on) = (&last.name, told.alerts, schedule.spec.alert_on);
    let (cause, before) = match alert_on {
        AlertOn::NewFailures => (ScanScheduleCause::NewFailures, " that did not fail before"),
        AlertOn::Failures => (ScanScheduleCause::ChecksFailed, ""),
    };
    if count > 0 {
        let message = format!("CisScan {name} found {count} checks that fail{before}; look at its CisReports");
        return condition(ALERT, true, cause, message);
    }
    let partly = if last.verdict == Verdict::Incomplete { ", and did not look at everything" } else { "" };
    let message = format!("CisScan {name} found no check that fails{before}{partly}");
    condition(ALERT, false, ScanScheduleCause::NothingToTell, message)
}

fn readiness(schedule: &CisScanSchedule, entry: Option<&PlaceEntry<PlaceStatus>>) -> Readiness {
    let name = schedule.name_any();
    let waits = || Readiness::no(StatusCause::Progressing, format!("schedule {name} was not looked at yet"));
    let Some(entry) = entry else { return waits() };
    match (&entry.state, &entry.known) {
        (PlaceState::Failed(failure), _) => Readiness::no(failure.cause, failure.message.clone()),
        (PlaceState::Refused(refusals), _) if !refusals.is_empty() => {
            let first = refusals.first().map(|refusal| (refusal.failure.cause, refusal.failure.message.clone()));
            first.map_or_else(waits, |(cause, message)| Readiness::no(cause, message))
        }
        (PlaceState::Current, Some(known)) => match (&known.undecided, &known.told) {
            (Some(undecided), _) => undecided.clone(),
            (None, Some(told)) => of_scans(told),
            (None, None) => waits(),
        },
        _ => waits(),
    }
}

fn of_scans(told: &Told) -> Readiness {
    if let Some(late) = &told.late {
        return Readiness::no(ScanScheduleCause::ScanWaits, format!("a scan has not begun; {late}"));
    }
    if let Some(incomplete) = &told.incomplete {
        let message = format!("the last scan did not look at everything; {incomplete}");
        return Readiness::no(ScanScheduleCause::LastScanIncomplete, message);
    }
    let message = match &told.last {
        Some(last) => format!("the last scan, CisScan {}, looked at everything or found a failure", last.name),
        None => "no scan of this schedule has ended yet".to_owned(),
    };
    Readiness::yes(StatusCause::Ready, message)
}
