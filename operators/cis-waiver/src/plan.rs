//! Whether a waiver counts now. Pure.

use drover_crds::CisWaiver;
use drover_runtime::{Plan, Requeue};
use drover_scans::judge;
use k8s_openapi::jiff::Timestamp;

use crate::CisWaiverOperator;

/// Whether a waiver counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaiverState {
    /// It counts.
    Effective,
    /// It ended.
    Expired,
    /// It would last too long.
    TooLong,
}

/// It is looked at again when it ends.
pub(crate) fn plan(waiver: &CisWaiver, now: Timestamp) -> Plan<CisWaiverOperator> {
    let place_status = state_of(waiver, now);
    let is_effective = place_status == WaiverState::Effective;
    let requeue = if is_effective { Requeue::At(waiver.spec.expires_at.0) } else { Requeue::Watch };
    Plan { place_status, groups: Vec::new(), requeue }
}

pub(crate) fn state_of(waiver: &CisWaiver, now: Timestamp) -> WaiverState {
    if judge::effective(waiver, now) {
        WaiverState::Effective
    } else if waiver.spec.expires_at.0 <= now {
        WaiverState::Expired
    } else {
        WaiverState::TooLong
    }
}
