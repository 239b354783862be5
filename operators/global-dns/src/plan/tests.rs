use std::sync::Arc;

use drover_fleet::cause::TenancyCause;
use drover_names::{AddressRule, Family, Found, FoundSet, Grants, Guard, RecordSet, Text};
use drover_runtime::PlaceStatuses;
use drover_zones::{Answer, ZoneError};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::json;

use super::*;
use crate::observe::{Member, Memory, Offered};

const NAME: &str = "shop.example.com";

fn names(spec: &serde_json::Value) -> GlobalDNS {
    let selection = json!({"clusters": {"all": {}}, "namespaces": ["shop"]});
    let mut whole = json!({"providerName": "main", "fqdns": [NAME], "targets": {"selection": selection}});
    whole.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
    serde_json::from_value(json!({
        "apiVersion": "drover.dev/v1alpha1", "kind": "GlobalDNS", "metadata": {"name": "shop", "namespace": "team"}, "spec": whole,
    }))
    .unwrap()
}

fn address(last: u8) -> IpAddr {
    IpAddr::from([8, 8, 8, last])
}

fn name() -> Fqdn {
    NAME.parse().unwrap()
}

fn ours() -> Ownership {
    Ownership::of_global_dns("prod", "team", "shop")
}

/// A zone in which the name has these addresses, of ours, and every server says so.
fn zone(has: &[u8], clusters: &[(&str, Option<&[u8]>)]) -> Zone {
    let addresses: BTreeSet<IpAddr> = has.iter().map(|last| address(*last)).collect();
    let texts = if has.is_empty() { Vec::new() } else { vec![Text::new(&ours().text())] };
    let set = FoundSet { records: RecordSet { addresses: addresses.clone(), ttl: 30 }, texts };
    let found = Ok(Found { families: [(Family::V4, set)].into(), is_alias: false });
    let answers = vec![Answer { server: "ns1:53".to_owned(), addresses: Ok(addresses) }];
    let offered = |offers: Option<&[u8]>| Offered {
        offers: offers.map(|offers| Offers {
            names: [(NAME.to_owned(), offers.iter().map(|last| address(*last)).collect())].into(),
            ..Offers::default()
        }),
        is_current: offers.is_some(),
    };
    let clusters: BTreeMap<_, _> =
        clusters.iter().map(|(name, offers)| ((*name).to_owned(), offered(*offers))).collect();
    let suffix = || vec!["example.com".parse().unwrap()];
    let provider = Provider {
        grants: Grants { domains: suffix(), suffixes: suffix() },
        names: [(name(), Seen { found, answers })].into(),
        ..Provider::default()
    };
    Zone {
        namespace: "drover".to_owned(),
        installation: "prod".to_owned(),
        providers: [("main".to_owned(), provider)].into(),
        existing: clusters.keys().map(|name| (name.clone(), readable())).collect(),
        clusters,
        ..Zone::default()
    }
}

/// A cluster with a Cluster that can be read.
fn readable() -> Member {
    Member { rule: Some(AddressRule::default()), ..Member::default() }
}

/// The same, with a claim that notes of which cluster each offered address is.
fn claimed(zone: Zone) -> Zone {
    let mut noted = Holders::new();
    for (cluster, offered) in zone.clusters.iter().rev() {
        let offers = offered.offers.iter().filter_map(|offers| offers.names.get(NAME)).flatten();
        noted.extend(offers.map(|address| (*address, cluster.clone())));
    }
    noting(zone, "main", &noted)
}

/// The same, with a claim at a provider that notes this.
fn noting(mut zone: Zone, provider: &str, noted: &Holders) -> Zone {
    let live = Ok(Arc::new(claim::desired("drover", provider, &name(), noted)));
    zone.claims = vec![Owned { live, drift_conflict: None, title: Title::Created }];
    zone
}

fn see(zone: &mut Zone) -> &mut Seen {
    zone.providers.get_mut("main").unwrap().names.get_mut(&name()).unwrap()
}

/// Names of which the status says that eu has the first address.
fn known() -> GlobalDNS {
    let mut names = names(&json!({}));
    let endpoints = json!([{"cluster": "eu", "addresses": ["8.8.8.1"]}]);
    names.status =
        Some(serde_json::from_value(json!({"published": [{"fqdn": NAME, "endpoints": endpoints}]})).unwrap());
    names
}

