//! Which of the candidates of all clusters a name answers with.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use crate::{Family, Fqdn};

/// How a candidate is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// It is there, and healthy or not probed.
    Healthy,
    /// It may be there: its cluster cannot be looked at, or nothing is known of its health. It stays if it is published.
    Unknown,
    /// It is there, and does not answer.
    Unhealthy,
}

/// An address that a cluster offers for a name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Candidate {
    /// The address.
    pub address: IpAddr,
    /// The name of the Cluster.
    pub cluster: String,
    /// How it is.
    pub state: State,
    /// Whether the cluster is to be taken out on purpose.
    pub is_draining: bool,
    /// The tier of its cluster, the first is 0.
    pub tier: usize,
}

/// From when on a tier of a failover is enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tier {
    /// So many healthy addresses; at least one.
    pub min_healthy: usize,
}

/// What a name answers with while no candidate is healthy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WhenAllUnhealthy {
    /// As before.
    #[default]
    KeepLast,
    /// Nothing.
    Remove,
}

/// What is chosen from.
#[derive(Clone, Debug)]
pub struct Choice<'a> {
    /// The name.
    pub name: &'a Fqdn,
    /// What the clusters offer. Of one address from several clusters the best counts.
    pub candidates: &'a [Candidate],
    /// The tiers; a name without any takes the candidates of all clusters.
    pub tiers: &'a [Tier],
    /// What the name answers with, and the cluster that each address is of, where that is known.
    pub published: &'a BTreeMap<IpAddr, Option<String>>,
    /// The clusters that may still be meant: selected, and not being deleted. Of another one nothing is kept.
    pub present: &'a BTreeSet<String>,
    /// Whether nothing is known of some present cluster.
    pub is_partly_unknown: bool,
    /// What happens while no candidate is healthy.
    pub when_all_unhealthy: WhenAllUnhealthy,
    /// Most addresses of each family; at least one.
    pub most: usize,
}

/// On what the answer of one family rests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Basis {
    /// On candidates that are healthy, or were when they could be looked at last.
    Healthy,
    /// On candidates of clusters that are to be taken out, as there are no others.
    Draining,
    /// On what was there before, as no candidate is healthy.
    KeptLast,
    /// There is nothing to answer with.
    Nothing,
}

/// What a name is to answer with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// The addresses, with their clusters where these are known.
    pub addresses: BTreeMap<IpAddr, Option<String>>,
    /// On what the answer of each family rests.
    pub basis: BTreeMap<Family, Basis>,
    /// The tier that answers; none where there are no tiers, or none of them has anything.
    pub tier: Option<usize>,
    /// Which addresses leave on purpose: their cluster is not meant any more, or is taken out.
    pub planned: BTreeSet<IpAddr>,
}

/// Chooses. Equal input gives equal output, in whatever order the candidates come.
#[must_use]
pub fn select(choice: &Choice<'_>) -> Selection {
    let best = best(choice.candidates);
    let usable = |candidate: &&Candidate| match candidate.state {
        State::Healthy => true,
        State::Unknown => choice.published.contains_key(&candidate.address),
        State::Unhealthy => false,
    };
    let usable: Vec<&Candidate> = best.values().copied().filter(usable).collect();
    let (staying, draining): (Vec<&Candidate>, Vec<&Candidate>) =
        usable.into_iter().partition(|found| !found.is_draining);
    let tier = active(choice.tiers, &staying).or_else(|| active(choice.tiers, &draining));
    let mut selection = Selection { tier, ..Selection::default() };
    for family in [Family::V4, Family::V6] {
        let of = |candidates: &[&Candidate]| -> BTreeMap<IpAddr, Option<String>> {
            let fits =
                |found: &&&Candidate| Family::of(found.address) == family && tier.is_none_or(|tier| tier == found.tier);
            candidates.iter().filter(fits).map(|found| (found.address, Some(found.cluster.clone()))).collect()
        };
        let (addresses, basis) = match (of(&staying), of(&draining)) {
            (staying, _) if !staying.is_empty() => (with_unknown(choice, staying, family), Basis::Healthy),
            (_, draining) if !draining.is_empty() => (with_unknown(choice, draining, family), Basis::Draining),
            _ => last(choice, &best, family, tier),
        };
        selection.addresses.extend(capped(choice, addresses));
        selection.basis.insert(family, basis);
    }
    let leaves = |address: &&IpAddr| !selection.addresses.contains_key(*address);
    let on_purpose = |address: &&IpAddr| match (best.get(*address), choice.published.get(*address)) {
        (Some(found), _) => found.is_draining || found.state == State::Healthy,
        (None, Some(Some(cluster))) => !choice.present.contains(cluster),
        (None, _) => false,
    };
    selection.planned = choice.published.keys().filter(leaves).filter(on_purpose).copied().collect();
    selection
}

