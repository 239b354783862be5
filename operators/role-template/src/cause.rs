//! Why a role is not given as wanted.

use drover_runtime::causes;

causes! {
    /// Why a role template, or a binding of it, is not as wanted.
    pub enum RoleCause {
        /// A RoleTemplate that is named does not exist.
        RoleTemplateNotFound = "RoleTemplateNotFound": Blocked; "Create the RoleTemplate that the message names, or remove its name.",
        /// A RoleTemplate that is named is of the other context.
        ContextMismatch = "ContextMismatch": Invalid stalls; "Name a RoleTemplate of the same context.",
        /// An external ClusterRole has a name that only Drover gives.
        ExternalRoleRefused = "ExternalRoleRefused": Invalid stalls; "Inherit the RoleTemplate instead.",
        /// Nothing is ever granted to a subject of the binding.
        SubjectRefused = "SubjectRefused": Invalid stalls; "Remove the subject that the message names.",
        /// The binding ended at its time.
        Expired = "Expired": Blocked expected; "Set a later expiresAt to give the role again.",
        /// A right that was withdrawn may still be there, as the cluster cannot be worked on.
        RevocationPending = "RevocationPending": Blocked; "Reconnect the cluster; Drover withdraws the right first of all.",
        /// A policy that says who may grant what is absent or altered, so nothing more is granted.
        GrantsFrozen = "GrantsFrozen": Blocked; "Restore the policies of the installation.",
        /// Every template that is named exists.
        Resolved = "Resolved": Blocked expected; "",
    }
}
