//! Why something could not be done at a store, and what to do about it. Texts name the bucket and the host, and nothing that could be
//! secret: no query, no header, no body.

use std::time::Duration;

use drover_fetch::{FetchError, FetchFailure};

use crate::bucket::BucketError;

/// Why something could not be done in a bucket.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("bucket {bucket}: {host} {failure}")]
pub struct StoreError {
    /// The host that was asked.
    pub host: String,
    /// The bucket.
    pub bucket: String,
    /// What happened there.
    pub failure: StoreFailure,
}

/// What happened. The texts follow the name of the host.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreFailure {
    /// There is no such bucket.
    #[error("has no such bucket; create it, or correct spec.s3.bucket")]
    NoBucket,
    /// The bucket is in another region than the signature names.
    #[error("has the bucket in another region{}; correct spec.s3.region and spec.s3.endpoint", region.as_ref().map(|region| format!(" ({region})")).unwrap_or_default())]
    WrongRegion {
        /// Which one, if the server says it.
        region: Option<String>,
    },
    /// The keys are wrong, or expired.
    #[error(
        "does not know these keys, or they have expired; correct the Secret that spec.s3.credentialsSecretRef names"
    )]
    Keys,
    /// The clocks differ by more than signatures allow.
    #[error("has another time than Drover; correct the clock of this machine, or of the server")]
    Clock,
    /// The keys have no right to it.
    #[error("does not let these keys do that (403); give them the rights that docs/backups.md lists")]
    Forbidden,
    /// There is no such object.
    #[error("has no such object; check whether a lifecycle rule or a person removed it")]
    NotFound,
    /// There is no such upload: it was completed or aborted.
    #[error("has no such upload; it was completed or aborted, perhaps by a lifecycle rule")]
    NoUpload,
    /// There is another object of this key.
    #[error("has another object under this key; find out who wrote it, as Drover overwrites nothing")]
    Exists,
    /// A part of an upload is missing, or is not the one that was named.
    #[error(
        "does not have the parts of the upload as they were sent; create another backup, and find out who changes uploads in the bucket"
    )]
    Parts,
    /// It wants fewer requests.
    #[error("answers that there are too many requests; Drover tries again later")]
    SlowDown {
        /// After which time it wants to be asked again.
        retry_after: Option<Duration>,
    },
    /// A fault of its own.
    #[error("has a fault of its own ({status}); Drover tries again")]
    Server {
        /// The status.
        status: u16,
    },
    /// It does not know this request.
    #[error("does not support this request ({status}); use a store that is compatible with S3")]
    NotSupported {
        /// The status.
        status: u16,
    },
    /// Any other status.
    #[error("answers with a status that Drover does not expect ({status}); check spec.s3")]
    Status {
        /// The status.
        status: u16,
    },
    /// The answer is not what was asked for.
    #[error("answers with something else than was asked for; check spec.s3.endpoint")]
    Unexpected,
    /// There is no such request, as the bucket or the key cannot be.
    #[error("was not asked, as the name {0}")]
    Invalid(BucketError),
    /// There was no answer.
    #[error("{0}")]
    Fetch(FetchFailure),
}

impl StoreFailure {
    /// Whether the same request may succeed later without a change by a person.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::SlowDown { .. } | Self::Server { .. } => true,
            Self::Fetch(failure) => failure.is_transient(),
            Self::NoBucket
            | Self::WrongRegion { .. }
            | Self::Keys
            | Self::Clock
            | Self::Forbidden
            | Self::NotFound
            | Self::NoUpload
            | Self::Exists
            | Self::Parts
            | Self::NotSupported { .. }
            | Self::Status { .. }
            | Self::Unexpected
            | Self::Invalid(_) => false,
        }
    }
}

impl From<FetchError> for StoreFailure {
    fn from(error: FetchError) -> Self {
        Self::Fetch(error.failure)
    }
}

impl From<BucketError> for StoreFailure {
    fn from(error: BucketError) -> Self {
        Self::Invalid(error)
    }
}
