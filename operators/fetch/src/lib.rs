//! Fetches over HTTP what a tenant names: within bounds of size, time and redirects, from addresses that may be dialled, with
//! credentials that go to their hosts and nowhere else.
//!
//! | module | what it does |
//! |---|---|
//! | [`url`], [`source`], [`secret`] | where a server is, how it is reached, and who may learn the credentials |
//! | `dial`, [`fetch`] | the connection, and what is fetched over it |
//! | [`fetch_error`] | why something could not be fetched, without anything secret |
//! | [`digest`] | names bytes by SHA-256 |
//! | `testing` (feature `testing`) | servers on loopback for tests |

mod dial;
pub mod digest;
pub mod fetch;
pub mod fetch_error;
pub mod secret;
pub mod source;
#[cfg(any(test, feature = "testing"))]
#[expect(clippy::unwrap_used, clippy::missing_panics_doc, reason = "a test may panic")]
pub mod testing;
pub mod url;

pub use digest::{Digest, DigestError, Digester};
pub use fetch::{Answer, Exchange, Exchanged, Fetched, Fetcher, Proof, Received, Request};
pub use fetch_error::{FetchError, FetchFailure};
pub use secret::SecretError;
pub use source::{ClientCertificate, Credentials, PemError, Source, Trust, secret_header};
pub use url::{Host, HostError, Url, UrlError};
