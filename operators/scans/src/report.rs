//! All nodes of a cluster together: every check once, with its worst state, and the verdict. Pure.
//!
//! Nodes are added one by one, and what they have in common is kept once, so a report is of one size whatever the number of nodes. Whatever
//! a node says, it takes nothing away from what others say.

use std::{
    collections::{BTreeMap, BTreeSet, btree_map},
    sync::Arc,
};

use drover_client::error::legible;
use drover_crds::{
    CheckCounts, CheckResult, CheckState, CisProfileSpec, CisWaiver, FailOn, MAX_CHECKS, MAX_NODE_GROUPS,
    MAX_NODES_MISSING, MAX_WAIVER_NAMES, MissingNode, NodeCoverage, NodeGroup, UsedBenchmark, Verdict,
};
use drover_fetch::Digest;

use crate::{
    answer::{Check, NodeAnswer, TargetFailure},
    engine::MAX_TITLE,
    judge::{Judged, Rules},
    missing::MissingReason,
    tally::{Entry, Key, States, result},
};

/// Most checks of one node that are counted.
const MOST_OF_NODE: usize = 1_000;
/// Most different checks of all nodes while they are counted.
const MOST_KEPT: usize = 20_000;
/// Most bytes of all results as JSON …
const MOST_RESULTS: usize = 450 * 1024;
/// … and of all groups of nodes.
const MOST_GROUPS: usize = 300 * 1024;
/// Most names in a group.
const MOST_NAMES: usize = 20_000;
/// Most bytes of what is said of a node that is missing.
const MOST_WORDS: usize = 400;

/// What a report is about, and by what it judges.
#[derive(Clone, Copy, Debug)]
pub struct Scanned<'a> {
    /// Name of the Cluster.
    pub cluster_name: &'a str,
    /// Its labels.
    pub cluster_labels: &'a BTreeMap<String, String>,
    /// The benchmark.
    pub benchmark: &'a UsedBenchmark,
    /// The profile.
    pub profile: &'a CisProfileSpec,
    /// The waivers that count now.
    pub waivers: &'a [CisWaiver],
    /// What makes the verdict Fail.
    pub fail_on: FailOn,
}

/// What came of all nodes.
#[derive(Clone, Debug, PartialEq)]
pub struct Finished {
    /// The checks by their states.
    pub counts: CheckCounts,
    /// How many nodes were looked at.
    pub nodes: NodeCoverage,
    /// Those that were not, and why.
    pub missing: Vec<MissingNode>,
    /// Every check.
    pub results: Vec<CheckResult>,
    /// The nodes, those with equal results together.
    pub node_groups: Vec<NodeGroup>,
    /// The waivers that took responsibility for something, by name.
    pub waiver_names: Vec<String>,
    /// The same for the same findings.
    pub digest: String,
    /// What came of it.
    pub verdict: Verdict,
}

impl Finished {
    /// Whether all nodes were looked at.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.nodes.scanned == self.nodes.total
    }
}

/// A node that answered.
#[derive(Debug)]
struct Member {
    name: String,
    /// Whether it has results of every target, and all of them count.
    is_whole: bool,
}

/// Puts the answers of nodes together.
#[derive(Debug)]
pub struct Aggregator<'a> {
    rules: Rules<'a>,
    fail_on: FailOn,
    entries: BTreeMap<Arc<Key>, Entry>,
    /// The nodes by their states, which are many times the same.
    groups: BTreeMap<States, Vec<Member>>,
    /// Whether they do not count, name, reason and message of the first ones.
    missing: BTreeSet<(bool, String, &'static str, String)>,
    /// Whether the cluster was not looked at as a whole, whatever its nodes say.
    lacks_something: bool,
    /// Whether a check was dropped that fails.
    dropped_a_failure: bool,
    /// Names of the waivers that took responsibility for something.
    waivers: BTreeSet<&'a str>,
    scanned: i64,
    total: i64,
}

impl<'a> Aggregator<'a> {
    /// Before any node.
    #[must_use]
    pub fn new(scanned: Scanned<'a>) -> Self {
        let Scanned { cluster_name, cluster_labels, benchmark, profile, waivers, fail_on } = scanned;
        let rules = Rules::new(profile, waivers, (cluster_name, cluster_labels), &benchmark.name);
        let (entries, groups) = (BTreeMap::new(), BTreeMap::new());
        let (missing, waivers) = (BTreeSet::new(), BTreeSet::new());
        Self {
            rules,
            fail_on,
            entries,
            groups,
            missing,
            lacks_something: false,
            dropped_a_failure: false,
            waivers,
            scanned: 0,
            total: 0,
        }
    }

