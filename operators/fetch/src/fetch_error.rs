//! Why something could not be fetched. Texts name the host and nothing that could be secret: no query, no header, no body.

use std::time::Duration;

use drover_client::AddressNotAllowed;

/// Why something could not be fetched from a host.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{host} {failure}")]
pub struct FetchError {
    /// The host that was asked; after redirects, the one that they led to.
    pub host: String,
    /// What happened there.
    pub failure: FetchFailure,
}

/// What happened at a host. The texts follow its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FetchFailure {
    /// 404 or 410.
    #[error("does not have it (404); check the URL")]
    NotFound,
    /// 401.
    #[error("wants credentials, or other ones (401); check the Secret and the hosts that it names")]
    Unauthorized,
    /// 403.
    #[error("does not let these credentials have it (403); check their rights there")]
    Forbidden,
    /// 429.
    #[error("answers that there are too many requests (429); Drover tries again later")]
    TooManyRequests {
        /// After which time it wants to be asked again; at most an hour.
        retry_after: Option<Duration>,
    },
    /// 408 or 5xx.
    #[error("has a fault of its own ({status}); Drover tries again")]
    Server {
        /// The status.
        status: u16,
    },
    /// Any other status.
    #[error("answers with a status that Drover does not expect ({status}); check the URL")]
    Status {
        /// The status.
        status: u16,
    },
    /// Not everything had arrived in time.
    #[error("did not answer whole in time; check the network, or raise the timeout")]
    Timeout,
    /// The name has no address.
    #[error("is a name without an address; check the URL and the DNS of the cluster")]
    Dns,
    /// Nothing accepts connections.
    #[error("accepts no connection; check the URL and the network")]
    Dial,
    /// The proxy gives no connection.
    #[error("is not reached through the proxy; check the URL of the proxy")]
    Proxy,
    /// The certificate is not trusted.
    #[error("shows a certificate that is not trusted; put its authority into the Secret of the CA")]
    Untrusted,
    /// There is no TLS session for another reason.
    #[error("does not agree on TLS; check the URL and the client certificate")]
    Tls,
    /// It may not be dialled.
    #[error("is {0}, which Drover does not dial; use another address")]
    AddressRefused(AddressNotAllowed),
    /// The connection ended before the answer did.
    #[error("broke off its answer; Drover tries again")]
    Interrupted,
    /// There is more than allowed.
    #[error("sends more than {limit} bytes; raise the limit or reduce it there")]
    TooLarge {
        /// Most bytes.
        limit: usize,
    },
    /// It redirects too often.
    #[error("redirects more than five times; check the URL")]
    TooManyRedirects,
    /// It redirects to what is no URL, or from `https` to `http`.
    #[error("redirects to where Drover does not follow; check the URL")]
    BadRedirect,
    /// The answer has an encoding that was not asked for.
    #[error("answers in an encoding that Drover did not ask for, or breaks it; check the URL")]
    Encoding,
    /// The answer has other bytes than its digest says.
    #[error("sends other bytes than the digest names; check the digest and who changed the chart")]
    DigestMismatch,
    /// The answer is not what was asked for.
    #[error("answers with something else than was asked for; check the URL")]
    Unexpected,
    /// What arrived could not be kept.
    #[error("was answered, but the answer cannot be stored; check the volume of the cache")]
    Storage,
}

impl FetchFailure {
    /// At this host.
    #[must_use]
    pub fn at(self, host: &str) -> FetchError {
        FetchError { host: host.to_owned(), failure: self }
    }

    /// Whether the same request may succeed later without a change by a person.
    #[must_use]
    pub fn is_transient(self) -> bool {
        match self {
            Self::TooManyRequests { .. }
            | Self::Server { .. }
            | Self::Timeout
            | Self::Dns
            | Self::Dial
            | Self::Proxy
            | Self::Interrupted
            | Self::Storage => true,
            Self::NotFound
            | Self::Unauthorized
            | Self::Forbidden
            | Self::Status { .. }
            | Self::Untrusted
            | Self::Tls
            | Self::AddressRefused(_)
            | Self::TooLarge { .. }
            | Self::TooManyRedirects
            | Self::BadRedirect
            | Self::Encoding
            | Self::DigestMismatch
            | Self::Unexpected => false,
        }
    }
}
