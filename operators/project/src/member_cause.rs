//! Why a subject does not have the role that a binding gives.

use drover_runtime::causes;

causes! {
    /// Why a binding, or a part of it, is not in force.
    pub enum MemberCause {
        /// There is no Project of this name beside the binding.
        ProjectNotFound = "ProjectNotFound": Blocked; "Create the Project, or correct spec.projectName in another binding.",
        /// There is no RoleTemplate of this name.
        RoleTemplateNotFound = "RoleTemplateNotFound": Blocked; "Create the RoleTemplate, or bind another one.",
        /// The RoleTemplate is of context Cluster, so no Project can give it.
        ContextMismatch = "ContextMismatch": Blocked stalls; "Bind a RoleTemplate of context Project.",
        /// The RoleTemplate does not consent to the namespace of the binding.
        RoleTemplateNotBindable = "RoleTemplateNotBindable": Blocked; "Ask the owner of the RoleTemplate to add the namespace to spec.bindableFrom.",
        /// A subject is one to which Drover grants nothing.
        SubjectRefused = "SubjectRefused": Invalid stalls; "Remove the subject that the message names.",
        /// A subject is, or includes, a ServiceAccount of a namespace that the Project does not hold on the cluster.
        ServiceAccountOfAnotherProject = "ServiceAccountOfAnotherProject": Blocked; "Name ServiceAccounts of the namespaces of the Project.",
        /// The time of the binding is over.
        Expired = "Expired": Blocked expected; "Delete the binding, or change spec.expiresAt.",
        /// Role bindings of another Project are left in the namespace.
        FormerGrantsRemain = "FormerGrantsRemain": Blocked; "Wait until they are gone; if the other Project is to keep the namespace, remove it here.",
        /// The policies that guard grants are not in place, so nothing new is granted; what is withdrawn goes all the same.
        GrantsFrozen = "GrantsFrozen": Blocked; "Do what the message says.",
        /// The credential of the cluster lacks the right to bind roles.
        RolesNotPermitted = "RolesNotPermitted": Blocked stalls; "Run `drover import --context CONTEXT --name NAME --apply` again.",
        /// The role is not bound in every namespace of the Project yet.
        NotYetGranted = "NotYetGranted": Blocked; "Wait, or look at the status of the Project.",
    }
}
