//! The reconcile of one object as a whole: finalizer, places, status.

use std::{sync::Arc, time::Duration};

use drover_crds::condition::{READY, STALLED, StatusConditions};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, ObjectMeta};
use kube::{
    Resource,
    api::{GetParams, Patch, PatchParams},
    core::{Request, object::HasStatus, request::Error as BuildError},
};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{Driver, deletion::Patience};
use crate::{
    cache::{Lookup, ObjectKey, SHOWN_WITHIN, Undecodable, revision},
    cause::{Cause, RUNTIME_CAUSES, StatusCause},
    clock,
    error::{ApiError, Class, Failure, MESSAGE_LIMIT, legible},
    events::Changed,
    operator::{Operator, StatusOf, field_manager},
    place::{Place, Targets},
    place_status::PlaceState,
    queue::RequeueAt,
    request::request,
    status::{Activity, State, finish, ready_conditions},
    task::Task,
    write::{api, to_json},
};

/// At most one status write per object in this time.
const STATUS_PACE: Duration = Duration::from_secs(1);
/// So many times longer the warm-up is for an object whose status already speaks of its spec.
const KNOWN_FACTOR: u32 = 5;
/// How long a status waits for verdicts after a change, so that it need not be written twice.
const PATIENCE: Duration = Duration::from_secs(1);

/// What is read of an answer about an object: its spec may have more values than are decoded.
#[derive(Deserialize)]
struct Outline {
    metadata: Version,
    status: Option<Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Version {
    resource_version: Option<String>,
}

impl<O: Operator> Driver<O> {
    pub(super) async fn reconcile_object(&self, key: &ObjectKey) -> RequeueAt {
        let object = match self.objects.lookup(key) {
            Lookup::Found(object) => object,
            Lookup::Undecodable(undecodable) => return self.report_undecodable(key, &undecodable).await,
            Lookup::Absent => {
                self.clean_up_all_places(key);
                return RequeueAt::Forget;
            }
        };
        if !self.context.fleet.borrow().synced() {
            return RequeueAt::Forget; // The fleet enqueues every object once it is known.
        }
        match self.look_after(key, &object).await {
            Ok(after) => {
                self.lock_tracker().forget_refused(key);
                after
            }
            Err(error) => {
                let failure = Failure::of(&error);
                match failure.class() {
                    Class::Conflict => {
                        tracing::debug!(operator = O::NAME, object = %key, %error, "the object changed during its reconcile");
                        self.after(&failure)
                    }
                    Class::Blocked | Class::Invalid => self.report_refusal(key, &object, failure).await,
                    Class::Transient | Class::Unreachable | Class::Bug => {
                        tracing::warn!(operator = O::NAME, object = %key, %error, cause = ?error, "cannot reconcile the object");
                        self.after(&failure)
                    }
                }
            }
        }
    }

    /// The management cluster refuses what Drover writes to the object itself. Without its finalizer nothing is done, and without
    /// its status nothing can be told of it there, so an event says it; the status says it where it may be written.
    async fn report_refusal(&self, key: &ObjectKey, object: &O::Kind, failure: Failure) -> RequeueAt {
        let (failure, is_news) = self.lock_tracker().note_refused(key, object.meta(), failure);
        if is_news {
            tracing::warn!(operator = O::NAME, object = %key, reason = failure.reason(), message = %failure);
            self.context.events.refused(&Self::reference(object), &failure);
        }
        self.report_failure(key, &failure).await
    }

