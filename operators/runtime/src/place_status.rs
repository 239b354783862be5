//! What every place says of one object, and the count that all kinds that fan out share.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    cause::{Cause, StatusCause},
    error::Failure,
    place::Place,
    status::{Activity, State},
};

/// How one place stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PlaceState {
    /// No verdict yet, neither since the start nor since the object changed.
    Pending,
    /// Looked at and decided. What is known is current.
    Current,
    /// The last reconcile ended with an error.
    Failed(Failure),
    /// Looked at and decided, and some of what was to be done was refused. What is known is current.
    Refused(Vec<Refusal>),
    /// The cluster cannot be reached. What is known is stale, not gone.
    Unreachable(Failure),
    /// The cluster is suspended: it is looked at, nothing is written.
    Suspended,
    /// `clean_up` found nothing of the object here, as the object is being deleted or the Cluster is: it counts as no target. A
    /// place that the object does not select any more, or of an object that is gone, has no entry at all.
    Released,
}

/// An action that was refused; what is independent of it was done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The namespace that the action is about; none if it is about the whole place.
    pub namespace: Option<String>,
    /// Why.
    pub failure: Failure,
}

/// One place of one object.
#[derive(Clone, Debug, PartialEq)]
pub struct PlaceEntry<P> {
    /// What the last successful decision said, if there was one since the start.
    pub known: Option<P>,
    /// How it stands now.
    pub state: PlaceState,
}

/// All places of one object.
#[derive(Clone, Debug, PartialEq)]
pub struct PlaceStatuses<P> {
    places: BTreeMap<Place, PlaceEntry<P>>,
    /// Places that a deletion does not wait for where it is not let in.
    only_tried: BTreeSet<Place>,
    refused: usize,
}

impl<P> Default for PlaceStatuses<P> {
    fn default() -> Self {
        Self { places: BTreeMap::new(), only_tried: BTreeSet::new(), refused: 0 }
    }
}

impl<P> FromIterator<(Place, PlaceEntry<P>)> for PlaceStatuses<P> {
    fn from_iter<I: IntoIterator<Item = (Place, PlaceEntry<P>)>>(entries: I) -> Self {
        Self { places: entries.into_iter().collect(), ..Self::default() }
    }
}

impl<P> PlaceStatuses<P> {
    /// The same, with so many clusters beside them that are selected and do not admit the object.
    #[must_use]
    pub fn with_refused(mut self, count: usize) -> Self {
        self.refused = count;
        self
    }

    /// Clusters that the object selects, and that are no places of it as their owners do not admit it.
    #[must_use]
    pub fn refused(&self) -> i64 {
        i64::try_from(self.refused).unwrap_or(i64::MAX)
    }

    /// The same without the management cluster, for a kind that is judged there as a whole, and at clusters in part.
    #[must_use]
    pub fn of_clusters(&self) -> Self
    where
        P: Clone,
    {
        let mut clusters = self.clone();
        clusters.places.retain(|place, _| *place != Place::Management);
        clusters
    }

    /// The places in a fixed order.
    pub fn iter(&self) -> impl Iterator<Item = (&Place, &PlaceEntry<P>)> {
        self.places.iter()
    }

    /// One place.
    #[must_use]
    pub fn get(&self, place: &Place) -> Option<&PlaceEntry<P>> {
        self.places.get(place)
    }

    /// Whether any place has no verdict yet.
    #[must_use]
    pub fn any_pending(&self) -> bool {
        self.places.values().any(|entry| entry.state == PlaceState::Pending)
    }

    /// Whether a deletion waits for no place any more.
    #[must_use]
    pub fn all_released(&self) -> bool {
        self.waited_for().next().is_none()
    }

    /// The places that a deletion waits for. Where nothing was ever seen of the object, one try is enough.
    pub fn waited_for(&self) -> impl Iterator<Item = (&Place, &PlaceEntry<P>)> {
        let was_tried = |entry: &PlaceEntry<P>| {
            entry.known.is_none() && matches!(entry.state, PlaceState::Failed(_) | PlaceState::Unreachable(_))
        };
        self.places.iter().filter(move |(place, entry)| {
            entry.state != PlaceState::Released && !(self.only_tried.contains(*place) && was_tried(entry))
        })
    }

    pub(crate) fn places(&self) -> impl Iterator<Item = &Place> {
        self.places.keys()
    }

    pub(crate) fn get_mut(&mut self, place: &Place) -> Option<&mut PlaceEntry<P>> {
        self.places.get_mut(place)
    }

    pub(crate) fn ensure(&mut self, place: &Place) -> &mut PlaceEntry<P> {
        self.places.entry(place.clone()).or_insert(PlaceEntry { known: None, state: PlaceState::Pending })
    }

    /// Forgets a place, and says whether it was known.
    pub(crate) fn remove(&mut self, place: &Place) -> bool {
        self.places.remove(place).is_some()
    }

