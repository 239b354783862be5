//! What is done about a scan now. Pure.
//!
//! | in the management cluster | |
//! |---|---|
//! | it may begin | note since when |
//! | its time is over | note that: what has no report by then gets none |
//!
//! | a node has | then |
//! |---|---|
//! | nothing | make the Secret for its answer, if it is ready and not too many are scanned at a time |
//! | a Secret | make the account that may change it, and the Job |
//! | an answer, or a Job that ended or takes too long | it is done with |
//!
//! When every node of a cluster is done with, or the time is over, the report is written. Once it is there all of it goes.

use std::{collections::BTreeMap, time::Duration};

use drover_crds::{Admission, CisScan};
use drover_grants::admitted::record;
use drover_operations::pods;
use drover_runtime::{
    Kept, ObjectKey, Outcome, Plan, Requeue, StatusCause, Title,
    fan_out::{Contribution, Obstacle},
    owned::{Change, Owned},
};
use drover_scan_jobs::{
    answer::AnswerSecret,
    job::{self, BENCH, COLLECTOR, Ended, NodeScan, is_of_scans},
    node::{MOST_NODES, ScannedNode},
};
use drover_scans::{
    benchmark::{self, Chosen, Roles},
    kept::Reported,
    missing::MissingReason,
};
use k8s_openapi::{
    api::{batch::v1::Job, core::v1::Pod},
    jiff::{SignedDuration, Timestamp},
};
use kube::ResourceExt as _;

use crate::{
    CisScanOperator, ScanCause,
    act::Action,
    consent::{obstacle, withdrawn},
    observe::{ReportState, World, is_open},
    report::{ReportInput, Seen},
};

/// What is in the way is looked at again so soon, where nothing tells of a change.
const LOOK_AGAIN: SignedDuration = SignedDuration::from_mins(1);
/// So soon Pods that do not run are looked at again.
const LOOK_AT_PODS: SignedDuration = SignedDuration::from_secs(15);
/// So long after its Job a Pod is there, where nothing refuses it.
const POD_WITHIN: SignedDuration = SignedDuration::from_secs(30);
/// So long after a Job ended well its answer may still be on the way.
const ANSWER_WITHIN: SignedDuration = SignedDuration::from_secs(20);
/// So long after its deadline a Job that has not ended is given up: that of a node that died never ends.
const JOB_MARGIN: SignedDuration = SignedDuration::from_secs(30);
/// So long after the time of the scan its reports may still be written.
const REPORT_MARGIN: SignedDuration = SignedDuration::from_secs(60);

/// What a place tells of a scan.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PlaceStatus {
    /// In the management cluster: under which admission policies the spec was written, where that is known.
    pub admission: Option<Admission>,
    /// In the management cluster: since when it may scan.
    pub begun: Option<Timestamp>,
    /// In the management cluster: when its time was over, once it is.
    pub over: Option<Timestamp>,
    /// In the management cluster: the reports of all clusters.
    pub reports: BTreeMap<String, Reported>,
    /// In a cluster: whether its report is there, and nothing else.
    pub is_done: bool,
    /// Nodes that are done with, and all.
    pub progress: (usize, usize),
    /// What is in the way.
    pub obstacles: Vec<Obstacle>,
}

impl Contribution for PlaceStatus {
    fn outcome(&self) -> Outcome {
        if self.is_done {
            Outcome::Ready
        } else if self.obstacles.is_empty() {
            Outcome::Progressing
        } else {
            Outcome::Failed
        }
    }

    fn obstacles(&self) -> &[Obstacle] {
        &self.obstacles
    }
}

type Decided = Plan<CisScanOperator>;

/// Decides for a scan that is to be.
#[must_use]
pub fn plan(scan: &CisScan, world: &World, now: Timestamp) -> Decided {
    if world.is_management { in_management(scan, world, now) } else { in_cluster(scan, world, now) }
}

