//! A node that runs Pods as processes: no kubelet, no containers.
//!
//! What a Job sees is as on a real node: its image, mounts, exit code and termination message. Each container has a mount namespace and a
//! root folder of its own, in which the programs of its image and its volumes are mounted. The network is that of this machine.

mod components;
mod environment;
pub mod etcd;
mod pod;
mod root;
mod tls_front;
mod volumes;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{ListParams, Patch, PatchParams, PostParams};
use kube::{Api, Client, ResourceExt};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::sleep;
use tokio_util::task::AbortOnDropHandle;

use crate::ControlPlane;
use crate::error::{Error, FileContext, Result};
pub use components::Components;
use pod::Running;
pub use tls_front::TlsFront;

const POLL: Duration = Duration::from_millis(200);

/// What a node is, and what is on it.
#[derive(Debug, Clone, Default)]
pub struct NodeSettings {
    /// Its name.
    pub name: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its annotations.
    pub annotations: BTreeMap<String, String>,
    /// The files of each image that it has, by their paths there. Another image cannot be pulled.
    pub images: BTreeMap<String, Vec<(PathBuf, PathBuf)>>,
    /// Which folder here a path of the host is.
    pub host: BTreeMap<String, PathBuf>,
    /// Addresses that are others here: what Secrets say is replaced.
    pub addresses: Vec<(String, String)>,
    /// The control plane that runs on it, for what looks at the processes of the node. None: a Pod sees those of this machine.
    pub components: Option<Components>,
}

impl NodeSettings {
    /// A control-plane node as kubeadm makes one.
    #[must_use]
    pub fn kubeadm(name: &str) -> Self {
        let pair = |key: &str, value: &str| BTreeMap::from([(key.to_owned(), value.to_owned())]);
        Self {
            name: name.to_owned(),
            labels: pair("node-role.kubernetes.io/control-plane", ""),
            annotations: pair("kubeadm.alpha.kubernetes.io/cri-socket", "unix:///run/containerd/containerd.sock"),
            ..Self::default()
        }
    }

    /// The same with the processes and the files of a control plane as it runs now, and a kubelet that is only told of.
    pub fn kubeadm_with_components(name: &str, plane: &ControlPlane) -> Result<Self> {
        let components = Components::of(plane, name)?;
        Ok(Self { host: components.host(), components: Some(components), ..Self::kubeadm(name) })
    }

    /// A node with a member of etcd and nothing else of the control plane, as `distribution` (k3s or rke2) makes one.
    #[must_use]
    pub fn etcd_only(name: &str, distribution: &str) -> Self {
        let labels = [("node-role.kubernetes.io/etcd", "true"), ("node.kubernetes.io/instance-type", distribution)];
        let labels = labels.map(|(key, value)| (key.to_owned(), value.to_owned()));
        Self { name: name.to_owned(), labels: BTreeMap::from(labels), ..Self::default() }
    }
}

/// A node. Dropping it ends its Pods.
#[derive(Debug)]
pub struct ProcessNode {
    _worker: AbortOnDropHandle<()>,
}

impl ProcessNode {
    /// Registers the node, and runs what is scheduled to it.
    pub async fn start(plane: &ControlPlane, settings: NodeSettings) -> Result<Self> {
        let client = plane.client();
        register(&client, &settings).await?;
        let folder = tempfile::tempdir().on("create a folder in", std::env::temp_dir())?;
        let host = Host { client, settings, port: plane.port(), folder };
        let worker = Worker { running: BTreeMap::new(), ended: BTreeSet::new(), host };
        Ok(Self { _worker: AbortOnDropHandle::new(tokio::spawn(worker.run())) })
    }
}

async fn register(client: &Client, settings: &NodeSettings) -> Result<()> {
    let nodes: Api<Node> = Api::all(client.clone());
    let node = json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": {"name": settings.name, "labels": settings.labels, "annotations": settings.annotations},
    });
    let node = serde_json::from_value(node).map_err(|source| Error::Json { what: "a Node".to_owned(), source })?;
    match nodes.create(&PostParams::default(), &node).await {
        Err(kube::Error::Api(status)) if status.code == 409 => {}
        outcome => drop(outcome?),
    }
    let resources = json!({"cpu": "4", "memory": "8Gi", "pods": "110", "ephemeral-storage": "100Gi"});
    let ready = json!({"type": "Ready", "status": "True", "reason": "KubeletReady", "message": ""});
    let status = json!({"status": {"capacity": resources, "allocatable": resources, "conditions": [ready]}});
    nodes.patch_status(&settings.name, &PatchParams::default(), &Patch::Merge(&status)).await?;
    // As on every node of a control plane: what a scheduler places comes only if it tolerates them.
    let roles = settings.labels.keys().filter(|label| label.starts_with("node-role.kubernetes.io/"));
    let taints: Vec<Value> = roles.map(|role| json!({"key": role, "effect": "NoSchedule"})).collect();
    nodes.patch(&settings.name, &PatchParams::default(), &Patch::Merge(json!({"spec": {"taints": taints}}))).await?;
    Ok(())
}

