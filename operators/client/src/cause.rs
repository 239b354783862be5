//! The causes of everything that is not as wanted, and one table from which retry, condition, event and reference are made.
//!
//! Each crate lists its own causes with [`causes!`](crate::causes), as an enum; a [`Cause`] is one row of such a table, for code
//! that handles causes of every kind alike. No code compares reason texts.

use crate::error::Class;

/// Why something is as it is: a row of a table of causes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cause {
    reason: &'static str,
    class: Class,
    meaning: &'static str,
    remedy: &'static str,
    needs_action: bool,
    is_foreign: bool,
    is_expected: bool,
}

impl Cause {
    /// A cause that may go away by itself.
    #[must_use]
    pub const fn new(reason: &'static str, class: Class, meaning: &'static str, remedy: &'static str) -> Self {
        Self { reason, class, meaning, remedy, needs_action: false, is_foreign: false, is_expected: false }
    }

    /// The same, but no waiting heals it: the object is `Stalled` until a person acts.
    #[must_use]
    pub const fn stalls(self) -> Self {
        Self { needs_action: true, ..self }
    }

    /// The same; the thing in question is known to belong to another owner.
    #[must_use]
    pub const fn foreign(self) -> Self {
        Self { is_foreign: true, ..self }
    }

    /// The same; it is a state on the way, which raises no warning.
    #[must_use]
    pub const fn expected(self) -> Self {
        Self { is_expected: true, ..self }
    }

    /// The same, handled as a failure of another class.
    #[must_use]
    pub const fn of_class(self, class: Class) -> Self {
        Self { class, ..self }
    }

    /// The reason of conditions and events.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        self.reason
    }

    /// Whether it is one of these.
    #[must_use]
    pub fn is_any(self, others: &[Self]) -> bool {
        others.contains(&self)
    }

    /// What kind of failure it is.
    #[must_use]
    pub const fn class(self) -> Class {
        self.class
    }

    /// What it means, in a sentence.
    #[must_use]
    pub const fn meaning(self) -> &'static str {
        self.meaning
    }

    /// What to do about it; empty where there is nothing to do.
    #[must_use]
    pub const fn remedy(self) -> &'static str {
        self.remedy
    }

    /// Whether no waiting heals it: exactly then an object is `Stalled`.
    #[must_use]
    pub const fn needs_action(self) -> bool {
        self.needs_action
    }

    /// Whether the thing in question is known to belong to another owner.
    #[must_use]
    pub const fn is_foreign(self) -> bool {
        self.is_foreign
    }

    /// Whether it is a state on the way.
    #[must_use]
    pub const fn is_expected(self) -> bool {
        self.is_expected
    }
}