/// Decides for a scan that is gone, or not to be in a cluster any more.
#[must_use]
pub fn clean_up(world: &World) -> Decided {
    if world.is_management {
        return decided(PlaceStatus::default(), Vec::new(), Requeue::Released);
    }
    let groups = removed(world);
    let requeue = if groups.is_empty() { Requeue::Released } else { Requeue::Watch };
    decided(PlaceStatus::default(), groups, requeue)
}

/// When the time of a scan is over; none before it began.
pub(crate) fn deadline(scan: &CisScan) -> Option<Timestamp> {
    let started = scan.status.as_ref()?.started_at.as_ref()?.0;
    started.checked_add(SignedDuration::try_from(scan.spec.timeout()).ok()?).ok()
}

fn in_management(scan: &CisScan, world: &World, now: Timestamp) -> Decided {
    let mut status = PlaceStatus {
        admission: record(scan, world.policies.as_ref(), &world.evidence, false, now),
        reports: world.reports.clone(),
        ..PlaceStatus::default()
    };
    let Some(deadline) = deadline(scan) else {
        let mut requeue = Requeue::Watch;
        match obstacle(scan, world) {
            Some((cause, message)) => {
                status.obstacles.push(Obstacle { namespace: None, cause, message });
                requeue = again(now, LOOK_AGAIN);
            }
            None => status.begun = Some(now),
        }
        return decided(status, Vec::new(), requeue);
    };
    let end = deadline.checked_add(REPORT_MARGIN).unwrap_or(deadline);
    if now < end {
        return decided(status, Vec::new(), Requeue::At(end));
    }
    status.over = Some(end);
    decided(status, Vec::new(), Requeue::Watch)
}

fn in_cluster(scan: &CisScan, world: &World, now: Timestamp) -> Decided {
    if let ReportState::Done(_) = world.report {
        let groups = removed(world);
        let status = PlaceStatus { is_done: groups.is_empty(), ..PlaceStatus::default() };
        return decided(status, groups, Requeue::Watch);
    }
    let Some(deadline) = deadline(scan).filter(|_| is_open(scan)) else {
        return decided(PlaceStatus::default(), removed(world), Requeue::Watch);
    };
    let cluster = &world.cluster.name;
    if let Some((cause, message)) = withdrawn(scan, cluster, world.consent) {
        return stopped(cause, message, removed(world), now);
    }
    if let Some(refusal) = &world.refused {
        let message = format!(
            "cluster {cluster} does not let Drover read the Jobs and Secrets of scans: {}; import the cluster again, as its condition CredentialValid says",
            refusal.message
        );
        return stopped(refusal.cause, message, Vec::new(), now);
    }
    let Some(profile) = &world.profile else {
        let message = format!("there is no CisProfile {} any more; create it again", scan.spec.profile_name);
        return stopped(ScanCause::ProfileNotFound.into(), message, Vec::new(), now);
    };
    let Some((version, distribution)) = &world.cluster.made_with else {
        let message = format!("the version of cluster {cluster} is not known yet; look at the Cluster");
        return stopped(StatusCause::Progressing.into(), message, Vec::new(), now);
    };
    match benchmark::choose(distribution, version, &profile.spec) {
        Ok(chosen) => scanned(scan, world, &chosen, distribution, deadline, now),
        Err(why) => {
            let input = ReportInput::refused(scan, world, why.to_string());
            decided(PlaceStatus::default(), vec![vec![Action::Report(Box::new(input))]], Requeue::Watch)
        }
    }
}

/// What is to be done with one node.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    Prepare,
    Start,
    Wait,
    Done(Seen),
}

