//! What may go wrong in a reconcile of a scan.

use drover_runtime::{ApiError, Cause, Classify, WriteError};

use crate::ScanCause;

/// An error of the operator of scans.
#[derive(Debug, thiserror::Error)]
pub enum ScanError {
    /// A request to an API server failed.
    #[error(transparent)]
    Api(#[from] ApiError),
    /// An object could not be written.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// Something that the message names.
    #[error("{message}")]
    Other {
        /// Why.
        cause: Cause,
        /// Why, for people.
        message: String,
    },
}

impl ScanError {
    pub(crate) fn new(cause: ScanCause, message: impl Into<String>) -> Self {
        Self::Other { cause: cause.into(), message: message.into() }
    }
}

impl Classify for ScanError {
    fn cause(&self) -> Cause {
        match self {
            Self::Api(error) => error.cause(),
            Self::Write(error) => error.cause(),
            Self::Other { cause, .. } => *cause,
        }
    }

    fn refuser(&self) -> Option<String> {
        match self {
            Self::Api(error) => error.refuser(),
            Self::Write(error) => error.refuser(),
            Self::Other { .. } => None,
        }
    }
}