/// Declares an enum of causes: for each variant its meaning as a doc comment, its reason, its [`Class`], marks
/// (`stalls`, `foreign`, `expected`; see [`Cause`]), and the remedy.
///
/// ```
/// drover_client::causes! {
///     /// Why a toy is not made.
///     pub enum ToyCause {
///         /// The shelf is full.
///         ShelfFull = "ShelfFull": Blocked stalls; "Make room on the shelf.",
///     }
/// }
/// assert!(ToyCause::ShelfFull.cause().needs_action());
/// assert_eq!(ToyCause::from_reason("ShelfFull"), Some(ToyCause::ShelfFull));
/// ```
#[macro_export]
macro_rules! causes {
    ($(#[$outer:meta])* $visibility:vis enum $name:ident {
        $($(#[doc = $meaning:literal])+ $variant:ident = $reason:literal: $class:ident $($mark:ident)*; $remedy:literal),+ $(,)?
    }) => {
        $(#[$outer])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        $visibility enum $name { $($(#[doc = $meaning])+ $variant),+ }

        impl $name {
            /// The table of all of them.
            pub const TABLE: &'static [$crate::Cause] = &[$(Self::$variant.cause()),+];

            /// Its row.
            #[must_use]
            pub const fn cause(self) -> $crate::Cause {
                match self {
                    $(Self::$variant => $crate::Cause::new($reason, $crate::Class::$class, concat!($($meaning),+), $remedy)
                        $(.$mark())*),+
                }
            }

            /// The reason of conditions and events.
            #[must_use]
            pub const fn reason(self) -> &'static str {
                self.cause().reason()
            }

            /// The cause that a stored reason names.
            #[must_use]
            pub fn from_reason(reason: &str) -> Option<Self> {
                match reason {
                    $($reason => Some(Self::$variant),)+
                    _ => None,
                }
            }
        }

        impl From<$name> for $crate::Cause {
            fn from(cause: $name) -> Self {
                cause.cause()
            }
        }
    };
}

causes! {
    /// What every kind says of itself.
    pub enum StatusCause {
        /// The object is as its spec wants it.
        Ready = "Ready": Blocked expected; "",
        /// Every cluster that can be reached is as wanted; some selected clusters cannot be reached.
        ReadyExceptUnreachable = "ReadyExceptUnreachable": Blocked expected; "Look at the Clusters that are not Ready.",
        /// Drover is still working towards the spec, or has no verdict yet.
        Progressing = "Progressing": Blocked expected; "",
        /// At least one cluster that can be reached is not as wanted.
        Failed = "Failed": Blocked; "See status.problems, of a MultiClusterApp status.notReady.",
        /// The object selects no cluster that admits it.
        NoTargets = "NoTargets": Blocked; "Check spec.clusters, the labels of the Clusters, and their spec.tenants.",
        /// No selected cluster was ever reached, or some cannot be reached now.
        Unreachable = "Unreachable": Unreachable; "See the Clusters that the message names.",
        /// spec.suspend is set, so Drover writes nothing.
        Suspended = "Suspended": Blocked expected; "Set spec.suspend to false to go on.",
        /// The object names a Cluster that does not exist.
        ClusterNotFound = "ClusterNotFound": Blocked; "Create the Cluster, or remove it from spec.clusters.names; of an app, name another one in another app.",
        /// The object names a Cluster that is being deleted.
        ClusterDeleting = "ClusterDeleting": Blocked; "Remove the Cluster from spec.clusters.names; of an app, name another one in another app.",
        /// The Cluster is suspended, so Drover writes nothing there.
        ClusterSuspended = "ClusterSuspended": Blocked; "Set spec.suspend of the Cluster to false to go on.",
        /// Every selected cluster can be reached.
        Reachable = "Reachable": Blocked expected; "",
        /// No selected cluster could be looked at.
        NotObserved = "NotObserved": Blocked; "See the condition ClustersReachable.",
        /// The object is being deleted; the message says what its finalizer waits for.
        Deleting = "Deleting": Blocked expected; "",
        /// The deletion of the object waited for a cluster for as long as its kind allows, and ended without it.
        DeletionTimedOut = "DeletionTimedOut": Blocked; "Look at the cluster that the message names; Drover releases what stays there when it can.",
        /// The spec has a field that this version accepts but does not act on.
        NotYetImplemented = "NotYetImplemented": Invalid stalls; "Remove the field, or upgrade Drover.",
        /// The stored object cannot be decoded.
        InvalidObject = "InvalidObject": Invalid stalls; "Correct the object so that it fits the definition of its kind.",
        /// A defect in Drover ended the reconcile.
        InternalError = "InternalError": Bug; "Report it with the log of Drover at that time.",
        /// Drover ended a reconcile that took longer than 2 minutes.
        ReconcileTimeout = "ReconcileTimeout": Bug; "Check whether the cluster answers slowly; report it with the log of Drover if not.",
        /// Another client keeps changing a field of an object that Drover owns back.
        DriftConflict = "DriftConflict": Blocked stalls; "Settle which of the two owns the field.",
        /// An object that Drover wants is being deleted.
        Terminating = "Terminating": Blocked expected; "Look at what the object waits for, if it stays.",
        /// An object that Drover owns cannot be decoded, so Drover leaves it as it is.
        UndecodableObject = "UndecodableObject": Blocked; "Correct or remove the object that the message names.",
    }
}

causes! {
    /// Why a request to an API server did not succeed.
    pub enum ApiCause {
        /// The API server did not answer in time.
        Timeout = "Timeout": Transient; "Wait, or check whether the API server is overloaded.",
        /// The API server sent more than Drover accepts.
        TooLarge = "TooLarge": Transient; "Remove what the cluster holds too much of.",
        /// The connection to the API server failed.
        ConnectionFailed = "ConnectionFailed": Transient; "Wait: the Cluster reports when its connection is lost.",
        /// The API server answered with an error of its own.
        ApiServerError = "APIServerError": Transient; "Look at the API server, its admission webhooks and its etcd.",
        /// Another client changed the object at the same time, again and again.
        Conflict = "Conflict": Conflict; "Find the client that keeps writing the object, for example in its managedFields.",
        /// The API server refuses the object: the spec, an admission webhook or an admission policy does not allow it.
        Rejected = "Rejected": Invalid stalls; "Change the spec as the message says, or what refuses it.",
        /// The API server does not accept the credential.
        Unauthorized = "Unauthorized": Unreachable; "Wait for the verdict of the Cluster; renew its credential if it says Unauthorized.",
        /// An admission webhook of the cluster does not answer.
        WebhookFailed = "WebhookFailed": Blocked; "Look at the service behind the webhook that the message names.",
        /// A resource quota of the cluster leaves no room.
        QuotaExceeded = "QuotaExceeded": Blocked; "Raise the quota that the message names, or remove what it counts.",
        /// The namespace is being deleted, so nothing new may be created in it.
        NamespaceTerminating = "NamespaceTerminating": Conflict expected; "Look at what the namespace waits for, if it stays.",
        /// The credential lacks a right.
        Forbidden = "Forbidden": Blocked stalls; "Grant the right that the message names, or run `drover import --context CONTEXT --name NAME --apply` again.",
        /// The API server does not serve the kind, or the namespace is gone.
        NotFound = "NotFound": Blocked; "Wait, or create what the message names.",
    }
}

causes! {
    /// Why Drover did not write an object.
    pub enum WriteCause {
        /// An object of that name exists and is foreign; Drover leaves it as it is.
        AlreadyExists = "AlreadyExists": Conflict stalls; "Rename or remove one of the two.",
        /// Another field manager owns a field that Drover wants otherwise, on an object that was adopted.
        FieldConflict = "FieldConflict": Blocked stalls; "Remove the field from one of the two sides.",
    }
}

/// The tables of the causes that every kind may name.
pub const RUNTIME_CAUSES: &[&[Cause]] = &[StatusCause::TABLE, ApiCause::TABLE, WriteCause::TABLE];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_table_has_each_reason_once_and_finds_it_again() {
        let all: Vec<Cause> = [StatusCause::TABLE, ApiCause::TABLE, WriteCause::TABLE].concat();
        let reasons: BTreeSet<_> = all.iter().map(|cause| cause.reason()).collect();
        assert_eq!(reasons.len(), all.len());
        assert!(all.iter().all(|cause| cause.meaning().ends_with('.')), "meanings are sentences");
        for cause in all.iter().filter(|cause| cause.needs_action()) {
            assert!(!cause.remedy().is_empty(), "{} needs a remedy", cause.reason());
        }
        assert_eq!(ApiCause::from_reason("Forbidden"), Some(ApiCause::Forbidden));
        assert_eq!(ApiCause::from_reason("forbidden"), None);
    }
}
