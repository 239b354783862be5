//! Drives one operator: takes due keys off the queue and runs their reconciles, each in a task of its own.
//!
//! Two kinds of reconcile share the queue. [`Task::Object`] looks after an object as a whole: finalizer, places, status.
//! [`Task::AtPlace`] converges one object at one place. A reconcile that panics or hangs ends alone.

mod at_place;
mod deletion;
mod object;
mod object_tracker;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeSet, HashMap},
    panic::AssertUnwindSafe,
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak},
    time::Duration,
};

use futures::FutureExt;
use k8s_openapi::{api::core::v1::ObjectReference, jiff::SignedDuration};
use kube::Resource;
use tokio::{
    sync::{Semaphore, watch},
    task::JoinSet,
    time::{Instant, sleep, timeout},
};

use crate::{
    cache::{AnyInformer, Cache, Health, Informer, ObjectKey},
    cause::StatusCause,
    clock,
    error::{Failure, Retry},
    events::EventSink,
    metrics::Meters,
    operator::{Concerns, Informers, Inputs, Operator, Related, RelatedInformers},
    place::{FleetView, Place, Targets},
    queue::{Queue, RequeueAt},
    task::Task,
};
use object_tracker::ObjectTracker;

/// Bounds of one operator's work.
#[derive(Clone, Debug)]
pub struct DriveSettings {
    /// Reconciles at a time, in total.
    pub workers: usize,
    /// Reconciles at a time at one place.
    pub workers_per_place: usize,
    /// After a start, how long a status waits for the first verdict of every place.
    pub warm_up: Duration,
    /// The longest time until an object that waits for something is looked at again, though nothing told of a change.
    pub resync_interval: Duration,
}

const WARM_UP: Duration = Duration::from_mins(1);
const RESYNC_INTERVAL: Duration = Duration::from_mins(10);

impl Default for DriveSettings {
    fn default() -> Self {
        Self { workers: 64, workers_per_place: 8, warm_up: WARM_UP, resync_interval: RESYNC_INTERVAL }
    }
}

/// What waits for a change that no watch need show is looked at again after this time.
const LOOK_AGAIN: Duration = Duration::from_mins(1);
/// A reconcile that takes longer has lost its way: every single request in it has a limit of its own.
const RECONCILE_LIMIT: Duration = Duration::from_mins(2);
const RECONCILE_TIMEOUT: &str = "Drover ended the reconcile after 2 minutes; check whether the cluster answers slowly";
/// A reconcile that takes longer waits for a slow place: it still counts there, but no longer as one of the workers, or a few
/// slow places would hold up all others.
const WORKER_LIMIT: Duration = Duration::from_secs(2);

/// What is due by the wall clock is late by this at most after the clock was set …
const CLOCK_CHECK: Duration = Duration::from_mins(1);
/// … by more than this.
const CLOCK_STEP: Duration = Duration::from_secs(1);

/// What the driver needs from outside.
pub struct Context {
    /// The cache of the management cluster.
    pub management: Arc<Cache>,
    /// The fleet, as it changes.
    pub fleet: watch::Receiver<FleetView>,
    /// Where transitions are published.
    pub events: EventSink,
    /// Where reconciles are counted.
    pub meters: Meters,
    /// Bounds.
    pub settings: DriveSettings,
}

/// Drives one operator.
pub struct Driver<O: Operator> {
    operator: O,
    objects: Informer<O::Kind>,
    queue: Arc<Queue<Task>>,
    tracker: Mutex<ObjectTracker<O>>,
    /// Where deletions ended without a clean-up.
    abandoned: Mutex<BTreeSet<(ObjectKey, Place)>>,
    attached: Mutex<HashMap<Place, Attached>>,
    /// What the operator reads of other kinds.
    related: OnceLock<RelatedInformers>,
    started: Instant,
    context: Context,
}

/// The watches of one connection to a place.
struct Attached {
    /// Weak: a connection that the fleet dropped must not be kept open by its watches.
    cache: Weak<Cache>,
    informers: Informers,
    /// Who is recorded on what is owned there.
    owners: Vec<Box<dyn Fn() -> Vec<ObjectKey> + Send + Sync>>,
    /// Whether those were reconciled who may have left something behind.
    cleaned: bool,
    stale_since: Option<Instant>,
}

