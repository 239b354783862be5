//! Which schedules a change of something else concerns.

use drover_crds::{
    Cluster, EtcdBackupSchedule,
    condition::{CONNECTED, StatusConditions},
};
use drover_runtime::{ObjectKey, cache::Change, known::KnownKeys};
use kube::ResourceExt as _;

/// Those of all schedules that may select this cluster, or not, now.
pub(crate) fn of_cluster(all: &KnownKeys, change: &Change<Cluster>) -> Vec<ObjectKey> {
    let is_same = change.old.as_deref().map(told) == change.new.as_deref().map(told);
    if is_same { Vec::new() } else { all.all() }
}

/// What a schedule looks at of a cluster: which one it is, and whether it can be reached. Its nodes and certificates are no matter of it.
fn told(cluster: &Cluster) -> impl PartialEq {
    let status = cluster.status.as_ref();
    let conditions = status.into_iter().flat_map(StatusConditions::conditions);
    let of_link = conditions.filter(|condition| condition.type_ == CONNECTED);
    let is_connected: Vec<_> = of_link.map(|condition| condition.status.clone()).collect();
    let made_with = status.map(|status| (status.cluster_uid.clone(), status.distribution.clone()));
    let is_deleting = cluster.metadata.deletion_timestamp.is_some();
    (cluster.metadata.generation, is_deleting, cluster.labels().clone(), made_with, is_connected)
}

/// Whether the status remembers something else.
pub(crate) fn noted_something_else(change: &Change<EtcdBackupSchedule>) -> bool {
    let noted = |schedule: &EtcdBackupSchedule| {
        let status = schedule.status.clone().unwrap_or_default();
        (status.last_scheduled, status.follows, status.admission)
    };
    change.old.as_deref().map(noted) != change.new.as_deref().map(noted)
}