    async fn look_after(&self, key: &ObjectKey, object: &Arc<O::Kind>) -> Result<RequeueAt, ApiError> {
        let meta = object.meta();
        let (deleting, held) = (meta.deletion_timestamp.is_some(), Self::holds_finalizer(meta));
        if let Some(until) = self.lock_tracker().finalizers_awaited_until(key, meta) {
            return Ok(RequeueAt::At(until)); // Its watch shows them and enqueues the object.
        }
        if O::FINALIZER && !deleting && !held {
            self.set_finalizers(key, meta, |names| names.push(Self::finalizer())).await?;
            return Ok(RequeueAt::Forget);
        }
        if deleting && !held {
            // It only waits for finalizers of others. What a kind without a finalizer of ours made goes at once all the same.
            if O::FINALIZER {
                self.lock_tracker().forget(key);
            } else {
                self.clean_up_all_places(key);
            }
            return Ok(RequeueAt::Forget);
        }
        // Every object is enqueued once the related kinds are known.
        let Some(all_released) = self.place(key, object) else { return Ok(RequeueAt::Forget) };
        if !deleting {
            return self.write_status(key, object).await;
        }
        match if all_released { Patience::Over } else { self.patience(key, object) } {
            Patience::Over => {
                self.set_finalizers(key, meta, |names| names.retain(|name| *name != Self::finalizer())).await?;
                self.tell_the_end(key, object);
                Ok(RequeueAt::Forget)
            }
            Patience::Until(end) => match self.write_status(key, object).await? {
                RequeueAt::Forget => Ok(end.map_or(RequeueAt::Forget, RequeueAt::At)),
                sooner => Ok(sooner),
            },
        }
    }

    /// Enqueues the places of the object that are new or outdated, forgets those that are none any more, and says whether all
    /// are released; nothing while it cannot be told which they are.
    fn place(&self, key: &ObjectKey, object: &O::Kind) -> Option<bool> {
        let fleet = self.context.fleet.borrow().clone();
        let Targets { places, only_tried, refused } = self.targets(object, &fleet)?;
        let lives = object.meta().deletion_timestamp.is_none();
        let mut objects = self.lock_tracker();
        let (tracked, changed) = objects.note(key, object);
        let left = tracked.statuses.leave(&places);
        if O::REDUCES && !left.is_empty() && places.contains(&Place::Management) {
            self.queue.push(Task::AtPlace(key.clone(), Place::Management));
        }
        for left in left {
            self.queue.push(Task::AtPlace(key.clone(), left)); // There it may have left something.
        }
        tracked.statuses.note_choice(only_tried, refused);
        for place in places {
            if changed || tracked.statuses.get(&place).is_none() {
                let entry = tracked.statuses.ensure(&place);
                // A cluster that is being deleted is no target of what stays: it is looked at, and counts only if something turns up.
                if lives && fleet.is_deleting(&place) {
                    entry.state = PlaceState::Released;
                }
                self.queue.push(Task::AtPlace(key.clone(), place));
            }
        }
        Some(tracked.statuses.all_released())
    }

    /// The object is gone, or going without a finalizer of ours: what it may have left at its places is cleaned up there.
    fn clean_up_all_places(&self, key: &ObjectKey) {
        let mut objects = self.lock_tracker();
        let places = objects.get(key).map(|tracked| tracked.statuses.places().cloned().collect::<Vec<_>>());
        objects.forget(key);
        for place in places.into_iter().flatten() {
            self.queue.push(Task::AtPlace(key.clone(), place));
        }
    }

    async fn write_status(&self, key: &ObjectKey, object: &Arc<O::Kind>) -> Result<RequeueAt, ApiError> {
        let now = Instant::now();
        let statuses = {
            let mut objects = self.lock_tracker();
            let Some(tracked) = objects.get(key) else { return Ok(RequeueAt::Forget) };
            if let Some((at, version)) = &tracked.written {
                // A status from before our own last write would be written twice; the watch shows it and enqueues the object, unless
                // the server was restored from a backup that knows nothing of it.
                let stale = revision(object.meta().resource_version.as_deref()) < revision(version.as_deref());
                if stale && now < *at + SHOWN_WITHIN {
                    return Ok(RequeueAt::At(*at + SHOWN_WITHIN));
                }
                if now < *at + STATUS_PACE {
                    return Ok(RequeueAt::At(*at + STATUS_PACE));
                }
            }
            // A restart must not replace what is known by "no verdict yet" because verdicts take long.
            let observed =
                object.status().is_some_and(|status| Some(status.observed_generation()) == object.meta().generation);
            let warm_up = self.context.settings.warm_up * if observed { KNOWN_FACTOR } else { 1 };
            let patient_until = (tracked.pending_since + PATIENCE).max(self.started + warm_up);
            if tracked.statuses.any_pending() && now < patient_until {
                return Ok(RequeueAt::At(patient_until));
            }
            tracked.statuses.clone()
        };
        let wall_clock = clock::now();
        let previous = object.status();
        let generation = object.meta().generation.unwrap_or_default();
        let fresh = finish(previous, O::summarise(object, &statuses, wall_clock), generation, wall_clock);
        if previous == Some(&fresh) {
            return Ok(RequeueAt::Forget);
        }
        let written = self.patch_status(key, object.meta(), &to_json(&fresh)).await?;
        if let Some(tracked) = self.lock_tracker().get(key) {
            tracked.written = Some((now, written.resource_version));
        }
        self.tell_transitions(key, object, previous, &fresh);
        Ok(RequeueAt::Forget)
    }

