//! `drover backup list`.

use drover_backups::{Encryption, Manifest};

use super::{
    BackupError,
    arguments::BackupListArguments,
    bucket::{Backups, Listed},
};
use crate::{
    access::columns,
    command_line::AnswerFormat,
    output::{print, shown},
};

const HEAD: [&str; 9] = ["CLUSTER", "BACKUP", "TAKEN", "REVISION", "KEYS", "SIZE", "VERIFIED", "ENCRYPTED", "UID"];

/// Prints all backups. Manifests that count for nothing are named on standard error.
pub(super) async fn list(backups: &Backups, arguments: &BackupListArguments) -> Result<(), BackupError> {
    let mut manifests = Vec::new();
    for Listed { key, found } in backups.list().await? {
        match found {
            Ok(found) => manifests.push(found.manifest),
            Err(error) => say!("{}: {}", shown(&key), shown(&error.to_string())),
        }
    }
    let text = match arguments.output {
        AnswerFormat::Table => table(manifests),
        AnswerFormat::Json => serde_json::to_string_pretty(&manifests)? + "\n",
    };
    print(&text).map_err(BackupError::Print)
}

/// The oldest first, cluster by cluster.
fn table(mut manifests: Vec<Manifest>) -> String {
    manifests.sort_by(|one, other| (&one.cluster.name, one.taken_at.0).cmp(&(&other.cluster.name, other.taken_at.0)));
    let rows: Vec<_> = [HEAD.map(str::to_owned)].into_iter().chain(manifests.iter().map(row)).collect();
    columns(&rows)
}

fn row(manifest: &Manifest) -> [String; 9] {
    let Manifest { cluster, backup, snapshot, .. } = manifest;
    let checks: Vec<_> = snapshot.verified.iter().map(|check| format!("{check:?}")).collect();
    let verified = if snapshot.is_verified() { checks.join(",") } else { "no".to_owned() };
    let encrypted = if snapshot.encryption == Encryption::Age { "age" } else { "no" };
    let texts = [
        cluster.name.clone(),
        format!("{}/{}", backup.namespace, backup.name),
        manifest.taken_at.0.to_string(),
        snapshot.etcd.revision.to_string(),
        snapshot.etcd.total_keys.map_or_else(|| "?".to_owned(), |keys| keys.to_string()),
        size(snapshot.plain.bytes),
        verified,
        encrypted.to_owned(),
        backup.uid.to_string(),
    ];
    // One line each: a manifest may hold anything.
    texts.map(|text| shown(&text).replace(['\n', '\t'], " "))
}

/// In the largest unit of which there is at least one.
fn size(bytes: u64) -> String {
    const UNITS: [(&str, u64); 3] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    let unit = UNITS.iter().find(|(_, unit)| bytes >= *unit);
    unit.map_or_else(|| format!("{bytes} B"), |(name, unit)| format!("{} {name}", bytes / unit))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn manifest(name: &str, verified: &[&str]) -> Manifest {
        let content = json!({"bytes": 5_275_680, "sha256": "d".repeat(64)});
        let object = json!({
            "formatVersion": 1,
            "cluster": {"uid": "c-1", "name": name, "kubernetesVersion": "v1.37.1", "distribution": "kubeadm"},
            "backup": {"uid": "b-1", "namespace": "team", "name": "nightly\n\u{1b}[2J", "attempt": "1"},
            "takenAt": "2026-11-27T05:00:00Z",
            "completedAt": "2026-11-27T05:01:00Z",
            "object": {"key": "c-1/b-1/snapshot.1.db.zst", "partBytes": 1},
            "snapshot": {
                "plain": content, "stored": content, "encryption": "None", "verified": verified,
                "etcd": {"version": "3.7.1", "clusterID": "1", "memberID": "2", "quorum": true, "revision": 31, "totalKeys": 30},
            },
            "tool": "drover 0.1.0",
        });
        serde_json::from_value(object).unwrap()
    }

    #[test]
    fn a_backup_is_one_line_whatever_its_manifest_holds() {
        let text = table(vec![manifest("us-1", &["Sha256"]), manifest("eu-1", &["Sha256", "Revision", "Keys"])]);
        let lines: Vec<_> = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>()).collect();
        assert_eq!(lines.len(), 3);
        assert_eq!(lines[0], HEAD);
        let eu = [
            "eu-1",
            "team/nightly",
            "[2J",
            "2026-11-27T05:00:00Z",
            "31",
            "30",
            "5",
            "MiB",
            "Sha256,Revision,Keys",
            "no",
            "b-1",
        ];
        assert_eq!(lines[1], eu);
        assert_eq!(lines[2][8], "no", "the digest alone proves no restore");
        assert_eq!([size(0), size(1023), size(1 << 10), size(3 << 30)], ["0 B", "1023 B", "1 KiB", "3 GiB"]);
    }
}
