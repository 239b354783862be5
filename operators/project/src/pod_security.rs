//! Which pod security levels a namespace carries: those that its Project asks for, and in no mode less than its cluster does. Pure.

use std::collections::BTreeMap;

use drover_crds::{ClusterSpec, PodSecurity, PodSecurityFloor, PodSecurityLevel, ProjectNamespace, ProjectSpec};

/// The version of the rules of every level that does not name one. It is always written: with an older one a level allows more.
const LATEST: &str = "latest";

/// The labels by which Kubernetes knows the levels of a namespace; none for a mode in which neither side asks for a level.
pub(crate) fn labels(spec: &ProjectSpec, wanted: &ProjectNamespace, cluster: &ClusterSpec) -> BTreeMap<String, String> {
    let asked = wanted.pod_security.as_ref().or(spec.pod_security.as_ref());
    let floor = cluster.pod_security.as_ref().filter(|floor| !floor.exempt.contains(&wanted.name));
    let version = match floor.and_then(|floor| floor.enforce) {
        Some(_) => None,
        None => asked.and_then(|asked| asked.enforce_version.as_deref()),
    };
    let strictest = |asks: fn(&PodSecurity) -> Option<PodSecurityLevel>,
                     bounds: fn(&PodSecurityFloor) -> Option<PodSecurityLevel>| {
        asked.and_then(asks).max(floor.and_then(bounds))
    };
    let modes = [
        ("enforce", strictest(|asked| asked.enforce, |floor| floor.enforce), version.unwrap_or(LATEST)),
        ("audit", strictest(|asked| asked.audit, |floor| floor.audit), LATEST),
        ("warn", strictest(|asked| asked.warn, |floor| floor.warn), LATEST),
    ];
    modes.into_iter().filter_map(|(mode, level, version)| Some(of_mode(mode, level?, version))).flatten().collect()
}

fn of_mode(mode: &str, level: PodSecurityLevel, version: &str) -> [(String, String); 2] {
    let label = |suffix: &str, value: &str| (format!("pod-security.kubernetes.io/{mode}{suffix}"), value.to_owned());
    [label("", level.as_str()), label("-version", version)]
}
