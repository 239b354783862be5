//! Project: namespaces that belong together, in every selected cluster.

#![expect(clippy::doc_markdown, reason = "kubectl explain shows these texts as they are")]
#![expect(unreachable_pub, reason = "KubeSchema copies each struct, with its `pub`, into a function")]

use std::{collections::BTreeMap, time::Duration};

use k8s_openapi::apimachinery::pkg::{
    api::resource::Quantity,
    apis::meta::v1::{Condition, LabelSelector},
};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    ApiDuration, ClusterSelection, DeletionPolicy, SelectsClusters,
    condition::{UNOBSERVED, status_conditions, unobserved},
    no_effect::{self, NoEffect},
    schema::{self, is_default},
    v1alpha1::{DEFAULT_DELETION_TIMEOUT, Problem, TargetSummary},
};

/// Most clusters whose quota a status lists.
pub const MAX_QUOTA_ROWS: usize = 20;

/// The wanted state of a project: which namespaces, in which clusters, with what limits.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "drover.dev",
    version = "v1alpha1",
    kind = "Project",
    plural = "projects",
    shortname = "dproj",
    category = "drover",
    namespaced,
    status = "ProjectStatus",
    derive = "PartialEq",
    doc = "Namespaces that belong together, the same in every selected cluster, with their quota, limits and isolation.",
    validation = Rule::new("self.metadata.name.size() <= 63 && !self.metadata.name.contains('.')")
        .message("the name must be a DNS label: at most 63 characters, no dots"),
    printcolumn(name = "Ready", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].status"#),
    printcolumn(name = "Reason", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].reason"#),
    printcolumn(name = "Clusters", type_ = "string", json_path = ".status.clusters.summary"),
    printcolumn(name = "Namespaces", type_ = "string", json_path = ".status.namespaces.summary"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(
        name = "Message",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Ready")].message"#,
        priority = "1"
    )
)]
#[x_kube(validation = ("!has(self.namespaceMetadata) || !has(self.namespaceMetadata.annotations) || !has(self.namespaces) \
    || self.namespaces.all(n, !has(n.annotations) \
        || n.annotations.size() + self.namespaceMetadata.annotations.size() <= 16)",
    "a namespace has at most 16 annotations, those of namespaceMetadata included"))]
#[x_kube(validation = ("!has(self.namespaceMetadata) || !has(self.namespaceMetadata.labels) || !has(self.namespaces) \
    || self.namespaces.all(n, !has(n.labels) || n.labels.size() + self.namespaceMetadata.labels.size() <= 32)",
    "a namespace has at most 32 labels, those of namespaceMetadata included"))]
#[serde(rename_all = "camelCase")]
pub struct ProjectSpec {
    /// Name for people. Default: the name of the object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::text::<253>")]
    pub display_name: Option<String>,
    /// What the project is for, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::text::<2048>")]
    pub description: Option<String>,
    /// Writes nothing to any cluster for this project, not even releases, but takes away rights and Secrets that are withdrawn, until
    /// the project is deleted; the deletion then acts as with Orphan. Default: false.
    #[serde(default, skip_serializing_if = "is_default")]
    pub suspend: bool,
    /// The clusters of the project: exactly one of names, selector and all. Each must name this object's namespace as
    /// a tenant.
    pub clusters: ClusterSelection,
    /// The namespaces of the project, in every selected cluster. Default: none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 500))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub namespaces: Vec<ProjectNamespace>,
    /// Lets members create namespaces themselves, except in the management cluster: those whose role has the verb create-namespaces
    /// on projects.drover.dev. Unset: they may not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub self_service: Option<SelfService>,
    /// Secrets beside this object that every namespace of the project gets, such as registry credentials and certificates; only type
    /// and data are copied. Each must carry the label drover.dev/project with the name of this object, be of the type Opaque,
    /// kubernetes.io/dockerconfigjson, dockercfg, tls, basic-auth or ssh-auth, and hold at most 256 KiB. The installer of Drover must allow
    /// it. Default: none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub secrets: Vec<ProjectSecret>,
    /// Labels and annotations for every namespace of the project. Every cluster must allow their keys, in metadataKeys of a
    /// tenant entry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace_metadata: Option<NamespaceMetadata>,
    /// Limits of what the project may use in a cluster: a ResourceQuota in each of its namespaces. Unset: no limits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quota: Option<ProjectQuota>,
    /// Requests and limits of containers that state none, and the range of those that do: a LimitRange in every namespace of the
    /// project. Unset: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container_defaults: Option<ContainerDefaults>,
    /// Pod security levels of every namespace of the project, where they are stricter than those of the cluster. Unset: those of
    /// the cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod_security: Option<PodSecurity>,
    /// Closes the namespaces of the project against traffic from elsewhere: a NetworkPolicy in each of them. Unset: open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network_isolation: Option<NetworkIsolation>,
    /// What happens to the namespaces when this object is deleted. Orphan releases them, and they stay; Delete deletes them with
    /// everything in them, except adopted ones and those that the Cluster no longer allows. Default: Orphan.
    #[serde(default, skip_serializing_if = "is_default")]
    pub deletion_policy: DeletionPolicy,
    /// How long the deletion waits at most for clusters that are unreachable, suspended or do not let it finish, such as 10m. Then
    /// an event names what stays; Drover releases it when it can, and deletes nothing any more. Default: 10m.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deletion_timeout: Option<ApiDuration>,
}