    /// The status of what is gone is not written any more, but its last word is worth an event.
    fn tell_the_end(&self, key: &ObjectKey, object: &O::Kind) {
        let Some(statuses) = self.lock_tracker().get(key).map(|tracked| tracked.statuses.clone()) else { return };
        let fresh = O::summarise(object, &statuses, clock::now());
        if !self.abandon_unreleased(key, object, &statuses, &fresh) {
            self.tell_transitions(key, object, object.status(), &fresh);
        }
    }

    fn tell_transitions(&self, key: &ObjectKey, object: &O::Kind, previous: Option<&StatusOf<O>>, fresh: &StatusOf<O>) {
        let before = previous.map(StatusConditions::conditions).unwrap_or_default();
        let news = match self.lock_tracker().get(key) {
            Some(tracked) => tracked.told.news(before, fresh.conditions()),
            None => return,
        };
        let changed: Vec<_> =
            news.into_iter().map(|condition| Changed { condition, cause: cause_of::<O>(condition) }).collect();
        self.context.events.changed(&Self::reference(object), &changed, fresh.first_cluster());
    }

    /// An object that does not decode is reported on itself and otherwise left as it is: unknown, not gone.
    async fn report_undecodable(&self, key: &ObjectKey, undecodable: &Undecodable) -> RequeueAt {
        let message = legible(&undecodable.error, MESSAGE_LIMIT);
        let conditions = ready_conditions(State::False, StatusCause::InvalidObject, &message, Activity::Stalled);
        match self.report_conditions(key, &undecodable.meta, conditions).await {
            Ok(()) => RequeueAt::Forget,
            Err(error) => self.after(&Failure::of(&error)),
        }
    }

    /// The reconcile of the object as a whole failed, so the failure is written here if it can be.
    pub(super) async fn report_failure(&self, key: &ObjectKey, failure: &Failure) -> RequeueAt {
        let Some(object) = self.objects.get(key) else { return RequeueAt::Forget };
        let conditions = ready_conditions(State::False, failure.cause, &failure.message, failure.cause.into());
        if let Err(error) = self.report_conditions(key, object.meta(), conditions).await {
            tracing::debug!(operator = O::NAME, object = %key, %error, cause = ?error, "cannot report a failure");
        }
        self.after(failure)
    }

    async fn report_conditions(
        &self,
        key: &ObjectKey,
        meta: &ObjectMeta,
        conditions: Vec<Condition>,
    ) -> Result<(), ApiError> {
        let what = format!("get {} {key}", O::Kind::kind(&()));
        let asked = self.request_for(key).get(&key.name, &GetParams::default());
        let live = match self.ask(what, asked).await {
            Err(error) if error.code() == Some(404) => return Ok(()),
            live => live?,
        };
        let conditions_of = |status: &Value| serde_json::from_value(status.get("conditions")?.clone()).ok();
        let before: Vec<Condition> = live.status.as_ref().and_then(conditions_of).unwrap_or_default();
        let fresh = finish(
            Some(&BareStatus { conditions: before.clone() }),
            BareStatus { conditions },
            meta.generation.unwrap_or_default(),
            clock::now(),
        );
        if fresh.conditions == before {
            return Ok(());
        }
        // With the rest of the status as it is: an apply takes away what the same manager leaves out.
        let mut status = live.status.unwrap_or_else(|| json!({}));
        if let Some(fields) = status.as_object_mut() {
            fields.insert("observedGeneration".to_owned(), json!(meta.generation));
            fields.insert("conditions".to_owned(), json!(fresh.conditions));
        }
        self.patch_status(key, meta, &status).await.map(|_| ())
    }

