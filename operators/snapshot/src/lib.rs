//! Takes a snapshot of etcd, proves that it restores, and stores it; and gets it back with nothing but the bucket and a private key.
//!
//! The way there ([`take()`], in a Job on a node of the cluster): a healthy member that has all data → its snapshot into the spool, with
//! the digest at its end compared → a restored copy beside it, compared with the member → zstd → age → parts to presigned URLs.
//! The way back ([`open_snapshot`], [`open_config`], [`verify`], on the machine of a person).
//!
//! Memory does not grow with the snapshot: all goes through buffers of at most 1 MiB. What is verified by its digest alone is never
//! opened in this process: etcd's own programs do that, as children.

pub mod age;
mod bundle;
mod child;
mod error;
mod etcd;
mod open;
mod put;
mod scratch;
mod seal;
mod spool;
mod take;

pub use child::{Programs, become_child};
pub use error::SnapshotError;
pub use open::{OpenError, open_config, open_snapshot, verify};
pub use scratch::Copied;
pub use take::{Settings, take};
