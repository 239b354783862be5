//! What a bucket has outlives the objects: they come back from it, and say whether it still has them.

use std::fs;
use std::process::{Command, Output};

use drover_e2e::installation::drover_binary;
use drover_e2e::s3::{ACCESS_KEY, BUCKET, SECRET_KEY};
use drover_e2e::story::*;
use serde_json::{Value, json};

use crate::backups::{Story, a_backup, a_store, keys_of};

drover_e2e::tests![b11_objects_that_are_gone_come_back_from_the_bucket_and_say_what_it_lacks,];

const NAMES: [&str; 2] = ["first", "second"];

async fn b11_objects_that_are_gone_come_back_from_the_bucket_and_say_what_it_lacks() {
    let Some(story) = Story::begin().await else { return };
    let installation = &story.installation;
    installation.apply(&keys_of(&story.store, "store-keys", SECRET_KEY)).await.unwrap();
    installation.apply(&a_store("main", &story.store, "store-keys")).await.unwrap();
    reads(installation, "backupstore", "main", "Ready", "True/Ready").await;
    story.allow(&["Backup"]).await;
    let mut taken = Vec::new();
    for name in NAMES {
        installation.apply(&a_backup(name, &json!({}))).await.unwrap();
        reads(installation, "etcdbackup", name, "Available", "True/DataAvailable").await;
        taken.push(get(installation, "etcdbackup", name).await.unwrap());
    }
    for name in NAMES {
        deleted(installation, "etcdbackup", name).await;
    }
    story.they_come_back(&taken).await;
    story.what_is_gone_or_changed_is_told(&taken[0]).await;
    story.what_is_another_backup_is_refused(&taken[0]).await;
    quiet(installation, "backups were imported").await;
}

/// The key of the manifest that a backup stored.
fn manifest_of(taken: &Value) -> &str {
    taken["status"]["stores"][0]["manifest"].as_str().unwrap()
}

impl Story {
    async fn import(&self, more: &[&str]) -> Output {
        let mut command = Command::new(drover_binary().unwrap());
        command.args(["backup", "import", "--store=main", "--allow-local-addresses", "--bucket", BUCKET]);
        command.args(["--endpoint", &self.store.endpoint(), "--management-kubeconfig"]);
        command.arg(self.installation.management.kubeconfig_path()).args(more);
        command.envs([("AWS_ACCESS_KEY_ID", ACCESS_KEY), ("AWS_SECRET_ACCESS_KEY", SECRET_KEY)]);
        // The store answers in this process.
        tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
    }

    /// The key of the snapshot that a backup stored.
    fn data_key(&self, taken: &Value) -> String {
        let text = fs::read_to_string(self.store.file(manifest_of(taken))).unwrap();
        serde_json::from_str::<Value>(&text).unwrap()["object"]["key"].as_str().unwrap().to_owned()
    }

    async fn they_come_back(&self, taken: &[Value]) {
        let installation = &self.installation;
        // Whoever writes to the bucket can put a manifest elsewhere.
        let manifest = manifest_of(&taken[0]);
        let moved = self.store.file("c-2/b-2/manifest.json");
        fs::create_dir_all(moved.parent().unwrap()).unwrap();
        fs::copy(self.store.file(manifest), &moved).unwrap();
        let printed = self.import(&[]).await;
        let text = String::from_utf8(printed.stdout).unwrap();
        assert_eq!(text.matches("kind: EtcdBackup\n").count(), 2, "{text}");
        self.allow(&[]).await;
        let applied = self.import(&["--apply"]).await;
        let told = String::from_utf8(applied.stderr).unwrap();
        assert!(!applied.status.success() && told.contains("2 backups imported, 0 were there before"), "{told}");
        assert!(told.contains("c-2/b-2/manifest.json: not imported") && told.contains("1 of 3"), "{told}");
        fs::remove_file(moved).unwrap();
        // The owner of the cluster consents as to one that is taken.
        reads(installation, "etcdbackup", "first", "Ready", "False/BackupsNotAllowed").await;
        self.allow(&["Backup"]).await;
        let mut imported = Vec::new();
        for (name, before) in NAMES.into_iter().zip(taken) {
            reads(installation, "etcdbackup", name, "Ready", "True/Ready").await;
            reads(installation, "etcdbackup", name, "Verified", "True/RestoreVerified").await;
            let found = get(installation, "etcdbackup", name).await.unwrap();
            for part in ["phase", "cluster", "snapshot", "stores", "startedAt"] {
                assert_eq!(found["status"][part], before["status"][part], "{part}");
            }
            imported.push(found);
        }
        let again = self.import(&["--apply", "--cluster=eu"]).await;
        let told = String::from_utf8(again.stderr).unwrap();
        assert!(again.status.success() && told.contains("0 backups imported, 2 were there before"), "{told}");
        for (name, before) in NAMES.into_iter().zip(imported) {
            assert_eq!(get(installation, "etcdbackup", name).await.unwrap(), before);
        }
    }

