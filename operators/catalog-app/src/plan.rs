//! What is done about an app at its cluster. Pure.

mod outcome;
mod rest;

use drover_apps::{
    AppCause,
    inputs::{self, Inputs},
    state::{self, Next},
};
use drover_crds::{
    Admission, AppDeletionPolicy, CatalogApp, CatalogAppStatus, ChosenChart, Drift, FailedTries, Release,
    names::ANNOTATION_INPUTS,
};
use drover_grants::{GrantCause, admitted::record};
use drover_runtime::{Cause, Owner, Plan, Requeue, StatusCause, place_status::Readiness};
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::ResourceExt as _;

use self::{
    outcome::{deployed, failed, taken_up, tell_failure, uninstalled},
    rest::{at_rest, released},
};
use crate::{
    CatalogAppOperator,
    account::AccountChange,
    act::{Action, Step},
    consent::{Verdict, terminating},
    observe::{NamespaceState, World},
};

/// How soon a release that is under way is looked at again, at the latest.
const LOOK: SignedDuration = SignedDuration::from_secs(2);
/// How soon the next step of a release follows one that was done.
const NEXT_STEP: SignedDuration = SignedDuration::from_millis(50);
/// How soon at the earliest it is looked again for what is waited for. It is waited longer for what takes longer.
const FIRST_LOOK: SignedDuration = SignedDuration::from_millis(250);
/// How soon a cluster is asked again that did not let the app look.
const LOOK_AGAIN: SignedDuration = SignedDuration::from_secs(5);
/// How soon it is looked again for what no watch tells.
const LOOK_LATER: SignedDuration = SignedDuration::from_secs(15);

/// What the cluster says of an app.
#[derive(Clone, Debug, PartialEq)]
pub struct PlaceStatus {
    /// Whether it is as wanted.
    pub ready: Readiness,
    /// Under which policies the spec was written.
    pub admission: Option<Admission>,
    /// What is in the cluster.
    pub applied: Option<Release>,
    /// What is being released.
    pub pending: Option<Release>,
    /// Tries that failed.
    pub failed: Option<FailedTries>,
    /// The revisions that Drover made.
    pub history: Vec<Release>,
    /// The version that was chosen of a chart in a repository.
    pub chart: Option<ChosenChart>,
    /// What is not as the release says.
    pub drift: Option<Drift>,
    /// What a person asked for last that was acted upon.
    pub handled: Option<String>,
    /// The inputs to which its owner bound it.
    pub observed_inputs: Option<String>,
}

impl PlaceStatus {
    /// What is known already.
    fn of(app: &CatalogApp) -> Self {
        let status = app.status.clone().unwrap_or_default();
        let CatalogAppStatus { admission, applied, pending, failed, history, chart, drift, .. } = status;
        let ready = Readiness::no(StatusCause::Progressing, format!("app {} is being released", app.name_any()));
        let handled = status.last_handled_reconcile_at;
        let chart = chart.filter(|_| app.spec.chart.repository.is_some());
        let observed_inputs = app.annotations().get(ANNOTATION_INPUTS).cloned();
        Self { ready, admission, applied, pending, failed, history, chart, drift, handled, observed_inputs }
    }

    /// Who asks for another try has all tries again, as soon as there can be one.
    fn answer(&mut self, app: &CatalogApp) {
        if let Some(asked) = app.asked() {
            self.failed = None;
            self.handled = Some(asked);
        }
    }

    fn because(&mut self, cause: impl Into<Cause>, message: impl Into<String>) {
        self.ready = Readiness::no(cause, message.into());
    }
}

/// What comes of a decision.
#[derive(Default)]
struct Steps {
    /// Account and rights: those that take rights away stand alone.
    account: Vec<AccountChange>,
    /// What follows them.
    step: Option<Step>,
    /// When to look again at the latest.
    again: Option<Timestamp>,
}

impl Steps {
    fn soon(now: Timestamp, after: SignedDuration) -> Self {
        Self { again: now.checked_add(after).ok(), ..Self::default() }
    }

