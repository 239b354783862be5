//! Puts a running control plane back to its first state, through its etcd.
//!
//! All keys are read once after the start. Later what is new is deleted and what differs is put back; the API server and its
//! controllers see that as changes like any others, and go on. Afterwards everything is read again, until twice in a row
//! nothing differs: a controller may have been about to write, or does so because of the reset.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use k8s_openapi::api::core::v1::Namespace;
use kube::api::ListParams;
use kube::{Api, ResourceExt};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::control_plane::{Record, administrator_kubeconfig, client_from};
use crate::error::{Error, FileContext, Result};
use crate::json_file;
use crate::wait::patiently;

/// etcd takes 128 operations in a transaction.
const OPERATIONS: usize = 100;
/// How often everything is read until nothing differs any more, and the pause in between.
const LOOKS: usize = 100;
const PAUSE: Duration = Duration::from_millis(20);
/// Between two looks in which nothing differs, at a control plane that comes back and is looked at again when it is taken.
pub(super) const BRIEFLY: Duration = PAUSE;
/// The same for one that is used from now on: by then a controller has reacted.
pub(super) const AT_REST: Duration = Duration::from_millis(200);
/// Between two looks at a control plane that was just started.
const STARTING_PAUSE: Duration = Duration::from_millis(150);
/// An etcd that is asked here serves one process on this machine: one that takes longer hangs, and its control plane is thrown away.
const PATIENCE: Duration = Duration::from_secs(20);
/// An API server acts on a policy that is gone until it looks again, once a second.
const POLICIES_ARE_FORGOTTEN: Duration = Duration::from_secs(2);

/// What the API server writes by its own clock: one that finds another record of its last compaction, or none, panics at the
/// next.
const VOLATILE: [&str; 2] = ["/registry/leases/kube-system/apiserver-", "compact_rev_key"];
/// They end by themselves, so they are never put back.
const EVENTS: &str = "/registry/events/";
/// What the API server serves follows a definition late, so one that changed is not put back.
const DEFINITIONS: [&str; 2] = ["/registry/apiextensions.k8s.io/", "/registry/apiregistration.k8s.io/"];
const POLICIES: &str = "/registry/validatingadmissionpolic";
const NAMESPACES: &str = "/registry/namespaces/";

/// All keys and values that a control plane begins with, in base64.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct FirstState(BTreeMap<String, String>);

impl FirstState {
    /// The state of a control plane once nobody writes any more.
    pub(super) async fn settled(plane: &Record) -> Result<Self> {
        let etcd = Etcd::of(plane);
        let mut last = etcd.keys_but_events().await?;
        for _ in 0..LOOKS {
            tokio::time::sleep(STARTING_PAUSE).await;
            let now = etcd.keys_but_events().await?;
            if now == last {
                return Ok(Self(now));
            }
            last = now;
        }
        Err(Error::NotAtRest { seconds: (STARTING_PAUSE * u32::try_from(LOOKS).unwrap_or(u32::MAX)).as_secs() })
    }

    pub(super) fn read(path: &Path) -> Result<Self> {
        json_file::read(path)
    }

    pub(super) fn write(&self, path: &Path) -> Result<()> {
        json_file::write(path, self)
    }

    /// Makes the keys of a control plane equal to these, as two looks that are so far `apart` see it. Fails if they do not stay
    /// so, if what is served is not what they say, or if a definition would have to be put back.
    pub(super) async fn restore(&self, plane: &Record, directory: &Path, apart: Duration) -> Result<()> {
        let etcd = Etcd::of(plane);
        let (mut equal, mut changed) = (0, Vec::new());
        for _ in 0..LOOKS {
            let now = etcd.keys().await?;
            let differences = self.differences(&now);
            if differences.is_empty() {
                equal += 1;
                if equal == 2 {
                    return self.is_served(directory, &changed).await;
                }
                tokio::time::sleep(apart).await;
            } else {
                equal = 0;
                etcd.transact(&differences).await?;
                changed.extend(differences.into_iter().map(|difference| decoded(difference.key)));
                tokio::time::sleep(PAUSE).await;
            }
        }
        Err(Error::NotReset { what: changed.pop().unwrap_or_default() })
    }

    fn differences<'a>(&'a self, now: &'a BTreeMap<String, String>) -> Vec<Difference<'a>> {
        let gone = now.keys().filter(|key| !self.0.contains_key(*key)).map(|key| Difference { key, value: None });
        let other = self.0.iter().filter(|(key, value)| now.get(*key) != Some(value));
        gone.chain(other.map(|(key, value)| Difference { key, value: Some(value) })).collect()
    }

