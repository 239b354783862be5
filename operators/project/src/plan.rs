//! What to do at one cluster. Pure.

use std::collections::BTreeMap;

use drover_crds::{AdoptPolicy, OnExisting, Project, ProjectNamespace, Tenant, names::ANNOTATION_RELEASED_BY};
use drover_fleet::targets::tenancies;
use drover_runtime::{
    Cause, ObjectKey, Requeue, StatusCause, Title,
    fan_out::Obstacle,
    operator::{Plan, owner_of},
    owned::{self, Change, Restored, each_alone},
};
use k8s_openapi::{
    api::core::v1::Namespace,
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
    jiff::{SignedDuration, Timestamp},
};
use kube::ResourceExt;

use crate::{
    ProjectOperator,
    act::Action,
    bounds::{Room, no_room, not_to_set, refused_key},
    cause::ProjectCause,
    guards::Decided,
    leave::{disclaimed, give_up_unlisted},
    members_plan::{MembersPlan, revoke_all},
    messages::{
        SIBLING, STRANGER, adopted_later, drift_conflict, exists, left_behind, left_to, no_tenant, not_adoptable,
        not_allowed, protected, released_beside, released_by, taken, terminating, undecodable,
    },
    observe::{Holder, Seen, World},
    place_status::PlaceStatus,
    pod_security,
    quota::Quotas,
    secrets::SecretsPlan,
    self_service,
};

/// No watch shows what becomes of a namespace that is not ours, so it is looked at again after this time.
pub(crate) const LOOK_AGAIN: SignedDuration = SignedDuration::from_secs(60);
/// The same for one that its Project is about to release.
pub(crate) const LOOK_SOON: SignedDuration = SignedDuration::from_secs(5);

/// Decides for a Project that is to be at this cluster.
#[must_use]
pub fn plan(project: &Project, world: &World, now: Timestamp) -> Plan<ProjectOperator> {
    let tenancies = admitting(project, world);
    if tenancies.is_empty() {
        let (wanted, problems) = (count(project.spec.namespaces.len()), vec![no_tenant(project, world)]);
        let place_status = PlaceStatus { wanted, problems, ..PlaceStatus::default() };
        return Plan { place_status, groups: revoke_all(world), requeue: Requeue::Watch };
    }
    let problems = self_service::problems(project, world, &tenancies);
    let project = self_service::listing(project, &self_service::taken_up(project, world));
    let wanted = count(project.spec.namespaces.len());
    converge(&project, world, &tenancies, PlaceStatus { wanted, problems, ..PlaceStatus::default() }, now)
}

/// Decides for a Project that the cluster admits, and that lists all its namespaces.
fn converge(
    project: &Project,
    world: &World,
    tenancies: &[&Tenant],
    mut place_status: PlaceStatus,
    now: Timestamp,
) -> Plan<ProjectOperator> {
    let mut members = MembersPlan::of(project, world, tenancies, now);
    let mut secrets = SecretsPlan::of(project, world);
    let (mut groups, mut look_again) = give_up_unlisted(project, world, now);
    let mut room = Room::of(tenancies, &world.bounds);
    let mut decisions = Vec::new();
    for wanted in by_name(&project.spec.namespaces, world) {
        let verdict = verdict(project, world, tenancies, wanted).within(&mut room, project, world, &wanted.name);
        let guards = guards(project, world, tenancies, wanted, &verdict);
        decisions.push((wanted, verdict, guards));
    }
    let takers =
        decisions.iter().filter(|(_, verdict, guards)| takes_quota(verdict, guards)).map(|(wanted, ..)| &*wanted.name);
    let quotas = Quotas::of(project, world, &takers.collect());
    place_status.tell_quota(&quotas, world);
    for (wanted, verdict, mut guards) in decisions {
        if !guards.is_empty() {
            guards.insert(0, world.guards.decide_quota(world, &wanted.name, quotas.wanted(project, world, wanted)));
        }
        let spared = guards.iter_mut().filter_map(|guard| guard.spare_what_is_new(project, world, now)).min();
        place_status.count_levels(project, world, wanted);
        place_status.count_isolation(project, world, wanted, &guards);
        place_status.count_quota(project, world, wanted, &guards, &quotas);
        place_status.ready += i64::from(verdict.is_ready() && guards.iter().all(Decided::is_ready));
        let pauses = [verdict.pause()].into_iter().chain(guards.iter().map(Decided::pause)).flatten();
        look_again = pauses.chain(spared).chain(look_again).min();
        let levels = pod_security::labels(&project.spec, wanted, &world.cluster.spec);
        let is_guarded = world.carries(&wanted.name, &levels) && guards.iter().all(Decided::is_ready);
        let scope = members.scope(&wanted.name, verdict.creates(), is_guarded);
        let mut grants = members.decide(&wanted.name, scope);
        grants.extend(secrets.decide(&wanted.name, scope, &mut place_status));
        groups.extend(grouped(verdict, guards, grants, &mut place_status.problems));
    }
    let mut creators = members.creators(now);
    groups.append(&mut creators.grants);
    if project.spec.suspend {
        groups.clear();
    }
    let (withdrawals, soon) = secrets.finish(&mut place_status);
    let (revocations, again) = members.finish(creators, &mut place_status);
    let groups = revocations.into_iter().chain(withdrawals).chain(groups).collect();
    let requeue = look_again.into_iter().chain(soon).min().map(|pause| now + pause).into_iter().chain(again).min();
    Plan { place_status, groups, requeue: requeue.map_or(Requeue::Watch, Requeue::At) }
}

