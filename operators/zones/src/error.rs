//! What may go wrong with a zone.

use std::time::Duration;

use drover_runtime::AddressNotAllowed;

/// Why a provider did not do what it was asked for. No text of it carries anything that a server sent, or a key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ZoneError {
    /// The name of the server is not known.
    #[error("server {server} is not known in DNS")]
    Unresolved {
        /// The server.
        server: String,
    },
    /// The server is where Drover does not dial.
    #[error("server {server} is at {refusal}, which Drover does not dial")]
    Address {
        /// The server.
        server: String,
        /// What kind of address it is.
        refusal: AddressNotAllowed,
    },
    /// It cannot be reached.
    #[error("server {server} cannot be reached")]
    Unreachable {
        /// The server.
        server: String,
    },
    /// It did not answer in time.
    #[error("server {server} did not answer within {limit:?}")]
    Timeout {
        /// The server.
        server: String,
        /// How long was waited.
        limit: Duration,
    },
    /// It does not know the key, or not with this secret.
    #[error("server {server} does not accept the TSIG key, its secret or its algorithm")]
    Key {
        /// The server.
        server: String,
    },
    /// The clocks are too far apart.
    #[error("the clock of server {server} differs too much from that of Drover")]
    Clock {
        /// The server.
        server: String,
    },
    /// The key may not do that.
    #[error("server {server} refuses it: the key has no right to the zone of {name}")]
    Refused {
        /// The server.
        server: String,
        /// The name.
        name: String,
    },
    /// It does not have the zone.
    #[error("server {server} is no authority for {name}")]
    NoZone {
        /// The server.
        server: String,
        /// The name.
        name: String,
    },
    /// Something else was there than what was read before.
    #[error("the records of {name} changed while Drover was about to write them")]
    Changed {
        /// The name.
        name: String,
    },
    /// It answers with an error.
    #[error("server {server} answers with {code}")]
    Code {
        /// The server.
        server: String,
        /// The code, as the standard names it.
        code: &'static str,
    },
    /// It answers with what is no answer, or not signed as it has to be.
    #[error("server {server} answers with something else than it was asked for")]
    Unexpected {
        /// The server.
        server: String,
    },
    /// Something cannot be said in DNS.
    #[error("{0} cannot be written in a DNS message")]
    Unwritable(String),
}

impl ZoneError {
    /// Whether the server said nothing at all: others would wait for it in vain.
    #[must_use]
    pub fn is_silence(&self) -> bool {
        matches!(self, Self::Unresolved { .. } | Self::Unreachable { .. } | Self::Timeout { .. })
    }
}
