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

use crate::observe::{Offered, Zone};

/// What a name answers with now, as far as that is ours, and the cluster of each address: by what clusters offer, else by what was told
/// before.
pub(crate) fn published(
    names: &GlobalDNS,
    zone: &Zone,
    name: &Fqdn,
    found: &Found,
    owner: &RecordOwner,
) -> BTreeMap<IpAddr, Option<String>> {
    let offering = |address: &IpAddr| {
        let offers = |(_, offered): &(&String, &Offered)| {
            offered
                .offers
                .as_ref()
                .and_then(|offers| offers.names.get(name.as_str()))
                .is_some_and(|mine| mine.contains(address))
        };
        zone.clusters.iter().find(offers).map(|(cluster, _)| cluster.clone())
    };
    let before = told_before(names, name);
    let attributed = |address: IpAddr| {
        let cluster = offering(&address).or_else(|| before.get(&address).cloned());
        (address, cluster)
    };
    owned(found, owner).into_iter().map(attributed).collect()
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
    let candidates = candidates(names, zone, name, published);
    // A selection that selects nothing may be a mistake: nothing that still exists is removed on its account.
    let selected: BTreeSet<String> = meant(zone).map(|(cluster, _)| cluster.clone()).collect();
    let is_empty = selected.is_empty();
    let present = if is_empty { zone.existing.keys().cloned().collect() } else { selected };
    let is_unknown = |offered: &Offered| {
        !offered.is_current || offered.offers.as_ref().is_none_or(|offers| offers.obstacle.is_some())
    };
    let choice = Choice {
        name,
        candidates: &candidates,
        tiers: &tiers,
        published,
        present: &present,
        is_partly_unknown: is_empty || meant(zone).any(|(_, offered)| is_unknown(offered)),
        when_all_unhealthy: match names.spec.when_all_unhealthy {
            Wish::KeepLast => WhenAllUnhealthy::KeepLast,
            Wish::Remove => WhenAllUnhealthy::Remove,
        },
        most: names.spec.max_endpoints(),
    };
    select(&choice)
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
                all.extend(mine.map(|address| candidate(*address, state)));
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
    let is_refused = |offered: &Offered| {
        let obstacle = offered.offers.as_ref().and_then(|offers| offers.obstacle.as_ref());
        obstacle.is_some_and(|(cause, _)| *cause == TenancyCause::NotATenant.cause())
    };
    zone.clusters.iter().filter(move |(_, offered)| !is_refused(offered))
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
    let labels = zone.existing.get(cluster).map_or(&none, |member| &member.labels);
    tiers.iter().position(|tier| tier.clusters.selects(cluster, labels))
}
