//! From all clusters to one status. Pure.

use drover_runtime::{Outcome, PlaceStatuses, Tally, place_status::Readiness, status::ready_conditions};

use crate::{GrantCause, PlaceStatus, ViewGrantStatus};

pub(crate) fn summarise(statuses: &PlaceStatuses<PlaceStatus>, was_ready: bool) -> ViewGrantStatus {
    let tally = Tally::of(statuses, |status| match status {
        PlaceStatus::Granted => Outcome::Ready,
        PlaceStatus::Granting => Outcome::Progressing,
        PlaceStatus::NotAdmitted => Outcome::Failed,
    });
    let refuses = statuses.iter().find(|(_, entry)| entry.known == Some(PlaceStatus::NotAdmitted));
    let Readiness { state, cause, message, activity } = match refuses {
        Some((place, _)) => Readiness::no(GrantCause::NotAdmitted, format!("{place} does not admit the grant")),
        None => tally.readiness(was_ready),
    };
    let conditions = ready_conditions(state, cause, &message, activity);
    ViewGrantStatus { conditions, summary: tally.summary(), ..ViewGrantStatus::default() }
}
