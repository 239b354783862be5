//! Where work happens: the management cluster or one downstream cluster, and what is known of the fleet.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt, mem,
    sync::Arc,
};

use drover_crds::{Cluster, DeletionPolicy};
use kube::ResourceExt;

use crate::{cache::Cache, error::Failure};

/// The name of a downstream cluster, which is the name of its `Cluster` object.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClusterName(Arc<str>);

impl ClusterName {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&str> for ClusterName {
    fn from(name: &str) -> Self {
        Self(name.into())
    }
}

impl From<&Cluster> for ClusterName {
    fn from(cluster: &Cluster) -> Self {
        Self(cluster.name_any().into())
    }
}

impl fmt::Display for ClusterName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// One API server that an object is converged on. Work is keyed by object and place, so a slow cluster is a slow key.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Place {
    /// The management cluster.
    Management,
    /// A downstream cluster.
    Cluster(ClusterName),
}

impl Place {
    /// The place of the downstream cluster `name`.
    #[must_use]
    pub fn cluster(name: &str) -> Self {
        Self::Cluster(name.into())
    }
}

impl fmt::Display for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Management => formatter.write_str("the management cluster"),
            Self::Cluster(name) => write!(formatter, "cluster {name}"),
        }
    }
}

/// Whether a downstream cluster can be worked on. Not connected is a normal value, not an error.
#[derive(Clone, Debug)]
pub enum Link {
    /// No verdict yet: the cluster is being connected for the first time.
    Connecting,
    /// Reachable and known, but not claimed yet: nothing is written there.
    Unclaimed(Arc<Cache>),
    /// Reachable. The cache is the way to read it and carries the client to write with.
    Connected(Arc<Cache>),
    /// Not reachable, and why.
    Disconnected(Failure),
}

impl Link {
    /// Whether the cluster is known to be foreign: claimed by another management cluster.
    #[must_use]
    pub fn is_foreign(&self) -> bool {
        matches!(self, Self::Disconnected(failure) if failure.cause.is_foreign())
    }

    /// Whether both say the same to a reader: a new connection to the same cluster is a change.
    #[must_use]
    pub fn same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Connecting, Self::Connecting) => true,
            (Self::Connected(one), Self::Connected(two)) | (Self::Unclaimed(one), Self::Unclaimed(two)) => {
                Arc::ptr_eq(one, two)
            }
            (Self::Disconnected(one), Self::Disconnected(two)) => one == two,
            _ => false,
        }
    }
}

/// What the runtime and the plans know of one downstream cluster.
#[derive(Clone, Debug)]
pub struct ClusterView {
    /// The `Cluster` object, with its labels, tenants and policies.
    pub object: Arc<Cluster>,
    /// Whether it can be worked on.
    pub link: Link,
    /// Grows whenever the fleet learned something of the connection.
    pub reports: u64,
}

/// What becomes of what Drover made in `cluster`, if it is being deleted. With `Orphan` nothing is written there any more; with
/// `Delete` it is deselected everywhere, and every owner releases what it holds there.
#[must_use]
pub fn deletion_of(cluster: &Cluster) -> Option<DeletionPolicy> {
    cluster.metadata.deletion_timestamp.as_ref().map(|_| cluster.spec.deletion_policy)
}

impl ClusterView {
    fn same_choice(&self, other: &Self) -> bool {
        let choice = |view: &Self| {
            let meta = &view.object.metadata;
            (meta.uid.clone(), meta.generation, meta.deletion_timestamp.is_some())
        };
        choice(self) == choice(other) && self.object.labels() == other.object.labels()
    }
}

/// A snapshot of all known clusters. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct FleetView {
    clusters: Arc<BTreeMap<ClusterName, ClusterView>>,
    namespaces: Arc<BTreeMap<String, BTreeMap<String, String>>>,
    synced: bool,
    operator_namespace: Option<Arc<str>>,
    installation: Arc<str>,
    unread: Arc<BTreeSet<ClusterName>>,
}

/// What differs between two snapshots.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct FleetChange {
    /// Clusters with news of their connection.
    pub links: Vec<ClusterName>,
    /// Whether the answer to "which clusters does this object select" may have changed for every object. A Cluster that is
    /// being deleted is released only while it can be reached.
    pub choice: bool,
    /// Whether a cluster can be reached that could not, or the other way round, or whether it fails otherwise: an object that
    /// is being deleted may have to be released at other places than before.
    pub reach: bool,
    /// Namespaces of the management cluster that came, went or changed their labels: it may have changed for what is there.
    pub namespaces: Vec<String>,
}

