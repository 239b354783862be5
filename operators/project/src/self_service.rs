//! Namespaces that members create themselves, as the plan of a Project sees them at one cluster. Pure.

use std::{borrow::Cow, collections::BTreeSet};

use drover_crds::{Cluster, Project, ProjectNamespace, SelfService, Tenant, names::LOCAL_CLUSTER};
use drover_grants::{Grants, Scope};
use drover_runtime::{
    ObjectKey, StatusCause,
    fan_out::Obstacle,
    owned::{Change, each_alone},
};
use drover_self_service::{Creators, Given, Judged, MayCreate, Refusal, Requests, SETTLING, Towards, asked};
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt as _;

use crate::{
    act::Action,
    cause::ProjectCause,
    observe::{Seen, World},
    plan::obstacle,
};

/// What is known of it at one cluster.
#[derive(Clone, Debug, Default)]
pub struct Served {
    /// The namespaces that ask for the Project.
    pub requests: Requests,
    /// What becomes of them.
    pub judged: Judged,
    /// What lets members create them.
    pub given: Given,
    /// Whether the credential of the cluster lacks the rights to let anybody.
    pub refused: bool,
}

/// The self-service of a Project, where there is one: none in the management cluster, where namespaces may be tenants.
fn offered<'a>(project: &'a Project, cluster: &Cluster) -> Option<&'a SelfService> {
    project.spec.self_service.as_ref().filter(|_| cluster.name_any() != LOCAL_CLUSTER)
}

/// What becomes of the namespaces that ask for a Project.
pub(crate) fn judge(project: &Project, cluster: &Cluster, requests: &Requests) -> Judged {
    let lists = |name: &str| project.spec.namespaces.iter().any(|wanted| wanted.name == name);
    offered(project, cluster).map(|spec| requests.judge(spec, lists)).unwrap_or_default()
}

/// The Project as if it listed these namespaces: from then on they are like any other of it.
pub(crate) fn listing<'a>(project: &'a Project, names: &BTreeSet<String>) -> Cow<'a, Project> {
    if names.is_empty() {
        return Cow::Borrowed(project);
    }
    let mut project = project.clone();
    let listed = names.iter().map(|name| ProjectNamespace { name: name.clone(), ..ProjectNamespace::default() });
    project.spec.namespaces.extend(listed);
    Cow::Owned(project)
}

/// The namespaces that the Project takes up on request, and that are still there and still ask by whatever was seen last.
pub(crate) fn taken_up(project: &Project, world: &World) -> BTreeSet<String> {
    let key = Some(ObjectKey::of(&project.metadata));
    let asks = |name: &&String| world.namespaces.get(*name).and_then(Seen::meta).and_then(asked) == key;
    world.served.judged.taken.iter().filter(asks).cloned().collect()
}

/// What is to be done about those who may create namespaces.
#[derive(Debug, Default)]
pub(crate) struct CreatorsPlan {
    /// What takes rights away, or may do so.
    pub(crate) revocations: Vec<Vec<Action>>,
    /// What gives rights.
    pub(crate) grants: Vec<Vec<Action>>,
    /// Bindings that should be there.
    pub(crate) wanted: usize,
    /// Those that are as they should be.
    pub(crate) ready: usize,
    /// What is left alone, and why.
    pub(crate) problems: Vec<Obstacle>,
    /// When to look again.
    pub(crate) again: Option<Timestamp>,
}

