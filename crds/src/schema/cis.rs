//! Schema nodes of scans.

use schemars::{Schema, SchemaGenerator, json_schema};

const CHECK_ID: &str = r"^[A-Za-z0-9]+([.-][A-Za-z0-9]+)*$";

/// A folder with the configuration of kube-bench.
pub(crate) fn benchmark(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "minLength": 1, "maxLength": 63, "pattern": r"^[a-z0-9]([-.a-z0-9]*[a-z0-9])?$" })
}

/// The number of a check.
pub(crate) fn check_id(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "minLength": 1, "maxLength": 32, "pattern": CHECK_ID })
}

pub(crate) fn check_ids(generator: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array", "minItems": 1, "maxItems": 64, "items": check_id(generator), "x-kubernetes-list-type": "set",
    })
}

/// What a person says, which is not nothing.
pub(crate) fn reason_text(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "minLength": 1, "maxLength": 512 })
}

pub(crate) fn concurrency(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "integer", "format": "int32", "minimum": 1, "maximum": 50 })
}

pub(crate) fn kept_scans(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "integer", "format": "int32", "minimum": 1, "maximum": 100 })
}

/// Targets and numbers of checks, as a report tells of them.
pub(crate) fn changed_checks(_: &mut SchemaGenerator) -> Schema {
    texts(50, 65)
}

pub(crate) fn waiver_names(_: &mut SchemaGenerator) -> Schema {
    texts(100, 63)
}

/// Names of nodes, as they are in a report.
pub(crate) fn node_names(_: &mut SchemaGenerator) -> Schema {
    texts(10, 253)
}

pub(crate) fn group_names(_: &mut SchemaGenerator) -> Schema {
    texts(20_000, 253)
}

fn texts(most: u32, longest: u32) -> Schema {
    json_schema!({
        "type": "array", "maxItems": most, "items": { "type": "string", "maxLength": longest },
        "x-kubernetes-list-type": "atomic",
    })
}
