//! GlobalDNSProvider: where names are written, and who may have which.

#![expect(clippy::doc_markdown, reason = "kubectl explain shows these texts as they are")]
#![expect(unreachable_pub, reason = "KubeSchema copies each struct, with its `pub`, into a function")]

use std::{collections::BTreeMap, time::Duration};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    ApiDuration, NamespaceSelection,
    condition::{UNOBSERVED, status_conditions, unobserved},
    schema::{self, is_default},
    v1alpha1::SecretName,
};

/// How often a provider is tried unless its spec says otherwise.
pub const DEFAULT_PROVIDER_INTERVAL: Duration = Duration::from_mins(10);
/// It is never tried more often than this.
pub const LEAST_PROVIDER_INTERVAL: Duration = Duration::from_mins(1);

/// The wanted state of a provider.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "drover.dev",
    version = "v1alpha1",
    kind = "GlobalDNSProvider",
    plural = "globaldnsproviders",
    shortname = "gdnsp",
    category = "drover",
    status = "GlobalDNSProviderStatus",
    derive = "PartialEq",
    doc = "A DNS server in which names are written, and which namespaces may have which names.",
    validation = Rule::new("self.metadata.name.size() <= 63 && !self.metadata.name.contains('.')")
        .message("the name must be a DNS label: at most 63 characters, no dots"),
    printcolumn(name = "Ready", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].status"#),
    printcolumn(name = "Reason", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].reason"#),
    printcolumn(name = "Server", type_ = "string", json_path = ".spec.rfc2136.server"),
    printcolumn(name = "Domains", type_ = "string", json_path = ".spec.domains"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(
        name = "Message",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Ready")].message"#,
        priority = "1"
    )
)]
#[serde(rename_all = "camelCase")]
pub struct GlobalDNSProviderSpec {
    /// A server that takes dynamic updates with a key (RFC 2136, TSIG), such as BIND, Knot or PowerDNS.
    pub rfc2136: Rfc2136Provider,
    /// A Secret in Drover's namespace with the secret of the key in base64, as servers have it, under the key tsigSecret. It carries the
    /// label drover.dev/usable-by with the value global-dns-provider, and the annotation drover.dev/hosts, which names the server that may
    /// get messages signed with it.
    pub credentials_secret_ref: SecretName,
    /// The domains in which names are written, such as apps.example.com: zones of the server, or below one.
    #[schemars(schema_with = "schema::fqdns::<32>")]
    pub domains: Vec<String>,
    /// Which namespaces of the management cluster may have which names. Default: none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub grants: Vec<NameGrant>,
    /// Owners in ownership records of external-dns whose records are taken over by names that want them. Default: none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::record_owners")]
    pub adopt_owners: Vec<String>,
    /// How often Drover tries whether it can write here, at least 1m. Default: 10m.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval: Option<ApiDuration>,
}

/// A server that takes dynamic updates.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Rfc2136Provider {
    /// The primary server, such as ns1.example.com, 203.0.113.1:5353 or [2001:db8::1]:53. Default of the port: 53.
    #[schemars(schema_with = "schema::dns_server")]
    pub server: String,
    /// The name of the key, as the server knows it.
    #[schemars(schema_with = "schema::key_name")]
    pub key_name: String,
    /// How messages are signed: HmacSHA256, HmacSHA384 or HmacSHA512. Default: HmacSHA256.
    #[serde(default, skip_serializing_if = "is_default")]
    pub algorithm: TsigAlgorithm,
    /// The servers that are asked whether they answer as they should. Default: those that the zone names in its NS records.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::dns_servers")]
    pub verify_servers: Vec<String>,
}

/// How messages are signed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum TsigAlgorithm {
    /// HMAC with SHA-256.
    #[default]
    HmacSHA256,
    /// HMAC with SHA-384.
    HmacSHA384,
    /// HMAC with SHA-512.
    HmacSHA512,
}

/// Names for some namespaces.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NameGrant {
    /// The namespaces of the management cluster: exactly one of names, selector and all.
    pub from: NamespaceSelection,
    /// What they may have: each name below one of these, whole labels only; and a domain itself, a wildcard such as *.shop.example.com, or
    /// a name with a label that begins with '_' only if it is listed as it is.
    #[schemars(schema_with = "schema::fqdns::<32>")]
    pub suffixes: Vec<String>,
}

/// The observed state of a provider.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GlobalDNSProviderStatus {
    /// The metadata.generation that this status judges; -1 before the first reconcile.
    #[serde(default = "unobserved")]
    pub observed_generation: i64,
    /// Ready: the server has a zone for every domain, and lets Drover write there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::conditions")]
    pub conditions: Vec<Condition>,
}

status_conditions!(GlobalDNSProviderStatus);

impl GlobalDNSProviderSpec {
    /// How often it is tried.
    #[must_use]
    pub fn interval(&self) -> Duration {
        self.interval.as_ref().map_or(DEFAULT_PROVIDER_INTERVAL, ApiDuration::as_std).max(LEAST_PROVIDER_INTERVAL)
    }

    /// What is granted to this namespace, which has these labels.
    pub fn suffixes_for<'a>(
        &'a self,
        namespace: &'a str,
        labels: &'a BTreeMap<String, String>,
    ) -> impl Iterator<Item = &'a String> {
        self.grants.iter().filter(move |grant| grant.from.selects(namespace, labels)).flat_map(|grant| &grant.suffixes)
    }
}

impl Default for GlobalDNSProviderStatus {
    fn default() -> Self {
        Self { observed_generation: UNOBSERVED, conditions: Vec::new() }
    }
}