fn decide(names: &GlobalDNS, zone: Zone) -> (Told, Vec<String>, Option<Vec<IpAddr>>) {
    told(plan(names, &World::Management(Box::new(zone)), Timestamp::UNIX_EPOCH))
}

/// What is told, what is done, and the addresses that are written.
fn told(decided: Decided) -> (Told, Vec<String>, Option<Vec<IpAddr>>) {
    let PlaceStatus::Names(told) = decided.place_status else { panic!("no status of names") };
    let written = decided.groups.iter().flatten().find_map(|action| match action {
        Action::Write { change, .. } => {
            let after = change.families.iter().filter_map(|family| family.after.as_ref());
            Some(after.flat_map(|(records, _)| records.addresses.clone()).collect())
        }
        Action::Claim(_) => None,
    });
    let done = decided.groups.iter().flatten().map(|action| format!("{action:?}")).collect();
    (*told, done, written)
}

#[test]
fn a_name_is_claimed_and_then_written() {
    let key = claim::key("drover", "main", &name());
    let (told, done, written) = decide(&names(&json!({})), zone(&[], &[("eu", Some(&[1])), ("us", Some(&[2]))]));
    assert_eq!(done, [format!("create ConfigMap {key}"), format!("write {NAME} at main")]);
    assert_eq!(written, Some(vec![address(1), address(2)]));
    assert!(told.names[0].is_written);
    let (told, done, _) = decide(&names(&json!({})), claimed(zone(&[1, 2], &[("eu", Some(&[1])), ("us", Some(&[2]))])));
    assert_eq!((done.len(), told.names[0].published.len()), (0, 2), "at rest nothing is done");
    assert_eq!(told.names[0].published[&address(1)].as_deref(), Some("eu"));
    let (_, done, _) = decide(&names(&json!({})), claimed(zone(&[1], &[("eu", Some(&[1])), ("us", Some(&[2]))])));
    assert_eq!(done, [format!("write {NAME} at main")], "it is claimed once");
    let (_, done, _) = decide(&names(&json!({})), zone(&[1], &[("eu", Some(&[1]))]));
    assert_eq!(done, [format!("create ConfigMap {key}")], "what was written before is claimed too");
    let mut half = claimed(zone(&[], &[("eu", Some(&[1]))]));
    let bare = ConfigMap { data: None, ..claim::desired("drover", "main", &name(), &Holders::new()) };
    half.claims[0].live = Ok(Arc::new(bare));
    let (_, done, _) = decide(&names(&json!({})), half);
    assert_eq!(done, [format!("apply ConfigMap {key}"), format!("write {NAME} at main")]);
}

#[test]
fn what_cannot_be_looked_at_stays_and_what_is_gone_goes() {
    let before = known();
    let at_rest = |names: &GlobalDNS, zone| decide(names, zone).2.is_none();
    assert!(at_rest(&before, claimed(zone(&[1, 2], &[("eu", None), ("us", Some(&[2]))]))), "eu was not looked at yet");
    assert!(at_rest(&names(&json!({})), claimed(zone(&[1, 2], &[("eu", None), ("us", Some(&[2]))]))), "1 may be of eu");
    let mut away = claimed(zone(&[1, 2], &[("eu", Some(&[1])), ("us", Some(&[2]))]));
    away.clusters.get_mut("eu").unwrap().is_current = false;
    assert!(at_rest(&names(&json!({})), away), "eu cannot be reached");
    let gone = decide(&before, claimed(zone(&[1, 2], &[("eu", Some(&[])), ("us", Some(&[2]))])));
    assert_eq!(gone.2, Some(vec![address(2)]));
    let deselected = decide(&before, claimed(zone(&[1, 2], &[("us", Some(&[2]))])));
    assert_eq!(deselected.2, Some(vec![address(2)]));
    let last = decide(&before, claimed(zone(&[1], &[("eu", Some(&[])), ("us", Some(&[]))])));
    assert_eq!((last.2, last.0.names[0].basis), (None, Some(Basis::KeptLast)), "it never becomes empty by that");
    let forgotten = claimed(zone(&[1], &[("eu", Some(&[])), ("us", Some(&[]))]));
    assert!(at_rest(&names(&json!({})), forgotten), "nor where its cluster is not known any more, as after a rebuild");
    let removes = names(&json!({"whenAllUnhealthy": "Remove"}));
    assert_eq!(decide(&removes, claimed(zone(&[1], &[("eu", Some(&[]))]))).2, Some(vec![]));
    let mut nothing = claimed(zone(&[1], &[]));
    nothing.existing = [("eu".to_owned(), Member::default())].into();
    assert!(at_rest(&before, nothing), "a selection of nothing removes nothing that exists");
}

