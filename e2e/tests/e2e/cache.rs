//! The cache of the runtime on real API servers, and what can happen to those.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use drover_e2e::control_plane::{Component, Revisions, client_from};
use drover_e2e::pool::{Pool, Shape};
use drover_e2e::proxy::{Mode, Proxy};
use drover_e2e::wait::soon;
use drover_e2e::{ControlPlane, Program, require_or_skip};
use drover_runtime::cache::Health;
use drover_runtime::{Cache, Informer, LabelQuery};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt};
use serde_json::json;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

drover_e2e::tests![
    after_a_cut_exactly_the_differences_are_told_each_once,
    a_compaction_while_nobody_looks_costs_one_list,
    a_frozen_api_server_is_followed_again_when_it_goes_on,
    a_crashed_api_server_is_followed_again_when_it_is_back,
    a_restored_etcd_is_told_even_if_it_has_overtaken_us,
    a_restored_etcd_that_is_still_behind_is_noticed,
    a_late_subscriber_gets_a_replay_and_misses_nothing_and_a_lost_label_is_a_deletion,
];

type Outcome = Result<(), Box<dyn std::error::Error>>;

const PROGRAMS: [Program; 5] =
    [Program::Etcd, Program::KubeApiserver, Program::KubeControllerManager, Program::Etcdctl, Program::Etcdutl];
const WATCHED: &str = "watched";

async fn after_a_cut_exactly_the_differences_are_told_each_once() -> Outcome {
    let Some(rig) = Rig::start("after_a_cut_exactly_the_differences_are_told_each_once").await? else { return Ok(()) };
    for fault in [Mode::Refuse, Mode::Reset, Mode::Hang] {
        rig.create(&["deleted", "changed", "recreated", "same"]).await?;
        rig.expect(&["+changed", "+deleted", "+recreated", "+same"]).await?;
        rig.proxy.set(fault);
        rig.make_differences().await?;
        assert_eq!(rig.told.take(), Vec::<String>::new(), "{fault:?}: nothing comes through");
        rig.proxy.set(Mode::Pass);
        let seen = if fault == Mode::Hang { Seen::OneByOne } else { Seen::Afterwards };
        rig.expect_differences(seen).await?;
        rig.clean_up().await?;
    }
    Ok(())
}

async fn a_compaction_while_nobody_looks_costs_one_list() -> Outcome {
    let Some(mut rig) = Rig::start("a_compaction_while_nobody_looks_costs_one_list").await? else { return Ok(()) };
    rig.create(&["deleted", "changed", "recreated", "same"]).await?;
    rig.expect(&["+changed", "+deleted", "+recreated", "+same"]).await?;
    rig.close().await;
    let lists = rig.lists();
    rig.make_differences().await?;
    rig.plane.expire_watches().await?;
    rig.open();
    rig.expect_differences(Seen::Afterwards).await?;
    assert_eq!(rig.lists(), lists + 1);
    Ok(())
}

async fn a_frozen_api_server_is_followed_again_when_it_goes_on() -> Outcome {
    let Some(mut rig) = Rig::start("a_frozen_api_server_is_followed_again_when_it_goes_on").await? else {
        return Ok(());
    };
    rig.create(&["before"]).await?;
    rig.expect(&["+before"]).await?;
    rig.plane.pause(Component::Apiserver).await?;
    let maps = rig.maps();
    let written = tokio::spawn(async move { maps.create(&PostParams::default(), &map("during")).await });
    sleep(Duration::from_secs(2)).await;
    assert_eq!(rig.told.take(), Vec::<String>::new(), "it is frozen");
    rig.plane.resume(Component::Apiserver)?;
    written.await??;
    rig.create(&["after"]).await?;
    rig.expect(&["+after", "+during"]).await
}

async fn a_crashed_api_server_is_followed_again_when_it_is_back() -> Outcome {
    let Some(mut rig) = Rig::start("a_crashed_api_server_is_followed_again_when_it_is_back").await? else {
        return Ok(());
    };
    rig.create(&["deleted", "changed", "recreated", "same"]).await?;
    rig.expect(&["+changed", "+deleted", "+recreated", "+same"]).await?;
    rig.plane.kill(Component::Apiserver).await?;
    rig.plane.start_again(Component::Apiserver).await?;
    rig.expect(&[]).await?;
    rig.make_differences().await?;
    rig.expect_differences(Seen::OneByOne).await
}

async fn a_restored_etcd_is_told_even_if_it_has_overtaken_us() -> Outcome {
    let Some(mut rig) = Rig::start("a_restored_etcd_is_told_even_if_it_has_overtaken_us").await? else {
        return Ok(());
    };
    rig.create(&["lost", "same"]).await?;
    rig.expect(&["+lost", "+same"]).await?;
    let lost = rig.uid("lost");
    let backup = rig.plane.backup_etcd().await?;
    rig.delete("lost").await?;
    rig.create(&["ghost"]).await?;
    rig.expect(&["+ghost", "-lost"]).await?;

    let overtaken = rig.plane_revision().await?;
    rig.proxy.set(Mode::Refuse);
    rig.plane.restore_etcd(&backup, Revisions::GoBack).await?;
    rig.create(&["after"]).await?;
    let mut turn = 0;
    while rig.plane_revision().await? <= overtaken + 10 {
        turn += 1;
        rig.edit("after", &turn.to_string()).await?;
    }
    rig.proxy.set(Mode::Pass);
    rig.expect(&["+after", "+lost", "-ghost"]).await?;
    assert_eq!(rig.uid("lost"), lost, "the same object is back");
    Ok(())
}

