//! Why a rollout is not where its spec wants it.

use drover_runtime::causes;

causes! {
    /// Why an app is not on all of its targets, or not as its spec says.
    pub enum RolloutCause {
        /// No cluster is selected that admits the namespace.
        NoTarget = "NoTarget": Blocked; "Select a Cluster that names the namespace in spec.tenants.",
        /// Every target is offline or suspended.
        AllOffline = "AllOffline": Blocked; "Look at the Clusters.",
        /// A cluster that is named does not exist, or does not admit the namespace.
        TargetMissing = "TargetMissing": Blocked; "Create the Cluster that the message names, add the namespace to its spec.tenants, or remove it from spec.clusters.",
        /// An override selects no target.
        OverrideUnused = "OverrideUnused": Blocked; "Correct the clusters of the override that the message names, or remove it.",
        /// A stage with a selector selects no target, so that what it was to try first is passed over.
        StageEmpty = "StageEmpty": Blocked; "Label the Clusters of the stage that the message names, correct its selector, or remove it.",
        /// Targets are updated, or the rollout waits for them.
        RollingOut = "RollingOut": Blocked; "Wait, or look at the targets in status.notReady.",
        /// A stage needs approval.
        WaitingForApproval = "WaitingForApproval": Blocked; "Set the annotation that the message names.",
        /// The spec or an annotation holds the rollout.
        RolloutPaused = "RolloutPaused": Blocked; "Remove what holds it, as the message says.",
        /// More targets failed than may.
        RolloutFailed = "RolloutFailed": Blocked stalls; "Look at the CatalogApps of the targets in status.notReady, and change the app.",
        /// The revision failed, and targets go back to the one before.
        RollingBack = "RollingBack": Blocked; "Wait; then change the app.",
        /// All targets have the revision of before.
        RolledBack = "RolledBack": Blocked stalls; "Change the app: a revision that failed is not tried again.",
        /// Targets have the revision and are not ready.
        TargetsNotReady = "TargetsNotReady": Blocked; "Look at the CatalogApps of the targets in status.notReady.",
        /// The revision that spec.pin names is not kept.
        RevisionNotKept = "RevisionNotKept": Blocked stalls; "Name a revision that kubectl get controllerrevisions lists, or remove spec.pin.",
        /// A revision that is kept cannot be read.
        RevisionUnreadable = "RevisionUnreadable": Blocked; "Delete the ControllerRevision that the message names; if it names none, change template or overrides.",
        /// Template and overrides are larger than a revision may be.
        RevisionTooLarge = "RevisionTooLarge": Blocked stalls; "Put values into a ConfigMap, and name it in valuesFrom.",
        /// More clusters left at once than apps may be removed.
        PruneBlocked = "PruneBlocked": Blocked; "Select the clusters again, or raise spec.rollout.prune.maxFraction.",
        /// Nothing went on for longer than the deadline.
        DeadlineExceeded = "DeadlineExceeded": Blocked; "Look at the CatalogApps of the targets in status.notReady.",
    }
}
