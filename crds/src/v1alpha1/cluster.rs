//! Cluster: one downstream cluster, or the management cluster itself.

#![expect(clippy::doc_markdown, reason = "kubectl explain shows these texts as they are")]
#![expect(unreachable_pub, reason = "KubeSchema copies each struct, with its `pub`, into a function")]

use std::{collections::BTreeMap, time::Duration};

use k8s_openapi::apimachinery::pkg::{
    api::resource::Quantity,
    apis::meta::v1::{Condition, Time},
};
use kube::{CustomResource, KubeSchema};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use crate::{
    ApiDuration, DeletionPolicy, NamespaceSelection,
    condition::{UNOBSERVED, status_conditions, unobserved},
    names::ALWAYS_PROTECTED,
    no_effect::{self, NoEffect},
    pattern_matches,
    schema::{self, is_default},
    v1alpha1::{EtcdSource, OwnSnapshots, PodSecurityLevel, PoliciesInPlace},
};

/// Time between two probes of a cluster that does not set one.
pub const DEFAULT_HEALTH_INTERVAL: Duration = Duration::from_secs(30);
/// Longest wait for the answer to a probe where the cluster does not set one.
pub const DEFAULT_HEALTH_TIMEOUT: Duration = Duration::from_secs(10);
/// Failed probes in a row after which a cluster counts as unreachable.
pub const DEFAULT_FAILURE_THRESHOLD: i32 = 3;
/// An API server of three small nodes serves some thousand, and Drover is not its only client.
const DEFAULT_MAX_REQUESTS: u16 = 500;
/// Successful probes in a row after which a cluster counts as reachable again.
pub const DEFAULT_SUCCESS_THRESHOLD: i32 = 2;
/// Time before the end of a certificate from which on Drover warns.
pub const DEFAULT_CERTIFICATE_WARNING: Duration = Duration::from_hours(720);
/// Time after which the deletion of an unreachable cluster no longer waits for it.
pub const DEFAULT_DELETION_TIMEOUT: Duration = Duration::from_mins(10);
/// Key of the Secret under which a kubeconfig is looked for.
pub const DEFAULT_KUBECONFIG_KEY: &str = "kubeconfig";
/// Most certificates that a status lists; those that end first are kept.
pub const MAX_CERTIFICATES: usize = 20;

