//! Bounded schema nodes of names, servers and records of DNS.

use schemars::{Schema, SchemaGenerator, json_schema};

use super::dns_label;

/// A name with at least two labels, of which the first may be `*`. An ownership record adds five letters to it.
const FQDN: &str = r"^(\*\.)?(_?[a-z0-9]([-a-z0-9]*[a-z0-9])?\.)+[a-z0-9]([-a-z0-9]*[a-z0-9])?$";
/// A name or an address, and a port.
const DNS_SERVER: &str = r"^([-._a-zA-Z0-9]+(:[0-9]{1,5})?|\[[0-9a-fA-F:]+\](:[0-9]{1,5})?|[0-9a-fA-F:]+)$";

pub(crate) fn fqdn(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "maxLength": 248, "pattern": FQDN })
}

pub(crate) fn fqdns<const MAX: u32>(generator: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array", "minItems": 1, "maxItems": MAX, "items": fqdn(generator), "x-kubernetes-list-type": "set",
    })
}

pub(crate) fn dns_server(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "maxLength": 262, "pattern": DNS_SERVER })
}

pub(crate) fn dns_servers(generator: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array", "maxItems": 16, "items": dns_server(generator), "x-kubernetes-list-type": "set",
    })
}

/// The name of a key, which is one of DNS.
pub(crate) fn key_name(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "maxLength": 253, "pattern": "^[-_a-zA-Z0-9]+([.][-_a-zA-Z0-9]+)*[.]?$" })
}

/// As ownership records have them.
pub(crate) fn record_owners(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "maxItems": 16,
        "items": { "type": "string", "minLength": 1, "maxLength": 128, "pattern": r#"^[^,"\s]+$"# },
        "x-kubernetes-list-type": "set",
    })
}

pub(crate) fn ttl(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "integer", "format": "int32", "minimum": 1, "maximum": 86_400 })
}

pub(crate) fn most_endpoints(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "integer", "format": "int32", "minimum": 1, "maximum": 64 })
}

pub(crate) fn dns_sources(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "maxItems": 2,
        "items": { "type": "string", "enum": ["Ingress", "Service"] },
        "x-kubernetes-list-type": "set",
    })
}

pub(crate) fn some_names<const MAX: u32>(generator: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array", "minItems": 1, "maxItems": MAX, "items": dns_label(generator), "x-kubernetes-list-type": "set",
    })
}

pub(crate) fn addresses(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array", "maxItems": 128, "items": { "type": "string", "maxLength": 45 }, "x-kubernetes-list-type": "atomic",
    })
}

pub(crate) fn lines(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array", "maxItems": 16, "items": { "type": "string", "maxLength": 512 }, "x-kubernetes-list-type": "atomic",
    })
}
