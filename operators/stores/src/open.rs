//! From a `BackupStore` and its Secret to its bucket.

use std::collections::BTreeMap;

use drover_crds::{
    BackupStore, BucketAddressing,
    names::{ANNOTATION_HOSTS, LABEL_USABLE_BY, USABLE_BY_STORES},
};
use drover_fetch::{Fetcher, Source, Trust, secret::read_hosts};
use drover_runtime::{ApiError, DialPolicy, clock::now, request::request};
use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client, ResourceExt as _};

use crate::{
    Addressing, Bucket, Keys, Store,
    cause::{OpenError, StoreCause},
};

const ACCESS_KEY: &str = "accessKeyID";
const SECRET_KEY: &str = "secretAccessKey";
const SESSION_TOKEN: &str = "sessionToken";

/// Opens the buckets of stores. Clones share what they know of this machine.
#[derive(Clone, Debug)]
pub struct Stores {
    fetcher: Fetcher,
    /// Whether stores may be on loopback and the like, as a chart value for tests allows.
    pub allows_local: bool,
}

impl Stores {
    /// Which dial the addresses that `policy` allows.
    #[must_use]
    pub fn new(policy: DialPolicy) -> Self {
        Self { fetcher: Fetcher::new(policy), allows_local: policy == DialPolicy::AllowLocal }
    }

    /// The bucket of `store`, with the keys in its Secret in `namespace`, which is Drover's. Asks the store nothing.
    pub async fn open(&self, client: &Client, namespace: &str, store: &BackupStore) -> Result<Store, OpenError> {
        let bucket = bucket(store)?;
        let source = source(store)?;
        let name = &store.spec.s3.credentials_secret_ref.name;
        let secrets = Api::<Secret>::namespaced(client.clone(), namespace);
        let found = request(format!("read Secret {namespace}/{name}"), secrets.get_opt(name)).await;
        let keys = keys(found.map_err(ApiError::unquoted)?, namespace, store, &bucket)?;
        Ok(Store::new(self.fetcher.clone(), source, bucket, keys, now))
    }
}

fn bucket(store: &BackupStore) -> Result<Bucket, OpenError> {
    let s3 = &store.spec.s3;
    let addressing = match s3.addressing {
        BucketAddressing::Auto => Addressing::Auto,
        BucketAddressing::Path => Addressing::Path,
        BucketAddressing::Virtual => Addressing::Virtual,
    };
    Bucket::new(&s3.endpoint, addressing, &s3.bucket, s3.region()).map_err(|error| {
        let message = format!("spec.s3 of BackupStore {}: {error}", store.name_any());
        OpenError::new(StoreCause::StoreInvalid, message)
    })
}

fn source(store: &BackupStore) -> Result<Source, OpenError> {
    let Some(authorities) = &store.spec.s3.ca_bundle else { return Ok(Source::default()) };
    let trust = Trust::from_pem(authorities.as_bytes()).map_err(|error| {
        let message = format!("spec.s3.caBundle of BackupStore {} {error}", store.name_any());
        OpenError::new(StoreCause::StoreInvalid, message)
    })?;
    Ok(Source { trust, ..Source::default() })
}

fn keys(found: Option<Secret>, namespace: &str, store: &BackupStore, bucket: &Bucket) -> Result<Keys, OpenError> {
    let name = &store.spec.s3.credentials_secret_ref.name;
    let is_usable =
        |secret: &Secret| secret.labels().get(LABEL_USABLE_BY).is_some_and(|value| value == USABLE_BY_STORES);
    let Some(secret) = found.filter(is_usable) else {
        let message = format!(
            "there is no Secret {name} with the label {LABEL_USABLE_BY}: {USABLE_BY_STORES} in namespace {namespace}; create it, or correct spec.s3.credentialsSecretRef"
        );
        return Err(OpenError::new(StoreCause::StoreSecretNotFound, message));
    };
    let invalid = |what: &str| {
        OpenError::new(StoreCause::StoreSecretInvalid, format!("Secret {name} in namespace {namespace} {what}"))
    };
    let hosts = read_hosts(secret.annotations().get(ANNOTATION_HOSTS).map(String::as_str))
        .map_err(|error| invalid(&error.to_string()))?;
    if !hosts.iter().any(|host| bucket.is_at(host)) {
        return Err(invalid(&format!(
            "does not name host {} in its annotation {ANNOTATION_HOSTS}; add it there, or correct spec.s3.endpoint",
            bucket.host()
        )));
    }
    let data = secret.data.unwrap_or_default().into_iter().map(|(key, bytes)| (key, bytes.0)).collect();
    let access = line(&data, ACCESS_KEY).ok_or_else(|| invalid(&needs(ACCESS_KEY)))?;
    let secret = line(&data, SECRET_KEY).ok_or_else(|| invalid(&needs(SECRET_KEY)))?;
    let session = data
        .contains_key(SESSION_TOKEN)
        .then(|| line(&data, SESSION_TOKEN).ok_or_else(|| invalid(&needs(SESSION_TOKEN))));
    let session = session.transpose()?.map(Into::into);
    Ok(Keys { access, secret: secret.into(), session })
}

