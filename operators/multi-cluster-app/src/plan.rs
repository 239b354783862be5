//! What is done about an app on many clusters: which revision there is to be, and which target gets it now. Pure.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use drover_crds::{CatalogApp, MultiClusterApp, RevisionRef};
use drover_grants::{Admitted, Grants};
use drover_rollouts::{self as rollouts, Content, Decision, Deselected, Revision, Rollout, Target, To, Variants};
use drover_runtime::{
    Cause, Owner, Plan, Requeue, StatusCause, Title,
    owned::{Change, Owned, each_alone},
    place_status::Readiness,
};
use k8s_openapi::{
    api::apps::v1::ControllerRevision,
    jiff::{SignedDuration, Timestamp},
};
use kube::ResourceExt as _;
use serde_json::Value;

use crate::{
    MultiClusterAppOperator, RolloutCause,
    act::Action,
    changes::{Settings, difference, ends, is_ours, leave, removed},
    children,
    observe::{Selected, World},
    place_status::{PlaceStatus, Told},
    preview::Previewed,
    revisions, steering,
};

type Decided = Plan<MultiClusterAppOperator>;

/// What is looked at again after this time, where nothing tells of a change.
const LOOK_AGAIN: SignedDuration = SignedDuration::from_secs(15);
/// Most bytes of a revision: each app of a target has them, too.
const MOST_BYTES: usize = 256 << 10;

fn waiting(place_status: PlaceStatus, now: Timestamp) -> Decided {
    let again = now.checked_add(LOOK_AGAIN).map_or(Requeue::Watch, Requeue::At);
    Plan { place_status, groups: Vec::new(), requeue: again }
}

/// Decides for an app that is to be.
#[must_use]
pub fn plan(app: &MultiClusterApp, world: &World, now: Timestamp) -> Decided {
    let status = PlaceStatus::of(app, world, now);
    if !world.is_complete {
        let message = "not all Clusters are known yet, or whether they can be reached".to_owned();
        let soon = now.checked_add(SignedDuration::from_secs(1)).map_or(Requeue::Watch, Requeue::At);
        let status = PlaceStatus { stands: true, ..status.because(StatusCause::Progressing, message) };
        return Plan { requeue: soon, ..waiting(status, now) };
    }
    // Where the present spec means nothing, what was wanted before it stands.
    let (wanted, trouble) = match (wanted(app, world), present(app, world)) {
        (Ok(wanted), _) => (wanted, None),
        (Err(why), Some(present)) => (present, Some(why)),
        (Err((cause, message)), None) => return waiting(status.because(cause, message), now),
    };
    let kept = revisions::stored(&world.revisions);
    let number = rollouts::number(&wanted.name, &kept);
    if !kept.iter().any(|kept| kept.name == wanted.name) {
        return match obstacle(world) {
            Some((cause, message)) => waiting(status.because(cause, message), now),
            None => keep(app, world, &wanted, number, status),
        };
    }
    match Fleet::of(app, world, wanted.name) {
        Ok(fleet) => fleet.decide(app, world, (number, trouble), status, now),
        Err(named) => {
            let message = format!(
                "revision {named} is not kept, or cannot be read; delete its ControllerRevision, or change the app"
            );
            waiting(status.because(RolloutCause::RevisionUnreadable, message), now)
        }
    }
}

/// A revision as it is wanted.
struct Wanted {
    name: String,
    content: Arc<Content>,
}

fn wanted(app: &MultiClusterApp, world: &World) -> Result<Wanted, (Cause, String)> {
    if let Some(pin) = app.spec.pin {
        let stored = revisions::stored(&world.revisions);
        let name = rollouts::pinned(pin, &stored)
            .map_err(|error| (RolloutCause::RevisionNotKept.into(), error.to_string()))?
            .name
            .clone();
        let found = world.revisions.iter().find(|kept| kept.name == name);
        let content = found.map(|kept| Arc::clone(&kept.content));
        return content.map(|content| Wanted { name, content }).ok_or_else(unreadable);
    }
    let charts = world.charts.clone().ok_or_else(unreadable)??;
    let content = Content::of(&app.spec, charts, world.sources.clone()).map_err(|_| unreadable())?;
    let name = content.name(&app.name_any()).map_err(|_| unreadable())?;
    if content.bytes() > MOST_BYTES {
        let message = format!(
            "template and overrides of the app take more than {} KiB; put values into a ConfigMap or a Secret, and name it in spec.template.valuesFrom",
            MOST_BYTES >> 10
        );
        return Err((RolloutCause::RevisionTooLarge.into(), message));
    }
    Ok(Wanted { name, content: Arc::new(content) })
}

