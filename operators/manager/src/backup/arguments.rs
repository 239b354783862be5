//! What the commands about backups are told.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use drover_backups::Prefix;
use drover_fetch::Digest;
use drover_stores::Addressing;

use crate::command_line::{AddressArguments, AnswerFormat, ManagementArguments};

#[derive(Debug, Args)]
pub(crate) struct EtcdSnapshotArguments {
    /// The task: a file that the manager wrote. No secret is in arguments or environment.
    #[arg(long)]
    pub(crate) task: PathBuf,
    /// A folder with free space for the database of etcd more than twice. What is in it is removed at the end.
    #[arg(long, default_value = "/spool")]
    pub(crate) spool: PathBuf,
    /// Where the report goes, in JSON, at most 4 KiB.
    #[arg(long, default_value = "/dev/termination-log")]
    pub(crate) report: PathBuf,
    #[command(flatten)]
    pub(crate) programs: EtcdPrograms,
}

/// The programs that restore a snapshot.
#[derive(Clone, Debug, Args)]
pub(crate) struct EtcdPrograms {
    /// The program etcd; it is searched in `PATH` where it is no path.
    #[arg(long, env = "DROVER_ETCD", default_value = "etcd")]
    pub(crate) etcd: PathBuf,
    /// The program etcdutl; it is searched in `PATH` where it is no path.
    #[arg(long, env = "DROVER_ETCDUTL", default_value = "etcdutl")]
    pub(crate) etcdutl: PathBuf,
}

/// Which bucket is looked at. The keys come from the environment: `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY` and, if they are of a
/// session, `AWS_SESSION_TOKEN`.
#[derive(Debug, Args)]
pub(crate) struct BackupArguments {
    #[command(subcommand)]
    pub(crate) command: BackupCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum BackupCommand {
    /// List the backups in a bucket. They are those with a manifest.
    List(BackupListArguments),
    /// Get the snapshot of a backup, or its configuration.
    Fetch(BackupFetchArguments),
    /// Bring the backups in a bucket back into a management cluster as `EtcdBackups`: print them, or create those that are not there.
    Import(BackupImportArguments),
    /// Prove that a backup restores: get it, restore it into a scratch etcd, and compare that with the manifest.
    Verify(BackupVerifyArguments),
}

/// A bucket of S3, or of what is compatible with it.
#[derive(Clone, Debug, Args)]
pub(crate) struct BucketArguments {
    /// URL of the server.
    #[arg(long, env = "AWS_ENDPOINT_URL_S3")]
    pub(crate) endpoint: String,
    /// Name of the bucket.
    #[arg(long)]
    pub(crate) bucket: String,
    /// Region of the bucket.
    #[arg(long, env = "AWS_REGION", default_value = "us-east-1")]
    pub(crate) region: String,
    /// What all keys begin with, as `spec.s3.prefix` of the `BackupStore` says.
    #[arg(long, default_value = "")]
    pub(crate) prefix: Prefix,
    /// Where the name of the bucket stands in URLs.
    #[arg(long, value_enum, default_value = "auto")]
    pub(crate) addressing: AddressingArgument,
    /// A file with the authorities of the server's certificate, in PEM. Default: those of this machine.
    #[arg(long)]
    pub(crate) ca_file: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) addresses: AddressArguments,
}

/// [`Addressing`], as a choice on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum AddressingArgument {
    /// In the host at AWS, in the path elsewhere.
    Auto,
    /// In the path.
    Path,
    /// In the name of the host.
    Virtual,
}

impl From<AddressingArgument> for Addressing {
    fn from(argument: AddressingArgument) -> Self {
        match argument {
            AddressingArgument::Auto => Self::Auto,
            AddressingArgument::Path => Self::Path,
            AddressingArgument::Virtual => Self::Virtual,
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct BackupListArguments {
    /// How the answer looks.
    #[arg(long, short, value_enum, default_value = "table")]
    pub(crate) output: AnswerFormat,
    #[command(flatten)]
    pub(crate) bucket: BucketArguments,
}

#[derive(Debug, Args)]
pub(crate) struct BackupImportArguments {
    /// Name of the `BackupStore` that has this bucket and prefix, in the management cluster.
    #[arg(long)]
    pub(crate) store: String,
    /// Only backups of the Cluster of this name; may be repeated. Default: all.
    #[arg(long = "cluster")]
    pub(crate) clusters: Vec<String>,
    /// Create the objects, with your rights, instead of printing them. Their namespaces must be there.
    #[arg(long)]
    pub(crate) apply: bool,
    #[command(flatten)]
    pub(crate) management: ManagementArguments,
    #[command(flatten)]
    pub(crate) bucket: BucketArguments,
}

/// Which backup, and who opens it.
#[derive(Debug, Args)]
pub(crate) struct OneBackup {
    /// UID of the backup, as `drover backup list` prints it, or key of its manifest.
    pub(crate) backup: String,
    /// File with the private key of a recipient, as age-keygen writes it.
    #[arg(long)]
    pub(crate) identity: Option<PathBuf>,
    /// Digest of the manifest, such as `sha256:…`, as `status.stores[].manifestDigest` of the `EtcdBackup` says. A manifest with another
    /// one is refused. Default: the manifest is believed.
    #[arg(long)]
    pub(crate) manifest_digest: Option<Digest>,
    #[command(flatten)]
    pub(crate) bucket: BucketArguments,
}

#[derive(Debug, Args)]
pub(crate) struct BackupFetchArguments {
    /// The file to write, which must not be there yet: the snapshot, as etcdutl reads it. Beside it as much space is needed again.
    #[arg(long, short, required_unless_present = "config")]
    pub(crate) output: Option<PathBuf>,
    /// The configuration instead: printed, or written to the file as an archive (tar).
    #[arg(long)]
    pub(crate) config: bool,
    #[command(flatten)]
    pub(crate) one: OneBackup,
}

#[derive(Debug, Args)]
pub(crate) struct BackupVerifyArguments {
    /// A folder with free space for the snapshot three times. Default: one in the folder for temporary files.
    #[arg(long)]
    pub(crate) spool: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) programs: EtcdPrograms,
    #[command(flatten)]
    pub(crate) one: OneBackup,
}
