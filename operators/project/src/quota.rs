//! The resource quota of a namespace: its part of what its Project may use at one cluster. Pure.

use std::collections::{BTreeMap, BTreeSet};

use drover_crds::{Cluster, ClusterQuotaStatus, Project, ProjectNamespace, names::ANNOTATION_APPLIED};
use drover_runtime::{
    fan_out::Obstacle,
    quantity::{Amount, canonical},
    write::desired_hash,
};
use k8s_openapi::{
    api::core::v1::{LimitRange, ResourceQuota, ResourceQuotaSpec},
    apimachinery::pkg::api::resource::Quantity,
};
use kube::ResourceExt as _;

use crate::{
    allocate::{Amounts, Claim, allocate},
    cause::ProjectCause,
    guards::{Guard, meta},
    observe::{Seen, World},
    plan::obstacle,
};

type Quantities = BTreeMap<String, Quantity>;

/// What is counted in pieces besides what has a `/` in its name.
const PIECES: [&str; 9] = [
    "configmaps",
    "persistentvolumeclaims",
    "pods",
    "replicationcontrollers",
    "resourcequotas",
    "secrets",
    "services",
    "services.loadbalancers",
    "services.nodeports",
];
/// What every container has to state where a quota bounds it.
const STATED_BY_PODS: [&str; 6] = ["cpu", "limits.cpu", "limits.memory", "memory", "requests.cpu", "requests.memory"];
/// So many resources are named in a message.
const MOST_NAMED: usize = 5;

impl Guard for ResourceQuota {
    /// What another client adds only makes it narrower.
    const WHOLE: &'static [&'static str] = &[];

    /// With all that the namespace requests, whether it fits or not.
    fn wanted(project: &Project, _: &Cluster, namespace: &ProjectNamespace) -> Result<Option<Self>, Obstacle> {
        let requested = requested(project, namespace)?;
        Ok((!requested.is_empty()).then(|| resource_quota(&namespace.name, requested)))
    }
}

fn resource_quota(namespace: &str, hard: Quantities) -> ResourceQuota {
    let spec = ResourceQuotaSpec { hard: Some(hard), ..ResourceQuotaSpec::default() };
    ResourceQuota { metadata: meta(namespace), spec: Some(spec), status: None }
}

/// What a namespace requests, as an API server stores it. Of what is added up over all namespaces, one that requests nothing gets
/// nothing: else it could use any amount.
fn requested(project: &Project, namespace: &ProjectNamespace) -> Result<Quantities, Obstacle> {
    let quota = project.spec.quota.clone().unwrap_or_default();
    let per_cluster = stored("quota.perCluster", &quota.per_cluster, namespace)?;
    let mut requested: Quantities = per_cluster.into_keys().map(|resource| (resource, Quantity("0".into()))).collect();
    requested.extend(stored("quota.namespaceDefault", &quota.namespace_default, namespace)?);
    requested.extend(stored("quota", &namespace.quota, namespace)?);
    Ok(requested)
}

fn stored(field: &str, quantities: &Quantities, namespace: &ProjectNamespace) -> Result<Quantities, Obstacle> {
    let stored = |(resource, quantity): (&String, &Quantity)| match canonical(&quantity.0) {
        Some(quantity) if is_countable(resource, &quantity) => Ok((resource.clone(), quantity)),
        _ => Err(invalid(field, resource, &namespace.name)),
    };
    quantities.iter().map(stored).collect()
}

/// Whether there may be so much of it: no half pods. What has a `/` in its name is counted in pieces, too, but for what Kubernetes
/// itself requests for containers.
fn is_countable(resource: &str, quantity: &Quantity) -> bool {
    let is_extended =
        resource.contains('/') && !resource.contains("kubernetes.io/") && !resource.starts_with("requests.");
    let amount = Amount::parse(&quantity.0).unwrap_or_default();
    amount >= Amount::default() && (amount.is_whole() || !(is_extended || PIECES.contains(&resource)))
}

