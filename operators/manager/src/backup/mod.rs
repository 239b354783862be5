//! Backups of etcd: the command that a Job runs, and those by which a person gets a backup back.

mod arguments;
mod bucket;
mod import;
mod list;
mod retrieve;
mod snapshot;

use std::{
    env, io,
    path::{Path, PathBuf},
};

use drover_fetch::{Digest, PemError};
use drover_snapshot::{OpenError, Programs, age::KeyError};
use drover_stored_backups::ReadError;
use drover_stores::{BucketError, StoreError};

pub(crate) use arguments::{BackupArguments, EtcdSnapshotArguments};
pub(crate) use snapshot::snapshot;

use self::{
    arguments::{BackupCommand, EtcdPrograms},
    bucket::Backups,
};
use crate::{membership::MembershipError, rendering::found};

/// The hidden command by which a child ties itself to its parent before it becomes a program of etcd.
pub(crate) const CHILD: &str = "etcd-child";

/// Why a command about backups failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BackupError {
    #[error("{0} is not set: the keys of the bucket come from AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")]
    NoKeys(&'static str),
    #[error("the bucket {0}")]
    Bucket(BucketError),
    #[error("{path} {error}", path = .0.display(), error = .1)]
    Authorities(PathBuf, PemError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Manifest(#[from] ReadError),
    #[error(
        "{0} has the digest {1}, which is not the one that --manifest-digest names: it was changed after Drover wrote it; find out who writes to the bucket"
    )]
    OtherManifest(String, Digest),
    #[error("there is no backup {0} in the bucket: `drover backup list` prints the UIDs of all; check --prefix")]
    NotFound(String),
    #[error(
        "the bucket has more than one backup {0}, and one of them is made up: name the key of the manifest that you trust instead, and look who writes to the bucket"
    )]
    Ambiguous(String),
    #[error("{0} is shorter than its manifest says: it was changed after Drover stored it")]
    Short(String),
    #[error("{path} {error}", path = .0.display(), error = .1)]
    Identity(PathBuf, KeyError),
    #[error("{path}: {error}", path = .0.display(), error = .1)]
    File(PathBuf, io::Error),
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error("{refused} of {all} backups were not imported, as the lines above say")]
    NotImported { refused: usize, all: usize },
    #[error(transparent)]
    Management(#[from] MembershipError),
    #[error("the objects cannot be written: {0}")]
    Yaml(#[from] serde_yaml::Error),
    #[error("interrupted")]
    Interrupted,
    #[error(transparent)]
    Print(io::Error),
    #[error("the answer cannot be written: {0}")]
    Answer(#[from] serde_json::Error),
}

impl BackupError {
    fn file(path: &Path) -> impl Fn(io::Error) -> Self {
        move |error| Self::File(path.to_owned(), error)
    }
}

/// Does what the command line asks for.
pub(crate) async fn backup(arguments: &BackupArguments) -> Result<(), BackupError> {
    tokio::select! {
        result = run(arguments) => result,
        // Files with the secrets of a cluster are removed as soon as nobody waits for them.
        _ = tokio::signal::ctrl_c() => Err(BackupError::Interrupted),
    }
}

async fn run(arguments: &BackupArguments) -> Result<(), BackupError> {
    match &arguments.command {
        BackupCommand::List(asked) => list::list(&Backups::open(&asked.bucket)?, asked).await,
        BackupCommand::Fetch(asked) => retrieve::fetch(&Backups::open(&asked.one.bucket)?, asked).await,
        BackupCommand::Import(asked) => import::import(&Backups::open(&asked.bucket)?, asked).await,
        BackupCommand::Verify(asked) => retrieve::verify(&Backups::open(&asked.one.bucket)?, asked).await,
    }
}

/// The programs of etcd, and how they are started.
fn programs(named: &EtcdPrograms) -> io::Result<Programs> {
    let path = env::var_os("PATH");
    // They run in folders of their own.
    let program = |name| std::path::absolute(found(name, path.as_deref()));
    let (etcd, etcdutl) = (program(&named.etcd)?, program(&named.etcdutl)?);
    Ok(Programs { etcd, etcdutl, child: vec![env::current_exe()?.into(), CHILD.into()] })
}
