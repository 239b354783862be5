//! At which step a connection failed.

use std::{error::Error, io};

use drover_client::{AddressNotAllowed, Cause, Classify};
use k8s_openapi::jiff::Timestamp;
use rustls::AlertDescription;

use crate::{
    cause::ConnectionCause,
    dial::{HandshakeTimeout, NoHttp2, ProxyFailed},
    tls_failure::TlsFailure,
};

/// An answer was larger than its cap.
#[derive(Debug, thiserror::Error)]
#[error("the answer of the API server is larger than Drover accepts")]
pub struct TooLarge;

/// The step that failed, named after what a person has to look at.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConnectionError {
    /// The name of the server does not resolve.
    #[error("the host name of the API server does not resolve; check `server` in the kubeconfig and DNS")]
    Dns,
    /// The address is not one that Drover dials.
    #[error(
        "`server` or `proxy-url` in the kubeconfig leads to {0}, which Drover does not dial; name an address that other machines reach, or set the chart value allowLocalAddresses or the flag --allow-local-addresses"
    )]
    AddressNotAllowed(AddressNotAllowed),
    /// No TCP connection.
    #[error("no connection to the API server: {0}; check `server` in the kubeconfig, firewalls, and whether it runs")]
    Dial(&'static str),
    /// No trusted TLS session.
    #[error("no trusted TLS session: {0}")]
    Tls(TlsFailure),
    /// No HTTP/2.
    #[error(
        "what answers does not speak HTTP/2, which Drover needs; let TLS through to the API server, or let HTTP/2 through where TLS ends before it"
    )]
    NoHttp2,
    /// A web server.
    #[error(
        "a web page or a redirect answers instead of an API server, as login pages and proxies send it; name the API server itself in `server` of the kubeconfig"
    )]
    NotAnApiServer,
    /// The credential is not accepted.
    #[error("the API server does not accept the credential (401); put a valid kubeconfig into the Secret")]
    Unauthorized,
    /// The credential is not accepted, and its end has passed.
    #[error(
        "the credential in the kubeconfig ended at {0}, and the API server does not accept it (401); put a kubeconfig with a new one into the Secret"
    )]
    CredentialEnded(Timestamp),
    /// The credential is accepted and may not do what is needed.
    #[error("the credential may not {0} (403); grant it the rights that Drover needs, or import the cluster again")]
    Forbidden(&'static str),
    /// The server answers, but is not ready.
    #[error("the API server answers {0} to {1}")]
    ApiServer(u16, &'static str),
    /// No answer in time.
    #[error("the API server did not answer in time")]
    Timeout,
    /// Another cluster answers than the one that was imported.
    #[error(
        "the cluster with UID {found} answers, but this Cluster stands for {expected}; fix the kubeconfig and expectedUID, or make a new Cluster for the other one"
    )]
    IdentityMismatch {
        /// The pinned UID.
        expected: String,
        /// The UID that answers.
        found: String,
    },
    /// Another Cluster of this installation stands for the same cluster.
    #[error(
        "the Cluster {0} stands for this cluster already, so Drover writes nothing to it for this one; delete one of the two"
    )]
    DuplicateOf(String),
    /// Another installation of Drover holds the claim on the cluster.
    #[error(
        "the installation {0} of Drover holds the claim on this cluster, so Drover writes nothing to it; to take it over, set spec.claim.takeFrom: {0}, or change the spec once more if it says so already"
    )]
    ClaimedByOther(String),
    /// The credential may write the claim, and the admission of the cluster refuses it; the text says who.
    #[error("Drover {0}")]
    ClaimRefused(String),
    /// It sends more than is accepted.
    #[error(
        "the cluster sends more than Drover accepts, so Drover disconnected it; Drover tries again after ten minutes, or when its Cluster or Secret changes"
    )]
    TooLarge,
    /// The server is too old.
    #[error("Drover does not support Kubernetes {0}; upgrade the cluster to 1.30 or newer")]
    UnsupportedVersion(String),
}

impl ConnectionError {
    /// Whether one failure is enough for a verdict. The others may be a blip and must repeat.
    #[must_use]
    pub fn is_certain(&self) -> bool {
        match self {
            Self::AddressNotAllowed(_)
            | Self::Unauthorized
            | Self::CredentialEnded(_)
            | Self::Forbidden(_)
            | Self::NoHttp2
            | Self::IdentityMismatch { .. }
            | Self::DuplicateOf(_)
            | Self::ClaimedByOther(_)
            | Self::TooLarge
            | Self::UnsupportedVersion(_) => true,
            Self::Tls(failure) => failure.is_certain(),
            Self::Dns
            | Self::Dial(_)
            | Self::NotAnApiServer
            | Self::ApiServer(..)
            | Self::ClaimRefused(_)
            | Self::Timeout => false,
        }
    }

    /// Whether another cluster answers, or the cluster is foreign.
    #[must_use]
    pub fn is_not_ours(&self) -> bool {
        matches!(self, Self::IdentityMismatch { .. } | Self::DuplicateOf(_) | Self::ClaimedByOther(_))
    }

