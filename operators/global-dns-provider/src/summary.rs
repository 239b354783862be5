//! From what is known of a provider to its status. Pure.

use drover_crds::{GlobalDNSProvider, GlobalDNSProviderStatus};
use drover_runtime::{
    Place, PlaceState, PlaceStatuses, StatusCause, place_status::Readiness, status::ready_conditions,
};

use crate::plan::PlaceStatus;

pub(crate) fn summarise(
    provider: &GlobalDNSProvider,
    statuses: &PlaceStatuses<PlaceStatus>,
) -> GlobalDNSProviderStatus {
    let former = provider.status.clone().unwrap_or_default();
    let entry = statuses.get(&Place::Management);
    let failed = entry.and_then(|entry| match &entry.state {
        PlaceState::Failed(failure) => Some(Readiness::no(failure.cause, failure.message.clone())),
        _ => None,
    });
    let known = entry.and_then(|entry| entry.known.as_ref()).and_then(|known| known.ready.clone());
    let Some(ready) = failed.or(known) else {
        if !former.conditions.is_empty() {
            return former;
        }
        let waits = Readiness::no(StatusCause::Progressing, "it is being tried".to_owned());
        let conditions = ready_conditions(waits.state, waits.cause, &waits.message, waits.activity);
        return GlobalDNSProviderStatus { conditions, ..former };
    };
    let conditions = ready_conditions(ready.state, ready.cause, &ready.message, ready.activity);
    GlobalDNSProviderStatus { conditions, ..former }
}
