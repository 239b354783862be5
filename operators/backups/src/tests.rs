//! Of what goes between manager, Job and store.

mod retention;

use k8s_openapi::{apimachinery::pkg::apis::meta::v1::Time, jiff::Timestamp};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::{
    AttemptId, BackupIdentity, Check, ClusterIdentity, Content, ETag, Encryption, EtcdFacts, EtcdId, FORMAT_VERSION,
    Failure, FailureCause, Folder, Layout, LayoutOf, MOST_REPORT_BYTES, Manifest, ManifestError, Prefix, PresignedUrl,
    Report, ReportError, Snapshot, StoredConfig, StoredObject, Success, Task, TaskError, Uid, UploadedConfig, Verify,
    upload,
};

fn attempt() -> AttemptId {
    "1-x7k2p".parse().unwrap()
}

fn content(bytes: u64) -> Content {
    let sha256 = format!("sha256:{}", "d".repeat(64)).parse().unwrap();
    Content { bytes, sha256 }
}

fn snapshot(stored: u64) -> Snapshot {
    Snapshot {
        plain: content(u64::MAX),
        stored: content(stored),
        encryption: Encryption::Age,
        etcd: EtcdFacts {
            version: "3.7.1".to_owned(),
            cluster_id: EtcdId(u64::MAX),
            member_id: EtcdId(0xab),
            member: "m".repeat(128),
            quorum: true,
            revision: u64::MAX,
            compact_revision: Some(u64::MAX),
            total_keys: Some(u64::MAX),
            hash_kv: Some(u32::MAX),
        },
        verified: vec![Check::Sha256, Check::Revision, Check::Keys, Check::HashKv],
    }
}

fn success(stored: u64) -> Success {
    let tag = ETag::from_header(&format!("\"{}\"", "0f".repeat(16))).unwrap();
    let config = Some(UploadedConfig { stored: content(u64::MAX) });
    let parts = vec![tag; upload::parts(stored).unwrap().len()];
    Success { attempt: attempt(), snapshot: snapshot(stored), parts, config, tool: "drover 0.1.0".to_owned() }
}

fn folder() -> Folder {
    let uid = |text: &str| text.parse::<Uid>().unwrap();
    Folder { prefix: "a/b".parse().unwrap(), cluster: uid("c-1"), backup: uid("b-1") }
}

fn manifest() -> Manifest {
    let folder = folder();
    let time = Time(Timestamp::UNIX_EPOCH);
    let cluster = ClusterIdentity {
        uid: folder.cluster.clone(),
        name: "eu-1".to_owned(),
        kubernetes_version: "v1.37.1".to_owned(),
        distribution: "kubeadm".to_owned(),
    };
    let (namespace, name) = ("team".to_owned(), "nightly".to_owned());
    Manifest {
        format_version: FORMAT_VERSION,
        cluster,
        backup: BackupIdentity { uid: folder.backup.clone(), namespace, name, attempt: attempt() },
        taken_at: time.clone(),
        completed_at: time,
        object: StoredObject { key: folder.snapshot(&attempt(), Encryption::Age), part_bytes: upload::PART_BYTES },
        snapshot: snapshot(1 << 20),
        config: Some(StoredConfig { key: folder.config(&attempt()), stored: content(65_536) }),
        recipients: vec!["age1xyz".to_owned()],
        tool: "drover 0.1.0".to_owned(),
    }
}

#[test]
fn the_largest_report_goes_into_a_termination_message() {
    let report = Report::Success(Box::new(success(upload::MOST_BYTES)));
    let message = report.to_message();
    assert!(message.len() <= MOST_REPORT_BYTES, "{} bytes", message.len());
    assert_eq!(Report::parse(message.as_bytes(), &attempt()), Ok(report));
    let text = "é\u{7}".repeat(5_000);
    let failure = Failure { attempt: Some(attempt()), cause: FailureCause::SpoolFull, message: text };
    let message = Report::Failure(failure).to_message();
    assert!(message.len() <= MOST_REPORT_BYTES, "{} bytes", message.len());
    let Ok(Report::Failure(failure)) = Report::parse(message.as_bytes(), &attempt()) else { panic!("{message}") };
    assert_eq!(failure.message, "é".repeat(512));
}

