//! From what is known of a store to its status. Pure.

use drover_crds::{
    BackupStore, BackupStoreStatus,
    condition::{CONDITIONAL_PUT_SUPPORTED, WRITABLE},
};
use drover_runtime::{
    Place, PlaceState, PlaceStatuses, StatusCause,
    place_status::Readiness,
    status::{condition, ready_conditions},
};
use drover_stores::StoreCause;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use crate::{observe::Held, plan::PlaceStatus};

pub(crate) fn summarise(store: &BackupStore, statuses: &PlaceStatuses<PlaceStatus>) -> BackupStoreStatus {
    let former = store.status.clone().unwrap_or_default();
    let entry = statuses.get(&Place::Management);
    let failed = entry.and_then(|entry| match &entry.state {
        PlaceState::Failed(failure) => Some(failure.clone()),
        _ => None,
    });
    let known = entry.and_then(|entry| entry.known.clone());
    let ready = match failed {
        Some(failure) => Some(Readiness::no(failure.cause, failure.message)),
        None => known.as_ref().and_then(|known| known.ready.clone()),
    };
    let Some(ready) = ready else {
        if !former.conditions.is_empty() {
            return former;
        }
        let waits = Readiness::no(StatusCause::Progressing, "it is being tried".to_owned());
        let conditions = ready_conditions(waits.state, waits.cause, &waits.message, waits.activity);
        return BackupStoreStatus { conditions, ..former };
    };
    let mut conditions = ready_conditions(ready.state, ready.cause, &ready.message, ready.activity);
    conditions.extend(known.iter().flat_map(tried));
    // A time that changes with every try would be a write with every try.
    let before = Held { objects: former.objects, bytes: former.used_bytes, backups: former.backups };
    let (held, checked_at) = match known.and_then(|known| known.held) {
        Some((held, at)) if held != before || former.checked_at.is_none() => (held, Some(at)),
        _ => (before, former.checked_at),
    };
    let Held { objects, bytes: used_bytes, backups } = held;
    BackupStoreStatus { objects, used_bytes, backups, checked_at, conditions, ..BackupStoreStatus::default() }
}

fn tried(known: &PlaceStatus) -> Vec<Condition> {
    let supported = "it overwrites nothing where it is asked not to, and takes uploads in parts";
    match &known.failure {
        None if known.held.is_none() => Vec::new(),
        None => vec![
            condition(WRITABLE, true, StatusCause::Ready, "it can be written, read and deleted from"),
            condition(CONDITIONAL_PUT_SUPPORTED, true, StatusCause::Ready, supported),
        ],
        Some(failure) if failure.cause == StoreCause::StoreNotSupported.cause() => {
            vec![condition(CONDITIONAL_PUT_SUPPORTED, false, failure.cause, failure.message.clone())]
        }
        Some(failure) => vec![condition(WRITABLE, false, failure.cause, failure.message.clone())],
    }
}
