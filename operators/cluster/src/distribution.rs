//! What a cluster was made with. Pure.

use std::sync::Arc;

use serde_json::Value;

use crate::SlimNode;

/// A way to make clusters. The order is the precedence where nodes disagree: what a vendor marks says more than the tool that
/// the vendor used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Distribution {
    OpenShift,
    Aks,
    Eks,
    Gke,
    Rke2,
    K3s,
    Kind,
    Kubeadm,
}

/// Labels that only nodes of one distribution carry.
const LABELS: [(&str, Distribution); 4] = [
    ("node.openshift.io/os_id", Distribution::OpenShift),
    ("kubernetes.azure.com/cluster", Distribution::Aks),
    ("eks.amazonaws.com/nodegroup", Distribution::Eks),
    ("cloud.google.com/gke-nodepool", Distribution::Gke),
];
const UNKNOWN: &str = "unknown";
const INSTANCE_TYPE: &str = "node.kubernetes.io/instance-type";
const KUBEADM_ANNOTATION: &str = "kubeadm.alpha.kubernetes.io/cri-socket";

impl Distribution {
    fn name(self) -> &'static str {
        const NAMES: [&str; 8] = ["OpenShift", "AKS", "EKS", "GKE", "rke2", "k3s", "kind", "kubeadm"];
        NAMES.get(self as usize).copied().unwrap_or(UNKNOWN)
    }

    /// What a node's labels, annotations and provider hint at.
    pub(crate) fn of_node(labels: &Value, annotations: &Value, provider_id: &str) -> Option<Self> {
        let labelled = LABELS.iter().find(|(label, _)| labels.get(label).is_some()).map(|(_, hint)| *hint);
        let typed = || match labels.get(INSTANCE_TYPE).and_then(Value::as_str) {
            Some("rke2") => Some(Self::Rke2),
            Some("k3s") => Some(Self::K3s),
            _ => None,
        };
        let kind = || provider_id.starts_with("kind://").then_some(Self::Kind);
        let kubeadm = || annotations.get(KUBEADM_ANNOTATION).map(|_| Self::Kubeadm);
        labelled.or_else(typed).or_else(kind).or_else(kubeadm)
    }
}

/// Whether clusters of this name may take snapshots of their etcd by themselves, and say so in objects of their own.
pub(crate) fn takes_own_snapshots(name: &str) -> bool {
    [Distribution::K3s, Distribution::Rke2].iter().any(|distribution| distribution.name() == name)
}

/// The name of what made a cluster of this version with these nodes.
pub(crate) fn of(version: Option<&str>, nodes: &[Arc<SlimNode>]) -> &'static str {
    name(version, nodes.iter().filter_map(|node| node.hint))
}

/// The name of what made the cluster. Vendors mark their builds in the version; where it is a plain one, nodes hint at it.
fn name(version: Option<&str>, hints: impl Iterator<Item = Distribution>) -> &'static str {
    let marks = [
        ("+k3s", Distribution::K3s),
        ("+rke2", Distribution::Rke2),
        ("-eks-", Distribution::Eks),
        ("-gke.", Distribution::Gke),
    ];
    let marked = version.and_then(|version| marks.iter().find(|(mark, _)| version.contains(mark)));
    marked.map(|(_, distribution)| *distribution).or_else(|| hints.min()).map_or(UNKNOWN, Distribution::name)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_distribution_is_recognised() {
        for (labels, annotations, provider_id, expected) in [
            (json!({"kubernetes.azure.com/cluster": "x"}), json!({}), "azure://x", Some(Distribution::Aks)),
            (json!({"node.openshift.io/os_id": "rhcos"}), json!({}), "aws:///x", Some(Distribution::OpenShift)),
            (json!({"eks.amazonaws.com/nodegroup": "x"}), json!({}), "aws:///x", Some(Distribution::Eks)),
            (json!({"cloud.google.com/gke-nodepool": "x"}), json!({}), "gce://x", Some(Distribution::Gke)),
            (json!({INSTANCE_TYPE: "k3s"}), json!({}), "k3s://x", Some(Distribution::K3s)),
            (json!({INSTANCE_TYPE: "rke2"}), json!({}), "rke2://x", Some(Distribution::Rke2)),
            (json!({INSTANCE_TYPE: "m5.large"}), json!({}), "aws:///x", None),
            (json!({}), json!({KUBEADM_ANNOTATION: "unix://x"}), "", Some(Distribution::Kubeadm)),
            (json!({}), json!({KUBEADM_ANNOTATION: "unix://x"}), "kind://docker/a/b", Some(Distribution::Kind)),
            (Value::Null, Value::Null, "", None),
        ] {
            assert_eq!(Distribution::of_node(&labels, &annotations, provider_id), expected, "{labels}{provider_id}");
        }
    }

    #[test]
    fn the_mark_in_the_version_wins_over_the_nodes_and_they_over_nothing() {
        let hints = [Distribution::Kubeadm, Distribution::Aks];
        let every: Vec<_> = LABELS.iter().map(|(_, distribution)| distribution.name()).collect();
        assert_eq!(every, ["OpenShift", "AKS", "EKS", "GKE"]);
        assert_eq!((Distribution::Kind.name(), Distribution::Kubeadm.name()), ("kind", "kubeadm"));
        for (version, hints, expected) in [
            (Some("v1.37.1+k3s1"), &hints[..], "k3s"),
            (Some("v1.37.1+rke2r1"), &[], "rke2"),
            (Some("v1.37.1-eks-a1b2"), &[], "EKS"),
            (Some("v1.37.1-gke.100"), &[], "GKE"),
            (Some("v1.37.1"), &hints, "AKS"),
            (Some("v1.37.1"), &hints[..1], "kubeadm"),
            (None, &[], "unknown"),
        ] {
            assert_eq!(name(version, hints.iter().copied()), expected, "{version:?}");
        }
    }
}
