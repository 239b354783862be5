//! Snapshots of etcd that k3s and RKE2 take by themselves, as far as the status of a Cluster reports them. They are the cluster's: Drover
//! reads them and nothing else.

use std::{borrow::Cow, sync::Arc};

use drover_crds::{OwnSnapshot, OwnSnapshots};
use drover_runtime::{
    error::legible,
    quantity::{Amount, Form},
};
use k8s_openapi::{
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time},
    jiff::Timestamp,
};
use kube::{Resource, core::ClusterResourceScope};
use serde::Deserialize;

/// Group of the kind.
pub(crate) const GROUP: &str = "k3s.cattle.io";
/// Plural of the kind.
pub(crate) const PLURAL: &str = "etcdsnapshotfiles";
/// Longest name that is reported, in bytes.
const LONGEST_NAME: usize = 253;
/// What the location of a snapshot in a bucket begins with.
const IN_A_BUCKET: &str = "s3://";

/// The fields of an `ETCDSnapshotFile` that are kept.
#[derive(Clone, Debug, Deserialize)]
#[serde(from = "Whole")]
pub struct SlimSnapshot {
    metadata: ObjectMeta,
    name: String,
    node: String,
    bytes: i64,
    taken_at: Option<Timestamp>,
    is_ready: bool,
}

/// An `ETCDSnapshotFile` while it is read.
#[derive(Deserialize)]
struct Whole {
    metadata: Meta,
    #[serde(default)]
    spec: Spec,
    #[serde(default)]
    status: Status,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Meta {
    name: Option<String>,
    uid: Option<String>,
    resource_version: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Spec {
    snapshot_name: String,
    node_name: String,
    location: String,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Status {
    ready_to_use: bool,
    size: Option<Cow<'static, str>>,
    creation_time: Option<Time>,
}

impl From<Whole> for SlimSnapshot {
    fn from(Whole { metadata, spec, status }: Whole) -> Self {
        let metadata = ObjectMeta {
            name: metadata.name,
            uid: metadata.uid,
            resource_version: metadata.resource_version,
            ..ObjectMeta::default()
        };
        let node = if spec.location.starts_with(IN_A_BUCKET) { "s3" } else { &spec.node_name };
        let amount = status.size.as_deref().and_then(Amount::parse);
        Self {
            metadata,
            name: legible(&spec.snapshot_name, LONGEST_NAME),
            node: legible(node, LONGEST_NAME),
            bytes: amount.and_then(|amount| amount.print(Form::Decimal).0.parse().ok()).unwrap_or(0).max(0),
            taken_at: status.creation_time.map(|time| time.0),
            is_ready: status.ready_to_use,
        }
    }
}

/// What is told of all of them.
pub(crate) fn summarised(all: &[Arc<SlimSnapshot>]) -> OwnSnapshots {
    let ready = || all.iter().filter(|snapshot| snapshot.is_ready);
    let newest = ready().filter_map(|snapshot| Some((snapshot.taken_at?, &snapshot.name, snapshot))).max_by_key(
        // The name decides between equal ones, so that the answer is always the same.
        |(taken_at, name, _)| (*taken_at, *name),
    );
    let newest = newest.map(|(taken_at, name, snapshot)| OwnSnapshot {
        name: name.clone(),
        node: snapshot.node.clone(),
        bytes: snapshot.bytes,
        taken_at: Time(taken_at),
    });
    let count = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
    OwnSnapshots { ready: count(ready().count()), failed: count(all.len() - ready().count()), newest }
}

impl Resource for SlimSnapshot {
    type DynamicType = ();
    type Scope = ClusterResourceScope;

    fn kind((): &()) -> Cow<'_, str> {
        "ETCDSnapshotFile".into()
    }

    fn group((): &()) -> Cow<'_, str> {
        GROUP.into()
    }

    fn version((): &()) -> Cow<'_, str> {
        "v1".into()
    }

    fn plural((): &()) -> Cow<'_, str> {
        PLURAL.into()
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn snapshot(name: &str, location: &str, status: &Value) -> Arc<SlimSnapshot> {
        let whole = json!({
            "apiVersion": "k3s.cattle.io/v1", "kind": "ETCDSnapshotFile", "metadata": {"name": name, "uid": name},
            "spec": {"snapshotName": name, "nodeName": "server-1", "location": location, "metadata": {"a": "b"}},
            "status": status,
        });
        Arc::new(serde_json::from_value(whole).unwrap())
    }

    #[test]
    fn the_newest_one_that_can_be_used_is_told() {
        let ready = |time: &str, size: &str| json!({"readyToUse": true, "size": size, "creationTime": time});
        let all = [
            snapshot("a", "file:///var/lib/a", &ready("2026-01-01T00:00:00Z", "5Mi")),
            snapshot("b", "s3://bucket/b", &ready("2026-01-02T00:00:00Z", "5242912")),
            snapshot(
                "c",
                "file:///var/lib/c",
                &json!({"readyToUse": false, "error": {"message": "x"}, "creationTime": "2026-01-03T00:00:00Z"}),
            ),
            snapshot("d", "file:///var/lib/d", &json!({})),
        ];
        let told = serde_json::to_value(summarised(&all)).unwrap();
        let newest = json!({"name": "b", "node": "s3", "bytes": 5_242_912, "takenAt": "2026-01-02T00:00:00Z"});
        assert_eq!(told, json!({"ready": 2, "failed": 2, "newest": newest}));
        assert_eq!(summarised(&[]), OwnSnapshots::default());
        assert_eq!(summarised(&all[3..]).newest, None);
    }

    #[test]
    fn what_a_cluster_says_is_filtered() {
        let hostile = snapshot("x\u{1b}[31m", "", &json!({"readyToUse": true, "size": "-9", "creationTime": null}));
        assert!(!hostile.name.contains('\u{1b}'));
        assert_eq!((hostile.bytes, hostile.taken_at), (0, None));
    }
}
