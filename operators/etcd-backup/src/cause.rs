//! Why there is no backup, or not yet.

use drover_runtime::causes;

causes! {
    /// Why a backup is not there.
    pub enum BackupCause {
        /// The Cluster does not let the namespace take backups of it.
        BackupsNotAllowed = "BackupsNotAllowed": Blocked; "Add Backup to operations of the tenant entry of the Cluster.",
        /// There is no BackupStore of this name that the namespace may use.
        StoreNotFound = "StoreNotFound": Blocked; "Create the BackupStore, or add the namespace to its spec.usableFrom.",
        /// The BackupStore cannot be used now.
        StoreNotReady = "StoreNotReady": Blocked; "Look at the status of the BackupStore.",
        /// The etcd of the cluster is not on its nodes, or Drover does not know where.
        NotSupported = "NotSupported": Blocked stalls; "Use the backup of the provider, or of the tool that made the cluster.",
        /// Drover runs without an image that takes snapshots.
        NoBackupImage = "NoBackupImage": Blocked stalls; "Set backups.image of the chart.",
        /// Another operation on the whole cluster is under way.
        OperationRunning = "OperationRunning": Blocked; "Wait for the object that the message names.",
        /// The Job takes, proves and uploads the snapshot.
        BackingUp = "BackingUp": Blocked expected; "",
        /// The Pod of the Job does not run.
        JobNotRunning = "JobNotRunning": Blocked; "Look at the Pod of the Job in namespace drover-system of the cluster; the message has its words.",
        /// There is no backup, and this object takes no further one.
        BackupFailed = "BackupFailed": Blocked stalls; "Remove what the message names, and create another EtcdBackup.",
        /// It was restored into another etcd, which had the revision and the keys of the member.
        RestoreVerified = "RestoreVerified": Blocked expected; "",
        /// It was not restored anywhere.
        NotRestored = "NotRestored": Blocked; "Create another EtcdBackup with spec.verify: Restore.",
        /// What spec.existing names is not in the store, or is another backup.
        ExistingRefused = "ExistingRefused": Blocked stalls; "Correct what the message names; another EtcdBackup can name another manifest.",
        /// The store has its manifest and its data, as they were stored.
        DataAvailable = "DataAvailable": Blocked expected; "",
        /// An object of the backup is not in the store any more.
        DataMissing = "DataMissing": Blocked stalls; "Put the object that the message names back, as from a version of it or from a copy of the bucket.",
        /// An object of the backup in the store is another one than was stored.
        DataChanged = "DataChanged": Blocked stalls; "Find out who writes to the bucket, and put the object that the message names back.",
    }
}
