//! Whether a binding is effective at one place. Pure.

use std::collections::{BTreeSet, HashMap, HashSet};

use drover_crds::ProjectRoleTemplateBinding;
use drover_grants::{
    GrantCause,
    in_force::{admitted, in_force},
};
use drover_roles::BoundRole;
use drover_runtime::{
    Cause, Outcome, Requeue, Title,
    fan_out::{Contribution, Obstacle},
    operator::Plan,
};
use k8s_openapi::{api::rbac::v1::Subject, jiff::Timestamp};
use kube::ResourceExt as _;

use crate::{
    ProjectBindingOperator,
    observe::{AtCluster, World},
};

/// What one place says of a binding.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PlaceStatus {
    /// Why nothing is given anywhere, where that is so.
    pub denied: Option<(Cause, String)>,
    /// What keeps it from being effective there.
    pub problems: Vec<Obstacle>,
}

impl Contribution for PlaceStatus {
    fn outcome(&self) -> Outcome {
        match (&self.denied, self.problems.is_empty()) {
            (None, true) => Outcome::Ready,
            (Some(_), _) => Outcome::Progressing,
            (None, false) => Outcome::Failed,
        }
    }

    fn obstacles(&self) -> &[Obstacle] {
        &self.problems
    }
}

pub(crate) fn nothing_to_do() -> Plan<ProjectBindingOperator> {
    Plan { place_status: PlaceStatus::default(), groups: Vec::new(), requeue: Requeue::Released }
}

pub(crate) fn plan(
    binding: &ProjectRoleTemplateBinding,
    world: &World,
    now: Timestamp,
) -> Plan<ProjectBindingOperator> {
    let expiry = binding.spec.expires_at.as_ref().map(|time| time.0).filter(|end| now < *end);
    let requeue = expiry.map_or(Requeue::Watch, Requeue::At);
    Plan { place_status: judge(binding, world, now), groups: Vec::new(), requeue }
}

fn judge(binding: &ProjectRoleTemplateBinding, world: &World, now: Timestamp) -> PlaceStatus {
    if !world.has_project {
        return denied(GrantCause::ProjectNotFound, no_project(binding));
    }
    let namespace = binding.namespace().unwrap_or_default();
    let roles = match in_force(binding, &world.templates, &namespace, &world.labels, now) {
        Ok(resolved) => resolved.bound_roles(),
        Err(why) => {
            let message = why.message(binding);
            return why.cause().map(|cause| denied(cause, message)).unwrap_or_default();
        }
    };
    let Some(at) = &world.at else { return PlaceStatus::default() };
    PlaceStatus { denied: None, problems: problems(binding, at, &roles) }
}

fn problems(binding: &ProjectRoleTemplateBinding, at: &AtCluster, roles: &BTreeSet<BoundRole>) -> Vec<Obstacle> {
    let held: BTreeSet<&str> = at.namespaces.iter().map(String::as_str).collect();
    let identity = at.cluster.spec.identity.as_ref();
    let (subjects, refused): (Vec<_>, Vec<_>) =
        binding.spec.subjects.iter().map(|subject| admitted(subject, identity, &held)).partition(Result::is_ok);
    let subjects: Vec<Subject> = subjects.into_iter().flatten().collect();
    let refused = refused.into_iter().find_map(Result::err).map(|refused| refused.obstacle(binding, &at.cluster));
    let given = given(at);
    let roles: Vec<String> = roles.iter().map(BoundRole::role_name).collect();
    let has_all = |namespace: &&str, role: &String| {
        let have = given.get(&(*namespace, &**role));
        subjects.iter().all(|subject| have.is_some_and(|have| have.contains(&who(subject))))
    };
    let lacking = held.iter().find(|namespace| !roles.iter().all(|role| has_all(namespace, role)));
    let lacking = lacking.map(|namespace| Obstacle {
        namespace: Some((*namespace).to_owned()),
        cause: GrantCause::NotYetGranted.into(),
        message: not_yet(binding, at, namespace),
    });
    refused.into_iter().chain(lacking).collect()
}

/// A subject: kind, group, namespace and name.
type Who<'a> = (&'a str, Option<&'a str>, Option<&'a str>, &'a str);

fn who(subject: &Subject) -> Who<'_> {
    (&subject.kind, subject.api_group.as_deref(), subject.namespace.as_deref(), &subject.name)
}

/// Who has a role in a namespace, by namespace and role.
fn given(at: &AtCluster) -> HashMap<(&str, &str), HashSet<Who<'_>>> {
    let mut given: HashMap<_, HashSet<_>> = HashMap::new();
    let ours = at.granted.iter().filter(|found| matches!(found.title, Title::Created | Title::Adopted));
    for found in ours.filter_map(|found| found.live.as_ref().ok()) {
        let place = (found.metadata.namespace.as_deref().unwrap_or_default(), &*found.role_ref.name);
        given.entry(place).or_default().extend(found.subjects.iter().flatten().map(who));
    }
    given
}

fn denied(cause: GrantCause, message: String) -> PlaceStatus {
    PlaceStatus { denied: Some((cause.into(), message)), problems: Vec::new() }
}

fn no_project(binding: &ProjectRoleTemplateBinding) -> String {
    let (project, namespace) = (&binding.spec.project_name, binding.namespace().unwrap_or_default());
    format!(
        "there is no Project {project} in namespace {namespace}, so the binding gives nothing; create the Project there"
    )
}

fn not_yet(binding: &ProjectRoleTemplateBinding, at: &AtCluster, namespace: &str) -> String {
    let (cluster, project) = (at.cluster.name_any(), &binding.spec.project_name);
    format!(
        "the role is not bound in namespace {namespace} on cluster {cluster} yet; if that lasts, the status of Project {project} says why"
    )
}
