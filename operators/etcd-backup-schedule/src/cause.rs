//! Why clusters are not backed up as a schedule says.

use drover_runtime::causes;

causes! {
    /// Why a schedule is not as its spec says.
    pub enum ScheduleCause {
        /// The schedule cannot be read, or its time zone is unknown.
        ScheduleInvalid = "ScheduleInvalid": Blocked stalls; "Correct spec.schedule or spec.timeZone as the message says.",
        /// The Cluster does not let the namespace take backups of it.
        BackupsNotAllowed = "BackupsNotAllowed": Blocked; "Add Backup to operations of the tenant entry of the Cluster.",
        /// The etcd of the cluster is not on its nodes, or Drover does not know where.
        NotSupported = "NotSupported": Blocked stalls; "Use the backup of the provider, or of the tool that made the cluster.",
        /// The last backup of a cluster that ended has failed.
        LastBackupFailed = "LastBackupFailed": Blocked; "Look at the EtcdBackups that status.problems names.",
        /// A cluster has no backup of its last two times.
        BackupsMissed = "BackupsMissed": Blocked; "Look at the EtcdBackups that status.problems names, and at their Clusters.",
        /// A backup has not begun.
        BackupWaits = "BackupWaits": Blocked; "Look at the EtcdBackup that the message names.",
    }
}
