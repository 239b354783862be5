//! Whether an app may do what it wants to do at a cluster, and what it may do there. Pure.
//!
//! The Cluster names the tenant and its namespaces, the Project holds the namespace and guards it, the `RoleTemplate` says what the app
//! may do, and an admission policy judged who gave it that role. What is unknown takes nothing away and gives nothing new.

use std::{collections::BTreeMap, sync::Arc};

use drover_apps::AppCause;
use drover_crds::{
    CatalogApp, Cluster, MAX_PROBLEMS, Operation, Problem, Project, RoleContext, Tenant,
    condition::{ISOLATION_READY, NAMESPACES_READY, POD_SECURITY_READY, QUOTA_READY},
    names::LOCAL_CLUSTER,
};
use drover_fleet::cause::TenancyCause;
use drover_grants::{
    Admitted, GrantCause, Grants, Templates,
    in_force::{Denied, to_be_given},
};
use drover_roles::Resolved;
use drover_runtime::{Cause, ObjectKey, Place, cache::Index};
use kube::ResourceExt as _;

/// What a verdict is made of.
#[derive(Clone, Debug)]
pub struct Facts {
    /// The cluster.
    pub cluster: Arc<Cluster>,
    /// Whether its owner admits the app.
    pub admission: Admission,
    /// The Project.
    pub project: ProjectState,
    /// Whether the Project holds the namespace of the release.
    pub hold: Hold,
    /// The template that the app names, with those that it inherits.
    pub templates: Templates,
    /// The labels of the namespace of the app in the management cluster.
    pub labels: BTreeMap<String, String>,
    /// Whether rights may be granted.
    pub grants: Grants,
    /// Whether the spec was written under the admission policies.
    pub admitted: Admitted,
    /// The name of the app beside it that has the release of this name already.
    pub holder: Option<String>,
}

/// Whether the owner of a cluster admits an app.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// The namespace of the app in the management cluster is no tenant.
    NoTenant,
    /// It is, and may have no apps without a Project.
    NoClusterApps,
    /// It is, and may not hold the namespace of the release.
    OtherNamespaces,
    /// It is, and may.
    Admitted,
}

impl Admission {
    /// By the entries of a cluster that admit the namespace of the app. What one of them allows is not mixed with another one.
    #[must_use]
    pub fn of(app: &CatalogApp, cluster: &Cluster, mut tenancies: Vec<&Tenant>) -> Self {
        if tenancies.is_empty() {
            return Self::NoTenant;
        }
        if app.spec.is_of_platform() {
            tenancies.retain(|tenant| tenant.allows(Operation::ClusterApps));
        }
        let namespace = &app.spec.namespace;
        if tenancies.is_empty() {
            Self::NoClusterApps
        } else if tenancies.iter().any(|tenant| tenant.allows_namespace(namespace)) && !cluster.spec.protects(namespace)
        {
            Self::Admitted
        } else {
            Self::OtherNamespaces
        }
    }
}

/// Whether the Project of an app holds a namespace; of an app of the platform, whether any does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hold {
    /// It does not.
    No,
    /// It does, and the namespace is being deleted.
    Ending,
    /// It does, and not all that it wants in there is there yet.
    Unguarded,
    /// It does, with all that guards it.
    Guarded,
}

/// What is known of the Project of an app.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProjectState {
    /// It exists.
    Present,
    /// It exists and is suspended, or cannot be decoded: nothing new is done for it.
    Unsettled,
    /// It does not exist, or is being deleted.
    Absent,
    /// The app names none: it is one of the platform.
    Unnamed,
}

/// Whether an app may be released.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// It may, with these roles.
    Granted(Resolved),
    /// Nothing is given or done that is not there already, and nothing is taken away.
    Held(Cause, String),
    /// It may do nothing any more.
    Withdrawn(Cause, String),
}

impl Verdict {
    /// Judges an app.
    #[must_use]
    pub fn of(app: &CatalogApp, facts: &Facts) -> Self {
        match withdrawn(app, facts) {
            Some((cause, message)) => Self::Withdrawn(cause, message),
            None => granted(app, facts),
        }
    }
}

