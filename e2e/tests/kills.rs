//! The real binary killed with SIGKILL at each of its writes, one after the other: after the server has done it and before
//! drover knows. It ends in the same state each time.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

mod common;

use std::sync::Arc;

use common::*;
use drover_e2e::http_proxy::{HttpProxy, WriteTrap};
use drover_e2e::installation::{End, Installation, eventually, kubectl_on};
use serde_json::{Value, json};

/// More writes than a story takes: set for this one, the trap does not spring.
const MANY: usize = 60;

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_each_write_of_taking_up_and_letting_go_it_ends_the_same() {
    let Some(mut installation) = prepared("kill at each write", &["us"]).await else { return };
    installation.kubectl(&["delete", "cluster", "us"]).unwrap();
    let trap = Arc::new(WriteTrap::default());
    let _ways = proxied(&installation, "us", Arc::clone(&trap)).await;
    installation.way = Some(HttpProxy::start(&installation.management, Arc::clone(&trap)).await.unwrap());
    let before = left_behind(&installation);
    start(&mut installation);

    let mut story = Killed { installation, trap, at: MANY };
    story.take_up().await;
    let taken_up = taken(&story.installation);
    assert!(taken_up.to_string().contains("team-web"), "{taken_up}");
    story.let_go().await;
    assert_eq!(left_behind(&story.installation), before);

    let mut kills = 0;
    for at in 1..MANY {
        story.at = at;
        let killed = story.take_up().await;
        assert_eq!(taken(&story.installation), taken_up, "killed at write {at} of taking up");
        let killed_again = story.let_go().await;
        assert_eq!(left_behind(&story.installation), before, "killed at write {at} of letting go");
        kills += usize::from(killed) + usize::from(killed_again);
        if !killed && !killed_again {
            break;
        }
    }
    println!("killed {kills} times");
    assert!((10..2 * MANY - 2).contains(&kills), "{kills} kills are not all writes of two stories");
    quiet(&story.installation, "all the kills").await;
}

/// drover, and the write at which it is killed.
struct Killed {
    installation: Installation,
    trap: Arc<WriteTrap>,
    at: usize,
}

impl Killed {
    /// A Cluster joins and a Project is taken up. Whether drover was killed meanwhile.
    async fn take_up(&mut self) -> bool {
        self.set();
        self.installation.apply(&cluster("us").to_string()).unwrap();
        let mut shop = project("shop", &["team-web", "team-db"]);
        shop["spec"]["deletionPolicy"] = "Delete".into();
        self.installation.apply(&shop.to_string()).unwrap();
        let reads = |installation: &Installation, kind, name, expected| {
            let found = condition(&get(installation, kind, name).unwrap(), "Ready");
            found.as_deref() == Some(expected)
        };
        self.until("taken up", |installation| {
            reads(installation, "cluster", "us", "True/Connected")
                && reads(installation, "project", "shop", "True/Ready")
        })
        .await
    }

    /// Both are deleted. Whether drover was killed meanwhile.
    async fn let_go(&mut self) -> bool {
        self.set();
        let is_gone = |installation: &Installation, kind| {
            let arguments = ["get", kind, "--all-namespaces", "--output=name"];
            installation.kubectl(&arguments).unwrap().trim().is_empty()
        };
        let mut killed = false;
        for (kind, name) in [("project", "shop"), ("cluster", "us")] {
            let arguments = ["delete", kind, name, "--namespace=team", "--wait=false"];
            self.installation.kubectl(&arguments).unwrap();
            killed |= self.until("let go", |installation| is_gone(installation, kind)).await;
        }
        killed
    }

    fn set(&mut self) {
        let pid = self.installation.replica(0).unwrap().pid();
        self.trap.set(self.at, pid);
    }

    /// Waits until it is so, and starts drover again whenever it was killed.
    async fn until(&mut self, what: &str, is_so: impl Fn(&Installation) -> bool) -> bool {
        let mut killed = false;
        let outcome = eventually(what, 2 * SOON, async || {
            if self.trap.take_sprung() {
                killed = true;
                self.installation.stop_drover(End::Kill).await?;
                start(&mut self.installation);
            }
            Ok(is_so(&self.installation).then_some(()))
        })
        .await;
        let log = self.installation.drover_log();
        assert!(outcome.is_ok(), "{what}, killed at write {}: {outcome:?}\n{log}", self.at);
        killed
    }
}

/// The same identity comes back, as a pod's container does, and need not wait for its own Lease.
fn start(installation: &mut Installation) {
    installation.start_drover_as("drover-again").unwrap();
}

/// What drover made downstream, without what differs from one Cluster or Project to the next.
fn taken(installation: &Installation) -> Value {
    let all = picture(installation, "us").to_string();
    let uid = get(installation, "project", "shop").unwrap()["metadata"]["uid"].as_str().unwrap().to_owned();
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
fn left_behind(installation: &Installation) -> Value {
    let us = installation.cluster("us").unwrap();
    let maps = kubectl_on(us, &["get", "configmaps", "--namespace=drover-system", "--output=name"]).unwrap();
    json!([picture(installation, "us"), maps])
}
