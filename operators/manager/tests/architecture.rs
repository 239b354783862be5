//! Keeps the crates' dependencies as the map of the tree in the README draws them.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may panic")]

use std::{collections::BTreeSet, process::Command};

use serde_json::Value;

fn metadata() -> Value {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version=1", "--no-deps", "--locked", "--offline"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("cargo prints JSON")
}

/// The normal dependencies of a workspace crate.
fn dependencies(metadata: &Value, name: &str) -> BTreeSet<String> {
    let package = metadata["packages"].as_array().unwrap().iter().find(|package| package["name"] == name);
    let all = package.unwrap_or_else(|| panic!("no crate {name}"))["dependencies"].as_array().unwrap();
    let normal = all.iter().filter(|dependency| dependency["kind"].is_null());
    normal.map(|dependency| dependency["name"].as_str().unwrap().to_owned()).collect()
}

fn ours(dependencies: &BTreeSet<String>) -> Vec<&str> {
    dependencies.iter().map(String::as_str).filter(|name| name.starts_with("drover-")).collect()
}

#[test]
fn crates_depend_on_one_another_as_drawn() {
    let metadata = metadata();
    for (name, allowed) in [
        ("drover-crds", vec![]),
        ("drover-runtime", vec!["drover-crds"]),
        ("drover-process", vec!["drover-runtime"]),
        ("drover-fleet", vec!["drover-crds", "drover-runtime"]),
        ("drover-cluster", vec!["drover-crds", "drover-fleet", "drover-runtime"]),
        ("drover-project", vec!["drover-crds", "drover-runtime"]),
        ("drover-e2e", vec!["drover-crds"]),
    ] {
        assert_eq!(ours(&dependencies(&metadata, name)), allowed, "{name}");
    }
}

#[test]
fn the_api_types_bring_neither_a_client_nor_a_runtime() {
    let found = dependencies(&metadata(), "drover-crds");
    for banned in ["tokio", "hyper", "kube-client", "kube-runtime"] {
        assert!(!found.contains(banned), "drover-crds depends on {banned}");
    }
}

#[test]
fn the_binary_has_at_most_350_packages() {
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--package=drover-manager", "--edges=normal", "--prefix=none", "--locked", "--offline"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let packages: BTreeSet<&str> = text.lines().map(|line| line.trim_end_matches(" (*)")).collect();
    assert!((50..=350).contains(&packages.len()), "{} packages", packages.len());
}

/// Decisions and summaries are handed everything: a client, a clock or an await in them would be a way around that.
#[test]
fn what_decides_has_neither_client_nor_clock() {
    let operators = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut checked = 0;
    for kind in ["cluster", "project"] {
        for file in ["plan.rs", "summary.rs", "consent.rs", "leave.rs", "validity.rs"] {
            let path = operators.join(kind).join("src").join(file);
            let Ok(text) = std::fs::read_to_string(&path) else { continue };
            let text = text.split("#[cfg(test)]").next().unwrap();
            for banned in ["async ", ".await", "Client", "Cache", "Api<", "Instant", "Timestamp::now"] {
                assert!(!text.contains(banned), "{} holds {banned:?}", path.display());
            }
            checked += 1;
        }
    }
    assert_eq!(checked, 7);
}
