//! What is done about a schedule now: which scan is created, and which go. Pure.
//!
//! A run is over once its scan is there, or was skipped as the one before was still under way then. The status notes until when all runs
//! are over, after that is so: whatever ends Drover, the next one finds the scans by their names. So a scan that a person deletes is not
//! made anew, and neither is one after a clock went back.

use drover_crds::{Admission, CisScanSchedule};
use drover_grants::{admitted::record, not_begun};
use drover_runtime::{Cause, Plan, Requeue, StatusCause, owned::Change, place_status::Readiness};
use drover_schedule::{Due, Noted, Run, Runs, Schedule, noted::Former, runs::due};
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::ResourceExt as _;
use serde_json::Value;

use crate::{
    Action, CisScanScheduleOperator, ScanScheduleCause,
    children::{self, Child, Children, Stage},
    observe::World,
    told::{Told, share},
};

type Decided = Plan<CisScanScheduleOperator>;

/// What is in the way is looked at again so soon, where nothing tells of a change.
const LOOK_AGAIN: SignedDuration = SignedDuration::from_mins(1);
/// A schedule has one target, whatever clusters its scans select.
const TARGET: &str = "";

/// What is told of a schedule.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PlaceStatus {
    /// Why nothing was decided, if nothing was.
    pub undecided: Option<Readiness>,
    /// Under which admission policies the spec was written.
    pub admission: Option<Admission>,
    /// Why the schedule cannot be read, if it cannot.
    pub invalid: Option<String>,
    /// What is to be remembered, if that is something else.
    pub noted: Option<Noted>,
    /// When the next scan is created.
    pub next: Option<Timestamp>,
    /// What the scans tell.
    pub told: Option<Box<Told>>,
}

impl PlaceStatus {
    fn because(mut self, cause: impl Into<Cause>, message: String) -> Self {
        self.undecided = Some(Readiness::no(cause, message));
        self
    }
}

/// Decides for a schedule that is to be.
#[must_use]
pub fn plan(schedule: &CisScanSchedule, world: &World, now: Timestamp) -> Decided {
    let admission = record(schedule, world.policies.as_ref(), &world.evidence, false, now);
    let status = PlaceStatus { admission, ..PlaceStatus::default() };
    let times = match Schedule::parse(&schedule.spec.schedule, schedule.spec.time_zone.as_deref()) {
        Ok(times) => times,
        Err(error) => {
            let status = PlaceStatus { invalid: Some(error.to_string()), ..status };
            return resting(status.because(ScanScheduleCause::ScheduleInvalid, error.to_string()), Requeue::Watch);
        }
    };
    if schedule.spec.suspend {
        let message = "spec.suspend is set, so no scan is created or deleted; set it to false to go on".to_owned();
        let suspended = Some(Readiness::yes(StatusCause::Suspended, message));
        return resting(PlaceStatus { undecided: suspended, ..status }, Requeue::Watch);
    }
    decide(schedule, world, &times, status, now)
}

fn decide(
    schedule: &CisScanSchedule,
    world: &World,
    times: &Schedule,
    mut status: PlaceStatus,
    now: Timestamp,
) -> Decided {
    let (children, runs) = (Children::of(&world.scans), Runs::of(times, schedule.spec.jitter(), now));
    let mut noted = noted(schedule, now);
    let told = Told::of(schedule, &children, &runs, noted.since, now);
    let again = told.again;
    status.told = Some(Box::new(told));
    let what = format!("schedule {}", schedule.name_any());
    let remedy = "no scan is created or deleted; change its spec, or delete it and create it again";
    if let Some((cause, message)) = not_begun(&world.grants, world.admitted, &what, remedy) {
        let later = now.checked_add(LOOK_AGAIN).map_or(Requeue::Watch, Requeue::At);
        return resting(status.because(cause, message), later);
    }
    let turn = Turn { schedule, children: &children, runs: &runs, noted: &noted, now };
    let begun = turn.decide();
    noted.until = begun.until.filter(|until| *until > noted.begun_until()).or(noted.until);
    status.noted = Some(noted);
    status.next = begun.next;
    let gone = children::superfluous(&children, schedule.spec.kept());
    let groups = gone.into_iter().map(|child| vec![deleted(child)]);
    let groups = (!begun.group.is_empty()).then_some(begun.group).into_iter().chain(groups).collect();
    let requeue = [begun.next, again].into_iter().flatten().min().map_or(Requeue::Watch, Requeue::At);
    Plan { place_status: status, groups, requeue }
}

fn noted(schedule: &CisScanSchedule, now: Timestamp) -> Noted {
    let status = schedule.status.clone().unwrap_or_default();
    let former = Former {
        follows: status.follows,
        since: status.since.map(|time| time.0),
        until: status.last_scheduled.map(|time| time.0),
        created: schedule.metadata.creation_timestamp.as_ref().map(|time| time.0),
    };
    Noted::of(schedule.spec.follows(), former, now)
}

/// Nothing of a schedule that is gone is deleted: a schedule of its name takes its scans up again.
#[must_use]
pub fn clean_up() -> Decided {
    let status = PlaceStatus::default().because(StatusCause::Deleting, "its scans stay".to_owned());
    resting(status, Requeue::Released)
}

fn resting(place_status: PlaceStatus, requeue: Requeue) -> Decided {
    Plan { place_status, groups: Vec::new(), requeue }
}

fn deleted(child: &Child<'_>) -> Action {
    Action(Change::Delete(Box::new(child.live.metadata.clone())))
}

/// The newest run.
struct Turn<'a> {
    schedule: &'a CisScanSchedule,
    children: &'a Children<'a>,
    runs: &'a Runs,
    noted: &'a Noted,
    now: Timestamp,
}

/// What is done about runs.
#[derive(Default)]
struct Begun {
    group: Vec<Action>,
    /// Until when all runs are over, once more are than before.
    until: Option<Timestamp>,
    next: Option<Timestamp>,
}

impl Turn<'_> {
    fn decide(&self) -> Begun {
        let share = share(self.schedule);
        let next = self.runs.next.map(|run| run.begins(share));
        // Of a tick before it was written nothing begins, also where it would begin later.
        let Some(run) = self.runs.past.first().filter(|run| run.tick > self.noted.since) else {
            return Begun { next, ..Begun::default() };
        };
        let begins = run.begins(share);
        match due(begins, self.noted.begun_until(), self.schedule.spec.catch_up, self.now) {
            Due::At(time) => Begun { next: Some(time), ..Begun::default() },
            Due::Over => Begun { next, until: Some(begins), ..Begun::default() },
            Due::Now => {
                let group = self.begin(*run, begins);
                let until = Some(begins).filter(|_| group.is_empty());
                Begun { group, until, next }
            }
        }
    }

    /// What begins a run; nothing if it is over. One that never begins makes room.
    fn begin(&self, run: Run, begins: Timestamp) -> Vec<Action> {
        let name = run.name(&self.schedule.name_any(), TARGET);
        let mut former = self.children.newest_first().filter(|child| child.tick < run.tick);
        if self.children.has(&name) || former.any(|child| child.was_under_way(begins)) {
            return Vec::new();
        }
        let never = |child: &&Child<'_>| child.stage == Stage::NotAdmitted && child.is_ours;
        let removed = self.children.newest_first().filter(never).map(deleted);
        let desired = Box::new(children::wanted(self.schedule, &name, self.children));
        let created = Action(Change::Create { desired, seed: Value::Null });
        removed.chain([created]).collect()
    }
}
