//! From all clusters to one status that does not grow with the fleet. Pure.

use drover_admission::downstream::FENCE_OF_BINDINGS;
use drover_crds::{
    ClusterQuotaStatus, MAX_QUOTA_ROWS, NamespaceCount, Project, ProjectStatus, StatusConditions as _,
    condition::{ISOLATION_READY, NAMESPACES_READY, POD_SECURITY_READY, QUOTA_READY, RBAC_READY, SECRETS_READY},
};
use drover_fleet::targets;
use drover_grants::GrantCause;
use drover_runtime::{
    Outcome, PlaceStatuses, Refusal, StatusCause,
    fan_out::{Contribution, FanOut, Finding, Obstacle, Whole},
    status::{State, condition},
};
use drover_secrets::SecretCause;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use crate::{
    cause::ProjectCause,
    place_status::{Guarded, PlaceStatus},
};

/// Most that the rows of the quota may weigh together as JSON.
const QUOTA_LIMIT: usize = 2 * 1024;

pub(crate) fn summarise(project: &Project, statuses: &PlaceStatuses<PlaceStatus>) -> ProjectStatus {
    let whole = Whole {
        suspended: project.spec.suspend,
        unimplemented: project.spec.unimplemented(),
        was_ready: project.status.as_ref().is_some_and(|status| status.was_ready(project.metadata.generation)),
    };
    let fan_out = FanOut::of(project, whole, statuses);
    let namespaces = namespaces(&fan_out);
    let mut conditions = fan_out.ready();
    conditions.push(targets::allowed(&fan_out));
    conditions.push(fan_out.reachable());
    conditions.push(namespaces_ready(&fan_out, &namespaces));
    conditions.extend(quota_ready(&fan_out));
    conditions.extend(guards_ready(&fan_out, POD_SECURITY_READY, "pod security levels", |status| status.pod_security));
    conditions.extend(guards_ready(&fan_out, ISOLATION_READY, "isolation", |status| status.isolation));
    conditions.extend(members_ready(&fan_out));
    conditions.extend(secrets_ready(&fan_out));
    ProjectStatus {
        clusters: Some(fan_out.targets()),
        namespaces: Some(namespaces),
        quota: granted(&fan_out),
        problems: fan_out.problems(),
        conditions,
        ..ProjectStatus::default()
    }
}

impl Contribution for PlaceStatus {
    fn outcome(&self) -> Outcome {
        if !self.problems.is_empty() {
            Outcome::Failed
        } else if [self.members, self.secrets].iter().all(|count| count.ready == count.wanted)
            && self.ready == self.wanted
        {
            Outcome::Ready
        } else {
            Outcome::Progressing
        }
    }

    fn obstacles(&self) -> &[Obstacle] {
        &self.problems
    }
}

fn namespaces(fan_out: &FanOut<'_, PlaceStatus>) -> NamespaceCount {
    let told = fan_out.told();
    let (total, ready) = told.fold((0, 0), |(total, ready), told| (total + told.wanted, ready + told.ready));
    NamespaceCount { total, ready, summary: format!("{ready}/{total}") }
}

fn namespaces_ready(fan_out: &FanOut<'_, PlaceStatus>, namespaces: &NamespaceCount) -> Condition {
    let deleting = fan_out.is_deleting();
    let summary = format!("{} namespaces are as wanted", namespaces.summary);
    match about_one_namespace(fan_out) {
        Some(finding) => condition(NAMESPACES_READY, false, finding.cause(), finding.problem().message),
        None if namespaces.ready < namespaces.total || fan_out.tally.progressing > 0 || deleting => {
            condition(NAMESPACES_READY, false, StatusCause::Progressing, summary)
        }
        None if fan_out.tally.total > 0 && fan_out.told().next().is_none() => {
            let message = "no selected cluster could be looked at";
            condition(NAMESPACES_READY, State::Unknown, StatusCause::NotObserved, message)
        }
        None => condition(NAMESPACES_READY, true, StatusCause::Ready, summary),
    }
}

