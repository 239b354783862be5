use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    time::Duration,
};

use proptest::prelude::*;

use super::*;
use crate::select::Choice;

fn name(text: &str) -> Fqdn {
    text.parse().unwrap()
}

fn names(texts: &[&str]) -> Vec<Fqdn> {
    texts.iter().map(|text| name(text)).collect()
}

fn v4(last: u8) -> IpAddr {
    Ipv4Addr::new(8, 8, 8, last).into()
}

fn v6(last: u16) -> IpAddr {
    Ipv6Addr::new(0x2a00, 0, 0, 0, 0, 0, 0, last).into()
}

#[test]
fn a_name_is_what_dns_and_its_ownership_record_take() {
    let label = |length: usize| "a".repeat(length);
    for good in ["a.b", "*.shop.example.com", "_acme-challenge.example.com", "xn--mnchen-3ya.example", "0.1x.example"] {
        assert!(good.parse::<Fqdn>().is_ok(), "{good}");
    }
    assert!(format!("{}.{}.com", label(58), label(63)).parse::<Fqdn>().is_ok());
    for (bad, expected) in [
        ("münchen.example".to_owned(), NameError::Unicode),
        ("Shop.example.com".to_owned(), NameError::UpperCase),
        (format!("{}.example.com", label(59)), NameError::TooLong),
        (format!("a.{}.com", label(64)), NameError::TooLong),
        (vec![label(50); 5].join("."), NameError::TooLong),
        (String::new(), NameError::Syntax),
        ("com".to_owned(), NameError::Syntax),
        ("a..com".to_owned(), NameError::Syntax),
        ("a.com.".to_owned(), NameError::Syntax),
        ("-a.com".to_owned(), NameError::Syntax),
        ("a-.com".to_owned(), NameError::Syntax),
        ("a.*.com".to_owned(), NameError::Syntax),
        ("a*.com".to_owned(), NameError::Syntax),
        ("a b.com".to_owned(), NameError::Syntax),
        ("_.com".to_owned(), NameError::Syntax),
    ] {
        assert_eq!(bad.parse::<Fqdn>(), Err(expected), "{bad}");
    }
}

#[test]
fn a_namespace_has_what_is_granted_and_nothing_special_but_by_name() {
    let grants = Grants {
        domains: names(&["example.com", "eu.example.com", "example.org"]),
        suffixes: names(&["team.example.com", "eu.example.com", "*.wild.example.com", "example.org", "_x.example.com"]),
    };
    for (asked, expected) in [
        ("shop.team.example.com", Ok("example.com")),
        ("team.example.com", Ok("example.com")),
        ("a.b.eu.example.com", Ok("eu.example.com")),
        ("eu.example.com", Ok("eu.example.com")),
        ("*.wild.example.com", Ok("example.com")),
        ("_x.example.com", Ok("example.com")),
        ("example.org", Ok("example.org")),
        ("shop.xteam.example.com", Err(NameRefused::NotGranted)),
        ("example.com", Err(NameRefused::NotGranted)),
        ("a.wild.example.com", Err(NameRefused::NotGranted)),
        ("shop.example.net", Err(NameRefused::NoDomain)),
        ("*.team.example.com", Err(NameRefused::Wildcard)),
        ("_acme-challenge.team.example.com", Err(NameRefused::Underscore)),
        ("a._dmarc.team.example.com", Err(NameRefused::Underscore)),
        ("a-shop.team.example.com", Err(NameRefused::Reserved)),
        ("aaaa-shop.team.example.com", Err(NameRefused::Reserved)),
    ] {
        let domain = grants.domain_of(&name(asked));
        assert_eq!(domain.map(Fqdn::as_str), expected, "{asked}");
    }
    let above = Grants { domains: names(&["a.example.com"]), suffixes: names(&["example.com"]) };
    assert_eq!(above.domain_of(&name("a.example.com")), Err(NameRefused::Apex));
}