#[test]
fn a_report_counts_for_its_own_attempt_and_if_it_fits_together() {
    let parse = |value: &Value| Report::parse(value.to_string().as_bytes(), &attempt());
    let good = serde_json::to_value(Report::Success(Box::new(success(1 << 20)))).unwrap();
    assert!(parse(&good).is_ok());
    let changed = |pointer: &str, value: Value| {
        let mut report = good.clone();
        *report.pointer_mut(pointer).unwrap() = value;
        parse(&report)
    };
    assert_eq!(changed("/success/attempt", json!("2-x7k2p")), Err(ReportError::OtherAttempt));
    for (pointer, value) in [
        ("/success/parts", json!([])),
        ("/success/snapshot/stored/bytes", json!(1_048_577)),
        ("/success/snapshot/stored/bytes", json!(upload::PART_BYTES + (24 << 20))),
        ("/success/snapshot/etcd/version", json!("3.7\n")),
        ("/success/snapshot/etcd/member", json!("m".repeat(129))),
        ("/success/snapshot/etcd/revision", json!(1)),
    ] {
        assert_eq!(changed(pointer, value), Err(ReportError::Contradictory), "{pointer}");
    }
    let other = json!({"failure": {"attempt": "2", "cause": "Stalled", "message": ""}});
    assert_eq!(parse(&other), Err(ReportError::OtherAttempt));
    let newer = json!({"failure": {"cause": "Later", "message": "x", "more": 1}});
    assert!(matches!(parse(&newer), Ok(Report::Failure(failure)) if failure.cause == FailureCause::Unknown));
    for bad in [&b""[..], b"{}", b"OOMKilled", &[0xff], &vec![b' '; MOST_REPORT_BYTES + 1]] {
        assert_eq!(Report::parse(bad, &attempt()), Err(ReportError::Unreadable));
    }
}

#[test]
fn an_answer_to_another_question_is_none() {
    let answers = |change: fn(&mut Success), encryption, verify| {
        let mut success = success(upload::PART_BYTES);
        change(&mut success);
        success.answers(encryption, verify)
    };
    let (age, restore) = (Encryption::Age, Verify::Restore);
    assert!(answers(|_| {}, age, restore));
    assert!(!answers(|_| {}, Encryption::None, restore), "a store without recipients");
    assert!(!answers(|success| success.snapshot.encryption = Encryption::None, age, restore));
    assert!(
        !answers(|success| success.snapshot.encryption = Encryption::None, Encryption::None, restore),
        "with a configuration"
    );
    for verify in [Verify::None, Verify::Hash] {
        assert!(!answers(|_| {}, age, verify), "nothing was to be restored");
        assert!(answers(|success| success.snapshot.verified = vec![Check::Sha256], age, verify));
    }
    assert!(!answers(|success| success.snapshot.verified.push(Check::Keys), age, restore), "twice");
    assert!(!answers(|success| success.snapshot.etcd.total_keys = None, age, restore));
    assert!(!answers(|success| success.snapshot.etcd.hash_kv = None, age, restore));
}

#[test]
fn tags_of_md5_are_short_in_json_and_others_stay_as_they_are() {
    for (header, json) in [
        ("\"00000000000000000000000000000000\"", "\"AAAAAAAAAAAAAAAAAAAAAA\""),
        ("0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f", "\"Dw8PDw8PDw8PDw8PDw8PDw\""),
        ("0F0F0F0F0F0F0F0F0F0F0F0F0F0F0F0F", "\"=0F0F0F0F0F0F0F0F0F0F0F0F0F0F0F0F\""),
        ("AAAAAAAAAAAAAAAAAAAAAA", "\"=AAAAAAAAAAAAAAAAAAAAAA\""),
        ("+f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f", "\"=+f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f\""),
    ] {
        let tag = ETag::from_header(header).unwrap();
        assert_eq!(tag.as_str(), header.trim_matches('"'));
        assert_eq!(serde_json::to_string(&tag).unwrap(), json);
        assert_eq!(serde_json::from_str::<ETag>(json).unwrap(), tag);
    }
    for bad in ["", "\"\"", "a b", "a\"b", "é", &"a".repeat(129)] {
        assert!(ETag::from_header(bad).is_err(), "{bad}");
    }
    for bad in ["\"\"", "\"AAAA\"", "\"=\"", "\"!\""] {
        assert!(serde_json::from_str::<ETag>(bad).is_err(), "{bad}");
    }
}

