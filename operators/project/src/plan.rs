//! What to do at one cluster. Pure.

use std::{collections::BTreeMap, fmt, sync::Arc};

use drover_crds::{
    AdoptPolicy, DeletionPolicy, OnExisting, Project, ProjectNamespace, Tenant,
    names::{ANNOTATION_ADOPTED, ANNOTATION_APPLIED, ANNOTATION_RELEASED_BY},
};
use drover_runtime::{
    Cause, Next, ObjectKey, StatusCause, Step, operator::Plan, place::leaving, write::fingerprint_of,
};
use k8s_openapi::{
    api::core::v1::Namespace,
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
    jiff::{SignedDuration, Timestamp},
};
use kube::ResourceExt;

use crate::{
    ProjectOperator,
    cause::ProjectCause,
    consent::tenancies,
    observe::{Holder, Seen, World},
};

/// No watch shows what becomes of a namespace that is not ours, so it is looked at again after this time.
const LOOK_AGAIN: SignedDuration = SignedDuration::from_secs(60);

/// One change of one namespace.
#[derive(Clone, PartialEq)]
pub enum Action {
    /// It does not exist.
    Create(Box<Namespace>),
    /// It is ours and differs.
    Apply {
        /// As wanted.
        desired: Box<Namespace>,
        /// As it is.
        live: Box<ObjectMeta>,
        /// The fields that somebody changed back.
        reverted: Vec<String>,
    },
    /// It exists, and both sides agreed that we take it over.
    Adopt {
        /// As wanted.
        desired: Box<Namespace>,
        /// As it is.
        live: Box<ObjectMeta>,
    },
    /// Both sides agreed that we take it over, and its former holder has left without letting it go: that comes first, as an
    /// adopted namespace is not written by force, and the labels of the former holder would be a conflict.
    Free {
        /// As it is.
        live: Box<ObjectMeta>,
        /// The Project that its labels record.
        holder: ObjectKey,
    },
    /// It stays, and is not ours any more.
    Release(Box<ObjectMeta>),
    /// It goes, with everything in it.
    Delete(Box<ObjectMeta>),
}

impl fmt::Debug for Action {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (verb, name) = match self {
            Self::Create(desired) => ("create", desired.metadata.name.as_ref()),
            Self::Apply { live, .. } => ("apply", live.name.as_ref()),
            Self::Adopt { live, .. } => ("adopt", live.name.as_ref()),
            Self::Free { live, .. } => ("free", live.name.as_ref()),
            Self::Release(live) => ("release", live.name.as_ref()),
            Self::Delete(live) => ("delete", live.name.as_ref()),
        };
        write!(formatter, "{verb} Namespace {}", name.map_or("", String::as_str))
    }
}

/// What one cluster contributes to the status.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Part {
    /// Namespaces that should be there.
    pub wanted: i64,
    /// Those that are as they should be.
    pub ready: i64,
    /// What is in the way, and what to do about it.
    pub problems: Vec<Obstacle>,
}

/// Something that does not pass by itself.
#[derive(Clone, Debug, PartialEq)]
pub struct Obstacle {
    /// The namespace it is about; none if it is about the cluster.
    pub namespace: Option<String>,
    /// Why.
    pub cause: Cause,
    /// What happened and what to do next.
    pub message: String,
}

