//! What may go wrong in a reconcile of an app on many clusters.

use drover_apps::AppError;
use drover_runtime::{Cause, Classify, WriteError};

/// An error of the operator of apps on many clusters.
#[derive(Debug, thiserror::Error)]
pub enum RolloutError {
    /// What the app is made of could not be read.
    #[error(transparent)]
    Inputs(#[from] AppError),
    /// An app of a target or a revision could not be written.
    #[error(transparent)]
    Write(#[from] WriteError),
}

impl Classify for RolloutError {
    fn cause(&self) -> Cause {
        match self {
            Self::Inputs(error) => error.cause(),
            Self::Write(error) => error.cause(),
        }
    }

    fn refuser(&self) -> Option<String> {
        match self {
            Self::Inputs(error) => error.refuser(),
            Self::Write(error) => error.refuser(),
        }
    }
}
