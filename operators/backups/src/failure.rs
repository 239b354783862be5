//! Why a Job failed.

use serde::{Deserialize, Serialize};

/// Why a Job failed, for decisions. What a person reads stands beside it, in [`Failure::message`](crate::Failure::message).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum FailureCause {
    /// The task cannot be read, or asks for what this version cannot do.
    TaskInvalid,
    /// A file with a certificate or key of etcd is missing or of no use.
    CertificateInvalid,
    /// No member could be reached.
    MemberUnreachable,
    /// A member refuses the certificate, or asks for a user.
    MemberRefused,
    /// Every member that was reached is a learner, has an alarm, or lags too far behind.
    MemberUnhealthy,
    /// The stream stood still for longer than allowed.
    Stalled,
    /// The stream broke off.
    Interrupted,
    /// What arrived is not what the member sent: length or digest differ.
    Corrupt,
    /// There is too little space where the snapshot is kept.
    SpoolFull,
    /// A program that restores is missing, or could not be run.
    ToolFailed,
    /// The snapshot could not be restored.
    NotRestorable,
    /// The restored copy differs from the member.
    Different,
    /// A recipient is no public key of age.
    RecipientInvalid,
    /// More bytes than there are URLs for.
    TooLarge,
    /// The store refuses an upload: the URL has expired, or is not allowed.
    StoreRefused,
    /// The store could not be reached, or failed, also after further tries.
    StoreUnavailable,
    /// The time for the backup is over.
    DeadlineExceeded,
    /// The Job was ended from outside.
    Ended,
    /// A file could not be read or written.
    Storage,
    /// A cause of a newer version.
    #[serde(other)]
    Unknown,
}
