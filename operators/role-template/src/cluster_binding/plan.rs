//! Whether a binding is effective at one cluster. Pure; there is nothing to do.

use drover_crds::{Admission, ClusterRoleTemplateBinding, RoleContext};
use drover_grants::{
    GrantCause,
    admitted::{is_refused, record},
    template_not_admitted,
};
use drover_roles::{Resolved, is_in_force, subject};
use drover_runtime::{
    Cause, Outcome, Plan, Requeue,
    fan_out::{Contribution, Obstacle},
};
use k8s_openapi::{api::rbac::v1::Subject, jiff::Timestamp};

use super::{
    ClusterRoleTemplateBindingOperator,
    observe::{AtCluster, World},
};
use crate::{
    plan::{WantedRole, roles},
    uses::{Use, in_force, subjects},
};

/// What one cluster contributes to the status; the management cluster contributes what the binding lacks as a whole.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PlaceStatus {
    /// Why it is effective nowhere.
    pub lack: Option<(Cause, String)>,
    /// Under which policies it was written; only as a whole.
    pub admission: Option<Admission>,
    /// Whether it is as wanted: effective, or withdrawn after it ended.
    pub done: bool,
    /// What keeps it from being so.
    pub obstacles: Vec<Obstacle>,
}

impl Contribution for PlaceStatus {
    fn outcome(&self) -> Outcome {
        match (self.obstacles.is_empty(), self.done) {
            (false, _) => Outcome::Failed,
            (true, true) => Outcome::Ready,
            (true, false) => Outcome::Progressing,
        }
    }

    fn obstacles(&self) -> &[Obstacle] {
        &self.obstacles
    }
}

pub(crate) fn plan(
    binding: &ClusterRoleTemplateBinding,
    world: &World,
    now: Timestamp,
) -> Plan<ClusterRoleTemplateBindingOperator> {
    let expires_at = binding.spec.expires_at.as_ref();
    let counts = is_in_force(expires_at, now);
    let place_status = match &world.cluster {
        None => {
            let admission = record(binding, world.policies.as_ref(), &world.evidence, false, now);
            let of_template = || world.unadmitted.as_deref().map(template_not_admitted);
            let not_admitted = || not_admitted(binding, admission.as_ref()).or_else(of_template);
            let not_admitted = || Some((GrantCause::NotAdmitted.into(), not_admitted()?));
            let lack = lack(binding, world).or_else(not_admitted);
            PlaceStatus { lack, admission, done: true, obstacles: Vec::new() }
        }
        Some(here) if counts => effective(binding, world.template.as_ref(), here),
        Some(here) => PlaceStatus { done: is_withdrawn(binding, here, now), ..PlaceStatus::default() },
    };
    let requeue = expires_at.filter(|_| counts).map_or(Requeue::Watch, |end| Requeue::At(end.0));
    Plan { place_status, groups: Vec::new(), requeue }
}

pub(crate) fn clean_up() -> Plan<ClusterRoleTemplateBindingOperator> {
    Plan { place_status: PlaceStatus::default(), groups: Vec::new(), requeue: Requeue::Released }
}

fn lack(binding: &ClusterRoleTemplateBinding, world: &World) -> Option<(Cause, String)> {
    let name = &binding.spec.role_template_name;
    let (cause, what) = match &world.template {
        _ if world.undecodable.is_some() => {
            let name = world.undecodable.as_deref().unwrap_or_default();
            let what = "cannot be decoded, so everybody keeps what they have by it and nobody gets more";
            (GrantCause::RoleTemplateUndecodable, format!("RoleTemplate {name} {what}"))
        }
        None => (GrantCause::RoleTemplateNotFound, format!("RoleTemplate {name} does not exist")),
        Some(template) if template.context != RoleContext::Cluster => {
            (GrantCause::ContextMismatch, format!("RoleTemplate {name} is of context Project"))
        }
        Some(_) => return None,
    };
    Some((cause.into(), format!("{what}. {}", cause.cause().remedy())))
}

fn not_admitted(binding: &ClusterRoleTemplateBinding, record: Option<&Admission>) -> Option<String> {
    let what = "the binding was written while admission policies were missing or altered, so nobody gets a right by it";
    is_refused(binding, record).then(|| format!("{what}. {}", GrantCause::NotAdmitted.cause().remedy()))
}

fn effective(binding: &ClusterRoleTemplateBinding, template: Option<&Resolved>, here: &AtCluster) -> PlaceStatus {
    let identity = here.identity.as_ref();
    let refused = binding.spec.subjects.iter().filter_map(|one| Some((one, subject(one, identity).err()?)));
    let obstacles = refused.map(|(one, why)| {
        let what = format!("{} {} is granted nothing: {why}", one.kind.as_str(), one.name);
        let cause = GrantCause::SubjectRefused;
        let message = format!("{what}. {}", cause.cause().remedy());
        Obstacle { namespace: None, cause: cause.into(), message }
    });
    let obstacles = obstacles.collect();
    let granted = subjects([&Use::of(binding)], identity);
    let wanted = template.filter(|template| template.context == RoleContext::Cluster);
    let done = wanted.is_some_and(|template| roles(template, &granted).iter().all(|role| is_granted(role, here)));
    PlaceStatus { done, obstacles, ..PlaceStatus::default() }
}

fn is_granted(wanted: &WantedRole, here: &AtCluster) -> bool {
    let name = wanted.role.role_name();
    let is_role = wanted.rules.as_ref().is_none_or(|rules| {
        let live = here.roles.iter().find(|role| role.metadata.name.as_ref() == Some(&name));
        live.is_some_and(|live| live.rules.as_ref() == Some(rules))
    });
    let bound: Vec<&Subject> = here
        .bindings
        .iter()
        .filter(|live| live.role_ref.name == name)
        .flat_map(|live| live.subjects.iter().flatten())
        .collect();
    is_role && wanted.subjects.iter().all(|subject| bound.contains(&subject))
}

/// Whether nobody has the role by this binding any more; another one may still give it.
fn is_withdrawn(binding: &ClusterRoleTemplateBinding, here: &AtCluster, now: Timestamp) -> bool {
    let identity = here.identity.as_ref();
    let kept = subjects(in_force(&here.others, now).0, identity);
    let ended = subjects([&Use::of(binding)], identity);
    let mut bound = here.bindings.iter().flat_map(|live| live.subjects.iter().flatten());
    !bound.any(|subject| ended.contains(subject) && !kept.contains(subject))
}
