//! What a person asks of a rollout, judged by the object as it was read. Pure.

use drover_crds::{
    MultiClusterApp, MultiClusterAppStatus, RevisionRef, RolloutPhase, Steered,
    condition::{PROGRESSING, READY, StatusConditions},
    names::{ANNOTATION_APPROVE, ANNOTATION_HOLD},
};

use super::Kept;

/// What a person asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    Approve,
    Hold,
    Resume,
}

/// What follows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Change(Change),
    /// It is so already.
    Nothing(String),
    /// Drover has to see first that the annotation changed.
    Wait(&'static str),
}

/// A change of one annotation, and what the person reads once it is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) annotation: &'static str,
    /// None removes it.
    pub(super) value: Option<String>,
    /// None before a further change.
    pub(super) said: Option<String>,
}

/// What follows from what is asked, or why nothing does. `named` is the revision that the person means.
pub(super) fn judge(app: &MultiClusterApp, asked: Asked, named: Option<&str>) -> Result<Outcome, String> {
    match asked {
        Asked::Approve => approve(app, named),
        Asked::Hold => hold(app, named),
        Asked::Resume => Ok(resume(app)),
    }
}

fn approve(app: &MultiClusterApp, named: Option<&str>) -> Result<Outcome, String> {
    let (status, wanted) = wanted(app, named)?;
    let (name, number) = (&wanted.name, wanted.number);
    let already = format!("revision {number} ({name}) is approved already");
    if app.approved() == Some(name) && Steering::of(app, ANNOTATION_APPROVE).counts == Some(name) {
        return Ok(Outcome::Nothing(already));
    }
    if status.phase != Some(RolloutPhase::WaitingForApproval) {
        return Err(format!(
            "revision {number} ({name}) does not wait for approval; drover rollout status says how far it is"
        ));
    }
    let said = format!("revision {number} ({name}) is approved, and may go on to {}", stage(status));
    Ok(steer(app, ANNOTATION_APPROVE, Some(name), [said, already]))
}

fn stage(status: &MultiClusterAppStatus) -> String {
    status.stage.as_ref().map_or_else(|| "the next stage".to_owned(), |stage| format!("stage {stage}"))
}

fn hold(app: &MultiClusterApp, named: Option<&str>) -> Result<Outcome, String> {
    let (_, wanted) = wanted(app, named)?;
    let (name, number) = (&wanted.name, wanted.number);
    let already = format!("revision {number} ({name}) is held already");
    let said = format!("revision {number} ({name}) is held, and no other one; drover rollout resume ends that");
    Ok(steer(app, ANNOTATION_HOLD, Some(name), [said, already]))
}

fn resume(app: &MultiClusterApp) -> Outcome {
    let paused = if app.spec.rollout.paused { "; spec.rollout.paused still holds the rollout" } else { "" };
    let already = format!("no annotation holds a revision{paused}");
    let held = app.held().unwrap_or_default();
    steer(app, ANNOTATION_HOLD, None, [format!("revision {held} is not held any more{paused}"), already])
}

/// One of the annotations by which people steer.
struct Steering<'a> {
    /// What the object has.
    present: Option<&'a str>,
    /// What Drover goes by: it passes over what was written while admission policies were missing, until it is written again.
    counts: Option<&'a str>,
}

impl<'a> Steering<'a> {
    fn of(app: &'a MultiClusterApp, annotation: &str) -> Self {
        let steered = steered(app);
        if annotation == ANNOTATION_APPROVE {
            Self { present: app.approved(), counts: steered.and_then(|steered| steered.approve.as_deref()) }
        } else {
            Self { present: app.held(), counts: steered.and_then(|steered| steered.hold.as_deref()) }
        }
    }
}

fn steered(app: &MultiClusterApp) -> Option<&Steered> {
    app.status.as_ref()?.rollout.as_ref()?.steered.as_ref()
}