/// What is decided of the guards inside a namespace that the Project holds, or creates just now.
fn guards(
    project: &Project,
    world: &World,
    tenancies: &[&Tenant],
    wanted: &ProjectNamespace,
    verdict: &Verdict,
) -> Vec<Decided> {
    let is_held = holds(project, world, tenancies, &wanted.name);
    if is_held || verdict.creates() { world.guards.decide(project, world, wanted) } else { Vec::new() }
}

/// Whether a namespace takes part in the division of the quota: one that is taken up just now does, so that who gets the rest does not
/// depend on when; one that is not created for lack of a guard does not.
fn takes_quota(verdict: &Verdict, guards: &[Decided]) -> bool {
    match verdict {
        Verdict::Act(Change::Create { .. }) => guards.iter().all(|guard| guard.problem.is_none()),
        Verdict::Act(Change::Apply { .. } | Change::Adopt { .. } | Change::Disown { .. }) => true,
        _ => !guards.is_empty(),
    }
}

/// Whether the Project holds the namespace of this name for certain, and may do so.
pub(crate) fn holds(project: &Project, world: &World, tenancies: &[&Tenant], name: &str) -> bool {
    match world.namespaces.get(name) {
        Some(Seen::Ours { live, .. }) => {
            live.metadata.deletion_timestamp.is_none()
                && is_founded(project, world, &live.metadata)
                && may_hold(world, tenancies, name)
        }
        _ => false,
    }
}

/// A namespace that is created gets its guards at once and then its members; it is not created where a guard cannot be had. Guards of
/// one that is there do not wait for one another.
fn grouped(
    verdict: Verdict,
    guards: Vec<Decided>,
    grants: Vec<Action>,
    problems: &mut Vec<Obstacle>,
) -> Vec<Vec<Action>> {
    let (creates, is_unguarded) = (verdict.creates(), guards.iter().any(|guard| guard.problem.is_some()));
    let mut actions = Vec::new();
    match verdict {
        Verdict::Ready => {}
        Verdict::Act(change) => actions.push(Action::from(change)),
        Verdict::Waiting(obstacle) | Verdict::Blocked(obstacle, _) => problems.push(obstacle),
    }
    for Decided { actions: of_guard, problem, .. } in guards {
        actions.extend(of_guard);
        problems.extend(problem);
    }
    actions.extend(grants);
    match creates {
        true if is_unguarded => Vec::new(),
        true => vec![actions],
        false => each_alone(actions),
    }
}