/// The revision that was wanted last, if it is kept.
fn present(app: &MultiClusterApp, world: &World) -> Option<Wanted> {
    let name = &app.status.as_ref()?.target_revision.as_ref()?.name;
    let kept = world.revisions.iter().find(|kept| kept.name == *name)?;
    Some(Wanted { name: name.clone(), content: Arc::clone(&kept.content) })
}

fn unreadable() -> (Cause, String) {
    (
        RolloutCause::RevisionUnreadable.into(),
        "template and overrides of the app cannot be kept as a revision; change them".to_owned(),
    )
}

/// A revision is kept before anything is done on account of it, and what nobody needs any more goes.
fn keep(app: &MultiClusterApp, world: &World, wanted: &Wanted, number: i64, status: PlaceStatus) -> Decided {
    let revision = revisions::to_keep(app, &wanted.content, &wanted.name, number);
    let change = Change::Create { desired: Box::new(revision), seed: Value::Null };
    let message = format!("revision {number} ({}) is being kept", wanted.name);
    let completed = status.record.as_ref().and_then(|record| record.completed.clone());
    let mut actions = vec![Action::Revision(change)];
    actions.extend(superfluous(app, world, completed.as_deref().into_iter().chain([&*wanted.name])));
    let place_status = status.because(RolloutCause::RollingOut, message);
    Plan { place_status, groups: each_alone(actions), requeue: Requeue::Watch }
}

/// Revisions that nobody needs: no target has them, and they are none of these.
fn superfluous<'a>(app: &MultiClusterApp, world: &'a World, needed: impl Iterator<Item = &'a str>) -> Vec<Action> {
    let given = world.apps.iter().filter_map(|found| children::seen(found).given.map(|given| given.0));
    let in_use: BTreeSet<&str> = given.chain(needed).collect();
    let names = revisions::superfluous(&world.revisions, &in_use, app.spec.revision_history_limit());
    let is_one = |found: &&Owned<ControllerRevision>| {
        found.title == Title::Created && found.meta().name.as_ref().is_some_and(|name| names.contains(name))
    };
    let metas = world.kept.iter().filter(is_one).map(|found| Box::new(found.meta().clone()));
    metas.map(|meta| Action::Revision(Change::Delete(meta))).collect()
}

/// The targets with their apps, under every revision that one of them has.
pub(crate) struct Fleet<'a> {
    pub(crate) wanted: String,
    pub(crate) revisions: BTreeMap<&'a str, Variants<'a>>,
    /// The app of each target under the revision to which the rollout leads, in their order.
    pub(crate) names: Vec<String>,
    /// Of a target that has none of that name: the app that it has under another one.
    others: Vec<Option<&'a Owned<CatalogApp>>>,
    pub(crate) by_name: BTreeMap<&'a str, &'a Owned<CatalogApp>>,
    /// Whether the app of a target is as the revision says that it was given.
    as_given: Vec<bool>,
}

