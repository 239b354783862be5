//! Whether the etcd of a cluster can be backed up, by what is known of the cluster.

use crate::LayoutOf;

/// Whether, and how, the etcd of a cluster can be backed up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Support {
    /// By a Job on one of the nodes that have a member.
    OnNodes(LayoutOf),
    /// Its distribution has etcd on nodes, and no node says that it has a member.
    NoMember(LayoutOf),
    /// The provider keeps etcd to itself.
    Managed,
    /// Its distribution backs etcd up by means of its own.
    OwnMeans(&'static str),
    /// Drover does not know where etcd is.
    Unknown,
}

/// What backs up a cluster of which etcd is out of reach.
const OF_OPENSHIFT: &str = "cluster-backup.sh on a control-plane node";

impl Support {
    /// By `status.distribution` of a Cluster, and by whether a node has [`Layout::node_label`](crate::Layout::node_label).
    #[must_use]
    pub fn of(distribution: &str, has_member: impl FnOnce(&'static str) -> bool) -> Self {
        if let Some(layout) = LayoutOf::distribution(distribution) {
            let is_there = has_member(layout.layout().node_label);
            return if is_there { Self::OnNodes(layout) } else { Self::NoMember(layout) };
        }
        match distribution {
            "EKS" | "GKE" | "AKS" => Self::Managed,
            "OpenShift" => Self::OwnMeans(OF_OPENSHIFT),
            _ => Self::Unknown,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_be_backed_up_follows_from_the_distribution_and_its_nodes() {
        const CONTROL_PLANE: &str = "node-role.kubernetes.io/control-plane";
        const ETCD: &str = "node-role.kubernetes.io/etcd";
        for (distribution, labels, expected) in [
            ("kubeadm", &[CONTROL_PLANE][..], Support::OnNodes(LayoutOf::Kubeadm)),
            ("kind", &[CONTROL_PLANE], Support::OnNodes(LayoutOf::Kubeadm)),
            ("kubeadm", &[ETCD], Support::NoMember(LayoutOf::Kubeadm)),
            ("k3s", &[ETCD], Support::OnNodes(LayoutOf::K3s)),
            // k3s on SQLite, or on a database beside.
            ("k3s", &[CONTROL_PLANE], Support::NoMember(LayoutOf::K3s)),
            ("rke2", &[ETCD, CONTROL_PLANE], Support::OnNodes(LayoutOf::Rke2)),
            ("EKS", &[], Support::Managed),
            ("GKE", &[], Support::Managed),
            ("AKS", &[CONTROL_PLANE], Support::Managed),
            ("OpenShift", &[CONTROL_PLANE], Support::OwnMeans(OF_OPENSHIFT)),
            ("unknown", &[CONTROL_PLANE, ETCD], Support::Unknown),
        ] {
            assert_eq!(Support::of(distribution, |label| labels.contains(&label)), expected, "{distribution}");
        }
    }
}
