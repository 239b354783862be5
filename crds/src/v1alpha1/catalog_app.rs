//! CatalogApp: a Helm release on a cluster.

#![expect(clippy::doc_markdown, reason = "kubectl explain shows these texts as they are")]
#![expect(unreachable_pub, reason = "KubeSchema copies each struct, with its `pub`, into a function")]

use std::{
    collections::BTreeMap,
    ops::{Deref, DerefMut},
    time::Duration,
};

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{
    ApiDuration,
    names::ANNOTATION_RECONCILE_AT,
    schema::{self, is_default},
    v1alpha1::{CatalogAppStatus, RoleContext},
};

/// How long objects may take to become ready unless the spec says otherwise.
pub const DEFAULT_WAIT_TIMEOUT: Duration = Duration::from_mins(5);
/// How often an install or an upgrade that failed is tried again unless the spec says otherwise.
pub const DEFAULT_RETRIES: i64 = 3;
/// How many revisions of a release are kept unless the spec says otherwise.
pub const DEFAULT_HISTORY_LIMIT: i64 = 10;
/// How often it is looked for drift unless the spec says otherwise.
pub const DEFAULT_DRIFT_INTERVAL: Duration = Duration::from_mins(10);
/// It is not looked for drift more often than that.
pub const LEAST_DRIFT_INTERVAL: Duration = Duration::from_mins(1);

/// The wanted state of an app.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "drover.dev",
    version = "v1alpha1",
    kind = "CatalogApp",
    plural = "catalogapps",
    shortname = "capp",
    category = "drover",
    namespaced,
    status = "CatalogAppStatus",
    derive = "PartialEq",
    doc = "A Helm release on a cluster: in a namespace of a Project beside it, or of the platform for the whole cluster.",
    validation = Rule::new("self.metadata.name.size() <= 63 && !self.metadata.name.contains('.')")
        .message("the name must be a DNS label: at most 63 characters, no dots"),
    validation = Rule::new("has(self.spec.releaseName) || self.metadata.name.size() <= 53")
        .message("a release has a name of at most 53 characters; set spec.releaseName"),
    printcolumn(name = "Ready", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].status"#),
    printcolumn(name = "Reason", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].reason"#),
    printcolumn(name = "Cluster", type_ = "string", json_path = ".spec.clusterName"),
    printcolumn(name = "Version", type_ = "string", json_path = ".status.applied.chartVersion"),
    printcolumn(name = "Available", type_ = "string", json_path = ".status.chart.availableVersion"),
    printcolumn(name = "Revision", type_ = "integer", json_path = ".status.applied.revision"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(
        name = "Message",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Ready")].message"#,
        priority = "1"
    )
)]
#[serde(rename_all = "camelCase")]
pub struct CatalogAppSpec {
    /// Name of the Cluster. It cannot be changed.
    #[schemars(schema_with = "schema::dns_label")]
    #[x_kube(validation = ("self == oldSelf", "the cluster cannot be changed; create another app"))]
    pub cluster_name: String,
    /// What it has in common with the apps of a MultiClusterApp.
    #[serde(flatten)]
    pub template: AppTemplate,
    /// Holds the release at a revision, whatever else the spec says. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pin: Option<Pin>,
}

