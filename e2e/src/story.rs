//! What stories share: one installation each, what people apply, and ways to ask what a person would ask.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::missing_panics_doc,
    reason = "a story is a test, and a test may panic"
)]

mod objects;
mod rest;
mod writes;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{DeleteParams, PostParams};
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, ResourceExt as _};
use serde_json::{Value, json};
use tokio_util::task::AbortOnDropHandle;

use crate::error::Result;
use crate::http_proxy::{HttpProxy, WriteTrap};
pub use crate::installation::Timers;
use crate::installation::{End, Installation, administrator_token, charts};
use crate::objects::{api, find};
use crate::proxy::Proxy;
use crate::wait::{becomes, eventually, soon};
use crate::{Components, ControlPlane, Program, require_or_skip};
pub use objects::{PROBE_SECONDS, cluster, condition, namespace, project};
pub use rest::{longer_than_the_lease, quiet, two_periods, unmoved_since};
pub use writes::{Marks, marks, requests_since, writes_since};

/// Starts an installation with the downstream `clusters`, imported and open to the namespace `team`, and runs drover.
/// None when the programs are missing and may be.
pub async fn story(test: &str, clusters: &[&str]) -> Option<Installation> {
    let mut installation = prepared(test, clusters).await?;
    installation.start_drover().await.unwrap();
    Some(installation)
}

/// The same with short clocks, so that rest can be seen: see [`quiet`].
pub async fn restful_story(test: &str, clusters: &[&str]) -> Option<Installation> {
    let mut installation = prepared(test, clusters).await?;
    installation.timers = Some(Timers::SHORT);
    installation.start_drover().await.unwrap();
    Some(installation)
}

/// The same, before drover runs.
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
    installation.apply(&namespace("team").to_string()).await.unwrap();
    for name in clusters {
        installation.store_kubeconfig(name).await.unwrap();
        installation.apply(&cluster(name).to_string()).await.unwrap();
    }
    Some(installation)
}

/// One of our objects as it is.
pub async fn get(installation: &Installation, kind: &str, name: &str) -> Result<Value> {
    let found = find(installation.management.client(), kind, "team", name).await?;
    found.ok_or_else(|| crate::Error::NotFound { kind: kind.to_owned(), name: name.to_owned() })
}

/// Waits until a condition of one of our objects reads `status/reason`.
pub async fn reads(installation: &Installation, kind: &str, name: &str, condition_type: &str, expected: &str) {
    let objects = api(installation.management.client(), kind, "team").unwrap();
    let what = format!("{kind} {name}: {condition_type} reads {expected}");
    let outcome = becomes(&objects, name, &what, soon(), |object| {
        object.and_then(|object| condition(object, condition_type)).as_deref() == Some(expected)
    })
    .await;
    assert!(outcome.is_ok(), "{outcome:?}\ndrover:\n{}", installation.drover_log());
}

/// The condition Ready of a Cluster.
pub async fn ready(installation: &Installation, cluster: &str) -> Value {
    let object = get(installation, "cluster", cluster).await.unwrap();
    let conditions = object["status"]["conditions"].as_array().unwrap();
    conditions.iter().find(|condition| condition["type"] == "Ready").unwrap().clone()
}

/// Waits until the Project is Ready everywhere.
pub async fn converged(installation: &Installation, project: &str) {
    reads(installation, "project", project, "Ready", "True/Ready").await;
}

/// Waits until one of our objects is gone.
pub async fn is_gone(installation: &Installation, kind: &str, name: &str) {
    let objects = api(installation.management.client(), kind, "team").unwrap();
    let outcome = becomes(&objects, name, &format!("{kind} {name} is gone"), soon(), |object| object.is_none()).await;
    assert!(outcome.is_ok(), "{outcome:?}\ndrover:\n{}", installation.drover_log());
}

/// A namespace of a downstream cluster; none if there is none.
pub async fn downstream_namespace(installation: &Installation, cluster: &str, name: &str) -> Result<Option<Value>> {
    find(installation.cluster(cluster)?.client(), "namespace", "", name).await
}

/// Waits until a downstream namespace is as `wanted` says.
pub async fn namespace_becomes(
    installation: &Installation,
    cluster: &str,
    name: &str,
    what: &str,
    wanted: impl Fn(Option<&Value>) -> bool,
) {
    let namespaces = api(installation.cluster(cluster).unwrap().client(), "namespace", "").unwrap();
    let outcome = becomes(&namespaces, name, what, soon(), wanted).await;
    assert!(outcome.is_ok(), "{outcome:?}\ndrover:\n{}", installation.drover_log());
}

/// Deletes a namespace, and does for it what the namespace controller does, but at once: that one waits for five seconds first.
pub async fn remove_namespace(plane: &ControlPlane, name: &str) -> Result<()> {
    let namespaces: Api<Namespace> = Api::all(plane.client());
    namespaces.delete(name, &DeleteParams::default()).await?;
    finalize(&namespaces, name).await
}

/// What is in the namespace stays without it.
async fn finalize(namespaces: &Api<Namespace>, name: &str) -> Result<()> {
    // One that was made since then, of the same name, is nobody's to finalize.
    let found = namespaces.get_opt(name).await?.filter(|namespace| namespace.metadata.deletion_timestamp.is_some());
    let Some(mut namespace) = found else { return Ok(()) };
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

/// Deletes a namespace and returns how long drover takes to bring it back.
pub async fn time_to_heal(installation: &Installation, cluster: &str) -> Duration {
    let uid = |namespace: &Value| namespace["metadata"]["uid"].clone();
    let old = uid(&downstream_namespace(installation, cluster, "team-web").await.unwrap().unwrap());
    remove_namespace(installation.cluster(cluster).unwrap(), "team-web").await.unwrap();
    let gone = Instant::now();
    namespace_becomes(installation, cluster, "team-web", "the namespace is back", |namespace| {
        namespace.is_some_and(|namespace| uid(namespace) != old)
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
    let found = find(installation.management.client(), "lease", "drover-system", "drover").await?;
    let mut found = found.ok_or_else(|| crate::Error::NotFound { kind: "Lease".into(), name: "drover".into() })?;
    Ok(found["spec"].take())
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

/// All namespaces of a downstream cluster with labels and annotations, without what the server counts.
pub async fn picture(installation: &Installation, cluster: &str) -> Value {
    let namespaces = api(installation.cluster(cluster).unwrap().client(), "namespace", "").unwrap();
    let all = namespaces.list(&kube::api::ListParams::default()).await.unwrap();
    let of =
        |item: &kube::api::DynamicObject| json!([item.metadata.name, item.metadata.labels, item.metadata.annotations]);
    all.items.iter().map(of).collect()
}

/// Puts a proxy that sees every request in front of the downstream cluster `name`, and a proxy for connections before that;
/// drover goes that way as soon as it reads the Secret.
pub async fn proxied(installation: &Installation, name: &str, trap: Arc<WriteTrap>) -> (Proxy, HttpProxy) {
    let plane = installation.cluster(name).unwrap();
    let requests = HttpProxy::start(plane, trap).await.unwrap();
    let connections = Proxy::start(requests.port()).await.unwrap();
    let requests = requests.behind(&connections);
    let token = administrator_token(plane, "drover-system", "drover").await.unwrap();
    installation.store_secret(name, &requests.kubeconfig(&token)).await.unwrap();
    (connections, requests)
}