async fn a_restored_etcd_that_is_still_behind_is_noticed() -> Outcome {
    let Some(mut rig) = Rig::start("a_restored_etcd_that_is_still_behind_is_noticed").await? else { return Ok(()) };
    let backup = rig.plane.backup_etcd().await?;
    let mut turn = 0;
    rig.create(&["ghost"]).await?;
    let ahead = rig.plane_revision().await? + 300;
    while rig.plane_revision().await? <= ahead {
        turn += 1;
        rig.edit("ghost", &turn.to_string()).await?;
    }
    rig.settle().await?;
    rig.told.take();
    rig.plane.restore_etcd(&backup, Revisions::GoBack).await?;
    rig.expect(&["-ghost"]).await?;
    assert_eq!(rig.cache.meters().rollbacks.load(Ordering::Relaxed), 1);
    Ok(())
}

async fn a_late_subscriber_gets_a_replay_and_misses_nothing_and_a_lost_label_is_a_deletion() -> Outcome {
    let test = "a_late_subscriber_gets_a_replay_and_misses_nothing_and_a_lost_label_is_a_deletion";
    let Some(rig) = Rig::start(test).await? else { return Ok(()) };
    let maps = rig.maps();
    let writer = tokio::spawn(async move {
        for number in 0..60 {
            maps.create(&PostParams::default(), &map(&format!("map-{number}"))).await?;
            if number % 3 == 0 {
                maps.delete(&format!("map-{number}"), &DeleteParams::default()).await?;
            }
        }
        Ok::<_, kube::Error>(())
    });
    let mut late = Vec::new();
    while !writer.is_finished() {
        late.push(Told::of(&rig.view));
        sleep(Duration::from_millis(10)).await;
    }
    writer.await??;
    rig.settle().await?;
    let server = rig.on_the_server().await?;
    assert_eq!(server.len(), 41, "40 maps and the mark");
    assert!(late.len() > 5);
    assert!(late.iter().all(|told| told.mirror() == server));
    rig.told.take();

    let unlabel = json!({"metadata": {"labels": {WATCHED: null}}});
    rig.maps().patch("map-1", &PatchParams::default(), &Patch::Merge(&unlabel)).await?;
    rig.expect(&["-map-1"]).await?;
    let label = json!({"metadata": {"labels": {WATCHED: "yes"}}});
    rig.maps().patch("map-1", &PatchParams::default(), &Patch::Merge(&label)).await?;
    rig.expect(&["+map-1"]).await
}

/// A control plane, and a cache that reaches it through a proxy and a gate.
struct Rig {
    plane: ControlPlane,
    proxy: Proxy,
    gate: watch::Sender<bool>,
    cache: Cache,
    view: Informer<ConfigMap>,
    told: Told,
}

impl Rig {
    async fn start(test: &str) -> Result<Option<Self>, Box<dyn std::error::Error>> {
        if !require_or_skip(test, &PROGRAMS).await? {
            return Ok(None);
        }
        let plane = Pool::from_environment()?.take(Shape::Bare, "cache").await?;
        let endpoint = plane.endpoint();
        let port = endpoint.rsplit(':').next().unwrap_or_default().parse()?;
        let proxy = Proxy::start(port).await?;
        let kubeconfig = plane.kubeconfig().replace(&endpoint, &format!("https://{}", proxy.address()));
        let gate = watch::Sender::new(true);
        let cache = Cache::new(client_from(&kubeconfig).await?, gate.subscribe());
        let view = cache.informer::<ConfigMap>(&LabelQuery::equals(WATCHED, "yes"));
        timeout(soon(), view.live()).await?;
        let told = Told::of(&view);
        Ok(Some(Self { plane, proxy, gate, cache, view, told }))
    }

    /// The way around the proxy.
    fn maps(&self) -> Api<ConfigMap> {
        Api::namespaced(self.plane.client(), "default")
    }

    async fn create(&self, names: &[&str]) -> kube::Result<()> {
        for name in names {
            self.maps().create(&PostParams::default(), &map(name)).await?;
        }
        Ok(())
    }

    async fn delete(&self, name: &str) -> kube::Result<()> {
        self.maps().delete(name, &DeleteParams::default()).await.map(drop)
    }

    async fn edit(&self, name: &str, value: &str) -> kube::Result<()> {
        let patch = json!({"data": {"value": value}});
        self.maps().patch(name, &PatchParams::default(), &Patch::Merge(&patch)).await.map(drop)
    }