fn withdrawn(app: &CatalogApp, facts: &Facts) -> Option<(Cause, String)> {
    let (name, cluster, namespace) = (app.name_any(), facts.cluster.name_any(), &app.spec.namespace);
    let (project, tenant) = (project_of(app), app.namespace().unwrap_or_default());
    if cluster == LOCAL_CLUSTER {
        let message = format!(
            "app {name} names the management cluster, which rules all others and takes no apps; name another Cluster in another app"
        );
        return Some((AppCause::NotOnManagementCluster.into(), message));
    }
    if facts.admission == Admission::NoTenant {
        let message = format!(
            "cluster {cluster} does not admit namespace {tenant}; its owner decides that in spec.tenants of the Cluster"
        );
        return Some((TenancyCause::NotATenant.into(), message));
    }
    if facts.admission == Admission::NoClusterApps {
        let message = format!(
            "cluster {cluster} does not let namespace {tenant} have apps without a Project, such as {name}; ask its owner to add ClusterApps to operations of its tenant entry, or set spec.projectName in another app"
        );
        return Some((AppCause::ClusterAppsNotAllowed.into(), message));
    }
    if facts.admission == Admission::OtherNamespaces {
        let message = format!(
            "cluster {cluster} does not let namespace {tenant} hold namespace {namespace}; choose a namespace that namespacePatterns of its tenant entry allow, or ask its owner to add a pattern"
        );
        return Some((AppCause::NamespaceNotAllowed.into(), message));
    }
    if facts.project == ProjectState::Absent {
        let message = format!(
            "there is no Project {project} in namespace {tenant} for app {name}, or it is being deleted; create the Project, or name another one in another app"
        );
        return Some((GrantCause::ProjectNotFound.into(), message));
    }
    None
}

fn project_of(app: &CatalogApp) -> &str {
    app.spec.project_name.as_deref().unwrap_or_default()
}

/// Apps of one management namespace by the release that they name, for a look-up in a cache. Who names a release of another tenant holds
/// up nobody there. The namespaces of apps of the platform are nobody's: all that name a release there are one list.
#[derive(Clone, Copy, Debug)]
pub struct OfRelease;

impl Index<CatalogApp> for OfRelease {
    fn key(app: &CatalogApp) -> Option<ObjectKey> {
        let spec = &app.spec;
        let tenant = if spec.is_of_platform() { String::new() } else { app.namespace()? };
        let place = format!("{tenant}/{}/{}", spec.cluster_name, spec.namespace);
        Some(ObjectKey::namespaced(&place, app.release_name()))
    }
}

/// Apps by cluster, namespace and name of their release, whoever the tenant is, for a look-up in a cache.
#[derive(Clone, Copy, Debug)]
pub struct AtPlace;

impl AtPlace {
    /// The key of this release, by its namespace and its name, at `place`.
    #[must_use]
    pub fn of(place: &Place, release: &ObjectKey) -> ObjectKey {
        ObjectKey::namespaced(&format!("{place}/{}", release.namespace), &release.name)
    }
}

impl Index<CatalogApp> for AtPlace {
    fn key(app: &CatalogApp) -> Option<ObjectKey> {
        let release = ObjectKey::namespaced(&app.spec.namespace, app.release_name());
        Some(Self::of(&Place::cluster(&app.spec.cluster_name), &release))
    }
}

/// The app to which a release belongs before this one, out of those that name it: the older one, then by name.
#[must_use]
pub fn holder<'a>(app: &CatalogApp, others: impl IntoIterator<Item = &'a CatalogApp>) -> Option<&'a CatalogApp> {
    // What has no date yet is the youngest.
    let age = |app: &CatalogApp| {
        let created = app.metadata.creation_timestamp.as_ref().map(|time| time.0);
        (created.is_none(), created, app.name_any())
    };
    let earlier =
        others.into_iter().filter(|other| OfRelease::key(other) == OfRelease::key(app) && age(other) < age(app));
    earlier.min_by_key(|other| age(other))
}

/// Whether a Project says that all it wants in a namespace is there: of guards at least, and for its present spec. A status lists at most
/// so many problems; where it is full, what is not listed is not known.
#[must_use]
pub fn is_guarded(project: &Project, cluster: &str, namespace: &str) -> bool {
    let Some(status) = &project.status else { return false };
    let guards = [NAMESPACES_READY, QUOTA_READY, POD_SECURITY_READY, ISOLATION_READY];
    let is_unmet = |kind: &str| status.conditions.iter().any(|found| found.type_ == kind && found.status == "False");
    let is_current = Some(status.observed_generation) == project.metadata.generation;
    let concerns = |problem: &Problem| {
        problem.cluster == cluster && problem.namespace.as_deref().is_none_or(|found| found == namespace)
    };
    let unmet = guards.iter().any(|kind| is_unmet(kind));
    // What is on its way tells no problem.
    let is_told = !status.problems.is_empty() && status.problems.len() < MAX_PROBLEMS;
    is_current && (!unmet || (is_told && !status.problems.iter().any(concerns)))
}

