//! Conditions: their types, and one way to reach them in every status.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

/// The object is as its spec wants it. Always present once the object was evaluated.
pub const READY: &str = "Ready";
/// Drover is still working towards the spec. Present only while true.
pub const RECONCILING: &str = "Reconciling";
/// No further progress without a change by a person. Present only while true.
pub const STALLED: &str = "Stalled";

/// Cluster: the connection is allowed and this installation holds the claim.
pub const ACCEPTED: &str = "Accepted";
/// Cluster: Drover reaches the API server.
pub const CONNECTED: &str = "Connected";
/// Cluster: the API server answers that it is ready.
pub const API_AVAILABLE: &str = "APIAvailable";
/// Cluster: every node is ready.
pub const NODES_HEALTHY: &str = "NodesHealthy";
/// Cluster: no certificate ends within `certificates.warnBefore`.
pub const CERTIFICATES_VALID: &str = "CertificatesValid";
/// Cluster: Drover can back up its etcd.
pub const BACKUP_SUPPORTED: &str = "BackupSupported";
/// Cluster: the credential in the Secret is accepted and does not end soon.
pub const CREDENTIAL_VALID: &str = "CredentialValid";
/// Cluster: the admission policies that guard Drover's objects are in place.
pub const ADMISSION_INSTALLED: &str = "AdmissionInstalled";
/// Cluster: deletion is under way; the message says what it waits for.
pub const DELETING: &str = "Deleting";

/// Project: every cluster it names has consented.
pub const CLUSTERS_ALLOWED: &str = "ClustersAllowed";
/// Project: every selected cluster can be reached.
pub const CLUSTERS_REACHABLE: &str = "ClustersReachable";
/// Project: every namespace exists and belongs to it.
pub const NAMESPACES_READY: &str = "NamespacesReady";
/// Project: every quota is granted as requested.
pub const QUOTA_READY: &str = "QuotaReady";
/// Project: every binding is in place and every withdrawn one is gone.
pub const RBAC_READY: &str = "RBACReady";
/// Project: every namespace has the Secrets that the Project brings, and none that was withdrawn.
pub const SECRETS_READY: &str = "SecretsReady";
/// Project: every namespace carries the wanted pod security levels.
pub const POD_SECURITY_READY: &str = "PodSecurityReady";
/// Project: every namespace carries the network policies of the isolation.
pub const ISOLATION_READY: &str = "IsolationReady";

