//! When what is repeated runs: five fields as cron has them, in a time zone, and which run is due. Pure, and of no kind in particular.
//!
//! A *tick* is a moment that the schedule names. Times are those of the zone, so daylight saving changes what a day is:
//!
//! | the time of a tick | what runs |
//! |---|---|
//! | does not exist, as the clock goes forward over it | one run when the clock has gone forward, for all ticks that it skipped |
//! | comes twice, as the clock goes back | one run, the first time; of a schedule of every hour one run each time |
//!
//! The table of time zones is in the program, so that it is the same on every machine. A schedule of a fleet is spread: each target runs its
//! own part of [`Run::spread`] after the tick, and always the same ([`runs`]).

mod fields;
pub mod missed;
pub mod noted;
pub mod runs;

use std::sync::LazyLock;

use jiff::{
    SignedDuration, Timestamp,
    civil::Date,
    tz::{AmbiguousOffset, TimeZone, TimeZoneDatabase},
};

use fields::{DAYS, Field, HOURS, MINUTES, MONTHS, WEEKDAYS};
pub use noted::Noted;
pub use runs::{Due, Run, Runs, Share};

/// The zone of a schedule that names none.
pub const DEFAULT_ZONE: &str = "UTC";

/// Most days between two ticks of a schedule that has any: a 1 January that is a Monday may take twelve years to come again.
const MOST_DAYS: usize = 4_500;

/// The names that stand for five fields.
const SHORT: [(&str, &str); 5] = [
    ("@hourly", "0 * * * *"),
    ("@daily", "0 0 * * *"),
    ("@weekly", "0 0 * * 0"),
    ("@monthly", "0 0 1 * *"),
    ("@yearly", "0 0 1 1 *"),
];

static ZONES: LazyLock<TimeZoneDatabase> = LazyLock::new(TimeZoneDatabase::bundled);

/// Why a text is no schedule. The messages name the fields of the spec, which are the same for every kind with a schedule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScheduleError {
    /// A name with `@` that stands for nothing.
    #[error(
        "spec.schedule {0:?} is none of @hourly, @daily, @weekly, @monthly and @yearly; write one of them, or five fields"
    )]
    Name(String),
    /// Fewer or more than five fields.
    #[error(
        "spec.schedule has {0} fields; write five, with blanks between them: minute, hour, day of the month, month, day of the week"
    )]
    Fields(usize),
    /// A field that cannot be read.
    #[error(
        "spec.schedule: {part:?} is no {what}; write numbers from {least} to {most}, ranges such as {least}-{most}, steps such as */2, or lists of them"
    )]
    Field {
        /// Which field.
        what: &'static str,
        /// What of it cannot be read.
        part: String,
        /// Its least number.
        least: u8,
        /// Its greatest number.
        most: u8,
    },
    /// No day has these numbers.
    #[error(
        "spec.schedule never comes, as no month that it names has such a day; correct the day of the month, or the month"
    )]
    Never,
    /// No time zone has this name.
    #[error("spec.timeZone {0:?} is no time zone; write a name of the IANA database, such as Europe/Berlin, or UTC")]
    Zone(String),
}

/// A schedule in a time zone.
#[derive(Clone, Debug, PartialEq)]
pub struct Schedule {
    minutes: Field,
    hours: Field,
    days: Field,
    months: Field,
    weekdays: Field,
    zone: TimeZone,
}

impl Schedule {
    /// Reads five fields, or one of the names that stand for five. Seconds and years are refused, and so is what never comes. Without a
    /// zone it is in [`DEFAULT_ZONE`].
    pub fn parse(text: &str, zone: Option<&str>) -> Result<Self, ScheduleError> {
        let text = text.trim();
        let fields = match SHORT.iter().find(|(name, _)| *name == text) {
            Some((_, fields)) => fields,
            None if text.starts_with('@') => return Err(ScheduleError::Name(text.to_owned())),
            None => text,
        };
        let parts: Vec<&str> = fields.split_whitespace().collect();
        let [minutes, hours, days, months, weekdays] = parts[..] else {
            return Err(ScheduleError::Fields(parts.len()));
        };
        let schedule = Self {
            minutes: MINUTES.read(minutes)?,
            hours: HOURS.read(hours)?,
            days: DAYS.read(days)?,
            months: MONTHS.read(months)?,
            weekdays: WEEKDAYS.read(weekdays)?,
            zone: zone_of(zone.unwrap_or(DEFAULT_ZONE))?,
        };
        if schedule.ever_comes() { Ok(schedule) } else { Err(ScheduleError::Never) }
    }

