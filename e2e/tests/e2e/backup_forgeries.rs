//! Who writes into the bucket makes no backup, and none good that is not.

use std::fs;

use drover_e2e::Tools;
use drover_e2e::node::etcd;
use drover_e2e::s3::S3;
use drover_e2e::story::*;
use drover_e2e::wait::{eventually, soon};
use serde_json::json;

use crate::backup_ends::usable;
use crate::backups::{IMAGE, a_backup, allow, node, nothing_is_left};

drover_e2e::tests![a_manifest_that_another_client_writes_first_is_no_backup,];

async fn a_manifest_that_another_client_writes_first_is_no_backup() {
    let Some(mut installation) = prepared_restful("forged backups", &["eu"]).await else { return };
    installation.environment = vec![("DROVER_ETCD_IMAGE".to_owned(), IMAGE.to_owned())];
    let store = S3::start().await.unwrap();
    let tools = Tools::from_environment().unwrap();
    let member = etcd::KubeadmEtcd::start(&tools).await.unwrap();
    let _node = node(&installation, "eu", &member, &tools).await;
    installation.start_drover().await.unwrap();
    allow(&installation, "eu", &["Backup"]).await;
    usable(&installation, &store).await;
    installation.apply(&a_backup("first", &json!({"verify": "Hash"}))).await.unwrap();
    reads(&installation, "etcdbackup", "first", "Ready", "True/Ready").await;
    let first = get(&installation, "etcdbackup", "first").await.unwrap();
    let (first_uid, stored) = (first["metadata"]["uid"].as_str().unwrap(), &first["status"]["stores"][0]);
    let manifest = stored["manifest"].as_str().unwrap();
    let text = fs::read_to_string(store.file(manifest)).unwrap();

    installation.apply(&a_backup("second", &json!({"verify": "Hash"}))).await.unwrap();
    let has_begun = async || {
        let second = get(&installation, "etcdbackup", "second").await?;
        let uid = second["metadata"]["uid"].as_str().map(str::to_owned);
        Ok(uid.filter(|_| !second["status"]["attempt"]["uploadID"].is_null()))
    };
    let uid = eventually("an upload is noted", soon(), has_begun).await.unwrap();
    let forged = store.file(&manifest.replace(first_uid, &uid));
    fs::create_dir_all(forged.parent().unwrap()).unwrap();
    // It is coherent, and says that all was compared.
    let said = text.replace(first_uid, &uid).replace(r#"["Sha256"]"#, r#"["Sha256","Revision","Keys"]"#);
    fs::write(&forged, said).unwrap();

    reads(&installation, "etcdbackup", "second", "Ready", "False/BackupFailed").await;
    nothing_is_left(&installation, "eu").await;
    let is_over = async || {
        let status = get(&installation, "etcdbackup", "second").await?["status"].clone();
        Ok((!status["completedAt"].is_null()).then_some(status))
    };
    let status = eventually("the second backup has ended", soon(), is_over).await.unwrap();
    assert_eq!(status["attempt"]["failure"]["reason"], json!("ManifestTaken"), "{status}");
    assert!(status["snapshot"].is_null() && status["stores"].is_null(), "{status}");
    let left = fs::read_dir(forged.parent().unwrap()).unwrap().map(|entry| entry.unwrap().file_name());
    let left: Vec<_> = left.filter(|name| name.to_string_lossy().contains("snapshot")).collect();
    assert_eq!((left, store.open_uploads()), (Vec::new(), Vec::new()), "nothing of the failed one is left");
    reads(&installation, "etcdbackup", "first", "Ready", "True/Ready").await;
}