    async fn patch_status(&self, key: &ObjectKey, meta: &ObjectMeta, status: &Value) -> Result<Version, ApiError> {
        let kind = O::Kind::kind(&());
        let patch = Patch::Apply(json!({
            "apiVersion": O::Kind::api_version(&()), "kind": kind,
            "metadata": {"name": key.name, "uid": meta.uid}, "status": status,
        }));
        let params = PatchParams::apply(&field_manager::<O>()).force();
        let asked = self.request_for(key).patch_subresource("status", &key.name, &params, &patch);
        let written = self.ask(format!("write the status of {kind} {key}"), asked).await?;
        self.context.meters.status_written(O::NAME);
        Ok(written.metadata)
    }

    fn request_for(&self, key: &ObjectKey) -> Request {
        Request::new(api::<O::Kind>(self.context.management.client(), key).resource_url())
    }

    async fn ask(&self, what: String, asked: Result<http::Request<Vec<u8>>, BuildError>) -> Result<Outline, ApiError> {
        let client = self.context.management.client();
        request(what, async { client.request(asked.map_err(kube::Error::BuildRequest)?).await }).await
    }

    async fn set_finalizers(
        &self,
        key: &ObjectKey,
        meta: &ObjectMeta,
        change: impl FnOnce(&mut Vec<String>),
    ) -> Result<(), ApiError> {
        let mut finalizers = meta.finalizers.clone().unwrap_or_default();
        change(&mut finalizers);
        // The resource version makes this a compare-and-swap: finalizers of others are neither lost nor brought back.
        let patch = json!({"metadata": {"resourceVersion": meta.resource_version, "finalizers": finalizers}});
        let params = PatchParams { field_manager: Some(field_manager::<O>()), ..PatchParams::default() };
        let what = format!("set the finalizers of {} {key}", O::Kind::kind(&()));
        let objects = api::<O::Kind>(self.context.management.client(), key);
        match request(what, objects.patch(&key.name, &params, &Patch::Merge(&patch))).await {
            Err(error) if error.code() != Some(404) => Err(error),
            _ => {
                self.lock_tracker().note_finalizers(key, meta);
                Ok(())
            }
        }
    }

    pub(super) fn finalizer() -> String {
        crate::operator::finalizer::<O>()
    }

    pub(super) fn holds_finalizer(meta: &ObjectMeta) -> bool {
        meta.finalizers.as_ref().is_some_and(|names| names.contains(&Self::finalizer()))
    }
}

/// The cause of a condition. What an object says of itself as a whole is in the tables of every kind first, what it says of a part
/// in its own.
fn cause_of<O: Operator>(condition: &Condition) -> Option<Cause> {
    let (own, every_kind) = (O::CAUSES.iter(), RUNTIME_CAUSES.iter());
    let is_of_the_whole = [READY, STALLED].contains(&condition.type_.as_str());
    let tables: Vec<_> =
        if is_of_the_whole { every_kind.chain(own).collect() } else { own.chain(every_kind).collect() };
    tables.into_iter().copied().flatten().find(|cause| cause.reason() == condition.reason).copied()
}

/// The fields of any status that the runtime itself reads.
#[derive(Clone, Debug, Default)]
struct BareStatus {
    conditions: Vec<Condition>,
}

impl StatusConditions for BareStatus {
    fn conditions(&self) -> &[Condition] {
        &self.conditions
    }

    fn conditions_mut(&mut self) -> &mut Vec<Condition> {
        &mut self.conditions
    }

    fn observed_generation(&self) -> i64 {
        0
    }

    fn set_observed_generation(&mut self, _: i64) {}
}