    /// The step at which the request `what` failed.
    #[must_use]
    pub fn of(what: &'static str, error: &kube::Error) -> Self {
        match error {
            // An error that a proxy reports on behalf of an API server is a page often enough.
            kube::Error::Api(status) if is_page(&status.message) && status.code < 500 => Self::NotAnApiServer,
            kube::Error::Api(status) => Self::of_status(what, status.code),
            kube::Error::SerdeError(_) | kube::Error::FromUtf8(_) => Self::NotAnApiServer,
            other => Self::of_connection(other),
        }
    }

    /// The step at which the request `what` failed that was answered with `code`.
    #[must_use]
    pub fn of_status(what: &'static str, code: u16) -> Self {
        match code {
            401 => Self::Unauthorized,
            403 => Self::Forbidden(what),
            code => Self::ApiServer(code, what),
        }
    }

    fn of_connection(error: &(dyn Error + 'static)) -> Self {
        let causes = || std::iter::successors(Some(error), |&cause| deeper(cause));
        // It lies below the step that it ended.
        if let Some(refused) = causes().find_map(|cause| cause.downcast_ref()) {
            return Self::AddressNotAllowed(*refused);
        }
        causes().find_map(Self::of_cause).unwrap_or(Self::Dial("the connection broke"))
    }

    fn of_cause(cause: &(dyn Error + 'static)) -> Option<Self> {
        if cause.is::<HandshakeTimeout>() {
            return Some(Self::Timeout);
        }
        if cause.is::<NoHttp2>() {
            return Some(Self::NoHttp2);
        }
        if cause.is::<TooLarge>() {
            return Some(Self::TooLarge);
        }
        if cause.is::<ProxyFailed>() {
            return Some(Self::Dial("the proxy cannot be reached, or does not connect to it"));
        }
        if let Some(tls) = cause.downcast_ref::<rustls::Error>() {
            return Some(match tls {
                rustls::Error::AlertReceived(AlertDescription::NoApplicationProtocol) => Self::NoHttp2,
                tls => Self::Tls(TlsFailure::of(tls)),
            });
        }
        if let Some(io) = cause.downcast_ref::<io::Error>() {
            return of_io(io);
        }
        // hyper-util names the resolver step in its text only.
        (cause.to_string() == "dns error").then_some(Self::Dns)
    }
}

/// Whether this is HTML, and nothing that an API server says.
#[must_use]
pub fn is_page(text: &str) -> bool {
    text.trim_start().starts_with('<')
}

fn of_io(error: &io::Error) -> Option<ConnectionError> {
    if let Some(inner) = error.get_ref()
        && inner.is::<rustls::Error>()
    {
        return None; // The next cause says more.
    }
    match error.kind() {
        io::ErrorKind::ConnectionRefused => Some(ConnectionError::Dial("connection refused")),
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => Some(ConnectionError::Dial("connection reset")),
        io::ErrorKind::TimedOut => Some(ConnectionError::Dial("no answer in time")),
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => Some(ConnectionError::Dial("no route")),
        io::ErrorKind::UnexpectedEof => Some(ConnectionError::Tls(TlsFailure::Closed)),
        _ => None,
    }
}

/// `io::Error::source` skips the error that it wraps.
fn deeper<'a>(cause: &'a (dyn Error + 'static)) -> Option<&'a (dyn Error + 'static)> {
    match cause.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
        Some(inner) => Some(inner),
        None => cause.source(),
    }
}

impl Classify for ConnectionError {
    fn cause(&self) -> Cause {
        let cause = match self {
            Self::Dns => ConnectionCause::DnsFailed,
            Self::AddressNotAllowed(_) => ConnectionCause::AddressNotAllowed,
            Self::Dial(_) => ConnectionCause::DialFailed,
            Self::Tls(_) => ConnectionCause::TlsFailed,
            Self::NoHttp2 => ConnectionCause::Http2Required,
            Self::NotAnApiServer => ConnectionCause::NotAnApiServer,
            Self::Unauthorized | Self::CredentialEnded(_) => ConnectionCause::Unauthorized,
            Self::Forbidden(_) => ConnectionCause::Forbidden,
            Self::ApiServer(..) => ConnectionCause::ApiServerNotReady,
            Self::Timeout => ConnectionCause::Timeout,
            Self::IdentityMismatch { .. } => ConnectionCause::IdentityMismatch,
            Self::DuplicateOf(_) => ConnectionCause::DuplicateOf,
            Self::ClaimedByOther(_) => ConnectionCause::ClaimedByOther,
            Self::ClaimRefused(_) => ConnectionCause::ClaimRefused,
            Self::TooLarge => ConnectionCause::TooLarge,
            Self::UnsupportedVersion(_) => ConnectionCause::UnsupportedVersion,
        };
        cause.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dial_that_does_not_end_is_a_timeout() {
        let error = kube::Error::Service(Box::new(HandshakeTimeout));
        assert_eq!(ConnectionError::of("GET /readyz", &error), ConnectionError::Timeout);
        let closed = io::Error::from(io::ErrorKind::UnexpectedEof);
        let error = ConnectionError::of("GET /readyz", &kube::Error::Service(Box::new(closed)));
        assert_eq!(error, ConnectionError::Tls(TlsFailure::Closed));
        assert!(!error.is_certain() && ConnectionError::Tls(TlsFailure::Expired).is_certain());
    }
}
