//! Backups of etcd that are in a store, for the operator of backups and the command line.
//!
//! | module | what it does |
//! |---|---|
//! | [`look`] | reads a manifest, and looks whether the store still has all that it names |
//! | [`audit`] | when that is looked at. Pure |
//! | [`existing`] | whether a manifest is the one that `spec.existing` of an `EtcdBackup` names, and what the status says then. Pure |
//! | [`status`] | a snapshot, as the status of an `EtcdBackup` tells of it. Pure |

pub mod audit;
pub mod existing;
pub mod look;
pub mod status;

pub use existing::{Expected, Imported, Refusal};
pub use look::{Finding, Found, ReadError, look, look_at, read_manifest};