    async fn make_differences(&self) -> kube::Result<()> {
        self.delete("deleted").await?;
        self.edit("changed", "otherwise").await?;
        self.delete("recreated").await?;
        self.create(&["recreated", "created"]).await
    }

    async fn expect_differences(&self, seen: Seen) -> Outcome {
        match seen {
            Seen::Afterwards => self.expect(&["!recreated", "+created", "-deleted", "~changed"]).await,
            Seen::OneByOne => self.expect(&["+created", "+recreated", "-deleted", "-recreated", "~changed"]).await,
        }
    }

    async fn clean_up(&self) -> Outcome {
        self.maps().delete_collection(&DeleteParams::default(), &ListParams::default().labels(WATCHED)).await?;
        self.settle().await?;
        self.told.take();
        Ok(())
    }

    /// Parks the cache, as the probe of a dead cluster does.
    async fn close(&self) {
        self.gate.send_replace(false);
        self.proxy.set(Mode::Refuse);
        while self.view.health() == Health::Live {
            sleep(Duration::from_millis(10)).await;
        }
    }

    fn open(&self) {
        self.proxy.set(Mode::Pass);
        self.gate.send_replace(true);
    }

    fn lists(&self) -> u64 {
        self.cache.meters().lists.load(Ordering::Relaxed)
    }

    fn uid(&self, name: &str) -> Option<String> {
        self.told.mirror().get(name).cloned()
    }

    async fn plane_revision(&self) -> Result<u64, Box<dyn std::error::Error>> {
        let list = self.maps().list(&ListParams::default().limit(1)).await?;
        Ok(list.metadata.resource_version.unwrap_or_default().parse()?)
    }

    async fn on_the_server(&self) -> kube::Result<BTreeMap<String, String>> {
        let maps = self.maps().list(&ListParams::default().labels(WATCHED)).await?;
        Ok(maps.iter().map(|map| (map.name_any(), map.uid().unwrap_or_default())).collect())
    }

    /// Waits until a change made now is told, and with it everything before it.
    async fn settle(&self) -> Outcome {
        let mark = self.maps().create(&PostParams::default(), &map("")).await?.name_any();
        timeout(soon(), async {
            while !self.told.mirror().contains_key(&mark) {
                sleep(Duration::from_millis(10)).await;
            }
        })
        .await?;
        Ok(())
    }

    /// Waits for everything, then compares all that was told since the last time.
    async fn expect(&self, expected: &[&str]) -> Outcome {
        self.settle().await?;
        assert_eq!(self.told.take(), expected);
        self.mirrors_the_server().await
    }

    async fn mirrors_the_server(&self) -> Outcome {
        assert_eq!(self.told.mirror(), self.on_the_server().await?);
        Ok(())
    }
}

/// How changes are seen. Deleted and created again is one difference to who sees only the outcome.
#[derive(Clone, Copy)]
enum Seen {
    OneByOne,
    Afterwards,
}

/// A watched map; without a name it is a mark, of which nothing is noted.
fn map(name: &str) -> ConfigMap {
    let mut map = ConfigMap::default();
    map.labels_mut().insert(WATCHED.to_owned(), "yes".to_owned());
    if name.is_empty() {
        map.metadata.generate_name = Some(MARK.to_owned());
    } else {
        map.metadata.name = Some(name.to_owned());
    }
    map
}

const MARK: &str = "mark-";

/// What a subscriber was told: `+` new, `-` gone, `~` changed, `!` another one of the same name, `?` not what follows
/// from what was told before.
#[derive(Clone, Default)]
struct Told(Arc<Mutex<Notes>>);

#[derive(Default)]
struct Notes {
    changes: Vec<String>,
    /// The UIDs of what is there, by name.
    mirror: BTreeMap<String, String>,
}

impl Told {
    fn of(view: &Informer<ConfigMap>) -> Self {
        let told = Self::default();
        let notes = told.clone();
        view.subscribe(move |change| {
            let uid = |map: &Option<Arc<ConfigMap>>| map.as_ref().and_then(|map| map.uid());
            notes.note(&change.key.name, uid(&change.old).as_deref(), uid(&change.new));
        });
        told
    }

    fn note(&self, name: &str, old: Option<&str>, new: Option<String>) {
        let mut notes = self.lock();
        let sign = match (old, new.as_deref()) {
            _ if notes.mirror.get(name).map(String::as_str) != old => '?',
            (None, _) => '+',
            (_, None) => '-',
            (old, new) if old == new => '~',
            _ => '!',
        };
        if !name.starts_with(MARK) {
            notes.changes.push(format!("{sign}{name}"));
        }
        match new {
            Some(new) => notes.mirror.insert(name.to_owned(), new),
            None => notes.mirror.remove(name),
        };
    }

    /// All changes since the last time, sorted.
    fn take(&self) -> Vec<String> {
        let mut notes = self.lock();
        let mut changes = std::mem::take(&mut notes.changes);
        changes.sort();
        changes
    }

    fn mirror(&self) -> BTreeMap<String, String> {
        self.lock().mirror.clone()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Notes> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
