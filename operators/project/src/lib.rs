//! The Project operator: a team's namespaces, the same on every cluster that the Project selects.
//!
//! One reconcile converges one Project on one cluster:
//!
//! 1. [`observe`] looks up every namespace that the Project lists or holds there: absent, ours, or foreign.
//! 2. [`plan`] asks the cluster's owner for [`consent`] within [`bounds`], then decides per namespace: create, restore, adopt, release, delete,
//!    or leave alone and say why. Into each that it holds go its [`guards`]: pod security as labels, [`quota`], limits and isolation as
//!    one object each; a namespace is created together with them, and not at all where the credential lacks the right to one. Members
//!    and Secrets come last, and are taken away first. [`leave`] decides what becomes of what is to be held no more. Namespaces that ask
//!    for the Project by their labels, with its [`self_service`], are from then on as if it listed them.
//! 3. The runtime does it, one request or two per action.
//! 4. [`summary`] joins what all clusters say into one status that does not grow with the fleet.
//!
//! Namespaces are handed on by consent only. What another Project holds is its own while it exists and selects the cluster;
//! what it left behind is treated as foreign. A Cluster that is being deleted is no target any more: with
//! `Delete` every Project releases what it holds there once the apps in it are uninstalled, with `Orphan` nothing is written there.
//!
//! A reconcile runs when the Project changes, when a namespace that it owns changes, and when a cluster connects, is relabelled
//! or changes its tenants. What is not ours is in no watch, so while it is in the way it is looked at every minute.

pub mod act;
pub mod allocate;
pub mod bounds;
pub mod cause;
pub mod consent;
pub mod error;
pub mod guards;
mod isolation;
pub mod leave;
mod limits;
mod members_plan;
mod messages;
pub mod observe;
pub mod place_status;
pub mod plan;
mod pod_security;
mod quota;
pub mod secrets;
pub mod self_service;
pub mod summary;

#[cfg(test)]
mod tests;

use std::{collections::BTreeSet, time::Duration};

use drover_crds::{Project, ProjectRoleTemplateBinding, ProjectStatus, RoleTemplate, names::LABEL_PROJECT};
use drover_fleet::{TenancyCause, admission, targets};
use drover_grants::{BindingIndex, GrantCause, of_apps};
use drover_runtime::{
    Cause, Inputs, LabelQuery, ObjectKey, Operator, Owner, OwnerRecord, PlaceContext, PlaceStatuses, Related, Rights,
    Rule, Targets, Watches, operator::Plan, request::Urgency, rights::READ,
};
use drover_secrets::{SecretCause, SecretCopy, SourceSecret, source};
use drover_self_service::asked;
use k8s_openapi::{
    api::{
        core::v1::{LimitRange, Namespace, ResourceQuota},
        networking::v1::NetworkPolicy,
        rbac::v1::{ClusterRole, ClusterRoleBinding, RoleBinding},
    },
    jiff::Timestamp,
};

/// The operator of the kind [`Project`].
#[derive(Clone, Copy, Debug)]
pub struct ProjectOperator;

