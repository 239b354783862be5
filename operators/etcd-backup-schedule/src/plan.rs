//! What is done about a schedule now: which backups are created, and which go. Pure.
//!
//! A run of a cluster is over once its backup is there, or was skipped as the one before was still under way then. The status notes until
//! when all runs are over, after that is so: whatever ends Drover, the next one finds the backups by their names. So a backup that a person
//! deletes is not taken anew, and neither is one after a clock went back.

use drover_crds::{Admission, EtcdBackupSchedule};
use drover_grants::{admitted::record, not_begun};
use drover_runtime::{Cause, Plan, Requeue, StatusCause, owned::Change, place_status::Readiness};
use drover_schedule::{Due, Noted, Run, Runs, Schedule, noted::Former, runs::due};
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::ResourceExt as _;
use serde_json::Value;

use crate::{
    Action, EtcdBackupScheduleOperator, ScheduleCause,
    children::{self, Child, Children, Stage},
    observe::{Selected, World},
    retention::{self, Keeping},
    told::{Judge, Told, share},
};

type Decided = Plan<EtcdBackupScheduleOperator>;

/// What is in the way is looked at again so soon, where nothing tells of a change.
const LOOK_AGAIN: SignedDuration = SignedDuration::from_mins(1);

/// What is told of a schedule.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PlaceStatus {
    /// Why nothing was decided, if nothing was.
    pub undecided: Option<Readiness>,
    /// Whether what the status says of the same spec stands, as too little is known to say anything else.
    pub stands: bool,
    /// Under which admission policies the spec was written.
    pub admission: Option<Admission>,
    /// Why the schedule cannot be read, if it cannot.
    pub invalid: Option<String>,
    /// What is to be remembered, if that is something else.
    pub noted: Option<Noted>,
    /// When the next backup is created.
    pub next: Option<Timestamp>,
    /// How the clusters fare.
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
pub fn plan(schedule: &EtcdBackupSchedule, world: &World, now: Timestamp) -> Decided {
    let admission = record(schedule, world.policies.as_ref(), &world.evidence, false, now);
    let status = PlaceStatus { admission, ..PlaceStatus::default() };
    if !world.is_complete {
        let message = "not all Clusters are known yet".to_owned();
        let status = PlaceStatus { stands: true, ..status.because(StatusCause::Progressing, message) };
        return resting(status, after(now, SignedDuration::from_secs(1)));
    }
    let times = match Schedule::parse(&schedule.spec.schedule, schedule.spec.time_zone.as_deref()) {
        Ok(times) => times,
        Err(error) => {
            let status = PlaceStatus { invalid: Some(error.to_string()), ..status };
            return resting(status.because(ScheduleCause::ScheduleInvalid, error.to_string()), Requeue::Watch);
        }
    };
    if schedule.spec.suspend {
        let message = "spec.suspend is set, so no backup is created or deleted; set it to false to go on".to_owned();
        let suspended = Some(Readiness::yes(StatusCause::Suspended, message));
        return resting(PlaceStatus { undecided: suspended, ..status }, Requeue::Watch);
    }
    decide(schedule, world, &times, status, now)
}

fn decide(
    schedule: &EtcdBackupSchedule,
    world: &World,
    times: &Schedule,
    mut status: PlaceStatus,
    now: Timestamp,
) -> Decided {
    let (children, runs) = (Children::of(&world.backups), Runs::of(times, schedule.spec.jitter(), now));
    let mut noted = noted(schedule, now);
    let told = Judge { schedule, runs: &runs, since: noted.since, now }.tell(world, &children);
    let again = told.again;
    status.told = Some(Box::new(told));
    if let Some((cause, message)) = obstacle(schedule, world) {
        return resting(status.because(cause, message), after(now, LOOK_AGAIN));
    }
    let (since, until) = (noted.since, noted.begun_until());
    let turn = Turn { schedule, children: &children, runs: &runs, since, until, now };
    let begun = turn.decide(&world.selected);
    noted.until = begun.until.or(noted.until);
    status.noted = Some(noted);
    status.next = begun.next;
    let rules = retention::rules(schedule.spec.retention.as_ref());
    let policy = schedule.spec.template.deletion_policy;
    let keeping = Keeping { rules: rules.as_ref(), zone: times.zone(), policy };
    let of_one = |one: &Selected| keeping.changes(one, children.of_cluster(&one.name), now);
    let groups = begun.groups.into_iter().chain(world.selected.iter().flat_map(of_one)).collect();
    let requeue = [begun.next, again].into_iter().flatten().min().map_or(Requeue::Watch, Requeue::At);
    Plan { place_status: status, groups, requeue }
}

