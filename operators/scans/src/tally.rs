//! One check on all nodes, whatever their order. Pure.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use drover_client::error::legible;
use drover_crds::{CheckResult, CheckState, MAX_NODE_NAMES};

use crate::engine::{MAX_EVIDENCE, MAX_ID};

/// Most titles of one check while they are counted.
const MOST_TITLES: usize = 8;
/// Targets in the order of a report.
const TARGETS: [&str; 4] = ["master", "controlplane", "etcd", "node"];

/// One check: its target, and its number in parts that are compared as numbers.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    position: usize,
    target: String,
    number: Vec<(u32, String)>,
    id: String,
}

impl Key {
    pub(crate) fn target(&self) -> &str {
        &self.target
    }

    pub(crate) fn of(target: &str, id: &str) -> Self {
        let position = TARGETS.iter().position(|known| *known == target).unwrap_or(TARGETS.len());
        let part = |part: &str| (part.parse().unwrap_or(u32::MAX), part.to_owned());
        let (target, id) = (legible(target, 32), legible(id, MAX_ID));
        Self { position, target, number: id.split(['.', '-']).map(part).collect(), id }
    }
}

/// The states of a node, or of many with the same ones.
pub(crate) type States = Vec<(Arc<Key>, CheckState)>;

/// A check on all nodes so far.
#[derive(Debug)]
pub(crate) struct Entry {
    titles: BTreeMap<String, u32>,
    pub(crate) states: BTreeMap<CheckState, InState>,
    /// Of the nodes that have it, how many checks that one has that has the fewest.
    pub(crate) crowd: usize,
}

impl Entry {
    /// One that a node with so many checks has.
    pub(crate) fn of(crowd: usize) -> Self {
        Self { titles: BTreeMap::new(), states: BTreeMap::new(), crowd }
    }

    pub(crate) fn nodes(&self) -> i64 {
        self.states.values().map(|in_state| in_state.nodes).sum()
    }

    /// Of more titles the first ones by the alphabet are counted, so that the order of nodes changes nothing.
    pub(crate) fn entitle(&mut self, title: String) {
        *self.titles.entry(title).or_default() += 1;
        if self.titles.len() > MOST_TITLES {
            self.titles.pop_last();
        }
    }
}

/// The nodes on which a check has one state.
#[derive(Debug, Default)]
pub(crate) struct InState {
    nodes: i64,
    names: BTreeSet<String>,
    /// Of the first node by its name.
    first: Option<First>,
}

/// What was found on a node, or why it was left out there.
#[derive(Debug)]
struct First {
    node: String,
    told: String,
    waiver: Option<String>,
}

impl InState {
    pub(crate) fn add(
        &mut self,
        node: &str,
        state: CheckState,
        why: Option<&str>,
        waiver: Option<&str>,
        evidence: Option<&str>,
    ) {
        self.nodes += 1;
        let is_bad = matches!(state, CheckState::Fail | CheckState::Error | CheckState::Warn);
        if is_bad {
            self.names.insert(node.to_owned());
            if self.names.len() > MAX_NODE_NAMES {
                self.names.pop_last();
            }
        }
        let is_first = self.first.as_ref().is_none_or(|first| node < first.node.as_str());
        if let Some(told) = why.or(evidence.filter(|_| is_bad)).filter(|_| is_first) {
            let waiver = waiver.map(str::to_owned);
            self.first = Some(First { node: node.to_owned(), told: legible(told, MAX_EVIDENCE), waiver });
        }
    }
}

/// The check as a report has it.
pub(crate) fn result(key: &Key, entry: &Entry) -> Option<CheckResult> {
    let (state, worst) = entry.states.last_key_value()?;
    // Of two titles that are as frequent the first one by the alphabet.
    let title = entry.titles.iter().max_by_key(|(title, count)| (**count, std::cmp::Reverse((*title).clone())));
    Some(CheckResult {
        id: key.id.clone(),
        title: title.map(|(title, _)| title.clone()).unwrap_or_default(),
        target: key.target.clone(),
        state: *state,
        mixed: entry.states.len() > 1,
        nodes: entry.nodes(),
        nodes_in_state: worst.nodes,
        node_names: worst.names.iter().cloned().collect(),
        evidence: worst.first.as_ref().map(|first| first.told.clone()),
        waiver_name: worst.first.as_ref().and_then(|first| first.waiver.clone()),
    })
}
