//! One member of etcd.

use std::{path::Path, time::Duration};

use bytes::Bytes;
use drover_fetch::Url;

use super::{
    RpcError, Seen, Tls,
    channel::{Channel, Messages},
    messages::{
        Empty, HASH_KV, HashKv, HashKvRequest, Header, MEMBERS, Members, Piece, RANGE, Range, RangeRequest, SNAPSHOT,
        STATUS, Status,
    },
};

/// How long a member may take to answer what costs it little.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);
/// How long it may take to read all its keys.
const SCAN_LIMIT: Duration = Duration::from_mins(10);
/// The first key, and as an end: after all keys.
const ALL_KEYS: Bytes = Bytes::from_static(&[0]);

/// A connection to a member.
#[derive(Clone)]
pub(crate) struct Member {
    channel: Channel,
}

/// What `HashKV` answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Hash {
    pub(crate) hash: u32,
    /// Two hashes can be compared only where this is the same.
    pub(crate) compact_revision: u64,
}

/// The stream of a snapshot.
pub(crate) struct Pieces(Messages<Piece>);

fn count(number: i64) -> Result<u64, RpcError> {
    u64::try_from(number).map_err(|_| RpcError::Broken)
}

impl Member {
    pub(crate) async fn connect(url: &Url, tls: &Tls) -> Result<Self, RpcError> {
        Channel::tls(url, tls).await.map(|channel| Self { channel })
    }

    pub(crate) async fn connect_unix(socket: &Path) -> Result<Self, RpcError> {
        Channel::unix(socket).await.map(|channel| Self { channel })
    }

    /// How it is.
    pub(crate) async fn status(&self) -> Result<Seen, RpcError> {
        let status: Status = self.channel.unary(STATUS, &Empty {}, ANSWER_LIMIT).await?;
        let header = status.header.ok_or(RpcError::Broken)?;
        Ok(Seen {
            version: status.version,
            cluster_id: header.cluster_id,
            member_id: header.member_id,
            leader: status.leader,
            revision: count(header.revision)?,
            db_bytes: count(status.db_size)?,
            lag: status.raft_index.saturating_sub(status.raft_applied_index),
            is_learner: status.is_learner,
            errors: status.errors,
        })
    }

    /// The name of the member with this id; empty if it has none, or names are not told.
    pub(crate) async fn name(&self, id: u64) -> String {
        let members: Result<Members, _> = self.channel.unary(MEMBERS, &Empty {}, ANSWER_LIMIT).await;
        let named = members.into_iter().flat_map(|all| all.members).find(|member| member.id == id);
        named.map(|member| member.name).unwrap_or_default()
    }

    /// A revision that all writes up to now have at most: a majority of members confirms it, and this one has it. So a member that
    /// answers this has missed nothing.
    pub(crate) async fn confirmed_revision(&self) -> Result<u64, RpcError> {
        let request = RangeRequest { key: ALL_KEYS, count_only: true, ..RangeRequest::default() };
        let answer: Range = self.channel.unary(RANGE, &request, ANSWER_LIMIT).await?;
        count(answer.header.map_or(-1, |header: Header| header.revision))
    }

    /// How many keys there are at `revision`.
    pub(crate) async fn key_count(&self, revision: u64) -> Result<u64, RpcError> {
        let request = RangeRequest {
            key: ALL_KEYS,
            range_end: ALL_KEYS,
            revision: i64::try_from(revision).map_err(|_| RpcError::Broken)?,
            serializable: true,
            count_only: true,
        };
        let answer: Range = self.channel.unary(RANGE, &request, SCAN_LIMIT).await?;
        count(answer.count)
    }

    /// The hash of all keys at `revision`.
    pub(crate) async fn hash(&self, revision: u64) -> Result<Hash, RpcError> {
        let request = HashKvRequest { revision: i64::try_from(revision).map_err(|_| RpcError::Broken)? };
        let answer: HashKv = self.channel.unary(HASH_KV, &request, SCAN_LIMIT).await?;
        // Where nothing was compacted yet, it is -1 before a restart, and 0 after it.
        Ok(Hash { hash: answer.hash, compact_revision: u64::try_from(answer.compact_revision).unwrap_or_default() })
    }

    /// Begins to take a snapshot. The member keeps old pages as long as the stream is open.
    pub(crate) async fn snapshot(&self) -> Result<Pieces, RpcError> {
        self.channel.stream(SNAPSHOT, &Empty {}).await.map(Pieces)
    }
}

impl Pieces {
    /// The next piece, and how many bytes follow it; none at the end.
    pub(crate) async fn next(&mut self) -> Result<Option<(Bytes, u64)>, RpcError> {
        Ok(self.0.next().await?.map(|piece| (piece.blob, piece.remaining_bytes)))
    }
}
