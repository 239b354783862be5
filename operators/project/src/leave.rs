//! What becomes of what a Project holds at a cluster where it is to hold it no more. Pure.

use std::collections::BTreeSet;

use drover_crds::{Cluster, DeletionPolicy, Project, Tenant};
use drover_runtime::{
    ObjectKey, Owner, OwnerRecord, Requeue, StatusCause, Title, operator::Plan, owned::Change, place::deletion_of,
};
use k8s_openapi::{
    api::core::v1::Namespace,
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
    jiff::{SignedDuration, Timestamp},
};
use kube::ResourceExt as _;

use crate::{
    ProjectOperator,
    act::Action,
    members_plan::{gives_something, revoke_all},
    observe::{Seen, World},
    place_status::PlaceStatus,
    plan::{admitting, count, may_hold, obstacle},
};

/// Decides for a Project that is to be at this cluster no more. One that is gone, or only does not select it any more, takes away
/// what its members have there; a cluster that is being deleted with `Orphan` is left as it is.
#[must_use]
pub fn clean_up(owner: Owner<'_, Project>, world: &World) -> Plan<ProjectOperator> {
    match (owner, deletion_of(&world.cluster)) {
        (_, Some(DeletionPolicy::Orphan)) => {
            Plan { place_status: PlaceStatus::default(), groups: Vec::new(), requeue: Requeue::Released }
        }
        (Owner::Gone(_), _) | (Owner::Present(_), None) => revoke(world),
        (Owner::Deleting(project), _) => tear_down(project, world, &admitting(project, world)),
        (Owner::Present(project), Some(DeletionPolicy::Delete)) => {
            release_all(&ObjectKey::of(&project.metadata), world, project.spec.suspend, &world.with_apps)
        }
        (Owner::Abandoned(key), _) => release_all(key, world, false, &BTreeSet::new()),
    }
}

/// The namespaces stay as they are; only their members lose what the Project gave them.
fn revoke(world: &World) -> Plan<ProjectOperator> {
    let requeue = if gives_something(world) { Requeue::Watch } else { Requeue::Released };
    let groups = revoke_all(world);
    Plan { place_status: PlaceStatus::default(), groups, requeue }
}

/// What is ours and not listed any more is released, and when to look at the rest. It stays: a namespace is deleted only with its
/// Project, on request.
pub(crate) fn give_up_unlisted(
    project: &Project,
    world: &World,
    now: Timestamp,
) -> (Vec<Vec<Action>>, Option<SignedDuration>) {
    let key = ObjectKey::of(&project.metadata);
    let listed = |name: &String| project.spec.namespaces.iter().any(|wanted| wanted.name == *name);
    let unlisted = world.namespaces.iter().filter(|(name, _)| !listed(name)).filter_map(|(_, seen)| seen.held());
    let (mut groups, mut pauses) = (Vec::new(), Vec::new());
    for live in unlisted {
        match until_told_of_a_new_holder(live, world, now) {
            Some(pause) => pauses.push(pause),
            None => groups.push(given_up(&key, world, live)),
        }
    }
    groups.extend(strays(world));
    pauses.extend(groups.iter_mut().filter_map(|group| spare_what_is_new(group, &key, world, now)));
    groups.retain(|group| !group.is_empty());
    (groups, pauses.into_iter().min())
}

/// Takes out of `actions` what gives up objects that another installation put there lately for its Project of the same name, and says
/// when to look at these again.
pub(crate) fn spare_what_is_new(
    actions: &mut Vec<Action>,
    project: &ObjectKey,
    world: &World,
    now: Timestamp,
) -> Option<SignedDuration> {
    let mut pauses = Vec::new();
    actions.retain(|action| {
        let of_same_name = action.given_up().filter(|live| world.title(project, live) == Title::Adopted);
        let pause = of_same_name.and_then(|live| until_told_of_a_new_holder(live, world, now));
        pauses.extend(pause);
        pause.is_none()
    });
    pauses.into_iter().min()
}

/// How long the probe may take to tell that the installation that created the object lately holds the claim by now, and its Project of
/// the same name wants it. What it created before is left from a time when it held the claim.
fn until_told_of_a_new_holder(live: &ObjectMeta, world: &World, now: Timestamp) -> Option<SignedDuration> {
    if !OwnerRecord::is_of_another_installation(live, &world.installation) {
        return None;
    }
    let Cluster { spec, .. } = &*world.cluster;
    let two_probes = SignedDuration::try_from((spec.health_interval() + spec.health_timeout()) * 2).ok()?;
    let age = now.duration_since(live.creation_timestamp.as_ref()?.0);
    two_probes.checked_sub(age).filter(SignedDuration::is_positive)
}

