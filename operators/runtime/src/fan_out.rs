//! The status of a kind that fans out over clusters: one ladder of what is told first, and one size whatever the fleet's size.

use drover_crds::{
    ClusterSelection, MAX_PROBLEMS, Problem, SelectsClusters, TargetSummary, condition::CLUSTERS_REACHABLE,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::Resource;

use crate::{
    cause::{Cause, StatusCause},
    error::{Failure, legible},
    place::Place,
    place_status::{Outcome, PlaceEntry, PlaceState, PlaceStatuses, Readiness, Refusal, Tally},
    status::{condition, ready_conditions},
};

/// Longest message, in bytes: enough for every message of ours with names of 63 characters, and less than
/// `MAX_PROBLEM_MESSAGE`, beyond which the API server refuses the whole status.
pub const MESSAGE_LIMIT: usize = 400;
/// Most that all problems may weigh together as JSON. The conditions repeat the first one up to four times; all of it stays
/// within 16 KiB.
const PROBLEMS_LIMIT: usize = 10 * 1024;
/// What the other conditions say is how Drover finds the object; nobody waits for it to change.
const SUSPENDED: &str = "spec.suspend is set, so Drover creates, changes and removes nothing; set it to false to go on";
/// So many clusters that cannot be reached are named.
const MOST_NAMED: usize = 5;

/// Something that keeps an object from being as wanted at one place.
#[derive(Clone, Debug, PartialEq)]
pub struct Obstacle {
    /// The namespace it is about; none if it is about the cluster.
    pub namespace: Option<String>,
    /// Why.
    pub cause: Cause,
    /// What happened and what to do next.
    pub message: String,
}

/// What one place contributes to the status of a kind that fans out.
pub trait Contribution {
    /// What it amounts to.
    fn outcome(&self) -> Outcome;
    /// What keeps the object from being as wanted there.
    fn obstacles(&self) -> &[Obstacle];
}

/// What the spec and the status of before say of the whole.
#[derive(Clone, Debug, Default)]
pub struct Whole {
    /// `spec.suspend`.
    pub suspended: bool,
    /// The fields that this version accepts but does not act on.
    pub unimplemented: Vec<&'static str>,
    /// Whether this very spec was Ready before: after a restart with all clusters away it still is.
    pub was_ready: bool,
}

/// Something that keeps the object from being as wanted. A fleet may have a million of them, so only those that are told become
/// messages.
#[derive(Debug)]
pub enum Finding<'a> {
    /// The object names a Cluster that does not exist.
    Unknown(&'a str),
    /// The object names a Cluster that is being deleted.
    Deleting(&'a str),
    /// What a place says.
    Obstacle(&'a str, &'a Obstacle),
    /// The last reconcile at a place failed.
    Failed(&'a str, &'a Failure),
    /// An action at a place was refused.
    Refused(&'a str, &'a Refusal),
    /// The Cluster is suspended.
    Suspended(&'a str),
}

impl Finding<'_> {
    /// Why.
    #[must_use]
    pub fn cause(&self) -> Cause {
        match self {
            Self::Unknown(_) => StatusCause::ClusterNotFound.into(),
            Self::Deleting(_) => StatusCause::ClusterDeleting.into(),
            Self::Obstacle(_, obstacle) => obstacle.cause,
            Self::Failed(_, failure) => failure.cause,
            Self::Refused(_, refusal) => refusal.failure.cause,
            Self::Suspended(_) => StatusCause::ClusterSuspended.into(),
        }
    }

    /// Whether it is for this cause.
    #[must_use]
    pub fn is_for(&self, cause: impl Into<Cause>) -> bool {
        self.cause() == cause.into()
    }

    /// Whether it is about one namespace, and not about the whole cluster.
    #[must_use]
    pub fn is_about_one_namespace(&self) -> bool {
        match self {
            Self::Obstacle(_, Obstacle { namespace, .. }) | Self::Refused(_, Refusal { namespace, .. }) => {
                namespace.is_some()
            }
            Self::Unknown(_) | Self::Deleting(_) | Self::Failed(..) | Self::Suspended(_) => false,
        }
    }

    /// As the status lists it.
    #[must_use]
    pub fn problem(&self) -> Problem {
        let (cluster, namespace, message) = match self {
            Self::Unknown(cluster) => (
                cluster,
                None,
                format!("there is no Cluster {cluster} to work on; create it, or remove it from spec.clusters.names"),
            ),
            Self::Deleting(cluster) => {
                (cluster, None, format!("Cluster {cluster} is being deleted; remove it from spec.clusters.names"))
            }
            Self::Obstacle(cluster, obstacle) => (cluster, obstacle.namespace.clone(), obstacle.message.clone()),
            Self::Failed(cluster, failure) => (cluster, None, format!("cluster {cluster}: {}", failure.message)),
            Self::Refused(cluster, Refusal { namespace, failure }) => {
                (cluster, namespace.clone(), format!("cluster {cluster}: {}", failure.message))
            }
            Self::Suspended(cluster) => {
                (cluster, None, format!("cluster {cluster} is suspended, so Drover writes nothing there"))
            }
        };
        let (cluster, reason) = ((*cluster).to_owned(), self.cause().reason().to_owned());
        Problem { cluster, namespace, reason, message: brief(&message) }
    }
}

/// What all places together say of one object.
#[derive(Debug)]
pub struct FanOut<'a, P> {
    /// How many places stand how.
    pub tally: Tally,
    /// Everything that needs a look, in a fixed order: named clusters that cannot be had, then by cluster and namespace.
    pub findings: Vec<Finding<'a>>,
    statuses: &'a PlaceStatuses<P>,
    whole: Whole,
    deleting: bool,
}

impl<'a, P: Contribution> FanOut<'a, P> {
    /// Judges what the places say of `object`.
    pub fn of<K: SelectsClusters + Resource>(object: &'a K, whole: Whole, statuses: &'a PlaceStatuses<P>) -> Self {
        let named = match object.clusters() {
            ClusterSelection::Names(names) if object.meta().deletion_timestamp.is_none() => names.as_slice(),
            _ => &[],
        };
        Self::naming(named, object, whole, statuses)
    }

    /// The same of an object that names no clusters itself.
    pub fn over<K: Resource>(object: &'a K, whole: Whole, statuses: &'a PlaceStatuses<P>) -> Self {
        Self::naming(&[], object, whole, statuses)
    }

    fn naming<K: Resource>(named: &'a [String], object: &'a K, whole: Whole, statuses: &'a PlaceStatuses<P>) -> Self {
        let deleting = object.meta().deletion_timestamp.is_some();
        let (tally, findings) = (Tally::of(statuses, P::outcome), findings(named, statuses));
        Self { tally, findings, statuses, whole, deleting }
    }

    /// Whether the object is being deleted.
    #[must_use]
    pub fn is_deleting(&self) -> bool {
        self.deleting
    }

    /// `Ready`, with `Reconciling` or `Stalled` while they are true. What concerns the whole object comes first, then what needs
    /// a person, then everything else, then the count.
    #[must_use]
    pub fn ready(&self) -> Vec<Condition> {
        let Readiness { state, cause, message, activity } = self.readiness();
        ready_conditions(state, cause, &message, activity)
    }

    fn readiness(&self) -> Readiness {
        let Whole { suspended, unimplemented, was_ready } = &self.whole;
        if self.deleting {
            return Readiness::no(StatusCause::Deleting, self.releasing());
        }
        if *suspended {
            return Readiness::yes(StatusCause::Suspended, SUSPENDED.to_owned());
        }
        if !unimplemented.is_empty() {
            let fields = unimplemented.join(", ");
            let message = format!("this version does not act on {fields} yet; remove it, or upgrade Drover");
            return Readiness::no(StatusCause::NotYetImplemented, message);
        }
        let needs_action = |finding: &&Finding<'_>| finding.cause().needs_action();
        match self.findings.iter().find(needs_action).or(self.findings.first()) {
            Some(first) => Readiness::no(first.cause(), self.first_of_all(first)),
            None => self.tally.readiness(*was_ready),
        }
    }

    /// What one of all findings says, and how many others there are.
    fn first_of_all(&self, first: &Finding<'_>) -> String {
        let others = self.findings.len().saturating_sub(1);
        let more = if others == 0 { String::new() } else { format!(" (and {others} more, see status.problems)") };
        format!("{}{more}", first.problem().message)
    }

    /// What a deletion waits for, and what to do when that does not come back.
    fn releasing(&self) -> String {
        let (away, total) = (self.away(), self.total());
        let clusters = if away.is_empty() {
            format!("releasing what is held on {total} clusters")
        } else {
            format!(
                "waiting for {} of {total} clusters that cannot be worked on, among them {away}; delete a Cluster that will not come back (kubectl delete cluster.drover.dev)",
                self.tally.unreachable
            )
        };
        match self.findings.first() {
            None => clusters,
            Some(first) => format!("{clusters}; {}", self.first_of_all(first)),
        }
    }

    /// All places; what was released already still belongs to what is being deleted.
    fn total(&self) -> i64 {
        i64::try_from(self.statuses.iter().count()).unwrap_or(i64::MAX)
    }

    /// The first few places that cannot be worked on, each with the reason: away, or refused.
    fn away(&self) -> String {
        let away = self.statuses.iter().filter_map(|(place, entry)| match &entry.state {
            PlaceState::Unreachable(failure) => Some(format!("{place} ({})", failure.reason())),
            _ => None,
        });
        away.take(MOST_NAMED).collect::<Vec<_>>().join(", ")
    }

    /// `ClustersReachable`.
    #[must_use]
    pub fn reachable(&self) -> Condition {
        let away = self.away();
        if away.is_empty() {
            let message = "every selected cluster can be worked on";
            return condition(CLUSTERS_REACHABLE, true, StatusCause::Reachable, message);
        }
        let Tally { unreachable, total, .. } = self.tally;
        let message = format!("{unreachable} of {total} clusters cannot be worked on, among them {away}");
        condition(CLUSTERS_REACHABLE, false, StatusCause::Unreachable, message)
    }

    /// `status.clusters`.
    #[must_use]
    pub fn targets(&self) -> TargetSummary {
        let total = if self.deleting { self.total() } else { self.tally.total };
        TargetSummary {
            total,
            ready: self.tally.ready,
            unreachable: self.tally.unreachable,
            without_consent: self.tally.refused,
            summary: format!("{}/{total}", self.tally.ready),
        }
    }

    /// `status.problems`: the first ones; where names are long or full of quotes, fewer of them.
    #[must_use]
    pub fn problems(&self) -> Vec<Problem> {
        let mut size = 0;
        let fits = |problem: &Problem| {
            size += serde_json::to_string(problem).map_or(PROBLEMS_LIMIT, |json| json.len());
            size <= PROBLEMS_LIMIT
        };
        self.findings.iter().take(MAX_PROBLEMS).map(Finding::problem).take_while(fits).collect()
    }

    /// What the places say that can be told: what an unreachable cluster said last is forgotten by a restart, and a restart must
    /// not change a status.
    pub fn told(&self) -> impl Iterator<Item = &'a P> {
        self.statuses.iter().filter_map(|(_, entry)| told(entry))
    }
}

