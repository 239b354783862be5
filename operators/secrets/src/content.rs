//! What a Secret holds. Nothing here shows it.

use std::{collections::BTreeMap, fmt};

use ring::{
    digest::{self, SHA256},
    hmac,
};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

/// The types of Secrets that are copied. What else there is means something to the cluster or to a tool: tokens of service accounts
/// and of bootstrap, release records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SecretType {
    /// Any data.
    Opaque,
    /// Credentials of registries, in the older format.
    DockerCfg,
    /// Credentials of registries.
    DockerConfigJson,
    /// A certificate and its key.
    Tls,
    /// A user name and a password.
    BasicAuth,
    /// An SSH key.
    SshAuth,
}

impl SecretType {
    /// The one that an API server calls so; none for those that are not copied. Without a name it is `Opaque`.
    pub(crate) fn of(name: Option<&str>) -> Option<Self> {
        const ALL: [SecretType; 6] = [
            SecretType::Opaque,
            SecretType::DockerCfg,
            SecretType::DockerConfigJson,
            SecretType::Tls,
            SecretType::BasicAuth,
            SecretType::SshAuth,
        ];
        let name = name.unwrap_or(Self::Opaque.as_str());
        ALL.into_iter().find(|each| each.as_str() == name)
    }

    /// As the API spells it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Opaque => "Opaque",
            Self::DockerCfg => "kubernetes.io/dockercfg",
            Self::DockerConfigJson => "kubernetes.io/dockerconfigjson",
            Self::Tls => "kubernetes.io/tls",
            Self::BasicAuth => "kubernetes.io/basic-auth",
            Self::SshAuth => "kubernetes.io/ssh-auth",
        }
    }
}

/// Tells one content from another, and says nothing of it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Digest([u8; 32]);

impl fmt::Debug for Digest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("…")
    }
}

impl Digest {
    /// What may be shown of it: without the UID of the source, which only those know who may read the source, nobody can try what
    /// the content may be.
    pub(crate) fn keyed_by(&self, uid: &str) -> String {
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, uid.as_bytes()), &self.0);
        let (head, _) = tag.as_ref().split_first_chunk().unwrap_or((&[0; 16], &[]));
        format!("{:032x}", u128::from_be_bytes(*head))
    }
}

/// The data of a Secret, as the API has it: Base64 by key.
#[derive(Clone, Default)]
pub(crate) struct Content(BTreeMap<String, String>);

impl fmt::Debug for Content {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Content(…)")
    }
}

impl<'de> Deserialize<'de> for Content {
    /// What is no text by key is left out: an error would quote it.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Value::Object(data) = Value::deserialize(deserializer)? else { return Ok(Self::default()) };
        let text = |(key, value)| if let Value::String(value) = value { Some((key, value)) } else { None };
        Ok(Self(data.into_iter().filter_map(text).collect()))
    }
}

impl Content {
    /// How long keys and values are together, in bytes.
    pub(crate) fn size(&self) -> usize {
        let decoded = |value: &String| value.trim_end_matches('=').len() * 3 / 4;
        self.0.iter().map(|(key, value)| key.len() + decoded(value)).sum()
    }

    pub(crate) fn digest(&self) -> Digest {
        let mut all = digest::Context::new(&SHA256);
        for text in self.0.iter().flat_map(|(key, value)| [key, value]) {
            all.update(&text.len().to_le_bytes());
            all.update(text.as_bytes());
        }
        let mut found = [0; 32];
        found.iter_mut().zip(all.finish().as_ref()).for_each(|(into, from)| *into = *from);
        Digest(found)
    }

    /// The fields of a Secret besides its metadata.
    pub(crate) fn fields(self, kind: SecretType) -> Map<String, Value> {
        let data = self.0.into_iter().map(|(key, value)| (key, Value::String(value))).collect();
        [("type".to_owned(), kind.as_str().into()), ("data".to_owned(), Value::Object(data))].into_iter().collect()
    }
}
