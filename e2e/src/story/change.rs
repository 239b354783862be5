//! What people change in an installation.
//!
//! Names of objects in the management cluster are `NAMESPACE/NAME`, or a name alone in the namespace [`super::TEAM`].

#![expect(clippy::missing_panics_doc, reason = "a story is a test, and a test may panic")]

use serde_json::Value;
use tokio::time::timeout;

use super::ask::{becomes_gone, downstream_becomes, key, object_becomes};
use super::objects::{NAMESPACES, a_project, condition};
use crate::ControlPlane;
use crate::error::{Error, Result};
use crate::installation::Installation;
use crate::objects::{delete_from, key_of, patch_on};
use crate::wait::soon;

/// What Ready reads of an object with which nothing is left to do; the second one is that of a Cluster.
const ALL_IS_WELL: [&str; 2] = ["True/Ready", "True/Connected"];

/// Applies an object of ours, and waits until it is ready and nothing is left to do.
pub async fn ready_with(installation: &Installation, object: &Value) {
    let applied = installation.apply(object).await;
    assert!(applied.is_ok(), "{applied:?}: {object:#}");
    becomes_ready(installation, object).await;
}

/// Waits until an object of ours that was applied is ready and nothing is left to do.
pub async fn becomes_ready(installation: &Installation, object: &Value) {
    let kind = object.get("kind").and_then(Value::as_str).unwrap_or_default();
    let name = key_of(object);
    let is_so = |object: Option<&Value>| object.is_some_and(is_ready);
    object_becomes(installation, kind, &name, &format!("{kind} {name} is ready"), is_so).await;
}

/// Whether an object of ours is ready, by its current spec, and nothing is left to do.
#[must_use]
pub fn is_ready(object: &Value) -> bool {
    condition(object, "Ready").is_some_and(|reading| ALL_IS_WELL.contains(&reading.as_str()))
}

/// Applies the Project `shop`, which has [`NAMESPACES`] on all clusters, and waits until it is ready.
pub async fn with_shop(installation: &Installation) {
    ready_with(installation, &a_project("shop", &NAMESPACES)).await;
}

/// Changes an object of the management cluster: an array is a JSON patch, everything else a merge patch.
pub async fn patch(installation: &Installation, kind: &str, name: &str, change: Value) {
    let (namespace, name) = key(name);
    let what = format!("patch {kind} {name}");
    done(&what, patch_on(&installation.management, kind, namespace, name, change)).await;
}

/// Asks for the deletion of an object of the management cluster.
pub async fn delete(installation: &Installation, kind: &str, name: &str) {
    let (namespace, name) = key(name);
    done(&format!("delete {kind} {name}"), delete_from(&installation.management, kind, namespace, name)).await;
}

/// Deletes an object of the management cluster, and waits until it is gone.
pub async fn deleted(installation: &Installation, kind: &str, name: &str) {
    delete(installation, kind, name).await;
    becomes_gone(installation, kind, name).await;
}

/// The same as [`patch`] in a downstream cluster.
pub async fn patch_downstream(
    installation: &Installation,
    cluster: &str,
    kind: &str,
    namespace: &str,
    name: &str,
    change: Value,
) {
    let outcome = async { patch_on(at(installation, cluster)?, kind, namespace, name, change).await };
    done(&format!("patch {kind} {name} in {cluster}"), outcome).await;
}

/// The same as [`deleted`] in a downstream cluster.
pub async fn deleted_downstream(installation: &Installation, cluster: &str, kind: &str, namespace: &str, name: &str) {
    let what = format!("delete {kind} {name} in {cluster}");
    done(&what, async { delete_from(at(installation, cluster)?, kind, namespace, name).await }).await;
    downstream_becomes(installation, cluster, kind, namespace, name, "it is gone", |object| object.is_none()).await;
}

fn at<'a>(installation: &'a Installation, cluster: &str) -> Result<&'a ControlPlane> {
    installation.cluster(cluster)
}

/// What people do is done soon.
async fn done(what: &str, doing: impl Future<Output = Result<()>>) {
    let late = |_| Error::NeverHappened { what: "an answer".to_owned(), seconds: soon().as_secs() };
    let outcome = timeout(soon(), doing).await.map_err(late).flatten();
    assert!(outcome.is_ok(), "{what}: {outcome:?}");
}
