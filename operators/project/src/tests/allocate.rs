//! What holds for every division of a quota. The numbers of the promises are those of the research that asked for them.

use std::{collections::BTreeMap, time::Instant};

use drover_crds::QuotaOverflow;
use drover_runtime::quantity::{Amount, canonical};
use k8s_openapi::jiff::Timestamp;
use proptest::{collection::vec, prelude::*, sample::select};

use crate::allocate::{Amounts, Claim, allocate};

/// Resources of which `per_cluster` may name any.
const RESOURCES: [&str; 2] = ["limits.cpu", "pods"];

fn amount(text: &str) -> Amount {
    Amount::parse(text).unwrap()
}

fn pieces(count: u64) -> Amount {
    amount(&count.to_string())
}

fn any_amounts(most: u64) -> impl Strategy<Value = Amounts> {
    let resource = select(RESOURCES.to_vec()).prop_map(ToOwned::to_owned);
    prop::collection::btree_map(resource, (0..=most).prop_map(pieces), 0..=2)
}

fn any_per_cluster() -> impl Strategy<Value = Amounts> {
    (0..30_u64, 0..30_u64).prop_map(|(cpu, pods)| {
        RESOURCES.into_iter().zip([cpu, pods]).map(|(resource, most)| (resource.to_owned(), pieces(most))).collect()
    })
}

fn any_overflow() -> impl Strategy<Value = QuotaOverflow> {
    select(vec![QuotaOverflow::Remaining, QuotaOverflow::Zero])
}

/// Namespaces, new ones and old ones, of which others may have changed the quota.
fn any_claims() -> impl Strategy<Value = Vec<Claim>> {
    let created = prop::option::of((0..3_i64).prop_map(|second| Timestamp::from_second(second).unwrap()));
    let requested = prop::option::weighted(0.9, any_amounts(12));
    vec((created, requested, any_amounts(12), any::<bool>()), 0..8).prop_map(|all| {
        let claim = |(number, (created, requested, usable, is_granted)): (usize, (Option<Timestamp>, _, _, _))| Claim {
            namespace: format!("n{number}"),
            created,
            requested,
            usable: if created.is_some() { usable } else { Amounts::new() },
            is_granted: is_granted && created.is_some(),
        };
        all.into_iter().enumerate().map(claim).collect()
    })
}

fn of(amounts: &Amounts, resource: &str) -> Amount {
    amounts.get(resource).copied().unwrap_or_default()
}

fn sum<'a>(all: impl IntoIterator<Item = &'a Amounts>, resource: &str) -> Amount {
    all.into_iter().fold(Amount::default(), |sum, amounts| sum.plus(of(amounts, resource)))
}

fn usable(claims: &[Claim]) -> impl Iterator<Item = &Amounts> {
    claims.iter().map(|claim| &claim.usable)
}

/// The namespaces once what was decided is written to some of them.
fn written(claims: &[Claim], grants: &BTreeMap<String, Amounts>, is_written: impl Fn(usize) -> bool) -> Vec<Claim> {
    let mut after = claims.to_vec();
    for (number, claim) in after.iter_mut().enumerate().filter(|(number, _)| is_written(*number)) {
        if claim.requested.is_some() {
            let created = Timestamp::from_second(10 + i64::try_from(number).unwrap()).unwrap();
            claim.created.get_or_insert(created);
            (claim.usable, claim.is_granted) = (grants[&claim.namespace].clone(), true);
        }
    }
    after
}

/// What comes of it once there is nothing left to write.
fn at_rest(per_cluster: &Amounts, overflow: QuotaOverflow, claims: &[Claim]) -> Vec<Claim> {
    let mut claims = claims.to_vec();
    for _ in 0..3 {
        let grants = allocate(per_cluster, overflow, &claims);
        claims = written(&claims, &grants, |_| true);
    }
    claims
}

fn grants(claims: &[Claim]) -> BTreeMap<String, Amounts> {
    claims.iter().map(|claim| (claim.namespace.clone(), claim.usable.clone())).collect()
}

/// A namespace with an age, that requests so many pods and has so many.
fn with(namespace: &str, created: i64, requested: u64, usable: u64) -> Claim {
    let of = |count| Amounts::from([("pods".to_owned(), pieces(count))]);
    let created = Some(Timestamp::from_second(created).unwrap());
    Claim {
        namespace: namespace.to_owned(),
        created,
        requested: Some(of(requested)),
        usable: of(usable),
        is_granted: true,
    }
}

