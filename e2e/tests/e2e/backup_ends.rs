//! A backup ends inside its time, whatever becomes of its cluster and of drover, and leaves nothing open in the store.

use std::sync::Arc;
use std::time::Duration;

use drover_e2e::Tools;
use drover_e2e::http_proxy::{HttpProxy, Victim, WriteTrap};
use drover_e2e::installation::{End, Installation};
use drover_e2e::node::{NodeSettings, ProcessNode, etcd};
use drover_e2e::proxy::Mode;
use drover_e2e::runner::Soak;
use drover_e2e::s3::{Fault, S3, SECRET_KEY, Step};
use drover_e2e::story::*;
use drover_e2e::wait::{eventually, patiently, soon};
use serde_json::{Value, json};

use crate::backups::{IMAGE, a_backup, a_store, allow, keys_of, node, nothing_is_left};

drover_e2e::tests![
    a_backup_ends_though_its_cluster_is_suspended_away_or_deleted,
    b4_a_backup_stands_the_faults_of_a_store,
    b3_killed_at_every_fifth_write_of_a_backup_there_is_one_and_nothing_is_left,
    b3_killed_at_each_write_of_a_backup_there_is_one_and_nothing_is_left => soak(Soak::Kills),
];

/// A backup of one minute is given up a quarter of a minute later.
const ITS_TIME: Duration = Duration::from_secs(75);
/// More writes than a backup takes.
const MANY: usize = 60;

fn backup_of(cluster: &str, name: &str, more: &Value) -> Value {
    let mut backup = a_backup(name, more);
    backup["spec"]["clusterName"] = json!(cluster);
    backup
}

pub(crate) async fn usable(installation: &Installation, store: &S3) {
    installation.apply(&keys_of(store, "store-keys", SECRET_KEY)).await.unwrap();
    installation.apply(&a_store("main", store, "store-keys")).await.unwrap();
    reads(installation, "backupstore", "main", "Ready", "True/Ready").await;
}

/// Waits until a backup has ended, and gives its status.
async fn ended(installation: &Installation, name: &str, limit: Duration) -> Value {
    let is_over = async || {
        let status = get(installation, "etcdbackup", name).await?["status"].clone();
        Ok((!status["completedAt"].is_null()).then_some(status))
    };
    eventually(&format!("backup {name} has ended"), patiently(limit), is_over).await.unwrap()
}

fn message(status: &Value) -> String {
    let conditions = status["conditions"].as_array().unwrap();
    let ready = conditions.iter().find(|condition| condition["type"] == "Ready").unwrap();
    format!("{}: {}", ready["reason"].as_str().unwrap(), ready["message"].as_str().unwrap())
}

async fn is_unlocked(installation: &Installation, cluster: &str) {
    let lease = get(installation, "lease", &format!("drover-system/operation-{cluster}")).await.unwrap();
    assert!(lease["spec"]["holderIdentity"].is_null(), "{lease}");
}

async fn a_backup_ends_though_its_cluster_is_suspended_away_or_deleted() {
    let Some(mut installation) = prepared_restful("backups end", &["eu", "us"]).await else { return };
    let ways = proxied(&installation, "eu", Arc::new(WriteTrap::default())).await;
    installation.environment = vec![("DROVER_ETCD_IMAGE".to_owned(), IMAGE.to_owned())];
    installation.start_drover().await.unwrap();
    let store = S3::start().await.unwrap();
    usable(&installation, &store).await;
    let mut nodes = Vec::new();
    for cluster in ["eu", "us"] {
        allow(&installation, cluster, &["Backup"]).await;
        // Nodes that have no image.
        let settings = NodeSettings::kubeadm("control-plane-1");
        nodes.push(ProcessNode::start(installation.cluster(cluster).unwrap(), settings).await.unwrap());
        installation.apply(&backup_of(cluster, cluster, &json!({"timeout": "1m"}))).await.unwrap();
    }
    for cluster in ["eu", "us"] {
        reads(&installation, "etcdbackup", cluster, "Ready", "False/JobNotRunning").await;
        let told = message(&get(&installation, "etcdbackup", cluster).await.unwrap()["status"]);
        assert!(told.contains("ImagePullBackOff") && told.contains(IMAGE), "{told}");
    }
    assert_eq!(store.open_uploads().len(), 2);
    ways.0.set(Mode::Refuse);
    patch(&installation, "cluster", "us", json!({"spec": {"suspend": true}})).await;
    reads(&installation, "etcdbackup", "eu", "Ready", "Unknown/Unreachable").await;
    // What is suspended can be read: the Job of the other one says itself why it came to nothing.
    for (cluster, words) in [("eu", "cluster eu cannot be reached"), ("us", "ImagePullBackOff")] {
        let status = ended(&installation, cluster, ITS_TIME + soon()).await;
        let told = message(&status);
        assert!(told.starts_with("BackupFailed: ") && told.contains(words), "{told}");
        assert_eq!(status["phase"], "Failed");
        is_unlocked(&installation, cluster).await;
    }
    assert_eq!(store.open_uploads(), []);
    ways.0.set(Mode::Pass);
    patch(&installation, "cluster", "us", json!({"spec": {"suspend": false}})).await;
    nothing_is_left(&installation, "eu").await;
    nothing_is_left(&installation, "us").await;

    installation.apply(&backup_of("us", "late", &json!({}))).await.unwrap();
    reads(&installation, "etcdbackup", "late", "Ready", "False/JobNotRunning").await;
    delete(&installation, "cluster", "us").await;
    let status = ended(&installation, "late", soon()).await;
    let reason = status["attempt"]["failure"]["reason"].as_str().unwrap();
    assert!(["ClusterDeleting", "ClusterNotFound"].contains(&reason), "{status}");
    is_unlocked(&installation, "us").await;
    assert_eq!((store.open_uploads().len(), store.keys().unwrap().len()), (0, 0));
    quiet(&installation, "all backups ended").await;
}

