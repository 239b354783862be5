//! Backups on real API servers: a Job in the cluster, a store that judges every signature, and a node that runs Pods as processes.

use std::path::PathBuf;

use drover_e2e::installation::{Installation, drover_binary};
use drover_e2e::node::{NodeSettings, ProcessNode, etcd};
use drover_e2e::objects::api;
use drover_e2e::s3::{ACCESS_KEY, BUCKET, OTHER_BUCKET, S3, SECRET_KEY};
use drover_e2e::story::*;
use drover_e2e::wait::{eventually, soon};
use drover_e2e::{Program, Tools};
use kube::api::ListParams;
use serde_json::{Value, json};

drover_e2e::tests![a_backup_is_taken_by_a_job_and_its_manifest_is_written_last,];

/// The image of Jobs, as drover and the node know it.
pub(crate) const IMAGE: &str = "drover-etcd:test";

/// Nobody here has its private key.
const RECIPIENT: &str = "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p";

/// Keys that etcd has besides those that a start writes.
const KEYS: usize = 20;

pub(crate) fn keys_of(store: &S3, name: &str, secret: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Secret",
        "metadata": {
            "name": name, "namespace": "drover-system",
            "labels": {"drover.dev/usable-by": "backup-store"}, "annotations": {"drover.dev/hosts": store.host()},
        },
        "stringData": {"accessKeyID": ACCESS_KEY, "secretAccessKey": secret},
    })
}

pub(crate) fn a_store(name: &str, store: &S3, keys: &str) -> Value {
    let s3 = json!({
        "endpoint": store.endpoint(), "bucket": BUCKET, "credentialsSecretRef": {"name": keys},
    });
    json!({
        "apiVersion": "drover.dev/v1alpha1", "kind": "BackupStore", "metadata": {"name": name},
        "spec": {"s3": s3, "usableFrom": {"names": [TEAM]}},
    })
}

pub(crate) fn a_backup(name: &str, spec: &Value) -> Value {
    let mut whole = json!({"clusterName": "eu", "storeNames": ["main"]});
    whole.as_object_mut().unwrap().extend(spec.as_object().cloned().unwrap_or_default());
    let metadata = json!({"name": name, "namespace": TEAM});
    json!({"apiVersion": "drover.dev/v1alpha1", "kind": "EtcdBackup", "metadata": metadata, "spec": whole})
}

pub(crate) struct Story {
    pub(crate) installation: Installation,
    pub(crate) store: S3,
    member: etcd::KubeadmEtcd,
    _node: ProcessNode,
}

impl Story {
    pub(crate) async fn begin() -> Option<Self> {
        let mut installation = prepared_restful("backups", &["eu"]).await?;
        installation.environment = vec![("DROVER_ETCD_IMAGE".to_owned(), IMAGE.to_owned())];
        installation.start_drover().await.unwrap();
        let tools = Tools::from_environment().unwrap();
        let member = etcd::KubeadmEtcd::start(&tools).await.unwrap();
        for number in 0..KEYS {
            member.etcdctl(&["put", &format!("/registry/{number}"), "value"]).unwrap();
        }
        let node = node(&installation, "eu", &member, &tools).await;
        Some(Self { installation, store: S3::start().await.unwrap(), member, _node: node })
    }

    async fn reads(&self, name: &str, kind: &str, expected: &str) {
        reads(&self.installation, "etcdbackup", name, kind, expected).await;
    }

    pub(crate) async fn allow(&self, operations: &[&str]) {
        allow(&self.installation, "eu", operations).await;
    }

    async fn leftovers(&self) -> Vec<String> {
        leftovers(&self.installation, "eu").await
    }
}

/// Lets the team do this with a whole cluster.
pub(crate) async fn allow(installation: &Installation, cluster: &str, operations: &[&str]) {
    let tenant = json!({
        "name": "team", "from": {"names": [TEAM]}, "namespacePatterns": ["team-*"], "operations": operations,
    });
    patch(installation, "cluster", cluster, json!({"spec": {"tenants": [tenant]}})).await;
}

/// What Drover has in its namespace of a cluster beside what it always has.
pub(crate) async fn leftovers(installation: &Installation, cluster: &str) -> Vec<String> {
    let plane = installation.cluster(cluster).unwrap();
    let mut found = Vec::new();
    for kind in ["job", "pod", "secret"] {
        let api = api(plane.client(), kind, "drover-system").await.unwrap();
        let all = api.list(&ListParams::default()).await.unwrap();
        let names = all.items.into_iter().filter_map(|object| object.metadata.name);
        found.extend(names.filter(|name| name.contains("etcd-backup")).map(|name| format!("{kind} {name}")));
    }
    found
}

pub(crate) async fn nothing_is_left(installation: &Installation, cluster: &str) {
    let is_clean = async || Ok(leftovers(installation, cluster).await.is_empty().then_some(()));
    eventually("nothing of the backup is left in the cluster", soon(), is_clean).await.unwrap();
}

