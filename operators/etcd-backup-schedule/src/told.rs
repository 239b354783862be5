//! How the clusters of a schedule fare, by their backups. Pure.

use std::time::Duration;

use drover_crds::{
    BackupCounts, EtcdBackup, EtcdBackupSchedule, MAX_PROBLEMS, Problem, RecoveryPoint, TargetSummary,
    condition::{READY, StatusConditions},
};
use drover_runtime::{Cause, error::legible};
use drover_schedule::{
    Runs, Share,
    missed::{Made, Missed},
    runs::MOST_MISSED,
};
use k8s_openapi::{
    apimachinery::pkg::apis::meta::v1::Time,
    jiff::{SignedDuration, Timestamp},
};
use kube::ResourceExt as _;

use crate::{
    ScheduleCause,
    children::{Child, Children, Stage},
    observe::{Missing, Selected, World},
};

/// How much longer than its own time a backup may take until it counts as missed: it waits for its turn, and is completed.
const MARGIN: Duration = Duration::from_mins(15);
/// Longest text of a backup that a problem repeats, in bytes.
const TEXT_LIMIT: usize = 240;

/// The share of a cluster in the spread of a schedule.
#[must_use]
pub fn share(schedule: &EtcdBackupSchedule, cluster: &str) -> Share {
    Share::of(&[&schedule.namespace().unwrap_or_default(), &schedule.name_any(), cluster])
}

/// What there is to say of all clusters.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Told {
    /// How many clusters.
    pub clusters: TargetSummary,
    /// Clusters of which Drover cannot reach the etcd.
    pub not_supported: i64,
    /// How many backups.
    pub backups: BackupCounts,
    /// To which time all of them can go back.
    pub recovery_point: RecoveryPoint,
    /// What is wrong, the first ones.
    pub problems: Vec<Problem>,
    /// Clusters that are named and are not backed up: how many, and the first of them.
    pub missing: (i64, Option<Missing>),
    /// Clusters that can be reached and fare badly: how many, and what is said of the first of them.
    pub failing: (i64, Option<String>),
    /// Clusters without a backup of their last two runs: how many, and the first of them.
    pub unhealthy: (i64, Option<String>),
    /// When time alone may make it something else.
    pub again: Option<Timestamp>,
}

/// How one cluster fares.
struct Fares {
    problem: Option<Problem>,
    is_healthy: bool,
    again: Option<Timestamp>,
}

/// What tells how clusters fare.
pub(crate) struct Judge<'a> {
    pub(crate) schedule: &'a EtcdBackupSchedule,
    pub(crate) runs: &'a Runs,
    /// Since when the schedule is as it is: what was before does not count.
    pub(crate) since: Timestamp,
    pub(crate) now: Timestamp,
}

impl Judge<'_> {
    pub(crate) fn tell(&self, world: &World, children: &Children<'_>) -> Told {
        let mut told = Told { not_supported: world.not_supported, ..Told::default() };
        told.missing = (count(world.missing.len()), world.missing.first().cloned());
        let missing = world.missing.iter().take(MAX_PROBLEMS);
        told.problems.extend(missing.map(|one| problem(&one.cluster, one.cause, one.message.clone())));
        told.clusters.total = count(world.selected.len());
        told.clusters.without_consent = world.refused;
        for selected in &world.selected {
            let of_cluster = children.of_cluster(&selected.name);
            // What a clock that was ahead made counts for nothing before it is time for it.
            let past = of_cluster.partition_point(|child| child.tick <= self.now);
            let fares = self.fares(selected, of_cluster.get(..past).unwrap_or_default());
            told.add(selected, fares);
            told.add_recovery_point(selected, of_cluster);
        }
        told.clusters.summary = format!("{}/{}", told.clusters.ready, told.clusters.total);
        told.backups = counts(children);
        told
    }

    fn fares(&self, selected: &Selected, children: &[Child<'_>]) -> Fares {
        let share = share(self.schedule, &selected.name);
        let missed = self.missed();
        let made: Vec<_> = children.iter().map(|child| Made { tick: child.tick, fate: child.stage.fate() }).collect();
        let is_healthy = missed.count(share, &made) < MOST_MISSED;
        let newest = children.last();
        let is_open = |child: &&Child<'_>| matches!(child.stage, Stage::Waiting | Stage::Running);
        let again = newest.filter(is_open).and_then(|child| missed.judged_again(missed.begun(child.tick, share)));
        let problem = newest.and_then(|child| self.problem(&selected.name, child, children, is_healthy, share));
        Fares { problem, is_healthy, again }
    }

    fn missed(&self) -> Missed<'_> {
        let timeout = self.schedule.spec.template.of_cluster("").timeout();
        let allowance = SignedDuration::try_from(timeout + MARGIN).unwrap_or(SignedDuration::MAX);
        Missed { runs: self.runs, since: self.since, allowance, now: self.now }
    }

    fn problem(
        &self,
        cluster: &str,
        newest: &Child<'_>,
        children: &[Child<'_>],
        is_healthy: bool,
        share: Share,
    ) -> Option<Problem> {
        let ended = children.iter().rev().find(|child| matches!(child.stage, Stage::Succeeded | Stage::Failed));
        if !is_healthy {
            let message = format!("cluster {cluster} has no backup of its last two times; {}", says(newest.live));
            return Some(problem(cluster, ScheduleCause::BackupsMissed, message));
        }
        let missed = self.missed();
        let is_late = newest.stage == Stage::Waiting && missed.is_late(missed.begun(newest.tick, share));
        if newest.stage == Stage::NotAdmitted || is_late {
            let message = format!("a backup of cluster {cluster} has not begun; {}", says(newest.live));
            return Some(problem(cluster, ScheduleCause::BackupWaits, message));
        }
        let failed = ended.filter(|child| child.stage == Stage::Failed)?;
        let message = format!("the last backup of cluster {cluster} has failed; {}", says(failed.live));
        Some(problem(cluster, ScheduleCause::LastBackupFailed, message))
    }
}

