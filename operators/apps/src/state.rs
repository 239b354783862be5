//! Where a release stands, and what comes next. Pure: at most one step that changes something, each idempotent.
//!
//! The records in the cluster, which helm reads as well, say how far a revision is: hooks note in them when they began and how they
//! ended, and the description tells whether the objects were applied. A record is trusted only if the status of the app names the
//! digest of its manifest, as whoever edits in the namespace may write it. So after a crash everything goes on where it was.
//!
//! | the newest record | the status of the app | next |
//! |---|---|---|
//! | any that is not pending | `applied` has these inputs | nothing |
//! | none, or not pending, and a former revision has these inputs | `pending` has others, or none | note the way back to it in `pending` |
//! | none, or not pending | `pending` has other inputs, or none | render, then note in `pending` |
//! | the same | `pending` has these inputs | create the record of the next revision |
//! | pending, with the manifest of `pending` | – | hooks, objects, until all is ready |
//! | deployed or failed, with the manifest of `pending` | – | the status says so |
//! | deployed, labelled as of this app, and as it is rendered now | nothing | the status says so: it was lost |
//! | pending, with another manifest | – | wait until it must be over, then count it as failed |

use std::time::Duration;

use drover_crds::{CatalogApp, CatalogAppStatus, FailedTries, OnFailure, Release, TakenUp, WaitStrategy};
use drover_releases::{
    hook::{Hook, HookEvent, HookPhase, in_order},
    record::{Record, Status},
};
use k8s_openapi::{
    apimachinery::pkg::apis::meta::v1::Time,
    jiff::{SignedDuration, Timestamp},
};

/// The pause before the second try; it doubles with each further one.
const FIRST_PAUSE: SignedDuration = SignedDuration::from_secs(10);
/// By how much the clock of whoever wrote a record may be ahead.
const SKEW: SignedDuration = SignedDuration::from_mins(5);
/// The longest pause between two tries.
const LONGEST_PAUSE: SignedDuration = SignedDuration::from_mins(5);
/// The description of a revision whose objects are applied, or, while it is uninstalled, deleted.
pub const APPLIED: &str = "Drover sent all objects and waits for them";

/// What a record says of its revision, as far as it plays a part here.
#[derive(Clone, Debug, PartialEq)]
pub struct Head {
    /// The revision.
    pub revision: i64,
    /// Where it is in its life.
    pub status: Status,
    /// The digest of all that is applied from it.
    pub manifest_digest: String,
    /// Whether its objects are applied or, while it is uninstalled, deleted.
    pub is_applied: bool,
    /// Why it failed, where it did.
    pub description: String,
    /// When it began.
    pub began: Timestamp,
    /// Whether its Secret says that it is of this app. Anybody may say so.
    pub is_ours: bool,
    /// Whether the status of the app noted what is applied from it.
    pub is_noted: bool,
    /// The hooks of the operation that is under way, by their positions: those before the objects …
    pub before: Vec<(usize, HookPhase)>,
    /// … and those after them.
    pub after: Vec<(usize, HookPhase)>,
}

impl Head {
    /// Reads a record.
    #[must_use]
    pub fn of(record: &Record, is_ours: bool) -> Self {
        let phases = |event: Option<HookEvent>| -> Vec<_> {
            let hooks = event.map(|event| in_order(&record.hooks, &event)).unwrap_or_default();
            hooks.into_iter().filter_map(|at| Some((at, phase(record.hooks.get(at)?)))).collect()
        };
        let [before, after] = events(record.info.status);
        let began = record.info.deleted.filter(|_| record.info.status == Status::Uninstalling);
        Self {
            revision: record.version,
            status: record.info.status,
            manifest_digest: record.digest(),
            is_applied: record.info.description == APPLIED,
            description: record.info.description.clone(),
            began: began.or(record.info.last_deployed).unwrap_or(Timestamp::UNIX_EPOCH),
            is_ours,
            is_noted: false,
            before: phases(before),
            after: phases(after),
        }
    }
}

fn phase(hook: &Hook) -> HookPhase {
    hook.last_run.phase
}

