//! Tests of the profiles that the chart ships.

use std::{collections::BTreeMap, fs, path::Path};

use drover_crds::{CisProfile, CisProfileSpec, LeftOut};
use drover_scans::benchmark::is_known;
use serde_yaml::Value;

use crate::plan::{contradiction, unknown_benchmark};

/// Each with its benchmark, and how many checks it leaves out at least and at most.
const SHIPPED: [(&str, Option<&str>, usize, usize); 7] = [
    ("hardened", None, 0, 0),
    ("permissive-aks", Some("aks-1.8"), 1, 5),
    ("permissive-eks", Some("eks-1.8.0"), 0, 5),
    ("permissive-gke", Some("gke-1.9.0"), 0, 4),
    ("permissive-k3s", Some("k3s-cis-1.9"), 10, 256),
    ("permissive-kubeadm", Some("cis-1.12"), 10, 256),
    ("permissive-rke2", Some("rke2-cis-1.8"), 10, 256),
];

fn shipped() -> BTreeMap<String, CisProfile> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../charts/drover/files/cis-profiles");
    let files = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path());
    let profile = |file: &Path| {
        let name = file.file_stem().unwrap().to_str().unwrap().to_owned();
        let text = fs::read_to_string(file).unwrap();
        let spec: CisProfileSpec = serde_yaml::from_str(&text).unwrap();
        // A field with a wrong name is not read, so it would be missing here.
        let written: Value = serde_yaml::from_str(&text).unwrap();
        assert_eq!(serde_yaml::to_value(&spec).unwrap(), written, "{name}");
        (name.clone(), CisProfile::new(&name, spec))
    };
    files.map(|file| profile(&file)).collect()
}

fn left_out(profile: &CisProfile) -> impl Iterator<Item = &LeftOut> {
    profile.spec.skip.iter().chain(&profile.spec.not_applicable)
}

/// As the schema has it: letters and digits, with single dots and dashes in between.
fn is_id(id: &str) -> bool {
    let is_part = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric());
    id.len() <= 32 && id.split(['.', '-']).all(is_part)
}

#[test]
fn each_distribution_has_its_profile() {
    let profiles = shipped();
    assert_eq!(profiles.keys().map(String::as_str).collect::<Vec<_>>(), SHIPPED.map(|(name, ..)| name));
    for (name, benchmark, least, most) in SHIPPED {
        let profile = &profiles[name];
        assert_eq!(profile.spec.benchmark.as_deref(), benchmark, "{name}");
        assert!(benchmark.is_none_or(is_known) && unknown_benchmark(profile).is_none(), "{name}");
        assert!((least..=most).contains(&left_out(profile).count()), "{name}: {}", left_out(profile).count());
    }
}

#[test]
fn each_check_is_left_out_once_with_a_reason() {
    for (name, profile) in shipped() {
        assert_eq!(contradiction(&profile), None, "{name}");
        let mut ids: Vec<&str> = left_out(&profile).map(|check| check.id.as_str()).collect();
        assert!(ids.iter().all(|id| is_id(id)), "{name}: {ids:?}");
        ids.sort_unstable();
        let all = ids.len();
        ids.dedup();
        assert_eq!(ids.len(), all, "{name} leaves a check out twice");
        for LeftOut { id, reason } in left_out(&profile) {
            assert!((1..=512).contains(&reason.chars().count()), "{name}, {id}");
            assert!(
                reason.ends_with('.') && !reason.contains('\n'),
                "the reason for {id} of {name} is no sentence: {reason}"
            );
        }
    }
}
