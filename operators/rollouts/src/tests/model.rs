//! A fleet in memory, with a clock of its own: what the apps of a rollout would do, and what is seen of it.

use std::collections::{BTreeMap, BTreeSet};

use drover_crds::{Approval, OfflinePolicy, OnStageFailure, REST, RolloutPhase, RolloutRecord, RolloutStrategy, Stage};
use k8s_openapi::jiff::Timestamp;
use serde_json::json;

use crate::{Child, Decision, Deselected, Revision, Rollout, Start, Target, To, plan};

/// What an app says of itself.
#[derive(Clone, Debug, Default)]
pub(crate) struct Status {
    pub(crate) observed: u64,
    pub(crate) applied: Option<String>,
    pub(crate) ready_since: Option<i64>,
    pub(crate) has_failed: bool,
    pub(crate) is_releasing: bool,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct App {
    pub(crate) given: String,
    pub(crate) generation: u64,
    pub(crate) running: Option<String>,
    pub(crate) is_healthy: bool,
    releasing: Option<(String, u64)>,
    pub(crate) status: Status,
    /// The status as the planner sees it, which may be old.
    pub(crate) seen: Status,
    pub(crate) is_foreign: bool,
    pub(crate) deselected_since: Option<i64>,
    /// Whether we made it unavailable, and it is not back yet.
    pub(crate) is_by_us: bool,
    pub(crate) starts: usize,
}

#[derive(Clone, Debug)]
pub(crate) struct Cluster {
    pub(crate) name: String,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) is_selected: bool,
    pub(crate) is_online: bool,
    pub(crate) is_paused: bool,
    pub(crate) app: Option<App>,
}

/// How a release ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Ready,
    Broken,
    /// It failed, and what was there before is back.
    Undone,
}

#[derive(Clone, Debug)]
pub(crate) struct World {
    /// Seconds, as the planner's clock shows them …
    pub(crate) clock: i64,
    /// … and whether that clock ever jumped.
    pub(crate) has_jumped: bool,
    pub(crate) strategy: RolloutStrategy,
    pub(crate) wanted: String,
    pub(crate) approve: Option<String>,
    pub(crate) hold: Option<String>,
    pub(crate) clusters: Vec<Cluster>,
    pub(crate) record: RolloutRecord,
    pub(crate) phase: Option<RolloutPhase>,
    was_approved: bool,
    batches: BTreeMap<String, i64>,
    removed: BTreeMap<String, BTreeSet<String>>,
}

fn time(seconds: i64) -> Timestamp {
    Timestamp::from_second(seconds).unwrap()
}

/// Stages by the label `stage`, as YAML has them.
pub(crate) fn strategy(rollout: &serde_json::Value) -> RolloutStrategy {
    serde_json::from_value(rollout.clone()).unwrap()
}

/// A stage of the clusters with this value of the label `stage`.
pub(crate) fn stage(name: &str, more: &serde_json::Value) -> serde_json::Value {
    let mut stage = json!({ "name": name, "selector": { "matchLabels": { "stage": name } } });
    stage.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    stage
}

impl World {
    /// Clusters by the name of their stage, none of which has the app.
    pub(crate) fn new(strategy: RolloutStrategy, stages: &[&str]) -> Self {
        let cluster = |(number, stage): (usize, &&str)| Cluster {
            name: format!("c{number}"),
            labels: BTreeMap::from([("stage".to_owned(), (*stage).to_owned())]),
            is_selected: true,
            is_online: true,
            is_paused: false,
            app: None,
        };
        Self {
            clock: 1_800_000_000,
            has_jumped: false,
            strategy,
            wanted: "one".to_owned(),
            approve: None,
            hold: None,
            clusters: stages.iter().enumerate().map(cluster).collect(),
            record: RolloutRecord::default(),
            phase: None,
            was_approved: false,
            batches: BTreeMap::new(),
            removed: BTreeMap::new(),
        }
    }

    /// The same, with revision `one` everywhere for long.
    pub(crate) fn completed(strategy: RolloutStrategy, stages: &[&str]) -> Self {
        let mut world = Self::new(strategy, stages);
        let since = world.clock - 1_000_000;
        for cluster in &mut world.clusters {
            let one = Some("one".to_owned());
            let status = Status { observed: 1, applied: one.clone(), ready_since: Some(since), ..Status::default() };
            let mut app =
                App { given: "one".to_owned(), generation: 1, running: one, is_healthy: true, ..App::default() };
            (app.status, app.seen) = (status.clone(), status);
            cluster.app = Some(app);
        }
        world.record = RolloutRecord {
            revision: Some("one".to_owned()),
            completed: Some("one".to_owned()),
            ..RolloutRecord::default()
        };
        world
    }

