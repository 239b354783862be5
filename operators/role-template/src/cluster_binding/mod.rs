//! Where a [`ClusterRoleTemplateBinding`] is effective. This operator writes nothing: the one of the template writes for all
//! bindings together.
//!
//! 1. [`observe`] looks up the template, and at each cluster the roles and bindings that carry its labels.
//! 2. [`plan`] compares them with what this binding asks for.
//! 3. [`summary`] counts the clusters, and says why it is not effective on others.

pub mod observe;
pub mod plan;
mod summary;

#[cfg(test)]
mod tests;

use std::{collections::BTreeSet, convert::Infallible};

use drover_crds::{ClusterRoleTemplateBinding, RoleBindingStatus, RoleTemplate};
use drover_grants::{BindingIndex, GrantCause};
use drover_runtime::{
    Cause, Inputs, LabelQuery, Operator, Owner, OwnerRecord, Place, PlaceContext, PlaceStatuses, Plan, Related, Rights,
    Rule, Targets, Watches, WriteError, cache::Kept, rights::READ,
};
use k8s_openapi::{
    api::{
        admissionregistration::v1::{ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding},
        rbac::v1::{ClusterRole, ClusterRoleBinding},
    },
    jiff::Timestamp,
};
use kube::ResourceExt as _;

use crate::{RBAC, uses};

/// The operator of the kind [`ClusterRoleTemplateBinding`].
#[derive(Clone, Copy, Debug)]
pub struct ClusterRoleTemplateBindingOperator;

impl Operator for ClusterRoleTemplateBindingOperator {
    const NAME: &'static str = "cluster-role-template-binding";
    const CAUSES: &'static [&'static [Cause]] = &[GrantCause::ON_CLUSTERS];
    const FINALIZER: bool = false;
    const RIGHTS: Rights = Rights {
        management: &[
            Rule::on("drover.dev", &["roletemplates", "clusterroletemplatebindings"], READ),
            Rule::on("drover.dev", &["clusterroletemplatebindings/status"], &["patch"]),
        ],
        downstream: &[Rule::on(RBAC, &["clusterroles", "clusterrolebindings"], READ)],
        ..Rights::NONE
    };

    type Kind = ClusterRoleTemplateBinding;
    type World = observe::World;
    type Action = Infallible;
    type PlaceStatus = plan::PlaceStatus;
    type Error = WriteError;

    fn related(related: &mut Related<'_>) {
        let bindings = BindingIndex::default();
        let noted = bindings.clone();
        // Other bindings of the template may hold the same right; what they change shows in the cluster.
        related.on::<ClusterRoleTemplateBinding>(move |change| {
            noted.note(change);
            Vec::new()
        });
        let [of_policies, of_policy_bindings] = [bindings.clone(), bindings.clone()];
        related.on::<RoleTemplate>(move |change| bindings.bindings_of_template(change));
        related.on::<ValidatingAdmissionPolicy>(move |_| of_policies.all());
        related.on::<ValidatingAdmissionPolicyBinding>(move |_| of_policy_bindings.all());
    }

    fn targets(binding: &ClusterRoleTemplateBinding, inputs: &Inputs<'_>) -> Targets {
        uses::places(binding, inputs.fleet, &[binding], &[], &[])
    }

    fn watches(watches: &mut Watches<'_, Self>) {
        if watches.context().place != Place::Management {
            watch::<ClusterRole>(watches);
            watch::<ClusterRoleBinding>(watches);
        }
    }

    async fn observe(
        &self,
        owner: Owner<'_, ClusterRoleTemplateBinding>,
        place: &PlaceContext,
    ) -> Result<observe::World, WriteError> {
        Ok(observe::observe(owner, place))
    }

    fn plan(binding: &ClusterRoleTemplateBinding, world: &observe::World, now: Timestamp) -> Plan<Self> {
        plan::plan(binding, world, now)
    }

    fn clean_up(_: Owner<'_, ClusterRoleTemplateBinding>, _: &observe::World, _: Timestamp) -> Plan<Self> {
        plan::clean_up()
    }

    async fn act(
        &self,
        _: Owner<'_, ClusterRoleTemplateBinding>,
        _: &PlaceContext,
        action: Infallible,
    ) -> Result<(), WriteError> {
        match action {}
    }

    fn summarise(
        binding: &ClusterRoleTemplateBinding,
        statuses: &PlaceStatuses<plan::PlaceStatus>,
        now: Timestamp,
    ) -> RoleBindingStatus {
        summary::summarise(binding, statuses, now)
    }
}

/// What carries the labels of a template concerns the bindings that name it.
fn watch<K: Kept>(watches: &mut Watches<'_, ClusterRoleTemplateBindingOperator>) {
    const TEMPLATE: &str = "RoleTemplate";
    let bindings = watches.context().management.informer::<ClusterRoleTemplateBinding>(&LabelQuery::everything());
    watches.on::<K>(&OwnerRecord::query(TEMPLATE), move |change, enqueuer| {
        let templates: BTreeSet<String> = change
            .sides()
            .filter_map(|side| OwnerRecord::recorded(side.meta(), TEMPLATE))
            .map(|key| key.name)
            .collect();
        let named = bindings.filter(|binding| templates.contains(&binding.spec.role_template_name));
        for binding in named {
            enqueuer.now(drover_runtime::ObjectKey::cluster_scoped(&binding.name_any()));
        }
    });
}