impl<O: Operator> Driver<O> {
    /// A driver that does nothing yet.
    #[must_use]
    pub fn new(operator: O, objects: Informer<O::Kind>, context: Context) -> Arc<Self> {
        let queue = Arc::new(Queue::new(context.settings.workers_per_place));
        Arc::new(Self {
            operator,
            objects,
            queue,
            tracker: Mutex::default(),
            abandoned: Mutex::default(),
            attached: Mutex::default(),
            related: OnceLock::new(),
            started: Instant::now(),
            context,
        })
    }

    /// Runs until the process ends or the future is dropped, which ends all its reconciles.
    pub async fn run(self: Arc<Self>) {
        self.watch_objects();
        self.watch_related();
        let mut tasks = JoinSet::new();
        tasks.spawn(Arc::clone(&self).watch_fleet());
        tasks.spawn(Arc::clone(&self).watch_clock());
        let workers = Arc::new(Semaphore::new(self.context.settings.workers));
        loop {
            let Ok(worker) = Arc::clone(&workers).acquire_owned().await else { return };
            let task = self.queue.next().await;
            while tasks.try_join_next().is_some() {}
            let this = Arc::clone(&self);
            tasks.spawn(async move {
                let mut reconcile = pin!(this.run_task(task));
                if timeout(WORKER_LIMIT, &mut reconcile).await.is_err() {
                    drop(worker);
                    reconcile.await;
                }
            });
        }
    }

    async fn run_task(self: &Arc<Self>, task: Task) {
        let started = Instant::now();
        let reconcile = async {
            match &task {
                Task::Object(key) => self.reconcile_object(key).await,
                Task::AtPlace(key, place) => self.reconcile_at_place(key, place).await,
                Task::Place(place) => self.reconcile_place(place),
            }
        };
        let caught = AssertUnwindSafe(timeout(RECONCILE_LIMIT, reconcile)).catch_unwind().await;
        let (after, outcome) = match caught {
            Ok(Ok(after)) => (after, if after == RequeueAt::Retry { "error" } else { "ok" }),
            Ok(Err(_)) => (self.failed(&task, StatusCause::ReconcileTimeout, RECONCILE_TIMEOUT).await, "timeout"),
            Err(_) => {
                self.context.meters.panicked(O::NAME);
                let message = "a defect in Drover ended this reconcile; see its log";
                (self.failed(&task, StatusCause::InternalError, message).await, "panic")
            }
        };
        self.context.meters.reconciled(O::NAME, outcome, started.elapsed());
        self.context.meters.queue(O::NAME, self.queue.len(), self.queue.backing_off());
        self.queue.done(task, after);
    }

    async fn failed(&self, task: &Task, cause: StatusCause, message: &str) -> RequeueAt {
        tracing::error!(operator = O::NAME, ?task, reason = cause.reason(), message);
        let failure = Failure::new(cause, message);
        match task {
            Task::Object(key) => self.report_failure(key, &failure).await,
            Task::AtPlace(key, place) => self.record_failure(key, place, failure),
            Task::Place(_) => self.after(&failure),
        }
    }

    /// Any change of an object enqueues its reconcile as a whole, which finds out what it means for the places.
    fn watch_objects(self: &Arc<Self>) {
        let queue = Arc::downgrade(&self.queue);
        self.objects.subscribe(move |change| {
            if let Some(queue) = queue.upgrade() {
                queue.push(Task::Object(change.key.clone()));
            }
        });
        let this = Arc::downgrade(self);
        self.context.management.on_health(move || {
            if let Some(driver) = this.upgrade() {
                driver.enqueue_place(&Place::Management);
                driver.enqueue_if_related_is_known();
            }
        });
    }

    fn watch_related(self: &Arc<Self>) {
        let this = Arc::downgrade(self);
        let everywhere = move |key: ObjectKey, what| {
            if let Some(driver) = this.upgrade() {
                driver.enqueue_everywhere(&key, what);
            }
        };
        let mut related = Related::new(&self.context.management, Arc::new(everywhere));
        O::related(&mut related);
        let _ = self.related.set(related.into_informers());
    }

    /// A cluster that came, went or changed enqueues what is placed there; a changed choice enqueues every object.
    async fn watch_fleet(self: Arc<Self>) {
        let mut fleet = self.context.fleet.clone();
        let mut before = FleetView::default();
        loop {
            let now = fleet.borrow_and_update().clone();
            let change = before.change(&now);
            // Every cluster is enqueued when it connects; the management cluster, when it is known what the fleet is.
            if now.synced() && !before.synced() {
                self.queue.push(Task::Place(Place::Management));
            }
            let namespaces: BTreeSet<String> = change.namespaces.into_iter().collect();
            self.enqueue_all(|key| change.choice || namespaces.contains(&key.namespace));
            if change.reach {
                self.enqueue_deleting();
            }
            for cluster in change.links {
                let place = Place::Cluster(cluster);
                self.enqueue_place(&place);
                self.queue.push(Task::Place(place));
            }
            before = now;
            self.lock_attached().retain(|_, attached| attached.cache.strong_count() > 0);
            if fleet.changed().await.is_err() {
                return;
            }
        }
    }

