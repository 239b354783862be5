//! The driver on a paused clock and a server in memory. Time goes on only while everything waits, so minutes cost nothing.

mod deleting_cluster;
mod errors;
mod finalizer;
mod fleet;
mod isolation;
mod optional;
mod status;
mod toy;
mod undecodable;

use std::{
    collections::BTreeMap,
    convert::Infallible,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use drover_crds::{Cluster, condition::READY};
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use kube::{Client, client::Body};
use prometheus_client::registry::Registry;
use serde_json::{Value, json};
use tokio::{sync::watch, time::sleep};
use tokio_util::task::AbortOnDropHandle;

use super::{Context, DriveSettings, Driver};
use crate::{
    Cache, Class, ClusterName, ClusterView, Failure, FleetView, LabelQuery, Link, ObjectKey, Place, StatusCause,
    events::EventSink, metrics::Meters, task::Task, testing::MockServer,
};
use toy::{Stage, Toy, ToyOperator, ToyStatus};

/// A driver at work.
struct Rig {
    server: MockServer,
    stage: Arc<Stage>,
    fleet: watch::Sender<FleetView>,
    driver: Arc<Driver<ToyOperator>>,
    registry: Registry,
    /// The reasons of all events.
    told: Arc<Mutex<Vec<String>>>,
    _running: AbortOnDropHandle<()>,
}

impl Rig {
    /// A driver of no toys and no clusters yet, long after its start: the warm-up is over.
    async fn warm() -> Self {
        let rig = Self::start(MockServer::of::<Toy>(), clusters([]));
        sleep(DriveSettings::default().warm_up).await;
        rig
    }

    /// A driver that starts with these toys and clusters.
    fn start(server: MockServer, fleet: FleetView) -> Self {
        let stage = Stage::new(server.clone());
        let management = Arc::new(Cache::ungated(server.client()));
        let objects = management.informer::<Toy>(&LabelQuery::everything());
        let fleet = watch::Sender::new(fleet);
        let mut registry = Registry::default();
        let told = Arc::default();
        let context = Context {
            management,
            fleet: fleet.subscribe(),
            events: EventSink::start(event_server(&told), "drover-toy"),
            meters: Meters::register(&mut registry),
            settings: DriveSettings::default(),
        };
        let driver = Driver::new(ToyOperator(Arc::clone(&stage)), objects, context);
        let running = AbortOnDropHandle::new(tokio::spawn(Arc::clone(&driver).run()));
        Self { server, stage, fleet, driver, registry, told, _running: running }
    }

    /// Enqueues `toy`, as a whole and at the management cluster.
    fn enqueue(&self, toy: &str) {
        let key = ObjectKey::cluster_scoped(toy);
        self.driver.queue.push(Task::Object(key.clone()));
        self.driver.queue.push(Task::AtPlace(key, Place::Management));
    }

    /// The reasons of the events so far.
    fn told(&self) -> Vec<String> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How many reconciles there were, as the metrics say.
    fn reconciles_of_any_kind(&self) -> u64 {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry).unwrap();
        let counts = text.lines().filter(|line| line.starts_with("drover_reconciles_total"));
        counts.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum()
    }

    fn status(&self, toy: &str) -> Option<ToyStatus> {
        serde_json::from_value(self.server.get(toy)?["status"].clone()).ok()
    }

    /// The reason of the condition `Ready`.
    fn reason(&self, toy: &str) -> Option<String> {
        let conditions = self.status(toy)?.conditions;
        conditions.into_iter().find(|condition| condition.type_ == READY).map(|ready| ready.reason)
    }

    /// What the status says of a place.
    fn says(&self, toy: &str, place: &str) -> Option<String> {
        self.status(toy)?.places.get(place).cloned()
    }

    fn is_ready(&self, toy: &str) -> bool {
        self.reason(toy).as_deref() == Some("Ready")
    }

    /// Waits at most ten minutes, which cost nothing.
    async fn until(&self, what: &str, mut holds: impl FnMut() -> bool) {
        for _ in 0..60_000 {
            if holds() {
                return;
            }
            sleep(Duration::from_millis(10)).await;
        }
        panic!("not after ten minutes: {what}");
    }

    async fn until_ready(&self, toy: &str) {
        self.until(&format!("{toy} is ready"), || self.is_ready(toy)).await;
    }
}

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

/// A server that takes events and keeps their reasons.
fn event_server(told: &Arc<Mutex<Vec<String>>>) -> Client {
    let told = Arc::clone(told);
    let service = tower::service_fn(move |request: Request<Body>| {
        let told = Arc::clone(&told);
        async move {
            let body = request.into_body().collect().await.unwrap().to_bytes();
            let event: Value = serde_json::from_slice(&body).unwrap();
            let reason = event["reason"].as_str().unwrap_or_default().to_owned();
            told.lock().unwrap_or_else(PoisonError::into_inner).push(reason);
            Ok::<_, Infallible>(Response::new(Full::new(body)))
        }
    });
    Client::new(service, "default")
}

/// A toy for the management cluster.
fn plain() -> Value {
    json!({})
}

/// A toy for these clusters.
fn on(clusters: &[&str]) -> Value {
    json!({"clusters": clusters})
}

fn clusters<const COUNT: usize>(views: [ClusterView; COUNT]) -> FleetView {
    let views: BTreeMap<ClusterName, ClusterView> =
        views.into_iter().map(|view| (ClusterName::from(&*view.object), view)).collect();
    FleetView::new(views, BTreeMap::new(), true)
}

fn cluster(name: &str, link: Link) -> ClusterView {
    ClusterView { object: Arc::new(cluster_object(name, false)), link, reports: 0 }
}

fn suspended(name: &str, link: Link) -> ClusterView {
    ClusterView { object: Arc::new(cluster_object(name, true)), link, reports: 0 }
}

/// A cluster that is being deleted.
fn going(name: &str, policy: &str, link: Link) -> ClusterView {
    let mut object = serde_json::to_value(cluster_object(name, false)).unwrap();
    object["metadata"]["deletionTimestamp"] = json!("2026-11-21T10:00:00Z");
    object["spec"]["deletionPolicy"] = json!(policy);
    ClusterView { object: Arc::new(serde_json::from_value(object).unwrap()), link, reports: 0 }
}

fn cluster_object(name: &str, suspend: bool) -> Cluster {
    let object = json!({
        "apiVersion": "drover.dev/v1alpha1", "kind": "Cluster",
        "metadata": {"name": name, "uid": name, "generation": if suspend { 2 } else { 1 }},
        "spec": {"connection": {"local": {}}, "suspend": suspend},
    });
    serde_json::from_value(object).unwrap()
}

/// A link to a server of its own, on which there is nothing.
fn connected() -> Link {
    Link::Connected(Arc::new(Cache::ungated(MockServer::of::<Toy>().client())))
}

fn disconnected() -> Link {
    Link::Disconnected(Failure::new(StatusCause::Unreachable, "refused"))
}
