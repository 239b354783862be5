//! What there is at one cluster. Decides nothing.

use drover_crds::{IdentityMapping, RoleTemplate};
use drover_fleet::admission::{guarded, state_in_management};
use drover_grants::{Grants, Templates, reached};
use drover_roles::{Resolved, resolve};
use drover_runtime::{
    Inputs, ObjectKey, Owner, Place, PlaceContext, operator::record_of, owned::Owned, place::deletion_of,
};
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding};
use kube::ResourceExt as _;

use crate::{
    RoleTemplateOperator,
    uses::{Bindings, Use},
};

/// What a reconcile knows of one cluster, or of the management cluster, where the template is judged as a whole.
#[derive(Clone, Debug)]
pub struct World {
    /// What the template allows; none if it is gone.
    pub resolved: Option<Resolved>,
    /// Whether rights may be granted.
    pub grants: Grants,
    /// How many bindings name the template.
    pub bindings: usize,
    /// What cannot be decoded.
    pub doubt: Doubt,
    /// What there is at the cluster; none for the management cluster.
    pub cluster: Option<AtCluster>,
}

/// What cannot be decoded, so that what it gives is unknown, not nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Doubt {
    /// The template that is inherited.
    pub template: Option<String>,
    /// Kind and name of what may need the template at any cluster, for anybody.
    pub binding: Option<String>,
}

/// What there is at one cluster.
#[derive(Clone, Debug, Default)]
pub struct AtCluster {
    /// How subjects are spelled there.
    pub identity: Option<IdentityMapping>,
    /// The bindings that need the template there.
    pub uses: Vec<Use>,
    /// The roles that carry the labels of the template.
    pub roles: Vec<Owned<ClusterRole>>,
    /// The bindings that carry them.
    pub bindings: Vec<Owned<ClusterRoleBinding>>,
}

pub(crate) fn observe(owner: Owner<'_, RoleTemplate>, place: &PlaceContext) -> World {
    let bindings = match owner {
        Owner::Present(template) => Bindings::of(template, &Inputs::new(&place.fleet, &place.management)),
        _ => Bindings::default(),
    };
    let grants = Grants::by(&guarded(place));
    let cluster = match &place.place {
        Place::Management => None,
        Place::Cluster(name) => {
            let record = record_of::<RoleTemplateOperator>(owner.key());
            let policies = || state_in_management(place);
            let uses = place.fleet.get(name).map(|view| bindings.at(name, view, &place.fleet, policies));
            let mut uses = uses.unwrap_or_default();
            if grants != Grants::Allowed {
                // Nobody gets anything anyway, and that is what the status says then.
                for each in &mut uses {
                    each.is_admitted = true;
                }
            }
            Some(AtCluster {
                identity: place.cluster.as_ref().and_then(|cluster| cluster.spec.identity.clone()),
                uses,
                roles: Owned::at(place, &record),
                bindings: Owned::at(place, &record),
            })
        }
    };
    let templates = owner.object().map(|template| templates(template, place));
    let resolved =
        owner.object().zip(templates.as_ref()).map(|(template, all)| resolve(template, |name| all.get(name)));
    let in_doubt = resolved.as_ref().zip(templates.as_ref()).and_then(|(resolved, all)| all.in_doubt(resolved));
    let is_left = place.cluster.as_deref().and_then(deletion_of).is_some();
    let doubt =
        Doubt { template: in_doubt.map(str::to_owned), binding: bindings.undecodable.clone().filter(|_| !is_left) };
    World { resolved, grants, bindings: bindings.count(), doubt, cluster }
}

/// A template with all that it inherits.
pub(crate) fn templates(template: &RoleTemplate, place: &PlaceContext) -> Templates {
    let all = place.related::<RoleTemplate>();
    reached([template.name_any()], |name| all.lookup(&ObjectKey::cluster_scoped(name)))
}
