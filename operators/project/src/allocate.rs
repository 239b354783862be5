//! How a quota is divided among namespaces: numbers only. Pure.
//!
//! The record of what was granted is what the namespaces may use, so no prefix of the writes that follow from it, and no crash between
//! them, lets them use more than there is: what shrinks is free only once it is seen to have shrunk.

use std::collections::BTreeMap;

use drover_crds::QuotaOverflow;
use drover_runtime::quantity::Amount;
use k8s_openapi::jiff::Timestamp;

/// Amounts by resource.
pub type Amounts = BTreeMap<String, Amount>;

/// What a namespace asks of the quota, and has of it.
#[derive(Clone, Debug, Default)]
pub struct Claim {
    /// Its name.
    pub namespace: String,
    /// When it was created; none if it is about to be.
    pub created: Option<Timestamp>,
    /// What it requests; none if it is to keep what it has, as it is on its way out or its request cannot be judged.
    pub requested: Option<Amounts>,
    /// What it may use at this moment.
    pub usable: Amounts,
    /// Whether that is what it was granted. Else another client changed it, and it keeps of that what fits.
    pub is_granted: bool,
}

/// What each namespace may use from now on, by its name: at most what it requests, and together at most `per_cluster` unless more was
/// granted before. What was granted before is kept; the rest goes out in the order of creation, then of names. Resources that
/// `per_cluster` does not name are not added up.
#[must_use]
pub fn allocate(per_cluster: &Amounts, overflow: QuotaOverflow, claims: &[Claim]) -> BTreeMap<String, Amounts> {
    let mut order: Vec<&Claim> = claims.iter().collect();
    order.sort_by_key(|claim| (claim.created.is_none(), claim.created, &claim.namespace));
    let mut grants: BTreeMap<String, Amounts> = BTreeMap::new();
    for claim in &order {
        let own = claim.requested.iter().flatten().filter(|(resource, _)| !per_cluster.contains_key(*resource));
        grants.insert(claim.namespace.clone(), own.map(|(resource, amount)| (resource.clone(), *amount)).collect());
    }
    for (resource, most) in per_cluster {
        let shares: Vec<Share> = order.iter().map(|claim| Share::of(claim, resource)).collect();
        for (claim, grant) in order.iter().zip(divide(*most, overflow, shares)) {
            grants.entry(claim.namespace.clone()).or_default().insert(resource.clone(), grant);
        }
    }
    grants
}

/// What a namespace asks of one resource, and has of it.
struct Share {
    requested: Amount,
    usable: Amount,
    kept: Amount,
    is_granted: bool,
}

impl Share {
    fn of(claim: &Claim, resource: &str) -> Self {
        let none = Amount::default();
        let amount = |amounts: &Amounts| amounts.get(resource).copied().unwrap_or_default().max(none);
        let usable = amount(&claim.usable);
        let requested = claim.requested.as_ref().map_or(usable, amount);
        let is_granted = claim.is_granted || claim.requested.is_none();
        Self { requested, usable, kept: if is_granted { usable.min(requested) } else { none }, is_granted }
    }
}

fn divide(most: Amount, overflow: QuotaOverflow, mut shares: Vec<Share>) -> Vec<Amount> {
    let none = Amount::default();
    let left =
        |amount: fn(&Share) -> Amount| shares.iter().fold(most, |left, share| left.minus(amount(share))).max(none);
    // What is left once all that shrinks has shrunk, and what is left of it at this moment.
    let (mut left, mut free) = (left(|share| share.kept), left(|share| share.usable));
    for share in shares.iter_mut().filter(|share| !share.is_granted) {
        share.kept = share.usable.min(share.requested).min(left);
        left = left.minus(share.kept);
    }
    let grant = |Share { requested, usable, kept, .. }: Share| {
        let lacking = requested.minus(kept);
        let more = match overflow {
            QuotaOverflow::Remaining => lacking.min(left),
            QuotaOverflow::Zero if lacking <= left => lacking,
            QuotaOverflow::Zero => none,
        };
        left = left.minus(more);
        let share = kept.plus(more);
        let growth = share.minus(usable).max(none);
        let is_free = growth <= free;
        free = free.minus(growth.min(free));
        if is_free { share } else { share.min(usable) }
    };
    shares.into_iter().map(grant).collect()
}
