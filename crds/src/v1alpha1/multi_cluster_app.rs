//! MultiClusterApp: one app on many clusters, rolled out stage by stage.

#![expect(clippy::doc_markdown, reason = "kubectl explain shows these texts as they are")]
#![expect(unreachable_pub, reason = "KubeSchema copies each struct, with its `pub`, into a function")]

use std::{collections::BTreeMap, time::Duration};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{
    ApiDuration, ClusterSelection, CountOrPercent, Percent, SelectsClusters,
    names::{ANNOTATION_APPROVE, ANNOTATION_HOLD},
    schema::{self, is_default},
    v1alpha1::{AppDeletionPolicy, AppTemplate, MultiClusterAppStatus},
};

/// How many revisions are kept unless the spec says otherwise.
pub const DEFAULT_REVISION_HISTORY_LIMIT: i64 = 10;
/// How many targets of a stage may be unavailable at a time unless the stage says otherwise.
pub const DEFAULT_MAX_UNAVAILABLE: CountOrPercent = CountOrPercent::Percent(Percent::new(25));
/// How long a target has to be ready before it counts as done unless its stage says otherwise.
pub const DEFAULT_MIN_READY: Duration = Duration::from_mins(2);
/// How long a rollout may be without progress unless the spec says otherwise.
pub const DEFAULT_PROGRESS_DEADLINE: Duration = Duration::from_mins(10);
/// Which part of the apps may be removed because their clusters are no targets any more, unless the spec says otherwise.
pub const DEFAULT_PRUNE_FRACTION: Percent = Percent::new(30);
/// How long a cluster has to be no target before its app is removed unless the spec says otherwise.
pub const DEFAULT_PRUNE_GRACE: Duration = Duration::from_mins(10);
/// Name of the stage with the clusters that no other stage has; it cannot be that of another one.
pub const REST: &str = "rest";

/// The wanted state of an app on many clusters.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "drover.dev",
    version = "v1alpha1",
    kind = "MultiClusterApp",
    plural = "multiclusterapps",
    shortname = "mca",
    category = "drover",
    namespaced,
    status = "MultiClusterAppStatus",
    derive = "PartialEq",
    doc = "An app on many clusters: a CatalogApp for each of them, updated stage by stage.",
    validation = Rule::new("self.metadata.name.size() <= 63 && !self.metadata.name.contains('.')")
        .message("the name must be a DNS label: at most 63 characters, no dots"),
    validation = Rule::new("has(self.spec.template.releaseName) || self.metadata.name.size() <= 53")
        .message("a release has a name of at most 53 characters; set spec.template.releaseName"),
    printcolumn(name = "Ready", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].status"#),
    printcolumn(name = "Reason", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].reason"#),
    printcolumn(name = "Revision", type_ = "integer", json_path = ".status.targetRevision.number"),
    printcolumn(name = "Stage", type_ = "string", json_path = ".status.stage"),
    printcolumn(name = "Updated", type_ = "string", json_path = ".status.counts.summary"),
    printcolumn(name = "Available", type_ = "integer", json_path = ".status.counts.ready"),
    printcolumn(name = "Failed", type_ = "integer", json_path = ".status.counts.failed"),
    printcolumn(name = "Offline", type_ = "integer", json_path = ".status.counts.offline"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(
        name = "Message",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Ready")].message"#,
        priority = "1"
    )
)]
#[x_kube(validation = ("!has(self.overrides) || has(self.template.projectName) || self.overrides.all(o, !has(o.projectName))", "an app of the platform is of no Project anywhere; set projectName in the template of an app of Projects"))]
#[x_kube(validation = ("!has(self.overrides) || has(self.template.chart.repository) || self.overrides.all(o, !has(o.version))", "only a chart in a repository has other versions; set spec.template.chart.repository"))]
#[serde(rename_all = "camelCase")]
pub struct MultiClusterAppSpec {
    /// The clusters of the app: exactly one of names, selector and all. If none is left, nothing is removed.
    pub clusters: ClusterSelection,
    /// The app on each of them, as a CatalogApp has it.
    pub template: AppTemplate,
    /// What is other on some clusters. All that match a cluster count, a later one over an earlier one. Default: none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 50))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub overrides: Vec<AppOverride>,
    /// Holds the app at a revision, whatever template and overrides say; the way to it is a rollout, too. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pin: Option<RevisionPin>,
    /// How many revisions are kept to go back to, those in use aside. Default: 10.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100))]
    pub revision_history_limit: Option<i64>,
    /// What becomes of the release on a cluster that is no target any more: Uninstall or Orphan. Default: Uninstall.
    #[serde(default, skip_serializing_if = "is_default")]
    pub on_target_removed: AppDeletionPolicy,
    /// How a change reaches the clusters.
    #[serde(default, skip_serializing_if = "is_default")]
    pub rollout: RolloutStrategy,
}