    fn into_plan(self, place_status: PlaceStatus, now: Timestamp) -> Plan<CatalogAppOperator> {
        let (revocations, grants): (Vec<_>, Vec<_>) = self.account.into_iter().partition(AccountChange::is_revocation);
        let alone = revocations.into_iter().map(|change| vec![Action::Account(change)]);
        let mut in_order: Vec<_> = grants.into_iter().map(Action::Account).collect();
        in_order.extend(self.step.map(|step| Action::Step { step, now }));
        let groups = alone.chain(Some(in_order)).filter(|group| !group.is_empty()).collect();
        Plan { place_status, groups, requeue: self.again.map_or(Requeue::Watch, Requeue::At) }
    }
}

/// Decides for an app that is to be at this cluster.
#[must_use]
pub fn plan(app: &CatalogApp, world: &World, now: Timestamp) -> Plan<CatalogAppOperator> {
    let mut status = PlaceStatus::of(app);
    let Some(facts) = &world.facts else {
        status.because(
            AppCause::InternalError,
            "a defect in Drover placed the app outside of a Cluster; report it with the log of Drover at that time",
        );
        return Steps::default().into_plan(status, now);
    };
    status.admission = record(app, world.policies.as_ref(), &world.evidence, false, now);
    if let Some(Ok(chosen)) = &world.known.chosen {
        status.chart = Some(chosen.clone());
    }
    let steps = match Verdict::of(app, facts) {
        Verdict::Withdrawn(cause, message) => {
            status.because(cause, message);
            Steps { account: world.account.withdraw(), ..Steps::default() }
        }
        Verdict::Held(cause, message) => {
            status.because(cause, message);
            Steps::soon(now, if cause == GrantCause::NotYetGranted.cause() { LOOK } else { LOOK_LATER })
        }
        Verdict::Granted(resolved) if app.spec.suspend => {
            let message = "spec.suspend is set, so nothing is released".to_owned();
            status.ready = Readiness::yes(StatusCause::Suspended, message);
            Steps { account: world.account.no_more_than(app, &resolved.bound_roles()), ..Steps::default() }
        }
        Verdict::Granted(resolved) => {
            let account = world.account.towards(app, &resolved.bound_roles());
            let steps = release(app, world, account, &mut status, now);
            let choose =
                world.choose_again.and_then(|after| now.checked_add(SignedDuration::try_from(after).ok()?).ok());
            let again = steps.again.into_iter().chain(choose).min();
            Steps { again, ..steps }
        }
    };
    steps.into_plan(status, now)
}

fn release(
    app: &CatalogApp,
    world: &World,
    account: Vec<AccountChange>,
    status: &mut PlaceStatus,
    now: Timestamp,
) -> Steps {
    let found = match inputs::inputs(app, &world.known) {
        Ok(found) => found,
        Err((cause, message)) => {
            status.because(cause, message);
            return Steps { account, ..Steps::soon(now, LOOK_LATER) };
        }
    };
    if !account.is_empty() {
        return Steps { account, ..Steps::default() };
    }
    let Some(seen) = &world.seen else {
        return rest_or_wait(app, world, &found, status, now);
    };
    let anew;
    let app = match &status.failed {
        // With other rights it may succeed.
        Some(failed) if failed.rights != found.rights => {
            status.failed = None;
            anew = without_failures(app);
            &anew
        }
        _ => app,
    };
    let next = state::next(app, &found.hash, &world.prepared(), seen, now);
    // To take up what is there it has to be known what would be.
    let is_look = found.takes_up
        && next == Next::Render
        && seen.records.last().is_some_and(|newest| state::may_be_taken_up(app, newest));
    if next.is_beginning()
        && !is_look
        && let Some((cause, message)) = found.held.as_ref().or(world.unmet.as_ref())
    {
        status.because(*cause, message);
        // A circle may be broken at an app that this one does not name.
        return Steps::soon(now, LOOK_LATER);
    }
    // Before, no status holds that there is more to do: the next look would find all at rest.
    if !matches!(next, Next::Render | Next::Locked) {
        status.answer(app);
    }
    step(app, world, &found, next, status, now)
}

fn without_failures(app: &CatalogApp) -> CatalogApp {
    let mut app = app.clone();
    if let Some(status) = &mut app.status {
        status.failed = None;
    }
    app
}

