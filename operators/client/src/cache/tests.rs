//! One informer on a server in memory, on a paused clock. What real servers do is in `e2e/tests/cache.rs`.

use std::{
    sync::{Arc, Mutex, atomic::Ordering},
    time::Duration,
};

use k8s_openapi::api::core::v1::Namespace;
use kube::ResourceExt as _;
use serde_json::json;
use tokio::{sync::watch, time::sleep};

use super::{Cache, CacheSettings, Health, Informer, LabelQuery, Lookup, ObjectKey, OwnerRecord, ProcessBudget};
use crate::testing::MockServer;

type Told = Arc<Mutex<Vec<String>>>;

struct Rig {
    server: MockServer,
    gate: watch::Sender<bool>,
    cache: Cache,
    informer: Informer<Namespace>,
    told: Told,
}

impl Rig {
    async fn start() -> Self {
        let server = MockServer::of::<Namespace>();
        server.create("old", &json!({}));
        let gate = watch::Sender::new(true);
        let cache = Cache::new(server.client(), gate.subscribe());
        let informer = cache.informer::<Namespace>(&LabelQuery::everything());
        informer.live().await;
        let told = record(&informer);
        assert_eq!(take(&told), ["+old"]);
        Self { server, gate, cache, informer, told }
    }

    fn lists(&self) -> u64 {
        self.cache.meters().lists.load(Ordering::Relaxed)
    }

    /// Waits at most ten minutes, which cost nothing.
    async fn told_next(&self) -> Vec<String> {
        for _ in 0..6_000 {
            if !self.told.lock().unwrap().is_empty() {
                sleep(Duration::from_secs(1)).await;
                break;
            }
            sleep(Duration::from_millis(100)).await;
        }
        take(&self.told)
    }
}

/// Notes every change as `+name`, `-name` or `~name`.
fn record(informer: &Informer<Namespace>) -> Told {
    let told = Told::default();
    let notes = Arc::clone(&told);
    informer.subscribe(move |change| {
        let sign = match (&change.old, &change.new) {
            (None, Some(_)) => '+',
            (_, None) => '-',
            (Some(_), Some(_)) => '~',
        };
        notes.lock().unwrap().push(format!("{sign}{}", change.key));
    });
    told
}

fn take(told: &Told) -> Vec<String> {
    let mut told = std::mem::take(&mut *told.lock().unwrap());
    told.sort();
    told
}