/// What the image of Jobs has.
pub(crate) async fn programs(tools: &Tools) -> Vec<(PathBuf, PathBuf)> {
    let mut programs = vec![(PathBuf::from("/drover"), drover_binary().unwrap())];
    for found in tools.ensure_all(&[Program::Etcd, Program::Etcdutl]).await.unwrap() {
        programs.push((PathBuf::from("/").join(found.program.name()), found.path));
    }
    programs
}

/// A control-plane node on which this member runs.
pub(crate) async fn node(
    installation: &Installation,
    cluster: &str,
    member: &etcd::KubeadmEtcd,
    tools: &Tools,
) -> ProcessNode {
    let etcd = (member.certificates(), member.address());
    node_before(installation, cluster, etcd, tools).await
}

/// A control-plane node with an etcd that has these certificates and this address.
pub(crate) async fn node_before(
    installation: &Installation,
    cluster: &str,
    (certificates, address): (PathBuf, String),
    tools: &Tools,
) -> ProcessNode {
    let mut settings = NodeSettings::kubeadm("control-plane-1");
    settings.images.insert(IMAGE.to_owned(), programs(tools).await);
    settings.host.insert(etcd::CERTIFICATES.to_owned(), certificates);
    let manifests = installation.directory().join("manifests");
    std::fs::create_dir_all(&manifests).unwrap();
    std::fs::write(manifests.join("etcd.yaml"), "kind: Pod\n").unwrap();
    settings.host.insert("/etc/kubernetes/manifests".to_owned(), manifests);
    settings.addresses.push((etcd::ADDRESS.to_owned(), address));
    ProcessNode::start(installation.cluster(cluster).unwrap(), settings).await.unwrap()
}

async fn a_backup_is_taken_by_a_job_and_its_manifest_is_written_last() {
    let Some(story) = Story::begin().await else { return };
    story.a_store_says_whether_it_can_be_used().await;
    story.nobody_takes_backups_without_consent().await;
    story.a_backup_succeeds_and_leaves_nothing_behind().await;
    story.configuration_is_stored_where_it_is_encrypted().await;
    story.data_go_only_where_the_backup_says_so().await;
    story.a_backup_of_a_member_that_is_away_fails_and_says_why().await;
}

impl Story {
    async fn a_store_says_whether_it_can_be_used(&self) {
        let installation = &self.installation;
        installation.apply(&a_store("main", &self.store, "store-keys")).await.unwrap();
        reads(installation, "backupstore", "main", "Ready", "False/StoreSecretNotFound").await;
        installation.apply(&keys_of(&self.store, "store-keys", SECRET_KEY)).await.unwrap();
        let again = json!({"metadata": {"annotations": {"drover.dev/reconcile-at": "1"}}});
        patch(installation, "backupstore", "main", again).await;
        reads(installation, "backupstore", "main", "Ready", "True/Ready").await;
        reads(installation, "backupstore", "main", "ConditionalPutSupported", "True/Ready").await;
        installation.apply(&keys_of(&self.store, "wrong-keys", "wrong")).await.unwrap();
        installation.apply(&a_store("wrong", &self.store, "wrong-keys")).await.unwrap();
        reads(installation, "backupstore", "wrong", "Ready", "False/StoreRefused").await;
        deleted(installation, "backupstore", "wrong").await;
        assert_eq!(self.store.keys().unwrap(), [""; 0], "a try leaves nothing");
    }

