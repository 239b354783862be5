//! How many lines of code a crate may have, so that a person can read it.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::{
    files::{code, files},
    folders, operators, root,
};

/// Most lines of code of the crates that are no operators.
const CAPS: [(&str, usize); 31] = [
    ("client", 3_050),
    ("accounts", 1_000),
    ("runtime", 3_650),
    ("process", 1_000),
    ("dial", 1_500),
    ("fleet", 3_000),
    ("roles", 1_000),
    ("secrets", 700),
    ("grants", 1_050),
    ("self-service", 1_000),
    ("admission", 1_000),
    ("fetch", 1_200),
    ("backups", 1_000),
    ("backup-jobs", 350),
    ("operations", 300),
    ("scans", 1_800),
    ("scan-jobs", 550),
    ("bench", 700),
    ("stores", 1_200),
    ("stored-backups", 400),
    ("snapshot", 2_050),
    ("charts", 2_500),
    ("sources", 1_200),
    ("values", 1_500),
    ("rollouts", 1_500),
    ("schedule", 500),
    ("names", 1_000),
    ("zones", 1_200),
    ("previews", 800),
    ("apps", 3_350),
    ("releases", 2_600),
];

/// Most lines of code of an operator.
const OPERATOR_CAP: usize = 1_500;

/// What may be larger, how large, and why. Safety, what Drover promises to a person, and bad input come before a cap.
const EXCEPTIONS: [(&str, usize, &str); 6] = [
    (
        "cluster",
        1_650,
        "a Cluster tells of connection, rights, nodes, certificates, policies and backups, and is torn down",
    ),
    (
        "global-dns",
        1_550,
        "names are chosen from what all clusters offer, and judged by providers, claims and what was written",
    ),
    ("project", 2_950, "Projects own namespaces, their guards, quota and members, each with rules against bad input"),
    (
        "catalog-app",
        2_000,
        "apps have consent, accounts, sources, releases and drift, each with rules against bad input",
    ),
    (
        "multi-cluster-app",
        1_600,
        "rollouts have revisions, approvals and previews, and take up what is there after a rebuild",
    ),
    (
        "etcd-backup",
        2_000,
        "a backup ends whatever becomes of cluster, store and process: each step is noted, and each end has its words",
    ),
];

/// Crates without a cap: they grow with each kind.
const UNCAPPED: [&str; 1] = ["manager"];

/// How many lines of code the crate in `folder` has, without tests, comments and blank lines.
fn size(folder: &Path) -> usize {
    let files = files(folder);
    let texts: Vec<_> = files.iter().map(|file| (file, fs::read_to_string(file).unwrap())).collect();
    let excluded: Vec<_> = texts.iter().flat_map(|(file, text)| test_modules(file, text)).collect();
    let is_test = |file: &Path| excluded.iter().any(|test| file.with_extension("") == *test || file.starts_with(test));
    texts.iter().filter(|(file, _)| !is_test(file)).map(|(_, text)| code(text).len()).sum()
}

/// The paths, without ending, of the modules that `file` declares for tests, its own and those of other crates.
fn test_modules(file: &Path, text: &str) -> Vec<PathBuf> {
    let is_root = ["lib.rs", "main.rs", "mod.rs"].iter().any(|name| file.ends_with(name));
    let folder = if is_root { file.parent().unwrap().to_owned() } else { file.with_extension("") };
    let lines: Vec<_> = text.lines().map(str::trim).collect();
    let gates = lines
        .iter()
        .enumerate()
        .filter(|(_, line)| line.starts_with("#[cfg(test)]") || line.starts_with("#[cfg(any(test,"));
    let items = gates.filter_map(|(at, _)| lines.iter().skip(at).find(|line| !line.starts_with("#[")));
    let names = items.filter_map(|item| item.strip_suffix(';')?.trim_start_matches("pub ").strip_prefix("mod "));
    names.map(|name| folder.join(name)).collect()
}

#[test]
fn no_crate_is_too_large() {
    let operators = operators();
    for folder in folders().iter().filter(|folder| !UNCAPPED.contains(&folder.as_str())) {
        let cap = match CAPS.iter().find(|(name, _)| name == folder) {
            Some((_, cap)) => *cap,
            None if operators.contains(folder) => OPERATOR_CAP,
            None => panic!("CAPS says nothing about {folder}"),
        };
        let size = size(&root().join("operators").join(folder).join("src"));
        let exception = EXCEPTIONS.iter().find(|(name, ..)| name == folder);
        let most = exception.map_or(cap, |(_, most, _)| *most);
        assert!(size <= most, "drover-{folder} has {size} lines of code, more than {most}");
        assert!(exception.is_none() || size > cap, "drover-{folder} is no exception with {size} lines of code");
    }
}

#[test]
fn modules_for_tests_do_not_count() {
    let text = "mod a;\n#[cfg(test)]\nmod b;\n#[cfg(any(test, feature = \"c\"))]\n#[expect(d)]\npub mod c;\nmod e;\n\
                #[cfg(test)]\nmod tests {\n}\n#[cfg(test)]\nuse f;\n";
    assert_eq!(test_modules(Path::new("src/lib.rs"), text), ["src/b", "src/c"].map(PathBuf::from));
    assert_eq!(test_modules(Path::new("src/g.rs"), text), ["src/g/b", "src/g/c"].map(PathBuf::from));
}