#[test]
fn ids_and_prefixes_lead_nowhere_else() {
    for good in ["a", "0b-C", &"a".repeat(64)] {
        assert!(good.parse::<Uid>().is_ok() && good.parse::<AttemptId>().is_ok(), "{good}");
    }
    for bad in ["", "a/b", "..", "a.b", "a b", "é", "a\n", &"a".repeat(65)] {
        assert!(bad.parse::<Uid>().is_err() && bad.parse::<AttemptId>().is_err(), "{bad}");
    }
    for good in ["", "a", "a/b-c/d_e.f"] {
        assert!(good.parse::<Prefix>().is_ok(), "{good}");
    }
    for bad in ["/", "a/", "/a", "a//b", ".", "a/../b", "a b", "a?b", "%2f", &"a".repeat(513)] {
        assert!(bad.parse::<Prefix>().is_err(), "{bad}");
    }
    assert_eq!(serde_json::to_string(&EtcdId(u64::MAX)).unwrap(), "\"ffffffffffffffff\"");
    for bad in ["\"\"", "\"+1\"", "\"01\"", "\"AB\"", "\"1ffffffffffffffff\"", "1"] {
        assert!(serde_json::from_str::<EtcdId>(bad).is_err(), "{bad}");
    }
}

#[test]
fn the_folder_of_a_manifest_is_found_by_its_key_and_no_other_key() {
    let folder = folder();
    assert_eq!(folder.manifest(), "a/b/c-1/b-1/manifest.json");
    assert_eq!(folder.snapshot(&attempt(), Encryption::None), "a/b/c-1/b-1/snapshot.1-x7k2p.db.zst");
    assert_eq!(Folder::of_manifest(&folder.prefix, &folder.manifest()), Some(folder.clone()));
    for key in [
        "a/bc/c-1/b-1/manifest.json",
        "a/b/c-1/b-1/x/manifest.json",
        "a/b/c-1/manifest.json",
        "a/b/c-1/../manifest.json",
        "a/b/c-1/b-1/manifest.json.bak",
        "a/b//b-1/manifest.json",
    ] {
        assert_eq!(Folder::of_manifest(&folder.prefix, key), None, "{key}");
    }
    let top = Prefix::default();
    let found = Folder::of_manifest(&top, "c-1/b-1/manifest.json").unwrap();
    assert_eq!(found, Folder { prefix: top, ..folder });
}

#[test]
fn a_manifest_is_read_as_it_was_written_and_only_where_it_belongs() {
    let good = manifest();
    assert!(good.snapshot.is_verified());
    assert_eq!(Manifest::parse(good.to_text().as_bytes(), &folder()), Ok(good.clone()));
    assert_eq!(good.folder(folder().prefix), folder());
    let keys = ["manifest.json", "snapshot.1-x7k2p.db.zst.age", "config.1-x7k2p.age"];
    assert_eq!(good.keys(&folder()), keys.map(|name| format!("a/b/c-1/b-1/{name}")));
    let elsewhere = Folder { backup: "b-11".parse().unwrap(), ..folder() };
    assert_eq!(Manifest::parse(good.to_text().as_bytes(), &elsewhere), Err(ManifestError::Misplaced));
    let value = serde_json::to_value(&good).unwrap();
    for (pointer, to, error) in [
        ("/object/key", json!("a/b/c-1/b-2/snapshot.1-x7k2p.db.zst.age"), ManifestError::Misplaced),
        ("/config/key", json!("a/b/c-1/b-1/manifest.json"), ManifestError::Misplaced),
        ("/backup/uid", json!("b-2"), ManifestError::Misplaced),
        ("/recipients", json!([]), ManifestError::Contradictory),
        ("/snapshot/verified", json!(["Sha256", "Sha256"]), ManifestError::Contradictory),
        ("/formatVersion", json!(2), ManifestError::Version { found: 2 }),
        ("/snapshot/etcd/revision", json!(-1), ManifestError::Unreadable),
    ] {
        let mut changed = value.clone();
        *changed.pointer_mut(pointer).unwrap() = to;
        assert_eq!(Manifest::parse(changed.to_string().as_bytes(), &folder()), Err(error), "{pointer}");
    }
}

