//! The report of one cluster: what is known when it is written, and what it says. Pure.

use std::{collections::BTreeMap, sync::Arc};

use drover_crds::{
    CisProfileSpec, CisReportStatus, CisScan, CisWaiver, NodeCoverage, ReportChanges, UsedBenchmark, Verdict,
    condition::COMPLIANT,
};
use drover_runtime::{
    StatusCause,
    error::legible,
    status::{Activity, State, condition, ready_conditions},
};
use drover_scan_jobs::node::ScannedNode;
use drover_scans::{
    benchmark::{Chosen, ENGINE, Roles, unseen_control_plane},
    missing::MissingReason,
    report::Finished,
};
use k8s_openapi::{
    apimachinery::pkg::apis::meta::v1::{Condition, Time},
    jiff::Timestamp,
};

use crate::{
    ScanCause,
    observe::{Baseline, World},
};

/// Longest text that says why a benchmark was taken, in bytes.
const WHY_LIMIT: usize = 256;

/// What is known of one node when the report is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    /// It answered in the Secret of this name.
    Answered(String),
    /// It did not, and why.
    Missing(MissingReason, String),
}

/// What a report is made of, but for the answers.
#[derive(Clone, Debug)]
pub struct ReportInput {
    pub(crate) cluster: String,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) profile: CisProfileSpec,
    pub(crate) waivers: Vec<Arc<CisWaiver>>,
    pub(crate) used: UsedBenchmark,
    subject: Subject,
    pub(crate) baseline: Baseline,
}

/// What there is to report.
#[derive(Clone, Debug)]
pub(crate) enum Subject {
    /// What the nodes answered.
    Nodes {
        /// The distribution of the cluster.
        distribution: String,
        /// The nodes.
        nodes: Vec<(ScannedNode, Seen)>,
    },
    /// Why nothing was looked at.
    Refused(String),
}

impl ReportInput {
    /// Of a cluster whose nodes were scanned.
    pub(crate) fn of(
        scan: &CisScan,
        world: &World,
        chosen: &Chosen,
        distribution: &str,
        nodes: Vec<(ScannedNode, Seen)>,
    ) -> Self {
        let subject = Subject::Nodes { distribution: distribution.to_owned(), nodes };
        Self::about(world, used(scan, world, &chosen.name, &chosen.why), subject)
    }

    /// Of a cluster that cannot be scanned at all.
    pub(crate) fn refused(scan: &CisScan, world: &World, refusal: String) -> Self {
        Self::about(world, used(scan, world, "none", &refusal), Subject::Refused(refusal))
    }

    fn about(world: &World, used: UsedBenchmark, subject: Subject) -> Self {
        Self {
            cluster: world.cluster.name.clone(),
            labels: world.cluster.labels.clone(),
            profile: world.profile.as_ref().map(|profile| profile.spec.clone()).unwrap_or_default(),
            waivers: world.waivers.clone(),
            used,
            subject,
            baseline: world.baseline.clone(),
        }
    }

    /// What a node is for.
    pub(crate) fn roles(&self, node: &ScannedNode) -> Roles {
        match &self.subject {
            Subject::Nodes { distribution, .. } => Roles::of(&node.labels(), distribution),
            Subject::Refused(_) => Roles::default(),
        }
    }

    /// Why nothing is said of the control plane, if nothing is.
    pub(crate) fn unseen_control_plane(&self) -> Option<String> {
        let Subject::Nodes { nodes, .. } = &self.subject else { return None };
        let answered: Vec<_> = nodes.iter().filter(|(_, seen)| matches!(seen, Seen::Answered(_))).collect();
        // Where no node answered nothing passes anyway, and each says why.
        if answered.is_empty() {
            return None;
        }
        unseen_control_plane(&self.used.name, answered.into_iter().map(|(node, _)| self.roles(node)))
    }

    pub(crate) fn nodes(&self) -> &[(ScannedNode, Seen)] {
        match &self.subject {
            Subject::Nodes { nodes, .. } => nodes,
            Subject::Refused(_) => &[],
        }
    }

    /// What the report says.
    pub(crate) fn status(&self, finished: Finished, changes: Option<ReportChanges>, now: Timestamp) -> CisReportStatus {
        let Finished { counts, nodes, missing, results, node_groups, waiver_names, digest, verdict } = finished;
        let (benchmark, verdict) = match self.subject {
            Subject::Nodes { .. } => (Some(self.used.clone()), verdict),
            Subject::Refused(_) => (None, Verdict::Incomplete),
        };
        let mut status = CisReportStatus {
            observed_generation: 1,
            completed_at: Some(Time(now)),
            benchmark,
            verdict: Some(verdict),
            counts: Some(counts),
            nodes: Some(nodes),
            missing,
            results,
            node_groups,
            changes,
            waiver_names,
            digest: Some(digest),
            conditions: Vec::new(),
        };
        status.conditions = self.conditions(verdict, &status);
        for condition in &mut status.conditions {
            (condition.last_transition_time, condition.observed_generation) = (Time(now), Some(1));
        }
        status
    }

    fn conditions(&self, verdict: Verdict, status: &CisReportStatus) -> Vec<Condition> {
        let counts = status.counts.unwrap_or_default();
        let NodeCoverage { summary, .. } = status.nodes.clone().unwrap_or_default();
        let found = format!(
            "{} of {} checks passed on cluster {}, {} failed, {} warn, {} could not be looked at; {summary} nodes were scanned",
            counts.pass, counts.total, self.cluster, counts.fail, counts.warn, counts.error
        );
        let (state, cause, compliant) = match (&self.subject, verdict) {
            (Subject::Refused(_), _) => {
                let cause = ScanCause::BenchmarkUnavailable;
                (State::False, cause.cause(), (State::Unknown, cause))
            }
            (_, Verdict::Pass) => (State::True, StatusCause::Ready.cause(), (State::True, ScanCause::ChecksPassed)),
            (_, Verdict::Fail) => (State::True, StatusCause::Ready.cause(), (State::False, ScanCause::ChecksFailed)),
            (_, Verdict::Incomplete) => {
                let cause = ScanCause::ScanIncomplete;
                (State::False, cause.cause(), (State::Unknown, cause))
            }
        };
        let message = match &self.subject {
            Subject::Refused(refusal) => refusal.clone(),
            Subject::Nodes { .. } => found,
        };
        let activity = if state == State::True { Activity::Settled } else { cause.into() };
        let mut conditions = ready_conditions(state, cause, &message, activity);
        conditions.push(condition(COMPLIANT, compliant.0, compliant.1, message));
        conditions
    }
}

fn used(scan: &CisScan, world: &World, name: &str, why: &str) -> UsedBenchmark {
    UsedBenchmark {
        name: name.to_owned(),
        why: legible(why, WHY_LIMIT),
        engine: ENGINE.to_owned(),
        profile_name: scan.spec.profile_name.clone(),
        profile_generation: world.profile.as_ref().and_then(|profile| profile.metadata.generation).unwrap_or_default(),
        fail_on: scan.spec.fail_on(),
    }
}
