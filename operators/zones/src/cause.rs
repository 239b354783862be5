//! Why a provider cannot be used, for conditions.

use drover_runtime::{ApiError, Cause, Classify, causes};

use crate::ZoneError;

causes! {
    /// Why a provider of DNS cannot be used.
    pub enum ProviderCause {
        /// There is no Secret of this name in Drover's namespace that carries the label drover.dev/usable-by: global-dns-provider.
        ProviderSecretNotFound = "ProviderSecretNotFound": Blocked; "Create the Secret that the message names, with that label.",
        /// The Secret of the provider does not hold a key that can be used, or does not say which hosts may get what it signs.
        ProviderSecretInvalid = "ProviderSecretInvalid": Blocked stalls; "Correct the Secret as the message says.",
        /// The spec names a server, a key or a domain that cannot be used.
        ProviderInvalid = "ProviderInvalid": Invalid stalls; "Correct the spec as the message says.",
        /// The provider does not accept the key, or the key lacks a right.
        ProviderRefused = "ProviderRefused": Blocked stalls; "Correct the Secret, or what the server lets the key do.",
        /// The provider does not have the zone of a domain.
        ZoneNotFound = "ZoneNotFound": Blocked stalls; "Create the zone there, or correct spec.domains.",
        /// The server has an address that Drover does not dial.
        ProviderNotTrusted = "ProviderNotTrusted": Blocked stalls; "Use a server at another address.",
        /// The provider does not answer, or with a fault of its own.
        ProviderUnavailable = "ProviderUnavailable": Transient; "Look at the server; Drover tries again.",
        /// Another client changes the same records.
        RecordsChanged = "RecordsChanged": Conflict; "Find out who else changes the records that the message names.",
    }
}

/// Why a provider cannot be used, for people.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Its Secret could not be read.
    #[error(transparent)]
    Read(#[from] ApiError),
    /// Something that the message names.
    #[error("{message}")]
    Other {
        /// Why.
        cause: Cause,
        /// Why, for people.
        message: String,
    },
}

impl OpenError {
    /// Something that a person has to change.
    #[must_use]
    pub fn new(cause: ProviderCause, message: impl Into<String>) -> Self {
        Self::Other { cause: cause.into(), message: message.into() }
    }
}

impl Classify for OpenError {
    fn cause(&self) -> Cause {
        match self {
            Self::Read(error) => error.cause(),
            Self::Other { cause, .. } => *cause,
        }
    }

    fn refuser(&self) -> Option<String> {
        match self {
            Self::Read(error) => error.refuser(),
            Self::Other { .. } => None,
        }
    }
}

impl ZoneError {
    /// What it means for the provider.
    #[must_use]
    pub fn provider_cause(&self) -> ProviderCause {
        match self {
            Self::Key { .. } | Self::Refused { .. } => ProviderCause::ProviderRefused,
            Self::NoZone { .. } => ProviderCause::ZoneNotFound,
            Self::Address { .. } => ProviderCause::ProviderNotTrusted,
            Self::Changed { .. } => ProviderCause::RecordsChanged,
            Self::Unwritable(_) => ProviderCause::ProviderInvalid,
            Self::Unresolved { .. }
            | Self::Unreachable { .. }
            | Self::Timeout { .. }
            | Self::Clock { .. }
            | Self::Code { .. }
            | Self::Unexpected { .. } => ProviderCause::ProviderUnavailable,
        }
    }
}

impl From<ZoneError> for OpenError {
    fn from(error: ZoneError) -> Self {
        Self::new(error.provider_cause(), error.to_string())
    }
}