fn problem(cluster: &str, cause: impl Into<Cause>, message: String) -> Problem {
    Problem { cluster: cluster.to_owned(), namespace: None, reason: cause.into().reason().to_owned(), message }
}

/// What a backup says of itself, and its name.
fn says(backup: &EtcdBackup) -> String {
    let name = backup.name_any();
    let conditions = backup.status.as_ref().map(StatusConditions::conditions).unwrap_or_default();
    let ready = conditions.iter().find(|condition| condition.type_ == READY && condition.status != "True");
    match ready {
        Some(ready) => format!("EtcdBackup {name} says: {}", legible(&ready.message, TEXT_LIMIT)),
        None => format!("look at EtcdBackup {name}"),
    }
}

impl Told {
    fn add(&mut self, selected: &Selected, fares: Fares) {
        self.again = [self.again, fares.again].into_iter().flatten().min();
        if !fares.is_healthy {
            self.unhealthy.0 += 1;
            self.unhealthy.1.get_or_insert_with(|| selected.name.clone());
        }
        match fares.problem {
            None => self.clusters.ready += 1,
            Some(problem) => {
                if selected.is_online {
                    self.failing.0 += 1;
                    self.failing.1.get_or_insert_with(|| problem.message.clone());
                } else {
                    self.clusters.unreachable += 1;
                }
                if self.problems.len() < MAX_PROBLEMS {
                    self.problems.push(problem);
                }
            }
        }
    }

    fn add_recovery_point(&mut self, selected: &Selected, children: &[Child<'_>]) {
        // Of another cluster of this name nothing can be restored into this one.
        let is_of_it = |child: &&Child<'_>| {
            let backed_up = child.live.status.as_ref().and_then(|status| status.cluster.as_ref());
            backed_up.is_some_and(|found| selected.uid.as_ref().is_none_or(|uid| *uid == found.uid))
        };
        let good = children.iter().filter(|child| child.can_be_restored() && !child.is_deleting).filter(is_of_it);
        let Some(newest) = good.filter_map(Child::taken_at).max() else {
            self.recovery_point.clusters_without += 1;
            return;
        };
        if self.recovery_point.taken_at.as_ref().is_none_or(|oldest| newest < oldest.0) {
            self.recovery_point.taken_at = Some(Time(newest));
            self.recovery_point.cluster = Some(selected.name.clone());
        }
    }
}

fn counts(children: &Children<'_>) -> BackupCounts {
    let mut counts = BackupCounts::default();
    for child in children.iter() {
        match child.stage {
            Stage::NotAdmitted | Stage::Waiting | Stage::Running => counts.running += 1,
            Stage::Failed => counts.failed += 1,
            Stage::Succeeded => {
                counts.succeeded += 1;
                counts.verified += i64::from(child.is_verified());
            }
        }
    }
    counts
}

fn count(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
