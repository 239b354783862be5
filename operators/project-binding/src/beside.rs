//! What members may do beside their Project: roles of the management cluster, in the namespace of the binding. Pure.
//!
//! A namespace of the management cluster is a tenant: what is given there reaches all Projects in it. So a management role is bound
//! only while the namespace has one Project, only if the installation allows it, and only to people and groups: the name of a
//! `ServiceAccount` means one cluster, and here it would mean another account.

use std::{collections::BTreeSet, sync::Arc};

use drover_crds::{ProjectRoleTemplateBinding, RoleSubject, condition::MANAGEMENT_ROLES_BOUND};
use drover_grants::{GrantCause, Grants};
use drover_roles::{Accounts, accounts_of, subject};
use drover_runtime::{
    Cause, StatusCause, causes,
    owned::{Change, Difference, Owned, difference_of_whole},
    status::condition,
};
use k8s_openapi::{
    api::rbac::v1::{RoleBinding, RoleRef, Subject},
    apimachinery::pkg::apis::meta::v1::{Condition, ObjectMeta},
};
use kube::ResourceExt as _;
use serde_json::{Value, json};

/// What Kubernetes' own users and groups begin with.
const SYSTEM: &str = "system:";

causes! {
    /// What a binding says of the rights beside its Project.
    pub enum BesideCause {
        /// Everybody whom a binding gives roles of the management cluster has them.
        ManagementRolesBound = "ManagementRolesBound": Blocked expected; "",
        /// A RoleTemplate names a ClusterRole of the management cluster that the installation does not let it give.
        ManagementRoleNotAllowed = "ManagementRoleNotAllowed": Invalid stalls; "Remove it from spec.managementRoles of the RoleTemplate, or add it to the chart value managementRoles.",
        /// A namespace of the management cluster has several Projects, so members of one would have rights over all.
        SeveralProjects = "SeveralProjects": Blocked; "Keep one Project in a namespace of the management cluster, if members are to see it or to add members.",
    }
}

/// What there is in the namespace of the binding.
#[derive(Clone, Debug, Default)]
pub struct Here {
    /// The roles that the installation lets templates give.
    pub allowed: Arc<BTreeSet<String>>,
    /// The Projects in the namespace, whatever their state.
    pub projects: Vec<String>,
    /// Whether anything may be given that is not given already.
    pub grants: Grants,
    /// Whether the Project is suspended, so that nothing more is given.
    pub suspended: bool,
    /// The role bindings that carry the labels of the binding.
    pub owned: Vec<Owned<RoleBinding>>,
}

/// What the binding tells of the rights beside its Project.
#[derive(Clone, Debug, PartialEq)]
pub struct Told {
    /// Why not all that the template names is given; else that it is.
    pub cause: Cause,
    /// The same, for people.
    pub message: String,
    /// Whether the binding is not ready because of it.
    pub holds_up: bool,
}

impl Told {
    fn new(cause: impl Into<Cause>, message: String) -> Self {
        Self { cause: cause.into(), message, holds_up: false }
    }

    fn holding_up(cause: impl Into<Cause>, message: String) -> Self {
        Self { holds_up: true, ..Self::new(cause, message) }
    }

    pub(crate) fn condition(&self) -> Condition {
        let is_so = self.cause == BesideCause::ManagementRolesBound.cause();
        condition(MANAGEMENT_ROLES_BOUND, is_so, self.cause, &self.message)
    }
}

/// What to do, and what to tell; nothing is told of a template that names no management role.
#[derive(Debug, Default)]
pub(crate) struct Decision {
    pub(crate) changes: Vec<Change<RoleBinding>>,
    pub(crate) told: Option<Told>,
    /// Whether to look again soon: no watch tells that grants may grow again.
    pub(crate) is_frozen: bool,
}

/// The way to what a binding gives that names these roles; none while it is not in force.
pub(crate) fn decide(binding: &ProjectRoleTemplateBinding, named: &BTreeSet<String>, here: &Here) -> Decision {
    let is_alone = here.projects.len() == 1;
    let may_grow = here.grants == Grants::Allowed && !here.suspended;
    let given = |may_grow| {
        let roles = named.intersection(&here.allowed).filter(|_| is_alone);
        difference(roles.filter_map(|role| role_binding(binding, role, may_grow, here)).collect(), here)
    };
    let Difference { changes, left_alone } = given(may_grow);
    let is_frozen = !may_grow && given(true).changes.len() > changes.len();
    let refused = named.difference(&here.allowed).next();
    let told = match (refused, left_alone.first()) {
        _ if named.is_empty() => None,
        _ if !is_alone => Some(Told::new(BesideCause::SeveralProjects, several(binding, here))),
        (Some(role), _) => Some(Told::holding_up(BesideCause::ManagementRoleNotAllowed, not_allowed(binding, role))),
        _ if is_frozen => Some(frozen(binding, here)),
        (None, Some((key, cause))) => {
            let message =
                format!("Drover leaves the role binding {} alone for now. {}", key.name, cause.cause().remedy());
            Some(Told::holding_up(*cause, message))
        }
        _ if !changes.is_empty() => Some(Told::new(StatusCause::Progressing, progressing(binding))),
        _ => Some(Told::new(BesideCause::ManagementRolesBound, bound(binding, named))),
    };
    Decision { changes, told, is_frozen }
}

