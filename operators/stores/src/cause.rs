//! Why a store cannot be used, for conditions.

use drover_fetch::FetchFailure;
use drover_runtime::{ApiError, Cause, Classify, causes};

use crate::error::{StoreError, StoreFailure};

causes! {
    /// Why a store of backups cannot be used.
    pub enum StoreCause {
        /// There is no Secret of this name in Drover's namespace that carries the label drover.dev/usable-by: backup-store.
        StoreSecretNotFound = "StoreSecretNotFound": Blocked; "Create the Secret that the message names, with that label.",
        /// The Secret of the store does not hold keys that can be used, or does not say which hosts may get them.
        StoreSecretInvalid = "StoreSecretInvalid": Blocked stalls; "Correct the Secret as the message says.",
        /// The spec names an endpoint, a bucket or certificates that cannot be used.
        StoreInvalid = "StoreInvalid": Invalid stalls; "Correct spec.s3 as the message says.",
        /// The store does not know the keys, or they lack a right.
        StoreRefused = "StoreRefused": Blocked stalls; "Correct the Secret, or the rights that its keys have at the store.",
        /// The bucket does not exist, or is in another region.
        BucketNotFound = "BucketNotFound": Blocked stalls; "Create the bucket, or correct spec.s3.",
        /// The endpoint is an address that Drover does not dial, or shows a certificate that is not trusted.
        StoreNotTrusted = "StoreNotTrusted": Blocked stalls; "Use another address, or set spec.s3.caBundle.",
        /// The store overwrites objects although it is asked not to, or lacks another request that backups need.
        StoreNotSupported = "StoreNotSupported": Blocked stalls; "Use a store that supports conditional writes (If-None-Match) and uploads in parts.",
        /// The store does not answer, or with a fault of its own.
        StoreUnavailable = "StoreUnavailable": Blocked; "Look at the store; Drover tries again.",
        /// What is in the store is not what was written there.
        StoreContentDiffers = "StoreContentDiffers": Blocked stalls; "Find out who changes objects in the bucket.",
    }
}

/// Why a store cannot be used, for people.
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
    pub fn new(cause: StoreCause, message: impl Into<String>) -> Self {
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

impl From<StoreError> for OpenError {
    fn from(error: StoreError) -> Self {
        let cause = match &error.failure {
            StoreFailure::NoBucket | StoreFailure::WrongRegion { .. } => StoreCause::BucketNotFound,
            StoreFailure::Keys | StoreFailure::Forbidden => StoreCause::StoreRefused,
            StoreFailure::Invalid(_) => StoreCause::StoreInvalid,
            StoreFailure::NotSupported { .. } => StoreCause::StoreNotSupported,
            StoreFailure::Exists | StoreFailure::NotFound | StoreFailure::NoUpload | StoreFailure::Parts => {
                StoreCause::StoreContentDiffers
            }
            StoreFailure::Fetch(FetchFailure::AddressRefused(_) | FetchFailure::Untrusted | FetchFailure::Tls) => {
                StoreCause::StoreNotTrusted
            }
            StoreFailure::Clock
            | StoreFailure::SlowDown { .. }
            | StoreFailure::Server { .. }
            | StoreFailure::Status { .. }
            | StoreFailure::Unexpected
            | StoreFailure::Fetch(_) => StoreCause::StoreUnavailable,
        };
        Self::new(cause, error.to_string())
    }
}