impl<'a> Fleet<'a> {
    /// Without one that cannot be read: its name.
    fn of(app: &'a MultiClusterApp, world: &'a World, wanted: String) -> Result<Self, String> {
        let present = &app.spec.template;
        let mut revisions = BTreeMap::new();
        for kept in &world.revisions {
            let name = app.metadata.name.as_deref().unwrap_or_default();
            let variants = Variants::new(name, &kept.content, present).map_err(|_| kept.name.clone())?;
            revisions.insert(&*kept.name, variants);
        }
        let record = app.status.as_ref().and_then(|status| status.rollout.as_ref());
        let is_back = record.filter(|record| record.failed && record.revision.as_ref() == Some(&wanted));
        let is_under_way = record.is_some_and(|record| record.completed.as_ref() != Some(&wanted));
        let goal = is_back.and_then(|record| record.completed.as_deref()).unwrap_or(&wanted);
        let (&goal, variants) = revisions.get_key_value(goal).ok_or(goal)?;
        let mut settings = Settings::default();
        let name = |selected| settings.name(app, (goal, variants), selected);
        let names: Vec<_> = world.selected.iter().map(name).collect();
        let by_name: BTreeMap<_, _> =
            world.apps.iter().filter_map(|found| Some((found.meta().name.as_deref()?, found))).collect();
        let under_goal: BTreeSet<_> = names.iter().collect();
        let mut by_cluster = BTreeMap::new();
        for found in world.apps.iter().filter(|found| is_ours(found) && found.meta().deletion_timestamp.is_none()) {
            let name = found.meta().name.as_ref();
            if let Some(live) =
                found.live.as_deref().ok().filter(|_| name.is_none_or(|name| !under_goal.contains(name)))
            {
                by_cluster.entry(&*live.spec.cluster_name).or_insert(found);
            }
        }
        let other = |(selected, name): (&Selected, &String)| {
            if by_name.contains_key(&**name) { None } else { by_cluster.get(&*selected.name).copied() }
        };
        let others = world.selected.iter().zip(&names).map(other).collect();
        let mut fleet = Self { wanted, revisions, names, others, by_name, as_given: Vec::new() };
        let is_as_given = |(position, selected): (usize, &Selected)| {
            let found = fleet.found(position)?;
            let given = children::seen(found).given?.0;
            let of = (given, fleet.revisions.get(given)?);
            let may_take_up = is_under_way && given == fleet.wanted;
            let is_as_given = settings.is_as(of, selected, found);
            Some(is_as_given || may_take_up && settings.takes_up(of, selected, found))
        };
        let as_given = world.selected.iter().enumerate().map(is_as_given);
        let as_given = as_given.map(Option::unwrap_or_default).collect();
        fleet.as_given = as_given;
        Ok(fleet)
    }

    /// Whether others change the app of a target again and again, so that it is left as they have it.
    fn is_contested(&self, position: usize, found: &Owned<CatalogApp>) -> bool {
        found.drift_conflict.is_some() && self.as_given.get(position) == Some(&false)
    }

    fn decide(
        &self,
        app: &MultiClusterApp,
        world: &World,
        (number, trouble): (i64, Option<(Cause, String)>),
        mut status: PlaceStatus,
        now: Timestamp,
    ) -> Decided {
        let targets: Vec<_> = world
            .selected
            .iter()
            .enumerate()
            .map(|(position, selected)| self.target(world, selected, position))
            .collect();
        let left = self.left(world);
        let deselected: Vec<_> =
            left.iter().map(|live| Deselected { since: children::deselected_since(live) }).collect();
        let key = format!("{}/{}", app.namespace().unwrap_or_default(), app.name_any());
        let former = status.record.clone().unwrap_or_default();
        let steered = steering::judged(app, world.policies.as_ref().map(|policies| &*policies.id));
        let rollout = Rollout {
            app: &key,
            strategy: &app.spec.rollout,
            wanted: Revision(&self.wanted),
            approve: steered.as_ref().and_then(|steered| steered.approve.as_deref()),
            hold: steered.as_ref().and_then(|steered| steered.hold.as_deref()),
        };
        let mut decision = rollouts::plan(now, &rollout, &targets, &deselected, &former);
        decision.record.steered.clone_from(&steered);
        // What is to be remembered is noted before anything is done on account of it.
        let is_noted = decision.is_noted_in(&former);
        status.target = Some(RevisionRef { number, name: self.wanted.clone() });
        status.current = revisions::completed(&world.revisions, &decision.record);
        status.record = Some(decision.record.clone());
        let mut previewed = self.preview(app, world, &decision, now);
        status.told = Some(self.told(world, &decision, &previewed));
        let groups = match obstacle(world) {
            Some((cause, message)) => {
                // Nothing of the decision is done, so nothing of it is to be remembered.
                status.record = app.status.as_ref().and_then(|status| status.rollout.clone());
                status.told.iter_mut().flat_map(|told| &mut told.stages).for_each(|stage| stage.since = None);
                status.undecided = Some(Readiness::no(cause, message));
                Vec::new()
            }
            None if is_noted => previewed.beside(self.changes(app, world, &decision, &left)),
            None => Vec::new(),
        };
        let is_any_away = world.selected.iter().any(|selected| !selected.is_online);
        let looks = (trouble.is_some() || is_any_away).then(|| now.checked_add(LOOK_AGAIN).ok()).flatten();
        let chooses = world.again.and_then(|after| now.checked_add(SignedDuration::try_from(after).ok()?).ok());
        let requeue = [decision.requeue_at, previewed.again, looks, chooses].into_iter().flatten().min();
        if let Some((cause, message)) = trouble {
            status.undecided.get_or_insert(Readiness::no(cause, message));
        }
        Plan { place_status: status, groups, requeue: requeue.map_or(Requeue::Watch, Requeue::At) }
    }

