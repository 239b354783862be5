//! Decisions about repositories, with attempts made by hand on a server that is not there.

use std::time::Duration;

use drover_crds::{ChartRepository, ChartRepositoryStatus};
use drover_runtime::{Place, PlaceState, PlaceStatuses, Requeue, place_status::PlaceEntry, status::finish};
use drover_sources::{Attempt, Content, SourceCause, SourceError};
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::{observe::World, plan::plan, summary::summarise};

const NOW: Timestamp = Timestamp::UNIX_EPOCH;

fn repository(spec: &Value) -> ChartRepository {
    let mut whole = json!({"http": {"url": "https://charts.example.org"}});
    whole.as_object_mut().unwrap().extend(spec.as_object().cloned().unwrap());
    serde_json::from_value(json!({
        "apiVersion": "drover.dev/v1alpha1", "kind": "ChartRepository",
        "metadata": {"name": "charts", "namespace": "team", "generation": 1}, "spec": whole,
    }))
    .unwrap()
}

fn world(attempt: Option<Attempt>, age: Duration) -> World {
    World { asked: "1/".to_owned(), request: None, attempt, age, has_folder: true, missing: None }
}

fn good(text: &[u8], second: i64) -> Attempt {
    Attempt::of(Ok(Content::of_index(text, Timestamp::from_second(second).unwrap())), "1/", 0)
}

fn bad(is_transient: bool, failures: u32, retry_after: Option<Duration>) -> Attempt {
    let failure = SourceError::new(SourceCause::FetchFailed, "charts.example.org has a fault");
    Attempt::of(Err(SourceError { is_transient, retry_after, ..failure }), "1/", failures)
}

/// The status after a reconcile, as the runtime writes it, and when the next one is.
fn step(repository: &mut ChartRepository, world: &World) -> (ChartRepositoryStatus, bool, Requeue) {
    let plan = plan(repository, world, NOW);
    let is_fetched = !plan.is_idle();
    let entry = PlaceEntry { known: Some(plan.place_status), state: PlaceState::Current };
    let statuses = PlaceStatuses::from_iter([(Place::Management, entry)]);
    let fresh = summarise(repository, &statuses);
    let generation = repository.metadata.generation.unwrap();
    let status = finish(repository.status.as_ref(), fresh, generation, NOW);
    repository.status = Some(status.clone());
    (status, is_fetched, plan.requeue)
}

fn ready(status: &ChartRepositoryStatus) -> String {
    let ready = status.conditions.iter().find(|condition| condition.type_ == "Ready").unwrap();
    format!("{}/{}", ready.status, ready.reason)
}

fn at(after: Duration) -> Requeue {
    Requeue::At(NOW + SignedDuration::try_from(after).unwrap())
}

#[test]
fn a_fetch_that_finds_nothing_new_changes_nothing() {
    let mut charts = repository(&json!({}));
    let (status, fetches, _) = step(&mut charts, &world(None, Duration::ZERO));
    assert_eq!((ready(&status).as_str(), fetches), ("False/Progressing", true));
    let (first, fetches, requeue) = step(&mut charts, &world(Some(good(b"a", 5)), Duration::from_mins(10)));
    assert_eq!((ready(&first).as_str(), fetches, requeue), ("True/Ready", false, at(Duration::from_mins(50))));
    assert_eq!(first.fetched_at.as_ref().unwrap().0.as_second(), 5);
    let (again, fetches, _) = step(&mut charts, &world(Some(good(b"a", 5)), Duration::from_hours(1)));
    assert_eq!((&again, fetches), (&first, true), "it is time, and the status says nothing yet");
    let (again, ..) = step(&mut charts, &world(Some(good(b"a", 9)), Duration::ZERO));
    assert_eq!(again, first, "read anew after a restart, and the same");
    let (again, fetches, _) = step(&mut charts, &world(None, Duration::ZERO));
    assert_eq!((&again, fetches), (&first, true), "a restart tells nothing before it was read");
    let (other, ..) = step(&mut charts, &world(Some(good(b"b", 9)), Duration::ZERO));
    assert_ne!(other.index_digest, first.index_digest);
    assert_eq!(other.fetched_at.as_ref().unwrap().0.as_second(), 9);
}

