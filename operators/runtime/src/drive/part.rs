//! The pass of one object at one place: observe, plan, act.

use std::{collections::hash_map::Entry, sync::Arc, time::Duration};

use drover_crds::{Cluster, DeletionPolicy};
use k8s_openapi::jiff::Timestamp;
use kube::Resource;
use tokio::time::Instant;

use super::{Attached, Driver};
use crate::{
    cache::{Health, ObjectKey},
    clock,
    error::{Class, Failure},
    operator::{Next, Operator, Plan, Wake, Watches, owner_of},
    parts::Standing,
    place::{Link, Place, Site, leaving},
    queue::After,
    task::Task,
};

/// A view that the server refuses for longer than this is worth a word in the status.
const STALE_LIMIT: Duration = Duration::from_secs(10);
/// Whether a cluster can be reached is for its probe to say, which takes its time; only a view that stays broken although
/// the cluster counts as connected is worth a word then.
const UNREACHED_LIMIT: Duration = Duration::from_mins(2);
/// Our own writes show up in the cache within this time; if not, look again.
const SETTLE_PAUSE: Duration = Duration::from_secs(1);
/// So many failures in a row of what often passes by itself are told.
const TOLD_FROM: u32 = 3;
/// Verdicts of many places within this time cost one object pass.
const GATHER: Duration = Duration::from_millis(20);

impl<O: Operator> Driver<O> {
    #[tracing::instrument(level = "debug", name = "pass", skip_all, fields(operator = O::NAME, object = %key, place = %place))]
    pub(super) async fn pass_part(self: &Arc<Self>, key: &ObjectKey, place: &Place) -> After {
        let Some(object) = self.objects.get(key) else { return After::Forget };
        if O::FINALIZER && !Self::holds_finalizer(object.meta()) {
            return After::Forget; // The object pass sets it first, or the object is only waiting for others.
        }
        let site = match self.site(&object, place) {
            Ok(site) => site,
            Err(Absence::Elsewhere) => {
                self.forget_part(key, place);
                return After::Forget;
            }
            Err(Absence::NotNow(standing)) => {
                self.record(key, place, None, standing);
                return After::Forget; // The fleet wakes us when the link changes.
            }
        };
        if let Err(after) = self.attach(key, &site) {
            return after;
        }
        if !site.cache.settled(&owner_of::<O>(&object)) {
            return After::At(Instant::now() + SETTLE_PAUSE);
        }
        self.converge(key, &object, &site).await
    }

    async fn converge(&self, key: &ObjectKey, object: &Arc<O::Kind>, site: &Site) -> After {
        let world = match self.operator.observe(object, site).await {
            Ok(world) => world,
            Err(error) => return self.record_failure(key, &site.place, Failure::of(&error)),
        };
        let Plan { part, actions, next } = O::plan(object, &world, clock::now());
        if site.suspended() && !actions.is_empty() {
            self.record(key, &site.place, Some(part), Standing::Suspended);
            return After::Forget;
        }
        if actions.is_empty() {
            self.forget_failures(key, &site.place);
            let standing = if next == Next::Released { Standing::Released } else { Standing::Current };
            self.record(key, &site.place, Some(part), standing);
            return match next {
                Next::Watch | Next::Released => After::Forget,
                Next::At(at) => After::At(Instant::now() + until(at).min(self.context.settings.resync_interval)),
            };
        }
        // After a failure the next attempt is no news until it went well, or the status would change with every attempt.
        if !self.has_failed(key, &site.place) {
            self.record(key, &site.place, Some(part.clone()), Standing::Current);
        }
        if let Err(failure) = self.act(key, object, site, actions).await {
            return self.record_failure(key, &site.place, failure);
        }
        self.forget_failures(key, &site.place);
        self.record(key, &site.place, Some(part), Standing::Current);
        // What we did shows up in a watch, which wakes us; what was seen already wakes nobody, hence the second look.
        After::At(Instant::now() + SETTLE_PAUSE)
    }

