//! Buckets of S3, and of what is compatible with it, over the HTTP client of charts: the same rules of addresses, the same TLS, no
//! redirects.
//!
//! | module | what it does |
//! |---|---|
//! | [`bucket`] | where a bucket and its objects are: in the path, or in the name of the host |
//! | [`signature`] | signs requests and URLs (AWS Signature Version 4). Pure |
//! | [`answer`] | what the server answers, out of XML that may be hostile. Pure |
//! | [`store`] | the requests, with retries |
//! | [`error`] | why something could not be done, and what to do about it |
//! | [`open`], [`cause`] | from a `BackupStore` and its Secret to its bucket |
//!
//! Bodies are signed by their SHA-256; checksum trailers, which several compatible servers refuse, are not sent.

pub mod answer;
pub mod bucket;
pub mod cause;
pub mod error;
pub mod open;
pub mod signature;
pub mod store;
mod xml;

pub use answer::{Listed, Upload};
pub use bucket::{Addressing, Bucket, BucketError};
pub use cause::{OpenError, StoreCause};
pub use error::{StoreError, StoreFailure};
pub use open::Stores;
pub use signature::{Keys, Presigned};
pub use store::{Clock, Found, Part, Store};
