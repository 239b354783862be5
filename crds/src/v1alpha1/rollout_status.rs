//! What a MultiClusterApp tells of itself, and what its rollout remembers.

#![expect(clippy::doc_markdown, reason = "kubectl explain shows these texts as they are")]
#![expect(unreachable_pub, reason = "KubeSchema copies each struct, with its `pub`, into a function")]

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    condition::{UNOBSERVED, status_conditions, unobserved},
    schema::{self, is_default},
    v1alpha1::Admission,
};

/// Most stages that a status lists: those of the spec, and the one of all others.
pub const MAX_STAGES: usize = 21;
/// Most targets that a status lists as not ready.
pub const MAX_NOT_READY: usize = 20;
/// Most stages of which a status says what a revision would change …
pub const MAX_PREVIEWS: usize = 5;
/// … most objects that it names for each of them, and most characters of one.
pub const MAX_PREVIEW_OBJECTS: (usize, usize) = (5, 40);
/// Most bytes that a status has, whatever the size of the fleet.
pub const MAX_STATUS_BYTES: usize = 16 * 1024;

/// The observed state of an app on many clusters.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MultiClusterAppStatus {
    /// The metadata.generation that this status judges; -1 before the first reconcile.
    #[serde(default = "unobserved")]
    pub observed_generation: i64,
    /// Whether the spec was written while the admission policies were in place; unset until Drover saw both.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub admission: Option<Admission>,
    /// The revision that was completed last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub current_revision: Option<RevisionRef>,
    /// The revision that the spec asks for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_revision: Option<RevisionRef>,
    /// How far the rollout is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<RolloutPhase>,
    /// The stage at which it is; unset when it is complete.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::text::<63>")]
    pub stage: Option<String>,
    /// Counts of targets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counts: Option<RolloutCounts>,
    /// Counts by stage, in their order; at most 21.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 21))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub stages: Vec<StageStatus>,
    /// Some of the targets that are not ready, and why; at most 20.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 20))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub not_ready: Vec<NotReady>,
    /// What the rollout remembers; recorded before anything is changed on account of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollout: Option<RolloutRecord>,
    /// Ready, Progressing and TargetsResolved, and while they are true Paused, PruneBlocked and Degraded.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::conditions")]
    pub conditions: Vec<Condition>,
}

status_conditions!(
    MultiClusterAppStatus,
    fn first_cluster(&self) -> Option<&str> {
        self.not_ready.first().map(|target| target.cluster.as_str())
    }
);

/// A revision.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RevisionRef {
    /// Its number, for spec.pin.
    #[schemars(range(min = 1))]
    pub number: i64,
    /// The name of its ControllerRevision, for the annotations drover.dev/approve and drover.dev/hold.
    #[schemars(schema_with = "schema::text::<253>")]
    pub name: String,
}

/// How far a rollout is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum RolloutPhase {
    /// There is no target that it could begin with.
    Pending,
    /// Targets are updated, or it waits for them.
    Progressing,
    /// It waits for approval.
    WaitingForApproval,
    /// The spec or an annotation holds it.
    Paused,
    /// Too many targets failed, and it starts no others.
    Failed,
    /// Targets go back to the revision that was completed last.
    RollingBack,
    /// All went back; the revision that failed is not tried again.
    RolledBack,
    /// Every target that can be reached has the revision.
    Completed,
}

/// Counts of targets.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RolloutCounts {
    /// Clusters that are selected and have consented.
    #[schemars(range(min = 0))]
    pub targets: i64,
    /// Targets that have the revision.
    #[schemars(range(min = 0))]
    pub updated: i64,
    /// Targets that are ready, with whatever revision.
    #[schemars(range(min = 0))]
    pub ready: i64,
    /// Targets on which the revision failed, or the app of which has a name that is taken.
    #[schemars(range(min = 0))]
    pub failed: i64,
    /// Targets that cannot be reached, or are suspended.
    #[schemars(range(min = 0))]
    pub offline: i64,
    /// Targets that are not updated yet.
    #[schemars(range(min = 0))]
    pub pending: i64,
    /// Clusters that a selector or all selects, and that do not let this namespace in: no targets, only counted. Default: 0.
    #[serde(default, skip_serializing_if = "is_default")]
    #[schemars(range(min = 0))]
    pub without_consent: i64,
    /// Updated of all, such as 48/50.
    #[schemars(schema_with = "schema::text::<64>")]
    pub summary: String,
}

