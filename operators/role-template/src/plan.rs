//! What to do at one cluster. Pure.
//!
//! Rights grow in two steps: first the role is as it should be, then it is bound to more people. What takes rights away waits for
//! nothing, so every change is a group of its own.

use std::collections::BTreeSet;

use drover_crds::{Admission, RoleContext, RoleTemplate, Selection};
use drover_grants::{
    GrantCause, Grants,
    admitted::{is_refused, record},
};
use drover_roles::{BoundRole, MAX_SUBJECTS, Resolved, in_bindings_of, narrowed};
use drover_runtime::{
    ObjectKey, Outcome, Owner, Plan, Requeue, StatusCause, Title,
    fan_out::{Contribution, Obstacle},
    owned::{Difference, Owned, difference_of_whole, each_alone},
};
use k8s_openapi::{
    api::rbac::v1::{ClusterRole, ClusterRoleBinding, PolicyRule, RoleRef, Subject},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
    jiff::{SignedDuration, Timestamp},
};
use kube::ResourceExt as _;
use serde_json::{Value, json};

use crate::{
    RBAC, RoleTemplateOperator,
    act::Action,
    observe::{AtCluster, Doubt, UnderPolicies, World},
    uses::{Use, in_force, subjects},
};

/// While rights are frozen, it is looked again after this time whether they still are.
const LOOK_SOON: SignedDuration = SignedDuration::from_secs(5);
/// So often it is looked whether the labels of namespaces still let the template be bound from there.
const LOOK_AGAIN: SignedDuration = SignedDuration::from_secs(30);

/// What one cluster contributes to the status; the management cluster contributes what the template is as a whole.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PlaceStatus {
    /// What the template allows, and how many bindings name it.
    pub whole: Option<Whole>,
    /// Whether its role and bindings are as wanted.
    pub converged: bool,
    /// What keeps them from being so.
    pub obstacles: Vec<Obstacle>,
}

/// A template as a whole.
#[derive(Clone, Debug, PartialEq)]
pub struct Whole {
    /// What it allows.
    pub resolved: Resolved,
    /// How many bindings name it.
    pub bindings: usize,
    /// What cannot be decoded.
    pub doubt: Doubt,
    /// Under which policies it was written.
    pub admission: Option<Admission>,
    /// The template that was not, this one or one that it inherits.
    pub unadmitted: Option<String>,
}

impl Contribution for PlaceStatus {
    fn outcome(&self) -> Outcome {
        match (self.converged, self.obstacles.is_empty()) {
            (true, true) => Outcome::Ready,
            (false, true) => Outcome::Progressing,
            (_, false) => Outcome::Failed,
        }
    }

    fn obstacles(&self) -> &[Obstacle] {
        &self.obstacles
    }
}

pub(crate) fn plan(template: &RoleTemplate, world: &World, now: Timestamp) -> Plan<RoleTemplateOperator> {
    // No watch tells a template of admission policies, of labels of namespaces, nor of the end of what cannot be decoded: the caches
    // are looked at again.
    let in_doubt = world.doubt.binding.as_ref().map(|_| LOOK_AGAIN);
    let Some(here) = &world.cluster else {
        let place_status = PlaceStatus { whole: whole(template, world, now), converged: true, obstacles: Vec::new() };
        let requeue = in_doubt.map_or(Requeue::Watch, |pause| Requeue::At(now + pause));
        return Plan { place_status, groups: Vec::new(), requeue };
    };
    let (wanted, first_end) = wanted(world, here, now);
    let is_frozen =
        !wanted.is_empty() && matches!(world.grants, Grants::Frozen { cause, .. } if cause != GrantCause::NotAdmitted);
    let goes_by_labels = !wanted.is_empty() && matches!(template.spec.bindable_from, Some(Selection::Selector(_)));
    let soon = is_frozen.then_some(LOOK_SOON).into_iter().chain(goes_by_labels.then_some(LOOK_AGAIN));
    let look_again = soon.chain(in_doubt).min().map(|pause| now + pause);
    let requeue = first_end.into_iter().chain(look_again).min().map_or(Requeue::Watch, Requeue::At);
    Plan { requeue, ..towards(&wanted, &world.grants, here) }
}

/// The template as a whole.
fn whole(template: &RoleTemplate, world: &World, now: Timestamp) -> Option<Whole> {
    let UnderPolicies { state, evidence, ships, unadmitted } = &world.policies;
    let admission = record(template, state.as_ref(), evidence, *ships, now);
    let own = is_refused(template, admission.as_ref()).then(|| template.name_any());
    let (bindings, doubt) = (world.bindings, world.doubt.clone());
    let unadmitted = own.or_else(|| unadmitted.clone());
    world.resolved.clone().map(|resolved| Whole { resolved, bindings, doubt, admission, unadmitted })
}