/// The events of hooks before and after the objects, of the operation that a status says.
#[must_use]
pub fn events(status: Status) -> [Option<HookEvent>; 2] {
    match status {
        Status::PendingInstall => [Some(HookEvent::PreInstall), Some(HookEvent::PostInstall)],
        Status::PendingUpgrade => [Some(HookEvent::PreUpgrade), Some(HookEvent::PostUpgrade)],
        Status::PendingRollback => [Some(HookEvent::PreRollback), Some(HookEvent::PostRollback)],
        Status::Uninstalling => [Some(HookEvent::PreDelete), Some(HookEvent::PostDelete)],
        Status::Deployed | Status::Uninstalled | Status::Superseded | Status::Failed | Status::Unknown => [None, None],
    }
}

/// How objects are, or the hook that runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Ready, or completed; while it is uninstalled, gone.
    Ready,
    /// Not yet: which one, and why. What changes from one look to the next is in neither.
    Waiting {
        /// Which one.
        what: String,
        /// Why.
        why: &'static str,
    },
    /// It failed for good: which one, and why.
    Failed(String),
}

/// What is rendered for the present inputs.
#[derive(Clone, Debug, PartialEq)]
pub enum Prepared {
    /// Nothing yet.
    Nothing,
    /// This, of no revision yet.
    Release(Box<Release>),
    /// It cannot be; why stands in the status.
    Failed,
}

/// How the newest record of a release that the status says nothing of compares with what the present inputs render.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Likeness {
    /// All that would be applied is the same.
    Same,
    /// Chart and values are the same, and the objects in the cluster are as the record says: the chart renders something else each time.
    Unchanged,
    /// It is something else.
    Other,
}

/// What a decision about a release is made of.
#[derive(Clone, Debug)]
pub struct Seen {
    /// The records of the release, the oldest first.
    pub records: Vec<Head>,
    /// How the hook is that runs; none if none does.
    pub hook: Option<Standing>,
    /// How the objects are that were applied; none before that.
    pub objects: Option<Standing>,
    /// How the newest record compares with what is rendered; none where it need not.
    pub likeness: Option<Likeness>,
}

/// What comes next.
#[derive(Clone, Debug, PartialEq)]
pub enum Next {
    /// What is wanted is there.
    Rest,
    /// Render the chart.
    Render,
    /// The rendering failed: nothing until the inputs change.
    Unrenderable,
    /// The status has to name this before anything is sent.
    Note(Box<Release>),
    /// Create the record of this revision, out of what is rendered.
    Begin(Box<Release>),
    /// Create the record of this revision, out of the record of an older one.
    RollBack {
        /// What it becomes.
        to: Box<Release>,
        /// The revision that it repeats.
        from: i64,
    },
    /// Note that the release is being uninstalled, in the record of this revision.
    BeginUninstall(i64),
    /// Start the hook at this position.
    StartHook(usize),
    /// Note how the hook at this position ended.
    EndHook {
        /// Its position.
        at: usize,
        /// Whether it succeeded.
        succeeded: bool,
    },
    /// Apply all objects or, while it is uninstalled, delete them.
    Apply,
    /// Look again soon: something is not ready, and this is it.
    Wait(String),
    /// All is done: the record says so.
    Finish,
    /// It failed: the record says so.
    Fail(Failure),
    /// It is deployed: the status says so.
    Deployed,
    /// It was deployed before the status was lost: the status says so, and nothing is written to the cluster.
    TakeUp(Box<Release>),
    /// It failed: the status says so.
    Failed(String),
    /// The release was made by another client, and is not to be taken over.
    Taken,
    /// The run of another client has to end.
    Locked,
    /// The run of another client must be over: its record says that it failed.
    Unlock(i64),
    /// The revision at which the release is to be held is not there.
    NoRevision(i64),
    /// Try again at this time.
    Pause(Timestamp),
    /// All tries failed.
    Exhausted,
}

impl Next {
    /// Whether something new would begin by it. A way back is none: it was there before.
    #[must_use]
    pub fn is_beginning(&self) -> bool {
        match self {
            Self::Render => true,
            Self::Note(release) | Self::Begin(release) => release.rollback_of.is_none(),
            _ => false,
        }
    }
}

/// Why a revision failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The hook at this position failed.
    Hook(usize),
    /// A hook did not end in time: which one, and why.
    HookTimeout(String),
    /// Something failed, which is never ready: what, and why.
    NeverReady(String),
    /// Something was not ready in time: what, and why.
    Timeout(String),
}

