//! Why a Project is not as wanted.

use drover_runtime::causes;

causes! {
    /// Why a Project, or one of its namespaces, is not as wanted.
    pub enum ProjectCause {
        /// The owner of the cluster protects the namespace.
        NamespaceProtected = "NamespaceProtected": Invalid stalls; "Choose another name, or change spec.protectedNamespaces of the Cluster.",
        /// No tenant entry of the Cluster allows a namespace of this name.
        NamespaceNotAllowed = "NamespaceNotAllowed": Blocked; "Choose a name that namespacePatterns of the tenant entry allow, or add a pattern.",
        /// Another Project holds the namespace, or is older and wants it as well.
        NamespaceTaken = "NamespaceTaken": Blocked stalls; "Remove the namespace from one of the two Projects.",
        /// The namespace exists, and Drover may not adopt it.
        NamespaceExists = "NamespaceExists": Blocked stalls; "Choose another name, or set onExisting: Adopt, and adopt: Allowed in the tenant entry.",
        /// A Project was placed outside of a Cluster.
        InternalError = "InternalError": Bug; "Report it with the log of Drover at that time.",
    }
}