/// Decides where the template is not needed any more. Whether it is not, is unknown while something that may need it cannot be decoded.
pub(crate) fn clean_up(owner: Owner<'_, RoleTemplate>, world: &World, now: Timestamp) -> Plan<RoleTemplateOperator> {
    if let (Owner::Present(template), Some(_)) = (owner, &world.doubt.binding) {
        return plan(template, world, now);
    }
    let none = AtCluster::default();
    let here = world.cluster.as_ref().unwrap_or(&none);
    let is_empty = here.roles.is_empty() && here.bindings.is_empty();
    let requeue = if is_empty { Requeue::Released } else { Requeue::Watch };
    let stay = if matches!(owner, Owner::Present(_)) { needed_by_apps(&owner.key().name, here) } else { Vec::new() };
    Plan { requeue, ..towards(&stay, &world.grants, here) }
}

/// The roles that stay at a cluster that is being deleted until the apps there are uninstalled, as they are and bound to nobody else.
fn needed_by_apps(template: &str, here: &AtCluster) -> Vec<WantedRole> {
    let mut stay = as_it_is(template, here);
    stay.retain(|there| here.needed_by_apps.contains(&there.role.role_name()));
    stay.into_iter().map(|there| WantedRole { subjects: Vec::new(), ..there }).collect()
}

/// The roles that are wanted at a cluster, and when the first use of them ends.
fn wanted(world: &World, here: &AtCluster, now: Timestamp) -> (Vec<WantedRole>, Option<Timestamp>) {
    let (uses, first_end) = in_force(&here.uses, now);
    let is_needed = !uses.is_empty() || world.doubt.binding.is_some();
    let (uses, unadmitted): (Vec<&Use>, Vec<&Use>) = uses.into_iter().partition(|each| each.is_admitted);
    let Some(resolved) = world.resolved.as_ref().filter(|_| is_needed) else { return (Vec::new(), first_end) };
    let is_used = !uses.is_empty();
    let named = subjects(uses, here.identity.as_ref());
    let unadmitted = subjects(unadmitted, here.identity.as_ref());
    let over = subjects(here.uses.iter().filter(|each| !each.is_in_force(now)), here.identity.as_ref());
    let there = as_it_is(&resolved.name, here);
    let mut wanted = match (&world.doubt.template, is_used) {
        (Some(_), _) => there.iter().map(|there| WantedRole { subjects: Vec::new(), ..there.clone() }).collect(),
        (None, true) => roles(resolved, &named),
        (None, false) => {
            let mut all = roles(resolved, &[]);
            all.retain(|wanted| there.iter().any(|there| there.role == wanted.role));
            all
        }
    };
    for wanted in &mut wanted {
        let stays = |subject: &&Subject| {
            let may_be_given = world.doubt.binding.is_some() && !over.contains(subject);
            may_be_given || unadmitted.contains(subject) || (world.doubt.template.is_some() && named.contains(subject))
        };
        let there = there.iter().filter(|there| there.role == wanted.role);
        wanted.subjects.extend(there.flat_map(|there| there.subjects.iter().filter(stays)).cloned());
    }
    (wanted, first_end)
}

/// The roles of a template that are there, with what they allow and to whom they are bound.
fn as_it_is(template: &str, here: &AtCluster) -> Vec<WantedRole> {
    let (roles, bindings) = (ours(&here.roles), ours(&here.bindings));
    let bound = bindings.iter().map(|binding| &*binding.role_ref.name);
    let names: BTreeSet<&str> = roles.iter().filter_map(|role| role.metadata.name.as_deref()).chain(bound).collect();
    let role = |name: &str| WantedRole {
        role: BoundRole::of(template, name),
        rules: roles
            .iter()
            .find(|role| role.metadata.name.as_deref() == Some(name))
            .and_then(|role| role.rules.clone()),
        subjects: bindings
            .iter()
            .filter(|binding| binding.role_ref.name == name)
            .flat_map(|binding| binding.subjects.iter().flatten().cloned())
            .collect(),
    };
    names.into_iter().map(role).collect()
}

fn ours<K>(owned: &[Owned<K>]) -> Vec<&K> {
    let ours = owned.iter().filter(|found| matches!(found.title, Title::Created | Title::Adopted));
    ours.filter_map(|found| found.live.as_deref().ok()).collect()
}

/// A role that is wanted at a cluster.
#[derive(Clone)]
pub(crate) struct WantedRole {
    pub(crate) role: BoundRole,
    /// What it allows, if Drover writes it.
    pub(crate) rules: Option<Vec<PolicyRule>>,
    /// To whom it is bound in the whole cluster.
    pub(crate) subjects: Vec<Subject>,
}

/// The roles that a template in use needs at a cluster. In namespaces the operator of Projects binds them.
pub(crate) fn roles(resolved: &Resolved, subjects: &[Subject]) -> Vec<WantedRole> {
    let rules_of = |role: &BoundRole| match role {
        BoundRole::Own(_) => Some(resolved.rules.clone()),
        BoundRole::ClusterWide(_) => Some(resolved.cluster_rules.clone()),
        BoundRole::External { .. } => None,
    };
    let bound = |role: BoundRole| WantedRole { rules: rules_of(&role), role, subjects: subjects.to_vec() };
    match resolved.context {
        RoleContext::Cluster => resolved.bound_roles().into_iter().map(bound).collect(),
        RoleContext::Project => {
            let own = BoundRole::Own(resolved.name.clone());
            let own = (!resolved.rules.is_empty()).then(|| WantedRole { subjects: Vec::new(), ..bound(own) });
            let wide =
                (!resolved.cluster_rules.is_empty()).then(|| bound(BoundRole::ClusterWide(resolved.name.clone())));
            own.into_iter().chain(wide).collect()
        }
    }
}

