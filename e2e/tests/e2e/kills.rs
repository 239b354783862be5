//! The real binary killed with SIGKILL at each of its writes, one after the other: after the server has done it and before
//! drover knows. It ends in the same state each time.

use std::sync::Arc;
use std::time::Duration;

use drover_e2e::http_proxy::{HttpProxy, Victim, WriteTrap};
use drover_e2e::installation::{End, Installation, KILL_AT, KILLED, NOT_KILLED, kubectl_on};
use drover_e2e::objects::find;
use drover_e2e::process::DetachedProcess;
use drover_e2e::runner::Soak;
use drover_e2e::story::*;
use drover_e2e::wait::{eventually, patiently, soon};
use futures::StreamExt as _;
use serde_json::{Value, json};

drover_e2e::tests![
    killed_at_every_third_write_of_taking_up_and_letting_go_it_ends_the_same,
    killed_at_each_write_of_taking_up_and_letting_go_it_ends_the_same => soak(Soak::Kills),
    killed_at_each_of_its_writes_every_story_ends_well => soak(Soak::Kills),
];

/// More writes than a story takes: set for this one, the trap does not spring.
const MANY: usize = 60;

async fn killed_at_every_third_write_of_taking_up_and_letting_go_it_ends_the_same() {
    killed_at_writes(3).await;
}

async fn killed_at_each_write_of_taking_up_and_letting_go_it_ends_the_same() {
    killed_at_writes(1).await;
}

/// Kills at the first write, and at each that is `step` after the one before.
async fn killed_at_writes(step: usize) {
    let Some(mut installation) = prepared("kill at each write", &["us"]).await else { return };
    installation.timers = Some(Timers::SHORT);
    installation.kubectl(&["delete", "cluster", "us"]).unwrap();
    let trap = Arc::new(WriteTrap::default());
    let _ways = proxied(&installation, "us", Arc::clone(&trap)).await;
    installation.way = Some(HttpProxy::start(&installation.management, Arc::clone(&trap)).await.unwrap());
    let _hastened = hastened(installation.cluster("us").unwrap());
    let before = left_behind(&installation).await;
    let drover = start(&mut installation).await;

    let mut story = Killed { installation, drover, trap, at: MANY };
    story.take_up().await;
    let taken_up = taken(&story.installation).await;
    assert!(taken_up.to_string().contains("team-web"), "{taken_up}");
    story.let_go().await;
    assert_eq!(left_behind(&story.installation).await, before);

    let mut kills = 0;
    for at in (1..MANY).step_by(step) {
        story.at = at;
        let killed = story.take_up().await;
        assert_eq!(taken(&story.installation).await, taken_up, "killed at write {at} of taking up");
        let killed_again = story.let_go().await;
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

/// drover, and the write at which it is killed.
struct Killed {
    installation: Installation,
    /// The one that was started last; it may have been killed at the end of the story before.
    drover: DetachedProcess,
    trap: Arc<WriteTrap>,
    at: usize,
}

impl Killed {
    /// A Cluster joins and a Project is taken up. Whether drover was killed meanwhile.
    async fn take_up(&mut self) -> bool {
        self.set();
        self.installation.apply(&cluster("us").to_string()).await.unwrap();
        let mut shop = project("shop", &["team-web", "team-db"]);
        shop["spec"]["deletionPolicy"] = "Delete".into();
        self.installation.apply(&shop.to_string()).await.unwrap();
        self.until("taken up", async |installation| {
            let (us, shop) = (get(installation, "cluster", "us").await?, get(installation, "project", "shop").await?);
            let ready = [us, shop].map(|object| condition(&object, "Ready").unwrap_or_default());
            Ok(ready == ["True/Connected", "True/Ready"])
        })
        .await
    }

    /// Both are deleted. Whether drover was killed meanwhile.
    async fn let_go(&mut self) -> bool {
        self.set();
        let mut killed = false;
        for (kind, name) in [("project", "shop"), ("cluster", "us")] {
            let arguments = ["delete", kind, name, "--namespace=team", "--wait=false"];
            self.installation.kubectl(&arguments).unwrap();
            killed |= self
                .until("let go", async |installation| {
                    Ok(find(installation.management.client(), kind, "team", name).await?.is_none())
                })
                .await;
        }
        killed
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
                self.installation.stop_drover(End::Kill).await?;
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

/// The same identity comes back, as a pod's container does, and need not wait for its own Lease.
async fn start(installation: &mut Installation) -> DetachedProcess {
    installation.start_drover_as("drover-again").await.unwrap();
    installation.replica(0).unwrap().observe().unwrap()
}

/// What drover made downstream, without what differs from one Cluster or Project to the next.
async fn taken(installation: &Installation) -> Value {
    let all = picture(installation, "us").await.to_string();
    let uid = get(installation, "project", "shop").await.unwrap()["metadata"]["uid"].as_str().unwrap().to_owned();
    let conditions = ["cluster/us", "project/shop"].map(|name| {
        let object = installation.kubectl(&["get", name, "--namespace=team", "--output=json"]).unwrap();
        let object: Value = serde_json::from_str(&object).unwrap();
        let of = |condition: &Value| json!([condition["type"], condition["status"], condition["reason"]]);
        let conditions: Vec<_> = object["status"]["conditions"].as_array().unwrap().iter().map(of).collect();
        json!([conditions, object["metadata"]["finalizers"]])
    });
    json!([serde_json::from_str::<Value>(&all.replace(&uid, "UID")).unwrap(), conditions])
}

/// What is there downstream when nothing should be.
async fn left_behind(installation: &Installation) -> Value {
    let us = installation.cluster("us").unwrap();
    let maps = kubectl_on(us, &["get", "configmaps", "--namespace=drover-system", "--output=name"]).unwrap();
    json!([picture(installation, "us").await, maps])
}

/// Stories whose own words would be disturbed, not drover.
const NOT_THESE: [(&str, &str); 4] = [
    ("a_cluster_that_goes_leaves_everything", "it counts the connections of the process that it started"),
    ("a_bad_kubeconfig_is_refused", "it reaches the cluster in ways of its own"),
    ("a_management_cluster_rebuilt", "the management cluster that the proxy leads to is gone"),
    ("no_secret_shows_up_anywhere", "it makes its own kubeconfigs, which lead past the proxy"),
];
/// More writes than any story takes.
const ENOUGH: usize = 200;
const STORIES_AT_A_TIME: usize = 3;
/// Of a story that is told once, as of any test.
const LIMIT: Duration = Duration::from_mins(4);

async fn killed_at_each_of_its_writes_every_story_ends_well() {
    let stories = [crate::stories::tests(), crate::deletion::tests(), crate::promises::tests()].concat();
    let stories = stories.into_iter().map(|story| story.name());
    let stories = stories.filter(|name| !NOT_THESE.iter().any(|(not_this, _)| name.contains(not_this)));
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