#[test]
fn what_may_pass_is_tried_again_with_growing_pauses_and_what_does_not_at_the_interval() {
    for (attempt, pause) in [
        (bad(true, 1, None), 15),
        (bad(true, 3, None), 60),
        (bad(true, 40, None), 3_600),
        (bad(true, 1, Some(Duration::from_mins(2))), 120),
        (bad(false, 1, None), 3_600),
    ] {
        let mut charts = repository(&json!({}));
        let (status, fetches, requeue) = step(&mut charts, &world(Some(attempt), Duration::ZERO));
        assert_eq!((ready(&status).as_str(), fetches), ("False/FetchFailed", false));
        assert_eq!(requeue, at(Duration::from_secs(pause)));
    }
}

#[test]
fn what_was_read_before_a_failure_is_still_told() {
    let mut charts = repository(&json!({}));
    let (first, ..) = step(&mut charts, &world(Some(good(b"a", 5)), Duration::ZERO));
    let mut failed = bad(true, 1, None);
    failed.content = good(b"a", 5).content;
    let (status, ..) = step(&mut charts, &world(Some(failed), Duration::ZERO));
    assert_eq!((&status.index_digest, &status.fetched_at), (&first.index_digest, &first.fetched_at));
    assert_eq!(ready(&status), "False/FetchFailed");
    // Of another URL nothing is known.
    charts.metadata.generation = Some(2);
    let mut other = world(Some(bad(true, 1, None)), Duration::ZERO);
    other.asked = "2/".to_owned();
    let (status, fetches, _) = step(&mut charts, &other);
    assert_eq!((ready(&status).as_str(), fetches, &status.index_digest), ("False/Progressing", true, &None));
}

#[test]
fn a_request_and_another_secret_are_answered_at_once() {
    let mut charts = repository(&json!({}));
    let (first, ..) = step(&mut charts, &world(Some(good(b"a", 5)), Duration::ZERO));
    let request = Some("now".to_owned());
    let mut requested = World { asked: "1/now".to_owned(), request, ..world(Some(good(b"a", 5)), Duration::ZERO) };
    let (status, fetches, _) = step(&mut charts, &requested);
    assert_eq!((&status, fetches), (&first, true));
    // Whether it succeeded or not, apps that wait for it are to look again.
    for mut answer in [good(b"a", 5), bad(true, 1, None)] {
        "1/now".clone_into(&mut answer.asked);
        requested.attempt = Some(answer);
        let (status, fetches, _) = step(&mut charts, &requested);
        assert_eq!((status.last_handled_reconcile_at.as_deref(), fetches), (Some("now"), false));
    }
    let (status, ..) = step(&mut charts, &world(Some(good(b"a", 5)), Duration::ZERO));
    assert_eq!(status.last_handled_reconcile_at.as_deref(), Some("now"), "an annotation that is gone is no request");
}

#[test]
fn nothing_is_read_while_it_is_suspended_or_lacks_a_secret() {
    let mut suspended = repository(&json!({"suspend": true}));
    let (status, fetches, requeue) = step(&mut suspended, &world(None, Duration::ZERO));
    assert_eq!((ready(&status).as_str(), fetches, requeue), ("True/Suspended", false, Requeue::Watch));
    let missing = Some(drover_sources::secret::not_found("team", "login"));
    let (status, fetches, _) = step(&mut repository(&json!({})), &World { missing, ..world(None, Duration::ZERO) });
    assert_eq!((ready(&status).as_str(), fetches), ("False/SecretNotFound", false));
    let (status, fetches, _) = step(&mut repository(&json!({})), &World::default());
    assert_eq!((ready(&status).as_str(), fetches), ("False/StorageFailed", false));
}
