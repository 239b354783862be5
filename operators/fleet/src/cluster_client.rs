//! The way to one cluster before anybody answered, and why there may be none.

use std::sync::{Arc, Mutex, PoisonError};

use drover_runtime::{Cause, Classify, Failure, error::truncate};
use kube::Client;

use crate::{
    cause::ConnectionCause,
    connection_error::ConnectionError,
    connection_guard::ConnectionGuard,
    dial::{Management, TlsProbe, dialled},
    expiry::{CredentialLife, SeenCertificate},
    kubeconfig::{self, KubeconfigError},
    source::Source,
    verdict::Fault,
};

/// What there is before anybody answered.
pub(crate) struct ClusterClient {
    pub(crate) client: Client,
    /// None for the management cluster, whose client is not ours to watch over.
    line: Option<Arc<ConnectionGuard>>,
    pub(crate) endpoint: Option<String>,
    pub(crate) credential: Option<CredentialLife>,
    certificate: Option<SeenCertificate>,
    glance: Option<Arc<TlsProbe>>,
    /// What a glance showed where no line tells what it was presented.
    glanced: Mutex<Option<CredentialLife>>,
}

impl ClusterClient {
    /// Prepares the way to `source`; nothing is dialled yet.
    pub(crate) async fn prepare(source: &Source, management: &Management) -> Result<Self, ConnectError> {
        match source {
            Source::Local => Ok(Self {
                client: management.client.clone(),
                line: None,
                endpoint: management.server.as_deref().map(|server| endpoint(server.address())),
                credential: None,
                certificate: None,
                glance: management.server.clone(),
                glanced: Mutex::default(),
            }),
            Source::Unreadable => Err(KubeconfigError::Malformed.into()),
            Source::Missing { secret, key } => {
                Err(ConnectError::SecretMissing { secret: secret.clone(), key: key.clone() })
            }
            Source::Kubeconfig { text, context } => {
                let access = kubeconfig::parse(text, context.as_deref()).await?;
                let line = Arc::new(ConnectionGuard::new());
                let client = dialled(&access, &line).map_err(|_| ConnectError::Unusable)?;
                let glance = TlsProbe::at(&access.config, access.proxy_url.as_deref());
                let glance = Some(Arc::new(glance.map_err(|_| ConnectError::Unusable)?));
                let endpoint = Some(endpoint(&access.config.cluster_url));
                let (credential, certificate) = (access.life, access.certificate);
                let glanced = Mutex::default();
                Ok(Self { client, line: Some(line), endpoint, credential, certificate, glance, glanced })
            }
        }
    }

    /// How many connections were made so far.
    pub(crate) fn dials(&self) -> u64 {
        self.line.as_ref().map_or(0, |line| line.dials())
    }

    /// Whether the server at the far end is known.
    pub(crate) fn is_identified(&self) -> bool {
        self.line.as_ref().is_none_or(|line| line.is_identified())
    }

    /// Notes that the server of connection number `dial` is the right one.
    pub(crate) fn identified(&self, dial: u64) {
        if let Some(line) = &self.line {
            line.identified(dial);
        }
    }

    /// Nobody but the probe asks any more, until it knows better.
    pub(crate) fn close(&self) {
        if let Some(line) = &self.line {
            line.close();
        }
    }

    /// Nobody asks any more, for good.
    pub(crate) fn end(&self) {
        if let Some(line) = &self.line {
            line.end();
        }
    }

    /// Whether there is a connection, as far as is known.
    pub(crate) fn is_open(&self) -> bool {
        self.line.as_ref().is_none_or(|line| line.has_connection())
    }

    /// Looks at the certificate that the server presents to a new connection: one that lasts shows an old one.
    pub(crate) async fn look_at_certificate(&self) {
        let Some(glance) = &self.glance else { return };
        let Some(presented) = glance.certificate().await else { return };
        match &self.line {
            Some(line) => line.presents(presented),
            None => *self.glanced.lock().unwrap_or_else(PoisonError::into_inner) = Some(presented),
        }
    }

    /// Whether an answer was larger than its cap.
    pub(crate) fn is_too_large(&self) -> bool {
        self.line.as_ref().is_some_and(|line| line.is_too_large())
    }

    /// The certificates that were seen so far.
    pub(crate) fn certificates(&self) -> Vec<SeenCertificate> {
        let presented = match &self.line {
            Some(line) => line.presented(),
            None => *self.glanced.lock().unwrap_or_else(PoisonError::into_inner),
        };
        let presented = presented.map(|life| SeenCertificate {
            name: "api-server",
            source: "presented by the API server",
            not_after: life.not_after,
        });
        presented.into_iter().chain(self.certificate.clone()).collect()
    }
}

/// Longest URL that a status tells, in bytes; the API server refuses a status with more than 2,048 characters of it.
const ENDPOINT_LIMIT: usize = 512;

/// The server without what may be a secret in its URL.
fn endpoint(url: &http::Uri) -> String {
    let port = url.port_u16().map(|port| format!(":{port}")).unwrap_or_default();
    let whole = format!("https://{}{port}{}", url.host().unwrap_or_default(), url.path().trim_end_matches('/'));
    truncate(&whole, ENDPOINT_LIMIT)
}

/// A connection that cannot be made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    #[error("the Secret {secret} with key {key} does not exist in Drover's namespace; create it, and Drover connects")]
    SecretMissing { secret: String, key: String },
    #[error(transparent)]
    Kubeconfig(#[from] KubeconfigError),
    #[error(transparent)]
    ConnectionError(#[from] ConnectionError),
    #[error("the certificate, key or CA in the kubeconfig cannot be used; put a valid kubeconfig into the Secret")]
    Unusable,
    #[error("a defect in Drover ended the last attempt to reach the cluster; see its log")]
    Defect,
}

impl Classify for ConnectError {
    fn cause(&self) -> Cause {
        match self {
            Self::SecretMissing { .. } => ConnectionCause::SecretMissing.into(),
            Self::Kubeconfig(error) => error.cause(),
            Self::ConnectionError(hop) => hop.cause(),
            Self::Unusable => ConnectionCause::InvalidKubeconfig.into(),
            Self::Defect => ConnectionCause::InternalError.into(),
        }
    }
}

impl From<ConnectError> for Fault {
    fn from(error: ConnectError) -> Self {
        let certain = match &error {
            ConnectError::ConnectionError(hop) => hop.is_certain(),
            ConnectError::SecretMissing { .. }
            | ConnectError::Kubeconfig(_)
            | ConnectError::Unusable
            | ConnectError::Defect => true,
        };
        Self { failure: Failure::of(&error), certain }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_endpoint_shows_nothing_that_may_be_a_secret() {
        for (url, shown) in [
            ("https://10.0.0.1:6443", "https://10.0.0.1:6443"),
            ("https://user:s3cr3t@host/k8s/c1/?token=s3cr3t", "https://host/k8s/c1"),
        ] {
            assert_eq!(endpoint(&url.parse().unwrap()), shown);
        }
    }
}