/// Counts of the targets of a stage.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StageStatus {
    /// Its name.
    #[schemars(schema_with = "schema::text::<63>")]
    pub name: String,
    /// Its targets.
    #[schemars(range(min = 0))]
    pub total: i64,
    /// Those that have the revision.
    #[schemars(range(min = 0))]
    pub updated: i64,
    /// Those that are ready, with whatever revision.
    #[schemars(range(min = 0))]
    pub ready: i64,
    /// When the last batch of it was started; unset of a stage that is not the one at which the rollout is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Time>,
    /// What the revision would change on one of its targets, before it begins; of at most 5 stages. drover rollout diff shows it whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preview: Option<StagePreview>,
}

/// What a revision would change on one target of a stage.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StagePreview {
    /// Name of the Cluster.
    #[schemars(schema_with = "schema::text::<63>")]
    pub cluster: String,
    /// How many objects it would create, hooks included.
    #[schemars(range(min = 0, max = 99_999))]
    pub created: i64,
    /// How many it would change.
    #[schemars(range(min = 0, max = 99_999))]
    pub changed: i64,
    /// How many it would remove.
    #[schemars(range(min = 0, max = 99_999))]
    pub removed: i64,
    /// Some of them, by kind and name, such as Deployment shop; at most 5.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 5), inner(length(max = 40)))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub objects: Vec<String>,
    /// Why it is not known, as one CamelCase word for programs; drover rollout diff says more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::text::<40>")]
    pub reason: Option<String>,
}

/// A target that is not ready.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotReady {
    /// Name of the Cluster.
    #[schemars(schema_with = "schema::text::<63>")]
    pub cluster: String,
    /// Why, as one CamelCase word for programs; more stands in the CatalogApp.
    #[schemars(schema_with = "schema::text::<48>")]
    pub reason: String,
}

/// What a rollout remembers from one decision to the next. Everything else is seen at its targets.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RolloutRecord {
    /// The name of the revision of which this tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::text::<253>")]
    pub revision: Option<String>,
    /// The name of the revision that was completed last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::text::<253>")]
    pub completed: Option<String>,
    /// Whether the revision failed and was taken back; it is not tried again then. Default: false.
    #[serde(default, skip_serializing_if = "is_default")]
    pub failed: bool,
    /// Whether the revision was approved while it waited for that. Default: false.
    #[serde(default, skip_serializing_if = "is_default")]
    pub approved: bool,
    /// The last stage that was complete.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::text::<63>")]
    pub reached: Option<String>,
    /// The stage of which all targets are ready, and for how long they still have to be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub baking: Option<Baking>,
    /// The last start of targets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch: Option<Batch>,
    /// How many targets were done when it was looked last. Default: 0.
    #[serde(default, skip_serializing_if = "is_default")]
    #[schemars(range(min = 0))]
    pub done: i64,
    /// Since when it waits for targets without any progress.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiting_since: Option<Time>,
    /// What was removed within the last hour.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pruned: Option<Pruned>,
    /// The annotations by which people steer it, as they were judged last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub steered: Option<Steered>,
}

/// The annotations by which people steer a rollout, and under which admission policies they were written.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Steered {
    /// Tells the state of the policies from others.
    #[schemars(schema_with = "schema::text::<256>")]
    pub policies: String,
    /// The value of drover.dev/approve that counts, if one does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::text::<128>")]
    pub approve: Option<String>,
    /// The value of drover.dev/hold that counts, if one does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::text::<128>")]
    pub hold: Option<String>,
    /// The values of both that were found after policies were missing or altered, and count only once they are written again.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 2), inner(length(max = 128)))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub unjudged: Vec<String>,
}

/// A stage of which all targets are ready.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Baking {
    /// Its name.
    #[schemars(schema_with = "schema::text::<63>")]
    pub stage: String,
    /// When it was looked last.
    pub seen: Time,
    /// For how many milliseconds its targets still had to be ready then.
    #[schemars(range(min = 0))]
    pub left_millis: i64,
}

/// A start of targets.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Batch {
    /// The stage.
    #[schemars(schema_with = "schema::text::<63>")]
    pub stage: String,
    /// When.
    pub at: Time,
    /// How many targets of the stage may have the revision by it.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub upto: i64,
}

/// How many apps were removed since a time.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Pruned {
    /// Since when.
    pub since: Time,
    /// How many apps there were then.
    #[schemars(range(min = 0))]
    pub of: i64,
    /// How many of them were to be removed since.
    #[schemars(range(min = 0))]
    pub removed: i64,
    /// When the last of these had left; those that left later are not counted yet.
    pub through: Time,
}

impl Default for MultiClusterAppStatus {
    fn default() -> Self {
        Self {
            observed_generation: UNOBSERVED,
            admission: None,
            current_revision: None,
            target_revision: None,
            phase: None,
            stage: None,
            counts: None,
            stages: Vec::new(),
            not_ready: Vec::new(),
            rollout: None,
            conditions: Vec::new(),
        }
    }
}