/// An app without its place and its pin: what a CatalogApp says of itself, and a MultiClusterApp of each of its apps.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[x_kube(validation = ("!has(self.projectName) || !has(self.crds) || self.crds != 'CreateReplace'", "an app of a Project replaces no definitions; set Create or Skip"))]
#[x_kube(validation = ("has(self.projectName) == has(oldSelf.projectName)", "whether the app is of a Project cannot be changed; create another app"))]
#[x_kube(validation = ("has(self.releaseName) == has(oldSelf.releaseName)", "the name of the release cannot be changed; create another app"))]
#[serde(rename_all = "camelCase")]
pub struct AppTemplate {
    /// The namespace in the cluster: one of the Project, or without projectName one that exists and that no Project holds. It cannot
    /// be changed.
    #[schemars(schema_with = "schema::dns_label")]
    #[x_kube(validation = ("self == oldSelf", "the namespace cannot be changed; create another app"))]
    pub namespace: String,
    /// Name of the Project, in the namespace of this object. It may come later. Default: none; the app is one of the platform then, and
    /// may have objects of the whole cluster. That needs ClusterApps in operations of the tenant entry of the Cluster, and from whoever
    /// writes the app the verb operate on the Cluster. It cannot be changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::dns_label")]
    #[x_kube(validation = ("self == oldSelf", "the Project cannot be changed; create another app"))]
    pub project_name: Option<String>,
    /// Name of the RoleTemplate: what the app may do, in its namespace by one of context Project, without projectName in the whole cluster
    /// by one of context Cluster. Nobody else's rights are used.
    #[schemars(schema_with = "schema::dns_label")]
    pub role_template_name: String,
    /// Where the chart comes from: exactly one of repository, url, configMap and secret.
    pub chart: ChartSource,
    /// Which newer versions in a repository are taken without a change of the spec.
    #[serde(default, skip_serializing_if = "is_default")]
    pub upgrade_policy: UpgradePolicy,
    /// Name of the release. Default: the name of the object. It cannot be changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::release_name")]
    #[x_kube(validation = ("self == oldSelf", "the name of the release cannot be changed; create another app"))]
    pub release_name: Option<String>,
    /// Values as in a values.yaml; they win over valuesFrom. Default: {}.
    #[serde(default, deserialize_with = "schema::null_is_nothing", skip_serializing_if = "Map::is_empty")]
    #[schemars(schema_with = "schema::free_form")]
    pub values: Map<String, Value>,
    /// Further values out of objects beside this one; a later one wins over an earlier one. Default: none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 20))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub values_from: Vec<ValuesSource>,
    /// Single values by path, as helm takes them by --set; they win over values. Default: none.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "schema::answers")]
    pub answers: BTreeMap<String, String>,
    /// How strictly values are judged before anything is sent to the cluster.
    #[serde(default, skip_serializing_if = "is_default")]
    pub validation: Validation,
    /// What becomes of definitions in crds/ of the chart, before anything else is applied. No revision deletes them. Of an app of a Project
    /// they have to be in the cluster already, unless it is Skip. Default: Create.
    #[serde(default, skip_serializing_if = "is_default")]
    pub crds: CrdPolicy,
    /// Whether objects that exist and belong to no release, or to this one made by helm install, become part of the release.
    /// Default: false.
    #[serde(default, skip_serializing_if = "is_default")]
    pub take_ownership: bool,
    /// What has to be ready before the release counts as deployed.
    #[serde(default, skip_serializing_if = "is_default")]
    pub wait: Wait,
    /// What follows when an install or an upgrade fails.
    #[serde(default, skip_serializing_if = "is_default")]
    pub remediation: Remediation,
    /// How many revisions of the release are kept. Default: 10.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100))]
    pub history_limit: Option<i64>,
    /// What happens when objects of the release are not in the cluster as it says.
    #[serde(default, skip_serializing_if = "is_default")]
    pub drift: DriftPolicy,
    /// Apps beside this one that have to be ready before anything new of this one is released. Default: none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 20))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub depends_on: Vec<Dependency>,
    /// Whether nothing is released for now; a deletion leaves the release then. Default: false.
    #[serde(default, skip_serializing_if = "is_default")]
    pub suspend: bool,
    /// What becomes of the release when this object is deleted. Default: Uninstall.
    #[serde(default, skip_serializing_if = "is_default")]
    pub deletion_policy: AppDeletionPolicy,
}

/// Where a chart comes from.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[x_kube(validation = (
    "[has(self.repository), has(self.url), has(self.configMap), has(self.secret)].filter(given, given).size() == 1",
    "give exactly one of repository, url, configMap and secret"
))]
#[serde(rename_all = "camelCase")]
pub struct ChartSource {
    /// A chart in a ChartRepository.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repository: Option<RepositoryChart>,
    /// A packaged chart at a URL that everybody may read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<ChartUrl>,
    /// A packaged chart in a ConfigMap beside this object, labelled drover.dev/usable-by: catalog-app.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_map: Option<PackagedChart>,
    /// A packaged chart in a Secret beside this object, labelled drover.dev/usable-by: catalog-app.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<PackagedChart>,
}

/// A chart in a repository.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RepositoryChart {
    /// Name of the ChartRepository.
    #[schemars(schema_with = "schema::dns_label")]
    pub name: String,
    /// Its namespace, which it has to name in usableFrom. Default: the one of this object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::dns_label")]
    pub namespace: Option<String>,
    /// Name of the chart there.
    #[schemars(schema_with = "schema::chart_name")]
    pub chart: String,
    /// A version such as 1.2.3, or a range such as ^1.2 or ">=1.2 <2". Default: any release.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::text::<256>")]
    pub version: Option<String>,
}

