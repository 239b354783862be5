//! Whether the admission policies are in place that a grant at a cluster relies on.

use drover_admission::{Guarded, PoliciesState, Policy, downstream, management};
use drover_crds::PoliciesInPlace;
use drover_runtime::{
    Cache, LabelQuery, ObjectKey, Operator, OwnerRecord, Place, PlaceContext, Related, Watches, cache::Health,
    write::desired_hash,
};
use k8s_openapi::{
    api::admissionregistration::v1::{ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding},
    apimachinery::pkg::apis::meta::v1::Time,
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

/// Since when all policies that Drover writes into a cluster have been as they should be; none while one is not, or nobody knows yet.
#[must_use]
pub fn guarded_here_since(place: &PlaceContext) -> Option<Timestamp> {
    let recorded = place.cluster.as_ref().and_then(|cluster| cluster.status.as_ref()?.policies.as_ref());
    in_place_since(&state_here(place)?, recorded)
}

/// The record of the policies of a cluster that are in this state, after an earlier one.
#[must_use]
pub fn in_place(state: &PoliciesState, recorded: Option<&PoliciesInPlace>, now: Timestamp) -> PoliciesInPlace {
    PoliciesInPlace { state: desired_hash(&state.id), since: Time(in_place_since(state, recorded).unwrap_or(now)) }
}

/// Their creation tells it only of policies that nobody has changed: one that was altered and repaired was not there in between.
fn in_place_since(state: &PoliciesState, recorded: Option<&PoliciesInPlace>) -> Option<Timestamp> {
    let same = recorded.filter(|recorded| recorded.state == desired_hash(&state.id));
    same.map(|recorded| recorded.since.0).or(state.since)
}

/// Which state the policies of the management cluster are in, while they are as they should be.
#[must_use]
pub fn state_in_management(place: &PlaceContext) -> Option<PoliciesState> {
    let is_intact = guarded_in_management(place) == Guarded::Intact;
    is_intact.then(|| state_in(&place.management, &LabelQuery::everything(), management::policies()))?
}

/// The same of the policies that Drover writes into a cluster.
#[must_use]
pub fn state_here(place: &PlaceContext) -> Option<PoliciesState> {
    let is_intact = guarded_here(place) == Guarded::Intact;
    is_intact.then(|| state_in(&place.cache, &OwnerRecord::query(OWNER_KIND), downstream::policies()))?
}

fn state_in(cache: &Cache, query: &LabelQuery, expected: Vec<Policy>) -> Option<PoliciesState> {
    let policies = cache.informer::<ValidatingAdmissionPolicy>(query);
    let bindings = cache.informer::<ValidatingAdmissionPolicyBinding>(query);
    let names = expected.into_iter().map(|policy| ObjectKey::cluster_scoped(policy.name));
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

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn t11_policies_that_were_altered_and_repaired_are_in_place_since_the_repair() {
        let state = |id: &str, since: Option<i64>| PoliciesState { id: id.to_owned(), since: since.map(at) };
        let created = state("a-1", Some(10));
        let first = in_place(&created, None, at(99));
        assert_eq!(first.since.0, at(10), "nobody has changed them since they were created");
        let repaired = state("a-3", None);
        assert_eq!(in_place_since(&repaired, None), None);
        assert_eq!(in_place_since(&repaired, Some(&first)), None, "nobody has recorded that yet");
        let second = in_place(&repaired, Some(&first), at(200));
        assert_eq!(in_place_since(&repaired, Some(&second)), Some(at(200)));
        assert_eq!(in_place(&repaired, Some(&second), at(300)), second, "it rests");
        let again = state("b-1", Some(400));
        assert_eq!(in_place_since(&again, Some(&second)), Some(at(400)), "created anew");
    }
}
