//! Watches for which the credential of a cluster may lack the right.

use http::StatusCode;

use super::{
    toy::{asked, needed, owned},
    *,
};
use crate::OwnerRecord;

const EU: &str = "cluster eu-1";

/// A rig with one toy in a cluster that answers so to what `selector` selects.
async fn answering(selector: &LabelQuery, code: StatusCode) -> (Rig, MockServer) {
    let rig = Rig::warm().await;
    let eu = MockServer::of::<Toy>();
    eu.answer_lists_of(selector.as_str(), Some(code));
    let link = Link::Connected(Arc::new(Cache::ungated(eu.client())));
    rig.fleet.send_replace(clusters([cluster("eu-1", link)]));
    rig.server.create("toy", &on(&["eu-1"]));
    (rig, eu)
}

async fn says_within(rig: &Rig, limit: u64, told: &str) {
    let says = rig.until(told, || rig.says("toy", EU).as_deref() == Some(told));
    assert!(tokio::time::timeout(seconds(limit), says).await.is_ok(), "not within {limit} s: {told}");
}

#[tokio::test(start_paused = true)]
async fn what_may_not_be_watched_holds_nothing_else_up_and_heals_over_the_same_connection() {
    let (rig, eu) = answering(&owned(), StatusCode::FORBIDDEN).await;
    says_within(&rig, 5, "made 0 unseen").await;
    sleep(seconds(1200)).await;
    let (looks, writes) = (rig.stage.reconciles("toy").len(), rig.server.write_count());
    sleep(seconds(1200)).await;
    assert_eq!((rig.stage.reconciles("toy").len(), rig.server.write_count()), (looks, writes), "quiet at rest");

    eu.answer_lists_of(owned().as_str(), None);
    says_within(&rig, 35, "made 0").await;
    eu.answer_lists_of(owned().as_str(), Some(StatusCode::FORBIDDEN));
    says_within(&rig, 35, "made 0 unseen").await;
}

#[tokio::test(start_paused = true)]
async fn what_may_be_watched_and_is_not_known_yet_is_waited_for_and_so_is_what_an_operator_cannot_do_without() {
    for (selector, code) in [
        (owned(), StatusCode::INTERNAL_SERVER_ERROR),
        (owned(), StatusCode::NOT_FOUND),
        (needed(), StatusCode::FORBIDDEN),
    ] {
        let (rig, eu) = answering(&selector, code).await;
        sleep(seconds(300)).await;
        assert!(rig.stage.acted("toy").is_empty(), "{selector:?}, {code}: unknown is not empty");
        eu.answer_lists_of(selector.as_str(), None);
        rig.until_ready("toy").await;
    }
}

#[tokio::test(start_paused = true)]
async fn who_left_something_behind_is_found_once_it_may_be_watched() {
    let (rig, eu) = answering(&owned(), StatusCode::FORBIDDEN).await;
    says_within(&rig, 5, "made 0 unseen").await;
    let there = Place::cluster("eu-1");
    rig.stage.made_before("gone", there.clone());
    eu.create("left", &plain());
    let gone = OwnerRecord { kind: "Toy", key: ObjectKey::cluster_scoped("gone") };
    eu.edit("left", |left| left["metadata"]["labels"] = json!(gone.labels()));
    sleep(seconds(300)).await;
    assert!(rig.stage.has_thing("gone", &there));
    eu.answer_lists_of(owned().as_str(), None);
    rig.until("it is cleaned up", || !rig.stage.has_thing("gone", &there)).await;
}

#[tokio::test(start_paused = true)]
async fn what_the_installer_does_not_allow_holds_nothing_up_and_wakes_everything_once_it_is_allowed() {
    let server = MockServer::of::<Toy>();
    server.answer_lists_of(asked().as_str(), Some(StatusCode::FORBIDDEN));
    server.create("toy", &plain());
    let rig = Rig::start(server.clone(), clusters([]));
    rig.until_ready("toy").await;
    sleep(seconds(1200)).await;
    let looks = rig.stage.reconciles("toy").len();
    sleep(seconds(1200)).await;
    assert_eq!(rig.stage.reconciles("toy").len(), looks, "quiet at rest");
    server.answer_lists_of(asked().as_str(), None);
    rig.until("it is looked at again", || rig.stage.reconciles("toy").len() > looks).await;
}

#[tokio::test(start_paused = true)]
async fn what_the_installer_allows_is_waited_for() {
    let server = MockServer::of::<Toy>();
    server.answer_lists_of(asked().as_str(), Some(StatusCode::INTERNAL_SERVER_ERROR));
    server.create("toy", &plain());
    let rig = Rig::start(server.clone(), clusters([]));
    sleep(seconds(300)).await;
    assert!(rig.stage.acted("toy").is_empty(), "unknown is not empty");
    server.answer_lists_of(asked().as_str(), None);
    rig.until_ready("toy").await;
}