/// The tenant entries of the cluster that admit the Project.
pub(crate) fn admitting<'a>(project: &Project, world: &'a World) -> Vec<&'a Tenant> {
    if world.in_operator_namespace {
        return Vec::new();
    }
    tenancies(&world.cluster, &project.namespace().unwrap_or_default(), world.tenant_labels.as_ref())
}

enum Verdict {
    Ready,
    Act(Change<Namespace>),
    /// Something is in the way, and a watch will tell when it is gone.
    Waiting(Obstacle),
    /// Something is in the way that no watch shows, so it is looked at again after this time.
    Blocked(Obstacle, SignedDuration),
}

/// How far the two sides are that have to agree to the adoption of what exists.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Consent {
    /// The Project does not ask for it.
    NotAsked,
    /// The Project asks for it, and the Cluster does not allow it, or not yet.
    Awaited,
    /// Both agreed.
    Given,
}

impl Consent {
    fn of(world: &World, wanted: &ProjectNamespace, allowing: &[&Tenant]) -> Self {
        match wanted.on_existing {
            // Whoever created it asked for the Project, and had the right to.
            _ if world.served.judged.taken.contains(&wanted.name) => Self::Given,
            OnExisting::Refuse => Self::NotAsked,
            OnExisting::Adopt if allowing.iter().any(|tenant| tenant.adopt == AdoptPolicy::Allowed) => Self::Given,
            OnExisting::Adopt => Self::Awaited,
        }
    }
}

impl Verdict {
    fn is_ready(&self) -> bool {
        matches!(self, Self::Ready)
    }

    fn creates(&self) -> bool {
        matches!(self, Self::Act(Change::Create { .. }))
    }

    /// After which time it is looked at again.
    fn pause(&self) -> Option<SignedDuration> {
        match self {
            Self::Blocked(_, pause) => Some(*pause),
            Self::Ready | Self::Act(_) | Self::Waiting(_) => None,
        }
    }

    /// The same, but nothing more is taken up where there is no room. What is about to make way takes its room too, so that who gets
    /// the rest does not depend on when it does.
    fn within<'a>(self, room: &mut Room<'a>, project: &Project, world: &World, name: &'a str) -> Self {
        let takes_up = match &self {
            Self::Act(action) => {
                matches!(action, Change::Create { .. } | Change::Adopt { .. } | Change::Disown { .. })
            }
            Self::Waiting(obstacle) | Self::Blocked(obstacle, _) => obstacle.cause == StatusCause::Terminating.into(),
            Self::Ready => false,
        };
        if takes_up && !room.take(name) {
            return blocked(name, ProjectCause::NamespaceLimitReached, no_room(project, world, name));
        }
        self
    }
}

/// In an order that does not depend on how the list is written; what members created comes after what is listed.
fn by_name<'a>(namespaces: &'a [ProjectNamespace], world: &World) -> Vec<&'a ProjectNamespace> {
    let mut all: Vec<_> = namespaces.iter().collect();
    all.sort_by_key(|namespace| (world.served.judged.taken.contains(&namespace.name), &*namespace.name));
    all
}

