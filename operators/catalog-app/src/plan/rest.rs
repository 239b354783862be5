//! What is done about a release that is as it is to be.

use drover_apps::{AppCause, drift::Finding};
use drover_crds::{CatalogApp, DriftMode, Release, WaitStrategy};
use drover_runtime::{StatusCause, place_status::Readiness};
use k8s_openapi::jiff::{SignedDuration, Timestamp};

use super::{PlaceStatus, Steps, World, sends};
use crate::act::Step;

/// All is as it was released; whether it stayed so is looked at intervals.
pub(super) fn at_rest(app: &CatalogApp, world: &World, status: &mut PlaceStatus, now: Timestamp) -> Steps {
    released(app, status);
    let found = world.finding.as_ref().and_then(|found| found.not_ready.as_ref());
    if let Some(what) = world.not_ready.as_ref().or(found).filter(|_| app.spec.wait.strategy == WaitStrategy::Status) {
        let message = format!("release {} is deployed, and not all of it is ready: {what}", app.release_name());
        status.because(AppCause::NotReady, message);
    }
    let applied = status.applied.as_ref().map(|applied| (applied.revision, applied.is_only_found()));
    let Some((revision, is_only_found)) = applied else { return Steps::default() };
    if app.spec.drift.mode == DriftMode::Off {
        status.drift = None;
        return Steps::default();
    }
    if world.facts.as_ref().is_some_and(|facts| facts.cluster.spec.suspend) {
        // Nothing is done at a cluster that is suspended; looking would count as something.
        return Steps::default();
    }
    let corrects = app.spec.drift.mode == DriftMode::Correct && !is_only_found;
    let looks = |former: &Finding, corrects: bool| {
        let step = Step::Look { former: Box::new(former.clone()), corrects };
        Steps { step: Some(step), ..Steps::soon(now, SignedDuration::from_secs(1)) }
    };
    let nothing = Finding::none(app, revision, now);
    // Who is here because the release was replaced finds that it is not, or not any more.
    let is_back = |found: &&Finding| found.is_replaced && world.seen.is_some();
    match &world.finding {
        _ if app.asked().is_some() => looks(&nothing, false),
        None => sends(Step::LookLater(Box::new(nothing)), now),
        Some(found) if found.compared.is_some() => looks(found, found.corrects),
        Some(found) if found.due <= now || is_back(&found) => looks(found, false),
        Some(found) => {
            status.drift.clone_from(&found.drift);
            if corrects && found.may_be_corrected() {
                return looks(found, true);
            }
            Steps { again: Some(found.due), ..Steps::default() }
        }
    }
}

pub(super) fn released(app: &CatalogApp, status: &mut PlaceStatus) {
    let applied = status.applied.as_ref();
    let (revision, version) = applied.map_or((0, ""), |applied| (applied.revision, &*applied.chart_version));
    let found = if applied.is_some_and(Release::is_only_found) { ", taken up as it was found" } else { "" };
    let name = app.release_name();
    let message = format!("release {name} is deployed: revision {revision}, chart version {version}{found}");
    status.ready = Readiness::yes(StatusCause::Ready, message);
}
