//! What the status of a waiver says. Pure.

use drover_crds::{
    CisWaiver, CisWaiverStatus, MAX_WAIVER_DAYS,
    condition::{ENDS_SOON, IN_USE},
};
use drover_runtime::{
    StatusCause,
    place_status::Readiness,
    status::{State, condition, ready_conditions},
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use crate::{
    WaiverCause,
    observe::World,
    plan::{PlaceStatus, WaiverState},
};

pub(crate) fn summarise(waiver: &CisWaiver, found: Option<&PlaceStatus>) -> CisWaiverStatus {
    let Readiness { state, cause, message, activity } = readiness(waiver, found.map(|found| found.state));
    let mut conditions = ready_conditions(state, cause, &message, activity);
    if let Some(PlaceStatus { state, world }) = found {
        conditions.extend([ends_soon(waiver, *state), in_use(*state, world)]);
    }
    CisWaiverStatus { conditions, ..CisWaiverStatus::default() }
}

fn ends_soon(waiver: &CisWaiver, state: WaiverState) -> Condition {
    let end = waiver.spec.expires_at.0;
    match state {
        WaiverState::EndsSoon => {
            let message = format!("it ends at {end}; mend what fails until then, or set another spec.expiresAt");
            condition(ENDS_SOON, true, WaiverCause::WaiverEndsSoon, message)
        }
        WaiverState::Expired => condition(ENDS_SOON, false, WaiverCause::WaiverExpired, format!("it ended at {end}")),
        WaiverState::Effective | WaiverState::TooLong => {
            condition(ENDS_SOON, false, StatusCause::Ready, "it does not end within 14 days")
        }
    }
}

/// Whether anything needs it, by the newest reports of its clusters.
fn in_use(state: WaiverState, world: &World) -> Condition {
    let unknown = |message: &str| condition(IN_USE, State::Unknown, StatusCause::Progressing, message);
    let World { clusters, scanned, used, .. } = world;
    match state {
        WaiverState::Expired => return condition(IN_USE, false, WaiverCause::WaiverExpired, "it has ended"),
        WaiverState::TooLong => return condition(IN_USE, false, WaiverCause::WaiverTooLong, "it does not count"),
        WaiverState::Effective | WaiverState::EndsSoon => {}
    }
    if !world.is_complete {
        return unknown("not all Clusters are known yet");
    }
    if *clusters == 0 {
        let message = "it selects no Cluster; correct spec.clusters, or delete it";
        return condition(IN_USE, false, WaiverCause::WaiverUnused, message);
    }
    match (scanned, used) {
        (0, _) => unknown("none of its clusters was scanned yet"),
        (scanned, 0) => {
            let message = format!(
                "the newest reports of its {scanned} scanned clusters do not need it: nothing that it names fails there; delete it, or correct spec.checks, spec.benchmark and spec.nodeSelector"
            );
            condition(IN_USE, false, WaiverCause::WaiverUnused, message)
        }
        (scanned, used) => {
            let message = format!("the newest reports of {used} of its {scanned} scanned clusters need it");
            condition(IN_USE, true, StatusCause::Ready, message)
        }
    }
}

fn readiness(waiver: &CisWaiver, found: Option<WaiverState>) -> Readiness {
    let (checks, end) = (waiver.spec.checks.join(", "), waiver.spec.expires_at.0);
    match found {
        None => Readiness::no(StatusCause::Progressing, "it was not looked at yet".to_owned()),
        Some(WaiverState::Effective | WaiverState::EndsSoon) => {
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

    fn waiver(expires: &str) -> CisWaiver {
        serde_json::from_value(json!({
            "apiVersion": "drover.dev/v1alpha1", "kind": "CisWaiver",
            "metadata": {"name": "own", "creationTimestamp": "2026-01-01T00:00:00Z"},
            "spec": {"checks": ["1.2.6"], "clusters": {"all": {}}, "reason": "x", "approvedBy": "y", "expiresAt": expires},
        }))
        .unwrap()
    }

    fn status(expires: &str, now: &str, world: World) -> Vec<String> {
        let waiver = waiver(expires);
        let state = state_of(&waiver, now.parse().unwrap());
        let status = summarise(&waiver, Some(&PlaceStatus { state, world }));
        let wanted = ["Ready", ENDS_SOON, IN_USE];
        let found = |kind: &&str| status.conditions.iter().find(|found| found.type_ == **kind).unwrap();
        wanted.iter().map(found).map(|found| format!("{}/{}", found.status, found.reason)).collect()
    }

    fn world(clusters: usize, scanned: usize, used: usize) -> World {
        World { is_complete: true, clusters, scanned, used }
    }

    #[test]
    fn c5_a_waiver_counts_until_it_ends_and_never_for_more_than_a_year() {
        let of = |expires: &str, now: &str| status(expires, now, world(1, 1, 1)).join(" ");
        assert_eq!(of("2026-02-01T00:00:00Z", "2026-01-15T00:00:00Z"), "True/Ready False/Ready True/Ready");
        assert_eq!(of("2026-02-01T00:00:00Z", "2026-01-18T00:00:00Z"), "True/Ready True/WaiverEndsSoon True/Ready");
        assert!(of("2026-02-01T00:00:00Z", "2026-02-01T00:00:00Z").starts_with("False/WaiverExpired"));
        assert!(of("2028-01-01T00:00:00Z", "2026-02-01T00:00:00Z").starts_with("False/WaiverTooLong"));
    }

    #[test]
    fn a_waiver_that_nothing_needs_is_told() {
        let of = |world: World| status("2026-06-01T00:00:00Z", "2026-01-15T00:00:00Z", world).pop().unwrap();
        assert_eq!(of(world(0, 0, 0)), "False/WaiverUnused");
        assert_eq!(of(world(2, 0, 0)), "Unknown/Progressing");
        assert_eq!(of(world(2, 1, 0)), "False/WaiverUnused");
        assert_eq!(of(world(2, 2, 1)), "True/Ready");
        assert_eq!(of(World::default()), "Unknown/Progressing");
    }

    #[test]
    fn it_is_looked_at_again_when_it_ends_soon_and_when_it_ends() {
        use drover_runtime::Requeue;
        let waiver = waiver("2026-02-01T00:00:00Z");
        let at = |time: &str| crate::plan::plan(&waiver, &World::default(), time.parse().unwrap()).requeue;
        assert_eq!(at("2026-01-10T00:00:00Z"), Requeue::At("2026-01-18T00:00:00Z".parse().unwrap()));
        assert_eq!(at("2026-01-20T00:00:00Z"), Requeue::At("2026-02-01T00:00:00Z".parse().unwrap()));
        assert_eq!(at("2026-02-02T00:00:00Z"), Requeue::Watch);
    }
}
