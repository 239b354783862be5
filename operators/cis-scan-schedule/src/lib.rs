//! The operator of [`CisScanSchedule`]s: a `CisScan` at each time, compared with the one before, and how many are kept.
//!
//! 1. Its place is the management cluster: it reads the scans that it made ([`observe`]). Which clusters these look at is their matter.
//! 2. The crate `drover-schedule` says which run is due. The scan of a run has a name that schedule and time decide: whoever makes it again
//!    finds that it is there ([`plan`]). It names the newest scan that has ended, and what fails and did not there is told as new.
//! 3. [`children`] says which scans are kept. Their reports go with them.
//! 4. [`told`] says what the scans found, and [`summary`] makes the status of that.
//!
//! It owns scans by labels, and none is deleted because the schedule goes: a schedule of the same name takes them up again.

mod act;
mod cause;
pub mod children;
pub mod observe;
pub mod plan;
mod summary;
pub mod told;

use std::collections::BTreeSet;

pub use act::Action;
pub use cause::ScanScheduleCause;
use drover_crds::{CisScan, CisScanSchedule, CisScanScheduleStatus};
use drover_grants::GrantCause;
use drover_runtime::{
    Cause, Inputs, Operator, Owner, Place, PlaceContext, PlaceStatuses, Plan, Related, Rights, Rule, Targets, Watches,
    WriteError, cache::Change, known::KnownKeys, rights::READ,
};
use k8s_openapi::{
    api::admissionregistration::v1::{ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding},
    jiff::Timestamp,
};

/// Why nothing new may begin.
const OF_GRANTS: &[Cause] =
    &[GrantCause::NotAdmitted.cause(), GrantCause::GrantsFrozen.cause(), GrantCause::NotYetGranted.cause()];

/// The operator of the kind [`CisScanSchedule`].
#[derive(Clone, Copy, Debug)]
pub struct CisScanScheduleOperator;

impl Operator for CisScanScheduleOperator {
    const NAME: &'static str = "cis-scan-schedule";
    const CAUSES: &'static [&'static [Cause]] = &[ScanScheduleCause::TABLE, OF_GRANTS];
    const FINALIZER: bool = false;
    /// What this operator needs: the schedules and their scans, which it writes as whoever wrote the schedule may.
    const RIGHTS: Rights = Rights {
        management: &[
            Rule::on("drover.dev", &["cisscans", "cisscanschedules"], READ),
            Rule::on("drover.dev", &["cisscans"], &["create", "delete", "patch"]),
            Rule::on("drover.dev", &["cisscanschedules/status"], &["patch"]),
            // Policies ask whoever writes a scan for this verb; of who writes a schedule they were asked before.
            Rule::on("drover.dev", &["clusters"], &["operate"]),
        ],
        ..Rights::NONE
    };

    type Kind = CisScanSchedule;
    type World = observe::World;
    type Action = Action;
    type PlaceStatus = plan::PlaceStatus;
    type Error = WriteError;

    fn related(related: &mut Related<'_>) {
        let all = KnownKeys::default();
        let [of_policies, of_policy_bindings] = std::array::from_fn(|_| all.clone());
        related.on::<CisScanSchedule>(move |change| {
            all.note(change);
            noted_something_else(change).then(|| change.key.clone()).into_iter().collect()
        });
        related.on::<ValidatingAdmissionPolicy>(move |_| of_policies.all());
        related.on::<ValidatingAdmissionPolicyBinding>(move |_| of_policy_bindings.all());
    }

    fn targets(_: &CisScanSchedule, _: &Inputs<'_>) -> Targets {
        BTreeSet::from([Place::Management]).into()
    }

    fn watches(watches: &mut Watches<'_, Self>) {
        if watches.context().place == Place::Management {
            watches.owned::<CisScan>();
        }
    }

    async fn observe(
        &self,
        owner: Owner<'_, CisScanSchedule>,
        place: &PlaceContext,
    ) -> Result<observe::World, WriteError> {
        Ok(observe::observe(owner, place))
    }

    fn plan(schedule: &CisScanSchedule, world: &observe::World, now: Timestamp) -> Plan<Self> {
        plan::plan(schedule, world, now)
    }

    fn clean_up(_: Owner<'_, CisScanSchedule>, _: &observe::World, _: Timestamp) -> Plan<Self> {
        plan::clean_up()
    }

    async fn act(
        &self,
        owner: Owner<'_, CisScanSchedule>,
        place: &PlaceContext,
        action: Action,
    ) -> Result<(), WriteError> {
        action.carry_out(owner, place).await
    }

    fn summarise(
        schedule: &CisScanSchedule,
        statuses: &PlaceStatuses<plan::PlaceStatus>,
        _: Timestamp,
    ) -> CisScanScheduleStatus {
        summary::summarise(schedule, statuses)
    }
}

/// Whether the status remembers something else.
fn noted_something_else(change: &Change<CisScanSchedule>) -> bool {
    let noted = |schedule: &CisScanSchedule| {
        let status = schedule.status.clone().unwrap_or_default();
        (status.last_scheduled, status.follows, status.admission)
    };
    change.old.as_deref().map(noted) != change.new.as_deref().map(noted)
}

#[cfg(test)]
mod tests;
