//! The client for one cluster before it answered, and why there may be none.

use std::sync::{Arc, Mutex, PoisonError};

use drover_crds::names::LABEL_CLUSTER;
use drover_dial::{
    Access, ConnectionCause, ConnectionError, CredentialLife, KubeconfigError, Parsed, SeenCertificate, TlsProbe,
};
use drover_runtime::{Cause, Classify, DialPolicy, Failure, accounts::Accounts, error::legible};
use k8s_openapi::jiff::Timestamp;
use kube::Client;
use tokio::sync::Notify;

use crate::{
    connection_guard::ConnectionGuard,
    connections::Connections,
    management::Management,
    source::Source,
    transport::{Http2, dialled, dialled_for_accounts},
    verdict::Fault,
};

/// A client for a cluster, and what is known before the cluster answered.
pub(crate) struct ClusterClient {
    pub(crate) client: Client,
    /// How requests are sent as the accounts of the cluster; none where nothing but a client of the management cluster is known.
    pub(crate) accounts: Option<Accounts>,
    /// None for the management cluster: its client has no guard.
    guard: Option<Arc<ConnectionGuard>>,
    pub(crate) endpoint: Option<String>,
    pub(crate) credential: Option<CredentialLife>,
    certificate: Option<SeenCertificate>,
    tls_probe: Option<Arc<TlsProbe>>,
    /// What a TLS probe showed where there is no guard to note what the server presents.
    probed: Mutex<Option<CredentialLife>>,
}

impl ClusterClient {
    /// Prepares a client for `source`, at an address that `policy` allows; nothing is dialled yet.
    /// `wanted` tells the probe that a connection is needed.
    pub(crate) async fn prepare(
        source: &Source,
        management: &Management,
        policy: DialPolicy,
        wanted: &Arc<Notify>,
        parsed: &Parsed,
    ) -> Result<Self, ConnectError> {
        match source {
            Source::Local => Ok(Self {
                client: management.client.clone(),
                accounts: management.accounts.clone(),
                guard: None,
                endpoint: management.server.as_deref().map(|server| endpoint(server.address())),
                credential: None,
                certificate: None,
                tls_probe: management.server.clone(),
                probed: Mutex::default(),
            }),
            Source::Unreadable => Err(KubeconfigError::Malformed.into()),
            Source::Missing { secret, key, cluster } => {
                let (secret, key, cluster) = (secret.clone(), key.clone(), cluster.clone());
                Err(ConnectError::SecretMissing { secret, key, cluster })
            }
            Source::NotAllowed { secret, cluster } => {
                Err(ConnectError::SecretNotAllowed { secret: secret.clone(), cluster: cluster.clone() })
            }
            Source::Kubeconfig { text, context } => {
                let access = parsed.get(text, context.as_deref()).await?;
                let guard = Arc::new(ConnectionGuard::new(Arc::clone(wanted)));
                let client = dialled(&access, policy, &guard).map_err(|_| KubeconfigError::Unusable)?;
                let accounts = Some(accounts(&client, &access, policy, &guard));
                let tls_probe = TlsProbe::at(&access, policy).map_err(|_| KubeconfigError::Unusable)?;
                let tls_probe = Some(Arc::new(tls_probe));
                let endpoint = Some(endpoint(&access.config.cluster_url));
                let (credential, certificate) = (access.life, access.certificate.clone());
                let probed = Mutex::default();
                Ok(Self { client, accounts, guard: Some(guard), endpoint, credential, certificate, tls_probe, probed })
            }
        }
    }

    /// The connections; none for the management cluster.
    pub(crate) fn connections(&self) -> Option<&Connections<Http2>> {
        self.guard.as_ref().map(|guard| &guard.connections)
    }

    /// How many connections were made so far.
    pub(crate) fn dials(&self) -> u64 {
        self.connections().map_or(0, Connections::dials)
    }

    /// Whether the server at the far end is known.
    pub(crate) fn is_identified(&self) -> bool {
        self.connections().is_none_or(Connections::is_identified)
    }

    /// Notes that the server of connection number `dial` is the right one.
    pub(crate) fn identified(&self, dial: u64) {
        if let Some(connections) = self.connections() {
            connections.identified(dial);
        }
    }

    /// Never more than so many requests a second from now on.
    pub(crate) fn allow_at_most(&self, most: u16) {
        if let Some(guard) = &self.guard {
            guard.allow_at_most(most);
        }
    }

    /// From now on only the probe may send requests, until it has identified the server.
    pub(crate) fn distrust(&self) {
        if let Some(guard) = &self.guard {
            guard.distrust();
        }
    }

    /// No request waits for a connection any more, until one is identified.
    pub(crate) fn attempt_failed(&self) {
        if let Some(connections) = self.connections() {
            connections.attempt_failed();
        }
    }

    /// No request is sent any more, for good.
    pub(crate) fn end(&self) {
        if let Some(guard) = &self.guard {
            guard.end();
        }
    }

    /// Whether there is a connection, as far as is known.
    pub(crate) fn is_open(&self) -> bool {
        self.connections().is_none_or(Connections::has_one)
    }