fn scanned(
    scan: &CisScan,
    world: &World,
    chosen: &Chosen,
    distribution: &str,
    deadline: Timestamp,
    now: Timestamp,
) -> Decided {
    let found = Found::in_world(world);
    let uid = scan.uid().unwrap_or_default();
    let is_over = now >= deadline;
    if let Some(first) = world.waits_for.as_ref().filter(|_| !is_over) {
        return waiting(scan, world, first, deadline, now);
    }
    let step = |node: &ScannedNode| found.step(scan, &uid, node, is_over, now);
    let steps: Vec<_> = world.nodes.all.iter().map(|node| (node, step(node))).collect();
    let done = steps.iter().filter(|(_, step)| matches!(step, Step::Done(_))).count();
    let progress = (done, steps.len());
    if done == steps.len() {
        let mut nodes: Vec<_> = steps
            .into_iter()
            .filter_map(|(node, step)| match step {
                Step::Done(seen) => Some((node.clone(), seen)),
                _ => None,
            })
            .collect();
        nodes.extend(found.gone(world));
        if world.nodes.has_more {
            let message = format!("only {MOST_NODES} nodes of the cluster are scanned");
            let others = ScannedNode::new("others", BTreeMap::new(), false);
            nodes.push((others, Seen::Missing(MissingReason::TooManyNodes, message)));
        }
        let input = ReportInput::of(scan, world, chosen, distribution, nodes);
        let status = PlaceStatus { progress, ..PlaceStatus::default() };
        return decided(status, vec![vec![Action::Report(Box::new(input))]], Requeue::Watch);
    }
    let target = |node: &ScannedNode| {
        let left = Duration::try_from(deadline.duration_since(now)).unwrap_or_default();
        NodeScan {
            scan: uid.clone(),
            node: node.name().to_owned(),
            benchmark: chosen.name.clone(),
            targets: benchmark::targets(&chosen.name, Roles::of(&node.labels(), distribution)),
            timeout: scan.spec.node_timeout().min(left).max(Duration::from_secs(1)),
        }
    };
    let under_way = steps.iter().filter(|(_, step)| matches!(step, Step::Wait | Step::Start)).count();
    let room = scan.spec.concurrency().saturating_sub(under_way);
    let to_prepare = steps.iter().filter(|(_, step)| *step == Step::Prepare).take(room);
    // Each alone: a name that another client took keeps no other node from being scanned.
    let prepared = to_prepare.map(|(node, _)| vec![Action::Prepare(job::name(&uid, node.name()))]);
    let starts = steps.iter().filter_map(|(node, step)| match step {
        Step::Start => {
            let scan = target(node);
            let name = job::name(&scan.scan, &scan.node);
            let seed = job::seed(&scan, world.image.as_deref()?);
            let job = Change::Create { desired: Box::new(job::desired(&scan)), seed };
            Some(vec![Action::Account(name), Action::Job(job)])
        }
        _ => None,
    });
    let groups = starts.chain(prepared).collect();
    let mut status = PlaceStatus { progress, ..PlaceStatus::default() };
    status.obstacles.extend(not_running(world, now));
    let next = again(now, if under_way > 0 { LOOK_AT_PODS } else { LOOK_AGAIN });
    decided(status, groups, earlier(next, deadline))
}

/// Another scan of the cluster has its turn. Who that is, is told within its namespace only.
fn waiting(scan: &CisScan, world: &World, first: &ObjectKey, deadline: Timestamp, now: Timestamp) -> Decided {
    let is_beside = scan.metadata.namespace.as_ref() == Some(&first.namespace);
    let who = if is_beside { format!(" (CisScan {})", first.name) } else { String::new() };
    let message = format!(
        "another scan of cluster {} is under way{who}; this one begins there when that one is done",
        world.cluster.name
    );
    let obstacles = vec![Obstacle { namespace: None, cause: ScanCause::OperationRunning.into(), message }];
    let status = PlaceStatus { obstacles, ..PlaceStatus::default() };
    decided(status, Vec::new(), earlier(again(now, LOOK_AT_PODS), deadline))
}

