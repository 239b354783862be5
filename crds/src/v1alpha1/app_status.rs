//! What a CatalogApp tells of itself.

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

/// Most objects with drift that a status lists, and most paths of one.
pub const MAX_DRIFT: usize = 5;
/// Most revisions that a status lists.
pub const MAX_HISTORY: usize = 10;

/// The observed state of an app.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CatalogAppStatus {
    /// The metadata.generation that this status judges; -1 before the first reconcile.
    #[serde(default = "unobserved")]
    pub observed_generation: i64,
    /// Whether the spec was written while the admission policies were in place; unset until Drover saw both.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub admission: Option<Admission>,
    /// What is in the cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub applied: Option<Release>,
    /// What is being released now; recorded before anything is sent to the cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pending: Option<Release>,
    /// Tries that failed, of the present inputs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<FailedTries>,
    /// The revisions that Drover made, the newest first; at most 10.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 10))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub history: Vec<Release>,
    /// The version that was chosen of a chart in a repository; recorded before it is released.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chart: Option<ChosenChart>,
    /// What in the cluster is not as the release says; unset while all is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drift: Option<Drift>,
    /// The value of annotation drover.dev/reconcile-at that was acted upon last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::text::<128>")]
    pub last_handled_reconcile_at: Option<String>,
    /// The value of annotation drover.dev/inputs that this status judges; none of an app that belongs to no MultiClusterApp.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::text::<128>")]
    pub observed_inputs: Option<String>,
    /// Ready, Drifted while something is, ValuesValid while they are not, and what they are made of.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::conditions")]
    pub conditions: Vec<Condition>,
}

status_conditions!(CatalogAppStatus);

/// A version of a chart in a repository that was chosen.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ChosenChart {
    /// Namespace and name of the ChartRepository.
    #[schemars(schema_with = "schema::text::<128>")]
    pub repository: String,
    /// Name of the chart.
    #[schemars(schema_with = "schema::text::<250>")]
    pub name: String,
    /// The version.
    #[schemars(schema_with = "schema::text::<256>")]
    pub version: String,
    /// SHA-256 of the packaged chart.
    #[schemars(schema_with = "schema::text::<80>")]
    pub digest: String,
    /// The newest version that is newer than this one, and that range or policy do not take.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::text::<256>")]
    pub available_version: Option<String>,
}

/// What in the cluster is not as a release says.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drift {
    /// How many objects differ.
    #[schemars(range(min = 0))]
    pub objects: i64,
    /// Some of them; at most 5.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 5))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub sample: Vec<DriftedObject>,
}

/// An object that is not as its release says.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DriftedObject {
    /// Its kind and its name, such as Deployment shop.
    #[schemars(schema_with = "schema::text::<350>")]
    pub object: String,
    /// The paths of fields that differ, such as spec.replicas, without their values; at most 5. None if the object is gone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 5), inner(length(max = 200)))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub paths: Vec<String>,
}

/// A revision of a release.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Release {
    /// The revision, as helm history counts.
    #[schemars(range(min = 1))]
    pub revision: i64,
    /// Version of the chart.
    #[schemars(schema_with = "schema::text::<128>")]
    pub chart_version: String,
    /// Version of what the chart installs, as the chart says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::text::<128>")]
    pub app_version: Option<String>,
    /// SHA-256 of the packaged chart.
    #[schemars(schema_with = "schema::text::<80>")]
    pub chart_digest: String,
    /// Tells the inputs, values included, from others; says nothing of them.
    #[schemars(schema_with = "schema::text::<80>")]
    pub input_hash: String,
    /// Tells the manifest from others, and says nothing of it; only a stored one that it tells is applied.
    #[schemars(schema_with = "schema::text::<80>")]
    pub manifest_digest: String,
    /// How many objects it has, without hooks.
    #[schemars(range(min = 0))]
    pub objects: i64,
    /// What is wrong with its values, where spec.validation is Warn; not kept in the history.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::text::<512>")]
    pub warning: Option<String>,
    /// The revision that it repeats, where it is a way back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub rollback_of: Option<i64>,
    /// Whether nothing in the manifest can be secret: no value came out of a Secret, and the chart neither looks anything up in the cluster nor
    /// makes up passwords or keys. Only then drover rollout diff shows what fields hold. Default: false.
    #[serde(default, skip_serializing_if = "is_default")]
    pub without_secrets: bool,
    /// How it was taken up, where it was there before the app was: after the management cluster was rebuilt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub taken_up: Option<TakenUp>,
    /// When it began.
    pub at: Time,
}

/// How a revision was taken up that was there before the app was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum TakenUp {
    /// It is what the app would release: it is as if Drover had released it.
    AsRendered,
    /// It is of the same chart and values, which render something else each time, such as a password, and all objects are as it says. Drover
    /// leaves it so until the next revision: it tells drift and corrects none, does not go back to it, and runs none of its hooks.
    AsFound,
}

impl Release {
    /// Whether nothing of it may be applied, as whoever edits in the namespace may have written what the cluster says of it.
    #[must_use]
    pub fn is_only_found(&self) -> bool {
        self.taken_up == Some(TakenUp::AsFound)
    }
}

/// Tries that failed.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FailedTries {
    /// The inputs of which.
    #[schemars(schema_with = "schema::text::<80>")]
    pub input_hash: String,
    /// The metadata.generation of the spec; another spec is tried anew.
    #[schemars(range(min = 0))]
    pub generation: i64,
    /// Tells the rights of the app from others; with other rights it is tried anew.
    #[serde(default)]
    #[schemars(schema_with = "schema::text::<80>")]
    pub rights: String,
    /// How many.
    #[schemars(range(min = 0))]
    pub count: i64,
    /// The revision of the last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub revision: Option<i64>,
    /// Tells the manifest of the last one from others: what is left of it is uninstalled with its hooks where spec.remediation says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::text::<80>")]
    pub manifest_digest: Option<String>,
    /// When the last one failed.
    pub at: Time,
    /// Why, as one CamelCase word for programs.
    #[schemars(schema_with = "schema::text::<128>")]
    pub reason: String,
    /// Why, for people.
    #[schemars(schema_with = "schema::text::<512>")]
    pub message: String,
}

impl Default for CatalogAppStatus {
    fn default() -> Self {
        Self {
            observed_generation: UNOBSERVED,
            admission: None,
            applied: None,
            pending: None,
            failed: None,
            history: Vec::new(),
            chart: None,
            drift: None,
            last_handled_reconcile_at: None,
            observed_inputs: None,
            conditions: Vec::new(),
        }
    }
}
