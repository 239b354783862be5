//! Which runs of a target brought nothing.

use jiff::{SignedDuration, Timestamp};

use crate::{
    Run, Share,
    runs::{IN_TIME, Runs},
};

/// How far what was made in a run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It has not ended.
    Open,
    /// It brought what it is made for.
    Succeeded,
    /// It brought nothing, or never begins.
    Failed,
}

/// What was made in a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Made {
    /// The time of the run.
    pub tick: Timestamp,
    /// How far it is.
    pub fate: Fate,
}

/// What tells whether a run was missed.
#[derive(Clone, Copy, Debug)]
pub struct Missed<'a> {
    /// The runs that are looked at.
    pub runs: &'a Runs,
    /// Since when the schedule is as it is: what was before does not count.
    pub since: Timestamp,
    /// How long what was made may be under way.
    pub allowance: SignedDuration,
    /// Now.
    pub now: Timestamp,
}

impl Missed<'_> {
    /// How many runs of a target were missed, of those that are looked at. `made` goes from the oldest run to the newest.
    #[must_use]
    pub fn count(&self, share: Share, made: &[Made]) -> usize {
        self.runs.past.iter().filter(|run| self.is_missed(**run, share, made)).count()
    }

    /// Whether a run is over and brought nothing, nor did a later one. What was before the first one that is known does not count.
    fn is_missed(&self, run: Run, share: Share, made: &[Made]) -> bool {
        let succeeded = made.iter().rev().find(|one| one.fate == Fate::Succeeded);
        let is_later = succeeded.is_none_or(|one| one.tick < run.tick);
        let counts = is_later && run.tick > self.since && made.first().is_some_and(|first| first.tick <= run.tick);
        counts && self.is_over(run.begins(share), made.iter().find(|one| one.tick == run.tick))
    }

    fn is_over(&self, begins: Timestamp, made: Option<&Made>) -> bool {
        match made.map(|made| made.fate) {
            Some(Fate::Failed) => true,
            Some(Fate::Succeeded) => false,
            Some(Fate::Open) => self.now > after(begins, self.allowance),
            None => self.now > after(begins, IN_TIME),
        }
    }

    /// When time alone makes something of what has not ended, and began then.
    #[must_use]
    pub fn judged_again(&self, begins: Timestamp) -> Option<Timestamp> {
        let times = [IN_TIME, self.allowance].map(|length| after(begins, length));
        times.into_iter().filter(|time| *time >= self.now).min().map(|time| after(time, SignedDuration::from_secs(1)))
    }

    /// Whether what has not begun is late.
    #[must_use]
    pub fn is_late(&self, begins: Timestamp) -> bool {
        self.now > after(begins, IN_TIME)
    }

    /// When the run of a tick began for a target.
    #[must_use]
    pub fn begun(&self, tick: Timestamp, share: Share) -> Timestamp {
        let run = self.runs.past.iter().find(|run| run.tick == tick);
        run.map_or(tick, |run| run.begins(share))
    }
}

fn after(time: Timestamp, length: SignedDuration) -> Timestamp {
    time.checked_add(length).unwrap_or(Timestamp::MAX)
}
