//! The smallest operator: a [`ViewGrant`] gives a group the role `view` in one namespace of every cluster that it selects.
//!
//! It is complete and works, but does not belong to Drover: read it, and copy it to begin a kind of your own.
//!
//! One reconcile converges one grant on one cluster:
//!
//! 1. [`observe`] looks up in the cache which `RoleBindings` carry the labels of this grant, and whether the owner of the cluster
//!    admits the grant there.
//! 2. [`plan`] compares that with what is wanted. A grant that is being deleted, is gone, or does not select the cluster any
//!    more wants nothing, so its bindings go.
//! 3. The runtime makes the requests, one change at a time.
//! 4. [`summary`] joins what all clusters say into one status.
//!
//! Its objects have no finalizer: what a grant left while Drover was down is cleaned up when Drover is back, by the labels on it.

pub mod api;
mod observe;
mod plan;
mod summary;

use drover_crds::StatusConditions as _;
use drover_fleet::targets;
use drover_runtime::{
    ApiError, Cause, FleetView, Operator, Owner, PlaceContext, PlaceStatuses, Plan, Rights, Rule, Targets, Watches,
    WriteError, causes, owned::Change, rights::READ,
};
use k8s_openapi::{api::rbac::v1::RoleBinding, jiff::Timestamp};

pub use api::{ViewGrant, ViewGrantSpec, ViewGrantStatus};
pub use observe::World;
pub use plan::PlaceStatus;

causes! {
    /// Why a grant is not in place.
    pub enum GrantCause {
        /// The owner of a cluster does not admit the grant to its namespace there.
        NotAdmitted = "NotAdmitted": Blocked; "Add the namespaces to spec.tenants of the Cluster.",
    }
}

/// What may go wrong in a reconcile.
#[derive(Debug, thiserror::Error)]
pub enum GrantError {
    /// A binding could not be written.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// Something could not be read.
    #[error(transparent)]
    Read(#[from] ApiError),
}

impl drover_runtime::Classify for GrantError {
    fn cause(&self) -> Cause {
        match self {
            Self::Write(error) => error.cause(),
            Self::Read(error) => error.cause(),
        }
    }
}

/// The operator of the kind [`ViewGrant`].
#[derive(Clone, Copy, Debug)]
pub struct ViewGrantOperator;

impl Operator for ViewGrantOperator {
    const NAME: &'static str = "view-grant";
    const RIGHTS: Rights = Rights {
        management: &[
            Rule::on("examples.drover.dev", &["viewgrants"], READ),
            Rule::on("examples.drover.dev", &["viewgrants/status"], &["patch"]),
        ],
        downstream: &[
            Rule::on("rbac.authorization.k8s.io", &["rolebindings"], READ),
            Rule::on("rbac.authorization.k8s.io", &["rolebindings"], &["create", "delete", "patch"]),
            Rule::on("rbac.authorization.k8s.io", &["clusterroles"], &["bind"]).named(&["view"]),
        ],
        ..Rights::NONE
    };
    const CAUSES: &'static [&'static [Cause]] = &[GrantCause::TABLE];
    const FINALIZER: bool = false;

    type Kind = ViewGrant;
    type World = World;
    type Action = Change<RoleBinding>;
    type PlaceStatus = PlaceStatus;
    type Error = GrantError;

    fn targets(grant: &ViewGrant, fleet: &FleetView) -> Targets {
        targets::of(grant, fleet)
    }

    fn watches(watches: &mut Watches<'_, Self>) {
        watches.owned::<RoleBinding>();
    }

    async fn observe(&self, owner: Owner<'_, ViewGrant>, place: &PlaceContext) -> Result<World, GrantError> {
        Ok(observe::observe(owner, place))
    }

    fn plan(grant: &ViewGrant, world: &World, _: Timestamp) -> Plan<Self> {
        plan::plan(grant, world)
    }

    fn clean_up(_: Owner<'_, ViewGrant>, world: &World, _: Timestamp) -> Plan<Self> {
        plan::clean_up(world)
    }

    async fn act(
        &self,
        owner: Owner<'_, ViewGrant>,
        place: &PlaceContext,
        change: Change<RoleBinding>,
    ) -> Result<(), GrantError> {
        Ok(change.carry_out::<Self>(owner, place).await?)
    }

    fn summarise(grant: &ViewGrant, statuses: &PlaceStatuses<PlaceStatus>, _: Timestamp) -> ViewGrantStatus {
        let was_ready = grant.status.as_ref().is_some_and(|status| status.was_ready(grant.metadata.generation));
        summary::summarise(statuses, was_ready)
    }
}
