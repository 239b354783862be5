//! What to do at one cluster. Pure.

use std::collections::BTreeMap;

use drover_crds::{
    AdoptPolicy, DeletionPolicy, OnExisting, Project, ProjectNamespace, Tenant, names::ANNOTATION_RELEASED_BY,
};
use drover_fleet::{TenancyCause, targets::tenancies};
use drover_runtime::{
    Cause, ObjectKey, Owner, Requeue, StatusCause, Title,
    fan_out::Obstacle,
    operator::{Plan, owner_of},
    owned::{self, Change, Restored, each_alone},
    place::deletion_of,
};
use k8s_openapi::{
    api::core::v1::Namespace,
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
    jiff::{SignedDuration, Timestamp},
};
use kube::ResourceExt;

use crate::{
    ProjectOperator,
    bounds::{Room, no_room, not_to_set, refused_key},
    cause::ProjectCause,
    observe::{Holder, Seen, World},
    pod_security,
};

/// No watch shows what becomes of a namespace that is not ours, so it is looked at again after this time.
const LOOK_AGAIN: SignedDuration = SignedDuration::from_secs(60);
/// The same for one that its Project is about to release.
const LOOK_SOON: SignedDuration = SignedDuration::from_secs(5);

/// One change of one namespace.
pub type Action = Change<Namespace>;

/// What one cluster contributes to the status.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PlaceStatus {
    /// Namespaces that should be there.
    pub wanted: i64,
    /// Those that are as they should be.
    pub ready: i64,
    /// The namespaces with pod security levels.
    pub pod_security: Guarded,
    /// What is in the way, and what to do about it.
    pub problems: Vec<Obstacle>,
}

/// How many namespaces should have a guard, and how many have it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Guarded {
    /// Namespaces that should have it.
    pub wanted: i64,
    /// Those that have it as it should be.
    pub ready: i64,
}

impl Guarded {
    fn count(&mut self, is_wanted: bool, is_ready: bool) {
        self.wanted += i64::from(is_wanted);
        self.ready += i64::from(is_wanted && is_ready);
    }
}

/// Decides for a Project that is to be at this cluster.
#[must_use]
pub fn plan(project: &Project, world: &World, now: Timestamp) -> Plan<ProjectOperator> {
    let tenancies = admitting(project, world);
    let mut place_status = PlaceStatus { wanted: count(project.spec.namespaces.len()), ..PlaceStatus::default() };
    if tenancies.is_empty() {
        place_status.problems.push(no_tenant(project, world));
        return Plan { place_status, groups: Vec::new(), requeue: Requeue::Watch };
    }
    let mut actions = release_unlisted(project, world);
    let mut look_again = None;
    let mut room = Room::of(&tenancies, &world.bounds);
    for wanted in by_name(&project.spec.namespaces) {
        let levels = pod_security::labels(&project.spec, wanted, &world.cluster.spec);
        place_status.pod_security.count(!levels.is_empty(), world.carries(&wanted.name, &levels));
        match verdict(project, world, &tenancies, wanted).within(&mut room, project, world, &wanted.name) {
            Verdict::Ready => place_status.ready += 1,
            Verdict::Act(action) => actions.push(action),
            Verdict::Waiting(obstacle) => place_status.problems.push(obstacle),
            Verdict::Blocked(obstacle, pause) => {
                look_again = look_again.into_iter().chain([pause]).min();
                place_status.problems.push(obstacle);
            }
        }
    }
    if project.spec.suspend {
        actions.clear();
    }
    let requeue = look_again.map_or(Requeue::Watch, |pause| Requeue::At(now + pause));
    Plan { place_status, groups: each_alone(actions), requeue }
}

/// Decides for a Project that is to be at this cluster no more. One that only does not select it any more writes nothing there;
/// a cluster that is being deleted with `Orphan` is left as it is.
#[must_use]
pub fn clean_up(owner: Owner<'_, Project>, world: &World) -> Plan<ProjectOperator> {
    match (owner, deletion_of(&world.cluster)) {
        (Owner::Gone(_), _) | (_, Some(DeletionPolicy::Orphan)) | (Owner::Present(_), None) => {
            Plan { place_status: PlaceStatus::default(), groups: Vec::new(), requeue: Requeue::Released }
        }
        (Owner::Deleting(project), _) => tear_down(project, world, &admitting(project, world)),
        (Owner::Present(project), Some(DeletionPolicy::Delete)) => {
            release_all(&ObjectKey::of(&project.metadata), world, project.spec.suspend)
        }
        (Owner::Abandoned(key), _) => release_all(key, world, false),
    }
}

