//! Backups of clusters with an embedded etcd: k3s and RKE2 by the same Job, each from a node that has nothing of the control plane but
//! a member of etcd. Every Cluster says whether it can be backed up, and which snapshots it took by itself.

use std::sync::atomic::{AtomicU32, Ordering};

use drover_backups::LayoutOf;
use drover_e2e::Tools;
use drover_e2e::installation::{Installation, kubectl_on};
use drover_e2e::node::{NodeSettings, ProcessNode, etcd};
use drover_e2e::objects::apply_to;
use drover_e2e::s3::{S3, SECRET_KEY};
use drover_e2e::story::*;
use drover_e2e::wait::{eventually, soon};
use serde_json::{Value, json};

use crate::backups::{IMAGE, a_backup, a_store, keys_of, programs};

drover_e2e::tests![k3s_and_rke2_are_backed_up_by_the_same_job_and_every_cluster_says_what_can_be,];

async fn k3s_and_rke2_are_backed_up_by_the_same_job_and_every_cluster_says_what_can_be() {
    let Some(mut installation) = prepared_restful("layouts", &["eu"]).await else { return };
    installation.environment = vec![("DROVER_ETCD_IMAGE".to_owned(), IMAGE.to_owned())];
    installation.start_drover().await.unwrap();
    let store = S3::start().await.unwrap();
    installation.apply(&keys_of(&store, "store-keys", SECRET_KEY)).await.unwrap();
    installation.apply(&a_store("main", &store, "store-keys")).await.unwrap();
    let tenant = json!({"name": "team", "from": {"names": [TEAM]}, "operations": ["Backup"]});
    patch(&installation, "cluster", "eu", json!({"spec": {"tenants": [tenant]}})).await;
    reads(&installation, "cluster", "eu", "BackupSupported", "Unknown/NotObserved").await;
    for (distribution, layout) in [("k3s", LayoutOf::K3s), ("rke2", LayoutOf::Rke2)] {
        is_backed_up(&installation, &store, distribution, layout).await;
    }
    own_snapshots_are_shown_and_never_touched(&installation).await;
    let none = json!({"spec": {"etcd": {"none": {"reason": "the database team does"}}}});
    patch(&installation, "cluster", "eu", none).await;
    reads(&installation, "cluster", "eu", "BackupSupported", "False/EtcdDeclined").await;
    installation.apply(&a_backup("declined", &json!({}))).await.unwrap();
    reads(&installation, "etcdbackup", "declined", "Ready", "False/NotSupported").await;
}

/// From a node of this distribution, which is alone in the cluster.
async fn is_backed_up(installation: &Installation, store: &S3, distribution: &str, layout: LayoutOf) {
    let tools = Tools::from_environment().unwrap();
    let member = etcd::KubeadmEtcd::with(&tools, etcd::OF_K3S).await.unwrap();
    member.etcdctl(&["put", "/registry/one", distribution]).unwrap();
    let plane = installation.cluster("eu").unwrap();
    let mut settings = NodeSettings::etcd_only(&format!("{distribution}-etcd-1"), distribution);
    settings.images.insert(IMAGE.to_owned(), programs(&tools).await);
    settings.host.insert(layout.layout().certificates.to_owned(), member.certificates());
    settings.addresses.push((etcd::ADDRESS.to_owned(), member.address()));
    let node = ProcessNode::start(plane, settings).await.unwrap();
    is_told(installation, "True", &format!("the etcd of {distribution} on the nodes")).await;
    installation.apply(&a_backup(distribution, &json!({}))).await.unwrap();
    reads(installation, "etcdbackup", distribution, "Ready", "True/Ready").await;
    reads(installation, "etcdbackup", distribution, "Verified", "True/RestoreVerified").await;
    let status = get(installation, "etcdbackup", distribution).await.unwrap()["status"].clone();
    let manifest = std::fs::read_to_string(store.file(status["stores"][0]["manifest"].as_str().unwrap())).unwrap();
    let manifest: Value = serde_json::from_str(&manifest).unwrap();
    assert_eq!(
        (&manifest["cluster"]["distribution"], &status["snapshot"]["totalKeys"]),
        (&json!(distribution), &json!(1))
    );
    drop(node);
    kubectl_on(plane, &["delete", "node", &format!("{distribution}-etcd-1")]).unwrap();
}

async fn own_snapshots_are_shown_and_never_touched(installation: &Installation) {
    let plane = installation.cluster("eu").unwrap();
    let schema = json!({"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}});
    let version = json!({"name": "v1", "served": true, "storage": true, "schema": schema});
    let definition = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "etcdsnapshotfiles.k3s.cattle.io"},
        "spec": {
            "group": "k3s.cattle.io", "scope": "Cluster", "versions": [version],
            "names": {"kind": "ETCDSnapshotFile", "plural": "etcdsnapshotfiles", "singular": "etcdsnapshotfile"},
        },
    });
    apply_to(plane, &definition).await.unwrap();
    let snapshot = |name: &str, time: &str, is_ready: bool| {
        json!({
            "apiVersion": "k3s.cattle.io/v1", "kind": "ETCDSnapshotFile", "metadata": {"name": name},
            "spec": {"snapshotName": name, "nodeName": "server-1", "location": format!("file:///var/lib/{name}")},
            "status": {"readyToUse": is_ready, "size": "5Mi", "creationTime": time},
        })
    };
    let all = [
        snapshot("old", "2026-01-01T00:00:00Z", true),
        snapshot("new", "2026-01-02T00:00:00Z", true),
        snapshot("bad", "2026-01-03T00:00:00Z", false),
    ];
    for one in &all {
        let applied = async || Ok(apply_to(plane, one).await.ok());
        eventually("the kind is served", soon(), applied).await.unwrap();
    }
    let node = json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": {"name": "server-1", "labels": {"node.kubernetes.io/instance-type": "k3s"}},
    });
    apply_to(plane, &node).await.unwrap();
    let expected = json!({
        "ready": 2, "failed": 1,
        "newest": {"name": "new", "node": "server-1", "bytes": 5_242_880, "takenAt": "2026-01-02T00:00:00Z"},
    });
    let are_shown = |found: Option<&Value>| found.is_some_and(|found| found["status"]["ownSnapshots"] == expected);
    is_told(installation, "False", "no node has the label node-role.kubernetes.io/etcd").await;
    object_becomes(installation, "cluster", "eu", "the snapshots of the cluster are shown", are_shown).await;
}

/// That the Cluster says so of its backups. Nodes are looked at every 30 s only, unless the Cluster changes.
async fn is_told(installation: &Installation, status: &str, message: &str) {
    let what = format!("the Cluster says of its backups: {message}");
    let asked = AtomicU32::new(0);
    let is_told = async || {
        let again = asked.fetch_add(1, Ordering::Relaxed).to_string();
        let again = json!({"metadata": {"annotations": {"drover.dev/reconcile-at": again}}});
        patch(installation, "cluster", "eu", again).await;
        let found = get(installation, "cluster", "eu").await.ok()?;
        let conditions = found["status"]["conditions"].as_array()?.iter();
        let mut supported = conditions.filter(|condition| condition["type"] == "BackupSupported");
        supported.any(|one| one["status"] == status && one["message"].as_str().unwrap().contains(message)).then_some(())
    };
    eventually(&what, soon(), async || Ok(is_told().await)).await.unwrap();
}