#[tokio::test]
async fn what_goes_with_a_connection_is_found_by_its_type() {
    let cache = Cache::ungated(MockServer::of::<Namespace>().client());
    assert_eq!(cache.attached::<u32>(), None);
    let cache = cache.with_attached(7_u32);
    assert_eq!((cache.attached::<u32>(), cache.attached::<u64>()), (Some(Arc::new(7)), None));
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_ends_in_time_is_resumed_without_a_list() {
    let rig = Rig::start().await;
    sleep(Duration::from_hours(1)).await;
    rig.server.create("new", &json!({}));
    assert_eq!(rig.told_next().await, ["+new"]);
    assert_eq!(rig.lists(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_restore_while_the_gate_is_closed_is_told_even_if_the_server_has_overtaken_us() {
    let rig = Rig::start().await;
    rig.server.create("ghost", &json!({}));
    assert_eq!(rig.told_next().await, ["+ghost"]);

    rig.gate.send_replace(false);
    sleep(Duration::from_secs(280)).await;
    rig.server.forget("ghost");
    rig.server.create("after", &json!({}));
    sleep(Duration::from_mins(1)).await;
    assert!(take(&rig.told).is_empty(), "the watch ended in time, and the gate is closed");
    rig.gate.send_replace(true);
    assert_eq!(rig.told_next().await, ["+after", "-ghost"]);
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_a_dying_server_ends_in_good_order_is_not_trusted() {
    let rig = Rig::start().await;
    rig.server.create("ghost", &json!({}));
    assert_eq!(rig.told_next().await, ["+ghost"]);
    rig.server.go_back(1);
    rig.server.forget("ghost");
    rig.server.edit("old", |old| old["metadata"]["labels"] = json!({"a": "b"}));
    assert_eq!(rig.told_next().await, ["-ghost", "~old"]);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_ends_every_watch_at_once_is_asked_ever_less_often() {
    let rig = Rig::start().await;
    rig.server.end_watches_at_once(true);
    sleep(Duration::from_mins(10)).await;
    assert!(rig.lists() < 60, "{} lists in ten minutes", rig.lists());
}

#[tokio::test(start_paused = true)]
async fn a_gate_that_opens_ends_every_pause() {
    let rig = Rig::start().await;
    rig.server.end_watches_at_once(true);
    sleep(Duration::from_mins(10)).await;
    let lists = rig.lists();
    while rig.lists() == lists {
        sleep(Duration::from_millis(10)).await;
    }
    rig.gate.send_replace(false);
    sleep(Duration::from_secs(1)).await;

    rig.server.end_watches_at_once(false);
    rig.server.create("new", &json!({}));
    rig.gate.send_replace(true);
    sleep(Duration::from_millis(100)).await;
    assert_eq!(take(&rig.told), ["+new"]);
    assert_eq!(rig.informer.health(), Health::Live);
}

#[tokio::test(start_paused = true)]
async fn while_the_gate_opens_the_past_is_not_taken_for_the_present() {
    let rig = Rig::start().await;
    rig.gate.send_replace(false);
    sleep(Duration::from_mins(5)).await;
    assert_eq!(rig.informer.health(), Health::Syncing, "the watch ended in time, and none is open");
    sleep(Duration::from_hours(1)).await;
    assert_eq!(rig.lists(), 1, "a closed gate costs nothing");
}

#[tokio::test(start_paused = true)]
async fn a_subscriber_that_panics_harms_neither_the_informer_nor_the_others() {
    let rig = Rig::start().await;
    rig.informer.subscribe(|change| assert_ne!(change.key.name, "bad", "as asked for"));
    let later = record(&rig.informer);
    take(&later);
    rig.server.create("bad", &json!({}));
    rig.server.create("good", &json!({}));
    assert_eq!(rig.told_next().await, ["+bad", "+good"]);
    assert_eq!(take(&later), ["+bad", "+good"]);
}

#[tokio::test(start_paused = true)]
async fn a_version_is_seen_when_the_informer_shows_it_or_what_came_after_it() {
    let rig = Rig::start().await;
    rig.server.hold_watches(true);
    rig.server.create("new", &json!({}));
    let written: Namespace = serde_json::from_value(rig.server.get("new").unwrap()).unwrap();
    let (key, uid, version) = (ObjectKey::cluster_scoped("new"), written.uid(), written.resource_version());
    let seen = || rig.informer.has_seen(&key, uid.as_deref(), version.as_deref());
    sleep(Duration::from_secs(5)).await;
    assert!(!seen(), "it is not there yet");
    rig.server.hold_watches(false);
    rig.told_next().await;
    assert!(seen());

    rig.server.delete("new");
    rig.told_next().await;
    assert!(seen(), "it has come and gone");
    rig.server.create("new", &json!({}));
    rig.told_next().await;
    assert!(seen(), "another one has taken its place");
}

/// A kind with a defect in its decoder.
#[derive(Clone, Debug)]
struct Fragile(Namespace);

impl<'de> serde::Deserialize<'de> for Fragile {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let namespace = Namespace::deserialize(deserializer)?;
        assert!(!namespace.labels().contains_key("bad"), "as asked for");
        Ok(Self(namespace))
    }
}

impl kube::Resource for Fragile {
    type DynamicType = ();
    type Scope = k8s_openapi::ClusterResourceScope;
    fn kind((): &()) -> std::borrow::Cow<'_, str> {
        Namespace::kind(&())
    }
    fn group((): &()) -> std::borrow::Cow<'_, str> {
        Namespace::group(&())
    }
    fn version((): &()) -> std::borrow::Cow<'_, str> {
        Namespace::version(&())
    }
    fn plural((): &()) -> std::borrow::Cow<'_, str> {
        Namespace::plural(&())
    }
    fn meta(&self) -> &kube::api::ObjectMeta {
        self.0.meta()
    }
    fn meta_mut(&mut self) -> &mut kube::api::ObjectMeta {
        self.0.meta_mut()
    }
}

#[tokio::test(start_paused = true)]
async fn a_defect_in_a_reflector_is_reported_and_ends_one_attempt_only() {
    let server = MockServer::of::<Fragile>();
    server.create("old", &json!({}));
    let cache = Cache::ungated(server.client());
    let informer = cache.informer::<Fragile>(&LabelQuery::everything());
    informer.live().await;
    server.edit("old", |old| old["metadata"]["labels"] = json!({"bad": "yes"}));
    sleep(Duration::from_mins(2)).await;
    let Health::Broken(failure) = informer.health() else { panic!("what is not watched any more is not live") };
    assert_eq!(failure.reason(), "InternalError");
    let panics = cache.meters().panics.load(Ordering::Relaxed);
    assert!((2..30).contains(&panics), "{panics} attempts in two minutes");

    server.edit("old", |old| old["metadata"]["labels"] = json!({"good": "yes"}));
    tokio::time::timeout(Duration::from_mins(1), informer.live()).await.unwrap();
    let old = informer.get(&ObjectKey::cluster_scoped("old")).unwrap();
    assert!(old.0.labels().contains_key("good"));
}

#[tokio::test(start_paused = true)]
async fn a_list_that_does_not_come_in_time_is_asked_for_in_smaller_pages() {
    let server = MockServer::of::<Namespace>();
    for number in 0..300 {
        server.create(&format!("team-{number}"), &json!({}));
    }
    // 500 take 50 s, of the 15 s that a request has.
    server.lists_take(Duration::from_millis(100));
    let cache = Cache::ungated(server.client());
    let informer = cache.informer::<Namespace>(&LabelQuery::everything());
    let listed = tokio::time::timeout(Duration::from_mins(2), informer.live()).await;
    assert!(listed.is_ok() && informer.len() == 300, "{} of 300", informer.len());
}

#[tokio::test(start_paused = true)]
async fn what_does_not_decode_is_owned_all_the_same() {
    let server = MockServer::of::<Namespace>();
    let owner = OwnerRecord { kind: "Project", key: ObjectKey::namespaced("team", "shop") };
    for name in ["good", "bad"] {
        server.create(name, &json!({}));
        server.edit(name, |object| object["metadata"]["labels"] = json!(owner.labels()));
    }
    server.edit("bad", |bad| bad["spec"] = json!("no object"));
    let cache = Cache::ungated(server.client());
    let informer = cache.informer::<Namespace>(&LabelQuery::everything());
    informer.live().await;
    let names = informer.owned(&owner).into_iter().map(|found| match found {
        Ok(good) => good.name_any(),
        Err(undecodable) => format!("{}?", undecodable.meta.name.as_deref().unwrap_or_default()),
    });
    assert_eq!(names.collect::<Vec<_>>(), ["bad?", "good"]);
}

#[tokio::test(start_paused = true)]
async fn a_verdict_stands_until_something_changes() {
    let rig = Rig::start().await;
    let judged = |informer: &Informer<Namespace>| {
        let asked = std::cell::Cell::new(false);
        let names = rig.cache.judged("names", &[informer], || {
            asked.set(true);
            informer.all().iter().map(|namespace| namespace.name_any()).collect::<std::collections::BTreeSet<_>>()
        });
        (names.into_iter().collect::<Vec<_>>().join(" "), asked.get())
    };
    assert_eq!(judged(&rig.informer), ("old".to_owned(), true));
    assert_eq!(judged(&rig.informer), ("old".to_owned(), false));
    rig.server.create("new", &json!({}));
    assert_eq!(rig.told_next().await, ["+new"]);
    assert_eq!(judged(&rig.informer), ("new old".to_owned(), true));
    rig.server.delete("old");
    assert_eq!(rig.told_next().await, ["-old"]);
    assert_eq!(judged(&rig.informer), ("new".to_owned(), true));
    assert_eq!(judged(&rig.informer), ("new".to_owned(), false));
}

/// What the informer knows of an object that is too large: its name, and the first words of what is wrong with it.
fn excess(informer: &Informer<Namespace>, name: &str) -> Option<String> {
    match informer.lookup(&ObjectKey::cluster_scoped(name)) {
        Lookup::Undecodable(found) => Some(format!("{} {}", found.meta.name.as_deref()?, found.error)),
        Lookup::Found(_) | Lookup::Absent => None,
    }
}

#[tokio::test(start_paused = true)]
async fn an_object_beyond_a_bound_is_unknown_by_itself_and_ends_neither_list_nor_watch() {
    let (many, long) = (vec![json!({}); 160_000], "x".repeat(5 << 20));
    let deep = (0..120).fold(json!({}), |deep, _| json!([deep]));
    for (spec, what) in [(json!(many), "values"), (json!(long), "bytes"), (deep, "levels")] {
        let server = MockServer::of::<Namespace>();
        for name in ["a", "listed", "z"] {
            server.create(name, &json!({}));
        }
        server.edit("listed", |listed| listed["spec"] = spec.clone());
        let (gate, budget) = (watch::Sender::new(true), ProcessBudget::default());
        let settings = CacheSettings { process_budget: Arc::new(budget), ..CacheSettings::default() };
        let cache = Cache::new(server.client(), gate.subscribe()).with_settings(settings);
        let informer = cache.informer::<Namespace>(&LabelQuery::everything());
        tokio::time::timeout(Duration::from_mins(1), informer.live()).await.unwrap();
        assert_eq!((informer.len(), cache.is_too_large()), (3, false), "{what}");
        let told = excess(&informer, "listed").unwrap();
        assert!(told.starts_with("listed ") && told.contains(what), "{told}");

        let events = record(&informer);
        take(&events);
        server.edit("z", |z| z["spec"] = spec.clone());
        server.edit("a", |a| a["metadata"]["labels"] = json!({"after": "it"}));
        sleep(Duration::from_secs(5)).await;
        assert_eq!((take(&events), informer.health()), (vec!["-z".into(), "~a".into()], Health::Live), "{what}");
        assert!(excess(&informer, "z").is_some() && !cache.is_too_large(), "{what}");
        server.edit("z", |z| z["spec"] = json!({}));
        server.delete("listed");
        sleep(Duration::from_secs(5)).await;
        assert_eq!((excess(&informer, "z"), informer.len()), (None, 2), "{what}");
        assert_eq!(cache.meters().broken_watches.load(Ordering::Relaxed), 0, "{what}");
    }
}

#[tokio::test(start_paused = true)]
async fn of_an_object_beyond_a_bound_only_its_identity_is_kept() {
    let server = MockServer::of::<Namespace>();
    let owner = OwnerRecord { kind: "Project", key: ObjectKey::namespaced("team", "shop") };
    server.create("large", &json!({}));
    let foreign: std::collections::BTreeMap<_, _> = (0..80_000).map(|number| (format!("l{number}"), "")).collect();
    server.edit("large", |large| {
        large["metadata"]["labels"] = json!(foreign);
        for (key, value) in owner.labels() {
            large["metadata"]["labels"][key] = json!(value);
        }
        large["metadata"]["managedFields"] = json!([{"manager": "x", "fieldsV1": vec![json!({}); 160_000]}]);
    });
    let cache = Cache::ungated(server.client());
    let informer = cache.informer::<Namespace>(&LabelQuery::everything());
    tokio::time::timeout(Duration::from_mins(1), informer.live()).await.unwrap();
    let [Err(large)] = &informer.owned(&owner)[..] else { panic!("it has its owner all the same") };
    assert_eq!((large.meta.uid.as_deref(), large.meta.generation), (Some("uid-1"), Some(1)));
    assert_eq!(large.meta.labels.as_ref().map(std::collections::BTreeMap::len), Some(owner.labels().len()));
}