#[test]
fn only_public_addresses_are_published_or_those_that_the_cluster_allows() {
    let open = AddressRule::default();
    for public in ["8.8.8.8", "100.63.0.1", "100.128.0.1", "172.32.0.1", "2a00::1", "2606:4700::1"] {
        assert_eq!(open.check(public.parse().unwrap()), Ok(()), "{public}");
    }
    let hidden = [
        "10.0.0.1",
        "172.16.0.1",
        "192.168.1.1",
        "100.64.0.1",
        "127.0.0.1",
        "169.254.169.254",
        "0.0.0.0",
        "224.0.0.1",
        "255.255.255.255",
        "192.0.2.1",
        "198.18.0.1",
        "203.0.113.1",
        "240.0.0.1",
        "192.0.0.1",
        "::",
        "::1",
        "fe80::1",
        "fd00::1",
        "ff02::1",
        "2001:db8::1",
        "2002:0a00::1",
        "2001::1",
        "::ffff:8.8.8.8",
        "64:ff9b::808:808",
    ];
    for hidden in hidden {
        assert_eq!(open.check(hidden.parse().unwrap()), Err(AddressRefused::NotPublic), "{hidden}");
    }
    let ranges = ["10.1.0.0/16", "fd00::/8", "127.0.0.0/8"].map(|range| range.parse().unwrap());
    let bound = AddressRule { ranges: Some(ranges.into()) };
    assert_eq!(bound.check("10.1.2.3".parse().unwrap()), Ok(()));
    assert_eq!(bound.check("fd12::1".parse().unwrap()), Ok(()));
    for outside in ["10.2.0.1", "8.8.8.8", "2a00::1"] {
        assert_eq!(bound.check(outside.parse().unwrap()), Err(AddressRefused::OutOfRange), "{outside}");
    }
    assert_eq!(bound.check("127.0.0.1".parse().unwrap()), Err(AddressRefused::NotPublic), "whatever the ranges are");
    let nothing = AddressRule { ranges: Some(Vec::new()) };
    assert_eq!(nothing.check("8.8.8.8".parse().unwrap()), Err(AddressRefused::OutOfRange), "nothing is allowed");
    for bad in ["10.0.0.0", "10.0.0.0/33", "x/8", "::/129", ""] {
        assert!(bad.parse::<Range>().is_err(), "{bad}");
    }
    let all: Range = "0.0.0.0/0".parse().unwrap();
    assert!(all.contains("8.8.8.8".parse().unwrap()) && !all.contains("::1".parse().unwrap()));
}

#[test]
fn ownership_is_written_and_read_as_external_dns_does() {
    let ours = Ownership::of_global_dns("prod", "team", "shop");
    let text = "heritage=external-dns,external-dns/owner=drover-prod,external-dns/resource=globaldns/team/shop";
    assert_eq!(ours.text(), text);
    assert_eq!(Ownership::parse(text), Some(ours.clone()));
    assert_eq!(Ownership::parse(&format!("\"{text}\"")), Some(ours));
    let others = Ownership::parse("heritage=external-dns,external-dns/owner=abc,external-dns/version=1");
    assert_eq!(others, Some(Ownership { owner: "abc".to_owned(), resource: None }));
    for other in ["", "v=spf1 -all", "heritage=mate,external-dns/owner=a"] {
        assert_eq!(Ownership::parse(other), None, "{other}");
    }
    assert_eq!(Ownership::record_name(&name("shop.example.com"), Family::V6), "aaaa-shop.example.com");
}

fn owner() -> Owner {
    Owner { ownership: Ownership::of_global_dns("prod", "team", "shop"), adopts: vec!["old".to_owned()] }
}

fn set(addresses: &[IpAddr], texts: &[&str]) -> FoundSet {
    let records = RecordSet { addresses: addresses.iter().copied().collect(), ttl: 30 };
    FoundSet { records, texts: texts.iter().map(|text| Text::new(text)).collect() }
}