fn noted(schedule: &EtcdBackupSchedule, now: Timestamp) -> Noted {
    let status = schedule.status.clone().unwrap_or_default();
    let former = Former {
        follows: status.follows,
        since: status.since.map(|time| time.0),
        until: status.last_scheduled.map(|time| time.0),
        created: schedule.metadata.creation_timestamp.as_ref().map(|time| time.0),
    };
    Noted::of(schedule.spec.follows(), former, now)
}

/// Nothing of a schedule that is gone is deleted: a schedule of its name takes its backups up again.
#[must_use]
pub fn clean_up() -> Decided {
    let status = PlaceStatus::default().because(StatusCause::Deleting, "its backups stay".to_owned());
    resting(status, Requeue::Released)
}

fn resting(place_status: PlaceStatus, requeue: Requeue) -> Decided {
    Plan { place_status, groups: Vec::new(), requeue }
}

fn after(now: Timestamp, length: SignedDuration) -> Requeue {
    now.checked_add(length).map_or(Requeue::Watch, Requeue::At)
}

/// Why nothing may be done now.
fn obstacle(schedule: &EtcdBackupSchedule, world: &World) -> Option<(Cause, String)> {
    let what = format!("schedule {}", schedule.name_any());
    let then = "no backup is created or deleted; change its spec, or delete it and create it again";
    not_begun(&world.grants, world.admitted, &what, then)
}

/// The newest run, for all clusters.
struct Turn<'a> {
    schedule: &'a EtcdBackupSchedule,
    children: &'a Children<'a>,
    runs: &'a Runs,
    since: Timestamp,
    until: Timestamp,
    now: Timestamp,
}

/// What is done about runs.
#[derive(Default)]
struct Begun {
    groups: Vec<Vec<Action>>,
    /// Until when all runs are over, once more are than before.
    until: Option<Timestamp>,
    next: Option<Timestamp>,
}

impl Turn<'_> {
    fn decide(&self, selected: &[Selected]) -> Begun {
        let mut begun = Begun::default();
        // Of a tick before it was written nothing begins, also where its clusters would begin later.
        let Some(run) = self.runs.past.first().filter(|run| run.tick > self.since) else {
            return Begun { next: self.first_of_next(selected), ..begun };
        };
        let (mut over, mut open): (Vec<Timestamp>, Option<Timestamp>) = (Vec::new(), None);
        for one in selected {
            let begins = run.begins(share(self.schedule, &one.name));
            match due(begins, self.until, self.schedule.spec.catch_up, self.now) {
                Due::At(time) => begun.next = [begun.next, Some(time)].into_iter().flatten().min(),
                Due::Over => over.push(begins),
                Due::Now => {
                    let group = self.begin(*run, one, begins);
                    if group.is_empty() {
                        over.push(begins);
                    } else {
                        open = [open, Some(begins)].into_iter().flatten().min();
                        begun.groups.push(group);
                    }
                }
            }
        }
        let is_before = |time: &Timestamp| open.is_none_or(|open| *time < open);
        let all = Some(run.has_begun_by()).filter(|end| open.is_none() && *end <= self.now);
        let until = over.into_iter().filter(is_before).chain(all).filter(|time| *time <= self.now).max();
        begun.until = until.filter(|until| *until > self.until);
        begun.next = begun.next.or_else(|| self.first_of_next(selected));
        begun
    }

    fn first_of_next(&self, selected: &[Selected]) -> Option<Timestamp> {
        let next = self.runs.next?;
        let begins = selected.iter().map(|one| next.begins(share(self.schedule, &one.name)));
        Some(begins.min().unwrap_or(next.tick))
    }

    /// What begins a run of a cluster; nothing if it is over. One that never begins makes room.
    fn begin(&self, run: Run, selected: &Selected, begins: Timestamp) -> Vec<Action> {
        let name = run.name(&self.schedule.name_any(), &selected.name);
        let children = self.children.of_cluster(&selected.name);
        let is_former = |child: &&Child<'_>| child.tick < run.tick;
        let mut former = children.iter().filter(is_former);
        if self.children.has(&name) || former.any(|child| child.was_under_way(begins)) {
            return Vec::new();
        }
        let never = |child: &&Child<'_>| child.stage == Stage::NotAdmitted && child.is_ours && !child.is_deleting;
        let removed = children.iter().filter(never);
        let removed = removed.map(|child| Change::Delete(Box::new(child.live.metadata.clone())));
        let desired = children::wanted(self.schedule, &name, &selected.name);
        let created = Change::Create { desired: Box::new(desired), seed: Value::Null };
        removed.chain([created]).map(Action).collect()
    }
}
