//! What stories share: one installation each, what people apply, and ways to ask what a person would ask.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::missing_panics_doc,
    reason = "a story is a test, and a test may panic"
)]

mod apps;
mod ask;
mod change;
mod may;
mod objects;
mod rest;
mod writes;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use drover_crds::names::{ANNOTATION_APPLIED, DROVER_NAMESPACE};
use futures::StreamExt as _;
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{DeleteParams, ListParams, PostParams, TypeMeta};
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, ResourceExt as _};
use serde_json::{Value, json};
use tokio_util::task::AbortOnDropHandle;

use crate::error::Result;
use crate::http_proxy::{HttpProxy, WriteTrap};
pub use crate::installation::Timers;
use crate::installation::{End, Installation, charts, downstream_token};
use crate::objects::{api, empty, owned};
use crate::proxy::Proxy;
use crate::wait::{as_json, eventually, soon};
use crate::{Components, ControlPlane, Program, require_or_skip};
pub use apps::{a_deployer, a_packaged_chart, an_app, digest};
pub use ask::{
    becomes_gone, claim, converged, downstream, downstream_becomes, downstream_namespace, get, namespace_becomes,
    object_becomes, problem, reads, ready_condition,
};
pub use change::{
    becomes_ready, delete, deleted, deleted_downstream, is_ready, patch, patch_downstream, ready_with, with_shop,
};
pub use may::{allows, may};
pub use objects::{
    NAMESPACES, PROBE_SECONDS, TEAM, a_cluster, a_namespace, a_project, a_secret_of_shop, condition, one_of_each_kind,
};
pub use rest::{longer_than_the_lease, quiet, two_periods, unmoved_since};
pub use writes::{Marks, marks, requests_since, writes_by, writes_since};

/// Starts an installation with the downstream `clusters`, imported and open to the namespace `team`, and runs drover.
/// None when the programs are missing and may be.
pub async fn story(test: &str, clusters: &[&str]) -> Option<Installation> {
    let mut installation = prepared(test, clusters).await?;
    installation.start_drover().await.unwrap();
    Some(installation)
}

/// The same with short clocks, so that rest can be seen: see [`quiet`].
pub async fn restful_story(test: &str, clusters: &[&str]) -> Option<Installation> {
    let mut installation = prepared_restful(test, clusters).await?;
    installation.start_drover().await.unwrap();
    Some(installation)
}

/// The same with short clocks, before drover runs.
pub async fn prepared_restful(test: &str, clusters: &[&str]) -> Option<Installation> {
    let mut installation = prepared(test, clusters).await?;
    installation.timers = Some(Timers::SHORT);
    Some(installation)
}

/// The same with the clocks that drover has by default, before drover runs.
pub async fn prepared(test: &str, clusters: &[&str]) -> Option<Installation> {
    prepared_from(&charts(), test, clusters).await
}

/// The same with the charts of another folder.
pub async fn prepared_from(charts: &Path, test: &str, clusters: &[&str]) -> Option<Installation> {
    let mut programs = Components::WithControllerManager.programs();
    programs.extend([Program::Kubectl, Program::Helm]);
    if !require_or_skip(test, &programs).await.unwrap() {
        return None;
    }
    let installation = Installation::take(charts, clusters).await.unwrap();
    installation.apply(&a_namespace(TEAM)).await.unwrap();
    installation.apply(&a_secret_of_shop()).await.unwrap();
    for name in clusters {
        installation.store_kubeconfig(name).await.unwrap();
        installation.apply(&a_cluster(name)).await.unwrap();
    }
    Some(installation)
}

/// Deletes a namespace, and does for it what the namespace controller does, but at once: that one waits for five seconds first.
pub async fn remove_namespace(plane: &ControlPlane, name: &str) -> Result<()> {
    let namespaces: Api<Namespace> = Api::all(plane.client());
    namespaces.delete(name, &DeleteParams::default()).await?;
    finalize(&namespaces, name).await
}

async fn finalize(namespaces: &Api<Namespace>, name: &str) -> Result<()> {
    // One that was made since then, of the same name, is nobody's to finalize.
    let is_going = |namespace: &Namespace| namespace.metadata.deletion_timestamp.is_some();
    if !namespaces.get_opt(name).await?.is_some_and(|namespace| is_going(&namespace)) {
        return Ok(());
    }
    empty(&namespaces.clone().into_client(), name).await?;
    let Some(mut namespace) = namespaces.get_opt(name).await?.filter(is_going) else { return Ok(()) };
    namespace.spec.get_or_insert_default().finalizers = None;
    match namespaces.replace_subresource("finalize", name, &PostParams::default(), &namespace).await {
        // Somebody was faster, or it is another one of the same name.
        Err(kube::Error::Api(status)) if [404, 409].contains(&status.code) => Ok(()),
        outcome => outcome.map(drop).map_err(Into::into),
    }
}

/// Finalizes every namespace of a control plane that is being deleted at once, until this is dropped.
pub fn hastened(plane: &ControlPlane) -> AbortOnDropHandle<()> {
    let namespaces: Api<Namespace> = Api::all(plane.client());
    AbortOnDropHandle::new(tokio::spawn(async move {
        let watched = watcher(namespaces.clone(), watcher::Config::default()).default_backoff().applied_objects();
        watched
            .for_each(|namespace| async {
                if let Ok(namespace) = namespace
                    && namespace.metadata.deletion_timestamp.is_some()
                    && namespace.metadata.finalizers.is_none()
                {
                    // If it fails, the namespace controller does it later.
                    let _ = finalize(&namespaces, &namespace.name_any()).await;
                }
            })
            .await;
    }))
}

