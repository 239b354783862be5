//! What may go wrong in a reconcile of a backup.

use drover_operations::LockError;
use drover_runtime::{ApiError, Cause, Classify, WriteError};
use drover_stores::{OpenError, StoreError};

use crate::BackupCause;

/// An error of the operator of backups.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// A request to an API server failed.
    #[error(transparent)]
    Api(#[from] ApiError),
    /// A Job could not be written.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// The store could not be used.
    #[error(transparent)]
    Store(#[from] OpenError),
    /// Something that the message names.
    #[error("{message}")]
    Other {
        /// Why.
        cause: Cause,
        /// Why, for people.
        message: String,
    },
}

impl BackupError {
    pub(crate) fn new(cause: BackupCause, message: impl Into<String>) -> Self {
        Self::Other { cause: cause.into(), message: message.into() }
    }
}

impl From<LockError> for BackupError {
    fn from(error: LockError) -> Self {
        match error {
            LockError::Api(error) => Self::Api(error),
            LockError::Taken(message) => Self::new(BackupCause::OperationRunning, message),
        }
    }
}

impl From<StoreError> for BackupError {
    fn from(error: StoreError) -> Self {
        Self::Store(error.into())
    }
}

impl Classify for BackupError {
    fn cause(&self) -> Cause {
        match self {
            Self::Api(error) => error.cause(),
            Self::Write(error) => error.cause(),
            Self::Store(error) => error.cause(),
            Self::Other { cause, .. } => *cause,
        }
    }

    fn refuser(&self) -> Option<String> {
        match self {
            Self::Api(error) => error.refuser(),
            Self::Write(error) => error.refuser(),
            Self::Store(error) => error.refuser(),
            Self::Other { .. } => None,
        }
    }
}
