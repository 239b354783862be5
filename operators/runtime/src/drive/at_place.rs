//! The reconcile of one object at one place: observe, plan, act.

use std::{
    collections::{BTreeSet, hash_map::Entry},
    mem,
    sync::Arc,
    time::Duration,
};

use drover_crds::{Cluster, DeletionPolicy};
use k8s_openapi::jiff::Timestamp;
use kube::Resource;
use tokio::time::Instant;

use super::{Attached, Driver, object_tracker::Tracked};
use crate::{
    ApiCause,
    act::{Stop, act},
    cache::{Health, Lookup, ObjectKey},
    clock,
    error::{Class, Failure, Retry},
    operator::{Enqueuer, Operator, Owner, Plan, Requeue, Watches, record_of},
    place::{FleetView, Link, Place, PlaceContext, deletion_of},
    place_status::{PlaceState, Refusal},
    queue::RequeueAt,
    request::{Sender, Urgency},
    task::Task,
};

/// An informer that the server refuses for longer than this is reported in the status.
const STALE_LIMIT: Duration = Duration::from_secs(10);
/// Whether a cluster can be reached is for its probe to say, which takes its time; only an informer that stays broken although
/// the cluster counts as connected is reported then.
const UNREACHED_LIMIT: Duration = Duration::from_mins(2);
/// Long work is interrupted after this time and decided anew, so that the status shows how far it is.
const ACT_LIMIT: Duration = Duration::from_secs(5);
/// Our own writes show up in the cache within this time; if not, look again.
const SETTLE_PAUSE: Duration = Duration::from_secs(1);
/// From so many failures in a row on, what often goes away by itself is reported.
const REPORTED_FROM: u32 = 3;
/// What is left behind at a suspended cluster is looked at again after this time.
const LEFT_BEHIND_PAUSE: Duration = Duration::from_mins(1);
/// Verdicts of many places within this time cost one reconcile of the object.
const GATHER: Duration = Duration::from_millis(20);

impl<O: Operator> Driver<O> {
    #[tracing::instrument(level = "debug", name = "reconcile", skip_all, fields(operator = O::NAME, object = %key, place = %place))]
    pub(super) async fn reconcile_at_place(self: &Arc<Self>, key: &ObjectKey, place: &Place) -> RequeueAt {
        let object = match self.objects.lookup(key) {
            Lookup::Found(object) => Some(object),
            Lookup::Undecodable(_) => return RequeueAt::Forget,
            // Asked again, with its health first: what was absent before the list had come is unknown, not gone.
            Lookup::Absent => match self.objects.lookup_live(key) {
                Some(Lookup::Absent) => None,
                Some(Lookup::Found(object)) => Some(object),
                Some(Lookup::Undecodable(_)) => return RequeueAt::Forget,
                None => return RequeueAt::At(Instant::now() + STALE_LIMIT),
            },
        };
        if let Some(object) = &object
            && O::FINALIZER
            && !Self::holds_finalizer(object.meta())
        {
            return RequeueAt::Forget; // The reconcile of the object sets it first, or the object is only waiting for others.
        }
        let owner = object.as_deref().map_or_else(|| self.gone(key, place), Owner::of);
        let fleet = self.context.fleet.borrow().clone();
        let is_target = match owner.object().map(|object| self.targets(object, &fleet)) {
            None => false,
            Some(Some(targets)) => targets.places.contains(place),
            Some(None) => return RequeueAt::Forget, // Every object is enqueued once the related kinds are known.
        };
        if !is_target {
            self.forget_place(key, place, owner);
        }
        let context = match self.place_context(place, fleet) {
            Ok(context) => context,
            Err(state) => {
                if is_target {
                    self.record(key, place, Some(owner), None, state);
                } else {
                    self.note_left_behind(place);
                }
                // The fleet enqueues the place when the link changes; left-behind owners are found then.
                return RequeueAt::Forget;
            }
        };
        if let Err(stale) = self.attach(&context) {
            if let Some(failure) = stale {
                self.report_at_place(key, place, failure);
            }
            // Becoming live enqueues every key of this place, and finds the owners again that are gone: labels downstream can name
            // any number of those.
            return if is_target { RequeueAt::At(Instant::now() + STALE_LIMIT) } else { RequeueAt::Forget };
        }
        if !context.cache.settled(&record_of::<O>(key.clone())) {
            return RequeueAt::At(Instant::now() + SETTLE_PAUSE);
        }
        self.converge(key, owner, is_target, &context).await
    }

