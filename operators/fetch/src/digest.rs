//! Names bytes by SHA-256.

use std::{fmt, str::FromStr};

use ring::digest::{Context, SHA256, digest};
use serde::{Deserialize, Serialize};

/// The SHA-256 of some bytes. Written as `sha256:` and 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest([u8; 32]);

/// Digests what comes piece by piece.
#[derive(Clone)]
pub struct Digester(Context);

/// The text is no SHA-256.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a digest is `sha256:` and 64 hexadecimal digits")]
pub struct DigestError;

const ALGORITHM: &str = "sha256:";

impl Digest {
    /// The digest of `bytes`.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self::from_ring(digest(&SHA256, bytes))
    }

    /// The 32 bytes alone.
    #[must_use]
    pub fn bytes(&self) -> [u8; 32] {
        self.0
    }

    fn from_ring(digest: ring::digest::Digest) -> Self {
        let mut found = [0; 32];
        found.iter_mut().zip(digest.as_ref()).for_each(|(to, from)| *to = *from);
        Self(found)
    }

    /// The 64 hexadecimal digits alone, in lower case.
    #[must_use]
    pub fn hex(&self) -> String {
        let digits = self.0.iter().flat_map(|byte| [byte >> 4, byte & 0xf]);
        digits.filter_map(|digit| char::from_digit(u32::from(digit), 16)).collect()
    }
}

impl Default for Digester {
    fn default() -> Self {
        Self(Context::new(&SHA256))
    }
}

impl Digester {
    /// Takes a piece.
    pub fn update(&mut self, piece: &[u8]) {
        self.0.update(piece);
    }

    /// The digest of all pieces.
    #[must_use]
    pub fn finish(self) -> Digest {
        Digest::from_ring(self.0.finish())
    }
}

impl fmt::Debug for Digester {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Digester").finish_non_exhaustive()
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        digest.to_string()
    }
}

impl TryFrom<String> for Digest {
    type Error = DigestError;

    fn try_from(text: String) -> Result<Self, DigestError> {
        text.parse()
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{ALGORITHM}{}", self.hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

impl FromStr for Digest {
    type Err = DigestError;

    /// With or without `sha256:`: an index of a repository has both.
    fn from_str(text: &str) -> Result<Self, DigestError> {
        let digits = text.strip_prefix(ALGORITHM).unwrap_or(text).as_bytes();
        if digits.len() != 64 {
            return Err(DigestError);
        }
        let mut found = [0; 32];
        for (byte, pair) in found.iter_mut().zip(digits.chunks(2)) {
            *byte = pair.iter().try_fold(0, |high, digit| Some(high << 4 | nibble(*digit)?)).ok_or(DigestError)?;
        }
        Ok(Self(found))
    }
}

fn nibble(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_read_as_it_is_written() {
        let digest = Digest::of(b"abc");
        let mut digester = Digester::default();
        for piece in [&b"a"[..], b"", b"bc"] {
            digester.update(piece);
        }
        assert_eq!(digester.finish(), digest);
        let json = serde_json::to_string(&digest).unwrap();
        assert_eq!(json, format!("\"{digest}\""));
        assert_eq!(serde_json::from_str::<Digest>(&json).unwrap(), digest);
        assert_eq!(digest.to_string(), "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert_eq!(digest.to_string().parse(), Ok(digest));
        assert_eq!(digest.hex().to_uppercase().parse(), Ok(digest));
        for bad in ["", "sha256:", "sha512:ba78", &"g".repeat(64), &"é".repeat(32), &format!("{}0", digest.hex())] {
            assert_eq!(bad.parse::<Digest>(), Err(DigestError), "{bad}");
        }
    }
}
