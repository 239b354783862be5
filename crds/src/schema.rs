//! Bounded schema nodes. Every bound keeps the estimated cost of CEL rules, and the size of objects, finite.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSON, JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use kube::ResourceExt as _;
use schemars::{Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};

mod cis;
mod dns;
pub(crate) use cis::*;
pub(crate) use dns::*;

/// Kubernetes' own grammar of quantities, which the status copies from downstream.
const SIGNED_QUANTITY: &str = r"^[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([KMGTPE]i|[numkMGTPE]|[eE][+-]?[0-9]+)?$";
const QUANTITY: &str = r"^([0-9]+(\.[0-9]*)?|\.[0-9]+)([KMGTPE]i|[numkMGTPE]|[eE][+-]?[0-9]+)?$";
const DNS_LABEL: &str = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$";
const DNS_SUBDOMAIN: &str = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$";
const ROLE_NAME: &str = "^[^/%]+$";
const NAME_PATTERN: &str = r"^[a-z0-9*]([-a-z0-9*]*[a-z0-9*])?$";
const ADDRESS_RANGE: &str = r"^([0-9]{1,3}(\.[0-9]{1,3}){3}/([0-9]|[12][0-9]|3[0-2])|[0-9a-f:]*:[0-9a-f:]*/([0-9]|[1-9][0-9]|1[01][0-9]|12[0-8]))$";
const LABEL_KEY: &str = "^([a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?\
     [A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$";
const KEY_PATTERN: &str = r"^([-A-Za-z0-9_.]+/)?([A-Za-z0-9][-A-Za-z0-9_.]*)?\*?$";
/// Times as RFC 3339 has them, in a range that every decoder takes: the format `date-time` of the API server allows offsets of days and
/// any number of digits, and what cannot be decoded is unknown, not over.
const TIME: &str =
    r"^2[0-9]{3}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?(Z|[+-](0[0-9]|1[0-9]|2[0-3]):[0-5][0-9])$";
const LABEL_VALUE: &str = r"^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$";

/// Most labels that a Project sets on a namespace, those for all of its namespaces included …
const MAX_LABELS: u32 = 32;
/// … and most annotations.
const MAX_ANNOTATIONS: u32 = 16;

pub(crate) fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

pub(crate) fn text<const MAX: u32>(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "maxLength": MAX })
}

pub(crate) fn dns_label(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "maxLength": 63, "pattern": DNS_LABEL })
}

pub(crate) fn dns_subdomain(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "maxLength": 253, "pattern": DNS_SUBDOMAIN })
}

/// A name of at most 53 characters: helm adds to it where it names objects.
pub(crate) fn release_name(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "maxLength": 53, "pattern": DNS_LABEL })
}

pub(crate) fn digest(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "maxLength": 71, "pattern": "^sha256:[0-9a-f]{64}$" })
}

/// Where a server is. User and password belong into a Secret.
pub(crate) fn chart_url(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "maxLength": 2048, "pattern": r"^https?://[^/?#@\s]+([/?#]\S*)?$" })
}

/// A server alone, without a path.
pub(crate) fn server_url(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "maxLength": 512, "pattern": r"^https?://[^/?#@\s]+/?$" })
}

pub(crate) fn bucket(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "minLength": 3, "maxLength": 63, "pattern": r"^[a-z0-9]([-a-z0-9]|\.[a-z0-9])*[a-z0-9]$" })
}

/// What keys of objects begin with.
pub(crate) fn object_prefix(_: &mut SchemaGenerator) -> Schema {
    let name = "([-_a-zA-Z0-9]|[.]+[-_a-zA-Z0-9])[-_.a-zA-Z0-9]*";
    json_schema!({ "type": "string", "minLength": 1, "maxLength": 512, "pattern": format!("^{name}(/{name})*$") })
}

/// Public keys of age.
pub(crate) fn age_recipients(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "maxItems": 8,
        "items": { "type": "string", "maxLength": 62, "pattern": "^age1[02-9ac-hj-np-z]{58}$" },
        "x-kubernetes-list-type": "set",
    })
}

/// A list that may get longer in a later version.
pub(crate) fn one_name(generator: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array", "minItems": 1, "maxItems": 1, "items": dns_label(generator), "x-kubernetes-list-type": "set",
    })
}

/// What was compared of a snapshot.
pub(crate) fn checks(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array", "maxItems": 8, "items": { "type": "string", "maxLength": 32 }, "x-kubernetes-list-type": "set",
    })
}

/// A folder of a registry.
pub(crate) fn oci_url(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "maxLength": 512, "pattern": r"^oci://[^/?#@\s]+(/[-._a-z0-9]+)*/?$" })
}

/// As charts are named; registries take no capital letters.
pub(crate) fn chart_name(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "minLength": 1, "maxLength": 250, "pattern": "^[-._a-zA-Z0-9]+$" })
}

