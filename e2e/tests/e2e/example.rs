//! The smallest operator, of `examples/operator`, on real API servers.

use std::sync::Arc;

use drover_e2e::installation::{DROVER_USER, Installation, kubectl_on};
use drover_e2e::story::*;
use drover_example::{ViewGrant, ViewGrantOperator};
use drover_fleet::{Fleet, RequiredPermissions};
use drover_runtime::events::EventSink;
use drover_runtime::metrics::Meters;
use drover_runtime::{Cache, Context, DriveSettings, Driver, LabelQuery};
use kube::CustomResourceExt as _;
use prometheus_client::registry::Registry;
use serde_json::{Value, json};
use tokio_util::task::AbortOnDropHandle;

drover_e2e::tests![the_smallest_operator_grants_revokes_and_cleans_up_what_it_left_behind,];

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

/// Runs the operator in this process, beside the drover of the installation, until what this returns is dropped.
fn run(installation: &Installation) -> AbortOnDropHandle<()> {
    let client = installation.management.client();
    let management = Arc::new(Cache::ungated(client.clone()));
    let fleet = Fleet::new(
        &management,
        client.clone().into(),
        "drover-system",
        &installation.name,
        RequiredPermissions::default(),
    );
    let context = Context {
        management: Arc::clone(&management),
        fleet: fleet.view(),
        events: EventSink::start(client, "drover"),
        meters: Meters::register(&mut Registry::default()),
        settings: DriveSettings::default(),
    };
    let driver = Driver::new(ViewGrantOperator, management.informer(&LabelQuery::everything()), context);
    AbortOnDropHandle::new(tokio::spawn(async move {
        tokio::join!(fleet.run(), driver.run());
    }))
}