/// Decides for one cluster.
#[must_use]
pub fn plan(project: &Project, world: &World, now: Timestamp) -> Plan<ProjectOperator> {
    let leaving = leaving(&world.cluster);
    if leaving == Some(DeletionPolicy::Orphan) {
        return Plan { part: Part::default(), actions: Vec::new(), next: Next::Released };
    }
    let tenancies = if world.in_vault {
        Vec::new()
    } else {
        tenancies(&world.cluster, &project.namespace().unwrap_or_default(), world.tenant_labels.as_ref())
    };
    if project.metadata.deletion_timestamp.is_some() {
        return tear_down(project, world, &tenancies);
    }
    if leaving.is_some() {
        return leave(project, world);
    }
    let mut part = Part { wanted: count(project.spec.namespaces.len()), ..Part::default() };
    if tenancies.is_empty() {
        part.problems.push(no_tenant(project, world));
        return Plan { part, actions: Vec::new(), next: Next::Watch };
    }
    let mut actions = release_unlisted(project, world);
    let mut look_again = false;
    for wanted in &project.spec.namespaces {
        match verdict(project, world, &tenancies, wanted) {
            Verdict::Ready => part.ready += 1,
            Verdict::Act(action) => actions.push(action),
            Verdict::Waiting(obstacle) => part.problems.push(obstacle),
            Verdict::Blocked(obstacle) => {
                look_again = true;
                part.problems.push(obstacle);
            }
        }
    }
    if project.spec.suspend {
        actions.clear();
    }
    let next = if look_again { Next::At(now + LOOK_AGAIN) } else { Next::Watch };
    Plan { part, actions, next }
}

enum Verdict {
    Ready,
    Act(Action),
    /// Something is in the way, and a watch will tell when it is gone.
    Waiting(Obstacle),
    /// Something is in the way that no watch shows.
    Blocked(Obstacle),
}

fn verdict(project: &Project, world: &World, tenancies: &[&Tenant], wanted: &ProjectNamespace) -> Verdict {
    let name = &wanted.name;
    if world.cluster.spec.protects(name) {
        return blocked(name, ProjectCause::NamespaceProtected, protected(world, name));
    }
    let allowing: Vec<_> = tenancies.iter().filter(|tenant| tenant.allows_namespace(name)).collect();
    if allowing.is_empty() {
        return blocked(name, ProjectCause::NamespaceNotAllowed, not_allowed(project, world, name));
    }
    let desired = desired(project, wanted);
    match world.namespaces.get(name).unwrap_or(&Seen::Absent { elder: None }) {
        Seen::Absent { elder: Some(elder) } => blocked(name, ProjectCause::NamespaceTaken, left_to(world, name, elder)),
        Seen::Absent { elder: None } => Verdict::Act(Action::Create(Box::new(desired))),
        Seen::Ours { live, .. } if live.metadata.deletion_timestamp.is_some() => {
            Verdict::Waiting(obstacle(name, ProjectCause::Terminating, terminating(name)))
        }
        Seen::Ours { live, contested } => restore(desired, live, contested.as_deref()),
        Seen::Unlabelled { meta, .. } | Seen::Foreign { meta, .. } if meta.deletion_timestamp.is_some() => {
            blocked(name, ProjectCause::Terminating, terminating(name))
        }
        Seen::Unlabelled { meta, contested } => relabel(desired, meta, contested.as_deref()),
        Seen::Undecodable { meta } => blocked(name, StatusCause::UndecodableObject, undecodable(world, meta)),
        Seen::Foreign { holder: Some(holder), .. } if !holder.left => {
            blocked(name, ProjectCause::NamespaceTaken, taken(world, name, &holder.key))
        }
        Seen::Foreign { meta, holder } => {
            let agreed = wanted.on_existing == OnExisting::Adopt
                && allowing.iter().any(|tenant| tenant.adopt == AdoptPolicy::Allowed);
            match holder {
                Some(Holder { key, .. }) if agreed => {
                    Verdict::Act(Action::Free { live: meta.clone(), holder: key.clone() })
                }
                Some(Holder { key, .. }) => blocked(name, ProjectCause::NamespaceExists, left_behind(world, name, key)),
                None if agreed || was_released_by(meta, project) => {
                    Verdict::Act(Action::Adopt { desired: Box::new(desired), live: meta.clone() })
                }
                None => blocked(name, ProjectCause::NamespaceExists, exists(world, name)),
            }
        }
    }
}

fn restore(desired: Namespace, live: &Arc<Namespace>, contested: Option<&str>) -> Verdict {
    match Step::between(&desired, Some(live)) {
        Step::Keep => Verdict::Ready,
        Step::Create => Verdict::Act(Action::Create(Box::new(desired))),
        // A new wish is no fight, even over the same field.
        Step::Apply { reverted } if contested == Some(&fingerprint_of(&desired)) => {
            let name = live.name_any();
            blocked(&name, ProjectCause::FieldContested, fought_over(&name, &reverted))
        }
        Step::Apply { reverted } => {
            Verdict::Act(Action::Apply { desired: Box::new(desired), live: Box::new(live.metadata.clone()), reverted })
        }
    }
}

