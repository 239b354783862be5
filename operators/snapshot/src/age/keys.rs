//! Public and private keys, as people write them.

use std::{fmt, str::FromStr};

use bech32::{Bech32, Hrp, primitives::decode::CheckedHrpstring};
use x25519_dalek::{PublicKey, StaticSecret};

const PUBLIC: &str = "age";
const PRIVATE: &str = "AGE-SECRET-KEY-";

/// Who can decrypt: a public key, written as `age1…`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Recipient(pub(super) PublicKey);

/// A private key, written as `AGE-SECRET-KEY-1…`.
#[derive(Clone)]
pub struct Identity(pub(super) StaticSecret);

/// The text is no key. It does not say what the text is: it may be secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// No public key.
    #[error("is no public key of age; write it as age-keygen prints it, age1 and 58 more letters")]
    Recipient,
    /// No private key.
    #[error("holds no private key of age; name the file that age-keygen wrote, with a line AGE-SECRET-KEY-1…")]
    Identity,
}

/// The 32 bytes of a key that is marked with `mark`.
fn decoded(text: &str, mark: &str) -> Option<[u8; 32]> {
    let checked = CheckedHrpstring::new::<Bech32>(text).ok()?;
    let is_marked = checked.hrp() == Hrp::parse(mark).ok()?;
    let bytes: Vec<u8> = checked.byte_iter().collect();
    bytes.try_into().ok().filter(|_| is_marked)
}

impl FromStr for Recipient {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        let is_lower = !text.contains(|letter: char| letter.is_ascii_uppercase());
        let key = decoded(text, PUBLIC).filter(|_| is_lower).ok_or(KeyError::Recipient)?;
        Ok(Self(PublicKey::from(key)))
    }
}

impl fmt::Display for Recipient {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mark = Hrp::parse(PUBLIC).map_err(|_| fmt::Error)?;
        formatter.write_str(&bech32::encode::<Bech32>(mark, self.0.as_bytes()).map_err(|_| fmt::Error)?)
    }
}

impl fmt::Debug for Recipient {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

impl FromStr for Identity {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        let is_upper = !text.contains(|letter: char| letter.is_ascii_lowercase());
        let key = decoded(text, PRIVATE).filter(|_| is_upper).ok_or(KeyError::Identity)?;
        Ok(Self(StaticSecret::from(key)))
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Identity").finish_non_exhaustive()
    }
}

impl Identity {
    /// The keys in a file as age-keygen writes it: one a line, with comments and blank lines between them.
    pub fn of_file(text: &str) -> Result<Vec<Self>, KeyError> {
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        let keys = lines.map(str::parse).collect::<Result<Vec<_>, _>>()?;
        if keys.is_empty() { Err(KeyError::Identity) } else { Ok(keys) }
    }

    /// The public key that belongs to it.
    #[must_use]
    pub fn recipient(&self) -> Recipient {
        Recipient(PublicKey::from(&self.0))
    }
}
