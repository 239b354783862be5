//! Whether a waiver counts now, and whether anything needs it. Pure.

use drover_crds::CisWaiver;
use drover_runtime::{Plan, Requeue};
use drover_scans::judge;
use k8s_openapi::jiff::{SignedDuration, Timestamp};

use crate::{CisWaiverOperator, observe::World};

/// So long before its end it is told that a waiver ends.
pub(crate) const SOON: SignedDuration = SignedDuration::from_hours(14 * 24);

/// Whether a waiver counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaiverState {
    /// It counts.
    Effective,
    /// It counts, and ends soon.
    EndsSoon,
    /// It ended.
    Expired,
    /// It would last too long.
    TooLong,
}

/// What is told of a waiver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlaceStatus {
    /// Whether it counts.
    pub state: WaiverState,
    /// What it is for.
    pub world: World,
}

/// It is looked at again when it ends, and before that when it ends soon.
pub(crate) fn plan(waiver: &CisWaiver, world: &World, now: Timestamp) -> Plan<CisWaiverOperator> {
    let (state, end) = (state_of(waiver, now), waiver.spec.expires_at.0);
    let requeue = match state {
        WaiverState::Effective => Requeue::At(end.checked_sub(SOON).unwrap_or(end)),
        WaiverState::EndsSoon => Requeue::At(end),
        WaiverState::Expired | WaiverState::TooLong => Requeue::Watch,
    };
    Plan { place_status: PlaceStatus { state, world: world.clone() }, groups: Vec::new(), requeue }
}

pub(crate) fn state_of(waiver: &CisWaiver, now: Timestamp) -> WaiverState {
    let end = waiver.spec.expires_at.0;
    if judge::effective(waiver, now) {
        if end.duration_since(now) <= SOON { WaiverState::EndsSoon } else { WaiverState::Effective }
    } else if end <= now {
        WaiverState::Expired
    } else {
        WaiverState::TooLong
    }
}
