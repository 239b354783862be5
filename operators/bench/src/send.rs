//! Hands an answer over: one request, until it is accepted or there is no time left.

use std::time::Duration;

use drover_client::{ApiError, request::request};
use drover_scans::answer::KEY;
use k8s_openapi::{ByteString, api::core::v1::Secret};
use kube::{
    Api, Client, Config,
    api::{Patch, PatchParams},
    config::InClusterError,
};
use serde_json::json;
use tokio::time::{Instant, sleep_until, timeout_at};

/// Who writes the answer.
const FIELD_MANAGER: &str = "drover-bench";
/// The first pause between two attempts, which doubles …
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// … up to this one.
const LONGEST_PAUSE: Duration = Duration::from_secs(15);

/// Why an answer could not be handed over.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// The API server cannot be reached from here.
    #[error("the API server is not known: {0}; this command belongs into a Pod with the token of its ServiceAccount")]
    NotInCluster(#[from] InClusterError),
    /// The client cannot be made.
    #[error("the connection to the API server cannot be prepared: {0}")]
    Client(kube::Error),
    /// The Secret is gone: nobody waits for the answer.
    #[error("the Secret {0} is gone: the scan has ended, or was deleted")]
    Gone(String),
    /// The answer is refused, and will be again.
    #[error("{0}")]
    Refused(ApiError),
    /// No attempt succeeded in time.
    #[error("no time is left after {attempts} attempts; the last one: {last}")]
    TimedOut {
        /// How many there were.
        attempts: u32,
        /// What came of the last one that ended.
        last: String,
    },
}

/// A client with the token and the address that a Pod has.
pub fn in_cluster() -> Result<Client, SendError> {
    let mut config = Config::incluster()?;
    // The attempts are counted here.
    config.default_retry = false;
    Client::try_from(config).map_err(SendError::Client)
}

/// What follows from an attempt that did not succeed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    /// Another one.
    Retry,
    /// Nobody waits for the answer.
    Gone,
    /// None: it would be refused as well.
    Refused,
}

/// The right to write may come some seconds after the Pod.
fn next(code: Option<u16>) -> Next {
    match code {
        None | Some(401 | 403 | 408 | 409 | 429 | 500..) => Next::Retry,
        Some(404) => Next::Gone,
        Some(_) => Next::Refused,
    }
}

/// The pause after so many attempts.
fn pause(attempts: u32) -> Duration {
    let doubled = 2_u32.checked_pow(attempts.saturating_sub(1)).unwrap_or(u32::MAX);
    FIRST_PAUSE.saturating_mul(doubled).min(LONGEST_PAUSE)
}

/// Writes the packed answer into the Secret.
pub(crate) async fn send(
    client: Client,
    (namespace, name): (&str, &str),
    packed: Vec<u8>,
    deadline: Instant,
) -> Result<(), SendError> {
    let api = Api::<Secret>::namespaced(client, namespace);
    let patch = Patch::Merge(json!({"data": {KEY: ByteString(packed)}}));
    let parameters = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
    let (mut attempts, mut last) = (0, "the API server did not answer".to_owned());
    loop {
        attempts += 1;
        // What comes back need not be the whole answer.
        let call =
            request(format!("write the Secret {namespace}/{name}"), api.patch_metadata(name, &parameters, &patch));
        let Ok(answer) = timeout_at(deadline, call).await else { return Err(SendError::TimedOut { attempts, last }) };
        // The server may quote what it refuses.
        let Err(error) = answer.map_err(ApiError::unquoted) else { return Ok(()) };
        match next(error.code()) {
            Next::Gone => return Err(SendError::Gone(format!("{namespace}/{name}"))),
            Next::Refused => return Err(SendError::Refused(error)),
            Next::Retry => last = error.to_string(),
        }
        let again = Instant::now() + pause(attempts);
        if again >= deadline {
            return Err(SendError::TimedOut { attempts, last });
        }
        sleep_until(again).await;
    }
}

#[cfg(test)]
pub(crate) mod tests;