    /// Looks at the certificate that the server presents to a new connection: one that lasts shows an old one.
    pub(crate) async fn look_at_certificate(&self) {
        let Some(tls_probe) = &self.tls_probe else { return };
        let Some(presented) = tls_probe.certificate().await else { return };
        match &self.guard {
            Some(guard) => guard.presents(presented),
            None => *self.probed.lock().unwrap_or_else(PoisonError::into_inner) = Some(presented),
        }
    }

    /// The same error, told by what is known of the credential.
    pub(crate) fn explained(&self, error: ConnectionError, now: Timestamp) -> ConnectionError {
        match (error, self.credential) {
            (ConnectionError::Unauthorized, Some(life)) if life.not_after <= now => {
                ConnectionError::CredentialEnded(life.not_after)
            }
            (error, _) => error,
        }
    }

    /// Whether an answer was larger than its cap.
    pub(crate) fn is_too_large(&self) -> bool {
        self.guard.as_ref().is_some_and(|guard| guard.is_too_large())
    }

    /// The certificates that were seen so far.
    pub(crate) fn certificates(&self) -> Vec<SeenCertificate> {
        let presented = match &self.guard {
            Some(guard) => guard.presented(),
            None => *self.probed.lock().unwrap_or_else(PoisonError::into_inner),
        };
        let presented = presented.map(|life| SeenCertificate {
            name: "api-server",
            source: "presented by the API server",
            not_after: life.not_after,
        });
        presented.into_iter().chain(self.certificate.clone()).collect()
    }
}

/// The accounts of the cluster that `own` reaches as Drover.
fn accounts(own: &Client, access: &Arc<Access>, policy: DialPolicy, guard: &Arc<ConnectionGuard>) -> Accounts {
    let (access, guard) = (Arc::clone(access), Arc::clone(guard));
    Accounts::new(own.clone(), move || dialled_for_accounts(&access, policy, &guard))
}

/// Longest URL in a status, in bytes; the API server refuses a status with more than 2,048 characters of it.
const ENDPOINT_LIMIT: usize = 512;

/// The server without what may be a secret in its URL.
fn endpoint(url: &http::Uri) -> String {
    let port = url.port_u16().map(|port| format!(":{port}")).unwrap_or_default();
    let whole = format!("https://{}{port}{}", url.host().unwrap_or_default(), url.path().trim_end_matches('/'));
    legible(&whole, ENDPOINT_LIMIT)
}

/// A connection that cannot be made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    #[error(
        "no Secret {secret} with key {key} exists for Cluster {cluster} in the operator namespace; create it with the label {LABEL_CLUSTER}: {cluster}, and Drover connects"
    )]
    SecretMissing { secret: String, key: String, cluster: String },
    #[error(
        "the Secret {secret} in the operator namespace is not for Cluster {cluster}; set its label {LABEL_CLUSTER} to {cluster}, or refer to another Secret"
    )]
    SecretNotAllowed { secret: String, cluster: String },
    #[error(transparent)]
    Kubeconfig(#[from] KubeconfigError),
    #[error(transparent)]
    ConnectionError(#[from] ConnectionError),
    #[error("a defect in Drover ended the last attempt to reach the cluster; see the log of Drover")]
    Defect,
}

impl Classify for ConnectError {
    fn cause(&self) -> Cause {
        match self {
            Self::SecretMissing { .. } => ConnectionCause::SecretMissing.into(),
            Self::SecretNotAllowed { .. } => ConnectionCause::SecretNotAllowed.into(),
            Self::Kubeconfig(error) => error.cause(),
            Self::ConnectionError(error) => error.cause(),
            Self::Defect => ConnectionCause::InternalError.into(),
        }
    }
}

impl From<ConnectError> for Fault {
    fn from(error: ConnectError) -> Self {
        let certain = match &error {
            ConnectError::ConnectionError(error) => error.is_certain(),
            ConnectError::SecretMissing { .. }
            | ConnectError::SecretNotAllowed { .. }
            | ConnectError::Kubeconfig(_)
            | ConnectError::Defect => true,
        };
        Self { failure: Failure::of(&error), certain }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use drover_dial::testing::{good_cluster, kubeconfig};

    #[tokio::test]
    async fn a_credential_that_has_ended_is_told_by_its_end() {
        // It ends at second 86400.
        let user = "token: e30.eyJleHAiOjg2NDAwfQ.c2ln";
        let source = Source::Kubeconfig { text: kubeconfig(&good_cluster(), user).into(), context: None };
        let nobody = kube::Config::new("https://127.0.0.1:1".parse().unwrap());
        let management = Management::connect(&nobody).unwrap();
        let (policy, parsed, wanted) = (DialPolicy::AllowLocal, Parsed::default(), Arc::default());
        let prepared = ClusterClient::prepare(&source, &management, policy, &wanted, &parsed).await;
        let cluster_client = prepared.unwrap();
        let told = |error, second| {
            let error = cluster_client.explained(error, Timestamp::from_second(second).unwrap());
            (Failure::of(&error).reason(), error.to_string().contains("ended at 1970-01-02T00:00:00Z"))
        };
        assert_eq!(told(ConnectionError::Unauthorized, 86_400), ("Unauthorized", true));
        assert_eq!(told(ConnectionError::Unauthorized, 86_399), ("Unauthorized", false));
        assert_eq!(told(ConnectionError::Timeout, 86_400), ("Timeout", false));
    }

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
