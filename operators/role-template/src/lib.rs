//! The operators of role templates and of their bindings on whole clusters.
//!
//! One reconcile of a [`RoleTemplate`] converges its role on one cluster:
//!
//! 1. [`observe`] gathers what the template allows with all that it inherits, the bindings that need it there ([`uses`]), and the
//!    roles and bindings that carry its labels.
//! 2. [`plan`] writes its `ClusterRole` while a binding in force needs it, binds it to all subjects of these bindings, and prunes
//!    what is not wanted any more. It looks again when the first binding ends.
//! 3. The runtime does it; what takes a right away goes first.
//! 4. [`summary`] joins what all clusters say into one status.
//!
//! A template is also judged as a whole, at the management cluster, where nothing is written: what it allows, what it lacks, and whether
//! it was written under the admission policies. While it was not, nobody gets more by it.
//! At a cluster that is being deleted with `Delete` a role goes once the apps that have it are uninstalled.
//! Templates and bindings have no finalizers. A grant goes with the binding that made it; what was left while Drover was down is found
//! by its labels.
//!
//! The second kind, [`cluster_binding`], writes nothing: it looks at the bindings in the clusters and tells where it is effective.

pub mod act;
pub mod cluster_binding;
pub mod observe;
pub mod plan;
mod summary;
pub mod uses;

use std::{collections::BTreeSet, sync::Arc};

use drover_crds::{
    CatalogApp, ClusterRoleTemplateBinding, Project, ProjectRoleTemplateBinding, RoleTemplate, RoleTemplateStatus,
};
use drover_fleet::admission;
use drover_grants::{
    BindingIndex, GrantCause, Judged as _,
    of_apps::{self, BindsRole},
};
use drover_roles::BoundRole;
use drover_runtime::{
    Cause, Inputs, ObjectKey, Operator, Owner, Place, PlaceContext, PlaceStatuses, Plan, Related, Rights, Rule,
    Targets, Watches, WriteError, cache::Change, operator::Enqueuer, request::Urgency, rights::READ,
};
use k8s_openapi::{
    api::{
        admissionregistration::v1::{ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding},
        rbac::v1::{ClusterRole, ClusterRoleBinding, RoleBinding},
    },
    jiff::Timestamp,
};
use kube::ResourceExt as _;

/// The API group of roles and bindings.
const RBAC: &str = "rbac.authorization.k8s.io";

/// The operator of the kind [`RoleTemplate`].
#[derive(Clone, Debug)]
pub struct RoleTemplateOperator {
    shipped: Arc<Shipped>,
}

impl RoleTemplateOperator {
    /// For which these templates come with the installation, by its own hand: what has their names and rights is admitted.
    #[must_use]
    pub fn new(shipped: &[RoleTemplate]) -> Self {
        let rights = shipped.iter().filter_map(|template| Some((template.name_any(), template.rights()?)));
        Self { shipped: Arc::new(Shipped(rights.collect())) }
    }
}

/// Names and rights of templates that come with the installation.
#[derive(Debug)]
pub(crate) struct Shipped(BTreeSet<(String, String)>);

impl Shipped {
    fn has(&self, template: &RoleTemplate) -> bool {
        template.rights().is_some_and(|rights| self.0.contains(&(template.name_any(), rights)))
    }
}

impl Operator for RoleTemplateOperator {
    const NAME: &'static str = "role-template";
    const CAUSES: &'static [&'static [Cause]] = &[GrantCause::ON_CLUSTERS];
    const FINALIZER: bool = false;
    /// What this operator needs: templates and bindings here; there roles, and the right to give more than Drover has itself.
    const RIGHTS: Rights = Rights {
        management: &[
            Rule::on("drover.dev", &["roletemplates", "clusterroletemplatebindings"], READ),
            Rule::on("drover.dev", &["projects", "projectroletemplatebindings", "catalogapps"], READ),
            Rule::on("drover.dev", &["roletemplates/status"], &["patch"]),
        ],
        downstream: &[
            Rule::on(RBAC, &["clusterroles", "clusterrolebindings", "rolebindings"], READ),
            Rule::on(RBAC, &["clusterroles", "clusterrolebindings"], &["create", "delete", "patch"]),
            Rule::on(RBAC, &["clusterroles"], &["bind", "escalate"]),
        ],
        ..Rights::NONE
    };

    type Kind = RoleTemplate;
    type World = observe::World;
    type Action = act::Action;
    type PlaceStatus = plan::PlaceStatus;
    type Error = WriteError;

    fn related(related: &mut Related<'_>) {
        let on_clusters = BindingIndex::default();
        let [heirs, of_policies, of_policy_bindings] = std::array::from_fn(|_| on_clusters.clone());
        related.on::<RoleTemplate>(move |change| heirs.heirs_of_template(change));
        related.placing::<ClusterRoleTemplateBinding>(move |change| on_clusters.templates_of_binding(change));
        let in_projects = BindingIndex::default();
        let noted = in_projects.clone();
        related.placing::<ProjectRoleTemplateBinding>(move |change| noted.templates_of_binding(change));
        related.placing::<Project>(move |change| in_projects.templates_of_project(change));
        related.on::<ValidatingAdmissionPolicy>(move |_| of_policies.templates());
        related.on::<ValidatingAdmissionPolicyBinding>(move |_| of_policy_bindings.templates());
        let of_apps = BindingIndex::default();
        related.placing::<CatalogApp>(move |change| of_apps.templates_of_binding(change));
    }

    fn targets(template: &RoleTemplate, inputs: &Inputs<'_>) -> Targets {
        uses::Bindings::of(template, inputs).places(template, inputs.fleet)
    }

    fn watches(watches: &mut Watches<'_, Self>) {
        if watches.context().place != Place::Management {
            watches.owned::<ClusterRole>();
            watches.owned::<ClusterRoleBinding>();
            watches.optional(|apps| {
                apps.on::<RoleBinding>(&of_apps::query(), concerned);
                apps.on::<ClusterRoleBinding>(&of_apps::query(), concerned);
            });
            admission::read_here(watches);
        }
    }

    async fn observe(
        &self,
        owner: Owner<'_, RoleTemplate>,
        place: &PlaceContext,
    ) -> Result<observe::World, WriteError> {
        Ok(observe::observe(owner, &self.shipped, place))
    }

    fn plan(template: &RoleTemplate, world: &observe::World, now: Timestamp) -> Plan<Self> {
        plan::plan(template, world, now)
    }

    fn clean_up(owner: Owner<'_, RoleTemplate>, world: &observe::World, now: Timestamp) -> Plan<Self> {
        plan::clean_up(owner, world, now)
    }

    async fn act(
        &self,
        owner: Owner<'_, RoleTemplate>,
        place: &PlaceContext,
        action: act::Action,
    ) -> Result<(), WriteError> {
        action.carry_out(owner, place).await
    }

    fn urgency(action: &act::Action) -> Urgency {
        action.urgency()
    }

    fn summarise(
        template: &RoleTemplate,
        statuses: &PlaceStatuses<plan::PlaceStatus>,
        _: Timestamp,
    ) -> RoleTemplateStatus {
        summary::summarise(template, statuses)
    }
}

/// Enqueues the template of a role that an app has no more: at a cluster that is being deleted it waits for that.
fn concerned<B: BindsRole>(change: &Change<B>, enqueuer: &Enqueuer) {
    let lost = change.old.as_deref().filter(|_| change.new.is_none());
    if let Some(template) = lost.and_then(|binding| BoundRole::template_of(binding.role())) {
        enqueuer.now(ObjectKey::cluster_scoped(template));
    }
}
