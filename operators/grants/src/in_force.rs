//! Whether a binding of a Project counts, and for whom. Pure.

use std::collections::{BTreeMap, BTreeSet};

use drover_crds::{Cluster, IdentityMapping, ProjectRoleTemplateBinding, RoleContext, RoleSubject};
use drover_roles::{Accounts, Refused, Resolved, accounts_of, is_in_force, may_bind_from, resolve, subject};
use drover_runtime::fan_out::Obstacle;
use k8s_openapi::{api::rbac::v1::Subject, jiff::Timestamp};
use kube::ResourceExt as _;

use crate::{Admitted, Templates, allowed::template_not_admitted, cause::GrantCause};

/// Why a binding gives nothing to anybody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Denied {
    /// It is being deleted.
    Deleting,
    /// Its time is over.
    Expired,
    /// There is no template of this name.
    TemplateNotFound,
    /// The template of this name, the one that is bound or one that it inherits, cannot be decoded.
    Undecodable(String),
    /// Whether it, or its template, was written under the admission policies is not known yet.
    Unjudged,
    /// It was written while admission policies were missing or altered.
    NotAdmitted,
    /// So was the template of this name, the one that is bound or one that it inherits.
    TemplateNotAdmitted(String),
    /// The template is of the other context.
    WrongContext,
    /// The template may not be used from this namespace.
    NotBindable,
}

/// What a binding gives now, to whom it may.
pub fn in_force(
    binding: &ProjectRoleTemplateBinding,
    templates: &Templates,
    namespace: &str,
    labels: &BTreeMap<String, String>,
    now: Timestamp,
) -> Result<Resolved, Denied> {
    if binding.metadata.deletion_timestamp.is_some() {
        return Err(Denied::Deleting);
    }
    if !is_in_force(binding.spec.expires_at.as_ref(), now) {
        return Err(Denied::Expired);
    }
    to_be_given(&binding.spec.role_template_name, RoleContext::Project, templates, namespace, labels)
}

/// What a template of this context gives to what lies in this namespace, which has these labels.
pub fn to_be_given(
    name: &str,
    context: RoleContext,
    templates: &Templates,
    namespace: &str,
    labels: &BTreeMap<String, String>,
) -> Result<Resolved, Denied> {
    if templates.is_undecodable(name) {
        return Err(Denied::Undecodable(name.to_owned()));
    }
    let template = templates.get(name).filter(|template| template.metadata.deletion_timestamp.is_none());
    let template = template.ok_or(Denied::TemplateNotFound)?;
    if template.spec.context != context {
        return Err(Denied::WrongContext);
    }
    if !may_bind_from(template, namespace, labels) {
        return Err(Denied::NotBindable);
    }
    let resolved = resolve(template, |name| templates.get(name));
    match templates.in_doubt(&resolved) {
        Some(unknown) => Err(Denied::Undecodable(unknown.to_owned())),
        None => Ok(resolved),
    }
}

impl Denied {
    /// What keeps from being given what a binding, `admitted` or not, gives by these templates: nobody said who may write it.
    #[must_use]
    pub fn unjudged(resolved: &Resolved, templates: &Templates, admitted: Admitted) -> Option<Self> {
        match (admitted, templates.unadmitted(resolved)) {
            (Admitted::No, _) => Some(Self::NotAdmitted),
            (_, Some((name, Admitted::No))) => Some(Self::TemplateNotAdmitted(name.to_owned())),
            (Admitted::Unjudged, _) | (_, Some(_)) => Some(Self::Unjudged),
            (Admitted::Yes, None) => None,
        }
    }

    /// Whether whom the binding names keep what they have.
    #[must_use]
    pub fn keeps(&self) -> bool {
        matches!(self, Self::Undecodable(_) | Self::Unjudged | Self::NotAdmitted | Self::TemplateNotAdmitted(_))
    }

    /// Why; none if it is meant to be so.
    #[must_use]
    pub fn cause(&self) -> Option<GrantCause> {
        match self {
            Self::Deleting | Self::Unjudged => None,
            Self::Expired => Some(GrantCause::Expired),
            Self::TemplateNotFound => Some(GrantCause::RoleTemplateNotFound),
            Self::NotAdmitted | Self::TemplateNotAdmitted(_) => Some(GrantCause::NotAdmitted),
            Self::Undecodable(_) => Some(GrantCause::RoleTemplateUndecodable),
            Self::WrongContext => Some(GrantCause::ContextMismatch),
            Self::NotBindable => Some(GrantCause::RoleTemplateNotBindable),
        }
    }

