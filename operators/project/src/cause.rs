//! Why a Project is not as wanted.

use drover_runtime::causes;

causes! {
    /// Why a Project, or one of its namespaces, is not as wanted.
    pub enum ProjectCause {
        /// The owner of a cluster that the Project names does not admit its namespace.
        NotATenant = "NotATenant": Blocked; "Add the namespace to spec.tenants of the Cluster, or remove the cluster from spec.clusters.names.",
        /// The Project names a Cluster that does not exist.
        ClusterNotFound = "ClusterNotFound": Blocked; "Create the Cluster, or remove it from spec.clusters.names.",
        /// The Project names a Cluster that is being deleted.
        ClusterDeleting = "ClusterDeleting": Blocked; "Remove the Cluster from spec.clusters.names.",
        /// The Cluster is suspended, so Drover writes nothing there.
        ClusterSuspended = "ClusterSuspended": Blocked; "Set spec.suspend of the Cluster to false to go on.",
        /// The owner of the cluster protects the namespace.
        NamespaceProtected = "NamespaceProtected": Invalid stalls; "Choose another name, or change spec.protectedNamespaces of the Cluster.",
        /// No tenant entry of the Cluster allows a namespace of this name.
        NamespaceNotAllowed = "NamespaceNotAllowed": Blocked; "Choose a name that namespacePatterns of the tenant entry allow, or add a pattern.",
        /// Another Project holds the namespace, or is older and wants it as well.
        NamespaceTaken = "NamespaceTaken": Blocked stalls; "Remove the namespace from one of the two Projects.",
        /// The namespace exists, and Drover may not adopt it.
        NamespaceExists = "NamespaceExists": Blocked stalls; "Choose another name, or set onExisting: Adopt, and adopt: Allowed in the tenant entry.",
        /// Another client keeps changing a field of the namespace back.
        DriftConflict = "DriftConflict": Blocked stalls; "Settle which of the two owns the field.",
        /// The namespace is being deleted.
        Terminating = "Terminating": Blocked expected; "Look at what the namespace waits for, if it stays.",
        /// Every selected cluster admits the Project.
        Allowed = "Allowed": Blocked expected; "",
        /// Every selected cluster can be reached.
        Reachable = "Reachable": Blocked expected; "",
        /// No selected cluster could be looked at.
        NotObserved = "NotObserved": Blocked; "See the condition ClustersReachable.",
        /// A Project was placed outside of a Cluster.
        InternalError = "InternalError": Bug; "Report it with the log of Drover at that time.",
    }
}