fn verdict(project: &Project, world: &World, tenancies: &[&Tenant], wanted: &ProjectNamespace) -> Verdict {
    let name = &wanted.name;
    if world.cluster.spec.protects(name) {
        return blocked(name, ProjectCause::NamespaceProtected, protected(world, name));
    }
    let allowing: Vec<_> = tenancies.iter().copied().filter(|tenant| tenant.allows_namespace(name)).collect();
    if allowing.is_empty() {
        return blocked(name, ProjectCause::NamespaceNotAllowed, not_allowed(project, world, name));
    }
    let mut desired = desired(project, wanted);
    if let Some(refused) = refused_key(&desired.metadata, &allowing, &world.bounds) {
        return blocked(name, ProjectCause::MetadataNotAllowed, not_to_set(project, world, name, &refused));
    }
    let levels = pod_security::labels(&project.spec, wanted, &world.cluster.spec);
    if !levels.is_empty() {
        desired.metadata.labels.get_or_insert_default().extend(levels);
    }
    let consent = Consent::of(world, wanted, &allowing);
    match world.namespaces.get(name).unwrap_or(&Seen::Absent { older_project: None }) {
        Seen::Absent { older_project: Some(older_project) } => {
            Verdict::Waiting(obstacle(name, ProjectCause::NamespaceTaken, left_to(world, name, older_project)))
        }
        Seen::Absent { older_project: None } => Verdict::Act(Change::create(desired)),
        Seen::Ours { live, .. } if live.metadata.deletion_timestamp.is_some() => {
            Verdict::Waiting(obstacle(name, StatusCause::Terminating, terminating(name)))
        }
        Seen::Ours { live, .. } if !is_founded(project, world, &live.metadata) => {
            let meta = Box::new(live.metadata.clone());
            Verdict::Act(match world.title(&ObjectKey::of(&project.metadata), &meta) {
                Title::Unfounded if consent == Consent::Given => {
                    Change::Adopt { desired: Box::new(desired), live: meta }
                }
                _ => disclaimed(&ObjectKey::of(&project.metadata), world, &meta),
            })
        }
        Seen::Ours { live, drift_conflict } => restored(name, owned::restore(desired, live, drift_conflict.as_deref())),
        Seen::Unlabelled { meta, .. } | Seen::Foreign { meta, .. } if meta.deletion_timestamp.is_some() => {
            blocked(name, StatusCause::Terminating, terminating(name))
        }
        Seen::Unlabelled { meta, drift_conflict } => {
            restored(name, owned::relabel(desired, meta, drift_conflict.as_deref()))
        }
        Seen::Undecodable { meta } => blocked(name, StatusCause::UndecodableObject, undecodable(world, meta)),
        Seen::Foreign { holder: Some(holder), .. } if !holder.left => held_by(project, world, name, holder, consent),
        Seen::Foreign { meta, holder } => without_holder(project, world, desired, meta, holder.as_ref(), consent),
    }
}

/// Another Project holds the namespace.
fn held_by(project: &Project, world: &World, name: &str, holder: &Holder, consent: Consent) -> Verdict {
    let (cause, message) = match consent {
        _ if holder.releases => (ProjectCause::WaitingForRelease, released_by(world, name, &holder.key)),
        Consent::Given => (ProjectCause::WaitingForRelease, adopted_later(world, name, &holder.key)),
        Consent::Awaited if is_beside(&holder.key, project) => {
            (ProjectCause::WaitingForRelease, adopted_later(world, name, &holder.key))
        }
        Consent::NotAsked | Consent::Awaited => (ProjectCause::NamespaceTaken, taken(world, name, &holder.key)),
    };
    let pause = if holder.releases { LOOK_SOON } else { LOOK_AGAIN };
    Verdict::Blocked(obstacle(name, cause, message), pause)
}

/// The namespace is foreign, and no Project that exists holds it.
fn without_holder(
    project: &Project,
    world: &World,
    desired: Namespace,
    meta: &ObjectMeta,
    holder: Option<&Holder>,
    consent: Consent,
) -> Verdict {
    let (name, live) = (desired.name_any(), Box::new(meta.clone()));
    match (holder, consent) {
        (Some(holder), Consent::Given) => Verdict::Act(Change::Disown { live, owner: holder.key.clone() }),
        (None, Consent::Given) => Verdict::Act(Change::Adopt { desired: Box::new(desired), live }),
        (None, _) if was_released_by(meta, project) => Verdict::Act(Change::Adopt { desired: Box::new(desired), live }),
        (None, Consent::Awaited) if was_released_beside(meta, project) => {
            Verdict::Act(Change::Adopt { desired: Box::new(desired), live })
        }
        (Some(holder), Consent::Awaited) if was_left_beside(meta, holder, project) => {
            Verdict::Act(Change::Disown { live, owner: holder.key.clone() })
        }
        (_, Consent::Awaited) => blocked(&name, ProjectCause::AdoptionNotAllowed, not_adoptable(world, &name)),
        (Some(holder), Consent::NotAsked) => {
            let needs = if was_left_beside(meta, holder, project) { SIBLING } else { STRANGER };
            blocked(&name, ProjectCause::NamespaceExists, left_behind(world, &name, &holder.key, needs))
        }
        (None, Consent::NotAsked) if was_released_beside(meta, project) => {
            blocked(&name, ProjectCause::NamespaceExists, released_beside(world, &name))
        }
        (None, Consent::NotAsked) => blocked(&name, ProjectCause::NamespaceExists, exists(world, &name)),
    }
}

