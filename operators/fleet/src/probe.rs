//! Asks a cluster who and how it is, end to end, through the same client as everything else.

use std::time::Duration;

use k8s_openapi::api::core::v1::Namespace;
use kube::{Api, Client};

use drover_dial::connection_error::{ConnectionError, is_page};
use drover_runtime::error::legible;

/// What a cluster says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// UID of its `kube-system` namespace: the cluster's identity.
    pub uid: String,
    /// For example `v1.37.1`.
    pub version: String,
    /// Operating system and architecture of its API server, for example `linux/amd64`.
    pub platform: String,
}

/// The oldest Kubernetes minor version of 1.x that is supported: `ValidatingAdmissionPolicy` is GA since 1.30.
const OLDEST_MINOR: u32 = 30;

/// What a cluster says of itself is cut to what its status can hold, in bytes: one that talks too much must not make the
/// whole status unwritable.
const UID_LIMIT: usize = 36;
const VERSION_LIMIT: usize = 64;
const PLATFORM_LIMIT: usize = 64;

const IDENTITY: &str = "get the namespace kube-system";

/// Whether the API server is ready.
pub(crate) async fn ready(client: &Client, limit: Duration) -> Result<(), ConnectionError> {
    const WHAT: &str = "GET /readyz";
    let request = http::Request::get("/readyz").body(Vec::new()).map_err(|_| ConnectionError::ApiServer(0, WHAT))?;
    let answer = within(limit, WHAT, client.request_text(request)).await?;
    if is_page(&answer) { Err(ConnectionError::NotAnApiServer) } else { Ok(()) }
}

/// Who answers.
pub(crate) async fn identify(client: &Client, limit: Duration) -> Result<Facts, ConnectionError> {
    let version = within(limit, "GET /version", client.apiserver_version()).await?;
    check_version(&version.major, &version.minor, &version.git_version)?;
    let uid = uid(client, limit).await?;
    Ok(Facts {
        uid,
        version: legible(&version.git_version, VERSION_LIMIT),
        platform: legible(&version.platform, PLATFORM_LIMIT),
    })
}

/// Whether it is still the cluster with this UID that answers.
pub(crate) async fn recognise(client: &Client, limit: Duration, expected: &str) -> Result<(), ConnectionError> {
    is_expected(expected, &uid(client, limit).await?)
}

async fn uid(client: &Client, limit: Duration) -> Result<String, ConnectionError> {
    let namespaces = Api::<Namespace>::all(client.clone());
    let system = within(limit, IDENTITY, namespaces.get_metadata("kube-system")).await?;
    system.metadata.uid.filter(|uid| is_uid(uid)).ok_or(ConnectionError::ApiServer(200, IDENTITY))
}

fn is_expected(expected: &str, found: &str) -> Result<(), ConnectionError> {
    if expected == found {
        return Ok(());
    }
    Err(ConnectionError::IdentityMismatch { expected: expected.to_owned(), found: found.to_owned() })
}

/// Whether the status can hold it: what is no UID says nothing of who answers.
fn is_uid(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    (1..=UID_LIMIT).contains(&text.len()) && text.bytes().all(allowed)
}

fn check_version(major: &str, minor: &str, full: &str) -> Result<(), ConnectionError> {
    // Hosted clusters append a plus sign to the minor version.
    let number = |text: &str| text.trim_end_matches('+').parse::<u32>().ok();
    match (number(major), number(minor)) {
        (Some(1), Some(minor)) if minor < OLDEST_MINOR => {
            Err(ConnectionError::UnsupportedVersion(legible(full, VERSION_LIMIT)))
        }
        _ => Ok(()),
    }
}

async fn within<T>(
    limit: Duration,
    what: &'static str,
    call: impl Future<Output = kube::Result<T>>,
) -> Result<T, ConnectionError> {
    match tokio::time::timeout(limit, call).await {
        Ok(answer) => answer.map_err(|error| {
            tracing::debug!(what, %error, cause = ?error, "probe failed");
            ConnectionError::of(what, &error)
        }),
        Err(_) => Err(ConnectionError::Timeout),
    }
}

#[cfg(test)]
mod tests {
    use drover_runtime::Classify as _;
    use kube::client::Body;

    use super::*;

    /// What is said of a server that gives this answer to every request.
    async fn told(code: u16, body: &'static str) -> &'static str {
        let answer = move |_| async move {
            let answer = http::Response::builder().status(code).header("location", "https://login.example/");
            Ok::<_, std::convert::Infallible>(answer.body(Body::from(body.as_bytes().to_vec())).unwrap())
        };
        let client = Client::new(tower::service_fn(answer), "default");
        let limit = Duration::from_secs(10);
        let outcome = match ready(&client, limit).await {
            Ok(()) => identify(&client, limit).await.map(drop),
            Err(error) => Err(error),
        };
        outcome.map_or_else(|error| error.reason(), |()| "Connected")
    }

    #[tokio::test]
    async fn who_is_no_api_server_is_told_apart_from_one_that_is_not_ready() {
        const PAGE: &str = "\n<!DOCTYPE html><html>Sign in</html>";
        for (code, body, reason) in [
            (200, PAGE, "NotAnAPIServer"),
            (200, "Welcome", "NotAnAPIServer"),
            (200, "", "NotAnAPIServer"),
            (302, PAGE, "NotAnAPIServer"),
            (302, "", "NotAnAPIServer"),
            (401, PAGE, "NotAnAPIServer"),
            (404, PAGE, "NotAnAPIServer"),
            (401, r#"{"kind": "Status", "apiVersion": "v1", "code": 401, "message": "Unauthorized"}"#, "Unauthorized"),
            (401, "", "Unauthorized"),
            (503, PAGE, "APIServerNotReady"),
            (500, "[-]etcd failed", "APIServerNotReady"),
        ] {
            assert_eq!(told(code, body).await, reason, "{code} {body}");
        }
    }

    #[test]
    fn a_uid_is_one_that_a_status_can_hold() {
        for (text, is) in [
            ("c7a1b2f0-4c11-4b5e-9d59-5a0c1d2e3f40", true),
            ("", false),
            ("a b", false),
            ("\u{e9}", false),
            (&*"1".repeat(37), false),
        ] {
            assert_eq!(is_uid(text), is, "{text:?}");
        }
    }

    #[test]
    fn only_versions_before_1_30_are_refused() {
        for (major, minor, supported) in [
            ("1", "29", false),
            ("1", "29+", false),
            ("1", "30", true),
            ("1", "37+", true),
            ("2", "0", true),
            ("", "", true),
        ] {
            assert_eq!(check_version(major, minor, "v").is_ok(), supported, "{major}.{minor}");
        }
    }
}
