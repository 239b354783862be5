//! What a backup of a cluster of the demo needs besides Drover: a bucket, and a node on which its Job runs.

use std::path::PathBuf;

use serde_json::json;

use super::scans;
use crate::error::Result;
use crate::installation::{Installation, drover_binary};
use crate::node::{ProcessNode, TlsFront, etcd};
use crate::s3::{ACCESS_KEY, BUCKET, S3, SECRET_KEY};
use crate::{Program, Tools};

/// The image of Jobs, as Drover and the node know it.
pub(super) const IMAGE: &str = "drover-etcd:demo";
/// The cluster that is backed up.
pub(super) const CLUSTER: &str = "eu-1";

/// Dropping it ends all of it.
pub(super) struct Backups {
    store: S3,
    _front: TlsFront,
    _node: ProcessNode,
}

impl Backups {
    pub(super) async fn start(installation: &Installation) -> Result<Self> {
        let plane = installation.cluster(CLUSTER)?;
        let front = TlsFront::before(plane).await?;
        let mut settings = scans::settings(installation, CLUSTER).await?;
        let mut programs = vec![(PathBuf::from("/drover"), drover_binary()?)];
        for found in Tools::from_environment()?.ensure_all(&[Program::Etcd, Program::Etcdutl]).await? {
            programs.push((PathBuf::from("/").join(found.program.name()), found.path));
        }
        settings.images.insert(IMAGE.to_owned(), programs);
        settings.host.insert(etcd::CERTIFICATES.to_owned(), front.certificates());
        settings.addresses.push((etcd::ADDRESS.to_owned(), front.address()));
        let node = ProcessNode::start(plane, settings).await?;
        Ok(Self { store: S3::start().await?, _front: front, _node: node })
    }

    /// Applies the store, which has another address each time.
    pub(super) async fn apply_store(&self, installation: &Installation) -> Result<()> {
        let keys = json!({
            "apiVersion": "v1", "kind": "Secret",
            "metadata": {
                "name": "demo-keys", "namespace": "drover-system", "labels": {"drover.dev/usable-by": "backup-store"},
                "annotations": {"drover.dev/hosts": self.store.host()},
            },
            "stringData": {"accessKeyID": ACCESS_KEY, "secretAccessKey": SECRET_KEY},
        });
        installation.apply(&keys).await?;
        let s3 = json!({
            "endpoint": self.store.endpoint(), "bucket": BUCKET, "credentialsSecretRef": {"name": "demo-keys"},
        });
        let store = json!({
            "apiVersion": "drover.dev/v1alpha1", "kind": "BackupStore", "metadata": {"name": "demo"},
            "spec": {"s3": s3, "usableFrom": {"names": ["team-shop"]}},
        });
        installation.apply(&store).await
    }

    /// A command line that reads the bucket.
    pub(super) fn command(&self, drover: &str, arguments: &str) -> String {
        let keys = format!("AWS_ACCESS_KEY_ID={ACCESS_KEY} AWS_SECRET_ACCESS_KEY={SECRET_KEY}");
        let endpoint = self.store.endpoint();
        format!("{keys} {drover} backup {arguments} --endpoint {endpoint} --bucket {BUCKET} --allow-local-addresses")
    }
}
