//! What the status of a schedule remembers.

use jiff::Timestamp;

/// What is to be remembered of runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Noted {
    /// The schedule that this is about.
    pub follows: String,
    /// Since when it is as it is.
    pub since: Timestamp,
    /// Until when all runs are over; none while nothing was over yet.
    pub until: Option<Timestamp>,
}

/// What a status remembers so far.
#[derive(Clone, Debug, Default)]
pub struct Former {
    /// The schedule that it is about.
    pub follows: Option<String>,
    /// Since when that is as it is.
    pub since: Option<Timestamp>,
    /// Until when all runs are over.
    pub until: Option<Timestamp>,
    /// When the object was created.
    pub created: Option<Timestamp>,
}

impl Noted {
    /// What is noted, or has to be. A new schedule begins with the next run, and so does one that was changed. What was noted by a clock
    /// that was ahead counts until now.
    #[must_use]
    pub fn of(follows: String, former: Former, now: Timestamp) -> Self {
        if former.follows.is_some_and(|former| former != follows) {
            return Self { follows, since: now, until: None };
        }
        let since = former.since.or(former.created).unwrap_or(now).min(now);
        Self { follows, since, until: former.until.map(|until| until.min(now)) }
    }

    /// Until when all runs are over, or do not count.
    #[must_use]
    pub fn begun_until(&self) -> Timestamp {
        self.until.map_or(self.since, |until| until.max(self.since))
    }
}
