//! The operator of [`CisWaiver`]s: it tells whether one counts, and until when.

pub mod plan;
mod summary;

use std::collections::BTreeSet;

use drover_crds::{CisWaiver, CisWaiverStatus};
use drover_runtime::{
    Cause, Inputs, Operator, Owner, Place, PlaceContext, PlaceStatuses, Plan, Requeue, Rights, Rule, Targets, Watches,
    WriteError, causes, rights::READ,
};
use k8s_openapi::jiff::Timestamp;
use plan::WaiverState;

causes! {
    /// Why a waiver does not count.
    pub enum WaiverCause {
        /// It ended, and counts no longer.
        WaiverExpired = "WaiverExpired": Blocked stalls; "Mend what fails, or set another spec.expiresAt.",
        /// It would last longer than a waiver may, so it does not count.
        WaiverTooLong = "WaiverTooLong": Invalid stalls; "Set an earlier spec.expiresAt.",
    }
}

/// A waiver is judged by itself alone: nothing is done about it.
#[derive(Clone, Copy, Debug)]
pub enum Nothing {}

/// The operator of the kind [`CisWaiver`].
#[derive(Clone, Copy, Debug)]
pub struct CisWaiverOperator;

impl Operator for CisWaiverOperator {
    const NAME: &'static str = "cis-waiver";
    const CAUSES: &'static [&'static [Cause]] = &[WaiverCause::TABLE];
    const FINALIZER: bool = false;
    /// What this operator needs: the waivers and their status.
    const RIGHTS: Rights = Rights {
        management: &[
            Rule::on("drover.dev", &["ciswaivers"], READ),
            Rule::on("drover.dev", &["ciswaivers/status"], &["patch"]),
        ],
        ..Rights::NONE
    };

    type Kind = CisWaiver;
    type World = ();
    type Action = Nothing;
    type PlaceStatus = WaiverState;
    type Error = WriteError;

    fn targets(_: &CisWaiver, _: &Inputs<'_>) -> Targets {
        BTreeSet::from([Place::Management]).into()
    }

    fn watches(_: &mut Watches<'_, Self>) {}

    async fn observe(&self, _: Owner<'_, CisWaiver>, _: &PlaceContext) -> Result<(), WriteError> {
        Ok(())
    }

    fn plan(waiver: &CisWaiver, (): &(), now: Timestamp) -> Plan<Self> {
        plan::plan(waiver, now)
    }

    fn clean_up(_: Owner<'_, CisWaiver>, (): &(), _: Timestamp) -> Plan<Self> {
        Plan { place_status: WaiverState::Expired, groups: Vec::new(), requeue: Requeue::Released }
    }

    async fn act(&self, _: Owner<'_, CisWaiver>, _: &PlaceContext, action: Nothing) -> Result<(), WriteError> {
        match action {}
    }

    fn summarise(waiver: &CisWaiver, statuses: &PlaceStatuses<WaiverState>, _: Timestamp) -> CisWaiverStatus {
        let found = statuses.get(&Place::Management).and_then(|entry| entry.known);
        summary::summarise(waiver, found)
    }
}
