//! The operator of [`CisProfile`]s: it tells whether one contradicts itself, or names a benchmark that there is not.

mod plan;
#[cfg(test)]
mod shipped;
mod summary;

use std::collections::BTreeSet;

use drover_crds::{CisProfile, CisProfileStatus};
use drover_runtime::{
    Cause, Inputs, Operator, Owner, Place, PlaceContext, PlaceStatuses, Plan, Requeue, Rights, Rule, Targets, Watches,
    WriteError, causes, rights::READ,
};
use k8s_openapi::jiff::Timestamp;

causes! {
    /// Why a profile does not count as it is.
    pub enum ProfileCause {
        /// One check is named twice, as skipped and as not applicable.
        ContradictingRules = "ContradictingRules": Invalid stalls; "Remove the check from one of the two lists.",
        /// kube-bench has no benchmark of the name that the profile gives.
        UnknownBenchmark = "UnknownBenchmark": Invalid stalls; "Correct spec.benchmark.",
    }
}

/// The operator of the kind [`CisProfile`].
#[derive(Clone, Copy, Debug)]
pub struct CisProfileOperator;

/// A profile is judged by itself alone: nothing is done about it.
#[derive(Clone, Copy, Debug)]
pub enum Nothing {}

impl Operator for CisProfileOperator {
    const NAME: &'static str = "cis-profile";
    const CAUSES: &'static [&'static [Cause]] = &[ProfileCause::TABLE];
    const FINALIZER: bool = false;
    /// What this operator needs: the profiles and their status.
    const RIGHTS: Rights = Rights {
        management: &[
            Rule::on("drover.dev", &["cisprofiles"], READ),
            Rule::on("drover.dev", &["cisprofiles/status"], &["patch"]),
        ],
        ..Rights::NONE
    };

    type Kind = CisProfile;
    type World = ();
    type Action = Nothing;
    type PlaceStatus = ();
    type Error = WriteError;

    fn targets(_: &CisProfile, _: &Inputs<'_>) -> Targets {
        BTreeSet::from([Place::Management]).into()
    }

    fn watches(_: &mut Watches<'_, Self>) {}

    async fn observe(&self, _: Owner<'_, CisProfile>, _: &PlaceContext) -> Result<(), WriteError> {
        Ok(())
    }

    fn plan(_: &CisProfile, (): &(), _: Timestamp) -> Plan<Self> {
        plan::plan()
    }

    fn clean_up(_: Owner<'_, CisProfile>, (): &(), _: Timestamp) -> Plan<Self> {
        Plan { place_status: (), groups: Vec::new(), requeue: Requeue::Released }
    }

    async fn act(&self, _: Owner<'_, CisProfile>, _: &PlaceContext, action: Nothing) -> Result<(), WriteError> {
        match action {}
    }

    fn summarise(profile: &CisProfile, _: &PlaceStatuses<()>, _: Timestamp) -> CisProfileStatus {
        summary::summarise(profile)
    }
}
