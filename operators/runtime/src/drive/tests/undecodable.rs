//! What does not decode is unknown, not gone.

use drover_crds::condition::STALLED;

use super::*;

/// A spec that an older or newer Drover might have stored.
fn nonsense() -> Value {
    json!({"clusters": "all of them"})
}

fn is_reported(rig: &Rig, toy: &str) -> bool {
    let conditions = rig.status(toy).map(|status| status.conditions).unwrap_or_default();
    let stalled = conditions.iter().any(|condition| condition.type_ == STALLED && condition.status == "True");
    stalled && rig.reason(toy).as_deref() == Some("InvalidObject")
}

#[tokio::test(start_paused = true)]
async fn a_toy_that_does_not_decode_is_reported_on_itself_once_and_others_go_on() {
    let rig = Rig::warm().await;
    rig.server.create("bad", &nonsense());
    rig.server.create("good", &plain());
    rig.until_ready("good").await;
    rig.until("the bad one is reported", || is_reported(&rig, "bad")).await;

    let writes = rig.server.write_count();
    rig.server.edit("bad", |toy| toy["metadata"]["labels"] = json!({"looked": "again"}));
    sleep(seconds(1200)).await;
    assert_eq!(rig.server.write_count(), writes, "a second look says the same");
    assert!(rig.stage.reconciles("bad").is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_toy_that_is_larger_than_any_is_reported_on_itself_and_others_go_on() {
    let rig = Rig::warm().await;
    rig.server.create("toy", &plain());
    rig.until_ready("toy").await;
    rig.server.create("huge", &json!({"values": vec![1; 160_000]}));
    rig.until("the huge one is reported", || is_reported(&rig, "huge")).await;
    rig.server.edit_spec("toy", &json!({"clusters": "all", "values": vec![1; 160_000]}));
    rig.until("the one that grew is reported", || is_reported(&rig, "toy")).await;
    assert!(rig.stage.has_thing("toy", &Place::Management), "nothing is torn down");
    rig.server.create("good", &plain());
    rig.until_ready("good").await;
    rig.server.edit_spec("toy", &plain());
    rig.until_ready("toy").await;
}

#[tokio::test(start_paused = true)]
async fn a_toy_that_stops_decoding_keeps_what_was_made_and_goes_on_when_it_is_mended() {
    let rig = Rig::warm().await;
    rig.server.create("toy", &plain());
    rig.until_ready("toy").await;

    rig.server.edit_spec("toy", &nonsense());
    rig.until("it is reported", || is_reported(&rig, "toy")).await;
    let reconciles = rig.stage.reconciles("toy").len();
    sleep(seconds(1200)).await;
    assert!(rig.stage.has_thing("toy", &Place::Management), "nothing is torn down");
    assert_eq!(rig.stage.reconciles("toy").len(), reconciles);
    assert_eq!(rig.server.finalizers("toy"), ["drover.dev/toy"]);

    rig.server.edit_spec("toy", &plain());
    rig.until_ready("toy").await;
    assert_eq!(rig.stage.acted("toy").len(), 1, "it was there all the time");
}
