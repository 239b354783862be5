use std::fs;

use drover_backups::{EtcdFacts, EtcdId};
use rand::RngExt as _;

use super::*;
use crate::{seal::seal, spool::tests::snapshot};

fn identity() -> Identity {
    "AGE-SECRET-KEY-180L6AAUR4A56N6FXV4SMCE6TCVH9G4PA5E3A6NLQFU2KUJ970KWQLZPMRN".parse().unwrap()
}

fn facts() -> EtcdFacts {
    EtcdFacts {
        version: "3.7.1".to_owned(),
        cluster_id: EtcdId(1),
        member_id: EtcdId(2),
        member: String::new(),
        quorum: true,
        revision: 9,
        compact_revision: Some(4),
        total_keys: Some(3),
        hash_kv: Some(5),
    }
}

/// A snapshot, sealed into a folder.
fn stored(folder: &Path, encryption: Encryption) -> Snapshot {
    let plain = snapshot(300);
    fs::write(folder.join("plain"), &plain).unwrap();
    let recipients = if encryption == Encryption::Age { vec![identity().recipient()] } else { Vec::new() };
    let stored = seal(&folder.join("plain"), &folder.join("stored"), &recipients).unwrap();
    let plain = content(&mut &*plain).unwrap();
    Snapshot { plain, stored, encryption, etcd: facts(), verified: Vec::new() }
}

#[test]
fn what_was_stored_comes_back() {
    for encryption in [Encryption::Age, Encryption::None] {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let snapshot = stored(folder.path(), encryption);
        open_snapshot(&path("stored"), &path("back"), &snapshot, &[identity()]).unwrap();
        assert_eq!(fs::read(path("back")).unwrap(), fs::read(path("plain")).unwrap());
        let again = open_snapshot(&path("stored"), &path("back"), &snapshot, &[identity()]);
        assert!(matches!(again, Err(OpenError::Io { .. })), "nothing is overwritten");
    }
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let snapshot = stored(folder.path(), Encryption::Age);
    let none = open_snapshot(&path("stored"), &path("back"), &snapshot, &[]);
    assert!(matches!(none, Err(OpenError::NoIdentity)));
    assert!(!path("back").exists());
}

/// Changes a byte or cuts the file, at a random place.
fn harm(bytes: &mut Vec<u8>) {
    let at = rand::rng().random_range(0..bytes.len());
    if rand::random_bool(0.8) {
        bytes[at] ^= 1 << rand::rng().random_range(0..8);
    } else {
        bytes.truncate(at);
    }
}

#[test]
fn b2_what_was_changed_anywhere_never_comes_back() {
    for encryption in [Encryption::Age, Encryption::None] {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let snapshot = stored(folder.path(), encryption);
        let good = fs::read(path("stored")).unwrap();
        for _ in 0..10 {
            let mut bad = good.clone();
            harm(&mut bad);
            fs::write(path("bad"), &bad).unwrap();
            let refused = open_snapshot(&path("bad"), &path("back"), &snapshot, &[identity()]);
            assert!(matches!(refused, Err(OpenError::Changed { .. })), "{refused:?}");
            assert!(!path("back").exists());
        }
        // And if the digest of what is stored were right: what it expands to is not.
        for _ in 0..500 {
            let mut bad = good.clone();
            harm(&mut bad);
            let target = File::create(path("back")).unwrap();
            if unseal(&*bad, target, &snapshot, &[identity()]).is_ok() {
                // A byte of padding, which says nothing.
                assert_eq!(encryption, Encryption::None);
                assert!(fs::read(path("back")).unwrap() == fs::read(path("plain")).unwrap());
            }
        }
        fs::remove_file(path("back")).unwrap();
        let plain = fs::read(path("plain")).unwrap();
        let mut other = plain.clone();
        harm(&mut other);
        fs::write(path("other"), &other).unwrap();
        let recipients = if encryption == Encryption::Age { vec![identity().recipient()] } else { Vec::new() };
        let sealed = seal(&path("other"), &path("sealed"), &recipients).unwrap();
        let forged = Snapshot { stored: sealed, ..snapshot };
        assert!(open_snapshot(&path("sealed"), &path("back"), &forged, &[identity()]).is_err());
    }
}

#[test]
fn another_snapshot_that_is_good_in_itself_is_not_this_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let good = stored(folder.path(), Encryption::Age);
    for pages in [299, 301] {
        let (from, to) = (path(&format!("plain-{pages}")), path(&format!("stored-{pages}")));
        fs::write(&from, snapshot(pages)).unwrap();
        let forged = Snapshot { stored: seal(&from, &to, &[identity().recipient()]).unwrap(), ..good.clone() };
        open_snapshot(&to, &path("back"), &forged, &[identity()]).unwrap_err();
        assert!(!path("back").exists());
    }
}

#[test]
fn a_copy_is_compared_with_the_manifest() {
    let snapshot = Snapshot {
        plain: content(&mut &b""[..]).unwrap(),
        stored: content(&mut &b""[..]).unwrap(),
        encryption: Encryption::None,
        etcd: facts(),
        verified: Vec::new(),
    };
    let copied = Copied { revision: 9, compact_revision: 4, total_keys: 3, hash_kv: 0 };
    assert!(matches(&copied, &snapshot).is_ok());
    for (bad, expected) in [
        (Copied { revision: 10, ..copied }, "revision"),
        (Copied { compact_revision: 5, ..copied }, "a compacted revision"),
        (Copied { total_keys: 4, ..copied }, "keys"),
    ] {
        assert!(matches!(matches(&bad, &snapshot), Err(OpenError::Different { what, .. }) if what == expected));
    }
    let etcd = EtcdFacts { compact_revision: None, total_keys: None, hash_kv: None, ..facts() };
    let unproved = Snapshot { etcd, ..snapshot };
    assert!(matches(&Copied { revision: 10, ..copied }, &unproved).is_ok());
    assert!(matches(&Copied { revision: 8, ..copied }, &unproved).is_err());
}
