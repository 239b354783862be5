//! What a Project says of namespaces that are not as wanted.

use drover_crds::Project;
use drover_fleet::TenancyCause;
use drover_runtime::{ObjectKey, fan_out::Obstacle};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::ResourceExt as _;

use crate::observe::World;

pub(crate) fn no_tenant(project: &Project, world: &World) -> Obstacle {
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

pub(crate) fn protected(world: &World, name: &str) -> String {
    let cluster = world.cluster.name_any();
    format!(
        "cluster {cluster} protects namespace {name}; choose another name, or change spec.protectedNamespaces of Cluster {cluster}"
    )
}

pub(crate) fn not_allowed(project: &Project, world: &World, name: &str) -> String {
    let (cluster, from) = (world.cluster.name_any(), project.namespace().unwrap_or_default());
    format!(
        "no tenant entry of Cluster {cluster} allows {from} to hold namespace {name}; choose a name that its namespacePatterns allow, or ask its owner to add a pattern"
    )
}

pub(crate) fn drift_conflict(name: &str, reverted: &[String]) -> String {
    let fields = reverted.join(", ");
    format!(
        "another client keeps changing {fields} of namespace {name} back, so Drover leaves the namespace alone; settle which of the two owns the fields"
    )
}

pub(crate) fn undecodable(world: &World, meta: &ObjectMeta) -> String {
    format!(
        "Drover cannot decode namespace {} on cluster {} and leaves it as it is; correct or remove it",
        meta.name.as_deref().unwrap_or_default(),
        world.cluster.name_any()
    )
}

pub(crate) fn terminating(name: &str) -> String {
    format!(
        "namespace {name} is being deleted; once it is gone, Drover creates it again for the oldest Project that wants it"
    )
}

pub(crate) fn taken(world: &World, name: &str, holder: &ObjectKey) -> String {
    format!(
        "namespace {name} on cluster {} is held by Project {holder}; remove it from one of the two Projects",
        world.cluster.name_any()
    )
}

pub(crate) fn released_by(world: &World, name: &str, holder: &ObjectKey) -> String {
    format!(
        "namespace {name} on cluster {} is held by Project {holder}, which releases it; Drover looks again once that is done",
        world.cluster.name_any()
    )
}

pub(crate) fn adopted_later(world: &World, name: &str, holder: &ObjectKey) -> String {
    format!(
        "namespace {name} on cluster {} is held by Project {holder}; this Project adopts it once it is removed from that one",
        world.cluster.name_any()
    )
}

pub(crate) fn not_adoptable(world: &World, name: &str) -> String {
    let cluster = world.cluster.name_any();
    format!(
        "namespace {name} exists on cluster {cluster}, and its owner does not allow this Project to adopt it; choose another name, or set adopt: Allowed in the tenant entry of Cluster {cluster}"
    )
}

pub(crate) fn left_to(world: &World, name: &str, older_project: &ObjectKey) -> String {
    format!(
        "Drover leaves namespace {name} on cluster {} to Project {older_project}, which is older and wants it as well; remove it from one of the two Projects",
        world.cluster.name_any()
    )
}

pub(crate) fn left_behind(world: &World, name: &str, holder: &ObjectKey, needs: &str) -> String {
    let cluster = world.cluster.name_any();
    format!("Project {holder} left namespace {name} behind on cluster {cluster}; to adopt it, set {needs}")
}

pub(crate) fn released_beside(world: &World, name: &str) -> String {
    format!(
        "namespace {name} exists on cluster {}, where another Project of this tenant released it; to adopt it, set {SIBLING}",
        world.cluster.name_any()
    )
}

/// What it takes to adopt what another Project of the tenant left, and what anybody else did.
pub(crate) const SIBLING: &str = "onExisting: Adopt";
pub(crate) const STRANGER: &str = "onExisting: Adopt here and adopt: Allowed in the tenant entry of that Cluster";

pub(crate) fn exists(world: &World, name: &str) -> String {
    let cluster = world.cluster.name_any();
    format!(
        "namespace {name} exists on cluster {cluster} and is not managed by Drover; choose another name, or set onExisting: Adopt here and adopt: Allowed in the tenant entry of Cluster {cluster}"
    )
}
