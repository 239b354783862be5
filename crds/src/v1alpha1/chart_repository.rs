//! ChartRepository: where charts come from, with the credentials and bounds for it.

#![expect(clippy::doc_markdown, reason = "kubectl explain shows these texts as they are")]
#![expect(unreachable_pub, reason = "KubeSchema copies each struct, with its `pub`, into a function")]

use std::{collections::BTreeMap, time::Duration};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

use crate::{
    ApiDuration, NamespaceSelection,
    condition::{UNOBSERVED, status_conditions, unobserved},
    schema::{self, is_default},
};

/// How often a repository is read unless its spec says otherwise.
pub const DEFAULT_REPOSITORY_INTERVAL: Duration = Duration::from_hours(1);
/// How long one request to a repository may take unless its spec says otherwise.
pub const DEFAULT_REPOSITORY_TIMEOUT: Duration = Duration::from_secs(30);
/// One request may take no longer than this: others wait for their turn.
pub const MAX_REPOSITORY_TIMEOUT: Duration = Duration::from_secs(50);
/// It is never read more often than this.
pub const LEAST_REPOSITORY_INTERVAL: Duration = Duration::from_secs(10);
/// Most bytes of an index, which is the default as well.
pub const MAX_INDEX_BYTES: usize = 64 << 20;
/// Most bytes of a packaged chart, which is the default as well.
pub const MAX_CHART_BYTES: usize = 10 << 20;

/// The wanted state of a chart repository.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "drover.dev",
    version = "v1alpha1",
    kind = "ChartRepository",
    plural = "chartrepositories",
    shortname = "crepo",
    category = "drover",
    namespaced,
    status = "ChartRepositoryStatus",
    derive = "PartialEq",
    doc = "A repository of Helm charts, which CatalogApps name.",
    validation = Rule::new("self.metadata.name.size() <= 63 && !self.metadata.name.contains('.')")
        .message("the name must be a DNS label: at most 63 characters, no dots"),
    printcolumn(name = "Ready", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].status"#),
    printcolumn(name = "Reason", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].reason"#),
    printcolumn(name = "Charts", type_ = "integer", json_path = ".status.charts"),
    printcolumn(name = "Versions", type_ = "integer", json_path = ".status.versions"),
    printcolumn(name = "Fetched", type_ = "date", json_path = ".status.fetchedAt"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(
        name = "Message",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Ready")].message"#,
        priority = "1"
    )
)]
#[x_kube(validation = ("has(self.http) != has(self.oci)", "give exactly one of http and oci"))]
#[serde(rename_all = "camelCase")]
pub struct ChartRepositorySpec {
    /// A repository with an index.yaml, as helm repo add takes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http: Option<HttpRepository>,
    /// A folder of an OCI registry, in which each chart is a repository of the registry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oci: Option<OciRepository>,
    /// A Secret in this namespace with credentials: username and password, token, or .dockerconfigjson. It carries the label
    /// drover.dev/usable-by with the value chart-repository and, but for .dockerconfigjson, the annotation drover.dev/hosts, which names
    /// the hosts that may get them. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<SecretName>,
    /// A Secret in this namespace with ca.crt, or with tls.crt and tls.key for a client certificate, labelled the same way.
    /// Default: the authorities that Drover's image brings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cert_secret_ref: Option<SecretName>,
    /// The HTTP proxy, such as http://proxy.example.org:3128. Default: the one of Drover, if it has one.
    #[serde(default, rename = "proxyURL", skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::chart_url")]
    pub proxy_url: Option<String>,
    /// How often it is read, at least 10s. Default: 1h.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval: Option<ApiDuration>,
    /// How long one request may take, from 1s to 50s. Default: 30s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<ApiDuration>,
    /// How large what it answers may be.
    #[serde(default, skip_serializing_if = "is_default")]
    pub limits: RepositoryLimits,
    /// The namespaces of the management cluster whose apps may use it: exactly one of names, selector and all. Default: its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usable_from: Option<NamespaceSelection>,
    /// Whether it is not read for now; apps stay as they are then. Default: false.
    #[serde(default, skip_serializing_if = "is_default")]
    pub suspend: bool,
}

/// A repository with an index.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HttpRepository {
    /// Its address, such as https://charts.example.org/stable; index.yaml lies below it.
    #[schemars(schema_with = "schema::chart_url")]
    pub url: String,
}

/// A folder of an OCI registry.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OciRepository {
    /// Its address, such as oci://registry.example.org/charts; the names of charts lie below it.
    #[schemars(schema_with = "schema::oci_url")]
    pub url: String,
}

/// A Secret beside the object.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretName {
    /// Its name.
    #[schemars(schema_with = "schema::dns_subdomain")]
    pub name: String,
}

/// How large the answers of a repository may be.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RepositoryLimits {
    /// Of the index, at most 64Mi. Default: 64Mi.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::bytes")]
    pub index_bytes: Option<String>,
    /// Of a packaged chart, at most 10Mi. Default: 10Mi.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::bytes")]
    pub chart_bytes: Option<String>,
}

