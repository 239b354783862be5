//! The way from the bytes of a kubeconfig to a connection, and the step at which it failed.
//!
//! A kubeconfig is judged before anything is made of it, addresses before they are dialled, certificates before a request is sent.
//! Who may use the connection, and when it is dialled, is decided by the crate `drover-fleet`.
//!
//! | module | what it does |
//! |---|---|
//! | [`encoding`], `reading`, [`kubeconfig`] | reads a kubeconfig as kubectl does, and accepts inline data only |
//! | [`pem`], [`expiry`] | certificates, keys and tokens in it, and when they end |
//! | `prepare`, `proxy`, `tcp`, `dial` | what can be sent, and the way there: proxy, TCP, TLS, HTTP/2 |
//! | `verifier`, [`tls_failure`] | trusts a server, or says why not |
//! | [`connection_error`], [`cause`] | at which step a connection failed, and what follows from it |
//! | `testing` (feature `testing`) | kubeconfigs for tests |

pub mod cause;
pub mod connection_error;
mod dial;
pub mod encoding;
pub mod expiry;
pub mod kubeconfig;
mod parsed;
pub mod pem;
mod prepare;
mod proxy;
mod reading;
mod tcp;
#[cfg(any(test, feature = "testing"))]
#[expect(clippy::indexing_slicing, clippy::unwrap_used, reason = "a test may panic")]
pub mod testing;
pub mod tls_failure;
mod verifier;

pub use cause::ConnectionCause;
pub use connection_error::{ConnectionError, TooLarge};
pub use dial::{Dialler, PING_AFTER, PING_LIMIT, TlsProbe, connect, presented, with_agent};
pub use expiry::{CredentialLife, SeenCertificate};
pub use kubeconfig::{Access, KubeconfigError, without_credential};
pub use parsed::Parsed;
pub use prepare::PrepareError;
