//! What people ask of an installation, and what they wait for.
//!
//! Names of objects in the management cluster are `NAMESPACE/NAME`, or a name alone in the namespace [`TEAM`].

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::missing_panics_doc,
    reason = "a story is a test, and a test may panic"
)]

use drover_crds::names::DROVER_NAMESPACE;
use serde_json::Value;

use super::objects::{TEAM, condition};
use crate::ControlPlane;
use crate::error::{Error, Result};
use crate::installation::Installation;
use crate::objects::{api, find};
use crate::wait::{becomes, soon};

/// Namespace and name.
pub(super) fn key(name: &str) -> (&str, &str) {
    name.split_once('/').unwrap_or((TEAM, name))
}

/// An object of the management cluster as it is.
pub async fn get(installation: &Installation, kind: &str, name: &str) -> Result<Value> {
    let (namespace, name) = key(name);
    let found = find(installation.management.client(), kind, namespace, name).await?;
    found.ok_or_else(|| Error::NotFound { kind: kind.to_owned(), name: name.to_owned() })
}

/// Waits until a condition of an object of the management cluster reads `status/reason`.
pub async fn reads(installation: &Installation, kind: &str, name: &str, condition_type: &str, expected: &str) {
    let what = format!("{kind} {name}: {condition_type} reads {expected}");
    let is_so = |object: Option<&Value>| {
        object.and_then(|object| condition(object, condition_type)).as_deref() == Some(expected)
    };
    object_becomes(installation, kind, name, &what, is_so).await;
}

/// Waits until the Project is Ready everywhere.
pub async fn converged(installation: &Installation, project: &str) {
    reads(installation, "project", project, "Ready", "True/Ready").await;
}

/// Waits until an object of the management cluster is gone.
pub async fn becomes_gone(installation: &Installation, kind: &str, name: &str) {
    object_becomes(installation, kind, name, &format!("{kind} {name} is gone"), |object| object.is_none()).await;
}

/// Waits until an object of the management cluster is as `wanted` says.
pub async fn object_becomes(
    installation: &Installation,
    kind: &str,
    name: &str,
    what: &str,
    wanted: impl Fn(Option<&Value>) -> bool,
) {
    let (namespace, name) = key(name);
    plane_becomes(installation, &installation.management, (kind, namespace, name), what, wanted).await;
}

/// The condition Ready of a Cluster.
pub async fn ready_condition(installation: &Installation, cluster: &str) -> Value {
    let object = get(installation, "cluster", cluster).await.unwrap();
    let conditions = object["status"]["conditions"].as_array().unwrap();
    conditions.iter().find(|condition| condition["type"] == "Ready").unwrap().clone()
}

/// The message of the first of the problems in the status.
pub async fn problem(installation: &Installation, kind: &str, name: &str) -> String {
    let object = get(installation, kind, name).await.unwrap();
    object["status"]["problems"][0]["message"].as_str().unwrap().to_owned()
}

/// An object of a downstream cluster; none if it is not there.
pub async fn downstream(
    installation: &Installation,
    cluster: &str,
    kind: &str,
    namespace: &str,
    name: &str,
) -> Result<Option<Value>> {
    find(installation.cluster(cluster)?.client(), kind, namespace, name).await
}

/// Waits until an object of a downstream cluster is as `wanted` says.
pub async fn downstream_becomes(
    installation: &Installation,
    cluster: &str,
    kind: &str,
    namespace: &str,
    name: &str,
    what: &str,
    wanted: impl Fn(Option<&Value>) -> bool,
) {
    let plane = installation.cluster(cluster).unwrap();
    plane_becomes(installation, plane, (kind, namespace, name), what, wanted).await;
}

async fn plane_becomes(
    installation: &Installation,
    plane: &ControlPlane,
    (kind, namespace, name): (&str, &str, &str),
    what: &str,
    wanted: impl Fn(Option<&Value>) -> bool,
) {
    let outcome = match api(plane.client(), kind, namespace).await {
        Ok(objects) => becomes(&objects, name, what, soon(), wanted).await,
        Err(error) => Err(error),
    };
    assert!(outcome.is_ok(), "{outcome:?}\ndrover:\n{}", installation.drover_log());
}

/// A namespace of a downstream cluster; none if there is none.
pub async fn downstream_namespace(installation: &Installation, cluster: &str, name: &str) -> Result<Option<Value>> {
    downstream(installation, cluster, "namespace", "", name).await
}

/// Waits until a downstream namespace is as `wanted` says.
pub async fn namespace_becomes(
    installation: &Installation,
    cluster: &str,
    name: &str,
    what: &str,
    wanted: impl Fn(Option<&Value>) -> bool,
) {
    downstream_becomes(installation, cluster, "namespace", "", name, what, wanted).await;
}

/// What the claim in a downstream cluster says; none if nobody claims it.
pub async fn claim(installation: &Installation, cluster: &str) -> Option<Value> {
    let found = downstream(installation, cluster, "configmap", DROVER_NAMESPACE, "drover-claim").await.unwrap();
    found.map(|mut claim| claim["data"].take())
}
