//! What there is at one cluster. Decides nothing.

use drover_fleet::targets::tenancies_of;
use drover_runtime::{ClusterName, Owner, PlaceContext, operator::record_of, owned::Owned};
use k8s_openapi::api::rbac::v1::RoleBinding;

use crate::{ViewGrant, ViewGrantOperator};

/// What a reconcile knows of one cluster.
#[derive(Clone, Debug, Default)]
pub struct World {
    /// Whether the owner of the cluster admits the grant to its namespace there.
    pub admitted: bool,
    /// The bindings that carry the labels of this grant.
    pub bindings: Vec<Owned<RoleBinding>>,
}

pub(crate) fn observe(owner: Owner<'_, ViewGrant>, place: &PlaceContext) -> World {
    let admitted = owner.object().is_some_and(|grant| is_admitted(grant, place));
    World { admitted, bindings: Owned::at(place, &record_of::<ViewGrantOperator>(owner.key())) }
}

fn is_admitted(grant: &ViewGrant, place: &PlaceContext) -> bool {
    let Some(view) = place.cluster.as_deref().and_then(|cluster| place.fleet.get(&ClusterName::from(cluster))) else {
        return false;
    };
    let namespace = &grant.spec.namespace;
    let allows = tenancies_of(grant, view, &place.fleet).iter().any(|tenant| tenant.allows_namespace(namespace));
    allows && !view.object.spec.protects(namespace)
}
