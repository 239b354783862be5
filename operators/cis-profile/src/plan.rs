//! What is done about a profile: nothing, as it is judged by itself alone. Pure.

use drover_crds::CisProfile;
use drover_runtime::{Plan, Requeue};
use drover_scans::benchmark;

use crate::CisProfileOperator;

pub(crate) fn plan() -> Plan<CisProfileOperator> {
    Plan { place_status: (), groups: Vec::new(), requeue: Requeue::Watch }
}

/// The check that is skipped and does not apply, if there is one.
pub(crate) fn contradiction(profile: &CisProfile) -> Option<&str> {
    let (skip, not_applicable) = (&profile.spec.skip, &profile.spec.not_applicable);
    let twice = skip.iter().find(|one| not_applicable.iter().any(|other| other.id == one.id));
    twice.map(|check| check.id.as_str())
}

/// The benchmark of the profile, if kube-bench has none of its name.
pub(crate) fn unknown_benchmark(profile: &CisProfile) -> Option<&str> {
    profile.spec.benchmark.as_deref().filter(|name| !benchmark::is_known(name))
}
