//! How many addresses failures may remove within a while: a fault of our own must not take a service off the net.

use std::{
    collections::{BTreeMap, VecDeque},
    net::IpAddr,
    time::Duration,
};

use crate::{Fqdn, Selection, select::weight};

/// How much may be removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// At most so many percent of what was there at the beginning of the window.
    pub percent: usize,
    /// The window.
    pub window: Duration,
    /// A name with fewer addresses is not guarded: half of two is one, and the answer is never empty anyhow.
    pub least: usize,
}

impl Default for Limits {
    /// Half of four or more addresses within a minute.
    fn default() -> Self {
        Self { percent: 50, window: Duration::from_mins(1), least: 4 }
    }
}

/// What failures removed from one name lately. Times are those of a clock that goes on evenly.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Guard {
    removed: VecDeque<(Duration, usize)>,
}

/// A selection within the limits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Guarded {
    /// What the name may answer with now.
    pub addresses: BTreeMap<IpAddr, Option<String>>,
    /// How many addresses stay only because too many would go.
    pub held: usize,
    /// How many go on account of failures.
    pub removed: usize,
}

impl Guard {
    /// Keeps of what `selection` removes by failures as much as the limits want.
    #[must_use]
    pub fn bound(
        &self,
        name: &Fqdn,
        published: &BTreeMap<IpAddr, Option<String>>,
        selection: &Selection,
        now: Duration,
        limits: &Limits,
    ) -> Guarded {
        let is_failed =
            |address: &&IpAddr| !selection.addresses.contains_key(*address) && !selection.planned.contains(*address);
        let mut failed: Vec<IpAddr> = published.keys().filter(is_failed).copied().collect();
        let recent = self.recent(now, limits.window);
        let before = published.len() + recent;
        let room = (before * limits.percent / 100).saturating_sub(recent);
        let room = if before < limits.least { failed.len() } else { room.min(failed.len()) };
        failed.sort_by_key(|address| (weight(name, *address), *address));
        let kept = failed.split_off(room);
        let mut addresses = selection.addresses.clone();
        addresses.extend(kept.iter().map(|address| (*address, published.get(address).cloned().flatten())));
        Guarded { addresses, held: kept.len(), removed: failed.len() }
    }

    /// Notes that failures removed so many.
    pub fn note(&mut self, removed: usize, now: Duration, limits: &Limits) {
        let now = self.removed.back().map_or(now, |(last, _)| now.max(*last));
        self.removed.retain(|(at, _)| now.saturating_sub(*at) < limits.window);
        if removed > 0 {
            self.removed.push_back((now, removed));
        }
    }

    /// Takes the last note of so many back: nothing was removed after all.
    pub fn take_back(&mut self, removed: usize) {
        if removed > 0 && self.removed.back().is_some_and(|(_, count)| *count == removed) {
            self.removed.pop_back();
        }
    }

    fn recent(&self, now: Duration, window: Duration) -> usize {
        self.removed.iter().filter(|(at, _)| now.saturating_sub(*at) < window).map(|(_, count)| count).sum()
    }
}
