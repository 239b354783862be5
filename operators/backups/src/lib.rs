//! What backups of etcd are made of, for everything that has to do with them: the manager, the Job on a node of a cluster, and the
//! command line. Pure: no client, no cache, no clock.
//!
//! 1. The manager opens an upload, and writes a [`Task`]: where etcd is, and the presigned URLs that [`upload`] says which to sign.
//! 2. The Job takes a snapshot, proves that it restores, uploads it in parts, and answers with a [`Report`].
//! 3. The manager completes the upload, and writes the [`Manifest`] last: without it there is no backup. It lies beside the data, in
//!    the [`Folder`] of the backup, and says all that is needed to get the data back.
//! 4. [`retention`] says which backups of a schedule are deleted.

mod etag;
mod failure;
mod ids;
mod keys;
mod layout;
mod manifest;
mod report;
pub mod retention;
mod snapshot;
mod support;
mod task;
#[cfg(test)]
mod tests;
pub mod upload;

pub use etag::{ETag, ETagError};
pub use failure::FailureCause;
pub use ids::{AttemptId, EtcdId, IdError, Uid};
pub use keys::{Folder, Prefix, PrefixError};
pub use layout::{Layout, LayoutOf};
pub use manifest::{
    BackupIdentity, ClusterIdentity, FORMAT_VERSION, Manifest, ManifestError, StoredConfig, StoredObject,
};
pub use report::{Failure, MOST_REPORT_BYTES, Report, ReportError, Success, UploadedConfig};
pub use snapshot::{Check, Content, Encryption, EtcdFacts, Snapshot};
pub use support::Support;
pub use task::{ConfigTask, EtcdAccess, Limits, PresignedUrl, StoreAccess, Task, TaskError, Verify};