    /// Does the actions in their order, up to the first failure that holds up the rest. Returns the first one.
    async fn act(
        &self,
        key: &ObjectKey,
        object: &O::Kind,
        site: &Site,
        actions: Vec<O::Action>,
    ) -> Result<(), Failure> {
        let mut outcome = Ok(());
        for action in actions {
            if !self.still_holds(site) {
                return outcome; // What is left is decided anew: the change of the Cluster wakes this key.
            }
            let holds_up = O::holds_up(&action);
            tracing::info!(operator = O::NAME, object = %key, place = %site.place, ?action, "acting");
            if let Err(error) = self.operator.act(object, site, action).await {
                let failure = Failure::of(&error);
                if holds_up || !failure.class().is_about_one_thing() {
                    return Err(failure);
                }
                outcome = outcome.and(Err(failure));
            }
        }
        outcome
    }

    /// Whether what was decided at `site` may still be done: over the connection that was observed, to a Cluster that exists
    /// and may be written to as before.
    fn still_holds(&self, site: &Site) -> bool {
        let Place::Cluster(name) = &site.place else { return true };
        self.context.fleet.borrow().get(name).is_some_and(|view| {
            let is_same = matches!(&view.link, Link::Connected(cache) if Arc::ptr_eq(cache, &site.cache));
            is_same && keeps(&view.object) == site.suspended()
        })
    }

    fn site(&self, object: &O::Kind, place: &Place) -> Result<Site, Absence> {
        let fleet = self.context.fleet.borrow().clone();
        if !O::places(object, &fleet).contains(place) {
            return Err(Absence::Elsewhere);
        }
        let Place::Cluster(name) = place else {
            let cache = Arc::clone(&self.context.management);
            return Ok(Site { place: place.clone(), cluster: None, fleet, cache });
        };
        // Named without a look at the fleet, which does not know it yet.
        let Some(view) = fleet.get(name) else { return Err(Absence::NotNow(Standing::Pending)) };
        match &view.link {
            Link::Connecting => Err(Absence::NotNow(Standing::Pending)),
            Link::Disconnected(failure) => Err(Absence::NotNow(Standing::Unreachable(failure.clone()))),
            Link::Connected(cache) => {
                let (cluster, cache) = (Some(Arc::clone(&view.object)), Arc::clone(cache));
                Ok(Site { place: place.clone(), cluster, fleet: fleet.clone(), cache })
            }
        }
    }

    /// Makes sure that what the operator reads at this place is followed; a decision on a stale view is not made.
    fn attach(self: &Arc<Self>, key: &ObjectKey, site: &Site) -> Result<(), After> {
        let (health, stale_for) = {
            let mut attached = self.lock_attached();
            let known = match attached.entry(site.place.clone()) {
                Entry::Occupied(known) if std::ptr::eq(known.get().cache.as_ptr(), Arc::as_ptr(&site.cache)) => {
                    known.into_mut()
                }
                Entry::Occupied(mut outdated) => {
                    outdated.insert(self.watch(site));
                    outdated.into_mut()
                }
                Entry::Vacant(vacant) => vacant.insert(self.watch(site)),
            };
            let Some(health) = known.worst_health() else {
                known.stale_since = None;
                return Ok(());
            };
            (health, known.stale_since.get_or_insert_with(Instant::now).elapsed())
        };
        if let Health::Broken(failure) = health
            && stale_for >= stale_limit(&failure)
        {
            self.tell_failure(key, &site.place, failure);
        }
        Err(After::At(Instant::now() + STALE_LIMIT)) // Becoming live wakes every key of this place.
    }

    fn watch(self: &Arc<Self>, site: &Site) -> Attached {
        let (queue, place) = (Arc::downgrade(&self.queue), site.place.clone());
        let mut watches = Watches::<O>::new(site, Wake::new(queue, place.clone()));
        O::watches(&mut watches);
        let followed = watches.into_followed();
        if place != Place::Management {
            let this = Arc::downgrade(self);
            site.cache.on_health(move || {
                if let Some(driver) = this.upgrade() {
                    driver.wake_place(&place);
                }
            });
        }
        Attached { cache: Arc::downgrade(&site.cache), followed, stale_since: None }
    }