/// Why a Job has no Pod that runs: in the words of a Pod, or as there is none long after it should be there.
fn not_running(world: &World, now: Timestamp) -> Option<Obstacle> {
    let cluster = &world.cluster.name;
    let of_pod = |pod: &Pod| {
        let one = std::slice::from_ref(pod);
        let words = [BENCH, COLLECTOR].iter().find_map(|container| pods::trouble(one, container))?;
        let node = pod.spec.as_ref().and_then(|spec| spec.node_name.clone()).unwrap_or_default();
        Some(format!("a Job of the scan on cluster {cluster} does not run: on node {node}, {words}"))
    };
    let is_without = |job: &Job| {
        let created = job.metadata.creation_timestamp.as_ref().map(|time| time.0);
        let is_late = created.is_some_and(|created| now.duration_since(created) > POD_WITHIN);
        is_late && job::is_waiting(job) && job::has_no_pod(job)
    };
    let refused = || {
        let mut jobs = world.jobs.iter().filter_map(|found| found.live.as_deref().ok());
        jobs.any(is_without).then(|| {
            format!("a Job of the scan on cluster {cluster} has no Pod; look at the events of drover-system there, as a quota or an admission policy may refuse it")
        })
    };
    let message = world.pods.iter().find_map(of_pod).or_else(refused)?;
    Some(Obstacle { namespace: None, cause: ScanCause::JobNotRunning.into(), message })
}

/// What there is in a cluster, by names.
struct Found<'a> {
    jobs: BTreeMap<&'a str, &'a Owned<Job>>,
    answers: BTreeMap<&'a str, &'a Owned<AnswerSecret>>,
}

impl<'a> Found<'a> {
    fn in_world(world: &'a World) -> Self {
        let jobs = world.jobs.iter().filter(|found| found.title == Title::Created && is_of_scans(found.meta()));
        let answers = world.answers.iter().filter(|found| is_of_scans(found.meta()));
        Self { jobs: jobs.filter_map(named).collect(), answers: answers.filter_map(named).collect() }
    }

    fn step(&self, scan: &CisScan, uid: &str, node: &ScannedNode, is_over: bool, now: Timestamp) -> Step {
        let name = job::name(uid, node.name());
        let answer = self.answers.get(&*name);
        if answer.is_some_and(|found| found.live.as_ref().is_ok_and(|live| live.is_answered())) {
            return Step::Done(Seen::Answered(name));
        }
        let missing = |reason, message: &str| Step::Done(Seen::Missing(reason, message.to_owned()));
        match self.jobs.get(&*name).map(|found| stage(scan, found, now)) {
            Some(Stage::Ended(seen)) => Step::Done(seen),
            _ if is_over => missing(
                MissingReason::TimedOut,
                "it had not answered when the time of the scan was over; raise spec.timeout or spec.concurrency",
            ),
            Some(Stage::Running) => Step::Wait,
            None if !node.is_ready() => {
                missing(MissingReason::NodeNotReady, "the node is not ready, so it was not scanned")
            }
            None if answer.is_some_and(|found| found.title == Title::Created) => Step::Start,
            None => Step::Prepare,
        }
    }

    /// Nodes that were scanned and are not there any more.
    fn gone(&self, world: &World) -> Vec<(ScannedNode, Seen)> {
        let is_there = |name: &str| world.nodes.all.iter().any(|node| node.name() == name);
        let nodes = self.jobs.values().filter_map(|found| job::node_of(found.live.as_deref().ok()?));
        nodes
            .filter(|name| !is_there(name))
            .map(|name| {
                let seen = Seen::Missing(MissingReason::NodeGone, "the node is not there any more".to_owned());
                (ScannedNode::new(name, BTreeMap::new(), false), seen)
            })
            .collect()
    }
}

fn named<K: Kept>(found: &Owned<K>) -> Option<(&str, &Owned<K>)> {
    Some((found.meta().name.as_deref()?, found))
}

enum Stage {
    Running,
    Ended(Seen),
}