fn amounts(quantities: &Quantities) -> Amounts {
    let amount = |(resource, quantity): (&String, &Quantity)| Some((resource.clone(), Amount::parse(&quantity.0)?));
    quantities.iter().filter_map(amount).collect()
}

/// The quota of the Project at one cluster, and what of it each namespace gets; nothing where Drover may not see what is granted.
#[derive(Default)]
pub(crate) struct Quotas {
    per_cluster: Quantities,
    claims: Vec<Claim>,
    grants: BTreeMap<String, Amounts>,
}

impl Quotas {
    /// Divides the quota among the namespaces of these names, which the Project holds or takes up just now. What else it holds keeps what
    /// it has.
    pub(crate) fn of(project: &Project, world: &World, takers: &BTreeSet<&str>) -> Self {
        if world.guards.quota.refused {
            return Self::default();
        }
        let quota = project.spec.quota.clone().unwrap_or_default();
        let takers = project.spec.namespaces.iter().filter(|wanted| takers.contains(&*wanted.name));
        let mut requests: BTreeMap<&str, Option<Amounts>> =
            takers.map(|wanted| (&*wanted.name, requested(project, wanted).ok().map(|all| amounts(&all)))).collect();
        let held = world.namespaces.iter().filter(|(_, seen)| seen.held().is_some());
        for (name, _) in held {
            requests.entry(name).or_default();
        }
        let claims: Vec<Claim> =
            requests.into_iter().map(|(namespace, requested)| claim(world, namespace, requested)).collect();
        let grants = allocate(&amounts(&quota.per_cluster), quota.overflow, &claims);
        Self { per_cluster: quota.per_cluster, claims, grants }
    }

    /// The resource quota that a namespace should have, if it should have one.
    pub(crate) fn wanted(
        &self,
        project: &Project,
        world: &World,
        namespace: &ProjectNamespace,
    ) -> Result<Option<ResourceQuota>, Obstacle> {
        let mut wanted = ResourceQuota::wanted(project, &world.cluster, namespace)?;
        let hard = wanted.iter_mut().filter_map(|wanted| wanted.spec.as_mut()?.hard.as_mut()).flatten();
        let grants = self.grants.get(&namespace.name);
        for (resource, quantity) in hard {
            let granted = grants.and_then(|grants| grants.get(resource)).copied().unwrap_or_default();
            *quantity = granted.spelled_like(&quantity.0);
        }
        Ok(wanted)
    }

    /// What the namespaces may use together, and what is left; nothing where nothing is added up.
    pub(crate) fn status(&self, cluster: &str) -> Option<ClusterQuotaStatus> {
        let (mut allocated, mut available) = (Quantities::new(), Quantities::new());
        for (resource, most) in &self.per_cluster {
            let usable = self.claims.iter().filter_map(|claim| claim.usable.get(resource));
            let sum = usable.fold(Amount::default(), |sum, amount| sum.plus(*amount));
            allocated.insert(resource.clone(), sum.spelled_like(&most.0));
            available.insert(resource.clone(), Amount::parse(&most.0)?.minus(sum).spelled_like(&most.0));
        }
        (!allocated.is_empty()).then(|| ClusterQuotaStatus { cluster: cluster.to_owned(), allocated, available })
    }

    /// Of what more was granted than there is since the quota was lowered.
    pub(crate) fn overcommitment(&self, cluster: &str) -> Option<Obstacle> {
        let is_over = |(resource, most): &(&String, &Quantity)| {
            let grants = self.grants.values().filter_map(|grants| grants.get(*resource));
            let sum = grants.fold(Amount::default(), |sum, grant| sum.plus(*grant));
            Amount::parse(&most.0).is_some_and(|most| sum > most)
        };
        let over: Vec<&str> = self.per_cluster.iter().filter(is_over).map(|(resource, _)| &**resource).collect();
        (!over.is_empty()).then(|| overcommitted(&over, cluster))
    }

