//! `drover backup import`: the objects of backups that are in a bucket, for a management cluster that does not have them.

use std::collections::BTreeMap;

use drover_crds::{DeletionPolicy, EtcdBackup, EtcdBackupSpec, ExistingBackup};
use drover_runtime::{ApiError, request::request};
use drover_stored_backups::Found;
use k8s_openapi::api::core::v1::Namespace;
use kube::{
    Api, ResourceExt as _,
    api::{ListParams, PostParams},
};

use super::{
    BackupError,
    arguments::BackupImportArguments,
    bucket::{Backups, Listed},
};
use crate::{
    membership::Side,
    output::{print, shown},
};

/// Most letters of a name of an object of Drover, or of a namespace.
const MOST_LETTERS: usize = 63;
/// So many letters of the UID tell backups of one name apart.
const UID_LETTERS: usize = 8;
/// Who creates the objects.
const FIELD_MANAGER: &str = "drover-backup-import";

/// Why a backup is not imported.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Refused {
    /// Key of its manifest.
    key: String,
    why: String,
}

/// Prints the objects, or creates those that are not there.
pub(super) async fn import(backups: &Backups, arguments: &BackupImportArguments) -> Result<(), BackupError> {
    let (mut found, mut refused) = (Vec::new(), Vec::new());
    for listed in backups.list().await? {
        match listed {
            Listed { key, found: Ok(one) } => found.push((key, one)),
            Listed { key, found: Err(error) } => refused.push(Refused { key, why: error.to_string() }),
        }
    }
    let all = found.len() + refused.len();
    let (mut objects, others) = objects(found, &arguments.store);
    refused.extend(others);
    let is_asked_for = |name: &String| arguments.clusters.is_empty() || arguments.clusters.contains(name);
    objects.retain(|object| is_asked_for(&object.spec.cluster_name));
    if arguments.apply {
        let side = Side::management(&arguments.management).await?;
        refused.extend(apply(&side, &objects).await?);
    } else {
        for object in &objects {
            print(&format!("---\n{}", serde_yaml::to_string(object)?)).map_err(BackupError::Print)?;
        }
    }
    for Refused { key, why } in &refused {
        say!("{}: not imported: {}", shown(key), shown(why));
    }
    if refused.is_empty() { Ok(()) } else { Err(BackupError::NotImported { refused: refused.len(), all }) }
}

/// The objects of these manifests, in the order in which they were taken. Each has the name and the namespace of the one that took it. Where
/// several had one name, the oldest has it, and the others have letters of their UIDs behind it.
fn objects(mut found: Vec<(String, Found)>, store: &str) -> (Vec<EtcdBackup>, Vec<Refused>) {
    found.sort_by_key(|(_, one)| order(one));
    let mut keys: BTreeMap<String, usize> = BTreeMap::new();
    for (_, one) in &found {
        *keys.entry(one.manifest.backup.uid.to_string()).or_default() += 1;
    }
    let (mut objects, mut refused, mut names) = (Vec::new(), Vec::new(), BTreeMap::new());
    for (key, Found { manifest, digest }) in found {
        let (backup, cluster) = (&manifest.backup, &manifest.cluster);
        let uid = backup.uid.to_string();
        let mut refuse = |why: String| refused.push(Refused { key: key.clone(), why });
        if keys.get(&uid).is_some_and(|count| *count > 1) {
            refuse(format!(
                "the bucket has more than one manifest of backup {uid}, and one of them is made up; find out who writes to the bucket, and remove that one"
            ));
            continue;
        }
        if let Some(odd) = [&backup.namespace, &backup.name, &cluster.name].into_iter().find(|name| !is_label(name)) {
            refuse(format!(
                "its manifest has the name {odd:?}, which no object has; find out who writes to the bucket"
            ));
            continue;
        }
        let count = names.entry((backup.namespace.clone(), backup.name.clone())).or_insert(0_usize);
        *count += 1;
        let name = if *count == 1 { backup.name.clone() } else { told_apart(&backup.name, &uid) };
        let (store_name, manifest_sha256) = (store.to_owned(), digest.to_string());
        let existing = ExistingBackup { store_name, key, backup_uid: uid, manifest_sha256 };
        let mut object = EtcdBackup::new(&name, spec(cluster.name.clone(), existing));
        object.metadata.namespace = Some(backup.namespace.clone());
        objects.push(object);
    }
    (objects, refused)
}

