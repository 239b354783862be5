//! Whether the admission policies are in place that a grant at a cluster relies on.

use drover_admission::{Guarded, PoliciesState, Policy, downstream, management};
use drover_runtime::{
    Cache, LabelQuery, ObjectKey, Operator, OwnerRecord, Place, PlaceContext, Related, Watches, cache::Health,
};
use k8s_openapi::{
    api::admissionregistration::v1::{ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding},
    jiff::Timestamp,
};

/// The kind that the labels of the policies in a cluster record as their owner.
pub const OWNER_KIND: &str = "Cluster";

/// Whether the policies of the management cluster and of this place are as they should be. Out of caches, which are filled from
/// the first call on; until then that is unknown.
#[must_use]
pub fn guarded(place: &PlaceContext) -> Guarded {
    let management = guarded_in_management(place);
    match place.place {
        Place::Management => management,
        Place::Cluster(_) => management.and(guarded_here(place)),
    }
}

/// The same of the policies of the management cluster only.
#[must_use]
pub fn guarded_in_management(place: &PlaceContext) -> Guarded {
    in_cache(&place.management, &LabelQuery::everything(), "policies of the management cluster", management::policies)
}

/// The same of the policies that Drover writes into a cluster only.
#[must_use]
pub fn guarded_here(place: &PlaceContext) -> Guarded {
    in_cache(&place.cache, &OwnerRecord::query(OWNER_KIND), "policies of a cluster", downstream::policies)
}

/// Since when all policies that Drover writes into a cluster have been there, by when they were created there; none while one is not as
/// it should be.
#[must_use]
pub fn guarded_here_since(place: &PlaceContext) -> Option<Timestamp> {
    if guarded_here(place) != Guarded::Intact {
        return None;
    }
    let ours = OwnerRecord::query(OWNER_KIND);
    let policies = place.cache.informer::<ValidatingAdmissionPolicy>(&ours).all();
    let bindings = place.cache.informer::<ValidatingAdmissionPolicyBinding>(&ours).all();
    let metas = policies.iter().map(|policy| &policy.metadata).chain(bindings.iter().map(|binding| &binding.metadata));
    metas.filter_map(|meta| meta.creation_timestamp.as_ref()).map(|time| time.0).max()
}

/// Which state the policies of the management cluster are in, while they are as they should be.
#[must_use]
pub fn state_in_management(place: &PlaceContext) -> Option<PoliciesState> {
    if guarded_in_management(place) != Guarded::Intact {
        return None;
    }
    let query = LabelQuery::everything();
    let policies = place.management.informer::<ValidatingAdmissionPolicy>(&query);
    let bindings = place.management.informer::<ValidatingAdmissionPolicyBinding>(&query);
    let names = management::policies().into_iter().map(|policy| ObjectKey::cluster_scoped(policy.name));
    let metas = names.map(|key| Some([policies.get(&key)?.metadata.clone(), bindings.get(&key)?.metadata.clone()]));
    Some(PoliciesState::of(&metas.collect::<Option<Vec<_>>>()?.concat()))
}

/// Declares that an operator asks for [`guarded`]: it decides nothing before the policies of the management cluster are known.
pub fn read_in_management(related: &mut Related<'_>) {
    related.on::<ValidatingAdmissionPolicy>(|_| Vec::new());
    related.on::<ValidatingAdmissionPolicyBinding>(|_| Vec::new());
}

/// The same for the policies of a cluster, where its credential may read them.
pub fn read_here<O: Operator>(watches: &mut Watches<'_, O>) {
    watches.optional(|watches| {
        let ours = OwnerRecord::query(OWNER_KIND);
        watches.on::<ValidatingAdmissionPolicy>(&ours, |_, _| {});
        watches.on::<ValidatingAdmissionPolicyBinding>(&ours, |_, _| {});
    });
}

fn in_cache(cache: &Cache, query: &LabelQuery, name: &'static str, expected: fn() -> Vec<Policy>) -> Guarded {
    let policies = cache.informer::<ValidatingAdmissionPolicy>(query);
    let bindings = cache.informer::<ValidatingAdmissionPolicyBinding>(query);
    if policies.health() != Health::Live || bindings.health() != Health::Live {
        return Guarded::Unknown;
    }
    cache.judged(name, &[&policies, &bindings], || Guarded::of(&expected(), &policies.all(), &bindings.all()))
}
