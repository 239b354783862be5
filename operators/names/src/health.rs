//! From single results to whether an address is healthy: rise, fall, and the longer a hold the more often it flapped.

use std::{collections::VecDeque, time::Duration};

/// How many results turn the verdict, and for how long it stands at least.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Thresholds {
    /// So many successes in a row make it healthy; at least one.
    pub rise: u32,
    /// So many failures in a row make it unhealthy; at least one.
    pub fall: u32,
    /// A verdict stands so long at least …
    pub hold: Duration,
    /// … and so long at most, however often it flapped.
    pub most_hold: Duration,
    /// Changes within this time …
    pub flap_window: Duration,
    /// … are so many at most.
    pub flap_limit: usize,
}

impl Default for Thresholds {
    /// Three failures and two successes, 30 s of hold, four changes within ten minutes.
    fn default() -> Self {
        Self {
            rise: 2,
            fall: 3,
            hold: Duration::from_secs(30),
            most_hold: Duration::from_mins(10),
            flap_window: Duration::from_mins(10),
            flap_limit: 4,
        }
    }
}

/// How an address is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Nothing is known yet.
    Unknown,
    /// It answers.
    Healthy,
    /// It is taken as healthy, and failed lately.
    Suspect,
    /// It does not answer.
    Unhealthy,
    /// It is taken as unhealthy, and answered lately.
    Recovering,
}

/// What is known of one address. Times are those of a clock that goes on evenly; one that goes back counts as one that stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Health {
    verdict: Option<bool>,
    /// Results in a row that say something else than the verdict; before there is one, that say the same.
    streak: u32,
    last: Option<bool>,
    changes: VecDeque<Duration>,
}

impl Health {
    /// Takes a result in, and says whether the verdict changed.
    pub fn record(&mut self, is_success: bool, now: Duration, thresholds: &Thresholds) -> bool {
        let now = self.changes.back().map_or(now, |last| now.max(*last));
        self.streak = if self.last == Some(is_success) { self.streak.saturating_add(1) } else { 1 };
        self.last = Some(is_success);
        if self.verdict == Some(is_success) {
            return false;
        }
        let needed = if is_success { thresholds.rise } else { thresholds.fall };
        if self.streak < needed.max(1) || (self.verdict.is_some() && now < self.held_until(thresholds)) {
            return false;
        }
        // The first verdict is no change of one.
        if self.verdict.is_some() {
            self.changes.push_back(now);
            while self.changes.len() > thresholds.flap_limit.max(1) {
                self.changes.pop_front();
            }
        }
        self.verdict = Some(is_success);
        true
    }

    /// Until when the verdict stands: each change within the window doubles the hold, and with as many as the limit has it stands until
    /// the first of them is out of the window.
    fn held_until(&self, thresholds: &Thresholds) -> Duration {
        let Some(last) = self.changes.back().copied() else { return Duration::ZERO };
        let recent = self.changes.iter().filter(|at| last.saturating_sub(**at) < thresholds.flap_window).count();
        let doubled = thresholds.hold.saturating_mul(1 << recent.saturating_sub(1).min(16));
        let held = last.saturating_add(doubled.min(thresholds.most_hold).max(thresholds.hold));
        let is_full = recent >= thresholds.flap_limit.max(1);
        let first = self.changes.front().copied().filter(|_| is_full);
        first.map_or(held, |first| held.max(first.saturating_add(thresholds.flap_window)))
    }

    /// How it is.
    #[must_use]
    pub fn phase(&self) -> Phase {
        match (self.verdict, self.last) {
            (None, _) => Phase::Unknown,
            (Some(true), Some(false)) => Phase::Suspect,
            (Some(true), _) => Phase::Healthy,
            (Some(false), Some(true)) => Phase::Recovering,
            (Some(false), _) => Phase::Unhealthy,
        }
    }

    /// Whether it counts as healthy; none while nothing is known.
    #[must_use]
    pub fn verdict(&self) -> Option<bool> {
        self.verdict
    }
}
