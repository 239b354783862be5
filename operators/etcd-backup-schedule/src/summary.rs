//! From what was decided to the status of a schedule. Pure.

use drover_crds::{
    EtcdBackupSchedule, EtcdBackupScheduleStatus,
    condition::{HEALTHY, SCHEDULE_VALID},
};
use drover_runtime::{
    PlaceState, PlaceStatuses, StatusCause,
    place_status::{PlaceEntry, Readiness},
    status::{condition, ready_conditions},
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::ResourceExt as _;

use crate::{ScheduleCause, plan::PlaceStatus, told::Told};

pub(crate) fn summarise(
    schedule: &EtcdBackupSchedule,
    statuses: &PlaceStatuses<PlaceStatus>,
) -> EtcdBackupScheduleStatus {
    let entry = statuses.iter().next().map(|(_, entry)| entry);
    let former = schedule.status.clone().unwrap_or_default();
    let stands = entry.is_some_and(|entry| {
        entry.state == PlaceState::Current && entry.known.as_ref().is_some_and(|known| known.stands)
    });
    if stands && Some(former.observed_generation) == schedule.metadata.generation {
        return former;
    }
    let Readiness { state, cause, message, activity } = readiness(schedule, entry);
    let mut conditions = ready_conditions(state, cause, &message, activity);
    let Some(known) = entry.and_then(|entry| entry.known.clone()) else {
        return EtcdBackupScheduleStatus { conditions, ..former };
    };
    conditions.push(valid(&known));
    let admission = known.admission.or(former.admission.clone());
    let next_run = known.next.map(Time);
    let Some(told) = known.told else {
        // Of how the clusters fare the last verdict stands.
        conditions.extend(former.conditions.iter().find(|condition| condition.type_ == HEALTHY).cloned());
        return EtcdBackupScheduleStatus { admission, conditions, next_run, ..former };
    };
    conditions.push(healthy(&told));
    let (last_scheduled, follows, since) = match known.noted {
        Some(noted) => (noted.until.map(Time), Some(noted.follows), Some(Time(noted.since))),
        None => (former.last_scheduled, former.follows, former.since),
    };
    EtcdBackupScheduleStatus {
        admission,
        last_scheduled,
        follows,
        since,
        next_run,
        clusters: Some(told.clusters),
        not_supported: told.not_supported,
        backups: Some(told.backups),
        recovery_point: Some(told.recovery_point),
        problems: told.problems,
        conditions,
        ..EtcdBackupScheduleStatus::default()
    }
}

fn valid(known: &PlaceStatus) -> Condition {
    match &known.invalid {
        Some(message) => condition(SCHEDULE_VALID, false, ScheduleCause::ScheduleInvalid, message),
        None => condition(SCHEDULE_VALID, true, StatusCause::Ready, "the schedule and its time zone can be read"),
    }
}

fn healthy(told: &Told) -> Condition {
    match &told.unhealthy {
        (count, Some(first)) => {
            let message = format!(
                "{count} clusters, cluster {first} first, have no backup of their last two times; look at status.problems"
            );
            condition(HEALTHY, false, ScheduleCause::BackupsMissed, message)
        }
        (_, None) => {
            condition(HEALTHY, true, StatusCause::Ready, "no cluster is without a backup of its last two times")
        }
    }
}

fn readiness(schedule: &EtcdBackupSchedule, entry: Option<&PlaceEntry<PlaceStatus>>) -> Readiness {
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
            (None, Some(told)) => of_clusters(told),
            (None, None) => waits(),
        },
        _ => waits(),
    }
}

fn of_clusters(told: &Told) -> Readiness {
    let counts = &told.clusters;
    if let (count, Some(first)) = &told.missing {
        return Readiness::no(first.cause, format!("{}{}", first.message, more(*count)));
    }
    if counts.total == 0 {
        let message = match counts.without_consent {
            0 => "no cluster is selected that Drover can back up; look at spec.clusters and at the labels of the Clusters".to_owned(),
            refused => format!(
                "none of the {refused} selected clusters lets this namespace take backups; their owners decide that in spec.tenants of the Clusters"
            ),
        };
        return Readiness::no(StatusCause::NoTargets, message);
    }
    if let (count, Some(first)) = &told.failing {
        return Readiness::no(ScheduleCause::LastBackupFailed, format!("{first}{}", more(*count)));
    }
    let so_far = format!("{} clusters are backed up as the schedule says", counts.summary);
    if counts.unreachable > 0 {
        let message = format!("{so_far}, and {} cannot be reached; look at status.problems", counts.unreachable);
        return Readiness::yes(StatusCause::ReadyExceptUnreachable, message);
    }
    Readiness::yes(StatusCause::Ready, so_far)
}

/// How many others there are.
fn more(count: i64) -> String {
    match count.saturating_sub(1) {
        0 => String::new(),
        others => format!(" (and {others} more, see status.problems)"),
    }
}