/// The changes from what there is to what is wanted.
fn towards(wanted: &[WantedRole], grants: &Grants, here: &AtCluster) -> Plan<RoleTemplateOperator> {
    let may_grant = *grants == Grants::Allowed;
    let roles = wanted.iter().filter_map(|each| cluster_role(each, may_grant, here)).collect();
    let none = |_: &ClusterRole| Value::Null;
    let Difference { changes, mut left_alone } =
        difference_of_whole(roles, &here.roles, none, &["/rules", "/aggregationRule"]);
    let is_settled = |each: &WantedRole| {
        let key = ObjectKey::cluster_scoped(&each.role.role_name());
        let is_changed = changes.iter().any(|change| change.key() == key);
        each.rules.is_none() || !(is_changed || left_alone.iter().any(|(other, _)| *other == key))
    };
    let bindings = wanted.iter().flat_map(|each| bindings(each, may_grant && is_settled(each), here));
    let seed = |binding: &ClusterRoleBinding| json!({"roleRef": binding.role_ref});
    let bound = difference_of_whole(bindings.collect(), &here.bindings, seed, &["/subjects"]);
    left_alone.extend(bound.left_alone);
    let frozen = frozen(wanted, grants, here);
    let obstacles = left_alone.iter().map(|(key, cause)| left(*cause, key)).chain(frozen).collect();
    let mut groups = each_alone(bound.changes.into_iter().map(Action::Binding).collect());
    groups.extend(each_alone(changes.into_iter().map(Action::Role).collect()));
    let converged = groups.is_empty() && left_alone.is_empty() && *grants != Grants::Unjudged;
    Plan { place_status: PlaceStatus { whole: None, converged, obstacles }, groups, requeue: Requeue::Watch }
}

/// The role as it is to be written now; none while nothing may be granted and it does not exist.
fn cluster_role(wanted: &WantedRole, may_grant: bool, here: &AtCluster) -> Option<ClusterRole> {
    let name = wanted.role.role_name();
    let mut rules = wanted.rules.clone()?;
    if !may_grant {
        let live = live(&here.roles).find(|role| role.metadata.name.as_ref() == Some(&name))?;
        rules = narrowed(&rules, live.rules.as_deref().unwrap_or_default());
    }
    let metadata = ObjectMeta { name: Some(name), ..ObjectMeta::default() };
    Some(ClusterRole { metadata, rules: Some(rules), aggregation_rule: None })
}

/// The bindings of a role as they are to be written now; while they may not grow, only those stay in them who are there.
fn bindings(wanted: &WantedRole, may_grow: bool, here: &AtCluster) -> Vec<ClusterRoleBinding> {
    let role = wanted.role.role_name();
    let mut subjects = wanted.subjects.clone();
    if !may_grow {
        let there = live(&here.bindings).filter(|binding| binding.role_ref.name == role);
        let there: Vec<&Subject> = there.flat_map(|binding| binding.subjects.iter().flatten()).collect();
        subjects.retain(|subject| there.contains(&subject));
    }
    let role_ref = RoleRef { api_group: Some(RBAC.to_owned()), kind: "ClusterRole".to_owned(), name: role };
    let in_bindings = in_bindings_of(subjects, MAX_SUBJECTS).into_iter().enumerate();
    let binding = |(number, subjects)| ClusterRoleBinding {
        metadata: ObjectMeta { name: Some(wanted.role.binding_name(number)), ..ObjectMeta::default() },
        role_ref: role_ref.clone(),
        subjects: Some(subjects),
    };
    in_bindings.map(binding).collect()
}

fn live<K>(owned: &[Owned<K>]) -> impl Iterator<Item = &K> {
    owned.iter().filter_map(|found| found.live.as_deref().ok())
}

fn left(cause: StatusCause, key: &ObjectKey) -> Obstacle {
    let message = format!("Drover leaves {} alone for now: {}. {}", key.name, cause.reason(), cause.cause().remedy());
    Obstacle { namespace: None, cause: cause.into(), message }
}

/// While nothing may be granted, what is there may be less than what is wanted.
fn frozen(wanted: &[WantedRole], grants: &Grants, here: &AtCluster) -> Option<Obstacle> {
    let is_lacking = || !towards(wanted, &Grants::Allowed, here).groups.is_empty();
    match grants {
        Grants::Frozen { cause, message } if is_lacking() => {
            Some(Obstacle { namespace: None, cause: (*cause).into(), message: message.clone() })
        }
        Grants::Frozen { .. } | Grants::Unjudged | Grants::Allowed => None,
    }
}

#[cfg(test)]
mod tests;