    /// The owner of the cluster consents to the namespace, and somebody with the verb to each backup.
    async fn nobody_takes_backups_without_consent(&self) {
        let installation = &self.installation;
        let file = installation.directory().join("backup.json");
        std::fs::write(&file, a_backup("of-ada", &json!({})).to_string()).unwrap();
        let file = file.display().to_string();
        let as_ada = || installation.kubectl(&["create", "--as=ada", "--filename", &file]);
        let bind = |kind: &str, role: &str, namespace: Option<&str>| {
            json!({
                "apiVersion": "rbac.authorization.k8s.io/v1", "kind": kind,
                "metadata": {"name": format!("ada-{role}"), "namespace": namespace},
                "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
                "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "ada"}],
            })
        };
        installation.apply(&bind("RoleBinding", "drover-edit", Some(TEAM))).await.unwrap();
        may(&installation.management, "ada", "create etcdbackups.drover.dev", TEAM, true).await;
        let refused = as_ada().unwrap_err().to_string();
        assert!(refused.contains("only who has the verb operate on clusters.drover.dev eu"), "{refused}");
        let operate = json!({"apiGroups": ["drover.dev"], "resources": ["clusters"], "verbs": ["operate"], "resourceNames": ["eu"]});
        let metadata = json!({"name": "operator-of-eu"});
        let role = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": metadata, "rules": [operate],
        });
        installation.apply(&role).await.unwrap();
        installation.apply(&bind("ClusterRoleBinding", "operator-of-eu", None)).await.unwrap();
        let allowed = eventually("ada may operate on eu", soon(), async || Ok(as_ada().ok())).await;
        allowed.unwrap();
        deleted(installation, "etcdbackup", "of-ada").await;
        self.installation.apply(&a_backup("first", &json!({}))).await.unwrap();
        self.reads("first", "Ready", "False/BackupsNotAllowed").await;
        assert_eq!(self.leftovers().await, [""; 0]);
    }

    async fn a_backup_succeeds_and_leaves_nothing_behind(&self) {
        self.allow(&["Backup"]).await;
        self.reads("first", "Ready", "True/Ready").await;
        self.reads("first", "Verified", "True/RestoreVerified").await;
        let status = get(&self.installation, "etcdbackup", "first").await.unwrap()["status"].clone();
        assert_eq!((&status["phase"], &status["snapshot"]["totalKeys"]), (&json!("Succeeded"), &json!(KEYS)));
        assert_eq!(status["snapshot"]["quorum"], json!(true));
        assert!(!status["snapshot"]["member"].as_str().unwrap().is_empty());
        let manifest = status["stores"][0]["manifest"].as_str().unwrap();
        let keys = self.store.keys().unwrap();
        assert_eq!(keys.len(), 2, "{keys:?}");
        assert!(keys.iter().any(|key| key == manifest), "{keys:?}");
        let text = std::fs::read_to_string(self.store.file(manifest)).unwrap();
        let manifest: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(manifest["backup"]["name"], "first");
        assert_eq!(manifest["cluster"]["distribution"], "kubeadm");
        assert_eq!(self.store.open_uploads(), []);
        nothing_is_left(&self.installation, "eu").await;
        let lease = get(&self.installation, "lease", "drover-system/operation-eu").await.unwrap();
        assert!(lease["spec"]["holderIdentity"].is_null(), "{lease}");
        let log = self.installation.drover_log();
        assert!(!log.contains(SECRET_KEY) && !log.contains("X-Amz-Signature"), "{log}");
        quiet(&self.installation, "a backup was taken").await;
    }

    /// What else a restore needs is in the bucket only where nobody but the recipients can read it.
    async fn configuration_is_stored_where_it_is_encrypted(&self) {
        let mut sealed = a_store("sealed", &self.store, "store-keys");
        sealed["spec"]["s3"]["bucket"] = json!(OTHER_BUCKET);
        sealed["spec"]["encryption"] = json!({"recipients": [RECIPIENT], "required": true});
        self.installation.apply(&sealed).await.unwrap();
        self.installation
            .apply(&a_backup("sealed", &json!({"storeNames": ["sealed"], "deletionPolicy": "Delete"})))
            .await
            .unwrap();
        self.reads("sealed", "Ready", "True/Ready").await;
        let sealed = self.store.keys_in(OTHER_BUCKET).unwrap();
        assert_eq!(sealed.len(), 3, "{sealed:?}");
        for key in sealed.iter().filter(|key| !key.ends_with("/manifest.json")) {
            let bytes = std::fs::read(self.store.file_in(OTHER_BUCKET, key)).unwrap();
            assert!(bytes.starts_with(b"age-encryption.org/v1"), "{key}");
        }
        deleted(&self.installation, "etcdbackup", "sealed").await;
        assert_eq!(self.store.keys_in(OTHER_BUCKET).unwrap(), [""; 0]);
    }

    async fn data_go_only_where_the_backup_says_so(&self) {
        self.installation.apply(&a_backup("second", &json!({"deletionPolicy": "Delete"}))).await.unwrap();
        self.reads("second", "Ready", "True/Ready").await;
        assert_eq!(self.store.keys().unwrap().len(), 4);
        deleted(&self.installation, "etcdbackup", "second").await;
        assert_eq!(self.store.keys().unwrap().len(), 2);
        deleted(&self.installation, "etcdbackup", "first").await;
        assert_eq!(self.store.keys().unwrap().len(), 2, "Orphan leaves them");
    }

    async fn a_backup_of_a_member_that_is_away_fails_and_says_why(mut self) {
        self.member.process.kill().await.unwrap();
        self.installation.apply(&a_backup("third", &json!({}))).await.unwrap();
        self.reads("third", "Ready", "False/BackupFailed").await;
        self.reads("third", "Stalled", "True/BackupFailed").await;
        let is_over = |found: Option<&Value>| found.is_some_and(|found| found["status"]["phase"] == "Failed");
        object_becomes(&self.installation, "etcdbackup", "third", "the third backup has failed", is_over).await;
        let failed = get(&self.installation, "etcdbackup", "third").await.unwrap();
        assert_eq!(failed["status"]["attempt"]["failure"]["reason"], "MemberUnreachable", "{failed}");
        assert_eq!(self.store.keys().unwrap().len(), 2, "nothing of it is stored");
        assert_eq!(self.store.open_uploads(), []);
        nothing_is_left(&self.installation, "eu").await;
    }
}
