//! From all clusters to one status that does not grow with the fleet. Pure.

use drover_crds::{
    ClusterSelection, MAX_PROBLEMS, NamespaceCount, Problem, Project, ProjectStatus, TargetSummary,
    condition::{CLUSTERS_ALLOWED, CLUSTERS_REACHABLE, NAMESPACES_READY, READY},
};
use drover_runtime::{
    Outcome, Parts, Place, Standing, Tally,
    parts::Readiness,
    status::{Activity, condition, ready_conditions},
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use crate::plan::Part;

pub(crate) fn summarise(project: &Project, parts: &Parts<Part>) -> ProjectStatus {
    let tally = Tally::of(parts, outcome);
    let problems = problems(project, parts);
    let namespaces = namespaces(parts);
    let mut conditions = ready(project, &tally, &problems);
    conditions.push(allowed(&problems));
    conditions.push(reachable(parts, &tally));
    conditions.push(namespaces_ready(&namespaces, &tally, &problems));
    ProjectStatus {
        clusters: Some(TargetSummary {
            total: tally.total,
            ready: tally.ready,
            unreachable: tally.unreachable,
            summary: tally.summary(),
        }),
        namespaces: Some(namespaces),
        problems: problems.into_iter().take(MAX_PROBLEMS).collect(),
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

fn ready(project: &Project, tally: &Tally, problems: &[Problem]) -> Vec<Condition> {
    let unimplemented = project.spec.unimplemented();
    let readiness = if project.metadata.deletion_timestamp.is_some() {
        let message = format!("letting go of {} clusters", tally.total);
        Readiness::no("Deleting", message, Activity::Reconciling)
    } else if !unimplemented.is_empty() {
        let message =
            format!("this version does not act on {} yet; remove it, or upgrade Drover", unimplemented.join(", "));
        Readiness::no("NotYetImplemented", message, Activity::Stalled)
    } else if project.spec.suspend {
        Readiness::no("Suspended", "spec.suspend is set; nothing is written".into(), Activity::Settled)
    } else if let Some(first) = problems.first() {
        let rest = problems.len() - 1;
        let more = if rest == 0 { String::new() } else { format!(" (and {rest} more, see status.problems)") };
        Readiness::no(&first.reason, format!("{}{more}", first.message), Activity::Stalled)
    } else {
        tally.readiness(was_ready(project))
    };
    ready_conditions(readiness.state, &readiness.reason, &readiness.message, readiness.activity)
}

/// Whether this very spec was Ready before: after a restart with all clusters away it still is.
fn was_ready(project: &Project) -> bool {
    let Some(status) = &project.status else { return false };
    let ready = status.conditions.iter().any(|condition| condition.type_ == READY && condition.status == "True");
    ready && Some(status.observed_generation) == project.metadata.generation
}

fn namespaces(parts: &Parts<Part>) -> NamespaceCount {
    let known = || parts.iter().filter_map(|(_, entry)| entry.known.as_ref());
    let (total, ready) = (known().map(|part| part.wanted).sum(), known().map(|part| part.ready).sum());
    NamespaceCount { total, ready, summary: format!("{ready}/{total}") }
}

/// Everything that needs a person, in a fixed order: named clusters that do not exist, then by cluster and namespace.
fn problems(project: &Project, parts: &Parts<Part>) -> Vec<Problem> {
    let mut problems = unknown_clusters(project, parts);
    for (place, entry) in parts.iter() {
        let Place::Cluster(cluster) = place else { continue };
        let cluster = cluster.to_string();
        let obstacles = entry.known.as_ref().map(|part| part.problems.as_slice()).unwrap_or_default();
        problems.extend(obstacles.iter().map(|obstacle| Problem {
            cluster: cluster.clone(),
            namespace: obstacle.namespace.clone(),
            reason: obstacle.reason.to_owned(),
            message: obstacle.message.clone(),
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
            message: format!("cluster {cluster}: {message}"),
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

fn allowed(problems: &[Problem]) -> Condition {
    let denied = problems.iter().find(|problem| problem.reason == "NotATenant" || problem.reason == "ClusterNotFound");
    match denied {
        Some(problem) => condition(CLUSTERS_ALLOWED, false, &problem.reason, &*problem.message),
        None => condition(CLUSTERS_ALLOWED, true, "Allowed", "every selected cluster lets this Project in"),
    }
}

fn reachable(parts: &Parts<Part>, tally: &Tally) -> Condition {
    let away = parts.iter().filter(|(_, entry)| matches!(entry.standing, Standing::Unreachable(_)));
    let names: Vec<String> = away.take(5).map(|(place, _)| place.to_string()).collect();
    if names.is_empty() {
        return condition(CLUSTERS_REACHABLE, true, "Reachable", "every selected cluster is reachable");
    }
    let message =
        format!("{} of {} cannot be reached, among them {}", tally.unreachable, tally.total, names.join(", "));
    condition(CLUSTERS_REACHABLE, false, "Unreachable", message)
}

fn namespaces_ready(namespaces: &NamespaceCount, tally: &Tally, problems: &[Problem]) -> Condition {
    let about_one = problems.iter().find(|problem| problem.namespace.is_some());
    let summary = format!("{} namespaces are as wanted", namespaces.summary);
    match about_one {
        Some(problem) => condition(NAMESPACES_READY, false, &problem.reason, &*problem.message),
        None if namespaces.ready < namespaces.total || tally.progressing > 0 => {
            condition(NAMESPACES_READY, false, "Progressing", summary)
        }
        None => condition(NAMESPACES_READY, true, "Ready", summary),
    }
}