/// The way of an annotation to a value that counts. Where it has the value already and that does not count, it gets another one first, and
/// Drover has to see that one: else it would see no change.
fn steer(
    app: &MultiClusterApp,
    annotation: &'static str,
    value: Option<&str>,
    [said, already]: [String; 2],
) -> Outcome {
    let Steering { present, counts } = Steering::of(app, annotation);
    if present == value {
        let other = counts.filter(|_| value.is_none()).map(str::to_owned);
        let first = Outcome::Change(Change { annotation, value: other, said: None });
        return if counts == value { Outcome::Nothing(already) } else { first };
    }
    let [approve, hold] = if annotation == ANNOTATION_APPROVE { [value, app.held()] } else { [app.approved(), value] };
    let both = [approve.unwrap_or_default(), hold.unwrap_or_default()];
    if steered(app).is_some_and(|steered| steered.unjudged == both) {
        return Outcome::Wait(annotation);
    }
    Outcome::Change(Change { annotation, value: value.map(str::to_owned), said: Some(said) })
}

/// The revision that is wanted now. A status of before the last change of the spec says nothing of that, and so does one without a decision.
fn wanted<'a>(
    app: &'a MultiClusterApp,
    named: Option<&str>,
) -> Result<(&'a MultiClusterAppStatus, &'a RevisionRef), String> {
    let status = app.status.as_ref().filter(|status| is_decided(app, status));
    let found = status.and_then(|status| Some((status, status.target_revision.as_ref()?)));
    let (status, wanted) = found.ok_or_else(|| undecided(app))?;
    match named.filter(|named| *named != wanted.name && *named != wanted.number.to_string()) {
        None => Ok((status, wanted)),
        Some(other) => Err(format!(
            "revision {other} is not the one that is wanted now, which is {} ({}); look at it with drover rollout diff first",
            wanted.number, wanted.name
        )),
    }
}

/// The name of the revision that is wanted, by the status.
pub(super) fn wanted_revision(app: &MultiClusterApp) -> Option<String> {
    app.status.as_ref()?.target_revision.as_ref().map(|wanted| wanted.name.clone())
}

/// Why a change was given up: Drover did not see the one before it, or others write the object all the time.
pub(super) fn unseen(annotation: Option<&str>) -> String {
    match annotation {
        Some(annotation) => format!(
            "Drover has not seen the last change of annotation {annotation}; try again once it runs with all its admission policies"
        ),
        None => "others change the object all the time; try again".to_owned(),
    }
}

/// Whether the status tells of a decision about the present spec.
pub(super) fn is_decided(app: &MultiClusterApp, status: &MultiClusterAppStatus) -> bool {
    let has_decision = status.conditions().iter().any(|condition| condition.type_ == PROGRESSING);
    has_decision && Some(status.observed_generation) == app.metadata.generation
}

fn undecided(app: &MultiClusterApp) -> String {
    let mut conditions = app.status.iter().flat_map(StatusConditions::conditions);
    let ready = conditions.find(|condition| condition.type_ == READY);
    let is_of_now = app.status.as_ref().map(|status| status.observed_generation) == app.metadata.generation;
    let why = ready.filter(|_| is_of_now).map(|ready| format!(" ({}: {})", ready.reason, ready.message));
    format!(
        "Drover has not decided about the present spec{}; try again once it has, or set spec.rollout.paused to hold whatever comes",
        why.unwrap_or_default()
    )
}

/// The two revisions that are compared; without the first one where none was completed before.
pub(super) fn ends<'k>(
    app: &MultiClusterApp,
    kept: &'k [Kept],
    from: Option<&str>,
    to: Option<&str>,
) -> Result<(Option<&'k Kept>, &'k Kept), String> {
    let status = app.status.as_ref();
    let of_status = |revision: Option<&RevisionRef>| revision.map(|revision| revision.name.clone());
    let current = of_status(status.and_then(|status| status.current_revision.as_ref()));
    let target = of_status(status.and_then(|status| status.target_revision.as_ref()));
    let from = from.map(str::to_owned).or(current);
    let to = to.map(str::to_owned).or(target).ok_or_else(|| undecided(app))?;
    Ok((from.map(|from| find(kept, &from)).transpose()?, find(kept, &to)?))
}

fn find<'k>(kept: &'k [Kept], asked: &str) -> Result<&'k Kept, String> {
    let is_meant = |kept: &&Kept| kept.name == asked || kept.number.to_string() == asked;
    kept.iter().find(is_meant).ok_or_else(|| {
        format!("revision {asked} is not kept; name one that kubectl get controllerrevisions lists, by its name or its number")
    })
}