/// Whether every namespace has a guard that it should have; nothing where none should have it.
fn guards_ready(
    fan_out: &FanOut<'_, PlaceStatus>,
    kind: &str,
    what: &str,
    count: fn(&PlaceStatus) -> Guarded,
) -> Option<Condition> {
    let told = fan_out.told().map(count);
    let (wanted, ready) = told.fold((0, 0), |(wanted, ready), told| (wanted + told.wanted, ready + told.ready));
    let summary = format!("{ready}/{wanted} namespaces have their {what}");
    let told = match about_one_namespace(fan_out) {
        _ if wanted == 0 => return None,
        _ if ready == wanted => condition(kind, true, StatusCause::Ready, summary),
        Some(finding) => condition(kind, false, finding.cause(), finding.problem().message),
        None => condition(kind, false, StatusCause::Progressing, summary),
    };
    Some(told)
}

/// Whether every namespace has the quota that it requests, and no more is granted than there is.
fn quota_ready(fan_out: &FanOut<'_, PlaceStatus>) -> Option<Condition> {
    let counted = guards_ready(fan_out, QUOTA_READY, "quota", |status| status.quota)?;
    let causes = [ProjectCause::Overcommitted, ProjectCause::QuotaExhausted, ProjectCause::InvalidQuantity];
    let problem = causes.into_iter().find_map(|cause| fan_out.findings.iter().find(|finding| finding.is_for(cause)));
    Some(match problem {
        Some(finding) => condition(QUOTA_READY, false, finding.cause(), finding.problem().message),
        None => warned(counted, fan_out.told().find_map(|told| told.to_state.as_deref())),
    })
}

/// A condition that says what to look at although it is true.
fn warned(condition: Condition, warning: Option<&str>) -> Condition {
    match warning.filter(|_| condition.status == "True") {
        Some(warning) => Condition { message: format!("{}; {warning}", condition.message), ..condition },
        None => condition,
    }
}

/// What is granted where, of as many clusters as fit.
fn granted(fan_out: &FanOut<'_, PlaceStatus>) -> Vec<ClusterQuotaStatus> {
    let mut size = 0;
    let fits = |row: &ClusterQuotaStatus| {
        size += serde_json::to_string(row).map_or(QUOTA_LIMIT, |json| json.len());
        size <= QUOTA_LIMIT
    };
    fan_out.told().filter_map(|told| told.granted.clone()).take(MAX_QUOTA_ROWS).take_while(fits).collect()
}

/// Whether every member has what the bindings give, and nobody what is withdrawn; nothing where there are none.
fn members_ready(fan_out: &FanOut<'_, PlaceStatus>) -> Option<Condition> {
    let told = fan_out.told().map(|status| status.members);
    let (wanted, ready) = told.fold((0, 0), |(wanted, ready), told| (wanted + told.wanted, ready + told.ready));
    let summary = format!("{ready}/{wanted} role bindings are as wanted");
    let is_about_members =
        |finding: &&Finding<'_>| finding.cause().is_any(GrantCause::TABLE) || is_of_the_fence(finding);
    match fan_out.findings.iter().find(is_about_members) {
        Some(finding) => Some(condition(RBAC_READY, false, finding.cause(), finding.problem().message)),
        None if wanted == 0 => None,
        None if ready == wanted => Some(condition(RBAC_READY, true, StatusCause::Ready, summary)),
        None => Some(condition(RBAC_READY, false, StatusCause::Progressing, summary)),
    }
}

/// Whether the policy refused it by which an import says what Drover may bind.
fn is_of_the_fence(finding: &Finding<'_>) -> bool {
    let Finding::Refused(_, Refusal { failure, .. }) = finding else { return false };
    failure.refuser.as_ref().is_some_and(|refuser| refuser.ends_with(FENCE_OF_BINDINGS))
}

/// Whether every namespace has the Secrets that the Project brings; nothing where it brings none.
fn secrets_ready(fan_out: &FanOut<'_, PlaceStatus>) -> Option<Condition> {
    let about_secrets = fan_out.findings.iter().find(|finding| finding.cause().is_any(SecretCause::TABLE));
    match about_secrets {
        Some(finding) => Some(condition(SECRETS_READY, false, finding.cause(), finding.problem().message)),
        None => guards_ready(fan_out, SECRETS_READY, "Secrets", |status| status.secrets),
    }
}

/// The first namespace that is not as wanted. What is being deleted has to go away, so that it does is no news.
fn about_one_namespace<'a>(fan_out: &'a FanOut<'_, PlaceStatus>) -> Option<&'a Finding<'a>> {
    let is_news = |finding: &&Finding<'_>| !(fan_out.is_deleting() && finding.is_for(StatusCause::Terminating));
    fan_out.findings.iter().filter(is_news).find(|finding| finding.is_about_one_namespace())
}
