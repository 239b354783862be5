//! Under which licences everything is that the binary is made from.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::metadata;

/// Licences that go with ours. Every SPDX expression must be met by these alone.
const ALLOWED: [&str; 9] =
    ["Apache-2.0", "MIT", "MIT-0", "BSD-2-Clause", "BSD-3-Clause", "ISC", "Zlib", "MPL-2.0", "Unicode-3.0"];

/// The packages that the binary is made from, with their licences: what drover-manager depends on, tests and build scripts
/// aside, on the system of the image.
pub(super) fn shipped() -> BTreeMap<String, Option<String>> {
    let platform = format!("--filter-platform={}-unknown-linux-gnu", std::env::consts::ARCH);
    let metadata = metadata(&[&platform]);
    let (packages, nodes) = (by_id(&metadata, "/packages"), by_id(&metadata, "/resolve/nodes"));
    let manager = packages.iter().find(|(_, package)| package["name"] == "drover-manager").unwrap().0;
    let (mut found, mut todo) = (BTreeSet::from([*manager]), vec![*manager]);
    while let Some(id) = todo.pop() {
        for dependency in nodes.get(id).unwrap()["deps"].as_array().unwrap() {
            let is_normal = dependency["dep_kinds"].as_array().unwrap().iter().any(|kind| kind["kind"].is_null());
            let id = dependency["pkg"].as_str().unwrap();
            if is_normal && found.insert(id) {
                todo.push(id);
            }
        }
    }
    let licence = |id: &str| packages.get(id).unwrap()["license"].as_str().map(str::to_owned);
    found.into_iter().map(|id| (id.to_owned(), licence(id))).collect()
}

fn by_id<'a>(metadata: &'a Value, list: &str) -> BTreeMap<&'a str, &'a Value> {
    metadata
        .pointer(list)
        .unwrap()
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| (entry["id"].as_str().unwrap(), entry))
        .collect()
}

/// Whether the SPDX `expression` is met by allowed licences. An exception (`WITH`) is none of them.
fn is_met(expression: &str) -> bool {
    // The older spelling of OR on crates.io.
    let spaced = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let tokens: Vec<&str> = spaced.split_whitespace().collect();
    matches!(either(&tokens), Some((true, [])))
}

/// Whether the beginning of an expression is met, and what comes after it; nothing where it cannot be read.
type Read<'a, 'b> = Option<(bool, &'a [&'b str])>;

/// One of several; AND binds closer than OR.
fn either<'a, 'b>(tokens: &'a [&'b str]) -> Read<'a, 'b> {
    let (mut met, mut rest) = both(tokens)?;
    while let ["OR", more @ ..] = rest {
        let (other, after) = both(more)?;
        (met, rest) = (met || other, after);
    }
    Some((met, rest))
}

fn both<'a, 'b>(tokens: &'a [&'b str]) -> Read<'a, 'b> {
    let (mut met, mut rest) = one(tokens)?;
    while let ["AND", more @ ..] = rest {
        let (other, after) = one(more)?;
        (met, rest) = (met && other, after);
    }
    Some((met, rest))
}

fn one<'a, 'b>(tokens: &'a [&'b str]) -> Read<'a, 'b> {
    match tokens {
        ["(", inner @ ..] => match either(inner)? {
            (met, [")", rest @ ..]) => Some((met, rest)),
            _ => None,
        },
        [_, "WITH", _, rest @ ..] => Some((false, rest)),
        [licence, rest @ ..] => Some((ALLOWED.contains(licence), rest)),
        [] => None,
    }
}

#[test]
fn everything_that_is_shipped_has_an_allowed_licence() {
    let refused: Vec<_> =
        shipped().into_iter().filter(|(_, licence)| !licence.as_deref().is_some_and(is_met)).collect();
    assert!(refused.is_empty(), "{refused:#?}");
}

#[test]
fn expressions_are_read_as_spdx_defines_them() {
    for met in [
        "MIT",
        "MIT OR GPL-3.0-only",
        "GPL-3.0-only OR MIT AND ISC",
        "Apache-2.0 / MIT",
        "(GPL-2.0-only OR Zlib) AND Unicode-3.0",
        "Apache-2.0 WITH LLVM-exception OR MIT",
    ] {
        assert!(is_met(met), "{met}");
    }
    for refused in [
        "",
        "GPL-3.0-only",
        "MIT AND GPL-3.0-only",
        "MIT OR",
        "(MIT",
        "MIT ISC",
        "(GPL-2.0-only OR Zlib) AND AGPL-3.0-only",
        "Apache-2.0 WITH LLVM-exception",
    ] {
        assert!(!is_met(refused), "{refused}");
    }
}