fn granted(app: &CatalogApp, facts: &Facts) -> Verdict {
    let (name, cluster, namespace) = (app.name_any(), facts.cluster.name_any(), &app.spec.namespace);
    let project = project_of(app);
    let (tenant, context) = (app.namespace().unwrap_or_default(), app.spec.role_context());
    let is_of_platform = facts.project == ProjectState::Unnamed;
    if facts.hold == Hold::No && !is_of_platform {
        let message = format!(
            "Project {project} does not hold namespace {namespace} on cluster {cluster}; list it in spec.namespaces of the Project, or name another namespace in another app"
        );
        return Verdict::Withdrawn(AppCause::NamespaceNotOfProject.into(), message);
    }
    let resolved = match to_be_given(&app.spec.role_template_name, context, &facts.templates, &tenant, &facts.labels) {
        Ok(resolved) => resolved,
        Err(denied) => return not_given(app, &denied),
    };
    if facts.project == ProjectState::Unsettled {
        let message = format!(
            "Project {project} is suspended, or Drover cannot decode it, so app {name} stays as it is; resume or correct the Project"
        );
        return Verdict::Held(AppCause::NamespaceNotGuarded.into(), message);
    }
    match &facts.grants {
        Grants::Frozen { cause, message } => return Verdict::Held((*cause).into(), message.clone()),
        Grants::Unjudged => return not_given(app, &Denied::Unjudged),
        Grants::Allowed => {}
    }
    if let Some(denied) = Denied::unjudged(&resolved, &facts.templates, facts.admitted) {
        return not_given(app, &denied);
    }
    if is_of_platform && facts.hold != Hold::No {
        let message = format!(
            "a Project holds namespace {namespace} on cluster {cluster}, so app {name}, which is of none, stays as it is; name another namespace in another app"
        );
        return Verdict::Held(AppCause::NamespaceOfProject.into(), message);
    }
    if facts.hold == Hold::Ending {
        return Verdict::Held(AppCause::NamespaceTerminating.into(), terminating(namespace, &cluster));
    }
    if facts.hold == Hold::Unguarded {
        let message = format!(
            "Project {project} does not yet have all that it wants in namespace {namespace} on cluster {cluster}, so app {name} waits; look at the status of the Project"
        );
        return Verdict::Held(AppCause::NamespaceNotGuarded.into(), message);
    }
    if let Some(holder) = &facts.holder {
        let message = format!(
            "release {} in namespace {namespace} on cluster {cluster} belongs to app {holder}; set another spec.releaseName in another app",
            app.release_name()
        );
        return Verdict::Held(AppCause::ReleaseTaken.into(), message);
    }
    Verdict::Granted(resolved)
}

/// Nothing can be created in a namespace that is being deleted.
#[must_use]
pub fn terminating(namespace: &str, cluster: &str) -> String {
    format!(
        "namespace {namespace} on cluster {cluster} is being deleted, so nothing is released there; wait until it is there again, and look for finalizers in it"
    )
}

/// Nobody has a role by a template that does not give it.
fn not_given(app: &CatalogApp, denied: &Denied) -> Verdict {
    let template = &app.spec.role_template_name;
    let (name, tenant) = (app.name_any(), app.namespace().unwrap_or_default());
    let message = match denied {
        Denied::TemplateNotFound => {
            format!("there is no RoleTemplate {template} for app {name}, which can do nothing; create the RoleTemplate")
        }
        Denied::Undecodable(unknown) => format!(
            "Drover cannot decode RoleTemplate {unknown}, so app {name} stays as it is; correct the RoleTemplate, or run a version of Drover that knows its fields"
        ),
        Denied::TemplateNotAdmitted(other) => format!(
            "RoleTemplate {other} was written while admission policies were missing or altered, so app {name} stays as it is; write the RoleTemplate again"
        ),
        Denied::NotAdmitted => format!(
            "app {name} was written while admission policies were missing or altered, so it stays as it is; change its spec, or delete it and create it again"
        ),
        Denied::WrongContext => {
            let (is, wanted) = match app.spec.role_context() {
                RoleContext::Project => ("for whole clusters", "Project"),
                RoleContext::Cluster => ("for Projects, and the app names none", "Cluster"),
            };
            format!(
                "RoleTemplate {template} is {is}; name one of context {wanted} in spec.roleTemplateName of app {name}"
            )
        }
        Denied::NotBindable => format!(
            "RoleTemplate {template} may not be used from namespace {tenant}; ask its owner to add the namespace to spec.bindableFrom"
        ),
        Denied::Unjudged | Denied::Deleting | Denied::Expired => {
            format!("whether app {name} was written under the admission policies is not known yet; wait a moment")
        }
    };
    let cause = denied.cause().map_or(GrantCause::NotYetGranted.into(), Cause::from);
    if denied.keeps() { Verdict::Held(cause, message) } else { Verdict::Withdrawn(cause, message) }
}

#[cfg(test)]
mod tests;
