//! Roles, and who has them.

use serde_json::{Value, json};

use crate::story::TEAM;

/// A role of Projects of the team, whose members list these resources.
pub(super) fn a_role(name: &str, group: &str, resource: &str) -> Value {
    json!({
        "apiVersion": "drover.dev/v1alpha1", "kind": "RoleTemplate", "metadata": {"name": name},
        "spec": {
            "context": "Project", "bindableFrom": {"names": [TEAM]},
            "rules": [{"apiGroups": [group], "resources": [resource], "verbs": ["get", "list", "watch"]}],
        },
    })
}

pub(super) fn a_binding(name: &str, project: &str, role: &str, users: &[String]) -> Value {
    json!({
        "apiVersion": "drover.dev/v1alpha1", "kind": "ProjectRoleTemplateBinding",
        "metadata": {"name": name, "namespace": TEAM},
        "spec": {"projectName": project, "roleTemplateName": role, "subjects": subjects(users)},
    })
}

pub(super) fn subjects(users: &[String]) -> Value {
    users.iter().map(|user| json!({"kind": "User", "name": user})).collect()
}
