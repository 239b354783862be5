//! Keeps the tree as its map draws it: which crates there are, what they depend on, and what their files may hold. Crates and
//! files are found, not listed: one that nobody thought of is checked as well.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may panic")]

#[path = "architecture/advisories.rs"]
mod advisories;
#[path = "architecture/files.rs"]
mod files;
#[path = "architecture/invariants.rs"]
mod invariants;
#[path = "architecture/licences.rs"]
mod licences;
#[path = "architecture/sizes.rs"]
mod sizes;
#[path = "architecture/words.rs"]
mod words;

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

/// The crates in `operators` that are no operators: what they may depend on.
const BASE: [(&str, &[&str]); 32] = [
    ("admission", &["drover-crds", "drover-roles"]),
    ("client", &["drover-crds"]),
    ("accounts", &["drover-client", "drover-crds"]),
    ("runtime", &["drover-accounts", "drover-client", "drover-crds"]),
    ("process", &["drover-crds", "drover-runtime"]),
    ("dial", &["drover-client"]),
    ("fleet", &["drover-admission", "drover-crds", "drover-dial", "drover-runtime"]),
    ("fetch", &["drover-client"]),
    ("backups", &["drover-fetch"]),
    ("stores", &["drover-crds", "drover-fetch", "drover-runtime"]),
    ("stored-backups", &["drover-backups", "drover-crds", "drover-fetch", "drover-stores"]),
    ("operations", &["drover-client", "drover-crds", "drover-runtime"]),
    ("backup-jobs", &["drover-backups", "drover-crds", "drover-runtime", "drover-stores"]),
    ("scans", &["drover-client", "drover-crds", "drover-fetch"]),
    ("scan-jobs", &["drover-admission", "drover-crds", "drover-fetch", "drover-runtime", "drover-scans"]),
    ("bench", &["drover-client", "drover-scans"]),
    ("snapshot", &["drover-backups", "drover-client", "drover-fetch"]),
    ("charts", &["drover-fetch"]),
    ("sources", &["drover-charts", "drover-crds", "drover-runtime"]),
    ("apps", &["drover-charts", "drover-crds", "drover-releases", "drover-runtime", "drover-sources", "drover-values"]),
    ("values", &[]),
    ("rollouts", &["drover-crds", "drover-values"]),
    ("schedule", &["drover-crds"]),
    ("names", &[]),
    ("zones", &["drover-crds", "drover-names", "drover-runtime"]),
    ("previews", &["drover-apps", "drover-crds", "drover-releases", "drover-runtime"]),
    ("releases", &["drover-client"]),
    ("roles", &["drover-crds"]),
    ("secrets", &["drover-crds", "drover-grants", "drover-runtime"]),
    ("self-service", &["drover-admission", "drover-crds", "drover-roles", "drover-runtime"]),
    ("grants", &["drover-admission", "drover-crds", "drover-roles", "drover-runtime", "drover-self-service"]),
    // The only one that knows all others.
    ("manager", &[]),
];

/// Those of them that only decide.
const PURE: [&str; 7] = ["admission", "backups", "names", "roles", "rollouts", "schedule", "values"];

/// What the crate of an operator may depend on: never on another operator.
const OPERATOR: [&str; 26] = [
    "drover-admission",
    "drover-apps",
    "drover-backup-jobs",
    "drover-operations",
    "drover-scan-jobs",
    "drover-scans",
    "drover-backups",
    "drover-charts",
    "drover-crds",
    "drover-fetch",
    "drover-fleet",
    "drover-grants",
    "drover-names",
    "drover-previews",
    "drover-releases",
    "drover-roles",
    "drover-rollouts",
    "drover-runtime",
    "drover-schedule",
    "drover-secrets",
    "drover-self-service",
    "drover-sources",
    "drover-stored-backups",
    "drover-stores",
    "drover-values",
    "drover-zones",
];

/// What `cargo` prints as JSON.
fn metadata(arguments: &[&str]) -> Value {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version=1", "--locked", "--offline"])
        .args(arguments)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("cargo prints JSON")
}

