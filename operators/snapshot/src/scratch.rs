//! A copy of a cluster, restored from a snapshot beside it: proof that the snapshot restores, and that the copy is the same.

use std::{
    ffi::OsString,
    fs::{self, File},
    os::{fd::AsRawFd as _, unix::fs::DirBuilderExt as _},
    path::{Path, PathBuf},
    time::Duration,
};

use drover_backups::{Check, FailureCause};
use tokio::time::{sleep, timeout};

use crate::{
    Programs, SnapshotError,
    child::Running,
    etcd::{Hash, Member, RpcError, Seen},
};

/// The sockets of the copy: no port that others could reach. They are relative to its folder, as the path of a socket has at most 107
/// bytes.
const CLIENTS: &str = "unix://client.sock";
const PEERS: &str = "unix://peer.sock";
const SOCKET: &str = "client.sock";
const NAME: &str = "scratch";
/// How long the copy may take until it answers.
const START_LIMIT: Duration = Duration::from_mins(5);
const START_PAUSE: Duration = Duration::from_millis(100);
/// Of gRPC: what is asked for is not there any more.
const OUT_OF_RANGE: u32 = 11;

/// A copy that runs.
pub(crate) struct Scratch {
    member: Member,
    folder: PathBuf,
    process: Running,
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What is in it are the secrets of a cluster.
        fs::remove_dir_all(&self.folder).ok();
    }
}

/// What a restored copy has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Copied {
    /// The newest revision.
    pub revision: u64,
    /// Below it there is no history.
    pub compact_revision: u64,
    /// Keys at the newest revision.
    pub total_keys: u64,
    /// `HashKV` at the newest revision.
    pub hash_kv: u32,
}

/// What a member has said before its snapshot was taken, for the case that it has forgotten it after.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Before {
    pub(crate) revision: u64,
    pub(crate) keys: u64,
}

impl Scratch {
    /// Restores `snapshot` into `folder`, which is made and removed, and starts etcd there.
    pub(crate) async fn restore(programs: &Programs, snapshot: &Path, folder: PathBuf) -> Result<Self, SnapshotError> {
        let snapshot = std::path::absolute(snapshot).map_err(|error| SnapshotError::storage("the snapshot", &error))?;
        let made = fs::DirBuilder::new().mode(0o700).create(&folder);
        made.map_err(|error| SnapshotError::storage("the folder of the restored copy", &error))?;
        let arguments: Vec<OsString> = ["snapshot", "restore"].map(Into::into).into_iter().collect();
        let cluster = format!("{NAME}={PEERS}");
        let named = [
            "--data-dir=data",
            "--name=scratch",
            "--initial-advertise-peer-urls",
            PEERS,
            "--initial-cluster",
            &cluster,
        ];
        let arguments = [arguments, vec![snapshot.into()], named.map(Into::into).into()].concat();
        let mut restoring = programs.start(&programs.etcdutl, &folder, &arguments)?;
        let (is_restored, said) = restoring.end().await?;
        if !is_restored {
            let message = format!("etcdutl does not restore the snapshot: {said}");
            return Err(SnapshotError::new(FailureCause::NotRestorable, message));
        }
        Self::start(programs, folder, &cluster).await
    }

    async fn start(programs: &Programs, folder: PathBuf, cluster: &str) -> Result<Self, SnapshotError> {
        let urls = ["--listen-client-urls", CLIENTS, "--advertise-client-urls", CLIENTS, "--listen-peer-urls", PEERS];
        let peers = ["--initial-advertise-peer-urls", PEERS, "--initial-cluster", cluster];
        // The copy is thrown away: nothing has to reach the disk, and no quota counts.
        let rest =
            ["--name=scratch", "--data-dir=data", "--unsafe-no-fsync", "--log-level=error", "--quota-backend-bytes=-1"];
        let arguments: Vec<OsString> = urls.iter().chain(&peers).chain(&rest).map(Into::into).collect();
        let mut process = programs.start(&programs.etcd, &folder, &arguments)?;
        let opened =
            File::open(&folder).map_err(|error| SnapshotError::storage("the folder of the restored copy", &error))?;
        let socket = PathBuf::from(format!("/proc/self/fd/{}/{SOCKET}", opened.as_raw_fd()));
        let starting = async {
            while process.is_alive() {
                if let Ok(member) = Member::connect_unix(&socket).await
                    && member.confirmed_revision().await.is_ok()
                {
                    return Some(member);
                }
                sleep(START_PAUSE).await;
            }
            None
        };
        match timeout(START_LIMIT, starting).await {
            Ok(Some(member)) => Ok(Self { member, folder, process }),
            Ok(None) => {
                let (_, said) = process.end().await?;
                Err(SnapshotError::new(
                    FailureCause::NotRestorable,
                    format!("etcd does not start from the restored copy: {said}"),
                ))
            }
            Err(_) => {
                let message = "etcd started from the restored copy and does not answer in 5 minutes";
                Err(SnapshotError::new(FailureCause::NotRestorable, message))
            }
        }
    }

