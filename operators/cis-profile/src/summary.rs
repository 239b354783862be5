//! What the status of a profile says. Pure.

use drover_crds::{CisProfile, CisProfileStatus};
use drover_runtime::{StatusCause, place_status::Readiness, status::ready_conditions};

use crate::{ProfileCause, plan::contradiction};

pub(crate) fn summarise(profile: &CisProfile) -> CisProfileStatus {
    let Readiness { state, cause, message, activity } = readiness(profile);
    let conditions = ready_conditions(state, cause, &message, activity);
    CisProfileStatus { conditions, ..CisProfileStatus::default() }
}

fn readiness(profile: &CisProfile) -> Readiness {
    if let Some(check) = contradiction(profile) {
        let message = format!(
            "check {check} is in spec.skip and in spec.notApplicable, and counts as not applicable; remove it from one of them"
        );
        return Readiness::no(ProfileCause::ContradictingRules, message);
    }
    let (skip, not_applicable) = (&profile.spec.skip, &profile.spec.not_applicable);
    let message = format!("{} checks are skipped, and {} do not apply", skip.len(), not_applicable.len());
    Readiness::yes(StatusCause::Ready, message)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_profile_does_not_contradict_itself() {
        let profile = |spec: &serde_json::Value| {
            let whole = json!({"apiVersion": "drover.dev/v1alpha1", "kind": "CisProfile", "metadata": {"name": "own"}, "spec": spec});
            let profile: CisProfile = serde_json::from_value(whole).unwrap();
            readiness(&profile).cause.reason()
        };
        let rule = json!([{"id": "1.2.6", "reason": "because"}]);
        assert_eq!(profile(&json!({"skip": rule})), "Ready");
        assert_eq!(profile(&json!({"skip": rule, "notApplicable": rule})), "ContradictingRules");
    }
}
