//! From what clusters offer to what a name is to answer with. Pure.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use drover_crds::{DNSTier, GlobalDNS, WhenAllUnhealthy as Wish};
use drover_fleet::cause::TenancyCause;
use drover_names::{
    Candidate, Choice, Found, Fqdn, Owner as RecordOwner, Selection, State, Tier, WhenAllUnhealthy, owned, select,
};
use drover_runtime::{ObjectKey, Title};

use crate::{
    claim::{self, Holders},
    observe::{Offered, Zone},
};

/// What a name answers with now, as far as that is ours, and the cluster of each address: that which is noted in the claim if it still
/// offers the address, else one that does, else as was noted.
pub(crate) fn published(
    names: &GlobalDNS,
    zone: &Zone,
    name: &Fqdn,
    found: &Found,
    owner: &RecordOwner,
) -> BTreeMap<IpAddr, Option<String>> {
    let offers = |address: &IpAddr, (_, offered): &(&String, &Offered)| {
        let mine = offered.offers.as_ref().and_then(|offers| offers.names.get(name.as_str()));
        mine.is_some_and(|mine| mine.contains(address))
    };
    let offering = |address: &IpAddr| {
        let found = zone.clusters.iter().find(|one| offers(address, one));
        found.map(|(cluster, _)| cluster.clone())
    };
    let (noted, before) = (noted(names, zone, name), told_before(names, name));
    let attributed = |address: IpAddr| {
        let known = noted.get(&address).or_else(|| before.get(&address));
        let still =
            known.filter(|cluster| zone.clusters.get_key_value(*cluster).is_some_and(|one| offers(&address, &one)));
        let cluster = still.cloned().or_else(|| offering(&address)).or_else(|| known.cloned());
        (address, cluster)
    };
    owned(found, owner).into_iter().map(attributed).collect()
}

/// The cluster of each address, as the claim of the name says.
fn noted(names: &GlobalDNS, zone: &Zone, name: &Fqdn) -> Holders {
    let key = claim::key(&zone.namespace, &names.spec.provider_name, name);
    let mine = zone.claims.iter().find(|found| found.title == Title::Created && ObjectKey::of(found.meta()) == key);
    mine.and_then(|found| found.live.as_deref().ok()).map(claim::holders).unwrap_or_default()
}

/// The cluster of each address, as the status says.
fn told_before(names: &GlobalDNS, name: &Fqdn) -> BTreeMap<IpAddr, String> {
    let published = names.status.iter().flat_map(|status| &status.published);
    let endpoints =
        published.filter(|published| published.fqdn == name.as_str()).flat_map(|published| &published.endpoints);
    let pairs = endpoints.filter_map(|endpoint| Some((endpoint.cluster.clone()?, &endpoint.addresses)));
    let parsed = pairs.flat_map(|(cluster, addresses)| {
        addresses.iter().filter_map(move |address| Some((address.parse().ok()?, cluster.clone())))
    });
    parsed.collect()
}

pub(crate) fn selection(
    names: &GlobalDNS,
    zone: &Zone,
    name: &Fqdn,
    published: &BTreeMap<IpAddr, Option<String>>,
) -> Selection {
    let tiers: Vec<Tier> = names.spec.tiers().iter().map(tier).collect();
    // What the owner of its cluster does not let names answer with leaves, whenever it was written.
    let (forbidden, published): (BTreeMap<_, _>, BTreeMap<_, _>) =
        published.clone().into_iter().partition(|(address, cluster)| is_forbidden(zone, *address, cluster.as_deref()));
    let candidates = candidates(names, zone, name, &published);
    // A selection that selects nothing may be a mistake: nothing that still exists is removed on its account, unless it is not admitted.
    let selected: BTreeSet<String> = meant(zone).map(|(cluster, _)| cluster.clone()).collect();
    let is_empty = selected.is_empty();
    let admits = |cluster: &&String| !refuses(zone, cluster);
    let present = if is_empty { zone.existing.keys().filter(admits).cloned().collect() } else { selected };
    let is_unknown = |offered: &Offered| {
        !offered.is_current || offered.offers.as_ref().is_none_or(|offers| offers.obstacle.is_some())
    };
    let choice = Choice {
        name,
        candidates: &candidates,
        tiers: &tiers,
        published: &published,
        present: &present,
        is_partly_unknown: is_empty || meant(zone).any(|(_, offered)| is_unknown(offered)),
        when_all_unhealthy: match names.spec.when_all_unhealthy {
            Wish::KeepLast => WhenAllUnhealthy::KeepLast,
            Wish::Remove => WhenAllUnhealthy::Remove,
        },
        most: names.spec.max_endpoints(),
    };
    let mut selection = select(&choice);
    let leaves = forbidden.into_keys().filter(|address| !selection.addresses.contains_key(address));
    let leaves: Vec<IpAddr> = leaves.collect();
    selection.planned.extend(leaves);
    selection
}