    /// Forgets the places that are not wanted any more, and says which.
    pub(crate) fn leave(&mut self, wanted: &BTreeSet<Place>) -> Vec<Place> {
        let left: Vec<_> = self.places.keys().filter(|place| !wanted.contains(*place)).cloned().collect();
        self.places.retain(|place, _| wanted.contains(place));
        left
    }

    pub(crate) fn note_choice(&mut self, only_tried: BTreeSet<Place>, refused: usize) {
        (self.only_tried, self.refused) = (only_tried, refused);
    }

    pub(crate) fn outdate(&mut self) {
        self.places.values_mut().for_each(|entry| entry.state = PlaceState::Pending);
    }
}

/// How many places stand how, for a kind that fans out over clusters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// All targets. Where nothing is left to do for good there is none.
    pub total: i64,
    /// Reachable and as wanted.
    pub ready: i64,
    /// Not reachable.
    pub unreachable: i64,
    /// Without a verdict, or still being converged.
    pub progressing: i64,
    /// Reachable and not as wanted.
    pub failed: i64,
    /// Whether any place was ever looked at since the start.
    pub ever_reached: bool,
    /// Selected, and no targets as their owners do not admit the object.
    pub refused: i64,
}

impl Tally {
    /// Counts the places; `is_ready` judges what one says when it is reachable and its last reconcile went well.
    pub fn of<P>(statuses: &PlaceStatuses<P>, is_ready: impl Fn(&P) -> Outcome) -> Self {
        let mut tally = Self { refused: statuses.refused(), ..Self::default() };
        for (_, entry) in statuses.iter().filter(|(_, entry)| entry.state != PlaceState::Released) {
            tally.total += 1;
            tally.ever_reached |= entry.known.is_some();
            match (&entry.state, entry.known.as_ref().map(&is_ready)) {
                (PlaceState::Unreachable(_), _) => tally.unreachable += 1,
                (PlaceState::Failed(_) | PlaceState::Refused(_) | PlaceState::Suspended, _)
                | (PlaceState::Current, Some(Outcome::Failed)) => tally.failed += 1,
                (PlaceState::Current, Some(Outcome::Ready)) => tally.ready += 1,
                (PlaceState::Pending | PlaceState::Current | PlaceState::Released, _) => tally.progressing += 1,
            }
        }
        tally
    }

    /// `ready/total`, as print columns show it.
    #[must_use]
    pub fn summary(&self) -> String {
        format!("{}/{}", self.ready, self.total)
    }
}

/// `Ready` before it becomes a condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Readiness {
    /// Value.
    pub state: State,
    /// Why.
    pub cause: Cause,
    /// Message.
    pub message: String,
    /// Whether it is still moving.
    pub activity: Activity,
}

impl Readiness {
    /// Ready.
    #[must_use]
    pub fn yes(cause: impl Into<Cause>, message: String) -> Self {
        Self { state: State::True, cause: cause.into(), message, activity: Activity::Settled }
    }

    /// Not ready; stalled if the cause needs action, else still moving.
    #[must_use]
    pub fn no(cause: impl Into<Cause>, message: String) -> Self {
        let cause = cause.into();
        Self { state: State::False, cause, message, activity: cause.into() }
    }
}

impl Tally {
    /// What the count says of the whole, as long as no place has a problem of its own to tell.
    ///
    /// A fleet in which one cluster is always away must still be able to be Ready: unreachable clusters are said in the
    /// reason. `was_ready` says whether the same spec was Ready before, which a restart must not forget.
    #[must_use]
    pub fn readiness(&self, was_ready: bool) -> Readiness {
        let summary = self.summary();
        if self.total == 0 {
            let message = if self.refused == 0 {
                "no cluster is selected; check spec.clusters and the labels of the Clusters".to_owned()
            } else {
                format!("{} selected clusters do not admit it; see the condition ClustersAllowed", self.refused)
            };
            Readiness::no(StatusCause::NoTargets, message)
        } else if self.failed > 0 {
            Readiness::no(StatusCause::Failed, format!("{summary} clusters are as wanted, {} failed", self.failed))
        } else if self.progressing > 0 {
            Readiness::no(StatusCause::Progressing, format!("{summary} clusters are as wanted"))
        } else if self.unreachable == 0 {
            Readiness::yes(StatusCause::Ready, format!("{summary} clusters are as wanted"))
        } else if self.ready > 0 || self.ever_reached || was_ready {
            Readiness::yes(
                StatusCause::ReadyExceptUnreachable,
                format!("{summary} clusters are as wanted, the others cannot be worked on"),
            )
        } else {
            Readiness::no(StatusCause::Unreachable, "no selected cluster was ever reached".into())
        }
    }
}

/// What one reachable place amounts to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// As wanted.
    Ready,
    /// On its way.
    Progressing,
    /// Something is in the way.
    Failed,
}
