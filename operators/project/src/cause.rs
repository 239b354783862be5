//! Why a Project is not as wanted.

use drover_runtime::causes;

causes! {
    /// Why a Project, or one of its namespaces, is not as wanted.
    pub enum ProjectCause {
        /// The owner of the cluster protects the namespace.
        NamespaceProtected = "NamespaceProtected": Invalid stalls; "Choose another name, or change spec.protectedNamespaces of the Cluster.",
        /// No tenant entry of the Cluster allows a namespace of this name.
        NamespaceNotAllowed = "NamespaceNotAllowed": Blocked; "Choose a name that namespacePatterns of the tenant entry allow, or add a pattern.",
        /// The management namespace holds as many namespaces on the cluster as its tenant entry allows.
        NamespaceLimitReached = "NamespaceLimitReached": Blocked; "Remove another namespace, or raise maxNamespaces of the tenant entry.",
        /// The owner of the cluster does not let the Project set a label or an annotation, so Drover leaves the namespace alone.
        MetadataNotAllowed = "MetadataNotAllowed": Blocked; "Remove the label or annotation, or add its key to metadataKeys of the tenant entry.",
        /// Another Project holds the namespace, or is older and wants it as well.
        NamespaceTaken = "NamespaceTaken": Blocked stalls; "Remove the namespace from one of the two Projects.",
        /// The Project that holds the namespace releases it, or both sides agreed that this one adopts it then.
        WaitingForRelease = "WaitingForRelease": Blocked; "Wait; if the other Project is to keep the namespace, remove it here.",
        /// The namespace exists, and the Project does not ask to adopt it.
        NamespaceExists = "NamespaceExists": Blocked stalls; "Choose another name, or set what the message names.",
        /// The namespace exists, the Project asks to adopt it, and no tenant entry of the Cluster allows that.
        AdoptionNotAllowed = "AdoptionNotAllowed": Blocked; "Set adopt: Allowed in the tenant entry, or choose another name.",
        /// An object in a namespace of the Project has the name that Drover's own has there, and is not the Project's.
        GuardTaken = "GuardTaken": Blocked stalls; "Remove the object that the message names.",
        /// The credential of the cluster lacks rights on what guards the namespace, so Drover does not create it, or leaves the guard as it is.
        GuardNotPermitted = "GuardNotPermitted": Blocked stalls; "Run `drover import --context CONTEXT --name NAME --apply` again.",
        /// A quantity of the spec is none, or larger than Kubernetes keeps.
        InvalidQuantity = "InvalidQuantity": Invalid stalls; "Correct the quantity that the message names.",
        /// A namespace gets less than it requests, as others have the rest.
        QuotaExhausted = "QuotaExhausted": Blocked; "Raise spec.quota.perCluster, or lower what namespaces request.",
        /// More is granted than the quota allows since it was lowered.
        Overcommitted = "Overcommitted": Blocked; "Raise spec.quota.perCluster, or lower what namespaces request.",
        /// A namespace asks for the Project, whose prefixes do not begin its name.
        NamespaceNotEntitled = "NamespaceNotEntitled": Blocked; "List the namespace in spec.namespaces, or remove the labels by which it asks.",
        /// A namespace asks for the Project since before an admission policy judged who asks.
        RequestNotGuarded = "RequestNotGuarded": Blocked; "Create the namespace again, or list it in spec.namespaces.",
        /// More namespaces ask for the Project than it allows.
        SelfServiceLimitReached = "SelfServiceLimitReached": Blocked; "Raise spec.selfService.maxNamespaces, or delete namespaces.",
        /// A prefix of the Project begins, or is begun by, a prefix of another one.
        PrefixesOverlap = "PrefixesOverlap": Blocked stalls; "Change a prefix of one of the two Projects.",
        /// No tenant entry of the Cluster allows all names that begin with a prefix.
        PrefixNotAllowed = "PrefixNotAllowed": Blocked; "Choose a prefix inside namespacePatterns of the tenant entry, or add a pattern.",
        /// The Project selects the management cluster, where no member creates namespaces.
        SelfServiceNotHere = "SelfServiceNotHere": Blocked stalls; "Remove the cluster local from spec.clusters, or spec.selfService.",
        /// A Project was placed outside of a Cluster.
        InternalError = "InternalError": Bug; "Report it with the log of Drover at that time.",
    }
}
