//! ProjectRoleTemplateBinding and ClusterRoleTemplateBinding: who has a role, and where.

#![expect(clippy::doc_markdown, reason = "kubectl explain shows these texts as they are")]
#![expect(unreachable_pub, reason = "KubeSchema copies each struct, with its `pub`, into a function")]

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    ClusterSelection, SelectsClusters,
    condition::{UNOBSERVED, status_conditions, unobserved},
    schema,
    v1alpha1::{Problem, TargetSummary},
};

/// The wanted state of a binding in a project: who has which role in all of its namespaces.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "drover.dev",
    version = "v1alpha1",
    kind = "ProjectRoleTemplateBinding",
    plural = "projectroletemplatebindings",
    shortname = "prtb",
    category = "drover",
    namespaced,
    status = "RoleBindingStatus",
    derive = "PartialEq",
    doc = "Gives people a role in every namespace of a Project, on all of its clusters. It lies beside its Project.",
    validation = Rule::new("self.metadata.name.size() <= 63 && !self.metadata.name.contains('.')")
        .message("the name must be a DNS label: at most 63 characters, no dots"),
    printcolumn(name = "Ready", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].status"#),
    printcolumn(name = "Reason", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].reason"#),
    printcolumn(name = "Project", type_ = "string", json_path = ".spec.projectName"),
    printcolumn(name = "Role", type_ = "string", json_path = ".spec.roleTemplateName"),
    printcolumn(name = "Clusters", type_ = "string", json_path = ".status.clusters.summary"),
    printcolumn(name = "Expires", type_ = "date", json_path = ".spec.expiresAt"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(
        name = "Message",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Ready")].message"#,
        priority = "1"
    )
)]
#[serde(rename_all = "camelCase")]
pub struct ProjectRoleTemplateBindingSpec {
    /// Name of the Project, in the namespace of this object. It may come later. It cannot be changed.
    #[schemars(schema_with = "schema::dns_label")]
    #[x_kube(validation = ("self == oldSelf", "the Project cannot be changed; create another binding"))]
    pub project_name: String,
    /// Name of the RoleTemplate, of context Project. It may come later. It cannot be changed.
    #[schemars(schema_with = "schema::dns_label")]
    #[x_kube(validation = ("self == oldSelf", "the RoleTemplate cannot be changed; create another binding"))]
    pub role_template_name: String,
    /// Who has the role; at most 1000.
    #[schemars(length(max = 1000))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub subjects: Vec<RoleSubject>,
    /// When the role is taken away again, such as 2027-01-31T00:00:00Z; the object stays. Default: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::time")]
    pub expires_at: Option<Time>,
}

/// The wanted state of a binding on clusters: who has which role in them as a whole.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "drover.dev",
    version = "v1alpha1",
    kind = "ClusterRoleTemplateBinding",
    plural = "clusterroletemplatebindings",
    shortname = "crtb",
    category = "drover",
    status = "RoleBindingStatus",
    derive = "PartialEq",
    doc = "Gives people a role in whole clusters: named ones, those with certain labels, or all.",
    validation = Rule::new("self.metadata.name.size() <= 63 && !self.metadata.name.contains('.')")
        .message("the name must be a DNS label: at most 63 characters, no dots"),
    printcolumn(name = "Ready", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].status"#),
    printcolumn(name = "Reason", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].reason"#),
    printcolumn(name = "Role", type_ = "string", json_path = ".spec.roleTemplateName"),
    printcolumn(name = "Clusters", type_ = "string", json_path = ".status.clusters.summary"),
    printcolumn(name = "Expires", type_ = "date", json_path = ".spec.expiresAt"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(
        name = "Message",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Ready")].message"#,
        priority = "1"
    )
)]
#[serde(rename_all = "camelCase")]
pub struct ClusterRoleTemplateBindingSpec {
    /// The clusters: exactly one of names (at most 8), selector and all. The cluster local is meant only by name.
    #[x_kube(validation = ("!has(self.names) || self.names.size() <= 8",
        "at most 8 clusters are named; use a selector, or several bindings"))]
    pub clusters: ClusterSelection,
    /// Name of the RoleTemplate, of context Cluster. It may come later. It cannot be changed.
    #[schemars(schema_with = "schema::dns_label")]
    #[x_kube(validation = ("self == oldSelf", "the RoleTemplate cannot be changed; create another binding"))]
    pub role_template_name: String,
    /// Who has the role; at most 1000.
    #[schemars(length(max = 1000))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub subjects: Vec<RoleSubject>,
    /// When the role is taken away again, such as 2027-01-31T00:00:00Z; the object stays. Default: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::time")]
    pub expires_at: Option<Time>,
}