    /// The app that a target has: under the name to which the rollout leads, else under another one.
    pub(crate) fn found(&self, position: usize) -> Option<&'a Owned<CatalogApp>> {
        let named = self.names.get(position).and_then(|name| self.by_name.get(&**name).copied());
        named.or_else(|| self.others.get(position).copied().flatten())
    }

    fn target<'t>(&'t self, world: &World, selected: &'t Selected, position: usize) -> Target<'t> {
        let found = self.found(position);
        let is_suspended = found.and_then(|found| found.live.as_ref().ok()).is_some_and(|live| live.spec.suspend);
        let foreign = rollouts::Child { is_foreign: true, ..rollouts::Child::default() };
        let is_taken = self.names.get(position).is_some_and(|name| world.taken.contains(name));
        // What others made of it is not what was rolled out.
        let seen = |found| match children::seen(found) {
            seen if self.is_contested(position, found) => rollouts::Child { applied: None, ready_since: None, ..seen },
            seen => seen,
        };
        let begun = found.filter(|found| !children::has_nothing_yet(found));
        let child = if is_taken { Some(foreign) } else { begun.map(seen) };
        Target {
            cluster: &selected.name,
            labels: &selected.labels,
            child,
            is_online: selected.is_online,
            is_paused: selected.is_suspended || is_suspended,
        }
    }

    /// The apps of clusters that are no targets any more, or that have another app now. What is unknown is none of them.
    fn left(&self, world: &World) -> Vec<&'a CatalogApp> {
        let others = self.others.iter().flatten().filter_map(|found| found.meta().name.as_ref());
        let held: BTreeSet<_> = self.names.iter().chain(others).map(String::as_str).collect();
        let all = self.by_name.iter().filter(|(name, found)| {
            found.title == Title::Created && found.meta().deletion_timestamp.is_none() && !held.contains(*name)
        });
        let live = all.filter_map(|(_, found)| found.live.as_deref().ok());
        live.filter(|live| !world.unread.contains(&live.spec.cluster_name)).collect()
    }

    fn told(&self, world: &World, decision: &Decision, previewed: &Previewed) -> Told {
        let mut counts = decision.counted.counts.clone();
        counts.without_consent = world.refused;
        let mut not_ready = decision.counted.not_ready.clone();
        for row in &mut not_ready {
            let position = world.selected.iter().position(|selected| selected.name == row.cluster);
            let Some((position, found)) = position.and_then(|position| Some((position, self.found(position)?))) else {
                continue;
            };
            if self.is_contested(position, found) {
                StatusCause::DriftConflict.reason().clone_into(&mut row.reason);
            } else if let Some(reason) = found.live.as_deref().ok().and_then(children::reason) {
                row.reason = reason;
            }
        }
        let variants = self.revisions.get(&*self.wanted);
        let unused = variants.map(|variants| {
            variants.unused(world.selected.iter().map(|selected| variants.of(&selected.name, &selected.labels)))
        });
        Told {
            phase: decision.phase,
            wait: decision.wait.clone(),
            blocked: decision.blocked,
            is_degraded: decision.is_degraded,
            counts,
            stages: previewed.rows(&decision.counted.stages),
            not_ready,
            unused: unused.unwrap_or_default(),
        }
    }

    fn changes(
        &self,
        app: &MultiClusterApp,
        world: &World,
        decision: &Decision,
        left: &[&CatalogApp],
    ) -> Vec<Vec<Action>> {
        let mut starts: HashMap<usize, &str> = HashMap::new();
        let completed = decision.record.completed.as_deref().unwrap_or_default();
        for start in &decision.starts {
            starts.insert(start.target, if start.to == To::Wanted { &*self.wanted } else { completed });
        }
        let mut settings = Settings::default();
        let mut actions = Vec::new();
        for (position, selected) in world.selected.iter().enumerate() {
            let found = self.found(position);
            let given = found.and_then(|found| children::seen(found).given).map(|given| given.0);
            let started = starts.get(&position).copied();
            let is_begun = started.is_none() || !found.is_some_and(children::has_nothing_yet);
            let has_it = started.is_none_or(|started| Some(started) == given) && is_begun;
            if has_it && self.as_given.get(position) == Some(&true) {
                continue;
            }
            let Some(given) = started.or(given) else { continue };
            let Some(variants) = self.revisions.get(given) else { continue };
            let name = settings.name(app, (given, variants), selected);
            let found = self.by_name.get(&*name).copied();
            if found.is_none() && started.is_none() {
                continue;
            }
            let wanted = settings.app(app, (given, variants), selected, &name, found);
            actions.extend(difference(wanted, found).map(Action::App));
        }
        actions.extend(self.take_up(app, world, decision, &mut settings));
        let (removed, marked): (BTreeSet<_>, BTreeSet<_>) =
            (decision.remove.iter().collect(), decision.mark.iter().collect());
        for (position, live) in left.iter().enumerate() {
            let is_removed = removed.contains(&position);
            let since = marked.contains(&position).then_some(decision.mark_at);
            let Some(found) = self.by_name.get(&*live.name_any()) else { continue };
            actions.extend(leave(app, live, found, is_removed, since).map(Action::App));
        }
        actions.extend(superfluous(app, world, [&*self.wanted, completed].into_iter()));
        each_alone(actions)
    }

    /// Apps of targets that may have the revision already.
    fn take_up<'s>(
        &'s self,
        app: &MultiClusterApp,
        world: &World,
        decision: &Decision,
        settings: &mut Settings<'s>,
    ) -> Vec<Action> {
        let Some((revision, variants)) = self.revisions.get_key_value(&*self.wanted) else { return Vec::new() };
        let of_target = |position: &usize| {
            let (selected, name) = (world.selected.get(*position)?, self.names.get(*position)?);
            if self.found(*position).is_some() {
                return None;
            }
            let wanted = settings.app_that_takes_up(app, (revision, variants), selected, name);
            difference(wanted, None).map(Action::App)
        };
        decision.take_up.iter().filter_map(of_target).collect()
    }
}

