//! The operator for bindings of Projects: it tells where a role is effective, and where it is not and why.
//!
//! In the clusters it writes nothing. What lies in namespaces there is the Project's, whose operator judges a binding by the same rules,
//! [`in_force`](drover_grants::in_force). A binding is wherever its Project is, and once in the management cluster: there stands what holds
//! for all clusters, such as that its `RoleTemplate` is missing, and there it binds what members may do [`beside`] their Project.

pub mod beside;
pub mod observe;
pub mod plan;
mod summary;

#[cfg(test)]
mod tests;

use std::{collections::BTreeSet, sync::Arc};

use drover_crds::{Project, ProjectRoleTemplateBinding, RoleBindingStatus, RoleTemplate};
use drover_fleet::targets;
use drover_grants::{BindingIndex, GrantCause, project_of};
use drover_runtime::{
    Cause, Inputs, Operator, Owner, OwnerRecord, Place, PlaceContext, PlaceStatuses, Related, Rights, Rule, Targets,
    Watches, WriteError, operator::Plan, owned::Change, rights::READ,
};
use k8s_openapi::{
    api::{
        admissionregistration::v1::{ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding},
        core::v1::Namespace,
        rbac::v1::RoleBinding,
    },
    jiff::Timestamp,
};

/// The kind of the owner of what is looked at.
pub(crate) const PROJECT: &str = "Project";

/// The operator of the kind [`ProjectRoleTemplateBinding`].
#[derive(Clone, Debug)]
pub struct ProjectBindingOperator {
    allowed: Arc<BTreeSet<String>>,
}

impl ProjectBindingOperator {
    /// Whose bindings give these `ClusterRoles` of the management cluster and no others beside a Project.
    #[must_use]
    pub fn new(management_roles: BTreeSet<String>) -> Self {
        Self { allowed: Arc::new(management_roles) }
    }
}

impl Operator for ProjectBindingOperator {
    const NAME: &'static str = "project-binding";
    const CAUSES: &'static [&'static [Cause]] = &[GrantCause::IN_PROJECTS, beside::BesideCause::TABLE];
    const FINALIZER: bool = false;
    /// What this operator needs: the bindings and their status, role bindings beside the Projects, and to read what the Projects
    /// made. Which roles it binds is the installation's to say, and so is the right to bind them.
    const RIGHTS: Rights = Rights {
        management: &[
            Rule::on("drover.dev", &["projectroletemplatebindings", "projects", "roletemplates"], READ),
            Rule::on("drover.dev", &["projectroletemplatebindings/status"], &["patch"]),
            Rule::on("rbac.authorization.k8s.io", &["rolebindings"], READ),
            Rule::on("rbac.authorization.k8s.io", &["rolebindings"], &["create", "delete", "patch"]),
        ],
        downstream: &[
            Rule::on("", &["namespaces"], READ),
            Rule::on("rbac.authorization.k8s.io", &["rolebindings"], READ),
        ],
        ..Rights::NONE
    };

    type Kind = ProjectRoleTemplateBinding;
    type World = observe::World;
    type Action = Change<RoleBinding>;
    type PlaceStatus = plan::PlaceStatus;
    type Error = WriteError;

    fn related(related: &mut Related<'_>) {
        let bindings = BindingIndex::default();
        let [of_projects, of_templates, of_policies, of_policy_bindings] = std::array::from_fn(|_| bindings.clone());
        related.on::<ProjectRoleTemplateBinding>(move |change| {
            bindings.note(change);
            Vec::new()
        });
        related.on::<RoleTemplate>(move |change| of_templates.bindings_of_template(change));
        related.placing::<Project>(move |change| of_projects.bindings_beside_project(change));
        related.on::<ValidatingAdmissionPolicy>(move |_| of_policies.all());
        related.on::<ValidatingAdmissionPolicyBinding>(move |_| of_policy_bindings.all());
    }

    fn targets(binding: &ProjectRoleTemplateBinding, inputs: &Inputs<'_>) -> Targets {
        let project = inputs.related::<Project>().get(&project_of(binding));
        let mut targets = project.map(|project| targets::of(&*project, inputs.fleet)).unwrap_or_default();
        targets.places.insert(Place::Management);
        targets
    }

    fn watches(watches: &mut Watches<'_, Self>) {
        if watches.context().place == Place::Management {
            watches.owned::<RoleBinding>();
            return;
        }
        let bindings = watches.context().related::<ProjectRoleTemplateBinding>();
        let of_namespaces = bindings.clone();
        let query = OwnerRecord::query(PROJECT);
        watches.optional(|watches| {
            watches.on::<RoleBinding>(&query, move |change, enqueuer| {
                observe::concerned(change.sides().map(|found| &found.metadata), &bindings, enqueuer);
            });
        });
        watches.on::<Namespace>(&query, move |change, enqueuer| {
            observe::concerned(change.sides().map(|found| &found.metadata), &of_namespaces, enqueuer);
        });
    }

    async fn observe(
        &self,
        owner: Owner<'_, ProjectRoleTemplateBinding>,
        place: &PlaceContext,
    ) -> Result<observe::World, WriteError> {
        Ok(observe::observe(owner, &self.allowed, place))
    }

    fn plan(binding: &ProjectRoleTemplateBinding, world: &observe::World, now: Timestamp) -> Plan<Self> {
        plan::plan(binding, world, now)
    }

    fn clean_up(_: Owner<'_, ProjectRoleTemplateBinding>, world: &observe::World, _: Timestamp) -> Plan<Self> {
        plan::clean_up(world)
    }

    async fn act(
        &self,
        owner: Owner<'_, ProjectRoleTemplateBinding>,
        place: &PlaceContext,
        change: Change<RoleBinding>,
    ) -> Result<(), WriteError> {
        change.carry_out::<Self>(owner, place).await
    }

    fn summarise(
        binding: &ProjectRoleTemplateBinding,
        statuses: &PlaceStatuses<plan::PlaceStatus>,
        _: Timestamp,
    ) -> RoleBindingStatus {
        summary::summarise(binding, statuses)
    }
}