    /// Counts the answer of a node, of which the caller knows that it is of this node and this scan. A target that was asked for and has
    /// no checks makes the node incomplete; what its other targets say counts.
    pub fn add(&mut self, node: &str, labels: &BTreeMap<String, String>, answer: &NodeAnswer, requested: &[&str]) {
        self.total += 1;
        let mut found = BTreeMap::new();
        let mut lacks = requested.is_empty().then(|| (MissingReason::NoResults, "it has no target".to_owned()));
        for target in requested {
            let of_target = answer.targets.iter().find(|found| found.target == **target);
            let checks = of_target.map(|found| found.checks.as_slice()).unwrap_or_default();
            match of_target.map(|found| &found.failure) {
                Some(None) if !checks.is_empty() => {}
                Some(Some(TargetFailure { reason, message })) => {
                    lacks.get_or_insert_with(|| ((*reason).into(), format!("target {target}: {message}")));
                }
                _ => {
                    let message = format!("its answer has no checks of target {target}");
                    lacks.get_or_insert((MissingReason::NoResults, message));
                }
            }
            if !collect(target, checks, &mut found) {
                lacks.get_or_insert_with(too_many);
            }
        }
        let crowd = found.len();
        let states = found.into_iter().map(|(key, check)| self.count(node, labels, key, check, crowd)).collect();
        let is_whole = lacks.is_none();
        match lacks {
            None => self.scanned += 1,
            Some((reason, message)) => self.miss(node, reason, &message),
        }
        self.groups.entry(states).or_default().push(Member { name: node.to_owned(), is_whole });
    }

    fn count(
        &mut self,
        node: &str,
        labels: &BTreeMap<String, String>,
        key: Key,
        check: &Check,
        crowd: usize,
    ) -> (Arc<Key>, CheckState) {
        if self.entries.len() >= MOST_KEPT && !self.entries.contains_key(&key) {
            self.drop_rare(MOST_KEPT / 2);
        }
        let Judged { state, why, waiver } = self.rules.judge(check, labels);
        self.waivers.extend(waiver);
        let (key, entry) = match self.entries.entry(Arc::new(key)) {
            btree_map::Entry::Vacant(vacant) => {
                let key = Arc::clone(vacant.key());
                (key, vacant.insert(Entry::of(crowd)))
            }
            btree_map::Entry::Occupied(occupied) => (Arc::clone(occupied.key()), occupied.into_mut()),
        };
        entry.crowd = entry.crowd.min(crowd);
        entry.entitle(legible(&check.title, MAX_TITLE));
        entry.states.entry(state).or_default().add(node, state, why, waiver, check.evidence.as_deref());
        (key, state)
    }

    /// Notes a node without an answer. One that is not to be counted, as it is not ready or not there any more, is told all the same.
    pub fn missing(&mut self, node: &str, reason: MissingReason, message: &str) {
        self.total += i64::from(reason.is_counted());
        self.lacks_something |= reason.is_of_cluster();
        self.miss(node, reason, message);
    }

    fn miss(&mut self, node: &str, reason: MissingReason, message: &str) {
        // What counts is told first, where there is not room for all.
        let is_other = !reason.is_counted() && !reason.is_of_cluster();
        self.missing.insert((is_other, legible(node, 253), reason.as_str(), legible(message, MOST_WORDS)));
        if self.missing.len() > MAX_NODES_MISSING {
            self.missing.pop_last();
        }
    }

    /// The report.
    #[must_use]
    pub fn finish(mut self) -> Finished {
        self.drop_rare(MAX_CHECKS);
        let groups = std::mem::take(&mut self.groups);
        self.miss_cut(&groups);
        let mut results: Vec<CheckResult> = self.entries.iter().filter_map(|(key, entry)| result(key, entry)).collect();
        fit(&mut results);
        let node_groups = self.node_groups(groups);
        let counts = CheckCounts::of(results.iter().map(|result| result.state));
        let verdict = self.verdict(&counts);
        let content = serde_json::to_vec(&(&results, &node_groups)).unwrap_or_default();
        let missing = self.missing.into_iter().map(|(_, name, reason, message)| MissingNode {
            name,
            reason: reason.to_owned(),
            message,
        });
        Finished {
            counts,
            nodes: NodeCoverage::of(self.scanned, self.total),
            missing: missing.collect(),
            results,
            node_groups,
            waiver_names: self.waivers.into_iter().take(MAX_WAIVER_NAMES).map(str::to_owned).collect(),
            digest: Digest::of(&content).to_string(),
            verdict,
        }
    }

