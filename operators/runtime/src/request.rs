//! Every request has a limit.

use std::time::Duration;

use tokio::time::timeout;

use crate::error::ApiError;

/// Any single request. It includes queueing: an HTTP/2 connection that ran out of streams queues silently, for ever.
pub const REQUEST_LIMIT: Duration = Duration::from_secs(15);

/// Makes the request `what` (for example `apply Namespace team-a`) within [`REQUEST_LIMIT`].
pub async fn request<T>(what: impl Into<String>, call: impl Future<Output = kube::Result<T>>) -> Result<T, ApiError> {
    match timeout(REQUEST_LIMIT, call).await {
        Ok(answer) => answer.map_err(|error| ApiError::new(what, error)),
        Err(_) => Err(ApiError::Timeout { what: what.into() }),
    }
}