    /// Its time zone.
    #[must_use]
    pub fn zone(&self) -> &TimeZone {
        &self.zone
    }

    /// The first tick after a time; none only at the end of all time.
    #[must_use]
    pub fn next_after(&self, time: Timestamp) -> Option<Timestamp> {
        let first = |ticks: &mut dyn Iterator<Item = Timestamp>| ticks.filter(|tick| *tick > time).min();
        let from = self.zone.to_datetime(time).date();
        self.search(from.yesterday().ok()?, |date| date.tomorrow().ok(), first).into_iter().flatten().min()
    }

    /// The last tick until a time, this time included; none only at the beginning of all time.
    #[must_use]
    pub fn last_until(&self, time: Timestamp) -> Option<Timestamp> {
        let last = |ticks: &mut dyn Iterator<Item = Timestamp>| ticks.filter(|tick| *tick <= time).max();
        let from = self.zone.to_datetime(time).date();
        self.search(from.tomorrow().ok()?, |date| date.yesterday().ok(), last).into_iter().flatten().max()
    }

    /// What `pick` finds on the first day with such a tick, and on the one after it in the same direction: where the clock goes back over
    /// midnight, moments of two days alternate.
    fn search(
        &self,
        from: Date,
        step: impl Fn(Date) -> Option<Date>,
        pick: impl Fn(&mut dyn Iterator<Item = Timestamp>) -> Option<Timestamp>,
    ) -> [Option<Timestamp>; 2] {
        let mut days = std::iter::successors(Some(from), |date| step(*date)).take(MOST_DAYS);
        let found = days.by_ref().filter(|date| self.has_day(*date)).find_map(|date| pick(&mut self.ticks_of(date)));
        let other = days.next().filter(|date| found.is_some() && self.has_day(*date));
        [found, other.and_then(|date| pick(&mut self.ticks_of(date)))]
    }

    /// As cron has it: where both the day of the month and that of the week are restricted, one of them is enough.
    fn has_day(&self, date: Date) -> bool {
        let day = self.days.has(date.day().unsigned_abs());
        let weekday = self.weekdays.has(date.weekday().to_sunday_zero_offset().unsigned_abs());
        let is_either = !self.days.is_star() && !self.weekdays.is_star();
        self.months.has(date.month().unsigned_abs()) && if is_either { day || weekday } else { day && weekday }
    }

    /// The moments at which it ticks on a day, in no order.
    fn ticks_of(&self, date: Date) -> impl Iterator<Item = Timestamp> + '_ {
        let times = self.hours.values().flat_map(|hour| self.minutes.values().map(move |minute| (hour, minute)));
        times.flat_map(move |(hour, minute)| self.moments(date, hour, minute)).flatten()
    }

    fn moments(&self, date: Date, hour: i8, minute: i8) -> [Option<Timestamp>; 2] {
        let time = self.zone.to_ambiguous_timestamp(date.at(hour, minute, 0, 0));
        match time.offset() {
            AmbiguousOffset::Unambiguous { .. } => [time.unambiguous().ok(), None],
            AmbiguousOffset::Fold { .. } => {
                let again = self.hours.is_full().then(|| time.later().ok()).flatten();
                [time.earlier().ok(), again]
            }
            AmbiguousOffset::Gap { .. } => [time.later().ok().and_then(|after| self.last_change(after)), None],
        }
    }

    /// When the clock of the zone was changed last, until a time.
    fn last_change(&self, time: Timestamp) -> Option<Timestamp> {
        let just_after = time.checked_add(SignedDuration::from_nanos(1)).ok()?;
        Some(self.zone.preceding(just_after).next()?.timestamp())
    }

    /// Whether there is a day as it wants one. A weekday comes in every month, and so does the first day.
    fn ever_comes(&self) -> bool {
        let is_in = |(month, last): (u8, &u8)| self.months.has(month) && (1..=*last).any(|day| self.days.has(day));
        let longest = [31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
        !self.weekdays.is_star() || (1..).zip(&longest).any(is_in)
    }
}

fn zone_of(name: &str) -> Result<TimeZone, ScheduleError> {
    let known = ZONES.get(name).ok().filter(|zone| !zone.is_unknown());
    known.ok_or_else(|| ScheduleError::Zone(name.to_owned()))
}

#[cfg(test)]
mod tests;
