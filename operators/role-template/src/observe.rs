//! What there is at one cluster. Decides nothing.

use std::sync::Arc;

use drover_crds::{IdentityMapping, RoleTemplate};
use drover_fleet::admission::guarded;
use drover_grants::{Grants, reached};
use drover_roles::{Resolved, resolve};
use drover_runtime::{Inputs, ObjectKey, Owner, Place, PlaceContext, operator::record_of, owned::Owned};
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding};

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
    /// What there is at the cluster; none for the management cluster.
    pub cluster: Option<AtCluster>,
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
    let cluster = match &place.place {
        Place::Management => None,
        Place::Cluster(name) => {
            let record = record_of::<RoleTemplateOperator>(owner.key());
            let uses = place.fleet.get(name).map(|view| bindings.at(name, view, &place.fleet));
            Some(AtCluster {
                identity: place.cluster.as_ref().and_then(|cluster| cluster.spec.identity.clone()),
                uses: uses.unwrap_or_default(),
                roles: Owned::at(place, &record),
                bindings: Owned::at(place, &record),
            })
        }
    };
    let resolved = owner.object().map(|template| resolved(template, place));
    World { resolved, grants: Grants::by(&guarded(place)), bindings: bindings.count(), cluster }
}

/// What a template allows with all that it inherits.
pub(crate) fn resolved(template: &RoleTemplate, place: &PlaceContext) -> Resolved {
    let all = place.related::<RoleTemplate>();
    let inherited = template.spec.inherits.iter().map(String::as_str);
    let inherited = reached(inherited, |name| all.get(&ObjectKey::cluster_scoped(name)));
    resolve(template, |name| inherited.get(name).map(Arc::as_ref))
}