fn spec(cluster_name: String, existing: ExistingBackup) -> EtcdBackupSpec {
    EtcdBackupSpec {
        cluster_name,
        store_names: Vec::new(),
        existing: Some(existing),
        verify: None,
        timeout: None,
        pinned: false,
        deletion_policy: DeletionPolicy::Orphan,
    }
}

fn order(found: &Found) -> (k8s_openapi::jiff::Timestamp, String) {
    (found.manifest.taken_at.0, found.manifest.backup.uid.to_string())
}

/// A name with letters of the UID behind it.
fn told_apart(name: &str, uid: &str) -> String {
    let end: String = uid.chars().filter(char::is_ascii_alphanumeric).take(UID_LETTERS).collect();
    let room = MOST_LETTERS.saturating_sub(end.len() + 1);
    let head: String = name.chars().take(room).collect();
    format!("{}-{}", head.trim_end_matches('-'), end.to_ascii_lowercase())
}

fn is_label(name: &str) -> bool {
    let is_letter = |letter: u8| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == b'-';
    (1..=MOST_LETTERS).contains(&name.len())
        && name.bytes().all(is_letter)
        && !name.starts_with('-')
        && !name.ends_with('-')
}

/// What a namespace has: the names of its backups, and under which UIDs they are, or were taken.
#[derive(Debug, Default)]
struct Present {
    names: Vec<String>,
    uids: Vec<String>,
}

/// Creates what is not there. A backup that is there, as it was taken or imported under any name, stays as it is.
async fn apply(side: &Side, objects: &[EtcdBackup]) -> Result<Vec<Refused>, BackupError> {
    let mut namespaces: BTreeMap<String, Option<Present>> = BTreeMap::new();
    let (mut created, mut there, mut refused) = (0, 0, Vec::new());
    for object in objects {
        let (namespace, name) = (object.namespace().unwrap_or_default(), object.name_any());
        let Some(existing) = &object.spec.existing else { continue };
        if !namespaces.contains_key(&namespace) {
            namespaces.insert(namespace.clone(), present(side, &namespace).await?);
        }
        let mut refuse = |why: String| refused.push(Refused { key: existing.key.clone(), why });
        let Some(Some(present)) = namespaces.get(&namespace) else {
            refuse(format!("there is no namespace {namespace}; create it, and import again"));
            continue;
        };
        if present.uids.contains(&existing.backup_uid) {
            there += 1;
            continue;
        }
        if present.names.contains(&name) {
            refuse(format!(
                "EtcdBackup {namespace}/{name} is there and is another backup; print the object without --apply, and create it under another name"
            ));
            continue;
        }
        let api = Api::<EtcdBackup>::namespaced(side.client.clone(), &namespace);
        let parameters = PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() };
        match request(format!("create EtcdBackup {namespace}/{name}"), api.create(&parameters, object)).await {
            Ok(_) => created += 1,
            // One that is refused says nothing of the next one.
            Err(error @ ApiError::Refused { .. }) => refuse(error.to_string()),
            Err(error) => side.said(Err(error))?,
        }
    }
    say!("{created} backups imported, {there} were there before");
    Ok(refused)
}

/// What a namespace has; none if there is no such namespace.
async fn present(side: &Side, namespace: &str) -> Result<Option<Present>, BackupError> {
    let namespaces = Api::<Namespace>::all(side.client.clone());
    if side.ask(format!("get the namespace {namespace}"), namespaces.get_opt(namespace)).await?.is_none() {
        return Ok(None);
    }
    let api = Api::<EtcdBackup>::namespaced(side.client.clone(), namespace);
    let found = side.ask(format!("list the EtcdBackups in {namespace}"), api.list(&ListParams::default())).await?;
    let mut present = Present::default();
    for one in found.items {
        present.names.push(one.name_any());
        present.uids.extend(one.uid());
        present.uids.extend(one.spec.existing.map(|existing| existing.backup_uid));
    }
    Ok(Some(present))
}

