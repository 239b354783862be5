//! What a decision contributes to the status. Pure.

use drover_crds::{
    Admission, MultiClusterApp, NotReady, RevisionRef, RolloutCounts, RolloutPhase, RolloutRecord, StageStatus,
};
use drover_grants::admitted::record;
use drover_rollouts::{Blocked, Wait};
use drover_runtime::{Cause, place_status::Readiness};
use k8s_openapi::jiff::Timestamp;

use crate::observe::World;

/// What is told of an app on many clusters.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PlaceStatus {
    /// Why nothing was decided, if nothing was.
    pub undecided: Option<Readiness>,
    /// Whether what the status says of the same spec stands, as too little is known to say anything else.
    pub stands: bool,
    /// Under which admission policies the spec was written.
    pub admission: Option<Admission>,
    /// The revision that was completed last.
    pub current: Option<RevisionRef>,
    /// The revision that is wanted.
    pub target: Option<RevisionRef>,
    /// How far the rollout is, and what it waits for.
    pub told: Option<Told>,
    /// What is to be remembered.
    pub record: Option<RolloutRecord>,
    /// The first cluster that is named and is no target, and why.
    pub missing: Option<String>,
    /// Clusters that do not admit the namespace.
    pub refused: i64,
}

/// What a decision says of the rollout.
#[derive(Clone, Debug, PartialEq)]
pub struct Told {
    /// How far it is.
    pub phase: RolloutPhase,
    /// What it waits for.
    pub wait: Option<Wait>,
    /// Why nothing is removed.
    pub blocked: Option<Blocked>,
    /// Whether nothing went on for too long.
    pub is_degraded: bool,
    /// The targets.
    pub counts: RolloutCounts,
    /// By stage.
    pub stages: Vec<StageStatus>,
    /// Some of those that are not ready.
    pub not_ready: Vec<NotReady>,
    /// Overrides that count on no cluster, by their positions.
    pub unused: Vec<usize>,
}

impl PlaceStatus {
    /// What is known already.
    pub(crate) fn of(app: &MultiClusterApp, world: &World, now: Timestamp) -> Self {
        let status = app.status.clone().unwrap_or_default();
        Self {
            undecided: None,
            stands: false,
            admission: record(app, world.policies.as_ref(), &world.evidence, false, now),
            current: status.current_revision,
            target: status.target_revision,
            told: None,
            record: status.rollout,
            missing: world.missing.clone(),
            refused: world.refused,
        }
    }

    pub(crate) fn because(mut self, cause: impl Into<Cause>, message: String) -> Self {
        self.undecided = Some(Readiness::no(cause, message));
        self
    }
}