#[test]
fn a_name_that_may_not_be_written_is_left_alone_and_says_why() {
    let problem = |names: &GlobalDNS, zone: Zone| {
        let (told, done, _) = decide(names, zone);
        assert!(done.is_empty(), "{done:?}");
        told.names[0].problem.clone().map(|(cause, _)| cause.reason())
    };
    let offered = || zone(&[], &[("eu", Some(&[1]))]);
    assert_eq!(problem(&names(&json!({"fqdns": ["shop.example.org"]})), offered()), Some("NameNotGranted"));
    assert_eq!(problem(&names(&json!({"fqdns": ["*.example.com"]})), offered()), Some("NameNotGranted"));
    assert_eq!(problem(&names(&json!({"fqdns": ["Shop.example.com"]})), offered()), Some("NameInvalid"));
    let mut taken = offered();
    taken.taken.insert(name(), None);
    assert_eq!(problem(&names(&json!({})), taken), Some("NameTaken"));
    let mut foreign = offered();
    let set = FoundSet { records: RecordSet { addresses: [address(9)].into(), ttl: 30 }, texts: Vec::new() };
    see(&mut foreign).found = Ok(Found { families: [(Family::V4, set)].into(), is_alias: false });
    assert_eq!(problem(&names(&json!({})), foreign), Some("RecordConflict"));
    let mut down = offered();
    see(&mut down).found = Err(ZoneError::Unreachable { server: "ns1".to_owned() });
    assert_eq!(problem(&names(&json!({})), down), Some("ProviderUnavailable"));
    let mut observed = offered();
    observed.providers.clear();
    assert_eq!(decide(&names(&json!({})), observed).0.failure.unwrap().0.reason(), "ProviderNotFound");
    let (told, done, _) = decide(&names(&json!({"mode": "Observe"})), offered());
    assert_eq!((done.len(), told.names[0].plan.as_deref()), (0, Some("shop.example.com A: nothing -> 8.8.8.1")));
}

#[test]
fn what_a_zone_says_of_an_owner_is_cut_and_shows_no_advice_for_our_own() {
    let problem = |text: &str| {
        let mut foreign = zone(&[], &[("eu", Some(&[1]))]);
        let records = RecordSet { addresses: [address(9)].into(), ttl: 30 };
        let set = FoundSet { records, texts: vec![Text::new(text)] };
        see(&mut foreign).found = Ok(Found { families: [(Family::V4, set)].into(), is_alias: false });
        let (told, done, _) = decide(&names(&json!({})), foreign);
        assert!(done.is_empty());
        told.names[0].problem.clone().unwrap().1
    };
    let long = "y".repeat(500);
    let said =
        problem(&format!("heritage=external-dns,external-dns/owner=\u{202e}a\nb{long},external-dns/resource={long}"));
    assert!(said.contains("belong to owner  a byyy") && said.contains('…') && said.len() < 400, "{said}");
    let said = problem("heritage=external-dns,external-dns/owner=drover-prod,external-dns/resource=globaldns/x/y");
    assert!(said.contains("another GlobalDNS") && !said.contains("adoptOwners") && !said.contains("x/y"), "{said}");
}

#[test]
fn a_bad_name_holds_up_no_other_one() {
    let (told, done, written) =
        decide(&names(&json!({"fqdns": ["shop.example.org", NAME]})), zone(&[], &[("eu", Some(&[1]))]));
    assert!(told.names[0].problem.is_some() && told.names[1].problem.is_none());
    assert_eq!((done.len(), written), (2, Some(vec![address(1)])));
}

