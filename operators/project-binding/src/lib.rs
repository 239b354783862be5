//! The operator for bindings of Projects: it tells where a role is effective, and where it is not and why.
//!
//! It writes nothing but the status. What lies in namespaces is the Project's, whose operator judges a binding by the same rules,
//! [`in_force`](drover_grants::in_force). A binding is wherever its Project is, and once in the management cluster: there stands what holds
//! for all clusters, such as that its `RoleTemplate` is missing.

pub mod observe;
pub mod plan;
mod summary;

#[cfg(test)]
mod tests;

use std::convert::Infallible;

use drover_crds::{Project, ProjectRoleTemplateBinding, RoleBindingStatus, RoleTemplate};
use drover_fleet::targets;
use drover_grants::{BindingIndex, GrantCause, project_of};
use drover_runtime::{
    Cause, Inputs, Operator, Owner, OwnerRecord, Place, PlaceContext, PlaceStatuses, Related, Rights, Rule, Targets,
    Watches, WriteError, operator::Plan, rights::READ,
};
use k8s_openapi::{
    api::{core::v1::Namespace, rbac::v1::RoleBinding},
    jiff::Timestamp,
};

/// The kind of the owner of what is looked at.
pub(crate) const PROJECT: &str = "Project";

/// The operator of the kind [`ProjectRoleTemplateBinding`].
#[derive(Clone, Copy, Debug)]
pub struct ProjectBindingOperator;

impl Operator for ProjectBindingOperator {
    const NAME: &'static str = "project-binding";
    const CAUSES: &'static [&'static [Cause]] = &[GrantCause::IN_PROJECTS];
    const FINALIZER: bool = false;
    /// What this operator needs: the bindings and their status, and to read what the Projects made.
    const RIGHTS: Rights = Rights {
        management: &[
            Rule::on("drover.dev", &["projectroletemplatebindings", "projects", "roletemplates"], READ),
            Rule::on("drover.dev", &["projectroletemplatebindings/status"], &["patch"]),
        ],
        downstream: &[
            Rule::on("", &["namespaces"], READ),
            Rule::on("rbac.authorization.k8s.io", &["rolebindings"], READ),
        ],
        ..Rights::NONE
    };

    type Kind = ProjectRoleTemplateBinding;
    type World = observe::World;
    type Action = Infallible;
    type PlaceStatus = plan::PlaceStatus;
    type Error = WriteError;

    fn related(related: &mut Related<'_>) {
        let bindings = BindingIndex::default();
        let [of_projects, of_templates] = [bindings.clone(), bindings.clone()];
        related.on::<ProjectRoleTemplateBinding>(move |change| {
            bindings.note(change);
            Vec::new()
        });
        related.on::<RoleTemplate>(move |change| of_templates.bindings_of_template(change));
        related.placing::<Project>(move |change| of_projects.bindings_of_project(change));
    }

    fn targets(binding: &ProjectRoleTemplateBinding, inputs: &Inputs<'_>) -> Targets {
        let project = inputs.related::<Project>().get(&project_of(binding));
        let mut targets = project.map(|project| targets::of(&*project, inputs.fleet)).unwrap_or_default();
        targets.places.insert(Place::Management);
        targets
    }

    fn watches(watches: &mut Watches<'_, Self>) {
        if watches.context().place == Place::Management {
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
        Ok(observe::observe(owner, place))
    }

    fn plan(binding: &ProjectRoleTemplateBinding, world: &observe::World, now: Timestamp) -> Plan<Self> {
        plan::plan(binding, world, now)
    }

    fn clean_up(_: Owner<'_, ProjectRoleTemplateBinding>, _: &observe::World, _: Timestamp) -> Plan<Self> {
        plan::nothing_to_do()
    }

    async fn act(
        &self,
        _: Owner<'_, ProjectRoleTemplateBinding>,
        _: &PlaceContext,
        action: Infallible,
    ) -> Result<(), WriteError> {
        match action {}
    }

    fn summarise(
        binding: &ProjectRoleTemplateBinding,
        statuses: &PlaceStatuses<plan::PlaceStatus>,
        _: Timestamp,
    ) -> RoleBindingStatus {
        summary::summarise(binding, statuses)
    }
}
