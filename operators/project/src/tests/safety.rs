//! What must never happen, judged from outside: the rules of consent once more, in other words than those of `plan`.

use std::collections::BTreeSet;

use drover_crds::{
    AdoptPolicy, DeletionPolicy, NamespaceSelection, OnExisting, Project, ProjectNamespace, Tenant,
    names::{
        ANNOTATION_ADOPTED, ANNOTATION_CREATED, ANNOTATION_RELEASED_BY, LABEL_OWNER_NAME, LABEL_OWNER_NAMESPACE,
        LABEL_PROJECT, LABEL_PROJECT_NAMESPACE,
    },
};
use drover_runtime::model::{Fields, Manager, ModelObject};

use super::world::{ModelCluster, created_mark};

/// What is wrong with getting from `before` to `after`; they are one request, and perhaps one moment of rest, apart.
pub(super) fn violations(project: &Project, before: &ModelCluster, after: &ModelCluster) -> Vec<String> {
    let names: BTreeSet<_> = before.namespaces.keys().chain(after.namespaces.keys()).collect();
    let judge = |name: &String| {
        let broken = match (before.namespaces.get(name), after.namespaces.get(name)) {
            (None, Some(_)) => created(project, before, name),
            (Some(was), None) if !was.terminating => Some("it vanished"),
            (Some(was), Some(is)) if was.terminating && was.uid != is.uid => created(project, before, name),
            (Some(was), Some(is)) if !same(was, is) => changed(project, before, name, was, is),
            _ => None,
        };
        broken.map(|rule| format!("{name}: {rule}"))
    };
    names.into_iter().filter_map(judge).collect()
}

fn created(project: &Project, world: &ModelCluster, name: &str) -> Option<&'static str> {
    [
        (project.spec.suspend, "created although the Project is suspended"),
        (deleting(project), "created although the Project is being deleted"),
        (world.cluster.metadata.deletion_timestamp.is_some(), "created although the cluster is being deleted"),
        (listed(project, name).is_none(), "created although it is not listed"),
        (allowing(world, name).is_empty(), "created although no tenant entry allows it"),
        (protected(world, name), "created although it is protected"),
        (no_room(world, name), "created although the tenant holds as many as it may"),
        (sets_more_than_it_may(project, world, name), "created although it may not have all that it should"),
    ]
    .into_iter()
    .find_map(|(broken, rule)| broken.then_some(rule))
}

fn changed(
    project: &Project,
    world: &ModelCluster,
    name: &str,
    was: &ModelObject,
    is: &ModelObject,
) -> Option<&'static str> {
    let (wanted, allowing) = (listed(project, name), allowing(world, name));
    let may_hold = !allowing.is_empty() && !protected(world, name);
    let ours_before = held_by(was) == Some(key(project));
    let ours_after = held_by(is) == Some(key(project));
    let marked_for_deletion = !was.terminating && is.terminating;
    let may_delete = deleting(project)
        && project.spec.deletion_policy == DeletionPolicy::Delete
        && is_created(name, was)
        && !was.annotations.contains_key(ANNOTATION_ADOPTED);
    let agreed = wanted.is_some_and(|wanted| wanted.on_existing == OnExisting::Adopt)
        && allowing.iter().any(|tenant| tenant.adopt == AdoptPolicy::Allowed);
    let requested = requested(project, world, name, was, ours_before);
    let asks = wanted.is_some_and(|wanted| wanted.on_existing == OnExisting::Adopt);
    let agreed = agreed || requested || (asks && was_handed_on(name, was));
    let holder = held_by(was).filter(|_| !ours_before);
    let is_gone_from = |(namespace, name): &(String, String)| world.left.contains(&format!("{namespace}/{name}"));
    let came_from_us = holder.is_none() && came_from_us(name, was);
    let unfounded = !is_created(name, was) && !was.annotations.contains_key(ANNOTATION_ADOPTED);
    let going = world.cluster.metadata.deletion_timestamp.is_some();
    let release_labels = ours_before && !ours_after;
    [
        (project.spec.suspend && !deleting(project), "changed although the Project is suspended"),
        (project.spec.suspend && marked_for_deletion, "deleted although the Project is suspended"),
        (tenancies(world).is_empty() && !deleting(project) && !going, "changed although the Project is no tenant"),
        (holder.is_some_and(|holder| !is_gone_from(&holder)), "changed although another Project holds it"),
        (going && !ours_before, "taken although the cluster is being deleted"),
        (going && marked_for_deletion && !deleting(project), "deleted although only the cluster is being deleted"),
        (!(ours_before || agreed || came_from_us), "taken although not both sides agreed"),
        (!ours_before && ours_after && no_room(world, name), "taken although the tenant holds as many as it may"),
        (
            ours_after && !release_labels && !marked_for_deletion && sets_more_than_it_may(project, world, name),
            "written although it may not have all that it should",
        ),
        (!release_labels && !marked_for_deletion && !may_hold, "changed although the Project may not hold it"),
        (
            !release_labels && !marked_for_deletion && wanted.is_none() && !requested,
            "changed although it is neither listed nor asks for the Project",
        ),
        (
            !ours_before && ours_after && wanted.is_none() && is_full(project, world),
            "taken up although there are as many as the Project allows",
        ),
        (
            release_labels && wanted.is_some() && !deleting(project) && !going && !unfounded,
            "released although it is listed",
        ),
        (ours_after && !release_labels && unfounded && !agreed, "held although nothing but its labels says so"),
        (marked_for_deletion && !ours_before, "deleted although it is not ours"),
        (marked_for_deletion && !may_delete, "deleted although that was not asked for"),
        (marked_for_deletion && !may_hold, "deleted although the Project may not hold it"),
        (
            !keeps(
                &was.labels,
                &is.labels,
                &labels_to_take(project, wanted, held_by(was).is_some() && held_by(was) != held_by(is)),
            ) || !keeps(&was.annotations, &is.annotations, &keys(project, wanted)),
            "a foreign label or annotation was lost",
        ),
    ]
    .into_iter()
    .find_map(|(broken, rule)| broken.then_some(rule))
}

