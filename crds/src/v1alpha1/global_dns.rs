//! GlobalDNS: names that answer with the addresses of many clusters.

#![expect(clippy::doc_markdown, reason = "kubectl explain shows these texts as they are")]
#![expect(unreachable_pub, reason = "KubeSchema copies each struct, with its `pub`, into a function")]

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, LabelSelector};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    ApiDuration, ClusterSelection, SelectsClusters,
    condition::{UNOBSERVED, status_conditions, unobserved},
    schema::{self, is_default},
};

/// How long resolvers may keep an answer unless the spec says otherwise, in seconds.
pub const DEFAULT_TTL: u32 = 30;
/// Most addresses of each family unless the spec says otherwise: an answer of so many fits into every packet.
pub const DEFAULT_MOST_ENDPOINTS: u32 = 16;
/// How long a deletion waits for the provider unless the spec says otherwise.
pub const DEFAULT_DNS_DELETION_TIMEOUT: Duration = Duration::from_mins(10);

/// The wanted state of names.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "drover.dev",
    version = "v1alpha1",
    kind = "GlobalDNS",
    plural = "globaldnses",
    shortname = "gdns",
    category = "drover",
    namespaced,
    status = "GlobalDNSStatus",
    derive = "PartialEq",
    doc = "Names that answer with the addresses of an app on many clusters.",
    validation = Rule::new("self.metadata.name.size() <= 63 && !self.metadata.name.contains('.')")
        .message("the name must be a DNS label: at most 63 characters, no dots"),
    printcolumn(name = "Ready", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].status"#),
    printcolumn(name = "Reason", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].reason"#),
    printcolumn(name = "Names", type_ = "string", json_path = ".spec.fqdns"),
    printcolumn(name = "Answers", type_ = "string", json_path = ".status.summary"),
    printcolumn(name = "Propagated", type_ = "string", json_path = r#".status.conditions[?(@.type=="Propagated")].status"#),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(
        name = "Message",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Ready")].message"#,
        priority = "1"
    )
)]
#[serde(rename_all = "camelCase")]
pub struct GlobalDNSSpec {
    /// Name of the GlobalDNSProvider that writes the names. It cannot be changed.
    #[schemars(schema_with = "schema::dns_label")]
    #[x_kube(validation = ("self == oldSelf", "records stay where they are; create another GlobalDNS for another provider"))]
    pub provider_name: String,
    /// The names, such as shop.apps.example.com: at most 16, in lower case, each granted to this namespace by the provider.
    #[schemars(schema_with = "schema::fqdns::<16>")]
    pub fqdns: Vec<String>,
    /// How many seconds resolvers may keep an answer, from 1 to 86400. Default: 30.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::ttl")]
    pub ttl: Option<u32>,
    /// Where the addresses come from.
    pub targets: DNSTargets,
    /// Which objects offer addresses. An Ingress does for the hosts in its rules, a Service of type LoadBalancer for the names in its
    /// annotation external-dns.alpha.kubernetes.io/hostname. Default: both.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::dns_sources")]
    pub sources: Vec<DNSSource>,
    /// Which of the addresses answer. Default: all that can be used.
    #[serde(default, skip_serializing_if = "is_default")]
    pub policy: DNSPolicy,
    /// What a name answers with while no address of a family can be used: KeepLast, what it did before; Remove, nothing. Default: KeepLast.
    #[serde(default, skip_serializing_if = "is_default")]
    pub when_all_unhealthy: WhenAllUnhealthy,
    /// Most addresses of each family that a name answers with, from 1 to 64. Default: 16.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::most_endpoints")]
    pub max_endpoints: Option<u32>,
    /// Enforce writes; Observe only says in status.plan what would be written. Default: Enforce.
    #[serde(default, skip_serializing_if = "is_default")]
    pub mode: DNSMode,
    /// How long the deletion waits for a provider that does not let Drover remove the records. Then they stay, and an event says so.
    /// Default: 10m.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deletion_timeout: Option<ApiDuration>,
}

/// Where addresses come from.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DNSTargets {
    /// Objects in namespaces of clusters.
    pub selection: DNSSelection,
}

/// Objects in namespaces of clusters.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DNSSelection {
    /// The clusters: exactly one of names, selector and all.
    pub clusters: ClusterSelection,
    /// The namespaces there, at most 32. Each must be one that the Cluster allows to this namespace in spec.tenants.
    #[schemars(schema_with = "schema::some_names::<32>")]
    pub namespaces: Vec<String>,
    /// Which of the objects there. Default: all that offer the name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::label_selector")]
    pub labels: Option<LabelSelector>,
}

/// Which of the addresses answer.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DNSPolicy {
    /// Those of the first tier that has enough of them. Default: those of all clusters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failover: Option<DNSFailover>,
}

