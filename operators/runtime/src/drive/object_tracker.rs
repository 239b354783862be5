//! What the driver remembers of every object while it runs. All of it can be found out again after a restart.

use std::collections::{BTreeMap, HashMap};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use tokio::time::Instant;

use crate::{
    cache::{ObjectKey, SHOWN_WITHIN},
    error::Failure,
    operator::Operator,
    place::Place,
    place_status::{PlaceEntry, PlaceState, PlaceStatuses},
    status::Told,
};

/// All objects of one operator.
pub(super) struct ObjectTracker<O: Operator> {
    tracked: HashMap<ObjectKey, Tracked<O>>,
    /// When finalizers were written, and from which object; it may not be tracked yet, or no more.
    finalizers: HashMap<ObjectKey, (Instant, Revision)>,
    /// What the management cluster refuses to write to an object, as it was told first, with the UID.
    refused: HashMap<ObjectKey, (Option<String>, Failure)>,
}

/// UID and resource version.
type Revision = (Option<String>, Option<String>);

fn revision_of(meta: &ObjectMeta) -> Revision {
    (meta.uid.clone(), meta.resource_version.clone())
}

impl<O: Operator> Default for ObjectTracker<O> {
    fn default() -> Self {
        Self { tracked: HashMap::new(), finalizers: HashMap::new(), refused: HashMap::new() }
    }
}

/// One object.
pub(super) struct Tracked<O: Operator> {
    identity: Identity,
    pub(super) statuses: PlaceStatuses<O::PlaceStatus>,
    /// Since when some place has no verdict.
    pub(super) pending_since: Instant,
    /// How many reconciles failed in a row, by place.
    failures: BTreeMap<Place, u32>,
    /// The last status write: when, and the resource version that it made.
    pub(super) written: Option<(Instant, Option<String>)>,
    /// What events told of it.
    pub(super) told: Told,
}

/// What makes an object another one for its places. A status change is none.
#[derive(Debug, Default, PartialEq)]
struct Identity {
    uid: Option<String>,
    generation: Option<i64>,
    labels: Option<std::collections::BTreeMap<String, String>>,
    annotations: Option<std::collections::BTreeMap<String, String>>,
    finalizers: Option<Vec<String>>,
    deleting: bool,
}

impl Identity {
    fn of(meta: &ObjectMeta) -> Self {
        Self {
            uid: meta.uid.clone(),
            generation: meta.generation,
            labels: meta.labels.clone(),
            annotations: meta.annotations.clone(),
            finalizers: meta.finalizers.clone(),
            deleting: meta.deletion_timestamp.is_some(),
        }
    }
}

impl<O: Operator> ObjectTracker<O> {
    pub(super) fn forget(&mut self, key: &ObjectKey) {
        self.tracked.remove(key);
        self.finalizers.remove(key);
        self.refused.remove(key);
    }

    /// Notes that the management cluster refuses to write the object; returns this as it was told first, and whether that is news.
    pub(super) fn note_refused(&mut self, key: &ObjectKey, meta: &ObjectMeta, failure: Failure) -> (Failure, bool) {
        let told = self.refused.get(key).filter(|(uid, told)| *uid == meta.uid && told.is_like(&failure));
        if let Some((_, told)) = told {
            return (told.clone(), false);
        }
        self.refused.insert(key.clone(), (meta.uid.clone(), failure.clone()));
        (failure, true)
    }

    /// The object was written.
    pub(super) fn forget_refused(&mut self, key: &ObjectKey) {
        self.refused.remove(key);
    }

    /// Notes that the finalizers of the object were changed from what `meta` shows.
    pub(super) fn note_finalizers(&mut self, key: &ObjectKey, meta: &ObjectMeta) {
        self.finalizers.insert(key.clone(), (Instant::now(), revision_of(meta)));
    }

    /// Until when a change of finalizers is waited for that `meta` does not show yet. A server that was restored from a backup knows
    /// nothing of it.
    pub(super) fn finalizers_awaited_until(&mut self, key: &ObjectKey, meta: &ObjectMeta) -> Option<Instant> {
        let (at, from) = self.finalizers.get(key)?;
        let until = *at + SHOWN_WITHIN;
        let is_awaited = *from == revision_of(meta) && Instant::now() < until;
        if !is_awaited {
            self.finalizers.remove(key);
        }
        is_awaited.then_some(until)
    }

    pub(super) fn get(&mut self, key: &ObjectKey) -> Option<&mut Tracked<O>> {
        self.tracked.get_mut(key)
    }

    /// The objects that have work at `place`.
    pub(super) fn at(&self, place: &Place) -> Vec<ObjectKey> {
        let here = self.tracked.iter().filter(|(_, tracked)| tracked.statuses.get(place).is_some());
        here.map(|(key, _)| key.clone()).collect()
    }

    /// Every object at every place.
    pub(super) fn places(&self) -> Vec<(ObjectKey, Place)> {
        let pairs = |(key, tracked): (&ObjectKey, &Tracked<O>)| {
            tracked.statuses.places().map(|place| (key.clone(), place.clone())).collect::<Vec<_>>()
        };
        self.tracked.iter().flat_map(pairs).collect()
    }

    /// Notes the object as it is now, and says whether its places have to be looked at anew.
    pub(super) fn note(&mut self, key: &ObjectKey, object: &O::Kind) -> (&mut Tracked<O>, bool) {
        let identity = Identity::of(object.meta());
        let tracked = self.tracked.entry(key.clone()).or_insert_with(|| Tracked::new(Identity::default()));
        if tracked.identity.uid != identity.uid {
            *tracked = Tracked::new(Identity::default());
        }
        let changed = tracked.identity != identity;
        if changed {
            tracked.identity = identity;
            tracked.statuses.outdate();
            tracked.pending_since = Instant::now();
        }
        (tracked, changed)
    }
}

impl<O: Operator> Tracked<O> {
    fn new(identity: Identity) -> Self {
        Self {
            identity,
            statuses: PlaceStatuses::default(),
            pending_since: Instant::now(),
            failures: BTreeMap::new(),
            written: None,
            told: Told::default(),
        }
    }

    /// Whether it is the object with this metadata, of this generation.
    pub(super) fn is_about(&self, meta: &ObjectMeta) -> bool {
        let deleting = meta.deletion_timestamp.is_some();
        let Identity { uid, generation, deleting: is_deleting, .. } = &self.identity;
        (uid, generation, *is_deleting) == (&meta.uid, &meta.generation, deleting)
    }

    /// Counts one more failure in a row at a place, and says how many there are.
    pub(super) fn count_failure(&mut self, place: &Place) -> u32 {
        let failures = self.failures.entry(place.clone()).or_default();
        *failures = failures.saturating_add(1);
        *failures
    }

    /// A reconcile at a place went well.
    pub(super) fn forget_failures(&mut self, place: &Place) {
        self.failures.remove(place);
    }

    /// Records how a place stands, and says whether that differs from before. What is no place of the object is not recorded.
    pub(super) fn record(&mut self, place: &Place, known: Option<O::PlaceStatus>, state: PlaceState) -> bool {
        let Some(entry) = self.statuses.get_mut(place) else { return false };
        let known = known.or_else(|| entry.known.clone());
        let fresh = PlaceEntry { known, state };
        let changed = *entry != fresh;
        *entry = fresh;
        changed
    }
}