/// A packaged chart at a URL.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChartUrl {
    /// Its address, such as https://example.org/shop-1.2.3.tgz.
    #[schemars(schema_with = "schema::chart_url")]
    pub url: String,
    /// SHA-256 of the packaged chart, such as sha256:2c26…: other bytes are refused.
    #[schemars(schema_with = "schema::digest")]
    pub digest: String,
}

/// Which newer versions are taken without a change of the spec.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UpgradePolicy {
    /// None only tells of newer versions; Patch takes those with the same major and minor number, Minor those with the same major number,
    /// and Any all that the range in spec.chart allows. Default: None.
    #[serde(default, skip_serializing_if = "is_default")]
    pub automatic: AutomaticUpgrades,
    /// Whether prereleases, such as 1.3.0-rc.1, count as other versions do. Default: false.
    #[serde(default, skip_serializing_if = "is_default")]
    pub allow_prerelease: bool,
}

/// Which newer versions are taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum AutomaticUpgrades {
    /// None.
    #[default]
    None,
    /// Those with the same major and minor number.
    Patch,
    /// Those with the same major number.
    Minor,
    /// All.
    Any,
}

/// A packaged chart in an object.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PackagedChart {
    /// Name of the object.
    #[schemars(schema_with = "schema::dns_subdomain")]
    pub name: String,
    /// The key in its data or binaryData that holds the chart.
    #[schemars(schema_with = "schema::data_key")]
    pub key: String,
    /// SHA-256 of the packaged chart, such as sha256:2c26…: other bytes are refused.
    #[schemars(schema_with = "schema::digest")]
    pub digest: String,
}

/// Values out of an object beside the app, or a fact of its cluster.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[x_kube(validation = ("(self.kind == 'Cluster') != has(self.name)", "give the name of a ConfigMap or Secret, and none with kind Cluster, which is that of the app"))]
#[x_kube(validation = ("self.kind != 'Cluster' || (has(self.key) && has(self.targetPath))", "kind Cluster needs key and targetPath"))]
#[x_kube(validation = ("!has(self.key) || (self.kind == 'Cluster' ? self.key.matches('^(name|labels/.+|appValues/.+)$') : self.key.matches('^[-._a-zA-Z0-9]+$'))", "the key is one of data; with kind Cluster name, labels/KEY or appValues/KEY"))]
#[serde(rename_all = "camelCase")]
pub struct ValuesSource {
    /// ConfigMap or Secret, labelled drover.dev/usable-by: catalog-app; or Cluster, for a fact of the cluster of the app.
    pub kind: ValuesKind,
    /// Name of the object; none with kind Cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::dns_subdomain")]
    pub name: Option<String>,
    /// The key in its data. Of a Cluster: name, labels/KEY or appValues/KEY. Default: values.yaml.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::text::<330>")]
    pub key: Option<String>,
    /// Where the value goes as a text, such as auth.password. Default: the value is YAML, and is merged as a whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::text::<250>")]
    pub target_path: Option<String>,
    /// Whether the app goes on without it where the object or the key is absent. Default: false.
    #[serde(default, skip_serializing_if = "is_default")]
    pub optional: bool,
}

/// Of which kind an object with values is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ValuesKind {
    /// The name, a label or one of appValues of the Cluster of the app.
    Cluster,
    /// Values that everybody may read.
    ConfigMap,
    /// Values that are kept out of every status, event and log line.
    Secret,
}

/// How strictly values are judged.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Validation {
    /// By values.schema.json of the chart. Default: Enforce.
    #[serde(default, skip_serializing_if = "is_default")]
    pub schema: Strictness,
    /// By questions.yaml of the chart. Default: Enforce.
    #[serde(default, skip_serializing_if = "is_default")]
    pub questions: Strictness,
}

/// What follows from values that are not as a chart wants them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Strictness {
    /// The app is not released with them.
    #[default]
    Enforce,
    /// The app is released with them, and condition ValuesValid says what is wrong.
    Warn,
    /// Nobody looks.
    Skip,
}

/// What becomes of definitions in crds/ of a chart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum CrdPolicy {
    /// Those that are missing are created, and no other is changed.
    #[default]
    Create,
    /// Those that are missing are created, and those that are there become as the chart says.
    CreateReplace,
    /// Nobody looks at them.
    Skip,
}

/// What has to be ready before a release counts as deployed.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Wait {
    /// Status waits for hooks and for all objects; HooksOnly for hooks; None for nothing. Default: Status.
    #[serde(default, skip_serializing_if = "is_default")]
    pub strategy: WaitStrategy,
    /// For how long, hooks included. Default: 5m.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<ApiDuration>,
}