#[test]
fn failures_remove_half_and_the_rest_is_looked_at_again_soon() {
    let clusters: Vec<(&str, Option<&[u8]>)> = vec![("eu", Some(&[1])), ("us", Some(&[]))];
    let mut many = claimed(zone(&[1, 2, 3, 4, 5, 6], &clusters));
    let (told, _, written) = decide(&names(&json!({})), claimed(zone(&[1, 2, 3, 4, 5, 6], &clusters)));
    assert_eq!((written.unwrap().len(), told.names[0].held), (3, 2));
    let mut guard = Guard::default();
    guard.note(3, Duration::ZERO, &LIMITS);
    many.providers = zone(&[1, 2, 3], &clusters).providers;
    many.memories = [(name(), Memory { guard, ttl: None })].into();
    let (told, done, _) = decide(&names(&json!({})), many);
    assert_eq!((done.len(), told.names[0].held), (0, 2));
}

#[test]
fn a_cluster_is_taken_out_on_purpose_also_while_it_cannot_be_reached() {
    let mut draining = claimed(zone(&[1, 2], &[("eu", Some(&[1])), ("us", Some(&[2]))]));
    draining.existing.get_mut("eu").unwrap().is_draining = true;
    draining.clusters.get_mut("eu").unwrap().is_current = false;
    assert_eq!(decide(&names(&json!({})), draining).2, Some(vec![address(2)]));
    let mut only = claimed(zone(&[1], &[("eu", Some(&[1]))]));
    only.existing.get_mut("eu").unwrap().is_draining = true;
    let (told, done, _) = decide(&names(&json!({})), only);
    assert_eq!((done.len(), told.names[0].basis), (0, Some(Basis::Draining)), "never to an empty answer");
}

#[test]
fn what_the_owner_of_a_cluster_does_not_admit_leaves_and_what_cannot_be_read_stays() {
    let with = |cause: Cause| {
        let mut zone = claimed(zone(&[1, 2], &[("eu", Some(&[1])), ("us", Some(&[2]))]));
        let obstacle = Some((cause, "x".to_owned()));
        zone.clusters.get_mut("eu").unwrap().offers = Some(Offers { obstacle, ..Offers::default() });
        decide(&known(), zone).2
    };
    assert_eq!(with(TenancyCause::NotATenant.into()), Some(vec![address(2)]));
    assert_eq!(with(DNSCause::SourcesNotReadable.into()), None);
}

#[test]
fn a_failover_answers_with_the_first_tier_that_has_enough() {
    let tier = |label: &str, least: u32| json!({"clusters": {"selector": {"matchLabels": {"tier": label}}}, "minHealthy": least});
    let failover = names(&json!({"policy": {"failover": {"tiers": [tier("first", 2), tier("second", 1)]}}}));
    let decide = |eu: &[u8]| {
        let mut zone = claimed(zone(&[9], &[("eu", Some(eu)), ("us", Some(&[3])), ("spare", Some(&[4]))]));
        for (cluster, label) in [("eu", "first"), ("us", "second"), ("spare", "none")] {
            let labels = [("tier".to_owned(), label.to_owned())].into();
            zone.existing.insert(cluster.to_owned(), Member { labels, ..readable() });
        }
        let (told, _, written) = decide(&failover, zone);
        (told.names[0].tier, written)
    };
    assert_eq!(decide(&[1, 2]), (Some(0), Some(vec![address(1), address(2)])));
    assert_eq!(decide(&[1]), (Some(1), Some(vec![address(3)])), "one that is in no tier never answers");
}

#[test]
fn a_deletion_removes_what_is_claimed_and_then_the_claim() {
    let mut going = names(&json!({}));
    going.metadata.deletion_timestamp = Some(Time(Timestamp::UNIX_EPOCH));
    let clean = |owner: Owner<'_, GlobalDNS>, zone: Zone| {
        let decided = clean_up(owner, &World::Management(Box::new(zone)), Timestamp::UNIX_EPOCH);
        let released = decided.requeue == Requeue::Released;
        (told(decided).1, released)
    };
    let key = claim::key("drover", "main", &name());
    let removal = [format!("write {NAME} at main"), format!("delete ConfigMap {key}")];
    assert_eq!(clean(Owner::Deleting(&going), claimed(zone(&[1], &[]))), (removal.to_vec(), false));
    let gone = ObjectKey::namespaced("team", "shop");
    assert_eq!(clean(Owner::Gone(&gone), claimed(zone(&[1], &[]))).0, removal, "also of one that is gone");
    assert_eq!(
        clean(Owner::Deleting(&going), claimed(zone(&[], &[]))).0,
        removal[1..],
        "what is gone needs no writing"
    );
    assert_eq!(clean(Owner::Deleting(&going), zone(&[], &[])), (vec![], true));
    let mut down = claimed(zone(&[1], &[]));
    see(&mut down).found = Err(ZoneError::Unreachable { server: "ns1".to_owned() });
    assert_eq!(clean(Owner::Deleting(&going), down), (vec![], false), "it waits for the provider");
    let mut foreign = claimed(zone(&[1], &[]));
    foreign.installation = "other".to_owned();
    assert_eq!(clean(Owner::Deleting(&going), foreign).0, removal[1..], "what is not ours any more stays");
}