/// The observed state of a chart repository.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ChartRepositoryStatus {
    /// The metadata.generation that this status judges; -1 before the first reconcile.
    #[serde(default = "unobserved")]
    pub observed_generation: i64,
    /// How many charts the index names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub charts: Option<i64>,
    /// How many versions of charts the index names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub versions: Option<i64>,
    /// SHA-256 of the index.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::text::<80>")]
    pub index_digest: Option<String>,
    /// When an index that differs from the one before was read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fetched_at: Option<Time>,
    /// The value of annotation drover.dev/reconcile-at that was acted upon last; the versions in a registry are listed anew for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::text::<128>")]
    pub last_handled_reconcile_at: Option<String>,
    /// Ready, and what it is made of.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::conditions")]
    pub conditions: Vec<Condition>,
}

status_conditions!(ChartRepositoryStatus);

impl ChartRepositorySpec {
    /// How often it is read.
    #[must_use]
    pub fn interval(&self) -> Duration {
        let wanted = self.interval.as_ref().map_or(DEFAULT_REPOSITORY_INTERVAL, ApiDuration::as_std);
        wanted.max(LEAST_REPOSITORY_INTERVAL)
    }

    /// How long one request may take.
    #[must_use]
    pub fn timeout(&self) -> Duration {
        let wanted = self.timeout.as_ref().map_or(DEFAULT_REPOSITORY_TIMEOUT, ApiDuration::as_std);
        wanted.clamp(Duration::from_secs(1), MAX_REPOSITORY_TIMEOUT)
    }

    /// Whether an object of this namespace may use it, which has these labels, and the repository lies in `own`.
    #[must_use]
    pub fn is_usable_from(&self, own: &str, namespace: &str, labels: &BTreeMap<String, String>) -> bool {
        own == namespace || self.usable_from.as_ref().is_some_and(|usable| usable.selects(namespace, labels))
    }
}

impl RepositoryLimits {
    /// Most bytes of the index.
    #[must_use]
    pub fn most_index_bytes(&self) -> usize {
        bytes(self.index_bytes.as_deref(), MAX_INDEX_BYTES)
    }

    /// Most bytes of a packaged chart.
    #[must_use]
    pub fn most_chart_bytes(&self) -> usize {
        bytes(self.chart_bytes.as_deref(), MAX_CHART_BYTES)
    }
}

/// What a text such as 512Ki or 64Mi says, and never more than `most`.
fn bytes(text: Option<&str>, most: usize) -> usize {
    let Some(text) = text else { return most };
    let (digits, factor) = match (text.strip_suffix("Mi"), text.strip_suffix("Ki")) {
        (Some(digits), _) => (digits, 1 << 20),
        (_, Some(digits)) => (digits, 1 << 10),
        _ => (text, 1),
    };
    digits.parse::<usize>().map_or(most, |number| number.saturating_mul(factor).min(most))
}

impl Default for ChartRepositoryStatus {
    fn default() -> Self {
        Self {
            observed_generation: UNOBSERVED,
            charts: None,
            versions: None,
            index_digest: None,
            fetched_at: None,
            last_handled_reconcile_at: None,
            conditions: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn bounds_are_as_written_and_never_beyond_those_of_drover() {
        for (text, expected) in [
            (None, 100),
            (Some("7"), 7),
            (Some("1Ki"), 100),
            (Some("0Mi"), 0),
            (Some("99999999999Mi"), 100),
            (Some("x"), 100),
        ] {
            assert_eq!(bytes(text, 100), expected, "{text:?}");
        }
        assert_eq!((bytes(Some("3Mi"), MAX_INDEX_BYTES), bytes(Some("2Ki"), MAX_INDEX_BYTES)), (3 << 20, 2 << 10));
    }

    #[test]
    fn it_is_usable_from_its_own_namespace_and_from_those_that_it_names() {
        let spec = |more: serde_json::Value| {
            let mut spec = json!({"http": {"url": "https://charts.example.org"}});
            spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            serde_json::from_value::<ChartRepositorySpec>(spec).unwrap()
        };
        let labels = |team: &str| BTreeMap::from([("team".to_owned(), team.to_owned())]);
        let closed = spec(json!({}));
        assert!(closed.is_usable_from("a", "a", &labels("a")) && !closed.is_usable_from("a", "b", &labels("b")));
        let named = spec(json!({"usableFrom": {"names": ["b"]}}));
        assert!(named.is_usable_from("a", "b", &labels("b")) && !named.is_usable_from("a", "c", &labels("b")));
        assert!(named.is_usable_from("a", "a", &labels("a")));
        let selected = spec(json!({"usableFrom": {"selector": {"matchLabels": {"team": "b"}}}}));
        assert!(selected.is_usable_from("a", "x", &labels("b")) && !selected.is_usable_from("a", "b", &labels("c")));
        assert!(spec(json!({"usableFrom": {"all": {}}})).is_usable_from("a", "x", &labels("x")));
    }
}
