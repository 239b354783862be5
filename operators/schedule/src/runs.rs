//! Which run of a schedule is due for one of many targets.
//!
//! Only the newest tick ever counts: a run that is older than the next tick is not made up. What was begun is noted as one time for all
//! targets, *begun until*: of what was to begin until then, nothing begins any more. A target that joins later begins with the next tick.

use std::{fmt::Write as _, time::Duration};

use drover_crds::CatchUp;
use jiff::{SignedDuration, Timestamp, civil::DateTime, tz::TimeZone};
use ring::digest::{SHA256, digest};

use super::Schedule;

/// A run that begins so late at most is in time: Drover may just be starting again.
pub const IN_TIME: SignedDuration = SignedDuration::from_mins(5);

/// After so many runs that brought nothing a target is not healthy.
pub const MOST_MISSED: usize = 2;

/// Most letters and digits of a name.
const MAX_NAME: usize = 63;
/// How many digits of a hash are part of a name: 48 bits, so that a fleet of 5,000 has two equal ones in one of ten million cases.
const NAME_DIGITS: usize = 12;

/// A tick, and how far the runs of all targets are spread after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// The moment that the schedule names.
    pub tick: Timestamp,
    /// All targets begin within this time after it, which ends before the next tick.
    pub spread: SignedDuration,
}

/// Which part of the spread goes by before a target begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share(u64);

impl Share {
    /// The share that these names decide, so that it is always the same: those of the schedule and of the target.
    #[must_use]
    pub fn of(names: &[&str]) -> Self {
        let hash = hash(names);
        Self(hash.as_ref().first_chunk().map_or(0, |first| u64::from_be_bytes(*first)))
    }
}

/// The runs that tell how targets fare: the newest first, and the next one.
#[derive(Clone, Debug, Default)]
pub struct Runs {
    /// Those that have begun for a target at least, the newest first.
    pub past: Vec<Run>,
    /// The one after them.
    pub next: Option<Run>,
}

impl Runs {
    /// By the time now: those of the past that are looked at.
    #[must_use]
    pub fn of(schedule: &Schedule, jitter: Duration, now: Timestamp) -> Self {
        let newest = schedule.newest_run(now, jitter);
        let past = std::iter::successors(newest, |run| schedule.run_before(*run, jitter));
        Self { past: past.take(MOST_MISSED + 1).collect(), next: schedule.next_run(now, jitter) }
    }
}

/// What becomes of the newest run of one target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// It begins later.
    At(Timestamp),
    /// It begins now.
    Now,
    /// It began, or was missed.
    Over,
}

impl Schedule {
    /// The newest run until now, spread over at most `jitter`.
    #[must_use]
    pub fn newest_run(&self, now: Timestamp, jitter: Duration) -> Option<Run> {
        self.last_until(now).map(|tick| self.run(tick, jitter))
    }

    /// The first run after now.
    #[must_use]
    pub fn next_run(&self, now: Timestamp, jitter: Duration) -> Option<Run> {
        self.next_after(now).map(|tick| self.run(tick, jitter))
    }

    /// The run before another one.
    #[must_use]
    pub fn run_before(&self, run: Run, jitter: Duration) -> Option<Run> {
        self.newest_run(run.tick.checked_sub(SignedDuration::from_nanos(1)).ok()?, jitter)
    }

    fn run(&self, tick: Timestamp, jitter: Duration) -> Run {
        let jitter = SignedDuration::try_from(jitter).unwrap_or(SignedDuration::MAX);
        let room = self.next_after(tick).map_or(SignedDuration::ZERO, |next| next.duration_since(tick));
        Run { tick, spread: jitter.min(room) }
    }
}

impl Run {
    /// When it begins for the target with this share of the spread. Whole seconds.
    #[must_use]
    pub fn begins(&self, share: Share) -> Timestamp {
        let seconds = u128::try_from(self.spread.as_secs()).unwrap_or_default();
        // A number below 2^64, as a part of all of them.
        let part = (u128::from(share.0) * seconds) >> 64;
        let after = i64::try_from(part).map_or(SignedDuration::ZERO, SignedDuration::from_secs);
        self.tick.checked_add(after).unwrap_or(self.tick)
    }

    /// When all targets have begun.
    #[must_use]
    pub fn has_begun_by(&self) -> Timestamp {
        self.tick.checked_add(self.spread).unwrap_or(self.tick)
    }

    /// The name of what is made for this run and target: the same whoever makes it, and another one for another schedule, target or tick.
    /// It begins with the name of the schedule, and ends with the tick in UTC.
    #[must_use]
    pub fn name(&self, schedule: &str, target: &str) -> String {
        let time = self.tick.to_zoned(TimeZone::UTC).strftime("%Y%m%d%H%M").to_string();
        let digits = digits(&[schedule, target]);
        let room = MAX_NAME.saturating_sub(digits.len() + time.len() + 2);
        // Names of our kinds are ASCII.
        let head: String = schedule.chars().take(room).collect();
        format!("{}-{digits}-{time}", head.trim_end_matches('-'))
    }
}

/// The tick that a name of [`Run::name`] ends with.
#[must_use]
pub fn tick_of(name: &str) -> Option<Timestamp> {
    let (_, time) = name.rsplit_once('-')?;
    let is_time = time.len() == 12 && time.bytes().all(|byte| byte.is_ascii_digit());
    let time = DateTime::strptime("%Y%m%d%H%M", time).ok().filter(|_| is_time)?;
    TimeZone::UTC.to_timestamp(time).ok()
}

/// What becomes of a run that begins at `begins`. `until` is begun until; `now` may be before it, where a clock went back.
#[must_use]
pub fn due(begins: Timestamp, until: Timestamp, catch_up: CatchUp, now: Timestamp) -> Due {
    if begins <= until {
        return Due::Over;
    }
    if now < begins {
        return Due::At(begins);
    }
    match catch_up {
        CatchUp::None if now.duration_since(begins) > IN_TIME => Due::Over,
        CatchUp::Latest | CatchUp::None => Due::Now,
    }
}

fn hash(names: &[&str]) -> ring::digest::Digest {
    let mut all = String::new();
    for name in names {
        // Each goes in with its length, so that no two lists of names look alike. Writing to a text never fails.
        let _ = write!(all, "{}:{name}", name.len());
    }
    digest(&SHA256, all.as_bytes())
}

fn digits(names: &[&str]) -> String {
    let mut digits = String::with_capacity(NAME_DIGITS);
    for byte in hash(names).as_ref().iter().take(NAME_DIGITS / 2) {
        let _ = write!(digits, "{byte:02x}");
    }
    digits
}