#[cfg(test)]
mod tests {
    use drover_backups::{Folder, Manifest};
    use drover_fetch::Digest;
    use serde_json::json;

    use super::*;

    /// A manifest of a backup, by UID of the cluster, UID, namespace, name, and the hour when it was taken.
    fn found(cluster: &str, uid: &str, namespace: &str, name: &str, hour: u32) -> (String, Found) {
        let content = json!({"bytes": 10, "sha256": "d".repeat(64)});
        let etcd = json!({"version": "3.7.1", "clusterID": "1", "memberID": "1", "quorum": true, "revision": 1});
        let text = json!({
            "formatVersion": 1,
            "cluster": {"uid": cluster, "name": "eu", "kubernetesVersion": "v1.37.1", "distribution": "kubeadm"},
            "backup": {"uid": uid, "namespace": namespace, "name": name, "attempt": "1"},
            "takenAt": format!("2026-11-27T{hour:02}:00:00Z"), "completedAt": "2026-11-27T23:00:00Z",
            "object": {"key": format!("{cluster}/{uid}/snapshot.1.db.zst"), "partBytes": 100},
            "snapshot": {"plain": content, "stored": content, "encryption": "None", "verified": ["Sha256"], "etcd": etcd},
            "tool": "drover 0.1.0",
        });
        let text = text.to_string();
        let folder =
            Folder { prefix: "".parse().unwrap(), cluster: cluster.parse().unwrap(), backup: uid.parse().unwrap() };
        let manifest = Manifest::parse(text.as_bytes(), &folder).unwrap();
        (folder.manifest(), Found { manifest, digest: Digest::of(text.as_bytes()) })
    }

    fn names(objects: &[EtcdBackup]) -> Vec<String> {
        objects.iter().map(|object| format!("{}/{}", object.namespace().unwrap(), object.name_any())).collect()
    }

    #[test]
    fn each_manifest_becomes_the_object_that_took_it() {
        let (objects, refused) = objects(vec![found("c-1", "b-1", "team", "nightly", 3)], "main");
        assert_eq!((names(&objects), refused), (vec!["team/nightly".to_owned()], vec![]));
        let spec = serde_json::to_value(&objects[0].spec).unwrap();
        let existing = objects[0].spec.existing.as_ref().unwrap();
        assert_eq!((existing.key.as_str(), existing.backup_uid.as_str()), ("c-1/b-1/manifest.json", "b-1"));
        assert_eq!(spec["clusterName"], "eu");
        assert!(spec.get("storeNames").is_none() && spec.get("deletionPolicy").is_none(), "{spec}");
    }

    #[test]
    fn names_are_the_same_whenever_it_is_imported() {
        let all = || {
            vec![
                found("c-1", "12345678-b", "team", "nightly", 2),
                found("c-1", "b-1", "team", "nightly", 1),
                found("c-1", "b-3", "other", "nightly", 3),
            ]
        };
        let expected = ["team/nightly", "team/nightly-12345678", "other/nightly"];
        assert_eq!(names(&objects(all(), "main").0), expected);
        let mut later = all();
        later.reverse();
        later.push(found("c-1", "abcdefgh-b", "team", "nightly", 4));
        assert_eq!(names(&objects(later, "main").0), [&expected[..], &["team/nightly-abcdefgh"]].concat());
        let long = told_apart(&"n".repeat(63), "12345678-b");
        assert!(long.len() == 63 && is_label(&long), "{long}");
    }

    #[test]
    fn of_two_manifests_of_one_backup_neither_is_imported() {
        let all = vec![found("c-1", "b-1", "team", "a", 1), found("c-2", "b-1", "team", "b", 2)];
        let (objects, refused) = objects(all, "main");
        assert!(objects.is_empty());
        assert_eq!(refused.len(), 2);
        assert!(refused[0].why.contains("more than one manifest of backup b-1"), "{refused:?}");
    }

    #[test]
    fn names_that_no_object_has_are_refused() {
        for name in ["", "A", "a.b", "-a", "../a"] {
            let (objects, refused) = objects(vec![found("c-1", "b-1", "team", name, 1)], "main");
            assert_eq!((objects.len(), refused.len()), (0, 1), "{name}");
        }
    }
}