/// Nothing was looked at in the cluster: all is as it was released, or the account cannot act yet.
fn rest_or_wait(app: &CatalogApp, world: &World, found: &Inputs, status: &mut PlaceStatus, now: Timestamp) -> Steps {
    if state::is_at_rest(app, &found.hash) {
        return at_rest(app, world, status, now);
    }
    let (namespace, cluster) = (&app.spec.namespace, &app.spec.cluster_name);
    match world.namespace {
        NamespaceState::Unknown | NamespaceState::Present => {}
        NamespaceState::Terminating => {
            status.because(AppCause::NamespaceTerminating, terminating(namespace, cluster));
            return Steps::soon(now, LOOK_LATER);
        }
        NamespaceState::Absent => {
            let message = format!(
                "there is no namespace {namespace} on cluster {cluster} for app {}, and Drover creates none for an app without a Project; create the namespace",
                app.name_any()
            );
            status.because(AppCause::NamespaceNotFound, message);
            return Steps::soon(now, LOOK_LATER);
        }
    }
    let template = &app.spec.role_template_name;
    let message = match &world.refused {
        Some(refused) => {
            format!("RoleTemplate {template} does not let app {} look at its release: {refused}", app.name_any())
        }
        None => {
            format!("the role of app {} is not in the cluster yet; look at RoleTemplate {template}", app.name_any())
        }
    };
    status.because(AppCause::RoleNotReady, message);
    Steps::soon(now, LOOK_AGAIN)
}

fn step(
    app: &CatalogApp,
    world: &World,
    found: &Inputs,
    next: Next,
    status: &mut PlaceStatus,
    now: Timestamp,
) -> Steps {
    match next {
        Next::Rest => {
            (status.pending, status.failed) = (None, None);
            at_rest(app, world, status, now)
        }
        Next::Render => sends(Step::Prepare(found.clone()), now),
        Next::Unrenderable => {
            let (cause, message) = world.unprepared();
            status.because(cause, message);
            // No watch tells that a kind came.
            let waits = world.preparation.as_ref().is_some_and(|found| found.waits_for_kinds());
            if waits { Steps::soon(now, LOOK_LATER) } else { Steps::default() }
        }
        Next::Note(release) => {
            status.pending = Some(*release);
            Steps::soon(now, SignedDuration::from_secs(1))
        }
        Next::Deployed => {
            deployed(found, status);
            // What was under way may be of an older spec.
            if status.applied.as_ref().is_some_and(|applied| applied.input_hash == found.hash) {
                released(app, status);
            }
            Steps::soon(now, SignedDuration::from_secs(1))
        }
        Next::TakeUp(release) => {
            taken_up(status, *release);
            released(app, status);
            Steps::soon(now, SignedDuration::from_secs(1))
        }
        Next::Failed(why) => {
            failed(app, found, status, &why, now);
            tell_failure(app, status);
            Steps::soon(now, SignedDuration::from_secs(1))
        }
        Next::Taken => {
            let message = format!(
                "another client made release {} in namespace {} on cluster {}; set spec.takeOwnership to take it over, or choose another spec.releaseName in another app",
                app.release_name(),
                app.spec.namespace,
                app.spec.cluster_name
            );
            status.because(AppCause::ObjectExists, message);
            Steps::soon(now, LOOK_LATER)
        }
        Next::NoRevision(revision) => {
            status.because(AppCause::RevisionNotFound, inputs::no_revision(app, revision));
            Steps::default()
        }
        Next::Pause(until) => {
            tell_failure(app, status);
            Steps { again: Some(until), ..Steps::default() }
        }
        Next::Exhausted => {
            let why = status.failed.as_ref().map(|failed| failed.message.clone()).unwrap_or_default();
            let message = format!(
                "all tries to release {} failed: {why}; change the spec, or the values that it refers to",
                app.release_name()
            );
            status.because(AppCause::RetriesExhausted, message);
            Steps::default()
        }
        next => under_way(app, next, status, now),
    }
}

