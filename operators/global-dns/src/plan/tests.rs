use std::sync::Arc;

use drover_fleet::cause::TenancyCause;
use drover_names::{Family, Found, FoundSet, Grants, Guard, RecordSet, Text};
use drover_zones::{Answer, ZoneError};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::json;

use super::*;
use crate::observe::{Member, Offered, Provider};

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
    Zone {
        namespace: "drover".to_owned(),
        installation: "prod".to_owned(),
        provider: Some(Provider { grants: Grants { domains: suffix(), suffixes: suffix() }, ..Provider::default() }),
        names: [(name(), Seen { found, answers })].into(),
        existing: clusters.keys().map(|name| (name.clone(), Member::default())).collect(),
        clusters,
        ..Zone::default()
    }
}

fn claimed(mut zone: Zone) -> Zone {
    let live = Ok(Arc::new(claim::desired("drover", "main", &name())));
    zone.claims = vec![Owned { live, drift_conflict: None, title: Title::Created }];
    zone
}

fn decide(names: &GlobalDNS, zone: Zone) -> (Told, Vec<String>, Option<Vec<IpAddr>>) {
    told(plan(names, &World::Management(Box::new(zone)), Timestamp::UNIX_EPOCH))
}

/// What is told, what is done, and the addresses that are written.
fn told(decided: Decided) -> (Told, Vec<String>, Option<Vec<IpAddr>>) {
    let PlaceStatus::Names(told) = decided.place_status else { panic!("it is told of names") };
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
    let bare = ConfigMap { data: None, ..claim::desired("drover", "main", &name()) };
    half.claims[0].live = Ok(Arc::new(bare));
    let (_, done, _) = decide(&names(&json!({})), half);
    assert_eq!(done, [format!("apply ConfigMap {key}"), format!("write {NAME} at main")]);
}

#[test]
fn what_cannot_be_looked_at_stays_and_what_is_gone_goes() {
    let mut before = names(&json!({}));
    before.status = Some(
        serde_json::from_value(
            json!({"published": [{"fqdn": NAME, "endpoints": [{"cluster": "eu", "addresses": ["8.8.8.1"]}]}]}),
        )
        .unwrap(),
    );
    let at_rest = |names: &GlobalDNS, zone| decide(names, zone).1.is_empty();
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
    assert_eq!((last.1.len(), last.0.names[0].basis), (0, Some(Basis::KeptLast)), "it never becomes empty by that");
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
    foreign.names.get_mut(&name()).unwrap().found = Ok(Found { families: [(Family::V4, set)].into(), is_alias: false });
    assert_eq!(problem(&names(&json!({})), foreign), Some("RecordConflict"));
    let mut down = offered();
    down.names.get_mut(&name()).unwrap().found = Err(ZoneError::Unreachable { server: "ns1".to_owned() });
    assert_eq!(problem(&names(&json!({})), down), Some("ProviderUnavailable"));
    let mut observed = offered();
    observed.provider = None;
    assert_eq!(decide(&names(&json!({})), observed).0.failure.unwrap().0.reason(), "ProviderNotFound");
    let (told, done, _) = decide(&names(&json!({"mode": "Observe"})), offered());
    assert_eq!((done.len(), told.names[0].plan.as_deref()), (0, Some("shop.example.com A: nothing -> 8.8.8.1")));
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
    many.names = zone(&[1, 2, 3], &clusters).names;
    many.guards = [(name(), guard)].into();
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
        let mut before = names(&json!({}));
        let endpoints = json!([{"cluster": "eu", "addresses": ["8.8.8.1"]}]);
        before.status =
            Some(serde_json::from_value(json!({"published": [{"fqdn": NAME, "endpoints": endpoints}]})).unwrap());
        decide(&before, zone).2
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
            zone.existing.insert(cluster.to_owned(), Member { labels, is_draining: false });
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
    down.names.get_mut(&name()).unwrap().found = Err(ZoneError::Unreachable { server: "ns1".to_owned() });
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
    let answers = &mut lagging.names.get_mut(&name()).unwrap().answers;
    answers.push(Answer { server: "ns2:53".to_owned(), addresses: Ok([address(9)].into()) });
    let decided = plan(&names(&json!({})), &World::Management(Box::new(lagging)), Timestamp::UNIX_EPOCH);
    assert_eq!(decided.requeue, Requeue::At(Timestamp::from_second(1).unwrap()));
    assert_eq!(told(decided).0.names[0].lags.as_deref(), Some("ns2:53"));
    let since = |second: i64| {
        let at = Timestamp::from_second(second).unwrap().to_string();
        let condition = json!({"type": "Propagated", "status": "False", "reason": "Propagating", "message": "", "lastTransitionTime": at});
        let mut names = names(&json!({}));
        names.status = Some(serde_json::from_value(json!({"conditions": [condition]})).unwrap());
        let told =
            Told { names: vec![ToldName { lags: Some("ns2:53".to_owned()), ..ToldName::default() }], failure: None };
        pause(&names, &told, Timestamp::from_second(100).unwrap())
    };
    assert_eq!((since(50), since(30)), (LOOK_SOON, LOOK_AFTER_FAILURE), "one that lags for long is asked less often");
}