    /// What often passes by itself is told from the third failure in a row; until then the last verdict stands.
    pub(super) fn record_failure(&self, key: &ObjectKey, place: &Place, failure: Failure) -> After {
        let after = self.after(&failure);
        if failure.class().doubts_the_connection() {
            self.hint_probe(place);
        }
        let failures = self.lock_board().get(key).map_or(0, |tracked| tracked.count_failure(place));
        if failure.class().often_passes() && failures < TOLD_FROM {
            tracing::debug!(operator = O::NAME, object = %key, %place, reason = failure.reason(), message = %failure);
        } else {
            self.tell_failure(key, place, failure);
        }
        after
    }

    fn tell_failure(&self, key: &ObjectKey, place: &Place, failure: Failure) {
        if self.is_done_with(key, place) {
            return; // The credential may go before the Cluster does, which is no news to those who hold nothing there.
        }
        if failure.class() == Class::Unreachable {
            return self.record(key, place, None, Standing::Unreachable(failure));
        }
        tracing::warn!(operator = O::NAME, object = %key, %place, reason = failure.reason(), message = %failure);
        self.record(key, place, None, Standing::Failed(failure));
    }

    /// A request that failed is a hint, not a verdict: it brings the next probe of the cluster forward.
    fn hint_probe(&self, place: &Place) {
        let Place::Cluster(name) = place else { return };
        if let Some(Link::Connected(cache)) = self.context.fleet.borrow().get(name).map(|view| &view.link) {
            cache.doubt();
        }
    }

    fn record(&self, key: &ObjectKey, place: &Place, known: Option<O::Part>, standing: Standing) {
        let changed = self.lock_board().get(key).is_some_and(|tracked| tracked.record(place, known, standing));
        if changed {
            self.queue.push_at(Task::Object(key.clone()), Instant::now() + GATHER);
        }
    }

    fn forget_failures(&self, key: &ObjectKey, place: &Place) {
        if let Some(tracked) = self.lock_board().get(key) {
            tracked.forget_failures(place);
        }
    }

    /// Whether the object holds nothing that is known of in a cluster that is being deleted.
    fn is_done_with(&self, key: &ObjectKey, place: &Place) -> bool {
        let leaving = self.context.fleet.borrow().is_leaving(place);
        let mut board = self.lock_board();
        let entry = board.get(key).and_then(|tracked| tracked.parts.get(place));
        leaving && entry.is_some_and(|entry| entry.standing == Standing::Released)
    }

    fn has_failed(&self, key: &ObjectKey, place: &Place) -> bool {
        let failed = |standing: &Standing| matches!(standing, Standing::Failed(_) | Standing::Unreachable(_));
        let mut board = self.lock_board();
        board.get(key).and_then(|tracked| tracked.parts.get(place)).is_some_and(|entry| failed(&entry.standing))
    }

    fn forget_part(&self, key: &ObjectKey, place: &Place) {
        if let Some(tracked) = self.lock_board().get(key) {
            tracked.parts.remove(place);
        }
        self.queue.push(Task::Object(key.clone()));
    }
}

impl Attached {
    /// The health of the first view that is not live; none if all are.
    fn worst_health(&self) -> Option<Health> {
        self.followed.iter().map(|view| view.health()).find(|health| *health != Health::Live)
    }
}

fn stale_limit(failure: &Failure) -> Duration {
    match failure.class() {
        Class::Transient | Class::Unreachable => UNREACHED_LIMIT,
        Class::Conflict | Class::Blocked | Class::Invalid | Class::Bug => STALE_LIMIT,
    }
}

/// Why there is no site to work at.
enum Absence {
    /// The object has nothing to do with this place (any more).
    Elsewhere,
    /// Not at the moment.
    NotNow(Standing),
}

impl Site {
    /// Whether nobody may write here. A Cluster that goes with `Orphan` leaves everything as it is.
    fn suspended(&self) -> bool {
        self.cluster.as_deref().is_some_and(keeps)
    }
}

fn keeps(cluster: &Cluster) -> bool {
    cluster.spec.suspend || leaving(cluster) == Some(DeletionPolicy::Orphan)
}

fn until(at: Timestamp) -> Duration {
    Duration::try_from(at.duration_since(clock::now())).unwrap_or_default()
}
