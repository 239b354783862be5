//! The real binary killed with SIGKILL at each of its writes, one after the other: after the server has done it and before
//! drover knows. It ends in the same state each time.

use std::sync::Arc;
use std::time::Duration;

use drover_e2e::charts::ChartFiles;
use drover_e2e::http_proxy::{HttpProxy, Victim, WriteTrap};
use drover_e2e::installation::{End, Installation, KILL_AT, KILLED, NOT_KILLED, kubectl_on};
use drover_e2e::objects::key_of;
use drover_e2e::process::DetachedProcess;
use drover_e2e::proxy::Proxy;
use drover_e2e::releases::left_in;
use drover_e2e::runner::{Soak, Test};
use drover_e2e::story::*;
use drover_e2e::wait::{eventually, patiently, soon};
use futures::StreamExt as _;
use serde_json::{Value, json};
use tokio_util::task::AbortOnDropHandle;

drover_e2e::tests![
    killed_at_every_third_write_of_taking_up_and_letting_go_it_ends_the_same,
    killed_at_each_write_of_taking_up_and_letting_go_it_ends_the_same => soak(Soak::Kills),
    i02_killed_at_every_sixth_write_of_a_release_it_ends_the_same,
    i02_killed_at_each_write_of_a_release_it_ends_the_same => soak(Soak::Kills),
    i02_killed_at_every_twelfth_write_of_a_rollout_it_ends_the_same,
    i02_killed_at_each_write_of_a_rollout_it_ends_the_same => soak(Soak::Kills),
    killed_at_each_of_its_writes_every_story_ends_well => soak(Soak::Kills),
];

/// More writes than a story takes: set for this one, the trap does not spring.
const MANY: usize = 90;

async fn killed_at_every_third_write_of_taking_up_and_letting_go_it_ends_the_same() {
    Box::pin(killed_at_writes(3, &one_of_each_kind())).await;
}

async fn killed_at_each_write_of_taking_up_and_letting_go_it_ends_the_same() {
    Box::pin(killed_at_writes(1, &one_of_each_kind())).await;
}

/// The Cluster `us` and `objects` are taken up and go again. Kills at the first write, and at each that is `step` after the one
/// before.
async fn killed_at_writes(step: usize, objects: &[Value]) {
    let Some(mut story) = Killed::prepared("kill at each write").await else { return };
    story.objects = std::iter::once(a_cluster("us")).chain(objects.iter().cloned()).collect();
    let before = left_behind(&story.installation).await;
    story.take_up().await;
    let taken_up = story.taken().await;
    story.each_object_has_something_downstream().await;
    story.release_labels().await;
    assert_eq!(left_behind(&story.installation).await, before);

    let mut kills = 0;
    for at in (1..MANY).step_by(step) {
        story.at = at;
        let killed = story.take_up().await;
        assert_eq!(story.taken().await, taken_up, "killed at write {at} of taking up");
        let killed_again = story.release_labels().await;
        assert_eq!(left_behind(&story.installation).await, before, "killed at write {at} of letting go");
        kills += usize::from(killed) + usize::from(killed_again);
        if !killed && !killed_again {
            break;
        }
    }
    println!("killed {kills} times");
    assert!((10 / step..2 * MANY - 2).contains(&kills), "{kills} kills are not all writes of two stories");
    quiet(&story.installation, "all the kills").await;
}

async fn i02_killed_at_every_sixth_write_of_a_release_it_ends_the_same() {
    Box::pin(killed_while_it_releases(6, an_app_of_its_own)).await;
}

async fn i02_killed_at_each_write_of_a_release_it_ends_the_same() {
    Box::pin(killed_while_it_releases(1, an_app_of_its_own)).await;
}

async fn i02_killed_at_every_twelfth_write_of_a_rollout_it_ends_the_same() {
    Box::pin(killed_while_it_releases(12, an_app_of_a_rollout)).await;
}

async fn i02_killed_at_each_write_of_a_rollout_it_ends_the_same() {
    Box::pin(killed_while_it_releases(1, an_app_of_a_rollout)).await;
}

fn an_app_of_its_own(chart: &ChartFiles, message: &str) -> Value {
    an_app("web", "us", ("podless", chart), &json!({"values": {"message": message}, "wait": {"timeout": "30s"}}))
}

/// The same app, by an object for many clusters.
fn an_app_of_a_rollout(chart: &ChartFiles, message: &str) -> Value {
    let mut app = an_app_of_its_own(chart, message);
    let mut template = app["spec"].take();
    template.as_object_mut().unwrap().remove("clusterName");
    let stages = json!([{"name": "canary", "selector": {"matchLabels": {"stage": "canary"}}}, {"name": "everywhere", "minReady": "0s"}]);
    let spec = json!({"clusters": {"names": ["us"]}, "template": template, "rollout": {"stages": stages}});
    json!({
        "apiVersion": "drover.dev/v1alpha1", "kind": "MultiClusterApp", "metadata": {"name": "web", "namespace": TEAM}, "spec": spec,
    })
}

