//! What may go wrong while a Cluster is being deleted.

use drover_runtime::{ApiError, Cause, Class, Classify};

use crate::cause::ClusterCause;

/// An error of the Cluster operator.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// The cluster refused or did not answer.
    #[error(transparent)]
    Api(#[from] ApiError),
    /// The connection was lost between the look and the action.
    #[error("the cluster is not reachable any more")]
    Away,
}

impl Classify for ClusterError {
    /// Whatever it was, no watch shows it here, and the deletion has a deadline: it is tried again.
    fn cause(&self) -> Cause {
        match self {
            Self::Api(error) if error.class() == Class::Conflict => error.cause(),
            Self::Api(error) => error.cause().of_class(Class::Transient),
            Self::Away => ClusterCause::ConnectionLost.cause().of_class(Class::Transient),
        }
    }

    fn refuser(&self) -> Option<String> {
        match self {
            Self::Api(error) => error.refuser(),
            Self::Away => None,
        }
    }
}
