//! What may go wrong in a reconcile of an app.

use drover_runtime::{AccountError, ApiError, Cause, Classify, WriteError};

use crate::AppCause;

/// An error of the operator of apps.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// What an app is made of could not be read.
    #[error(transparent)]
    Read(#[from] ApiError),
    /// The account or a role of the app could not be written.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// The app could not do something with its own rights.
    #[error(transparent)]
    AsApp(#[from] AccountError),
    /// Something that the message names.
    #[error("{message}")]
    Other {
        /// Why.
        cause: Cause,
        /// Why, for people.
        message: String,
    },
}

impl AppError {
    pub(crate) fn new(cause: AppCause, message: impl Into<String>) -> Self {
        Self::Other { cause: cause.into(), message: message.into() }
    }
}

impl Classify for AppError {
    fn cause(&self) -> Cause {
        match self {
            Self::Read(error) => error.cause(),
            Self::Write(error) => error.cause(),
            Self::AsApp(error) => error.cause(),
            Self::Other { cause, .. } => *cause,
        }
    }

    fn refuser(&self) -> Option<String> {
        match self {
            Self::Read(error) => error.refuser(),
            Self::Write(error) => error.refuser(),
            Self::AsApp(error) => error.refuser(),
            Self::Other { .. } => None,
        }
    }
}