/// Who has a role.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[x_kube(validation = ("(self.kind == 'ServiceAccount') == has(self.__namespace__)",
    "a ServiceAccount needs a namespace; a User or a Group has none"))]
#[x_kube(validation = ("!self.name.lowerAscii().contains('system:masters')",
    "system:masters stands above every rule of a cluster, and Drover never grants anything to it"))]
#[serde(rename_all = "camelCase")]
pub struct RoleSubject {
    /// User, Group or ServiceAccount.
    pub kind: SubjectKind,
    /// Name, as the management cluster spells it; spec.identity of a Cluster says how it is spelled there.
    #[schemars(schema_with = "schema::subject_name")]
    pub name: String,
    /// Namespace of a ServiceAccount: in a Project, one of its own namespaces.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::dns_label")]
    pub namespace: Option<String>,
}

/// What kind of subject has a role.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum SubjectKind {
    /// A person or a program, as the API server's authentication names them.
    User,
    /// Everybody whom the API server's authentication puts into this group.
    Group,
    /// An account of a namespace in the cluster itself.
    ServiceAccount,
}

impl SubjectKind {
    /// As Kubernetes spells it in a RoleBinding.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::User => "User",
            Self::Group => "Group",
            Self::ServiceAccount => "ServiceAccount",
        }
    }
}

/// The observed state of a binding.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RoleBindingStatus {
    /// The metadata.generation that this status judges; -1 before the first reconcile.
    #[serde(default = "unobserved")]
    pub observed_generation: i64,
    /// On how many clusters the role is to be had, and on how many it is effective.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clusters: Option<TargetSummary>,
    /// Whether the spec was written while the admission policies were in place; unset until Drover saw both.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub admission: Option<Admission>,
    /// What is wrong and where; at most 20 entries.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 20))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub problems: Vec<Problem>,
    /// Ready, and what it is made of.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::conditions")]
    pub conditions: Vec<Condition>,
}

status_conditions!(RoleBindingStatus, problems);

/// Whether the spec of an object was written while the admission policies were in place that say who may write it.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Admission {
    /// The metadata.generation that is judged.
    #[schemars(range(min = 0))]
    pub generation: i64,
    /// Whether it was written under the policies. Else it gives nothing new: delete the object and create it again, or change its spec.
    pub admitted: bool,
    /// Which state of the policies was in place when Drover looked last; another one says that they were changed in between.
    #[schemars(schema_with = "schema::text::<256>")]
    pub policies: String,
    /// The state that was in place when Drover first saw the object.
    #[schemars(schema_with = "schema::text::<256>")]
    pub first: String,
    /// Since when the state that was in place last is known to be in place.
    pub since: Time,
    /// Hash of the rights that are judged, of an object of which the policies judge only those.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::text::<64>")]
    pub rights: Option<String>,
    /// Hash of the rights that were admitted last: they count again when they are put back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::text::<64>")]
    pub admitted_rights: Option<String>,
}

impl SelectsClusters for ClusterRoleTemplateBinding {
    fn clusters(&self) -> &ClusterSelection {
        &self.spec.clusters
    }
}

impl Default for RoleBindingStatus {
    fn default() -> Self {
        Self {
            observed_generation: UNOBSERVED,
            clusters: None,
            admission: None,
            problems: Vec::new(),
            conditions: Vec::new(),
        }
    }
}