    /// The API server shows what is in etcd: a list comes from its cache, once that is as new as etcd.
    async fn is_served(&self, directory: &Path, changed: &[String]) -> Result<()> {
        let begins = |key: &String, prefixes: &[&str]| prefixes.iter().any(|prefix| key.starts_with(prefix));
        if let Some(definition) = changed.iter().find(|key| begins(key, &DEFINITIONS)) {
            return Err(Error::NotReset { what: definition.clone() });
        }
        if changed.iter().any(|key| begins(key, &[POLICIES])) {
            tokio::time::sleep(POLICIES_ARE_FORGOTTEN).await;
        }
        let path = administrator_kubeconfig(directory);
        let client = client_from(&fs::read_to_string(&path).on("read", path)?).await?;
        let mut served: Vec<String> = Api::<Namespace>::all(client)
            .list(&ListParams::default())
            .await?
            .iter()
            .map(ResourceExt::name_any)
            .collect();
        served.sort();
        let mut expected: Vec<String> = self.0.keys().map(|key| decoded(key)).collect();
        expected.retain(|key| key.starts_with(NAMESPACES));
        if served.iter().eq(expected.iter().map(|key| key.trim_start_matches(NAMESPACES))) {
            Ok(())
        } else {
            Err(Error::NotReset { what: format!("namespaces {served:?}") })
        }
    }
}

struct Difference<'a> {
    key: &'a str,
    /// None: it has to go.
    value: Option<&'a str>,
}

impl Difference<'_> {
    fn operation(&self) -> Value {
        match self.value {
            Some(value) => json!({"requestPut": {"key": self.key, "value": value}}),
            None => json!({"requestDeleteRange": {"key": self.key}}),
        }
    }
}

/// The JSON gateway of an etcd.
struct Etcd {
    base: String,
    client: Client<HttpConnector, Full<Bytes>>,
}

#[derive(Deserialize)]
struct Range {
    #[serde(default)]
    kvs: Vec<KeyValue>,
}

#[derive(Deserialize)]
struct KeyValue {
    key: String,
    #[serde(default)]
    value: String,
}

impl Etcd {
    fn of(plane: &Record) -> Self {
        let base = format!("http://127.0.0.1:{}", plane.ports.etcd_client);
        Self { base, client: Client::builder(TokioExecutor::new()).build_http() }
    }

    async fn keys(&self) -> Result<BTreeMap<String, String>> {
        // A zero byte as key and as end means everything.
        let all: Range = self.call("/v3/kv/range", &json!({"key": "AA==", "range_end": "AA=="})).await?;
        let kept = all.kvs.into_iter().filter(|pair| {
            let key = decoded(&pair.key);
            !VOLATILE.iter().any(|prefix| key.starts_with(prefix))
        });
        Ok(kept.map(|pair| (pair.key, pair.value)).collect())
    }

    async fn keys_but_events(&self) -> Result<BTreeMap<String, String>> {
        let mut keys = self.keys().await?;
        keys.retain(|key, _| !decoded(key).starts_with(EVENTS));
        Ok(keys)
    }

    async fn transact(&self, differences: &[Difference<'_>]) -> Result<()> {
        for some in differences.chunks(OPERATIONS) {
            let operations: Vec<Value> = some.iter().map(Difference::operation).collect();
            let _: Value = self.call("/v3/kv/txn", &json!({"success": operations})).await?;
        }
        Ok(())
    }

    async fn call<T: DeserializeOwned>(&self, path: &str, body: &Value) -> Result<T> {
        let limit = patiently(PATIENCE);
        let late = |_| Error::Etcd { call: path.to_owned(), reason: format!("no answer in {} s", limit.as_secs()) };
        timeout(limit, self.answer(path, body)).await.map_err(late)?
    }

    async fn answer<T: DeserializeOwned>(&self, path: &str, body: &Value) -> Result<T> {
        let failed = |reason: String| Error::Etcd { call: path.to_owned(), reason };
        let request = http::Request::post(format!("{}{path}", self.base)).body(Full::from(body.to_string()));
        let request = request.map_err(|error| failed(error.to_string()))?;
        let answer = self.client.request(request).await.map_err(|error| failed(error.to_string()))?;
        let status = answer.status();
        let bytes = answer.into_body().collect().await.map_err(|error| failed(error.to_string()))?.to_bytes();
        if !status.is_success() {
            return Err(failed(format!("{status}: {}", String::from_utf8_lossy(&bytes))));
        }
        serde_json::from_slice(&bytes).map_err(|error| failed(error.to_string()))
    }
}

fn decoded(key: &str) -> String {
    String::from_utf8_lossy(&BASE64.decode(key).unwrap_or_default()).into_owned()
}