/// What clusters offer for a name. Of one that was not looked at since the start what is published stays a candidate.
fn candidates(
    names: &GlobalDNS,
    zone: &Zone,
    name: &Fqdn,
    published: &BTreeMap<IpAddr, Option<String>>,
) -> Vec<Candidate> {
    let mut all = Vec::new();
    for (cluster, offered) in meant(zone) {
        let Some(tier) = tier_of(names, zone, cluster) else { continue };
        let is_draining = zone.existing.get(cluster).is_some_and(|member| member.is_draining);
        let candidate =
            |address: IpAddr, state| Candidate { address, cluster: cluster.clone(), state, is_draining, tier };
        match &offered.offers {
            Some(offers) if offers.obstacle.is_none() => {
                let state = if offered.is_current { State::Healthy } else { State::Unknown };
                let mine = offers.names.get(name.as_str()).into_iter().flatten();
                let allowed = mine.filter(|address| !is_forbidden(zone, **address, Some(cluster)));
                all.extend(allowed.map(|address| candidate(*address, state)));
            }
            _ => {
                let mine = published.iter().filter(|(_, holder)| holder.as_ref() == Some(cluster));
                all.extend(mine.map(|(address, _)| candidate(*address, State::Unknown)));
            }
        }
    }
    all
}

/// The selected clusters but for those that do not admit the namespace: these are not meant, whatever was published of them.
fn meant(zone: &Zone) -> impl Iterator<Item = (&String, &Offered)> {
    zone.clusters.iter().filter(|(cluster, _)| !refuses(zone, cluster))
}

/// Whether the owner of a cluster does not admit the namespace: as its Cluster says, or as was found there.
fn refuses(zone: &Zone, cluster: &str) -> bool {
    let offers = zone.clusters.get(cluster).and_then(|offered| offered.offers.as_ref());
    let is_refused = offers.and_then(|offers| offers.obstacle.as_ref());
    zone.existing.get(cluster).is_some_and(|member| member.refuses)
        || is_refused.is_some_and(|(cause, _)| *cause == TenancyCause::NotATenant.cause())
}

/// Whether the owner of the cluster of an address does not let names answer with it.
fn is_forbidden(zone: &Zone, address: IpAddr, cluster: Option<&str>) -> bool {
    let rule = cluster.and_then(|cluster| zone.existing.get(cluster)?.rule.as_ref());
    rule.is_some_and(|rule| rule.check(address).is_err())
}

fn tier(tier: &DNSTier) -> Tier {
    Tier { min_healthy: tier.min_healthy.and_then(|least| usize::try_from(least).ok()).unwrap_or(1) }
}

/// The first tier that selects a cluster; the only one where there are no tiers.
fn tier_of(names: &GlobalDNS, zone: &Zone, cluster: &str) -> Option<usize> {
    let tiers = names.spec.tiers();
    if tiers.is_empty() {
        return Some(0);
    }
    let none = BTreeMap::new();
    let member = zone.existing.get(cluster);
    let labels = member.map_or(&none, |member| &member.labels);
    let found = tiers.iter().position(|tier| tier.clusters.selects(cluster, labels));
    // Of a Cluster that cannot be read the labels are unknown: what is published of it stays.
    found.or_else(|| member.filter(|member| member.rule.is_none()).map(|_| 0))
}
