//! Whether a binding is effective at one place. Pure.

use std::collections::{BTreeSet, HashMap};

use drover_crds::{Admission, ProjectRoleTemplateBinding};
use drover_grants::{
    Admitted, GrantCause, Templates,
    admitted::{is_refused, record},
    in_force::{Denied, admitted, in_force},
};
use drover_roles::{Accounts, BoundRole, Resolved, accounts_of, in_bindings_of};
use drover_runtime::{
    Cause, Outcome, Requeue, StatusCause, Title,
    fan_out::{Contribution, Obstacle},
    operator::Plan,
    owned::each_alone,
};
use k8s_openapi::{
    api::rbac::v1::Subject,
    jiff::{SignedDuration, Timestamp},
};
use kube::ResourceExt as _;

use crate::{
    ProjectBindingOperator,
    beside::{Decision, Told, decide, keep, withdraw},
    observe::{AtCluster, World},
};

/// While nothing may be given beside the Project, it is looked again after this time whether that is still so.
const LOOK_SOON: SignedDuration = SignedDuration::from_secs(5);

/// What one place says of a binding.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PlaceStatus {
    /// Why nothing is given anywhere, where that is so.
    pub denied: Option<(Cause, String)>,
    /// Under which policies it was written; only as a whole.
    pub admission: Option<Admission>,
    /// What keeps it from being effective there.
    pub problems: Vec<Obstacle>,
    /// What is given beside the Project, where the template names that.
    pub beside: Option<Told>,
    /// What a person should know although all is as wanted; only as a whole.
    pub note: Option<String>,
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

pub(crate) fn clean_up(world: &World) -> Plan<ProjectBindingOperator> {
    let requeue = if world.here.owned.is_empty() { Requeue::Released } else { Requeue::Watch };
    Plan { place_status: PlaceStatus::default(), groups: each_alone(withdraw(&world.here)), requeue }
}

pub(crate) fn plan(
    binding: &ProjectRoleTemplateBinding,
    world: &World,
    now: Timestamp,
) -> Plan<ProjectBindingOperator> {
    let expiry = binding.spec.expires_at.as_ref().map(|time| time.0).filter(|end| now < *end);
    let mut place_status = PlaceStatus::default();
    let resolved = judge(binding, world, now).map_err(|denied| place_status.denied = denied).ok();
    let Some(at) = &world.at else {
        place_status.admission = record(binding, world.policies.as_ref(), &world.evidence, false, now);
        let doubt = resolved.as_ref().and_then(|resolved| in_doubt(binding, resolved, &world.templates, &place_status));
        place_status.note = resolved.as_ref().and_then(|resolved| not_in_clusters(binding, resolved));
        let named = resolved.map(|resolved| resolved.management_roles);
        place_status.denied = doubt.or(place_status.denied);
        let Decision { changes, told, is_frozen } = match (&named, &place_status.denied) {
            (Some(named), Some(doubt)) => keep(binding, Some(named), &world.here, doubt),
            (None, Some(doubt)) if doubt.0 == GrantCause::RoleTemplateUndecodable.cause() => {
                keep(binding, None, &world.here, doubt)
            }
            _ => decide(binding, &named.unwrap_or_default(), &world.here),
        };
        place_status.beside = told;
        let again = is_frozen.then(|| now + LOOK_SOON);
        let requeue = expiry.into_iter().chain(again).min().map_or(Requeue::Watch, Requeue::At);
        return Plan { place_status, groups: each_alone(changes), requeue };
    };
    if let Some(resolved) = resolved {
        place_status.problems = problems(binding, at, &resolved.bound_roles());
    }
    Plan { place_status, groups: Vec::new(), requeue: expiry.map_or(Requeue::Watch, Requeue::At) }
}

/// Why nobody gets more by a binding that is in force: it, or its template, was not admitted, or not yet.
fn in_doubt(
    binding: &ProjectRoleTemplateBinding,
    resolved: &Resolved,
    templates: &Templates,
    place_status: &PlaceStatus,
) -> Option<(Cause, String)> {
    let is_refused = is_refused(binding, place_status.admission.as_ref());
    let admitted = if is_refused { Admitted::No } else { Admitted::Yes };
    let denied = Denied::unjudged(resolved, templates, admitted)?;
    let cause = denied.cause().map_or(StatusCause::Progressing.into(), Into::into);
    Some((cause, denied.message(binding)))
}