fn compare(found: FoundSet, wanted: &[IpAddr]) -> Result<Option<NameChange>, Conflict> {
    let found = Found { families: BTreeMap::from([(Family::V4, found)]), is_alias: false };
    let wanted = Wanted { addresses: wanted.iter().copied().collect(), ttl: 30 };
    change(&name("shop.example.com"), &found, &wanted, &owner())
}

#[test]
fn i03_only_what_is_ours_or_adopted_is_changed() {
    let ours = owner().ownership.text();
    let other_object = Ownership::of_global_dns("prod", "team", "other").text();
    let adopted = "heritage=external-dns,external-dns/owner=old";
    let foreign = "heritage=external-dns,external-dns/owner=new";
    let count = |found, wanted: &[IpAddr]| {
        compare(found, wanted).map(|change| change.map_or(0, |change| change.families.len()))
    };
    assert_eq!(count(set(&[], &[]), &[]), Ok(0));
    assert_eq!(count(set(&[], &[]), &[v4(1)]), Ok(1), "created");
    assert_eq!(count(set(&[v4(1)], &[&ours]), &[v4(1)]), Ok(0), "as wanted");
    assert_eq!(count(set(&[v4(1)], &[&ours]), &[v4(2)]), Ok(1), "replaced");
    assert_eq!(count(set(&[v4(1)], &[&ours]), &[]), Ok(1), "removed");
    assert_eq!(count(set(&[], &[&ours]), &[]), Ok(1), "an ownership record alone goes as well");
    assert_eq!(count(set(&[v4(1)], &[adopted]), &[v4(1)]), Ok(1), "taken over");
    assert_eq!(count(set(&[v4(1)], &[adopted]), &[]), Ok(0), "nothing is taken over to be removed");
    for texts in [&[][..], &[foreign], &[&*other_object], &["v=spf1 -all"], &[&*ours, "x"], &[&*ours, foreign]] {
        assert!(compare(set(&[v4(1)], texts), &[v4(1)]).is_err(), "{texts:?}");
        assert_eq!(count(set(&[v4(1)], texts), &[]), Ok(0), "{texts:?}");
    }
    let alias = Found { is_alias: true, ..Found::default() };
    let wanted = Wanted { addresses: BTreeSet::from([v4(1)]), ttl: 30 };
    assert!(matches!(change(&name("a.b"), &alias, &wanted, &owner()), Err(Conflict::Alias { .. })));
    assert_eq!(change(&name("a.b"), &alias, &Wanted::default(), &owner()), Ok(None));
}

#[test]
fn i12_what_changes_of_one_family_leaves_the_other_alone() {
    let ours = owner().ownership.text();
    let families = BTreeMap::from([(Family::V4, set(&[v4(1)], &[&ours])), (Family::V6, set(&[v6(1)], &[&ours]))]);
    let found = Found { families, is_alias: false };
    let changed = |wanted: &[IpAddr]| {
        let wanted = Wanted { addresses: wanted.iter().copied().collect(), ttl: 30 };
        let change = change(&name("shop.example.com"), &found, &wanted, &owner()).unwrap();
        change.into_iter().flat_map(|change| change.families).map(|family| family.family).collect::<Vec<_>>()
    };
    assert_eq!(changed(&[v4(2), v6(1)]), [Family::V4]);
    assert_eq!(changed(&[v4(1)]), [Family::V6]);
    assert_eq!(changed(&[v4(1), v6(1)]), []);
}

fn candidate(address: IpAddr, cluster: &str, state: State) -> Candidate {
    Candidate { address, cluster: cluster.to_owned(), state, is_draining: false, tier: 0 }
}

#[derive(Clone, Debug, Default)]
struct World {
    candidates: Vec<Candidate>,
    tiers: Vec<Tier>,
    published: BTreeMap<IpAddr, Option<String>>,
    present: BTreeSet<String>,
    is_partly_unknown: bool,
    removes: bool,
    most: usize,
}