/// For what a release waits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum WaitStrategy {
    /// Hooks, and until every object is ready.
    #[default]
    Status,
    /// Only hooks.
    HooksOnly,
    /// Nothing: what is sent counts as done, and hooks run on beside what follows them.
    None,
}

/// What follows when an install or an upgrade fails.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Remediation {
    /// How often it is tried again, with growing pauses. Default: 3.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 10))]
    pub retries: Option<i64>,
    /// What happens once all tries failed. Rollback goes back to the revision before; there is none after an install. Uninstall removes what
    /// an install left, and keeps what an upgrade did. Default: Keep.
    #[serde(default, skip_serializing_if = "is_default")]
    pub on_failure: OnFailure,
}

/// What happens once all tries of an install or an upgrade failed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum OnFailure {
    /// It stays as it is, for people to look at.
    #[default]
    Keep,
    /// The revision before is applied again.
    Rollback,
    /// What was never deployed is uninstalled.
    Uninstall,
}

/// What happens when objects of a release are not in the cluster as it says.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct DriftPolicy {
    /// Correct applies the objects again that differ; Warn tells it in condition Drifted; Off does not look. Default: Warn.
    #[serde(default, skip_serializing_if = "is_default")]
    pub mode: DriftMode,
    /// How often it is looked. Default: 10m; at least 1m.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = ("duration(self) >= duration('1m')", "the interval is at least 1m"))]
    pub interval: Option<ApiDuration>,
}

/// What happens with an object of a release that is not as the release says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum DriftMode {
    /// It is applied again.
    Correct,
    /// It is told, and left.
    #[default]
    Warn,
    /// Nobody looks.
    Off,
}

/// An app beside this one.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dependency {
    /// Name of the app.
    #[schemars(schema_with = "schema::dns_label")]
    pub name: String,
}

/// The revision at which a release is held.
#[derive(KubeSchema, Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pin {
    /// A revision that status.history lists: its chart and values, with the present rights of the app.
    #[schemars(range(min = 1))]
    pub revision: i64,
}

/// What becomes of a release when its object is deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum AppDeletionPolicy {
    /// It is uninstalled, as by helm uninstall; volumes stay.
    #[default]
    Uninstall,
    /// It stays, for helm.
    Orphan,
}

impl CatalogApp {
    /// What annotation drover.dev/reconcile-at asks for, if that was not acted upon yet: the value that the status is to note.
    #[must_use]
    pub fn asked(&self) -> Option<String> {
        let value = self.metadata.annotations.as_ref()?.get(ANNOTATION_RECONCILE_AT)?;
        let value: String = value.chars().take(128).collect();
        let handled = self.status.as_ref().and_then(|status| status.last_handled_reconcile_at.as_ref());
        (handled != Some(&value)).then_some(value)
    }

    /// The name of the release.
    #[must_use]
    pub fn release_name(&self) -> &str {
        let own = self.metadata.name.as_deref().unwrap_or_default();
        self.spec.release_name.as_deref().unwrap_or(own)
    }
}

impl Deref for CatalogAppSpec {
    type Target = AppTemplate;

    fn deref(&self) -> &AppTemplate {
        &self.template
    }
}

impl DerefMut for CatalogAppSpec {
    fn deref_mut(&mut self) -> &mut AppTemplate {
        &mut self.template
    }
}

impl AppTemplate {
    /// Whether it is an app of the platform, of no Project.
    #[must_use]
    pub fn is_of_platform(&self) -> bool {
        self.project_name.is_none()
    }

    /// Of which context its role has to be.
    #[must_use]
    pub fn role_context(&self) -> RoleContext {
        if self.is_of_platform() { RoleContext::Cluster } else { RoleContext::Project }
    }

    /// How long objects may take to become ready.
    #[must_use]
    pub fn wait_timeout(&self) -> Duration {
        self.wait.timeout.as_ref().map_or(DEFAULT_WAIT_TIMEOUT, ApiDuration::as_std)
    }

    /// How often it is looked for drift.
    #[must_use]
    pub fn drift_interval(&self) -> Duration {
        self.drift.interval.as_ref().map_or(DEFAULT_DRIFT_INTERVAL, ApiDuration::as_std).max(LEAST_DRIFT_INTERVAL)
    }

    /// How often a failed install or upgrade is tried again.
    #[must_use]
    pub fn retries(&self) -> i64 {
        self.remediation.retries.unwrap_or(DEFAULT_RETRIES)
    }

    /// How many revisions are kept.
    #[must_use]
    pub fn history_limit(&self) -> i64 {
        self.history_limit.unwrap_or(DEFAULT_HISTORY_LIMIT).max(1)
    }
}
