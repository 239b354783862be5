use std::time::{Duration, Instant};

use drover_runtime::{Failure, PlaceState, Requeue, place_status::PlaceEntry};
use drover_zones::ProviderCause;
use serde_json::json;

use super::*;
use crate::observe::{Attempt, World};

fn provider() -> GlobalDNSProvider {
    serde_json::from_value(json!({
        "apiVersion": "drover.dev/v1alpha1", "kind": "GlobalDNSProvider", "metadata": {"name": "main", "generation": 1},
        "spec": {"rfc2136": {"server": "ns1.example.com", "keyName": "k"}, "credentialsSecretRef": {"name": "key"}, "domains": ["example.com"]},
    }))
    .unwrap()
}

fn world(outcome: Result<(), Failure>, seconds: u64) -> World {
    let attempt = Attempt { asked: "a".to_owned(), ended: Instant::now(), outcome };
    World { asked: "a".to_owned(), attempt: Some(attempt), age: Duration::from_secs(seconds) }
}

fn refused() -> Failure {
    Failure::new(ProviderCause::ProviderRefused, "the key is wrong")
}

#[test]
fn it_is_tried_at_its_interval_and_sooner_after_a_failure_or_when_asked() {
    let now = Timestamp::UNIX_EPOCH;
    let tries = |world: &World| !plan::plan(&provider(), world, now).is_idle();
    assert!(tries(&World::default()));
    assert!(!tries(&world(Ok(()), 599)) && tries(&world(Ok(()), 600)));
    assert!(!tries(&world(Err(refused()), 59)) && tries(&world(Err(refused()), 60)));
    assert!(tries(&World { asked: "b".to_owned(), ..world(Ok(()), 1) }));
    assert!(matches!(plan::plan(&provider(), &world(Ok(()), 1), now).requeue, Requeue::At(_)));
}

#[test]
fn the_status_says_what_came_of_it_and_keeps_that_over_a_restart() {
    let told = |provider: &GlobalDNSProvider, world: &World| {
        let known = plan::plan(provider, world, Timestamp::UNIX_EPOCH).place_status;
        let entry = PlaceEntry { known: Some(known), state: PlaceState::Current };
        summary::summarise(provider, &[(Place::Management, entry)].into_iter().collect())
    };
    let ready =
        |status: &GlobalDNSProviderStatus| (status.conditions[0].status.clone(), status.conditions[0].reason.clone());
    let said = |status: &str, reason: &str| (status.to_owned(), reason.to_owned());
    assert_eq!(ready(&told(&provider(), &World::default())), said("False", "Progressing"));
    assert_eq!(ready(&told(&provider(), &world(Err(refused()), 1))), said("False", "ProviderRefused"));
    let mut good = told(&provider(), &world(Ok(()), 1));
    assert_eq!(ready(&good), said("True", "Ready"));
    good.observed_generation = 1;
    let observed = GlobalDNSProvider { status: Some(good.clone()), ..provider() };
    assert_eq!(told(&observed, &World::default()), good);
}
