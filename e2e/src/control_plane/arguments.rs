//! The command lines of the components.

use std::path::{Path, PathBuf};

use super::ports::Ports;
use super::{Component, Components, Options, Storage};

/// The controllers that tests need. Node lifecycle is left out, so that a slow machine does not evict fake pods.
const CONTROLLERS: [&str; 20] = [
    "namespace-controller",
    "serviceaccount-controller",
    "serviceaccount-token-controller",
    "root-ca-certificate-publisher-controller",
    "garbage-collector-controller",
    "resourcequota-controller",
    "clusterrole-aggregation-controller",
    "deployment-controller",
    "replicaset-controller",
    "statefulset-controller",
    "daemonset-controller",
    "job-controller",
    "cronjob-controller",
    "endpointslice-controller",
    "pod-garbage-collector-controller",
    "ttl-after-finished-controller",
    "disruption-controller",
    "validatingadmissionpolicy-status-controller",
    "certificatesigningrequest-approving-controller",
    "certificatesigningrequest-signing-controller",
];

/// Kinds that neither drover nor a test watches. The API server reads them from etcd: each that it caches costs a share of a
/// core at rest, and 60 of them half of what it takes.
const UNCACHED: [&str; 37] = [
    "controllerrevisions.apps",
    "daemonsets.apps",
    "deployments.apps",
    "replicasets.apps",
    "statefulsets.apps",
    "cronjobs.batch",
    "horizontalpodautoscalers.autoscaling",
    "poddisruptionbudgets.policy",
    "ingresses.networking.k8s.io",
    "ingressclasses.networking.k8s.io",
    "ipaddresses.networking.k8s.io",
    "servicecidrs.networking.k8s.io",
    "storageclasses.storage.k8s.io",
    "volumeattachments.storage.k8s.io",
    "csidrivers.storage.k8s.io",
    "csinodes.storage.k8s.io",
    "csistoragecapacities.storage.k8s.io",
    "volumeattributesclasses.storage.k8s.io",
    "deviceclasses.resource.k8s.io",
    "resourceclaims.resource.k8s.io",
    "resourceclaimtemplates.resource.k8s.io",
    "resourceslices.resource.k8s.io",
    "priorityclasses.scheduling.k8s.io",
    "runtimeclasses.node.k8s.io",
    "endpointslices.discovery.k8s.io",
    "endpoints",
    "persistentvolumes",
    "persistentvolumeclaims",
    "podtemplates",
    "replicationcontrollers",
    "flowschemas.flowcontrol.apiserver.k8s.io",
    "prioritylevelconfigurations.flowcontrol.apiserver.k8s.io",
    "certificatesigningrequests.certificates.k8s.io",
    "mutatingwebhookconfigurations.admissionregistration.k8s.io",
    "mutatingadmissionpolicies.admissionregistration.k8s.io",
    "mutatingadmissionpolicybindings.admissionregistration.k8s.io",
    "storageversionmigrations.storagemigration.k8s.io",
];

/// Does not contain the port, so that tokens stay valid when a control plane with kept data gets other ports.
const TOKEN_ISSUER: &str = "https://kubernetes.default.svc.cluster.local";

/// The files of a control plane.
#[derive(Debug, Clone)]
pub(super) struct Layout(pub(super) PathBuf);

impl Layout {
    pub(super) fn certificates(&self) -> PathBuf {
        self.0.join("certificates")
    }

    pub(super) fn etcd_data(&self) -> PathBuf {
        self.0.join("etcd")
    }

    pub(super) fn logs(&self) -> PathBuf {
        self.0.join("logs")
    }

    pub(super) fn log(&self, component: Component) -> PathBuf {
        self.logs().join(format!("{}.log", component.name()))
    }

    pub(super) fn kubeconfig(&self, user: &str) -> PathBuf {
        self.0.join(format!("{user}.kubeconfig"))
    }

    pub(super) fn audit_log(&self) -> PathBuf {
        self.logs().join("audit.jsonl")
    }

    pub(super) fn audit_policy(&self) -> PathBuf {
        self.0.join("audit-policy.json")
    }
}

/// The variables of one component. Fewer collections of garbage: a start takes a fifth less of a core, for a third more memory.
pub(super) fn environment() -> Vec<(String, String)> {
    vec![("GOGC".to_owned(), "400".to_owned())]
}

/// The arguments of one component.
pub(super) fn of(
    component: Component,
    options: &Options,
    layout: &Layout,
    ports: Ports,
    stages: &[PathBuf],
) -> Vec<String> {
    match component {
        Component::Etcd => etcd(options, layout, ports),
        Component::Apiserver => apiserver(options, layout, ports),
        Component::ControllerManager => controller_manager(options, layout, ports),
        Component::Scheduler => scheduler(layout, ports),
        Component::Kwok => kwok(layout, ports, stages),
    }
}

/// The name of the only member of every etcd.
pub(super) const ETCD_MEMBER: &str = "only";

/// The flags that a start and a restore of etcd have in common.
pub(super) fn etcd_membership(ports: Ports) -> Vec<String> {
    let peer = format!("http://127.0.0.1:{}", ports.etcd_peer);
    vec![
        format!("--name={ETCD_MEMBER}"),
        format!("--initial-advertise-peer-urls={peer}"),
        format!("--initial-cluster={ETCD_MEMBER}={peer}"),
    ]
}