    pub(crate) fn want(&mut self, revision: &str) {
        revision.clone_into(&mut self.wanted);
    }

    pub(crate) fn app(&mut self, cluster: usize) -> &mut App {
        self.clusters[cluster].app.as_mut().unwrap()
    }

    /// The name of the stage of a cluster, found in another way than the planner does.
    fn stage_of(&self, cluster: &Cluster) -> usize {
        let label = &cluster.labels["stage"];
        self.strategy.stages.iter().position(|stage| stage.name == *label).unwrap_or(self.strategy.stages.len())
    }

    fn stage(&self, index: usize) -> Stage {
        let rest = || Stage { name: REST.to_owned(), ..Stage::default() };
        self.strategy.stages.get(index).cloned().unwrap_or_else(rest)
    }

    /// What the planner would decide now.
    pub(crate) fn decide(&self) -> Decision {
        let targets: Vec<_> = self.clusters.iter().filter(|cluster| cluster.is_selected).map(target).collect();
        let old = self.clusters.iter().filter(|cluster| !cluster.is_selected);
        let old = old.filter_map(|cluster| cluster.app.as_ref()).filter(|app| !app.is_foreign);
        let old: Vec<_> = old.map(|app| Deselected { since: app.deselected_since.map(time) }).collect();
        let rollout = Rollout {
            app: "team-a/web",
            strategy: &self.strategy,
            wanted: Revision(&self.wanted),
            approve: self.approve.as_deref(),
            hold: self.hold.as_deref(),
        };
        plan(time(self.clock), &rollout, &targets, &old, &self.record)
    }

    /// Decides, checks what was decided, and does as many of its actions as `most`: then the process dies.
    pub(crate) fn plan(&mut self, most: usize) -> Decision {
        let before = self.record.clone();
        let decision = self.decide();
        if before.revision.as_ref() != Some(&self.wanted) {
            self.was_approved = false;
            self.batches.clear();
        }
        self.was_approved |= self.approve.as_deref() == Some(&*self.wanted);
        self.check(&decision, &before);
        assert!(decision.take_up.is_empty(), "nothing was there before");
        self.record = decision.record.clone();
        self.phase = Some(decision.phase);
        let targets: Vec<_> = (0..self.clusters.len()).filter(|index| self.clusters[*index].is_selected).collect();
        let mut done = 0;
        for start in decision.starts.iter().take(most) {
            let revision = self.revision(start.to);
            start_app(&mut self.clusters[targets[start.target]], &revision);
            done += 1;
        }
        self.check_budget(decision.starts.get(..done).unwrap_or_default(), &targets);
        for index in decision.unmark.iter().take(most - done) {
            self.app(targets[*index]).deselected_since = None;
            done += 1;
        }
        self.prune(&decision, most - done);
        decision
    }

    fn revision(&self, to: To) -> String {
        if to == To::Wanted { self.wanted.clone() } else { self.record.completed.clone().unwrap() }
    }

    fn prune(&mut self, decision: &Decision, most: usize) {
        let is_old =
            |cluster: &Cluster| !cluster.is_selected && cluster.app.as_ref().is_some_and(|app| !app.is_foreign);
        let old: Vec<_> = (0..self.clusters.len()).filter(|index| is_old(&self.clusters[*index])).collect();
        let window = self.record.pruned.as_ref().map(|pruned| format!("{:?}", pruned.since)).unwrap_or_default();
        for (index, is_removed) in
            decision.mark.iter().map(|index| (*index, false)).chain(decision.remove.iter().map(|index| (*index, true)))
        {
            let name = self.clusters[old[index]].name.clone();
            if is_removed {
                self.removed.entry(window.clone()).or_default().insert(name);
            }
        }
        if let Some(pruned) = &self.record.pruned {
            let most = self.strategy.prune.max_fraction().of(usize::try_from(pruned.of).unwrap());
            let removed = self.removed.get(&window).map_or(0, BTreeSet::len);
            assert!(removed <= most, "{removed} of {} are removed, and {most} may be", pruned.of);
        }
        let marks = decision.mark.iter().map(|index| (*index, false));
        for (index, is_removed) in marks.chain(decision.remove.iter().map(|index| (*index, true))).take(most) {
            let cluster = &mut self.clusters[old[index]];
            if is_removed {
                cluster.app = None;
            } else {
                cluster.app.as_mut().unwrap().deselected_since = Some(decision.mark_at.as_second());
            }
        }
    }

