//! From all clusters to one status. Pure.

use drover_crds::StatusConditions as _;
use drover_fleet::targets;
use drover_runtime::{
    Outcome, PlaceStatuses,
    fan_out::{Contribution, FanOut, Obstacle, Whole},
};

use crate::{PlaceStatus, ViewGrant, ViewGrantStatus};

impl Contribution for PlaceStatus {
    fn outcome(&self) -> Outcome {
        match (self.granted, self.obstacles.is_empty()) {
            (true, _) => Outcome::Ready,
            (false, true) => Outcome::Progressing,
            (false, false) => Outcome::Failed,
        }
    }

    fn obstacles(&self) -> &[Obstacle] {
        &self.obstacles
    }
}

pub(crate) fn summarise(grant: &ViewGrant, statuses: &PlaceStatuses<PlaceStatus>) -> ViewGrantStatus {
    let was_ready = grant.status.as_ref().is_some_and(|status| status.was_ready(grant.metadata.generation));
    let fan_out = FanOut::of(grant, Whole { was_ready, ..Whole::default() }, statuses);
    let mut conditions = fan_out.ready();
    conditions.extend([targets::allowed(&fan_out), fan_out.reachable()]);
    ViewGrantStatus { conditions, summary: fan_out.targets().summary, ..ViewGrantStatus::default() }
}
