//! Every request has a limit, and one who sends it.

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

/// How urgent a request is. Those of all operators to one cluster are sent in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Urgency {
    /// It takes a right away.
    Revocation,
    /// It restricts what may be done: pod security, quota, limits, isolation.
    Guard,
    /// Everything else.
    Rest,
}

/// Who sends a request, and how urgent it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sender {
    /// The operator: each has its turn among requests of the same urgency.
    pub operator: &'static str,
    /// How urgent it is.
    pub urgency: Urgency,
}

tokio::task_local! {
    static SENDER: Sender;
}

impl Sender {
    /// Whoever makes a request here and now: watches and probes are no operator's.
    #[must_use]
    pub fn current() -> Self {
        SENDER.try_with(|sender| *sender).unwrap_or(Self { operator: "", urgency: Urgency::Rest })
    }

    /// Makes the requests of `call` as this sender.
    pub async fn sends<T>(self, call: impl Future<Output = T>) -> T {
        SENDER.scope(self, call).await
    }
}
