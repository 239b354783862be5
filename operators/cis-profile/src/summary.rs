//! What the status of a profile says. Pure.

use drover_crds::{CisProfile, CisProfileStatus};
use drover_runtime::{StatusCause, place_status::Readiness, status::ready_conditions};
use drover_scans::benchmark::ENGINE;

use crate::{
    ProfileCause,
    plan::{contradiction, unknown_benchmark},
};

pub(crate) fn summarise(profile: &CisProfile) -> CisProfileStatus {
    let Readiness { state, cause, message, activity } = readiness(profile);
    let conditions = ready_conditions(state, cause, &message, activity);
    CisProfileStatus { conditions, ..CisProfileStatus::default() }
}

fn readiness(profile: &CisProfile) -> Readiness {
    if let Some(name) = unknown_benchmark(profile) {
        let message =
            format!("{ENGINE} has no benchmark {name}, and no scan by this profile runs; correct spec.benchmark");
        return Readiness::no(ProfileCause::UnknownBenchmark, message);
    }
    if let Some(check) = contradiction(profile) {
        let message = format!(
            "check {check} is in spec.skip and in spec.notApplicable, and counts as not applicable; remove it from one of them"
        );
        return Readiness::no(ProfileCause::ContradictingRules, message);
    }
    let (skip, not_applicable) = (&profile.spec.skip, &profile.spec.not_applicable);
    let mut message = format!("{} checks are skipped, and {} do not apply", skip.len(), not_applicable.len());
    if profile.spec.benchmark.is_none() && skip.len() + not_applicable.len() > 0 {
        message
            .push_str("; numbers of checks differ between benchmarks, so name the one that is meant in spec.benchmark");
    }
    Readiness::yes(StatusCause::Ready, message)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn said(spec: &Value) -> (&'static str, String) {
        let whole = json!({"apiVersion": "drover.dev/v1alpha1", "kind": "CisProfile", "metadata": {"name": "own"}, "spec": spec});
        let profile: CisProfile = serde_json::from_value(whole).unwrap();
        let Readiness { cause, message, .. } = readiness(&profile);
        (cause.reason(), message)
    }

    #[test]
    fn a_profile_does_not_contradict_itself() {
        let rule = json!([{"id": "1.2.6", "reason": "because"}]);
        assert_eq!(said(&json!({"skip": rule})).0, "Ready");
        assert_eq!(said(&json!({"skip": rule, "notApplicable": rule})).0, "ContradictingRules");
    }

    #[test]
    fn a_profile_names_a_benchmark_that_there_is() {
        for known in ["cis-1.12", "k3s-cis-1.9", "eks-1.8.0", "gke-1.6.0"] {
            assert_eq!(said(&json!({"benchmark": known})).0, "Ready", "{known}");
        }
        let (reason, message) = said(&json!({"benchmark": "cis-1.99"}));
        assert_eq!(reason, "UnknownBenchmark");
        assert!(message.contains("no benchmark cis-1.99") && message.contains("correct spec.benchmark"), "{message}");
    }

    #[test]
    fn checks_without_a_benchmark_are_ready_with_a_hint() {
        let rule = json!([{"id": "1.2.6", "reason": "because"}]);
        for (spec, is_hinted) in [
            (json!({"skip": rule}), true),
            (json!({"notApplicable": rule}), true),
            (json!({"skip": rule, "benchmark": "cis-1.12"}), false),
            (json!({"unmapped": "Nearest"}), false),
        ] {
            let (reason, message) = said(&spec);
            assert_eq!(reason, "Ready", "{spec}");
            assert_eq!(message.contains("numbers of checks differ between benchmarks"), is_hinted, "{spec}: {message}");
        }
    }
}