/// Whether nothing is to be looked at in the cluster, as the inputs are those of what was released last.
#[must_use]
pub fn is_at_rest(app: &CatalogApp, input_hash: &str) -> bool {
    let Some(status) = &app.status else { return false };
    let is_settled = status.pending.is_none() && status.failed.is_none() && app.asked().is_none();
    is_settled && status.applied.as_ref().is_some_and(|applied| is_wanted(app, applied, input_hash))
}

/// Whether a revision is what the app is to have.
fn is_wanted(app: &CatalogApp, revision: &Release, input_hash: &str) -> bool {
    match app.spec.pin {
        Some(pin) => repeats(revision, pin.revision),
        None => revision.input_hash == input_hash,
    }
}

/// Whether a revision is that of this number, or the way back to it.
#[must_use]
pub fn repeats(revision: &Release, number: i64) -> bool {
    revision.revision == number || revision.rollback_of == Some(number)
}

/// The newest revision of before that is what the app is to have, as long as its record is there as it was noted: it is not rendered again.
fn former<'a>(app: &'a CatalogApp, input_hash: &str, seen: &Seen) -> Option<&'a Release> {
    let status = app.status.as_ref()?;
    let noted = status.applied.iter().chain(&status.history);
    let is_there = |noted: &Release| seen.records.iter().any(|record| is_of(record, noted));
    let may_be_applied = |noted: &Release| !noted.is_only_found() && is_wanted(app, noted, input_hash);
    noted.filter(|noted| may_be_applied(noted) && is_there(noted)).max_by_key(|noted| noted.revision)
}

/// What comes next for an app that may be released with these inputs.
#[must_use]
pub fn next(app: &CatalogApp, input_hash: &str, prepared: &Prepared, seen: &Seen, now: Timestamp) -> Next {
    let status = app.status.as_ref();
    let applied = status.and_then(|status| status.applied.as_ref());
    let pending = status.and_then(|status| status.pending.as_ref());
    let counts = |failed: &&FailedTries| {
        failed.input_hash == input_hash && failed.generation == app.metadata.generation.unwrap_or_default()
    };
    let counts = |failed: &&FailedTries| counts(failed) && app.asked().is_none();
    let failed = status.and_then(|status| status.failed.as_ref()).filter(counts);
    let newest = seen.records.last();
    let noted = newest.filter(|record| pending.is_some_and(|pending| is_of(record, pending)));
    if let Some(record) = newest
        && failed.is_some_and(|failed| is_removed(app, record, failed))
    {
        return uninstall(app, seen, now);
    }
    match (newest, noted) {
        (_, Some(record)) if record.status.is_pending() => return advance(app, record, seen, now),
        (_, Some(record)) if record.status == Status::Deployed => return Next::Deployed,
        (_, Some(record)) if record.status == Status::Failed => return Next::Failed(record.description.clone()),
        (Some(record), None) if record.status.is_pending() || record.status == Status::Uninstalling => {
            return others(app, record, now);
        }
        (Some(record), _) if applied.is_none() && !record.is_ours && !app.spec.take_ownership => return Next::Taken,
        _ => {}
    }
    let is_there =
        |applied: &Release| newest.is_some_and(|record| is_of(record, applied) && record.status == Status::Deployed);
    if applied.is_some_and(|applied| is_wanted(app, applied, input_hash) && is_there(applied)) {
        return Next::Rest;
    }
    let revision = newest.map_or(0, |record| record.revision).saturating_add(1);
    match failed.map_or(Retry::Now, |failed| again(app, failed, now)) {
        Retry::Now => match (former(app, input_hash, seen), app.spec.pin) {
            (Some(former), _) => roll_back(former, pending, revision, now),
            (None, Some(pin)) => Next::NoRevision(pin.revision),
            (None, None) => take_up(app, input_hash, prepared, seen, now)
                .unwrap_or_else(|| install(input_hash, prepared, pending, revision)),
        },
        Retry::At(time) => Next::Pause(time),
        Retry::Never => {
            // One that fails itself is not tried again.
            let is_first = failed.is_some_and(|failed| failed.count == app.spec.retries().saturating_add(1));
            let may_return = app.spec.remediation.on_failure == OnFailure::Rollback
                && is_first
                && newest.is_some_and(|record| record.status == Status::Failed);
            applied
                .filter(|applied| may_return && !applied.is_only_found())
                .map_or(Next::Exhausted, |applied| roll_back(applied, pending, revision, now))
        }
    }
}

