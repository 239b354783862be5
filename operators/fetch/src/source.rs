//! How a server is reached, and who it is that asks.

use std::{fmt, sync::Arc, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::HeaderValue;
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};
use secrecy::{ExposeSecret as _, SecretString};

use crate::url::{Host, Url};

/// How one repository is reached.
#[derive(Clone, Debug)]
pub struct Source {
    /// Who asks, and which servers may learn it: the first one counts that names the server.
    pub credentials: Vec<(Credentials, Vec<Host>)>,
    /// A client certificate, and which servers may see it.
    pub certificate: Option<(ClientCertificate, Vec<Host>)>,
    /// Which certificates of servers are trusted.
    pub trust: Trust,
    /// URL of the proxy, which may have user and password in it; without one, the environment says.
    pub proxy: Option<SecretString>,
    /// Most time of one request, redirects and body included. Default 60 s.
    pub timeout: Duration,
}

impl Default for Source {
    fn default() -> Self {
        let timeout = Duration::from_mins(1);
        Self { credentials: Vec::new(), certificate: None, trust: Trust::System, proxy: None, timeout }
    }
}

/// Who asks.
#[derive(Clone, Debug)]
pub enum Credentials {
    /// User and password.
    Basic {
        /// The user.
        user: String,
        /// The password.
        password: SecretString,
    },
    /// A token, sent as it is.
    Bearer(SecretString),
}

/// A client certificate.
#[derive(Clone)]
pub struct ClientCertificate {
    chain: Vec<CertificateDer<'static>>,
    key: Arc<PrivateKeyDer<'static>>,
}

/// Which certificates of servers are trusted.
#[derive(Clone, Debug, Default)]
pub enum Trust {
    /// Those that an authority of this machine signed.
    #[default]
    System,
    /// Those that one of these authorities signed, and no others.
    Authorities(Arc<RootCertStore>),
}

/// Why certificates or keys cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PemError {
    /// There is no certificate, or one that is broken.
    #[error("has no certificate in PEM that can be used; put the certificate there")]
    Certificate,
    /// There is no key, or one that is broken.
    #[error("has no private key in PEM that can be used; put the key of the certificate there, without a password")]
    Key,
}

impl ClientCertificate {
    /// From PEM.
    pub fn from_pem(chain: &[u8], key: &[u8]) -> Result<Self, PemError> {
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| PemError::Key)?;
        let found = Self { chain: certificates(chain)?, key: Arc::new(key) };
        // Whether the two fit is known once they are put together.
        found.config(RootCertStore::empty()).map_err(|_| PemError::Key)?;
        Ok(found)
    }

    fn config(&self, roots: impl Into<Arc<RootCertStore>>) -> Result<ClientConfig, rustls::Error> {
        ClientConfig::builder()
            .with_root_certificates(roots)
            .with_client_auth_cert(self.chain.clone(), self.key.clone_key())
    }
}

impl fmt::Debug for ClientCertificate {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("ClientCertificate").finish_non_exhaustive()
    }
}

impl Trust {
    /// The authorities in this PEM, and no others.
    pub fn from_pem(authorities: &[u8]) -> Result<Self, PemError> {
        let mut roots = RootCertStore::empty();
        for authority in certificates(authorities)? {
            roots.add(authority).map_err(|_| PemError::Certificate)?;
        }
        Ok(Self::Authorities(Arc::new(roots)))
    }
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, PemError> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    found.ok().filter(|found| !found.is_empty()).ok_or(PemError::Certificate)
}

impl Source {
    /// The credentials that the server of `url` may learn.
    fn credentials_for(&self, url: &Url) -> Option<&Credentials> {
        let may_learn = |hosts: &[Host]| hosts.iter().any(|host| host.serves(url));
        self.credentials.iter().find(|(_, hosts)| may_learn(hosts)).map(|(credentials, _)| credentials)
    }

    /// Whether a token is known from the beginning for the server of `url`.
    #[must_use]
    pub fn has_token(&self, url: &Url) -> bool {
        matches!(self.credentials_for(url), Some(Credentials::Bearer(_)))
    }

    /// The header with the credentials for the server of `url`, if there is one.
    #[must_use]
    pub fn authorization(&self, url: &Url) -> Option<HeaderValue> {
        let text = match self.credentials_for(url)? {
            Credentials::Basic { user, password } => {
                format!("Basic {}", STANDARD.encode(format!("{user}:{}", password.expose_secret())))
            }
            Credentials::Bearer(token) => format!("Bearer {}", token.expose_secret()),
        };
        secret_header(&text)
    }

    /// TLS with the server of `url`.
    pub(crate) fn tls(&self, url: &Url, system: &Arc<RootCertStore>) -> Result<ClientConfig, rustls::Error> {
        let roots = match &self.trust {
            Trust::System => Arc::clone(system),
            Trust::Authorities(roots) => Arc::clone(roots),
        };
        match &self.certificate {
            Some((certificate, hosts)) if hosts.iter().any(|host| host.serves(url)) => certificate.config(roots),
            _ => Ok(ClientConfig::builder().with_root_certificates(roots).with_no_client_auth()),
        }
    }
}

/// A header that is never logged; none if the text cannot be one.
#[must_use]
pub fn secret_header(text: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(text).ok()?;
    value.set_sensitive(true);
    Some(value)
}