#[test]
fn a_name_that_leaves_the_spec_leaves_the_zone() {
    let other = names(&json!({"fqdns": ["other.example.com"]}));
    let (_, done, _) = decide(&other, claimed(zone(&[1], &[("eu", Some(&[1]))])));
    let key = claim::key("drover", "main", &name());
    assert_eq!(done, [format!("write {NAME} at main"), format!("delete ConfigMap {key}")]);
}

#[test]
fn a_server_that_lags_is_named() {
    let mut lagging = claimed(zone(&[1], &[("eu", Some(&[1]))]));
    let answers = &mut see(&mut lagging).answers;
    answers.push(Answer { server: "ns2:53".to_owned(), addresses: Ok([address(9)].into()) });
    let decided = plan(&names(&json!({})), &World::Management(Box::new(lagging)), Timestamp::UNIX_EPOCH);
    assert_eq!(decided.requeue, Requeue::At(Timestamp::from_second(1).unwrap()));
    assert_eq!(told(decided).0.names[0].lags.as_deref(), Some("ns2:53"));
    let since = |second: i64| {
        let at = Timestamp::from_second(second).unwrap().to_string();
        let condition = json!({"type": "Propagated", "status": "False", "reason": "Propagating", "message": "", "lastTransitionTime": at});
        let mut names = names(&json!({}));
        names.status = Some(serde_json::from_value(json!({"conditions": [condition]})).unwrap());
        let told = Told {
            names: vec![ToldName { lags: Some("ns2:53".to_owned()), ..ToldName::default() }],
            ..Told::default()
        };
        pause(&names, &told, Timestamp::from_second(100).unwrap())
    };
    assert_eq!((since(50), since(30)), (LOOK_SOON, LOOK_AFTER_FAILURE), "one that lags for long is asked less often");
}

#[test]
fn consent_that_is_withdrawn_takes_effect_also_where_the_cluster_is_the_only_one_or_away() {
    let refusing = |mut zone: Zone, is_current: bool| {
        zone.existing.get_mut("eu").unwrap().refuses = true;
        zone.clusters.get_mut("eu").unwrap().is_current = is_current;
        decide(&known(), claimed(zone)).2
    };
    let both = || zone(&[1, 2], &[("eu", Some(&[1])), ("us", Some(&[2]))]);
    assert_eq!(refusing(both(), false), Some(vec![address(2)]), "what it offered last does not stand");
    assert_eq!(refusing(zone(&[1], &[("eu", Some(&[1]))]), true), Some(vec![]), "also if it is the only one");
    let mut left = claimed(zone(&[1], &[("eu", Some(&[1]))]));
    left.existing.get_mut("eu").unwrap().refuses = true;
    left.clusters.clear();
    assert_eq!(decide(&known(), left).2, Some(vec![]), "and if it is not selected any more for that");
}

#[test]
fn of_a_cluster_that_cannot_be_read_nothing_leaves() {
    let mut zone = claimed(zone(&[1, 2], &[("eu", Some(&[1])), ("us", Some(&[2]))]));
    zone.existing.insert("eu".to_owned(), Member::default());
    zone.clusters.remove("eu");
    let mut world = World::Management(Box::new(zone));
    world.reduce(&PlaceStatuses::default());
    let World::Management(mut zone) = world else { panic!("it is the management cluster") };
    zone.clusters.insert("us".to_owned(), self::zone(&[], &[("us", Some(&[2]))]).clusters.remove("us").unwrap());
    assert_eq!(decide(&known(), *zone).2, None);
}

