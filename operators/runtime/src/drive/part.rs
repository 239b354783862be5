//! The pass of one object at one place: observe, plan, act.

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

use super::{Attached, Driver};
use crate::{
    cache::{Followed, Health, Lookup, ObjectKey},
    clock,
    error::{Class, Failure},
    operator::{Next, Operator, Owner, Plan, Wake, Watches, record_of},
    parts::Standing,
    place::{FleetView, Link, Place, Site, leaving},
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
    #[tracing::instrument(level = "debug", name = "reconcile", skip_all, fields(operator = O::NAME, object = %key, place = %place))]
    pub(super) async fn pass_part(self: &Arc<Self>, key: &ObjectKey, place: &Place) -> After {
        let object = match self.objects.lookup(key) {
            Lookup::Found(object) => Some(object),
            Lookup::Undecodable(_) => return After::Forget,
            Lookup::Absent if self.objects.health() == Health::Live => None,
            Lookup::Absent => return After::At(Instant::now() + STALE_LIMIT), // Unknown is not gone.
        };
        if let Some(object) = &object
            && O::FINALIZER
            && !Self::holds_finalizer(object.meta())
        {
            return After::Forget; // The object pass sets it first, or the object is only waiting for others.
        }
        let owner = object.as_deref().map_or(Owner::Gone(key), Owner::of);
        let fleet = self.context.fleet.borrow().clone();
        let is_target = owner.object().is_some_and(|object| O::targets(object, &fleet).places.contains(place));
        if !is_target {
            self.forget_part(key, place, owner);
        }
        let site = match self.site(place, fleet) {
            Ok(site) => site,
            Err(standing) => {
                if is_target {
                    self.record(key, place, None, standing);
                }
                return After::Forget; // The fleet wakes us when the link changes; who left something is found then.
            }
        };
        if let Err(stale) = self.attach(&site) {
            if let Some(failure) = stale {
                self.tell_failure(key, place, failure);
            }
            return After::At(Instant::now() + STALE_LIMIT); // Becoming live wakes every key of this place.
        }
        if !site.cache.settled(&record_of::<O>(key.clone())) {
            return After::At(Instant::now() + SETTLE_PAUSE);
        }
        self.converge(key, owner, is_target, &site).await
    }

    /// Looks who left something behind at a place, also where no object has anything to do any more.
    pub(super) fn pass_place(self: &Arc<Self>, place: &Place) -> After {
        let fleet = self.context.fleet.borrow().clone();
        let Ok(site) = self.site(place, fleet) else { return After::Forget }; // The fleet wakes us when it connects.
        match self.attach(&site) {
            Ok(()) => After::Forget,
            Err(_) => After::At(Instant::now() + STALE_LIMIT), // Becoming live wakes us as well.
        }
    }

    async fn converge(&self, key: &ObjectKey, owner: Owner<'_, O::Kind>, is_target: bool, site: &Site) -> After {
        let world = match self.operator.observe(owner, site).await {
            Ok(world) => world,
            Err(error) => return self.record_failure(key, &site.place, Failure::of(&error)),
        };
        let plan = match owner {
            Owner::Present(object) if is_target && !site.fleet.is_leaving(&site.place) => {
                O::plan(object, &world, clock::now())
            }
            owner => O::clean_up(owner, &world, clock::now()),
        };
        let is_idle = plan.is_idle();
        let Plan { part, groups, next } = plan;
        if site.suspended() && !is_idle {
            self.record(key, &site.place, Some(part), Standing::Suspended);
            return After::Forget;
        }
        if is_idle {
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
        if let Err(failure) = self.act(key, owner, site, groups).await {
            return self.record_failure(key, &site.place, failure);
        }
        self.forget_failures(key, &site.place);
        self.record(key, &site.place, Some(part), Standing::Current);
        // What we did shows up in a watch, which wakes us; what was seen already wakes nobody, hence the second look.
        After::At(Instant::now() + SETTLE_PAUSE)
    }

    /// Does the actions group by group. A failure ends its group, and everything if it is about the whole server. Returns the
    /// first one.
    async fn act(
        &self,
        key: &ObjectKey,
        owner: Owner<'_, O::Kind>,
        site: &Site,
        groups: Vec<Vec<O::Action>>,
    ) -> Result<(), Failure> {
        let mut outcome = Ok(());
        for group in groups {
            for action in group {
                if !self.still_holds(site) {
                    return outcome; // What is left is decided anew: the change of the Cluster wakes this key.
                }
                tracing::info!(operator = O::NAME, object = %key, place = %site.place, ?action, "acting");
                if let Err(error) = self.operator.act(owner, site, action).await {
                    let failure = Failure::of(&error);
                    if !failure.class().is_about_one_thing() {
                        return Err(failure);
                    }
                    outcome = outcome.and(Err(failure));
                    break;
                }
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

    /// The place as it can be worked on now, or how it stands.
    fn site(&self, place: &Place, fleet: FleetView) -> Result<Site, Standing> {
        let management = Arc::clone(&self.context.management);
        let (cluster, cache) = match place {
            Place::Management => (None, Arc::clone(&management)),
            Place::Cluster(name) => {
                // Named without a look at the fleet, which does not know it yet.
                let Some(view) = fleet.get(name) else { return Err(Standing::Pending) };
                match &view.link {
                    Link::Connecting => return Err(Standing::Pending),
                    Link::Disconnected(failure) => return Err(Standing::Unreachable(failure.clone())),
                    Link::Connected(cache) => (Some(Arc::clone(&view.object)), Arc::clone(cache)),
                }
            }
        };
        Ok(Site { place: place.clone(), cluster, fleet, cache, management })
    }

    /// Makes sure that what the operator reads at this place is followed; a decision on a stale view is not made.
    /// The error is a failure once it lasts long enough to be told.
    fn attach(self: &Arc<Self>, site: &Site) -> Result<(), Option<Failure>> {
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
            let related = self.related.get().into_iter().flatten();
            let Some(health) = worst_health(known.followed.iter().chain(related)) else {
                known.stale_since = None;
                if !mem::replace(&mut known.cleaned, true) {
                    self.wake_who_left_something(&site.place, &known.owners);
                }
                return Ok(());
            };
            (health, known.stale_since.get_or_insert_with(Instant::now).elapsed())
        };
        match health {
            Health::Broken(failure) if stale_for >= stale_limit(&failure) => Err(Some(failure)),
            Health::Broken(_) | Health::Syncing | Health::Live => Err(None),
        }
    }

    /// The place was connected. Owners that are recorded there and have nothing to do there any more, as far as the driver
    /// remembers, may have gone while nobody looked.
    fn wake_who_left_something(&self, place: &Place, recorded: &[Box<dyn Fn() -> Vec<ObjectKey> + Send + Sync>]) {
        let here: BTreeSet<ObjectKey> = self.lock_board().at(place).into_iter().collect();
        let recorded: BTreeSet<ObjectKey> = recorded.iter().flat_map(|owners| owners()).collect();
        for key in recorded.difference(&here) {
            self.queue.push(Task::Part(key.clone(), place.clone()));
        }
    }

    fn watch(self: &Arc<Self>, site: &Site) -> Attached {
        let (queue, place) = (Arc::downgrade(&self.queue), site.place.clone());
        let mut watches = Watches::<O>::new(site, Wake::new(queue, place.clone()));
        O::watches(&mut watches);
        let (followed, owners) = watches.into_parts();
        if place != Place::Management {
            let this = Arc::downgrade(self);
            site.cache.on_health(move || {
                if let Some(driver) = this.upgrade() {
                    driver.wake_place(&place);
                }
            });
        }
        Attached { cache: Arc::downgrade(&site.cache), followed, owners, cleaned: false, stale_since: None }
    }

    /// What often passes by itself is told from the third failure in a row; until then the last verdict stands.
    pub(super) fn record_failure(&self, key: &ObjectKey, place: &Place, failure: Failure) -> After {
        let after = self.after(&failure);
        if failure.class().doubts_the_connection() {
            self.hint_probe(place);
        }
        let failures = self.lock_board().get(key).map_or(TOLD_FROM, |tracked| tracked.count_failure(place));
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

    /// The place is none of the object's any more.
    fn forget_part(&self, key: &ObjectKey, place: &Place, owner: Owner<'_, O::Kind>) {
        let forgotten = self.lock_board().get(key).is_some_and(|tracked| tracked.parts.remove(place));
        if forgotten && owner.object().is_some() {
            self.queue.push(Task::Object(key.clone()));
        }
    }
}

/// The health of the first view that is not live; none if all are.
fn worst_health<'a>(mut followed: impl Iterator<Item = &'a Box<dyn Followed>>) -> Option<Health> {
    followed.find_map(|view| Some(view.health()).filter(|health| *health != Health::Live))
}

fn stale_limit(failure: &Failure) -> Duration {
    match failure.class() {
        Class::Transient | Class::Unreachable => UNREACHED_LIMIT,
        Class::Conflict | Class::Blocked | Class::Invalid | Class::Bug => STALE_LIMIT,
    }
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