/// A namespace of a project.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ProjectNamespace {
    /// Name of the namespace, the same in every cluster.
    #[schemars(schema_with = "schema::dns_label")]
    #[x_kube(validation = ("self != 'default' && self != 'drover-system' && !self.startsWith('kube-')",
        "the namespaces default, drover-system and kube-* are protected"))]
    pub name: String,
    /// Labels of the namespace, at most 32. The cluster must allow every key. Default: none.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "schema::namespace_labels")]
    pub labels: BTreeMap<String, String>,
    /// Annotations of the namespace, at most 16 of 1024 bytes. The cluster must allow every key. Default: none.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "schema::namespace_annotations")]
    pub annotations: BTreeMap<String, String>,
    /// What the namespace requests of the project's quota, by resource, such as limits.cpu: "4". Default, for each resource that it
    /// does not name: spec.quota.namespaceDefault.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "schema::quota")]
    pub quota: BTreeMap<String, Quantity>,
    /// Requests and limits of containers in this namespace, in place of all of spec.containerDefaults. Default:
    /// spec.containerDefaults.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container_defaults: Option<ContainerDefaults>,
    /// Isolation of this namespace, in place of all of spec.networkIsolation. Default: spec.networkIsolation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network_isolation: Option<NetworkIsolation>,
    /// Pod security levels of this namespace, in place of all of spec.podSecurity. Default: spec.podSecurity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod_security: Option<PodSecurity>,
    /// What to do where the namespace exists already and is nobody's: Refuse reports it and leaves it alone; Adopt
    /// takes it over, if the cluster allows it. Default: Refuse.
    #[serde(default, skip_serializing_if = "is_default")]
    pub on_existing: OnExisting,
}

/// A Secret that every namespace of a project gets.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ProjectSecret {
    /// Name of the Secret, the same beside this object and in every namespace.
    #[schemars(schema_with = "schema::dns_subdomain")]
    pub name: String,
}

/// What to do with a namespace that exists already.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum OnExisting {
    /// Report it and leave it alone.
    #[default]
    Refuse,
    /// Take it over, if the cluster allows it.
    Adopt,
}

/// Namespaces that members create themselves.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SelfService {
    /// What the names of such namespaces begin with, such as team-a-, up to the first, second, third or fourth dash of a name. A
    /// cluster lets members create them where namespacePatterns of a tenant entry allow every name that begins like this.
    #[schemars(schema_with = "schema::name_prefixes")]
    #[x_kube(validation = ("self.all(prefix, !prefix.startsWith('kube-') && prefix != 'drover-' \
        && !prefix.startsWith('drover-system-'))", "the namespaces kube-* and drover-system are protected"))]
    pub name_prefixes: Vec<String>,
    /// Most such namespaces per cluster. More may be created, and belong to no project.
    #[schemars(range(min = 1, max = 500))]
    pub max_namespaces: i32,
}

/// Labels and annotations for namespaces.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NamespaceMetadata {
    /// Labels; those of a single namespace win. Default: none.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "schema::namespace_labels")]
    pub labels: BTreeMap<String, String>,
    /// Annotations; those of a single namespace win. Default: none.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "schema::namespace_annotations")]
    pub annotations: BTreeMap<String, String>,
}

/// Limits of what a project may use in a cluster.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ProjectQuota {
    /// What all namespaces of the project may use together in one cluster, by resource, such as limits.cpu: "40". A namespace that
    /// requests nothing of such a resource gets nothing of it. Less than was granted takes nothing away: it only lets no grant grow.
    /// What is not named here is not added up: each namespace gets what it requests. Default: nothing is added up.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "schema::quota")]
    pub per_cluster: BTreeMap<String, Quantity>,
    /// What a namespace requests of each resource that its own quota does not name. Default: nothing.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "schema::quota")]
    pub namespace_default: BTreeMap<String, Quantity>,
    /// What a namespace gets whose request no longer fits: Remaining grants what is left, Zero grants nothing.
    /// Default: Remaining.
    #[serde(default, skip_serializing_if = "is_default")]
    pub overflow: QuotaOverflow,
}

/// What a namespace gets whose request no longer fits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum QuotaOverflow {
    /// What is left.
    #[default]
    Remaining,
    /// Nothing.
    Zero,
}

