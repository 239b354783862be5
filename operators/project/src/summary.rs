//! From all clusters to one status that does not grow with the fleet. Pure.

use drover_crds::{
    ClusterSelection, MAX_PROBLEMS, NamespaceCount, Problem, Project, ProjectStatus, StatusConditions as _,
    TargetSummary,
    condition::{CLUSTERS_ALLOWED, CLUSTERS_REACHABLE, NAMESPACES_READY},
};
use drover_runtime::{
    Cause, Failure, Outcome, Place, PlaceState, PlaceStatuses, StatusCause, Tally,
    error::truncate,
    place_status::{PlaceEntry, Readiness},
    status::{Activity, State, condition, ready_conditions},
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use crate::{
    cause::ProjectCause,
    plan::{Obstacle, PlaceStatus},
};

/// Longest message, in bytes: enough for every message of ours with names of 63 characters, and less than
/// `MAX_PROBLEM_MESSAGE`, beyond which the API server refuses the whole status.
pub(crate) const MESSAGE_LIMIT: usize = 400;
/// Most that all problems may weigh together as JSON. The conditions repeat the first one up to four times; all of it stays
/// within 16 KiB.
const PROBLEMS_LIMIT: usize = 10 * 1024;

pub(crate) fn summarise(project: &Project, statuses: &PlaceStatuses<PlaceStatus>) -> ProjectStatus {
    let tally = Tally::of(statuses, outcome);
    let findings = findings(project, statuses);
    let namespaces = namespaces(statuses);
    let mut conditions = ready(project, statuses, &tally, &findings);
    conditions.push(allowed(&findings, &tally));
    conditions.push(reachable(statuses, &tally));
    conditions.push(namespaces_ready(project, statuses, &namespaces, &tally, &findings));
    // What was let go of already still belongs to what is being deleted.
    let total = if project.metadata.deletion_timestamp.is_some() { count(statuses) } else { tally.total };
    ProjectStatus {
        clusters: Some(TargetSummary {
            total,
            ready: tally.ready,
            unreachable: tally.unreachable,
            without_consent: tally.refused,
            summary: format!("{}/{total}", tally.ready),
        }),
        namespaces: Some(namespaces),
        problems: as_many_as_fit(&findings),
        conditions,
        ..ProjectStatus::default()
    }
}

fn outcome(place_status: &PlaceStatus) -> Outcome {
    if !place_status.problems.is_empty() {
        Outcome::Failed
    } else if place_status.ready == place_status.wanted {
        Outcome::Ready
    } else {
        Outcome::Progressing
    }
}

fn ready(
    project: &Project,
    statuses: &PlaceStatuses<PlaceStatus>,
    tally: &Tally,
    findings: &[Finding<'_>],
) -> Vec<Condition> {
    let unimplemented = project.spec.unimplemented();
    let deleting = project.metadata.deletion_timestamp.is_some();
    let readiness = if project.spec.suspend {
        let waits = if deleting { ", so its deletion waits; set it to false" } else { "" };
        let message = format!("spec.suspend is set and nothing is written{waits}");
        Readiness { activity: Activity::Settled, ..Readiness::no(StatusCause::Suspended, message) }
    } else if deleting {
        Readiness::no(StatusCause::Deleting, deletion(statuses, tally, findings))
    } else if !unimplemented.is_empty() {
        let message =
            format!("this version does not act on {} yet; remove it, or upgrade Drover", unimplemented.join(", "));
        Readiness::no(StatusCause::NotYetImplemented, message)
    } else if let Some(first) = findings.iter().find(|finding| finding.cause().needs_action()).or(findings.first()) {
        Readiness::no(first.cause(), first_of(first, findings))
    } else {
        tally.readiness(was_ready(project))
    };
    ready_conditions(readiness.state, readiness.cause, &readiness.message, readiness.activity)
}

/// What one of all findings says, and how many others there are.
fn first_of(first: &Finding<'_>, all: &[Finding<'_>]) -> String {
    let others = all.len().saturating_sub(1);
    let more = if others == 0 { String::new() } else { format!(" (and {others} more, see status.problems)") };
    format!("{}{more}", first.problem().message)
}

/// What a deletion waits for, and what to do when that does not come back.
fn deletion(statuses: &PlaceStatuses<PlaceStatus>, tally: &Tally, findings: &[Finding<'_>]) -> String {
    let (away, total) = (away(statuses), count(statuses));
    let clusters = if away.is_empty() {
        format!("Drover releases {total} clusters")
    } else {
        format!(
            "waiting for {} of {total} clusters that cannot be worked on, among them {away}; a Cluster that will not come back has to be deleted",
            tally.unreachable
        )
    };
    match findings {
        [] => clusters,
        [first, ..] => format!("{clusters}; {}", first_of(first, findings)),
    }
}

fn count(statuses: &PlaceStatuses<PlaceStatus>) -> i64 {
    i64::try_from(statuses.iter().count()).unwrap_or(i64::MAX)
}

/// The first few places that cannot be worked on, each with the reason: away, or refused.
fn away(statuses: &PlaceStatuses<PlaceStatus>) -> String {
    let away = statuses.iter().filter_map(|(place, entry)| match &entry.state {
        PlaceState::Unreachable(failure) => Some(format!("{place} ({})", failure.reason())),
        _ => None,
    });
    away.take(5).collect::<Vec<_>>().join(", ")
}

/// Whether this very spec was Ready before.
fn was_ready(project: &Project) -> bool {
    project.status.as_ref().is_some_and(|status| status.was_ready(project.metadata.generation))
}

/// Counted where it can be told: what an unreachable cluster said last is forgotten by a restart, and a restart must not
/// change a status.
fn namespaces(statuses: &PlaceStatuses<PlaceStatus>) -> NamespaceCount {
    let known = || statuses.iter().filter_map(|(_, entry)| told(entry));
    let (total, ready) =
        (known().map(|place_status| place_status.wanted).sum(), known().map(|place_status| place_status.ready).sum());
    NamespaceCount { total, ready, summary: format!("{ready}/{total}") }
}

fn told(entry: &PlaceEntry<PlaceStatus>) -> Option<&PlaceStatus> {
    let counts = !matches!(entry.state, PlaceState::Unreachable(_) | PlaceState::Released);
    entry.known.as_ref().filter(|_| counts)
}

/// Something that needs a person. A fleet may have a million of them, so only those that are told become messages.
enum Finding<'a> {
    Unknown(&'a str),
    Leaving(&'a str),
    Obstacle(&'a str, &'a Obstacle),
    Failed(&'a str, &'a Failure),
    Suspended(&'a str),
}

impl Finding<'_> {
    fn cause(&self) -> Cause {
        match self {
            Self::Unknown(_) => ProjectCause::ClusterNotFound.into(),
            Self::Leaving(_) => ProjectCause::ClusterDeleting.into(),
            Self::Obstacle(_, obstacle) => obstacle.cause,
            Self::Failed(_, failure) => failure.cause,
            Self::Suspended(_) => ProjectCause::ClusterSuspended.into(),
        }
    }

    fn is_for(&self, cause: ProjectCause) -> bool {
        self.cause() == cause.cause()
    }

    fn is_about_one_namespace(&self) -> bool {
        matches!(self, Self::Obstacle(_, Obstacle { namespace: Some(_), .. }))
    }

    fn problem(&self) -> Problem {
        let (cluster, namespace, message) = match self {
            Self::Unknown(cluster) => (
                cluster,
                None,
                format!("there is no Cluster {cluster} to work on; create it, or remove it from spec.clusters.names"),
            ),
            Self::Leaving(cluster) => {
                (cluster, None, format!("Cluster {cluster} is being deleted; remove it from spec.clusters.names"))
            }
            Self::Obstacle(cluster, obstacle) => (cluster, obstacle.namespace.clone(), obstacle.message.clone()),
            Self::Failed(cluster, failure) => (cluster, None, format!("cluster {cluster}: {}", failure.message)),
            Self::Suspended(cluster) => {
                (cluster, None, format!("cluster {cluster} is suspended; nothing is written there"))
            }
        };
        let (cluster, reason) = ((*cluster).to_owned(), self.cause().reason().to_owned());
        Problem { cluster, namespace, reason, message: brief(&message) }
    }
}

/// Everything that needs a person, in a fixed order: named clusters that cannot be had, then by cluster and namespace.
fn findings<'a>(project: &'a Project, statuses: &'a PlaceStatuses<PlaceStatus>) -> Vec<Finding<'a>> {
    let mut findings = missing_clusters(project, statuses);
    for (place, entry) in statuses.iter() {
        let Place::Cluster(cluster) = place else { continue };
        let cluster = cluster.as_str();
        let obstacles = told(entry).map(|place_status| place_status.problems.as_slice()).unwrap_or_default();
        findings.extend(obstacles.iter().map(|obstacle| Finding::Obstacle(cluster, obstacle)));
        match &entry.state {
            PlaceState::Failed(failure) => findings.push(Finding::Failed(cluster, failure)),
            PlaceState::Suspended => findings.push(Finding::Suspended(cluster)),
            PlaceState::Pending | PlaceState::Current | PlaceState::Unreachable(_) | PlaceState::Released => {}
        }
    }
    findings
}

fn missing_clusters<'a>(project: &'a Project, statuses: &PlaceStatuses<PlaceStatus>) -> Vec<Finding<'a>> {
    let ClusterSelection::Names(names) = &project.spec.clusters else { return Vec::new() };
    if project.metadata.deletion_timestamp.is_some() {
        return Vec::new();
    }
    let missing = |name: &'a String| match statuses.get(&Place::cluster(name)) {
        None => Some(Finding::Unknown(name)),
        // What lives is done with a cluster only when the cluster goes.
        Some(entry) if entry.state == PlaceState::Released => Some(Finding::Leaving(name)),
        Some(_) => None,
    };
    names.iter().filter_map(missing).collect()
}