/// A number of bytes, such as 512Ki or 64Mi.
pub(crate) fn bytes(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "maxLength": 12, "pattern": "^[1-9][0-9]*(Ki|Mi)?$" })
}

/// An object of any content, which a chart judges. A server-side apply that takes all of its fields away leaves null.
pub(crate) fn free_form(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "object", "nullable": true, "x-kubernetes-preserve-unknown-fields": true })
}

/// Reads null as nothing.
pub(crate) fn null_is_nothing<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// Texts by path, as helm takes them by `--set`.
pub(crate) fn answers(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "maxProperties": 200,
        "additionalProperties": { "type": "string", "maxLength": 4096 },
    })
}

/// Facts of a cluster by a short name.
pub(crate) fn app_values(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "maxProperties": 100,
        "additionalProperties": { "type": "string", "maxLength": 1024 },
        "x-kubernetes-validations": [{
            "rule": "self.all(k, k.matches('^[-._a-zA-Z0-9]{1,63}$'))",
            "message": "a key has 1 to 63 letters, digits, '-', '_' and '.'",
        }],
    })
}

/// Five fields of cron or a name for five, as far as a pattern tells.
pub(crate) fn cron(_: &mut SchemaGenerator) -> Schema {
    let field = "[0-9A-Za-z*,/-]+";
    json_schema!({
        "type": "string",
        "maxLength": 120,
        "pattern": format!("^(@(hourly|daily|weekly|monthly|yearly)|({field} +){{4}}{field})$"),
    })
}

/// A name of the IANA database, as far as a pattern tells.
pub(crate) fn time_zone(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "maxLength": 64, "pattern": "^[A-Za-z][A-Za-z0-9_+-]*(/[A-Za-z0-9_+-]+)*$" })
}

/// How many are kept.
pub(crate) fn count(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "integer", "format": "int32", "minimum": 0, "maximum": 1000 })
}

/// How many stay in any case.
pub(crate) fn least_one(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "integer", "format": "int32", "minimum": 1, "maximum": 1000 })
}

pub(crate) fn data_key(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "maxLength": 253, "pattern": "^[-._a-zA-Z0-9]+$" })
}

pub(crate) fn time(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "format": "date-time", "maxLength": 35, "pattern": TIME })
}

pub(crate) fn uid(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "maxLength": 64, "pattern": "^[-0-9A-Za-z]+$" })
}

/// Beginnings of names of namespaces. They end at a dash, so that none begins the name of another team by chance, and have few of
/// them, as an admission policy tries the name up to each.
pub(crate) fn name_prefixes(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "minItems": 1,
        "maxItems": 16,
        "items": { "type": "string", "maxLength": 40, "pattern": "^([a-z0-9]+-){1,4}$" },
        "x-kubernetes-list-type": "set",
    })
}

pub(crate) fn pod_security_version(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "maxLength": 16, "pattern": r"^(latest|v1\.[0-9]{1,3})$" })
}

pub(crate) fn names<const MAX: u32>(generator: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array", "maxItems": MAX, "items": dns_label(generator), "x-kubernetes-list-type": "set",
    })
}

/// Names of `ClusterRoles`: path segments, which RBAC gives more freedom than names of other objects.
pub(crate) fn role_names<const MAX: u32>(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "maxItems": MAX,
        "items": { "type": "string", "minLength": 1, "maxLength": 253, "pattern": ROLE_NAME },
        "x-kubernetes-list-type": "set",
    })
}

/// A list in a rule of a role.
pub(crate) fn rule_texts<const MAX: u32>(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "minItems": 1,
        "maxItems": MAX,
        "items": { "type": "string", "maxLength": 253 },
        "x-kubernetes-list-type": "set",
    })
}

pub(crate) fn verbs(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "minItems": 1,
        "maxItems": 30,
        "items": { "type": "string", "minLength": 1, "maxLength": 63 },
        "x-kubernetes-list-type": "set",
        "x-kubernetes-validations": [{
            "rule": "!self.exists(v, v.contains('*'))",
            "message": "name the verbs: * would include escalate, bind and impersonate, and whatever comes later",
        }],
    })
}

/// A user, a group or a `ServiceAccount`.
pub(crate) fn subject_name(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "minLength": 1, "maxLength": 253 })
}

pub(crate) fn name_patterns<const MAX: u32>(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "maxItems": MAX,
        "items": { "type": "string", "maxLength": 63, "pattern": NAME_PATTERN },
        "x-kubernetes-list-type": "set",
    })
}

/// Keys of labels and annotations: whole ones, or the beginning of them before a `*`.
pub(crate) fn key_patterns<const MAX: u32>(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "maxItems": MAX,
        "items": { "type": "string", "minLength": 1, "maxLength": 317, "pattern": KEY_PATTERN },
        "x-kubernetes-list-type": "set",
    })
}

