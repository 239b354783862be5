//! Why the results of a node are not counted. Pure.

use crate::answer::FailureReason;

/// Why a node has no results, or not all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MissingReason {
    /// It did not answer in time.
    TimedOut,
    /// Its Job ended, and there is no answer that counts.
    NoAnswer,
    /// Its Job failed.
    JobFailed,
    /// It is not ready.
    NodeNotReady,
    /// It is not there any more.
    NodeGone,
    /// There are no checks of one of its targets.
    NoResults,
    /// kube-bench ended with an error.
    EngineFailed,
    /// It answered with too much.
    TooLarge,
    /// No node of the control plane was looked at.
    NoControlPlane,
    /// The cluster has more nodes than are scanned.
    TooManyNodes,
}

impl MissingReason {
    /// All of them, with what they mean and what to do.
    pub const ALL: [(Self, &'static str, &'static str); 10] = [
        (
            Self::TimedOut,
            "The node did not answer within `spec.nodeTimeout`, or not before the scan was over.",
            "Look at the Pods and events of drover-system in the cluster, as an admission policy or a quota may refuse them; else raise `spec.nodeTimeout`, `spec.timeout` or `spec.concurrency`.",
        ),
        (
            Self::NoAnswer,
            "Its Job ended, and there is no answer of this node and this scan.",
            "Find out who changes Secrets of drover-system in the cluster, and whether the profile or the version of the cluster changed meanwhile; create another CisScan.",
        ),
        (
            Self::JobFailed,
            "Its Job failed.",
            "Look at the events of drover-system in the cluster: the Pod may have been evicted. Create another CisScan.",
        ),
        (
            Self::NodeNotReady,
            "The node is not ready, so it was not scanned. It counts for nothing.",
            "Look at the node, and create another CisScan once it is ready.",
        ),
        (Self::NodeGone, "The node was there when the scan began, and is not any more. It counts for nothing.", ""),
        (
            Self::NoResults,
            "There are no checks of one of its targets: most likely kube-bench found no process of it, as where etcd runs elsewhere.",
            "Look at the message. Where a component runs elsewhere, the node cannot be looked at as a whole.",
        ),
        (
            Self::EngineFailed,
            "kube-bench ended with an error, or was ended, most likely as it needed too much memory.",
            "Look at the message, and at the Pods of drover-system in the cluster while a scan is under way.",
        ),
        (
            Self::TooLarge,
            "It answered with more checks than any benchmark has, or with ones that no other node has.",
            "Find out who answers for the node.",
        ),
        (
            Self::NoControlPlane,
            "The benchmark says something of control planes and no node has the label of one, or the other way round.",
            "Name the benchmark in the CisProfile: one of EKS, GKE or AKS where the control plane runs elsewhere.",
        ),
        (Self::TooManyNodes, "The cluster has more nodes than Drover scans: 20,000.", ""),
    ];

    /// As the status has it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::TimedOut => "TimedOut",
            Self::NoAnswer => "NoAnswer",
            Self::JobFailed => "JobFailed",
            Self::NodeNotReady => "NodeNotReady",
            Self::NodeGone => "NodeGone",
            Self::NoResults => "NoResults",
            Self::EngineFailed => "EngineFailed",
            Self::TooLarge => "TooLarge",
            Self::NoControlPlane => "NoControlPlane",
            Self::TooManyNodes => "TooManyNodes",
        }
    }

    /// The one that a status has under this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().map(|(reason, _, _)| reason).find(|reason| reason.as_str() == name)
    }

    /// Whether the node counts as one that should have been looked at.
    #[must_use]
    pub const fn is_counted(self) -> bool {
        !matches!(self, Self::NodeNotReady | Self::NodeGone | Self::NoControlPlane | Self::TooManyNodes)
    }

    /// Whether the cluster was not looked at as a whole, whatever its nodes say.
    #[must_use]
    pub const fn is_of_cluster(self) -> bool {
        matches!(self, Self::NoControlPlane | Self::TooManyNodes)
    }
}

impl From<FailureReason> for MissingReason {
    fn from(reason: FailureReason) -> Self {
        match reason {
            FailureReason::EngineFailed => Self::EngineFailed,
            FailureReason::NoResults => Self::NoResults,
            FailureReason::TimedOut => Self::TimedOut,
            FailureReason::TooLarge => Self::TooLarge,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_has_a_name_of_its_own() {
        for (reason, _, _) in MissingReason::ALL {
            assert_eq!(MissingReason::named(reason.as_str()), Some(reason));
        }
        assert_eq!(MissingReason::named("NotReady"), None);
    }
}