impl World {
    fn select(&self) -> Selection {
        select(&Choice {
            name: &name("shop.example.com"),
            candidates: &self.candidates,
            tiers: &self.tiers,
            published: &self.published,
            present: &self.present,
            is_partly_unknown: self.is_partly_unknown,
            when_all_unhealthy: if self.removes { WhenAllUnhealthy::Remove } else { WhenAllUnhealthy::KeepLast },
            most: self.most,
        })
    }
}

fn world(candidates: Vec<Candidate>, published: &[(IpAddr, &str)]) -> World {
    World {
        candidates,
        published: published.iter().map(|(address, cluster)| (*address, Some((*cluster).to_owned()))).collect(),
        present: ["eu", "us"].map(str::to_owned).into(),
        most: 16,
        ..World::default()
    }
}

fn addresses(selection: &Selection) -> Vec<IpAddr> {
    selection.addresses.keys().copied().collect()
}

#[test]
fn a_name_answers_with_what_is_healthy_and_keeps_what_is_unknown() {
    let both = vec![candidate(v4(1), "eu", State::Healthy), candidate(v4(2), "us", State::Healthy)];
    assert_eq!(addresses(&world(both.clone(), &[]).select()), [v4(1), v4(2)]);
    let mut away = both.clone();
    away[0].state = State::Unknown;
    assert_eq!(addresses(&world(away.clone(), &[(v4(1), "eu")]).select()), [v4(1), v4(2)], "unknown is not gone");
    assert_eq!(addresses(&world(away, &[]).select()), [v4(2)], "nor is it there");
    let mut dead = both.clone();
    dead[0].state = State::Unhealthy;
    let selection = world(dead.clone(), &[(v4(1), "eu"), (v4(2), "us")]).select();
    assert_eq!((addresses(&selection), selection.planned.len()), (vec![v4(2)], 0));
    dead[1].state = State::Unhealthy;
    let selection = world(dead.clone(), &[(v4(1), "eu"), (v4(2), "us")]).select();
    assert_eq!((addresses(&selection), selection.basis[&Family::V4]), (vec![v4(1), v4(2)], Basis::KeptLast));
    assert!(World { removes: true, ..world(dead, &[(v4(1), "eu")]) }.select().addresses.is_empty());
    let gone = world(Vec::new(), &[(v4(1), "eu"), (v4(2), "deleted")]).select();
    assert_eq!(addresses(&gone), [v4(1)], "nothing of a cluster that is no more is kept");
    assert!(gone.planned.contains(&v4(2)));
    let twice = vec![candidate(v4(1), "us", State::Unhealthy), candidate(v4(1), "eu", State::Healthy)];
    assert_eq!(world(twice, &[]).select().addresses, BTreeMap::from([(v4(1), Some("eu".to_owned()))]));
}

#[test]
fn a_cluster_is_taken_out_at_once_and_never_to_an_empty_answer() {
    let mut both = vec![candidate(v4(1), "eu", State::Healthy), candidate(v4(2), "us", State::Healthy)];
    both[0].is_draining = true;
    let published = [(v4(1), "eu"), (v4(2), "us")];
    let selection = world(both.clone(), &published).select();
    assert_eq!((addresses(&selection), selection.planned), (vec![v4(2)], BTreeSet::from([v4(1)])));
    both[1].is_draining = true;
    let selection = world(both, &published).select();
    assert_eq!((addresses(&selection), selection.basis[&Family::V4]), (vec![v4(1), v4(2)], Basis::Draining));
}

