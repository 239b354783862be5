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
//! 3. The runtime makes the requests, the changes side by side.
//! 4. [`summary`] joins what all clusters say into one status.
//!
//! Its objects have no finalizer: what a grant left while Drover was down is cleaned up when Drover is back, by the labels on it.

pub mod api;
mod observe;
mod plan;
#[cfg(test)]
mod properties;
mod summary;

use drover_fleet::{TenancyCause, targets};
use drover_runtime::{
    Cause, Inputs, Operator, Owner, PlaceContext, PlaceStatuses, Plan, Rights, Rule, Targets, Watches, WriteError,
    owned::Change, request::Urgency, rights::READ,
};
use k8s_openapi::{api::rbac::v1::RoleBinding, jiff::Timestamp};

pub use api::{ViewGrant, ViewGrantSpec, ViewGrantStatus};
pub use observe::World;
pub use plan::PlaceStatus;

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
    const CAUSES: &'static [&'static [Cause]] = &[TenancyCause::TABLE];
    const FINALIZER: bool = false;

    type Kind = ViewGrant;
    type World = World;
    type Action = Change<RoleBinding>;
    type PlaceStatus = PlaceStatus;
    type Error = WriteError;

    fn targets(grant: &ViewGrant, inputs: &Inputs<'_>) -> Targets {
        targets::of(grant, inputs.fleet)
    }

    fn watches(watches: &mut Watches<'_, Self>) {
        watches.owned::<RoleBinding>();
    }

    async fn observe(&self, owner: Owner<'_, ViewGrant>, place: &PlaceContext) -> Result<World, WriteError> {
        Ok(observe::observe(owner, place))
    }

    fn plan(grant: &ViewGrant, world: &World, _: Timestamp) -> Plan<Self> {
        plan::plan(grant, world)
    }

    fn clean_up(_: Owner<'_, ViewGrant>, world: &World, _: Timestamp) -> Plan<Self> {
        plan::clean_up(world)
    }

    fn namespace_of(change: &Change<RoleBinding>) -> Option<String> {
        change.namespace()
    }

    async fn act(
        &self,
        owner: Owner<'_, ViewGrant>,
        place: &PlaceContext,
        change: Change<RoleBinding>,
    ) -> Result<(), WriteError> {
        change.carry_out::<Self>(owner, place).await
    }

    fn urgency(change: &Change<RoleBinding>) -> Urgency {
        match change {
            // An apply may take the right from the group that had it, by naming another one.
            Change::Delete(_) | Change::Release(_) | Change::Disclaim(_) | Change::Apply { .. } => Urgency::Revocation,
            Change::Create { .. } | Change::Adopt { .. } | Change::Disown { .. } => Urgency::Rest,
        }
    }

    fn summarise(grant: &ViewGrant, statuses: &PlaceStatuses<PlaceStatus>, _: Timestamp) -> ViewGrantStatus {
        summary::summarise(grant, statuses)
    }
}