/// The root of the workspace.
fn root() -> PathBuf {
    fs::canonicalize(Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")).unwrap()
}

/// The folders in `operators`.
fn folders() -> BTreeSet<String> {
    let entries = fs::read_dir(root().join("operators")).unwrap().map(Result::unwrap);
    let folders = entries.filter(|entry| entry.file_type().unwrap().is_dir());
    folders.map(|entry| entry.file_name().into_string().unwrap()).collect()
}

/// The folders of operators.
fn operators() -> BTreeSet<String> {
    let is_base = |folder: &String| BASE.iter().any(|(name, _)| name == folder);
    let operators: BTreeSet<_> = folders().into_iter().filter(|folder| !is_base(folder)).collect();
    assert!(operators.contains("cluster") && operators.contains("project"), "{operators:?}");
    operators
}

fn package<'a>(metadata: &'a Value, name: &str) -> &'a Value {
    let package = metadata["packages"].as_array().unwrap().iter().find(|package| package["name"] == name);
    package.unwrap_or_else(|| panic!("no crate {name} in the workspace"))
}

/// The normal dependencies of a workspace crate.
fn dependencies(metadata: &Value, name: &str) -> BTreeSet<String> {
    let all = package(metadata, name)["dependencies"].as_array().unwrap();
    let normal = all.iter().filter(|dependency| dependency["kind"].is_null());
    normal.map(|dependency| dependency["name"].as_str().unwrap().to_owned()).collect()
}

fn ours(metadata: &Value, name: &str) -> BTreeSet<String> {
    dependencies(metadata, name).into_iter().filter(|name| name.starts_with("drover-")).collect()
}

#[test]
fn every_folder_is_a_crate_of_the_workspace_and_named_after_it() {
    let metadata = metadata(&["--no-deps"]);
    for folder in folders() {
        let manifest = package(&metadata, &format!("drover-{folder}"))["manifest_path"].as_str().unwrap();
        assert_eq!(Path::new(manifest), root().join("operators").join(&folder).join("Cargo.toml"));
    }
}

#[test]
fn crates_depend_on_one_another_as_drawn() {
    let metadata = metadata(&["--no-deps"]);
    let check = |name: &str, allowed: &[&str]| {
        let found = ours(&metadata, name);
        assert!(found.iter().all(|each| allowed.contains(&each.as_str())), "{name} depends on {found:?}");
    };
    check("drover-crds", &[]);
    check("drover-e2e", &["drover-crds"]);
    for (name, allowed) in BASE.iter().filter(|(name, _)| *name != "manager" && folders().contains(*name)) {
        check(&format!("drover-{name}"), allowed);
    }
    for operator in operators() {
        check(&format!("drover-{operator}"), &OPERATOR);
    }
}

#[test]
fn every_operator_is_in_the_registry() {
    let known = ours(&metadata(&["--no-deps"]), "drover-manager");
    let registry = fs::read_to_string(root().join("operators/manager/src/registry.rs")).unwrap();
    for operator in operators() {
        assert!(known.contains(&format!("drover-{operator}")), "the manager does not depend on drover-{operator}");
        let path = format!("drover_{}::", operator.replace('-', "_"));
        assert!(registry.contains(&path), "the registry does not name {path}");
        let all = files::operators_of(&root().join("operators").join(&operator));
        assert!(!all.is_empty(), "drover-{operator} has no operator");
        for each in all {
            assert!(registry.contains(&format!("Entry::of::<{each}>()")), "REGISTRY has no entry of {each}");
        }
    }
}

#[test]
fn the_api_types_bring_neither_a_client_nor_a_runtime() {
    let found = dependencies(&metadata(&["--no-deps"]), "drover-crds");
    for banned in ["tokio", "hyper", "kube-client", "kube-runtime"] {
        assert!(!found.contains(banned), "drover-crds depends on {banned}");
    }
}

/// Built by itself, as the image has it: what tests of other crates switch on is no part of it.
#[test]
fn the_binary_has_at_most_310_packages_of_others() {
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--locked", "--offline", "--package=drover-manager", "--edges=normal"])
        .args(["--prefix=none", "--no-dedupe", "--format={p}"])
        .current_dir(root())
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let packages = text.lines().filter(|package| !package.starts_with("drover-")).collect::<BTreeSet<_>>().len();
    assert!((50..=310).contains(&packages), "{packages} packages");
}