/// Tiers of clusters, of which one answers.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DNSFailover {
    /// The tiers, from 1 to 8, the preferred one first. A cluster is in the first that selects it; one that is in none never answers.
    #[schemars(length(min = 1, max = 8))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub tiers: Vec<DNSTier>,
}

/// Clusters that answer together.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DNSTier {
    /// The clusters: exactly one of names, selector and all.
    pub clusters: ClusterSelection,
    /// From how many addresses on the tier is enough, from 1 to 64. Where none is, the first that has any answers. Default: 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::most_endpoints")]
    pub min_healthy: Option<u32>,
}

/// An object that offers addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum DNSSource {
    /// An Ingress.
    Ingress,
    /// A Service of type LoadBalancer.
    Service,
}

/// What a name answers with while nothing can be used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum WhenAllUnhealthy {
    /// What it did before.
    #[default]
    KeepLast,
    /// Nothing.
    Remove,
}

/// Whether records are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum DNSMode {
    /// They are.
    #[default]
    Enforce,
    /// The status says what would be written.
    Observe,
}

/// The observed state of names.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GlobalDNSStatus {
    /// The metadata.generation that this status judges; -1 before the first reconcile.
    #[serde(default = "unobserved")]
    pub observed_generation: i64,
    /// Who answers, in a few words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::text::<256>")]
    pub summary: Option<String>,
    /// What each name answers with, and the cluster that each address is of, as it was seen last at the provider.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub published: Vec<PublishedName>,
    /// Addresses that are offered and may not be published, and why; at most 20. Those of other tiers, of drained clusters and beyond
    /// maxEndpoints are not listed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 20))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub excluded: Vec<ExcludedAddress>,
    /// With mode Observe: what would be written, a line each; at most 16.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::lines")]
    pub plan: Vec<String>,
    /// Ready, and what it is made of: Accepted (the provider is there and grants the names), TargetsResolved (clusters offer addresses)
    /// and Programmed (the provider has the records). Besides it Propagated (every server answers with them), and Frozen while too many
    /// addresses would leave at once.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::conditions")]
    pub conditions: Vec<Condition>,
}

status_conditions!(GlobalDNSStatus);

/// What a name answers with.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PublishedName {
    /// The name.
    #[schemars(schema_with = "schema::fqdn")]
    pub fqdn: String,
    /// Which tier answers, the first is 1; none without tiers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 8))]
    pub tier: Option<i32>,
    /// The addresses, by cluster.
    #[schemars(length(max = 128))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub endpoints: Vec<PublishedEndpoint>,
}

/// Addresses of one cluster.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PublishedEndpoint {
    /// Name of the Cluster; none if it is not known any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::dns_label")]
    pub cluster: Option<String>,
    /// The addresses.
    #[schemars(schema_with = "schema::addresses")]
    pub addresses: Vec<String>,
}

/// An address that is not published.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ExcludedAddress {
    /// Name of the Cluster.
    #[schemars(schema_with = "schema::dns_label")]
    pub cluster: String,
    /// The address, or the name that stands in its place.
    #[schemars(schema_with = "schema::text::<253>")]
    pub address: String,
    /// Why.
    #[schemars(schema_with = "schema::text::<256>")]
    pub reason: String,
}

impl SelectsClusters for GlobalDNS {
    fn clusters(&self) -> &ClusterSelection {
        &self.spec.targets.selection.clusters
    }
}

impl GlobalDNSSpec {
    /// How many seconds resolvers may keep an answer.
    #[must_use]
    pub fn ttl(&self) -> u32 {
        self.ttl.unwrap_or(DEFAULT_TTL)
    }

    /// Most addresses of each family.
    #[must_use]
    pub fn max_endpoints(&self) -> usize {
        usize::try_from(self.max_endpoints.unwrap_or(DEFAULT_MOST_ENDPOINTS)).unwrap_or(usize::MAX)
    }

    /// The tiers; none where all clusters answer.
    #[must_use]
    pub fn tiers(&self) -> &[DNSTier] {
        self.policy.failover.as_ref().map(|failover| failover.tiers.as_slice()).unwrap_or_default()
    }

    /// Whether objects of this kind offer addresses.
    #[must_use]
    pub fn takes(&self, source: DNSSource) -> bool {
        self.sources.is_empty() || self.sources.contains(&source)
    }

    /// How long the deletion waits for the provider.
    #[must_use]
    pub fn deletion_timeout(&self) -> Duration {
        self.deletion_timeout.as_ref().map_or(DEFAULT_DNS_DELETION_TIMEOUT, ApiDuration::as_std)
    }
}

impl Default for GlobalDNSStatus {
    fn default() -> Self {
        Self {
            observed_generation: UNOBSERVED,
            summary: None,
            published: Vec::new(),
            excluded: Vec::new(),
            plan: Vec::new(),
            conditions: Vec::new(),
        }
    }
}