#[test]
fn a_failover_goes_to_the_first_tier_that_is_enough() {
    let tiers = vec![Tier { min_healthy: 2 }, Tier { min_healthy: 1 }];
    let at = |last, cluster, tier, state| Candidate { tier, ..candidate(v4(last), cluster, state) };
    let of = |second: State| World {
        tiers: tiers.clone(),
        ..world(vec![at(1, "eu", 0, State::Healthy), at(2, "eu", 0, second), at(3, "us", 1, State::Healthy)], &[])
    };
    let selection = of(State::Healthy).select();
    assert_eq!((addresses(&selection), selection.tier), (vec![v4(1), v4(2)], Some(0)));
    let selection = of(State::Unhealthy).select();
    assert_eq!((addresses(&selection), selection.tier), (vec![v4(3)], Some(1)));
    let mut last = of(State::Unhealthy);
    last.candidates.pop();
    assert_eq!(addresses(&last.select()), [v4(1)], "too few are better than none");
}

#[test]
fn what_is_of_an_unknown_cluster_stays_while_one_cannot_be_looked_at() {
    let stray = World {
        published: BTreeMap::from([(v4(1), None), (v4(9), None)]),
        is_partly_unknown: true,
        ..world(vec![candidate(v4(1), "eu", State::Healthy)], &[])
    };
    assert_eq!(addresses(&stray.select()), [v4(1), v4(9)]);
    assert_eq!(addresses(&World { is_partly_unknown: false, ..stray }.select()), [v4(1)]);
}

#[test]
fn what_is_of_an_unknown_cluster_takes_the_place_of_no_candidate() {
    for last in 2..40 {
        let stray = World {
            published: BTreeMap::from([(v4(1), Some("eu".to_owned())), (v4(last), None)]),
            is_partly_unknown: true,
            most: 1,
            ..world(vec![candidate(v4(1), "eu", State::Unknown)], &[])
        };
        assert_eq!(addresses(&stray.select()), [v4(1)]);
    }
}

#[test]
fn a_cluster_that_offers_a_lot_drives_no_other_one_out() {
    let many = (10..200).map(|last| candidate(v4(last), "us", State::Healthy));
    let all: Vec<_> = many.chain([candidate(v4(1), "eu", State::Healthy)]).collect();
    let selection = World { most: 4, ..world(all, &[(v4(1), "eu")]) }.select();
    assert_eq!((selection.addresses.len(), selection.addresses.contains_key(&v4(1))), (4, true));
}

fn guarded(removed: u8, total: u8, guard: &Guard, now: u64) -> Guarded {
    let published: BTreeMap<_, _> = (0..total).map(|last| (v4(last), None)).collect();
    let kept = published.keys().skip(removed.into()).map(|address| (*address, None)).collect();
    let selection = Selection { addresses: kept, ..Selection::default() };
    guard.bound(&name("a.b"), &published, &selection, Duration::from_secs(now), &Limits::default())
}

#[test]
fn i11_failures_remove_no_more_than_the_limit_within_a_window() {
    let none = Guard::default();
    assert_eq!((guarded(8, 8, &none, 0).removed, guarded(8, 8, &none, 0).held), (4, 4));
    assert_eq!(guarded(2, 8, &none, 0).held, 0);
    assert_eq!(guarded(3, 3, &none, 0).held, 0, "few are not guarded");
    let mut guard = Guard::default();
    guard.note(4, Duration::from_secs(10), &Limits::default());
    assert_eq!(guarded(4, 4, &guard, 20).removed, 0);
    assert_eq!(guarded(4, 4, &guard, 71).removed, 2, "the window is over");
    assert_eq!(guarded(4, 4, &guard, 0).removed, 0, "a clock that goes back opens nothing");
    let planned = Selection { planned: (0..8).map(v4).collect(), ..Selection::default() };
    let published: BTreeMap<_, _> = (0..8).map(|last| (v4(last), None)).collect();
    assert_eq!(guard.bound(&name("a.b"), &published, &planned, Duration::ZERO, &Limits::default()).held, 0);
}

