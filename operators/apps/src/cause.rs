//! Why an app is not as wanted.

use drover_runtime::causes;

causes! {
    /// Why an app is not released, or not as its spec says.
    pub enum AppCause {
        /// No tenant entry of the Cluster allows a namespace of this name.
        NamespaceNotAllowed = "NamespaceNotAllowed": Blocked; "Choose a name that namespacePatterns of the tenant entry allow, or add a pattern.",
        /// No tenant entry of the Cluster allows apps without a Project.
        ClusterAppsNotAllowed = "ClusterAppsNotAllowed": Blocked; "Add ClusterApps to operations of the tenant entry, or name a Project in another app.",
        /// An app without a Project names a namespace that a Project holds.
        NamespaceOfProject = "NamespaceOfProject": Blocked; "Name a namespace that no Project holds in another app.",
        /// The namespace of an app without a Project does not exist on the cluster.
        NamespaceNotFound = "NamespaceNotFound": Blocked; "Create the namespace.",
        /// The namespace is being deleted.
        NamespaceTerminating = "NamespaceTerminating": Blocked; "Wait until it is there again; look for finalizers of what is in it.",
        /// The Project does not hold the namespace on the cluster.
        NamespaceNotOfProject = "NamespaceNotOfProject": Blocked; "List the namespace in spec.namespaces of the Project, or name a namespace of it in another app.",
        /// What the Project wants in the namespace, such as its quota or its isolation, is not there yet.
        NamespaceNotGuarded = "NamespaceNotGuarded": Blocked; "Look at the status of the Project.",
        /// The management cluster itself is no target of apps.
        NotOnManagementCluster = "NotOnManagementCluster": Invalid stalls; "Name another Cluster in another app.",
        /// The role of the app is not in the cluster yet.
        RoleNotReady = "RoleNotReady": Blocked; "Look at the status of the RoleTemplate.",
        /// The object that holds the chart, or its key, does not exist, or does not carry the label drover.dev/usable-by: catalog-app.
        ChartNotFound = "ChartNotFound": Blocked; "Create the object that the message names, with that label, or correct spec.chart.",
        /// The chart is not the one that the digest names.
        DigestMismatch = "DigestMismatch": Blocked stalls; "Correct the digest in spec.chart, or the chart.",
        /// The chart cannot be read, or is none that can be installed.
        ChartInvalid = "ChartInvalid": Blocked stalls; "Correct the chart as the message says.",
        /// An object with values, or its key, does not exist, or does not carry the label drover.dev/usable-by: catalog-app.
        ValuesNotFound = "ValuesNotFound": Blocked; "Create the object that the message names, with that label, or set optional.",
        /// The chart or the values to which an app of a MultiClusterApp refers are not those that were rolled out to it.
        InputsNotRolledOut = "InputsNotRolledOut": Blocked; "Look at the status of the MultiClusterApp.",
        /// The revision that spec.pin names is not there.
        RevisionNotFound = "RevisionNotFound": Blocked stalls; "Name a revision of status.history in spec.pin, or remove spec.pin.",
        /// An app on which this one depends is not ready.
        DependencyNotReady = "DependencyNotReady": Blocked; "Look at the app that the message names.",
        /// Apps wait for each other.
        DependencyCycle = "DependencyCycle": Blocked stalls; "Remove one of the dependencies that the message names.",
        /// Objects of a release are not in the cluster as it says.
        Drifted = "Drifted": Blocked; "Set spec.drift.mode to Correct, or change the app so that it says what is there.",
        /// An object of a release that was deployed is not ready any more.
        NotReady = "NotReady": Blocked; "Look at the object that the message names in the cluster.",
        /// Values are no YAML, too large, or not as the chart wants them.
        ValuesInvalid = "ValuesInvalid": Blocked stalls; "Correct the values as the message says.",
        /// Drover has no key for what it may show of secret values: it can neither read nor create the Secret drover-app-key in its namespace.
        KeyUnavailable = "KeyUnavailable": Blocked; "Let Drover get and create Secrets in its own namespace, as its chart does.",
        /// Drover has no helm to render charts with, or another version than it needs.
        HelmUnavailable = "HelmUnavailable": Blocked; "Run the image of Drover that has helm, or name the program with --helm.",
        /// The chart looks up an object that the app may not read.
        LookupRefused = "LookupRefused": Blocked stalls; "Let the RoleTemplate read what the message names, or turn off by values what looks it up.",
        /// The templates of the chart failed.
        RenderFailed = "RenderFailed": Blocked stalls; "Correct the values or the chart as the message says.",
        /// The chart makes objects that an app of a Project may not have.
        ObjectsRefused = "ObjectsRefused": Blocked stalls; "Remove the objects that the message names from the chart.",
        /// The chart of an app of a Project has definitions in crds/ that the cluster lacks.
        DefinitionsMissing = "DefinitionsMissing": Blocked; "Define the kinds that the message names by an app of the platform, or set spec.crds to Skip.",
        /// The record of the release does not fit into a Secret.
        RecordTooLarge = "RecordTooLarge": Blocked stalls; "Split the chart, or remove large files from its manifests.",
        /// Another client is releasing, such as helm.
        Locked = "Locked": Blocked; "Wait; a run that ended in the middle counts as over after its timeout.",
        /// An older app beside this one has the release of this name.
        ReleaseTaken = "ReleaseTaken": Blocked stalls; "Set another spec.releaseName in another app, or delete one of the two.",
        /// An object exists already, and belongs to no release or to another one.
        ObjectExists = "ObjectExists": Blocked stalls; "Remove the object that the message names, or set takeOwnership.",
        /// An object of the release is being deleted.
        ObjectTerminating = "ObjectTerminating": Conflict expected; "Look at what the object waits for, if it stays.",
        /// The cluster refused an object of the release.
        ApplyFailed = "ApplyFailed": Blocked; "Look at what the message says; a change of the spec is tried at once.",
        /// A hook failed, or did not end in time.
        HookFailed = "HookFailed": Blocked; "Look at the hook that the message names in the cluster.",
        /// An object was not ready in time.
        NotReadyInTime = "NotReadyInTime": Blocked; "Look at the object that the message names in the cluster, or raise spec.wait.timeout.",
        /// All tries of the present inputs failed.
        RetriesExhausted = "RetriesExhausted": Blocked stalls; "Change the spec, or the values that it refers to.",
        /// An app was placed outside of a Cluster.
        InternalError = "InternalError": Bug; "Report it with the log of Drover at that time.",
    }
}