/// Whether Drover created a namespace for a Project of `team-a`, and one of them gave it up, or is recorded on it.
fn was_handed_on(name: &str, found: &ModelObject) -> bool {
    let mark = found.annotations.get(ANNOTATION_CREATED).map(|mark| mark.value.as_str()).unwrap_or_default();
    let released_by = found.annotations.get(ANNOTATION_RELEASED_BY).is_some_and(|by| by.value.starts_with("team-a/"));
    let holder = held_by(found);
    let is_beside = holder.as_ref().map_or(released_by, |(tenant, _)| tenant == "team-a");
    is_beside && mark.starts_with("/Project/team-a/") && mark.ends_with(&format!("//{name}"))
}

/// Whether whoever created a namespace asks for the Project, and may.
pub(super) fn requested(
    project: &Project,
    world: &ModelCluster,
    name: &str,
    found: &ModelObject,
    is_held: bool,
) -> bool {
    let label = |key: &str| found.labels.get(key).map(|field| field.value.as_str());
    let asks = label(LABEL_PROJECT_NAMESPACE) == Some("team-a") && label(LABEL_PROJECT) == Some("shop");
    let is_guarded = is_held || world.guarded_since.is_some();
    asks && is_guarded && project.spec.self_service.is_some() && name.starts_with("team-a-")
}

/// Whether as many namespaces are the Project's on request as it allows.
fn is_full(project: &Project, world: &ModelCluster) -> bool {
    let is_ours = |(name, found): &(&String, &ModelObject)| {
        held_by(found) == Some(key(project)) && listed(project, name).is_none() && !found.terminating
    };
    let ours = world.namespaces.iter().filter(is_ours);
    let held = ours.filter(|(name, found)| requested(project, world, name, found, true)).count();
    project.spec.self_service.as_ref().is_none_or(|spec| held >= usize::try_from(spec.max_namespaces).unwrap())
}

/// Equal but for what another client keeps setting.
fn same(was: &ModelObject, is: &ModelObject) -> bool {
    let (mut was, mut is) = (was.clone(), is.clone());
    if let (Some((key, _)), true) = (was.drifting.clone(), held_by(&was) == held_by(&is)) {
        was.labels.remove(&key);
        is.labels.remove(&key);
    }
    (was.labels, was.annotations, was.terminating) == (is.labels, is.annotations, is.terminating)
}

/// Whether every field that another client set and that the Project does not want otherwise is still as it was.
fn keeps(was: &Fields, is: &Fields, wanted: &BTreeSet<String>) -> bool {
    let theirs = was.iter().filter(|(key, field)| field.managers.contains(&Manager::Other) && !wanted.contains(*key));
    theirs.into_iter().all(|(key, field)| is.get(key).is_some_and(|now| now.value == field.value))
}