/// The wanted state of a cluster: how to reach it, and who may use it.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "drover.dev",
    version = "v1alpha1",
    kind = "Cluster",
    plural = "clusters",
    shortname = "dcl",
    category = "drover",
    status = "ClusterStatus",
    derive = "PartialEq",
    doc = "A cluster of the fleet: how Drover reaches it, who may use it, and how it is.",
    validation = Rule::new("self.metadata.name.size() <= 63 && !self.metadata.name.contains('.')")
        .message("the name must be a DNS label: at most 63 characters, no dots"),
    validation = Rule::new("(self.metadata.name == 'local') == has(self.spec.connection.local)")
        .message("the management cluster itself is the Cluster named 'local' with connection.local; \
            every other Cluster needs connection.kubeconfig"),
    printcolumn(name = "Ready", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].status"#),
    printcolumn(name = "Reason", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].reason"#),
    printcolumn(name = "Version", type_ = "string", json_path = ".status.kubernetesVersion"),
    printcolumn(name = "Nodes", type_ = "string", json_path = ".status.nodes.summary"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(
        name = "Message",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Ready")].message"#,
        priority = "1"
    ),
    printcolumn(name = "Distribution", type_ = "string", json_path = ".status.distribution", priority = "1"),
    printcolumn(name = "CPU", type_ = "string", json_path = ".status.resources.allocatable.cpu", priority = "1"),
    printcolumn(name = "Memory", type_ = "string", json_path = ".status.resources.allocatable.memory", priority = "1"),
    printcolumn(name = "Expires", type_ = "string", json_path = ".status.certificates[0].notAfter", priority = "1"),
    printcolumn(name = "Endpoint", type_ = "string", json_path = ".status.endpoint", priority = "1")
)]
#[serde(rename_all = "camelCase")]
pub struct ClusterSpec {
    /// Name for people. Default: the name of the object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::text::<253>")]
    pub display_name: Option<String>,
    /// What the cluster is for, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::text::<2048>")]
    pub description: Option<String>,
    /// How Drover reaches the cluster: exactly one of kubeconfig and local.
    pub connection: Connection,
    /// UID of the namespace kube-system that the cluster must have. A cluster with another UID is not touched. Unset:
    /// the UID of the first connection is trusted. After the first connection no change of it, nor of connection, moves this
    /// Cluster to another cluster.
    #[serde(rename = "expectedUID", default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::uid")]
    pub expected_uid: Option<String>,
    /// Takes the cluster over from another installation of Drover. Unset: a cluster claimed elsewhere is not touched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claim: Option<ClaimSpec>,
    /// Who may use this cluster, and for which of its namespaces. The list has one owner as a whole: an entry that another
    /// field manager adds is removed by the next apply. Default: nobody.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 200))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    #[x_kube(validation = ("self.all(one, self.exists_one(other, other.name == one.name))",
        "every tenant entry needs a name of its own"))]
    pub tenants: Vec<Tenant>,
    /// Namespaces of this cluster that no tenant may own: names, in which * stands for any run of characters. The
    /// namespaces default, kube-* and drover-system are always protected.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::name_patterns::<100>")]
    pub protected_namespaces: Vec<String>,
    /// Pod security levels that the namespaces of all Projects have at least in this cluster. A Project may only be stricter.
    /// Unset: those of the Projects.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod_security: Option<PodSecurityFloor>,
    /// Addresses that are let into isolated namespaces of Projects, such as those of nodes from which an ingress controller on the
    /// host network sends: ranges such as 10.0.0.0/16 or fd00::/8. Default: none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::address_ranges::<50>")]
    pub node_ranges: Vec<String>,
    /// The addresses that names of a GlobalDNS may answer with from here: ranges such as 203.0.113.0/24. Default: all public ones, and no
    /// others.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::address_ranges::<50>")]
    pub public_ranges: Vec<String>,
    /// Whether this cluster is to be taken out of every name of a GlobalDNS that has another answer, as before maintenance. Default: false.
    #[serde(default, skip_serializing_if = "is_default")]
    pub drain_traffic: bool,
    /// How users and groups of role bindings are spelled in this cluster, where it differs from the management cluster. Names that
    /// begin with system: are Kubernetes' own and stay as they are. Default: as there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<IdentityMapping>,
    /// How reachability is judged. Default: a probe every 30 s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<HealthPolicy>,
    /// Facts of this cluster for apps, such as the registry that is near it: an app takes one by valuesFrom with kind Cluster. They are
    /// no secrets: whoever reads Clusters or releases apps here knows them. Default: none.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "schema::app_values")]
    pub app_values: BTreeMap<String, String>,
    /// Where the etcd of this cluster is, for backups: exactly one of auto and none. Default: auto, by its distribution.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub etcd: Option<EtcdSource>,
    /// When to warn of certificates that end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificates: Option<CertificatePolicy>,
    /// How many requests this cluster gets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests: Option<RequestPolicy>,
    /// Keeps the connection and the probes but writes nothing to the cluster, not even revocations. Default: false.
    #[serde(default, skip_serializing_if = "is_default")]
    pub suspend: bool,
    /// What happens downstream when this object is deleted. Orphan leaves everything as it is and only releases the
    /// claim; Delete removes all that is Drover's, except namespaces of Projects. Default: Orphan.
    #[serde(default, skip_serializing_if = "is_default")]
    pub deletion_policy: DeletionPolicy,
    /// How long the deletion waits for an unreachable cluster before Drover abandons it, such as 10m. Default: 10m.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deletion_timeout: Option<ApiDuration>,
}

/// How Drover reaches a cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(inline, extend("x-kubernetes-validations" = [{
    "rule": "has(self.kubeconfig) != has(self.local)",
    "message": "give exactly one of kubeconfig and local"
}]))]
pub enum Connection {
    /// By a kubeconfig in a Secret of Drover's namespace.
    Kubeconfig(KubeconfigConnection),
    /// The management cluster itself, with Drover's own rights: write {}.
    Local(LocalConnection),
}

/// A connection by kubeconfig.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct KubeconfigConnection {
    /// The Secret with the kubeconfig, in Drover's namespace.
    pub secret_ref: SecretKeyReference,
    /// Context of the kubeconfig to use. Default: its current context.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::text::<253>")]
    pub context: Option<String>,
}