/// Ours, without the labels that say so: they come back, unless somebody keeps taking them.
fn relabel(desired: Namespace, live: &ObjectMeta, contested: Option<&str>) -> Verdict {
    let reverted = vec!["metadata.labels".to_owned()];
    if contested == Some(&fingerprint_of(&desired)) {
        let name = live.name.clone().unwrap_or_default();
        return blocked(&name, ProjectCause::FieldContested, fought_over(&name, &reverted));
    }
    Verdict::Act(Action::Apply { desired: Box::new(desired), live: Box::new(live.clone()), reverted })
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

/// What is ours and not listed any more is let go. It stays: a namespace is deleted only with its Project, on request.
fn release_unlisted(project: &Project, world: &World) -> Vec<Action> {
    let listed = |name: &String| project.spec.namespaces.iter().any(|wanted| wanted.name == *name);
    let unlisted = world.namespaces.iter().filter(|(name, _)| !listed(name));
    unlisted.filter_map(|(_, seen)| held(seen)).map(|live| Action::Release(Box::new(live.clone()))).collect()
}

/// The cluster is being deleted: whatever it was asked for, nothing is deleted with it, and all that is held is let go.
fn leave(project: &Project, world: &World) -> Plan<ProjectOperator> {
    let held: Vec<&ObjectMeta> = world.namespaces.values().filter_map(held).collect();
    let next = if held.is_empty() { Next::Released } else { Next::Watch };
    let release = |live: &ObjectMeta| Action::Release(Box::new(live.clone()));
    let actions = if project.spec.suspend { Vec::new() } else { held.into_iter().map(release).collect() };
    Plan { part: Part::default(), actions, next }
}

fn tear_down(project: &Project, world: &World, tenancies: &[&Tenant]) -> Plan<ProjectOperator> {
    let held: Vec<&ObjectMeta> = world.namespaces.values().filter_map(held).collect();
    let actions = held.iter().filter_map(|live| {
        let adopted = live.annotations().contains_key(ANNOTATION_ADOPTED);
        // Consent may have been withdrawn, and labels can be forged: what it may not hold is let go, never deleted.
        let may_hold = live.name.as_deref().is_some_and(|name| may_hold(world, tenancies, name));
        if project.spec.deletion_policy == DeletionPolicy::Delete && !adopted && may_hold {
            let going = live.deletion_timestamp.is_some();
            (!going).then(|| Action::Delete(Box::new((*live).clone())))
        } else {
            Some(Action::Release(Box::new((*live).clone())))
        }
    });
    let actions: Vec<Action> = if project.spec.suspend { Vec::new() } else { actions.collect() };
    let next = if held.is_empty() { Next::Released } else { Next::Watch };
    let going = held.iter().filter(|live| live.deletion_timestamp.is_some());
    let problems = going
        .filter_map(|live| live.name.as_deref())
        .map(|name| obstacle(name, ProjectCause::Terminating, going_away(world, name)));
    Plan { part: Part { wanted: count(held.len()), ready: 0, problems: problems.collect() }, actions, next }
}

/// Whether the cluster's owner lets the Project hold the namespace of this name.
fn may_hold(world: &World, tenancies: &[&Tenant], name: &str) -> bool {
    !world.cluster.spec.protects(name) && tenancies.iter().any(|tenant| tenant.allows_namespace(name))
}

fn held(seen: &Seen) -> Option<&ObjectMeta> {
    match seen {
        Seen::Ours { live, .. } => Some(&live.metadata),
        Seen::Unlabelled { meta, .. } | Seen::Undecodable { meta } => Some(meta),
        Seen::Absent { .. } | Seen::Foreign { .. } => None,
    }
}

/// Whether this very Project let the namespace go: it may take it up again without being asked, for example after a folder
/// was renamed in Git and everything was deleted and created again.
fn was_released_by(meta: &ObjectMeta, project: &Project) -> bool {
    let released_by = meta.annotations.as_ref().and_then(|all| all.get(ANNOTATION_RELEASED_BY));
    released_by.is_some_and(|by| *by == ObjectKey::of(&project.metadata).to_string())
}

fn blocked(namespace: &str, cause: impl Into<Cause>, message: String) -> Verdict {
    Verdict::Blocked(obstacle(namespace, cause, message))
}

fn obstacle(namespace: &str, cause: impl Into<Cause>, message: String) -> Obstacle {
    Obstacle { namespace: Some(namespace.to_owned()), cause: cause.into(), message }
}

fn no_tenant(project: &Project, world: &World) -> Obstacle {
    let (cluster, namespace) = (world.cluster.name_any(), project.namespace().unwrap_or_default());
    if world.in_vault {
        let message = format!(
            "{namespace} is Drover's own namespace, from which no cluster lets anything in; create the Project in another namespace"
        );
        return Obstacle { namespace: None, cause: ProjectCause::NotATenant.into(), message };
    }
    Obstacle {
        namespace: None,
        cause: ProjectCause::NotATenant.into(),
        message: format!(
            "cluster {cluster} does not let namespace {namespace} in; its owner has to add it to spec.tenants of Cluster {cluster}"
        ),
    }
}

fn protected(world: &World, name: &str) -> String {
    let cluster = world.cluster.name_any();
    format!(
        "namespace {name} is protected on cluster {cluster}; choose another name, or change spec.protectedNamespaces of Cluster {cluster}"
    )
}

fn not_allowed(project: &Project, world: &World, name: &str) -> String {
    let (cluster, from) = (world.cluster.name_any(), project.namespace().unwrap_or_default());
    format!(
        "no tenant entry of cluster {cluster} lets {from} hold namespace {name}; choose a name that its namespacePatterns allow, or ask its owner to add one"
    )
}

fn fought_over(name: &str, reverted: &[String]) -> String {
    let fields = if reverted.is_empty() { ANNOTATION_APPLIED.to_owned() } else { reverted.join(", ") };
    format!("somebody keeps changing {fields} of namespace {name} back; it is left alone for now: settle who owns it")
}

fn undecodable(world: &World, meta: &ObjectMeta) -> String {
    format!(
        "namespace {} on cluster {} cannot be decoded, so Drover leaves it as it is; correct or remove it",
        meta.name.as_deref().unwrap_or_default(),
        world.cluster.name_any()
    )
}

fn terminating(name: &str) -> String {
    format!(
        "namespace {name} is being deleted; once it is gone it is created again, for the oldest Project that wants it"
    )
}

fn going_away(world: &World, name: &str) -> String {
    format!(
        "namespace {name} on cluster {} is being deleted and still there; `kubectl get namespace {name} -o yaml` there shows what it waits for",
        world.cluster.name_any()
    )
}

fn taken(world: &World, name: &str, holder: &ObjectKey) -> String {
    format!(
        "namespace {name} on cluster {} is held by Project {holder}; remove it from one of the two",
        world.cluster.name_any()
    )
}

fn left_to(world: &World, name: &str, elder: &ObjectKey) -> String {
    format!(
        "namespace {name} on cluster {} is left to Project {elder}, which wants it as well and is older; remove it from one of the two",
        world.cluster.name_any()
    )
}

fn left_behind(world: &World, name: &str, holder: &ObjectKey) -> String {
    format!(
        "namespace {name} on cluster {} was left by Project {holder}; to take it over, set onExisting: Adopt here and adopt: Allowed in the tenant entry of that Cluster",
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

trait Annotated {
    fn annotations(&self) -> &BTreeMap<String, String>;
}

impl Annotated for ObjectMeta {
    fn annotations(&self) -> &BTreeMap<String, String> {
        static NONE: BTreeMap<String, String> = BTreeMap::new();
        self.annotations.as_ref().unwrap_or(&NONE)
    }
}