/// What is other on some clusters.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AppOverride {
    /// On which: exactly one of names, selector and all.
    pub clusters: ClusterSelection,
    /// Values over those of the template: maps are merged, lists are replaced. Default: {}.
    #[serde(default, deserialize_with = "schema::null_is_nothing", skip_serializing_if = "Map::is_empty")]
    #[schemars(schema_with = "schema::free_form")]
    pub values: Map<String, Value>,
    /// Single values by path, over those of the template. Default: none.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "schema::answers")]
    pub answers: BTreeMap<String, String>,
    /// Version of the chart in its repository, or a range. Default: that of the template.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::text::<256>")]
    pub version: Option<String>,
    /// The namespace in the cluster. A change makes another app there, and removes the former one as that of a cluster that left. Default:
    /// that of the template.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::dns_label")]
    pub namespace: Option<String>,
    /// Name of the Project, in the namespace of this object; a change makes another app there. Default: that of the template.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::dns_label")]
    pub project_name: Option<String>,
    /// Name of the release; a change makes another app there. Default: that of the template, else the name of this object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::release_name")]
    pub release_name: Option<String>,
}

/// The revision at which an app is held.
#[derive(KubeSchema, Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RevisionPin {
    /// The number of a ControllerRevision of this object: its chart and values, with the present rights of the app.
    #[schemars(range(min = 1))]
    pub revision: i64,
}

/// How a change reaches the clusters.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RolloutStrategy {
    /// Whether nothing is updated or removed for now; clusters that join get the revision that was completed last. Default: false.
    #[serde(default, skip_serializing_if = "is_default")]
    pub paused: bool,
    /// Stages, one after the other. A cluster is in the first one that selects it; those that none selects form a last one, named rest.
    /// Default: none, so that all clusters are in rest.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 20))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    #[x_kube(validation = ("self.all(one, self.exists_one(other, other.name == one.name))", "every stage has a name of its own"))]
    #[x_kube(validation = ("self.size() == 0 || self.filter(s, !has(s.selector)).size() == (has(self[self.size() - 1].selector) ? 0 : 1)", "a stage without a selector takes all that are left, so only the last one may be without"))]
    pub stages: Vec<Stage>,
    /// What clusters are to a rollout that cannot be reached, or are suspended. Skip goes on without them; Wait completes no stage without
    /// those of it; Count does neither, and they take part of maxUnavailable. Each catches up once it is back. Default: Skip.
    #[serde(default, skip_serializing_if = "is_default")]
    pub offline_policy: OfflinePolicy,
    /// How long a rollout may wait for targets without any progress before condition Degraded tells it; it goes on all the same.
    /// Default: 10m.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress_deadline: Option<ApiDuration>,
    /// How apps are removed from clusters that are no targets any more.
    #[serde(default, skip_serializing_if = "is_default")]
    pub prune: PruneGuard,
}

/// A part of the clusters that is updated after those before it.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Stage {
    /// Name of the stage, unique within the list.
    #[schemars(schema_with = "schema::dns_label")]
    #[x_kube(validation = ("self != 'rest'", "rest is the stage of those that no other one selects; take another name"))]
    pub name: String,
    /// The clusters of the stage, by labels, as far as no stage before has them. Default: all that are left; only the last stage may be
    /// without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::label_selector")]
    pub selector: Option<LabelSelector>,
    /// How many of its targets may be unavailable at a time because they are updated, not ready, or ready for less than minReady: a number,
    /// or percent of them, rounded down to at least one. 0 starts nothing but what is broken. Default: 25%.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_unavailable: Option<CountOrPercent>,
    /// How many of its targets are started at a time at most: a number, or percent of them, rounded down to at least one.
    /// Default: as many as maxUnavailable allows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch_size: Option<CountOrPercent>,
    /// How long after a start the next ones follow at the earliest. Default: 0s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval: Option<ApiDuration>,
    /// How long a target has to be ready with the revision before it counts as done, and all of the stage before it is complete.
    /// Default: 2m.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_ready: Option<ApiDuration>,
    /// Whether the stage begins only when annotation drover.dev/approve names the revision: None or Required. Default: None.
    #[serde(default, skip_serializing_if = "is_default")]
    pub approval: Approval,
    /// What follows once more than maxFailures of its targets failed. Pause starts no others; Rollback takes all that were updated back to
    /// the revision that was completed last; Continue goes on. Default: Pause.
    #[serde(default, skip_serializing_if = "is_default")]
    pub on_failure: OnStageFailure,
    /// How many of its targets may fail without that; those that failed are part of maxUnavailable while they are not ready. Default: 0.
    #[serde(default, skip_serializing_if = "is_default")]
    #[schemars(range(min = 0, max = 100_000))]
    pub max_failures: i64,
}

