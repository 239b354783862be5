//! The verbs by which policies know who may do what. RBAC grants them like any others.

use k8s_openapi::api::rbac::v1::PolicyRule;

/// On projects and clusters: to say who has which role there.
pub const MANAGE_MEMBERS: &str = "manage-members";
/// On roletemplates: to give the role to subjects.
pub const BIND: &str = "bind";
/// On roletemplates: to give the role to users and groups of Kubernetes itself, such as `system:authenticated`.
pub const BIND_SYSTEM_SUBJECTS: &str = "bind-system-subjects";
/// On roletemplates: to write what a role allows.
pub const ESCALATE: &str = "escalate";
/// On clusters: to ask for what concerns one as a whole, such as an app without a Project.
pub const OPERATE: &str = "operate";
/// On multiclusterapps: to let a revision go on where a stage asks for approval, and to hold one.
pub const APPROVE: &str = "approve";

/// To be Drover, which sets its labels and annotations and writes what carries them: downstream on namespaces, in the management cluster on
/// multiclusterapps for their apps and revisions and on etcdbackupschedules for their backups. Nobody else is given it by name.
pub const MANAGE: &str = "manage";
/// Downstream, on namespaces: to set the pod security of one that a Project holds.
pub const SET_POD_SECURITY: &str = "set-pod-security";
/// Downstream, on projects.drover.dev by the name `NAMESPACE.PROJECT.PREFIX`: to create namespaces that this Project takes up, named
/// with the prefix; by the name `NAMESPACE.PROJECT`: to take the request for it off them. In a `RoleTemplate`, on projects.drover.dev:
/// to be given these in Projects with spec.selfService.
pub const CREATE_NAMESPACES: &str = "create-namespaces";
/// Downstream, on namespaces: whoever has it creates and changes only those of Projects with spec.selfService, whatever else RBAC
/// allows.
pub const SELF_SERVICE: &str = "self-service";
/// Downstream, on clusterroles: whoever has it binds and writes only what the fence lets through, whatever else RBAC allows.
pub const FENCED: &str = "fenced";
/// Downstream, on clusterroles by name: what may be bound through the fence besides Drover's own.
pub const BIND_EXTERNAL: &str = "bind-external";
/// Downstream, on clusterroles: to write others than Drover's own through the fence. Nobody is given it by name.
pub const WRITE_EXTERNAL: &str = "write-external";

/// What the platform team may do besides writing objects.
#[must_use]
pub fn of_platform() -> Vec<PolicyRule> {
    vec![
        on(&["clusters", "projects"], &[MANAGE_MEMBERS]),
        on(&["clusters"], &[OPERATE]),
        on(&["multiclusterapps"], &[APPROVE]),
        on(&["roletemplates"], &[BIND, BIND_SYSTEM_SUBJECTS, ESCALATE]),
    ]
}

/// What those who write role templates may do besides writing objects: write any right into them.
#[must_use]
pub fn of_role_managers() -> Vec<PolicyRule> {
    vec![on(&["roletemplates"], &[ESCALATE])]
}

/// What those who administer a namespace may do besides writing objects: give the roles that allow it to be bound from there.
#[must_use]
pub fn of_admins() -> Vec<PolicyRule> {
    vec![on(&["projects"], &[MANAGE_MEMBERS]), on(&["roletemplates"], &[BIND]), on(&["multiclusterapps"], &[APPROVE])]
}

/// What those who own an app on many clusters may do besides writing it.
#[must_use]
pub fn of_app_owners() -> Vec<PolicyRule> {
    vec![on(&["multiclusterapps"], &[APPROVE])]
}

fn on(resources: &[&str], verbs: &[&str]) -> PolicyRule {
    let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
    PolicyRule {
        api_groups: Some(vec![drover_crds::GROUP.to_owned()]),
        resources: Some(owned(resources)),
        verbs: owned(verbs),
        ..PolicyRule::default()
    }
}