    /// What the copy has. Nothing writes into it, and the lease of a key begins anew with its start.
    pub(crate) async fn look(&mut self) -> Result<(Seen, Copied), SnapshotError> {
        let looking = async {
            let seen = self.member.status().await?;
            let Hash { hash, compact_revision } = self.member.hash(seen.revision).await?;
            let total_keys = self.member.key_count(seen.revision).await?;
            let copied = Copied { revision: seen.revision, compact_revision, total_keys, hash_kv: hash };
            Ok((seen, copied))
        };
        looking.await.map_err(|error: RpcError| self.silent(&error))
    }

    fn silent(&mut self, error: &RpcError) -> SnapshotError {
        let how = if self.process.is_alive() { "runs" } else { "has ended" };
        SnapshotError::new(FailureCause::NotRestorable, format!("etcd on the restored copy {how}, and {error}"))
    }

    /// Compares the copy with the member: `before` was asked before the snapshot was taken, `after` is the member's revision since.
    pub(crate) async fn compare(
        &mut self,
        member: &Member,
        seen: &Seen,
        before: Before,
        after: u64,
    ) -> Result<(Copied, Vec<Check>), SnapshotError> {
        let (own, copied) = self.look().await?;
        in_range(copied.revision, before.revision, after)?;
        let mut checks = vec![Check::Sha256, Check::Revision];
        let asked = |error: RpcError| {
            let message = format!("the member {error} when the restored copy is compared with it");
            SnapshotError::new(FailureCause::MemberUnreachable, message)
        };
        match member.key_count(copied.revision).await {
            Ok(keys) => same("keys", keys, copied.total_keys, copied.revision)?,
            // Compacted since: what it said before still holds for the revision of then.
            Err(RpcError::Status { code: OUT_OF_RANGE, .. }) => {
                let keys = self.member.key_count(before.revision).await.map_err(|error| self.silent(&error))?;
                same("keys", before.keys, keys, before.revision)?;
            }
            Err(error) => return Err(asked(error)),
        }
        checks.push(Check::Keys);
        match member.hash(copied.revision).await {
            Ok(hash) if hash.compact_revision == copied.compact_revision && seen.minor() == own.minor() => {
                same("hash", hash.hash.into(), copied.hash_kv.into(), copied.revision)?;
                checks.push(Check::HashKv);
            }
            Ok(_) | Err(RpcError::Status { .. }) => (),
            Err(error) => return Err(asked(error)),
        }
        Ok((copied, checks))
    }
}

/// Whether the member had this revision while the snapshot was taken.
fn in_range(revision: u64, before: u64, after: u64) -> Result<(), SnapshotError> {
    if (before..=after).contains(&revision) {
        return Ok(());
    }
    let message = format!(
        "the restored copy has revision {revision}, and the member had {before} to {after} meanwhile: the snapshot is of no use"
    );
    Err(SnapshotError::new(FailureCause::Different, message))
}

fn same(what: &str, of_member: u64, of_copy: u64, revision: u64) -> Result<(), SnapshotError> {
    if of_member == of_copy {
        return Ok(());
    }
    let message = format!(
        "at revision {revision} the member has {what} {of_member}, and the restored copy {of_copy}: check the member with etcdutl hashkv"
    );
    Err(SnapshotError::new(FailureCause::Different, message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_is_the_member_at_a_time_while_the_snapshot_was_taken() {
        for revision in 5..=7 {
            assert_eq!(in_range(revision, 5, 7), Ok(()));
        }
        for revision in [4, 8] {
            assert_eq!(in_range(revision, 5, 7).unwrap_err().cause, FailureCause::Different);
        }
        assert_eq!(same("keys", 3, 3, 7), Ok(()));
        let error = same("keys", 3, 4, 7).unwrap_err();
        assert_eq!(error.cause, FailureCause::Different);
        assert!(error.message.contains("keys 3") && error.message.contains("copy 4"), "{error}");
    }
}
