//! What there is at one cluster of what a binding asks for. Decides nothing.

use std::sync::Arc;

use drover_admission::PoliciesState;
use drover_crds::{ClusterRoleTemplateBinding, IdentityMapping, RoleTemplate};
use drover_fleet::admission::state_in_management;
use drover_grants::{Admitted, Judged as _, admitted::Evidence, reached};
use drover_roles::{Resolved, resolve};
use drover_runtime::{
    ObjectKey, Owner, OwnerRecord, Place, PlaceContext, cache::Kept, operator::record_of, owned::Owned,
};
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding};

use crate::{
    RoleTemplateOperator,
    uses::{Use, means},
};

/// What a reconcile knows of one cluster, or of the management cluster, where the binding is judged as a whole.
#[derive(Clone, Debug, Default)]
pub struct World {
    /// What the template allows; none if there is none, or it cannot be decoded.
    pub template: Option<Resolved>,
    /// The template that cannot be decoded, the one that is bound or one that it inherits.
    pub undecodable: Option<String>,
    /// The template that was not admitted, the one that is bound or one that it inherits.
    pub unadmitted: Option<String>,
    /// The state of the admission policies, while they are in place; only in the management cluster as a whole.
    pub policies: Option<PoliciesState>,
    /// What is known of the time before, where the binding has no record of its own.
    pub evidence: Evidence,
    /// What there is at the cluster; none for the management cluster.
    pub cluster: Option<AtCluster>,
}

/// What there is at one cluster.
#[derive(Clone, Debug, Default)]
pub struct AtCluster {
    /// How subjects are spelled there.
    pub identity: Option<IdentityMapping>,
    /// The other bindings that need the template there.
    pub others: Vec<Use>,
    /// The roles that carry the labels of the template.
    pub roles: Vec<Arc<ClusterRole>>,
    /// The bindings that carry them.
    pub bindings: Vec<Arc<ClusterRoleBinding>>,
}

pub(crate) fn observe(owner: Owner<'_, ClusterRoleTemplateBinding>, place: &PlaceContext) -> World {
    let Some(binding) = owner.object() else { return World::default() };
    let name = &binding.spec.role_template_name;
    let all = place.related::<RoleTemplate>();
    let admitted = |template: &RoleTemplate| Admitted::of(template, || state_in_management(place));
    let templates = reached([name.clone()], |name| all.lookup(&ObjectKey::cluster_scoped(name)), admitted);
    let template = templates.get(name).filter(|template| template.metadata.deletion_timestamp.is_none());
    let template = template.map(|template| resolve(template, |name| templates.get(name)));
    let in_doubt = template.as_ref().and_then(|template| templates.in_doubt(template));
    let undecodable = if templates.is_undecodable(name) { Some(name.as_str()) } else { in_doubt };
    let undecodable = undecodable.map(str::to_owned);
    let unadmitted = template.as_ref().and_then(|template| templates.unadmitted(template));
    let unadmitted = unadmitted.filter(|(_, admitted)| *admitted == Admitted::No).map(|(name, _)| name.to_owned());
    let cluster = match &place.place {
        Place::Management => None,
        Place::Cluster(cluster) => {
            let record = record_of::<RoleTemplateOperator>(ObjectKey::cluster_scoped(name));
            let others = place.related::<ClusterRoleTemplateBinding>().filter(|other| {
                let is_another = other.metadata.name != binding.metadata.name;
                let lives = other.metadata.deletion_timestamp.is_none();
                let is_here = place.fleet.get(cluster).is_some_and(|view| means(other, cluster, view));
                is_another && lives && is_here && other.spec.role_template_name == *name
            });
            Some(AtCluster {
                identity: place.cluster.as_ref().and_then(|cluster| cluster.spec.identity.clone()),
                others: others.iter().map(|other| Use::of(other)).collect(),
                roles: owned(place, &record),
                bindings: owned(place, &record),
            })
        }
    };
    let policies = (place.place == Place::Management).then(|| state_in_management(place)).flatten();
    let unknown = policies.as_ref().filter(|_| binding.admission().is_none());
    let evidence = unknown.map(|policies| {
        let others = place.related::<ClusterRoleTemplateBinding>().all();
        Evidence::of(others.iter().filter_map(|other| other.admission()), policies)
    });
    World { template, undecodable, unadmitted, policies, evidence: evidence.unwrap_or_default(), cluster }
}

fn owned<K: Kept>(place: &PlaceContext, record: &OwnerRecord) -> Vec<Arc<K>> {
    Owned::at(place, record).into_iter().filter_map(|found| found.live.ok()).collect()
}
