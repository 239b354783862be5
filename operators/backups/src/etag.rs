//! What a store calls a part that it received.

use std::fmt;

use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};
use serde::{Deserialize, Serialize};

/// Most bytes of an `ETag` that counts.
const MOST_BYTES: usize = 128;
/// Before one that is written as it is.
const VERBATIM: char = '=';

/// The `ETag` of a part, without quotation marks: visible ASCII, 128 bytes at most.
///
/// Nearly all stores give the MD5 of the part in hexadecimal digits. In JSON such a one is written in base64, so that 112 of them go
/// into a termination message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ETag(String);

/// The text is no `ETag`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an ETag has 1 to 128 visible letters of ASCII and no quotation mark")]
pub struct ETagError;

impl ETag {
    /// As the header of an answer has it, in quotation marks or without.
    pub fn from_header(header: &str) -> Result<Self, ETagError> {
        let text = header.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(header);
        let is_allowed = |letter: u8| letter.is_ascii_graphic() && letter != b'"';
        let is_tag = (1..=MOST_BYTES).contains(&text.len()) && text.bytes().all(is_allowed);
        if is_tag { Ok(Self(text.to_owned())) } else { Err(ETagError) }
    }

    /// Without quotation marks.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The 16 bytes that it spells, if it spells that many in lower case.
    fn bytes(&self) -> Option<[u8; 16]> {
        let is_plain = self.0.len() == 32 && self.0.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'));
        u128::from_str_radix(&self.0, 16).ok().filter(|_| is_plain).map(u128::to_be_bytes)
    }
}

impl fmt::Display for ETag {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl From<ETag> for String {
    fn from(tag: ETag) -> Self {
        tag.bytes().map_or_else(|| format!("{VERBATIM}{tag}"), |bytes| STANDARD_NO_PAD.encode(bytes))
    }
}

impl TryFrom<String> for ETag {
    type Error = ETagError;

    fn try_from(text: String) -> Result<Self, ETagError> {
        if let Some(verbatim) = text.strip_prefix(VERBATIM) {
            return Self::from_header(verbatim);
        }
        let bytes = STANDARD_NO_PAD.decode(text).map_err(|_| ETagError)?;
        let bytes = <[u8; 16]>::try_from(bytes).map_err(|_| ETagError)?;
        Ok(Self(format!("{:032x}", u128::from_be_bytes(bytes))))
    }
}