    /// The promises, as far as they can be seen at a decision.
    fn check(&self, decision: &Decision, before: &RolloutRecord) {
        let targets: Vec<_> = self.clusters.iter().filter(|cluster| cluster.is_selected).collect();
        let of = |start: &Start| targets[start.target];
        let names: BTreeSet<_> = decision.starts.iter().map(|start| &of(start).name).collect();
        assert_eq!(names.len(), decision.starts.len(), "a target is started once");
        for start in &decision.starts {
            let cluster = of(start);
            assert!(cluster.is_online && !cluster.is_paused, "{} is away", cluster.name);
            let app = cluster.app.as_ref();
            assert!(app.is_none_or(|app| !app.is_foreign), "{} is of others", cluster.name);
            assert_eq!(app.is_none(), start.is_new);
        }
        if self.hold.as_deref() == Some(&*self.wanted) {
            assert!(decision.starts.is_empty() && decision.remove.is_empty() && decision.mark.is_empty(), "it is held");
        }
        if self.strategy.paused {
            assert!(decision.starts.iter().all(|start| start.is_new) && decision.remove.is_empty(), "it is paused");
        }
        if targets.is_empty() {
            assert!(decision.remove.is_empty(), "nothing is selected");
        }
        if decision.record.failed {
            assert!(decision.starts.iter().all(|start| start.to == To::Completed), "what failed is not tried again");
        }
        let is_before = before.completed.as_deref() == Some(&*self.wanted);
        if !is_before && !decision.record.failed {
            assert!(!self.strategy.paused || decision.starts.iter().all(|start| start.to == To::Completed));
            self.check_stages(decision, before, &targets);
        }
    }

    /// No stage begins before those before it are done on this revision.
    fn check_stages(&self, decision: &Decision, before: &RolloutRecord, targets: &[&Cluster]) {
        for start in decision.starts.iter().filter(|start| start.to == To::Wanted) {
            let index = self.stage_of(targets[start.target]);
            let stage = self.stage(index);
            assert!(stage.approval == Approval::None || self.was_approved, "{} is not approved", stage.name);
            let is_of_this = before.revision.as_ref() == Some(&self.wanted);
            let noted =
                before.batch.as_ref().filter(|batch| is_of_this && batch.stage == stage.name && !self.has_jumped);
            if let Some(last) = noted.filter(|_| self.left_of_batch(before, index, targets) <= 0) {
                let passed = self.clock - last.at.0.as_second();
                assert!(passed >= i64::try_from(stage.interval().as_secs()).unwrap(), "{passed}s after a batch");
            }
            for stage_before in 0..=index {
                self.check_stage(stage_before, stage_before < index, targets);
            }
        }
    }

    /// How many targets of a stage are left of the batch that was noted for it.
    fn left_of_batch(&self, before: &RolloutRecord, index: usize, targets: &[&Cluster]) -> i64 {
        let name = self.stage(index).name;
        let upto = before.batch.as_ref().filter(|batch| batch.stage == name).map_or(0, |batch| batch.upto);
        let is_given = |cluster: &&&Cluster| {
            let is_given = |app: &App| !app.is_foreign && app.given == self.wanted;
            self.stage_of(cluster) == index && cluster.app.as_ref().is_some_and(is_given)
        };
        upto - i64::try_from(targets.iter().filter(is_given).count()).unwrap()
    }