/// What Pods start from.
struct Host {
    client: Client,
    settings: NodeSettings,
    /// That of the API server on 127.0.0.1.
    port: u16,
    folder: TempDir,
}

struct Worker {
    // Dropped before the folder, in which the processes write.
    running: BTreeMap<String, Running>,
    ended: BTreeSet<String>,
    host: Host,
}

impl Worker {
    async fn run(mut self) {
        let pods: Api<Pod> = Api::all(self.host.client.clone());
        loop {
            // What fails is tried again: a test sees what is not there.
            if let Ok(found) = pods.list(&ListParams::default()).await {
                let there: BTreeSet<_> = found.items.iter().filter_map(ResourceExt::uid).collect();
                self.running.retain(|uid, _| there.contains(uid));
                for pod in &found.items {
                    if let Err(error) = self.look_at(pod).await {
                        println!("node {}: Pod {}: {error}", self.host.settings.name, pod.name_any());
                    }
                }
            }
            sleep(POLL).await;
        }
    }

    fn api(&self, pod: &Pod) -> Api<Pod> {
        Api::namespaced(self.host.client.clone(), &pod.namespace().unwrap_or_default())
    }

    async fn look_at(&mut self, pod: &Pod) -> Result<()> {
        let (uid, name) = (pod.uid().unwrap_or_default(), pod.name_any());
        let spec = pod.spec.as_ref();
        let node = spec.and_then(|spec| spec.node_name.as_deref());
        let is_ours = node == Some(&self.host.settings.name);
        if pod.metadata.deletion_timestamp.is_some() {
            self.running.remove(&uid);
            if is_ours {
                let now = kube::api::DeleteParams { grace_period_seconds: Some(0), ..Default::default() };
                self.api(pod).delete(&name, &now).await?;
            }
            return Ok(());
        }
        if node.is_none() && self.suits(pod) {
            return self.bind(pod).await;
        }
        if !is_ours || self.ended.contains(&uid) {
            return Ok(());
        }
        if self.running.contains_key(&uid) {
            return self.look_at_running(pod, uid).await;
        }
        if let Some(status) = pod::without_image(&self.host.settings, pod) {
            if pod.status.as_ref().is_none_or(|status| status.container_statuses.is_none()) {
                self.report(pod, &status).await?;
            }
            return Ok(());
        }
        if let Some(running) = pod::start(&self.host, pod).await? {
            self.running.insert(uid.clone(), running);
            return self.look_at_running(pod, uid).await;
        }
        Ok(())
    }

    /// Tells which containers run or ended, if that was not told yet.
    async fn look_at_running(&mut self, pod: &Pod, uid: String) -> Result<()> {
        let Some(status) = self.running.get_mut(&uid).map(Running::news).transpose()?.flatten() else { return Ok(()) };
        self.report(pod, &status).await?;
        let Some(running) = self.running.get_mut(&uid) else { return Ok(()) };
        running.is_reported();
        if running.is_over() {
            self.running.remove(&uid);
            self.ended.insert(uid);
        }
        Ok(())
    }

    /// Whether the labels of this node are those that the Pod asks for, as far as Drover's Pods ask. What asks for none is for a scheduler
    /// to place: it has no image here.
    fn suits(&self, pod: &Pod) -> bool {
        let affinity = pod.spec.as_ref().and_then(|spec| spec.affinity.as_ref()?.node_affinity.as_ref());
        let required =
            affinity.and_then(|affinity| affinity.required_during_scheduling_ignored_during_execution.as_ref());
        let has = |key: &String| self.host.settings.labels.contains_key(key);
        required.is_some_and(|required| {
            required.node_selector_terms.iter().any(|term| {
                term.match_expressions.iter().flatten().all(|wanted| wanted.operator == "Exists" && has(&wanted.key))
            })
        })
    }

    async fn bind(&self, pod: &Pod) -> Result<()> {
        let name = pod.name_any();
        let binding = json!({
            "apiVersion": "v1", "kind": "Binding", "metadata": {"name": name, "namespace": pod.namespace()},
            "target": {"apiVersion": "v1", "kind": "Node", "name": self.host.settings.name},
        });
        let _: Value = self.api(pod).create_subresource("binding", &name, &PostParams::default(), &binding).await?;
        Ok(())
    }

    async fn report(&self, pod: &Pod, status: &Value) -> Result<()> {
        let patch = Patch::Merge(json!({"status": status}));
        self.api(pod).patch_status(&pod.name_any(), &PatchParams::default(), &patch).await?;
        Ok(())
    }
}
