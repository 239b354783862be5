//! One field of a schedule: which numbers it has.

use super::ScheduleError;

const NO_NAMES: &[&str] = &[];

pub(super) const MINUTES: Kind = Kind { what: "minute", least: 0, most: 59, names: NO_NAMES };
pub(super) const HOURS: Kind = Kind { what: "hour", least: 0, most: 23, names: NO_NAMES };
pub(super) const DAYS: Kind = Kind { what: "day of the month", least: 1, most: 31, names: NO_NAMES };
pub(super) const MONTHS: Kind = Kind {
    what: "month",
    least: 1,
    most: 12,
    names: &["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"],
};
/// Sunday is 0, and 7 as well.
pub(super) const WEEKDAYS: Kind =
    Kind { what: "day of the week", least: 0, most: 7, names: &["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"] };

/// What a field is about.
#[derive(Clone, Copy, Debug)]
pub(super) struct Kind {
    what: &'static str,
    least: u8,
    most: u8,
    /// What the numbers from `least` on may be written as.
    names: &'static [&'static str],
}

/// The numbers that a field has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Field {
    bits: u64,
    all: u64,
    is_star: bool,
}

impl Field {
    /// Whether the field has this number.
    pub(super) fn has(self, number: u8) -> bool {
        self.bits & bit(number) != 0
    }

    /// Whether it begins with `*`, which restricts no day.
    pub(super) fn is_star(self) -> bool {
        self.is_star
    }

    /// Whether it has every number.
    pub(super) fn is_full(self) -> bool {
        self.bits == self.all
    }

    /// The numbers, from the least on.
    pub(super) fn values(self) -> impl Iterator<Item = i8> + Clone {
        (0..60_i8).filter(move |number| self.has(number.unsigned_abs()))
    }
}

fn bit(number: u8) -> u64 {
    1_u64.checked_shl(u32::from(number)).unwrap_or_default()
}

impl Kind {
    /// Reads a list of numbers, ranges and steps.
    pub(super) fn read(self, text: &str) -> Result<Field, ScheduleError> {
        let mut bits = 0;
        for part in text.split(',') {
            let numbers = self.numbers(part).ok_or_else(|| self.unread(part))?;
            bits |= numbers.map(|number| bit(self.one_sunday(number))).fold(0, |bits, bit| bits | bit);
        }
        let all = (self.least..=self.most).map(|number| bit(self.one_sunday(number))).fold(0, |bits, bit| bits | bit);
        Ok(Field { bits, all, is_star: text.starts_with('*') })
    }

    fn unread(self, part: &str) -> ScheduleError {
        ScheduleError::Field { what: self.what, part: part.to_owned(), least: self.least, most: self.most }
    }

    fn numbers(self, part: &str) -> Option<impl Iterator<Item = u8>> {
        let (range, step) = match part.split_once('/') {
            Some((range, step)) => (range, Some(number(step)?)),
            None => (part, None),
        };
        let (first, last) = match range.split_once('-') {
            _ if range == "*" => (self.least, self.most),
            Some((first, last)) => {
                let first = self.number(first)?;
                (first, self.number(last).map(|last| self.last_sunday(first, last))?)
            }
            // Where would it end?
            None if step.is_some() => return None,
            None => self.number(range).map(|number| (number, number))?,
        };
        let step = step.unwrap_or(1);
        let is_good = first <= last && step > 0 && step <= self.most;
        is_good.then(|| (first..=last).step_by(usize::from(step)))
    }

    fn number(self, text: &str) -> Option<u8> {
        let named = self.names.iter().position(|name| name.eq_ignore_ascii_case(text));
        let named = named.and_then(|position| u8::try_from(position).ok()).map(|position| self.least + position);
        named.or_else(|| number(text)).filter(|number| (self.least..=self.most).contains(number))
    }

    fn is_of_week(self) -> bool {
        self.most == WEEKDAYS.most
    }

    fn one_sunday(self, number: u8) -> u8 {
        if self.is_of_week() && number == WEEKDAYS.most { 0 } else { number }
    }

    /// A week that ends on Sunday.
    fn last_sunday(self, first: u8, last: u8) -> u8 {
        if self.is_of_week() && last == 0 && first > 0 { WEEKDAYS.most } else { last }
    }
}

/// Two digits at most, and no sign.
fn number(text: &str) -> Option<u8> {
    let is_short = (1..=2).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    is_short.then(|| text.parse().ok()).flatten()
}