/// The pods that they get.
fn pods(most: u64, overflow: QuotaOverflow, claims: &[Claim]) -> Vec<String> {
    let grants = allocate(&Amounts::from([("pods".to_owned(), pieces(most))]), overflow, claims);
    claims.iter().map(|claim| of(&grants[&claim.namespace], "pods").spelled_like("1").0).collect()
}

#[test]
fn what_shrinks_is_free_only_once_it_is_seen_to_have_shrunk() {
    use QuotaOverflow::{Remaining, Zero};
    let claims = [with("a", 0, 2, 6), with("b", 1, 8, 4)];
    assert_eq!(pods(10, Remaining, &claims), ["2", "4"]);
    assert_eq!(pods(10, Remaining, &[with("a", 0, 2, 2), with("b", 1, 8, 4)]), ["2", "8"]);
    let later = [with("a", 0, 0, 6), with("b", 1, 6, 0), with("c", 2, 4, 0)];
    assert_eq!(pods(10, Zero, &later), ["0", "0", "0"], "nobody overtakes who waits");
}

#[test]
fn what_another_client_wrote_is_no_grant() {
    let tampered = |usable| Claim { is_granted: false, ..with("a", 0, 8, usable) };
    let others = with("b", 1, 6, 6);
    assert_eq!(pods(10, QuotaOverflow::Remaining, &[tampered(8), others.clone()]), ["4", "6"]);
    assert_eq!(pods(4, QuotaOverflow::Remaining, &[tampered(8), others]), ["0", "6"]);
}

#[test]
fn ten_thousand_namespaces_are_divided_in_no_time() {
    let per_cluster: Amounts = (0..32).map(|number| (format!("count/{number}.example"), pieces(5000))).collect();
    let requested = Some(per_cluster.keys().map(|resource| (resource.clone(), pieces(1))).collect());
    let claim = |number| Claim { namespace: format!("n{number}"), requested: requested.clone(), ..Claim::default() };
    let taken = |count: usize| {
        let claims: Vec<Claim> = (0..count).map(claim).collect();
        let began = Instant::now();
        assert_eq!(allocate(&per_cluster, QuotaOverflow::Remaining, &claims).len(), count);
        began.elapsed()
    };
    let (some, all) = (taken(1_000), taken(10_000));
    assert!(all < 40 * some, "{some:?}, then {all:?}: not linear");
}

