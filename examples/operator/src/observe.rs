//! What there is at one cluster. Decides nothing.

use drover_fleet::targets::admits_namespace;
use drover_runtime::{Owner, PlaceContext, operator::record_of, owned::Owned};
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
    let admitted = owner.object().is_some_and(|grant| admits_namespace(grant, place, &grant.spec.namespace));
    World { admitted, bindings: Owned::at(place, &record_of::<ViewGrantOperator>(owner.key())) }
}
