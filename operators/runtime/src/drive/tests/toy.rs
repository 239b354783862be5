//! A toy operator: every place of a toy needs one thing to be made. What goes wrong is said by the toy or by the stage.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use drover_crds::condition::{READY, StatusConditions};
use k8s_openapi::{
    apimachinery::pkg::apis::meta::v1::Condition,
    jiff::{SignedDuration, Timestamp},
};
use kube::CustomResource;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::{
    Cause, Class, Classify, ClusterView, FleetView, Inputs, LabelQuery, Link, ObjectKey, Operator, Owner, OwnerRecord,
    Place, PlaceContext, PlaceState, PlaceStatuses, Plan, Related, Requeue, Rights, StatusCause, Targets, Watches,
    operator::record_of, status::condition, testing::MockServer,
};

#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[kube(group = "test.drover.dev", version = "v1", kind = "Toy", status = "ToyStatus", schema = "disabled")]
pub(super) struct ToySpec {
    /// Its clusters; none means the management cluster.
    #[serde(default)]
    pub(super) clusters: Vec<String>,
    /// Names its clusters whether the fleet knows them or not.
    #[serde(default)]
    insists: bool,
    /// Is placed wherever can be reached.
    #[serde(default)]
    where_reached: bool,
    #[serde(default)]
    pub(super) panics_in: Option<Step>,
    /// Toys that a change of this one concerns.
    #[serde(default)]
    concerns: Vec<String>,
    /// Toys that are wherever this one is.
    #[serde(default)]
    followers: Vec<String>,
    /// Is wherever the toy of this name is.
    #[serde(default)]
    follows: Option<String>,
    /// Is in the management cluster too, where it counts the clusters that have it.
    #[serde(default)]
    counts: bool,
    /// Makes its thing in so many groups of one action each.
    #[serde(default)]
    pub(super) groups: usize,
    /// Makes its thing in so many actions.
    #[serde(default)]
    pub(super) steps: usize,
    /// Its deletion waits for so many seconds.
    #[serde(default)]
    patient_for: Option<u64>,
    /// Its deletion tries these clusters as well.
    #[serde(default)]
    tries: Vec<String>,
    /// Asks to be looked at again after so many seconds.
    #[serde(default)]
    again_in: Option<i64>,
    /// The same in milliseconds, while there is something to do.
    #[serde(default)]
    soon_in: Option<i64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) enum Step {
    Plan,
    Act,
    Summarise,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct ToyStatus {
    pub(super) observed_generation: i64,
    pub(super) conditions: Vec<Condition>,
    /// The state of every place.
    pub(super) places: BTreeMap<String, String>,
}

impl StatusConditions for ToyStatus {
    fn conditions(&self) -> &[Condition] {
        &self.conditions
    }
    fn conditions_mut(&mut self) -> &mut Vec<Condition> {
        &mut self.conditions
    }
    fn observed_generation(&self) -> i64 {
        self.observed_generation
    }
    fn set_observed_generation(&mut self, generation: i64) {
        self.observed_generation = generation;
    }
}

/// An act that was done.
#[derive(Clone, Debug)]
pub(super) struct Acted {
    pub(super) toy: String,
    pub(super) place: Place,
    pub(super) action: Action,
    /// The finalizers that the toy had on the server at that time.
    pub(super) finalizers: Vec<String>,
}

/// The world outside, as tests set it up and look at it.
pub(super) struct Stage {
    server: MockServer,
    state: Mutex<StageState>,
}

#[derive(Default)]
struct StageState {
    things: BTreeSet<(String, Place)>,
    /// Made, and not to be seen yet.
    hidden: bool,
    reading: u64,
    act_takes: Duration,
    faults: HashMap<String, Class>,
    first_faults: HashMap<String, Class>,
    acts_of_this_reconcile: usize,
    hanging: BTreeSet<Place>,
    reconciles: Vec<(Instant, String, Place)>,
    acted: Vec<Acted>,
}

impl Stage {
    pub(super) fn new(server: MockServer) -> Arc<Self> {
        Arc::new(Self { server, state: Mutex::default() })
    }

    /// From now on acts for this toy fail in this way.
    pub(super) fn fail(&self, toy: &str, class: Class) {
        self.lock().faults.insert(toy.to_owned(), class);
    }

    pub(super) fn heal(&self, toy: &str) {
        self.lock().faults.remove(toy);
    }

    /// From now on every reconcile at this place hangs.
    pub(super) fn hang(&self, place: Place) {
        self.lock().hanging.insert(place);
    }

    /// What was made for this toy before the driver began.
    pub(super) fn made_before(&self, toy: &str, place: Place) {
        self.lock().things.insert((toy.to_owned(), place));
    }

    /// From now on the first act of this toy in each reconcile fails in this way.
    pub(super) fn fail_first(&self, toy: &str, class: Class) {
        self.lock().first_faults.insert(toy.to_owned(), class);
    }

    /// Another client removes what was made of this toy.
    pub(super) fn unmake(&self, toy: &str) {
        self.lock().things.retain(|(name, _)| name != toy);
    }

    /// What is made now cannot be seen until it is revealed.
    pub(super) fn hide(&self, hidden: bool) {
        self.lock().hidden = hidden;
    }

    /// What every place reads and tells.
    pub(super) fn read(&self, reading: u64) {
        self.lock().reading = reading;
    }

    pub(super) fn act_takes(&self, time: Duration) {
        self.lock().act_takes = time;
    }

    /// When this toy was looked at.
    pub(super) fn reconciles(&self, toy: &str) -> Vec<Instant> {
        self.lock().reconciles.iter().filter(|(_, name, _)| name == toy).map(|(at, ..)| *at).collect()
    }

    /// Which toys were looked at since `then`.
    pub(super) fn looked_at_since(&self, then: Instant) -> BTreeSet<String> {
        self.lock().reconciles.iter().filter(|(at, ..)| *at > then).map(|(_, toy, _)| toy.clone()).collect()
    }

    pub(super) fn acted(&self, toy: &str) -> Vec<Acted> {
        self.lock().acted.iter().filter(|acted| acted.toy == toy).cloned().collect()
    }

    pub(super) fn has_thing(&self, toy: &str, place: &Place) -> bool {
        self.lock().things.contains(&(toy.to_owned(), place.clone()))
    }

    fn lock(&self) -> MutexGuard<'_, StageState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(super) struct ToyOperator(pub(super) Arc<Stage>);

pub(super) struct World {
    counted: Option<u64>,
    made: bool,
    reading: u64,
    sees_nothing: bool,
}

/// What toys cannot do without at clusters.
pub(super) fn needed() -> LabelQuery {
    LabelQuery::has("needed")
}

/// What toys read in the management cluster where they may.
pub(super) fn asked() -> LabelQuery {
    LabelQuery::has("asked")
}

/// What toys watch at clusters where they may.
pub(super) fn owned() -> LabelQuery {
    OwnerRecord::query("Toy")
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Action {
    Make,
    Remove,
    /// Removes what a deletion did not wait for.
    GiveUp,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct PlaceStatus {
    made: bool,
    reading: u64,
    sees_nothing: bool,
}

#[derive(Debug)]
pub(super) struct Fault(Class);

impl fmt::Display for Fault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.0.as_str())
    }
}

impl Classify for Fault {
    fn cause(&self) -> Cause {
        Cause::new(self.0.as_str(), self.0, "A toy fails.", "")
    }
}

impl Operator for ToyOperator {
    const NAME: &'static str = "toy";
    const CAUSES: &'static [&'static [Cause]] = &[];
    const FINALIZER: bool = true;
    const REDUCES: bool = true;
    const RIGHTS: Rights = Rights::NONE;
    type Kind = Toy;
    type World = World;
    type Action = Action;
    type PlaceStatus = PlaceStatus;
    type Error = Fault;

    fn related(related: &mut Related<'_>) {
        related.on::<Toy>(|change| {
            let concerned = change.sides().flat_map(|toy| &toy.spec.concerns);
            concerned.map(|name| ObjectKey::cluster_scoped(name)).collect()
        });
        related.placing::<Toy>(|change| {
            let followers = change.sides().flat_map(|toy| &toy.spec.followers);
            followers.map(|name| ObjectKey::cluster_scoped(name)).collect()
        });
        related.optional::<Toy>(&asked(), |_| Vec::new());
    }

    fn targets(toy: &Toy, inputs: &Inputs<'_>) -> Targets {
        let fleet = inputs.fleet;
        if let Some(leader) = &toy.spec.follows {
            let leader = inputs.related::<Toy>().get(&ObjectKey::cluster_scoped(leader));
            return leader.map(|leader| places(&leader, fleet).into()).unwrap_or_default();
        }
        let only_tried: BTreeSet<Place> = match toy.metadata.deletion_timestamp {
            Some(_) => toy.spec.tries.iter().map(|name| Place::cluster(name)).collect(),
            None => BTreeSet::new(),
        };
        let places = places(toy, fleet).union(&only_tried).cloned().collect();
        Targets { places, only_tried, refused: 0 }
    }

    fn deletion_timeout(toy: &Toy) -> Option<Duration> {
        toy.spec.patient_for.map(Duration::from_secs)
    }

    fn watches(watches: &mut Watches<'_, Self>) {
        if watches.context().place != Place::Management {
            watches.on::<Toy>(&needed(), |_, _| ());
        }
        watches.optional(Watches::owned::<Toy>);
    }

    async fn observe(&self, owner: Owner<'_, Toy>, place: &PlaceContext) -> Result<World, Fault> {
        let hangs = {
            let mut state = self.0.lock();
            state.acts_of_this_reconcile = 0;
            state.reconciles.push((Instant::now(), owner.key().name, place.place.clone()));
            state.hanging.contains(&place.place)
        };
        if hangs {
            std::future::pending::<()>().await;
        }
        let state = self.0.lock();
        let made = !state.hidden && state.things.contains(&(owner.key().name, place.place.clone()));
        let is_elsewhere = place.place != Place::Management;
        let sees_nothing = is_elsewhere && place.cache.informer::<Toy>(&owned()).refusal().is_some();
        Ok(World { counted: None, made, reading: state.reading, sees_nothing })
    }

    fn reduce(world: &mut World, statuses: &PlaceStatuses<PlaceStatus>) {
        let clusters = statuses.iter().filter(|(place, _)| **place != Place::Management);
        let has_it = |known: &PlaceStatus| known.made;
        let made: Vec<bool> = clusters.map(|(_, entry)| entry.known.as_ref().is_some_and(has_it)).collect();
        world.counted = (!made.is_empty()).then(|| made.into_iter().map(u64::from).sum());
    }

    fn plan(toy: &Toy, world: &World, now: Timestamp) -> Plan<Self> {
        assert!(toy.spec.panics_in != Some(Step::Plan), "as asked for");
        let reading = world.counted.unwrap_or(world.reading);
        let place_status = PlaceStatus { made: world.made, reading, sees_nothing: world.sees_nothing };
        let actions = if world.made { Vec::new() } else { vec![Action::Make; toy.spec.steps.max(1)] };
        let groups = vec![actions; toy.spec.groups.max(1)];
        let soon = toy.spec.soon_in.filter(|_| !world.made).map(SignedDuration::from_millis);
        let again = soon.or(toy.spec.again_in.map(SignedDuration::from_secs));
        let again = again.map_or(Requeue::Watch, |pause| Requeue::At(now + pause));
        Plan { place_status, groups, requeue: again }
    }

    fn clean_up(owner: Owner<'_, Toy>, world: &World, _: Timestamp) -> Plan<Self> {
        let panics = |toy: &Toy| toy.spec.panics_in == Some(Step::Plan);
        assert!(!owner.object().is_some_and(panics), "as asked for");
        let place_status = PlaceStatus { made: world.made, reading: world.reading, sees_nothing: world.sees_nothing };
        let action = if matches!(owner, Owner::Abandoned(_)) { Action::GiveUp } else { Action::Remove };
        let actions = if world.made && !world.sees_nothing { vec![action] } else { Vec::new() };
        Plan { place_status, groups: vec![actions], requeue: Requeue::Released }
    }

    async fn act(&self, owner: Owner<'_, Toy>, place: &PlaceContext, action: Action) -> Result<(), Fault> {
        let panics = |toy: &Toy| toy.spec.panics_in == Some(Step::Act);
        assert!(!owner.object().is_some_and(panics), "as asked for");
        let takes = self.0.lock().act_takes;
        tokio::time::sleep(takes).await;
        let name = owner.key().name;
        let finalizers = self.0.server.finalizers(&name);
        let mut state = self.0.lock();
        state.acts_of_this_reconcile += 1;
        if state.acts_of_this_reconcile == 1
            && let Some(class) = state.first_faults.get(&name)
        {
            return Err(Fault(*class));
        }
        if let Some(class) = state.faults.get(&name) {
            return Err(Fault(*class));
        }
        let thing = (name.clone(), place.place.clone());
        match action {
            Action::Make => state.things.insert(thing),
            Action::Remove | Action::GiveUp => state.things.remove(&thing),
        };
        state.acted.push(Acted { toy: name, place: place.place.clone(), action, finalizers });
        let outside = Arc::clone(&self.0);
        place.cache.expect(record_of::<Self>(owner.key()), move || !outside.lock().hidden);
        Ok(())
    }

    fn summarise(toy: &Toy, statuses: &PlaceStatuses<PlaceStatus>, _: Timestamp) -> ToyStatus {
        assert!(toy.spec.panics_in != Some(Step::Summarise), "as asked for");
        let lives = toy.metadata.deletion_timestamp.is_none();
        let counts = statuses.iter().filter(|(_, entry)| !lives || entry.state != PlaceState::Released);
        let places = counts.map(|(place, entry)| (place.to_string(), describe(&entry.state, entry.known.as_ref())));
        let places: BTreeMap<String, String> = places.collect();
        let unwell = places.values().find(|text| !text.starts_with("made")).cloned();
        let mut ready = condition(READY, unwell.is_none(), StatusCause::Ready, "");
        ready.reason = unwell.unwrap_or(ready.reason);
        ToyStatus { conditions: vec![ready], places, ..ToyStatus::default() }
    }
}