fn needs(key: &str) -> String {
    format!("needs one line of text under the key {key}; write it there")
}

/// A value of one line that can stand in a header.
fn line(data: &BTreeMap<String, Vec<u8>>, key: &str) -> Option<String> {
    let text = str::from_utf8(data.get(key)?).ok()?.trim_end_matches(['\n', '\r']);
    let is_line = !text.is_empty() && text.bytes().all(|letter| letter.is_ascii_graphic());
    is_line.then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use drover_runtime::Classify as _;
    use serde_json::json;

    use super::*;

    fn store(s3: &serde_json::Value) -> BackupStore {
        let mut spec = json!({
            "endpoint": "https://s3.example.org", "bucket": "backups", "credentialsSecretRef": {"name": "keys"},
        });
        spec.as_object_mut().unwrap().extend(s3.as_object().unwrap().clone());
        serde_json::from_value(json!({
            "apiVersion": "drover.dev/v1alpha1", "kind": "BackupStore", "metadata": {"name": "main"}, "spec": {"s3": spec},
        }))
        .unwrap()
    }

    fn secret(hosts: &str, data: &[(&str, &str)]) -> Secret {
        let data: BTreeMap<_, _> =
            data.iter().map(|(key, text)| ((*key).to_owned(), k8s_openapi::ByteString((*text).into()))).collect();
        let mut secret = Secret { data: Some(data), ..Secret::default() };
        secret.labels_mut().insert(LABEL_USABLE_BY.to_owned(), USABLE_BY_STORES.to_owned());
        secret.annotations_mut().insert(ANNOTATION_HOSTS.to_owned(), hosts.to_owned());
        secret
    }

    fn read(found: impl Into<Option<Secret>>) -> Result<Keys, OpenError> {
        let store = store(&json!({}));
        keys(found.into(), "drover", &store, &bucket(&store).unwrap())
    }

    const BOTH: [(&str, &str); 2] = [(ACCESS_KEY, "a"), (SECRET_KEY, "s3cr3t\n")];

    #[test]
    fn keys_are_read_for_the_hosts_that_may_get_them() {
        assert_eq!(read(secret("s3.example.org", &BOTH)).unwrap().access, "a");
        let session = [BOTH[0], BOTH[1], (SESSION_TOKEN, "t")];
        assert!(read(secret("other.example, s3.example.org:443", &session)).unwrap().session.is_some());
        let virtual_host = store(&json!({"addressing": "Virtual"}));
        let in_bucket = bucket(&virtual_host).unwrap();
        assert!(keys(Some(secret("s3.example.org", &BOTH)), "drover", &virtual_host, &in_bucket).is_ok());
        for (found, expected) in [
            (None, StoreCause::StoreSecretNotFound),
            (Some(Secret::default()), StoreCause::StoreSecretNotFound),
            (Some(secret("", &BOTH)), StoreCause::StoreSecretInvalid),
            (Some(secret("other.example", &BOTH)), StoreCause::StoreSecretInvalid),
            (Some(secret("s3.example.org:9000", &BOTH)), StoreCause::StoreSecretInvalid),
            (Some(secret("s3.example.org", &BOTH[..1])), StoreCause::StoreSecretInvalid),
            (Some(secret("s3.example.org", &[BOTH[0], (SECRET_KEY, "s3\ncr3t")])), StoreCause::StoreSecretInvalid),
            (Some(secret("s3.example.org", &[BOTH[0], BOTH[1], (SESSION_TOKEN, "")])), StoreCause::StoreSecretInvalid),
        ] {
            let error = read(found).unwrap_err();
            assert_eq!(error.cause(), expected.cause(), "{error}");
            assert!(!error.to_string().contains("cr3t"), "{error}");
        }
    }

    #[test]
    fn a_spec_that_cannot_be_is_told() {
        let broken = store(&json!({"caBundle": "x", "endpoint": "https://s3/x"}));
        assert_eq!(source(&broken).unwrap_err().cause(), StoreCause::StoreInvalid.cause());
        assert_eq!(bucket(&broken).unwrap_err().cause(), StoreCause::StoreInvalid.cause());
    }
}
