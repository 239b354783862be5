//! What the stories share: one installation each, and ways to ask what a person would ask.
#![allow(dead_code, unreachable_pub, reason = "every test file uses a part of it")]

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub use drover_e2e::story::*;

use drover_e2e::http_proxy::{HttpProxy, WriteTrap};
use drover_e2e::installation::{End, Installation, Plan, administrator_token, charts, eventually, kubectl_on};
use drover_e2e::proxy::Proxy;
use drover_e2e::{Components, Program, Result, require_or_skip};
use serde_json::{Value, json};

/// Bound of everything that should happen soon; a loaded machine needs more than the second that it takes.
pub const SOON: Duration = Duration::from_secs(40);

/// Starts an installation with the downstream `clusters`, imported and open to the namespace `team`, and runs drover.
/// None when the programs are missing and may be.
pub async fn story(test: &str, clusters: &[&str]) -> Option<Installation> {
    let installation = prepared(test, clusters).await?;
    let mut installation = installation;
    installation.start_drover().unwrap();
    Some(installation)
}

/// The same, before drover runs.
pub async fn prepared(test: &str, clusters: &[&str]) -> Option<Installation> {
    prepared_from(&charts(), test, clusters).await
}

/// The same with the charts of another folder.
pub async fn prepared_from(charts: &Path, test: &str, clusters: &[&str]) -> Option<Installation> {
    let components = Components::WithControllerManager;
    let mut programs = components.programs();
    programs.extend([Program::Kubectl, Program::Helm]);
    if !require_or_skip(test, &programs).await.unwrap() {
        return None;
    }
    let clusters = clusters.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let plan = Plan { clusters: clusters.clone(), components, nodes: 0, audit: true, shared_etcd: false };
    let installation = Installation::start_from(charts, &plan).await.unwrap();
    installation.apply(&namespace("team").to_string()).unwrap();
    for name in &clusters {
        installation.store_kubeconfig(name).unwrap();
        installation.apply(&cluster(name).to_string()).unwrap();
    }
    Some(installation)
}

/// One of our objects as it is.
pub fn get(installation: &Installation, kind: &str, name: &str) -> Result<Value> {
    let text = installation.kubectl(&["get", kind, name, "--namespace=team", "--output=json"])?;
    Ok(serde_json::from_str(&text).unwrap())
}

/// Waits until a condition of one of our objects reads `status/reason`.
pub async fn reads(installation: &Installation, kind: &str, name: &str, condition_type: &str, expected: &str) {
    let mut last = None;
    let outcome = eventually("", SOON, async || {
        let object = get(installation, kind, name)?;
        let found = condition(&object, condition_type);
        let reached = found.as_deref() == Some(expected);
        last = Some(object);
        Ok(reached.then_some(()))
    })
    .await;
    assert!(
        outcome.is_ok(),
        "{kind} {name}: {condition_type} never read {expected}; status: {:#}\ndrover:\n{}",
        last.and_then(|object| object.get("status").cloned()).unwrap_or_default(),
        installation.drover_log()
    );
}

/// The condition Ready of a Cluster.
pub fn ready(installation: &Installation, cluster: &str) -> Value {
    let object = get(installation, "cluster", cluster).unwrap();
    let conditions = object["status"]["conditions"].as_array().unwrap();
    conditions.iter().find(|condition| condition["type"] == "Ready").unwrap().clone()
}

/// Waits until the Project is Ready everywhere.
pub async fn converged(installation: &Installation, project: &str) {
    reads(installation, "project", project, "Ready", "True/Ready").await;
}

/// A namespace of a downstream cluster; none if there is none.
pub fn downstream_namespace(installation: &Installation, cluster: &str, name: &str) -> Result<Option<Value>> {
    let plane = installation.cluster(cluster)?;
    let text = kubectl_on(plane, &["get", "namespace", name, "--ignore-not-found", "--output=json"])?;
    Ok((!text.trim().is_empty()).then(|| serde_json::from_str(&text).unwrap()))
}

