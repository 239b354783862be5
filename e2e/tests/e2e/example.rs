//! The smallest operator, of `examples/operator`, on real API servers.

use std::sync::Arc;
use std::time::{Duration, Instant};

use drover_cluster::ClusterOperator;
use drover_e2e::installation::{DROVER_USER, Installation, kubectl_on};
use drover_e2e::story::*;
use drover_e2e::wait::{eventually, patiently, soon};
use drover_example::{ViewGrant, ViewGrantOperator};
use drover_fleet::{Fleet, RequiredPermissions};
use drover_project::ProjectOperator;
use drover_runtime::events::EventSink;
use drover_runtime::metrics::Meters;
use drover_runtime::{Cache, Context, DialPolicy, DriveSettings, Driver, LabelQuery, Operator};
use k8s_openapi::api::core::v1::Namespace;
use kube::CustomResourceExt as _;
use kube::api::{Api, ListParams};
use prometheus_client::registry::Registry;
use serde_json::{Value, json};
use tokio_util::task::AbortOnDropHandle;

drover_e2e::tests![
    the_smallest_operator_grants_revokes_and_cleans_up_what_it_left_behind,
    a_grant_is_revoked_within_two_seconds_while_five_hundred_namespaces_are_written,
];

async fn the_smallest_operator_grants_revokes_and_cleans_up_what_it_left_behind() {
    let Some(installation) = story("the smallest operator", &["eu", "us"]).await else { return };
    ready_with(&installation, &a_project("shop", &["team-web"])).await;
    define(&installation).await;
    for cluster in ["eu", "us"] {
        may_bind(&installation, cluster);
    }

    let operator = run(&installation);
    installation.apply(&grant("audit", &json!({"all": {}}))).await.unwrap();
    installation.apply(&grant("temporary", &json!({"all": {}}))).await.unwrap();
    reads(&installation, "viewgrant", "audit", "Ready", "True/Ready").await;
    for (grant, cluster) in [("audit", "eu"), ("audit", "us"), ("temporary", "eu"), ("temporary", "us")] {
        bound(&installation, cluster, grant, true).await;
    }

    // Nothing tells Drover, which is not running.
    drop(operator);
    installation.apply(&grant("audit", &json!({"names": ["eu"]}))).await.unwrap();
    delete(&installation, "viewgrant", "temporary").await;

    let _operator = run(&installation);
    for (grant, cluster, is_bound) in
        [("audit", "us", false), ("temporary", "eu", false), ("temporary", "us", false), ("audit", "eu", true)]
    {
        bound(&installation, cluster, grant, is_bound).await;
    }
    // The namespaces are the Project's, and stay.
    converged(&installation, "shop").await;
}

fn grant(name: &str, clusters: &Value) -> Value {
    json!({
        "apiVersion": "examples.drover.dev/v1", "kind": "ViewGrant", "metadata": {"name": name, "namespace": TEAM},
        "spec": {"clusters": clusters, "namespace": "team-web", "group": "auditors"},
    })
}

async fn define(installation: &Installation) {
    installation.apply(&serde_json::to_value(ViewGrant::crd()).unwrap()).await.unwrap();
    let arguments = ["wait", "--for=condition=Established", "customresourcedefinition/viewgrants.examples.drover.dev"];
    installation.kubectl(&[&arguments[..], &["--timeout=60s"]].concat()).unwrap();
}

/// Nobody ships the rights of an example.
fn may_bind(installation: &Installation, cluster: &str) {
    let account = format!("--user={DROVER_USER}");
    let binding = ["create", "clusterrolebinding", "example", "--clusterrole=cluster-admin", &account];
    kubectl_on(installation.cluster(cluster).unwrap(), &binding).unwrap();
}