/// A LimitRange for containers.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ContainerDefaults {
    /// Requests of a container that states none, by resource, such as cpu: 100m. Default: none.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "schema::quantities")]
    pub requests: BTreeMap<String, Quantity>,
    /// Limits of a container that states none, by resource, such as memory: 256Mi. Default: none.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "schema::quantities")]
    pub limits: BTreeMap<String, Quantity>,
    /// Least that a container may request, by resource. Default: no bound.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "schema::quantities")]
    pub min: BTreeMap<String, Quantity>,
    /// Most that a container may have as limit, by resource. Default: no bound.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "schema::quantities")]
    pub max: BTreeMap<String, Quantity>,
}

/// Pod security levels.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[x_kube(validation = ("!has(self.enforceVersion) || has(self.enforce)", "enforceVersion needs enforce"))]
#[serde(rename_all = "camelCase")]
pub struct PodSecurity {
    /// Level that pods must keep: privileged, baseline or restricted. Default: that of the cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enforce: Option<PodSecurityLevel>,
    /// Kubernetes version whose rules are enforced: latest, or such as v1.37. It counts where the cluster asks for no level
    /// itself, because older rules allow more. Default: latest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::pod_security_version")]
    pub enforce_version: Option<String>,
    /// Level whose violations go to the audit log: privileged, baseline or restricted. Default: that of the cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audit: Option<PodSecurityLevel>,
    /// Level whose violations are shown to the user: privileged, baseline or restricted. Default: that of the cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warn: Option<PodSecurityLevel>,
}

/// A pod security standard of Kubernetes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum PodSecurityLevel {
    /// Everything is allowed.
    Privileged,
    /// Known ways to gain privileges are closed.
    Baseline,
    /// Hardened.
    Restricted,
}

impl PodSecurityLevel {
    /// As Kubernetes spells it in the label of a namespace.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Privileged => "privileged",
            Self::Baseline => "baseline",
            Self::Restricted => "restricted",
        }
    }
}

/// Network policies of a project.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NetworkIsolation {
    /// Who may send traffic to the namespaces: Project means the namespaces of the same project, those of allowFrom, and
    /// nodeRanges of the cluster; None means everybody.
    pub mode: IsolationMode,
    /// Further namespaces that may send traffic, each selector by labels of namespaces. Default: none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::label_selectors")]
    pub allow_from: Vec<LabelSelector>,
}

/// Who may send traffic to the namespaces of a project.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum IsolationMode {
    /// The namespaces of the same project.
    #[default]
    Project,
    /// Everybody: for a namespace that is open in an isolated project.
    None,
}

/// The observed state of a project.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ProjectStatus {
    /// The metadata.generation that this status judges; -1 before the first reconcile.
    #[serde(default = "unobserved")]
    pub observed_generation: i64,
    /// How many clusters are selected and how they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clusters: Option<TargetSummary>,
    /// How many namespaces there should be on the clusters that can be reached, and how many are as they should be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespaces: Option<NamespaceCount>,
    /// Granted quota by cluster; at most 20 clusters.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 20))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["cluster".into()]))]
    pub quota: Vec<ClusterQuotaStatus>,
    /// What is wrong and where; at most 20 entries.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 20))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub problems: Vec<Problem>,
    /// Ready, and what it is made of.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::conditions")]
    pub conditions: Vec<Condition>,
}

status_conditions!(ProjectStatus, problems);

/// Counts of namespaces, over all clusters.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NamespaceCount {
    /// Namespaces that there should be.
    #[schemars(range(min = 0))]
    pub total: i64,
    /// Namespaces that are as they should be.
    #[schemars(range(min = 0))]
    pub ready: i64,
    /// Ready of all, such as 96/100.
    #[schemars(schema_with = "schema::text::<64>")]
    pub summary: String,
}

/// Granted quota in a cluster.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClusterQuotaStatus {
    /// Name of the Cluster.
    #[schemars(schema_with = "schema::text::<253>")]
    pub cluster: String,
    /// What the namespaces have been granted together, by resource.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "schema::reported_quantities")]
    pub allocated: BTreeMap<String, Quantity>,
    /// What is left to grant, by resource; negative where more was granted than perCluster allows now.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "schema::reported_quantities")]
    pub available: BTreeMap<String, Quantity>,
}

impl SelectsClusters for Project {
    fn clusters(&self) -> &ClusterSelection {
        &self.spec.clusters
    }
}

impl ProjectSpec {
    pub(crate) const NO_EFFECT: NoEffect<Self> = &[];

    /// How long the deletion waits.
    #[must_use]
    pub fn deletion_timeout(&self) -> Duration {
        self.deletion_timeout.as_ref().map_or(DEFAULT_DELETION_TIMEOUT, ApiDuration::as_std)
    }

    /// Paths of the fields that are set but that this version does not act on.
    #[must_use]
    pub fn unimplemented(&self) -> Vec<&'static str> {
        no_effect::set_in(self, Self::NO_EFFECT)
    }
}

impl Default for ProjectStatus {
    fn default() -> Self {
        Self {
            observed_generation: UNOBSERVED,
            clusters: None,
            namespaces: None,
            quota: Vec::new(),
            problems: Vec::new(),
            conditions: Vec::new(),
        }
    }
}
