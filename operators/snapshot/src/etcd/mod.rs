//! A client of etcd, as far as a backup needs one: state, keys counted, hashes, and the stream of a snapshot.

mod channel;
mod choose;
mod member;
mod messages;
#[cfg(test)]
mod tests;

pub(crate) use channel::{RpcError, Tls, TlsFile};
pub(crate) use choose::{Seen, choose};
pub(crate) use member::{Hash, Member, Pieces};
