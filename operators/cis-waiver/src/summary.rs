//! What the status of a waiver says. Pure.

use drover_crds::{CisWaiver, CisWaiverStatus, MAX_WAIVER_DAYS};
use drover_runtime::{StatusCause, place_status::Readiness, status::ready_conditions};

use crate::{WaiverCause, plan::WaiverState};

pub(crate) fn summarise(waiver: &CisWaiver, found: Option<WaiverState>) -> CisWaiverStatus {
    let Readiness { state, cause, message, activity } = readiness(waiver, found);
    let conditions = ready_conditions(state, cause, &message, activity);
    CisWaiverStatus { conditions, ..CisWaiverStatus::default() }
}

fn readiness(waiver: &CisWaiver, found: Option<WaiverState>) -> Readiness {
    let (checks, end) = (waiver.spec.checks.join(", "), waiver.spec.expires_at.0);
    match found {
        None => Readiness::no(StatusCause::Progressing, "it was not looked at yet".to_owned()),
        Some(WaiverState::Effective) => {
            Readiness::yes(StatusCause::Ready, format!("checks {checks} are waived until {end} where they fail"))
        }
        Some(WaiverState::Expired) => {
            let message = format!("the waiver of checks {checks} ended at {end}: they fail again where they fail");
            Readiness::no(WaiverCause::WaiverExpired, message)
        }
        Some(WaiverState::TooLong) => {
            let message = format!(
                "the waiver of checks {checks} would last longer than {MAX_WAIVER_DAYS} days from its creation, so it does not count; set an earlier spec.expiresAt"
            );
            Readiness::no(WaiverCause::WaiverTooLong, message)
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::plan::state_of;

    #[test]
    fn a_waiver_counts_until_it_ends_and_never_for_more_than_a_year() {
        let of = |expires: &str, now: &str| {
            let waiver: CisWaiver = serde_json::from_value(json!({
                "apiVersion": "drover.dev/v1alpha1", "kind": "CisWaiver",
                "metadata": {"name": "own", "creationTimestamp": "2026-01-01T00:00:00Z"},
                "spec": {"checks": ["1.2.6"], "clusters": {"all": {}}, "reason": "x", "approvedBy": "y", "expiresAt": expires},
            }))
            .unwrap();
            readiness(&waiver, Some(state_of(&waiver, now.parse().unwrap()))).cause.reason()
        };
        assert_eq!(of("2026-02-01T00:00:00Z", "2026-01-15T00:00:00Z"), "Ready");
        assert_eq!(of("2026-02-01T00:00:00Z", "2026-02-01T00:00:00Z"), "WaiverExpired");
        assert_eq!(of("2028-01-01T00:00:00Z", "2026-02-01T00:00:00Z"), "WaiverTooLong");
    }
}
