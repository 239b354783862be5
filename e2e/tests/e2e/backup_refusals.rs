//! What keeps backups from being taken, and ends: a role of before, keys that expire midway, and uploads that nobody needs any more.

use std::time::Duration;

use drover_e2e::Tools;
use drover_e2e::installation::{Installation, downstream_roles};
use drover_e2e::node::etcd;
use drover_e2e::objects::apply_text_to;
use drover_e2e::s3::{ACCESS_KEY, BUCKET, Fault, S3, SECRET_KEY, Step};
use drover_e2e::story::*;
use drover_e2e::wait::{eventually, soon};
use drover_fetch::{Fetcher, Source};
use drover_runtime::DialPolicy;
use drover_stores::{Addressing, Bucket, Keys, Store};
use serde_json::json;

use crate::backup_ends::usable;
use crate::backups::{IMAGE, a_backup, allow, node, nothing_is_left};
use crate::guards::roles_without;

drover_e2e::tests![backups_say_what_is_refused_and_go_on_when_it_is_allowed,];

async fn backups_say_what_is_refused_and_go_on_when_it_is_allowed() {
    let Some(mut installation) = prepared_restful("refused backups", &["eu"]).await else { return };
    installation.environment = vec![("DROVER_ETCD_IMAGE".to_owned(), IMAGE.to_owned())];
    apply_text_to(installation.cluster("eu").unwrap(), &roles_without("jobs")).await.unwrap();
    let store = S3::start().await.unwrap();
    let tools = Tools::from_environment().unwrap();
    let member = etcd::KubeadmEtcd::start(&tools).await.unwrap();
    let _node = node(&installation, "eu", &member, &tools).await;
    installation.start_drover().await.unwrap();
    allow(&installation, "eu", &["Backup"]).await;
    usable(&installation, &store).await;
    a_role_of_before_is_named(&installation).await;
    keys_that_expire_midway_hold_it_up_until_there_are_others(&installation, &store).await;
    urls_that_expire_end_it(&installation, &store).await;
    uploads_that_are_older_than_a_day_are_aborted(&installation, &store).await;
}

async fn a_role_of_before_is_named(installation: &Installation) {
    reads(installation, "cluster", "eu", "CredentialValid", "False/DownstreamRoleOutdated").await;
    installation.apply(&a_backup("before", &json!({"verify": "Hash"}))).await.unwrap();
    reads(installation, "etcdbackup", "before", "Ready", "False/Forbidden").await;
    let found = get(installation, "etcdbackup", "before").await.unwrap();
    assert!(found.to_string().contains("import the cluster again"), "{found}");
    assert!(found["status"]["attempt"].is_null(), "nothing begins: {found}");
    apply_text_to(installation.cluster("eu").unwrap(), &downstream_roles().unwrap()).await.unwrap();
    reads(installation, "etcdbackup", "before", "Ready", "True/Ready").await;
}

/// The snapshot is uploaded by then.
async fn keys_that_expire_midway_hold_it_up_until_there_are_others(installation: &Installation, store: &S3) {
    store.fail(Step::Complete, Fault::Answer(403, "ExpiredToken"), usize::MAX);
    installation.apply(&a_backup("expired", &json!({"verify": "Hash"}))).await.unwrap();
    reads(installation, "etcdbackup", "expired", "Ready", "False/StoreRefused").await;
    let status = get(installation, "etcdbackup", "expired").await.unwrap()["status"].clone();
    assert_eq!((&status["phase"], store.open_uploads().len()), (&json!("Completing"), 1), "{status}");
    store.heal();
    reads(installation, "etcdbackup", "expired", "Ready", "True/Ready").await;
    assert_eq!(store.open_uploads(), []);
}

async fn urls_that_expire_end_it(installation: &Installation, store: &S3) {
    let keys = store.keys().unwrap();
    store.fail(Step::Part, Fault::Answer(403, "AccessDenied"), 1);
    installation.apply(&a_backup("late", &json!({"verify": "Hash"}))).await.unwrap();
    reads(installation, "etcdbackup", "late", "Ready", "False/BackupFailed").await;
    let is_over = |found: Option<&serde_json::Value>| found.is_some_and(|found| found["status"]["phase"] == "Failed");
    object_becomes(installation, "etcdbackup", "late", "the backup has failed", is_over).await;
    let status = get(installation, "etcdbackup", "late").await.unwrap()["status"].clone();
    assert_eq!(status["attempt"]["failure"]["reason"], "StoreRefused", "{status}");
    assert_eq!((store.open_uploads(), store.keys().unwrap()), (vec![], keys));
    nothing_is_left(installation, "eu").await;
}

async fn uploads_that_are_older_than_a_day_are_aborted(installation: &Installation, store: &S3) {
    let bucket = Bucket::new(&store.endpoint(), Addressing::Path, BUCKET, "us-east-1").unwrap();
    let keys = Keys { access: ACCESS_KEY.to_owned(), secret: SECRET_KEY.into(), session: None };
    let fetcher = Fetcher::new(DialPolicy::AllowLocal);
    let client = Store::new(fetcher, Source::default(), bucket, keys, drover_runtime::clock::now);
    let (old, foreign) = ("c-9/b-9/snapshot.b-9-1.db.zst", "c-9/b-9/film.mp4");
    for key in [old, foreign] {
        client.create_upload(key).await.unwrap();
    }
    store.age_uploads(Duration::from_hours(25));
    let young = "c-9/b-8/snapshot.b-8-1.db.zst";
    client.create_upload(young).await.unwrap();
    let again = json!({"metadata": {"annotations": {"drover.dev/reconcile-at": "stale"}}});
    patch(installation, "backupstore", "main", again).await;
    let open = || store.open_uploads().into_iter().map(|upload| upload.key).collect::<Vec<_>>();
    let is_aborted = async || Ok((!open().iter().any(|key| key == old)).then_some(()));
    eventually("the upload of the day before is aborted", soon(), is_aborted).await.unwrap();
    let is_kept = |key: &str| open().iter().any(|open| open == key);
    assert!(is_kept(young) && is_kept(foreign), "{:?}", store.open_uploads());
}