fn restored(name: &str, restored: Restored<Namespace>) -> Verdict {
    match restored {
        Restored::AsWanted => Verdict::Ready,
        Restored::Differs(change) => Verdict::Act(change),
        Restored::Conflict(fields) => blocked(name, StatusCause::DriftConflict, drift_conflict(name, &fields)),
    }
}

/// The namespace as this Project wants it. Labels of one namespace win over those for all.
fn desired(project: &Project, wanted: &ProjectNamespace) -> Namespace {
    let common = project.spec.namespace_metadata.clone().unwrap_or_default();
    let join = |mut common: BTreeMap<String, String>, own: &BTreeMap<String, String>| {
        common.extend(own.clone());
        (!common.is_empty()).then_some(common)
    };
    Namespace {
        metadata: ObjectMeta {
            name: Some(wanted.name.clone()),
            labels: join(common.labels, &wanted.labels),
            annotations: join(common.annotations, &wanted.annotations),
            ..ObjectMeta::default()
        },
        ..Namespace::default()
    }
}

/// Whether the cluster's owner lets the Project hold the namespace of this name.
pub(crate) fn may_hold(world: &World, tenancies: &[&Tenant], name: &str) -> bool {
    !world.cluster.spec.protects(name) && tenancies.iter().any(|tenant| tenant.allows_namespace(name))
}

/// Whether more than its labels says that a namespace belongs to the Project.
fn is_founded(project: &Project, world: &World, live: &ObjectMeta) -> bool {
    matches!(world.title(&ObjectKey::of(&project.metadata), live), Title::Created | Title::Adopted)
}

/// Whether Drover created the namespace for a Project of this name, which released it: it may adopt it again without being asked, for
/// example after a folder was renamed in Git and everything was deleted and created again.
fn was_released_by(meta: &ObjectMeta, project: &Project) -> bool {
    let released_by = meta.annotations.as_ref().and_then(|all| all.get(ANNOTATION_RELEASED_BY));
    released_by.is_some_and(|by| *by == ObjectKey::of(&project.metadata).to_string())
        && owner_of::<ProjectOperator>(project).was_created_by_any(meta)
}

/// Whether Drover created the namespace for a Project beside this one, and one beside it released it. A namespace of the management
/// cluster is one tenant, whose Projects hand namespaces on without the owner of the cluster; each asks for it by `onExisting: Adopt`.
fn was_released_beside(meta: &ObjectMeta, project: &Project) -> bool {
    let released_by = meta.annotations.as_ref().and_then(|all| all.get(ANNOTATION_RELEASED_BY));
    let releaser = released_by.and_then(|by| by.split_once('/')).map(|(from, name)| ObjectKey::namespaced(from, name));
    releaser.is_some_and(|releaser| is_beside(&releaser, project))
        && owner_of::<ProjectOperator>(project).was_created_beside(meta)
}

/// The same where the other one is gone and its labels stayed.
fn was_left_beside(meta: &ObjectMeta, holder: &Holder, project: &Project) -> bool {
    is_beside(&holder.key, project) && owner_of::<ProjectOperator>(project).was_created_beside(meta)
}

fn is_beside(other: &ObjectKey, project: &Project) -> bool {
    project.metadata.namespace.as_deref() == Some(&*other.namespace)
}

fn blocked(namespace: &str, cause: impl Into<Cause>, message: String) -> Verdict {
    Verdict::Blocked(obstacle(namespace, cause, message), LOOK_AGAIN)
}

pub(crate) fn obstacle(namespace: &str, cause: impl Into<Cause>, message: String) -> Obstacle {
    Obstacle { namespace: Some(namespace.to_owned()), cause: cause.into(), message }
}

pub(crate) fn count(length: usize) -> i64 {
    i64::try_from(length).unwrap_or(i64::MAX)
}
