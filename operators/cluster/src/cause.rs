//! Why a Cluster is as it is, besides the causes of its connection.

use drover_runtime::causes;

causes! {
    /// What the conditions of a Cluster say.
    pub enum ClusterCause {
        /// The API server answers, and Drover works with the cluster.
        Connected = "Connected": Blocked expected; "",
        /// Drover connects for the first time.
        Connecting = "Connecting": Blocked expected; "",
        /// The cluster is unreachable, so what only it can show is unknown.
        ConnectionLost = "ConnectionLost": Unreachable; "See the condition Connected.",
        /// The cluster answers, but another Cluster or installation holds the claim.
        NotAccepted = "NotAccepted": Blocked; "See the condition Accepted.",
        /// This installation holds the claim on the cluster.
        Claimed = "Claimed": Blocked expected; "",
        /// The API server says that it is ready.
        Available = "Available": Blocked expected; "",
        /// Every node is ready.
        AllReady = "AllReady": Blocked expected; "",
        /// At least one node is not ready.
        NodesNotReady = "NodesNotReady": Blocked; "Look at the nodes of the cluster.",
        /// Drover has seen no certificate, so it is unknown when one ends.
        NotObserved = "NotObserved": Blocked expected; "",
        /// No certificate ends soon.
        Valid = "Valid": Blocked expected; "",
        /// A certificate or the credential ends soon.
        Expiring = "Expiring": Blocked; "Renew what the message names.",
        /// A certificate or the credential has ended.
        Expired = "Expired": Blocked; "Renew what the message names.",
        /// EtcdBackups take its etcd from its nodes.
        EtcdOnNodes = "EtcdOnNodes": Blocked expected; "",
        /// The etcd of the cluster is not on its nodes, or Drover does not know where.
        EtcdOutOfReach = "EtcdOutOfReach": Blocked expected; "Use what the message names.",
        /// spec.etcd says that no etcd can be backed up.
        EtcdDeclined = "EtcdDeclined": Blocked expected; "",
        /// The API server accepts the credential.
        Accepted = "Accepted": Blocked expected; "",
        /// The Secret changed, and its new content does not work; the connection with the old one goes on.
        NewCredentialRejected = "NewCredentialRejected": Blocked; "Put a valid kubeconfig into the Secret.",
        /// The credential lacks rights that this version of Drover needs.
        DownstreamRoleOutdated = "DownstreamRoleOutdated": Blocked; "Run `drover import --context CONTEXT --name NAME --apply` again.",
        /// The cluster has not answered yet which rights the credential has.
        RightsUnknown = "RightsUnknown": Blocked expected; "Wait: Drover asks again with every probe.",
        /// Every admission policy is in place, in the management cluster and in this one.
        PoliciesInstalled = "PoliciesInstalled": Blocked expected; "",
        /// Admission policies are absent or altered, and Drover grants nothing new there.
        PoliciesMissing = "PoliciesMissing": Blocked; "Restore those of the management cluster with the chart; Drover restores those of the cluster.",
        /// Drover cannot see the admission policies, and grants nothing new there.
        PoliciesUnknown = "PoliciesUnknown": Blocked; "See the condition CredentialValid for rights that are missing.",
    }
}

causes! {
    /// How far the deletion of a Cluster is.
    pub enum DeletionCause {
        /// The Cluster is being deleted, and nothing is known of the cluster yet.
        Deleting = "Deleting": Blocked expected; "",
        /// spec.suspend is set, so Drover writes nothing and the deletion waits.
        Suspended = "Suspended": Blocked stalls; "Set spec.suspend to false to go on.",
        /// Drover connects for the first time.
        Connecting = "Connecting": Blocked expected; "",
        /// The cluster is unreachable; Drover waits for it until the deadline.
        WaitingForCluster = "WaitingForCluster": Unreachable; "See the condition Connected.",
        /// The cluster answers, and Drover cannot look up what it has there.
        LookupFailed = "LookupFailed": Blocked; "See the message for the request that failed.",
        /// Drover removes its labels from namespaces of Projects that do not exist.
        ReleasingNamespaces = "ReleasingNamespaces": Blocked expected; "",
        /// Objects that Drover manages are still there.
        WaitingForOwners = "WaitingForOwners": Blocked expected; "",
        /// Drover removes its admission policies.
        RemovingPolicies = "RemovingPolicies": Blocked expected; "",
        /// Drover releases the claim.
        ReleasingClaim = "ReleasingClaim": Blocked expected; "",
        /// Drover deletes the namespace drover-system of the cluster.
        RemovingNamespace = "RemovingNamespace": Blocked expected; "",
        /// The deadline has passed: Drover stopped waiting, and its claim and labels remain on the cluster.
        Abandoned = "Abandoned": Blocked; "When the cluster answers again, apply the Cluster under the same name with deletionPolicy: Delete, and delete it.",
        /// Nothing of this Cluster is left at the cluster.
        Released = "Released": Blocked expected; "",
    }
}
