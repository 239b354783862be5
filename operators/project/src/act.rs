//! What is done at a cluster: one change of one object.

use std::fmt;

use drover_crds::Project;
use drover_runtime::{Owner, PlaceContext, WriteError, owned::Change, request::Urgency};
use drover_secrets::{SecretCopy, act::carry_out};
use k8s_openapi::{
    api::{
        core::v1::{LimitRange, Namespace, ResourceQuota},
        networking::v1::NetworkPolicy,
        rbac::v1::{ClusterRole, ClusterRoleBinding, RoleBinding},
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};

use crate::ProjectOperator;

/// One change of one object.
#[derive(Clone, PartialEq)]
pub enum Action {
    /// Of a namespace.
    Namespace(Change<Namespace>),
    /// Of a resource quota in it.
    Quota(Change<ResourceQuota>),
    /// Of a limit range in it.
    Limits(Change<LimitRange>),
    /// Of a network policy in it.
    Isolation(Change<NetworkPolicy>),
    /// Of a role binding in it.
    Members(Change<RoleBinding>),
    /// Of a copy of a Secret in it.
    Secrets(Change<SecretCopy>),
    /// Of what lets members create namespaces.
    CreatorsRole(Change<ClusterRole>),
    /// Of who may.
    Creators(Change<ClusterRoleBinding>),
}

impl Action {
    /// Does it, in the name of `owner`.
    pub(crate) async fn carry_out(self, owner: Owner<'_, Project>, place: &PlaceContext) -> Result<(), WriteError> {
        match self {
            Self::Namespace(change) => change.carry_out::<ProjectOperator>(owner, place).await,
            Self::Quota(change) => change.carry_out::<ProjectOperator>(owner, place).await,
            Self::Limits(change) => change.carry_out::<ProjectOperator>(owner, place).await,
            Self::Isolation(change) => change.carry_out::<ProjectOperator>(owner, place).await,
            Self::Members(change) => change.carry_out::<ProjectOperator>(owner, place).await,
            Self::Secrets(change) => carry_out::<ProjectOperator>(change, owner, place).await,
            Self::CreatorsRole(change) => change.carry_out::<ProjectOperator>(owner, place).await,
            Self::Creators(change) => change.carry_out::<ProjectOperator>(owner, place).await,
        }
    }

    /// The namespace that it is about.
    #[must_use]
    pub fn namespace(&self) -> Option<String> {
        match self {
            Self::Namespace(change) => change.namespace(),
            Self::Quota(change) => change.namespace(),
            Self::Limits(change) => change.namespace(),
            Self::Isolation(change) => change.namespace(),
            Self::Members(change) => change.namespace(),
            Self::Secrets(change) => change.namespace(),
            Self::CreatorsRole(change) => change.namespace(),
            Self::Creators(change) => change.namespace(),
        }
    }

    /// The metadata of the object that it gives up.
    pub(crate) fn given_up(&self) -> Option<&ObjectMeta> {
        match self {
            Self::Namespace(change) => given_up(change),
            Self::Quota(change) => given_up(change),
            Self::Limits(change) => given_up(change),
            Self::Isolation(change) => given_up(change),
            Self::Members(change) => given_up(change),
            Self::Secrets(change) => given_up(change),
            Self::CreatorsRole(change) => given_up(change),
            Self::Creators(change) => given_up(change),
        }
    }

    /// How urgent it is: what a namespace is created or labelled with are its guards, too.
    #[must_use]
    pub fn urgency(&self) -> Urgency {
        match self {
            Self::Namespace(change) => urgency(change),
            Self::Quota(change) => urgency(change),
            Self::Limits(change) => urgency(change),
            Self::Isolation(change) => urgency(change),
            // What is changed replaces subjects, so it may take a right away.
            Self::Members(Change::Create { .. } | Change::Adopt { .. })
            | Self::CreatorsRole(Change::Create { .. } | Change::Adopt { .. })
            | Self::Creators(Change::Create { .. } | Change::Adopt { .. })
            | Self::Secrets(Change::Create { .. } | Change::Apply { .. } | Change::Adopt { .. }) => Urgency::Rest,
            Self::Members(_) | Self::CreatorsRole(_) | Self::Creators(_) | Self::Secrets(_) => Urgency::Revocation,
        }
    }
}

fn given_up<K>(change: &Change<K>) -> Option<&ObjectMeta> {
    match change {
        Change::Release(live) | Change::Disclaim(live) | Change::Delete(live) => Some(live),
        Change::Create { .. } | Change::Apply { .. } | Change::Adopt { .. } | Change::Disown { .. } => None,
    }
}

fn urgency<K>(change: &Change<K>) -> Urgency {
    match change {
        Change::Create { .. } | Change::Apply { .. } | Change::Adopt { .. } => Urgency::Guard,
        Change::Disown { .. } | Change::Release(_) | Change::Disclaim(_) | Change::Delete(_) => Urgency::Rest,
    }
}

impl fmt::Debug for Action {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Namespace(change) => change.fmt(formatter),
            Self::Quota(change) => change.fmt(formatter),
            Self::Limits(change) => change.fmt(formatter),
            Self::Isolation(change) => change.fmt(formatter),
            Self::Members(change) => change.fmt(formatter),
            Self::Secrets(change) => change.fmt(formatter),
            Self::CreatorsRole(change) => change.fmt(formatter),
            Self::Creators(change) => change.fmt(formatter),
        }
    }
}

impl From<Change<Namespace>> for Action {
    fn from(change: Change<Namespace>) -> Self {
        Self::Namespace(change)
    }
}

impl From<Change<ResourceQuota>> for Action {
    fn from(change: Change<ResourceQuota>) -> Self {
        Self::Quota(change)
    }
}

impl From<Change<LimitRange>> for Action {
    fn from(change: Change<LimitRange>) -> Self {
        Self::Limits(change)
    }
}

impl From<Change<NetworkPolicy>> for Action {
    fn from(change: Change<NetworkPolicy>) -> Self {
        Self::Isolation(change)
    }
}

impl From<Change<SecretCopy>> for Action {
    fn from(change: Change<SecretCopy>) -> Self {
        Self::Secrets(change)
    }
}

impl From<Change<RoleBinding>> for Action {
    fn from(change: Change<RoleBinding>) -> Self {
        Self::Members(change)
    }
}