fn places(toy: &Toy, fleet: &FleetView) -> BTreeSet<Place> {
    if toy.spec.clusters.is_empty() {
        return BTreeSet::from([Place::Management]);
    }
    if toy.spec.where_reached {
        let is_reached = |view: &ClusterView| matches!(view.link, Link::Connected(_));
        return fleet
            .iter()
            .filter(|(_, view)| is_reached(view))
            .map(|(name, _)| Place::Cluster(name.clone()))
            .collect();
    }
    if toy.spec.insists {
        return toy.spec.clusters.iter().map(|name| Place::cluster(name)).collect();
    }
    let wanted = |name: &&str| toy.spec.clusters.iter().any(|wanted| wanted == name);
    let management = toy.spec.counts.then_some(Place::Management);
    fleet.iter().map(|(name, _)| name.as_str()).filter(wanted).map(Place::cluster).chain(management).collect()
}

fn describe(state: &PlaceState, known: Option<&PlaceStatus>) -> String {
    match (state, known) {
        (PlaceState::Current, Some(place_status)) if place_status.made && place_status.sees_nothing => {
            format!("made {} unseen", place_status.reading)
        }
        (PlaceState::Current, Some(place_status)) if place_status.made => format!("made {}", place_status.reading),
        (PlaceState::Current, _) => "making".to_owned(),
        (PlaceState::Pending, _) => "pending".to_owned(),
        (PlaceState::Failed(failure), _) => failure.reason().to_owned(),
        (PlaceState::Refused(refused), known) => {
            let reasons: Vec<_> = refused.iter().map(|refusal| refusal.failure.reason()).collect();
            let reading = known.map(|known| known.reading).filter(|reading| *reading > 0);
            reasons.join(" and ") + &reading.map(|reading| format!(" {reading}")).unwrap_or_default()
        }
        (PlaceState::Unreachable(failure), _) => format!("unreachable: {}", failure.reason()),
        (PlaceState::Suspended, _) => "suspended".to_owned(),
        (PlaceState::Released, _) => "released".to_owned(),
    }
}