/// An app is installed, upgraded and uninstalled. Whenever drover is killed there is one revision for each, none of them pending, and
/// nobody helps; another app beside it stays as it is.
async fn killed_while_it_releases(step: usize, app: impl Fn(&ChartFiles, &str) -> Value) {
    let Some(mut story) = Killed::prepared("kill while it releases").await else { return };
    let chart = ChartFiles::of("podless").unwrap();
    let other = an_app("other", "us", ("podless", &chart), &json!({"values": {"message": "stays"}}));
    story.installation.apply(&a_packaged_chart("podless", &chart)).await.unwrap();
    story.objects = vec![a_cluster("us"), a_project("shop", &NAMESPACES), a_deployer(), other];
    story.take_up().await;
    let before = story.released().await;

    let (mut kills, mut expected) = (0, None);
    for at in std::iter::once(MANY).chain((1..MANY).step_by(step)) {
        story.at = at;
        let mut steps = Vec::new();
        let mut killed = Vec::new();
        for message in ["one", "two"] {
            story.objects = vec![app(&chart, message)];
            killed.push(story.take_up().await);
            steps.push(story.released().await);
        }
        killed.push(story.release_labels().await);
        assert_eq!(story.released().await, before, "killed at write {at} of uninstalling");
        let expected = expected.get_or_insert_with(|| steps.clone());
        assert_eq!(steps, *expected, "killed at write {at}: {killed:?}");
        let killed = killed.into_iter().filter(|killed| *killed).count();
        kills += killed;
        if killed == 0 && at != MANY {
            break;
        }
    }
    println!("killed {kills} times");
    assert!((30 / step..3 * MANY - 3).contains(&kills), "{kills} kills are not all writes of three steps");
    quiet(&story.installation, "all the kills").await;
}

/// drover, the write at which it is killed, and what it has to take up: the Cluster `us`, and what is applied after it.
struct Killed {
    installation: Installation,
    /// The one that was started last; it may have been killed at the end of the story before.
    drover: DetachedProcess,
    trap: Arc<WriteTrap>,
    objects: Vec<Value>,
    at: usize,
    /// Ways to the cluster, and whoever removes its namespaces at once.
    _alive: ((Proxy, HttpProxy), AbortOnDropHandle<()>),
}

impl Killed {
    /// Nothing is taken up yet, and every request goes through the trap.
    async fn prepared(test: &str) -> Option<Self> {
        let mut installation = prepared_restful(test, &["us"]).await?;
        deleted(&installation, "cluster", "us").await;
        let trap = Arc::new(WriteTrap::default());
        let ways = proxied(&installation, "us", Arc::clone(&trap)).await;
        installation.way = Some(HttpProxy::start(&installation.management, Arc::clone(&trap)).await.unwrap());
        let hastened = hastened(installation.cluster("us").unwrap());
        let drover = start(&mut installation).await;
        Some(Self { installation, drover, trap, objects: Vec::new(), at: MANY, _alive: (ways, hastened) })
    }

    /// What there is of releases in the cluster, without what is made up at each rendering.
    async fn released(&self) -> Value {
        let us = self.installation.cluster("us").unwrap();
        let mut all = serde_json::to_value(left_in(us, "team-web").await.unwrap()).unwrap();
        for object in all.as_object_mut().unwrap().values_mut() {
            if object["kind"] == "Secret" {
                let is_made_up = |field: &str| ["random", "manifest"].contains(&field);
                object["data"].as_object_mut().unwrap().retain(|field, _| !is_made_up(field));
            }
        }
        all
    }

    /// All objects are applied and taken up. Whether drover was killed meanwhile.
    async fn take_up(&mut self) -> bool {
        self.set();
        for object in &self.objects {
            self.installation.apply(object).await.unwrap();
        }
        let objects = self.objects.clone();
        self.until("taken up", async |installation| {
            for object in &objects {
                if !is_ready(&get(installation, kind_of(object), &key_of(object)).await?) {
                    return Ok(false);
                }
            }
            Ok(true)
        })
        .await
    }

    /// All are deleted, the last one first, each once nothing of the one before is in the cluster: a Cluster that goes leaves there
    /// what is there. Whether drover was killed meanwhile.
    async fn release_labels(&mut self) -> bool {
        self.set();
        let mut killed = false;
        for object in self.objects.clone().iter().rev() {
            let (kind, name) = (kind_of(object), key_of(object));
            delete(&self.installation, kind, &name).await;
            killed |= self
                .until("let go", async |installation| match get(installation, kind, &name).await {
                    Err(drover_e2e::Error::NotFound { .. }) => {
                        Ok(kind == "Cluster" || !has_any(installation, object).await)
                    }
                    found => found.map(|_| false),
                })
                .await;
        }
        killed
    }

