//! The Cluster operator: reports the state of every cluster, and releases what Drover has there when its Cluster is deleted.
//!
//! The connection itself, and the claim, are the fleet's. While a Cluster lives, this operator
//! turns what the fleet reports, and the cluster's nodes, into the status; and it keeps the cluster's admission policies. A reconcile runs when the Cluster changes, when its
//! connection is reported anew, at most every 30 seconds when a node changes, and when a certificate comes to its end.
//!
//! A Cluster that is being deleted is converged at the management cluster instead, where it is decided on although the
//! cluster may be away: see [`teardown`].

mod act;
pub mod cause;
mod distribution;
mod error;
mod node;
pub mod observe;
pub mod own_snapshot;
mod plan;
mod summary;
pub mod teardown;
mod validity;

use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, Instant},
};

use drover_admission::{downstream, verbs};
use drover_crds::{Cluster, ClusterStatus, Project, names::DROVER_NAMESPACE};
use drover_fleet::{
    ConnectionCause, Fleet, Report,
    admission::{OWNER_KIND, guarded_here, guarded_in_management, read_in_management, state_here},
};
use drover_runtime::{
    Cause, ClusterName, Inputs, LabelQuery, ObjectKey, Operator, Owner, OwnerRecord, Place, PlaceContext,
    PlaceStatuses, Related, Rights, Rule, Targets, Watches, cache::Health, operator::Plan, rights::READ,
};
use k8s_openapi::{
    api::admissionregistration::v1::{ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding},
    jiff::Timestamp,
};

pub use error::ClusterError;
pub use node::SlimNode;
use own_snapshot::SlimSnapshot;
pub use plan::{Admission, Living, PlaceStatus, RightsOfCredential, Seen, World};
pub use teardown::Action;
pub use validity::Validity;

/// Node totals are looked at again at most this often: nodes report every few seconds, and nobody reads that fast.
const NODE_PACE: Duration = Duration::from_secs(30);

/// What an admission policy consists of.
const POLICIES: &[&str] = &["validatingadmissionpolicies", "validatingadmissionpolicybindings"];

/// The operator of the kind [`Cluster`].
#[derive(Clone, Debug)]
pub struct ClusterOperator {
    fleet: Fleet,
    started: Instant,
}

impl ClusterOperator {
    /// Reports what `fleet` knows.
    #[must_use]
    pub fn new(fleet: Fleet) -> Self {
        Self { fleet, started: Instant::now() }
    }
}