/// The tenant entries of the cluster that admit the Project.
fn admitting<'a>(project: &Project, world: &'a World) -> Vec<&'a Tenant> {
    if world.in_operator_namespace {
        return Vec::new();
    }
    tenancies(&world.cluster, &project.namespace().unwrap_or_default(), world.tenant_labels.as_ref())
}

enum Verdict {
    Ready,
    Act(Action),
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
    fn of(wanted: &ProjectNamespace, allowing: &[&Tenant]) -> Self {
        match wanted.on_existing {
            OnExisting::Refuse => Self::NotAsked,
            OnExisting::Adopt if allowing.iter().any(|tenant| tenant.adopt == AdoptPolicy::Allowed) => Self::Given,
            OnExisting::Adopt => Self::Awaited,
        }
    }
}

impl Verdict {
    /// The same, but nothing more is taken up where there is no room. What is about to make way takes its room too, so that who gets
    /// the rest does not depend on when it does.
    fn within<'a>(self, room: &mut Room<'a>, project: &Project, world: &World, name: &'a str) -> Self {
        let takes_up = match &self {
            Self::Act(action) => {
                matches!(action, Action::Create { .. } | Action::Adopt { .. } | Action::Disown { .. })
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

/// In an order that does not depend on how the list is written.
fn by_name(namespaces: &[ProjectNamespace]) -> Vec<&ProjectNamespace> {
    let mut all: Vec<_> = namespaces.iter().collect();
    all.sort_by(|one, other| one.name.cmp(&other.name));
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
    match world.namespaces.get(name).unwrap_or(&Seen::Absent { older_project: None }) {
        Seen::Absent { older_project: Some(older_project) } => {
            Verdict::Waiting(obstacle(name, ProjectCause::NamespaceTaken, left_to(world, name, older_project)))
        }
        Seen::Absent { older_project: None } => match &project.spec.unimplemented_guards(wanted)[..] {
            [] => Verdict::Act(Action::create(desired)),
            guards => Verdict::Waiting(obstacle(name, StatusCause::NotYetImplemented, unguarded(name, guards))),
        },
        Seen::Ours { live, .. } if live.metadata.deletion_timestamp.is_some() => {
            Verdict::Waiting(obstacle(name, StatusCause::Terminating, terminating(name)))
        }
        Seen::Ours { live, .. } if !is_founded(project, world, &live.metadata) => {
            let meta = Box::new(live.metadata.clone());
            Verdict::Act(match world.title(&ObjectKey::of(&project.metadata), &meta) {
                Title::Unfounded if Consent::of(wanted, &allowing) == Consent::Given => {
                    Action::Adopt { desired: Box::new(desired), live: meta }
                }
                _ => given_up(&ObjectKey::of(&project.metadata), world, &meta),
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
        Seen::Foreign { holder: Some(holder), .. } if !holder.left => {
            held_by(world, name, holder, Consent::of(wanted, &allowing))
        }
        Seen::Foreign { meta, holder } => {
            without_holder(project, world, desired, meta, holder.as_ref(), Consent::of(wanted, &allowing))
        }
    }
}

/// Another Project holds the namespace.
fn held_by(world: &World, name: &str, holder: &Holder, consent: Consent) -> Verdict {
    let (cause, message) = match consent {
        _ if holder.releases => (ProjectCause::WaitingForRelease, released_by(world, name, &holder.key)),
        Consent::Given => (ProjectCause::WaitingForRelease, adopted_later(world, name, &holder.key)),
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
        (Some(holder), Consent::Given) => Verdict::Act(Action::Disown { live, owner: holder.key.clone() }),
        (None, Consent::Given) => Verdict::Act(Action::Adopt { desired: Box::new(desired), live }),
        (None, _) if was_released_by(meta, project, world) => {
            Verdict::Act(Action::Adopt { desired: Box::new(desired), live })
        }
        (_, Consent::Awaited) => blocked(&name, ProjectCause::AdoptionNotAllowed, not_adoptable(world, &name)),
        (Some(holder), Consent::NotAsked) => {
            blocked(&name, ProjectCause::NamespaceExists, left_behind(world, &name, &holder.key))
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

/// What is ours and not listed any more is released. It stays: a namespace is deleted only with its Project, on request.
fn release_unlisted(project: &Project, world: &World) -> Vec<Action> {
    let listed = |name: &String| project.spec.namespaces.iter().any(|wanted| wanted.name == *name);
    let unlisted = world.namespaces.iter().filter(|(name, _)| !listed(name));
    unlisted
        .filter_map(|(_, seen)| seen.held())
        .map(|live| given_up(&ObjectKey::of(&project.metadata), world, live))
        .collect()
}

/// The cluster is being deleted, or the deletion of the Project waited for it for too long: whatever was asked for, nothing is deleted
/// any more, and all that is held is released.
fn release_all(project: &ObjectKey, world: &World, suspended: bool) -> Plan<ProjectOperator> {
    let held: Vec<&ObjectMeta> = world.namespaces.values().filter_map(Seen::held).collect();
    let requeue = if held.is_empty() { Requeue::Released } else { Requeue::Watch };
    let release = |live: &ObjectMeta| given_up(project, world, live);
    let actions = if suspended { Vec::new() } else { held.into_iter().map(release).collect() };
    Plan { place_status: PlaceStatus::default(), groups: each_alone(actions), requeue }
}

/// A suspended Project must not delete: it goes as with `Orphan`.
fn tear_down(project: &Project, world: &World, tenancies: &[&Tenant]) -> Plan<ProjectOperator> {
    let held: Vec<&ObjectMeta> = world.namespaces.values().filter_map(Seen::held).collect();
    let key = ObjectKey::of(&project.metadata);
    let deletes = project.spec.deletion_policy == DeletionPolicy::Delete && !project.spec.suspend;
    let actions = held.iter().filter_map(|live| {
        let created = world.title(&key, live) == Title::Created;
        // Consent may have been withdrawn, and labels can be forged: what it may not hold is released, never deleted.
        let may_hold = live.name.as_deref().is_some_and(|name| may_hold(world, tenancies, name));
        if deletes && created && may_hold {
            let going = live.deletion_timestamp.is_some();
            (!going).then(|| Action::Delete(Box::new((*live).clone())))
        } else {
            Some(given_up(&key, world, live))
        }
    });
    let actions: Vec<Action> = actions.collect();
    let requeue = if held.is_empty() { Requeue::Released } else { Requeue::Watch };
    let going = held.iter().filter(|live| live.deletion_timestamp.is_some());
    let problems = going
        .filter_map(|live| live.name.as_deref())
        .map(|name| obstacle(name, StatusCause::Terminating, going_away(world, name)));
    let place_status =
        PlaceStatus { wanted: count(held.len()), problems: problems.collect(), ..PlaceStatus::default() };
    Plan { place_status, groups: each_alone(actions), requeue }
}

/// Whether the cluster's owner lets the Project hold the namespace of this name.
fn may_hold(world: &World, tenancies: &[&Tenant], name: &str) -> bool {
    !world.cluster.spec.protects(name) && tenancies.iter().any(|tenant| tenant.allows_namespace(name))
}

/// What gives up a namespace with the labels of the Project. One that was made for another Project keeps the marks by which that one
/// knows it.
fn given_up(project: &ObjectKey, world: &World, live: &ObjectMeta) -> Action {
    let live_there = Box::new(live.clone());
    match world.title(project, live) {
        Title::Another => Action::Disclaim(live_there),
        Title::Created | Title::Adopted | Title::Unfounded => Action::Release(live_there),
    }
}

/// Whether more than its labels says that a namespace belongs to the Project.
fn is_founded(project: &Project, world: &World, live: &ObjectMeta) -> bool {
    matches!(world.title(&ObjectKey::of(&project.metadata), live), Title::Created | Title::Adopted)
}

/// Whether Drover created the namespace for this very Project, which released it: it may adopt it again without being asked, for
/// example after a folder was renamed in Git and everything was deleted and created again.
fn was_released_by(meta: &ObjectMeta, project: &Project, world: &World) -> bool {
    let released_by = meta.annotations.as_ref().and_then(|all| all.get(ANNOTATION_RELEASED_BY));
    released_by.is_some_and(|by| *by == ObjectKey::of(&project.metadata).to_string())
        && owner_of::<ProjectOperator>(project).created(meta, &world.installation)
}

fn blocked(namespace: &str, cause: impl Into<Cause>, message: String) -> Verdict {
    Verdict::Blocked(obstacle(namespace, cause, message), LOOK_AGAIN)
}

fn obstacle(namespace: &str, cause: impl Into<Cause>, message: String) -> Obstacle {
    Obstacle { namespace: Some(namespace.to_owned()), cause: cause.into(), message }
}

fn no_tenant(project: &Project, world: &World) -> Obstacle {
    let (cluster, namespace) = (world.cluster.name_any(), project.namespace().unwrap_or_default());
    if world.in_operator_namespace {
        let message = format!(
            "namespace {namespace} is Drover's own, and no Cluster admits a Project from it; create the Project in another namespace"
        );
        return Obstacle { namespace: None, cause: TenancyCause::NotATenant.into(), message };
    }
    Obstacle {
        namespace: None,
        cause: TenancyCause::NotATenant.into(),
        message: format!(
            "cluster {cluster} does not admit namespace {namespace}; ask its owner to add the namespace to spec.tenants of Cluster {cluster}"
        ),
    }
}

fn protected(world: &World, name: &str) -> String {
    let cluster = world.cluster.name_any();
    format!(
        "cluster {cluster} protects namespace {name}; choose another name, or change spec.protectedNamespaces of Cluster {cluster}"
    )
}

fn not_allowed(project: &Project, world: &World, name: &str) -> String {
    let (cluster, from) = (world.cluster.name_any(), project.namespace().unwrap_or_default());
    format!(
        "no tenant entry of Cluster {cluster} allows {from} to hold namespace {name}; choose a name that its namespacePatterns allow, or ask its owner to add a pattern"
    )
}

fn unguarded(name: &str, guards: &[&str]) -> String {
    let guards = guards.join(", ");
    format!(
        "Drover does not create namespace {name}, because this version cannot put {guards} into it yet; remove the field, or upgrade Drover"
    )
}

fn drift_conflict(name: &str, reverted: &[String]) -> String {
    let fields = reverted.join(", ");
    format!(
        "another client keeps changing {fields} of namespace {name} back, so Drover leaves the namespace alone; settle which of the two owns the fields"
    )
}

fn undecodable(world: &World, meta: &ObjectMeta) -> String {
    format!(
        "Drover cannot decode namespace {} on cluster {} and leaves it as it is; correct or remove it",
        meta.name.as_deref().unwrap_or_default(),
        world.cluster.name_any()
    )
}

fn terminating(name: &str) -> String {
    format!(
        "namespace {name} is being deleted; once it is gone, Drover creates it again for the oldest Project that wants it"
    )
}

fn going_away(world: &World, name: &str) -> String {
    format!(
        "namespace {name} on cluster {} is being deleted and still there; run `kubectl get namespace {name} -o yaml` there to see what it waits for",
        world.cluster.name_any()
    )
}

fn taken(world: &World, name: &str, holder: &ObjectKey) -> String {
    format!(
        "namespace {name} on cluster {} is held by Project {holder}; remove it from one of the two Projects",
        world.cluster.name_any()
    )
}

fn released_by(world: &World, name: &str, holder: &ObjectKey) -> String {
    format!(
        "namespace {name} on cluster {} is held by Project {holder}, which releases it; Drover looks again once that is done",
        world.cluster.name_any()
    )
}

fn adopted_later(world: &World, name: &str, holder: &ObjectKey) -> String {
    format!(
        "namespace {name} on cluster {} is held by Project {holder}; this Project adopts it once it is removed from that one",
        world.cluster.name_any()
    )
}

fn not_adoptable(world: &World, name: &str) -> String {
    let cluster = world.cluster.name_any();
    format!(
        "namespace {name} exists on cluster {cluster}, and its owner does not allow this Project to adopt it; choose another name, or set adopt: Allowed in the tenant entry of Cluster {cluster}"
    )
}

fn left_to(world: &World, name: &str, older_project: &ObjectKey) -> String {
    format!(
        "Drover leaves namespace {name} on cluster {} to Project {older_project}, which is older and wants it as well; remove it from one of the two Projects",
        world.cluster.name_any()
    )
}

fn left_behind(world: &World, name: &str, holder: &ObjectKey) -> String {
    format!(
        "Project {holder} left namespace {name} behind on cluster {}; to adopt it, set onExisting: Adopt here and adopt: Allowed in the tenant entry of that Cluster",
        world.cluster.name_any()
    )
}

fn exists(world: &World, name: &str) -> String {
    let cluster = world.cluster.name_any();
    format!(
        "namespace {name} exists on cluster {cluster} and is not managed by Drover; choose another name, or set onExisting: Adopt here and adopt: Allowed in the tenant entry of Cluster {cluster}"
    )
}

fn count(length: usize) -> i64 {
    i64::try_from(length).unwrap_or(i64::MAX)
}