/// A key of a Secret.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SecretKeyReference {
    /// Name of the Secret.
    #[schemars(schema_with = "schema::dns_subdomain")]
    pub name: String,
    /// Key within the Secret. Default: kubeconfig.
    #[serde(default = "default_kubeconfig_key", skip_serializing_if = "is_default_kubeconfig_key")]
    #[schemars(schema_with = "schema::data_key")]
    pub key: String,
}

fn default_kubeconfig_key() -> String {
    DEFAULT_KUBECONFIG_KEY.to_owned()
}

fn is_default_kubeconfig_key(key: &str) -> bool {
    key == DEFAULT_KUBECONFIG_KEY
}

/// The connection to the management cluster itself. It has nothing to set yet.
#[derive(KubeSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LocalConnection {}

/// Which installation of Drover a cluster belongs to.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClaimSpec {
    /// Identifier of the installation that holds the claim now, as the condition Accepted reports it. The cluster is taken
    /// over once for each change of this spec, so that two installations that name each other do not fight. Unset: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::text::<253>")]
    pub take_from: Option<String>,
}

/// Consent of a cluster to be used.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Tenant {
    /// Name of this entry, unique within the list.
    #[schemars(schema_with = "schema::dns_label")]
    pub name: String,
    /// Namespaces of the management cluster whose Projects and apps may use this cluster: exactly one of names,
    /// selector and all.
    pub from: NamespaceSelection,
    /// Namespaces of this cluster that they may own: names, in which * stands for any run of characters, such as
    /// team-a-*. Default: none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::name_patterns::<50>")]
    pub namespace_patterns: Vec<String>,
    /// Most namespaces of this cluster that each of the namespaces of the management cluster may own by this entry, 0 to
    /// 10000. What they own already stays. Default: no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 10000))]
    pub max_namespaces: Option<i32>,
    /// Keys of labels and annotations that they may set on their namespaces: whole keys, or the beginning of keys before a *,
    /// such as example.com/*. Keys of Kubernetes, pod security, service meshes, schedulers, policy engines, cloud identities and
    /// OpenShift are refused all the same, and on the Cluster local labels by which any Cluster selects its tenants. Default: none
    /// but labels app.kubernetes.io/*, which need no entry.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::key_patterns::<50>")]
    pub metadata_keys: Vec<String>,
    /// Whether they may take over namespaces that exist already: Never or Allowed. Default: Never.
    #[serde(default, skip_serializing_if = "is_default")]
    pub adopt: AdoptPolicy,
    /// Operations on the whole cluster that they may ask for. ClusterApps: apps without a Project, with objects outside of its
    /// namespaces. Backup: EtcdBackups, which hold everything in the cluster, Secrets included. Scan: CisScans, which read the configuration
    /// of all nodes. No kind of this version asks for Restore, which replaces the data of the whole cluster. Default: none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "operations")]
    pub operations: Vec<Operation>,
}

/// Something that concerns a cluster as a whole, not only the namespaces of a tenant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Operation {
    /// Apps without a Project, which may have objects outside of namespaces, such as custom resource definitions.
    ClusterApps,
    /// Backups of etcd, which contain everything in the cluster.
    Backup,
    /// Restores of etcd, which replace everything in the cluster.
    Restore,
    /// Scans of all nodes.
    Scan,
}

fn operations(generator: &mut SchemaGenerator) -> Schema {
    let operation = Operation::json_schema(generator);
    json_schema!({ "type": "array", "maxItems": 4, "items": operation, "x-kubernetes-list-type": "set" })
}

/// Whether tenants may take over existing namespaces.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum AdoptPolicy {
    /// They may not.
    #[default]
    Never,
    /// They may, where their object asks for it.
    Allowed,
}

/// The least strict pod security levels of a cluster.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PodSecurityFloor {
    /// Level that pods must keep, by the latest rules: privileged, baseline or restricted. Default: that of the Project.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enforce: Option<PodSecurityLevel>,
    /// Level whose violations go to the audit log: privileged, baseline or restricted. Default: that of the Project.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audit: Option<PodSecurityLevel>,
    /// Level whose violations are shown to the user: privileged, baseline or restricted. Default: that of the Project.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warn: Option<PodSecurityLevel>,
    /// Namespaces of this cluster for which these levels do not count. Default: none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::names::<100>")]
    pub exempt: Vec<String>,
}