impl Operator for ProjectOperator {
    const NAME: &'static str = "project";
    const CAUSES: &'static [&'static [Cause]] =
        &[cause::ProjectCause::TABLE, GrantCause::IN_PROJECTS, TenancyCause::TABLE, SecretCause::TABLE];
    const FINALIZER: bool = true;
    /// What this operator needs: the Projects and their status, and the namespaces of every cluster with their guards.
    const RIGHTS: Rights = Rights {
        management: &[
            Rule::on("drover.dev", &["projects"], READ),
            Rule::on("drover.dev", &["projects", "projects/status"], &["patch"]),
            Rule::on("drover.dev", &["projectroletemplatebindings", "roletemplates"], READ),
        ],
        management_secrets: &[Rule::on("", &["secrets"], READ)],
        downstream: &[
            Rule::on("", &["limitranges", "namespaces", "resourcequotas"], READ),
            Rule::on("", &["limitranges", "namespaces", "resourcequotas"], &["create", "delete", "patch"]),
            Rule::on("networking.k8s.io", &["networkpolicies"], READ),
            Rule::on("networking.k8s.io", &["networkpolicies"], &["create", "delete", "patch"]),
            Rule::on("rbac.authorization.k8s.io", &["rolebindings"], READ),
            Rule::on("rbac.authorization.k8s.io", &["rolebindings"], &["create", "delete", "patch"]),
            Rule::on("", &["secrets"], READ),
            Rule::on("", &["secrets"], &["create", "delete", "patch"]),
            // Whoever gives a role has to have it, or may bind it.
            Rule::on("rbac.authorization.k8s.io", &["clusterroles"], &["bind"]),
            // Who may create namespaces of a Project may do so in the whole cluster, and more than Drover itself.
            Rule::on("rbac.authorization.k8s.io", &["clusterroles", "clusterrolebindings"], READ),
            Rule::on(
                "rbac.authorization.k8s.io",
                &["clusterroles", "clusterrolebindings"],
                &["create", "delete", "patch"],
            ),
            Rule::on("rbac.authorization.k8s.io", &["clusterroles"], &["escalate"]),
        ],
        ..Rights::NONE
    };

    type Kind = Project;
    type World = observe::World;
    type Action = act::Action;
    type PlaceStatus = place_status::PlaceStatus;
    type Error = error::ProjectError;

    /// A Project that wants a namespace of another one waits for it, and may have it once that one is gone.
    fn related(related: &mut Related<'_>) {
        let index = consent::ProjectIndex::default();
        related.on::<Project>(move |change| index.concerned(change));
        let bindings = BindingIndex::default();
        let noted = bindings.clone();
        related.on::<ProjectRoleTemplateBinding>(move |change| noted.projects_of_binding(change));
        related.on::<RoleTemplate>(move |change| bindings.projects_of_template(change));
        admission::read_in_management(related);
        related.optional::<SourceSecret>(&source::query(), source::concerned);
    }

    fn deletion_timeout(project: &Project) -> Option<Duration> {
        Some(project.spec.deletion_timeout())
    }

    fn targets(project: &Project, inputs: &Inputs<'_>) -> Targets {
        targets::of(project, inputs.fleet)
    }

    fn watches(watches: &mut Watches<'_, Self>) {
        watches.owned::<Namespace>();
        watches.optional(|guards| {
            guards.owned::<ResourceQuota>();
            guards.owned::<LimitRange>();
            guards.owned::<NetworkPolicy>();
        });
        watches.optional(Watches::owned::<RoleBinding>);
        watches.optional(Watches::owned::<SecretCopy>);
        watches.optional(|creators| {
            creators.owned::<ClusterRole>();
            creators.owned::<ClusterRoleBinding>();
        });
        let held = watches.context().cache.informer::<Namespace>(&OwnerRecord::query("Project"));
        watches.optional(|apps| {
            apps.on::<RoleBinding>(&of_apps::query(), move |change, enqueuer| {
                // A namespace at a cluster that is being deleted waits for the apps in it.
                let namespace =
                    held.get(&ObjectKey::cluster_scoped(&change.key.namespace)).filter(|_| change.new.is_none());
                let holder = namespace.and_then(|found| OwnerRecord::recorded(&found.metadata, "Project"));
                if let Some(project) = holder {
                    enqueuer.now(project);
                }
            });
        });
        watches.on::<Namespace>(&LabelQuery::has(LABEL_PROJECT), |change, enqueuer| {
            let asked: BTreeSet<_> = change.sides().filter_map(|namespace| asked(&namespace.metadata)).collect();
            for project in asked {
                enqueuer.now(project);
            }
        });
        admission::read_here(watches);
    }

    async fn observe(
        &self,
        owner: Owner<'_, Project>,
        place: &PlaceContext,
    ) -> Result<observe::World, error::ProjectError> {
        observe::observe(owner, place).await
    }

    fn plan(project: &Project, world: &observe::World, now: Timestamp) -> Plan<Self> {
        plan::plan(project, world, now)
    }

    fn clean_up(owner: Owner<'_, Project>, world: &observe::World, _: Timestamp) -> Plan<Self> {
        leave::clean_up(owner, world)
    }

    fn namespace_of(action: &act::Action) -> Option<String> {
        action.namespace()
    }

    async fn act(
        &self,
        owner: Owner<'_, Project>,
        place: &PlaceContext,
        action: act::Action,
    ) -> Result<(), error::ProjectError> {
        Ok(action.carry_out(owner, place).await?)
    }

    fn urgency(action: &act::Action) -> Urgency {
        action.urgency()
    }

    fn summarise(
        project: &Project,
        statuses: &PlaceStatuses<place_status::PlaceStatus>,
        _now: Timestamp,
    ) -> ProjectStatus {
        summary::summarise(project, statuses)
    }
}