impl FleetView {
    /// A snapshot of `clusters` and of the labels of the management cluster's `namespaces`. `synced` says that both were
    /// listed: before that an absent cluster is unknown, not gone.
    #[must_use]
    pub fn new(
        clusters: BTreeMap<ClusterName, ClusterView>,
        namespaces: BTreeMap<String, BTreeMap<String, String>>,
        synced: bool,
    ) -> Self {
        Self {
            clusters: Arc::new(clusters),
            namespaces: Arc::new(namespaces),
            synced,
            operator_namespace: None,
            installation: Arc::default(),
            unread: Arc::default(),
        }
    }

    /// The same, with the operator namespace, in which the kubeconfigs of all clusters are.
    #[must_use]
    pub fn with_operator_namespace(self, namespace: &str) -> Self {
        Self { operator_namespace: Some(namespace.into()), ..self }
    }

    /// The same, for the installation of Drover of this name.
    #[must_use]
    pub fn with_installation(self, installation: &str) -> Self {
        Self { installation: installation.into(), ..self }
    }

    /// The name of this installation of Drover; empty in a snapshot that was made without one.
    #[must_use]
    pub fn installation(&self) -> &str {
        &self.installation
    }

    /// The same, with the Clusters that exist and could not be decoded since this process began: unknown, not gone.
    #[must_use]
    pub fn with_unread(self, unread: BTreeSet<ClusterName>) -> Self {
        Self { unread: Arc::new(unread), ..self }
    }

    /// The Clusters of which nothing is known but their names.
    pub fn unread(&self) -> impl Iterator<Item = &ClusterName> {
        self.unread.iter()
    }

    /// The operator namespace.
    #[must_use]
    pub fn operator_namespace(&self) -> Option<&str> {
        self.operator_namespace.as_deref()
    }

    /// Whether this is the operator namespace: nothing of a tenant is accepted there.
    #[must_use]
    pub fn is_operator_namespace(&self, namespace: &str) -> bool {
        self.operator_namespace.as_deref() == Some(namespace)
    }

    /// Whether the list of clusters is complete.
    #[must_use]
    pub fn synced(&self) -> bool {
        self.synced
    }

    /// One cluster, if it exists.
    #[must_use]
    pub fn get(&self, name: &ClusterName) -> Option<&ClusterView> {
        self.clusters.get(name)
    }

    /// Whether `place` is a cluster that is being deleted.
    #[must_use]
    pub fn is_deleting(&self, place: &Place) -> bool {
        match place {
            Place::Management => false,
            Place::Cluster(name) => self.get(name).is_some_and(|view| deletion_of(&view.object).is_some()),
        }
    }

    /// All clusters by name.
    pub fn iter(&self) -> impl Iterator<Item = (&ClusterName, &ClusterView)> {
        self.clusters.iter()
    }

    /// The labels of a namespace of the management cluster: a Cluster names its tenants by them.
    #[must_use]
    pub fn namespace_labels(&self, namespace: &str) -> Option<&BTreeMap<String, String>> {
        self.namespaces.get(namespace)
    }

    fn changed_namespaces(&self, next: &Self) -> Vec<String> {
        let gone = self.namespaces.keys().filter(|name| !next.namespaces.contains_key(*name));
        let differs = |(name, labels): &(&String, _)| self.namespaces.get(*name) != Some(*labels);
        gone.chain(next.namespaces.iter().filter(differs).map(|(name, _)| name)).cloned().collect()
    }

    /// What changed from `self` to `next`.
    #[must_use]
    pub fn change(&self, next: &Self) -> FleetChange {
        let same_keys = self.clusters.len() == next.clusters.len() && self.clusters.keys().eq(next.clusters.keys());
        let mut change = FleetChange {
            choice: !same_keys || self.synced != next.synced || self.unread != next.unread,
            namespaces: self.changed_namespaces(next),
            ..FleetChange::default()
        };
        for (name, new) in next.clusters.iter() {
            let Some(old) = self.clusters.get(name) else {
                change.links.push(name.clone());
                continue;
            };
            let turned = mem::discriminant(&old.link) != mem::discriminant(&new.link);
            change.reach |= !old.link.same(&new.link);
            change.choice |= !old.same_choice(new) || (turned && deletion_of(&new.object).is_some());
            if old.reports != new.reports || !old.link.same(&new.link) {
                change.links.push(name.clone());
            }
        }
        change.links.extend(self.clusters.keys().filter(|name| !next.clusters.contains_key(*name)).cloned());
        change
    }
}