impl CreatorsPlan {
    /// Those who `may_create` namespaces of the Project do so once the policy is in force that holds them to these; with [`Scope::NoMore`]
    /// only those who may already.
    pub(crate) fn of(
        project: &Project,
        world: &World,
        tenancies: &[&Tenant],
        may_create: &MayCreate,
        scope: Scope,
        now: Timestamp,
    ) -> Self {
        let prefixes = offered(project, &world.cluster).into_iter().flat_map(|spec| &spec.name_prefixes);
        let prefixes = prefixes.filter(|prefix| is_allowed(&world.cluster, tenancies, prefix)).cloned().collect();
        let subjects = may_create.subjects(&world.served.given);
        let creators = Creators { project: ObjectKey::of(&project.metadata), prefixes, subjects };
        let settled = world.served.requests.guarded_since.map(|since| since + SETTLING);
        let may_grow = scope == Scope::All && !world.served.refused && settled.is_some_and(|settled| settled <= now);
        let mut plan = Self::towards(&creators, world, may_grow);
        if plan.ready < plan.wanted {
            plan.again = settled.filter(|settled| *settled > now);
            plan.problems.extend(Grants::not_permitted(&world.cluster).obstacle().filter(|_| world.served.refused));
        }
        plan
    }

    fn towards(creators: &Creators, world: &World, may_grow: bool) -> Self {
        let Towards { roles, bindings, wanted, ready } = creators.towards(&world.served.given, may_grow);
        let left = [roles.left_alone, bindings.left_alone].concat();
        let problems = left.into_iter().map(|(key, cause)| left_alone(&world.cluster, &key, cause)).collect();
        let (new_roles, roles): (Vec<_>, Vec<_>) = roles.changes.into_iter().partition(is_new);
        let (new_bindings, bindings): (Vec<_>, Vec<_>) = bindings.changes.into_iter().partition(is_new);
        let bindings = bindings.into_iter().map(Action::Creators);
        // Who loses the right does so before it grows; what only takes away waits for nothing.
        let (growing, narrowing): (Vec<_>, Vec<_>) = roles.into_iter().partition(
            |change| matches!(change, Change::Apply { desired, .. } if world.served.given.lets_grow(desired)),
        );
        let (growing, narrowing) =
            (growing.into_iter().map(Action::CreatorsRole), narrowing.into_iter().map(Action::CreatorsRole));
        let in_turn: Vec<Action> = bindings.chain(growing).collect();
        let role_grows = in_turn.iter().any(|action| matches!(action, Action::CreatorsRole(_)));
        let revocations = if role_grows { vec![in_turn] } else { each_alone(in_turn) };
        let revocations = revocations.into_iter().chain(narrowing.map(|action| vec![action]));
        let given: Vec<_> = new_roles
            .into_iter()
            .map(Action::CreatorsRole)
            .chain(new_bindings.into_iter().map(Action::Creators))
            .collect();
        let grants = if given.is_empty() { Vec::new() } else { vec![given] };
        Self { revocations: revocations.collect(), grants, wanted, ready, problems, again: None }
    }
}

fn is_new<K>(change: &Change<K>) -> bool {
    matches!(change, Change::Create { .. })
}

/// Takes the right to create namespaces from everybody, each change alone.
pub(crate) fn revoke_all(world: &World) -> Vec<Vec<Action>> {
    CreatorsPlan::towards(&Creators::default(), world, false).revocations
}

/// Whether a tenant entry allows every name that begins like this, and the cluster protects none of them.
pub(crate) fn is_allowed(cluster: &Cluster, tenancies: &[&Tenant], prefix: &str) -> bool {
    let protects = |pattern: &String| {
        let fixed = pattern.split('*').next().unwrap_or_default();
        !fixed.is_empty() && (fixed.starts_with(prefix) || prefix.starts_with(fixed))
    };
    !cluster.spec.protected_namespaces.iter().any(protects)
        && tenancies.iter().flat_map(|tenant| &tenant.namespace_patterns).any(|pattern| {
            let fixed = pattern.strip_suffix('*').filter(|fixed| !fixed.contains('*'));
            fixed.is_some_and(|fixed| prefix.starts_with(fixed))
        })
}

