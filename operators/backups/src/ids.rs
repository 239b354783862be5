//! What tells clusters, backups, attempts and members of etcd from one another.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// Most letters of an id.
const MOST_LETTERS: usize = 64;

/// The text is no id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an id has 1 to 64 letters, digits and dashes")]
pub struct IdError;

/// The UID of an object of Kubernetes, as a part of the key of an object in a store: letters, digits and dashes, 64 of them at most.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Uid(String);

/// One attempt at a backup; letters, digits and dashes, 64 of them at most. What another attempt reports counts for nothing.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct AttemptId(String);

/// Whether `text` can be a part of a key without a slash, a dot or a blank in it.
fn is_id(text: &str) -> bool {
    let is_allowed = |letter: u8| letter.is_ascii_alphanumeric() || letter == b'-';
    (1..=MOST_LETTERS).contains(&text.len()) && text.bytes().all(is_allowed)
}

macro_rules! id {
    ($name:ident) => {
        impl $name {
            /// Its text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                text.to_owned().try_into()
            }
        }

        impl TryFrom<String> for $name {
            type Error = IdError;

            fn try_from(text: String) -> Result<Self, IdError> {
                if is_id(&text) { Ok(Self(text)) } else { Err(IdError) }
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str(&self.0)
            }
        }
    };
}

id!(Uid);
id!(AttemptId);

/// The id of a cluster or of a member of etcd. Written in hexadecimal digits, as etcd's own tools write it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct EtcdId(pub u64);

impl fmt::Display for EtcdId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:x}", self.0)
    }
}

impl From<EtcdId> for String {
    fn from(id: EtcdId) -> Self {
        id.to_string()
    }
}

impl TryFrom<String> for EtcdId {
    type Error = IdError;

    fn try_from(text: String) -> Result<Self, IdError> {
        let id = u64::from_str_radix(&text, 16).map_err(|_| IdError)?;
        // Not `+1`, and no other spelling of the same number.
        if Self(id).to_string() == text { Ok(Self(id)) } else { Err(IdError) }
    }
}
