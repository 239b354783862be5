//! What the scans of a schedule tell. Pure.

use std::time::Duration;

use drover_crds::{
    AlertOn, CisScan, CisScanSchedule, EndedScan, FailOn, Verdict,
    condition::{READY, StatusConditions},
};
use drover_runtime::error::legible;
use drover_schedule::{Runs, Share, missed::Missed, runs::MOST_MISSED};
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::ResourceExt as _;

use crate::children::{Child, Children, Stage};

/// How much longer than its own time a scan may take until it counts as missed: it waits for its turn.
const MARGIN: Duration = Duration::from_mins(15);
/// Longest text of a scan that is repeated, in bytes.
const TEXT_LIMIT: usize = 240;

/// The share of a schedule in the spread of its runs.
#[must_use]
pub fn share(schedule: &CisScanSchedule) -> Share {
    Share::of(&[&schedule.namespace().unwrap_or_default(), &schedule.name_any()])
}

/// What there is to say of the scans.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Told {
    /// Those that have not ended.
    pub running: i64,
    /// Those that have, and are kept.
    pub kept: i64,
    /// The last one that ended.
    pub last: Option<EndedScan>,
    /// What it says, if it did not look at everything.
    pub incomplete: Option<String>,
    /// What the newest one says that has not begun and should have.
    pub late: Option<String>,
    /// Whether the last two times brought nothing.
    pub is_unhealthy: bool,
    /// How many checks fail that the schedule alerts on.
    pub alerts: i64,
    /// When time alone may make it something else.
    pub again: Option<Timestamp>,
}

impl Told {
    pub(crate) fn of(
        schedule: &CisScanSchedule,
        children: &Children<'_>,
        runs: &Runs,
        since: Timestamp,
        now: Timestamp,
    ) -> Self {
        let timeout = schedule.spec.scan_compared_with(None).timeout();
        let allowance = SignedDuration::try_from(timeout + MARGIN).unwrap_or(SignedDuration::MAX);
        let missed = Missed { runs, since, allowance, now };
        let (past, share) = (children.until(now), share(schedule));
        let made: Vec<_> = past.iter().map(Child::made).collect();
        let open = past.last().filter(|child| matches!(child.stage, Stage::Waiting | Stage::Running));
        let begun = open.map(|child| missed.begun(child.tick, share));
        let is_late = |child: &&Child<'_>| match child.stage {
            Stage::NotAdmitted => true,
            Stage::Waiting => begun.is_some_and(|begun| missed.is_late(begun)),
            Stage::Running | Stage::Ended(_) => false,
        };
        let last = children.newest_first().find_map(|child| Some((*child, child.ended()?)));
        let is_incomplete = |(_, ended): &&(Child<'_>, EndedScan)| ended.verdict == Verdict::Incomplete;
        let mut told = Self {
            incomplete: last.as_ref().filter(is_incomplete).map(|(child, _)| says(child.live)),
            late: past.last().filter(is_late).map(|child| says(child.live)),
            is_unhealthy: missed.count(share, &made) >= MOST_MISSED,
            again: begun.and_then(|begun| missed.judged_again(begun)),
            ..Self::default()
        };
        for child in children.newest_first() {
            *if matches!(child.stage, Stage::Ended(_)) { &mut told.kept } else { &mut told.running } += 1;
        }
        if let Some((child, ended)) = last {
            told.alerts = alerts(&ended, child.live.spec.fail_on(), schedule.spec.alert_on);
            told.last = Some(ended);
        }
        told
    }
}

/// How many checks fail that are to be told. Of the first scan of a schedule all are new.
fn alerts(ended: &EndedScan, fail_on: FailOn, alert_on: AlertOn) -> i64 {
    let counts = ended.counts.unwrap_or_default();
    let all = match fail_on {
        FailOn::Fail => counts.fail,
        FailOn::Warn => counts.fail + counts.warn,
    };
    match (alert_on, ended.changes) {
        (AlertOn::NewFailures, Some(changes)) => changes.new_failures,
        (AlertOn::NewFailures, None) | (AlertOn::Failures, _) => all,
    }
}

/// What a scan says of itself, and its name.
fn says(scan: &CisScan) -> String {
    let name = scan.name_any();
    let conditions = scan.status.as_ref().map(StatusConditions::conditions).unwrap_or_default();
    let ready = conditions.iter().find(|condition| condition.type_ == READY && condition.status != "True");
    match ready {
        Some(ready) => format!("CisScan {name} says: {}", legible(&ready.message, TEXT_LIMIT)),
        None => format!("look at CisScan {name}"),
    }
}