fn told<P>(entry: &PlaceEntry<P>) -> Option<&P> {
    let counts = !matches!(entry.state, PlaceState::Unreachable(_) | PlaceState::Released);
    entry.known.as_ref().filter(|_| counts)
}

fn findings<'a, P: Contribution>(named: &'a [String], statuses: &'a PlaceStatuses<P>) -> Vec<Finding<'a>> {
    let missing = |name: &'a String| match statuses.get(&Place::cluster(name)) {
        None => Some(Finding::Unknown(name)),
        // What lives is done with a cluster only when the cluster goes.
        Some(entry) if entry.state == PlaceState::Released => Some(Finding::Deleting(name)),
        Some(_) => None,
    };
    let mut findings: Vec<_> = named.iter().filter_map(missing).collect();
    for (place, entry) in statuses.iter() {
        let Place::Cluster(cluster) = place else { continue };
        let cluster = cluster.as_str();
        let obstacles = told(entry).map(P::obstacles).unwrap_or_default();
        findings.extend(obstacles.iter().map(|obstacle| Finding::Obstacle(cluster, obstacle)));
        match &entry.state {
            PlaceState::Failed(failure) => findings.push(Finding::Failed(cluster, failure)),
            PlaceState::Refused(refused) => {
                findings.extend(refused.iter().map(|refusal| Finding::Refused(cluster, refusal)));
            }
            PlaceState::Suspended => findings.push(Finding::Suspended(cluster)),
            PlaceState::Pending | PlaceState::Current | PlaceState::Unreachable(_) | PlaceState::Released => {}
        }
    }
    findings
}

/// A message may hold a server's own words: it is cut, and spaces stand for control characters, which grow sixfold as JSON.
fn brief(message: &str) -> String {
    legible(message, MESSAGE_LIMIT)
}