pub(crate) fn quantities(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "maxProperties": 32,
        "additionalProperties": {
            "x-kubernetes-int-or-string": true, "maxLength": 32, "minimum": 0, "pattern": QUANTITY,
        },
        "x-kubernetes-validations": [{
            "rule": "self.all(k, k.size() <= 317)", "message": "the name of a resource has at most 317 characters",
        }],
    })
}

/// The names that a `ResourceQuota` may have without a `/`, besides huge pages.
const QUOTA_RESOURCE: &str = "^(((requests[.]|limits[.])?(cpu|memory|ephemeral-storage))|requests[.]storage|pods|services([.](nodeports|loadbalancers))?\
     |replicationcontrollers|resourcequotas|secrets|configmaps|persistentvolumeclaims|(requests[.])?hugepages-[-A-Za-z0-9_.]{0,40}[A-Za-z0-9])$";

/// Amounts of a `ResourceQuota`, of resources that an API server knows or may know.
pub(crate) fn quota(generator: &mut SchemaGenerator) -> Schema {
    let mut schema = quantities(generator);
    let known = json!({
        "rule": format!("self.all(k, k.indexOf('/') <= 253 && (k.contains('/') ? k.matches('{LABEL_KEY}') : k.matches('{QUOTA_RESOURCE}')))"),
        "message": "a ResourceQuota knows no resource of this name; write one such as pods, limits.cpu, count/jobs.batch or requests.nvidia.com/gpu",
    });
    schema.insert("x-kubernetes-validations".to_owned(), json!([known]));
    schema
}

/// For the status: negative amounts and every resource a cluster may report are accepted.
pub(crate) fn reported_quantities(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "maxProperties": 128,
        "additionalProperties": { "x-kubernetes-int-or-string": true, "maxLength": 64, "pattern": SIGNED_QUANTITY },
    })
}

/// Keys that Drover or Kubernetes itself sets on a namespace.
const RESERVED_KEYS: &str = "self.all(k, !k.startsWith('drover.dev/') && k != 'app.kubernetes.io/managed-by' \
     && !k.startsWith('pod-security.kubernetes.io/') && k != 'kubernetes.io/metadata.name')";
const RESERVED_KEYS_MESSAGE: &str = "drover.dev/*, app.kubernetes.io/managed-by, pod-security.kubernetes.io/* and \
     kubernetes.io/metadata.name are set by Drover or Kubernetes; use spec.podSecurity for pod security";

/// That every key of a map is one that a label or an annotation may have: else the map would be refused only where it is applied.
fn key_rule() -> Value {
    json!({
        "rule": format!("self.all(k, k.indexOf('/') <= 253 && k.matches('{LABEL_KEY}'))"),
        "message": "a key has at most 63 letters, digits, '-', '_' and '.', after an optional DNS name of at most 253 and '/'",
    })
}

/// Labels or annotations of a namespace.
fn namespace_texts(most: u32, values: &Value) -> Schema {
    json_schema!({
        "type": "object",
        "maxProperties": most,
        "additionalProperties": values,
        "x-kubernetes-validations": [{ "rule": RESERVED_KEYS, "message": RESERVED_KEYS_MESSAGE }, key_rule()],
    })
}

pub(crate) fn namespace_labels(_: &mut SchemaGenerator) -> Schema {
    namespace_texts(MAX_LABELS, &json!({ "type": "string", "maxLength": 63, "pattern": LABEL_VALUE }))
}

pub(crate) fn namespace_annotations(_: &mut SchemaGenerator) -> Schema {
    let rule = json!({ "rule": "bytes(self).size() <= 1024", "message": "an annotation has at most 1024 bytes" });
    namespace_texts(
        MAX_ANNOTATIONS,
        &json!({ "type": "string", "maxLength": 1024, "x-kubernetes-validations": [rule] }),
    )
}

