//! A store of S3 in this process: the crate `s3s`, which judges every signature, on files in a folder.

use std::fs;
use std::net::Ipv4Addr;
use std::path::PathBuf;

use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use s3s::auth::SimpleAuth;
use s3s::service::S3ServiceBuilder;
use s3s_fs::FileSystem;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio_util::task::AbortOnDropHandle;

use crate::error::{Error, FileContext, Result};

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
    _server: AbortOnDropHandle<()>,
}

impl S3 {
    /// Starts one with an empty bucket.
    pub async fn start() -> Result<Self> {
        let folder = tempfile::tempdir().on("create a folder in", std::env::temp_dir())?;
        for name in [BUCKET, OTHER_BUCKET] {
            let bucket = folder.path().join(name);
            fs::create_dir(&bucket).on("create", &bucket)?;
        }
        let files = FileSystem::new(folder.path()).map_err(|error| failed(&error))?;
        let mut builder = S3ServiceBuilder::new(files);
        builder.set_auth(SimpleAuth::from_single(ACCESS_KEY, SECRET_KEY));
        let service = builder.build();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .map_err(|source| Error::Start { name: "S3".to_owned(), source })?;
        let port = listener.local_addr().map_err(|source| Error::Start { name: "S3".to_owned(), source })?.port();
        let serving = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let service = service.clone();
                tokio::spawn(async move {
                    let server = Builder::new(TokioExecutor::new());
                    let _ = server.serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        Ok(Self { port, folder, _server: AbortOnDropHandle::new(serving) })
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

    /// Whether parts of uploads lie about.
    pub fn has_open_uploads(&self) -> Result<bool> {
        let root = self.folder.path();
        let entries = fs::read_dir(root).on("read", root)?;
        Ok(entries.flatten().any(|entry| entry.file_name().to_string_lossy().starts_with(".upload")))
    }
}

fn failed(error: &impl std::fmt::Debug) -> Error {
    Error::Start { name: "S3".to_owned(), source: std::io::Error::other(format!("{error:?}")) }
}
