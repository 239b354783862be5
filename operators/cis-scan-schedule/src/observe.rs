//! What there is of a schedule: the scans that it made. Decides nothing.

use drover_admission::PoliciesState;
use drover_crds::{CisScan, CisScanSchedule};
use drover_fleet::admission::{guarded_in_management, state_in_management};
use drover_grants::{Admitted, Grants, Judged as _, admitted::Evidence};
use drover_runtime::{Owner, PlaceContext, operator::record_of, owned::Owned};

use crate::CisScanScheduleOperator;

/// What a reconcile knows.
#[derive(Clone, Debug, Default)]
pub struct World {
    /// The scans that carry the labels of the schedule.
    pub scans: Vec<Owned<CisScan>>,
    /// Whether anything new may begin.
    pub grants: Grants,
    /// Whether the spec was written under the admission policies.
    pub admitted: Option<Admitted>,
    /// The state of the admission policies, while they are in place.
    pub policies: Option<PoliciesState>,
    /// What is known of the time before, where the schedule has no record of its own.
    pub evidence: Evidence,
}

pub(crate) fn observe(owner: Owner<'_, CisScanSchedule>, place: &PlaceContext) -> World {
    let Owner::Present(schedule) = owner else { return World::default() };
    let namespace = owner.key().namespace;
    let mut scans = Owned::<CisScan>::at(place, &record_of::<CisScanScheduleOperator>(owner.key()));
    // Other tenants may write our labels in their namespaces.
    scans.retain(|found| found.meta().namespace.as_ref() == Some(&namespace));
    let policies = state_in_management(place);
    let unknown = policies.as_ref().filter(|_| schedule.admission().is_none());
    let evidence = unknown.map(|policies| {
        let others = place.related::<CisScanSchedule>().all();
        Evidence::of(others.iter().filter_map(|other| other.admission()), policies)
    });
    World {
        scans,
        grants: Grants::by(&guarded_in_management(place)),
        admitted: Some(Admitted::of(schedule, || policies.clone())),
        evidence: evidence.unwrap_or_default(),
        policies,
    }
}