proptest! {
    /// Also after every part of the writes, whichever come through.
    #[test]
    fn q1_together_they_never_get_more_than_there_is(
        per_cluster in any_per_cluster(), overflow in any_overflow(), claims in any_claims(), mask in any::<u8>(),
    ) {
        let grants = allocate(&per_cluster, overflow, &claims);
        let after = written(&claims, &grants, |number| mask & (1 << number) != 0);
        for (resource, most) in &per_cluster {
            let before = sum(usable(&claims), resource);
            prop_assert!(sum(usable(&after), resource) <= before.max(*most), "{} grew beyond the quota", resource);
        }
    }

    #[test]
    fn q2_nobody_gets_less_than_nothing_or_more_than_it_requests(
        per_cluster in any_per_cluster(), overflow in any_overflow(), claims in any_claims(),
    ) {
        let grants = allocate(&per_cluster, overflow, &claims);
        for claim in &claims {
            let most = claim.requested.as_ref().unwrap_or(&claim.usable);
            for (resource, grant) in &grants[&claim.namespace] {
                prop_assert!(*grant >= Amount::default() && *grant <= of(most, resource));
            }
        }
    }

    #[test]
    fn q3_the_order_of_the_list_does_not_matter(
        per_cluster in any_per_cluster(), overflow in any_overflow(),
        (claims, shuffled) in any_claims().prop_flat_map(|claims| (Just(claims.clone()), Just(claims).prop_shuffle())),
    ) {
        prop_assert_eq!(allocate(&per_cluster, overflow, &claims), allocate(&per_cluster, overflow, &shuffled));
    }

    #[test]
    fn q4_what_is_at_rest_stays(per_cluster in any_per_cluster(), overflow in any_overflow(), claims in any_claims()) {
        let resting = at_rest(&per_cluster, overflow, &claims);
        let again = written(&resting, &allocate(&per_cluster, overflow, &resting), |_| true);
        prop_assert_eq!(grants(&again), grants(&resting));
    }

    #[test]
    fn q5_a_further_namespace_lowers_no_grant(
        per_cluster in any_per_cluster(), overflow in any_overflow(), claims in any_claims(), request in any_amounts(12),
        age in prop::option::of(0..3_i64),
    ) {
        let resting = at_rest(&per_cluster, overflow, &claims);
        let created = age.map(|second| Timestamp::from_second(second).unwrap());
        let further = Claim { namespace: "m".to_owned(), created, requested: Some(request), ..Claim::default() };
        let more = allocate(&per_cluster, overflow, &[&resting[..], &[further]].concat());
        for claim in &resting {
            for resource in RESOURCES {
                prop_assert!(of(&more[&claim.namespace], resource) >= of(&claim.usable, resource));
            }
        }
    }

    #[test]
    fn q6_a_larger_quota_lowers_no_grant(
        per_cluster in any_per_cluster(), more in any_per_cluster(), overflow in any_overflow(), claims in any_claims(),
    ) {
        let resting = at_rest(&per_cluster, overflow, &claims);
        let raised: Amounts =
            per_cluster.iter().map(|(resource, most)| (resource.clone(), most.plus(of(&more, resource)))).collect();
        let after = allocate(&raised, overflow, &resting);
        for claim in &resting {
            for resource in RESOURCES {
                prop_assert!(of(&after[&claim.namespace], resource) >= of(&claim.usable, resource));
            }
        }
    }

    /// What it had is all that is free afterwards, and goes to others as far as they are short.
    #[test]
    fn q7_a_namespace_that_goes_frees_exactly_what_it_had(
        per_cluster in any_per_cluster(), overflow in any_overflow(), claims in any_claims(), which in any::<prop::sample::Index>(),
    ) {
        let mut resting = at_rest(&per_cluster, overflow, &claims);
        prop_assume!(!resting.is_empty());
        let before: Vec<Amount> = RESOURCES.iter().map(|resource| sum(usable(&resting), resource)).collect();
        let gone = resting.remove(which.index(resting.len()));
        for (resource, before) in RESOURCES.iter().zip(before) {
            prop_assert_eq!(sum(usable(&resting), resource), before.minus(of(&gone.usable, resource)));
            let grants = allocate(&per_cluster, overflow, &resting);
            prop_assert!(sum(grants.values(), resource) <= before.max(per_cluster[*resource]));
        }
    }

    #[test]
    fn q8_nobody_is_short_while_something_is_left(per_cluster in any_per_cluster(), claims in any_claims()) {
        let resting = at_rest(&per_cluster, QuotaOverflow::Remaining, &claims);
        for (resource, most) in &per_cluster {
            let is_left = sum(usable(&resting), resource) < *most;
            for claim in resting.iter().filter(|_| is_left) {
                let requested = claim.requested.as_ref().unwrap_or(&claim.usable);
                prop_assert_eq!(of(&claim.usable, resource), of(requested, resource), "{} is short", claim.namespace);
            }
        }
    }

    #[test]
    fn q9_what_fits_exactly_is_granted(overflow in any_overflow(), claims in any_claims()) {
        let requested = |claim: &Claim| claim.requested.clone().unwrap_or_else(|| claim.usable.clone());
        let requests: Vec<Amounts> = claims.iter().map(requested).collect();
        let per_cluster = RESOURCES.map(|resource| (resource.to_owned(), sum(&requests, resource))).into();
        for claim in at_rest(&per_cluster, overflow, &claims) {
            for resource in RESOURCES {
                prop_assert_eq!(of(&claim.usable, resource), of(&requested(&claim), resource));
            }
        }
    }

    #[test]
    fn q10_amounts_are_exact_and_overflow_nothing(
        digits in "[0-9]{1,19}", suffix in select(vec!["", "n", "u", "m", "k", "M", "G", "T", "P", "E", "Ki", "Gi", "Ei", "e9"]),
        requested in any::<u64>(), usable in any::<u64>(),
    ) {
        prop_assert!(amount("1000m") == amount("1") && amount("1Gi") != amount("1G"));
        let text = format!("{digits}{suffix}");
        if let Some(stored) = canonical(&text) {
            prop_assert_eq!(amount(&stored.0), amount(&text));
            prop_assert_eq!(amount(&text).spelled_like(&text), stored);
        }
        if let Some(most) = Amount::parse(&text) {
            let per_cluster = Amounts::from([("pods".to_owned(), most)]);
            let claims = [with("a", 0, requested, usable), with("b", 1, u64::MAX, u64::MAX)];
            let grants = allocate(&per_cluster, QuotaOverflow::Remaining, &claims);
            prop_assert_eq!(grants.len(), 2);
        }
    }
}