/// What stays while nobody can tell what the template gives, or whether it was admitted: unknown is not empty, so nobody whom the binding
/// names loses a role, unless the template is known not to name it, and nobody gains one.
pub(crate) fn keep(
    binding: &ProjectRoleTemplateBinding,
    named: Option<&BTreeSet<String>>,
    here: &Here,
    doubt: &(Cause, String),
) -> Decision {
    let there = here.owned.iter().filter_map(|found| found.live.as_deref().ok());
    let given: BTreeSet<String> = there.map(|found| found.role_ref.name.clone()).collect();
    let stays = given.intersection(&here.allowed).filter(|_| here.projects.len() == 1);
    let stays = stays.filter(|role| named.is_none_or(|named| named.contains(*role)));
    let stays = stays.filter_map(|role| role_binding(binding, role, false, here)).collect();
    let told = (!given.is_empty()).then(|| Told::new(doubt.0, doubt.1.clone()));
    Decision { changes: difference(stays, here).changes, told, is_frozen: false }
}

/// What takes away all that was given.
pub(crate) fn withdraw(here: &Here) -> Vec<Change<RoleBinding>> {
    difference(Vec::new(), here).changes
}

fn difference(wanted: Vec<RoleBinding>, here: &Here) -> Difference<RoleBinding> {
    let seed = |binding: &RoleBinding| -> Value { json!({"roleRef": binding.role_ref}) };
    let owned: Vec<_> = here.owned.iter().map(|found| uncontested(found, &wanted)).collect();
    difference_of_whole(wanted, &owned, seed, &["/subjects"])
}

/// A withdrawal is not held up by whoever changes a role binding again and again.
fn uncontested(found: &Owned<RoleBinding>, wanted: &[RoleBinding]) -> Owned<RoleBinding> {
    let desired = wanted.iter().find(|desired| desired.metadata.name == found.meta().name);
    let desired = desired.and_then(|desired| desired.subjects.as_deref()).unwrap_or_default();
    let gives_too_much =
        found.live.as_ref().is_ok_and(|live| live.subjects.iter().flatten().any(|one| !desired.contains(one)));
    Owned { drift_conflict: found.drift_conflict.clone().filter(|_| !gives_too_much), ..found.clone() }
}

/// Binds a role to all whom the binding names; while nothing may grow, to those of them who have it. None if that is nobody.
fn role_binding(binding: &ProjectRoleTemplateBinding, role: &str, may_grow: bool, here: &Here) -> Option<RoleBinding> {
    let metadata = ObjectMeta {
        name: Some(format!("drover:{}:management:{role}", binding.name_any())),
        namespace: binding.namespace(),
        ..ObjectMeta::default()
    };
    let there = here.owned.iter().filter_map(|found| found.live.as_deref().ok());
    let there = there.filter(|found| found.metadata.name == metadata.name);
    let have: Vec<&Subject> = there.flat_map(|found| found.subjects.iter().flatten()).collect();
    let mut subjects = people(&binding.spec.subjects);
    subjects.retain(|subject| may_grow || have.contains(&subject));
    let role_ref = RoleRef {
        api_group: Some("rbac.authorization.k8s.io".to_owned()),
        kind: "ClusterRole".to_owned(),
        name: role.to_owned(),
    };
    (!subjects.is_empty()).then_some(RoleBinding { metadata, role_ref, subjects: Some(subjects) })
}

/// The people and groups among these, as the management cluster spells them; Kubernetes' own ones are left out.
fn people(subjects: &[RoleSubject]) -> Vec<Subject> {
    let is_own = |subject: &RoleSubject| subject.name.trim().to_lowercase().starts_with(SYSTEM);
    let people = subjects.iter().filter(|one| accounts_of(one) == Accounts::None && !is_own(one));
    let mut spelled: Vec<Subject> = people.filter_map(|one| subject(one, None).ok()).collect();
    spelled.sort_by(|one, other| (&one.kind, &one.name).cmp(&(&other.kind, &other.name)));
    spelled.dedup();
    spelled
}

fn several(binding: &ProjectRoleTemplateBinding, here: &Here) -> String {
    let namespace = binding.namespace().unwrap_or_default();
    let others = here.projects.iter().filter(|project| **project != binding.spec.project_name);
    let other = others.min().cloned().unwrap_or_default();
    format!(
        "namespace {namespace} also has Project {other}, so binding {} gives no rights in the management cluster; keep one Project in a namespace if members are to see it or to add members",
        binding.name_any()
    )
}

fn not_allowed(binding: &ProjectRoleTemplateBinding, role: &str) -> String {
    let template = &binding.spec.role_template_name;
    format!(
        "RoleTemplate {template} gives the management role {role}, which this installation does not allow; remove it from spec.managementRoles there, or add it to the chart value managementRoles"
    )
}

fn frozen(binding: &ProjectRoleTemplateBinding, here: &Here) -> Told {
    match &here.grants {
        Grants::Frozen { cause, message } => Told::holding_up(*cause, message.clone()),
        Grants::Allowed | Grants::Unjudged => {
            let project = &binding.spec.project_name;
            let message =
                format!("Project {project} is suspended, so nothing more is given; set spec.suspend to false");
            Told::new(GrantCause::NotYetGranted, message)
        }
    }
}

fn progressing(binding: &ProjectRoleTemplateBinding) -> String {
    format!("the management roles of binding {} are being bound", binding.name_any())
}

fn bound(binding: &ProjectRoleTemplateBinding, named: &BTreeSet<String>) -> String {
    let (namespace, roles) = (binding.namespace().unwrap_or_default(), named.iter().cloned().collect::<Vec<_>>());
    format!("its users and groups have {} in namespace {namespace} of the management cluster", roles.join(", "))
}

#[cfg(test)]
mod tests;
