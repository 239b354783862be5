//! One bad thing stays one bad thing.

use tokio::time::Instant;

use super::*;

#[tokio::test(start_paused = true)]
async fn two_hundred_toys_converge_although_two_panic_and_only_those_run_again() {
    let rig = Rig::warm().await;
    rig.server.create("bad-plan", &json!({"panics_in": "Plan"}));
    rig.server.create("bad-act", &json!({"panics_in": "Act"}));
    let names: Vec<String> = (0..200).map(|number| format!("toy-{number}")).collect();
    for name in &names {
        rig.server.create(name, &plain());
    }

    rig.until("all toys are ready", || names.iter().all(|name| rig.is_ready(name))).await;
    rig.until("the panics are reported", || {
        ["bad-plan", "bad-act"].iter().all(|name| rig.reason(name).as_deref() == Some("InternalError"))
    })
    .await;

    sleep(seconds(5)).await;
    let (then, writes) = (Instant::now(), rig.server.write_count());
    sleep(seconds(1200)).await;
    assert_eq!(rig.stage.looked_at_since(then), ["bad-act".to_owned(), "bad-plan".to_owned()].into());
    assert_eq!(rig.server.write_count(), writes, "the same panic is reported once");
    for name in ["bad-plan", "bad-act"] {
        let runs = rig.stage.reconciles(name).len();
        assert!((5..=40).contains(&runs), "{name} ran {runs} times in 20 minutes");
    }
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_the_summary_is_told_on_the_object_and_others_go_on() {
    let rig = Rig::warm().await;
    rig.server.create("bad", &json!({"panics_in": "Summarise"}));
    rig.server.create("good", &plain());
    rig.until_ready("good").await;
    rig.until("the panic is reported", || rig.reason("bad").as_deref() == Some("InternalError")).await;
    rig.server.edit_spec("bad", &plain());
    rig.until_ready("bad").await;
}

#[tokio::test(start_paused = true)]
async fn slow_places_however_many_delay_no_other_place() {
    const SLOW: usize = 12;
    let rig = Rig::warm().await;
    let slow: Vec<String> = (0..SLOW).map(|number| format!("slow-{number}")).collect();
    let views = slow.iter().map(|name| cluster(name, connected())).chain([cluster("fast", connected())]);
    let views = views.map(|view| (ClusterName::from(&*view.object), view)).collect();
    rig.fleet.send_replace(FleetView::new(views, BTreeMap::new(), true));
    for name in &slow {
        rig.stage.hang(Place::cluster(name));
    }
    let everywhere: Vec<&str> = slow.iter().map(String::as_str).chain(["fast"]).collect();
    let toys: Vec<String> = (0..10).map(|number| format!("toy-{number}")).collect();
    let started = Instant::now();
    for toy in &toys {
        rig.server.create(toy, &on(&everywhere));
    }

    rig.until("the fast cluster has everything", || {
        toys.iter().all(|toy| rig.stage.has_thing(toy, &Place::cluster("fast")))
    })
    .await;
    assert!(started.elapsed() < seconds(10), "it took {:?}", started.elapsed());
    rig.until("the slow ones are reported", || {
        toys.iter().all(|toy| rig.says(toy, "cluster slow-0").as_deref() == Some("ReconcileTimeout"))
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn three_hundred_groups_at_a_distant_cluster_are_done_side_by_side() {
    let rig = Rig::warm().await;
    rig.stage.act_takes(Duration::from_millis(200));
    rig.server.create("toy", &json!({"groups": 300}));
    let started = Instant::now();
    rig.until("all is done", || rig.stage.acted("toy").len() == 300).await;
    assert!(started.elapsed() < seconds(5), "it took {:?}", started.elapsed());
    assert!(started.elapsed() > seconds(3), "it took {:?}: more than 16 at a time", started.elapsed());
}
