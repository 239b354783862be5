//! What a rollout waits for, and why no app is removed.

use std::fmt;

/// What a rollout waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wait {
    /// There is no target that has the revision, or could get it.
    NoTarget,
    /// Every target is offline or suspended.
    AllOffline,
    /// An annotation holds the revision.
    Hold {
        /// The name of the revision.
        revision: String,
        /// Name of the stage at which it stands, if it is at one.
        stage: Option<String>,
    },
    /// The spec holds all revisions.
    Paused {
        /// Name of the stage.
        stage: String,
    },
    /// The stage needs approval.
    Approval {
        /// Name of the stage.
        stage: String,
        /// The name of the revision, which the annotation is to have.
        revision: String,
    },
    /// More targets failed than may.
    Failures {
        /// Name of the stage.
        stage: String,
        /// The first of them.
        cluster: String,
        /// Whether the stage asks for a rollback, and there is nothing to go back to.
        has_no_way_back: bool,
    },
    /// The strategy lets no target be unavailable.
    NoBudget {
        /// Name of the stage.
        stage: String,
    },
    /// Targets are not ready yet.
    Targets {
        /// Name of the stage.
        stage: String,
        /// The first of them.
        cluster: String,
    },
    /// Targets have to be back first.
    Offline {
        /// Name of the stage.
        stage: String,
        /// The first of them.
        cluster: String,
    },
    /// The names of apps are taken.
    NameTaken {
        /// Name of the stage.
        stage: String,
        /// The first cluster of them.
        cluster: String,
    },
    /// The last batch was too short a time ago.
    Interval {
        /// Name of the stage.
        stage: String,
    },
    /// All targets of the stage are ready, and not for long enough.
    MinReady {
        /// Name of the stage.
        stage: String,
    },
}

/// Why no app is removed although clusters left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blocked {
    /// No target is left.
    NothingSelected,
    /// More left than may go.
    TooMany {
        /// How many left.
        deselected: usize,
        /// How many of them may go now.
        allowed: usize,
    },
}

impl Wait {
    /// Whether it is for targets, so that too long a time of it is told.
    #[must_use]
    pub fn is_for_targets(&self) -> bool {
        matches!(self, Self::Targets { .. } | Self::Offline { .. } | Self::NameTaken { .. })
    }

    /// The stage that it is about.
    #[must_use]
    pub fn stage(&self) -> Option<&str> {
        match self {
            Self::NoTarget | Self::AllOffline => None,
            Self::Hold { stage, .. } => stage.as_deref(),
            Self::Paused { stage }
            | Self::Approval { stage, .. }
            | Self::Failures { stage, .. }
            | Self::NoBudget { stage }
            | Self::Targets { stage, .. }
            | Self::Offline { stage, .. }
            | Self::NameTaken { stage, .. }
            | Self::Interval { stage }
            | Self::MinReady { stage } => Some(stage),
        }
    }
}

impl fmt::Display for Wait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoTarget => write!(f, "the app has no target; select a Cluster that lets this namespace in"),
            Self::AllOffline => write!(f, "every target is offline or suspended; the rollout begins once one is back"),
            Self::Hold { revision, .. } => {
                write!(f, "annotation drover.dev/hold holds revision {revision}; remove it to go on")
            }
            Self::Paused { .. } => write!(f, "spec.rollout.paused holds the rollout; set it to false to go on"),
            Self::Approval { stage, revision } => {
                write!(f, "stage {stage} needs approval; set annotation drover.dev/approve: {revision}")
            }
            Self::Failures { stage, cluster, has_no_way_back: false } => {
                write!(
                    f,
                    "more targets of stage {stage} failed than maxFailures allows, {cluster} among them; mend them, or change the app"
                )
            }
            Self::Failures { stage, cluster, has_no_way_back: true } => write!(
                f,
                "more targets of stage {stage} failed than maxFailures allows, {cluster} among them, and no revision was complete before; mend them, or change the app"
            ),
            Self::NoBudget { stage } => {
                write!(f, "maxUnavailable or batchSize of stage {stage} is 0, so no target is updated; set at least 1")
            }
            Self::Targets { stage, cluster } => {
                write!(f, "stage {stage} waits for targets to become ready, {cluster} among them")
            }
            Self::Offline { stage, cluster } => write!(
                f,
                "stage {stage} waits for clusters that are offline or suspended, {cluster} among them; set spec.rollout.offlinePolicy: Skip to go on without"
            ),
            Self::NameTaken { stage, cluster } => write!(
                f,
                "the name of an app of stage {stage} is taken by an object of others, that for {cluster} among them; rename or delete that object"
            ),
            Self::Interval { stage } => write!(f, "stage {stage} waits until its interval is over"),
            Self::MinReady { stage } => write!(f, "all of stage {stage} are ready, and have to be so for minReady"),
        }
    }
}

impl fmt::Display for Blocked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NothingSelected => {
                write!(f, "spec.clusters selects no cluster, so no app is removed; select one, or delete this object")
            }
            Self::TooMany { deselected, allowed } => write!(
                f,
                "{deselected} clusters are no targets any more, and {allowed} may go now by spec.rollout.prune.maxFraction, so no app is removed; select them again, or raise maxFraction"
            ),
        }
    }
}
