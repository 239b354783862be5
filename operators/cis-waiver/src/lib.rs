//! The operator of [`CisWaiver`]s: it tells whether one counts, until when, and whether anything needs it.

pub mod observe;
pub mod plan;
mod summary;

use std::collections::BTreeSet;

use drover_crds::{CisWaiver, CisWaiverStatus, Cluster};
use drover_runtime::{
    Cause, Inputs, Operator, Owner, Place, PlaceContext, PlaceStatuses, Plan, Related, Requeue, Rights, Rule, Targets,
    Watches, WriteError, causes, known::KnownKeys, rights::READ,
};
use drover_scans::kept::KeptReport;
use k8s_openapi::jiff::Timestamp;
use plan::WaiverState;

causes! {
    /// Why a waiver does not count.
    pub enum WaiverCause {
        /// It ended, and counts no longer.
        WaiverExpired = "WaiverExpired": Blocked stalls; "Mend what fails, or set another spec.expiresAt.",
        /// It counts, and ends within 14 days.
        WaiverEndsSoon = "WaiverEndsSoon": Blocked; "Mend what fails until then, or set another spec.expiresAt.",
        /// It selects no Cluster, or nothing that it names fails on those that it selects.
        WaiverUnused = "WaiverUnused": Blocked; "Delete it, or correct what it selects.",
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
    /// What this operator needs: the waivers and their status, and the reports and Clusters that they are for.
    const RIGHTS: Rights = Rights {
        management: &[
            Rule::on("drover.dev", &["cisreports", "ciswaivers", "clusters"], READ),
            Rule::on("drover.dev", &["ciswaivers/status"], &["patch"]),
        ],
        ..Rights::NONE
    };

    type Kind = CisWaiver;
    type World = observe::World;
    type Action = Nothing;
    type PlaceStatus = plan::PlaceStatus;
    type Error = WriteError;

    fn related(related: &mut Related<'_>) {
        let all = KnownKeys::default();
        let [of_reports, of_clusters] = std::array::from_fn(|_| all.clone());
        related.on::<CisWaiver>(move |change| {
            all.note(change);
            Vec::new()
        });
        related.on::<KeptReport>(move |change| {
            let finished = |report: &KeptReport| report.reported().is_some();
            let is_same = change.old.as_deref().map(finished) == change.new.as_deref().map(finished);
            if is_same { Vec::new() } else { of_reports.all() }
        });
        related.on::<Cluster>(move |change| {
            let told = |cluster: &Cluster| cluster.metadata.labels.clone();
            let is_same = change.old.as_deref().map(told) == change.new.as_deref().map(told);
            if is_same { Vec::new() } else { of_clusters.all() }
        });
    }

    fn targets(_: &CisWaiver, _: &Inputs<'_>) -> Targets {
        BTreeSet::from([Place::Management]).into()
    }

    fn watches(_: &mut Watches<'_, Self>) {}

    async fn observe(&self, owner: Owner<'_, CisWaiver>, place: &PlaceContext) -> Result<observe::World, WriteError> {
        Ok(owner.object().map(|waiver| observe::observe(waiver, place)).unwrap_or_default())
    }

    fn plan(waiver: &CisWaiver, world: &observe::World, now: Timestamp) -> Plan<Self> {
        plan::plan(waiver, world, now)
    }

    fn clean_up(_: Owner<'_, CisWaiver>, world: &observe::World, _: Timestamp) -> Plan<Self> {
        let place_status = plan::PlaceStatus { state: WaiverState::Expired, world: world.clone() };
        Plan { place_status, groups: Vec::new(), requeue: Requeue::Released }
    }

    async fn act(&self, _: Owner<'_, CisWaiver>, _: &PlaceContext, action: Nothing) -> Result<(), WriteError> {
        match action {}
    }

    fn summarise(waiver: &CisWaiver, statuses: &PlaceStatuses<plan::PlaceStatus>, _: Timestamp) -> CisWaiverStatus {
        let found = statuses.get(&Place::Management).and_then(|entry| entry.known.as_ref());
        summary::summarise(waiver, found)
    }
}
