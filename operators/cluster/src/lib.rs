//! The Cluster operator: tells how every cluster stands. It writes nothing downstream.
//!
//! The connection itself is the fleet's; this operator turns what the fleet reports, and the cluster's nodes, into the
//! status of the `Cluster`. A pass runs when the Cluster changes, when its connection is reported anew, and, at most every
//! 30 seconds, when a node changes.

mod node;
mod plan;
mod summary;

use std::{collections::BTreeSet, convert::Infallible, time::Duration};

use drover_crds::{Cluster, ClusterStatus};
use drover_fleet::Fleet;
use drover_runtime::{
    ClusterName, FleetView, LabelQuery, ObjectKey, Operator, Parts, Place, Site, Watches, operator::Plan,
};
use k8s_openapi::jiff::Timestamp;

pub use node::SlimNode;
pub use plan::{Part, World};

/// Node totals are looked at again at most this often: nodes report every few seconds, and nobody reads that fast.
const NODE_PACE: Duration = Duration::from_secs(30);

/// The operator of the kind [`Cluster`].
#[derive(Clone, Debug)]
pub struct ClusterOperator {
    fleet: Fleet,
}

impl ClusterOperator {
    /// Tells what `fleet` reports.
    #[must_use]
    pub fn new(fleet: Fleet) -> Self {
        Self { fleet }
    }
}

/// Nothing is requested in a pass, so nothing can fail.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct Never(Infallible);

impl drover_runtime::Classify for Never {
    fn class(&self) -> drover_runtime::Class {
        match self.0 {}
    }

    fn reason(&self) -> &'static str {
        match self.0 {}
    }
}

impl Operator for ClusterOperator {
    const NAME: &'static str = "cluster";
    const FINALIZER: bool = false;

    type Kind = Cluster;
    type World = World;
    type Action = Infallible;
    type Part = Part;
    type Error = Never;

    fn places(cluster: &Cluster, _: &FleetView) -> BTreeSet<Place> {
        BTreeSet::from([Place::Cluster(ClusterName::from(cluster))])
    }

    fn watches(watches: &mut Watches<'_, Self>) {
        let Place::Cluster(name) = watches.site().place.clone() else { return };
        let key = ObjectKey::cluster_scoped(name.as_str());
        watches.on::<SlimNode>(&LabelQuery::everything(), move |_, wake| wake.after(key.clone(), NODE_PACE));
    }

    async fn observe(&self, cluster: &Cluster, site: &Site) -> Result<World, Never> {
        let report = self.fleet.report(&ClusterName::from(cluster)).unwrap_or_default();
        let nodes = site.cache.view::<SlimNode>(&LabelQuery::everything()).all();
        Ok(World { report, nodes })
    }

    fn plan(_: &Cluster, world: &World, _: Timestamp) -> Plan<Self> {
        plan::plan(world)
    }

    async fn act(&self, _: &Cluster, _: &Site, action: Infallible) -> Result<(), Never> {
        match action {}
    }

    fn summarise(cluster: &Cluster, parts: &Parts<Part>, _: Timestamp) -> ClusterStatus {
        summary::summarise(cluster, parts)
    }
}