async fn b4_a_backup_stands_the_faults_of_a_store() {
    let Some(mut installation) = prepared_restful("faults of a store", &["eu"]).await else { return };
    installation.environment = vec![("DROVER_ETCD_IMAGE".to_owned(), IMAGE.to_owned())];
    let store = S3::start().await.unwrap();
    let tools = Tools::from_environment().unwrap();
    let member = etcd::KubeadmEtcd::start(&tools).await.unwrap();
    let _node = node(&installation, "eu", &member, &tools).await;
    installation.start_drover().await.unwrap();
    allow(&installation, "eu", &["Backup"]).await;
    usable(&installation, &store).await;
    for (step, fault) in [
        (Step::Open, Fault::Answer(500, "InternalError")),
        (Step::Open, Fault::LoseAnswer),
        (Step::Part, Fault::Answer(503, "SlowDown")),
        (Step::Part, Fault::Reset),
        (Step::Part, Fault::LoseAnswer),
        (Step::Complete, Fault::Answer(200, "InternalError")),
        (Step::Complete, Fault::LoseAnswer),
        (Step::Put, Fault::Answer(409, "ConditionalRequestConflict")),
        (Step::Put, Fault::LoseAnswer),
    ] {
        store.fail(step, fault, 1);
    }
    installation.apply(&a_backup("faulty", &json!({"verify": "Hash"}))).await.unwrap();
    reads(&installation, "etcdbackup", "faulty", "Ready", "True/Ready").await;
    assert!(store.has_failed(), "each fault has happened");
    assert_eq!((store.keys().unwrap().len(), store.open_uploads()), (2, vec![]));
    nothing_is_left(&installation, "eu").await;
}

async fn b3_killed_at_every_fifth_write_of_a_backup_there_is_one_and_nothing_is_left() {
    Box::pin(killed_at_writes(5)).await;
}

async fn b3_killed_at_each_write_of_a_backup_there_is_one_and_nothing_is_left() {
    Box::pin(killed_at_writes(1)).await;
}

/// Whenever drover is killed, what it wrote last being known to the servers and not to itself, the backup is there once.
async fn killed_at_writes(step: usize) {
    let Some(mut installation) = prepared_restful("kill a backup", &["eu"]).await else { return };
    let trap = Arc::new(WriteTrap::default());
    let _ways = proxied(&installation, "eu", Arc::clone(&trap)).await;
    installation.way = Some(HttpProxy::start(&installation.management, Arc::clone(&trap)).await.unwrap());
    installation.environment = vec![("DROVER_ETCD_IMAGE".to_owned(), IMAGE.to_owned())];
    let store = S3::start_with(Arc::clone(&trap)).await.unwrap();
    let tools = Tools::from_environment().unwrap();
    let member = etcd::KubeadmEtcd::start(&tools).await.unwrap();
    let _node = node(&installation, "eu", &member, &tools).await;
    restart_as_itself(&mut installation, End::Kill).await;
    allow(&installation, "eu", &["Backup"]).await;
    usable(&installation, &store).await;

    let mut kills = 0;
    for at in (1..MANY).step_by(step) {
        let name = format!("kill-{at}");
        let drover = installation.replica(0).unwrap().observe().unwrap();
        trap.set(at, Victim::Process(drover));
        installation.apply(&a_backup(&name, &json!({"verify": "Hash", "deletionPolicy": "Delete"}))).await.unwrap();
        let mut killed = false;
        let outcome = eventually(&name, 3 * soon(), async || {
            if trap.take_sprung() {
                killed = true;
                restart_as_itself(&mut installation, End::Kill).await;
            }
            Ok(is_ready(&get(&installation, "etcdbackup", &name).await?).then_some(()))
        })
        .await;
        assert!(outcome.is_ok(), "killed at write {at}: {outcome:?}\n{}", installation.drover_log());
        nothing_is_left(&installation, "eu").await;
        let keys = store.keys().unwrap();
        assert_eq!(
            keys.iter().filter(|key| key.ends_with("/manifest.json")).count(),
            1,
            "killed at write {at}: {keys:?}"
        );
        assert_eq!((keys.len(), store.open_uploads()), (2, vec![]), "killed at write {at}: {keys:?}");
        is_unlocked(&installation, "eu").await;
        let drover = installation.replica(0).unwrap().observe().unwrap();
        trap.set(MANY * 10, Victim::Process(drover));
        deleted(&installation, "etcdbackup", &name).await;
        assert_eq!(store.keys().unwrap(), [""; 0]);
        kills += usize::from(killed);
        if !killed {
            break;
        }
    }
    println!("killed {kills} times");
    assert!((10 / step..MANY - 1).contains(&kills), "{kills} kills are not all writes of a backup");
}
