//! Whether rights may be granted that are not granted already.

use drover_admission::Guarded;
use drover_crds::Cluster;
use drover_roles::Resolved;
use drover_runtime::{Cause, fan_out::Obstacle};
use kube::ResourceExt as _;

use crate::{Admitted, Templates, cause::GrantCause, members::Scope};

/// Whether rights may be granted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Grants {
    /// They may.
    #[default]
    Allowed,
    /// Nothing is granted that is not granted already; what is withdrawn goes all the same.
    Frozen {
        /// Why.
        cause: GrantCause,
        /// Why, and what to do about it.
        message: String,
    },
    /// Nothing is granted that is not granted already, for the moment that it takes to look at a template.
    Unjudged,
}

impl Grants {
    /// Frozen while the policies are not in place that keep grants from being abused.
    #[must_use]
    pub fn by(guarded: &Guarded) -> Self {
        let frozen = |message| Self::Frozen { cause: GrantCause::GrantsFrozen, message };
        guarded.frozen().map_or(Self::Allowed, frozen)
    }

    /// The same for what a template allows that was not admitted.
    #[must_use]
    pub fn and_of(self, resolved: &Resolved, templates: &Templates) -> Self {
        match templates.unadmitted(resolved) {
            Some((name, Admitted::No)) if self == Self::Allowed => {
                Self::Frozen { cause: GrantCause::NotAdmitted, message: template_not_admitted(name) }
            }
            Some(_) if self == Self::Allowed => Self::Unjudged,
            _ => self,
        }
    }

    /// How much may be given by an owner that is `suspended` or not.
    #[must_use]
    pub fn scope(&self, suspended: bool) -> Scope {
        if *self == Self::Allowed && !suspended { Scope::All } else { Scope::NoMore }
    }

    /// What a place tells while they are frozen.
    #[must_use]
    pub fn obstacle(&self) -> Option<Obstacle> {
        let Self::Frozen { cause, message } = self else { return None };
        Some(Obstacle { namespace: None, cause: (*cause).into(), message: message.clone() })
    }

    /// Frozen where the credential of a cluster lacks the rights to give any.
    #[must_use]
    pub fn not_permitted(cluster: &Cluster) -> Self {
        let cluster = cluster.name_any();
        let message = format!(
            "the credential of cluster {cluster} lacks the right to bind roles, so members get nothing there; run `drover import` for it again"
        );
        Self::Frozen { cause: GrantCause::RolesNotPermitted, message }
    }
}

/// Why what an object asks for does not begin, if policies or its record are in the way: `what` is the object, and `then` what follows and what
/// to do.
#[must_use]
pub fn not_begun(grants: &Grants, admitted: Option<Admitted>, what: &str, then: &str) -> Option<(Cause, String)> {
    if let Grants::Frozen { cause, message } = grants {
        return Some(((*cause).into(), message.clone()));
    }
    match admitted {
        Some(Admitted::Yes) if *grants != Grants::Unjudged => None,
        Some(Admitted::No) if *grants != Grants::Unjudged => {
            let message = format!("{what} was written while admission policies were missing or altered, so {then}");
            Some((GrantCause::NotAdmitted.into(), message))
        }
        _ => {
            let message =
                format!("whether {what} was written under the admission policies is not known yet; wait a moment");
            Some((GrantCause::NotYetGranted.into(), message))
        }
    }
}

/// What is told of a template that was not admitted.
#[must_use]
pub fn template_not_admitted(name: &str) -> String {
    format!(
        "RoleTemplate {name} was written while admission policies were missing or altered, so nobody gets a right by it; change what it allows, or put it back"
    )
}