    /// What drover made downstream and what it says of it, without what differs from one object to the next of the same name.
    async fn taken(&self) -> Value {
        let mut all = picture(&self.installation, "us").await.to_string();
        let mut told = Vec::new();
        for object in &self.objects {
            let found = get(&self.installation, kind_of(object), &key_of(object)).await.unwrap();
            all = all.replace(found["metadata"]["uid"].as_str().unwrap(), "UID");
            let of = |condition: &Value| json!([condition["type"], condition["status"], condition["reason"]]);
            let conditions: Vec<_> = found["status"]["conditions"].as_array().unwrap().iter().map(of).collect();
            told.push(json!([conditions, found["metadata"]["finalizers"]]));
        }
        json!([serde_json::from_str::<Value>(&all).unwrap(), told])
    }

    /// Otherwise nothing of it is seen to go. What a binding gives belongs to its Project or its template.
    async fn each_object_has_something_downstream(&self) {
        let owns = |object: &&Value| kind_of(object) != "Cluster" && !kind_of(object).ends_with("Binding");
        for object in self.objects.iter().filter(owns) {
            assert!(has_any(&self.installation, object).await, "{object} has nothing");
        }
    }

    fn set(&mut self) {
        self.trap.set(self.at, Victim::Process(self.drover.clone()));
    }

    /// Waits until it is so, and starts drover again whenever it was killed.
    async fn until(&mut self, what: &str, is_so: impl AsyncFn(&Installation) -> drover_e2e::Result<bool>) -> bool {
        let mut killed = false;
        let outcome = eventually(what, 2 * soon(), async || {
            if self.trap.take_sprung() {
                killed = true;
                self.drover = start(&mut self.installation).await;
            }
            Ok(is_so(&self.installation).await?.then_some(()))
        })
        .await;
        let log = self.installation.drover_log();
        assert!(outcome.is_ok(), "{what}, killed at write {}: {outcome:?}\n{log}", self.at);
        killed
    }
}

/// Whether anything in the cluster belongs to the object.
async fn has_any(installation: &Installation, object: &Value) -> bool {
    let owner = [&object["kind"], &object["metadata"]["name"]];
    let is_owned = |labels: &Value| [&labels["drover.dev/owner-kind"], &labels["drover.dev/owner-name"]] == owner;
    belongings(installation, "us").await.iter().any(|item| is_owned(&item[3]))
}

fn kind_of(object: &Value) -> &str {
    object["kind"].as_str().unwrap()
}

/// Starts drover, again if it was killed, and says which process it is.
async fn start(installation: &mut Installation) -> DetachedProcess {
    restart_as_itself(installation, End::Kill).await;
    installation.replica(0).unwrap().observe().unwrap()
}

/// What is there downstream when nothing should be but the policies that a Cluster leaves with the policy Orphan.
async fn left_behind(installation: &Installation) -> Value {
    let us = installation.cluster("us").unwrap();
    let maps = kubectl_on(us, &["get", "configmaps", "--namespace=drover-system", "--output=name"]).unwrap();
    // That of the cluster itself comes some time after its namespace.
    let maps = maps.replace("configmap/kube-root-ca.crt\n", "");
    let mut there = picture(installation, "us").await;
    there.as_array_mut().unwrap().retain(|item| !item[0].as_str().unwrap().starts_with("ValidatingAdmissionPolicy"));
    json!([there, maps])
}

/// More writes than any story takes.
const ENOUGH: usize = 200;
const STORIES_AT_A_TIME: usize = 3;
/// Of a story that is told once, as of any test.
const LIMIT: Duration = Duration::from_mins(4);

async fn killed_at_each_of_its_writes_every_story_ends_well() {
    let stories = crate::tests().into_iter().filter(Test::is_killable).map(|story| story.name());
    let killed: Vec<(&str, usize)> = futures::stream::iter(stories)
        .map(|name| async move { (name, kill_at_each_write_of(name).await) })
        .buffer_unordered(STORIES_AT_A_TIME)
        .collect()
        .await;
    for (name, kills) in killed {
        println!("{name}: killed {kills} times");
        assert!(kills > 0, "{name} has no write that is seen");
        assert!(kills < ENOUGH, "{name} does not come to an end");
    }
}

/// How many writes the story has.
async fn kill_at_each_write_of(story: &str) -> usize {
    for number in 1..ENOUGH {
        let mut command = tokio::process::Command::new(std::env::current_exe().unwrap());
        command.args(["--in-process", story]).env(KILL_AT, number.to_string()).kill_on_drop(true);
        let output = tokio::time::timeout(patiently(LIMIT), command.output()).await;
        let output =
            output.unwrap_or_else(|_| panic!("{story}, killed at write {number}: not over after {LIMIT:?}")).unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{story}, killed at write {number}:\n{said}\n{errors}");
        if said.contains(NOT_KILLED) {
            return number - 1;
        }
        assert!(said.contains(KILLED), "{story}: {said}");
    }
    ENOUGH
}
