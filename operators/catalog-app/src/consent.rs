//! Whether an app may do what it wants to do at a cluster, and what it may do there. Pure.
//!
//! The Cluster names the tenant and its namespaces, the Project holds the namespace and guards it, the `RoleTemplate` says what the app
//! may do, and an admission policy judged who gave it that role. What is unknown takes nothing away and gives nothing new.

use std::{collections::BTreeMap, sync::Arc};

use drover_crds::{CatalogApp, Cluster, names::LOCAL_CLUSTER};
use drover_fleet::cause::TenancyCause;
use drover_grants::{
    Admitted, GrantCause, Grants, Templates,
    in_force::{Denied, to_be_given},
};
use drover_roles::Resolved;
use drover_runtime::Cause;
use kube::ResourceExt as _;

use drover_apps::AppCause;

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
}

/// Whether the owner of a cluster admits an app.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// The namespace of the app in the management cluster is no tenant.
    NoTenant,
    /// It is, and may not hold the namespace of the release.
    OtherNamespaces,
    /// It is, and may.
    Admitted,
}

/// Whether a Project holds a namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hold {
    /// It does not.
    No,
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
    let (project, tenant) = (&app.spec.project_name, app.namespace().unwrap_or_default());
    if cluster == LOCAL_CLUSTER {
        let message = format!(
            "app {name} names the management cluster, which rules all others and takes no apps of Projects; name another Cluster in another app"
        );
        return Some((AppCause::NotOnManagementCluster.into(), message));
    }
    if facts.admission == Admission::NoTenant {
        let message = format!(
            "cluster {cluster} does not admit namespace {tenant}; its owner decides that in spec.tenants of the Cluster"
        );
        return Some((TenancyCause::NotATenant.into(), message));
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

fn granted(app: &CatalogApp, facts: &Facts) -> Verdict {
    let (name, cluster, namespace) = (app.name_any(), facts.cluster.name_any(), &app.spec.namespace);
    let project = &app.spec.project_name;
    let tenant = app.namespace().unwrap_or_default();
    if facts.hold == Hold::No {
        let message = format!(
            "Project {project} does not hold namespace {namespace} on cluster {cluster}; list it in spec.namespaces of the Project, or name another namespace in another app"
        );
        return Verdict::Withdrawn(AppCause::NamespaceNotOfProject.into(), message);
    }
    let resolved = match to_be_given(&app.spec.role_template_name, &facts.templates, &tenant, &facts.labels) {
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
    if facts.hold == Hold::Unguarded {
        let message = format!(
            "Project {project} does not yet have all that it wants in namespace {namespace} on cluster {cluster}, so app {name} waits; look at the status of the Project"
        );
        return Verdict::Held(AppCause::NamespaceNotGuarded.into(), message);
    }
    Verdict::Granted(resolved)
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
        Denied::WrongContext => format!(
            "RoleTemplate {template} is for whole clusters; name one of context Project in spec.roleTemplateName of app {name}"
        ),
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