/// A `metav1.LabelSelector` with bounds, its own consistency rules, and at least one requirement.
pub(crate) fn label_selector(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "description": "Selects by labels. All requirements must hold; there must be at least one.",
        "type": "object",
        "x-kubernetes-map-type": "atomic",
        "properties": {
            "matchLabels": {
                "description": "Labels that must be present with exactly these values.",
                "type": "object",
                "maxProperties": 32,
                "additionalProperties": { "type": "string", "maxLength": 63, "pattern": LABEL_VALUE },
                "x-kubernetes-validations": [key_rule()],
            },
            "matchExpressions": {
                "description": "Requirements on single labels.",
                "type": "array",
                "maxItems": 32,
                "x-kubernetes-list-type": "atomic",
                "items": {
                    "description": "A requirement on one label.",
                    "type": "object",
                    "required": ["key", "operator"],
                    "properties": {
                        "key": {
                            "description": "Key of the label.",
                            "type": "string", "maxLength": 317, "pattern": LABEL_KEY,
                        },
                        "operator": {
                            "description": "In and NotIn compare with values; Exists and DoesNotExist take none.",
                            "type": "string", "enum": ["In", "NotIn", "Exists", "DoesNotExist"],
                        },
                        "values": {
                            "description": "Values to compare with; only for In and NotIn.",
                            "type": "array",
                            "maxItems": 64,
                            "x-kubernetes-list-type": "atomic",
                            "items": { "type": "string", "maxLength": 63, "pattern": LABEL_VALUE },
                        },
                    },
                    "x-kubernetes-validations": [{
                        "rule": "(self.operator in ['In', 'NotIn']) == (has(self.values) && self.values.size() > 0)",
                        "message": "In and NotIn need at least one value; Exists and DoesNotExist take none",
                    }],
                },
            },
        },
        "x-kubernetes-validations": [{
            "rule": "(has(self.matchLabels) && self.matchLabels.size() > 0) \
                || (has(self.matchExpressions) && self.matchExpressions.size() > 0)",
            "message": "a selector needs at least one requirement in matchLabels or matchExpressions",
        }],
    })
}

/// Address ranges as a network policy takes them; the API server that gets it checks the numbers.
pub(crate) fn address_ranges<const MAX: u32>(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "maxItems": MAX,
        "items": { "type": "string", "maxLength": 43, "pattern": ADDRESS_RANGE },
        "x-kubernetes-list-type": "set",
    })
}

pub(crate) fn label_selectors(generator: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "maxItems": 16,
        "items": label_selector(generator),
        "x-kubernetes-list-type": "atomic",
    })
}

/// A list of `metav1.Condition`, keyed by type, with the bounds of upstream's own markers.
pub(crate) fn conditions(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "maxItems": 32,
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["type"],
        "items": {
            "description": "One aspect of the object's state.",
            "type": "object",
            "required": ["type", "status", "reason", "message", "lastTransitionTime"],
            "properties": {
                "type": {
                    "description": "Which aspect, such as Ready.",
                    "type": "string", "maxLength": 316,
                },
                "status": {
                    "description": "True, False or Unknown.",
                    "type": "string", "enum": ["True", "False", "Unknown"],
                },
                "reason": {
                    "description": "Why, as one CamelCase word for programs.",
                    "type": "string", "minLength": 1, "maxLength": 1024,
                    "pattern": "^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$",
                },
                "message": {
                    "description": "Why, for people.",
                    "type": "string", "maxLength": 32768,
                },
                "lastTransitionTime": {
                    "description": "When the status last changed.",
                    "type": "string", "format": "date-time",
                },
                "observedGeneration": {
                    "description": "The metadata.generation that was judged.",
                    "type": "integer", "format": "int64", "minimum": 0,
                },
            },
        },
    })
}

/// What the derive cannot say: the label by which all definitions are found, the status a fresh object starts with, descriptions as flowing text, no `nullable`
/// (a stored null would count as present in CEL), and unions judged by their CEL rule alone, because the API server's
/// message for `oneOf` asks for an arbitrary member and keeps the rules from being evaluated.
pub(crate) fn finish(mut crd: CustomResourceDefinition) -> CustomResourceDefinition {
    crd.labels_mut().insert("app.kubernetes.io/part-of".to_owned(), "drover".to_owned());
    for version in &mut crd.spec.versions {
        let Some(root) = version.schema.as_mut().and_then(|s| s.open_api_v3_schema.as_mut()) else { continue };
        root.title = None;
        tidy(root);
        if let Some(status) = root.properties.as_mut().and_then(|p| p.get_mut("status")) {
            status.default = Some(JSON(json!({ "observedGeneration": crate::condition::UNOBSERVED })));
        }
    }
    crd
}

fn tidy(node: &mut JSONSchemaProps) {
    node.nullable = None;
    if node.x_kubernetes_validations.is_some() {
        node.one_of = None;
    }
    if let Some(description) = &mut node.description {
        let paragraphs: Vec<_> = description.split("\n\n").map(|p| p.trim().replace('\n', " ")).collect();
        *description = paragraphs.join("\n\n");
    }
    node.properties.iter_mut().flat_map(|p| p.values_mut()).for_each(tidy);
    match &mut node.items {
        Some(JSONSchemaPropsOrArray::Schema(items)) => tidy(items),
        Some(JSONSchemaPropsOrArray::Schemas(items)) => items.iter_mut().for_each(tidy),
        None => {}
    }
    if let Some(JSONSchemaPropsOrBool::Schema(values)) = &mut node.additional_properties {
        tidy(values);
    }
}