/// Deletes a namespace and returns how long drover takes to bring it back, with all that it had: it is created first, and then
/// filled.
pub async fn time_to_heal(installation: &Installation, cluster: &str) -> Duration {
    let uid = |namespace: &Value| namespace["metadata"]["uid"].clone();
    let old = uid(&downstream_namespace(installation, cluster, "team-web").await.unwrap().unwrap());
    remove_namespace(installation.cluster(cluster).unwrap(), "team-web").await.unwrap();
    let gone = Instant::now();
    let is_filled = |namespace: &Value| namespace["metadata"]["annotations"][ANNOTATION_APPLIED].is_string();
    namespace_becomes(installation, cluster, "team-web", "the namespace is back", |namespace| {
        namespace.is_some_and(|namespace| uid(namespace) != old && is_filled(namespace))
    })
    .await;
    gone.elapsed()
}

/// Nobody was held up: something took about as long as the same did before, as far as two busy cores let that be seen.
pub fn not_held_up(what: &str, before: Duration, now: Duration) {
    const NOISE: Duration = Duration::from_secs(1);
    println!("{what}: {now:?}, and without it {before:?}");
    assert!(now <= 4 * before.max(NOISE), "held up by {what}: {before:?} before, {now:?} now");
}

/// What the leader Lease says.
pub async fn lease(installation: &Installation) -> Result<Value> {
    Ok(get(installation, "lease", "drover-system/drover").await?["spec"].take())
}

/// Who leads, and since when: the same as long as nobody else led meanwhile.
pub async fn term(installation: &Installation) -> [Value; 3] {
    let mut lease = lease(installation).await.unwrap();
    ["holderIdentity", "acquireTime", "leaseTransitions"].map(|field| lease[field].take())
}

/// Waits until the log of a `drover` has these words.
pub async fn says(installation: &mut Installation, replica: usize, words: &str) {
    let outcome = eventually(words, soon(), async || {
        let replica = installation.replica(replica)?;
        replica.check()?;
        Ok(std::fs::read_to_string(replica.log()).unwrap().contains(words).then_some(()))
    })
    .await;
    assert!(outcome.is_ok(), "{outcome:?}\ndrover:\n{}", installation.drover_log());
}

/// Ends the newest `drover` and starts another one.
pub async fn restart_drover(installation: &mut Installation, how: End) {
    installation.stop_drover(how).await.unwrap();
    installation.start_drover().await.unwrap();
}

/// Ends the newest `drover`, if one runs, and starts it again under the same identity, as a pod's container comes back: it need
/// not wait for its own Lease.
pub async fn restart_as_itself(installation: &mut Installation, how: End) {
    installation.stop_drover(how).await.unwrap();
    installation.start_drover_as("drover-again").await.unwrap();
}

/// What there is in a downstream cluster: all namespaces, and whatever else belongs to an object of Drover, of every kind that is
/// served there; without what the server counts.
pub async fn picture(installation: &Installation, cluster: &str) -> Value {
    let namespaces = api(installation.cluster(cluster).unwrap().client(), "namespace", "").await.unwrap();
    let mut all = namespaces.list(&ListParams::default()).await.unwrap().items;
    for item in &mut all {
        item.types = Some(TypeMeta::resource::<Namespace>());
    }
    let all: Vec<Value> = all.iter().map(as_json).collect();
    let others = belongings(installation, cluster).await.into_iter().filter(|item| item[0] != "Namespace");
    all.iter().map(pictured).chain(others).collect()
}

/// Of [`picture`] only what belongs to an object of Drover, each as kind, namespace, name, labels, annotations and content.
pub async fn belongings(installation: &Installation, cluster: &str) -> Vec<Value> {
    owned(installation.cluster(cluster).unwrap()).await.unwrap().iter().map(pictured).collect()
}

/// Everything else of a namespace is the server's. What a cluster has for itself names it, and is the same for all.
fn pictured(object: &Value) -> Value {
    let mut object = object.clone();
    if object["metadata"]["labels"]["drover.dev/owner-kind"] == "Cluster" {
        object["metadata"]["labels"]["drover.dev/owner-name"] = "itself".into();
    }
    let meta = &object["metadata"];
    let mut content = object.as_object().cloned().unwrap_or_default();
    let is_left_out =
        |field: &str| object["kind"] == "Namespace" || ["apiVersion", "kind", "metadata", "status"].contains(&field);
    content.retain(|field, _| !is_left_out(field));
    json!([object["kind"], meta["namespace"], meta["name"], meta["labels"], meta["annotations"], content])
}

/// Puts a proxy that sees every request in front of the downstream cluster `name`, and a proxy for connections before that;
/// drover goes that way as soon as it reads the Secret.
pub async fn proxied(installation: &Installation, name: &str, trap: Arc<WriteTrap>) -> (Proxy, HttpProxy) {
    let plane = installation.cluster(name).unwrap();
    let requests = HttpProxy::start(plane, trap).await.unwrap();
    let connections = Proxy::start(requests.port()).await.unwrap();
    let requests = requests.behind(&connections);
    let token = downstream_token(plane, DROVER_NAMESPACE, "drover").await.unwrap();
    installation.store_secret(name, &requests.kubeconfig(&token)).await.unwrap();
    (connections, requests)
}
