//! What one cluster contributes to the status, and how its guards are counted. Pure.

use drover_crds::{ClusterQuotaStatus, Project, ProjectNamespace};
use drover_runtime::fan_out::Obstacle;
use k8s_openapi::api::{
    core::v1::{LimitRange, ResourceQuota},
    networking::v1::NetworkPolicy,
};
use kube::ResourceExt as _;

use crate::{
    guards::{Decided, Guard},
    observe::World,
    pod_security,
    quota::{Quotas, to_state},
};

/// What one cluster contributes to the status.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PlaceStatus {
    /// Namespaces that should be there.
    pub wanted: i64,
    /// Those that are as they should be.
    pub ready: i64,
    /// The namespaces with pod security levels.
    pub pod_security: Guarded,
    /// The namespaces with a quota.
    pub quota: Guarded,
    /// What is granted of the quota, where it is added up.
    pub granted: Option<ClusterQuotaStatus>,
    /// What containers of a namespace have to state because of its quota, where nothing is stated for them.
    pub to_state: Option<String>,
    /// The namespaces that are isolated.
    pub isolation: Guarded,
    /// The role bindings, over all namespaces.
    pub members: Guarded,
    /// The namespaces with Secrets of the Project.
    pub secrets: Guarded,
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

impl PlaceStatus {
    pub(crate) fn count_levels(&mut self, project: &Project, world: &World, wanted: &ProjectNamespace) {
        let levels = pod_security::labels(&project.spec, wanted, &world.cluster.spec);
        self.pod_security.count(!levels.is_empty(), world.carries(&wanted.name, &levels));
    }

    pub(crate) fn count_secrets(&mut self, is_wanted: bool, is_ready: bool) {
        self.secrets.count(is_wanted, is_ready);
    }

    pub(crate) fn count_isolation(
        &mut self,
        project: &Project,
        world: &World,
        wanted: &ProjectNamespace,
        guards: &[Decided],
    ) {
        let is_wanted = !matches!(NetworkPolicy::wanted(project, &world.cluster, wanted), Ok(None));
        self.isolation.count(is_wanted, is_ready::<NetworkPolicy>(guards));
    }

    /// What the quota comes to at this cluster.
    pub(crate) fn tell_quota(&mut self, quotas: &Quotas, world: &World) {
        let cluster = world.cluster.name_any();
        self.granted = quotas.status(&cluster);
        self.problems.extend(quotas.overcommitment(&cluster));
    }

    pub(crate) fn count_quota(
        &mut self,
        project: &Project,
        world: &World,
        wanted: &ProjectNamespace,
        guards: &[Decided],
        quotas: &Quotas,
    ) {
        let (quota, limits) = (
            ResourceQuota::wanted(project, &world.cluster, wanted),
            LimitRange::wanted(project, &world.cluster, wanted),
        );
        let is_wanted = !matches!(quota, Ok(None));
        if let (Ok(Some(quota)), Ok(limits), None) = (quota, limits, &self.to_state) {
            self.to_state = to_state(&quota, limits.as_ref()).map(|resource| to_be_stated(&wanted.name, &resource));
        }
        let shortage = quotas.shortage(&wanted.name, &world.cluster.name_any()).filter(|_| !guards.is_empty());
        self.quota.count(is_wanted, is_ready::<ResourceQuota>(guards) && shortage.is_none());
        self.problems.extend(shortage);
    }
}

fn is_ready<K: Guard>(guards: &[Decided]) -> bool {
    guards.iter().any(|guard| guard.kind == K::kind(&()) && guard.is_ready())
}

fn to_be_stated(namespace: &str, resource: &str) -> String {
    format!(
        "containers in namespace {namespace} have to state {resource}, or Kubernetes refuses their pods; set containerDefaults to state it for them"
    )
}