/// The keys of labels that may go: those of the spec and, with what is released, those by which it asks for a Project.
fn labels_to_take(project: &Project, wanted: Option<&ProjectNamespace>, is_released: bool) -> BTreeSet<String> {
    let requests = [LABEL_PROJECT, LABEL_PROJECT_NAMESPACE].into_iter().filter(|_| is_released);
    keys(project, wanted).into_iter().chain(requests.map(str::to_owned)).collect()
}

fn keys(project: &Project, wanted: Option<&ProjectNamespace>) -> BTreeSet<String> {
    let common = project.spec.namespace_metadata.iter().flat_map(|all| all.labels.keys().chain(all.annotations.keys()));
    let own = wanted.into_iter().flat_map(|wanted| wanted.labels.keys().chain(wanted.annotations.keys()));
    common.chain(own).cloned().collect()
}

/// Namespace and name of the Project that holds a namespace.
pub(super) fn held_by(namespace: &ModelObject) -> Option<(String, String)> {
    let label = |key: &str| namespace.labels.get(key).map(|field| field.value.clone());
    label(LABEL_OWNER_NAMESPACE).zip(label(LABEL_OWNER_NAME))
}

pub(super) fn key(project: &Project) -> (String, String) {
    let meta = &project.metadata;
    (meta.namespace.clone().unwrap(), meta.name.clone().unwrap())
}

fn deleting(project: &Project) -> bool {
    project.metadata.deletion_timestamp.is_some()
}

fn listed<'a>(project: &'a Project, name: &str) -> Option<&'a ProjectNamespace> {
    project.spec.namespaces.iter().find(|wanted| wanted.name == name)
}

fn protected(world: &ModelCluster, name: &str) -> bool {
    name == "kube-system" || world.cluster.spec.protected_namespaces.iter().any(|protected| protected == name)
}

fn tenancies(world: &ModelCluster) -> Vec<&Tenant> {
    let gold = world.tenant_labels.as_ref().is_some_and(|labels| labels.get("grade").is_some_and(|v| v == "gold"));
    let lets_in = |tenant: &&Tenant| match &tenant.from {
        NamespaceSelection::Names(names) => names.iter().any(|name| name == "team-a"),
        NamespaceSelection::Selector(_) => gold,
        NamespaceSelection::All(_) => true,
    };
    world.cluster.spec.tenants.iter().filter(lets_in).collect()
}

fn allowing<'a>(world: &'a ModelCluster, name: &str) -> Vec<&'a Tenant> {
    let matches = |pattern: &String| match pattern.split_once('*') {
        Some((head, _)) => name.starts_with(head),
        None => pattern == name,
    };
    tenancies(world).into_iter().filter(|tenant| tenant.namespace_patterns.iter().any(matches)).collect()
}

/// Whether Drover created a namespace for `team-a/shop`.
pub(super) fn is_created(name: &str, namespace: &ModelObject) -> bool {
    namespace.annotations.get(ANNOTATION_CREATED).is_some_and(|mark| mark.value == created_mark("team-a/shop", name))
}

/// Whether Drover created a namespace for `team-a/shop`, which released it.
pub(super) fn came_from_us(name: &str, namespace: &ModelObject) -> bool {
    let released_by = namespace.annotations.get(ANNOTATION_RELEASED_BY);
    is_created(name, namespace) && released_by.is_some_and(|by| by.value == "team-a/shop")
}

/// Whether every entry that allows this one more namespace is full. What is terminating may be gone before it is made.
pub(super) fn no_room(world: &ModelCluster, name: &str) -> bool {
    let theirs = |(_, namespace): &(&String, &ModelObject)| {
        !namespace.terminating && held_by(namespace).is_some_and(|(tenant, _)| tenant == "team-a")
    };
    let held: Vec<_> =
        world.namespaces.iter().filter(theirs).map(|(name, _)| name).filter(|held| *held != name).collect();
    let is_full = |tenant: &&Tenant| {
        let allowed = held.iter().filter(|held| allowing(world, held).contains(tenant)).count();
        tenant.max_namespaces.is_some_and(|most| allowed >= usize::try_from(most).unwrap())
    };
    allowing(world, name).iter().all(is_full)
}

/// Whether one of the labels and annotations is allowed by no entry that allows the namespace.
fn sets_more_than_it_may(project: &Project, world: &ModelCluster, name: &str) -> bool {
    let allowing = allowing(world, name);
    let allowed = |key: &String| {
        let mut patterns = allowing.iter().flat_map(|tenant| &tenant.metadata_keys);
        patterns.any(|pattern| pattern == "*" || pattern == key || (pattern == "t*" && key.starts_with('t')))
    };
    !keys(project, listed(project, name)).iter().all(allowed)
}