/// Waits until a downstream namespace is as `wanted` says.
pub async fn namespace_becomes(
    installation: &Installation,
    cluster: &str,
    name: &str,
    what: &str,
    wanted: impl Fn(Option<&Value>) -> bool,
) {
    let outcome = eventually(what, SOON, async || {
        let namespace = downstream_namespace(installation, cluster, name)?;
        Ok(wanted(namespace.as_ref()).then_some(()))
    })
    .await;
    assert!(outcome.is_ok(), "{outcome:?}\ndrover:\n{}", installation.drover_log());
}

/// Deletes a namespace and returns how long drover takes to bring it back.
pub async fn time_to_heal(installation: &Installation, cluster: &str) -> Duration {
    let plane = installation.cluster(cluster).unwrap();
    let uid = |namespace: &serde_json::Value| namespace["metadata"]["uid"].clone();
    let old = uid(&downstream_namespace(installation, cluster, "team-web").unwrap().unwrap());
    kubectl_on(plane, &["delete", "namespace", "team-web"]).unwrap();
    let gone = Instant::now();
    namespace_becomes(installation, cluster, "team-web", "the namespace is back", |namespace| {
        namespace.is_some_and(|namespace| uid(namespace) != old)
    })
    .await;
    gone.elapsed()
}

/// Nothing happens for a while: the one place where a test has to wait for nothing.
pub async fn rest() {
    tokio::time::sleep(Duration::from_secs(8)).await;
}

/// Once it is at rest, drover writes nothing but the leader Lease.
pub async fn quiet(installation: &Installation, after: &str) {
    rest().await;
    let quiet = marks(installation).unwrap();
    rest().await;
    assert_eq!(writes_since(installation, &quiet).unwrap(), Vec::<String>::new(), "after {after}");
}

/// What the leader Lease says.
pub fn lease(installation: &Installation) -> Result<Value> {
    let text = installation.kubectl(&["get", "lease", "drover", "--namespace=drover-system", "--output=json"])?;
    Ok(serde_json::from_str::<Value>(&text).unwrap()["spec"].take())
}

/// Who leads, and since when: the same as long as nobody else led meanwhile.
pub fn term(installation: &Installation) -> [Value; 3] {
    let mut lease = lease(installation).unwrap();
    ["holderIdentity", "acquireTime", "leaseTransitions"].map(|field| lease[field].take())
}

/// Waits until the log of a `drover` has these words.
pub async fn says(installation: &mut Installation, replica: usize, words: &str) {
    let outcome = eventually(words, SOON, async || {
        let replica = installation.replica(replica)?;
        replica.check()?;
        Ok(std::fs::read_to_string(replica.log()).unwrap().contains(words).then_some(()))
    })
    .await;
    assert!(outcome.is_ok(), "{outcome:?}\ndrover:\n{}", installation.drover_log());
}

pub async fn restart_drover(installation: &mut Installation, how: End) {
    installation.stop_drover(how).await.unwrap();
    installation.start_drover().unwrap();
}

/// All namespaces of a downstream cluster with labels and annotations, without what the server counts.
pub fn picture(installation: &Installation, cluster: &str) -> Value {
    let plane = installation.cluster(cluster).unwrap();
    let all: Value =
        serde_json::from_str(&kubectl_on(plane, &["get", "namespaces", "--output=json"]).unwrap()).unwrap();
    let items = all["items"].as_array().unwrap().iter();
    items
        .map(|item| json!([item["metadata"]["name"], item["metadata"]["labels"], item["metadata"]["annotations"]]))
        .collect()
}

/// Puts a proxy that sees every request in front of the downstream cluster `name`, and a proxy for connections before that;
/// drover goes that way as soon as it reads the Secret.
pub async fn proxied(installation: &Installation, name: &str, trap: Arc<WriteTrap>) -> (Proxy, HttpProxy) {
    let plane = installation.cluster(name).unwrap();
    let requests = HttpProxy::start(plane, trap).await.unwrap();
    let connections = Proxy::start(requests.port()).await.unwrap();
    let requests = requests.behind(&connections);
    let token = administrator_token(plane, "drover-system", "drover").unwrap();
    installation.store_secret(name, &requests.kubeconfig(&token)).unwrap();
    (connections, requests)
}