/// How subjects of the management cluster are spelled in a downstream cluster.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct IdentityMapping {
    /// Put before the name of every user. Default: nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::text::<128>")]
    pub username_prefix: Option<String>,
    /// Put before the name of every group. Default: nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::text::<128>")]
    pub groups_prefix: Option<String>,
}

/// How reachability is judged.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HealthPolicy {
    /// Time between two probes, 1s to 1h. Default: 30s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = ("duration(self) >= duration('1s') && duration(self) <= duration('1h')",
        "must be between 1s and 1h"))]
    pub interval: Option<ApiDuration>,
    /// Longest wait for the answer to a probe, 1s to 5m. Default: 10s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = ("duration(self) >= duration('1s') && duration(self) <= duration('5m')",
        "must be between 1s and 5m"))]
    pub timeout: Option<ApiDuration>,
    /// Failed probes in a row after which the cluster counts as unreachable. Default: 3.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100))]
    pub failure_threshold: Option<i32>,
    /// Successful probes in a row after which an unreachable cluster counts as reachable. Default: 2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100))]
    pub success_threshold: Option<i32>,
}

/// How many requests a cluster gets.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RequestPolicy {
    /// Most requests a second in the long run; up to 200 go at once after a time of rest, and probes do not count. Drover begins with
    /// 100 a second, sends more as long as the API server answers within 100 ms, and halves them where it refuses. Default: 500.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 10, max = 5000))]
    pub max_per_second: Option<i32>,
}

/// When to warn of certificates that end.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CertificatePolicy {
    /// How long before its end a certificate is reported, such as 720h. Default: 720h.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warn_before: Option<ApiDuration>,
}

/// The observed state of a cluster.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClusterStatus {
    /// The metadata.generation that this status judges; -1 before the first reconcile.
    #[serde(default = "unobserved")]
    pub observed_generation: i64,
    /// UID of the cluster's namespace kube-system.
    #[serde(rename = "clusterUID", default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::uid")]
    pub cluster_uid: Option<String>,
    /// Version of the API server, such as v1.37.1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::text::<128>")]
    pub kubernetes_version: Option<String>,
    /// What the cluster was made with: k3s, rke2, kubeadm, EKS, GKE, AKS, OpenShift, kind or unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::text::<64>")]
    pub distribution: Option<String>,
    /// Operating system and architecture of the API server, such as linux/amd64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::text::<64>")]
    pub platform: Option<String>,
    /// URL at which Drover reaches the API server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::text::<2048>")]
    pub endpoint: Option<String>,
    /// How many nodes there are and how they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nodes: Option<NodeSummary>,
    /// What all nodes offer together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<ClusterResources>,
    /// Certificates seen, those that end first; at most 20.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 20))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub certificates: Vec<CertificateStatus>,
    /// State of the credential that Drover uses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credential: Option<CredentialStatus>,
    /// Snapshots of etcd that k3s or RKE2 took by themselves. Drover shows them only: they are not verified, and nothing of Drover's deletes
    /// them. Unset: another distribution, or none are known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub own_snapshots: Option<OwnSnapshots>,
    /// Since when the admission policies are in place that Drover writes into the cluster; what was written there before is not
    /// taken for judged by them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policies: Option<PoliciesInPlace>,
    /// Ready, and what it is made of.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::conditions")]
    pub conditions: Vec<Condition>,
}

status_conditions!(ClusterStatus);

/// Counts of nodes.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeSummary {
    /// All nodes.
    #[schemars(range(min = 0))]
    pub total: i64,
    /// Nodes that are ready.
    #[schemars(range(min = 0))]
    pub ready: i64,
    /// Nodes that take no new pods.
    #[schemars(range(min = 0))]
    pub unschedulable: i64,
    /// Ready of all, such as 3/3.
    #[schemars(schema_with = "schema::text::<64>")]
    pub summary: String,
}

/// Sums over all nodes.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClusterResources {
    /// What the nodes have, by resource.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "schema::reported_quantities")]
    pub capacity: BTreeMap<String, Quantity>,
    /// What the nodes leave to pods, by resource.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "schema::reported_quantities")]
    pub allocatable: BTreeMap<String, Quantity>,
}