    /// Where there are too many checks, those go first that are of a target with too many, and of these those that the fewest nodes have: made
    /// up by these, most likely. Of two that as many have, that one goes whose nodes have more checks. So nodes that make up checks of one
    /// target push out none of another.
    fn drop_rare(&mut self, most: usize) {
        let excess = self.entries.len().saturating_sub(most);
        if excess == 0 {
            return;
        }
        let mut of_targets: BTreeMap<&str, usize> = BTreeMap::new();
        for key in self.entries.keys() {
            *of_targets.entry(key.target()).or_default() += 1;
        }
        let share = most / of_targets.len().max(1);
        let rank = |(key, entry): (&Arc<Key>, &Entry)| {
            let has_room = of_targets.get(key.target()).is_none_or(|count| *count <= share);
            (has_room, entry.nodes(), std::cmp::Reverse(entry.crowd), std::cmp::Reverse(Arc::clone(key)))
        };
        let mut ranks: Vec<_> = self.entries.iter().map(rank).collect();
        ranks.sort();
        for (_, _, _, key) in ranks.into_iter().take(excess) {
            let dropped = self.entries.remove(&key.0);
            self.dropped_a_failure |=
                dropped.is_some_and(|entry| entry.states.keys().any(|state| self.fail_on.fails(*state)));
        }
    }

    /// Whether a check counts as it was counted on a node: not if it was dropped, even if it came back.
    fn is_kept(&self, key: &Arc<Key>) -> bool {
        self.entries.get_key_value(key).is_some_and(|(kept, _)| Arc::ptr_eq(kept, key))
    }

    /// Nodes with checks that were dropped are not looked at as a whole.
    fn miss_cut(&mut self, groups: &BTreeMap<States, Vec<Member>>) {
        for (states, members) in groups {
            if states.iter().all(|(key, _)| self.is_kept(key)) {
                continue;
            }
            for member in members.iter().filter(|member| member.is_whole) {
                let (reason, message) = too_many();
                self.scanned -= 1;
                self.miss(&member.name, reason, &message);
            }
        }
    }

    /// None where there are too many for one object.
    fn node_groups(&self, groups: BTreeMap<States, Vec<Member>>) -> Vec<NodeGroup> {
        let mut by_letters: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (states, members) in groups {
            let kept = states.iter().filter(|(key, _)| self.is_kept(key));
            let states: BTreeMap<&Key, CheckState> = kept.map(|(key, state)| (&**key, *state)).collect();
            let letter = |key: &Arc<Key>| states.get(&**key).map_or('-', |state| state.letter());
            let names = by_letters.entry(self.entries.keys().map(letter).collect()).or_default();
            names.extend(members.into_iter().map(|member| member.name));
        }
        let group = |(states, mut node_names): (String, Vec<String>)| {
            node_names.sort();
            NodeGroup { node_names, states }
        };
        let mut groups: Vec<_> = by_letters.into_iter().map(group).collect();
        groups.sort_by(|one, other| one.node_names.cmp(&other.node_names));
        let are_too_many =
            groups.len() > MAX_NODE_GROUPS || groups.iter().any(|group| group.node_names.len() > MOST_NAMES);
        if are_too_many || size(&groups) > MOST_GROUPS { Vec::new() } else { groups }
    }

    fn verdict(&self, counts: &CheckCounts) -> Verdict {
        let fails = self.dropped_a_failure || counts.fail > 0 || (self.fail_on == FailOn::Warn && counts.warn > 0);
        let is_whole = !self.lacks_something
            && self.scanned == self.total
            && self.scanned > 0
            && counts.total > 0
            && counts.error == 0;
        match (fails, is_whole) {
            (true, _) => Verdict::Fail,
            (false, true) => Verdict::Pass,
            (false, false) => Verdict::Incomplete,
        }
    }
}

/// Collects the checks of a target, of two of the same number the worse one. Says whether there was room for all.
fn collect<'a>(target: &str, checks: &'a [Check], found: &mut BTreeMap<Key, &'a Check>) -> bool {
    for check in checks {
        let room = MOST_OF_NODE.saturating_sub(found.len());
        match found.entry(Key::of(target, &check.id)) {
            btree_map::Entry::Occupied(mut known) if check.state.severity() > known.get().state.severity() => {
                known.insert(check);
            }
            btree_map::Entry::Occupied(_) => {}
            btree_map::Entry::Vacant(_) if room == 0 => return false,
            btree_map::Entry::Vacant(vacant) => {
                vacant.insert(check);
            }
        }
    }
    true
}

fn too_many() -> (MissingReason, String) {
    let message = "it answered with checks that no other node has, or with more than any benchmark has; find out who answers for it";
    (MissingReason::TooLarge, message.to_owned())
}

/// Cuts what a report can do without until it fits into an object.
fn fit(results: &mut [CheckResult]) {
    let cuts: [fn(&mut CheckResult); 4] = [
        |result| result.evidence = result.evidence.take().map(|told| legible(&told, 100)),
        |result| result.node_names.truncate(2),
        |result| result.evidence = None,
        |result| (result.title, result.node_names) = (legible(&result.title, 60), Vec::new()),
    ];
    for cut in cuts {
        if size(results) <= MOST_RESULTS {
            return;
        }
        results.iter_mut().for_each(cut);
    }
}

fn size<T: serde::Serialize + ?Sized>(value: &T) -> usize {
    serde_json::to_vec(value).map_or(usize::MAX, |json| json.len())
}
