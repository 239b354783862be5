//! Fake nodes, kept alive by kwok.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use futures::{StreamExt, TryStreamExt, stream};
use k8s_openapi::api::core::v1::{Node, Taint};
use kube::api::{ListParams, Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt};
use serde_json::json;

use super::{Component, ControlPlane};
use crate::error::{Error, Result};

/// Selects the nodes that kwok keeps.
pub const NODE_SELECTOR: &str = "type=kwok";
const NOT_READY: &str = "node.kubernetes.io/not-ready";
const AT_ONCE: usize = 16;
const POLL: Duration = Duration::from_millis(100);
const NODE_LIFECYCLE: &str = "node-lifecycle-controller";

impl ControlPlane {
    /// Starts kwok with this many nodes, `node-0` and up, and waits until they are ready and take pods.
    pub async fn start_kwok(&mut self, nodes: usize) -> Result<()> {
        self.tools.ensure_all(&[Component::Kwok.program()]).await?;
        self.start_components(&[Component::Kwok]).await?;
        self.create_nodes((0..nodes).map(|number| format!("node-{number}"))).await
    }

    /// The same with what else Pods need to run: a scheduler, where none was started.
    pub async fn start_pods(&mut self, nodes: usize) -> Result<()> {
        if !self.processes.contains_key(&Component::Scheduler) {
            self.tools.ensure_all(&[Component::Scheduler.program()]).await?;
            self.start_components(&[Component::Scheduler]).await?;
        }
        self.start_kwok(nodes).await
    }

    /// Creates nodes with these names and waits until they are ready. kwok must run.
    pub async fn create_nodes(&mut self, names: impl IntoIterator<Item = String>) -> Result<()> {
        let api: Api<Node> = Api::all(self.client());
        let nodes = names.into_iter().map(|name| fake_node(&name)).collect::<Result<Vec<Node>>>()?;
        let names: Vec<String> = nodes.iter().map(ResourceExt::name_any).collect();
        stream::iter(nodes.iter().map(Ok::<_, Error>))
            .try_for_each_concurrent(AT_ONCE, |node| async {
                api.create(&PostParams::default(), node).await?;
                Ok(())
            })
            .await?;
        self.wait_for_nodes(&api, &names).await?;
        if self.options.additional_controllers.iter().any(|controller| controller == NODE_LIFECYCLE) {
            return Ok(());
        }
        stream::iter(&names).map(Ok).try_for_each_concurrent(AT_ONCE, |name| remove_not_ready_taint(&api, name)).await
    }

    async fn wait_for_nodes(&mut self, api: &Api<Node>, names: &[String]) -> Result<()> {
        let limit =
            self.options.start_timeout.max(Duration::from_millis(100) * u32::try_from(names.len()).unwrap_or(u32::MAX));
        let started = Instant::now();
        loop {
            let nodes = api.list(&ListParams::default().labels(NODE_SELECTOR)).await?;
            let ready = nodes.iter().filter(|node| names.contains(&node.name_any()) && is_ready(node)).count();
            if ready == names.len() {
                return Ok(());
            }
            let kwok = self.process(Component::Kwok)?;
            kwok.check()?;
            if started.elapsed() > limit {
                let (wanted, seconds, tail) = (names.len(), limit.as_secs(), kwok.log_tail());
                return Err(Error::NodesNotReady { ready, wanted, seconds, tail });
            }
            tokio::time::sleep(POLL).await;
        }
    }
}

fn fake_node(name: &str) -> Result<Node> {
    let resources = json!({ "cpu": "16", "memory": "64Gi", "pods": "110", "ephemeral-storage": "200Gi" });
    let node = json!({
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": { "name": name, "labels": labels(name), "annotations": {
            "kwok.x-k8s.io/node": "fake",
            "node.alpha.kubernetes.io/ttl": "0",
        } },
        "status": {
            "capacity": resources,
            "allocatable": resources,
            "nodeInfo": {
                "architecture": "amd64", "bootID": "", "containerRuntimeVersion": "kwok", "kernelVersion": "kwok",
                "kubeProxyVersion": "", "kubeletVersion": "v1.37.1", "machineID": "", "operatingSystem": "linux",
                "osImage": "kwok", "systemUUID": "",
            },
        },
    });
    serde_json::from_value(node).map_err(|source| Error::Json { what: format!("node {name}"), source })
}

fn labels(name: &str) -> BTreeMap<&'static str, &str> {
    BTreeMap::from([
        ("type", "kwok"),
        ("beta.kubernetes.io/arch", "amd64"),
        ("beta.kubernetes.io/os", "linux"),
        ("kubernetes.io/arch", "amd64"),
        ("kubernetes.io/os", "linux"),
        ("kubernetes.io/hostname", name),
        ("kubernetes.io/role", "agent"),
        ("node-role.kubernetes.io/agent", ""),
    ])
}

fn is_ready(node: &Node) -> bool {
    let conditions = node.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions.is_some_and(|all| all.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True"))
}

/// The API server taints every new node; normally the node lifecycle controller takes that back.
async fn remove_not_ready_taint(api: &Api<Node>, name: &str) -> Result<()> {
    let node = api.get(name).await?;
    let taints = node.spec.and_then(|spec| spec.taints).unwrap_or_default();
    let kept: Vec<Taint> = taints.into_iter().filter(|taint| taint.key != NOT_READY).collect();
    let patch = Patch::Merge(json!({ "spec": { "taints": kept } }));
    api.patch(name, &PatchParams::default(), &patch).await?;
    Ok(())
}