/// Why nothing new may begin.
fn obstacle(world: &World) -> Option<(Cause, String)> {
    match &world.grants {
        Grants::Frozen { cause, message } => return Some(((*cause).into(), message.clone())),
        Grants::Unjudged => return Some(not_judged()),
        Grants::Allowed => {}
    }
    match world.admitted {
        Some(Admitted::Yes) => None,
        Some(Admitted::No) => {
            let message = "the app was written while admission policies were missing or altered, so it stays as it is; change its spec, or delete it and create it again";
            Some((drover_grants::GrantCause::NotAdmitted.into(), message.to_owned()))
        }
        Some(Admitted::Unjudged) | None => Some(not_judged()),
    }
}

fn not_judged() -> (Cause, String) {
    let message = "whether the app was written under the admission policies is not known yet; wait a moment";
    (drover_grants::GrantCause::NotYetGranted.into(), message.to_owned())
}

/// Decides for an app that is to be no more: its apps go, and each uninstalls its release.
#[must_use]
pub fn clean_up(owner: Owner<'_, MultiClusterApp>, world: &World) -> Decided {
    let mut apps: Vec<_> = removed(&world.apps).into_iter().map(Action::App).collect();
    if let Some(app) = owner.object() {
        apps = world.apps.iter().filter_map(|found| ends(app, found)).map(Action::App).collect();
    }
    // As long as there are apps, the revisions tell what they are.
    let revisions = removed(&world.kept).into_iter().filter(|_| world.apps.is_empty()).map(Action::Revision);
    let groups = each_alone(apps.into_iter().chain(revisions).collect());
    let is_gone = world.apps.is_empty() && world.kept.is_empty();
    let message = "the apps of its targets are being uninstalled".to_owned();
    let undecided = Some(Readiness::no(StatusCause::Deleting, message));
    let place_status = PlaceStatus { undecided, ..PlaceStatus::default() };
    Plan { place_status, groups, requeue: if is_gone { Requeue::Released } else { Requeue::Watch } }
}

#[cfg(test)]
mod tests;
