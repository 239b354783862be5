//! Which scans a change of something else concerns.

use drover_crds::CisScan;
use drover_runtime::{cache::Change, known::KnownKeys};

/// Notes the scans that have not ended.
pub(crate) fn note_open(open: &KnownKeys, change: &Change<CisScan>) {
    open.note_if(change, |scan| scan.status.as_ref().is_none_or(|status| status.completed_at.is_none()));
}

/// Whether the status remembers something else.
pub(crate) fn noted_something_else(change: &Change<CisScan>) -> bool {
    let noted = |scan: &CisScan| {
        let status = scan.status.clone().unwrap_or_default();
        (status.started_at, status.completed_at, status.admission)
    };
    change.old.as_deref().map(noted) != change.new.as_deref().map(noted)
}
