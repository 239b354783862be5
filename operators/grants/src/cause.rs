//! Why a subject does not have the role that a binding gives: one table, in which a reason means the same for every kind of role.

use drover_runtime::{Cause, causes};

causes! {
    /// Why a role template or a binding, or a part of it, is not in force.
    pub enum GrantCause {
        /// There is no Project of this name beside the binding or the app.
        ProjectNotFound = "ProjectNotFound": Blocked; "Create the Project, or correct spec.projectName in another binding or app.",
        /// A RoleTemplate that is named does not exist.
        RoleTemplateNotFound = "RoleTemplateNotFound": Blocked; "Create the RoleTemplate that the message names, or name another one.",
        /// A RoleTemplate, or one that it inherits, has content that this version of Drover does not know: what it gave stays, and nothing new is given.
        RoleTemplateUndecodable = "RoleTemplateUndecodable": Blocked; "Correct the RoleTemplate that the message names, or run a version of Drover that knows its fields.",
        /// A binding has content that this version of Drover does not know: what it may have given stays.
        BindingUndecodable = "BindingUndecodable": Blocked; "Correct or delete the binding that the message names, or run a version of Drover that knows its fields.",
        /// A binding, an app or a RoleTemplate was written while admission policies were missing or altered, so nobody gets a right by it; who has one keeps it.
        NotAdmitted = "NotAdmitted": Blocked stalls; "Change the spec of the binding or the app, or the rights of the RoleTemplate, or delete it and create it again, so that the policies judge it; what was admitted before may be put back.",
        /// A RoleTemplate that is named is of the other context.
        ContextMismatch = "ContextMismatch": Invalid stalls; "Name a RoleTemplate of context Project in a Project, and one of context Cluster for whole clusters and for an app without a Project.",
        /// The RoleTemplate does not consent to the namespace of the binding or the app.
        RoleTemplateNotBindable = "RoleTemplateNotBindable": Blocked; "Ask the owner of the RoleTemplate to add the namespace to spec.bindableFrom.",
        /// An external ClusterRole has a name that only Drover gives.
        ExternalRoleRefused = "ExternalRoleRefused": Invalid stalls; "Inherit the RoleTemplate instead.",
        /// A subject is one to which Drover grants nothing.
        SubjectRefused = "SubjectRefused": Invalid stalls; "Remove the subject that the message names.",
        /// A subject is, or includes, a ServiceAccount of a namespace that the Project does not hold on the cluster.
        ServiceAccountOfAnotherProject = "ServiceAccountOfAnotherProject": Blocked; "Name ServiceAccounts of the namespaces of the Project.",
        /// The time of the binding is over.
        Expired = "Expired": Blocked expected; "Delete the binding, or set a later spec.expiresAt to give the role again.",
        /// A right that was withdrawn may still be there, as the cluster cannot be worked on.
        RevocationPending = "RevocationPending": Blocked; "Reconnect the cluster; Drover withdraws the right first of all.",
        /// Role bindings of another Project are left in the namespace.
        FormerGrantsRemain = "FormerGrantsRemain": Blocked; "Wait until they are gone; if the other Project is to keep the namespace, remove it here.",
        /// The policies that guard grants are not in place, so nothing new is granted; what is withdrawn goes all the same.
        GrantsFrozen = "GrantsFrozen": Blocked; "Restore the policies that the message names.",
        /// The credential of the cluster lacks the right to bind roles.
        RolesNotPermitted = "RolesNotPermitted": Blocked stalls; "Run `drover import --context CONTEXT --name NAME --apply` again.",
        /// The role is not bound in every namespace of the Project, or to the app, yet.
        NotYetGranted = "NotYetGranted": Blocked; "Wait, or look at the status of the Project and of the RoleTemplate.",
        /// Every template that is named exists.
        Resolved = "Resolved": Blocked expected; "",
    }
}

impl GrantCause {
    /// What Projects and their bindings tell.
    pub const IN_PROJECTS: &'static [Cause] = &[
        Self::ProjectNotFound.cause(),
        Self::RoleTemplateNotFound.cause(),
        Self::RoleTemplateUndecodable.cause(),
        Self::BindingUndecodable.cause(),
        Self::NotAdmitted.cause(),
        Self::ContextMismatch.cause(),
        Self::RoleTemplateNotBindable.cause(),
        Self::SubjectRefused.cause(),
        Self::ServiceAccountOfAnotherProject.cause(),
        Self::Expired.cause(),
        Self::RevocationPending.cause(),
        Self::FormerGrantsRemain.cause(),
        Self::GrantsFrozen.cause(),
        Self::RolesNotPermitted.cause(),
        Self::NotYetGranted.cause(),
    ];
    /// What templates, and bindings on whole clusters, tell.
    pub const ON_CLUSTERS: &'static [Cause] = &[
        Self::RoleTemplateNotFound.cause(),
        Self::RoleTemplateUndecodable.cause(),
        Self::BindingUndecodable.cause(),
        Self::NotAdmitted.cause(),
        Self::ContextMismatch.cause(),
        Self::ExternalRoleRefused.cause(),
        Self::SubjectRefused.cause(),
        Self::Expired.cause(),
        Self::RevocationPending.cause(),
        Self::GrantsFrozen.cause(),
        Self::Resolved.cause(),
    ];
}
