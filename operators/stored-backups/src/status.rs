//! A snapshot, as the status of an `EtcdBackup` tells of it. Pure.

use drover_backups::{Check, Encryption, Snapshot};
use drover_crds::SnapshotStatus;

/// A snapshot, as the status tells of it.
#[must_use]
pub fn snapshot_status(snapshot: &Snapshot) -> SnapshotStatus {
    let whole = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    let etcd = &snapshot.etcd;
    SnapshotStatus {
        member: if etcd.member.is_empty() { etcd.member_id.to_string() } else { etcd.member.clone() },
        etcd_version: etcd.version.clone(),
        revision: whole(etcd.revision),
        total_keys: etcd.total_keys.map(whole),
        bytes: whole(snapshot.plain.bytes),
        stored_bytes: whole(snapshot.stored.bytes),
        digest: snapshot.plain.sha256.to_string(),
        verified: snapshot.verified.iter().map(|check| check_name(*check).to_owned()).collect(),
        quorum: etcd.quorum,
        encrypted: snapshot.encryption == Encryption::Age,
    }
}

fn check_name(check: Check) -> &'static str {
    match check {
        Check::Sha256 => "Sha256",
        Check::Revision => "Revision",
        Check::Keys => "Keys",
        Check::HashKv => "HashKV",
    }
}

/// Whether a snapshot was restored, and had the revision and the keys of the member.
#[must_use]
pub fn is_verified(snapshot: &SnapshotStatus) -> bool {
    let has = |check: Check| snapshot.verified.iter().any(|name| name == check_name(check));
    [Check::Sha256, Check::Revision, Check::Keys].into_iter().all(has)
}