    /// What the status says.
    #[must_use]
    pub fn message(&self, binding: &ProjectRoleTemplateBinding) -> String {
        let (name, template) = (binding.name_any(), &binding.spec.role_template_name);
        let namespace = binding.namespace().unwrap_or_default();
        match self {
            Self::Deleting => format!("binding {name} is being deleted"),
            Self::Expired => {
                format!("binding {name} has expired and gives nothing any more; delete it, or change spec.expiresAt")
            }
            Self::TemplateNotFound => {
                format!(
                    "there is no RoleTemplate {template} for binding {name}, which gives nothing; create the RoleTemplate"
                )
            }
            Self::Undecodable(unknown) => format!(
                "Drover cannot decode RoleTemplate {unknown}, so by binding {name} everybody keeps what they have of RoleTemplate {template} and nobody gets more; correct RoleTemplate {unknown}, or run a version of Drover that knows its fields"
            ),
            Self::Unjudged => {
                format!(
                    "Drover has not seen yet under which admission policies binding {name} and its RoleTemplate {template} were written"
                )
            }
            Self::NotAdmitted => format!(
                "binding {name} was written while admission policies were missing or altered, so nobody gets a right by it; delete it and create it again, or change its spec"
            ),
            Self::TemplateNotAdmitted(unjudged) => template_not_admitted(unjudged),
            Self::WrongContext => format!(
                "RoleTemplate {template} of binding {name} is of context Cluster, so a Project cannot give it; name one of context Project"
            ),
            Self::NotBindable => format!(
                "RoleTemplate {template} may not be bound from namespace {namespace}, so binding {name} gives nothing; ask its owner to add the namespace to spec.bindableFrom"
            ),
        }
    }

    /// What a Project tells; what has expired is as it should be.
    #[must_use]
    pub fn obstacle(&self, binding: &ProjectRoleTemplateBinding) -> Option<Obstacle> {
        let cause = self.cause().filter(|cause| *cause != GrantCause::Expired)?;
        Some(Obstacle { namespace: None, cause: cause.into(), message: self.message(binding) })
    }
}

/// Why a subject is given nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotAdmitted {
    /// Whatever the cluster is.
    Refused(RoleSubject, Refused),
    /// It is, or includes, a `ServiceAccount` of a namespace that the Project does not hold at the cluster.
    ForeignAccount(RoleSubject),
}

/// The subject as a cluster spells it. `held` are the namespaces that the Project holds there.
pub fn admitted(
    wanted: &RoleSubject,
    identity: Option<&IdentityMapping>,
    held: &BTreeSet<&str>,
) -> Result<Subject, NotAdmitted> {
    let spelled = subject(wanted, identity).map_err(|refused| NotAdmitted::Refused(wanted.clone(), refused))?;
    match accounts_of(wanted) {
        Accounts::None => Ok(spelled),
        Accounts::Of(namespace) if held.contains(namespace) => Ok(spelled),
        Accounts::Of(_) | Accounts::All => Err(NotAdmitted::ForeignAccount(wanted.clone())),
    }
}

impl NotAdmitted {
    /// Why.
    #[must_use]
    pub fn cause(&self) -> GrantCause {
        match self {
            Self::Refused(..) => GrantCause::SubjectRefused,
            Self::ForeignAccount(_) => GrantCause::ServiceAccountOfAnotherProject,
        }
    }

    /// What the status says.
    #[must_use]
    pub fn message(&self, binding: &ProjectRoleTemplateBinding, cluster: &Cluster) -> String {
        let (name, cluster) = (binding.name_any(), cluster.name_any());
        match self {
            Self::Refused(subject, refused) => {
                format!("binding {name} gives nothing to {}: {refused}; remove it from spec.subjects", spelled(subject))
            }
            Self::ForeignAccount(subject) => format!(
                "binding {name} gives nothing to {} on cluster {cluster}, where the Project holds no namespace for it; name ServiceAccounts of the Project's namespaces",
                spelled(subject)
            ),
        }
    }

    /// What a Project and the binding tell.
    #[must_use]
    pub fn obstacle(&self, binding: &ProjectRoleTemplateBinding, cluster: &Cluster) -> Obstacle {
        Obstacle { namespace: None, cause: self.cause().into(), message: self.message(binding, cluster) }
    }
}

fn spelled(subject: &RoleSubject) -> String {
    let namespace = subject.namespace.as_deref().map(|namespace| format!("{namespace}/")).unwrap_or_default();
    format!("{} {namespace}{}", subject.kind.as_str(), subject.name)
}