/// A message may hold a server's own words: it is cut, and spaces stand for control characters, which grow sixfold as JSON.
fn brief(message: &str) -> String {
    let readable: String =
        message.chars().map(|character| if character.is_control() { ' ' } else { character }).collect();
    truncate(&readable, MESSAGE_LIMIT)
}

/// The first ones; where names are long or full of quotes, fewer of them.
fn as_many_as_fit(findings: &[Finding<'_>]) -> Vec<Problem> {
    let mut size = 0;
    let fits = |problem: &Problem| {
        size += serde_json::to_string(problem).map_or(PROBLEMS_LIMIT, |json| json.len());
        size <= PROBLEMS_LIMIT
    };
    findings.iter().take(MAX_PROBLEMS).map(Finding::problem).take_while(fits).collect()
}

fn allowed(findings: &[Finding<'_>], tally: &Tally) -> Condition {
    use ProjectCause::{Allowed, ClusterDeleting, ClusterNotFound, NotATenant};
    let denies =
        |finding: &&Finding<'_>| [NotATenant, ClusterNotFound, ClusterDeleting].map(|cause| finding.is_for(cause));
    match findings.iter().find(|finding| denies(finding).contains(&true)) {
        Some(finding) => condition(CLUSTERS_ALLOWED, false, finding.cause(), finding.problem().message),
        None if tally.total == 0 && tally.refused > 0 => {
            let message = format!(
                "none of the {} selected clusters admits the namespace of this Project; their owners decide that in spec.tenants of the Clusters, and none admits Drover's own namespace",
                tally.refused
            );
            condition(CLUSTERS_ALLOWED, false, NotATenant, message)
        }
        None if tally.refused > 0 => {
            let message = format!(
                "{} of the selected clusters do not let this Project in and are left out; their owners decide that in spec.tenants of the Clusters",
                tally.refused
            );
            condition(CLUSTERS_ALLOWED, true, Allowed, message)
        }
        None => condition(CLUSTERS_ALLOWED, true, Allowed, "every selected cluster lets this Project in"),
    }
}

fn reachable(statuses: &PlaceStatuses<PlaceStatus>, tally: &Tally) -> Condition {
    let away = away(statuses);
    if away.is_empty() {
        return condition(CLUSTERS_REACHABLE, true, ProjectCause::Reachable, "every selected cluster can be worked on");
    }
    let message = format!("{} of {} clusters cannot be worked on, among them {away}", tally.unreachable, tally.total);
    condition(CLUSTERS_REACHABLE, false, StatusCause::Unreachable, message)
}

fn namespaces_ready(
    project: &Project,
    statuses: &PlaceStatuses<PlaceStatus>,
    namespaces: &NamespaceCount,
    tally: &Tally,
    findings: &[Finding<'_>],
) -> Condition {
    let deleting = project.metadata.deletion_timestamp.is_some();
    // What is being deleted has to go away, so that it does is no news.
    let is_news = |finding: &&Finding<'_>| !(deleting && finding.is_for(ProjectCause::Terminating));
    let about_one = findings.iter().filter(is_news).find(|finding| finding.is_about_one_namespace());
    let summary = format!("{} namespaces are as wanted", namespaces.summary);
    match about_one {
        Some(finding) => condition(NAMESPACES_READY, false, finding.cause(), finding.problem().message),
        None if namespaces.ready < namespaces.total || tally.progressing > 0 || deleting => {
            condition(NAMESPACES_READY, false, StatusCause::Progressing, summary)
        }
        None if tally.total > 0 && !statuses.iter().any(|(_, entry)| told(entry).is_some()) => condition(
            NAMESPACES_READY,
            State::Unknown,
            ProjectCause::NotObserved,
            "no selected cluster could be looked at",
        ),
        None => condition(NAMESPACES_READY, true, StatusCause::Ready, summary),
    }
}
