//! How what was released is in its cluster by now.

use drover_crds::{Drift, DriftedObject, WaitStrategy};
use drover_releases::{
    diff,
    manifest::objects,
    object::Object,
    readiness::{self, Readiness},
    record::Status,
};
use drover_runtime::{AccountError, accounts::Apply};
use k8s_openapi::jiff::Timestamp;
use serde_json::Value;

use super::{InCluster, unreadable};
use crate::{
    AppError,
    drift::{Difference, Finding, Gathered, difference, without_scale},
};

impl InCluster<'_> {
    /// Compares the objects of the deployed revision with what there is. Those that differ are applied again where `corrects` says so.
    pub async fn look(&self, revision: i64, corrects: bool, now: Timestamp) -> Result<Finding, AppError> {
        let mut found = Finding::none(self.app, revision, now);
        let newest = self.newest().map(|newest| &newest.record);
        let is_deployed = |status: Status| status == Status::Deployed;
        let deployed = newest.filter(|record| record.version == revision && is_deployed(record.info.status));
        let Some(deployed) = deployed.filter(|record| self.is_noted(record)) else {
            let object = format!("release {}", self.app.release_name());
            found.is_replaced = true;
            found.drift = Some(Drift { objects: 1, sample: vec![DriftedObject { object, paths: Vec::new() }] });
            return Ok(found);
        };
        let mut differing = Gathered::default();
        for object in self.allowed(objects(&deployed.manifest).map_err(unreadable)?)? {
            let live = self.live(&object).await?;
            if let Some(paths) = self.differs(&object, live.as_ref(), corrects).await? {
                differing.add(&object.identity().to_string(), &paths);
            }
            if found.not_ready.is_none() && self.app.spec.wait.strategy == WaitStrategy::Status {
                found.not_ready = not_ready(&object, live.as_ref());
            }
        }
        found.drift = differing.into_drift();
        Ok(found)
    }

    /// The paths in which an object differs: none of them where it is gone. What `corrects` applied does not differ any more.
    async fn differs(
        &self,
        object: &Object,
        live: Option<&Value>,
        corrects: bool,
    ) -> Result<Option<Vec<String>>, AppError> {
        let mut marked = object.clone();
        marked.mark(self.app.release_name(), &self.app.spec.namespace);
        let wanted = without_scale(marked.to_value(), live);
        let Some(difference) = difference(&wanted, live) else { return Ok(None) };
        let (resource, key) = self.locate(object).await?;
        // The API server has the last word: it fills in defaults, and writes some values in another way.
        let applied = self.client.apply(&resource, &key, &wanted, Apply { force: true, dry_run: !corrects }).await;
        if corrects {
            applied?;
            return Ok(None);
        }
        let paths = match (difference, live) {
            (Difference::Paths(paths), Some(live)) => match applied {
                Ok(applied) => diff::drift(&said(applied), live),
                Err(AccountError::Immutable { .. }) => paths,
                Err(error) => return Err(error.into()),
            },
            _ => Vec::new(),
        };
        Ok((live.is_none() || !paths.is_empty()).then_some(paths))
    }
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
