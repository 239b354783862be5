//! From all clusters to one status that does not grow with the fleet. Pure.

use drover_crds::{
    ClusterSelection, MAX_PROBLEMS, NamespaceCount, Problem, Project, ProjectStatus, TargetSummary,
    condition::{CLUSTERS_ALLOWED, CLUSTERS_REACHABLE, NAMESPACES_READY, READY},
};
use drover_runtime::{
    Outcome, Parts, Place, Standing, Tally,
    error::truncate,
    parts::{PartEntry, Readiness},
    status::{Activity, State, condition, ready_conditions},
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use crate::plan::{Part, TERMINATING};

/// Longest message, in bytes: enough for every message of ours with names of 63 characters, and less than
/// `MAX_PROBLEM_MESSAGE`, beyond which the API server refuses the whole status.
const MESSAGE_LIMIT: usize = 400;
/// Most that all problems may weigh together as JSON. The conditions repeat the first one up to four times; all of it stays
/// within 16 KiB.
const PROBLEMS_LIMIT: usize = 10 * 1024;

pub(crate) fn summarise(project: &Project, parts: &Parts<Part>) -> ProjectStatus {
    let tally = Tally::of(parts, outcome);
    let problems = problems(project, parts);
    let namespaces = namespaces(parts);
    let mut conditions = ready(project, parts, &tally, &problems);
    conditions.push(allowed(&problems));
    conditions.push(reachable(parts, &tally));
    conditions.push(namespaces_ready(parts, &namespaces, &tally, &problems));
    ProjectStatus {
        clusters: Some(TargetSummary {
            total: tally.total,
            ready: tally.ready,
            unreachable: tally.unreachable,
            summary: tally.summary(),
        }),
        namespaces: Some(namespaces),
        problems: as_many_as_fit(problems),
        conditions,
        ..ProjectStatus::default()
    }
}

fn outcome(part: &Part) -> Outcome {
    if !part.problems.is_empty() {
        Outcome::Failed
    } else if part.ready == part.wanted {
        Outcome::Ready
    } else {
        Outcome::Progressing
    }
}

fn ready(project: &Project, parts: &Parts<Part>, tally: &Tally, problems: &[Problem]) -> Vec<Condition> {
    let unimplemented = project.spec.unimplemented();
    let deleting = project.metadata.deletion_timestamp.is_some();
    let readiness = if project.spec.suspend {
        let waits = if deleting { ", so its deletion waits; set it to false" } else { "" };
        Readiness::no("Suspended", format!("spec.suspend is set and nothing is written{waits}"), Activity::Settled)
    } else if deleting {
        Readiness::no("Deleting", letting_go(parts, tally), Activity::Reconciling)
    } else if !unimplemented.is_empty() {
        let message =
            format!("this version does not act on {} yet; remove it, or upgrade Drover", unimplemented.join(", "));
        Readiness::no("NotYetImplemented", message, Activity::Stalled)
    } else if let Some(first) = problems.first() {
        let rest = problems.len() - 1;
        let more = if rest == 0 { String::new() } else { format!(" (and {rest} more, see status.problems)") };
        // The one problem that passes by itself.
        let activity = if first.reason == TERMINATING { Activity::Reconciling } else { Activity::Stalled };
        Readiness::no(&first.reason, format!("{}{more}", first.message), activity)
    } else {
        tally.readiness(was_ready(project))
    };
    ready_conditions(readiness.state, &readiness.reason, &readiness.message, readiness.activity)
}

/// What a deletion waits for, and what to do when that does not come back.
fn letting_go(parts: &Parts<Part>, tally: &Tally) -> String {
    let away = away(parts);
    if away.is_empty() {
        return format!("letting go of {} clusters", tally.total);
    }
    format!(
        "waiting for {} of {} clusters that cannot be reached, among them {away}; a Cluster that will not come back has to be deleted",
        tally.unreachable, tally.total
    )
}

/// The first few places that cannot be reached.
fn away(parts: &Parts<Part>) -> String {
    let away = parts.iter().filter(|(_, entry)| matches!(entry.standing, Standing::Unreachable(_)));
    away.take(5).map(|(place, _)| place.to_string()).collect::<Vec<_>>().join(", ")
}

/// Whether this very spec was Ready before: after a restart with all clusters away it still is.
fn was_ready(project: &Project) -> bool {
    let Some(status) = &project.status else { return false };
    let ready = status.conditions.iter().any(|condition| condition.type_ == READY && condition.status == "True");
    ready && Some(status.observed_generation) == project.metadata.generation
}

/// Counted where it can be told: what an unreachable cluster said last is forgotten by a restart, and a restart must not
/// change a status.
fn namespaces(parts: &Parts<Part>) -> NamespaceCount {
    let known = || parts.iter().filter_map(|(_, entry)| told(entry));
    let (total, ready) = (known().map(|part| part.wanted).sum(), known().map(|part| part.ready).sum());
    NamespaceCount { total, ready, summary: format!("{ready}/{total}") }
}

fn told(entry: &PartEntry<Part>) -> Option<&Part> {
    let reachable = !matches!(entry.standing, Standing::Unreachable(_));
    entry.known.as_ref().filter(|_| reachable)
}

/// Everything that needs a person, in a fixed order: named clusters that do not exist, then by cluster and namespace.
fn problems(project: &Project, parts: &Parts<Part>) -> Vec<Problem> {
    let mut problems = unknown_clusters(project, parts);
    for (place, entry) in parts.iter() {
        let Place::Cluster(cluster) = place else { continue };
        let cluster = cluster.to_string();
        let obstacles = told(entry).map(|part| part.problems.as_slice()).unwrap_or_default();
        problems.extend(obstacles.iter().map(|obstacle| Problem {
            cluster: cluster.clone(),
            namespace: obstacle.namespace.clone(),
            reason: obstacle.reason.to_owned(),
            message: brief(&obstacle.message),
        }));
        let own = match &entry.standing {
            Standing::Failed(failure) => Some((failure.reason, failure.message.clone())),
            Standing::Suspended => {
                Some(("ClusterSuspended", format!("cluster {cluster} is suspended; nothing is written there")))
            }
            Standing::Pending | Standing::Current | Standing::Unreachable(_) | Standing::Released => None,
        };
        problems.extend(own.map(|(reason, message)| Problem {
            cluster: cluster.clone(),
            namespace: None,
            reason: reason.to_owned(),
            message: brief(&format!("cluster {cluster}: {message}")),
        }));
    }
    problems
}

fn unknown_clusters(project: &Project, parts: &Parts<Part>) -> Vec<Problem> {
    let ClusterSelection::Names(names) = &project.spec.clusters else { return Vec::new() };
    if project.metadata.deletion_timestamp.is_some() {
        return Vec::new();
    }
    let unknown = names.iter().filter(|name| parts.get(&Place::cluster(name)).is_none());
    let problem = |name: &String| Problem {
        cluster: name.clone(),
        namespace: None,
        reason: "ClusterNotFound".into(),
        message: format!("there is no Cluster {name}; create it, or remove it from spec.clusters.names"),
    };
    unknown.map(problem).collect()
}

/// A message may hold a server's own words: it is cut, and spaces stand for control characters, which grow sixfold as JSON.
fn brief(message: &str) -> String {
    let readable: String =
        message.chars().map(|character| if character.is_control() { ' ' } else { character }).collect();
    truncate(&readable, MESSAGE_LIMIT)
}

/// The first ones; where names are long or full of quotes, fewer of them.
fn as_many_as_fit(problems: Vec<Problem>) -> Vec<Problem> {
    let mut size = 0;
    let fits = |problem: &Problem| {
        size += serde_json::to_string(problem).map_or(PROBLEMS_LIMIT, |json| json.len());
        size <= PROBLEMS_LIMIT
    };
    problems.into_iter().take(MAX_PROBLEMS).take_while(fits).collect()
}

fn allowed(problems: &[Problem]) -> Condition {
    let denied = problems.iter().find(|problem| problem.reason == "NotATenant" || problem.reason == "ClusterNotFound");
    match denied {
        Some(problem) => condition(CLUSTERS_ALLOWED, false, &problem.reason, &*problem.message),
        None => condition(CLUSTERS_ALLOWED, true, "Allowed", "every selected cluster lets this Project in"),
    }
}

fn reachable(parts: &Parts<Part>, tally: &Tally) -> Condition {
    let away = away(parts);
    if away.is_empty() {
        return condition(CLUSTERS_REACHABLE, true, "Reachable", "every selected cluster is reachable");
    }
    let message = format!("{} of {} cannot be reached, among them {away}", tally.unreachable, tally.total);
    condition(CLUSTERS_REACHABLE, false, "Unreachable", message)
}

fn namespaces_ready(
    parts: &Parts<Part>,
    namespaces: &NamespaceCount,
    tally: &Tally,
    problems: &[Problem],
) -> Condition {
    let about_one = problems.iter().find(|problem| problem.namespace.is_some());
    let summary = format!("{} namespaces are as wanted", namespaces.summary);
    match about_one {
        Some(problem) => condition(NAMESPACES_READY, false, &problem.reason, &*problem.message),
        None if namespaces.ready < namespaces.total || tally.progressing > 0 => {
            condition(NAMESPACES_READY, false, "Progressing", summary)
        }
        None if tally.total > 0 && !parts.iter().any(|(_, entry)| told(entry).is_some()) => {
            condition(NAMESPACES_READY, State::Unknown, "NotObserved", "no selected cluster could be looked at")
        }
        None => condition(NAMESPACES_READY, true, "Ready", summary),
    }
}