/// A certificate of the cluster.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CertificateStatus {
    /// What the certificate is for, unique within the list.
    #[schemars(schema_with = "schema::text::<253>")]
    pub name: String,
    /// Where it was seen.
    #[schemars(schema_with = "schema::text::<253>")]
    pub source: String,
    /// When it ends.
    pub not_after: Time,
}

/// The credential that Drover uses.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CredentialStatus {
    /// When it ends. Unset: never, or not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_after: Option<Time>,
}

impl ClusterSpec {
    /// Time between two probes.
    #[must_use]
    pub fn health_interval(&self) -> Duration {
        self.health.as_ref().and_then(|h| h.interval.as_ref()).map_or(DEFAULT_HEALTH_INTERVAL, ApiDuration::as_std)
    }

    /// Longest wait for the answer to a probe.
    #[must_use]
    pub fn health_timeout(&self) -> Duration {
        self.health.as_ref().and_then(|h| h.timeout.as_ref()).map_or(DEFAULT_HEALTH_TIMEOUT, ApiDuration::as_std)
    }

    /// Most requests a second in the long run.
    #[must_use]
    pub fn max_requests_per_second(&self) -> u16 {
        let most = self.requests.as_ref().and_then(|requests| requests.max_per_second);
        most.and_then(|most| u16::try_from(most).ok()).unwrap_or(DEFAULT_MAX_REQUESTS)
    }

    /// Failed probes in a row after which the cluster counts as unreachable.
    #[must_use]
    pub fn failure_threshold(&self) -> i32 {
        self.health.as_ref().and_then(|h| h.failure_threshold).unwrap_or(DEFAULT_FAILURE_THRESHOLD)
    }

    /// Successful probes in a row after which the cluster counts as reachable again.
    #[must_use]
    pub fn success_threshold(&self) -> i32 {
        self.health.as_ref().and_then(|h| h.success_threshold).unwrap_or(DEFAULT_SUCCESS_THRESHOLD)
    }

    /// Time before the end of a certificate from which on it is reported.
    #[must_use]
    pub fn certificate_warning(&self) -> Duration {
        let before = self.certificates.as_ref().and_then(|c| c.warn_before.as_ref());
        before.map_or(DEFAULT_CERTIFICATE_WARNING, ApiDuration::as_std)
    }

    /// Time after which the deletion no longer waits for an unreachable cluster.
    #[must_use]
    pub fn deletion_timeout(&self) -> Duration {
        self.deletion_timeout.as_ref().map_or(DEFAULT_DELETION_TIMEOUT, ApiDuration::as_std)
    }

    /// Whether no tenant may own the namespace of this name.
    #[must_use]
    pub fn protects(&self, namespace: &str) -> bool {
        let own = self.protected_namespaces.iter().map(String::as_str);
        ALWAYS_PROTECTED.into_iter().chain(own).any(|pattern| pattern_matches(pattern, namespace))
    }

    pub(crate) const NO_EFFECT: NoEffect<Self> = &[];

    /// Paths of the fields that are set but that this version does not act on.
    #[must_use]
    pub fn unimplemented(&self) -> Vec<&'static str> {
        no_effect::set_in(self, Self::NO_EFFECT)
    }
}

impl Tenant {
    /// Whether this entry lets its tenants ask for an operation on the whole cluster.
    #[must_use]
    pub fn allows(&self, operation: Operation) -> bool {
        self.operations.contains(&operation)
    }

    /// Whether this entry lets its tenants own the namespace of this name, protection aside.
    #[must_use]
    pub fn allows_namespace(&self, namespace: &str) -> bool {
        self.namespace_patterns.iter().any(|pattern| pattern_matches(pattern, namespace))
    }

    /// Whether this entry lets its tenants set labels and annotations with this key, wherever nobody else's key is concerned.
    #[must_use]
    pub fn allows_key(&self, key: &str) -> bool {
        self.metadata_keys.iter().any(|pattern| pattern_matches(pattern, key))
    }
}

impl Default for ClusterStatus {
    fn default() -> Self {
        Self {
            observed_generation: UNOBSERVED,
            cluster_uid: None,
            kubernetes_version: None,
            distribution: None,
            platform: None,
            endpoint: None,
            nodes: None,
            resources: None,
            certificates: Vec::new(),
            credential: None,
            own_snapshots: None,
            policies: None,
            conditions: Vec::new(),
        }
    }
}