    /// Whoever waits for a time of the wall clock waits by the monotonic one, which knows nothing of a wall clock that is set.
    async fn watch_clock(self: Arc<Self>) {
        let mut before = (clock::now(), Instant::now());
        loop {
            sleep(CLOCK_CHECK).await;
            let now = (clock::now(), Instant::now());
            let by_the_wall = now.0.duration_since(before.0);
            let passed = SignedDuration::try_from(now.1 - before.1).unwrap_or(SignedDuration::MAX);
            if by_the_wall.saturating_sub(passed).unsigned_abs() >= CLOCK_STEP {
                tracing::info!(operator = O::NAME, "the wall clock changed; reconciling every object");
                self.enqueue_all(|_| true);
            }
            before = now;
        }
    }

    /// Enqueues every object that `chosen` picks, as a whole and at each of its places.
    fn enqueue_all(&self, chosen: impl Fn(&ObjectKey) -> bool) {
        let known = self.lock_tracker().places();
        for (key, place) in known.into_iter().filter(|(key, _)| chosen(key)) {
            self.queue.push(Task::AtPlace(key, place));
        }
        for key in self.objects.keys().into_iter().filter(chosen) {
            self.queue.push(Task::Object(key));
        }
    }

    /// Enqueues every object that is being deleted: where it has to be released may have changed.
    fn enqueue_deleting(&self) {
        for object in self.objects.filter(|object| object.meta().deletion_timestamp.is_some()) {
            self.queue.push(Task::Object(ObjectKey::of(object.meta())));
        }
    }

    /// Decisions wait for the related kinds: once all of them are live, every object is reconciled.
    fn enqueue_if_related_is_known(&self) {
        let Some(related) = self.related.get().filter(|related| !related.read.required.is_empty()) else { return };
        if related.read.holding_up().is_none() {
            self.enqueue_all(|_| true);
        }
    }

    /// Where an object is reconciled; unknown until the kinds on which that depends are.
    fn targets(&self, object: &O::Kind, fleet: &FleetView) -> Option<Targets> {
        let are_known = self.related.get().is_some_and(|related| all_live(&related.placing));
        are_known.then(|| O::targets(object, &Inputs::new(fleet, &self.context.management)))
    }

    fn enqueue_everywhere(&self, key: &ObjectKey, what: Concerns) {
        if what == Concerns::Places {
            self.queue.push(Task::Object(key.clone()));
        }
        let places = self.lock_tracker().get(key).map(|tracked| tracked.statuses.places().cloned().collect::<Vec<_>>());
        for place in places.into_iter().flatten() {
            self.queue.push(Task::AtPlace(key.clone(), place));
        }
    }

    fn enqueue_place(&self, place: &Place) {
        let keys = self.lock_tracker().at(place);
        for key in keys {
            self.queue.push(Task::AtPlace(key, place.clone()));
        }
        if self.lock_attached().get(place).is_some_and(|attached| !attached.cleaned) {
            self.queue.push(Task::Place(place.clone()));
        }
    }

    fn after(&self, failure: &Failure) -> RequeueAt {
        match failure.class().retry() {
            Retry::BackOff => RequeueAt::Retry,
            Retry::AtOnce => RequeueAt::Conflict,
            Retry::Later => RequeueAt::At(Instant::now() + LOOK_AGAIN.min(self.context.settings.resync_interval)),
        }
    }

    fn lock_tracker(&self) -> MutexGuard<'_, ObjectTracker<O>> {
        self.tracker.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_abandoned(&self) -> MutexGuard<'_, BTreeSet<(ObjectKey, Place)>> {
        self.abandoned.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_attached(&self) -> MutexGuard<'_, HashMap<Place, Attached>> {
        self.attached.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn reference(object: &O::Kind) -> ObjectReference {
        object.object_ref(&())
    }
}

fn all_live(informers: &[Box<dyn AnyInformer>]) -> bool {
    informers.iter().all(|informer| informer.health() == Health::Live)
}
