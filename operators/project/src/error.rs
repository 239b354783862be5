//! What may go wrong in a reconcile of a Project.

use drover_runtime::{ApiError, Cause, Classify, WriteError};

use crate::cause::ProjectCause;

/// An error of the Project operator.
#[derive(Debug, thiserror::Error)]
pub enum ProjectError {
    /// A namespace could not be looked up.
    #[error(transparent)]
    Read(#[from] ApiError),
    /// A namespace could not be written.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// A Project was placed on the management cluster itself, which is only reached as the Cluster `local`.
    #[error("a defect in Drover placed the Project outside of a Cluster; report it with the log of Drover")]
    NotACluster,
}

impl Classify for ProjectError {
    fn cause(&self) -> Cause {
        match self {
            Self::Read(error) => error.cause(),
            Self::Write(error) => error.cause(),
            Self::NotACluster => ProjectCause::InternalError.into(),
        }
    }

    fn refuser(&self) -> Option<String> {
        match self {
            Self::Read(error) => error.refuser(),
            Self::Write(error) => error.refuser(),
            Self::NotACluster => None,
        }
    }
}