/// The cluster is being deleted, or the deletion of the Project waited for it for too long: whatever was asked for, nothing is deleted
/// any more, and all that is held is released. `kept` stays with its guards: apps uninstall themselves there.
fn release_all(project: &ObjectKey, world: &World, suspended: bool, kept: &BTreeSet<String>) -> Plan<ProjectOperator> {
    let goes = world.namespaces.iter().filter(|(name, _)| !kept.contains(*name));
    let held = goes.filter_map(|(_, seen)| seen.held());
    let groups = held.map(|live| given_up(project, world, live)).chain(strays(world));
    let groups: Vec<_> = if suspended { Vec::new() } else { groups.collect() };
    let groups = with_revocations(world, groups);
    Plan { place_status: PlaceStatus::default(), groups, requeue: when_nothing_is_held(world) }
}

/// A suspended Project must not delete: it goes as with `Orphan`. What goes takes its guards along.
fn tear_down(project: &Project, world: &World, tenancies: &[&Tenant]) -> Plan<ProjectOperator> {
    let held: Vec<&ObjectMeta> = world.namespaces.values().filter_map(Seen::held).collect();
    let key = ObjectKey::of(&project.metadata);
    let deletes = project.spec.deletion_policy == DeletionPolicy::Delete && !project.spec.suspend;
    let groups = held.iter().filter_map(|live| {
        let created = world.title(&key, live) == Title::Created;
        // Consent may have been withdrawn, and labels can be forged: what it may not hold is released, never deleted.
        let may_hold = live.name.as_deref().is_some_and(|name| may_hold(world, tenancies, name));
        if deletes && created && may_hold {
            let going = live.deletion_timestamp.is_some();
            (!going).then(|| vec![Change::<Namespace>::Delete(Box::new((*live).clone())).into()])
        } else {
            Some(given_up(&key, world, live))
        }
    });
    let groups = with_revocations(world, groups.chain(strays(world)).collect());
    let going = held.iter().filter(|live| live.deletion_timestamp.is_some());
    let problems = going
        .filter_map(|live| live.name.as_deref())
        .map(|name| obstacle(name, StatusCause::Terminating, going_away(world, name)));
    let place_status =
        PlaceStatus { wanted: count(held.len()), problems: problems.collect(), ..PlaceStatus::default() };
    Plan { place_status, groups, requeue: when_nothing_is_held(world) }
}

fn when_nothing_is_held(world: &World) -> Requeue {
    let holds_something = world.namespaces.values().any(|seen| seen.held().is_some());
    if holds_something || gives_something(world) || !world.guards.namespaces().is_empty() {
        Requeue::Watch
    } else {
        Requeue::Released
    }
}

/// What the Project gave to its members goes before anything else does.
fn with_revocations(world: &World, groups: Vec<Vec<Action>>) -> Vec<Vec<Action>> {
    revoke_all(world).into_iter().chain(groups).collect()
}

/// Gives up a namespace with its guards, once no member has anything by it and no Secret is left there. They come first: the namespace says to whom they
/// belong.
fn given_up(project: &ObjectKey, world: &World, live: &ObjectMeta) -> Vec<Action> {
    let gives =
        |name: &str| world.members.namespaces().contains(name) || world.secrets.copies.namespaces().contains(name);
    if live.name.as_deref().is_some_and(gives) {
        return Vec::new();
    }
    let mut actions = live.name.as_deref().map(|name| world.guards.given_up(name)).unwrap_or_default();
    actions.push(disclaimed(project, world, live).into());
    actions
}

/// Gives up a namespace with the labels of the Project. One that was made for another Project keeps the marks by which that one
/// knows it.
pub(crate) fn disclaimed(project: &ObjectKey, world: &World, live: &ObjectMeta) -> Change<Namespace> {
    let live_there = Box::new(live.clone());
    match world.title(project, live) {
        Title::Another => Change::Disclaim(live_there),
        Title::Created | Title::Adopted | Title::Unfounded => Change::Release(live_there),
    }
}

/// Gives up guards that carry the labels of the Project in namespaces that it does not hold.
fn strays(world: &World) -> impl Iterator<Item = Vec<Action>> {
    let is_foreign = |name: &&str| matches!(world.namespaces.get(*name), None | Some(Seen::Foreign { .. }));
    let strays = world.guards.namespaces().into_iter().filter(is_foreign).map(|name| world.guards.given_up(name));
    strays.filter(|group| !group.is_empty())
}

fn going_away(world: &World, name: &str) -> String {
    format!(
        "namespace {name} on cluster {} is being deleted and still there; run `kubectl get namespace {name} -o yaml` there to see what it waits for",
        world.cluster.name_any()
    )
}
