//! The fleet: which clusters exist, how they are reached, and who answers.
//!
//! One [`Remote`](remote) per `Cluster` object owns one HTTP/2 connection, a probe and a cache, and reports to the
//! [`Fleet`], which gives the shell a snapshot of all of them. Not connected is a normal value.

pub mod claim;
mod contact;
mod dial;
mod expiry;
mod fleet;
mod hold;
pub mod hop;
pub mod kubeconfig;
mod line;
mod probe;
mod proxy;
mod remote;
mod source;
mod verdict;

pub use dial::connect;
pub use expiry::{CredentialLife, SeenCertificate};
pub use fleet::Fleet;
pub use probe::Facts;
pub use remote::Report;