fn etcd(options: &Options, layout: &Layout, ports: Ports) -> Vec<String> {
    let client = format!("http://127.0.0.1:{}", ports.etcd_client);
    let mut arguments = etcd_membership(ports);
    arguments.extend([
        flag_path("data-dir", &layout.etcd_data()),
        format!("--listen-client-urls={client}"),
        format!("--advertise-client-urls={client}"),
        format!("--listen-peer-urls=http://127.0.0.1:{}", ports.etcd_peer),
        "--unsafe-no-fsync".to_owned(),
        // It has no peers, for whom these are. Every beat wakes it up.
        "--heartbeat-interval=500".to_owned(),
        "--election-timeout=2500".to_owned(),
        format!("--quota-backend-bytes={}", options.etcd_quota),
        "--log-level=warn".to_owned(),
    ]);
    arguments
}

fn apiserver(options: &Options, layout: &Layout, ports: Ports) -> Vec<String> {
    let certificates = layout.certificates();
    let mut arguments = storage(&options.storage, ports);
    arguments.extend([
        "--bind-address=127.0.0.1".to_owned(),
        "--advertise-address=127.0.0.1".to_owned(),
        format!("--secure-port={}", ports.apiserver),
        flag_path("tls-cert-file", &certificates.join("apiserver.crt")),
        flag_path("tls-private-key-file", &certificates.join("apiserver.key")),
        flag_path("client-ca-file", &certificates.join("ca.crt")),
        "--authorization-mode=Node,RBAC".to_owned(),
        format!("--service-account-issuer={TOKEN_ISSUER}"),
        flag_path("service-account-key-file", &certificates.join("service-account.pub")),
        flag_path("service-account-signing-key-file", &certificates.join("service-account.key")),
        "--service-cluster-ip-range=10.0.0.0/16".to_owned(),
        "--allow-privileged=true".to_owned(),
        "--endpoint-reconciler-type=none".to_owned(),
        format!("--watch-cache-sizes={}", UNCACHED.map(|kind| format!("{kind}#0")).join(",")),
        "--etcd-count-metric-poll-period=0".to_owned(),
        "--etcd-db-metric-poll-interval=0".to_owned(),
        // There is one API server, so there is no peer to find; and nobody estimates the cost of a list here.
        "--feature-gates=UnknownVersionInteroperabilityProxy=false,SizeBasedListCostEstimate=false".to_owned(),
        "--event-ttl=10m".to_owned(),
        "--shutdown-watch-termination-grace-period=0".to_owned(),
        "--profiling=false".to_owned(),
    ]);
    if options.components == Components::ApiserverOnly {
        arguments.push("--disable-admission-plugins=ServiceAccount".to_owned());
    }
    if options.audit {
        arguments.push(flag_path("audit-policy-file", &layout.audit_policy()));
        arguments.push(flag_path("audit-log-path", &layout.audit_log()));
        arguments.push("--audit-log-mode=blocking".to_owned());
        arguments.push("--audit-log-maxsize=0".to_owned());
    }
    arguments.extend(options.apiserver_arguments.iter().cloned());
    arguments
}

fn storage(storage: &Storage, ports: Ports) -> Vec<String> {
    match storage {
        Storage::Own => vec![format!("--etcd-servers=http://127.0.0.1:{}", ports.etcd_client)],
        Storage::Shared { endpoint, prefix } => {
            vec![format!("--etcd-servers={endpoint}"), format!("--etcd-prefix={prefix}")]
        }
    }
}

fn controller_manager(options: &Options, layout: &Layout, ports: Ports) -> Vec<String> {
    let certificates = layout.certificates();
    let mut arguments = component_identity(layout, Component::ControllerManager, ports.controller_manager);
    let mut controllers = CONTROLLERS.map(str::to_owned).to_vec();
    controllers.extend(options.additional_controllers.iter().cloned());
    arguments.extend([
        "--use-service-account-credentials=true".to_owned(),
        flag_path("root-ca-file", &certificates.join("ca.crt")),
        flag_path("service-account-private-key-file", &certificates.join("service-account.key")),
        flag_path("cluster-signing-cert-file", &certificates.join("ca.crt")),
        flag_path("cluster-signing-key-file", &certificates.join("ca.key")),
        "--kube-api-qps=200".to_owned(),
        "--kube-api-burst=400".to_owned(),
        format!("--controllers={}", controllers.join(",")),
    ]);
    arguments
}

fn scheduler(layout: &Layout, ports: Ports) -> Vec<String> {
    component_identity(layout, Component::Scheduler, ports.scheduler)
}

fn component_identity(layout: &Layout, component: Component, port: u16) -> Vec<String> {
    let kubeconfig = layout.kubeconfig(component.name());
    vec![
        flag_path("kubeconfig", &kubeconfig),
        flag_path("authentication-kubeconfig", &kubeconfig),
        flag_path("authorization-kubeconfig", &kubeconfig),
        "--bind-address=127.0.0.1".to_owned(),
        format!("--secure-port={port}"),
        "--leader-elect=false".to_owned(),
    ]
}

fn kwok(layout: &Layout, ports: Ports, stages: &[PathBuf]) -> Vec<String> {
    let mut arguments = vec![
        flag_path("kubeconfig", &layout.kubeconfig(Component::Kwok.name())),
        "--manage-nodes-with-annotation-selector=kwok.x-k8s.io/node=fake".to_owned(),
        "--node-lease-duration-seconds=0".to_owned(),
        format!("--server-address=127.0.0.1:{}", ports.kwok),
    ];
    arguments.extend(stages.iter().map(|stage| flag_path("config", stage)));
    arguments
}

fn flag_path(name: &str, path: &Path) -> String {
    format!("--{name}={}", path.display())
}
