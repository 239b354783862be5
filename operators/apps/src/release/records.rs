//! The records of a release among the Secrets of its namespace. Pure: whoever edits there may write as many as they like.

use std::sync::Arc;

use drover_charts::Digest;
use drover_crds::CatalogApp;
use drover_releases::{
    history::{Revision, believable},
    record::{Record, Room, SECRET_TYPE},
};
use k8s_openapi::{api::core::v1::Secret, apimachinery::pkg::apis::meta::v1::ObjectMeta};

use super::{APP_LABEL, CHART_ANNOTATION};

/// A record, and what of its Secret counts.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) record: Record,
    /// The version of the Secret.
    pub(super) version: Option<String>,
    /// Whether its labels say that it is of this app. Anybody may say so.
    pub(super) is_ours: bool,
    /// What its annotation says of the packaged chart. Anybody may say so.
    pub(super) chart: Option<String>,
    /// How many bytes it takes in memory, about.
    pub(super) weight: usize,
}

impl Found {
    /// A record as it lies in a Secret with this metadata.
    pub(super) fn of(record: Record, meta: &ObjectMeta, app: &CatalogApp) -> Self {
        let label = meta.labels.as_ref().and_then(|labels| labels.get(APP_LABEL));
        let (is_ours, weight) = (label == Some(&app_label(app)), record.weight());
        let chart = meta.annotations.as_ref().and_then(|annotations| annotations.get(CHART_ANNOTATION)).cloned();
        Self { record, version: meta.resource_version.clone(), is_ours, chart, weight }
    }
}

/// What a record says of which app it is, so that a management cluster that was rebuilt knows its own.
pub(super) fn app_label(app: &CatalogApp) -> String {
    let meta = &app.metadata;
    let [namespace, name] = [&meta.namespace, &meta.name].map(|text| text.as_deref().unwrap_or_default());
    // Values of labels have at most 63 characters: what is longer is told by its digest. It has no dot, so it is no name of another one.
    let whole = format!("{namespace}.{name}");
    let digest = || Digest::of(whole.as_bytes()).to_string().trim_start_matches("sha256:").chars().take(63).collect();
    if whole.len() <= 63 { whole } else { digest() }
}

/// The records of the release of `app`, the oldest first, as far as there is room for them. What is decided by comes first: what the
/// status noted, and then the newest.
pub(super) fn read(app: &CatalogApp, secrets: Vec<Secret>) -> Vec<Arc<Found>> {
    let noted = Noted::of(app);
    let mut secrets: Vec<_> = secrets.into_iter().map(|secret| (revision_of(app, &secret), secret)).collect();
    secrets.retain(|(_, secret)| secret.type_.as_deref() == Some(SECRET_TYPE));
    let believable = believable(secrets.iter().map(|(revision, _)| *revision), noted.newest());
    secrets.retain(|(revision, _)| believable.contains(revision));
    secrets.sort_by_key(|(revision, _)| std::cmp::Reverse((noted.weight(*revision), *revision)));
    let mut room = Room::default();
    let mut found = Vec::new();
    for (revision, secret) in secrets {
        let Ok(mut record) = Record::from_secret_within(&secret, &mut room) else { continue };
        if record.name == app.release_name() && record.version == revision {
            // Nothing of a hook is believed but its manifest.
            record.hooks = record.hooks.iter().filter_map(|hook| hook.reread().ok()).collect();
            found.push(Arc::new(Found::of(record, &secret.metadata, app)));
        }
    }
    found.sort_by_key(|found| found.record.version);
    found
}

fn revision_of(app: &CatalogApp, secret: &Secret) -> i64 {
    let labels = secret.metadata.labels.as_ref();
    labels.and_then(|labels| Revision::from_labels(app.release_name(), labels)).map_or(0, |found| found.number)
}

/// The revisions that the status of an app noted.
struct Noted {
    /// Of what is applied, and under way.
    present: Vec<i64>,
    former: Vec<i64>,
}

impl Noted {
    fn of(app: &CatalogApp) -> Self {
        let status = app.status.as_ref();
        let present = status.into_iter().flat_map(|status| status.applied.iter().chain(&status.pending));
        let former = status.into_iter().flat_map(|status| &status.history);
        let failed = status.and_then(|status| status.failed.as_ref()?.revision);
        Self {
            present: present.map(|release| release.revision).chain(failed).collect(),
            former: former.map(|release| release.revision).collect(),
        }
    }

    fn newest(&self) -> i64 {
        self.present.iter().copied().max().unwrap_or_default()
    }

    /// How much a revision matters.
    fn weight(&self, revision: i64) -> u8 {
        match revision {
            present if self.present.contains(&present) => 2,
            former if self.former.contains(&former) => 1,
            _ => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use drover_crds::{CatalogAppSpec, CatalogAppStatus, Release};
    use drover_releases::record::Written;
    use k8s_openapi::jiff::Timestamp;
    use serde_json::{Map, json};

    use super::*;

    fn app(applied: Option<i64>) -> CatalogApp {
        let spec = json!({
            "clusterName": "eu", "namespace": "shop", "roleTemplateName": "r", "releaseName": "web",
            "chart": {"configMap": {"name": "c", "key": "k", "digest": "d"}},
        });
        let spec: CatalogAppSpec = serde_json::from_value(spec).unwrap();
        let release = |revision| -> Release {
            let fields = json!({
                "revision": revision, "chartVersion": "1", "chartDigest": "", "inputHash": "", "manifestDigest": "", "objects": 0,
                "at": "2026-11-26T18:00:00Z",
            });
            serde_json::from_value(fields).unwrap()
        };
        let status = CatalogAppStatus { applied: applied.map(release), ..CatalogAppStatus::default() };
        CatalogApp { status: Some(status), ..CatalogApp::new("web", spec) }
    }

    /// A record of the release with so many values.
    fn record(version: i64, values: usize) -> Secret {
        let config = Map::from_iter([("a".to_owned(), json!(vec![0; values]))]);
        let (name, namespace) = ("web".to_owned(), "shop".to_owned());
        let record = Record { name, namespace, version, config, ..Record::default() };
        record.to_secret(Written::Created, Timestamp::UNIX_EPOCH).unwrap()
    }

    fn versions(app: &CatalogApp, secrets: &[Secret]) -> Vec<i64> {
        read(app, secrets.to_vec()).iter().map(|found| found.record.version).collect()
    }

    #[test]
    fn a_forged_revision_beyond_belief_leaves_numbers_for_those_to_come() {
        assert_eq!(versions(&app(None), &[record(i64::MAX, 0), record(2, 0), record(1, 0)]), [1, 2]);
        let mut mislabelled = record(i64::MAX, 0);
        mislabelled.metadata.labels.get_or_insert_default().insert("version".to_owned(), "3".to_owned());
        assert_eq!(versions(&app(None), &[mislabelled, record(2, 0)]), [2]);
    }

    #[test]
    fn what_was_noted_is_read_however_many_others_are_forged() {
        let mut secrets: Vec<_> = (3..30).map(|version| record(version, 120_000)).collect();
        secrets.push(record(2, 120_000));
        let read = versions(&app(Some(2)), &secrets);
        assert!(read.contains(&2) && read.len() < 5, "{read:?}");
        assert_eq!(read.last(), Some(&29), "and the newest beside it");
    }
}
