//! Why a repository, or a chart in it, is not to be had.

use std::time::Duration;

use drover_charts::{FetchError, FetchFailure, RepositoryError};
use drover_runtime::{Cause, Classify, causes};

causes! {
    /// Why a chart repository cannot be read, or a chart not be had from it.
    pub enum SourceCause {
        /// Drover may not read Secrets of chart repositories in the management cluster.
        SecretsNotPermitted = "SecretsNotPermitted": Blocked stalls; "Set projectSecrets.enabled of the chart, or remove the Secret from the spec.",
        /// There is no Secret of this name beside the repository that carries the label drover.dev/usable-by: chart-repository.
        SecretNotFound = "SecretNotFound": Blocked; "Create the Secret that the message names, with that label.",
        /// The Secret does not hold credentials or certificates that can be used, or does not say which hosts may get them.
        CredentialsInvalid = "CredentialsInvalid": Blocked stalls; "Correct the Secret as the message says.",
        /// The server wants credentials, or other ones.
        CredentialsRefused = "CredentialsRefused": Blocked stalls; "Correct the Secret, or the rights that its credentials have at the server.",
        /// The server shows a certificate that is not trusted, or does not agree on TLS.
        CertificateNotTrusted = "CertificateNotTrusted": Blocked stalls; "Put the authority of the server into the Secret that certSecretRef names.",
        /// The URL, or where it redirects to, is an address that Drover does not dial.
        AddressNotAllowed = "AddressNotAllowed": Blocked stalls; "Use another address; loopback, link-local and metadata addresses are refused.",
        /// The URL cannot be used.
        UrlInvalid = "UrlInvalid": Invalid stalls; "Correct the URL.",
        /// The server did not answer, or not with what was asked for.
        FetchFailed = "FetchFailed": Blocked; "Look at what the message says; Drover tries again.",
        /// What the server has is larger than allowed.
        TooLarge = "TooLarge": Blocked stalls; "Raise the limit in the spec, or make it smaller there.",
        /// The server answers with something else than an index of charts, or with one that is broken or too large.
        IndexInvalid = "IndexInvalid": Blocked stalls; "Correct the index, or the URL.",
        /// What was fetched cannot be stored.
        StorageFailed = "StorageFailed": Blocked; "Look at the volume of Drover; --scratch-folder names its folder.",
        /// Other bytes arrived than the digest names.
        ChartChanged = "ChartChanged": Blocked stalls; "Find out who changed the chart; correct the digest if it was meant.",
        /// The repository has no such chart, or no version of it that the spec allows.
        VersionNotFound = "VersionNotFound": Blocked; "Correct the name or the version in spec.chart, or publish the version.",
        /// There is no repository of this name that objects of this namespace may use.
        RepositoryNotUsable = "RepositoryNotUsable": Blocked; "Create the ChartRepository, or ask its owner to add the namespace to spec.usableFrom.",
        /// So many fetches of the namespace are under way that this one has to wait.
        TooManyFetches = "TooManyFetches": Transient; "Wait, or remove what names servers that do not answer.",
        /// The repository was not read yet, or is suspended.
        RepositoryNotRead = "RepositoryNotRead": Blocked; "Look at the status of the ChartRepository.",
    }
}

/// Why something is not to be had, for people.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct SourceError {
    /// Why.
    pub cause: Cause,
    /// What is told; it names the host and nothing that could be secret.
    pub message: String,
    /// After which time the server wants to be asked again.
    pub retry_after: Option<Duration>,
    /// Whether the same request may succeed without a change by a person.
    pub is_transient: bool,
}

impl SourceError {
    /// Something that a person has to change, or that comes by itself.
    #[must_use]
    pub fn new(cause: SourceCause, message: impl Into<String>) -> Self {
        Self { cause: cause.into(), message: message.into(), retry_after: None, is_transient: false }
    }

    /// The same, about `what`.
    #[must_use]
    pub fn about(mut self, what: &str) -> Self {
        self.message = format!("{what}: {}", self.message);
        self
    }

    /// Whether the server could not be asked: what is known of it still stands.
    #[must_use]
    pub fn is_about_reaching(&self) -> bool {
        self.cause != SourceCause::VersionNotFound.cause() && self.cause != SourceCause::RepositoryNotUsable.cause()
    }
}

impl From<FetchError> for SourceError {
    fn from(error: FetchError) -> Self {
        let cause = match error.failure {
            FetchFailure::Unauthorized | FetchFailure::Forbidden => SourceCause::CredentialsRefused,
            FetchFailure::Untrusted | FetchFailure::Tls => SourceCause::CertificateNotTrusted,
            FetchFailure::AddressRefused(_) => SourceCause::AddressNotAllowed,
            FetchFailure::TooLarge { .. } => SourceCause::TooLarge,
            FetchFailure::DigestMismatch => SourceCause::ChartChanged,
            FetchFailure::Storage => SourceCause::StorageFailed,
            FetchFailure::NotFound
            | FetchFailure::TooManyRequests { .. }
            | FetchFailure::Server { .. }
            | FetchFailure::Status { .. }
            | FetchFailure::Timeout
            | FetchFailure::Dns
            | FetchFailure::Dial
            | FetchFailure::Proxy
            | FetchFailure::Interrupted
            | FetchFailure::TooManyRedirects
            | FetchFailure::BadRedirect
            | FetchFailure::Encoding
            | FetchFailure::Unexpected => SourceCause::FetchFailed,
        };
        let retry_after = match error.failure {
            FetchFailure::TooManyRequests { retry_after } => retry_after,
            _ => None,
        };
        Self { retry_after, is_transient: error.failure.is_transient(), ..Self::new(cause, error.to_string()) }
    }
}

impl From<RepositoryError> for SourceError {
    fn from(error: RepositoryError) -> Self {
        let cause = match error {
            RepositoryError::Fetch(error) => return error.into(),
            RepositoryError::Index(_) => SourceCause::IndexInvalid,
            RepositoryError::Url(_) => SourceCause::UrlInvalid,
            RepositoryError::Storage => SourceCause::StorageFailed,
        };
        Self::new(cause, error.to_string())
    }
}

impl Classify for SourceError {
    fn cause(&self) -> Cause {
        self.cause
    }
}
