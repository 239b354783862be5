//! Which apps a change of something else concerns.

use drover_crds::{
    CatalogApp, ChartRepository, Cluster, MultiClusterApp,
    condition::{ACCEPTED, CONNECTED, StatusConditions},
};
use drover_runtime::{
    ObjectKey,
    cache::{Change, Kept},
    known::KnownKeys,
};
use kube::ResourceExt as _;

/// All apps. Clones share them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Everyone(KnownKeys);

impl Everyone {
    pub(crate) fn note(&self, change: &Change<MultiClusterApp>) {
        self.0.note(change);
    }

    pub(crate) fn all(&self) -> Vec<ObjectKey> {
        self.0.all()
    }

    pub(crate) fn in_namespace<K: Kept>(&self, change: &Change<K>) -> Vec<ObjectKey> {
        self.all().into_iter().filter(|key| key.namespace == change.key.namespace).collect()
    }

    /// Those for which a name is taken or free by now.
    pub(crate) fn beside(&self, change: &Change<CatalogApp>) -> Vec<ObjectKey> {
        let came_or_went = change.old.is_none() != change.new.is_none();
        if came_or_went { self.in_namespace(change) } else { Vec::new() }
    }

    /// Those that may choose another version of a chart now.
    pub(crate) fn of_repository(&self, change: &Change<ChartRepository>) -> Vec<ObjectKey> {
        let told = |repository: &ChartRepository| {
            let status = repository.status.as_ref();
            let conditions = status.into_iter().flat_map(StatusConditions::conditions);
            let told: Vec<_> =
                conditions.map(|condition| (condition.type_.clone(), condition.status.clone())).collect();
            let read = status.map(|status| (status.index_digest.clone(), status.last_handled_reconcile_at.clone()));
            (repository.metadata.generation, read, told)
        };
        let is_same = change.old.as_deref().map(told) == change.new.as_deref().map(told);
        if is_same { Vec::new() } else { self.all() }
    }

    /// Those that may choose this cluster, or another time, now.
    pub(crate) fn of_cluster(&self, change: &Change<Cluster>) -> Vec<ObjectKey> {
        let is_same = change.old.as_deref().map(told) == change.new.as_deref().map(told);
        if is_same { Vec::new() } else { self.all() }
    }
}

/// What a rollout looks at of a cluster: which one it is, and whether it can be reached. Its nodes and certificates are no matter of it.
fn told(cluster: &Cluster) -> impl PartialEq {
    let status = cluster.status.as_ref();
    let conditions = status.into_iter().flat_map(StatusConditions::conditions);
    let of_link = conditions.filter(|condition| [ACCEPTED, CONNECTED].contains(&&*condition.type_));
    let told: Vec<_> = of_link.map(|condition| (condition.type_.clone(), condition.status.clone())).collect();
    (cluster.metadata.generation, cluster.metadata.deletion_timestamp.is_some(), cluster.labels().clone(), told)
}

/// Whether the status remembers something else, or a person asks for something.
pub(crate) fn noted_something_else(change: &Change<MultiClusterApp>) -> bool {
    let noted = |app: &MultiClusterApp| {
        let status = app.status.clone().unwrap_or_default();
        (status.rollout, status.target_revision, status.admission, app.metadata.annotations.clone())
    };
    change.old.as_deref().map(noted) != change.new.as_deref().map(noted)
}
