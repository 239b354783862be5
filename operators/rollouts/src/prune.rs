//! Which apps are removed because their clusters are no targets any more.

use std::time::Duration;

use drover_crds::{PruneGuard, Pruned, RolloutRecord};
use k8s_openapi::{apimachinery::pkg::apis::meta::v1::Time, jiff::Timestamp};

use crate::{
    Blocked, Deselected, Target,
    time::{earliest, elapsed, later},
};

/// How long what was removed counts against what may still be.
const WINDOW: Duration = Duration::from_hours(1);
/// Times are noted in these steps: an API server keeps no others.
const TICK: Duration = Duration::from_secs(1);

/// What becomes of the apps that are left over.
pub(crate) struct Pruning {
    pub(crate) remove: Vec<usize>,
    pub(crate) mark: Vec<usize>,
    pub(crate) mark_at: Timestamp,
    pub(crate) unmark: Vec<usize>,
    pub(crate) blocked: Option<Blocked>,
    pub(crate) requeue_at: Option<Timestamp>,
}

/// Either all that left may go, or none: who relabels the fleet by accident loses nothing, however long it takes to see it. What was granted
/// is removed also if the last try to do so failed, and counts once.
pub(crate) fn prune(
    now: Timestamp,
    guard: &PruneGuard,
    targets: &[Target<'_>],
    deselected: &[Deselected],
    record: &mut RolloutRecord,
    is_held: bool,
) -> Pruning {
    let window = record.pruned.take().filter(|pruned| pruned.since.0 <= now && elapsed(now, pruned.since.0) < WINDOW);
    record.pruned.clone_from(&window);
    let through = window.as_ref().map(|pruned| pruned.through.0);
    // What is marked from now on is not among what was granted, whatever the clock says.
    let mark_at = through.map_or(noted(now), |through| noted(now).max(later(through, TICK)));
    let is_back = |target: &Target<'_>| target.child.is_some_and(|child| child.is_marked && !child.is_foreign);
    let unmark = targets.iter().enumerate().filter(|(_, target)| is_back(target)).map(|(index, _)| index).collect();
    let mut pruning =
        Pruning { remove: Vec::new(), mark: Vec::new(), mark_at, unmark, blocked: None, requeue_at: None };
    if is_held || deselected.is_empty() {
        return pruning;
    }
    let of_ours = |target: &&Target<'_>| target.child.is_some_and(|child| !child.is_foreign);
    let existing = targets.iter().filter(of_ours).count() + deselected.len();
    let is_granted = |since: Timestamp| through.is_some_and(|through| since <= through);
    let mut due = Vec::new();
    for (index, one) in deselected.iter().enumerate() {
        match one.since.filter(|since| *since <= mark_at) {
            None => pruning.mark.push(index),
            Some(since) if is_granted(since) => pruning.remove.push(index),
            // Later than its mark, so that no later mark is as old as one that was granted.
            Some(since) if elapsed(now, since) >= guard.grace().max(TICK) => due.push((index, since)),
            Some(since) => {
                pruning.requeue_at = earliest(pruning.requeue_at, Some(later(since, guard.grace().max(TICK))));
            }
        }
    }
    if targets.is_empty() {
        pruning.remove.clear();
        pruning.blocked = Some(Blocked::NothingSelected);
        return pruning;
    }
    let (of, removed) = window.as_ref().map_or((existing, 0), |pruned| (count(pruned.of), count(pruned.removed)));
    let allowed = guard.max_fraction().of(of).saturating_sub(removed);
    let asked = deselected.len() - pruning.remove.len();
    if asked > allowed {
        pruning.blocked = Some(Blocked::TooMany { deselected: asked, allowed });
        let over = window.map(|pruned| later(pruned.since.0, WINDOW));
        pruning.requeue_at = earliest(pruning.requeue_at, over);
    } else if let Some(last) = due.iter().map(|(_, since)| *since).max() {
        record.pruned = Some(Pruned {
            since: window.as_ref().map_or(Time(noted(now)), |pruned| pruned.since.clone()),
            of: number(of),
            removed: number(removed + due.len()),
            through: Time(through.map_or(last, |through| through.max(last))),
        });
        pruning.remove.extend(due.iter().map(|(index, _)| *index));
    }
    pruning
}

/// A time as it is noted.
fn noted(at: Timestamp) -> Timestamp {
    Timestamp::from_second(at.as_second()).unwrap_or(at)
}

fn count(number: i64) -> usize {
    usize::try_from(number).unwrap_or_default()
}

fn number(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
