//! What Go's JSON writes where Rust expects a value: `null` for empty, and empty or zero times.

use serde::{Deserialize, Deserializer};

/// A value, or the default where the text says `null`.
pub(crate) fn or_default<'de, T, D>(deserializer: D) -> Result<T, D::Error>
where
    T: Deserialize<'de> + Default,
    D: Deserializer<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// Times as Helm writes them; what is empty, Go's zero time or no time at all is none.
pub(crate) mod time {
    use k8s_openapi::jiff::Timestamp;
    use serde::{Deserialize as _, Deserializer, Serializer};

    /// The first second of the year 1, Go's zero time.
    const ZERO: i64 = -62_135_596_800;

    #[expect(clippy::ref_option, reason = "serde calls it so")]
    pub(crate) fn serialize<S: Serializer>(time: &Option<Timestamp>, serializer: S) -> Result<S::Ok, S::Error> {
        match time {
            Some(time) => serializer.collect_str(time),
            None => serializer.serialize_none(),
        }
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Timestamp>, D::Error> {
        let text = Option::<String>::deserialize(deserializer)?;
        let time = text.and_then(|text| text.parse::<Timestamp>().ok());
        Ok(time.filter(|time| time.as_second() > ZERO))
    }
}