impl Operator for ClusterOperator {
    const NAME: &'static str = "cluster";
    const CAUSES: &'static [&'static [Cause]] =
        &[cause::ClusterCause::TABLE, cause::DeletionCause::TABLE, ConnectionCause::TABLE];
    const FINALIZER: bool = true;
    /// A cluster is claimed once its status says which one it is.
    const BEFORE_CLAIM: bool = true;
    /// What this operator needs: the Clusters and their status, the nodes, what k3s and RKE2 tell of their own snapshots of etcd, the admission policies of a cluster and to be Drover to
    /// them, what Drover still has in a cluster whose Cluster is being deleted, which of that has no Project any more, and then to
    /// delete the namespace drover-system.
    const RIGHTS: Rights = Rights {
        management: &[
            Rule::on("drover.dev", &["clusters", "projects"], READ),
            Rule::on("drover.dev", &["clusters", "clusters/status"], &["patch"]),
        ],
        downstream: &[
            Rule::on("", &["nodes"], READ),
            Rule::on(own_snapshot::GROUP, &[own_snapshot::PLURAL], READ),
            Rule::on("", &["namespaces"], &["list", "patch"]),
            Rule::on("", &["namespaces"], &["delete", "get"]).named(&[DROVER_NAMESPACE]),
            Rule::on("rbac.authorization.k8s.io", &["clusterroles", "clusterrolebindings"], &["list"]),
            Rule::on("", &["namespaces"], &[verbs::MANAGE, verbs::SET_POD_SECURITY]),
            Rule::on("admissionregistration.k8s.io", POLICIES, &["create"]),
            Rule::on("admissionregistration.k8s.io", POLICIES, &["delete", "patch"]).named(downstream::NAMES),
            Rule::on("rbac.authorization.k8s.io", &["clusterroles"], &[verbs::FENCED]),
            Rule::on("rbac.authorization.k8s.io", &["clusterroles"], &[verbs::BIND_EXTERNAL])
                .named(&["admin", "edit", "view"]),
        ],
        downstream_namespace: &[
            Rule::on("coordination.k8s.io", &["leases"], &["list"]),
            Rule::on("", &["serviceaccounts"], &["list"]),
        ],
        ..Rights::NONE
    };

    type Kind = Cluster;
    type World = World;
    type Action = Action;
    type PlaceStatus = PlaceStatus;
    type Error = ClusterError;

    /// A namespace in a cluster whose Cluster is being deleted has an owner only while its Project exists.
    fn related(related: &mut Related<'_>) {
        related.on::<Project>(|_| Vec::new());
        read_in_management(related);
    }

    fn targets(cluster: &Cluster, _: &Inputs<'_>) -> Targets {
        BTreeSet::from([place_of(cluster)]).into()
    }

    fn watches(watches: &mut Watches<'_, Self>) {
        let Place::Cluster(name) = watches.context().place.clone() else { return };
        let key = ObjectKey::cluster_scoped(name.as_str());
        let (of_policies, of_bindings) = (key.clone(), key.clone());
        watches.on::<SlimNode>(&LabelQuery::everything(), move |_, enqueuer| enqueuer.after(key.clone(), NODE_PACE));
        // An import of before came without the right to read them.
        watches.optional(|watches| {
            let ours = OwnerRecord::query(OWNER_KIND);
            watches.on::<ValidatingAdmissionPolicy>(&ours, move |_, enqueuer| enqueuer.now(of_policies.clone()));
            watches.on::<ValidatingAdmissionPolicyBinding>(&ours, move |_, enqueuer| enqueuer.now(of_bindings.clone()));
        });
    }

    async fn observe(&self, owner: Owner<'_, Cluster>, context: &PlaceContext) -> Result<World, ClusterError> {
        match owner {
            Owner::Present(cluster) => {
                let installation = self.fleet.installation().to_owned();
                let report = self.fleet.report(cluster).unwrap_or_default();
                let nodes = context.cache.informer::<SlimNode>(&LabelQuery::everything()).all();
                let policies = state_here(context);
                let own_snapshots = own_snapshots(&report, &nodes, context);
                let admission = Admission { management: guarded_in_management(context), here: guarded_here(context) };
                Ok(World::Living(Box::new(Living { installation, report, nodes, own_snapshots, admission, policies })))
            }
            Owner::Deleting(cluster) if context.place == place_of(cluster) => {
                Ok(World::Teardown(Box::new(observe::look(self, cluster, context).await)))
            }
            Owner::Deleting(_) | Owner::Gone(_) | Owner::Abandoned(_) => Ok(World::Elsewhere),
        }
    }

    fn plan(cluster: &Cluster, world: &World, now: Timestamp) -> Plan<Self> {
        plan::plan(cluster, world, now)
    }

    fn clean_up(owner: Owner<'_, Cluster>, world: &World, now: Timestamp) -> Plan<Self> {
        plan::clean_up(owner, world, now)
    }

    async fn act(&self, owner: Owner<'_, Cluster>, context: &PlaceContext, action: Action) -> Result<(), ClusterError> {
        act::act(&owner.key().name, context, self.fleet.installation(), action).await
    }

    fn summarise(cluster: &Cluster, statuses: &PlaceStatuses<PlaceStatus>, _: Timestamp) -> ClusterStatus {
        summary::summarise(cluster, statuses)
    }
}

/// The snapshots that the cluster took by itself; none as long as that is not known. Only k3s and RKE2 are asked.
fn own_snapshots(report: &Report, nodes: &[Arc<SlimNode>], context: &PlaceContext) -> Option<Vec<Arc<SlimSnapshot>>> {
    let version = report.facts.as_ref()?.version.as_str();
    if !distribution::takes_own_snapshots(distribution::of(Some(version), nodes)) {
        return Some(Vec::new());
    }
    let informer = context.cache.informer::<SlimSnapshot>(&LabelQuery::everything());
    (informer.health() == Health::Live).then(|| informer.all())
}

/// A living Cluster is reconciled at its own place; one that is being deleted at the management cluster, also while the cluster
/// is unreachable.
fn place_of(cluster: &Cluster) -> Place {
    if cluster.metadata.deletion_timestamp.is_some() {
        Place::Management
    } else {
        Place::Cluster(ClusterName::from(cluster))
    }
}