/// `RoleTemplate`: everything that it inherits exists and has its context.
pub const RESOLVED: &str = "Resolved";
/// `RoleTemplate`: its rights are in every cluster where they are needed.
pub const SYNCED: &str = "Synced";
/// Binding of a Project: its users and groups have the management roles that the template names. Present only where it names some.
pub const MANAGEMENT_ROLES_BOUND: &str = "ManagementRolesBound";
/// App: objects of the release are not in the cluster as it says. Present only while true.
pub const DRIFTED: &str = "Drifted";
/// App: the values of the release are as its chart wants them. Present only while they are not, and the spec takes them all the same.
pub const VALUES_VALID: &str = "ValuesValid";
/// Rollout: targets are on their way to the revision that is wanted. False once all that can be reached have it.
pub const PROGRESSING: &str = "Progressing";
/// Rollout: `spec.rollout.paused` or an annotation holds it. Present only while true.
pub const PAUSED: &str = "Paused";
/// Rollout: the clusters that it names exist and have consented.
pub const TARGETS_RESOLVED: &str = "TargetsResolved";
/// Rollout: more clusters left at once than `spec.rollout.prune` allows, so no app is removed. Present only while true.
pub const PRUNE_BLOCKED: &str = "PruneBlocked";
/// Rollout: nothing went on for longer than `spec.rollout.progressDeadline`. Present only while true.
pub const DEGRADED: &str = "Degraded";
/// Store: Drover can write, read and delete there.
pub const WRITABLE: &str = "Writable";
/// Store: it does not overwrite an object where it is asked not to.
pub const CONDITIONAL_PUT_SUPPORTED: &str = "ConditionalPutSupported";
/// Backup: it was restored into another etcd, which had the revision and the keys of the member.
pub const VERIFIED: &str = "Verified";
/// Backup: its data are in the store as its manifest says, as far as that was looked at.
pub const AVAILABLE: &str = "Available";
/// Schedule: it can be read, and its time zone is known.
pub const SCHEDULE_VALID: &str = "ScheduleValid";
/// Schedule: what it makes was made at one of its last two times, for backups on every cluster.
pub const HEALTHY: &str = "Healthy";
/// Whether nothing fails of what a scan looked at; Unknown as long as not all was looked at.
pub const COMPLIANT: &str = "Compliant";
/// Schedule of scans: the last one found what `spec.alertOn` names.
pub const ALERT: &str = "Alert";
/// Waiver: it counts, and ends within 14 days.
pub const ENDS_SOON: &str = "EndsSoon";
/// Waiver: something that it names fails on its clusters, by their newest reports.
pub const IN_USE: &str = "InUse";
/// `GlobalDNS`: the provider has the records that are wanted.
pub const PROGRAMMED: &str = "Programmed";
/// `GlobalDNS`: every server that answers for the zone answers with them.
pub const PROPAGATED: &str = "Propagated";
/// `GlobalDNS`: more addresses would leave at once than may, so some stay. Present only while true.
pub const FROZEN: &str = "Frozen";
/// Cluster and bindings: rights that were withdrawn may still be there, because the cluster cannot be reached. Present only while
/// true.
pub const REVOCATIONS_UNCONFIRMED: &str = "RevocationsUnconfirmed";

/// `observedGeneration` of an object that no operator has looked at.
pub const UNOBSERVED: i64 = -1;

pub(crate) fn unobserved() -> i64 {
    UNOBSERVED
}

/// A status with conditions, so that one piece of code can write them for every kind.
pub trait StatusConditions {
    /// All conditions.
    fn conditions(&self) -> &[Condition];
    /// All conditions, to be changed.
    fn conditions_mut(&mut self) -> &mut Vec<Condition>;
    /// The generation that this status judges; [`UNOBSERVED`] before the first reconcile.
    fn observed_generation(&self) -> i64;
    /// Notes which generation this status judges.
    fn set_observed_generation(&mut self, generation: i64);

    /// The cluster of the first problem, for a kind that lists problems.
    fn first_cluster(&self) -> Option<&str> {
        None
    }

    /// Whether the object of this generation was Ready: after a restart with all clusters away it still is.
    fn was_ready(&self, generation: Option<i64>) -> bool {
        let is_ready = |condition: &Condition| condition.type_ == READY && condition.status == "True";
        self.conditions().iter().any(is_ready) && Some(self.observed_generation()) == generation
    }
}

/// Implements [`StatusConditions`] for a status that has the fields `conditions` and `observed_generation`; stands below its
/// struct.
#[macro_export]
macro_rules! status_conditions {
    ($status:ty) => {
        $crate::condition::status_conditions!($status, fn first_cluster(&self) -> Option<&str> { None });
    };
    ($status:ty, problems) => {
        $crate::condition::status_conditions!($status, fn first_cluster(&self) -> Option<&str> {
            self.problems.first().map(|problem| problem.cluster.as_str())
        });
    };
    ($status:ty, $first_cluster:item) => {
        impl $crate::condition::StatusConditions for $status {
            fn conditions(&self) -> &[k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition] {
                &self.conditions
            }

            fn conditions_mut(&mut self) -> &mut Vec<k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition> {
                &mut self.conditions
            }

            fn observed_generation(&self) -> i64 {
                self.observed_generation
            }

            fn set_observed_generation(&mut self, generation: i64) {
                self.observed_generation = generation;
            }

            $first_cluster
        }
    };
}
pub use status_conditions;
