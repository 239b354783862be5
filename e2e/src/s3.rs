//! A store of S3 in this process: the crate `s3s`, which judges every signature, on files in a folder, and faults on demand.

mod faults;
mod uploads;

use std::fs;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError};

use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use s3s::auth::SimpleAuth;
use s3s::service::S3ServiceBuilder;
use s3s_fs::FileSystem;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio_util::task::AbortOnDropHandle;

use crate::error::{Error, FileContext, Result};
use crate::http_proxy::WriteTrap;
use faults::Faults;
pub use faults::{Fault, Step};
pub use uploads::OpenUpload;
use uploads::{Files, OpenUploads};

/// Who may use it.
pub const ACCESS_KEY: &str = "AKDROVERTEST";
/// The secret of it.
pub const SECRET_KEY: &str = "drover-test-secret-key";
/// The bucket that is there from the start. The server has the key of an upload in the name of one file, so the names here are short.
pub const BUCKET: &str = "bkp";
/// Another one.
pub const OTHER_BUCKET: &str = "age";

/// A store on loopback, over plain HTTP. Dropping it ends it, and its files go.
#[derive(Debug)]
pub struct S3 {
    port: u16,
    folder: TempDir,
    open: OpenUploads,
    faults: Faults,
    _server: AbortOnDropHandle<()>,
}

impl S3 {
    /// Starts one with empty buckets.
    pub async fn start() -> Result<Self> {
        Self::begin(None).await
    }

    /// The same, where `trap` sees every request that changes something, but for parts of uploads.
    pub async fn start_with(trap: Arc<WriteTrap>) -> Result<Self> {
        Self::begin(Some(trap)).await
    }

    async fn begin(trap: Option<Arc<WriteTrap>>) -> Result<Self> {
        let folder = tempfile::tempdir().on("create a folder in", std::env::temp_dir())?;
        for name in [BUCKET, OTHER_BUCKET] {
            let bucket = folder.path().join(name);
            fs::create_dir(&bucket).on("create", &bucket)?;
        }
        let files = FileSystem::new(folder.path()).map_err(|error| failed(&error))?;
        let (open, faults) = (OpenUploads::default(), Faults { trap, ..Faults::default() });
        let mut builder = S3ServiceBuilder::new(Files { files, open: open.clone() });
        builder.set_auth(SimpleAuth::from_single(ACCESS_KEY, SECRET_KEY));
        let service = builder.build();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .map_err(|source| Error::Start { name: "S3".to_owned(), source })?;
        let port = listener.local_addr().map_err(|source| Error::Start { name: "S3".to_owned(), source })?.port();
        let to_come = faults.clone();
        let serving = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (service, faults) = (service.clone(), to_come.clone());
                tokio::spawn(async move {
                    let server = Builder::new(TokioExecutor::new());
                    let answer = service_fn(move |asked| {
                        let (service, faults) = (service.clone(), faults.clone());
                        async move { faults.serve(&service, asked).await }
                    });
                    let _ = server.serve_connection(TokioIo::new(stream), answer).await;
                });
            }
        });
        Ok(Self { port, folder, open, faults, _server: AbortOnDropHandle::new(serving) })
    }

    /// The next `times` requests of this step meet a fault.
    pub fn fail(&self, step: Step, fault: Fault, times: usize) {
        self.faults.add(step, fault, times);
    }

    /// From now on no request meets a fault.
    pub fn heal(&self) {
        self.faults.forget();
    }

    /// Whether all faults that were asked for have happened.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        self.faults.are_over()
    }

    /// The uploads that were neither completed nor aborted.
    #[must_use]
    pub fn open_uploads(&self) -> Vec<OpenUpload> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// Makes all uploads that are open so much older.
    pub fn age_uploads(&self, by: std::time::Duration) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.values_mut().for_each(|upload| upload.opened -= by);
    }

    /// Its URL, as a `BackupStore` names it.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The host that a Secret names.
    #[must_use]
    pub fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// The file in which the object of this key is.
    #[must_use]
    pub fn file(&self, key: &str) -> PathBuf {
        self.file_in(BUCKET, key)
    }

    /// The same in another bucket.
    #[must_use]
    pub fn file_in(&self, bucket: &str, key: &str) -> PathBuf {
        self.folder.path().join(bucket).join(key)
    }

    /// The keys of all objects, in order.
    pub fn keys(&self) -> Result<Vec<String>> {
        self.keys_in(BUCKET)
    }

    /// The same in another bucket.
    pub fn keys_in(&self, bucket: &str) -> Result<Vec<String>> {
        let mut found = Vec::new();
        let bucket = self.folder.path().join(bucket);
        let mut folders = vec![bucket.clone()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(&folder).on("read", &folder)? {
                let path = entry.on("read", &folder)?.path();
                if path.is_dir() {
                    folders.push(path);
                } else if let Ok(key) = path.strip_prefix(&bucket) {
                    found.push(key.display().to_string());
                }
            }
        }
        found.sort();
        Ok(found)
    }
}

fn failed(error: &impl std::fmt::Debug) -> Error {
    Error::Start { name: "S3".to_owned(), source: std::io::Error::other(format!("{error:?}")) }
}
