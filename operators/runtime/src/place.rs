//! Where work happens: the management cluster or one downstream cluster, and what is known of the fleet.

use std::{collections::BTreeMap, fmt, sync::Arc};

use drover_crds::Cluster;
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
    /// No verdict yet: the first contact is being made.
    Connecting,
    /// Reachable. The cache is the way to read it and carries the client to write with.
    Connected(Arc<Cache>),
    /// Not reachable, and why.
    Disconnected(Failure),
}

impl Link {
    /// Whether both say the same to a reader: a new connection to the same cluster is a change.
    #[must_use]
    pub fn same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Connecting, Self::Connecting) => true,
            (Self::Connected(one), Self::Connected(two)) => Arc::ptr_eq(one, two),
            (Self::Disconnected(one), Self::Disconnected(two)) => one == two,
            _ => false,
        }
    }
}

/// What the shell and the plans know of one downstream cluster.
#[derive(Clone, Debug)]
pub struct ClusterView {
    /// The `Cluster` object, with its labels, tenants and policies.
    pub object: Arc<Cluster>,
    /// Whether it can be worked on.
    pub link: Link,
    /// Grows whenever the fleet learned something of the connection.
    pub reports: u64,
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
}

/// What differs between two snapshots.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct FleetChange {
    /// Clusters of whose connection something new is known.
    pub links: Vec<ClusterName>,
    /// Whether the answer to "which clusters does this object select" may have changed.
    pub choice: bool,
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
        Self { clusters: Arc::new(clusters), namespaces: Arc::new(namespaces), synced }
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

    /// All clusters by name.
    pub fn iter(&self) -> impl Iterator<Item = (&ClusterName, &ClusterView)> {
        self.clusters.iter()
    }

    /// The labels of a namespace of the management cluster: a Cluster names its tenants by them.
    #[must_use]
    pub fn namespace_labels(&self, namespace: &str) -> Option<&BTreeMap<String, String>> {
        self.namespaces.get(namespace)
    }

    /// What changed from `self` to `next`.
    #[must_use]
    pub fn change(&self, next: &Self) -> FleetChange {
        let same_keys = self.clusters.len() == next.clusters.len() && self.clusters.keys().eq(next.clusters.keys());
        let mut change = FleetChange {
            choice: !same_keys || self.synced != next.synced || self.namespaces != next.namespaces,
            ..FleetChange::default()
        };
        for (name, new) in next.clusters.iter() {
            let Some(old) = self.clusters.get(name) else {
                change.links.push(name.clone());
                continue;
            };
            change.choice |= !old.same_choice(new);
            if old.reports != new.reports || !old.link.same(&new.link) {
                change.links.push(name.clone());
            }
        }
        change.links.extend(self.clusters.keys().filter(|name| !next.clusters.contains_key(*name)).cloned());
        change
    }
}

/// A place that can be worked on right now.
#[derive(Clone, Debug)]
pub struct Site {
    /// Which place.
    pub place: Place,
    /// Its `Cluster` object; none for the management cluster.
    pub cluster: Option<Arc<Cluster>>,
    /// The fleet as it was when the pass began.
    pub fleet: FleetView,
    /// How to read it, and the client to write with.
    pub cache: Arc<Cache>,
}