/// The best candidate of each address.
fn best(candidates: &[Candidate]) -> BTreeMap<IpAddr, &Candidate> {
    let mut best: BTreeMap<IpAddr, &Candidate> = BTreeMap::new();
    let rank = |found: &Candidate| (found.is_draining, found.state, found.tier, found.cluster.clone());
    for candidate in candidates {
        let known = best.entry(candidate.address).or_insert(candidate);
        if rank(candidate) < rank(known) {
            *known = candidate;
        }
    }
    best
}

/// The first tier that is enough; else the first that has anything.
fn active(tiers: &[Tier], usable: &[&Candidate]) -> Option<usize> {
    let count = |tier: usize| usable.iter().filter(|found| found.tier == tier).count();
    let enough = tiers.iter().enumerate().position(|(at, tier)| count(at) >= tier.min_healthy.max(1));
    enough.or_else(|| (0..tiers.len()).find(|tier| count(*tier) > 0))
}

/// An address that is published and of which nothing else is known stays while a cluster cannot be looked at: it may be of that. It takes
/// the place of no candidate.
fn with_unknown(
    choice: &Choice<'_>,
    candidates: BTreeMap<IpAddr, Option<String>>,
    family: Family,
) -> BTreeMap<IpAddr, Option<String>> {
    let mut addresses = capped(choice, candidates);
    if !choice.is_partly_unknown {
        return addresses;
    }
    let is_stray = |(address, cluster): &(&IpAddr, &Option<String>)| {
        let is_offered = choice.candidates.iter().any(|found| found.address == **address);
        Family::of(**address) == family && cluster.is_none() && !is_offered
    };
    let strays = choice.published.iter().filter(is_stray).map(|(address, _)| (*address, None)).collect();
    let room = choice.most.max(1).saturating_sub(addresses.len());
    addresses.extend(ranked(choice, strays).into_iter().take(room));
    addresses
}

/// What answers while nothing can be used: what did before, as far as its clusters are still meant.
fn last(
    choice: &Choice<'_>,
    best: &BTreeMap<IpAddr, &Candidate>,
    family: Family,
    tier: Option<usize>,
) -> (BTreeMap<IpAddr, Option<String>>, Basis) {
    let is_kept = |(address, cluster): &(&IpAddr, &Option<String>)| {
        let is_of_tier = tier.is_none_or(|tier| best.get(*address).is_some_and(|found| found.tier == tier));
        let is_meant = match cluster {
            Some(cluster) => choice.present.contains(cluster),
            // Of which cluster it was is not known any more, as after a rebuild of the management cluster.
            None => true,
        };
        Family::of(**address) == family && is_meant && is_of_tier
    };
    if choice.when_all_unhealthy == WhenAllUnhealthy::Remove && !choice.is_partly_unknown {
        return (BTreeMap::new(), Basis::Nothing);
    }
    let kept: BTreeMap<_, _> =
        choice.published.iter().filter(is_kept).map(|(address, cluster)| (*address, cluster.clone())).collect();
    let basis = if kept.is_empty() { Basis::Nothing } else { Basis::KeptLast };
    (kept, basis)
}

/// One of each cluster after the other, so that no cluster drives the others out; those of a cluster by a hash of name and address, so that
/// one that comes or goes moves no other one by more than one place.
fn capped(choice: &Choice<'_>, addresses: BTreeMap<IpAddr, Option<String>>) -> BTreeMap<IpAddr, Option<String>> {
    ranked(choice, addresses).into_iter().take(choice.most.max(1)).collect()
}

fn ranked(choice: &Choice<'_>, addresses: BTreeMap<IpAddr, Option<String>>) -> Vec<(IpAddr, Option<String>)> {
    let mut ranked: Vec<_> = addresses.into_iter().collect();
    let order = |address: IpAddr| (std::cmp::Reverse(weight(choice.name, address)), address);
    ranked.sort_by_key(|(address, _)| order(*address));
    let mut rounds: BTreeMap<Option<String>, usize> = BTreeMap::new();
    let mut in_turn: Vec<_> = ranked
        .into_iter()
        .map(|(address, cluster)| {
            let round = rounds.entry(cluster.clone()).or_default();
            *round += 1;
            (*round, address, cluster)
        })
        .collect();
    in_turn.sort_by_key(|(round, address, _)| (*round, order(*address)));
    in_turn.into_iter().map(|(_, address, cluster)| (address, cluster)).collect()
}

/// FNV-1a over both, mixed as `SplitMix64` does: it is the same in every process and version.
pub(crate) fn weight(name: &Fqdn, address: IpAddr) -> u64 {
    let text = format!("{name}/{address}");
    let hash = text
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    let mixed = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}
