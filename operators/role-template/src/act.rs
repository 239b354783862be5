//! What is done at a cluster: one change of a role or of a binding.

use std::fmt;

use drover_crds::RoleTemplate;
use drover_runtime::{Owner, PlaceContext, WriteError, owned::Change, request::Urgency};
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding};

use crate::RoleTemplateOperator;

/// One change.
#[derive(Clone, PartialEq)]
pub enum Action {
    /// Of a role.
    Role(Change<ClusterRole>),
    /// Of a binding.
    Binding(Change<ClusterRoleBinding>),
}

impl fmt::Debug for Action {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Role(change) => change.fmt(formatter),
            Self::Binding(change) => change.fmt(formatter),
        }
    }
}

impl Action {
    pub(crate) async fn carry_out(
        self,
        owner: Owner<'_, RoleTemplate>,
        place: &PlaceContext,
    ) -> Result<(), WriteError> {
        match self {
            Self::Role(change) => change.carry_out::<RoleTemplateOperator>(owner, place).await,
            Self::Binding(change) => change.carry_out::<RoleTemplateOperator>(owner, place).await,
        }
    }

    /// An apply may take rights away as well as give them.
    pub(crate) fn urgency(&self) -> Urgency {
        match self {
            Self::Role(Change::Create { .. } | Change::Adopt { .. } | Change::Disown { .. })
            | Self::Binding(Change::Create { .. } | Change::Adopt { .. } | Change::Disown { .. }) => Urgency::Rest,
            Self::Role(_) | Self::Binding(_) => Urgency::Revocation,
        }
    }
}