/// Where an object is reconciled.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Targets {
    /// The places.
    pub places: BTreeSet<Place>,
    /// Those of them that it did not select, and where it may only have left something: its deletion looks at them, and does not wait for
    /// one that does not let it.
    pub only_tried: BTreeSet<Place>,
    /// How many clusters it selects that are none of them, as their owners do not admit it.
    pub refused: usize,
}

impl From<BTreeSet<Place>> for Targets {
    fn from(places: BTreeSet<Place>) -> Self {
        Self { places, ..Self::default() }
    }
}

/// A place that can be worked on right now.
#[derive(Clone, Debug)]
pub struct PlaceContext {
    /// Which place.
    pub place: Place,
    /// Its `Cluster` object; none for the management cluster.
    pub cluster: Option<Arc<Cluster>>,
    /// The fleet as it was when the reconcile began.
    pub fleet: FleetView,
    /// How to read it, and the client to write with.
    pub cache: Arc<Cache>,
    /// How to read the management cluster.
    pub management: Arc<Cache>,
}

#[cfg(test)]
mod tests {
    use k8s_openapi::{apimachinery::pkg::apis::meta::v1::Time, jiff::Timestamp};
    use serde_json::json;

    use super::*;
    use crate::StatusCause;

    fn view(label: &str, reports: u64) -> ClusterView {
        let object = serde_json::from_value(json!({
            "apiVersion": "drover.dev/v1alpha1", "kind": "Cluster",
            "metadata": {"name": "eu", "uid": "1", "generation": 1, "labels": {"env": label}},
            "spec": {"connection": {"kubeconfig": {"secretRef": {"name": "eu"}}}},
        }));
        ClusterView { object: Arc::new(object.unwrap()), link: Link::Connecting, reports }
    }

    fn fleet(clusters: &[(&str, ClusterView)], namespaces: &[(&str, &str)]) -> FleetView {
        let clusters = clusters.iter().map(|(name, view)| (ClusterName::from(*name), view.clone())).collect();
        let labels = |label: &str| BTreeMap::from([("tier".to_owned(), label.to_owned())]);
        let namespaces = namespaces.iter().map(|(name, label)| ((*name).to_owned(), labels(label))).collect();
        FleetView::new(clusters, namespaces, true)
    }

    #[test]
    fn a_change_enqueues_what_it_concerns_and_nothing_else() {
        let before = fleet(&[("eu", view("prod", 1))], &[("a", "x"), ("b", "x")]);
        assert_eq!(before.change(&before), FleetChange::default());

        let reported = before.change(&fleet(&[("eu", view("prod", 2))], &[("a", "x"), ("b", "x")]));
        assert_eq!((reported.choice, reported.links), (false, vec![ClusterName::from("eu")]));

        let mut back = view("prod", 2);
        back.link = Link::Disconnected(Failure::new(StatusCause::Unreachable, "refused"));
        let away = fleet(&[("eu", back.clone())], &[("a", "x"), ("b", "x")]);
        assert!(before.change(&away).reach && !before.change(&away).choice && !away.change(&away).reach);
        let mut taken = back.clone();
        taken.link = Link::Disconnected(Failure::new(StatusCause::Unreachable.cause().foreign(), "taken"));
        assert!(away.change(&fleet(&[("eu", taken)], &[("a", "x"), ("b", "x")])).reach);

        let going = |mut view: ClusterView| {
            Arc::make_mut(&mut view.object).metadata.deletion_timestamp = Some(Time(Timestamp::UNIX_EPOCH));
            fleet(&[("eu", view)], &[])
        };
        assert!(
            going(back).change(&going(view("prod", 3))).choice,
            "where it goes depends on whether it can be reached"
        );

        let relabelled = before.change(&fleet(&[("eu", view("test", 1))], &[("a", "x"), ("b", "x")]));
        assert_eq!((relabelled.choice, relabelled.links), (true, vec![]));

        let gone = before.change(&fleet(&[], &[("a", "x"), ("b", "x")]));
        assert_eq!((gone.choice, gone.links), (true, vec![ClusterName::from("eu")]));

        let namespaces = before.change(&fleet(&[("eu", view("prod", 1))], &[("a", "y"), ("c", "x")]));
        assert!(!namespaces.choice);
        assert_eq!(BTreeSet::from_iter(namespaces.namespaces), ["a", "b", "c"].map(str::to_owned).into());
    }
}
