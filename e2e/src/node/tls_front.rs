//! The etcd of a control plane of the harness, behind TLS as on a node of kubeadm.

use std::fs;
use std::net::Ipv4Addr;
use std::path::PathBuf;

use tempfile::TempDir;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_util::task::AbortOnDropHandle;

use super::etcd::OF_KUBEADM;
use crate::ControlPlane;
use crate::certificates::{Authority, write_private};
use crate::error::{Error, FileContext, Result};
use crate::http_proxy::acceptor;

/// Takes TLS off what comes for the etcd of a control plane. Dropping it ends it.
#[derive(Debug)]
pub struct TlsFront {
    port: u16,
    folder: TempDir,
    _accepting: AbortOnDropHandle<()>,
}

impl TlsFront {
    /// Starts one before the etcd of `plane`.
    pub async fn before(plane: &ControlPlane) -> Result<Self> {
        let folder = tempfile::tempdir().on("create a folder in", std::env::temp_dir())?;
        let certificates = folder.path().join("pki");
        fs::create_dir(&certificates).on("create", &certificates)?;
        let authority = Authority::new("etcd-ca")?;
        write_private(&certificates.join(OF_KUBEADM.authority), authority.certificate())?;
        authority.client("kube-etcd-healthcheck-client", &[])?.write(&certificates, OF_KUBEADM.client)?;
        let failed = |source| Error::Start { name: "etcd with TLS".to_owned(), source };
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.map_err(failed)?;
        let port = listener.local_addr().map_err(failed)?.port();
        let (acceptor, target) = (acceptor(&authority)?, plane.etcd_port());
        let accepting = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let acceptor = acceptor.clone();
                connections.spawn(async move {
                    let mut outer = acceptor.accept(stream).await?;
                    let mut inner = TcpStream::connect((Ipv4Addr::LOCALHOST, target)).await?;
                    copy_bidirectional(&mut outer, &mut inner).await
                });
                while connections.try_join_next().is_some() {}
            }
        });
        Ok(Self { port, folder, _accepting: AbortOnDropHandle::new(accepting) })
    }

    /// The folder with its certificates.
    #[must_use]
    pub fn certificates(&self) -> PathBuf {
        self.folder.path().join("pki")
    }

    /// Where it listens in place of [`ADDRESS`](super::etcd::ADDRESS).
    #[must_use]
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }
}
