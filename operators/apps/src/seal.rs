//! What a status may show of secret things: enough to tell them apart, and nothing by which a value could be tried.

use std::{fmt, sync::Arc};

use drover_crds::names::DROVER_NAMESPACE;
use drover_runtime::{ApiError, PlaceContext, request::request};
use k8s_openapi::{ByteString, api::core::v1::Secret};
use kube::{
    Api, Client,
    api::{ObjectMeta, PostParams},
};
use ring::{
    hmac,
    rand::{SecureRandom as _, SystemRandom},
};
use tokio::sync::OnceCell;

use crate::{AppCause, AppError};

/// The Secret in Drover's namespace that holds the key, and the entry in it.
const SECRET: &str = "drover-app-key";
const ENTRY: &str = "key";
const LENGTH: usize = 32;

/// A key of this installation. Nobody reads it who may not read the Secrets of Drover.
#[derive(Clone, PartialEq, Eq)]
pub struct Seal(Arc<[u8]>);

/// The key, read once. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct OnceSeal(Arc<OnceCell<Seal>>);

impl OnceSeal {
    /// The key of the installation that works at `place`.
    pub async fn get(&self, place: &PlaceContext) -> Result<Seal, AppError> {
        let namespace = place.fleet.operator_namespace().unwrap_or(DROVER_NAMESPACE);
        let load = || async { Seal::load(&place.management.client(), namespace).await };
        self.0.get_or_try_init(load).await.cloned()
    }
}

impl fmt::Debug for Seal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Seal").finish_non_exhaustive()
    }
}

impl Seal {
    /// By this key.
    #[must_use]
    pub fn of_key(key: &[u8]) -> Self {
        Self(key.into())
    }

    /// Reads the key from `namespace`, which is Drover's. The first process of an installation makes it up.
    async fn load(client: &Client, namespace: &str) -> Result<Self, AppError> {
        let secrets = Api::<Secret>::namespaced(client.clone(), namespace);
        let what = format!("read Secret {namespace}/{SECRET}");
        if let Some(found) = request(&*what, secrets.get_opt(SECRET)).await.map_err(ApiError::unquoted)? {
            return Self::held_by(&found);
        }
        let (to_create, new, params) =
            (format!("create Secret {namespace}/{SECRET}"), new_secret(), PostParams::default());
        match request(&*to_create, secrets.create(&params, &new)).await.map_err(ApiError::unquoted) {
            Ok(created) => Self::held_by(&created),
            // Another process was first, or this one may not.
            Err(error) => match request(&*what, secrets.get_opt(SECRET)).await.map_err(ApiError::unquoted)? {
                Some(found) => Self::held_by(&found),
                None => Err(error.into()),
            },
        }
    }

    fn held_by(secret: &Secret) -> Result<Self, AppError> {
        let key = secret.data.as_ref().and_then(|data| data.get(ENTRY));
        let key = key.filter(|key| key.0.len() >= LENGTH);
        key.map(|key| Self::of_key(&key.0)).ok_or_else(|| {
            let message =
                format!("Secret {SECRET} has no {ENTRY} of {LENGTH} bytes; delete it, and Drover makes another one");
            AppError::new(AppCause::KeyUnavailable, message)
        })
    }

    /// Tells `bytes` of `whom` from others, such as the UID of an app: the same for the same bytes and whom, and of no use without the key.
    #[must_use]
    pub fn tag(&self, whom: &str, what: &str, bytes: &[u8]) -> String {
        let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, &self.0));
        for part in [whom.as_bytes(), what.as_bytes(), bytes] {
            context.update(&part.len().to_be_bytes());
            context.update(part);
        }
        let tag = context.sign();
        let (head, _) = tag.as_ref().split_first_chunk().unwrap_or((&[0; 16], &[]));
        format!("{:032x}", u128::from_be_bytes(*head))
    }
}

fn new_secret() -> Secret {
    let mut key = vec![0; LENGTH];
    // Without random bytes there is no TLS either.
    if SystemRandom::new().fill(&mut key).is_err() {
        key.clear();
    }
    Secret {
        metadata: ObjectMeta { name: Some(SECRET.to_owned()), ..ObjectMeta::default() },
        data: Some([(ENTRY.to_owned(), ByteString(key))].into()),
        immutable: Some(true),
        ..Secret::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_cannot_be_made_without_the_key() {
        let (seal, other) = (Seal::of_key(b"one"), Seal::of_key(b"two"));
        let shown = seal.tag("1", "inputs", b"password: 1234");
        assert_eq!(shown, seal.tag("1", "inputs", b"password: 1234"));
        assert_eq!(shown.len(), 32);
        for different in [
            other.tag("1", "inputs", b"password: 1234"),
            seal.tag("2", "inputs", b"password: 1234"),
            seal.tag("1", "manifest", b"password: 1234"),
            seal.tag("1", "inputs", b"password: 1235"),
        ] {
            assert_ne!(different, shown);
        }
        assert_eq!(format!("{seal:?}"), "Seal(..)");
    }

    #[test]
    fn a_new_key_is_random_and_cannot_be_changed() {
        let secret = new_secret();
        assert_eq!(secret.data.as_ref().unwrap()[ENTRY].0.len(), LENGTH);
        assert_eq!(secret.immutable, Some(true));
        assert_ne!(Seal::held_by(&secret).unwrap(), Seal::held_by(&new_secret()).unwrap());
        let empty = Secret { data: None, ..secret };
        assert!(
            Seal::held_by(&empty).unwrap_err().to_string().contains("delete it"),
            "nobody could tell it from no key"
        );
    }
}