#[test]
fn a_verdict_needs_results_in_a_row() {
    use Phase::{Healthy, Recovering, Suspect, Unhealthy, Unknown};

    let thresholds = Thresholds { hold: Duration::ZERO, ..Thresholds::default() };
    let mut health = Health::default();
    let mut record = |is_success, second| {
        health.record(is_success, Duration::from_secs(second), &thresholds);
        health.phase()
    };
    let phases: Vec<_> = [true, true, false, false, true, false, false, false, true, true]
        .into_iter()
        .zip(0..)
        .map(|(is, at)| record(is, at))
        .collect();
    assert_eq!(phases, [Unknown, Healthy, Suspect, Suspect, Healthy, Suspect, Suspect, Unhealthy, Recovering, Healthy]);
}

fn state() -> impl Strategy<Value = State> {
    prop_oneof![Just(State::Healthy), Just(State::Unknown), Just(State::Unhealthy)]
}

fn any_candidate() -> impl Strategy<Value = Candidate> {
    let cluster = prop_oneof![Just("eu"), Just("us"), Just("ap")];
    let address = prop_oneof![(0_u8..8).prop_map(v4), (0_u16..4).prop_map(v6)];
    (address, cluster, state(), any::<bool>(), 0_usize..3).prop_map(|(address, cluster, state, is_draining, tier)| {
        Candidate { is_draining, tier, ..candidate(address, cluster, state) }
    })
}

fn any_world() -> impl Strategy<Value = World> {
    let published = proptest::collection::btree_map(
        prop_oneof![(0_u8..8).prop_map(v4), (0_u16..4).prop_map(v6)],
        proptest::option::of(prop_oneof![Just("eu"), Just("us"), Just("deleted")].prop_map(str::to_owned)),
        0..6,
    );
    let tiers = prop_oneof![Just(Vec::new()), Just(vec![Tier { min_healthy: 1 }; 3])];
    let candidates = proptest::collection::vec(any_candidate(), 0..12);
    (candidates, published, tiers, any::<bool>(), 1_usize..6).prop_map(
        |(candidates, published, tiers, unknown, most)| {
            let present = ["eu", "us", "ap"].map(str::to_owned).into();
            World { candidates, tiers, published, present, is_partly_unknown: unknown, removes: false, most }
        },
    )
}

