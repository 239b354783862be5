//! The ways to several clusters fail in every way that is known, at once. Meanwhile a healthy cluster is served as fast as
//! before; afterwards all are as if nothing had been, and nobody writes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use drover_e2e::http_proxy::{Answers, HttpProxy, WriteTrap};
use drover_e2e::installation::Installation;
use drover_e2e::proxy::{Mode, Proxy};
use drover_e2e::runner::Soak;
use drover_e2e::story::*;
use drover_e2e::wait::{eventually, patiently, soon};
use futures::future::join_all;
use serde_json::{Value, json};

drover_e2e::tests![
    faults_of_connections_pass_without_a_trace => weight(2),
    faults_of_requests_pass_without_a_trace => weight(2),
    a_slow_and_a_full_disk_pass_without_a_trace => weight(2),
    a_watch_that_falls_silent_is_noticed,
    a_watch_that_falls_silent_is_noticed_within_five_minutes => soak(Soak::Watches),
];

/// What goes wrong on the way to a cluster.
#[derive(Clone, Copy, Debug)]
enum Fault {
    Connections(Mode),
    Requests(Answers),
}

/// A cluster, what goes wrong there, and what `Ready` has to read meanwhile, if anything is to be told.
type Case = (&'static str, Fault, Option<&'static str>);

/// A healthy cluster `eu`, faulty ones with proxies in front of them, and objects on all of them, among them the Project `shop`
/// by which is seen that `eu` is served.
struct FaultyFleet {
    installation: Installation,
    objects: Vec<Value>,
    /// How many things belong to the objects in each cluster.
    count: usize,
    cases: Vec<Case>,
    ways: Vec<(Proxy, HttpProxy)>,
    /// How long `eu` takes to heal when all is well.
    pace: Duration,
}

impl FaultyFleet {
    async fn start(test: &str, cases: &[Case], timers: Option<Timers>, objects: &[Value]) -> Option<Self> {
        let clusters: Vec<&str> = std::iter::once("eu").chain(cases.iter().map(|case| case.0)).collect();
        let mut installation = prepared(test, &clusters).await?;
        let ways = cases.iter().map(|case| proxied(&installation, case.0, Arc::new(WriteTrap::default())));
        let ways = join_all(ways).await;
        installation.timers = timers;
        installation.start_drover().await.unwrap();
        for object in objects {
            ready_with(&installation, object).await;
        }
        let count = belongings(&installation, "eu").await.len();
        assert!(count >= NAMESPACES.len());
        let pace = time_to_heal(&installation, "eu").await;
        Some(Self { installation, objects: objects.to_vec(), count, cases: cases.to_vec(), ways, pace })
    }

    /// All faults come at once, each is told by its own reason, and all go again.
    async fn passes(&self, what: &str) {
        self.set(|fault| fault);
        self.while_it_lasts(what).await;
        self.set(|fault| match fault {
            Fault::Connections(_) => Fault::Connections(Mode::Pass),
            Fault::Requests(_) => Fault::Requests(Answers::Pass),
        });
        self.afterwards(what).await;
    }

    fn set(&self, fault: impl Fn(Fault) -> Fault) {
        for ((_, of_case, _), (connections, requests)) in self.cases.iter().zip(&self.ways) {
            match fault(*of_case) {
                Fault::Connections(mode) => connections.set(mode),
                Fault::Requests(answers) => requests.set(answers),
            }
        }
    }

    /// While something is wrong: people want something new, `eu` gets it, and the others read as expected.
    async fn while_it_lasts(&self, what: &str) {
        let mut shop = self.objects.iter().find(|object| object["kind"] == "Project").unwrap().clone();
        shop["spec"]["namespaceMetadata"] = json!({"labels": {"during": "faults"}});
        let asked = Instant::now();
        self.installation.apply(&shop).await.unwrap();
        namespace_becomes(&self.installation, "eu", "team-web", what, |found| {
            found.is_some_and(|found| found["metadata"]["labels"]["during"] == "faults")
        })
        .await;
        not_held_up(&format!("{what}, served"), self.pace, asked.elapsed());
        not_held_up(&format!("{what}, healed"), self.pace, time_to_heal(&self.installation, "eu").await);
        let told = self.cases.iter().filter_map(|(cluster, _, expected)| Some((cluster, (*expected)?)));
        join_all(told.map(|(cluster, expected)| reads(&self.installation, "cluster", cluster, "Ready", expected)))
            .await;
    }

