//! Where distributions keep what a backup needs, on a node that runs a member of etcd.

use crate::EtcdAccess;

/// A way to make clusters with etcd on their own nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LayoutOf {
    /// Stacked etcd, as static Pods.
    Kubeadm,
    /// Embedded etcd of k3s.
    K3s,
    /// Embedded etcd of RKE2.
    Rke2,
}

/// Where things are on a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// URL of the member on the node.
    pub endpoint: &'static str,
    /// The folder with the certificates of a client of etcd; mounted at the same path.
    pub certificates: &'static str,
    authority: &'static str,
    certificate: &'static str,
    key: &'static str,
    /// Folders with what else a restore needs; mounted at the same paths where they exist.
    pub config_folders: &'static [&'static str],
    /// Files in those folders, and folders of which the files are meant.
    pub config_files: &'static [&'static str],
    /// A label that every node with a member of etcd has.
    pub node_label: &'static str,
}

const LOCAL: &str = "https://127.0.0.1:2379";

const KUBEADM: Layout = Layout {
    endpoint: LOCAL,
    certificates: "/etc/kubernetes/pki/etcd",
    authority: "ca.crt",
    certificate: "healthcheck-client.crt",
    key: "healthcheck-client.key",
    config_folders: &["/etc/kubernetes/manifests"],
    config_files: &["/etc/kubernetes/manifests"],
    node_label: "node-role.kubernetes.io/control-plane",
};

const K3S: Layout = Layout {
    endpoint: LOCAL,
    certificates: "/var/lib/rancher/k3s/server/tls/etcd",
    authority: "server-ca.crt",
    certificate: "client.crt",
    key: "client.key",
    config_folders: &["/etc/rancher/k3s", "/var/lib/rancher/k3s/server/cred"],
    config_files: &[
        "/etc/rancher/k3s/config.yaml",
        "/etc/rancher/k3s/config.yaml.d",
        "/var/lib/rancher/k3s/server/cred/encryption-config.json",
    ],
    node_label: "node-role.kubernetes.io/etcd",
};

const RKE2: Layout = Layout {
    endpoint: LOCAL,
    certificates: "/var/lib/rancher/rke2/server/tls/etcd",
    authority: "server-ca.crt",
    certificate: "client.crt",
    key: "client.key",
    config_folders: &["/etc/rancher/rke2", "/var/lib/rancher/rke2/server/cred"],
    config_files: &[
        "/etc/rancher/rke2/config.yaml",
        "/etc/rancher/rke2/config.yaml.d",
        "/var/lib/rancher/rke2/server/cred/encryption-config.json",
    ],
    node_label: "node-role.kubernetes.io/etcd",
};

impl LayoutOf {
    /// By `status.distribution` of a Cluster; none where etcd is not on its nodes, or Drover does not know where.
    #[must_use]
    pub fn distribution(name: &str) -> Option<Self> {
        match name {
            "kubeadm" | "kind" => Some(Self::Kubeadm),
            "k3s" => Some(Self::K3s),
            "rke2" => Some(Self::Rke2),
            _ => None,
        }
    }

    /// Where things are.
    #[must_use]
    pub fn layout(self) -> &'static Layout {
        match self {
            Self::Kubeadm => &KUBEADM,
            Self::K3s => &K3S,
            Self::Rke2 => &RKE2,
        }
    }
}

impl Layout {
    /// How a Job on the node reaches the member there.
    #[must_use]
    pub fn access(&self) -> EtcdAccess {
        let file = |name: &str| [self.certificates, name].iter().collect();
        EtcdAccess {
            endpoints: vec![self.endpoint.to_owned()],
            authority: file(self.authority),
            certificate: file(self.certificate),
            key: file(self.key),
        }
    }
}
