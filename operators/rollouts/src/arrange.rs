//! Which target is in which stage, and in which order.

use std::{borrow::Cow, collections::HashSet};

use drover_crds::{LabelMatcher, REST, RolloutStrategy, Stage};

use crate::{Target, hash::place};

/// A stage with its targets.
pub(crate) struct Arranged<'a> {
    pub(crate) spec: Cow<'a, Stage>,
    /// Indices of targets, in the order in which they are started.
    pub(crate) members: Vec<usize>,
}

/// The stages in their order. Each target is in the first one that selects it; those that none selects are in the last one.
pub(crate) fn arrange<'a>(app: &str, strategy: &'a RolloutStrategy, targets: &[Target<'_>]) -> Vec<Arranged<'a>> {
    let matchers: Vec<_> = strategy.stages.iter().map(|stage| stage.selector.as_ref().map(LabelMatcher::new)).collect();
    let mut stages: Vec<_> =
        strategy.stages.iter().map(|stage| Arranged { spec: Cow::Borrowed(stage), members: Vec::new() }).collect();
    let rest = Stage { name: REST.to_owned(), ..Stage::default() };
    stages.push(Arranged { spec: Cow::Owned(rest), members: Vec::new() });
    let last = matchers.len();
    let mut seen = HashSet::with_capacity(targets.len());
    for (index, target) in targets.iter().enumerate().filter(|(_, target)| seen.insert(target.cluster)) {
        let selects = |matcher: &Option<LabelMatcher>| matcher.as_ref().is_none_or(|one| one.matches(target.labels));
        let stage = matchers.iter().position(selects).unwrap_or(last);
        if let Some(stage) = stages.get_mut(stage) {
            stage.members.push(index);
        }
    }
    for stage in &mut stages {
        let cluster = |index: &usize| targets.get(*index).map_or("", |target| target.cluster);
        stage.members.sort_by_cached_key(|index| (place(app, cluster(index)), cluster(index)));
    }
    stages
}
