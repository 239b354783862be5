//! What may go wrong while a cluster is let go.

use drover_runtime::{ApiError, Class, Classify};

/// An error of the Cluster operator.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// The cluster refused or did not answer.
    #[error(transparent)]
    Api(#[from] ApiError),
    /// The connection was lost between the look and the action.
    #[error("the cluster cannot be reached any more")]
    Away,
}

impl Classify for ClusterError {
    /// Whatever it was, no watch tells of it here, and the deletion has a deadline: it is tried again.
    fn class(&self) -> Class {
        match self {
            Self::Api(error) if error.class() == Class::Conflict => Class::Conflict,
            Self::Api(_) | Self::Away => Class::Transient,
        }
    }

    fn reason(&self) -> &'static str {
        match self {
            Self::Api(error) => error.reason(),
            Self::Away => "ConnectionLost",
        }
    }
}