proptest! {
    /// What is published is healthy, or was there before: nothing that is not healthy is added.
    #[test]
    fn i01_nothing_is_added_that_is_not_healthy(world in any_world()) {
        for address in world.select().addresses.keys().filter(|address| !world.published.contains_key(*address)) {
            let is_healthy = |found: &Candidate| found.address == *address && found.state == State::Healthy;
            prop_assert!(world.candidates.iter().any(is_healthy));
        }
    }

    /// A name without tiers that answered, and has a cluster of which that may still be true, never answers with nothing.
    #[test]
    fn i02_no_name_becomes_empty_by_a_failure(world in any_world()) {
        let world = World { tiers: Vec::new(), ..world };
        let selection = world.select();
        for family in Family::ALL {
            let is_kept = |(address, cluster): (&IpAddr, &Option<String>)| {
                Family::of(*address) == family && cluster.as_ref().is_none_or(|cluster| world.present.contains(cluster))
            };
            if world.published.iter().any(is_kept) {
                prop_assert!(selection.addresses.keys().any(|address| Family::of(*address) == family));
            }
        }
    }

    /// While a cluster cannot be looked at, nothing of it leaves on that account.
    #[test]
    fn i04_what_cannot_be_looked_at_removes_nothing(world in any_world()) {
        let mut world = World { tiers: Vec::new(), most: 100, ..world };
        world.candidates = world.published.iter().filter_map(|(address, cluster)| {
            cluster.as_ref().filter(|cluster| world.present.contains(*cluster)).map(|cluster| candidate(*address, cluster, State::Unknown))
        }).collect();
        let selection = world.select();
        for found in &world.candidates {
            prop_assert!(selection.addresses.contains_key(&found.address));
        }
    }

    /// The order of observations does not matter, nor does deciding again.
    #[test]
    fn i06_equal_observations_give_equal_answers(world in any_world(), seed in any::<u64>()) {
        let first = world.select();
        let mut other = world.clone();
        let length = other.candidates.len().max(1);
        other.candidates.rotate_left(usize::try_from(seed % 64).unwrap() % length);
        other.candidates.reverse();
        prop_assert_eq!(&first, &other.select());
        let mut again = world;
        again.published = first.addresses.clone();
        prop_assert_eq!(first.addresses, again.select().addresses, "it is stable");
    }

    /// One that comes or goes moves at most one other.
    #[test]
    fn a_cap_moves_one_for_one(count in 2_u8..30, most in 1_usize..10) {
        let of = |count: u8| {
            let candidates = (0..count).map(|last| candidate(v4(last), "eu", State::Healthy)).collect();
            World { most, ..world(candidates, &[]) }.select().addresses.into_keys().collect::<BTreeSet<_>>()
        };
        let (before, after) = (of(count), of(count - 1));
        prop_assert!(before.len() <= most && before.difference(&after).count() <= 1 && after.difference(&before).count() <= 1);
    }

    /// However the results come, and however the clock jumps, a verdict stands for its hold and changes no more often than it may.
    #[test]
    fn i05_a_verdict_holds_and_flaps_no_more_than_it_may(results in proptest::collection::vec((any::<bool>(), -40_i64..40), 1..400)) {
        let thresholds = Thresholds::default();
        let mut health = Health::default();
        let (mut clock, mut latest, mut changes) = (1_000_i64, 0, Vec::new());
        let mut is_first = true;
        for (is_success, step) in results {
            clock = (clock + step).max(0);
            let now = Duration::from_secs(clock.unsigned_abs());
            if health.record(is_success, now, &thresholds) && !std::mem::replace(&mut is_first, false) {
                latest = clock.max(latest);
                changes.push(latest);
            }
        }
        for pair in changes.windows(2) {
            prop_assert!(pair[1] - pair[0] >= 30);
        }
        for some in changes.windows(thresholds.flap_limit + 1) {
            prop_assert!(some[thresholds.flap_limit] - some[0] >= 600);
        }
    }

    /// Whatever fails whenever, within any window no more is removed than the limit of what was there.
    #[test]
    fn i11_no_sequence_of_failures_removes_more_than_the_limit(steps in proptest::collection::vec((0_u8..10, 0_u64..40), 1..60)) {
        let (limits, mut guard, mut now, mut left, mut removals) = (Limits::default(), Guard::default(), 0_u64, 16_u8, Vec::new());
        for (fail, pause) in steps {
            now += pause;
            let guarded = guarded(fail.min(left), left, &guard, now);
            guard.note(guarded.removed, Duration::from_secs(now), &limits);
            if guarded.removed > 0 {
                removals.push((now, left, guarded.removed));
            }
            left -= u8::try_from(guarded.removed).unwrap();
        }
        for (first, (at, before, _)) in removals.iter().enumerate() {
            let later = removals.iter().skip(first).take_while(|(when, ..)| when - at < 60);
            let within: usize = later.map(|(.., count)| count).sum();
            if usize::from(*before) < limits.least {
                continue;
            }
            prop_assert!(within <= usize::from(*before) / 2 || usize::from(*before) - within < limits.least, "{removals:?}");
        }
    }
}

#[test]
fn what_was_not_removed_after_all_is_taken_back() {
    let limits = Limits::default();
    let mut guard = Guard::default();
    guard.note(2, Duration::ZERO, &limits);
    let before = guard.clone();
    guard.note(3, Duration::from_secs(1), &limits);
    guard.take_back(3);
    assert_eq!(guard, before);
    guard.take_back(0);
    assert_eq!(guard, before, "what removes nothing was not noted");
}