    fn gone<'a>(&self, key: &'a ObjectKey, place: &Place) -> Owner<'a, O::Kind> {
        let is_abandoned = self.lock_abandoned().contains(&(key.clone(), place.clone()));
        if is_abandoned { Owner::Abandoned(key) } else { Owner::Gone(key) }
    }

    /// Finds the owners that left something behind at a place, also where no object has anything to do any more.
    pub(super) fn reconcile_place(self: &Arc<Self>, place: &Place) -> RequeueAt {
        let fleet = self.context.fleet.borrow().clone();
        let Ok(context) = self.place_context(place, fleet) else { return RequeueAt::Forget }; // The fleet enqueues the place when it connects.
        match self.attach(&context) {
            Ok(()) => RequeueAt::Forget,
            Err(_) => RequeueAt::At(Instant::now() + STALE_LIMIT), // Becoming live enqueues the place as well.
        }
    }

    async fn converge(
        &self,
        key: &ObjectKey,
        owner: Owner<'_, O::Kind>,
        is_target: bool,
        context: &PlaceContext,
    ) -> RequeueAt {
        let observed =
            Sender { operator: O::NAME, urgency: Urgency::Rest }.sends(self.operator.observe(owner, context));
        let mut world = match observed.await {
            Ok(world) => world,
            Err(error) => return self.record_failure(key, &context.place, Failure::of(&error)),
        };
        if O::REDUCES && context.place == Place::Management {
            let statuses = self.lock_tracker().get(key).map(|tracked| tracked.statuses.clone());
            O::reduce(&mut world, &statuses.unwrap_or_default());
        }
        let plan = match owner {
            Owner::Present(object) if is_target && !context.fleet.is_deleting(&context.place) => {
                O::plan(object, &world, clock::now())
            }
            owner => O::clean_up(owner, &world, clock::now()),
        };
        let is_idle = plan.is_idle();
        let Plan { place_status, groups, requeue } = plan;
        if context.suspended() && !is_idle {
            self.record(key, &context.place, Some(owner), Some(place_status), PlaceState::Suspended);
            // The end of the suspension enqueues those that have something to do here, and no others.
            return if is_target { RequeueAt::Forget } else { RequeueAt::At(Instant::now() + LEFT_BEHIND_PAUSE) };
        }
        if is_idle {
            self.forget_failures(key, &context.place);
            self.lock_abandoned().remove(&(key.clone(), context.place.clone()));
            let state = if requeue == Requeue::Released { PlaceState::Released } else { PlaceState::Current };
            self.record(key, &context.place, Some(owner), Some(place_status), state);
            return match requeue {
                Requeue::Watch | Requeue::Released => RequeueAt::Forget,
                Requeue::At(at) => RequeueAt::At(Instant::now() + until(at).min(self.context.settings.resync_interval)),
            };
        }
        // What failed stands until it went well, or the status would change with every attempt.
        let stands = self.failed_state(key, &context.place).unwrap_or(PlaceState::Current);
        self.record(key, &context.place, Some(owner), Some(place_status.clone()), stands);
        match self.act(key, owner, context, groups).await {
            Err(failure) => return self.record_failure(key, &context.place, failure),
            Ok(refused) if !refused.is_empty() => return self.record_refusals(key, &context.place, refused),
            Ok(_) => {}
        }
        self.forget_failures(key, &context.place);
        self.record(key, &context.place, Some(owner), Some(place_status), PlaceState::Current);
        // What we did shows up in a watch, which enqueues the key; what was seen already enqueues nothing, hence the second look.
        let pause = match requeue {
            Requeue::At(at) => until(at).min(SETTLE_PAUSE),
            Requeue::Watch | Requeue::Released => SETTLE_PAUSE,
        };
        RequeueAt::At(Instant::now() + pause)
    }

    /// Does the actions, as long as what was decided holds and for [`ACT_LIMIT`]; what is left then is decided anew. Says what was
    /// refused, unless a failure is about the whole server.
    async fn act(
        &self,
        key: &ObjectKey,
        owner: Owner<'_, O::Kind>,
        context: &PlaceContext,
        groups: Vec<Vec<O::Action>>,
    ) -> Result<Vec<Refusal>, Failure> {
        let until = Instant::now() + ACT_LIMIT;
        let one = |action: O::Action| async {
            if Instant::now() >= until || !self.still_holds(context) {
                return Err(Stop::Interrupted);
            }
            tracing::info!(operator = O::NAME, object = %key, place = %context.place, ?action, "acting");
            let sender = Sender { operator: O::NAME, urgency: O::urgency(&action) };
            let namespace = O::namespace_of(&action);
            let done = sender.sends(self.operator.act(owner, context, action)).await;
            done.map_err(|error| Stop::Refused(Refusal { namespace, failure: Failure::of(&error) }))
        };
        act(groups, one).await.refusals()
    }

    /// Whether what was decided in `context` may still be done: over the connection that was observed, to a Cluster that exists
    /// and may be written to as before.
    fn still_holds(&self, context: &PlaceContext) -> bool {
        let Place::Cluster(name) = &context.place else { return true };
        self.context.fleet.borrow().get(name).is_some_and(|view| {
            let is_same = matches!(&view.link, Link::Connected(cache) if Arc::ptr_eq(cache, &context.cache));
            let deletion = context.cluster.as_deref().and_then(deletion_of);
            is_same && keeps(&view.object) == context.suspended() && deletion_of(&view.object) == deletion
        })
    }

    /// The context of a place that can be worked on now, or the state of one that cannot.
    fn place_context(&self, place: &Place, fleet: FleetView) -> Result<PlaceContext, PlaceState> {
        let management = Arc::clone(&self.context.management);
        let (cluster, cache) = match place {
            // The fleet names the installation too, without which no object there is known as ours.
            Place::Management if !fleet.synced() => return Err(PlaceState::Pending),
            Place::Management => (None, Arc::clone(&management)),
            Place::Cluster(name) => {
                // Named without a look at the fleet, which does not know it yet.
                let Some(view) = fleet.get(name) else { return Err(PlaceState::Pending) };
                match &view.link {
                    Link::Disconnected(failure) => return Err(PlaceState::Unreachable(failure.clone())),
                    Link::Connected(cache) => (Some(Arc::clone(&view.object)), Arc::clone(cache)),
                    Link::Unclaimed(cache) if O::BEFORE_CLAIM => (Some(Arc::clone(&view.object)), Arc::clone(cache)),
                    Link::Connecting | Link::Unclaimed(_) => return Err(PlaceState::Pending),
                }
            }
        };
        Ok(PlaceContext { place: place.clone(), cluster, fleet, cache, management })
    }

    /// Makes sure that what the operator reads at this place is watched; no decision is made on a stale informer.
    /// The error is a failure once it lasts long enough to be reported.
    fn attach(self: &Arc<Self>, context: &PlaceContext) -> Result<(), Option<Failure>> {
        let (health, stale_for) = {
            let mut attached = self.lock_attached();
            let known = match attached.entry(context.place.clone()) {
                Entry::Occupied(known) if std::ptr::eq(known.get().cache.as_ptr(), Arc::as_ptr(&context.cache)) => {
                    known.into_mut()
                }
                Entry::Occupied(mut outdated) => {
                    outdated.insert(self.watch(context));
                    outdated.into_mut()
                }
                Entry::Vacant(vacant) => vacant.insert(self.watch(context)),
            };
            let related = || self.related.get().and_then(|related| related.read.holding_up());
            let Some(health) = known.informers.holding_up().or_else(related) else {
                known.stale_since = None;
                if !mem::replace(&mut known.cleaned, true) {
                    self.enqueue_left_behind(&context.place, &known.owners);
                }
                return Ok(());
            };
            (health, known.stale_since.get_or_insert_with(Instant::now).elapsed())
        };
        match health {
            Health::Broken(failure) if stale_for >= stale_limit(&failure) => Err(Some(failure)),
            Health::Syncing if stale_for >= UNREACHED_LIMIT => {
                let message = "the first list of what Drover watches there has not come to its end";
                Err(Some(Failure::new(ApiCause::Timeout, message)))
            }
            Health::Broken(_) | Health::Syncing | Health::Live => Err(None),
        }
    }

    /// The place was connected. Owners that are recorded there and have nothing to do there any more, as far as the driver
    /// remembers, may have gone while the place was not watched.
    fn enqueue_left_behind(&self, place: &Place, recorded: &[Box<dyn Fn() -> Vec<ObjectKey> + Send + Sync>]) {
        let here: BTreeSet<ObjectKey> = self.lock_tracker().at(place).into_iter().collect();
        let recorded: BTreeSet<ObjectKey> = recorded.iter().flat_map(|owners| owners()).collect();
        for key in recorded.difference(&here) {
            self.queue.push(Task::AtPlace(key.clone(), place.clone()));
        }
    }

    /// While an informer was not live, owners may have gone without a trace here.
    fn informers_changed(&self, place: &Place) {
        self.note_left_behind(place);
        self.enqueue_place(place);
    }

    /// Owners that left something behind here are looked for once more when the place can be worked on.
    fn note_left_behind(&self, place: &Place) {
        if let Some(attached) = self.lock_attached().get_mut(place) {
            attached.cleaned = false;
        }
    }

    fn watch(self: &Arc<Self>, context: &PlaceContext) -> Attached {
        let (queue, place) = (Arc::downgrade(&self.queue), context.place.clone());
        let mut watches = Watches::<O>::new(context, Enqueuer::new(queue, place.clone()));
        O::watches(&mut watches);
        let (informers, owners) = watches.into_informers_and_owners();
        if place != Place::Management {
            let this = Arc::downgrade(self);
            context.cache.on_health(move || {
                if let Some(driver) = this.upgrade() {
                    driver.informers_changed(&place);
                }
            });
        }
        Attached { cache: Arc::downgrade(&context.cache), informers, owners, cleaned: false, stale_since: None }
    }

    /// What often goes away by itself is reported from the third failure in a row; until then the last verdict stands.
    pub(super) fn record_failure(&self, key: &ObjectKey, place: &Place, failure: Failure) -> RequeueAt {
        let after = self.after(&failure);
        if failure.class().doubts_the_connection() {
            self.hint_probe(place);
        }
        let failures = self.lock_tracker().get(key).map_or(REPORTED_FROM, |tracked| tracked.count_failure(place));
        if failure.class().often_heals() && failures < REPORTED_FROM {
            tracing::debug!(operator = O::NAME, object = %key, %place, reason = failure.reason(), message = %failure);
        } else {
            self.report_at_place(key, place, failure);
        }
        after
    }

    /// Each refusal is told, and what is known beside it stays; what often heals is told from the third time in a row.
    fn record_refusals(&self, key: &ObjectKey, place: &Place, refused: Vec<Refusal>) -> RequeueAt {
        let failures = self.lock_tracker().get(key).map_or(REPORTED_FROM, |tracked| tracked.count_failure(place));
        let lasts = |refusal: &Refusal| failures >= REPORTED_FROM || !refusal.failure.class().often_heals();
        let (told, passing): (Vec<Refusal>, Vec<Refusal>) = refused.into_iter().partition(lasts);
        // What is likely to heal soonest decides when to look again; a back-off may have become longer than a minute.
        let later = told.iter().find(|refusal| refusal.failure.class().retry() == Retry::Later);
        let soonest = passing.first().or(later).or(told.first());
        let after = soonest.map_or(RequeueAt::Forget, |refusal| self.after(&refusal.failure));
        if told.is_empty() {
            tracing::debug!(operator = O::NAME, object = %key, %place, refused = ?passing, "likely to heal");
        } else {
            let before = self.failed_state(key, place);
            let told = told.into_iter().map(|refusal| {
                as_told_before(&refusal, before.as_ref()).cloned().unwrap_or_else(|| {
                    let Refusal { namespace, failure } = &refusal;
                    tracing::warn!(operator = O::NAME, object = %key, %place, namespace, reason = failure.reason(), message = %failure);
                    refusal
                })
            });
            self.record(key, place, None, None, PlaceState::Refused(told.collect()));
        }
        after
    }

    fn report_at_place(&self, key: &ObjectKey, place: &Place, failure: Failure) {
        if self.is_done_with(key, place) {
            return; // The credential may go before the Cluster does, which is no news to an object that holds nothing there.
        }
        if failure.class() == Class::Unreachable {
            return self.record(key, place, None, None, PlaceState::Unreachable(failure));
        }
        tracing::warn!(operator = O::NAME, object = %key, %place, reason = failure.reason(), message = %failure);
        self.record(key, place, None, None, PlaceState::Failed(failure));
    }

    /// A request that failed is a hint, not a verdict: it brings the next probe of the cluster forward.
    fn hint_probe(&self, place: &Place) {
        let Place::Cluster(name) = place else { return };
        if let Some(Link::Connected(cache)) = self.context.fleet.borrow().get(name).map(|view| &view.link) {
            cache.doubt();
        }
    }

    /// Records how a place stands, as it was judged for `owner`: a judgement of another generation says nothing of this one.
    fn record(
        &self,
        key: &ObjectKey,
        place: &Place,
        owner: Option<Owner<'_, O::Kind>>,
        known: Option<O::PlaceStatus>,
        state: PlaceState,
    ) {
        let judged = owner.and_then(Owner::object);
        let changed = self.lock_tracker().get(key).is_some_and(|tracked| {
            judged.is_none_or(|object| tracked.is_about(object.meta())) && tracked.record(place, known, state)
        });
        if changed {
            self.queue.push_at(Task::Object(key.clone()), Instant::now() + GATHER);
            self.enqueue_reduction(key, place);
        }
    }

    /// What a cluster says counts at the management cluster, for an operator that puts it together there.
    fn enqueue_reduction(&self, key: &ObjectKey, changed: &Place) {
        let is_reduced = |tracked: &mut Tracked<O>| tracked.statuses.get(&Place::Management).is_some();
        if O::REDUCES && *changed != Place::Management && self.lock_tracker().get(key).is_some_and(is_reduced) {
            self.queue.push_at(Task::AtPlace(key.clone(), Place::Management), Instant::now() + GATHER);
        }
    }

    fn forget_failures(&self, key: &ObjectKey, place: &Place) {
        if let Some(tracked) = self.lock_tracker().get(key) {
            tracked.forget_failures(place);
        }
    }

    /// Whether the object holds nothing that is known of in a cluster that is being deleted.
    fn is_done_with(&self, key: &ObjectKey, place: &Place) -> bool {
        let deleting = self.context.fleet.borrow().is_deleting(place);
        let mut objects = self.lock_tracker();
        let entry = objects.get(key).and_then(|tracked| tracked.statuses.get(place));
        deleting && entry.is_some_and(|entry| entry.state == PlaceState::Released)
    }

    /// How the place stands, if something failed there.
    fn failed_state(&self, key: &ObjectKey, place: &Place) -> Option<PlaceState> {
        let mut objects = self.lock_tracker();
        let state = &objects.get(key)?.statuses.get(place)?.state;
        let failed = matches!(state, PlaceState::Failed(_) | PlaceState::Refused(_) | PlaceState::Unreachable(_));
        failed.then(|| state.clone())
    }

    /// The place is none of the object's any more.
    fn forget_place(&self, key: &ObjectKey, place: &Place, owner: Owner<'_, O::Kind>) {
        let forgotten = self.lock_tracker().get(key).is_some_and(|tracked| tracked.statuses.remove(place));
        if forgotten && owner.object().is_some() {
            self.queue.push(Task::Object(key.clone()));
            self.enqueue_reduction(key, place);
        }
    }
}

/// The same refusal as it was told first, or the words of whoever refuses would change the status with every attempt.
fn as_told_before<'a>(refusal: &Refusal, state: Option<&'a PlaceState>) -> Option<&'a Refusal> {
    let Some(PlaceState::Refused(before)) = state else { return None };
    before.iter().find(|old| old.namespace == refusal.namespace && old.failure.is_like(&refusal.failure))
}

fn stale_limit(failure: &Failure) -> Duration {
    match failure.class() {
        Class::Transient | Class::Unreachable => UNREACHED_LIMIT,
        Class::Conflict | Class::Blocked | Class::Invalid | Class::Bug => STALE_LIMIT,
    }
}

impl PlaceContext {
    /// Whether nothing may be written here. A Cluster that is deleted with `Orphan` keeps everything as it is.
    fn suspended(&self) -> bool {
        self.cluster.as_deref().is_some_and(keeps)
    }
}

fn keeps(cluster: &Cluster) -> bool {
    cluster.spec.suspend || deletion_of(cluster) == Some(DeletionPolicy::Orphan)
}

fn until(at: Timestamp) -> Duration {
    Duration::try_from(at.duration_since(clock::now())).unwrap_or_default()
}
