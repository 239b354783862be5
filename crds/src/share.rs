//! Parts of a number of things, as people write them: a count, or percent.

use std::{borrow::Cow, fmt, str::FromStr};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Most things that a count may name; more than any fleet has.
const MAX_COUNT: u32 = 100_000;
const PERCENT: &str = "^(100|[1-9]?[0-9])%$";

/// Percent of a whole, 0 to 100, written as `30%`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Percent(u8);

/// A number of things, or percent of all there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CountOrPercent {
    /// So many.
    Count(u32),
    /// So many of a hundred.
    Percent(Percent),
}

/// The text is no percentage from 0% to 100%.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParsePercentError(String);

impl Percent {
    /// So many of a hundred; more than 100 are 100.
    #[must_use]
    pub const fn new(percent: u8) -> Self {
        Self(if percent > 100 { 100 } else { percent })
    }

    /// So many of `total`, rounded down, but at least one: a part of a small fleet is not nothing. 0% and a part of nothing are 0.
    #[must_use]
    pub fn of(self, total: usize) -> usize {
        let least = usize::from(self.0 > 0 && total > 0);
        // Two factors, so that no fleet overflows it.
        let part = total / 100 * usize::from(self.0) + total % 100 * usize::from(self.0) / 100;
        part.max(least)
    }
}

impl CountOrPercent {
    /// So many of `total`, as [`Percent::of`] has it; a count is itself, also if there are fewer.
    #[must_use]
    pub fn of(self, total: usize) -> usize {
        match self {
            Self::Count(count) => usize::try_from(count).unwrap_or(usize::MAX),
            Self::Percent(percent) => percent.of(total),
        }
    }
}

impl FromStr for Percent {
    type Err = ParsePercentError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digits = text.strip_suffix('%').filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()));
        let percent = digits.and_then(|digits| digits.parse().ok()).filter(|percent| *percent <= 100);
        percent.map(Self).ok_or_else(|| ParsePercentError(text.to_owned()))
    }
}

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}%", self.0)
    }
}

impl fmt::Display for CountOrPercent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Count(count) => write!(f, "{count}"),
            Self::Percent(percent) => write!(f, "{percent}"),
        }
    }
}

impl fmt::Display for ParsePercentError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} is no percentage from \"0%\" to \"100%\"", self.0)
    }
}

impl std::error::Error for ParsePercentError {}

impl Serialize for Percent {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Percent {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

impl Serialize for CountOrPercent {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Count(count) => count.serialize(serializer),
            Self::Percent(percent) => percent.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for CountOrPercent {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl de::Visitor<'_> for Visitor {
            type Value = CountOrPercent;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "a number, or a percentage such as \"30%\"")
            }

            fn visit_u64<E: de::Error>(self, count: u64) -> Result<Self::Value, E> {
                u32::try_from(count).map(CountOrPercent::Count).map_err(de::Error::custom)
            }

            fn visit_i64<E: de::Error>(self, count: i64) -> Result<Self::Value, E> {
                u32::try_from(count).map(CountOrPercent::Count).map_err(de::Error::custom)
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
                text.parse().map(CountOrPercent::Percent).map_err(de::Error::custom)
            }
        }

        deserializer.deserialize_any(Visitor)
    }
}

impl JsonSchema for Percent {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Percent".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "maxLength": 4, "pattern": PERCENT })
    }
}

impl JsonSchema for CountOrPercent {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "CountOrPercent".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "x-kubernetes-int-or-string": true, "minimum": 0, "maximum": MAX_COUNT, "maxLength": 4, "pattern": PERCENT,
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{CountOrPercent, Percent};

    #[test]
    fn a_part_is_rounded_down_and_never_nothing_unless_it_is_asked_for() {
        for (written, total, expected) in [
            (json!(0), 10, 0),
            (json!(3), 10, 3),
            (json!(30), 10, 30),
            (json!("0%"), 10, 0),
            (json!("1%"), 10, 1),
            (json!("25%"), 7, 1),
            (json!("25%"), 8, 2),
            (json!("100%"), 5_000, 5_000),
            (json!("30%"), 0, 0),
            (json!("99%"), usize::MAX, usize::MAX / 100 * 99 + usize::MAX % 100 * 99 / 100),
        ] {
            let share: CountOrPercent = serde_json::from_value(written.clone()).unwrap();
            assert_eq!(share.of(total), expected, "{written} of {total}");
            assert_eq!(serde_json::to_value(share).unwrap(), written);
        }
    }

    #[test]
    fn what_is_neither_is_refused() {
        for written in
            [json!(-1), json!("101%"), json!("-1%"), json!("+1%"), json!("30"), json!("%"), json!("3.5%"), json!(1.5)]
        {
            assert!(serde_json::from_value::<CountOrPercent>(written.clone()).is_err(), "{written}");
        }
        assert!("256%".parse::<Percent>().is_err());
        assert_eq!(Percent::new(200), Percent::new(100));
    }
}