/// How the Job of a node stands that has not answered.
fn stage(scan: &CisScan, found: &Owned<Job>, now: Timestamp) -> Stage {
    let ended = |reason, message: &str| Stage::Ended(Seen::Missing(reason, message.to_owned()));
    let since = |time: Option<Timestamp>| time.map_or(SignedDuration::ZERO, |time| now.duration_since(time));
    let Ok(job) = &found.live else {
        return ended(
            MissingReason::JobFailed,
            "its Job cannot be read; look at the Jobs of drover-system in the cluster",
        );
    };
    match job::ended(job) {
        Some(Ended::Complete) => {
            let at = job.status.as_ref().and_then(|status| Some(status.completion_time.as_ref()?.0));
            if since(at) < ANSWER_WITHIN {
                return Stage::Running;
            }
            ended(
                MissingReason::NoAnswer,
                "its Job ended without an answer; find out who changes Secrets of drover-system in the cluster",
            )
        }
        Some(Ended::DeadlineExceeded) => ended(MissingReason::TimedOut, "it did not answer within spec.nodeTimeout"),
        Some(Ended::Failed) => ended(
            MissingReason::JobFailed,
            "its Job failed; look at the events of drover-system in the cluster, as the Pod may have been evicted",
        ),
        None => {
            let age = since(job.metadata.creation_timestamp.as_ref().map(|time| time.0));
            let most = SignedDuration::try_from(scan.spec.node_timeout()).unwrap_or(SignedDuration::MAX);
            if age > most.saturating_add(JOB_MARGIN) {
                return ended(
                    MissingReason::TimedOut,
                    "it did not answer within spec.nodeTimeout, and its Job did not end",
                );
            }
            Stage::Running
        }
    }
}

/// Everything goes: of each node the Secret before the Job, which tells that it was made. What a collector did to its Secret keeps it
/// from nothing.
fn removed(world: &World) -> Vec<Vec<Action>> {
    let mut groups: Vec<_> = world
        .jobs
        .iter()
        .filter(|found| is_of_scans(found.meta()))
        .filter_map(|found| {
            let name = found.meta().name.clone().filter(|_| found.title == Title::Created);
            let discard = name.map(Action::Discard);
            Some(discard.into_iter().chain([Action::Job(removal(found)?)]).collect::<Vec<_>>())
        })
        .collect();
    let has_job = |name: Option<&String>| world.jobs.iter().any(|job| job.meta().name.as_ref() == name);
    let answers = world.answers.iter().filter(|found| is_of_scans(found.meta()));
    let alone = answers.filter(|found| !has_job(found.meta().name.as_ref()));
    groups.extend(alone.filter_map(|found| {
        if found.title == Title::Created {
            return Some(vec![Action::Discard(found.meta().name.clone()?)]);
        }
        Some(vec![Action::Answer(removal(found)?)])
    }));
    groups
}

fn removal<K: Kept>(found: &Owned<K>) -> Option<Change<K>> {
    let meta = Box::new(found.meta().clone());
    if meta.deletion_timestamp.is_some() {
        return None;
    }
    Some(if found.title == Title::Created { Change::Delete(meta) } else { Change::Disclaim(meta) })
}

fn stopped(cause: drover_runtime::Cause, message: String, groups: Vec<Vec<Action>>, now: Timestamp) -> Decided {
    let obstacles = vec![Obstacle { namespace: None, cause, message }];
    decided(PlaceStatus { obstacles, ..PlaceStatus::default() }, groups, again(now, LOOK_AGAIN))
}

fn again(now: Timestamp, pause: SignedDuration) -> Requeue {
    now.checked_add(pause).map_or(Requeue::Watch, Requeue::At)
}

fn earlier(requeue: Requeue, deadline: Timestamp) -> Requeue {
    match requeue {
        Requeue::At(time) => Requeue::At(time.min(deadline)),
        other => other,
    }
}

fn decided(place_status: PlaceStatus, groups: Vec<Vec<Action>>, requeue: Requeue) -> Decided {
    Plan { place_status, groups, requeue }
}

#[cfg(test)]
mod tests;