    fn check_stage(&self, index: usize, is_before: bool, targets: &[&Cluster]) {
        let stage = self.stage(index);
        let policy = self.strategy.offline_policy;
        let mut failed = 0;
        for cluster in targets.iter().filter(|cluster| self.stage_of(cluster) == index) {
            let is_away = !cluster.is_online || cluster.is_paused;
            let app = cluster.app.as_ref();
            let is_current = app.is_some_and(|app| app.seen.observed == app.generation && !app.seen.is_releasing);
            let has_failed =
                app.is_some_and(|app| app.is_foreign || is_current && app.seen.has_failed && app.given == self.wanted);
            failed += usize::from(has_failed && !is_away);
            if !is_before || is_away && policy == OfflinePolicy::Skip || has_failed && !is_away {
                continue;
            }
            let app = app.expect("a stage begins, and one before has a target without an app");
            assert_eq!(
                app.running.as_deref(),
                Some(&*self.wanted),
                "{} is not done, and a later stage begins",
                cluster.name
            );
            let since = app.seen.ready_since.expect("it was ready when it was looked");
            let ready = self.clock - since;
            let least = i64::try_from(stage.min_ready().as_secs()).unwrap();
            assert!(ready >= least || self.has_jumped, "{} is ready for {ready}s, not {least}s", cluster.name);
        }
        let may_fail = stage.on_failure == OnStageFailure::Continue || failed <= stage.max_failures();
        assert!(may_fail, "{failed} failed in {}, and more are started", stage.name);
    }

    /// What we made unavailable is within the budget, wherever we made more so.
    fn check_budget(&mut self, starts: &[Start], targets: &[usize]) {
        let mut stages = BTreeSet::new();
        for start in starts {
            let cluster = &self.clusters[targets[start.target]];
            let stage = self.stage(self.stage_of(cluster));
            if start.to == To::Wanted {
                self.batches.insert(stage.name, self.clock);
            }
            // What joins takes nothing away from anybody.
            if cluster.app.as_ref().is_some_and(|app| app.is_by_us) {
                stages.insert(self.stage_of(cluster));
            }
        }
        for index in stages {
            let is_away = |cluster: &Cluster| !cluster.is_online || cluster.is_paused;
            let of_stage =
                self.clusters.iter().filter(|cluster| cluster.is_selected && self.stage_of(cluster) == index);
            let members: Vec<_> = of_stage.collect();
            let by_us = members
                .iter()
                .filter(|cluster| !is_away(cluster) && cluster.app.as_ref().is_some_and(|app| app.is_by_us));
            let by_us = by_us.count();
            let total = match self.strategy.offline_policy {
                OfflinePolicy::Count => members.len(),
                OfflinePolicy::Skip | OfflinePolicy::Wait => members.iter().filter(|cluster| !is_away(cluster)).count(),
            };
            let stage = self.stage(index);
            let most = stage.max_unavailable(total);
            let is_more = self.newly_by_us(index, starts, targets) > 0;
            assert!(
                !is_more || by_us <= most,
                "{by_us} of {total} in {} are unavailable by us, and {most} may be",
                stage.name
            );
        }
    }

    /// How many of this stage the decision made unavailable.
    fn newly_by_us(&self, stage: usize, starts: &[Start], targets: &[usize]) -> usize {
        let clusters = starts.iter().map(|start| &self.clusters[targets[start.target]]);
        let newly = clusters.filter(|cluster| cluster.app.as_ref().is_some_and(|app| app.is_by_us && app.starts == 1));
        newly.filter(|cluster| self.stage_of(cluster) == stage).count()
    }
}

/// Gives an app a revision, or creates it with one.
fn start_app(cluster: &mut Cluster, revision: &str) {
    let is_seen_available = cluster.app.as_ref().is_some_and(is_seen_available);
    let app = cluster.app.get_or_insert_default();
    revision.clone_into(&mut app.given);
    app.generation += 1;
    app.starts = if app.is_by_us { 2 } else { usize::from(is_seen_available) };
    app.is_by_us |= is_seen_available;
}

/// Whether the planner has to take the app for available: its status says so, or nothing is known since then.
fn is_seen_available(app: &App) -> bool {
    let seen = &app.seen;
    let is_settled = seen.has_failed || seen.applied.as_deref() == Some(&*app.given);
    let is_known = seen.observed == app.generation;
    !seen.is_releasing && seen.ready_since.is_some() && is_settled && (is_known || app.is_healthy)
}

fn target(cluster: &Cluster) -> Target<'_> {
    let child = cluster.app.as_ref().map(|app| Child {
        is_taken_up: false,
        given: Some(Revision(&app.given)),
        applied: app.seen.applied.as_deref().map(Revision),
        is_current: app.seen.observed == app.generation && !app.seen.is_releasing,
        is_releasing: app.seen.observed == app.generation && app.seen.is_releasing,
        ready_since: app.seen.ready_since.map(time),
        has_failed: app.seen.has_failed,
        is_foreign: app.is_foreign,
        is_marked: app.deselected_since.is_some(),
    });
    Target {
        cluster: &cluster.name,
        labels: &cluster.labels,
        child,
        is_online: cluster.is_online,
        is_paused: cluster.is_paused,
    }
}