async fn bound(installation: &Installation, cluster: &str, grant: &str, is_bound: bool) {
    let name = format!("drover:view:{TEAM}:{grant}");
    let what = if is_bound { "bound" } else { "gone" };
    let is_so = |found: Option<&Value>| found.is_some() == is_bound;
    downstream_becomes(installation, cluster, "rolebinding", "team-web", &name, what, is_so).await;
}

async fn a_grant_is_revoked_within_two_seconds_while_five_hundred_namespaces_are_written() {
    let Some(installation) = prepared("an urgent revocation", &["eu"]).await else { return };
    define(&installation).await;
    may_bind(&installation, "eu");
    let _operators = run_beside_projects(&installation);
    installation.apply(&a_project("shop", &["team-web"])).await.unwrap();
    reads(&installation, "project", "shop", "Ready", "True/Ready").await;
    installation.apply(&grant("audit", &json!({"all": {}}))).await.unwrap();
    bound(&installation, "eu", "audit", true).await;

    let names: Vec<String> = (0..499).map(|number| format!("team-{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).chain(["team-web"]).collect();
    installation.apply(&a_project("shop", &names)).await.unwrap();
    let written = async || namespaces_of_shop(&installation).await;
    let begun = async || Ok((written().await > 20).then_some(()));
    eventually("the namespaces are being written", soon(), begun).await.unwrap();
    delete(&installation, "viewgrant", "audit").await;
    let start = Instant::now();
    bound(&installation, "eu", "audit", false).await;
    let taken = start.elapsed();
    assert!(written().await < 500, "nothing was written any more");
    assert!(taken < patiently(Duration::from_secs(2)), "{taken:?}");
    reads(&installation, "project", "shop", "Ready", "True/Ready").await;
    assert_eq!(written().await, 500);
}

async fn namespaces_of_shop(installation: &Installation) -> usize {
    let namespaces = Api::<Namespace>::all(installation.cluster("eu").unwrap().client());
    namespaces.list_metadata(&ListParams::default().labels("drover.dev/owner-name=shop")).await.unwrap().items.len()
}

/// Runs the operator in this process, beside the drover of the installation, until what this returns is dropped.
fn run(installation: &Installation) -> AbortOnDropHandle<()> {
    let process = Process::new(installation);
    let grants = process.driver(ViewGrantOperator);
    AbortOnDropHandle::new(tokio::spawn(async move {
        tokio::join!(process.fleet.run(), grants.run());
    }))
}

/// Runs the operator, that of Projects and that of Clusters in this process: they share the connections to the clusters.
fn run_beside_projects(installation: &Installation) -> AbortOnDropHandle<()> {
    let process = Process::new(installation);
    let (grants, projects) = (process.driver(ViewGrantOperator), process.driver(ProjectOperator));
    let clusters = process.driver(ClusterOperator::new(process.fleet.clone()));
    AbortOnDropHandle::new(tokio::spawn(async move {
        tokio::join!(process.fleet.run(), grants.run(), projects.run(), clusters.run());
    }))
}

/// What operators in this process share.
struct Process {
    management: Arc<Cache>,
    fleet: Fleet,
    events: EventSink,
    meters: Meters,
}

impl Process {
    fn new(installation: &Installation) -> Self {
        let client = installation.management.client();
        let management = Arc::new(Cache::ungated(client.clone()));
        let required = RequiredPermissions::default();
        let fleet = Fleet::new(
            &management,
            client.clone().into(),
            "drover-system",
            &installation.name,
            required,
            DialPolicy::AllowLocal,
        );
        let meters = Meters::register(&mut Registry::default());
        Self { management, fleet, events: EventSink::start(client, "drover"), meters }
    }

    fn driver<O: Operator>(&self, operator: O) -> Arc<Driver<O>> {
        let context = Context {
            management: Arc::clone(&self.management),
            fleet: self.fleet.view(),
            events: self.events.clone(),
            meters: self.meters.clone(),
            settings: DriveSettings::default(),
        };
        Driver::new(operator, self.management.informer(&LabelQuery::everything()), context)
    }
}