/// Whether what is left of an install that failed for good is to go.
fn is_removed(app: &CatalogApp, record: &Head, failed: &FailedTries) -> bool {
    let was_deployed = app.status.as_ref().is_some_and(|status| status.applied.is_some());
    app.spec.remediation.on_failure == OnFailure::Uninstall
        && !was_deployed
        && record.is_ours
        && matches!(record.status, Status::Failed | Status::Uninstalling)
        && failed.count > app.spec.retries()
}

/// Whether the status noted this record before it was created.
fn is_of(record: &Head, noted: &Release) -> bool {
    record.revision == noted.revision && record.manifest_digest == noted.manifest_digest
}

fn is_noted(wanted: &Release, pending: Option<&Release>) -> bool {
    pending.is_some_and(|pending| {
        (pending.revision, &pending.input_hash, &pending.manifest_digest)
            == (wanted.revision, &wanted.input_hash, &wanted.manifest_digest)
    })
}

/// Whether the app released this before its status was lost: the management cluster was rebuilt, or the app was deleted and is there again.
/// Whoever edits in the namespace may have forged it.
#[must_use]
pub fn may_be_taken_up(app: &CatalogApp, newest: &Head) -> bool {
    let is_noted = |status: &CatalogAppStatus| {
        status.applied.is_some() || status.pending.is_some() || status.failed.is_some() || !status.history.is_empty()
    };
    newest.is_ours && newest.status == Status::Deployed && !app.status.as_ref().is_some_and(is_noted)
}

/// What is in the cluster is what would be released: it is taken as it is. What was not rendered here is never applied.
fn take_up(app: &CatalogApp, input_hash: &str, prepared: &Prepared, seen: &Seen, now: Timestamp) -> Option<Next> {
    let newest = seen.records.last().filter(|newest| may_be_taken_up(app, newest))?;
    let Prepared::Release(rendered) = prepared else { return None };
    let taken_up = match seen.likeness? {
        Likeness::Same => Some(TakenUp::AsRendered),
        Likeness::Unchanged => Some(TakenUp::AsFound),
        Likeness::Other => return None,
    };
    let (manifest_digest, at) = (newest.manifest_digest.clone(), Time(newest.began.min(now)));
    let release = Release { revision: newest.revision, manifest_digest, taken_up, at, ..(**rendered).clone() };
    (rendered.input_hash == input_hash).then(|| Next::TakeUp(Box::new(release)))
}

fn install(input_hash: &str, prepared: &Prepared, pending: Option<&Release>, revision: i64) -> Next {
    match prepared {
        Prepared::Release(release) if release.input_hash == input_hash => {
            let wanted = Box::new(Release { revision, ..(**release).clone() });
            if is_noted(&wanted, pending) { Next::Begin(wanted) } else { Next::Note(wanted) }
        }
        Prepared::Failed => Next::Unrenderable,
        Prepared::Nothing | Prepared::Release(_) => Next::Render,
    }
}

fn roll_back(former: &Release, pending: Option<&Release>, revision: i64, now: Timestamp) -> Next {
    let from = former.revision;
    // A way back to a way back is one to where that led.
    let origin = former.rollback_of.or(Some(from));
    let to = Box::new(Release { revision, at: Time(now), rollback_of: origin, taken_up: None, ..former.clone() });
    if is_noted(&to, pending) { Next::RollBack { to, from } } else { Next::Note(to) }
}