/// What happens in the clusters.
impl World {
    /// The app begins to release what it was given.
    pub(crate) fn release(&mut self, cluster: usize) {
        let cluster = &mut self.clusters[cluster];
        let Some(app) = cluster.app.as_mut().filter(|_| cluster.is_online && !cluster.is_paused) else { return };
        if app.is_foreign || app.releasing.is_some() || app.status.observed == app.generation {
            return;
        }
        app.status.observed = app.generation;
        if app.running.as_ref() == Some(&app.given) && app.is_healthy && !app.status.has_failed {
            app.is_by_us = false;
            return;
        }
        app.status.has_failed = false;
        app.status.is_releasing = true;
        app.status.ready_since = None;
        app.is_healthy = false;
        app.releasing = Some((app.given.clone(), app.generation));
    }

    pub(crate) fn finish(&mut self, cluster: usize, outcome: Outcome) {
        let clock = self.clock;
        let cluster = &mut self.clusters[cluster];
        let Some(app) = cluster.app.as_mut().filter(|_| cluster.is_online && !cluster.is_paused) else { return };
        let Some((revision, _)) = app.releasing.take() else { return };
        // It is another object, of others; what was sent before ends for nobody.
        if app.is_foreign {
            return;
        }
        // Where there was nothing before, nothing can be back.
        let outcome = if outcome == Outcome::Undone && app.running.is_none() { Outcome::Broken } else { outcome };
        app.status.is_releasing = false;
        app.status.has_failed = outcome != Outcome::Ready;
        app.is_healthy = outcome != Outcome::Broken;
        app.status.ready_since = app.is_healthy.then_some(clock);
        if outcome != Outcome::Undone {
            app.running = Some(revision.clone());
            app.status.applied = (outcome == Outcome::Ready).then_some(revision);
        }
        if app.is_healthy && (app.running.as_ref() == Some(&app.given) || outcome == Outcome::Undone) {
            app.is_by_us = app.status.observed != app.generation;
        }
    }

    /// The app becomes ready or unready by itself.
    pub(crate) fn turn(&mut self, cluster: usize, is_healthy: bool) {
        let clock = self.clock;
        let Some(app) = &mut self.clusters[cluster].app else { return };
        if app.releasing.is_none() && app.is_healthy != is_healthy && app.running.is_some() {
            app.is_healthy = is_healthy;
            app.status.ready_since = is_healthy.then_some(clock);
            app.is_by_us &= !is_healthy;
        }
    }

    /// What an app says of itself is seen.
    pub(crate) fn report(&mut self, cluster: usize) {
        if let Some(app) = &mut self.clusters[cluster].app {
            app.seen = app.status.clone();
        }
    }

    /// Releases end well, all is seen, and time goes on, until nothing happens any more. Gives the last decision.
    pub(crate) fn settle(&mut self) -> Decision {
        for _ in 0..600 {
            let (record, decision) = (self.record.clone(), self.plan(usize::MAX));
            let is_quiet = decision.starts.is_empty() && decision.remove.is_empty() && decision.mark.is_empty();
            let mut is_still = true;
            for cluster in 0..self.clusters.len() {
                let before = self.clusters[cluster].app.as_ref().map(|app| (app.status.observed, app.is_healthy));
                self.release(cluster);
                self.finish(cluster, Outcome::Ready);
                if self.clusters[cluster].is_online {
                    self.turn(cluster, true);
                }
                self.report(cluster);
                let after = self.clusters[cluster].app.as_ref().map(|app| (app.status.observed, app.is_healthy));
                is_still &= before == after;
            }
            let next = decision.requeue_at.filter(|_| is_quiet && is_still);
            if is_quiet && is_still && next.is_none() && decision.record == record {
                return decision;
            }
            self.clock = next.map_or(self.clock + 1, |next| (self.clock + 1).max(next.as_second() + 1));
        }
        panic!("it does not come to rest: {:#?}", self.decide());
    }

    /// Whether every selected cluster that can be reached runs this revision.
    pub(crate) fn all_run(&self, revision: &str) -> bool {
        let mut reached =
            self.clusters.iter().filter(|cluster| cluster.is_selected && cluster.is_online && !cluster.is_paused);
        reached.all(|cluster| cluster.app.as_ref().is_some_and(|app| app.running.as_deref() == Some(revision)))
    }
}
