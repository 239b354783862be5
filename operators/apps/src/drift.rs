//! Whether what was released is still there as the release says.
//!
//! Nothing is watched for it: the objects of an app are of any kind, and Drover has no rights on them. So it is looked at intervals, with
//! the rights of the app, and what was found is kept in memory. A process that starts looks an interval later.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use drover_crds::{CatalogApp, Drift, DriftedObject, MAX_DRIFT};
use drover_releases::diff;
use drover_runtime::ObjectKey;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::ResourceExt as _;
use serde_json::Value;

/// What was found when it was looked last.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    /// The app that was looked at; another one of its name is looked at anew.
    pub uid: String,
    /// The revision that was deployed.
    pub revision: i64,
    /// When it is looked again.
    pub due: Timestamp,
    /// What differs; none if nothing does, or nobody looked yet.
    pub drift: Option<Drift>,
    /// Whether another client changed the release itself: there is another revision, or none.
    pub is_replaced: bool,
    /// The first object that is not ready, if there is one.
    pub not_ready: Option<String>,
    /// How many objects were compared, as long as that is not all of them: the rest follows.
    pub compared: Option<usize>,
    /// Whether what differed was applied again; what differs still cannot be.
    pub corrects: bool,
    /// How often in a row that was so: what comes back each time is left alone.
    pub corrections: u32,
}

/// So often in a row objects that differ are applied again, as other field managers may be as persistent.
pub const MOST_CORRECTIONS: u32 = 3;
/// How soon it is looked again for an object that was not ready, and that nothing tells of.
const SOON: SignedDuration = SignedDuration::from_mins(1);

impl Finding {
    /// Nothing was found yet.
    #[must_use]
    pub fn none(app: &CatalogApp, revision: i64, now: Timestamp) -> Self {
        let interval = SignedDuration::try_from(app.spec.drift_interval()).unwrap_or(SignedDuration::from_mins(10));
        Self {
            uid: app.uid().unwrap_or_default(),
            revision,
            due: now.checked_add(interval).unwrap_or(Timestamp::MAX),
            drift: None,
            is_replaced: false,
            not_ready: None,
            compared: None,
            corrects: false,
            corrections: 0,
        }
    }

    /// Whether what differs is to be applied again.
    #[must_use]
    pub fn may_be_corrected(&self) -> bool {
        self.drift.is_some() && !self.is_replaced && !self.corrects && self.corrections < MOST_CORRECTIONS
    }

    /// The end of a look: what is not ready is looked at again before long.
    pub(crate) fn done(mut self, now: Timestamp) -> Self {
        if self.compared.is_none() && self.drift.is_none() && !self.corrects {
            self.corrections = 0;
        }
        if self.not_ready.is_some() {
            self.due = now.checked_add(SOON).map_or(self.due, |soon| soon.min(self.due));
        }
        self
    }
}

/// What was found of each app. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Findings(Arc<Mutex<BTreeMap<ObjectKey, Finding>>>);

impl Findings {
    /// What was found of this revision of an app.
    #[must_use]
    pub fn get(&self, app: &CatalogApp) -> Option<Finding> {
        let revision = app.status.as_ref()?.applied.as_ref()?.revision;
        let counts = |found: &&Finding| found.revision == revision && app.uid().as_ref() == Some(&found.uid);
        self.lock().get(&ObjectKey::of(&app.metadata)).filter(counts).cloned()
    }

    /// Keeps what was found.
    pub fn keep(&self, app: &CatalogApp, found: Finding) {
        self.lock().insert(ObjectKey::of(&app.metadata), found);
    }

    /// Forgets an app.
    pub fn forget(&self, app: &ObjectKey) {
        self.lock().remove(app);
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<ObjectKey, Finding>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Objects that differ, gathered one by one.
#[derive(Debug, Default)]
pub(crate) struct Gathered(Drift);

impl Gathered {
    /// What a look found so far.
    pub(crate) fn of(found: Option<Drift>) -> Self {
        Self(found.unwrap_or_default())
    }

    /// One more.
    pub(crate) fn add(&mut self, object: &str, paths: &[String]) {
        self.0.objects = self.0.objects.saturating_add(1);
        if self.0.sample.len() < MAX_DRIFT {
            let object = object.chars().take(350).collect();
            self.0.sample.push(DriftedObject { object, paths: paths.iter().take(MAX_DRIFT).cloned().collect() });
        }
    }

    /// All of them; none if there are none.
    pub(crate) fn into_drift(self) -> Option<Drift> {
        (self.0.objects > 0).then_some(self.0)
    }
}

/// How an object differs from what the release says.
pub(crate) enum Difference {
    /// The object is gone, and should be there.
    Gone,
    /// These paths differ.
    Paths(Vec<String>),
}

/// Compares an object of a release with the one in the cluster.
pub(crate) fn difference(wanted: &Value, live: Option<&Value>) -> Option<Difference> {
    match live {
        None if goes_by_itself(wanted) => None,
        None => Some(Difference::Gone),
        Some(live) => {
            let paths = diff::drift(wanted, live);
            (!paths.is_empty()).then_some(Difference::Paths(paths))
        }
    }
}

/// Whether the cluster deletes the object once it has done its work.
fn goes_by_itself(wanted: &Value) -> bool {
    wanted.get("kind").is_some_and(|kind| kind == "Job") && wanted.pointer("/spec/ttlSecondsAfterFinished").is_some()
}

/// What the release has to say of an object: not how many replicas there are where an autoscaler, or a person by kubectl scale, says so.
pub(crate) fn without_scale(mut wanted: Value, live: Option<&Value>) -> Value {
    let managers = live.and_then(|live| live.pointer("/metadata/managedFields")?.as_array());
    let mut managers = managers.into_iter().flatten();
    if managers.any(|manager| manager.get("subresource").is_some_and(|name| name == "scale"))
        && let Some(spec) = wanted.get_mut("spec").and_then(Value::as_object_mut)
    {
        spec.remove("replicas");
    }
    wanted
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_job_that_the_cluster_deletes_is_not_missed() {
        let job = |spec: Value| json!({"apiVersion": "batch/v1", "kind": "Job", "spec": spec});
        assert!(difference(&job(json!({"ttlSecondsAfterFinished": 60})), None).is_none());
        assert!(matches!(difference(&job(json!({})), None), Some(Difference::Gone)));
    }

    #[test]
    fn who_scales_is_left_alone() {
        let wanted = json!({"spec": {"replicas": 1, "paused": true}});
        let live = |subresource: Option<&str>| {
            let manager = json!({"manager": "m", "subresource": subresource});
            json!({"metadata": {"managedFields": [manager]}, "spec": {"replicas": 5, "paused": true}})
        };
        for (subresource, differs) in [(Some("scale"), false), (Some("status"), true), (None, true)] {
            let live = live(subresource);
            let wanted = without_scale(wanted.clone(), Some(&live));
            assert_eq!(difference(&wanted, Some(&live)).is_some(), differs, "{subresource:?}");
        }
    }

    #[test]
    fn what_is_told_is_bounded() {
        let mut gathered = Gathered::default();
        assert!(Gathered::default().into_drift().is_none());
        let paths: Vec<String> = (0..20).map(|at| format!("spec.{at}")).collect();
        for at in 0..100 {
            gathered.add(&format!("ConfigMap {at}"), &paths);
        }
        let drift = gathered.into_drift().unwrap();
        assert_eq!((drift.objects, drift.sample.len(), drift.sample[0].paths.len()), (100, MAX_DRIFT, MAX_DRIFT));
    }
}
