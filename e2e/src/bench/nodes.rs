//! One cluster with many nodes.

use futures::{StreamExt, TryStreamExt, stream};
use k8s_openapi::api::core::v1::Node;
use kube::Api;
use kube::api::{Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use drover_crds::Cluster;

use super::measure::{ReadyTimes, Table, both, growth, per, share, usage};
use super::{Size, cluster_name, drover, import, installation, progress, settle};
use crate::error::{Error, Result};
use crate::installation::End;

const AT_ONCE: usize = 16;
/// What a kubelet reports at most (`nodeStatusMaxImages`); they are most of a Node's bytes.
const IMAGES: usize = 50;

pub(super) async fn run(size: Size) -> Result<Table> {
    let mut table = Table::new(format!("One cluster with {} nodes", size.nodes));
    let mut installation = installation(size, 1).await?;
    let ready = ReadyTimes::of::<Cluster>(installation.management.client());
    import(&installation, &ready, &cluster_name(0)).await?;
    let empty = settle(size, &mut installation).await?;
    progress("Nodes are created.");
    let nodes: Api<Node> = Api::all(installation.cluster(&cluster_name(0))?.client());
    let all: Vec<Node> = (0..size.nodes.get()).map(node).collect::<Result<_>>()?;
    let bytes = all.first().map_or(0, |node| serde_json::to_string(node).map_or(0, |text| text.len()));
    table.row("bytes of a Node", bytes.to_string());
    stream::iter(&all)
        .map(Ok::<_, Error>)
        .try_for_each_concurrent(AT_ONCE, |node| async {
            Ok(nodes.create(&PostParams::default(), node).await.map(drop)?)
        })
        .await?;
    let created = settle(size, &mut installation).await?;
    table.row("memory, before → after they were created", growth(empty.anonymous, created.anonymous));
    table.row("CPU per Node created", format!("{:.2} ms", 1000.0 * per(created.cpu - empty.cpu, size.nodes)));

    progress("Every node reports once.");
    let before = usage(drover(&mut installation)?)?;
    stream::iter(0..size.nodes.get())
        .map(Ok::<_, Error>)
        .try_for_each_concurrent(AT_ONCE, |number| {
            let patch = Patch::Merge(json!({"status": {"conditions": [ready_condition("2026-01-01T00:05:00Z")]}}));
            let (nodes, name) = (&nodes, format!("node-{number}"));
            async move { Ok(nodes.patch_status(&name, &PatchParams::default(), &patch).await.map(drop)?) }
        })
        .await?;
    let after = settle(size, &mut installation).await?;
    table.row("CPU per report of a kubelet", format!("{:.2} ms", 1000.0 * per(after.cpu - before.cpu, size.nodes)));
    tokio::time::sleep(size.idle).await;
    let rested = usage(drover(&mut installation)?)?;
    table.row("CPU at rest", share(rested.cpu - after.cpu, size.idle));

    progress("drover starts again.");
    installation.stop_drover(End::Terminate).await?;
    installation.start_drover().await?;
    let restarted = settle(size, &mut installation).await?;
    table.row("memory after a restart, and its peak on the way", both(restarted.anonymous, restarted.peak));
    table.row("CPU of a restart until at rest", format!("{:.2} s", restarted.cpu));
    Ok(table)
}

fn ready_condition(heartbeat: &str) -> Value {
    json!({
        "type": "Ready", "status": "True", "reason": "KubeletReady", "message": "kubelet is posting ready status",
        "lastHeartbeatTime": heartbeat, "lastTransitionTime": "2026-01-01T00:00:00Z",
    })
}

/// As large as one of a cloud.
fn node(number: usize) -> Result<Node> {
    let name = format!("node-{number}");
    let resources = json!({"cpu": "16", "memory": "64Gi", "pods": "110", "ephemeral-storage": "200Gi"});
    let images: Vec<Value> = (0..IMAGES)
        .map(|image| {
            let repository = format!("registry.example.com/team-{image}/service-with-a-usual-name");
            let digest = format!("{repository}@sha256:{image:064}");
            json!({"names": [digest, format!("{repository}:v1.2.{image}")], "sizeBytes": 123_456_789})
        })
        .collect();
    let node = json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name, "kubernetes.io/os": "linux"}},
        "spec": {"providerID": format!("cloud:///zone/{name}"), "podCIDR": "10.0.0.0/24"},
        "status": {
            "capacity": resources, "allocatable": resources, "images": images,
            "conditions": [ready_condition("2026-01-01T00:00:00Z")],
            "nodeInfo": {
                "architecture": "amd64", "bootID": name, "containerRuntimeVersion": "containerd://2.2.0",
                "kernelVersion": "6.12.0", "kubeProxyVersion": "", "kubeletVersion": "v1.37.1", "machineID": name,
                "operatingSystem": "linux", "osImage": "Debian GNU/Linux 13 (trixie)", "systemUUID": name,
            },
        },
    });
    serde_json::from_value(node).map_err(|source| Error::Json { what: "a node".to_owned(), source })
}