#[test]
fn an_address_outside_of_the_ranges_of_its_cluster_leaves_whenever_it_was_written() {
    let with = |offers: Option<&[u8]>, ranges: &[&str]| {
        let mut zone = claimed(zone(&[1, 2], &[("eu", offers), ("us", Some(&[2]))]));
        let ranges: Vec<_> = ranges.iter().map(|range| range.parse().unwrap()).collect();
        zone.existing.get_mut("eu").unwrap().rule =
            Some(AddressRule { ranges: (!ranges.is_empty()).then_some(ranges) });
        decide(&known(), zone).2
    };
    for offers in [None, Some(&[1_u8] as &[u8])] {
        assert_eq!(with(offers, &["192.0.2.0/24"]), Some(vec![address(2)]), "{offers:?}");
        assert_eq!(with(offers, &["8.8.8.0/24"]), None);
        assert_eq!(with(offers, &[]), None, "without ranges public ones may");
    }
}

#[test]
fn a_claim_is_judged_by_its_own_provider() {
    let mut there = noting(zone(&[], &[("eu", Some(&[]))]), "old", &Holders::new());
    let old = zone(&[1], &[]).providers.remove("main").unwrap();
    let key = claim::key("drover", "old", &name());
    assert_eq!(
        decide(&names(&json!({})), noting(zone(&[], &[]), "old", &Holders::new())).1,
        [""; 0],
        "it was not looked at"
    );
    there.providers.insert("old".to_owned(), old);
    let (_, done, _) = decide(&names(&json!({})), there);
    assert_eq!(done, [format!("write {NAME} at old"), format!("delete ConfigMap {key}")]);
}

#[test]
fn of_which_cluster_an_address_is_stands_in_the_claim_before_it_is_written() {
    let key = claim::key("drover", "main", &name());
    let noted = Holders::from([(address(1), "eu".to_owned())]);
    let both = || zone(&[1], &[("eu", Some(&[1])), ("us", Some(&[2]))]);
    let (_, done, _) = decide(&names(&json!({})), noting(both(), "main", &noted));
    assert_eq!(done, [format!("apply ConfigMap {key}"), format!("write {NAME} at main")]);
    // A crash after the write, before the status: the Cluster is deleted, and the other one cannot be looked at.
    let mut after = noting(zone(&[1, 2], &[("us", Some(&[2]))]), "main", &noted);
    after.clusters.get_mut("us").unwrap().is_current = false;
    assert_eq!(decide(&names(&json!({})), after).2, Some(vec![address(2)]));
    // Another cluster that offers it too does not become its holder.
    let shared = noting(zone(&[1], &[("au", Some(&[1])), ("eu", Some(&[1]))]), "main", &noted);
    let (told, done, _) = decide(&names(&json!({})), shared);
    assert_eq!((told.names[0].published[&address(1)].as_deref(), done.len()), (Some("eu"), 0));
}

#[test]
fn a_server_that_keeps_another_time_to_live_is_told_so_once() {
    let with = |ttl: Option<u32>, offers: &[u8]| {
        let mut zone = claimed(zone(&[1], &[("eu", Some(offers))]));
        let found = see(&mut zone).found.as_mut().unwrap();
        found.families.get_mut(&Family::V4).unwrap().records.ttl = 300;
        zone.memories = [(name(), Memory { guard: Guard::default(), ttl })].into();
        decide(&names(&json!({})), zone).2
    };
    assert_eq!(with(None, &[1]), Some(vec![address(1)]));
    assert_eq!(with(Some(60), &[1]), Some(vec![address(1)]), "the spec is another one now");
    assert_eq!(with(Some(30), &[1]), None);
    assert_eq!(with(Some(30), &[1, 2]), Some(vec![address(1), address(2)]));
}

#[test]
fn nothing_is_said_or_done_while_others_wait_for_a_slow_provider() {
    let mut busy = claimed(zone(&[1], &[("eu", Some(&[1]))]));
    let provider = busy.providers.get_mut("main").unwrap();
    provider.names.clear();
    provider.is_busy = true;
    let decided = plan(&names(&json!({})), &World::Management(Box::new(busy)), Timestamp::UNIX_EPOCH);
    assert_eq!((decided.place_status, decided.groups.len()), (PlaceStatus::Waiting, 0));
    assert_eq!(decided.requeue, Requeue::At(Timestamp::from_second(1).unwrap()));
}
