//! How what was released is in its cluster by now.

use drover_crds::{Drift, DriftedObject, WaitStrategy};
use drover_releases::{
    diff,
    manifest::objects,
    object::Object,
    readiness::{self, Readiness},
    record::{Record, Status},
};
use drover_runtime::{AccountError, Class, Classify as _, accounts::Apply};
use k8s_openapi::jiff::Timestamp;
use serde_json::Value;

use super::{InCluster, unreadable};
use crate::{
    AppError,
    drift::{Difference, Finding, Gathered, difference, without_scale},
};

/// How many objects are compared in one reconcile: others have their turn in between.
const OBJECTS_AT_ONCE: usize = 50;

impl InCluster<'_> {
    /// Compares the objects of the deployed revision with what there is, from where `former` left off. Those that differ are applied again
    /// where `corrects` says so.
    pub async fn look(&mut self, former: &Finding, corrects: bool, now: Timestamp) -> Result<Finding, AppError> {
        self.read().await?;
        let mut found = self.begun(former, corrects, now);
        let newest = self.newest().map(|newest| &newest.record);
        let is_deployed = |record: &&Record| {
            record.version == former.revision && record.info.status == Status::Deployed && self.noted(record).is_some()
        };
        let Some(deployed) = newest.filter(is_deployed) else {
            let object = format!("release {}", self.app.release_name());
            let drift = Drift { objects: 1, sample: vec![DriftedObject { object, paths: Vec::new() }] };
            return Ok(Finding { is_replaced: true, drift: Some(drift), compared: None, ..found });
        };
        let all = self.allowed(objects(&deployed.manifest).map_err(unreadable)?)?;
        let from = found.compared.unwrap_or(0);
        let mut differing = Gathered::of(found.drift.take());
        for object in all.iter().skip(from).take(OBJECTS_AT_ONCE) {
            let live = self.live(object).await?;
            if let Some(paths) = self.differs(object, live.as_ref(), corrects).await? {
                differing.add(&object.identity().to_string(), &paths);
            }
            if found.not_ready.is_none() && self.app.spec.wait.strategy == WaitStrategy::Status {
                found.not_ready = not_ready(object, live.as_ref());
            }
        }
        found.drift = differing.into_drift();
        found.compared = Some(from.saturating_add(OBJECTS_AT_ONCE)).filter(|compared| *compared < all.len());
        Ok(found.done(now))
    }

    /// What is known when a look begins, or goes on.
    fn begun(&self, former: &Finding, corrects: bool, now: Timestamp) -> Finding {
        let fresh = Finding::none(self.app, former.revision, now);
        if former.compared.is_some() {
            return Finding { due: fresh.due, ..former.clone() };
        }
        Finding { corrects, corrections: former.corrections.saturating_add(u32::from(corrects)), ..fresh }
    }

    /// The paths in which an object differs: none of them where it is gone. What `corrects` applied does not differ any more.
    pub(super) async fn differs(
        &self,
        object: &Object,
        live: Option<&Value>,
        corrects: bool,
    ) -> Result<Option<Vec<String>>, AppError> {
        let mut marked = object.clone();
        marked.mark(self.app.release_name(), &self.app.spec.namespace);
        let wanted = without_scale(marked.to_value(), live);
        let Some(difference) = difference(&wanted, live) else { return Ok(None) };
        let paths = match difference {
            Difference::Paths(paths) => paths,
            Difference::Gone => Vec::new(),
        };
        // What is another's by now is told, and nobody's to write.
        if live.is_some_and(|live| !self.is_of_release(live)) {
            return Ok(Some(paths));
        }
        let (resource, key) = self.locate(object).await?;
        // The API server has the last word: it fills in defaults, and writes some values in another way.
        match self.client.apply(&resource, &key, &wanted, Apply { force: true, dry_run: !corrects }).await {
            Ok(_) if corrects => Ok(None),
            Ok(applied) => {
                let paths = live.map(|live| diff::drift(&said(applied), live)).unwrap_or_default();
                Ok((live.is_none() || !paths.is_empty()).then_some(paths))
            }
            // It differs, and cannot be put right.
            Err(error) if is_refusal(&error) => Ok(Some(paths)),
            Err(error) => Err(error.into()),
        }
    }
}

/// Whether the API server looked at an object and did not want it, so that the others are to be looked at all the same.
fn is_refusal(error: &AccountError) -> bool {
    matches!(error.cause().class(), Class::Blocked | Class::Invalid)
}

/// What an object says, without what the API server says of it.
fn said(mut object: Value) -> Value {
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.retain(|field, _| matches!(field.as_str(), "name" | "namespace" | "labels" | "annotations"));
    }
    object
}

fn not_ready(object: &Object, live: Option<&Value>) -> Option<String> {
    match readiness::of(live) {
        // What is gone is told as drift.
        Readiness::Ready | Readiness::NotFound => None,
        Readiness::Failed(why) | Readiness::InProgress(why) => Some(format!("{}: {why}", object.identity())),
        Readiness::Terminating => Some(format!("{}: it is being deleted", object.identity())),
    }
}