/// What the binding gives, or why it gives nothing.
fn judge(
    binding: &ProjectRoleTemplateBinding,
    world: &World,
    now: Timestamp,
) -> Result<Resolved, Option<(Cause, String)>> {
    if !world.has_project {
        return Err(Some((GrantCause::ProjectNotFound.into(), no_project(binding))));
    }
    let namespace = binding.namespace().unwrap_or_default();
    in_force(binding, &world.templates, &namespace, &world.labels, now)
        .map_err(|why| why.cause().map(|cause| (cause.into(), why.message(binding))))
}

fn problems(binding: &ProjectRoleTemplateBinding, at: &AtCluster, roles: &BTreeSet<BoundRole>) -> Vec<Obstacle> {
    let held: BTreeSet<&str> = at.namespaces.iter().map(String::as_str).collect();
    let identity = at.cluster.spec.identity.as_ref();
    let (subjects, refused): (Vec<_>, Vec<_>) =
        binding.spec.subjects.iter().map(|subject| admitted(subject, identity, &held)).partition(Result::is_ok);
    let subjects: Vec<Subject> =
        in_bindings_of(subjects.into_iter().flatten(), usize::MAX).into_iter().flatten().collect();
    let refused = refused.into_iter().find_map(Result::err).map(|refused| refused.obstacle(binding, &at.cluster));
    let roles: BTreeSet<String> = roles.iter().map(BoundRole::role_name).collect();
    let given = given(at, &roles);
    let has_all = |namespace: &str, role: &str| {
        are_among(&subjects, given.get(&(namespace, role)).map(Vec::as_slice).unwrap_or_default())
    };
    let lacking = held.iter().find(|namespace| !roles.iter().all(|role| has_all(namespace, role)));
    let lacking = lacking.map(|namespace| Obstacle {
        namespace: Some((*namespace).to_owned()),
        cause: GrantCause::NotYetGranted.into(),
        message: not_yet(binding, at, namespace),
    });
    refused.into_iter().chain(lacking).collect()
}

/// Who has one of these roles, by namespace and role.
fn given<'a>(at: &'a AtCluster, roles: &BTreeSet<String>) -> HashMap<(&'a str, &'a str), Vec<&'a Subject>> {
    let mut given: HashMap<_, Vec<_>> = HashMap::new();
    let ours = at.granted.iter().filter(|found| matches!(found.title, Title::Created | Title::Adopted));
    let live = ours.filter_map(|found| found.live.as_ref().ok());
    for found in live.filter(|found| roles.contains(&found.role_ref.name)) {
        let place = (found.metadata.namespace.as_deref().unwrap_or_default(), &*found.role_ref.name);
        given.entry(place).or_default().extend(found.subjects.iter().flatten());
    }
    given
}

/// Whether all these subjects are there; in one go where both are in the order in which Drover writes them.
pub(crate) fn are_among(wanted: &[Subject], have: &[&Subject]) -> bool {
    let mut rest = have;
    wanted.iter().all(|subject| match rest.iter().position(|found| *found == subject) {
        Some(at) => {
            rest = rest.get(at + 1..).unwrap_or_default();
            true
        }
        None => have.contains(&subject),
    })
}

/// Accounts have rights in the namespaces of their Project only.
fn not_in_clusters(binding: &ProjectRoleTemplateBinding, resolved: &Resolved) -> Option<String> {
    let has_accounts = binding.spec.subjects.iter().any(|subject| accounts_of(subject) != Accounts::None);
    let told = || {
        let template = &binding.spec.role_template_name;
        format!(
            "ServiceAccounts have what clusterRules of RoleTemplate {template} allow nowhere; only users and groups have that"
        )
    };
    (has_accounts && !resolved.cluster_rules.is_empty()).then(told)
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