/// The next step of a revision of ours that is under way.
fn advance(app: &CatalogApp, record: &Head, seen: &Seen, now: Timestamp) -> Next {
    let is_late = is_over(record.began, app.spec.wait_timeout(), now);
    if record.is_applied && app.spec.wait.strategy == WaitStrategy::Status {
        match &seen.objects {
            Some(Standing::Ready) => {}
            Some(Standing::Failed(what)) => return Next::Fail(Failure::NeverReady(what.clone())),
            Some(Standing::Waiting { what, why }) if is_late => {
                return Next::Fail(Failure::Timeout(format!("{what}: {why}")));
            }
            Some(Standing::Waiting { what, .. }) => return Next::Wait(what.clone()),
            None => return Next::Wait("its objects".to_owned()),
        }
    }
    let hooks = if record.is_applied { &record.after } else { &record.before };
    // Where nothing is waited for, a hook that was started is done with.
    let is_done = |phase: HookPhase| {
        phase == HookPhase::Succeeded || (phase == HookPhase::Running && app.spec.wait.strategy == WaitStrategy::None)
    };
    let due = hooks.iter().find(|(_, phase)| !is_done(*phase));
    match due {
        None if record.is_applied => Next::Finish,
        None => Next::Apply,
        Some((at, HookPhase::Running)) => match &seen.hook {
            Some(Standing::Ready) => Next::EndHook { at: *at, succeeded: true },
            Some(Standing::Failed(_)) => Next::EndHook { at: *at, succeeded: false },
            Some(Standing::Waiting { what, why }) if is_late => {
                Next::Fail(Failure::HookTimeout(format!("{what}: {why}")))
            }
            Some(Standing::Waiting { what, .. }) => Next::Wait(what.clone()),
            None => Next::Wait("a hook".to_owned()),
        },
        Some((at, HookPhase::Failed)) => Next::Fail(Failure::Hook(*at)),
        Some((at, _)) => Next::StartHook(*at),
    }
}

/// The way to nothing: what comes next for an app that is being deleted. What another client released stays.
#[must_use]
pub fn uninstall(app: &CatalogApp, seen: &Seen, now: Timestamp) -> Next {
    let Some(record) = seen.records.last() else { return Next::Rest };
    if !record.is_ours && !record.is_noted {
        return Next::Rest;
    }
    if record.status != Status::Uninstalling {
        return Next::BeginUninstall(record.revision);
    }
    let is_late = is_over(record.began, app.spec.wait_timeout(), now);
    let hooks = if record.is_applied { &record.after } else { &record.before };
    // Hooks out of a record that nobody noted may be anybody's.
    let mut noted = hooks.iter().filter(|_| record.is_noted);
    let due = noted.find(|(_, phase)| !matches!(phase, HookPhase::Succeeded | HookPhase::Failed));
    if record.is_applied && seen.objects.as_ref().is_some_and(|objects| *objects != Standing::Ready) && !is_late {
        return Next::Wait("its objects".to_owned());
    }
    // A hook that fails does not keep a release in the cluster that nobody wants any more.
    match due {
        None if record.is_applied => Next::Finish,
        None => Next::Apply,
        Some((at, HookPhase::Running)) => match &seen.hook {
            Some(Standing::Waiting { what, .. }) if !is_late => Next::Wait(what.clone()),
            standing => Next::EndHook { at: *at, succeeded: *standing == Some(Standing::Ready) },
        },
        Some((at, _)) => Next::StartHook(*at),
    }
}

/// The run of another client: its lock holds until it must be over.
fn others(app: &CatalogApp, record: &Head, now: Timestamp) -> Next {
    let patience = app.spec.wait_timeout().saturating_mul(3) / 2;
    if is_over(record.began, patience, now) { Next::Unlock(record.revision) } else { Next::Locked }
}

fn is_over(began: Timestamp, after: Duration, now: Timestamp) -> bool {
    // A time that is not come yet is nobody's.
    if now.checked_add(SKEW).is_ok_and(|latest| latest < began) {
        return true;
    }
    SignedDuration::try_from(after).ok().and_then(|after| began.checked_add(after).ok()).is_some_and(|end| end <= now)
}

enum Retry {
    Now,
    At(Timestamp),
    Never,
}

fn again(app: &CatalogApp, failed: &FailedTries, now: Timestamp) -> Retry {
    if failed.count > app.spec.retries() {
        return Retry::Never;
    }
    let doublings = u32::try_from(failed.count.saturating_sub(1).clamp(0, 10)).unwrap_or(10);
    let pause = FIRST_PAUSE.checked_mul(1 << doublings).unwrap_or(LONGEST_PAUSE).min(LONGEST_PAUSE);
    match failed.at.0.checked_add(pause) {
        Ok(time) if now < time => Retry::At(time),
        _ => Retry::Now,
    }
}

#[cfg(test)]
mod tests;