/// What a release and its end have in common: steps that are sent, and what is waited for.
fn under_way(app: &CatalogApp, next: Next, status: &mut PlaceStatus, now: Timestamp) -> Steps {
    let (name, cluster) = (app.release_name(), &app.spec.cluster_name);
    let step = match next {
        Next::Wait(what) => {
            status.because(StatusCause::Progressing, format!("release {name} on cluster {cluster} waits for {what}"));
            let waited = status.pending.as_ref().map_or(LOOK, |pending| now.duration_since(pending.at.0));
            return Steps::soon(now, (waited / 4).clamp(FIRST_LOOK, LOOK));
        }
        Next::Locked => {
            let message = format!(
                "another client is changing release {name} in namespace {} on cluster {cluster}; Drover goes on once that is over",
                app.spec.namespace
            );
            status.because(AppCause::Locked, message);
            return Steps::soon(now, LOOK_LATER);
        }
        Next::Begin(release) => Step::Begin(release),
        Next::RollBack { to, from } => Step::RollBack { to, from },
        Next::BeginUninstall(revision) => Step::BeginUninstall(revision),
        Next::StartHook(at) => Step::StartHook(at),
        Next::EndHook { at, succeeded } => Step::EndHook { at, succeeded },
        Next::Apply => Step::Apply,
        Next::Finish => Step::Finish,
        Next::Fail(failure) => Step::Fail(failure),
        Next::Unlock(revision) => Step::Unlock(revision),
        // These are decided where the inputs are known.
        Next::Rest
        | Next::Render
        | Next::Unrenderable
        | Next::Note(_)
        | Next::Deployed
        | Next::TakeUp(_)
        | Next::Failed(_)
        | Next::Taken
        | Next::NoRevision(_)
        | Next::Pause(_)
        | Next::Exhausted => return Steps::default(),
    };
    sends(step, now)
}

fn sends(step: Step, now: Timestamp) -> Steps {
    Steps { step: Some(step), ..Steps::soon(now, NEXT_STEP) }
}

/// Decides for an app that is to be at this cluster no more.
#[must_use]
pub fn clean_up(owner: Owner<'_, CatalogApp>, world: &World, now: Timestamp) -> Plan<CatalogAppOperator> {
    let app = match owner {
        Owner::Deleting(app) | Owner::Present(app) => app,
        Owner::Gone(_) | Owner::Abandoned(_) => return gone(world, now),
    };
    let mut status = PlaceStatus::of(app);
    status.ready = Readiness::no(StatusCause::Deleting, format!("release {} is being uninstalled", app.release_name()));
    let stays = app.spec.deletion_policy == AppDeletionPolicy::Orphan || app.spec.suspend || !may_uninstall(app, world);
    let steps = match world.seen.as_ref().filter(|_| !stays) {
        None => Steps { account: world.account.remove(), ..Steps::default() },
        Some(seen) => match state::uninstall(app, seen, now) {
            Next::Rest => uninstalled(owner, world, &mut status, now),
            next => under_way(app, next, &mut status, now),
        },
    };
    let mut plan = steps.into_plan(status, now);
    if plan.is_idle() && world.account.is_gone() {
        plan.requeue = Requeue::Released;
    }
    plan
}

/// Whether the app may still act. One that goes together with its Project does; one that lost its place or its role does not.
fn may_uninstall(app: &CatalogApp, world: &World) -> bool {
    let verdict = world.facts.as_ref().map(|facts| Verdict::of(app, facts));
    match verdict {
        None => false,
        Some(Verdict::Withdrawn(cause, _)) => cause == GrantCause::ProjectNotFound.cause(),
        Some(Verdict::Held(..) | Verdict::Granted(_)) => true,
    }
}

/// Nothing but the account is left to remove: the app is gone, and what it released stays.
fn gone(world: &World, now: Timestamp) -> Plan<CatalogAppOperator> {
    let status = PlaceStatus {
        ready: Readiness::no(StatusCause::Deleting, "the account of the app is being removed".to_owned()),
        admission: None,
        applied: None,
        pending: None,
        failed: None,
        history: Vec::new(),
        chart: None,
        drift: None,
        handled: None,
        observed_inputs: None,
    };
    let mut plan = Steps { account: world.account.remove(), ..Steps::default() }.into_plan(status, now);
    if world.account.is_gone() {
        plan.requeue = Requeue::Released;
    }
    plan
}

#[cfg(test)]
mod tests;