#[test]
fn a_task_is_read_as_it_was_written_and_shows_no_url() {
    let layout: &Layout = LayoutOf::distribution("kubeadm").unwrap().layout();
    let urls = |lengths: &mut dyn Iterator<Item = (u16, u64)>| -> Vec<PresignedUrl> {
        lengths
            .map(|(part, length)| PresignedUrl::new(part, length, format!("https://s3/{}", "s3cret".repeat(100))))
            .collect()
    };
    let task = Task {
        format_version: FORMAT_VERSION,
        attempt: attempt(),
        etcd: layout.access(),
        limits: crate::Limits::default(),
        verify: crate::Verify::Restore,
        recipients: vec!["age1xyz".to_owned()],
        store: crate::StoreAccess::default(),
        snapshot: urls(&mut upload::lengths()),
        config: Some(crate::ConfigTask {
            files: layout.config_files.iter().map(Into::into).collect(),
            facts: json!({"kubernetesVersion": "v1.37.1"}),
            uploads: urls(&mut upload::CONFIG_LENGTHS.iter().map(|length| (1, *length))),
        }),
    };
    let text = serde_json::to_vec(&task).unwrap();
    assert!(text.len() < 512 * 1024, "{} bytes", text.len());
    assert_eq!(Task::parse(&text), Ok(task.clone()));
    assert!(!format!("{task:?}").contains("s3cret"));
    assert_eq!(Task::parse(b"{\"formatVersion\": 2}"), Err(TaskError::Version { found: 2 }));
    assert_eq!(Task::parse(b"{\"formatVersion\": 1}"), Err(TaskError::Unreadable));
    assert_eq!(Task::parse(&[text, vec![b' '; 1 << 20]].concat()), Err(TaskError::Unreadable));
}

#[test]
fn every_length_that_is_asked_for_is_presigned() {
    const MIB: u64 = 1 << 20;
    let lengths: Vec<_> = upload::lengths().collect();
    assert!(lengths.len() < 500, "{}", lengths.len());
    for (bytes, expected) in [
        (0, Some(MIB)),
        (1, Some(MIB)),
        (MIB, Some(MIB)),
        (MIB + 1, Some(2 * MIB)),
        (16 * MIB + 1, Some(20 * MIB)),
        (96 * MIB, Some(96 * MIB)),
        (96 * MIB + 1, Some(120 * MIB)),
        (upload::MOST_BYTES, Some(upload::MOST_BYTES)),
        (upload::MOST_BYTES + 1, None),
        (u64::MAX, None),
    ] {
        assert_eq!(upload::padded(bytes), expected, "{bytes}");
    }
    assert_eq!(upload::parts(120 * MIB), Some(vec![(1, 96 * MIB), (2, 24 * MIB)]));
    assert_eq!(upload::parts(121 * MIB), None);
}

proptest! {
    #[test]
    fn what_is_padded_can_be_uploaded_and_is_hardly_larger(bytes in 0..=upload::MOST_BYTES) {
        let padded = upload::padded(bytes).unwrap();
        let parts = upload::parts(padded).unwrap();
        prop_assert!(padded >= bytes);
        prop_assert!(padded - bytes <= (bytes / 3).max(1 << 20));
        prop_assert_eq!(parts.iter().map(|(_, length)| length).sum::<u64>(), padded);
        let lengths: Vec<_> = upload::lengths().collect();
        prop_assert!(parts.iter().all(|part| lengths.contains(part)));
        prop_assert!(parts.iter().rev().skip(1).all(|(_, length)| *length == upload::PART_BYTES));
    }
}
