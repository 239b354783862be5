//! Durations as people write them.

use std::{borrow::Cow, fmt, str::FromStr, time::Duration};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// A duration such as `30s`, `10m`, `1h30m` or `720h`, kept as it was written.
///
/// Whole numbers of `h`, `m`, `s` and `ms`. Two durations of equal length are equal, however they are spelled.
/// Unlike `kube::core::Duration` it cannot panic on absurd input and does not rewrite `10m` to `600s`.
#[derive(Clone)]
pub struct ApiDuration {
    text: String,
    value: Duration,
}

/// The text is not a duration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseDurationError(String);

impl ApiDuration {
    /// The same duration for use in code.
    #[must_use]
    pub fn as_std(&self) -> Duration {
        self.value
    }
}

impl From<Duration> for ApiDuration {
    /// Spelled in the largest unit that holds it exactly; less than a millisecond is lost.
    fn from(value: Duration) -> Self {
        let millis = value.as_millis();
        let text = match millis {
            0 => "0s".to_owned(),
            _ if millis.is_multiple_of(3_600_000) => format!("{}h", millis / 3_600_000),
            _ if millis.is_multiple_of(60_000) => format!("{}m", millis / 60_000),
            _ if millis.is_multiple_of(1_000) => format!("{}s", millis / 1_000),
            _ => format!("{millis}ms"),
        };
        let value = Duration::new(value.as_secs(), value.subsec_millis() * 1_000_000);
        Self { text, value }
    }
}

impl FromStr for ApiDuration {
    type Err = ParseDurationError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match parse(text) {
            Some(value) => Ok(Self { text: text.to_owned(), value }),
            None => Err(ParseDurationError(text.to_owned())),
        }
    }
}

/// `None` for anything but a sequence of number and unit, and for what a [`Duration`] cannot hold.
fn parse(text: &str) -> Option<Duration> {
    let mut total = Duration::ZERO;
    let mut rest = text;
    loop {
        let (digits, after) = rest.split_at(rest.find(|c: char| !c.is_ascii_digit())?);
        let (unit, after) = after.split_at(after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len()));
        let number: u64 = digits.parse().ok()?;
        let part = match unit {
            "h" => Duration::from_secs(number.checked_mul(3_600)?),
            "m" => Duration::from_secs(number.checked_mul(60)?),
            "s" => Duration::from_secs(number),
            "ms" => Duration::from_millis(number),
            _ => return None,
        };
        total = total.checked_add(part)?;
        if after.is_empty() {
            return Some(total);
        }
        rest = after;
    }
}

impl PartialEq for ApiDuration {
    fn eq(&self, other: &Self) -> bool {
        self.value == other.value
    }
}

impl Eq for ApiDuration {}

impl fmt::Display for ApiDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for ApiDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Display for ParseDurationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} is not a duration such as \"30s\", \"10m\" or \"720h\"", self.0)
    }
}

impl std::error::Error for ParseDurationError {}

impl Serialize for ApiDuration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for ApiDuration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

impl JsonSchema for ApiDuration {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "ApiDuration".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "maxLength": 20, "pattern": "^([0-9]{1,6}(h|m|s|ms))+$" })
    }
}
