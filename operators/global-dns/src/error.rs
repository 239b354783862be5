//! What may go wrong in a reconcile of names.

use drover_runtime::{Cause, Classify, WriteError};
use drover_zones::{OpenError, ZoneError};

/// An error of the operator of names.
#[derive(Debug, thiserror::Error)]
pub enum DNSError {
    /// A claim could not be written.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// The provider could not be used.
    #[error(transparent)]
    Provider(#[from] OpenError),
}

impl From<ZoneError> for DNSError {
    fn from(error: ZoneError) -> Self {
        Self::Provider(error.into())
    }
}

impl Classify for DNSError {
    fn cause(&self) -> Cause {
        match self {
            Self::Write(error) => error.cause(),
            Self::Provider(error) => error.cause(),
        }
    }

    fn refuser(&self) -> Option<String> {
        match self {
            Self::Write(error) => error.refuser(),
            Self::Provider(error) => error.refuser(),
        }
    }
}