    /// Afterwards: all are the same, as nothing ever happened to `eu`, and then nobody writes.
    async fn afterwards(&self, what: &str) {
        let clusters = self.cases.iter().map(|case| case.0);
        join_all(
            clusters.clone().map(|cluster| reads(&self.installation, "cluster", cluster, "Ready", "True/Connected")),
        )
        .await;
        self.all_are_ready().await;
        // A namespace that was removed is back sooner than what belongs in it.
        let all_of_it = format!("eu has all that it had, after {what}");
        let expected = eventually(&all_of_it, soon(), async || {
            let all = belongings(&self.installation, "eu").await;
            Ok((all.len() == self.count).then_some(all))
        })
        .await
        .unwrap();
        for cluster in clusters {
            eventually(&format!("{cluster} is as eu, after {what}"), soon(), async || {
                Ok((belongings(&self.installation, cluster).await == expected).then_some(()))
            })
            .await
            .unwrap();
        }
        // What was lost meanwhile is not only shown: it is looked after.
        join_all(self.cases.iter().map(|case| time_to_heal(&self.installation, case.0))).await;
        self.all_are_ready().await;
        if self.installation.timers.is_some() {
            quiet(&self.installation, what).await;
        }
    }

    async fn all_are_ready(&self) {
        join_all(self.objects.iter().map(|object| becomes_ready(&self.installation, object))).await;
    }
}

async fn faults_of_connections_pass_without_a_trace() {
    let cases = [
        ("refuses", Fault::Connections(Mode::Refuse), Some("False/DialFailed")),
        ("hangs-in-dial", Fault::Connections(Mode::HangInDial), Some("False/Timeout")),
        ("hangs", Fault::Connections(Mode::Hang), Some("False/Timeout")),
        ("resets", Fault::Connections(Mode::Reset), Some("False/DialFailed")),
        ("is-slow", Fault::Connections(Mode::Slow), Some("True/Connected")),
    ];
    let Some(story) =
        FaultyFleet::start("faults of connections", &cases, Some(Timers::SHORT), &one_of_each_kind()).await
    else {
        return;
    };
    story.passes("faults of connections").await;
}

async fn faults_of_requests_pass_without_a_trace() {
    let cases = [
        ("is-busy", Fault::Requests(Answers::TooManyRequests), Some("False/APIServerNotReady")),
        ("fails", Fault::Requests(Answers::InternalError), Some("False/APIServerNotReady")),
        ("is-late", Fault::Requests(Answers::Late(Duration::from_secs(1))), Some("True/Connected")),
        ("truncates", Fault::Requests(Answers::TruncatedWatches), Some("True/Connected")),
    ];
    let Some(story) = FaultyFleet::start("faults of requests", &cases, Some(Timers::SHORT), &one_of_each_kind()).await
    else {
        return;
    };
    story.passes("faults of requests").await;
}

async fn a_slow_and_a_full_disk_pass_without_a_trace() {
    let nothing = Fault::Connections(Mode::Pass);
    let cases = [("slow", nothing, None), ("full", nothing, None)];
    let Some(mut story) = FaultyFleet::start("disks", &cases, Some(Timers::SHORT), &one_of_each_kind()).await else {
        return;
    };
    let slow = story.installation.cluster_mut("slow").unwrap().slow_etcd().unwrap();
    story.installation.cluster_mut("full").unwrap().exhaust_etcd().await.unwrap();
    story.while_it_lasts("a slow and a full disk").await;
    reads(&story.installation, "project", "shop", "Ready", "False/APIServerError").await;
    drop(slow);
    story.installation.cluster_mut("full").unwrap().relieve_etcd().await.unwrap();
    story.afterwards("a slow and a full disk").await;
}

async fn a_watch_that_falls_silent_is_noticed() {
    falls_silent(Some(Timers::SHORT), soon()).await;
}

async fn a_watch_that_falls_silent_is_noticed_within_five_minutes() {
    // The server ends a watch after 290 s, and drover gives it up 5 s later.
    falls_silent(None, patiently(Duration::from_secs(330))).await;
}

async fn falls_silent(timers: Option<Timers>, limit: Duration) {
    let cases = [("us", Fault::Requests(Answers::SilentWatches), Some("True/Connected"))];
    let Some(story) = FaultyFleet::start("a silent watch", &cases, timers, &one_of_each_kind()).await else { return };
    story.set(|fault| fault);
    story.while_it_lasts("silent watches").await;
    story.set(|_| Fault::Requests(Answers::Pass));
    remove_namespace(story.installation.cluster("us").unwrap(), "team-db").await.unwrap();
    eventually("the namespace is back", limit, async || {
        Ok(downstream_namespace(&story.installation, "us", "team-db").await?.map(drop))
    })
    .await
    .unwrap();
    story.afterwards("silent watches").await;
}
