//! Why a Job failed.

use serde::{Deserialize, Serialize};

macro_rules! failure_causes {
    ($($(#[doc = $meaning:literal])+ $name:ident: $remedy:literal,)+) => {
        /// Why a Job failed, for decisions. What a person reads stands beside it, in [`Failure::message`](crate::Failure::message).
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub enum FailureCause {
            $($(#[doc = $meaning])+ $name,)+
            /// A cause of a newer version.
            #[serde(other)]
            Unknown,
        }

        impl FailureCause {
            /// Each cause that this version knows: its word, what it means, and what to do, as the reference lists them.
            pub const ALL: &[(&str, &str, &str)] = &[$((stringify!($name), concat!($($meaning),+), $remedy),)+];
        }
    };
}

failure_causes! {
    /// The task cannot be read, or asks for what this version cannot do.
    TaskInvalid: "Run the image of the version of Drover that runs: the value backups.image.",
    /// A file with a certificate or key of etcd is missing or of no use.
    CertificateInvalid: "Look at the folder of etcd's certificates on the node; on one of kubeadm renew them by kubeadm certs renew.",
    /// No member could be reached.
    MemberUnreachable: "Look at the etcd of the node that the message names, and at port 2379 there.",
    /// A member refuses the certificate, or asks for a user.
    MemberRefused: "Let the certificate of the node use etcd; a user and a password are not supported.",
    /// Every member that was reached is a learner, has an alarm, or lags too far behind.
    MemberUnhealthy: "Mend etcd first: etcdctl endpoint status and alarm list say what is wrong.",
    /// The stream stood still for longer than allowed.
    Stalled: "Look at the load and the disk of the member, and take another backup.",
    /// The stream broke off.
    Interrupted: "Take another backup; if it happens again, look at the log of etcd.",
    /// What arrived is not what the member sent: length or digest differ.
    Corrupt: "Take another backup; if it happens again, suspect the memory or the network of the node.",
    /// There is too little space where the snapshot is kept.
    SpoolFull: "Free disk space on the node: it takes 2.2 times the database of etcd, up to 20 GiB.",
    /// A program that restores is missing, or could not be run.
    ToolFailed: "Use an image that has etcd and etcdutl beside drover: the value backups.image.",
    /// The snapshot could not be restored.
    NotRestorable: "Act at once: the member sends what does not restore. Look at its log and its disk, and take a backup of another member.",
    /// The restored copy differs from the member.
    Different: "Act at once: what was restored is not what the member says. Look at its log and its disk, and take another backup.",
    /// A recipient is no public key of age.
    RecipientInvalid: "Mend spec.encryption.recipients of the BackupStore.",
    /// More bytes than there are URLs for.
    TooLarge: "Compact and defragment etcd: a snapshot is larger than etcd said that it would be.",
    /// The store refuses an upload: the URL has expired, or is not allowed.
    StoreRefused: "Look at the clock of the node and at the rights of the keys; give the backup a longer spec.timeout if it was slow.",
    /// The store could not be reached, or failed, also after further tries.
    StoreUnavailable: "Let the node reach the endpoint of the store.",
    /// The time for the backup is over.
    DeadlineExceeded: "Give the backup a longer spec.timeout, or look at why it was slow.",
    /// The Job was ended from outside.
    Ended: "Find out who deleted the Job or its Pod, and take another backup.",
    /// A file could not be read or written.
    Storage: "Look at the disk of the node, and at the files that the message names.",
}