    /// Of what this namespace gets less than it requests.
    pub(crate) fn shortage(&self, namespace: &str, cluster: &str) -> Option<Obstacle> {
        let (claim, grants) =
            (self.claims.iter().find(|claim| claim.namespace == namespace)?, self.grants.get(namespace)?);
        let lacks =
            |(resource, requested): &(&String, &Amount)| grants.get(*resource).is_none_or(|grant| grant < *requested);
        let lacking: Vec<&str> =
            claim.requested.iter().flatten().filter(lacks).map(|(resource, _)| &**resource).collect();
        (!lacking.is_empty()).then(|| exhausted(&lacking, namespace, cluster))
    }
}

fn claim(world: &World, namespace: &str, requested: Option<Amounts>) -> Claim {
    let seen = world.namespaces.get(namespace).and_then(Seen::meta);
    let created = seen.and_then(|meta| meta.creation_timestamp.as_ref()).map(|created| created.0);
    let live = world.guards.quota.of(namespace);
    let hard = live.and_then(|live| live.spec.as_ref()?.hard.clone()).unwrap_or_default();
    let usable = amounts(&hard);
    let is_granted = live.is_some_and(|live| {
        live.annotations().get(ANNOTATION_APPLIED) == Some(&desired_hash(&resource_quota(namespace, hard)))
    });
    Claim { namespace: namespace.to_owned(), created, requested, usable, is_granted }
}

/// The first resource of which pods of a namespace have to state how much they need, as its quota bounds that and a `LimitRange` gives
/// them nothing: Kubernetes refuses pods that do not.
pub(crate) fn to_state(quota: &ResourceQuota, limits: Option<&LimitRange>) -> Option<String> {
    let item = limits.and_then(|limits| limits.spec.as_ref()?.limits.first());
    let gives = |amounts: Option<&Option<Quantities>>, resource: &str| {
        amounts.and_then(Option::as_ref).is_some_and(|amounts| amounts.contains_key(resource))
    };
    let is_given = |resource: &str| match resource.strip_prefix("limits.") {
        Some(limited) => gives(item.map(|item| &item.default), limited),
        None => gives(item.map(|item| &item.default_request), resource.trim_start_matches("requests.")),
    };
    let hard = quota.spec.as_ref()?.hard.as_ref()?;
    hard.keys().find(|resource| STATED_BY_PODS.contains(&&***resource) && !is_given(resource)).cloned()
}

fn invalid(field: &str, resource: &str, namespace: &str) -> Obstacle {
    let message = format!(
        "{field} of {resource} for namespace {namespace} is no quantity that Kubernetes keeps for it; write one below 2^63, and a whole number for what is counted"
    );
    obstacle(namespace, ProjectCause::InvalidQuantity, message)
}

fn named(resources: &[&str]) -> String {
    let more = if resources.len() > MOST_NAMED { ", …" } else { "" };
    format!("{}{more}", resources.iter().take(MOST_NAMED).copied().collect::<Vec<_>>().join(", "))
}

fn exhausted(resources: &[&str], namespace: &str, cluster: &str) -> Obstacle {
    let message = format!(
        "namespace {namespace} on cluster {cluster} gets less {} than it requests, because the rest of spec.quota.perCluster is granted to others; raise it, or lower what namespaces request",
        named(resources)
    );
    obstacle(namespace, ProjectCause::QuotaExhausted, message)
}

fn overcommitted(resources: &[&str], cluster: &str) -> Obstacle {
    let message = format!(
        "namespaces on cluster {cluster} were granted more {} than spec.quota.perCluster allows now, and they keep it; raise it, or lower what namespaces request",
        named(resources)
    );
    Obstacle { namespace: None, cause: ProjectCause::Overcommitted.into(), message }
}
