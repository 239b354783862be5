//! Revisions, as `ControllerRevision`s keep them. Pure.

use std::{collections::BTreeSet, sync::Arc};

use drover_crds::{MultiClusterApp, RevisionRef, RolloutRecord};
use drover_rollouts::{Content, Stored};
use drover_runtime::{Title, owned::Owned};
use k8s_openapi::{api::apps::v1::ControllerRevision, apimachinery::pkg::runtime::RawExtension};
use kube::ResourceExt as _;
use serde_json::{Map, Value, json};

/// A revision that is kept.
#[derive(Clone, Debug)]
pub struct Kept {
    /// Its number.
    pub number: i64,
    /// Its name.
    pub name: String,
    /// What it holds.
    pub content: Arc<Content>,
}

/// The revisions of `app` among the objects that carry its labels, the oldest first. A name tells its content, so what another client wrote
/// under one is none.
#[must_use]
pub fn kept(app: &MultiClusterApp, found: &[Owned<ControllerRevision>]) -> Vec<Kept> {
    let ours = found.iter().filter(|found| found.title == Title::Created && found.meta().deletion_timestamp.is_none());
    let mut all: Vec<Kept> = ours.filter_map(|found| read(&app.name_any(), found.live.as_deref().ok()?)).collect();
    // Who was asked for the rights of an app of a Project was not asked for those of one of the platform.
    all.retain(|kept| kept.content.is_of_projects() == app.spec.template.project_name.is_some());
    all.sort_by_key(|kept| kept.number);
    all
}

fn read(app: &str, found: &ControllerRevision) -> Option<Kept> {
    let content: Content = serde_json::from_value(found.data.0.clone()).ok()?;
    let name = content.name(app).ok().filter(|name| *name == found.name_any())?;
    let number = found.revision.filter(|number| *number > 0)?;
    Some(Kept { number, name, content: Arc::new(content) })
}

/// As a pin finds them.
#[must_use]
pub fn stored(kept: &[Kept]) -> Vec<Stored> {
    kept.iter().map(|kept| Stored { number: kept.number, name: kept.name.clone() }).collect()
}

/// The revision that was completed last.
pub(crate) fn completed(all: &[Kept], record: &RolloutRecord) -> Option<RevisionRef> {
    let name = record.completed.as_ref()?;
    let kept = all.iter().find(|kept| kept.name == *name)?;
    Some(RevisionRef { number: kept.number, name: name.clone() })
}

/// A revision as it is to be kept.
#[must_use]
pub fn to_keep(app: &MultiClusterApp, content: &Content, name: &str, number: i64) -> ControllerRevision {
    let mut wanted = ControllerRevision {
        data: RawExtension(serde_json::to_value(content).unwrap_or_default()),
        revision: Some(number),
        ..ControllerRevision::default()
    };
    (wanted.metadata.name, wanted.metadata.namespace) = (Some(name.to_owned()), app.namespace());
    wanted
}

/// What of it besides metadata is written, in one request: its data cannot be changed.
#[must_use]
pub fn content(wanted: &ControllerRevision) -> Map<String, Value> {
    Map::from_iter([("data".to_owned(), wanted.data.0.clone()), ("revision".to_owned(), json!(wanted.revision))])
}

/// The names of those that nobody needs any more, beyond `limit`, the oldest first.
#[must_use]
pub fn superfluous(kept: &[Kept], in_use: &BTreeSet<&str>, limit: i64) -> Vec<String> {
    let idle: Vec<_> = kept.iter().filter(|kept| !in_use.contains(&*kept.name)).collect();
    let limit = usize::try_from(limit).unwrap_or_default();
    idle.iter().take(idle.len().saturating_sub(limit)).map(|kept| kept.name.clone()).collect()
}