    async fn what_is_gone_or_changed_is_told(&self, taken: &Value) {
        let installation = &self.installation;
        let (manifest, key) = (manifest_of(taken), self.data_key(taken));
        let text = fs::read_to_string(self.store.file(manifest)).unwrap();
        let mut count = 0;
        let mut asked = async |expected: &str| {
            count += 1;
            let again = json!({"metadata": {"annotations": {"drover.dev/reconcile-at": count.to_string()}}});
            patch(installation, "etcdbackup", "first", again).await;
            reads(installation, "etcdbackup", "first", "Available", expected).await;
        };
        let data = fs::read(self.store.file(&key)).unwrap();
        fs::remove_file(self.store.file(&key)).unwrap();
        asked("False/DataMissing").await;
        let found = get(installation, "etcdbackup", "first").await.unwrap();
        assert_eq!(condition(&found, "Ready").as_deref(), Some("False/DataMissing"));
        assert!(found.to_string().contains(&key), "{found}");
        fs::write(self.store.file(&key), &data[1..]).unwrap();
        asked("False/DataChanged").await;
        fs::write(self.store.file(&key), &data).unwrap();
        asked("True/DataAvailable").await;
        fs::write(self.store.file(manifest), text.replace("\"kubeadm\"", "\"k3s\"")).unwrap();
        asked("False/DataChanged").await;
        fs::write(self.store.file(manifest), text).unwrap();
        asked("True/DataAvailable").await;
        reads(installation, "etcdbackup", "first", "Ready", "True/Ready").await;
    }

    async fn what_is_another_backup_is_refused(&self, taken: &Value) {
        let installation = &self.installation;
        let found = get(installation, "etcdbackup", "first").await.unwrap();
        let mut other = a_backup("other", &json!({"existing": found["spec"]["existing"]}));
        other["spec"].as_object_mut().unwrap().remove("storeNames");
        other["spec"]["existing"]["manifestSHA256"] = json!(format!("sha256:{}", "0".repeat(64)));
        installation.apply(&other).await.unwrap();
        reads(installation, "etcdbackup", "other", "Ready", "False/ExistingRefused").await;
        deleted(installation, "etcdbackup", "other").await;
        let key = self.data_key(taken);
        let data = fs::read(self.store.file(&key)).unwrap();
        fs::write(self.store.file(&key), &data[1..]).unwrap();
        other["spec"]["existing"] = found["spec"]["existing"].clone();
        installation.apply(&other).await.unwrap();
        reads(installation, "etcdbackup", "other", "Ready", "False/ExistingRefused").await;
        let refused = get(installation, "etcdbackup", "other").await.unwrap();
        assert!(refused.to_string().contains("another size than its manifest says"), "{refused}");
        assert!(refused["status"]["snapshot"].is_null(), "{refused}");
        deleted(installation, "etcdbackup", "other").await;
        fs::write(self.store.file(&key), &data).unwrap();
        let keys = self.store.keys().unwrap();
        deleted(installation, "etcdbackup", "second").await;
        assert_eq!(self.store.keys().unwrap(), keys, "Orphan leaves them");
        patch(installation, "etcdbackup", "first", json!({"spec": {"deletionPolicy": "Delete"}})).await;
        deleted(installation, "etcdbackup", "first").await;
        let folder = manifest_of(taken).strip_suffix("manifest.json").unwrap();
        assert!(!self.store.keys().unwrap().iter().any(|key| key.starts_with(folder)), "{folder}");
    }
}
