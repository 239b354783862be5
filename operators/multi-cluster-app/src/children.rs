//! The apps of the targets: what each is to be, and what is seen of it. Pure.

use std::collections::BTreeMap;

use drover_apps::{AppCause, inputs};
use drover_crds::{
    AppDeletionPolicy, AppTemplate, CatalogApp, CatalogAppSpec, MultiClusterApp,
    condition::{READY, STALLED, StatusConditions as _},
    names::{ANNOTATION_DESELECTED_SINCE, ANNOTATION_INPUTS, ANNOTATION_REVISION},
};
use drover_rollouts::{Child, Revision};
use drover_runtime::{StatusCause, Title, owned::Owned};
use k8s_openapi::{apimachinery::pkg::apis::meta::v1::Condition, jiff::Timestamp};
use kube::ResourceExt as _;
use serde_json::{Map, Value};

/// Of which revision an app is, and to what it is bound.
#[derive(Clone, Copy, Debug)]
pub struct Given<'a> {
    /// Name of the revision.
    pub revision: &'a str,
    /// Its chart and its sources of values.
    pub inputs: &'a str,
}

/// The app of a target.
#[must_use]
pub fn wanted(
    app: &MultiClusterApp,
    name: &str,
    cluster: &str,
    template: AppTemplate,
    given: Given<'_>,
    live: Option<&CatalogApp>,
) -> CatalogApp {
    let mut wanted = CatalogApp::new(name, CatalogAppSpec { cluster_name: cluster.to_owned(), template, pin: None });
    wanted.metadata.namespace = app.namespace();
    let mut annotations = BTreeMap::from([
        (ANNOTATION_INPUTS.to_owned(), given.inputs.to_owned()),
        (ANNOTATION_REVISION.to_owned(), given.revision.to_owned()),
    ]);
    // It was about to go, and is a target again.
    if live.is_some_and(|live| live.annotations().contains_key(ANNOTATION_DESELECTED_SINCE)) {
        annotations.insert(ANNOTATION_DESELECTED_SINCE.to_owned(), String::new());
    }
    wanted.metadata.annotations = Some(annotations);
    wanted
}

/// Whether an app is as it is wanted, with nothing that says otherwise in its metadata.
#[must_use]
pub fn is_as(live: &CatalogApp, cluster: &str, template: &AppTemplate, given: Given<'_>) -> bool {
    let noted = |name: &str| live.annotations().get(name).map(String::as_str);
    live.metadata.deletion_timestamp.is_none()
        && noted(ANNOTATION_REVISION) == Some(given.revision)
        && noted(ANNOTATION_INPUTS) == Some(given.inputs)
        && noted(ANNOTATION_DESELECTED_SINCE).is_none()
        && live.spec.pin.is_none()
        && live.spec.cluster_name == cluster
        && live.spec.template == *template
}

/// An app that is left over, as it is but for what says since when that is so, or what becomes of its release.
#[must_use]
pub fn left_over(live: &CatalogApp, since: Option<Timestamp>, policy: AppDeletionPolicy) -> CatalogApp {
    let mut spec = live.spec.clone();
    spec.template.deletion_policy = policy;
    let mut wanted = CatalogApp::new(&live.name_any(), spec);
    wanted.metadata.namespace = live.namespace();
    let noted = live.annotations().get(ANNOTATION_DESELECTED_SINCE).cloned();
    let since = since.map(|since| since.to_string()).or(noted);
    let kept = [ANNOTATION_INPUTS, ANNOTATION_REVISION].map(|name| (name, live.annotations().get(name).cloned()));
    let all = kept.into_iter().chain([(ANNOTATION_DESELECTED_SINCE, since)]);
    wanted.metadata.annotations = Some(all.filter_map(|(name, value)| Some((name.to_owned(), value?))).collect());
    wanted
}

/// What of an app besides metadata is written, all at once.
#[must_use]
pub fn content(wanted: &CatalogApp) -> Map<String, Value> {
    Map::from_iter([("spec".to_owned(), serde_json::to_value(&wanted.spec).unwrap_or_default())])
}

/// Since when the cluster of an app is no target any more, as far as that is noted.
#[must_use]
pub fn deselected_since(live: &CatalogApp) -> Option<Timestamp> {
    live.annotations().get(ANNOTATION_DESELECTED_SINCE)?.parse().ok()
}

/// What is seen of the app of a target.
#[must_use]
pub fn seen(found: &Owned<CatalogApp>) -> Child<'_> {
    let Ok(live) = &found.live else { return Child::default() };
    if !matches!(found.title, Title::Created | Title::Adopted) {
        return Child { is_foreign: true, ..Child::default() };
    }
    let given = live.annotations().get(ANNOTATION_REVISION).map(|name| Revision(name));
    let is_marked = live.annotations().get(ANNOTATION_DESELECTED_SINCE).is_some_and(|since| !since.is_empty());
    let status = live.status.as_ref().filter(|status| {
        Some(status.observed_generation) == live.metadata.generation
            && status.observed_inputs.as_ref() == live.annotations().get(ANNOTATION_INPUTS)
    });
    let Some(status) = status.filter(|_| live.metadata.deletion_timestamp.is_none()) else {
        return Child { given, is_marked, ..Child::default() };
    };
    let find = |kind: &str| status.conditions().iter().find(|condition| condition.type_ == kind);
    let (ready, is_stalled) = (find(READY), find(STALLED).is_some_and(|stalled| stalled.status == "True"));
    let is_settled = status.pending.is_none() && status.failed.is_none();
    let applied = status.applied.as_ref().filter(|_| is_settled && ready.is_some_and(is_as_wanted));
    let since = ready.filter(|ready| ready.status == "True").map(|ready| ready.last_transition_time.0);
    Child {
        applied: applied.and(given),
        is_current: status.pending.is_none(),
        is_releasing: status.pending.is_some(),
        is_taken_up: applied.is_some_and(|applied| applied.taken_up.is_some()),
        // It was ready before with what it had then.
        ready_since: since.zip(applied).map(|(since, applied)| since.max(applied.at.0)),
        has_failed: is_stalled,
        ..Child { given, is_marked, ..Child::default() }
    }
}

/// Whether an app may only take up what is there, and has not: the rollout has not begun on its cluster.
#[must_use]
pub fn has_nothing_yet(found: &Owned<CatalogApp>) -> bool {
    let only_takes_up = |live: &CatalogApp| inputs::bound(live).is_some_and(|(_, only_takes_up)| only_takes_up);
    found.live.as_deref().is_ok_and(only_takes_up) && seen(found).applied.is_none()
}

/// Whether what is in the cluster is what the spec says, by its condition Ready.
fn is_as_wanted(ready: &Condition) -> bool {
    let is_not_ready = AppCause::from_reason(&ready.reason) == Some(AppCause::NotReady);
    is_not_ready || StatusCause::from_reason(&ready.reason) == Some(StatusCause::Ready)
}

/// Why an app is not ready, as its own status says it.
#[must_use]
pub fn reason(live: &CatalogApp) -> Option<String> {
    let conditions = live.status.as_ref()?.conditions().iter();
    let ready = conditions.into_iter().find(|condition| condition.type_ == READY && condition.status != "True")?;
    Some(ready.reason.clone())
}