/// How apps are removed from clusters that are no targets any more.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PruneGuard {
    /// Which part of all apps may be removed within an hour, in percent, rounded down to at least one. If more clusters left, none is removed,
    /// and condition PruneBlocked tells it. Default: 30%.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_fraction: Option<Percent>,
    /// How long a cluster has to be no target before its app is removed. Default: 10m.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grace: Option<ApiDuration>,
}

/// What clusters are to a rollout that cannot be reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum OfflinePolicy {
    /// It goes on without them.
    #[default]
    Skip,
    /// No stage is complete without those of it.
    Wait,
    /// As Wait, and they take part of maxUnavailable.
    Count,
}

/// Whether a stage needs approval.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Approval {
    /// It begins by itself.
    #[default]
    None,
    /// It begins once the revision is approved.
    Required,
}

/// What follows once too many targets of a stage failed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum OnStageFailure {
    /// No others are started.
    #[default]
    Pause,
    /// All that were updated go back to the revision that was completed last.
    Rollback,
    /// It goes on.
    Continue,
}

impl SelectsClusters for MultiClusterApp {
    fn clusters(&self) -> &ClusterSelection {
        &self.spec.clusters
    }
}

impl MultiClusterApp {
    /// The revision that annotation drover.dev/approve names.
    #[must_use]
    pub fn approved(&self) -> Option<&str> {
        self.annotation(ANNOTATION_APPROVE)
    }

    /// The revision that annotation drover.dev/hold names.
    #[must_use]
    pub fn held(&self) -> Option<&str> {
        self.annotation(ANNOTATION_HOLD)
    }

    fn annotation(&self, key: &str) -> Option<&str> {
        self.metadata.annotations.as_ref()?.get(key).map(String::as_str)
    }
}

impl MultiClusterAppSpec {
    /// How many revisions are kept.
    #[must_use]
    pub fn revision_history_limit(&self) -> i64 {
        self.revision_history_limit.unwrap_or(DEFAULT_REVISION_HISTORY_LIMIT).max(1)
    }
}

impl RolloutStrategy {
    /// How long a rollout may be without progress.
    #[must_use]
    pub fn progress_deadline(&self) -> Duration {
        self.progress_deadline.as_ref().map_or(DEFAULT_PROGRESS_DEADLINE, ApiDuration::as_std)
    }
}

impl Stage {
    /// How many of `total` targets may be unavailable at a time.
    #[must_use]
    pub fn max_unavailable(&self, total: usize) -> usize {
        self.max_unavailable.unwrap_or(DEFAULT_MAX_UNAVAILABLE).of(total)
    }

    /// How many of `total` targets are started at a time.
    #[must_use]
    pub fn batch_size(&self, total: usize) -> usize {
        self.batch_size.map_or(usize::MAX, |size| size.of(total))
    }

    /// How long after a start the next ones follow.
    #[must_use]
    pub fn interval(&self) -> Duration {
        self.interval.as_ref().map_or(Duration::ZERO, ApiDuration::as_std)
    }

    /// How long a target has to be ready.
    #[must_use]
    pub fn min_ready(&self) -> Duration {
        self.min_ready.as_ref().map_or(DEFAULT_MIN_READY, ApiDuration::as_std)
    }

    /// How many targets may fail.
    #[must_use]
    pub fn max_failures(&self) -> usize {
        usize::try_from(self.max_failures).unwrap_or_default()
    }
}

impl PruneGuard {
    /// Which part of all apps may be removed within an hour.
    #[must_use]
    pub fn max_fraction(&self) -> Percent {
        self.max_fraction.unwrap_or(DEFAULT_PRUNE_FRACTION)
    }

    /// How long a cluster has to be no target.
    #[must_use]
    pub fn grace(&self) -> Duration {
        self.grace.as_ref().map_or(DEFAULT_PRUNE_GRACE, ApiDuration::as_std)
    }
}
