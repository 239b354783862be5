//! What became of a revision, as the status says it.

use drover_apps::{AppCause, inputs::Inputs};
use drover_crds::{CatalogApp, FailedTries, MAX_HISTORY, Release};
use drover_runtime::Owner;
use k8s_openapi::{
    apimachinery::pkg::apis::meta::v1::Time,
    jiff::{SignedDuration, Timestamp},
};

use super::{PlaceStatus, Steps, World};

pub(super) fn tell_failure(app: &CatalogApp, status: &mut PlaceStatus) {
    let Some(failed) = &status.failed else { return };
    let cause = AppCause::from_reason(&failed.reason).unwrap_or(AppCause::ApplyFailed);
    let message = format!("release {} failed and is tried again: {}", app.release_name(), failed.message);
    status.because(cause, message);
}

/// The newest record is deployed, and it is what was noted.
pub(super) fn deployed(found: &Inputs, status: &mut PlaceStatus) {
    let Some(release) = status.pending.take() else { return };
    if release.input_hash == found.hash {
        status.failed = None;
    }
    taken_up(status, release);
}

/// This revision is in the cluster.
pub(super) fn taken_up(status: &mut PlaceStatus, release: Release) {
    status.history.retain(|former| former.revision != release.revision);
    status.history.insert(0, Release { warning: None, ..release.clone() });
    status.history.truncate(MAX_HISTORY);
    status.applied = Some(release);
}

/// The newest record failed, and it is what was noted.
pub(super) fn failed(app: &CatalogApp, found: &Inputs, status: &mut PlaceStatus, why: &str, now: Timestamp) {
    let generation = app.metadata.generation.unwrap_or_default();
    let pending = status.pending.take();
    let tried = pending.as_ref().map(|pending| pending.input_hash.clone());
    // What failed is counted for what was tried; a way back that fails, for what made it necessary.
    let was_way_back = tried == status.applied.as_ref().map(|applied| applied.input_hash.clone());
    let input_hash = tried.filter(|_| !was_way_back).unwrap_or_else(|| found.hash.clone());
    let rights = found.rights.clone();
    let counts = |failed: &FailedTries| {
        failed.input_hash == input_hash && failed.generation == generation && failed.rights == rights
    };
    let before = status.failed.take().filter(counts);
    let (reason, message) = why.split_once(": ").unwrap_or((AppCause::ApplyFailed.reason(), why));
    status.failed = Some(FailedTries {
        input_hash,
        generation,
        rights,
        count: before.map_or(0, |failed| failed.count).saturating_add(1),
        revision: pending.as_ref().map(|pending| pending.revision),
        manifest_digest: pending.map(|pending| pending.manifest_digest),
        at: Time(now),
        reason: reason.chars().take(128).collect(),
        message: message.chars().take(512).collect(),
    });
}

/// Nothing of the release is left. Should the cluster come again, all of it is to be released anew: that is noted while the account still
/// tells that it was uninstalled and not left there.
pub(super) fn uninstalled(
    owner: Owner<'_, CatalogApp>,
    world: &World,
    status: &mut PlaceStatus,
    now: Timestamp,
) -> Steps {
    let is_noted = status.applied.is_none() && status.pending.is_none() && status.history.is_empty();
    (status.applied, status.pending, status.failed) = (None, None, None);
    (status.history, status.drift) = (Vec::new(), None);
    if matches!(owner, Owner::Present(_)) && !is_noted {
        return Steps::soon(now, SignedDuration::from_secs(1));
    }
    Steps { account: world.account.remove(), ..Steps::default() }
}