/// What is in the way of it, apart from the namespaces that are taken up.
pub(crate) fn problems(project: &Project, world: &World, tenancies: &[&Tenant]) -> Vec<Obstacle> {
    let cluster = world.cluster.name_any();
    let Some(spec) = offered(project, &world.cluster) else {
        return project.spec.self_service.iter().map(|_| not_here()).collect();
    };
    let refusals = &world.served.judged.refused;
    let outside = spec.name_prefixes.iter().find(|prefix| !is_allowed(&world.cluster, tenancies, prefix));
    let mut problems: Vec<_> = outside.map(|prefix| not_allowed(project, &cluster, prefix)).into_iter().collect();
    problems.extend(world.served.requests.overlap(spec).map(|(own, rival, theirs)| {
        let message = format!(
            "namePrefix {own} overlaps {theirs} of Project {} on cluster {cluster}, so neither Project takes up new namespaces that begin with both; change one of them",
            rival.key
        );
        Obstacle { namespace: None, cause: ProjectCause::PrefixesOverlap.into(), message }
    }));
    problems.extend(refusals.iter().filter_map(|(name, refusal)| refused(&cluster, name, refusal)));
    let is_surplus = |(_, refusal): &(String, Refusal)| *refusal == Refusal::Surplus;
    problems.extend(refusals.iter().find(|found| is_surplus(found)).map(|_| surplus(&cluster)));
    problems
}

fn refused(cluster: &str, name: &str, refusal: &Refusal) -> Option<Obstacle> {
    let (cause, message) = match refusal {
        // Told once for all of them.
        Refusal::Surplus | Refusal::Overlap(_) => return None,
        Refusal::NoPrefix => (
            ProjectCause::NamespaceNotEntitled,
            format!(
                "namespace {name} on cluster {cluster} asks for this Project and begins with none of its namePrefixes, so it does not belong to it; list it in spec.namespaces, or remove its labels drover.dev/project and drover.dev/project-namespace"
            ),
        ),
        Refusal::Listed(other) => (
            ProjectCause::NamespaceTaken,
            format!(
                "namespace {name} on cluster {cluster} asks for this Project, and Project {other} lists it; remove it there, or its labels drover.dev/project and drover.dev/project-namespace"
            ),
        ),
        Refusal::Unguarded => (
            ProjectCause::RequestNotGuarded,
            format!(
                "namespace {name} on cluster {cluster} asks for this Project since before the admission policy of self-service was in force there, so nobody knows who labelled it; create it again, or list it in spec.namespaces"
            ),
        ),
    };
    Some(obstacle(name, cause, message))
}

fn surplus(cluster: &str) -> Obstacle {
    let message = format!(
        "more namespaces on cluster {cluster} ask for this Project than spec.selfService.maxNamespaces allows, and the youngest of them do not belong to it; raise the number, or delete some"
    );
    Obstacle { namespace: None, cause: ProjectCause::SelfServiceLimitReached.into(), message }
}

fn not_here() -> Obstacle {
    let message = format!(
        "spec.selfService has no effect on cluster {LOCAL_CLUSTER}, where a namespace may be a tenant; remove the cluster from spec.clusters, or use a Project of its own there"
    );
    Obstacle { namespace: None, cause: ProjectCause::SelfServiceNotHere.into(), message }
}

fn not_allowed(project: &Project, cluster: &str, prefix: &str) -> Obstacle {
    let from = project.namespace().unwrap_or_default();
    let message = format!(
        "no tenant entry of Cluster {cluster} allows {from} every namespace that begins with {prefix}, so no member may create such there; choose a prefix inside its namespacePatterns and outside of protectedNamespaces, or ask its owner to add the pattern {prefix}*"
    );
    Obstacle { namespace: None, cause: ProjectCause::PrefixNotAllowed.into(), message }
}

fn left_alone(cluster: &Cluster, key: &ObjectKey, cause: StatusCause) -> Obstacle {
    let message = format!(
        "Drover leaves {} on cluster {} alone for now: {}",
        key.name,
        cluster.name_any(),
        cause.cause().remedy()
    );
    Obstacle { namespace: None, cause: cause.into(), message }
}
